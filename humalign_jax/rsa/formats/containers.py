"""Files with several arrays: .npz, .h5, .mat and Meadows' .json. Headers are read first, then only what is asked for.

Nothing is ever unpickled. Names of arrays are paths, `group/array` in HDF5 and `struct/field` in MATLAB files;
attributes of HDF5 are `array@attribute`.
"""

import contextlib
import dataclasses
import math
import pathlib
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

import h5py
import numpy as np
import scipy.io

from humalign_jax import storage
from humalign_jax.rsa.formats.mat5 import check_structure

Read = Callable[[], np.ndarray]
NUMBERS, TEXT, OBJECTS, UNREADABLE = 'numbers', 'text', 'objects', 'unreadable'
SPARSE = 'sparse matrix'  # as a description: refused, not read


@dataclasses.dataclass(frozen=True)
class StoredArray:
    """Header of one array in a file.

    Attributes:
        kind: `NUMBERS`, `TEXT`, `OBJECTS` (MATLAB cells, which may hold text) or `UNREADABLE`.
        shape: Its shape; None where only reading tells.
        described: Its type, for messages.
        place: The group that it belongs to, '' for the file's root.
        read: Reads it.
    """

    kind: str
    shape: tuple[int, ...] | None
    described: str
    place: str
    read: Read

    def __str__(self) -> str:
        return f'{self.described} {list(self.shape) if self.shape is not None else ""}'.strip()

    @property
    def length(self) -> int | None:
        """How many values a vector has, or a matrix of one row or column; None for other shapes."""
        shape = self.shape
        return math.prod(shape) if shape and math.prod(shape) == max(shape) else None


@contextlib.contextmanager
def reading(path: pathlib.Path) -> Iterator[None]:
    """Turns whatever NumPy, h5py and SciPy raise at damaged files, which is nearly anything, into a ValueError."""
    try:
        yield
    except Exception as error:
        why = str(error).strip() or type(error).__name__
        raise ValueError(
            f'{path} cannot be read as {path.suffix} ({why}): it is damaged, of another kind, or holds Python objects.'
        ) from error


@contextlib.contextmanager
def open_arrays(path: pathlib.Path) -> Iterator[dict[str, StoredArray]]:
    """Headers of all arrays of a file, by name; they can be read while the block lasts.

    Raises:
        ValueError: The file is damaged or of another kind.
    """
    with contextlib.ExitStack() as stack:
        with reading(path):
            if path.suffix == '.npz':
                entries = _npz(path, stack.enter_context(zipfile.ZipFile(path)))
            elif path.suffix == '.json':
                entries = _meadows(storage.read_json(path))
            elif path.suffix == '.mat' and not h5py.is_hdf5(path):
                entries = _mat(path)
            else:
                entries = _hdf5(stack.enter_context(h5py.File(path, 'r')), matlab=path.suffix == '.mat')

        def guarded(read: Read) -> Read:
            def guarded_read() -> np.ndarray:
                with reading(path):
                    return read()

            return guarded_read

        yield {name: dataclasses.replace(entry, read=guarded(entry.read)) for name, entry in entries.items()}


def read_npy(path: pathlib.Path) -> np.ndarray:
    """The array of a .npy file.

    Raises:
        ValueError: The file is damaged or holds Python objects.
    """
    with reading(path), open(path, 'rb') as file:
        shape, dtype = _npy_header(file)
        left = path.stat().st_size - file.tell()
        if not dtype.hasobject and left != math.prod(shape) * dtype.itemsize:
            raise ValueError(f'its header says {math.prod(shape) * dtype.itemsize} bytes, but {left} follow')
        file.seek(0)
        return np.load(file, allow_pickle=False)


def _npy_header(file: Any) -> tuple[tuple[int, ...], np.dtype]:
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    else:
        shape, _, dtype = np.lib.format.read_array_header_2_0(file)
    return shape, dtype


def _kind(dtype: np.dtype) -> str:
    if dtype.kind in 'fiubc':
        return NUMBERS
    return TEXT if dtype.kind in 'US' else UNREADABLE


def _npz(path: pathlib.Path, file: zipfile.ZipFile) -> dict[str, StoredArray]:
    entries = {}
    for info in file.infolist():
        with file.open(info) as member:
            if not info.filename.endswith('.npy'):
                continue
            shape, dtype = _npy_header(member)
            size = math.prod(shape) * dtype.itemsize
            if not dtype.hasobject and member.tell() + size != info.file_size:
                raise ValueError(f'the header of {info.filename} says {size} bytes, but others follow')

        def read(info: zipfile.ZipInfo = info) -> np.ndarray:
            with file.open(info) as member:
                array = np.lib.format.read_array(member, allow_pickle=False)
                member.read(1)  # at the end of the member its checksum is compared
                return array

        name = info.filename.removesuffix('.npy')
        described = 'Python objects' if dtype.hasobject else str(dtype)
        entries[name] = StoredArray(_kind(dtype), shape, described, '', read)
    return entries


def _hdf5(file: h5py.File, *, matlab: bool) -> dict[str, StoredArray]:
    entries: dict[str, StoredArray] = {}
    numbered = None if matlab else _numbered(file)
    if numbered is not None:
        return {'0 ...': numbered}

    def visit(group: h5py.Group, place: str) -> None:
        attributes(group, place)
        for key in map(str, group.keys()):
            name = f'{place}/{key}' if place else key
            if matlab and name in ('#refs#', '#subsystem#'):
                continue
            if not isinstance(group.get(key, getlink=True), h5py.HardLink) and key not in group:
                entries[name] = StoredArray(UNREADABLE, None, 'a link that leads nowhere', place, _no_value)
                continue
            item = group[key]
            if isinstance(item, h5py.Group):
                if 'MATLAB_sparse' in item.attrs:
                    entries[name] = StoredArray(NUMBERS, None, SPARSE, place, _no_value)
                elif name.count('/') < 32:  # links may lead in a circle
                    visit(item, name)
            elif isinstance(item, h5py.Dataset):
                entries[name] = _matlab_dataset(file, item, place) if matlab else _dataset(item, place)
                attributes(item, name)

    def attributes(item: h5py.Group | h5py.Dataset, place: str) -> None:
        for key in item.attrs:
            if key.startswith('MATLAB_') or key in ('CLASS', 'NAME', 'DIMENSION_LIST', 'REFERENCE_LIST'):
                continue
            kind = item.attrs.get_id(key)
            text = h5py.check_string_dtype(kind.dtype) is not None
            if kind.shape and (text or kind.dtype.kind in 'fiu'):

                def read(attrs: Any = item.attrs, key: str = key) -> np.ndarray:
                    return np.asarray(attrs[key])

                entries[f'{place}@{key}'] = StoredArray(
                    TEXT if text else NUMBERS, kind.shape, str(kind.dtype), place, read
                )

    visit(file, '')
    return entries


def _numbered(file: h5py.File) -> StoredArray | None:
    """Vectors named '0' to 'n - 1', one for each stimulus, as one array [n, d]; None if the file holds other things.

    Groups of these names with `indices` are sparse codes, which `data.function_files` reads.
    """
    names = list(map(str, file.keys()))
    if '0' not in names or not all(name.isdecimal() for name in names):
        return None
    first, n = file['0'], len(names)
    if isinstance(first, h5py.Group):
        return StoredArray(NUMBERS, None, SPARSE, '', _no_value) if 'indices' in first else None
    if not isinstance(first, h5py.Dataset) or first.ndim != 1 or _kind(first.dtype) != NUMBERS:
        return None
    shape, dtype = first.shape, first.dtype

    def read() -> np.ndarray:
        values = np.empty((n, *shape), dtype)
        for row in range(n):
            item = file.get(str(row))
            if not isinstance(item, h5py.Dataset) or item.shape != shape:
                came = 'missing' if item is None else f'of shape {getattr(item, "shape", None)}'
                raise ValueError(f'datasets 0 to {n - 1} must all have shape {shape}, but {row} is {came}')
            values[row] = item[()]
        return values

    return StoredArray(NUMBERS, (n, *shape), f'{n} datasets of {dtype}', '', read)


def _dataset(item: h5py.Dataset, place: str) -> StoredArray:
    if h5py.check_string_dtype(item.dtype):
        return StoredArray(TEXT, item.shape, 'text', place, lambda: np.asarray(item.asstr()[()], dtype=np.str_))
    kind = _kind(item.dtype) if item.shape is not None else UNREADABLE
    return StoredArray(kind, item.shape, str(item.dtype), place, lambda: np.asarray(item[()]))


def _matlab_dataset(file: h5py.File, item: h5py.Dataset, place: str) -> StoredArray:
    """An array as MATLAB 7.3 writes it: axes in reverse, text as numbers of characters, cells as references."""
    kind = item.attrs.get('MATLAB_class', b'')
    kind = kind.decode() if isinstance(kind, bytes) else str(kind)
    shape = None if item.shape is None else item.shape[::-1]
    if kind == 'char':
        n = shape[0] if shape and len(shape) == 2 else 0
        return StoredArray(TEXT, (n,), 'text', place, lambda: _characters(item))
    if h5py.check_ref_dtype(item.dtype):

        def read() -> np.ndarray:
            return _cells([_referred(file, one) for one in item[()].T.ravel()])

        return StoredArray(OBJECTS, shape, kind or 'cell', place, read)
    if kind in ('string', 'table', 'datetime', 'categorical') or 'MATLAB_object_decode' in item.attrs:
        return StoredArray(UNREADABLE, None, f'MATLAB {kind or "object"}', place, _no_value)
    if h5py.check_string_dtype(item.dtype):
        return _dataset(item, place)
    return StoredArray(_kind(item.dtype), shape, kind or str(item.dtype), place, lambda: np.asarray(item[()].T))


def _characters(item: h5py.Dataset) -> np.ndarray:
    """Rows of MATLAB's character arrays, [width, n] of UTF-16 units -> [n] strings."""
    if 'MATLAB_empty' in item.attrs:
        return np.array([''])
    rows = np.atleast_2d(np.asarray(item[()], np.uint16).T)
    return np.array([row.tobytes().decode('utf-16-le').rstrip() for row in np.ascontiguousarray(rows)], dtype=np.str_)


def _referred(file: h5py.File, reference: h5py.Reference) -> np.ndarray | None:
    """What one cell of a MATLAB 7.3 file holds; a cell in a cell is opened."""
    item = file[reference]
    if not isinstance(item, h5py.Dataset):
        return None
    if item.attrs.get('MATLAB_class') == b'char':
        return _characters(item)
    if h5py.check_ref_dtype(item.dtype):
        return _referred(file, item[()].ravel()[0]) if item.size == 1 else None
    return np.asarray(item[()])


def _mat(path: pathlib.Path) -> dict[str, StoredArray]:
    entries = {}
    with open(path, 'rb') as file:
        if 0 not in file.read(4):  # as MATLAB 4 begins
            check_structure(path)
    for name, shape, kind in scipy.io.whosmat(path):
        if name.startswith('__') or kind == 'function':
            continue

        def read(name: str = name) -> np.ndarray:
            value = scipy.io.loadmat(path, variable_names=[name], chars_as_strings=True)[name]
            return value if getattr(value, 'dtype', np.dtype(float)).kind != 'U' else np.char.rstrip(value)

        def read_cells(read: Read = read) -> np.ndarray:
            return _cells(read().ravel().tolist())

        if kind == 'char':
            entries[name] = StoredArray(TEXT, shape[:1], 'text', '', read)
        elif kind == 'cell':
            entries[name] = StoredArray(OBJECTS, shape, 'cell', '', read_cells)
        elif kind == 'struct':
            entries |= _fields(name, shape, read)
        elif kind in ('opaque', 'object', 'unknown'):
            entries[name] = StoredArray(UNREADABLE, None, f'MATLAB {kind}', '', read)
        elif kind == 'sparse':
            entries[name] = StoredArray(NUMBERS, shape, SPARSE, '', _no_value)
        else:
            entries[name] = StoredArray(NUMBERS, shape, kind, '', read)
    return entries


def _fields(name: str, shape: tuple[int, ...], read: Read) -> dict[str, StoredArray]:
    """Fields of a MATLAB struct, which has no headers of its own and is read whole."""
    struct = np.asarray(read())
    found = {}
    for field in struct.dtype.names or ():
        values = struct[field].ravel()
        if values.size == 1:
            value = np.asarray(values[0])
            if value.dtype.names:
                inner = _fields(f'{name}/{field}', value.shape, lambda value=value: value)
                found |= inner
                continue
            value = _cells(value.ravel().tolist()) if value.dtype.kind == 'O' else value
            value = np.char.rstrip(value) if value.dtype.kind == 'U' else value
        else:  # a field of an array of structs
            value = _cells(values.tolist())
        kind = OBJECTS if value.dtype.kind == 'O' else _kind(value.dtype)
        found[f'{name}/{field}'] = StoredArray(kind, value.shape, str(value.dtype), name, lambda value=value: value)
    return found


def _cells(cells: list[Any]) -> np.ndarray:
    """Text or numbers of MATLAB's cells, one each; objects where a cell holds anything else."""
    held = []
    for cell in cells:
        while isinstance(cell, np.ndarray) and cell.dtype.kind == 'O' and cell.size == 1:
            cell = cell.ravel()[0]
        array = np.asarray(cell)
        if array.dtype.kind == 'U' and array.size <= 1:
            held.append(str(array.ravel()[0]).rstrip() if array.size else '')
        elif array.dtype.kind in 'fiu' and array.size == 1:
            held.append(array.ravel()[0].item())
        else:
            held.append(None)
    if held and all(isinstance(one, str) for one in held):
        return np.array(held, dtype=np.str_)
    values = np.empty(len(held), dtype=object)
    values[:] = held
    return values


def _no_value() -> np.ndarray:
    raise ValueError('it cannot be read as an array')


def _meadows(tree: Any) -> dict[str, StoredArray]:
    """RDMs and stimuli of the multiple-arrangement tasks in a .json file of Meadows (meadows-research.com)."""
    tasks = tree.get('tasks', [tree]) if isinstance(tree, dict) else []
    entries = {}
    for number, task in enumerate(tasks):
        if not isinstance(task, dict) or not {'rdm', 'stimuli'} <= set(task):
            continue
        place = str(task.get('task', {}).get('name', f'task{number}'))
        place = place if f'{place}/rdm' not in entries else f'{place}-{number}'
        values = np.array(task['rdm'], dtype=np.float64)
        stimuli = np.array([stimulus['name'] for stimulus in task['stimuli']], dtype=np.str_)
        entries[f'{place}/rdm'] = StoredArray(NUMBERS, values.shape, 'float64', place, lambda values=values: values)
        entries[f'{place}/stimuli'] = StoredArray(TEXT, stimuli.shape, 'text', place, lambda stimuli=stimuli: stimuli)
    if not entries:
        raise ValueError('no task of it has an RDM and stimuli, as the .json files of Meadows do')
    return entries
