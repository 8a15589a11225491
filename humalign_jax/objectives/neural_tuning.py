"""Tuning towards brain responses while a frozen teacher's class probabilities are kept."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from humalign_jax import losses

NEURAL_LOSSES = {'mse': losses.voxel_mse, 'correlation': losses.pattern_correlation_loss}
TEACHER = 'teacher'  # collection of `model_state` that holds the teacher's variables


def make_neural_tuning_objective(
    forward: Callable,
    teacher: Callable,
    *,
    neural_loss: str = 'mse',
    distillation_weight: float = 1.0,
    temperature: float = 1.0,
    train_statistics: bool = False,
) -> Callable:
    """Neural loss on voxel images + weight * KL(teacher || student) on all images of the batch.

    The batch has `image` [b, h, w, c] and `responses` [b, v] of voxel images, and, with replay, `replay`
    [b, r, h, w, c]: r images of the classifier's own training set beside each of them. Student and teacher see the same
    pixels. The neural loss and the KL divergence are averages over images.

    Args:
        forward: Of the student: `(params, model_state, image, *, train, keys) -> (logits, voxels, model_state)`.
        teacher: `(variables, image) -> logits [b, k]` in evaluation mode; its variables are `model_state['teacher']`
            and never change.
        neural_loss: 'mse' or 'correlation'.
        distillation_weight: Weight (alpha) of the KL divergence, at least 0.
        temperature: Of the KL divergence.
        train_statistics: Whether BatchNorm uses and updates the statistics of the batch, and dropout is on; if not,
            the student is in evaluation mode.

    Returns:
        The objective; its metrics are `neural` and `distillation`.

    Raises:
        ValueError: The neural loss is unknown, the weight negative, or the temperature not positive.

    References:
        Li & Hoiem (2016), Learning without Forgetting. arXiv:1606.09282
    """
    if neural_loss not in NEURAL_LOSSES:
        raise ValueError(f'neural_loss={neural_loss!r} must be one of {", ".join(NEURAL_LOSSES)}.')
    if distillation_weight < 0 or temperature <= 0:
        raise ValueError(
            f'distillation_weight ({distillation_weight}) must not be negative, temperature ({temperature}) above 0.'
        )

    def objective(params, model_state, batch, keys, step):
        del step
        image, (b, n_replayed) = batch['image'], (len(batch['image']), 0)
        if 'replay' in batch:
            n_replayed = batch['replay'].shape[1]
            image = jnp.concatenate([image, batch['replay'].reshape(-1, *image.shape[1:])])
        of_each = jax.vmap(lambda key: jax.random.split(key, 1 + n_replayed))(keys)  # [b, 1 + r]
        all_keys = jnp.concatenate([of_each[:, 0], of_each[:, 1:].reshape(-1)])
        logits, voxels, model_state = forward(
            params, model_state, image, train=train_statistics, keys=all_keys if train_statistics else None
        )
        taught = jax.lax.stop_gradient(teacher(model_state[TEACHER], image))
        neural = NEURAL_LOSSES[neural_loss](voxels[:b], batch['responses']).mean()  # [b] -> []
        distillation = losses.distillation_kl(logits, taught, temperature).mean()  # [b (1 + r)] -> []
        loss = neural + distillation_weight * distillation
        return loss, (model_state, {'neural': neural, 'distillation': distillation})

    return objective


def make_neural_tuning_measure(
    forward: Callable, teacher: Callable, *, neural_loss: str = 'mse', temperature: float = 1.0
) -> Callable:
    """Per-image values of a tuned network in evaluation mode.

    Returns:
        `(params, model_state, batch) -> {'neural': [b], 'mse': [b], 'distillation': [b] nats, 'voxels': [b, v]}`.
    """

    def measure(params, model_state, batch) -> dict[str, jax.Array]:
        logits, voxels, _ = forward(params, model_state, batch['image'], train=False)
        taught = teacher(model_state[TEACHER], batch['image'])
        return {
            'neural': NEURAL_LOSSES[neural_loss](voxels, batch['responses']),
            'mse': losses.voxel_mse(voxels, batch['responses']),
            'distillation': losses.distillation_kl(logits, taught, temperature),
            'voxels': voxels,
        }

    return measure
