"""Ranks and rank correlation of stored values, such as the distances of two RDMs."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats

from humalign_jax import arrays
from humalign_jax.devices import local_devices
from humalign_jax.rsa.ranks.counting import RankTables, Values
from humalign_jax.rsa.ranks.products import rank_products

_CHUNK = 1 << 20  # values per tile
_SMALL = 1 << 20  # below this many values sorting is quicker than a table
_TABLE_BYTES = 1 << 28


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's rank correlation of two stored RDMs (or any two arrays), exact with ties.

    Args:
        a: Values, [p]. float32 (and what float32 holds exactly) is ranked by counting, other float64 by sorting.
        b: Values in the same order, [p].

    Returns:
        Pearson's r of the average ranks, in [-1, 1]; equal to scipy.stats.spearmanr. NaN if any value is NaN, or if all
        of `a` or all of `b` are equal.

    Raises:
        ValueError: The arrays are not one-dimensional, differ in length or have fewer than two values.
    """
    a, b = arrays.real(a, 'the first array'), arrays.real(b, 'the second array')
    if a.ndim != 1 or a.shape != b.shape or len(a) < 2:
        raise ValueError(f'two arrays [p] of one length p of at least 2 are needed, not {a.shape} and {b.shape}.')
    spans = [(float(values.min()), float(values.max())) for values in (a, b)]
    if np.isnan(spans).any():
        return math.nan
    single_a, single_b = _as_single(a), _as_single(b)
    if len(a) < _SMALL or single_a is None or single_b is None:
        return _pearson(average_ranks(a), average_ranks(b))
    stored = _stored(single_a, spans[0]), _stored(single_b, spans[1])
    return rank_products(*stored, local_devices(1), table_bytes=2 * _TABLE_BYTES).spearman()


def average_ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 1, equal values sharing the mean of their ranks: [p] -> float64 [p], as scipy.stats.rankdata.

    Raises:
        ValueError: There are NaN among the values.
    """
    values = arrays.real(values, 'values')
    if np.isnan(values).any():
        raise ValueError(f'{int(np.isnan(values).sum())} of {values.size} values are NaN and have no rank.')
    single = _as_single(values)
    if len(values) < _SMALL or single is None:
        return scipy.stats.rankdata(np.asarray(values, np.float64))
    stored = _stored(single, (float(single.min()), float(single.max())))
    tables = RankTables(stored, local_devices(1), table_bytes=_TABLE_BYTES)
    ranks = np.zeros(len(values))
    for window in range(tables.n_windows):
        tables.load(window)
        for number in range(stored.n_tiles):
            part = ranks[number * _CHUNK : (number + 1) * _CHUNK]
            part += np.asarray(tables.ranks(number))[: len(part)]
    return (ranks * tables.unit + (len(values) + 1)) / 2


def _as_single(values: np.ndarray) -> np.ndarray | None:
    """The values as float32 where that loses nothing, else None."""
    if values.dtype == np.float32:
        return values
    if values.dtype == np.bool_:
        return values.astype(np.float32)
    with np.errstate(over='ignore'):
        single = values.astype(np.float32)
    return single if np.array_equal(single.astype(values.dtype), values) else None


def _stored(values: np.ndarray, span: tuple[float, float]) -> Values:
    """A float32 array [p] in tiles; NaN fills up the last."""
    values = np.ascontiguousarray(values)

    def make(_: int, number: int) -> jax.Array:
        chunk = values[number * _CHUNK : (number + 1) * _CHUNK]
        return jnp.asarray(np.pad(chunk, (0, _CHUNK - len(chunk)), constant_values=np.nan))

    return Values(make, -(-len(values) // _CHUNK), len(values), span=span)


def _pearson(x: np.ndarray, y: np.ndarray) -> float:
    x, y = x - x.mean(), y - y.mean()
    squares = float(x @ x) * float(y @ y)
    return float(x @ y) / math.sqrt(squares) if squares > 0 else math.nan


def concordance(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """How many of the others each of p values is concordant with, less discordant, over p - 1: [p], [p] -> [p].

    Its mean is Kendall's tau a. In p log p, one bit of the order of y at a time.
    """
    x, y = (np.unique(values, return_inverse=True)[1] for values in (x, y))
    same = _n_smaller(x, y) + _n_smaller(-x, -y)
    return (same - _n_smaller(x, -y) - _n_smaller(-x, y)) / (len(x) - 1.0)


def _n_smaller(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """How many others are smaller in x and in y, both integers: [p], [p] -> [p]."""
    y = y - y.min()
    places = np.lexsort((-y, x))  # of the same x the largest y first: none of them is counted
    y, counts = y[places], np.zeros(len(x), dtype=np.int64)
    for bit in range(int(y.max()).bit_length() - 1, -1, -1):
        # Values of the same higher bits lie together, by x; this bit is what tells them apart.
        starts = np.flatnonzero(np.concatenate([[True], np.diff(y >> (bit + 1)) != 0]))
        is_one = (y >> bit) & 1
        zeros_before = np.cumsum(1 - is_one)
        zeros_before -= np.repeat(zeros_before[starts] - (1 - is_one[starts]), np.diff(np.append(starts, len(y))))
        counts[places] += is_one * zeros_before
        order = np.argsort(y >> bit, kind='stable')
        y, places = y[order], places[order]
    return counts
