"""Opens a training run that is finished or still running: its config, its task and one of its checkpoints."""

import dataclasses
import importlib
import importlib.util
import os
import pathlib
from typing import Any

from ml_collections import ConfigDict

from humalign_jax import devices, storage
from humalign_jax.train import checkpoints, loop, optimizers
from humalign_jax.train.state import TrainState
from humalign_jax.wiring import images, trained_on
from humalign_jax.wiring import watch as watch_lib


@dataclasses.dataclass(frozen=True)
class OpenRun:
    """A training run with a checkpoint in hand.

    Attributes:
        folder: Its workdir.
        config: The config that it was trained with.
        task: What it was trained for.
        state: The checkpoint, on the host.
    """

    folder: pathlib.Path
    config: ConfigDict
    task: loop.Task
    state: TrainState

    @property
    def setup(self) -> images.Setup:
        """Images, preprocessing and model of a run on images.

        Raises:
            ValueError: The run was trained on something else.
        """
        if not isinstance(self.task.setup, images.Setup):
            raise ValueError(f'{self.folder} is a run of {self.config.experiment!r}, which was not trained on images.')
        return self.task.setup


def open_run(run: str | os.PathLike, checkpoint: str = 'best', *, root: str = '') -> OpenRun:
    """The run in a folder, with a checkpoint; its task is made by `make_task(config)` in the experiment's file.

    Args:
        run: The run's workdir.
        checkpoint: 'best', 'newest' or a step.
        root: Where the data is now, if not where the run's config says.

    Raises:
        ValueError: The folder is no training run, or has no such checkpoint; or the images are of other classes.
    """
    folder, config, task = open_task(run, root=root)
    return OpenRun(folder, config, task, load_checkpoint(task, folder, checkpoint))


def open_task(run: str | os.PathLike, *, root: str = '') -> tuple[pathlib.Path, ConfigDict, loop.Task]:
    """The folder of a run, its config and its task, without a checkpoint; arguments and errors as `open_run`."""
    folder = pathlib.Path(run)
    config = read_config(folder)
    experiment = _experiment(str(config.get('experiment')))
    if not hasattr(experiment, 'make_task'):
        raise ValueError(
            f'{folder} is a run of {config.get("experiment")!r}, which leaves no checkpoint; '
            'give a run of an experiment that trains, such as train_classifier.'
        )
    # Trained on images by a version that could not watch alignment yet.
    if 'preprocess' in config and 'optimizer' in config and 'watch' not in config:
        config.watch = watch_lib.OFF
    if root:
        config.data.root = root
    config.train.n_devices = _devices_here(config)
    if (
        'max_steps' in config.train and 'logger' not in config.train
    ):  # trained by a version that had no choice of loggers
        config.train.logger = 'tensorboard'
    if 'optimizer' in config and 'n_seeds' not in config.train:  # trained by a version that had one seed
        config.train.n_seeds = 1
    if config.train.get('n_seeds', 1) > 1:
        raise ValueError(
            f'{folder} holds one run for each seed: give one of them, such as {folder}/seed_{config.seed}.'
        )
    task = experiment.make_task(config)
    if isinstance(task.setup, images.Setup):
        trained_on.check_classes(folder, task.setup.images['train'])
    if hasattr(experiment, 'network_config'):  # a network that was trained further: it is described where it began
        first = experiment.network_config(config)
        config = ConfigDict({**config, 'model': first.model, 'preprocess': first.preprocess})
    return folder, config, task


def read_config(run: str | os.PathLike) -> ConfigDict:
    """The config of a run.

    Raises:
        ValueError: The folder is no run.
    """
    folder = pathlib.Path(run)
    if not (folder / 'config.json').exists():
        raise ValueError(
            f'{os.fspath(run)!r} is no run: {folder / "config.json"} does not exist. '
            'Give the --workdir of a training run.'
        )
    return ConfigDict(storage.read_json(folder / 'config.json'))


def load_checkpoint(task: loop.Task, folder: pathlib.Path, which: str) -> TrainState:
    """A state from the folder of a run of this task: `which` is 'best', 'newest' or a step.

    Its parameters are those to evaluate, see `optimizers.to_evaluate`.

    Raises:
        ValueError: There is no such checkpoint, or it is damaged.
    """
    where, template = folder / 'checkpoints', task.first_state()
    if not where.is_dir():
        raise ValueError(f'{folder} holds no checkpoints: give the --workdir of a training run.')
    best_metric, best_mode = task.recipe.best_metric, task.recipe.best_mode
    with checkpoints.Checkpoints(where, read_only=True, best_metric=best_metric, best_mode=best_mode) as saved:
        if which == 'best':
            _, tree = saved.restore_best(template.to_tree())
        elif which == 'newest':
            newest = saved.restore(template.to_tree())
            if newest is None:
                raise ValueError(f'{where} holds no checkpoint yet.')
            _, tree = newest
        elif which.isdigit():
            _, tree = saved.restore_step(int(which), template.to_tree())
        else:
            raise ValueError(f"config.checkpoint must be 'best', 'newest' or a step, not {which!r}.")
    return optimizers.to_evaluate(template.from_tree(tree))


def _experiment(experiment: str) -> Any:
    """The experiment's module; None if it does not exist."""
    name = f'humalign_jax.experiments.{experiment}'
    if not experiment.isidentifier() or importlib.util.find_spec(name) is None:
        return None
    return importlib.import_module(name)


def _devices_here(config: ConfigDict) -> int:
    """As many devices as the run had, as far as there are so many here and its batches divide among them."""
    n_here = len(devices.local_devices())
    n_wanted = min(config.train.n_devices or n_here, n_here)
    return max(n for n in range(1, n_wanted + 1) if config.data.batch_size % n == 0)
