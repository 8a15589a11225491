"""The one train step, for every objective, and its dispatch to the devices, for every loop.

Randomness belongs to the example: every position of the global batch has its own key, made from (run's key, step,
position). A run on four devices therefore draws the same random numbers as a run on one.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from humalign_jax import devices as devices_lib
from humalign_jax.train.batches import MakeBatch, with_mask
from humalign_jax.train.plan import Plan
from humalign_jax.train.state import TrainState

_STEPS_AHEAD = 2  # dispatches that the host may be ahead of the devices: hides its own work, keeps signals prompt


def run_key(seed: int) -> np.ndarray:
    """The key of a run, as the step takes it: uint32 [2]."""
    return np.asarray(jax.random.key_data(jax.random.key(seed)))


def make_train_step(
    objective: Callable,
    tx: optax.GradientTransformation,
    make_batch: MakeBatch,
    *,
    axis_name: str | None = None,
) -> Callable:
    """Some steps for one device: `(state, arrays, rows, key) -> (state, tick)`.

    Args:
        objective: `(params, model_state, batch, keys, step) -> (loss, (model_state, metrics))`.
        tx: Optimiser.
        make_batch: `(arrays, rows [b], keys [b]) -> batch`, see `batches.Examples`.
        axis_name: Name of the device axis to average over, None on a single device without mapping.

    Returns:
        The function. `arrays` are those of the examples; `rows` [s, b] are this device's examples of s successive
        batches; `key` is from `run_key`. A step whose loss or gradient is not finite changes nothing and sets `failed`,
        which also stops all later steps. `tick` is a number that is there once the steps are done, for a host
        that must not run far ahead.
    """

    def one_step(state: TrainState, arrays: Mapping[str, jax.Array], rows: jax.Array, key: jax.Array) -> TrainState:
        first = 0 if axis_name is None else jax.lax.axis_index(axis_name) * rows.shape[0]
        step_key = jax.random.fold_in(jax.random.wrap_key_data(key), state.step)
        example_keys = jax.vmap(jax.random.fold_in, (None, 0))(step_key, first + jnp.arange(rows.shape[0]))
        keys = jax.vmap(jax.random.split)(example_keys)  # [b, 2]: one for the batch, one for the model
        batch = with_mask(make_batch(arrays, rows, keys[:, 0]), jnp.ones(rows.shape[0], jnp.float32))

        value_and_grad = jax.value_and_grad(objective, has_aux=True)
        (loss, (model_state, metrics)), grads = value_and_grad(
            state.params, state.model_state, batch, keys[:, 1], state.step
        )
        if (
            axis_name is not None and jax.lax.axis_size(axis_name) > 1
        ):  # of one device, the mean is a copy of everything
            loss, model_state, metrics, grads = jax.lax.pmean((loss, model_state, metrics, grads), axis_name)
        metrics = {'loss': loss, 'grad_norm': optax.tree.norm(grads), **metrics}
        failed = state.failed | ~(jnp.isfinite(loss) & jnp.isfinite(metrics['grad_norm']))

        def advanced(state: TrainState) -> TrainState:
            updates, opt_state = tx.update(grads, state.opt_state, state.params)
            return state.replace(
                step=state.step + 1,
                params=optax.apply_updates(state.params, updates),
                model_state=model_state,
                opt_state=opt_state,
                metric_sums={name: total + metrics[name] for name, total in state.metric_sums.items()},
                metric_steps=state.metric_steps + 1,
            )

        # A branch, because to choose between old and new leaves would read and write each of them once more.
        return jax.lax.cond(failed, lambda state: state, advanced, state).replace(failed=failed)

    def train_step(
        state: TrainState, arrays: Mapping[str, jax.Array], rows: jax.Array, key: jax.Array
    ) -> tuple[TrainState, jax.Array]:
        if rows.shape[0] == 1:  # a scan of convolution gradients is 150 times slower on the CPU
            state = one_step(state, arrays, rows[0], key)
        else:
            state, _ = jax.lax.scan(lambda carry, now: (one_step(carry, arrays, now, key), None), state, rows)
        return state, 2 * state.step  # not the step itself, whose memory the next call takes over

    return train_step


class NotFiniteError(ValueError):
    """Training stopped because a loss or gradient was NaN or Inf."""


def run_steps(
    step_on_devices: Callable,
    state: TrainState,
    arrays: Mapping[str, Any],
    key: Any,
    *,
    plan: Plan,
    rows_of: Callable[[int], np.ndarray],
    devices: Sequence[jax.Device],
    steps_per_dispatch: int,
    between: Callable[[int, TrainState], TrainState | None],
) -> TrainState:
    """Takes the steps from the state's own to the plan's last; state, arrays and key have a leading device axis.

    Args:
        step_on_devices: `make_train_step`, mapped over the devices.
        state: Where to start from; its memory is taken over.
        arrays: Arrays of the examples.
        key: Key of the run.
        plan: Steps per epoch, the last step, and the steps after which the host has something to do.
        rows_of: Examples of the batches of an epoch, by its number: int32 [s, b].
        devices: Where to run.
        steps_per_dispatch: Steps per call of the devices; always 1 on the CPU.
        between: `(steps done, state) -> state`, called after every dispatch; None ends the run before the last step.
    """
    most = 1 if devices[0].platform == 'cpu' else steps_per_dispatch
    step = int(devices_lib.unreplicate(state.step))
    epoch, order = -1, np.empty((0, 0), np.int32)
    ticks: deque[jax.Array] = deque()
    while step < plan.last_step:
        if step // plan.steps_per_epoch != epoch:
            epoch = step // plan.steps_per_epoch
            order = rows_of(epoch)
            arrays = {**arrays, 'epoch': devices_lib.replicate(np.int32(epoch), devices), 'run_key': key}
        first = step % plan.steps_per_epoch
        n_steps = most if plan.next_event(step) - step >= most else 1  # two shapes, so two compilations at most
        rows = order[first : first + n_steps].reshape(n_steps, len(devices), -1).swapaxes(0, 1)  # [d, s, b]
        rows = np.ascontiguousarray(devices_lib.part_of_this_process(rows, devices))
        state, tick = step_on_devices(state, arrays, rows, key)
        step += n_steps
        ticks.append(tick)
        if len(ticks) > _STEPS_AHEAD:
            ticks.popleft().block_until_ready()
        after = between(step, state)
        if after is None:
            break
        state = after
    return state


def take_means(state: TrainState, devices: Sequence[jax.Device]) -> tuple[TrainState, dict[str, float], int]:
    """Means of the metrics since they were last taken, and the number of those steps; new sums are begun.

    The caller looks at `state.failed`: after a step that was not finite, the means are those of the steps before it.
    """
    sums, n_steps = devices_lib.unreplicate((state.metric_sums, state.metric_steps))
    means = {name: float(total) / max(1, int(n_steps)) for name, total in sums.items()}
    new_sums, new_steps = devices_lib.replicate(jax.tree.map(np.zeros_like, (sums, n_steps)), devices)
    return state.replace(metric_sums=new_sums, metric_steps=new_steps), means, int(n_steps)
