"""Classification: cross-entropy to hard or soft labels."""

from collections.abc import Callable
from typing import Any, cast

import jax
import jax.numpy as jnp
from flax import linen as nn

from humalign_jax import losses


def make_classification_objective(model: nn.Module, *, label_smoothing: float = 0.0) -> Callable:
    """Mean cross-entropy to `batch['soft_label']`, which is one-hot where labels are hard.

    Args:
        model: Classifier returning logits, [b, k], or a tuple whose first part they are.
        label_smoothing: Weight of the uniform distribution in the targets, in [0, 1).

    Returns:
        The objective; its metric is `accuracy`, the share of images whose predicted class is `batch['label']`.

    Raises:
        ValueError: `label_smoothing` is outside [0, 1).
    """
    if not 0.0 <= label_smoothing < 1.0:
        raise ValueError(f'label_smoothing must be in [0, 1), not {label_smoothing}.')

    def objective(params, model_state, batch, keys, step):
        del step
        variables = {'params': params, **model_state}
        out, model_state = model.apply(variables, batch['image'], train=True, keys=keys, mutable=list(model_state))
        logits = _logits(out)  # [b, k]
        target = losses.smooth_labels(batch['soft_label'], label_smoothing)
        loss = losses.cross_entropy(logits, target).mean()  # [b] -> []
        accuracy = (jnp.argmax(logits, axis=-1) == batch['label']).mean()
        return loss, (model_state, {'accuracy': accuracy})

    return objective


def make_classification_measure(model: nn.Module, *, mirrored_views: bool = False) -> Callable:
    """Per-image values of a classifier in evaluation mode.

    Args:
        model: Classifier, as above.
        mirrored_views: Whether the class is also predicted from two views.

    Returns:
        `(params, model_state, batch) -> {'loss': [b] nats, 'accuracy': [b] 0 or 1, 'prediction': [b] class}`;
        the loss is the cross-entropy to `batch['soft_label']` without smoothing. With `mirrored_views` also
        `accuracy_mirrored_views`, [b] 0 or 1: the predicted class is that of the mean logits of the image and of its
        mirror image, left to right.
    """

    def logits_of(params, model_state, image) -> jax.Array:
        return _logits(model.apply({'params': params, **model_state}, image, train=False))

    def measure(params, model_state, batch) -> dict[str, jax.Array]:
        logits = logits_of(params, model_state, batch['image'])
        prediction = jnp.argmax(logits, axis=-1)
        correct = (prediction == batch['label']).astype(jnp.float32)
        loss = losses.cross_entropy(logits, batch['soft_label'])
        values = {'loss': loss, 'accuracy': correct, 'prediction': prediction}
        if mirrored_views:
            both = (logits + logits_of(params, model_state, batch['image'][:, :, ::-1])) / 2
            values['accuracy_mirrored_views'] = (jnp.argmax(both, axis=-1) == batch['label']).astype(jnp.float32)
        return values

    return measure


def _logits(out: Any) -> jax.Array:
    """The logits of a classifier's output, of which they may be the first part."""
    return cast(jax.Array, out[0] if isinstance(out, tuple) else out)
