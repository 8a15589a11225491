"""Stimulus ids that a file holds beside an array: found by name, place and length, or refused, never passed over."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from humalign_jax import arrays, storage
from humalign_jax.rsa.formats.containers import NUMBERS, OBJECTS, TEXT, UNREADABLE, StoredArray
from humalign_jax.rsa.formats.csv_file import ID_NAME, NO_IDS

Found = tuple[np.ndarray, str]
OWN_NAMES = ('ids', 'stimulus_ids', 'stimuli')  # ids, whatever their length
# Where rsatoolbox keeps what it knows of stimuli.
_DESCRIPTORS = {'measurements': 'obs_descriptors', 'dissimilarities': 'pattern_descriptors'}


def is_named_as_ids(name: str, entry: StoredArray) -> bool:
    """Whether an array is called as ids are, and is one vector."""
    return entry.length is not None and bool(ID_NAME.fullmatch(_base(name)))


def ids_beside(
    path: pathlib.Path, entries: Mapping[str, StoredArray], key: str, n: int, ids_key: str | None
) -> Found | None:
    """Ids of the n stimuli of array `key`, and their name in the file; None where the file has none.

    Candidates are vectors of n different texts, of any name, and of n whole numbers that are named as ids are. Those
    nearest to the array count: its own attributes, its group, the groups around it, then the rest of the file.

    Args:
        path: The file, for messages.
        entries: Its arrays.
        key: Name of the array that the ids are for.
        n: How many stimuli it has.
        ids_key: Name of the array with ids, or 'none'; None to find it.

    Raises:
        ValueError: There are several candidates, or one that cannot be read or has another length.
    """
    if ids_key is not None:
        if ids_key == NO_IDS and NO_IDS not in entries:
            return None
        if ids_key not in entries:
            raise ValueError(f'{path} has no array {ids_key!r} for ids_key; it has {listed(entries)}.')
        return _checked(path, ids_key, entries[ids_key].read(), n), ids_key
    for level in _levels(entries, key):
        _check_lengths(path, entries, level, key, n)
        found = _candidates(path, level, n, key)
        if found:
            return _only(path, found, key)
    near = {name for level in _levels(entries, key) for name in level}
    rest = {name: entry for name, entry in entries.items() if name not in near | {key}}
    if _descriptors(entries, key):
        rest = {name: entry for name, entry in rest.items() if not entry.place.endswith('_descriptors')}
    found = _candidates(path, rest, n, key)
    if found and len(found) == 1 and _is_below(entries, next(iter(found)), key, n):
        return _only(path, found, key)
    if found:
        raise ValueError(
            f'{path}: {_quoted(found)} may hold the stimulus ids of {key!r}, but stand elsewhere in the file: choose '
            f'one with ids_key=..., or ids_key={NO_IDS!r}.'
        )
    return None


def ids_of_json(path: pathlib.Path, described: Any, n: int, ids_key: str | None) -> Found | None:
    """Ids of n stimuli in a .json beside an array: a list, or an object with lists; see `ids_beside`."""
    lists = {'': described} if isinstance(described, list) else described if isinstance(described, dict) else {}
    for name in ('', 'ids'):
        if name in lists and lists[name] is not None and not isinstance(lists[name], list):
            raise ValueError(f'{path}: {name!r} must be a list of stimulus ids, not {type(lists[name]).__name__}.')
    entries = {}
    for name, values in lists.items():
        if isinstance(values, list) and values and all(isinstance(one, str | int) for one in values):
            kind = TEXT if any(isinstance(one, str) for one in values) else NUMBERS
            values = [str(one) for one in values] if kind == TEXT else values
            entries[name or 'ids'] = StoredArray(
                kind, (len(values),), 'list', '', lambda values=values: np.array(values)
            )
        elif isinstance(values, list) and name in ('', *OWN_NAMES):
            raise ValueError(f'{path}: {name or "the list"} must hold text or whole numbers, one for each stimulus.')
    if ids_key is not None and ids_key not in entries:
        return None
    return ids_beside(path, entries, '', n, ids_key)


def read_beside(path: pathlib.Path) -> Any:
    """What the .json beside an array says, None if there is none.

    Raises:
        ValueError: It is damaged.
    """
    beside = path.with_suffix('.json')
    return storage.read_json(beside) if beside.is_file() and beside != path else None


def listed(entries: Mapping[str, StoredArray]) -> str:
    """Arrays with types and shapes, for messages."""
    return ', '.join(f'{name!r} {entry}' for name, entry in entries.items()) or 'no arrays'


def _base(name: str) -> str:
    return name.replace('@', '/').rpartition('/')[2]


def _descriptors(entries: Mapping[str, StoredArray], key: str) -> str | None:
    """The group of rsatoolbox's descriptors of stimuli, None in other files."""
    place, _, name = key.rpartition('/')
    group = '/'.join(filter(None, (place, _DESCRIPTORS.get(name, ''))))
    return group if name in _DESCRIPTORS and any(entry.place == group for entry in entries.values()) else None


def _levels(entries: Mapping[str, StoredArray], key: str) -> Sequence[dict[str, StoredArray]]:
    """Arrays that stand near `key`, the nearest first."""
    place = entries[key].place if key in entries else ''
    parts = place.split('/') if place else []
    places = [key, *('/'.join(parts[:depth]) for depth in range(len(parts), -1, -1))]
    if descriptors := _descriptors(entries, key):
        places.insert(1, descriptors)
    return [
        {name: entry for name, entry in entries.items() if entry.place == one and name != key}
        for one in dict.fromkeys(places)
    ]


def _check_lengths(
    path: pathlib.Path, entries: Mapping[str, StoredArray], level: Mapping[str, StoredArray], key: str, n: int
) -> None:
    """Raises ValueError for ids of another number of stimuli that belong to no other array of the file."""
    for name, entry in level.items():
        if _base(name).lower() not in OWN_NAMES or entry.length in (None, n):
            continue
        pairs = n * (n - 1) // 2
        others = [e for other, e in entries.items() if other not in (key, name) and e.kind == NUMBERS and e.shape]
        if not any(e.shape and entry.length in e.shape[:2] for e in others) and entry.length != pairs:
            raise ValueError(
                f'{path}: {n} stimuli but {entry.length} ids in {name!r}: choose others with ids_key=..., or '
                f'ids_key={NO_IDS!r}.'
            )


def _candidates(path: pathlib.Path, level: Mapping[str, StoredArray], n: int, key: str) -> dict[str, np.ndarray]:
    """Vectors of n ids; only those that are named as ids are, if some are."""
    found: dict[str, np.ndarray] = {}
    unreadable = []
    for name, entry in level.items():
        named = is_named_as_ids(name, entry)
        if entry.kind == UNREADABLE and (entry.shape is None or entry.length == n):
            unreadable.append(name)
        elif entry.length == n and (entry.kind in (TEXT, OBJECTS) or (entry.kind == NUMBERS and named)):
            values = entry.read().ravel()
            if entry.kind == OBJECTS and any(one is None for one in values.tolist()) and not named:
                continue  # cells with something else
            if entry.kind == TEXT or named:
                ids = _checked(path, name, values, n)
            elif all(isinstance(one, str) for one in values.tolist()):
                ids = arrays.stimulus_names(values, str(path))
            else:
                continue
            if named or len(np.unique(ids)) == n:
                found[name] = ids
    chosen = {name: ids for name, ids in found.items() if is_named_as_ids(name, level[name])} or found
    if not chosen and unreadable:
        raise ValueError(
            f'{path}: {_quoted(unreadable)} may hold stimulus ids, but cannot be read '
            f'({", ".join(level[name].described for name in unreadable)}): save them as text, in MATLAB as '
            f'cellstr(...), or say ids_key={NO_IDS!r} if they are something else.'
        )
    return chosen


def _only(path: pathlib.Path, found: dict[str, np.ndarray], key: str) -> Found:
    """The one candidate; several must agree, or one of them share the end of its name with `key`, as Meadows' do."""
    paired = [name for name in found if '_' in name and key.endswith('_' + name.partition('_')[2])]
    if len(paired) == 1:
        return found[paired[0]], paired[0]
    name, ids = next(iter(found.items()))
    if any(not np.array_equal(ids, other) for other in found.values()):
        raise ValueError(
            f'{path}: {_quoted(found)} may hold the stimulus ids: choose one with ids_key=..., or ids_key={NO_IDS!r}.'
        )
    return ids, name


def _is_below(entries: Mapping[str, StoredArray], name: str, key: str, n: int) -> bool:
    """Whether ids stand in a group below that of `key`, which has no features of its own."""
    place, own = entries[name].place, entries[key].place if key in entries else ''
    features = [e for e in entries.values() if e.place == place and e.kind == NUMBERS and e.shape and len(e.shape) > 1]
    return place.startswith(own) and not any(e.shape and n in e.shape[:2] for e in features)


def _checked(path: pathlib.Path, name: str, values: np.ndarray, n: int) -> np.ndarray:
    """n ids as strings, none of them empty."""
    ids = arrays.stimulus_names(np.ravel(values), f'{path}, {name!r}')
    if len(ids) != n:
        raise ValueError(f'{path}: {n} stimuli but {len(ids)} ids in {name!r}.')
    empty = np.flatnonzero(ids == '')
    if len(empty):
        raise ValueError(f'{path}: the id of row {empty[0]} in {name!r} is empty: fill it in, or give ids.')
    return ids


def _quoted(names: Any) -> str:
    return ', '.join(map(repr, names))
