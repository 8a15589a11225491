"""Stages of a study: ordinary experiments in folders of their own, each done once and redone when its inputs change."""

import dataclasses
import importlib
import os
import pathlib
import signal
import time
from collections.abc import Sequence
from typing import NoReturn

from absl import logging
from ml_collections import ConfigDict

from humalign_jax import mistakes, storage, workdir
from humalign_jax.train import signals

INPUTS = 'inputs.json'
# Settings by which a study tells a stage where its inputs lie; what they are is in inputs.json.
_PLACES_OF_INPUTS = ('run', 'runs', 'features', 'validation', 'study')
# What of a stage another one reads, and what says that it is done.
_RESULTS = ('complete.json', 'scores.jsonl', 'labels.json')


@dataclasses.dataclass(frozen=True)
class Stage:
    """One step of a study.

    Attributes:
        name: Its folder below the study's, such as 'alignment/philnet'.
        config: Config of the experiment that it is.
        inputs: Folders that the experiment reads.
    """

    name: str
    config: ConfigDict
    inputs: tuple[pathlib.Path, ...] = ()


def run_stages(stages: Sequence[Stage], folder: pathlib.Path) -> None:
    """Runs the stages in order; those that are complete, and whose inputs are what they were, are passed over.

    A stage, complete or begun, whose inputs changed since is moved to `superseded/` and done again.

    Raises:
        ValueError: A stage cannot be done; the message names it.
        SystemExit: A signal came; what is complete stays. The code is `signals.EXIT_SAVED` if this process completed a
            stage, else the signal's: a stage that is longer than a job's time must not be queued again for ever.
    """
    n_done = 0
    where = folder

    def leave(received: signal.Signals) -> NoReturn:
        logging.info(
            'Stopped by %s in %s; the stages before it are complete. Start again with the same workdir to go on.',
            received.name, where.relative_to(folder),
        )  # fmt: skip
        raise SystemExit(signals.EXIT_SAVED if n_done else 128 + received)

    with signals.call_on_signals(leave):
        for number, stage in enumerate(stages, start=1):
            where = folder / stage.name
            inputs = {_name_of(path, folder): _digest(path) for path in stage.inputs}
            if workdir.is_begun(where) and _inputs_of(where) != inputs:
                _set_aside(where, folder / 'superseded' / stage.name)
            started = time.monotonic()
            logging.info('Stage %d of %d: %s', number, len(stages), stage.name)
            try:
                where.mkdir(parents=True, exist_ok=True)
                if not workdir.is_complete(where):
                    storage.write_json(where / INPUTS, inputs)
                ran = workdir.run_once(_run_experiment, stage.config, where, inputs=_PLACES_OF_INPUTS)
            except Exception as error:
                if (message := mistakes.message_of(error)) is None:
                    raise
                raise ValueError(f'stage {stage.name}: {message}') from error
            n_done += ran
            done = f'done in {time.monotonic() - started:.1f} s' if ran else 'was complete'
            logging.info('Stage %d of %d: %s %s', number, len(stages), stage.name, done)


def _run_experiment(config: ConfigDict, folder: str) -> None:
    importlib.import_module(f'humalign_jax.experiments.{config.experiment}').run(config, folder)


def _digest(folder: pathlib.Path) -> dict[str, str]:
    """Hashes of what a folder's experiment left; of a run that goes on, of its newest files."""
    return {name: storage.file_digest(folder / name) for name in _RESULTS if (folder / name).exists()}


def _name_of(path: pathlib.Path, folder: pathlib.Path) -> str:
    """An input's name in the study: the same wherever the study lies, and however its path is written."""
    inside, root = os.path.abspath(path), os.path.abspath(folder)
    return os.path.relpath(inside, root) if inside.startswith(root + os.sep) else os.path.realpath(path)


def _inputs_of(where: pathlib.Path) -> dict[str, dict[str, str]] | None:
    """The inputs that a stage was made from, None if that is not known."""
    path = where / INPUTS
    return storage.read_json(path) if path.exists() else None


def _set_aside(where: pathlib.Path, target: pathlib.Path) -> None:
    """Moves an outdated folder out of the way; nothing is lost."""
    number = 1
    while (moved := target.with_name(f'{target.name}-{number}')).exists():
        number += 1
    moved.parent.mkdir(parents=True, exist_ok=True)
    where.rename(moved)
    logging.warning('%s was made from inputs that have changed since: moved to %s and done again.', where, moved)
