"""Pairs of stimuli: RDMs and features joined by stimulus id, and which pairs of an RDM belong to one category.

Every array here is in SciPy's condensed order: pair (i, j), i < j, of n stimuli, sorted by i, then j.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, overload

import numpy as np

from humalign_jax import arrays
from humalign_jax.records import Features, Rdm

SHOWN_IDS = 3  # how many ids an error message names
JOINS = ('exact', 'shared', 'position')
_MADE_UP = 'row/'  # how the ids begin that `rsa.files` gives to the rows of a file without ids


def n_stimuli_of(n_pairs: int) -> int:
    """How many stimuli have `n_pairs` pairs.

    Raises:
        ValueError: No whole number of stimuli has that many pairs.
    """
    n = (1 + int(np.sqrt(1 + 8 * n_pairs))) // 2
    if n * (n - 1) // 2 != n_pairs or n_pairs < 1:
        raise ValueError(
            f'{n_pairs} values are no condensed RDM: n stimuli have n (n - 1) / 2 pairs. Pass the upper triangle '
            'without the diagonal (scipy.spatial.distance.squareform makes it of a square matrix).'
        )
    return n


def condensed_rows(rdms: Any) -> np.ndarray:
    """Condensed RDMs from an array or a list: [p] or [m, p] -> [m, p], real numbers.

    Raises:
        ValueError: They are no numbers, have more axes, or are one square matrix, whose rows would pass for RDMs.
    """
    values = np.atleast_2d(arrays.real(rdms, 'RDMs'))
    if values.ndim != 2:
        raise ValueError(f'RDMs must be condensed, [p] or [m, p], not {list(values.shape)}.')
    square = values.shape[0] == values.shape[1] > 1
    if square and not np.diagonal(values).any() and np.array_equal(values, values.T, equal_nan=True):
        raise ValueError(
            f'a square RDM {list(values.shape)} came, condensed ones [p] or [m, p] are needed: '
            'scipy.spatial.distance.squareform(rdm) makes one of it.'
        )
    return values


def take_stimuli(values: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The RDMs of the stimuli `rows`, in that order.

    Args:
        values: Condensed RDMs, [..., p].
        rows: Which stimuli, distinct numbers in 0..n-1, [r].

    Returns:
        Condensed RDMs, [..., r (r - 1) / 2], of the same dtype.
    """
    n, rows = n_stimuli_of(values.shape[-1]), np.asarray(rows, dtype=np.int64)
    taken = np.empty((*values.shape[:-1], len(rows) * (len(rows) - 1) // 2), dtype=values.dtype)
    end = 0
    for k, row in enumerate(rows[:-1]):  # row by row: an index of all pairs at once would be larger than the RDM
        first, second = np.minimum(row, rows[k + 1 :]), np.maximum(row, rows[k + 1 :])
        start, end = end, end + len(first)
        taken[..., start:end] = values[..., first * (2 * n - first - 1) // 2 + second - first - 1]
    return taken


def has_ids(record: Features | Rdm) -> bool:
    """Whether a record's ids name stimuli; ids that were made up for the rows of a file without any do not."""
    made_up = len(record.ids) > 0 and str(record.ids[0]).startswith(_MADE_UP)
    return not made_up or record.provenance.get('ids') == 'given'


def of_one_array(records: Sequence[Features | Rdm]) -> bool:
    """Whether all records came from one array of one file, so that row k of each is the same stimulus."""
    sources = [(record.provenance.get('sha256'), record.provenance.get('key')) for record in records]
    return all(digest is not None for digest, _ in sources) and len(set(sources)) == 1


def align(a: Rdm, b: Rdm, *, join: str = 'exact') -> tuple[Rdm, Rdm]:
    """Two RDMs of the same stimuli in the same order, that of `a`.

    Args:
        a: An RDM.
        b: An RDM of the same stimuli in any order.
        join: 'exact' asks for the same stimuli in both; 'shared' keeps those that both have; 'position' takes row k of
            both for the same stimulus, whatever their ids, which must not contradict it.

    Returns:
        `a` and `b` with equal ids in equal order. What needs no change is returned as it came, not copied. Under
        'position' the ids are those of the first record with ids, else 'position/00000' and so on.

    Raises:
        ValueError: The stimuli differ (join 'exact'), or fewer than two are shared, the message names the first few; or
            one of the two was read from a file without ids; or under 'position' their numbers differ.

    Example:
        >>> one = rsa.Rdm(np.array([1.0, 2.0, 3.0]), ['a', 'b', 'c'], 'one', 'euclidean')
        >>> two = rsa.Rdm(np.array([3.0, 2.0, 1.0]), ['c', 'b', 'a'], 'two', 'euclidean')
        >>> rsa.align(one, two)[1].values
        array([1., 2., 3.])
    """
    check_join(join)
    if join == 'position':
        ids = position_ids([a, b])
        return dataclasses.replace(a, ids=ids), dataclasses.replace(b, ids=ids)
    _refuse_without_ids(a, b)
    a_ids, b_ids = np.asarray(a.ids), np.asarray(b.ids)
    if np.array_equal(a_ids, b_ids):
        return a, b
    shared = a_ids[np.isin(a_ids, b_ids)]
    if join == 'exact' and not len(shared) == len(a_ids) == len(b_ids):
        raise ValueError(
            f'RDMs {a.name!r} and {b.name!r} are of different stimuli: {differing_ids(a, b)}. Give both the same ids, '
            "or keep the shared stimuli with rsa.align(a, b, join='shared')."
        )
    if len(shared) < 2:
        raise ValueError(
            f'RDMs {a.name!r} and {b.name!r} share {len(shared)} stimuli: their ids come from different data sets '
            f'({str(a_ids[0])!r}, {str(b_ids[0])!r}).'
        )
    return select(a, shared), select(b, shared)


def check_join(join: str) -> None:
    """Raises ValueError for a way to join that does not exist."""
    if join not in JOINS:
        raise ValueError(f'join must be one of {", ".join(JOINS)}, not {join!r}.')


def differing_ids(a: Features | Rdm, b: Features | Rdm) -> str:
    """How many stimuli only one of two records has, the first few of them, and how many both have."""
    a_ids, b_ids = np.asarray(a.ids), np.asarray(b.ids)
    only = [(a, a_ids[~np.isin(a_ids, b_ids)]), (b, b_ids[~np.isin(b_ids, a_ids)])]
    parts = [
        f'{len(ids)} only in {mine.name!r} (such as {", ".join(repr(str(i)) for i in ids[:SHOWN_IDS])})'
        for mine, ids in only
        if len(ids)
    ]
    return '; '.join([*parts, f'{int(np.isin(a_ids, b_ids).sum())} are in both'])


def position_ids(records: Sequence[Features | Rdm]) -> np.ndarray:
    """The ids that records get when row k of each is taken for the same stimulus, [n].

    Raises:
        ValueError: Their numbers of stimuli differ; or two of them have an id in common, in different rows.
    """
    first = records[0]
    for record in records[1:]:
        if len(record.ids) != len(first.ids):
            raise ValueError(
                f"join='position' needs as many stimuli in each, but {first.name!r} has {len(first.ids)} and "
                f'{record.name!r} {len(record.ids)}.'
            )
    named = [record for record in records if has_ids(record)]
    for record in named[1:]:
        rows = {stimulus: k for k, stimulus in enumerate(np.asarray(named[0].ids).tolist())}
        for k, stimulus in enumerate(np.asarray(record.ids).tolist()):
            if rows.get(stimulus, k) != k:
                raise ValueError(
                    f"join='position' contradicts the ids: {stimulus!r} is in row {rows[stimulus]} of "
                    f'{named[0].name!r} and in row {k} of {record.name!r}. Join them by id.'
                )
    if named:
        return np.asarray(named[0].ids)
    return np.array([f'position/{i:05d}' for i in range(len(first.ids))], dtype=np.str_)


def _refuse_without_ids(a: Features | Rdm, b: Features | Rdm) -> None:
    """Raises ValueError if one of two records has no ids, unless both are of the rows of one array."""
    if a is b or of_one_array([a, b]):
        return
    without = [repr(record.name) for record in (a, b) if not has_ids(record)]
    if without:
        raise ValueError(
            f'{" and ".join(without)} came from a file without stimulus ids, and records join by id: load with ids=, '
            "or with dataset='cifar10', split='test' and the like if rows are in the published order. If row k of "
            'both is the same stimulus, compare their values, a.values and b.values, which have no ids.'
        )


def select(rdm: Rdm, ids: np.ndarray) -> Rdm:
    """The RDM of the stimuli `ids`, in that order.

    Raises:
        ValueError: An id is not in the RDM.

    Example:
        >>> rdm = rsa.Rdm(np.array([1.0, 2.0, 3.0]), ['a', 'b', 'c'], 'net', 'euclidean')
        >>> rsa.select(rdm, ['c', 'a']).values
        array([2.])
    """
    own, ids = np.asarray(rdm.ids), np.asarray(ids)
    if np.array_equal(own, ids):
        return rdm
    missing = ids[~np.isin(ids, own)]
    if len(missing):
        raise ValueError(
            f'RDM {rdm.name!r} has no stimulus {", ".join(repr(str(i)) for i in missing[:SHOWN_IDS])} '
            f'({len(missing)} of {len(ids)} are missing); its ids look like {str(own[0])!r}.'
        )
    order = np.argsort(own)
    rows = order[np.searchsorted(own, ids, sorter=order)]
    return dataclasses.replace(rdm, values=take_stimuli(np.asarray(rdm.values), rows), ids=ids)


@overload
def join_features(x: Features, y: Features) -> Features: ...
@overload
def join_features(x: Features | np.ndarray, y: Features | np.ndarray) -> Features | np.ndarray: ...
def join_features(x: Features | np.ndarray, y: Features | np.ndarray) -> Features | np.ndarray:
    """`y` in the order of `x` where both have ids; otherwise as it came.

    Raises:
        ValueError: The stimuli differ, or their numbers; or a record was read from a file without ids.
    """
    if not (isinstance(x, Features) and isinstance(y, Features)):
        n_x, n_y = (len(s.values) if isinstance(s, Features) else np.shape(s)[-2] for s in (x, y))
        if n_x != n_y:
            raise ValueError(f'the feature sets have {n_x} and {n_y} stimuli: they must be the same, in one order.')
        return y
    _refuse_without_ids(x, y)
    if np.array_equal(np.asarray(x.ids), np.asarray(y.ids)):
        return y
    row = {str(stimulus): k for k, stimulus in enumerate(y.ids)}
    if len(x.ids) != len(y.ids) or not all(str(stimulus) in row for stimulus in x.ids):
        raise ValueError(
            f'{x.name!r} and {y.name!r} have different stimuli: {differing_ids(x, y)}. Take the shared ones of both.'
        )
    order = np.array([row[str(stimulus)] for stimulus in x.ids])
    return dataclasses.replace(y, values=y.values[order], ids=np.asarray(y.ids)[order])


def category_rdm(labels: np.ndarray) -> np.ndarray:
    """The same/different RDM of a labelling: [n] labels -> [p], 0 for two stimuli of one category, 1 otherwise.

    Example:
        >>> rsa.category_rdm(['cat', 'cat', 'dog'])
        array([0., 1., 1.], dtype=float32)
    """
    labels = np.asarray(labels)
    if labels.ndim != 1 or len(labels) < 2:
        raise ValueError(f'labels must be one per stimulus, [n] with n >= 2, not {labels.shape}.')
    different = np.empty(len(labels) * (len(labels) - 1) // 2, dtype=np.float32)
    end = 0
    for k in range(len(labels) - 1):
        start, end = end, end + len(labels) - k - 1
        different[start:end] = labels[k] != labels[k + 1 :]
    return different


def within_category(labels: np.ndarray) -> np.ndarray:
    """Which pairs are of one category: [n] labels -> [p] booleans.

    Example:
        >>> rsa.within_category(['cat', 'cat', 'dog'])
        array([ True, False, False])
    """
    return category_rdm(labels) == 0


def between_category(labels: np.ndarray) -> np.ndarray:
    """Which pairs are of two categories: [n] labels -> [p] booleans.

    Example:
        >>> rsa.between_category(['cat', 'cat', 'dog'])
        array([False,  True,  True])
    """
    return category_rdm(labels) == 1
