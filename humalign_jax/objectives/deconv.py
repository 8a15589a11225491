"""Classification and reconstruction at once: cross-entropy plus a weighted mean squared error."""

from collections.abc import Callable, Sequence
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from humalign_jax import losses


def make_deconv_objective(model: nn.Module, *, reconstruction_weight: float = 2.0) -> Callable:
    """Cross-entropy to `batch['soft_label']` + weight * MSE, both averaged over the batch.

    Args:
        model: Returns `(logits [b, k], recon [b, h, w, c] or None)`; without a reconstruction the loss is the
            cross-entropy alone.
        reconstruction_weight: Weight (lambda) of the mean squared error over pixels and channels, on the scale of the
            preprocessed images; at least 0.

    Returns:
        The objective; its metrics are `accuracy`, `cross_entropy` (nats) and, with a decoder, `mse`.

    Raises:
        ValueError: The weight is negative.
    """
    if reconstruction_weight < 0:
        raise ValueError(f'reconstruction_weight must not be negative: {reconstruction_weight}.')

    def objective(params, model_state, batch, keys, step):
        del step
        (logits, recon), model_state = model.apply(
            {'params': params, **model_state}, batch['image'], train=True, keys=keys, mutable=list(model_state)
        )
        loss = cross_entropy = losses.cross_entropy(logits, batch['soft_label']).mean()  # [b] -> []
        accuracy = (jnp.argmax(logits, axis=-1) == batch['label']).mean()
        metrics = {'accuracy': accuracy, 'cross_entropy': cross_entropy}
        if recon is not None:
            metrics['mse'] = losses.mse(recon, batch['image']).mean()  # [b, h, w, c] -> [b] -> []
            loss = cross_entropy + reconstruction_weight * metrics['mse']
        return loss, (model_state, metrics)

    return objective


def make_deconv_measure(
    model: nn.Module, *, reconstruction_weight: float = 2.0, mean: Sequence[float], std: Sequence[float]
) -> Callable:
    """Per-image values of the network in evaluation mode.

    Args:
        model: As for `make_deconv_objective`.
        reconstruction_weight: Weight of the mean squared error in `loss`.
        mean: The preprocessing's mean per channel, in units of [0, 1] intensity.
        std: Its standard deviation per channel, in the same units.

    Returns:
        `(params, model_state, batch) -> {name: [b]}`: `loss` (cross_entropy + weight * mse), `cross_entropy` in nats,
        `accuracy` 0 or 1, `prediction` a class, and with a decoder `mse` on the scale of the preprocessed images, and
        `psnr` in dB and `ssim` of intensities, whose range is 0 to 1; reconstructions are not clipped to it.
    """
    shift, scale = (np.asarray(numbers, np.float32).reshape(1, 1, 1, -1) for numbers in (mean, std))

    def measure(params, model_state, batch) -> dict[str, jax.Array]:
        image = batch['image']
        out = model.apply({'params': params, **model_state}, image, train=False)
        logits, recon = cast(tuple[jax.Array, jax.Array | None], out)
        prediction = jnp.argmax(logits, axis=-1)
        cross_entropy = losses.cross_entropy(logits, batch['soft_label'])
        correct = (prediction == batch['label']).astype(jnp.float32)
        values = {'accuracy': correct, 'prediction': prediction, 'cross_entropy': cross_entropy, 'loss': cross_entropy}
        if recon is not None:
            mse, intensities = losses.mse(recon, image), (recon * scale + shift, image * scale + shift)
            values |= {'mse': mse, 'loss': cross_entropy + reconstruction_weight * mse}
            values |= {'psnr': losses.psnr(*intensities), 'ssim': losses.ssim(*intensities)}
        return values

    return measure
