"""Optimisers and learning-rate schedules from a config section."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from optax import contrib

from humalign_jax import settings

SCHEDULES = ('constant', 'cosine')
OPTIMIZERS = ('adam', 'adamw', 'schedule_free_adamw', 'sgd')


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
    no_decay: Sequence[str] = (),
) -> optax.GradientTransformation:
    """The optimiser.

    Args:
        name: 'adamw' (decoupled decay), 'schedule_free_adamw' (averaged, see `averaged_params`), 'adam' or 'sgd'
            (decay added to the gradient).
        schedule: Learning rate by step.
        weight_decay: Decay; BatchNorm's and biases' parameters are left out unless `decay_all`.
        momentum: For 'sgd'.
        nesterov: For 'sgd'.
        clip_norm: Largest global norm of the gradient, 0 for no clipping.
        decay_all: Decay every parameter, as some published recipes do.
        no_decay: Names of submodules whose parameters never decay.

    Raises:
        ValueError: The name is unknown, or a number is negative.

    References:
        Defazio et al. (2024). The road less scheduled. arXiv 2405.15682, for 'schedule_free_adamw'.
    """
    if name not in OPTIMIZERS:
        raise ValueError(f'config.optimizer.name={name!r} is unknown.{settings.nearest(name, OPTIMIZERS)}')
    if weight_decay < 0 or clip_norm < 0:
        raise ValueError(f'weight_decay ({weight_decay}) and clip_norm ({clip_norm}) must not be negative.')

    def mask(params: Any) -> Any:
        return jax.tree_util.tree_map_with_path(
            lambda path, value: (decay_all or value.ndim > 1) and not _is_below(path, no_decay), params
        )

    clip = [optax.clip_by_global_norm(clip_norm)] if clip_norm else []
    if name == 'adamw':
        return optax.chain(*clip, optax.adamw(schedule, weight_decay=weight_decay, mask=mask))
    decay = [optax.add_decayed_weights(weight_decay, mask)] if weight_decay else []
    if name == 'schedule_free_adamw':  # optax.contrib.schedule_free_adamw, which takes no mask
        adam = optax.scale_by_rms(decay=0.999, eps=1e-8, eps_in_sqrt=False, bias_correction=True)
        base = optax.chain(adam, *decay, optax.scale_by_learning_rate(schedule))
        return optax.chain(*clip, contrib.schedule_free(base, schedule, b1=0.9))
    if name == 'adam':
        return optax.chain(*clip, *decay, optax.adam(schedule))
    sgd = optax.sgd(schedule, momentum=momentum or None, nesterov=nesterov and momentum > 0)
    return optax.chain(*clip, *decay, sgd)


def held(tx: optax.GradientTransformation, n_steps: int) -> optax.GradientTransformation:
    """An optimiser whose parameters stay as they are for the first `n_steps` steps; only then does it begin."""

    def init(params: Any) -> Any:
        return jnp.int32(0), tx.init(params)

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        step, before = state
        updates, after = tx.update(updates, before, params)
        begun = step >= n_steps
        updates = jax.tree.map(lambda one: jnp.where(begun, one, jnp.zeros_like(one)), updates)
        return updates, (step + 1, jax.tree.map(lambda new, old: jnp.where(begun, new, old), after, before))

    return optax.GradientTransformation(init, update)


def averaged_params(params: Any, opt_state: Any) -> Any:
    """The parameters to evaluate: a schedule-free optimiser's averaged ones, else `params` themselves."""

    def is_schedule_free(state: Any) -> bool:
        return isinstance(state, contrib.ScheduleFreeState)

    found = [state for state in jax.tree.leaves(opt_state, is_leaf=is_schedule_free) if is_schedule_free(state)]
    return contrib.schedule_free_eval_params(found[0], params) if found else params


def _is_below(path: Sequence[Any], names: Sequence[str]) -> bool:
    """Whether a parameter's path passes a submodule of one of these names."""
    return any(getattr(key, 'key', None) in names for key in path)
