"""Stages of a study: ordinary experiments in folders of their own, each done once and redone when its inputs change."""

import dataclasses
import importlib
import os
import pathlib
import time
from collections.abc import Sequence

from absl import logging
from ml_collections import ConfigDict

from humalign_jax import interrupts, mistakes, storage, workdir
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
        inputs: Folders of other stages, and files from elsewhere, that the experiment reads.
        places: Settings of its config that say where the inputs lie; the inputs themselves are compared by content.
    """

    name: str
    config: ConfigDict
    inputs: tuple[pathlib.Path, ...] = ()
    places: tuple[str, ...] = _PLACES_OF_INPUTS


def stage_config(experiment: str, config: ConfigDict, section: ConfigDict, **given: object) -> ConfigDict:
    """A section of a study as the config of an experiment.

    Args:
        experiment: The experiment.
        config: The study's config, which has the seed.
        section: The section.
        **given: Settings that the study fills in.

    Raises:
        ValueError: The section has a setting that the study fills in.
    """
    filled = sorted(set(given) & set(section))
    if filled:
        raise ValueError(f'config.{experiment}.{filled[0]} is filled in by the study: take it out of the config.')
    return ConfigDict({'experiment': experiment, 'seed': config.seed, **section.to_dict(), **given})


def run_stages(stages: Sequence[Stage], folder: pathlib.Path) -> None:
    """Runs the stages in order; those that are complete, with the same config and inputs, are passed over.

    A stage, complete or begun, whose config or inputs changed since is moved to `superseded/` and done again.

    Raises:
        ValueError: A stage cannot be done; the message names it.
        SystemExit: A signal came; what is complete stays. The code is that of `signals.leave_on_signals`.
    """
    where = folder

    def say(name: str) -> None:
        logging.info(
            'Stopped by %s in %s; the stages before it are complete. Start again with the same workdir to go on.',
            name, where.relative_to(folder),
        )  # fmt: skip

    with signals.leave_on_signals(say):
        for number, stage in enumerate(stages, start=1):
            where = folder / stage.name
            inputs = {_name_of(path, folder): _digest(path) for path in stage.inputs}
            if workdir.differences(stage.config, where, inputs=stage.places) or (
                workdir.is_begun(where) and _inputs_of(where) != inputs
            ):
                _set_aside(where, folder)
            started = time.monotonic()
            logging.info('Stage %d of %d: %s', number, len(stages), stage.name)
            try:
                where.mkdir(parents=True, exist_ok=True)
                if not workdir.is_complete(where):
                    storage.write_json(where / INPUTS, inputs)
                ran = workdir.run_once(_run_experiment, stage.config, where, inputs=stage.places)
            except Exception as error:
                if (message := mistakes.message_of(error)) is None:
                    raise
                raise ValueError(f'stage {stage.name}: {message}') from error
            if ran:
                interrupts.note_kept()
            done = f'done in {time.monotonic() - started:.1f} s' if ran else 'was complete'
            logging.info('Stage %d of %d: %s %s', number, len(stages), stage.name, done)


def _run_experiment(config: ConfigDict, folder: str) -> None:
    importlib.import_module(f'humalign_jax.experiments.{config.experiment}').run(config, folder)


def set_aside_others(stages: Sequence[Stage], folder: pathlib.Path, patterns: Sequence[str]) -> None:
    """Moves stages of an earlier config that is no longer the study's to `superseded/`.

    Args:
        stages: The study's stages.
        folder: Its folder.
        patterns: Where stages lie in it, such as 'networks/*'.
    """
    names = {stage.name for stage in stages}
    for path in [path for pattern in patterns for path in folder.glob(pattern)]:
        if path.is_dir() and path.relative_to(folder).as_posix() not in names:
            _set_aside(path, folder)


def _digest(path: pathlib.Path) -> dict[str, str]:
    """Hashes of what a folder's experiment left; of a run that goes on, of its newest files. Or the hash of a file."""
    if path.is_file():
        return {'': storage.file_digest(path)}
    return {name: storage.file_digest(path / name) for name in _RESULTS if (path / name).exists()}


def _name_of(path: pathlib.Path, folder: pathlib.Path) -> str:
    """An input's name in the study: the same wherever the study lies, and however its path is written."""
    inside, root = os.path.abspath(path), os.path.abspath(folder)
    return os.path.relpath(inside, root) if inside.startswith(root + os.sep) else os.path.realpath(path)


def _inputs_of(where: pathlib.Path) -> dict[str, dict[str, str]] | None:
    """The inputs that a stage was made from, None if that is not known."""
    path = where / INPUTS
    return storage.read_json(path) if path.exists() else None


def _set_aside(where: pathlib.Path, folder: pathlib.Path) -> None:
    """Moves an outdated stage of a study out of the way; nothing is lost."""
    target, number = folder / 'superseded' / where.relative_to(folder), 1
    while (moved := target.with_name(f'{target.name}-{number}')).exists():
        number += 1
    moved.parent.mkdir(parents=True, exist_ok=True)
    where.rename(moved)
    logging.warning('%s is of a config or of inputs that have changed since: moved to %s.', where, moved)
