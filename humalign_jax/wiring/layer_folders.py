"""Folders with the layers of a network and the classes of its stimuli, written by `extract` or from elsewhere.

    <layer>.npy (or .npz, .h5, .mat, .csv)   values [n, d]
    labels.npy (or .npz, .h5, .mat, .csv, .txt)   class of each stimulus, [n]: numbers from 0, or names
    <layer>.json, labels.json   provenance (optional)

Stimulus ids are in the files or in the .json beside them. For files without ids a config section says what the rows
are: `dataset` and `split` for rows in the published order, or `ids_file` with one id a line.
"""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from humalign_jax import settings, storage
from humalign_jax.records import Features, check_ids, stimulus_ids
from humalign_jax.rsa import files, pairs
from humalign_jax.wiring.words import FOLDER, in_flags

SUFFIXES = tuple(suffix for suffix in files.SUFFIXES if suffix != '.json')  # which describes a .npy here
KEYS = ('dataset', 'split', 'ids_file', 'labels_file')
NO_STIMULI: dict[str, str] = {key: '' for key in KEYS}  # all files have ids, and every folder has labels
NO_CODES = {'train': '', 'validation': '', 'test': '', 'dataset': ''}  # `latents` takes the codes from a run
_SPLITS = ('train', 'validation', 'test')
_LABELS, _IDS = 'labels', 'ids'  # stems of files that are no layers
ORDER = 'layer_order'  # key of a sidecar: place of the layer in the forward pass of its network, from 0
_NO_PROVENANCE = ('ids', 'name', 'shape', 'dtype', 'provenance', ORDER)  # keys of a sidecar that describe the file


@dataclasses.dataclass(frozen=True)
class Labels:
    """Classes of stimuli.

    Attributes:
        values: Class numbers, int64, [n].
        ids: Stimulus ids, [n].
        class_names: Names of the k classes.
        provenance: From the .json beside the file.
        path: The file.
    """

    values: np.ndarray
    ids: np.ndarray
    class_names: tuple[str, ...]
    provenance: Mapping[str, Any]
    path: pathlib.Path

    def select(self, ids: np.ndarray) -> 'Labels':
        """The classes of these stimuli, in this order.

        Raises:
            ValueError: A stimulus has none; the message names the first.
        """
        rows = {stimulus: row for row, stimulus in enumerate(self.ids.tolist())}
        missing = [stimulus for stimulus in np.asarray(ids).tolist() if stimulus not in rows]
        if missing:
            raise ValueError(
                f'{self.path} lacks the classes of {len(missing)} of {len(ids)} images, the first of them '
                f'{missing[0]!r}; its ids are such as {str(self.ids[0])!r}.'
            )
        chosen = np.array([rows[stimulus] for stimulus in np.asarray(ids).tolist()], dtype=np.int64)
        return dataclasses.replace(self, values=self.values[chosen], ids=np.asarray(ids))


def layer_paths(folder: pathlib.Path) -> dict[str, pathlib.Path]:
    """The file of each layer in a folder, by the layer's name.

    Raises:
        ValueError: There is no such folder, no such file in it, or two files of one layer.
    """
    if not folder.is_dir():
        raise ValueError(f'{folder} is no folder: it should hold a file for each layer, such as penultimate.npy.')
    found: dict[str, pathlib.Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix not in SUFFIXES or path.stem in (_LABELS, _IDS) or path.name.startswith('.'):
            continue
        if path.stem in found:
            raise ValueError(f'{folder} has {found[path.stem].name} and {path.name}: keep one file for each layer.')
        found[path.stem] = path
    if not found:
        raise ValueError(
            f'{folder} has no file of a layer: put one [n, d] array for each layer there, such as penultimate.npy '
            f'({", ".join(SUFFIXES)}).'
        )
    return found


def provenance_of(path: pathlib.Path) -> dict[str, Any]:
    """Provenance of a layer, from the .json beside its file; {} without one."""
    sidecar = _sidecar(path)
    nested = sidecar.get('provenance')
    return _only_provenance({**(nested if isinstance(nested, Mapping) else {}), **sidecar})


def order_of(path: pathlib.Path) -> int | None:
    """Place of a layer in the forward pass of its network, from 0; None where the .json beside its file has none."""
    order = _sidecar(path).get(ORDER)
    return order if isinstance(order, int) else None


def model_name(folder: pathlib.Path) -> str:
    """Name of a network that no file names: the name of its folder, or of the folder around a split's."""
    place = folder.resolve()
    return place.parent.name if place.name in _SPLITS else place.name


def read_ids(path: pathlib.Path, stimuli: Mapping[str, str], where: str) -> np.ndarray:
    """Stimulus ids of a layer, [n]; see `read_layer`."""
    sidecar = _sidecar(path)
    return np.array(sidecar['ids'], dtype=np.str_) if 'ids' in sidecar else read_layer(path, stimuli, where).ids


def read_layer(path: pathlib.Path, stimuli: Mapping[str, str], where: str) -> Features:
    """The values of a layer with stimulus ids; large `.npy` files stay on the disk until they are used.

    Args:
        path: The file.
        stimuli: Section with `KEYS`, for a file without ids.
        where: Place of that section in the config, for messages.

    Raises:
        ValueError: The file is damaged or changed since its .json was written, or there are no ids.
    """
    sidecar = _sidecar(path)
    if path.suffix == '.npy' and {'ids', 'sha256'} <= sidecar.keys():
        values, _ = storage.read_described(path, memory_mapped=True)
        if values.ndim == 2 and values.dtype.kind == 'f' and 0 not in values.shape:
            return Features(values, np.array(sidecar['ids'], dtype=np.str_), path.stem, provenance_of(path))
    with in_flags(FOLDER):
        found = files.load_features(path)
    ids = found.ids if pairs.has_ids(found) else _ids_by_section(len(found.ids), stimuli, path, where)
    return dataclasses.replace(found, ids=ids, name=path.stem, provenance=_only_provenance(found.provenance))


def check_finite(features: Features, path: pathlib.Path, advice: str) -> None:
    """Raises ValueError for values of a layer that are NaN or infinite; the message names file and stimulus."""
    finite = np.isfinite(features.values).all(axis=1)
    if not finite.all():
        first = str(np.asarray(features.ids)[np.argmin(finite)])
        raise ValueError(
            f'{path}: {np.sum(~finite)} of {len(finite)} images have NaN or infinite values, the first of them '
            f'{first!r}: the network diverged, or the file is damaged. {advice}'
        )


def find_labels(folder: pathlib.Path, stimuli: Mapping[str, str]) -> pathlib.Path | None:
    """The file with the classes of a folder's stimuli; None where there is none."""
    if stimuli.get('labels_file'):
        return pathlib.Path(stimuli['labels_file']).expanduser()
    candidates = [folder / f'{_LABELS}{suffix}' for suffix in (*SUFFIXES, '.txt')]
    return next((path for path in candidates if path.is_file()), None)


def no_labels(folders: Sequence[pathlib.Path], where: str) -> str:
    """A message for folders without classes."""
    return (
        f'{", ".join(map(str, folders))}: there is no labels.npy with the class of each stimulus, in the order of the '
        f'rows. Write one (numbers from 0 in the order of class_names; also .npz, .h5, .mat, .csv, or labels.txt with '
        f'a class name a line), or give --config.{where}.labels_file=FILE.'
    )


def read_labels(path: pathlib.Path, stimuli: Mapping[str, str], where: str, class_names: Sequence[str]) -> Labels:
    """Classes from a file.

    Args:
        path: The file.
        stimuli: Section with `KEYS`, for a file without ids.
        where: Place of that section in the config, for messages.
        class_names: Names of the k classes, to which class numbers count and class names belong; () for any numbers.

    Raises:
        ValueError: The file is damaged, there are no ids, or a class is none of these.
    """
    values, ids, provenance = _raw_labels(path)
    if ids is None:
        ids = _ids_by_section(len(values), stimuli, path, where)
    check_ids(ids, len(values), str(path))
    names = tuple(provenance.get('class_names') or class_names)
    if values.dtype.kind not in 'fiub':
        if not names:
            raise ValueError(f'{path} must hold class numbers here, from 0, not names such as {str(values[0])!r}.')
        number = {name: k for k, name in enumerate(names)}
        unknown = sorted(set(values.tolist()) - set(number))
        if unknown:
            raise ValueError(f'{path} has the class {unknown[0]!r}, which is none of {", ".join(names)}.')
        values = np.array([number[name] for name in values.tolist()])
    whole = values.astype(np.int64) if np.isfinite(values).all() else np.zeros(0)
    if not np.array_equal(whole, values):
        raise ValueError(f'{path}: class numbers must be whole.')
    if whole.min() < 0 or (names and whole.max() >= len(names)):
        raise ValueError(
            f'{path}: labels are {whole.min()} to {whole.max()}, but class numbers count from 0'
            f'{f" to {len(names) - 1}, of {len(names)} classes" if names else ""}; if these count from 1, subtract 1.'
        )
    return Labels(whole, np.asarray(ids, dtype=np.str_), names, provenance, path)


def check_section(section: Mapping[str, str], where: str) -> dict[str, str]:
    """A section with `KEYS` as plain text.

    Raises:
        ValueError: A key is unknown or missing, only one of dataset and split is given, or ids are given twice.
    """
    settings.check_keys(section, KEYS, where)
    stimuli = {key: str(section[key]) for key in KEYS}
    if bool(stimuli['dataset']) != bool(stimuli['split']):
        raise ValueError(f'{where}.dataset and {where}.split say what rows are together: give both or neither.')
    if stimuli['dataset'] and stimuli['ids_file']:
        raise ValueError(f'{where}.ids_file and {where}.dataset both say what the rows are: give one of them.')
    return stimuli


def _ids_by_section(n: int, stimuli: Mapping[str, str], path: pathlib.Path, where: str) -> np.ndarray:
    """Ids of the n rows of a file without ids, as the config section says."""
    if stimuli.get('ids_file'):
        ids = files.load_ids(stimuli['ids_file'])
        if len(ids) != n:
            raise ValueError(f'{stimuli["ids_file"]} has {len(ids)} ids, but {path} {n} rows.')
        return ids
    if stimuli['dataset']:
        return stimulus_ids(stimuli['dataset'], stimuli['split'], np.arange(n))
    flags = f'--config.{where}.dataset=cifar10'
    more = 'else write them into the file as an array named ids; of a .npy file, into the .json beside it'
    if 'ids_file' in stimuli:
        flags += f' --config.{where}.split=test'
        more = f'else list the ids, one a line for each row: --config.{where}.ids_file=FILE'
    raise ValueError(
        f'{path} has no stimulus ids, and everything joins by id. If its rows are in the published order of a data '
        f'set: {flags} (or the like); {more}.'
    )


def _raw_labels(path: pathlib.Path) -> tuple[np.ndarray, np.ndarray | None, dict[str, Any]]:
    """Numbers or names, [n], with ids where the file has them, and the .json beside it."""
    if path.suffix == '.txt':
        lines = files.load_ids(path, 'class')
        return (lines.astype(np.int64) if np.char.isdigit(lines).all() else lines), None, {}
    provenance = _sidecar(path)
    with in_flags(FOLDER):
        if path.suffix == '.npy':
            values = (storage.read_described(path)[0] if provenance else files.read_npy(path)).squeeze()
            ids = _ids_in_json(path, values.size)
        elif path.suffix in ('.csv', '.tsv'):
            table = files.load_features(path)
            values = table.values[:, 0] if table.values.shape[1] == 1 else table.values
            ids = table.ids if pairs.has_ids(table) else None
        else:
            with files.open_arrays(path) as entries:
                key = _label_key(path, entries)
                values = entries[key].read().squeeze()
                found = files.ids_beside(path, entries, key, values.size, None)
            ids = _ids_in_json(path, values.size) if found is None else found[0]
    if values.ndim != 1 or not len(values) or values.dtype.kind not in 'fiubU':
        raise ValueError(
            f'{path} must hold one class number or name for each stimulus, [n], not {values.dtype} '
            f'{list(values.shape)}.'
        )
    return values, ids, provenance


def _label_key(path: pathlib.Path, entries: Mapping[str, files.StoredArray]) -> str:
    """Name of the array with classes: `labels`, or the only vector that is not named as ids are."""
    vectors = [name for name, entry in entries.items() if entry.length is not None and '@' not in name]
    named = [name for name in vectors if name.rpartition('/')[2] == _LABELS]
    others = [name for name in vectors if not files.is_named_as_ids(name, entries[name])]
    for found in (named, others):
        if len(found) == 1:
            return found[0]
    raise ValueError(f'{path}: name one array labels, [n]; the file has {files.listed(entries)}.')


def _ids_in_json(path: pathlib.Path, n: int) -> np.ndarray | None:
    """Stimulus ids in the .json beside a file; None where there are none."""
    described = files.read_beside(path)
    found = None if described is None else files.ids_of_json(path.with_suffix('.json'), described, n, None)
    return None if found is None else found[0]


def _sidecar(path: pathlib.Path) -> dict[str, Any]:
    """The .json that was written with a .npy; {} where there is none, or somebody else's."""
    described = files.read_beside(path) if path.suffix == '.npy' else None
    return storage.read_sidecar(path) if isinstance(described, dict) and 'sha256' in described else {}


def _only_provenance(sidecar: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in sidecar.items() if key not in _NO_PROVENANCE}
