"""Many files in one call: models and subjects by glob pattern, all arrays of a file, joined by stimulus.

A source is a file, a folder, or a glob pattern; `file.h5:conv1` names one array of a file.
"""

import collections
import dataclasses
import glob
import os
import pathlib
import re
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from humalign_jax import settings
from humalign_jax.records import Features, Rdm
from humalign_jax.rsa import files, pairs
from humalign_jax.rsa.formats.containers import NUMBERS, SPARSE, StoredArray

KINDS = ('auto', 'features', 'rdm')
JOINS = ('auto', *pairs.JOINS)
_ONE_ARRAY = ('.npy', '.csv', '.tsv')
_WITH_ARRAY = re.compile(r'(.+\.(?:npz|h5|hdf5|mat|json)):(.+)')

Record = TypeVar('Record', bound=Features | Rdm)
Array = tuple[pathlib.Path, str | None]  # a file, and which array of it; None for the only one


def load_models(
    sources: str | Sequence[str],
    *,
    kind: str = 'auto',
    ids: np.ndarray | None = None,
    n_stimuli: int | None = None,
) -> list[Features | Rdm]:
    """Features and model RDMs of all arrays in all files, in natural order of the files' names.

    An array is an RDM if it is square and symmetric with a zero diagonal (also each of a stack [k, n, n]), if it is
    rsatoolbox's `dissimilarities`, or if it is a vector and no array of its file has more axes. Everything else of two
    axes or more is features, one stimulus a row.

    Args:
        sources: Files, folders or glob patterns, each with `:array` for one array.
        kind: 'features' or 'rdm' where the rule above is wrong; [k, p] are k RDMs with 'rdm'.
        ids: Stimulus ids of all of them, [n]; default those in the files.
        n_stimuli: Number of stimuli that is known. Arrays of other numbers are left out if any has this one, and
            [k, p] with the p pairs of so many stimuli are k RDMs.

    Returns:
        Records named after the array where a file has several, else after the file.

    Raises:
        ValueError: A source matches no file, or a file has no such array.

    Example:
        >>> np.savez('net.npz', conv1=np.zeros((4, 2, 3)), fc=np.ones((4, 5)))
        >>> rsa.load_models('net.npz', ids=['a', 'b', 'c', 'd'])
        [Features('conv1': 4 stimuli (a ...), 6 features), Features('fc': 4 stimuli (a ...), 5 features)]
        >>> rsa.load_models('*.npz:fc', ids=['a', 'b', 'c', 'd'])
        [Features('fc': 4 stimuli (a ...), 5 features)]
    """
    if kind not in KINDS:
        raise ValueError(f'kind must be one of {", ".join(KINDS)}, not {kind!r}.')
    found: list[tuple[Array, Sequence[Features | Rdm]]] = []
    for path, key in _arrays_of(sources, rdms=kind == 'rdm', n_stimuli=n_stimuli):
        if kind == 'rdm' or (kind == 'auto' and _holds_rdms(path, key, n_stimuli)):
            found.append(((path, key), files.load_rdms(path, key=key, ids=ids, name=key)))
        else:
            found.append(((path, key), [files.load_features(path, key=key, ids=ids, name=key)]))
    return _named_apart(found)


def load_subjects(sources: str | Sequence[str], *, ids: np.ndarray | None = None) -> list[Rdm]:
    """The RDMs of all subjects: one a file, or k in one array, [k, p] or [k, n, n]; in natural order of the names.

    Args:
        sources: Files, folders or glob patterns, each with `:array` for one array.
        ids: Stimulus ids of all of them, [n]; default those in the files.

    Raises:
        ValueError: A source matches no file, or an array is no RDM.

    Example:
        >>> np.save('people.npy', [[1.0, 2.0, 3.0], [1.0, 2.0, 2.5]])  # two condensed RDMs
        >>> rsa.load_subjects('people.npy', ids=['a', 'b', 'c'])
        [Rdm('people 1': 3 stimuli (a ...), 3 pairs, unknown), Rdm('people 2': 3 stimuli (a ...), 3 pairs, unknown)]
    """
    arrays = _arrays_of(sources, rdms=True)
    return _named_apart([((path, key), files.load_rdms(path, key=key, ids=ids, name=key)) for path, key in arrays])


def same_stimuli(records: Sequence[Record], join: str = 'auto') -> tuple[list[Record], str]:
    """The records on the same stimuli in the order of the first one, and how they were joined.

    Args:
        records: Features or RDMs.
        join: 'exact' asks for the same ids in all; 'shared' keeps the stimuli that all have; 'position' takes row k of
            each for the same stimulus. 'auto' is 'position' where no record has ids, otherwise 'exact'.

    Raises:
        ValueError: Ids are missing or differ, or fewer than three stimuli are left; the message names the files.

    Example:
        >>> one = rsa.Rdm(np.array([1.0, 2.0, 3.0]), ['a', 'b', 'c'], 'one', 'euclidean')
        >>> two = rsa.Rdm(np.array([3.0, 2.0, 1.0]), ['c', 'b', 'a'], 'two', 'euclidean')
        >>> (_, moved), how = rsa.same_stimuli([one, two])
        >>> moved.values, how
        (array([1., 2., 3.]), 'exact')
    """
    if join not in JOINS:
        raise ValueError(f'join must be one of {", ".join(JOINS)}, not {join!r}.')
    without = [record for record in records if not pairs.has_ids(record)]
    if join == 'auto':
        join = 'position' if len(without) == len(records) else 'exact'
    if join == 'position':
        ids = pairs.position_ids(records)
        return [dataclasses.replace(record, ids=ids) for record in records], join
    if without and not pairs.of_one_array(records):
        raise ValueError(
            f'{", ".join(dict.fromkeys(repr(record.name) for record in without))} came without stimulus ids, the '
            'others with ids: list the ids in a text file, one a line for each row (--ids, --reference-ids; ids=...), '
            "or say join='position' (--join=position) if row k of all of them is the same stimulus."
        )
    first = records[0]
    ids = np.asarray(first.ids)
    for other in records[1:]:
        if join == 'exact' and not (len(other.ids) == len(ids) and np.isin(ids, other.ids).all()):
            raise ValueError(
                f'{first.name!r} and {other.name!r} are of different stimuli: {pairs.differing_ids(first, other)}. '
                "Give both the same ids, or keep the stimuli that all have with join='shared' (--join=shared)."
            )
    ids = ids[np.logical_and.reduce([np.isin(ids, record.ids) for record in records])]
    if len(ids) < 3:
        raise ValueError(
            f'{len(ids)} stimuli are left that all have; the ids look like {str(first.ids[0])!r} and '
            f'{str(records[-1].ids[0])!r}. At least three are needed.'
        )
    return [_on(record, ids) for record in records], join


def _on(record: Record, ids: np.ndarray) -> Record:
    """A record of the stimuli `ids`, in that order."""
    if isinstance(record, Rdm):
        return pairs.select(record, ids)
    own = np.asarray(record.ids)
    order = np.argsort(own)
    rows = order[np.searchsorted(own, ids, sorter=order)]
    return dataclasses.replace(record, values=np.asarray(record.values)[rows], ids=ids)


def _paths_of(source: str) -> tuple[list[pathlib.Path], str | None]:
    """Files of a source, and which array of each; None for all."""
    expanded, key = os.path.expanduser(source), None
    if not os.path.exists(expanded) and (named := _WITH_ARRAY.fullmatch(expanded)):
        expanded, key = named.groups()
    if os.path.isdir(expanded):
        expanded = os.path.join(glob.escape(expanded), '*')
    names = [expanded] if os.path.exists(expanded) else glob.glob(expanded, recursive=True)
    paths = [pathlib.Path(name) for name in names if os.path.isfile(name)]
    if len(paths) > 1:  # a .json beside an array says what the array is
        stems = {path.with_suffix('') for path in paths if path.suffix != '.json'}
        paths = [path for path in paths if path.suffix in files.SUFFIXES]
        paths = [path for path in paths if path.suffix != '.json' or path.with_suffix('') not in stems]
    if not paths:
        folder = os.path.dirname(expanded) or '.'
        near = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
        advice = settings.nearest(os.path.basename(expanded), near) if near else f' There is no folder {folder}.'
        raise ValueError(f'no file is called {source!r}.{advice}')
    return sorted(paths, key=_natural), key


def _natural(path: pathlib.Path) -> list[tuple[int, int | str]]:
    """A key that puts subject2 before subject10."""
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in re.split(r'(\d+)', str(path)) if part]


def _arrays_of(sources: str | Sequence[str], *, rdms: bool, n_stimuli: int | None = None) -> list[Array]:
    """All arrays of the sources that can be RDMs, or features."""
    found: list[Array] = []
    for source in [sources] if isinstance(sources, str) else sources:
        paths, key = _paths_of(source)
        for path in paths:
            if key is not None or path.suffix in _ONE_ARRAY or path.suffix not in files.SUFFIXES:
                found.append((path, key))
                continue
            with files.open_arrays(path) as entries:
                names = _candidates(entries, rdms, n_stimuli)
                if not names:
                    what = 'RDMs, [p], [n, n], [k, p] or [k, n, n]' if rdms else 'features, [n, d], or RDMs'
                    raise ValueError(f'{path} has no array that can be {what}; it has {files.listed(entries)}.')
            found += [(path, name if len(names) > 1 else None) for name in names]
    return found


def _candidates(entries: dict[str, StoredArray], rdms: bool, n_stimuli: int | None) -> list[str]:
    """Names of the arrays of a file that can be RDMs, or features."""
    shapes = {
        name: entry.shape
        for name, entry in entries.items()
        if entry.kind == NUMBERS
        and entry.shape
        and 0 not in entry.shape
        and entry.described != SPARSE
        and '@' not in name
        and not entry.place.endswith('_descriptors')  # rsatoolbox's
        and not files.is_named_as_ids(name, entry)
    }
    if rdms:
        fitting = [name for name, shape in shapes.items() if len(shape) <= 3 and _n_stimuli_of_rdms(shape)]
    else:
        fitting = [name for name, shape in shapes.items() if len(shape) >= 2 and max(shape) < np.prod(shape)]
        fitting = fitting or [name for name, shape in shapes.items() if _n_stimuli_of_rdms(shape)]
    if n_stimuli is not None:
        of_these = [name for name in fitting if n_stimuli in (shapes[name][0], _n_stimuli_of_rdms(shapes[name]))]
        fitting = of_these or fitting
    return fitting


def _n_stimuli_of_rdms(shape: tuple[int, ...]) -> int:
    """How many stimuli RDMs of this shape have; 0 if it is none of RDMs."""
    if len(shape) in (2, 3) and shape[-1] == shape[-2] > 1:
        return shape[-1]
    n_pairs = max(shape) if max(shape) == np.prod(shape) else shape[-1] if len(shape) == 2 else 0
    n = (1 + int(np.sqrt(1 + 8 * n_pairs))) // 2
    return n if n_pairs and n * (n - 1) // 2 == n_pairs else 0


def _holds_rdms(path: pathlib.Path, key: str | None, n_stimuli: int | None) -> bool:
    """Whether an array is RDMs rather than features; see `load_models`."""
    if path.suffix in _ONE_ARRAY:
        values = files.read_npy(path) if path.suffix == '.npy' else files.read_csv(path, square=True).values
        return _are_rdms(values, n_stimuli)
    with files.open_arrays(path) as entries:
        names = [key] if key is not None else _candidates(entries, rdms=False, n_stimuli=n_stimuli)
        entry = entries.get(names[0])
        if entry is None:  # the loader says so
            return False
        if names[0].rpartition('/')[2] == 'dissimilarities':
            return True
        if entry.shape and len(entry.shape) in (2, 3) and entry.shape[-1] == entry.shape[-2]:
            return _are_rdms(entry.read(), n_stimuli)
        return _are_condensed(entry.shape or (), n_stimuli)


def _are_rdms(values: np.ndarray, n_stimuli: int | None) -> bool:
    if values.ndim in (2, 3) and values.shape[-1] == values.shape[-2] > 1:
        squares = values.reshape(-1, *values.shape[-2:])
        return all(not np.diagonal(one).any() and np.allclose(one, one.T, equal_nan=True) for one in squares)
    return _are_condensed(values.shape, n_stimuli)


def _are_condensed(shape: tuple[int, ...], n_stimuli: int | None) -> bool:
    """Whether this is the shape of condensed RDMs: of a vector always, [k, p] only for a known number of stimuli."""
    if not shape or max(shape) == np.prod(shape):
        return True
    n = _n_stimuli_of_rdms(shape)
    return len(shape) == 2 and n_stimuli is not None and n == n_stimuli and shape[0] != n


def _named_apart(found: Sequence[tuple[Array, Sequence[Record]]]) -> list[Record]:
    """Records of all arrays; equal names get as much of path and array before them as tells them apart."""
    places = [(*path.with_suffix('').parts, *([key] if key else [])) for (path, key), _ in found]
    labels = [place[-1] for place in places]
    for label, count in collections.Counter(labels).items():
        rows = [row for row, other in enumerate(labels) if other == label] if count > 1 else []
        for length in range(2, max((len(places[row]) for row in rows), default=0) + 1):
            longer = ['/'.join(places[row][-length:]) for row in rows]
            if len(set(longer)) == len(set(places[row] for row in rows)):
                for row, name in zip(rows, longer):
                    labels[row] = name
                break
    listed = [(label, array, record) for label, (array, loaded) in zip(labels, found) for record in loaded]
    counts = collections.Counter(record.name for _, _, record in listed)
    return [
        record
        if counts[record.name] == 1
        else dataclasses.replace(record, name=label if record.name in (path.stem, key) else f'{label}/{record.name}')
        for label, (path, key), record in listed
    ]
