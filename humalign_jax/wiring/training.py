"""From config to run, whatever is trained: reads how to train, and trains a task or goes on with it."""

import pathlib
from collections.abc import Callable

import optax
from ml_collections import ConfigDict

from humalign_jax import devices, settings, storage, workdir
from humalign_jax.records import Score
from humalign_jax.train import loop, optimizers, plan
from humalign_jax.train.state import TrainState

_TRAIN_KEYS = (
    'epochs',
    'max_steps',
    'log_every_steps',
    'eval_every_epochs',
    'checkpoint_every_epochs',
    'keep_checkpoints',
    'best_metric',
    'best_mode',
    'steps_per_dispatch',
    'n_seeds',
    'n_devices',
    'logger',
)
_SCHEDULE_KEYS = ('learning_rate', 'schedule', 'warmup_epochs', 'start_learning_rate', 'end_learning_rate')


def read(config: ConfigDict, *, n_examples: int, watch_every_epochs: float = 0.0) -> loop.Recipe:
    """How a run trains: `config.seed`, `config.data.batch_size`, `config.train` and `config.optimizer`.

    Args:
        config: The config of a training experiment.
        n_examples: Number of training examples.
        watch_every_epochs: Epochs between two looks at what the task watches, 0 for none.

    Raises:
        ValueError: A key is unknown or missing, or a value cannot be.
    """
    section, batch_size = config.train, config.data.batch_size
    settings.check_keys(section, _TRAIN_KEYS, 'config.train')
    if section.n_seeds != 1:
        raise ValueError(
            f'config.train.n_seeds={section.n_seeds}: only `humalign run` of a training config trains several seeds, '
            'not a study or an analysis. Set n_seeds=1 here; launch/sweep.py runs one config with several seeds.'
        )
    durations = plan.make_plan(
        n_examples=n_examples,
        batch_size=batch_size,
        watch_every_epochs=watch_every_epochs,
        **{name: section[name] for name in settings.options_of(plan.make_plan)[0] if name in section},
    )
    tx, schedule = read_optimizer(config.optimizer, durations)
    return loop.Recipe(
        seed=config.seed,
        batch_size=batch_size,
        devices=read_devices(section.n_devices, batch_size, where='config.data.batch_size'),
        plan=durations,
        tx=tx,
        schedule=schedule,
        best_metric=section.best_metric,
        best_mode=section.best_mode,
        keep_checkpoints=section.keep_checkpoints,
        steps_per_dispatch=section.steps_per_dispatch,
        logger=section.logger,
        hyperparameters=settings.plain(config),
    )


def read_devices(n_devices: int, batch_size: int, *, where: str) -> list:
    """The devices of `config.train.n_devices`.

    Raises:
        ValueError: Batches do not divide among them; the message names `where` the batch size is set.
    """
    used = devices.all_devices(n_devices, where='config.train.n_devices')
    if batch_size % len(used):
        raise ValueError(
            f'{where}={batch_size} does not divide among {len(used)} devices: choose a multiple, or set '
            'config.train.n_devices.'
        )
    return used


def read_optimizer(
    section: ConfigDict,
    durations: plan.Plan,
    *,
    adapt: Callable[[optax.Schedule], optax.Schedule] = lambda schedule: schedule,
) -> tuple[optax.GradientTransformation, optax.Schedule]:
    """Optimiser and learning rate by step of `config.optimizer`; the optimiser follows `adapt(learning rate)`."""
    of_schedule = {key: value for key, value in section.items() if key in _SCHEDULE_KEYS}
    warmup_steps = plan.epochs_to_steps(of_schedule.pop('warmup_epochs', 0.0), durations.steps_per_epoch)
    given = {'warmup_steps': warmup_steps, 'total_steps': durations.total_steps}
    schedule = settings.call(optimizers.make_schedule, of_schedule, 'config.optimizer', **given)
    rest = {key: value for key, value in section.items() if key not in _SCHEDULE_KEYS}
    given = {'schedule': adapt(schedule), 'total_steps': durations.total_steps}
    return settings.call(optimizers.make_optimizer, rest, 'config.optimizer', **given), schedule


def train(task: loop.Task, folder: pathlib.Path) -> TrainState:
    """Trains, or goes on training, and returns the best state, on the host.

    Raises:
        ValueError: The run was begun with other data, or `config.train.best_metric` is not measured by this task.
    """
    workdir.check_same_data(folder, task.digests())
    return loop.fit(task, folder, make_watch(task))


def make_watch(task: loop.Task) -> loop.Watcher | None:
    """What the task watches, None for nothing.

    Raises:
        ValueError: The metric that chooses the best checkpoint is measured neither by the task nor by what it watches.
    """
    watch = task.make_watch() if task.make_watch else None
    modes = watch.modes if watch else {}
    best_metric, best_mode = task.recipe.best_metric, task.recipe.best_mode
    if best_metric not in (*task.metrics, *modes) or best_mode not in ('min', 'max'):
        raise ValueError(
            f'config.train.best_metric={best_metric!r} with best_mode={best_mode!r}: the metric must be one of '
            f'{", ".join((*task.metrics, *modes))}, the mode min or max.'
        )
    if modes.get(best_metric, best_mode) != best_mode:
        raise ValueError(
            f'config.train.best_mode={best_mode!r}, but the best {best_metric} is its {modes[best_metric]}.'
        )
    return watch


def write_scores(folder: pathlib.Path, scores: list[Score]) -> None:
    """Writes `scores.jsonl`, atomically."""
    storage.write_jsonl(folder / 'scores.jsonl', [score.to_json() for score in scores])
