"""Steps on the devices, one dispatch after another: what the training loop and fine-tuning by folds share."""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from humalign_jax import devices as devices_lib
from humalign_jax.train.plan import Plan
from humalign_jax.train.state import TrainState

_STEPS_AHEAD = 2  # dispatches that the host may be ahead of the devices: hides its own work, keeps signals prompt


class NotFiniteError(ValueError):
    """Training stopped because a loss, gradient or update was NaN or Inf."""


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
    between: Callable[[int, TrainState], TrainState],
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
        between: `(steps done, state) -> state`, called after every dispatch.
    """
    most = 1 if devices[0].platform == 'cpu' else steps_per_dispatch
    step = int(devices_lib.unreplicate(state.step))
    epoch, order = -1, np.empty((0, 0), np.int32)
    ticks: deque[jax.Array] = deque()
    while step < plan.last_step:
        if step // plan.steps_per_epoch != epoch:
            epoch = step // plan.steps_per_epoch
            order = rows_of(epoch)
        first = step % plan.steps_per_epoch
        n_steps = most if plan.next_event(step) - step >= most else 1  # two shapes, so two compilations at most
        rows = order[first : first + n_steps].reshape(n_steps, len(devices), -1)  # [s, d, b]
        state, tick = step_on_devices(state, arrays, np.ascontiguousarray(rows.swapaxes(0, 1)), key)
        step += n_steps
        ticks.append(tick)
        if len(ticks) > _STEPS_AHEAD:
            ticks.popleft().block_until_ready()
        state = between(step, state)
    return state


def take_means(state: TrainState, devices: Sequence[jax.Device]) -> tuple[TrainState, dict[str, float], int]:
    """Means of the metrics since they were last taken, and the number of those steps; new sums are begun.

    The caller looks at `state.failed`: after a step that was not finite, the means are those of the steps before it.
    """
    sums, n_steps = devices_lib.unreplicate((state.metric_sums, state.metric_steps))
    means = {name: float(total) / max(1, int(n_steps)) for name, total in sums.items()}
    new_sums, new_steps = devices_lib.replicate(jax.tree.map(np.zeros_like, (sums, n_steps)), devices)
    return state.replace(metric_sums=new_sums, metric_steps=new_steps), means, int(n_steps)
