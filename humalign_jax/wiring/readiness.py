"""Whether the run of a config can start: its folder, its data, and space for its checkpoints. Nothing is computed."""

import importlib
import inspect
import pathlib
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
from ml_collections import ConfigDict

from humalign_jax import data, devices, lock, machine, mistakes, ranges, settings, workdir
from humalign_jax.data import cifar10, files
from humalign_jax.machine import FAULT, OK, WARNING, Check
from humalign_jax.train import batches, loop
from humalign_jax.wiring import encoding, geometry, learning, people, representations, rsa_study, runs, triplets
from humalign_jax.wiring.images import Setup

_RUNS = ('run', 'study')  # settings with folders of runs, several between commas
_PATHS = ('features', 'validation', 'files', 'noise_files', 'ids_file', 'labels_file')
_MADE = ('', 'simulated', 'synthetic', 'identity')  # in place of a path
_SIMULATED = ('n_stimuli', 'n_participants', 'n_triplets', 'n_test', 'n_models')  # of `config.simulated`: 0 for files
# What reads all files of an experiment without training.
_READERS: Mapping[str, Callable[[ConfigDict], Any]] = {
    'encoding': encoding.load,
    'geometry': geometry.load,
    'human_rsa': representations.load_comparison,
    'learning': learning.load,
    'odd_one_out': lambda config: triplets.load_triplets(**settings.plain(config.human), seed=config.seed),
    'rsa': rsa_study.load,
}


def check_run(config: ConfigDict, folder: pathlib.Path, *, tiny: bool = False) -> list[Check]:
    """Checks of the folder, the number of devices, the data and the space of a run.

    Data are read and verified as the run would read them; parameters are counted from their shapes.

    Args:
        config: The run's config, as `main.read_config` gives it.
        folder: Its workdir.
        tiny: Whether it is a variant `tiny`, for which a run that it reads is made first.
    """
    checks = [_of_folder(config, folder), *_of_devices(config)]
    first = next((run for run in _runs_of(config) if re.fullmatch(r'runs/\w+-tiny', run)), None)
    if tiny and first and not workdir.is_begun(pathlib.Path(first)):
        made = Check('data', OK, f'{first} is made first, on simulated data')
        return [*checks, made, machine.check_space(folder, None)]
    tasks: list[loop.Task] = []
    found: list[Check] = []
    try:
        module = importlib.import_module(f'humalign_jax.experiments.{config.experiment}')
        for check in _read(module, config, folder, tasks):
            found += [] if check in found else [check]
    except Exception as error:
        words = mistakes.message_of(error) or f'{type(error).__name__}: {error} (a fault of the program)'
        return [*checks, *found, Check('data', FAULT, words), machine.check_space(folder, None)]
    found = found or [Check('data', OK, 'nothing to verify before this run')]
    return [*checks, *found, _of_space(tasks, folder)]


def state_bytes(task: loop.Task) -> int:
    """Size of a checkpoint of a task: parameters, collections and the optimiser's state, from their shapes."""
    if task.make_first_state is not None:
        return sum(leaf.nbytes for leaf in jax.tree.leaves(task.first_state().to_tree()))
    arguments = inspect.signature(task.model.__call__).parameters
    batch = batches.example_batch(task.examples)
    inputs = {name: value for name, value in batch.items() if name in arguments}
    variables = dict(jax.eval_shape(task.model.init, jax.random.key(0), **inputs))
    variables.pop('layers', None)
    held = (variables, jax.eval_shape(task.recipe.tx.init, variables['params']))
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(held))


def _of_folder(config: ConfigDict, folder: pathlib.Path) -> Check:
    """Whether the folder is free, or belongs to this config and nobody works in it."""
    if folder.exists() and not folder.is_dir():
        return Check('workdir', FAULT, f'{folder} is a file: choose another --workdir')
    try:
        differing = workdir.differences(config, folder)
        held = lock.holder(folder)
    except (OSError, ValueError) as error:
        return Check('workdir', FAULT, f'{folder}: {mistakes.message_of(error)}')
    if differing:
        shown = '; '.join(differing[:3]) + ('; ...' if len(differing) > 3 else '')
        return Check('workdir', FAULT, f'{folder} belongs to another config: {shown}. Choose another --workdir')
    if held is not None:
        who, certain = held
        advice = 'wait until it has ended' if certain else 'a start waits up to 5 minutes to see whether it lives'
        return Check('workdir', FAULT if certain else WARNING, f'{who} works in {folder}: {advice}')
    if workdir.is_complete(folder):
        return Check('workdir', OK, f'{folder} is complete: a start does nothing')
    return Check('workdir', OK, f'{folder} is {"begun: a start goes on" if workdir.is_begun(folder) else "free"}')


def _of_devices(config: ConfigDict) -> Iterator[Check]:
    """Whether there are as many devices as the config wants; nothing if it wants all."""
    for where, value in ranges.leaves(settings.plain(config)):
        if where.endswith('.n_devices') and value:
            try:
                devices.local_devices(value, where=where)
            except ValueError as error:
                yield Check('n_devices', FAULT, str(error))


def _of_space(tasks: list[loop.Task], folder: pathlib.Path) -> Check:
    """Space for the newest checkpoints, the best and the one being written, less those that are there."""
    if not tasks:
        return machine.check_space(folder, None)
    sizes = [state_bytes(task) * task.recipe.hyperparameters.get('train', {}).get('n_seeds', 1) for task in tasks]
    copies = [task.recipe.keep_checkpoints + 2 for task in tasks]
    there = sum(path.stat().st_size for path in folder.glob('**/checkpoints/[0-9]*/**/*') if path.is_file())
    needed = max(sum(n * size for n, size in zip(copies, sizes)) - there, max(sizes))
    parts = [f'{n} checkpoints of {machine.gigabytes(size)}' for n, size in zip(copies, sizes)]
    return machine.check_space(folder, needed, ' + '.join(parts))


def _read(module: Any, config: ConfigDict, folder: pathlib.Path, tasks: list[loop.Task]) -> Iterator[Check]:
    """Reads the data of a config; says what was found and adds what it trains to `tasks`.

    Raises:
        ValueError: Something is missing, damaged or does not fit.
    """
    if hasattr(module, 'make_task'):
        tasks.append(module.make_task(config))
        yield from _of_task(tasks[-1], config)
    elif hasattr(module, 'make_stages'):
        chosen = module.included(config) if hasattr(module, 'included') else config
        for stage in module.make_stages(chosen, folder):
            of_stage = importlib.import_module(f'humalign_jax.experiments.{stage.config.experiment}')
            if hasattr(of_stage, 'make_task') and not stage.inputs:
                yield from _read(of_stage, stage.config, folder / stage.name, tasks)
        yield from _of_people(chosen)
    elif config.experiment in _READERS:
        if not _is_simulated(config):
            _READERS[config.experiment](config)
            yield Check('data', OK, 'all files that the config names read')
    else:
        yield from _of_inputs(config)
        yield from _of_people(config)


def _of_task(task: loop.Task, config: ConfigDict) -> Iterator[Check]:
    setup = task.setup
    if not isinstance(setup, Setup):
        yield Check('data', OK, f'{task.examples.n} training examples read')
        return
    numbers = ', '.join(f'{len(images)} {split}' for split, images in setup.images.items())
    yield _of_images(setup.source, setup.root, numbers)
    if setup.probe is not None:
        yield from _of_people(ConfigDict({'human': {'name': config.watch.human, 'root': setup.root}}))


def _of_images(source: str, root: str, numbers: str) -> Check:
    """What was read, and of CIFAR-10 whether it is the published one."""
    text = f'{source}: {numbers} images read'
    if source != 'cifar10':
        return Check('data', OK, text if source == 'synthetic' else f'{text} from {files.data_root(root)}')
    place, verdicts = cifar10.find(files.data_root(root)), cifar10.identify(root)
    if place is None:
        return Check('data', OK, f'{text} from a copy of TensorFlow Datasets')
    if differing := sorted(name for name, verdict in verdicts.items() if verdict == 'differs'):
        advice = 'a copy encoded anew, or damaged; humalign fetch cifar10 gets the published one'
        return Check('data', WARNING, f'{text} from {place}; MD5 not as published: {", ".join(differing)} ({advice})')
    published = 'published' in verdicts.values()
    return Check('data', OK, f'{text} from {place}' + (', MD5 as published' if published else ''))


def _of_inputs(config: ConfigDict) -> Iterator[Check]:
    """Runs, files and images that a config without training names."""
    if config.get('features') == '' and not _is_simulated(config):
        raise ValueError('config.features is empty: give a folder with layers, as configs/extract.py writes it.')
    for run in _runs_of(config):
        runs.read_config(run)
        yield Check('data', OK, f'run {run} found')
    for where, value in ranges.leaves(settings.plain(config)):
        for path in value if isinstance(value, tuple) else (value,):
            if where.rpartition('.')[2] in _PATHS and isinstance(path, str) and path not in _MADE:
                if not pathlib.Path(path).exists():
                    raise ValueError(f'{where}: {path} does not exist.')
                yield Check('data', OK, f'{path} found')
    section = config.get('data', {})
    if section.get('name') in data.SOURCES:
        known = settings.options_of(data.SOURCES[section.name])[0]
        options = {key: value for key, value in settings.plain(section).items() if key in known}
        images = data.load(section.name, 'test', **options)
        yield _of_images(section.name, section.get('root', ''), f'{len(images)} test')


def _of_people(config: ConfigDict) -> Iterator[Check]:
    """What people said, if the config compares with people."""
    section = config.get('human', {})
    if section.get('name') in people.NAMES and section.name != 'synthetic':
        answers = people.load_answers(
            section.name, root=section.get('root', '') or config.get('data', {}).get('root', '')
        )
        yield Check('data', OK, f'{section.name}: answers to {len(answers.ids)} images read')


def _is_simulated(config: ConfigDict) -> bool:
    return any(config.get('simulated', {}).get(key, 0) for key in _SIMULATED)


def _runs_of(config: ConfigDict) -> list[str]:
    given = [config[key] for key in _RUNS if isinstance(config.get(key), str)]
    return [run.strip() for text in given if text not in _MADE for run in text.split(',')]
