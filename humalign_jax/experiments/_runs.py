"""Opens a training run that is finished or still running: its config, images, model and one of its checkpoints."""

import dataclasses
import os
import pathlib

from ml_collections import ConfigDict

from humalign_jax import devices, storage
from humalign_jax.experiments import _trained_on, _watch, _wiring, train_classifier, train_vae
from humalign_jax.train.state import TrainState

TRAINING = {'train_classifier': train_classifier, 'train_vae': train_vae}


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
    setup: _wiring.Setup
    task: _wiring.Task
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
    if config.get('experiment') not in TRAINING:
        raise ValueError(
            f'{folder} is a run of {config.get("experiment")!r}, which leaves no checkpoint; '
            f'give a run of {" or ".join(TRAINING)}.'
        )
    if 'watch' not in config:  # folders of versions that could not watch alignment yet
        config.watch = _watch.OFF
    config.data.root = root or config.data.root
    config.train.n_devices = _devices_here(config)
    setup = _wiring.set_up(config)
    _trained_on.check_classes(folder, setup.images['train'])
    task = TRAINING[config.experiment].make_task(config, setup)
    template = _wiring.start(config, setup, task).state
    return OpenRun(folder, config, setup, task, _wiring.load_checkpoint(config, folder, template, checkpoint))


def _devices_here(config: ConfigDict) -> int:
    """As many devices as the run had, as far as there are so many here and its batches divide among them."""
    n_here = len(devices.local_devices())
    n_wanted = min(config.train.n_devices or n_here, n_here)
    return max(n for n in range(1, n_wanted + 1) if config.data.batch_size % n == 0)
