"""Several seeds of one run share a compiled program, each with a folder, rows and checkpoints of its own.

The trajectory of every seed is that of a run of this seed alone. All seeds are saved after the same steps, so that they
stop and go on together.
"""

import contextlib
import pathlib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from flax import struct

from humalign_jax import devices as devices_lib
from humalign_jax.train import batches, progress_line, signals
from humalign_jax.train.checkpoints import Checkpoints, restore_common
from humalign_jax.train.loop import Loop, Task, Watcher
from humalign_jax.train.state import TrainState
from humalign_jax.train.step import NotFiniteError, run_key, run_steps

_LEAST_KEPT = 2  # while all seeds save a step, the one before is the newest that all of them have


class Seeds(struct.PyTreeNode):
    """The states of all seeds after the same number of steps."""

    states: tuple[TrainState, ...]

    @property
    def step(self) -> jax.Array:
        """Updates made so far."""
        return self.states[0].step


def fit_seeds(tasks: Sequence[Task], folders: Sequence[pathlib.Path], watches: Sequence[Watcher | None]) -> None:
    """Trains all tasks to `plan.last_step`, or goes on from the newest good checkpoint that all folders have.

    Args:
        tasks: Tasks that differ in their seeds alone.
        folders: Of each task.
        watches: What each task watches.

    Raises:
        SystemExit: A signal asked for a stop; all states are saved and the code is `signals.EXIT_SAVED`.
        NotFiniteError: A loss of one seed, which the message names, was NaN or Inf.
        ValueError: The tasks have different plans or stop early, or there are checkpoints but no good step of all.
    """
    recipe = tasks[0].recipe
    _check(tasks)
    with contextlib.ExitStack() as stack:
        saved = [
            stack.enter_context(
                Checkpoints(
                    folder / 'checkpoints',
                    keep=max(_LEAST_KEPT, recipe.keep_checkpoints),
                    best_metric=recipe.best_metric,
                    best_mode=recipe.best_mode,
                )
            )
            for folder in folders
        ]
        stop = stack.enter_context(signals.stop_on_signals())
        states = [task.first_state() for task in tasks]
        restored = restore_common(saved, [state.to_tree() for state in states])
        if restored is not None:
            states = [state.from_tree(tree) for state, tree in zip(states, restored[1])]
            logging.info('Going on with all seeds from the checkpoints of step %d.', restored[0])
        if int(states[0].step) < recipe.plan.last_step:
            loops = [Loop(*of_seed, stop) for of_seed in zip(tasks, folders, watches, saved)]
            _Seeds(tasks, loops, saved, stop).go(states)


def _check(tasks: Sequence[Task]) -> None:
    """Raises ValueError if the tasks cannot be trained side by side."""
    if any(task.stopping is not None and task.stopping.patience for task in tasks):
        raise ValueError(
            'several seeds train side by side, and none can stop early: set config.stopping.patience=0, or '
            'config.train.n_seeds=1 and sweep over config.seed.'
        )
    for task in tasks[1:]:
        if task.recipe.plan != tasks[0].recipe.plan or task.examples.n != tasks[0].examples.n:
            raise ValueError(
                f'seeds {tasks[0].recipe.seed} and {task.recipe.seed} have {tasks[0].examples.n} and '
                f'{task.examples.n} training examples, and cannot train side by side: set config.train.n_seeds=1 and '
                'sweep over config.seed.'
            )


class _Seeds:
    """The loops of all seeds, driven together."""

    def __init__(
        self, tasks: Sequence[Task], loops: Sequence[Loop], saved: Sequence[Checkpoints], stop: signals.StopRequest
    ):
        self._tasks, self._loops, self._saved, self._stop = tasks, loops, saved, stop
        self._recipe, self._plan = tasks[0].recipe, tasks[0].recipe.plan

    def go(self, states: Sequence[TrainState]) -> None:
        """From the states to the end of the plan."""
        recipe, plan, step = self._recipe, self._plan, int(states[0].step)
        n_seeds, devices = len(states), recipe.devices
        seeds_batch = n_seeds * recipe.batch_size
        self._progress = progress_line.Progress(plan.last_step, step, seeds_batch, label=f'train {n_seeds} seeds')
        with contextlib.ExitStack() as stack:
            stack.callback(self._progress.close)
            for loop in self._loops:
                loop.begin(step)
                stack.callback(loop.end)
            keys = np.stack([run_key(task.recipe.seed) for task in self._tasks])
            train_step, arrays = map_seeds(self._tasks, states[0], together=devices[0].platform != 'cpu')
            on_devices: Any = devices_lib.replicate((Seeds(tuple(states)), {'seeds': arrays}, keys), devices)
            for loop, state in zip(self._loops, on_devices[0].states):
                loop.draw_first(step, state)
            between: Any = self._between  # of `Seeds` in place of a `TrainState`
            last = run_steps(
                train_step,
                *on_devices,
                plan=plan,
                rows_of=lambda epoch: _rows_of_seeds(self._tasks, epoch),
                devices=devices,
                steps_per_dispatch=recipe.steps_per_dispatch,
                between=between,
            )
            self._note_time(int(devices_lib.unreplicate(last.step)))

    def _between(self, step: int, seeds: Seeds) -> Seeds:
        """Everything that is due after a step: for each seed what is due in its own run; saving for all or none."""
        plan, stopped_by = self._plan, self._stop.requested
        every = (
            plan.log_every,
            plan.eval_every,
            plan.checkpoint_every,
            plan.watch_every,
            self._tasks[0].pictures_every,
        )
        if not stopped_by and not any(plan.is_due(step, one) for one in every):
            self._progress.update(step)
            return seeds
        looks = [self._look(number, step, state) for number, state in enumerate(seeds.states)]
        seeds, seen = Seeds(tuple(state for state, _ in looks)), [found for _, found in looks]
        if stopped_by or plan.is_due(step, plan.checkpoint_every) or any(found.is_better for found in seen):
            self._save(step, seeds, [found.measured for found in seen])
        self._progress.update(step, seen[0].train)
        if stopped_by and step < plan.last_step:
            for saved in self._saved:
                saved.wait()
            self._note_time(step)
            logging.info(
                'Stopped by %s at step %d of %d; all seeds are saved. Start again with the same workdir to go on.',
                stopped_by, step, plan.last_step,
            )  # fmt: skip
            raise SystemExit(signals.EXIT_SAVED)
        return seeds

    def _look(self, number: int, step: int, state: TrainState) -> Any:
        try:
            return self._loops[number].look(step, state)
        except NotFiniteError as error:
            raise NotFiniteError(f'seed {self._tasks[number].recipe.seed}: {error}') from None

    def _save(self, step: int, seeds: Seeds, measured: Sequence[dict[str, float]]) -> None:
        """Saves all seeds, or none if one has failed: the newest step of each folder must be one that all have."""
        if any(bool(devices_lib.unreplicate(state.failed)) for state in seeds.states):
            return
        for saved in self._saved:
            saved.wait()
        for loop, state, of_seed in zip(self._loops, seeds.states, measured):
            loop.save(step, state, of_seed)

    def _note_time(self, step: int) -> None:
        for loop in self._loops:
            loop.note_time(step)


def map_seeds(tasks: Sequence[Task], state: TrainState, *, together: bool) -> tuple[Callable, Any]:
    """The step of all seeds on all devices.

    Args:
        tasks: Of each seed.
        state: Any state of a seed, of which the shapes count.
        together: Whether one call computes all seeds, by `vmap` over their states. Else the program of one seed is
            called for each in turn, which is faster on a CPU (docs/decisions.md). Seeds whose steps differ in a
            constant, such as the variance of the training features, are computed in turn by programs of their own.

    Returns:
        `(Seeds, arrays, rows [d, s, seeds * b], keys [d, seeds, 2]) -> (Seeds, tick)`, as `run_steps` wants it; and
        the arrays of the examples, which it takes as `arrays['seeds']`.
    """
    steps, devices = [task.train_step() for task in tasks], tasks[0].recipe.devices
    arrays = tuple(dict(task.examples.arrays) for task in tasks)
    is_shared = _are_equal(steps, tasks, state)
    if together and is_shared:
        stacked = jax.tree.map(lambda *of_seeds: np.stack(of_seeds), *arrays)
        return devices_lib.map_over_devices(_vmapped(steps[0], len(tasks)), devices, donate=(0,)), stacked
    mapped = [devices_lib.map_over_devices(step, devices, donate=(0,)) for step in steps[: 1 if is_shared else None]]
    return _in_turn(mapped * len(tasks) if is_shared else mapped), arrays


def _in_turn(mapped: Sequence[Callable]) -> Callable:
    """The step of all seeds as a call of each seed's mapped step."""

    def train_step(seeds: Seeds, arrays: Mapping[str, Any], rows: np.ndarray, keys: jax.Array):
        rows = rows.reshape(*rows.shape[:2], len(mapped), -1)
        states, tick = [], None
        for number, step in enumerate(mapped):
            key = keys[:, number]
            own = {**arrays['seeds'][number], 'epoch': arrays['epoch'], 'run_key': key}
            state, tick = step(seeds.states[number], own, np.ascontiguousarray(rows[:, :, number]), key)
            states.append(state)
        return Seeds(tuple(states)), tick

    return train_step


def _vmapped(step: Callable, n_seeds: int) -> Callable:
    """The step of all seeds for one device as one step over an axis of seeds."""

    def train_step(seeds: Seeds, arrays: Mapping[str, Any], rows: jax.Array, keys: jax.Array):
        of_seeds = rows.reshape(rows.shape[0], n_seeds, -1).swapaxes(0, 1)
        state = jax.tree.map(lambda *leaves: jnp.stack(leaves), *seeds.states)

        def one(state, of_seed, rows, key):
            return step(state, {**of_seed, 'epoch': arrays['epoch'], 'run_key': key}, rows, key)

        state, ticks = jax.vmap(one)(state, arrays['seeds'], of_seeds, keys)
        states = (jax.tree.map(lambda leaf, number=number: leaf[number], state) for number in range(n_seeds))
        return Seeds(tuple(states)), ticks.sum()

    return train_step


def _are_equal(steps: Sequence[Callable], tasks: Sequence[Task], state: TrainState) -> bool:
    """Whether the steps compute the same function of state, examples and key, constants included."""

    def program(number: int) -> tuple[str, list]:
        task = tasks[number]
        arrays = {**task.examples.arrays, 'epoch': np.int32(0), 'run_key': run_key(0)}
        rows = np.zeros((1, task.recipe.batch_size // len(task.recipe.devices)), np.int32)
        traced = jax.make_jaxpr(steps[number], axis_env=[(devices_lib.AXIS, len(task.recipe.devices))])(
            state, arrays, rows, run_key(0)
        )
        return re.sub(' at 0x[0-9a-f]+', '', str(traced.jaxpr)), [np.asarray(one) for one in traced.consts]

    text, constants = program(0)
    for number in range(1, len(steps)):
        other, of_other = program(number)
        if other != text or not all(map(np.array_equal, constants, of_other)):
            return False
    return True


def _rows_of_seeds(tasks: Sequence[Task], epoch: int) -> np.ndarray:
    """Rows of an epoch's batches, [steps, devices * seeds * b]: for each device the rows of all seeds in turn."""
    n_devices = len(tasks[0].recipe.devices)
    orders = [
        batches.epoch_order(task.examples.n, task.recipe.batch_size, seed=task.recipe.seed, epoch=epoch)
        for task in tasks
    ]
    rows = np.stack(orders).reshape(len(tasks), len(orders[0]), n_devices, -1)
    return rows.transpose(1, 2, 0, 3).reshape(len(orders[0]), -1)
