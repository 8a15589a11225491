"""Features and RDMs in other people's files: .npy, .npz, .h5, .mat and .csv, with or without stimulus ids.

Nothing is ever unpickled. What this module writes is a `.npy` with a `.json` beside it.
"""

import csv
import os
import pathlib
import zipfile
from collections.abc import Mapping
from typing import Any

import h5py
import numpy as np
import scipy.io
from scipy.io.matlab import MatReadError
from scipy.spatial.distance import squareform

from humalign_jax import arrays, storage, text
from humalign_jax.records import Features, Rdm, RepeatedFeatures, stimulus_ids
from humalign_jax.rsa.pairs import n_stimuli_of

SUFFIXES = ('.npy', '.npz', '.h5', '.hdf5', '.mat', '.csv')
# provenance['ids']: where the ids are from. Ids that are 'made up' are row numbers of one file and name no stimulus.
ORIGINS = ('given', 'dataset', 'file', 'made up')
ID_KEYS = ('ids', 'stimulus_ids', 'stimuli')
# What NumPy, h5py and SciPy raise at damaged files.
_UNREADABLE = (
    OSError,
    ValueError,
    EOFError,
    LookupError,
    NotImplementedError,
    TypeError,
    zipfile.BadZipFile,
    MatReadError,
)
SYMMETRY_TOLERANCE = 1e-5  # of the largest value: float32 matrices are symmetric to rounding only


def load_features(
    path: storage.PathLike,
    *,
    key: str | None = None,
    ids: np.ndarray | None = None,
    dataset: str | None = None,
    split: str | None = None,
    name: str | None = None,
    repeated: bool = False,
) -> Features:
    """Features from a file.

    Ids are, in this order: `ids`; `dataset/split/<row>` where both are given, for rows in the published order; those in
    the file (a key `ids`, the first column of a .csv if it is text, the .json beside a .npy); `row/00000` and on, which
    match no other data set's.

    Args:
        path: A file with one of `SUFFIXES`.
        key: Which array of a file with several; not needed if only one has two axes or more.
        ids: Stimulus ids, [n].
        dataset: Name of the data set that the rows are of, such as 'cifar10'.
        split: Its split, such as 'test'.
        name: Name of the features; default the file's name without suffix.
        repeated: Whether the array is [r, n, d], each stimulus measured r times, as crossnobis distances need it.

    Returns:
        Features, [n, d]; arrays of more axes are flattened to [n, -1]. `RepeatedFeatures` if `repeated`.

    Raises:
        ValueError: The file is missing, damaged, of another kind, or holds no such array.
    """
    path = pathlib.Path(path)
    axes, least = ('[r, n, d]', 3) if repeated else ('[n, d]', 2)
    values, found, sidecar = _read(path, key, lambda array: array.ndim >= least)
    if values.ndim < least or 0 in values.shape:
        of = ' of repeated measurements' if repeated else ''
        raise ValueError(f'{path}: features{of} must be {axes}, with none of them 0, not {list(values.shape)}.')
    values = np.moveaxis(values, 1, 0) if repeated else values
    values = values.reshape(*values.shape[: least - 1], -1)
    chosen, origin = _choose_ids(path, len(values), ids, dataset, split, found)
    provenance = _provenance(path, key, origin, sidecar)
    kind = RepeatedFeatures if repeated else Features
    return kind(values, chosen, name or sidecar.get('name') or path.stem, provenance)


def load_covariance(path: storage.PathLike, *, key: str | None = None) -> np.ndarray:
    """A covariance, [d, d], from a file with one of `SUFFIXES`; `key` says which array of a file with several.

    Raises:
        ValueError: As `load_features`; or the array is not square.
    """
    path = pathlib.Path(path)
    values = _read(path, key, lambda array: array.ndim == 2 and array.shape[0] == array.shape[1])[0]
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

    Raises:
        ValueError: As `load_features`; or the array is neither condensed nor symmetric with a zero diagonal.
    """
    path = pathlib.Path(path)
    values, found, sidecar = _read(path, key, lambda array: array.ndim in (1, 2) and array.size > 0)
    if values.ndim == 2 and 1 in values.shape and values.shape != (1, 1):
        values = values.ravel()  # MATLAB has no one-dimensional arrays
    values = _condensed(path, values)
    n = n_stimuli_of(len(values))
    chosen, origin = _choose_ids(path, n, ids, dataset, split, found)
    provenance = _provenance(path, key, origin, sidecar)
    measure = measure or str(sidecar.get('measure', 'unknown'))
    return Rdm(values, chosen, name or sidecar.get('name') or path.stem, measure, provenance)


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


def _read(path: pathlib.Path, key: str | None, fits: Any) -> tuple[np.ndarray, np.ndarray | None, dict[str, Any]]:
    """One numeric array of a file, the ids that the file holds, and what the .json beside it says."""
    if not path.is_file():
        raise ValueError(f'{path} does not exist.')
    if path.suffix not in SUFFIXES:
        raise ValueError(f'{path}: a file must end in one of {", ".join(SUFFIXES)}.')
    if path.suffix == '.npy':
        try:
            values = np.load(path, allow_pickle=False)
        except _UNREADABLE as error:
            raise ValueError(
                f'{path} cannot be read as .npy ({error}): it is damaged or holds Python objects.'
            ) from error
        sidecar = _sidecar(path, values)
        ids = sidecar.pop('ids', None)
        return _numeric(path, values), None if ids is None else np.array(ids, dtype=np.str_), sidecar
    if path.suffix == '.csv':
        return *_read_csv(path), {}
    found = _arrays(path)
    ids = next((np.array(found[k], dtype=np.str_).ravel() for k in ID_KEYS if k in found), None)
    if key is None:
        candidates = [k for k, array in found.items() if array.dtype.kind in 'fiub' and fits(array)]
        if len(candidates) != 1:
            raise ValueError(f'{path}: choose an array with key=...; the file has {_listed(found)}.')
        key = candidates[0]
    if key not in found:
        raise ValueError(f'{path} has no array {key!r}; it has {_listed(found)}.')
    return _numeric(path, found[key]), ids, {}


def _arrays(path: pathlib.Path) -> dict[str, np.ndarray]:
    """All arrays of a .npz, .h5 or .mat file by name; MATLAB's character arrays lose their padding."""
    try:
        if path.suffix == '.npz':
            with np.load(path, allow_pickle=False) as file:
                return {key: file[key] for key in file.files}
        if path.suffix == '.mat' and not h5py.is_hdf5(path):
            loaded = scipy.io.loadmat(path, chars_as_strings=True)
            return {key: _text(value) for key, value in loaded.items() if not key.startswith('__')}
        found: dict[str, np.ndarray] = {}
        with h5py.File(path, 'r') as file:

            def visit(name: str, item: Any) -> None:
                if isinstance(item, h5py.Dataset) and item.dtype.kind in 'fiub':
                    # MATLAB 7.3 writes HDF5 with the axes in reverse.
                    found[name] = item[()].T if path.suffix == '.mat' else np.asarray(item[()])
                elif isinstance(item, h5py.Dataset) and h5py.check_string_dtype(item.dtype):
                    found[name] = np.asarray(item.asstr()[()], dtype=np.str_)

            file.visititems(visit)
        return found
    except _UNREADABLE as error:
        raise ValueError(
            f'{path} cannot be read as {path.suffix} ({error}): it is damaged or of another kind.'
        ) from error


def _text(value: np.ndarray) -> np.ndarray:
    """Strings of a MATLAB cell or character array; other arrays as they are."""
    if value.dtype.kind == 'O' and all(
        np.size(cell) == 1 and np.asarray(cell).dtype.kind == 'U' for cell in value.flat
    ):
        return np.array([str(np.ravel(cell)[0]) for cell in value.flat], dtype=np.str_)
    return np.char.rstrip(value) if value.dtype.kind == 'U' else value


def _read_csv(path: pathlib.Path) -> tuple[np.ndarray, np.ndarray | None]:
    """Numbers of a comma-separated file; a first row of text is a header, a first column of text ids."""
    with open(path, newline='', encoding='utf-8-sig') as file:
        rows = [row for row in csv.reader(file) if row]
    if rows and not any(_is_number(cell) for cell in rows[0]):
        rows = rows[1:]
    if not rows or len({len(row) for row in rows}) != 1:
        lengths = sorted({len(row) for row in rows})
        raise ValueError(f'{path}: rows must be of one length, but have {lengths or "no"} columns.')
    with_ids = not all(_is_number(row[0]) for row in rows)
    try:
        values = np.array([row[with_ids:] for row in rows], dtype=np.float64)
    except ValueError as error:
        raise ValueError(
            f'{path}: beside a header and a first column of ids, only numbers may stand ({error}).'
        ) from error
    return values, np.array([row[0] for row in rows], dtype=np.str_) if with_ids else None


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _numeric(path: pathlib.Path, values: np.ndarray) -> np.ndarray:
    if values.dtype.kind not in 'fiub':
        raise ValueError(f'{path}: values must be numbers, not {values.dtype}.')
    return values if values.dtype.kind == 'f' else values.astype(np.float64)


def _sidecar(path: pathlib.Path, values: np.ndarray) -> dict[str, Any]:
    """What the .json beside a .npy says; it must be about this very array."""
    if not path.with_suffix('.json').is_file():
        return {}
    described = storage.read_json(path.with_suffix('.json'))
    if not isinstance(described, dict) or not set(described) >= {'sha256', 'shape'}:
        return {}  # somebody else's file of the same name
    if described['sha256'] != storage.array_digest(values):
        raise ValueError(
            f'{path} and {path.with_suffix(".json").name} do not belong together: the array was changed, or one of the '
            'two files was replaced. Write both again, or remove the .json.'
        )
    return {key: described[key] for key in ('ids', 'name', 'measure', 'provenance') if key in described}


def _condensed(path: pathlib.Path, values: np.ndarray) -> np.ndarray:
    """[p] as it is, [n, n] checked and condensed."""
    if values.ndim == 1:
        n_stimuli_of(len(values))
        return values
    if values.ndim != 2 or values.shape[0] != values.shape[1]:
        raise ValueError(f'{path}: an RDM must be condensed [p] or square [n, n], not {list(values.shape)}.')
    scale = np.nanmax(np.abs(values))
    diagonal = np.nanmax(np.abs(np.diag(values)))
    if diagonal > SYMMETRY_TOLERANCE * scale:
        raise ValueError(
            f'{path}: the diagonal of an RDM must be zero, but reaches {diagonal:.4g}: if this is a similarity matrix, '
            'turn it into distances first.'
        )
    asymmetry = np.nanmax(np.abs(values - values.T))
    if asymmetry > SYMMETRY_TOLERANCE * scale:
        i, j = np.unravel_index(np.nanargmax(np.abs(values - values.T)), values.shape)
        raise ValueError(f'{path}: an RDM must be symmetric, but ({i}, {j}) and ({j}, {i}) differ by {asymmetry:.4g}.')
    return squareform(values, checks=False)


def _choose_ids(
    path: pathlib.Path,
    n: int,
    ids: np.ndarray | None,
    dataset: str | None,
    split: str | None,
    found: np.ndarray | None,
) -> tuple[np.ndarray, str]:
    """Ids of n stimuli, see `load_features`, and where they are from, see `ORIGINS`."""
    if (dataset is None) != (split is None):
        raise ValueError(f'{path}: ids need both dataset and split, not {dataset!r} and {split!r}.')
    made_up = np.array([f'row/{i:05d}' for i in range(n)])
    origin = 'given'
    if ids is None and dataset is not None and split is not None:
        ids, origin = stimulus_ids(dataset, split, np.arange(n)), 'dataset'
    if ids is None and found is not None:
        ids, origin = found, 'file'
    if ids is None or (origin == 'file' and np.array_equal(ids, made_up)):  # written by an earlier run
        return made_up, 'made up'
    chosen = arrays.stimulus_names(ids, str(path))
    if chosen.shape != (n,):
        raise ValueError(f'{path}: {n} stimuli but {len(chosen)} ids.')
    return chosen, origin


def _provenance(path: pathlib.Path, key: str | None, origin: str, sidecar: Mapping[str, Any]) -> dict[str, Any]:
    """What a record says of its file; `ids` is one of `ORIGINS`."""
    said = {'file': path.name, 'sha256': storage.file_digest(path), **({'key': key} if key else {})}
    return {**said, **sidecar, 'ids': origin}


def _listed(arrays: Mapping[str, np.ndarray]) -> str:
    return ', '.join(f'{key!r} {array.dtype} {list(array.shape)}' for key, array in arrays.items()) or 'no arrays'
