"""Features and RDMs in other people's files: .npy, .npz, .h5, .mat, .csv and .json, with or without stimulus ids.

Nothing is ever unpickled. What this module writes is a `.npy` with a `.json` beside it.
"""

import dataclasses
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from humalign_jax import arrays, storage, text
from humalign_jax.records import Features, Rdm, RepeatedFeatures, check_ids, stimulus_ids
from humalign_jax.rsa.formats.containers import NUMBERS, SPARSE, TEXT
from humalign_jax.rsa.formats.containers import StoredArray as StoredArray
from humalign_jax.rsa.formats.containers import open_arrays as open_arrays
from humalign_jax.rsa.formats.containers import read_npy as read_npy
from humalign_jax.rsa.formats.csv_file import CsvFormat as CsvFormat
from humalign_jax.rsa.formats.csv_file import read_csv as read_csv
from humalign_jax.rsa.formats.file_ids import NO_IDS
from humalign_jax.rsa.formats.file_ids import ids_beside as ids_beside
from humalign_jax.rsa.formats.file_ids import ids_of_json as ids_of_json
from humalign_jax.rsa.formats.file_ids import is_named_as_ids as is_named_as_ids
from humalign_jax.rsa.formats.file_ids import listed as listed
from humalign_jax.rsa.formats.file_ids import read_beside as read_beside
from humalign_jax.rsa.pairs import n_stimuli_of

SUFFIXES = ('.npy', '.npz', '.h5', '.hdf5', '.mat', '.csv', '.tsv', '.json')
# provenance['ids']: where the ids are from. Ids that are 'made up' are row numbers of one file and name no stimulus.
ORIGINS = ('given', 'dataset', 'file', 'made up')


def load_features(
    path: storage.PathLike,
    *,
    key: str | None = None,
    ids: np.ndarray | None = None,
    dataset: str | None = None,
    split: str | None = None,
    name: str | None = None,
    repeated: bool = False,
    ids_key: str | None = None,
    csv: CsvFormat | None = None,
) -> Features:
    """Features from a file.

    Ids are, in this order: `ids`; `dataset/split/<row>` where both are given, for rows in the published order; those in
    the file (text of n entries beside the array, in HDF5 also as an attribute; a column of a .csv) or in a .json beside
    it; made up, `row/00000` and on. Which of these is `provenance['ids']` of the record, see `ORIGINS`; the name of the
    ids in the file is `provenance['ids_key']`.

    Args:
        path: A file with one of `SUFFIXES`.
        key: Which array of a file with several; not needed if only one has two axes or more. Only this one is read.
        ids: Stimulus ids, [n].
        dataset: Name of the data set that the rows are of, such as 'cifar10'.
        split: Its split, such as 'test'.
        name: Name of the features; default the file's name without suffix.
        repeated: Whether the array is [r, n, d], each stimulus measured r times, as crossnobis distances need it.
        ids_key: Name of the ids in the file, or name or number (from 1) of a .csv's column; 'none' if nothing in the
            file is ids. Needed only where several arrays could be.
        csv: How a .csv is written, where that cannot be found in it.

    Returns:
        Features, [n, d]; arrays of more axes are flattened to [n, -1]. `RepeatedFeatures` if `repeated`.

    Raises:
        ValueError: The file is missing, damaged, of another kind, or holds no such array.
    """
    path = pathlib.Path(path)
    axes, least = ('[r, n, d]', 3) if repeated else ('[n, d]', 2)
    of = ' of repeated measurements' if repeated else ''

    def count(values: np.ndarray) -> int:
        if values.ndim < least or 0 in values.shape:
            raise ValueError(f'{path}: features{of} must be {axes}, with none of them 0, not {list(values.shape)}.')
        return values.shape[least - 2]

    told = _told_ids(path, ids, dataset, split)
    asked = _Asked(key, lambda shape: len(shape) >= least, count, told is None, ids_key, csv)
    read = _read(path, asked)
    values = np.moveaxis(read.values, 1, 0) if repeated else read.values
    values = values.reshape(*values.shape[: least - 1], -1)
    chosen, origin = _choose_ids(path, len(values), told, read)
    kind = RepeatedFeatures if repeated else Features
    return kind(values, chosen, name or read.sidecar.get('name') or path.stem, _provenance(path, key, origin, read))


def load_covariance(path: storage.PathLike, *, key: str | None = None) -> np.ndarray:
    """A covariance, [d, d], from a file with one of `SUFFIXES`; `key` says which array of a file with several.

    Raises:
        ValueError: As `load_features`; or the array is not square.
    """
    path = pathlib.Path(path)
    asked = _Asked(key, lambda shape: len(shape) == 2 and shape[0] == shape[1], len, False, None, None, square=True)
    values = _read(path, asked).values
    if values.ndim != 2 or values.shape[0] != values.shape[1]:
        raise ValueError(f'{path}: a covariance must be [d, d], not {list(values.shape)}.')
    return values


def load_rdm(
    path: storage.PathLike,
    *,
    key: str | None = None,
    ids: np.ndarray | None = None,
    dataset: str | None = None,
    split: str | None = None,
    name: str | None = None,
    measure: str | None = None,
    ids_key: str | None = None,
    csv: CsvFormat | None = None,
) -> Rdm:
    """An RDM from a file, condensed [p] or square [n, n] with zero diagonal; see `load_features` for the arguments.

    Args:
        path: A file with one of `SUFFIXES`.
        key: Which array of a file with several.
        ids: Stimulus ids, [n].
        dataset: Name of the data set that the rows are of.
        split: Its split.
        name: Name of the RDM; default the file's name without suffix.
        measure: Name of the distance; default what the .json beside the file says, else 'unknown'.
        ids_key: Name of the ids in the file.
        csv: How a .csv is written.

    Raises:
        ValueError: As `load_features`; or the array is neither condensed nor symmetric with a zero diagonal.
    """
    path = pathlib.Path(path)

    def rows_of(values: np.ndarray) -> np.ndarray:
        return _condensed(path, values)[None]

    return _load_rdms(path, 2, rows_of, key, ids, dataset, split, name, measure, ids_key, csv)[0]


def load_rdms(
    path: storage.PathLike,
    *,
    key: str | None = None,
    ids: np.ndarray | None = None,
    dataset: str | None = None,
    split: str | None = None,
    name: str | None = None,
    measure: str | None = None,
    ids_key: str | None = None,
    csv: CsvFormat | None = None,
) -> list[Rdm]:
    """The RDMs of k subjects or models from one array, [k, p] or [k, n, n]; also a single one, [p] or [n, n].

    The arguments are those of `load_rdm`. Several RDMs have the names of the k rows in the file (text of k entries,
    `<array>_name` or in rsatoolbox's `rdm_descriptors`; the first column of a .csv), else `<name> 1` and so on.

    Raises:
        ValueError: As `load_rdm`.
    """
    path = pathlib.Path(path)

    def rows_of(values: np.ndarray) -> np.ndarray:
        several = values.ndim > 1 and 1 not in values.shape and values.shape[-1] != values.shape[-2]
        return arrays.condensed(values, str(path)) if several or values.ndim == 3 else _condensed(path, values)[None]

    return _load_rdms(path, 3, rows_of, key, ids, dataset, split, name, measure, ids_key, csv)


def _load_rdms(
    path: pathlib.Path,
    most_axes: int,
    rows_of: Callable[[np.ndarray], np.ndarray],
    key: str | None,
    ids: np.ndarray | None,
    dataset: str | None,
    split: str | None,
    name: str | None,
    measure: str | None,
    ids_key: str | None,
    csv: CsvFormat | None,
) -> list[Rdm]:
    """One record for each row of `rows_of(array)`, [k, p], of an array with at most so many axes."""

    def count(values: np.ndarray) -> int:
        return n_stimuli_of(rows_of(values).shape[1])

    told = _told_ids(path, ids, dataset, split)
    asked = _Asked(
        key, lambda shape: 1 <= len(shape) <= most_axes and 0 not in shape, count, told is None, ids_key, csv, True
    )
    read = _read(path, asked)
    rows, names = rows_of(read.values), None
    if len(rows) > 1:
        names = read.row_names
        if 'csv' in read.found and read.ids is not None:  # a first column names the rows, which are no stimuli
            names, read = read.ids.tolist(), dataclasses.replace(read, ids=None, ids_key=None)
    chosen, origin = _choose_ids(path, n_stimuli_of(rows.shape[1]), told, read)
    measure = measure or str(read.sidecar.get('measure', 'unknown'))
    provenance = _provenance(path, key, origin, read)
    called = name or read.sidecar.get('name') or path.stem
    if names is None or len(set(names)) != len(rows):
        names = [called] if len(rows) == 1 else [f'{called} {k}' for k in range(1, len(rows) + 1)]
    return [Rdm(row, chosen, one, measure, provenance) for row, one in zip(rows, names)]


def save_features(path: storage.PathLike, features: Features) -> None:
    """Writes `path` (.npy, [n, d]; [r, n, d] of repeated ones) and a .json beside it with ids, name and provenance."""
    _save(path, features.repeats if isinstance(features, RepeatedFeatures) else features.values, features, {})


def save_rdm(path: storage.PathLike, rdm: Rdm) -> None:
    """Writes `path` (.npy, condensed [p]) and a .json beside it with ids, name, measure and provenance."""
    _save(path, rdm.values, rdm, {'measure': rdm.measure})


def load_ids(path: storage.PathLike, what: str = 'stimulus id') -> np.ndarray:
    """Stimulus ids, or labels, from a text file, one a line: [n] strings.

    Blanks around an entry, a byte order mark, blank lines at the end and lines that begin with # are left out.

    Args:
        path: The file.
        what: What a line holds, for messages.

    Raises:
        ValueError: The file is missing, of another encoding, or has a blank line between entries.
    """
    return np.array(text.read_list(path, what), dtype=np.str_)


def _save(path: storage.PathLike, values: np.ndarray, record: Features | Rdm, more: Mapping[str, Any]) -> None:
    if pathlib.Path(path).suffix != '.npy':
        raise ValueError(f'{os.fspath(path)}: arrays are written as .npy with a .json beside them.')
    sidecar = {'name': record.name, 'ids': record.ids, 'provenance': dict(record.provenance), **more}
    storage.write_array(path, np.asarray(values), sidecar)


@dataclasses.dataclass(frozen=True)
class _Asked:
    """What is wanted of a file.

    Attributes:
        key: Name of the array, None for the only one whose shape `fits`.
        fits: Whether an array of this shape can be it.
        count: How many stimuli an array has; raises ValueError if it is none of the kind.
        with_ids: Whether ids are wanted, too.
        ids_key: Their name.
        csv: How a .csv is written.
        square: Whether a table may be an RDM.
    """

    key: str | None
    fits: Callable[[tuple[int, ...]], bool]
    count: Callable[[np.ndarray], int]
    with_ids: bool
    ids_key: str | None
    csv: CsvFormat | None
    square: bool = False


@dataclasses.dataclass(frozen=True)
class _ReadFile:
    """A numeric array, the ids of its stimuli and their name, and what else the file and its .json say."""

    values: np.ndarray
    ids: np.ndarray | None
    ids_key: str | None
    sidecar: Mapping[str, Any]
    found: Mapping[str, Any]
    row_names: list[str] | None = None  # of RDMs in one array


def _read(path: pathlib.Path, asked: _Asked) -> _ReadFile:
    """One numeric array of a file, and the ids that the file or the .json beside it hold."""
    if not path.is_file():
        raise ValueError(f'{path} does not exist.')
    if path.suffix not in SUFFIXES:
        raise ValueError(f'{path}: a file must end in one of {", ".join(SUFFIXES)}.')
    sidecar: Mapping[str, Any] = {}
    more: Mapping[str, Any] = {}
    found = row_names = None
    if path.suffix == '.npy':
        values = read_npy(path)
        beside = read_beside(path)
        sidecar = _sidecar(path, beside, values)
        values = arrays.numeric(values, str(path))
    elif path.suffix in ('.csv', '.tsv'):
        table = read_csv(path, asked.csv, ids_key=asked.ids_key, square=asked.square)
        values, more = table.values, {'csv': table.found}
        found = None if table.ids is None else (table.ids, table.found['ids'])
        beside = read_beside(path) if asked.with_ids and found is None else None
    else:
        with open_arrays(path) as entries:
            key = _key(path, entries, asked)
            if entries[key].described == SPARSE:
                raise ValueError(f'{path}: {key!r} is a sparse matrix, but must be dense: save full({key}) of it.')
            values = arrays.numeric(entries[key].read(), f'{path}, {key!r}')
            row_names = _row_names(entries, key, len(values)) if values.ndim > 1 else None
            beside = read_beside(path) if asked.with_ids else None
            in_json = isinstance(beside, dict) and asked.ids_key in beside and asked.ids_key not in entries
            if asked.with_ids and not in_json:
                found = ids_beside(path, entries, key, asked.count(values), asked.ids_key)
    n = asked.count(values)
    if asked.with_ids and found is None and beside is not None:
        found = ids_of_json(path.with_suffix('.json'), beside, n, asked.ids_key)
    if asked.with_ids and found is None and asked.ids_key not in (None, NO_IDS):
        raise ValueError(f'{path}: neither it nor a .json beside it has ids_key={asked.ids_key!r}.')
    ids, ids_key = (None, None) if found is None else found
    return _ReadFile(values, ids, ids_key, sidecar, more, row_names)


def _row_names(entries: Mapping[str, StoredArray], key: str, k: int) -> list[str] | None:
    """Text of k entries that names the rows of an array of RDMs; None where there is none, or more than one."""
    place, _, base = key.rpartition('/')
    group = '/'.join(filter(None, (place, 'rdm_descriptors')))  # rsatoolbox's
    of_array = {f'{base}_name', f'{base}_names', f'{base.removesuffix("s")}_name', f'{base.removesuffix("s")}_names'}
    named = [
        entry.read().astype(np.str_).ravel().tolist()
        for name, entry in entries.items()
        if entry.length == k and entry.kind == TEXT and (entry.place == group or name.rpartition('/')[2] in of_array)
    ]
    return named[0] if len(named) == 1 else None


def _key(path: pathlib.Path, entries: Mapping[str, StoredArray], asked: _Asked) -> str:
    """Name of the array asked for, or of the only one that fits."""
    if asked.key is not None:
        names = (asked.key, asked.key.strip('/'), asked.key.replace('.', '/'))
        key = next((name for name in names if name in entries), None)
        if key is None:
            raise ValueError(f'{path} has no array {asked.key!r}; it has {listed(entries)}.')
        return key
    candidates = [
        name
        for name, entry in entries.items()
        if entry.kind == NUMBERS
        and (entry.shape is None or asked.fits(entry.shape))
        and '@' not in name
        and not entry.place.endswith('_descriptors')  # rsatoolbox's
    ]
    if len(candidates) > 1:
        candidates = [name for name in candidates if not is_named_as_ids(name, entries[name])]
    if len(candidates) != 1:
        raise ValueError(f'{path}: choose an array with key=...; the file has {listed(entries)}.')
    return candidates[0]


def _sidecar(path: pathlib.Path, described: Any, values: np.ndarray) -> dict[str, Any]:
    """What the .json that was written with a .npy says; it must be about this very array."""
    if not isinstance(described, dict) or not set(described) >= {'sha256', 'shape'}:
        return {}  # somebody else's file of the same name, which may hold ids
    if described['sha256'] != storage.array_digest(values):
        raise ValueError(
            f'{path} and {path.with_suffix(".json").name} do not belong together: the array was changed, or one of the '
            'two files was replaced. Write both again, or remove the .json.'
        )
    return {key: described[key] for key in ('name', 'measure', 'provenance') if key in described}


def _condensed(path: pathlib.Path, values: np.ndarray) -> np.ndarray:
    """[p] as it is, [n, n] checked and condensed."""
    if values.ndim == 2 and 1 in values.shape and values.shape != (1, 1):
        values = values.ravel()  # MATLAB has no one-dimensional arrays
    if values.ndim == 1:
        n_stimuli_of(len(values))
        return values
    if values.ndim != 2 or values.shape[0] != values.shape[1]:
        raise ValueError(f'{path}: an RDM must be condensed [p] or square [n, n], not {list(values.shape)}.')
    return arrays.condensed(values, str(path))[0]


def _told_ids(
    path: pathlib.Path, ids: np.ndarray | None, dataset: str | None, split: str | None
) -> Callable[[int], tuple[np.ndarray, str]] | None:
    """Ids of n stimuli that the caller gave, and where they are from; None if the file's are wanted."""
    if (dataset is None) != (split is None):
        raise ValueError(f'{path}: ids need both dataset and split, not {dataset!r} and {split!r}.')
    if ids is not None:
        return lambda n: (arrays.stimulus_names(ids, str(path)), 'given')
    if dataset is not None and split is not None:
        return lambda n: (stimulus_ids(dataset, split, np.arange(n)), 'dataset')
    return None


def _choose_ids(
    path: pathlib.Path, n: int, told: Callable[[int], tuple[np.ndarray, str]] | None, read: _ReadFile
) -> tuple[np.ndarray, str]:
    """Ids of n stimuli, see `load_features`, and where they are from, see `ORIGINS`."""
    made_up = np.array([f'row/{i:05d}' for i in range(n)])
    if told is not None:
        chosen, origin = told(n)
    elif read.ids is None or np.array_equal(read.ids, made_up):  # the latter were saved by an earlier run
        return made_up, 'made up'
    else:
        chosen, origin = read.ids, 'file'
    if chosen.shape != (n,):
        raise ValueError(f'{path}: {n} stimuli but {len(chosen)} ids.')
    check_ids(chosen, n, str(path))
    return chosen, origin


def _provenance(path: pathlib.Path, key: str | None, origin: str, read: _ReadFile) -> dict[str, Any]:
    """What a record says of its file; `ids` is one of `ORIGINS`."""
    said = {'file': path.name, 'sha256': storage.file_digest(path), **({'key': key} if key else {})}
    where = {'ids_key': read.ids_key} if origin == 'file' and read.ids_key else {}
    return {**said, **read.sidecar, **read.found, 'ids': origin, **where}
