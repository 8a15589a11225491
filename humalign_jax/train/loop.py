"""The training loop: steps on the devices, and between them rows, evaluations, checkpoints and signals.

The trajectory is a function of (config, seed) alone. Everything that goes on from one step to the next is in the
checkpoint, the order of examples comes from (seed, epoch), and keys come from (seed, step, position): a run that is
killed at any moment and started again ends where the unbroken run ends, bit for bit on a CPU.
"""

import dataclasses
import os
import pathlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Protocol

import jax
import numpy as np
import optax
from absl import logging
from flax import linen as nn

from humalign_jax import devices as devices_lib
from humalign_jax import processes, storage
from humalign_jax.train import batches, loggers, optimizers, progress_line, signals, votes
from humalign_jax.train.checkpoints import Checkpoints
from humalign_jax.train.metrics import MetricRows
from humalign_jax.train.plan import Plan
from humalign_jax.train.state import TrainState, make_state
from humalign_jax.train.step import NotFiniteError, make_train_step, run_key, run_steps, take_means
from humalign_jax.train.stopping import EarlyStopping


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a run trains, whatever it trains.

    Attributes:
        seed: The run's seed.
        batch_size: Examples per step over all devices.
        devices: Where to run.
        plan: When what happens.
        tx: Optimiser.
        schedule: Learning rate by step, for the records.
        best_metric: Which metric chooses the best checkpoint.
        best_mode: 'min' or 'max'.
        keep_checkpoints: How many of the newest checkpoints stay, beside the best.
        steps_per_dispatch: Steps per call of the devices; always 1 on the CPU.
        logger: Where the curves go, see `loggers.make_logger`.
        hyperparameters: The resolved config, for the logger.
    """

    seed: int
    batch_size: int
    devices: Sequence[jax.Device]
    plan: Plan
    tx: optax.GradientTransformation
    schedule: Callable[[int], Any]
    best_metric: str
    best_mode: Literal['min', 'max']
    keep_checkpoints: int
    steps_per_dispatch: int
    logger: str
    hyperparameters: Mapping[str, Any]


class Watcher(Protocol):
    """Further metrics of a state, measured every `plan.watch_every` steps.

    Attributes:
        split: Name of its rows in `metrics.jsonl`.
        bands: Metrics that TensorBoard draws with a band, from `<metric>_ceiling_lower` to `<metric>_ceiling_upper`.
        modes: Metrics that may choose the best checkpoint: 'min' or 'max', by name.
    """

    split: str
    bands: Sequence[str]
    modes: Mapping[str, str]

    def __call__(self, state: TrainState) -> Mapping[str, float]:
        """The metrics of a state, which has a leading device axis."""
        ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task:
    """What a run trains and how it is judged.

    Functions of a state get it with a leading device axis, and with the parameters of `optimizers.to_evaluate`.

    Attributes:
        recipe: How it trains.
        model: For one device.
        make_objective: `model -> objective`, see `objectives`.
        examples: What training batches are made of.
        evaluate: `state -> {metric: value}` on the validation examples.
        metrics: Names of those metrics.
        also_evaluate: `evaluate` of further splits by name, for the curves; they choose nothing.
        digests: Hashes of the data, by name; a run does not go on with other data. Asked when training begins.
        score: `(folder, state on the host, split)` writes the scores of a split into the folder; None if it has none.
        make_watch: Makes what is watched, when training begins; None for nothing.
        pictures: `state -> {name: uint8 [h, w, 3]}` for the logger, or None.
        pictures_every: Steps between them; the first are of the state before training.
        stopping: When the run ends before its plan does, by the validation rows; None for never.
        setup: What the experiment has read from its config, for those who open the run.
        make_first_state: Makes the state before the first step, on the host; None for the model's first variables.
    """

    recipe: Recipe
    model: nn.Module
    make_objective: Callable[[nn.Module], Callable]
    examples: batches.Examples
    evaluate: Callable[[TrainState], Mapping[str, float]]
    metrics: Sequence[str]
    digests: Callable[[], Mapping[str, str]]
    also_evaluate: Mapping[str, Callable[[TrainState], Mapping[str, float]]] = dataclasses.field(default_factory=dict)
    score: Callable[[pathlib.Path, TrainState, str], None] | None = None
    make_watch: Callable[[], Watcher] | None = None
    pictures: Callable[[TrainState], Mapping[str, Any]] | None = None
    pictures_every: int = 0
    stopping: EarlyStopping | None = None
    setup: Any = None
    make_first_state: Callable[[], TrainState] | None = None

    def first_state(self) -> TrainState:
        """The state before the first step, on the host."""
        if self.make_first_state is not None:
            return self.make_first_state()
        objective = self.make_objective(self.model)
        return make_state(self.model, self.recipe.tx, objective, batches.example_batch(self.examples), self.recipe.seed)

    def train_step(self) -> Callable:
        """The step for one of several devices; the model's BatchNorm, if it has any, is shared over them."""
        has_axis = 'axis_name' in {field.name for field in dataclasses.fields(self.model)}
        model = self.model.clone(axis_name=devices_lib.AXIS) if has_axis else self.model
        objective = self.make_objective(model)
        return make_train_step(objective, self.recipe.tx, self.examples.make_batch, axis_name=devices_lib.AXIS)


def fit(task: Task, folder: pathlib.Path, watch: Watcher | None = None) -> TrainState:
    """Trains to `plan.last_step` or an early stop, or goes on from the newest good checkpoint in `folder`.

    Returns:
        The state of the best checkpoint by validation, on the host, as `optimizers.to_evaluate` makes it.

    Raises:
        SystemExit: A signal asked for a stop; the state is saved and the code is `signals.EXIT_SAVED`.
        NotFiniteError: A loss was NaN or Inf; the state before that step is saved.
        ValueError: There are checkpoints, but none that can be trusted.
    """
    recipe, checkpoints_folder = task.recipe, folder / 'checkpoints'
    with (
        Checkpoints(
            checkpoints_folder,
            keep=recipe.keep_checkpoints,
            best_metric=recipe.best_metric,
            best_mode=recipe.best_mode,
            read_only=not processes.is_first(),
        ) as checkpoints,
        signals.stop_on_signals() as stop,
    ):
        state = task.first_state()
        restored = _of_all(checkpoints.restore, checkpoints, state.to_tree())
        if restored is not None:
            state = state.from_tree(restored[1])
            logging.info('Going on from the checkpoint of step %d in %s.', restored[0], checkpoints_folder)
        if int(state.step) < recipe.plan.last_step:
            Loop(task, folder, watch, checkpoints, stop).go(state)
        checkpoints.wait()
        best = _of_all(checkpoints.restore_best, checkpoints, state.to_tree())
        assert best is not None
    return optimizers.to_evaluate(state.from_tree(best[1]))


def _of_all(restore: Callable, checkpoints: Checkpoints, template: Any) -> tuple[int, Any] | None:
    """What `restore` finds, in every process: the first one chooses the step, as it may move damaged ones aside."""
    found = restore(template) if processes.is_first() else None
    step = processes.from_first(found[0] if found else -1)
    return found if processes.is_first() or step < 0 else checkpoints.restore_step(step, template)


@dataclasses.dataclass
class Seen:
    """What was found after a step: means of the steps' metrics if due, and measurements, perhaps a new best."""

    train: dict[str, float] | None = None
    measured: dict[str, float] = dataclasses.field(default_factory=dict)
    is_better: bool = False


class Loop:
    """The loop's moving parts, so that each thing it does between steps is a method of its own."""

    def __init__(
        self,
        task: Task,
        folder: pathlib.Path,
        watch: Watcher | None,
        checkpoints: Checkpoints,
        stop: signals.StopRequest,
    ):
        self._task, self._recipe, self._plan = task, task.recipe, task.recipe.plan
        self._folder, self._watch, self._checkpoints, self._stop = folder, watch, checkpoints, stop
        self._watch_seconds = 0.0
        self._votes = votes.Votes(task.recipe.devices)

    def go(self, state: TrainState) -> None:
        """From `state` to the end of the plan."""
        recipe, plan, step = self._recipe, self._plan, int(state.step)
        quiet = None if processes.is_first() else open(os.devnull, 'w')  # noqa: SIM115  closed with the process
        self._progress = progress_line.Progress(plan.last_step, step, recipe.batch_size, label='train', stream=quiet)
        self.begin(step)
        try:
            if self._is_over():  # stopped early and killed thereafter
                return
            examples = self._task.examples
            on_devices = devices_lib.replicate((state, dict(examples.arrays), run_key(recipe.seed)), recipe.devices)
            self.draw_first(step, on_devices[0])
            self._started = time.perf_counter()
            last = run_steps(
                devices_lib.map_over_devices(self._task.train_step(), recipe.devices, donate=(0,)),
                *on_devices,
                plan=plan,
                rows_of=lambda epoch: batches.epoch_order(examples.n, recipe.batch_size, seed=recipe.seed, epoch=epoch),
                devices=recipe.devices,
                steps_per_dispatch=recipe.steps_per_dispatch,
                between=self._between,
            )
            self.note_time(int(devices_lib.unreplicate(last.step)))
        finally:
            self._progress.close()
            self.end()

    def begin(self, step: int) -> None:
        """Opens the rows and the logger of a run that goes on from a step."""
        self._first_step, self._started = step, time.perf_counter()
        self._writer = loggers.make_logger(self._recipe.logger, self._folder, first_step=step)
        self._rows = MetricRows(self._folder / 'metrics.jsonl', first_step=step)
        last_step = self._plan.last_step
        self._report = loggers.periodic_actions.ReportProgress(num_train_steps=last_step, writer=self._writer)
        if step == 0:
            self._writer.write_hparams(dict(self._recipe.hyperparameters))
        if self._watch is not None:
            loggers.write_bands(self._writer, self._watch.bands, step=step)

    def end(self) -> None:
        """Closes the logger."""
        self._writer.close()

    def _between(self, step: int, state: TrainState) -> TrainState | None:
        """Everything that is due after a step; None when the run stops early."""
        plan = self._plan
        state, seen = self.look(step, state)
        asked = self._stop.requested  # read once: a later signal waits for the next dispatch
        stopped_by = (asked or 'a signal to another process') if self._votes.cast(asked is not None) else None
        is_over = step < plan.last_step and plan.is_due(step, plan.eval_every) and self._is_over()
        if seen.is_better or stopped_by or is_over or plan.is_due(step, plan.checkpoint_every):
            self.save(step, state, seen.measured)
        self._progress.update(step, seen.train)
        if is_over:
            logging.info('Stopped early at step %d: %s has not improved.', step, self._recipe.best_metric)
            return None
        if stopped_by and step < plan.last_step:
            self._checkpoints.wait()
            self.note_time(step)
            processes.wait_for_all()  # the first is saving: if another left now, it would be stopped
            logging.info(
                'Stopped by %s at step %d of %d; everything is saved. Start again with the same workdir to go on.',
                stopped_by, step, plan.last_step,
            )  # fmt: skip
            raise SystemExit(signals.EXIT_SAVED)
        return state

    def look(self, step: int, state: TrainState) -> tuple[TrainState, Seen]:
        """Everything that is due after a step but saving: rows, measurements and pictures; the state to go on with.

        Raises:
            NotFiniteError: A row of training metrics is due, and a step since the last one was not finite.
        """
        plan, task, seen = self._plan, self._task, Seen()
        if plan.is_due(step, plan.log_every):
            state, seen.train = self._log(step, state)
        judged = optimizers.to_evaluate(state)
        if plan.is_due(step, plan.eval_every):
            seen.is_better = self._measure(step, 'validation', task.evaluate, judged, seen.measured)
            for split, evaluate in task.also_evaluate.items():
                self._write(step, split, dict(evaluate(judged)))
        if self._watch is not None and plan.is_due(step, plan.watch_every):
            seen.is_better |= self._measure_watch(step, self._watch, judged, seen.measured)
        if plan.is_due(step, task.pictures_every):
            self._draw(step, judged)
        self._report(step)
        return state, seen

    def draw_first(self, step: int, state: TrainState) -> None:
        """Draws the pictures of the state before the first step."""
        if step == 0 and self._task.pictures_every:
            self._draw(step, state)

    def _draw(self, step: int, state: TrainState) -> None:
        assert self._task.pictures is not None
        pictures = self._task.pictures(state)
        self._writer.write_images(step, {name: picture[None] for name, picture in pictures.items()})

    def _is_over(self) -> bool:
        """Whether the validation rows say that the run stops early."""
        stopping = self._task.stopping
        if stopping is None:
            return False
        is_over = stopping.is_over([row for row in self._rows.rows if row['split'] == 'validation'])
        return bool(processes.from_first(is_over))  # hosts of different kinds may round the last bit differently

    def _log(self, step: int, state: TrainState) -> tuple[TrainState, dict[str, float]]:
        """Writes the means since the last row and starts new sums; stops the run if a step was not finite."""
        after, metrics, n_steps = take_means(state, self._recipe.devices)
        if devices_lib.unreplicate(state.failed):
            self._stop_not_finite(state, metrics, n_steps)
        metrics['learning_rate'] = float(self._recipe.schedule(step - 1))
        self._write(step, 'train', metrics)
        return after, metrics

    def _stop_not_finite(self, on_devices: TrainState, metrics: dict[str, float], n_steps: int) -> None:
        state = devices_lib.unreplicate(on_devices).replace(failed=np.asarray(False))
        step = int(state.step)
        if processes.is_first() and step not in self._checkpoints.steps():
            self._checkpoints.save(step, state.to_tree(), None)
        self._checkpoints.wait()
        processes.wait_for_all()
        before = self._rows.last('train')
        shown = metrics if n_steps else before
        last = ', '.join(f'{k} {v:.6g}' for k, v in (shown or {}).items() if isinstance(v, float)) or 'none'
        raise NotFiniteError(
            f'the loss or gradient of step {step + 1} (epoch {step / self._plan.steps_per_epoch:.2f}) was NaN or Inf. '
            f'Last finite metrics: {last}. The state before that step is in '
            f'{self._folder / "checkpoints" / str(step)}. Lower config.optimizer.learning_rate or set '
            'config.optimizer.clip_norm, and start with a new --workdir.'
        )

    def _measure(
        self, step: int, split: str, function: Callable, state: TrainState, measured: dict[str, float]
    ) -> bool:
        """Writes a row of `split`, adds it to `measured`, and says whether it holds a new best."""
        best_metric, best_mode = self._recipe.best_metric, self._recipe.best_mode
        before = self._rows.best(split, best_metric, best_mode)
        metrics = dict(function(state))
        self._write(step, split, metrics)
        measured |= metrics
        if best_metric not in metrics:
            return False
        new = metrics[best_metric]
        return before is None or (new < before if best_mode == 'min' else new > before)

    def _measure_watch(self, step: int, watch: Watcher, state: TrainState, measured: dict[str, float]) -> bool:
        """`_measure` of what is watched, timed: the steps still under way are waited for first."""
        jax.block_until_ready(state.step)
        started = time.perf_counter()
        is_better = self._measure(step, watch.split, watch, state, measured)
        self._watch_seconds += time.perf_counter() - started
        return is_better

    def save(self, step: int, on_devices: TrainState, measured: dict[str, float]) -> None:
        """Saves a state with its measurements in the background, unless it is saved already or has failed."""
        if not processes.is_first() or step in self._checkpoints.steps():
            return
        failed = bool(devices_lib.unreplicate(on_devices.failed))
        if not failed:  # else the next row says so, and the state before the failure is what gets saved
            metrics = measured if self._recipe.best_metric in measured else None
            self._checkpoints.save(step, devices_lib.unreplicate(on_devices).to_tree(), metrics)

    def _write(self, step: int, split: str, metrics: dict[str, float]) -> None:
        self._rows.append(step, step / self._plan.steps_per_epoch, split, metrics)
        is_watched = self._watch is not None and split == self._watch.split  # its metrics have whole names already
        tags = metrics if is_watched else {f'{split}/{name}': value for name, value in metrics.items()}
        self._writer.write_scalars(step, tags)

    def note_time(self, step: int) -> None:
        """Clock times live in a file of their own, beside the rows that must be reproducible."""
        seconds = time.perf_counter() - self._started
        rate = (step - self._first_step) * self._recipe.batch_size / seconds
        row = {'first_step': self._first_step, 'last_step': step, 'seconds': round(seconds, 3)}
        row['examples_per_second'] = round(rate, 2)
        if self._watch is not None:
            row['watch_seconds'] = round(self._watch_seconds, 3)
        storage.append_jsonl(self._folder / 'timing.jsonl', [row])
