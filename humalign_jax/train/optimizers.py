"""Optimisers and learning-rate schedules from a config section."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import traverse_util
from optax import contrib

from humalign_jax import settings
from humalign_jax.train.state import TrainState

SCHEDULES = ('constant', 'cosine', 'linear')
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
    """Learning rate by step: a linear warm-up, then constant, a half cosine or a straight line to `total_steps`.

    Args:
        learning_rate: The largest rate, reached after the warm-up, positive.
        schedule: 'constant', 'cosine' or 'linear'.
        warmup_steps: Length of the warm-up, 0 for none.
        total_steps: Length of the run.
        start_learning_rate: Rate at step 0 of a warm-up.
        end_learning_rate: Rate at `total_steps`, of 'cosine' and 'linear'.

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
    elif schedule == 'linear':
        after = optax.linear_schedule(learning_rate, end_learning_rate, total_steps - warmup_steps)
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
    norm_bias_rate: float = 1.0,
    lookahead_steps: int = 0,
    lookahead_share: float = 0.5,
    lookahead_power: float = 0.0,
    total_steps: int = 1,
    ema_decay: float = 0.0,
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
        norm_bias_rate: Factor on the learning rate of BatchNorm's biases.
        lookahead_steps: Steps between two of `lookahead`, 0 for none.
        lookahead_share: Share of the way that the last of them goes, in (0, 1].
        lookahead_power: Step t goes the share 1 - (1 - lookahead_share) * (t / total_steps)**lookahead_power of the
            way: 0 for a constant share, above 0 for averages that begin late.
        total_steps: Length of the run.
        ema_decay: Of `with_ema`, in [0, 1); 0 for none.

    Raises:
        ValueError: The name is unknown, a number is outside its range, or the parameters are to be averaged twice.

    References:
        Defazio et al. (2024). The road less scheduled. arXiv 2405.15682, for 'schedule_free_adamw'.
        Jordan (2024). 94% on CIFAR-10 in 3.29 seconds on a single GPU. arXiv 2404.00498, for `norm_bias_rate` (64) and
        `lookahead_power` (3, with 5 steps and a share of 0.226).
    """
    if name not in OPTIMIZERS:
        raise ValueError(f'config.optimizer.name={name!r} is unknown.{settings.nearest(name, OPTIMIZERS)}')
    if weight_decay < 0 or clip_norm < 0:
        raise ValueError(f'weight_decay ({weight_decay}) and clip_norm ({clip_norm}) must not be negative.')
    averages = [name == 'schedule_free_adamw', lookahead_steps > 0, ema_decay > 0]
    if sum(averages) > 1:
        raise ValueError(
            f'config.optimizer: name={name!r}, lookahead_steps={lookahead_steps} and ema_decay={ema_decay} average '
            'the parameters more than once: choose one of schedule_free_adamw, lookahead_steps and ema_decay.'
        )

    def mask(params: Any) -> Any:
        return jax.tree_util.tree_map_with_path(
            lambda path, value: (decay_all or value.ndim > 1) and not _is_below(path, no_decay), params
        )

    clip = [optax.clip_by_global_norm(clip_norm)] if clip_norm else []
    decay = [optax.add_decayed_weights(weight_decay, mask)] if weight_decay else []
    if name == 'adamw':
        tx = optax.chain(*clip, optax.adamw(schedule, weight_decay=weight_decay, mask=mask))
    elif name == 'schedule_free_adamw':  # optax.contrib.schedule_free_adamw, which takes no mask
        adam = optax.scale_by_rms(decay=0.999, eps=1e-8, eps_in_sqrt=False, bias_correction=True)
        base = optax.chain(adam, *decay, optax.scale_by_learning_rate(schedule))
        tx = optax.chain(*clip, contrib.schedule_free(base, schedule, b1=0.9))
    elif name == 'adam':
        tx = optax.chain(*clip, *decay, optax.adam(schedule))
    else:
        sgd = optax.sgd(schedule, momentum=momentum or None, nesterov=nesterov and momentum > 0)
        tx = optax.chain(*clip, *decay, sgd)
    if norm_bias_rate != 1:
        tx = optax.chain(tx, optax.masked(optax.scale(norm_bias_rate), _norm_biases))
    if lookahead_steps:
        if not 0 < lookahead_share <= 1:
            raise ValueError(f'config.optimizer.lookahead_share={lookahead_share} must be above 0 and at most 1.')
        return lookahead(
            tx, lookahead_steps, lambda step: 1 - (1 - lookahead_share) * (step / total_steps) ** lookahead_power
        )
    return with_ema(tx, ema_decay) if ema_decay else tx


class LookaheadState(NamedTuple):
    """State of `lookahead`: steps taken, the slow parameters, and the state of the optimiser of the fast ones."""

    step: jax.Array
    average: Any
    inner: Any


class EmaState(NamedTuple):
    """State of `with_ema`: steps taken, the averaged parameters, and the optimiser's state."""

    step: jax.Array
    average: Any
    inner: Any


def lookahead(tx: optax.GradientTransformation, n_steps: int, share: optax.Schedule) -> optax.GradientTransformation:
    """An optimiser whose parameters go back to slow ones: slow += share * (fast - slow), then fast = slow.

    Evaluation uses the slow parameters, see `to_evaluate`. BatchNorm's running statistics are those of the training
    batches, which the fast parameters saw; they fit the slow ones best just after a pull and at a small learning rate.

    Args:
        tx: Optimiser of the fast parameters; its momentum stays as it is.
        n_steps: Steps between two pulls.
        share: Share of the way from slow to fast by step, in (0, 1]; the first pull is of step `n_steps`.

    References:
        Zhang, Lucas, Hinton & Ba (2019). Lookahead optimizer: k steps forward, 1 step back. arXiv 1907.08610
    """

    def init(params: Any) -> LookaheadState:
        return LookaheadState(jnp.int32(0), params, tx.init(params))

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, LookaheadState]:
        updates, inner = tx.update(updates, state.inner, params)
        step = state.step + 1
        pulled = jnp.where(step % n_steps == 0, share(step), 0.0)
        fast = optax.apply_updates(params, updates)
        slow = jax.tree.map(lambda slow, fast: slow + pulled * (fast - slow), state.average, fast)
        updates = jax.tree.map(
            lambda update, slow, old: jnp.where(pulled > 0, slow - old, update), updates, slow, params
        )
        return updates, LookaheadState(step, slow, inner)

    return optax.GradientTransformation(init, update)


def with_ema(tx: optax.GradientTransformation, decay: float) -> optax.GradientTransformation:
    """An optimiser beside which an exponential moving average of the parameters is kept, for evaluation alone.

    The first averages forget faster: the decay of step t is min(decay, t / (9 + t)), so that a short run keeps nothing
    of the initial parameters. BatchNorm's running statistics are those of the parameters that are trained, averaged
    over batches already; they fit the average of the parameters once the learning rate is small.

    Args:
        tx: Optimiser.
        decay: average = decay * average + (1 - decay) * parameters, in (0, 1).
    """

    def init(params: Any) -> EmaState:
        return EmaState(jnp.int32(0), params, tx.init(params))

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, EmaState]:
        updates, inner = tx.update(updates, state.inner, params)
        step = state.step + 1
        new = 1 - jnp.minimum(decay, step / (9 + step))
        average = jax.tree.map(
            lambda average, value: average + new * (value - average),
            state.average,
            optax.apply_updates(params, updates),
        )
        return updates, EmaState(step, average, inner)

    return optax.GradientTransformation(init, update)


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
    """The parameters to evaluate: averages of `lookahead`, `with_ema` or a schedule-free optimiser, else `params`."""

    def is_average(state: Any) -> bool:
        return isinstance(state, (LookaheadState, EmaState, contrib.ScheduleFreeState))

    found = [state for state in jax.tree.leaves(opt_state, is_leaf=is_average) if is_average(state)]
    if not found:
        return params
    if isinstance(found[0], contrib.ScheduleFreeState):
        return contrib.schedule_free_eval_params(found[0], params)
    return found[0].average


def to_evaluate(state: TrainState) -> TrainState:
    """The state whose parameters are the average that `lookahead` or `with_ema` keeps; other states as they are.

    Works with or without a leading device axis, and on a state that has been through it already. A schedule-free
    optimiser keeps no average: those who evaluate it compute `averaged_params`.
    """
    if not isinstance(state.opt_state, (LookaheadState, EmaState)):
        return state
    return state.replace(params=state.opt_state.average)


def _norm_biases(params: Any) -> Any:
    """True for the biases of BatchNorm, which stand beside a `scale`, and False for all other parameters."""
    flat = traverse_util.flatten_dict(params)
    return traverse_util.unflatten_dict({path: path[-1] == 'bias' and (*path[:-1], 'scale') in flat for path in flat})


def _is_below(path: Sequence[Any], names: Sequence[str]) -> bool:
    """Whether a parameter's path passes a submodule of one of these names."""
    return any(getattr(key, 'key', None) in names for key in path)
