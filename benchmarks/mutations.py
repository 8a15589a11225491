r"""Valid files, damaged at random: what the readers of features, RDMs, ids, labels and tables make of them.

    python benchmarks/mutations.py --n 10000 --out benchmarks/results/mutations.json

Each case writes a valid file, mutates it (bytes flipped, inserted, deleted or zeroed, lines dropped or doubled, another
encoding, cut short, a member removed), loads it in this process, and is one of:

    refused        a ValueError that names the file
    same           the numbers and ids of the file before
    as it says     other numbers or ids, which a plain reader (np.load, h5py, scipy.io, csv, json) finds in the damaged
                   file as well: a digit flipped in a table is the file's own content, and nobody can notice
    wrong          other numbers or ids than the plain reader finds, or made-up ids where it finds ids
    crash          the process died within a library, or did not end within a minute: each case has one of its own
    other          any other exception

The last three are faults. Expect none: the result of the last run is in benchmarks/results/mutations.json.
"""

import argparse
import collections
import csv
import faulthandler
import io
import json
import os
import pathlib
import platform
import re
import signal
import sys
import tempfile
import time
import warnings
import zipfile
from collections.abc import Callable

import h5py
import numpy as np
import scipy
import scipy.io
from scipy.spatial.distance import pdist, squareform

from humalign_jax import storage
from humalign_jax.records import Features, Rdm
from humalign_jax.rsa import files

N, D = 6, 3
IDS = [f'im{i:02d}' for i in (3, 1, 0, 5, 2, 4)]
LABELS = ['cat', 'dog', 'car', 'cat', 'dog', 'car']
Read = tuple[np.ndarray | None, list[str] | None]  # numbers and ids
FAULTS = ('wrong', 'crash', 'other')


# Files


def _numbers(np_rng: np.random.Generator) -> np.ndarray:
    return np.round(np_rng.normal(size=(N, D)), 3)


def _write_table(path: pathlib.Path, values: np.ndarray, index: list[str], corner: str, mark: str = ',.') -> None:
    separator, decimal = mark
    lines = [[corner, *(f'f{j}' for j in range(values.shape[1]))]]
    lines += [[name, *(str(x).replace('.', decimal) for x in row)] for name, row in zip(index, values.tolist())]
    path.write_text(''.join(separator.join(line) + '\n' for line in lines))


def _write_hdf5(path: pathlib.Path, values: np.ndarray) -> None:
    with h5py.File(path, 'w') as file:
        file['net/x'] = values
        file['net/ids'] = np.array(IDS, 'S')


def _write_mat73(path: pathlib.Path, values: np.ndarray) -> None:
    with h5py.File(path, 'w') as file:
        file.create_dataset('x', data=values.T).attrs['MATLAB_class'] = np.bytes_(b'double')
        cells = np.empty((1, N), dtype=h5py.ref_dtype)
        for i, name in enumerate(IDS):
            text = file.create_dataset(f'#refs#/c{i}', data=np.array([[ord(c)] for c in name], np.uint16))
            text.attrs['MATLAB_class'] = np.bytes_(b'char')
            cells[0, i] = text.ref
        file.create_dataset('ids', data=cells, dtype=h5py.ref_dtype).attrs['MATLAB_class'] = np.bytes_(b'cell')


def _write_rdm(path: pathlib.Path, values: np.ndarray) -> None:
    files.save_rdm(path, Rdm(pdist(values), np.array(IDS), 'human', 'euclidean'))


def _write_json(path: pathlib.Path, values: np.ndarray) -> None:
    np.save(path, values)
    path.with_suffix('.json').write_text(json.dumps({'ids': IDS}))


# Plain readers


def _plain_npy(path: pathlib.Path) -> Read:
    values = np.load(path, allow_pickle=False)
    beside = path.with_suffix('.json')
    described = json.loads(beside.read_bytes()) if beside.exists() else {}
    lists = [one for one in described.values() if isinstance(one, list) and any(isinstance(x, str) for x in one)]
    return values, [str(x) for x in lists[0]] if lists else None


def _plain_arrays(arrays: dict[str, np.ndarray]) -> Read:
    numbers = [a for a in arrays.values() if a.dtype.kind in 'fiu' and a.ndim > 1]
    texts = [a for a in arrays.values() if a.dtype.kind in 'USO']
    ids = [x.decode() if isinstance(x, bytes) else str(x).rstrip() for x in texts[0].ravel()] if texts else None
    return numbers[0], ids


def _plain_npz(path: pathlib.Path) -> Read:
    with np.load(path, allow_pickle=False) as file:
        return _plain_arrays({name: file[name] for name in file.files})


def _plain_hdf5(path: pathlib.Path) -> Read:
    found = {}
    with h5py.File(path, 'r') as file:
        file.visititems(lambda name, item: found.update({name: item[()]} if isinstance(item, h5py.Dataset) else {}))
    return _plain_arrays(found)


def _plain_mat(path: pathlib.Path) -> Read:
    found = {k: v for k, v in scipy.io.loadmat(path).items() if not k.startswith('__')}
    return _plain_arrays(
        {k: np.array([str(x[0]) for x in v.ravel()]) if v.dtype.kind == 'O' else v for k, v in found.items()}
    )


def _plain_mat73(path: pathlib.Path) -> Read:
    with h5py.File(path, 'r') as file:
        found = {k: item[()] for k, item in file.items() if isinstance(item, h5py.Dataset)}
        numbers = [a.T for a in found.values() if a.dtype.kind in 'fiu' and a.ndim > 1]
        cells = [a for a in found.values() if a.dtype.kind == 'O']
        ids = [''.join(map(chr, file[one][()].ravel())).rstrip() for one in cells[0].ravel()] if cells else None
    return numbers[0], ids


def _plain_text(path: pathlib.Path) -> str:
    raw = path.read_bytes()
    if raw[:4] == b'\xff\xfe\0\0':
        return raw.decode('utf-32')
    return raw.decode('utf-16' if raw[:2] in (b'\xff\xfe', b'\xfe\xff') else 'utf-8-sig')


def _plain_table(path: pathlib.Path, mark: str = ',.') -> Read:
    separator, decimal = mark
    rows = [[cell.strip() for cell in row] for row in csv.reader(io.StringIO(_plain_text(path)), delimiter=separator)]
    rows = [row for row in rows if any(row) and not row[0].startswith('#')]

    def number(cell: str) -> float:
        return float(cell.replace(decimal, '.')) if cell else float('nan')

    try:
        [number(cell) for cell in rows[0][1:]]
    except ValueError:
        rows = rows[1:]
    ids = [row[0] for row in rows]
    counted = ids in ([str(i + start) for i in range(len(ids))] for start in (0, 1))
    return np.array([[number(cell) for cell in row[1:]] for row in rows]), None if counted else ids


def _plain_list(path: pathlib.Path) -> Read:
    lines = [line.strip() for line in re.split('\r\n|\r|\n', _plain_text(path))]
    return None, [line for line in lines if line and not line.startswith('#')]


# Kinds of files: how each is written, read by the package, and read plainly


def _features(path: pathlib.Path) -> Read:
    found = files.load_features(path)
    return found.values, None if found.provenance['ids'] == 'made up' else list(found.ids)


def _rdm(path: pathlib.Path) -> Read:
    found = files.load_rdm(path)
    return found.values, None if found.provenance['ids'] == 'made up' else list(found.ids)


def _list(path: pathlib.Path) -> Read:
    return None, list(files.load_ids(path))


def _plain_square(path: pathlib.Path) -> Read:
    values, ids = _plain_table(path)
    return squareform(values, checks=False), ids


Kind = tuple[
    str, Callable[[pathlib.Path, np.ndarray], object], Callable[[pathlib.Path], Read], Callable[[pathlib.Path], Read]
]
KINDS: dict[str, Kind] = {
    'features, our .npy and .json': (
        'a.npy',
        lambda p, x: files.save_features(p, Features(x, np.array(IDS), 'net')),
        _features,
        _plain_npy,
    ),
    'features, .npy and a list by hand': ('a.npy', _write_json, _features, _plain_npy),
    'features, .npz': ('a.npz', lambda p, x: np.savez(p, x=x, ids=np.array(IDS)), _features, _plain_npz),
    'features, .npz compressed': (
        'a.npz',
        lambda p, x: np.savez_compressed(p, x=x, names=np.array(IDS)),
        _features,
        _plain_npz,
    ),
    'features, .h5': ('a.h5', _write_hdf5, _features, _plain_hdf5),
    'features, .mat 5': (
        'a.mat',
        lambda p, x: scipy.io.savemat(p, {'x': x, 'ids': np.array(IDS, object)}),
        _features,
        _plain_mat,
    ),
    'features, .mat 5 compressed': (
        'a.mat',
        lambda p, x: scipy.io.savemat(p, {'x': x, 'ids': np.array(IDS, object)}, do_compression=True),
        _features,
        _plain_mat,
    ),
    'features, .mat 7.3': ('a.mat', _write_mat73, _features, _plain_mat73),
    'features, table': ('a.csv', lambda p, x: _write_table(p, x, IDS, 'stimulus'), _features, _plain_table),
    'features, table with an index': (
        'a.csv',
        lambda p, x: _write_table(p, x, [str(i) for i in range(N)], ''),
        _features,
        _plain_table,
    ),
    'features, table with semicolons': (
        'a.csv',
        lambda p, x: _write_table(p, x, IDS, 'id', ';,'),
        _features,
        lambda p: _plain_table(p, ';,'),
    ),
    'RDM, our .npy and .json': ('a.npy', _write_rdm, _rdm, _plain_npy),
    'RDM, square table': (
        'a.csv',
        lambda p, x: _write_table(p, np.round(squareform(pdist(x)), 3), IDS, ''),
        _rdm,
        _plain_square,
    ),
    'ids': ('a.txt', lambda p, x: p.write_text('\n'.join(IDS) + '\n'), _list, _plain_list),
    'labels': ('a.txt', lambda p, x: p.write_text('\r\n'.join(LABELS) + '\r\n'), _list, _plain_list),
}


# Mutations


def _flip(path: pathlib.Path, np_rng: np.random.Generator) -> None:
    raw = bytearray(path.read_bytes())
    for _ in range(int(np_rng.integers(1, 4))):
        raw[int(np_rng.integers(len(raw)))] ^= 1 << int(np_rng.integers(8))
    path.write_bytes(raw)


def _replace(path: pathlib.Path, np_rng: np.random.Generator) -> None:
    raw = bytearray(path.read_bytes())
    raw[int(np_rng.integers(len(raw)))] = int(np_rng.integers(256))
    path.write_bytes(raw)


def _insert(path: pathlib.Path, np_rng: np.random.Generator) -> None:
    raw = bytearray(path.read_bytes())
    raw.insert(int(np_rng.integers(len(raw) + 1)), int(np_rng.choice(list(b'0,;.\n\r\t "#-eN\0\xff'))))
    path.write_bytes(raw)


def _delete(path: pathlib.Path, np_rng: np.random.Generator) -> None:
    raw = bytearray(path.read_bytes())
    start = int(np_rng.integers(len(raw)))
    del raw[start : start + int(np_rng.integers(1, 9))]
    path.write_bytes(raw)


def _zero(path: pathlib.Path, np_rng: np.random.Generator) -> None:
    raw = bytearray(path.read_bytes())
    start = int(np_rng.integers(len(raw)))
    end = min(start + int(np_rng.integers(1, 33)), len(raw))
    raw[start:end] = bytes(end - start)
    path.write_bytes(raw)


def _truncate(path: pathlib.Path, np_rng: np.random.Generator) -> None:
    raw = path.read_bytes()
    path.write_bytes(raw[: int(np_rng.integers(len(raw)))])


def _line(path: pathlib.Path, np_rng: np.random.Generator) -> None:
    """Drops, doubles or moves a line."""
    lines = path.read_bytes().splitlines(keepends=True)
    row = int(np_rng.integers(len(lines)))
    line = lines.pop(row)
    how = int(np_rng.integers(3))
    if how:
        lines[row:row] = [line, line] if how == 1 else []
        if how == 2:
            lines.insert(int(np_rng.integers(len(lines) + 1)), line)
    path.write_bytes(b''.join(lines))


def _encode(path: pathlib.Path, np_rng: np.random.Generator) -> None:
    text = path.read_bytes().decode().replace('im', 'ím', 1).replace('cat', 'cät', 1)
    path.write_bytes(
        text.encode(str(np_rng.choice(['utf-8-sig', 'utf-16', 'utf-16-le', 'latin-1', 'cp437', 'utf-32'])))
    )


def _ends(path: pathlib.Path, np_rng: np.random.Generator) -> None:
    raw = path.read_bytes().replace(b'\r\n', b'\n')
    path.write_bytes(raw.replace(b'\n', (b'\r\n', b'\r', b' \n', b'\n\n')[int(np_rng.integers(4))]))


def _member(path: pathlib.Path, np_rng: np.random.Generator) -> None:
    """Removes an array, or a key of a .json."""
    if path.suffix == '.npz':
        with zipfile.ZipFile(path) as file:
            members = {name: file.read(name) for name in file.namelist()}
        del members[str(np_rng.choice(sorted(members)))]
        with zipfile.ZipFile(path, 'w') as file:
            for name, content in members.items():
                file.writestr(name, content)
    elif path.suffix == '.json':
        described = json.loads(path.read_bytes())
        del described[str(np_rng.choice(sorted(described)))]
        path.write_text(json.dumps(described))
    elif h5py.is_hdf5(path):
        with h5py.File(path, 'r+') as file:
            group = file.get('net', file)
            del group[str(np_rng.choice(sorted(group)))]
    else:
        _flip(path, np_rng)


BINARY = (_flip, _flip, _replace, _insert, _delete, _zero, _truncate, _member)
TEXT = (_flip, _replace, _replace, _insert, _insert, _delete, _truncate, _line, _line, _encode, _ends)


# One case


def _equal(a: Read, b: Read) -> bool:
    same = a[0] is b[0] or (a[0] is not None and b[0] is not None and np.array_equal(a[0], b[0], equal_nan=True))
    return same and a[1] == b[1]


def _late(*_: object) -> None:
    os._exit(3)  # no exception, which a reader could take for damage


def case(kind: str, seed: int, folder: pathlib.Path) -> tuple[str, str, str]:
    """(mutation, outcome, what happened) of one damaged file; the damaged file is left in `folder`."""
    np_rng = np.random.default_rng([seed, list(KINDS).index(kind)])
    name, write, load, plain = KINDS[kind]
    for old in folder.iterdir():
        old.unlink()
    path = folder / name
    write(path, _numbers(np_rng))
    before = load(path)
    target = path
    if path.with_suffix('.json').exists() and np_rng.random() < 0.5:
        target = path.with_suffix('.json')
    mutations = TEXT if target.suffix in ('.csv', '.txt') else BINARY
    mutate = mutations[int(np_rng.integers(len(mutations)))]
    mutate(target, np_rng)
    mutation = mutate.__name__.strip('_')
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            found = load(path)
    except ValueError as error:
        named = str(folder) in str(error) or name in str(error)
        return mutation, 'refused' if named else 'other', f'ValueError: {error}'
    except Exception as error:
        return mutation, 'other', f'{type(error).__name__}: {error}'
    if _equal(found, before):
        return mutation, 'same', ''
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            said = plain(path)
    except Exception as error:
        said = f'{type(error).__name__}: {error}'
    if not isinstance(said, str) and _equal(found, said):
        return mutation, 'as it says', ''
    return mutation, 'wrong', f'found {found}, a plain reader {said}'


def apart(kind: str, seed: int, folder: pathlib.Path) -> tuple[str, str, str]:
    """`case` in a process of its own, which a library may bring down."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        faulthandler.enable(open(folder.with_suffix('.crash'), 'w'))  # noqa: SIM115 (kept open until the end)
        signal.signal(signal.SIGALRM, _late)
        signal.alarm(60)
        os.write(write, json.dumps(case(kind, seed, folder)).encode())
        os._exit(0)
    os.close(write)
    with open(read, 'rb') as pipe:
        said = pipe.read()
    status = os.waitpid(child, 0)[1]
    if status == 0:
        return tuple(json.loads(said))
    return 'unknown', 'crash', f'status {status}: {folder.with_suffix(".crash").read_text()[:1000]}'


def main() -> None:
    """Runs the cases and writes how many ended in which way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--n', type=int, default=10_000, help='cases, spread over the kinds of files')
    parser.add_argument('--seed', type=int, default=0, help='of the first case')
    parser.add_argument('--out', default='', help='JSON file for the counts')
    parser.add_argument('--show', type=int, default=20, help='how many faults are printed')
    arguments = parser.parse_args()
    counts: dict[str, collections.Counter] = {kind: collections.Counter() for kind in KINDS}
    by_mutation: dict[str, collections.Counter] = collections.defaultdict(collections.Counter)
    faults, began = [], time.perf_counter()
    with tempfile.TemporaryDirectory() as temporary:
        for number in range(arguments.n):
            kind = list(KINDS)[number % len(KINDS)]
            seed = arguments.seed + number // len(KINDS)
            mutation, outcome, what = apart(kind, seed, pathlib.Path(temporary))
            counts[kind][outcome] += 1
            by_mutation[mutation][outcome] += 1
            if outcome in FAULTS:
                faults.append(
                    {'kind': kind, 'seed': seed, 'mutation': mutation, 'outcome': outcome, 'what': what[:300]}
                )
    for fault in faults[: arguments.show]:
        print(fault)
    result = {
        'cases': arguments.n,
        'seed': arguments.seed,
        'faults': len(faults),
        'outcomes': dict(sum(counts.values(), collections.Counter())),
        'by_kind': {kind: dict(found) for kind, found in counts.items()},
        'by_mutation': {mutation: dict(found) for mutation, found in by_mutation.items()},
        'seconds': round(time.perf_counter() - began, 1),
        'python': platform.python_version(),
        'versions': {module.__name__: module.__version__ for module in (np, scipy, h5py)},
        'hdf5': h5py.version.hdf5_version,
    }
    print(json.dumps(result, indent=2))
    if arguments.out:
        storage.write_json(arguments.out, result)
    sys.exit(int(bool(faults)))


if __name__ == '__main__':
    main()
