"""Functions of items in files from elsewhere: per-item groups in HDF5, sparse triples in .npz, dense matrices.

    .h5    one group for each item, named '0', '1', ..., with `indices` (functions) and `activations` (values)
    .npz   `<key>_row` (items), `<key>_col` (functions), `<key>_shape` [2], optionally `<key>_val`: a sparse matrix
    .npz, .npy   one matrix [n, f], one row an item

All give the record `Functions`; files that `functions.save_functions` wrote are read by it.
"""

import pathlib
from collections.abc import Mapping

import h5py
import numpy as np
import scipy.sparse

from humalign_jax import arrays, storage
from humalign_jax.data.functions import Functions, load_functions

_TRIPLE = ('row', 'col', 'shape')


def load_function_file(
    path: storage.PathLike, *, item_ids: np.ndarray | None = None, key: str = '', name: str = ''
) -> Functions:
    """Functions in one of the layouts above.

    Args:
        path: The file.
        item_ids: Stimulus ids of the items in the order of the file, [n]; a file of `save_functions` has its own.
        key: Name of the matrix in a `.npz`; not needed if it holds one.
        name: Name of the functions; default the key, else the file's name without suffix.

    Returns:
        The functions, named `<name>/<column, five digits>`; columns that no item has are kept, as dead functions.

    Raises:
        ValueError: The file is missing, damaged or of another layout, or the ids are missing or do not fit.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise ValueError(f'{path} does not exist.')
    if path.suffix == '.npz' and path.with_suffix('.json').is_file():
        return load_functions(path)
    if path.suffix in ('.h5', '.hdf5'):
        by_item = _read_groups(path)
    elif path.suffix == '.npz':
        by_item = _read_npz(path, key)
    elif path.suffix == '.npy':
        by_item = _matrix(path, storage.read_array(path))
    else:
        raise ValueError(f'{path}: functions are read from .npz, .h5 or .npy.')
    n, f = by_item.shape  # type: ignore[misc]
    if item_ids is None or len(item_ids) != n:
        came = 'no ids' if item_ids is None else f'{len(item_ids)} ids'
        raise ValueError(f'{path} has functions of {n} items, but {came} came: give one stimulus id for each row.')
    name = name or key or path.stem
    names = [f'{name}/{number:05d}' for number in range(f)]
    provenance = {'file': path.name, 'sha256': storage.file_digest(path), **({'key': key} if key else {})}
    return Functions.from_dense(by_item.T.tocsr(), item_ids, names, name, provenance=provenance)


def _read_npz(path: pathlib.Path, key: str) -> scipy.sparse.csr_array:
    """A sparse matrix of row, column and shape, or a dense one, [n, f]."""
    try:
        with np.load(path, allow_pickle=False) as file:
            held = set(file.files)
    except Exception as error:  # zipfile and NumPy raise a dozen kinds at damaged bytes
        raise ValueError(f'{path} cannot be read as .npz ({error}): it is damaged or of another kind.') from error
    sparse = sorted(array.removesuffix('_row') for array in held if array.endswith('_row'))
    sparse = [one for one in sparse if {f'{one}_{part}' for part in _TRIPLE} <= held]
    triples = {f'{one}_{part}' for one in sparse for part in (*_TRIPLE, 'val')}
    matrices = [*sparse, *sorted(held - triples)]
    if not key and len(matrices) == 1:
        key = matrices[0]
    if key not in matrices:
        raise ValueError(f'{path}: name one of its matrices as key, not {key!r}: {", ".join(matrices)}.')
    if key not in sparse:
        return _matrix(path, storage.read_array(path, key=key))
    read: Mapping[str, np.ndarray] = {
        part: storage.read_array(path, key=f'{key}_{part}') for part in (*_TRIPLE, 'val') if f'{key}_{part}' in held
    }
    row, col, shape = (np.asarray(read[part], np.int64) for part in _TRIPLE)
    values = np.asarray(read.get('val', np.ones(len(row))), np.float32)
    if shape.shape != (2,) or not len(row) == len(col) == len(values):
        raise ValueError(f'{path}: {key}_shape must have 2 numbers and {key}_row and {key}_col one length.')
    return _sparse(path, values, row, col, (int(shape[0]), int(shape[1])))


def _matrix(path: pathlib.Path, values: np.ndarray) -> scipy.sparse.csr_array:
    values = arrays.numeric(values, str(path))
    if values.ndim != 2:
        raise ValueError(f'{path}: functions must be [n, f], one row an item, not {list(values.shape)}.')
    return scipy.sparse.csr_array(values.astype(np.float32))


def _read_groups(path: pathlib.Path) -> scipy.sparse.csr_array:
    """`indices` and `activations` of groups '0' to 'n - 1', [n, f]; f is one more than the largest index."""
    indices, values = [], []
    try:
        with h5py.File(path, 'r') as file:
            names = set(file.keys())
            missing = [str(row) for row in range(len(names)) if str(row) not in names]
            if missing or not names:
                raise ValueError(
                    f'one group for each item is expected, named 0 to {len(names) - 1}, but {missing[:1]} is missing'
                )
            for row in range(len(names)):
                group = file[str(row)]
                if not isinstance(group, h5py.Group) or not {'indices', 'activations'} <= set(group.keys()):
                    raise ValueError(f'item {row} has no indices and activations')
                indices.append(np.asarray(group['indices'], np.int64).ravel())  # type: ignore[arg-type]
                values.append(np.asarray(group['activations'], np.float32).ravel())  # type: ignore[arg-type]
                if len(indices[-1]) != len(values[-1]):
                    raise ValueError(f'item {row} has {len(indices[-1])} indices, but {len(values[-1])} activations')
    except Exception as error:  # h5py raises nearly anything at damaged files
        raise ValueError(f'{path} cannot be read as sparse codes: {error}.') from error
    rows = np.repeat(np.arange(len(indices)), [len(one) for one in indices])
    columns = np.concatenate(indices)
    n_functions = int(columns.max()) + 1 if len(columns) else 0
    return _sparse(path, np.concatenate(values), rows, columns, (len(indices), n_functions))


def _sparse(
    path: pathlib.Path, values: np.ndarray, row: np.ndarray, col: np.ndarray, shape: tuple[int, int]
) -> scipy.sparse.csr_array:
    if len(row) and (min(row.min(), col.min()) < 0 or row.max() >= shape[0] or col.max() >= shape[1]):
        raise ValueError(f'{path} has an entry outside its {shape[0]} items and {shape[1]} functions.')
    if len(np.unique(row * shape[1] + col)) != len(row):
        raise ValueError(f'{path} gives the value of one item and one function twice.')
    return scipy.sparse.csr_array((values, (row, col)), shape=shape)
