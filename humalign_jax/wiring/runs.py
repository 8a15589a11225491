"""Opens a training run that is finished or still running: its config, images, model and one of its checkpoints."""

import dataclasses
import importlib
import importlib.util
import os
import pathlib
from collections.abc import Callable

from ml_collections import ConfigDict

from humalign_jax import devices, storage
from humalign_jax.train.state import TrainState
from humalign_jax.wiring import trained_on, training
from humalign_jax.wiring import watch as watch_lib


@dataclasses.dataclass(frozen=True)
class OpenRun:
    """A training run with a checkpoint in hand.

    Attributes:
        folder: Its workdir.
        config: The config that it was trained with.
        setup: Its images, preprocessing, model and devices.
        task: What it was trained for.
        state: The checkpoint, on the host.
    """

    folder: pathlib.Path
    config: ConfigDict
    setup: training.Setup
    task: training.Task
    state: TrainState


def open_run(run: str | os.PathLike, checkpoint: str = 'best', *, root: str = '') -> OpenRun:
    """The run in a folder, with a checkpoint.

    Args:
        run: The run's workdir.
        checkpoint: 'best', 'newest' or a step.
        root: Where the data is now, if not where the run's config says.

    Raises:
        ValueError: The folder is no training run, or has no such checkpoint; or the images are of other classes.
    """
    folder = pathlib.Path(run)
    if not (folder / 'config.json').exists():
        raise ValueError(
            f'{os.fspath(run)!r} is no run: {folder / "config.json"} does not exist. '
            'Give the --workdir of a training run.'
        )
    config = ConfigDict(storage.read_json(folder / 'config.json'))
    make_task = _make_task_of(str(config.get('experiment')))
    if make_task is None:
        raise ValueError(
            f'{folder} is a run of {config.get("experiment")!r}, which leaves no checkpoint; '
            'give a run of an experiment that trains, such as train_classifier.'
        )
    if 'watch' not in config:  # folders of versions that could not watch alignment yet
        config.watch = watch_lib.OFF
    config.data.root = root or config.data.root
    config.train.n_devices = _devices_here(config)
    setup = training.set_up(config)
    trained_on.check_classes(folder, setup.images['train'])
    task = make_task(config, setup)
    template = training.start(config, setup, task).state
    return OpenRun(folder, config, setup, task, training.load_checkpoint(config, folder, template, checkpoint))


def _make_task_of(experiment: str) -> Callable[[ConfigDict, training.Setup], training.Task] | None:
    """`make_task` of the experiment's file; None if the experiment trains nothing, or does not exist."""
    name = f'humalign_jax.experiments.{experiment}'
    if not experiment.isidentifier() or importlib.util.find_spec(name) is None:
        return None
    return getattr(importlib.import_module(name), 'make_task', None)


def _devices_here(config: ConfigDict) -> int:
    """As many devices as the run had, as far as there are so many here and its batches divide among them."""
    n_here = len(devices.local_devices())
    n_wanted = min(config.train.n_devices or n_here, n_here)
    return max(n for n in range(1, n_wanted + 1) if config.data.batch_size % n == 0)
