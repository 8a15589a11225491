"""Optimisers and learning-rate schedules from a config section."""

from typing import Any

import jax
import optax

from humalign_jax import settings

SCHEDULES = ('constant', 'cosine')
OPTIMIZERS = ('adam', 'adamw', 'sgd')


def make_schedule(
    *,
    learning_rate: float,
    schedule: str,
    warmup_steps: int,
    total_steps: int,
    start_learning_rate: float = 0.0,
    end_learning_rate: float = 0.0,
) -> optax.Schedule:
    """Learning rate by step: a linear warm-up, then constant or a half cosine that ends at `total_steps`.

    Args:
        learning_rate: The largest rate, reached after the warm-up, positive.
        schedule: 'constant' or 'cosine'.
        warmup_steps: Length of the warm-up, 0 for none.
        total_steps: Length of the run.
        start_learning_rate: Rate at step 0 of a warm-up.
        end_learning_rate: Rate at the end of the cosine.

    Raises:
        ValueError: The schedule is unknown, the rate is not positive, or the warm-up is longer than the run.
    """
    if schedule not in SCHEDULES:
        raise ValueError(f'config.optimizer.schedule={schedule!r} is unknown.{settings.nearest(schedule, SCHEDULES)}')
    if learning_rate <= 0:
        raise ValueError(f'config.optimizer.learning_rate must be above 0, not {learning_rate}.')
    if 0 < total_steps <= warmup_steps:
        raise ValueError(
            f'the warm-up of {warmup_steps} steps does not fit into {total_steps} steps: lower '
            'config.optimizer.warmup_epochs.'
        )
    if schedule == 'constant':
        after = optax.constant_schedule(learning_rate)
    else:
        share = end_learning_rate / learning_rate
        after = optax.cosine_decay_schedule(learning_rate, total_steps - warmup_steps, share)
    if not warmup_steps:
        return after
    warmup = optax.linear_schedule(start_learning_rate, learning_rate, warmup_steps)
    return optax.join_schedules([warmup, after], [warmup_steps])


def make_optimizer(
    *,
    name: str,
    schedule: optax.Schedule,
    weight_decay: float,
    momentum: float = 0.9,
    nesterov: bool = True,
    clip_norm: float = 0.0,
    decay_all: bool = False,
) -> optax.GradientTransformation:
    """The optimiser.

    Args:
        name: 'adamw' (decoupled decay), 'adam' or 'sgd' (decay added to the gradient).
        schedule: Learning rate by step.
        weight_decay: Decay; BatchNorm's and biases' parameters are left out unless `decay_all`.
        momentum: For 'sgd'.
        nesterov: For 'sgd'.
        clip_norm: Largest global norm of the gradient, 0 for no clipping.
        decay_all: Decay every parameter, as some published recipes do.

    Raises:
        ValueError: The name is unknown, or a number is negative.
    """
    if name not in OPTIMIZERS:
        raise ValueError(f'config.optimizer.name={name!r} is unknown.{settings.nearest(name, OPTIMIZERS)}')
    if weight_decay < 0 or clip_norm < 0:
        raise ValueError(f'weight_decay ({weight_decay}) and clip_norm ({clip_norm}) must not be negative.')
    mask = None if decay_all else _is_kernel
    clip = [optax.clip_by_global_norm(clip_norm)] if clip_norm else []
    if name == 'adamw':
        return optax.chain(*clip, optax.adamw(schedule, weight_decay=weight_decay, mask=mask))
    decay = [optax.add_decayed_weights(weight_decay, mask)] if weight_decay else []
    if name == 'adam':
        return optax.chain(*clip, *decay, optax.adam(schedule))
    sgd = optax.sgd(schedule, momentum=momentum or None, nesterov=nesterov and momentum > 0)
    return optax.chain(*clip, *decay, sgd)


def _is_kernel(params: Any) -> Any:
    """True where a parameter is a kernel: biases and BatchNorm's scales are vectors."""
    return jax.tree.map(lambda value: value.ndim > 1, params)
