"""Whether the data that a config names is there, before its run starts. Large files are found but not read.

`humalign doctor` reads and verifies the data of one run; this module looks at every point of a sweep in an instant, and
starts jax on no device.
"""

import functools
import glob
import pathlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

from ml_collections import ConfigDict

from humalign_jax import data, ranges, settings, storage
from humalign_jax.data import cifar10, files, folder_listing, tfds
from humalign_jax.human import cifar10h
from humalign_jax.wiring import people, targets

_FILES = ('features', 'validation', 'files', 'noise_files', 'ids_file', 'labels_file')  # settings with paths
_FUNCTIONS = ('config.functions.main', 'config.functions.mid', 'config.functions.raw')
_RUNS = ('run', 'study')  # settings with folders of runs, several between commas
_NO_PATHS = ('', 'simulated', 'synthetic', 'identity')  # values of these settings that are no path


def check(config: ConfigDict) -> None:
    """Looks for files, trained runs, images and people's answers that a config names.

    Raises:
        ValueError: Something is not there; the message names the flag that says where it is.
    """
    plain = settings.plain(config)
    runs: list[str] = []
    for where, given in _texts(plain):
        runs += _check_path(where, given)
    images, human, watch = ({'name': '', 'root': '', **plain.get(key, {})} for key in ('data', 'human', 'watch'))
    answers = {human['name'], watch.get('human') if watch.get('every_epochs') else ''} & set(people.NAMES)
    if images.get('target') in targets.CIFAR10N:
        answers.add('cifar10n')
    root = images['root'] or (human['root'] if human['name'] in people.NAMES else '')
    sections = [images, *(storage.read_json(pathlib.Path(run, 'config.json')).get('data', {}) for run in runs)]
    try:
        for section in sections:
            _find_images(section.get('name', ''), root or section.get('root', ''))
        for name in sorted(answers):
            _find_answers(name, root or sections[-1].get('root', ''))
    except ValueError as error:
        flags = [f'--config.{key}.root=DIR' for key in ('data', 'human') if 'root' in plain.get(key, {})]
        raise ValueError(
            f'{error}\nThe folder with the data is set by {" or ".join([*flags, "HUMALIGN_DATA"])}.'
        ) from error


def _texts(plain: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Settings that are text, or a list of texts, with their places; without values that say 'none'."""
    for where, value in ranges.leaves(plain):
        for given in value if isinstance(value, tuple) else (value,):
            if isinstance(given, str) and given not in _NO_PATHS:
                yield where, given


def _check_path(where: str, given: str) -> list[str]:
    """Raises ValueError if a setting names a folder or file that is not there; returns the runs whose images it means.

    The run that a variant `tiny` reads is made when it starts.
    """
    section, _, key = where.rpartition('.')
    path = pathlib.Path(given)
    if key == 'root' and where != 'config.data.root':  # which images that are rendered do not need
        if not path.is_dir():
            raise ValueError(f'--{where}={given} is no folder.')
    elif key in _RUNS or section == 'config.runs' or where == 'config.runs':
        runs = [run.strip() for run in given.split(',') if not re.fullmatch(r'runs/\w+-tiny', run.strip())]
        for run in runs:
            if not pathlib.Path(run, 'config.json').exists():
                raise ValueError(f'--{where}={given}: {run} is no run, it has no config.json.')
        return runs if where == 'config.run' else []
    elif key in _FILES or where in _FUNCTIONS:
        file = re.sub(r'(\.\w+):[^/]+$', r'\1', given)  # one array of a file
        if not path.exists() and not pathlib.Path(file).exists() and not glob.glob(file):
            raise ValueError(f'--{where}={given} does not exist.')
    return []


@functools.cache
def _find_images(name: str, root: str) -> None:
    """Raises ValueError, in the words of the loader, if the images of a source are not there."""
    folder = files.data_root(root)
    if name == 'image_folder':
        folder_listing.list_folder(folder)
    elif name == 'mnist' or (name == 'cifar10' and not (cifar10.find(folder) or tfds.find_prepared(name, folder))):
        for split in ('train', 'test'):
            data.load(name, split, root=root)


@functools.cache
def _find_answers(name: str, root: str) -> None:
    """Raises ValueError, in the words of the loader, if people's answers are not there."""
    folder = files.data_root(root)
    prepared = name == 'cifar10h' and tfds.find_prepared('cifar10_h', folder)
    if name != 'synthetic' and (not prepared or any((folder / file).exists() for file in cifar10h.FILES)):
        people.load_answers(name, root=root)
