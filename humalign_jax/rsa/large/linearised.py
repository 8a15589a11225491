"""Correlations over tens of millions of pairs, and their derivatives by the weight of each stimulus.

`rsa.large.influence` is built on it, and its introduction has the mathematics. Pairs are taken block by block on all
cores; the sums do not depend on the number of cores.
"""

import concurrent.futures
import itertools
import math
import os
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from humalign_jax.devices import local_devices
from humalign_jax.rsa.ranks.average import average_ranks
from humalign_jax.rsa.ranks.counting import RankTables, Values
from humalign_jax.rsa.similarity.indices import index_named

N_BINS = 1 << 14
_BLOCK = 1 << 17  # pairs held in float64 at a time, 1 MB
_GROUPS = 16  # parts that cores work on, each with tables of its own
_FEW = 1 << 20  # below this many values sorting is quicker than counting
_TILE = 1 << 20  # values ranked at a time
_TABLE_BYTES = 1 << 28


class Places:
    """Which pairs count, and where the pairs of each stimulus are.

    Args:
        n: Number of stimuli.
        mask: Which pairs count, [n (n - 1) / 2] booleans; None for all.
    """

    def __init__(self, n: int, mask: np.ndarray | None) -> None:
        self.n, self.mask = n, mask
        rows = np.arange(n + 1)
        self._starts = rows * (2 * n - rows - 1) // 2  # of each row's pairs; the last two rows have none
        kept = self._starts
        if mask is not None:
            kept = np.concatenate([[0], np.cumsum(np.add.reduceat(mask, self._starts[: n - 1], dtype=np.int64))])
            kept = np.append(kept, kept[-1])
        self.n_pairs = int(kept[-1])
        # Whole rows, about _BLOCK pairs at a time.
        edges = np.unique(np.searchsorted(self._starts[:n], np.arange(0, self._starts[-1], _BLOCK)))
        edges = np.unique([0, *edges, n - 1])
        self._blocks = [(int(a), int(b)) for a, b in itertools.pairwise(edges)]
        self._kept = kept
        self.counts = self.sums(lambda part: np.ones(part.stop - part.start, np.float32))

    def total(self, function: Callable[[slice], tuple]) -> tuple:
        """Sums of what `function` gives for each block of the pairs that count; the same on any number of cores."""

        def of_group(blocks: list[tuple[int, int]]) -> tuple:
            total = function(self._kept_slice(blocks[0]))
            for block in blocks[1:]:
                total = tuple(one + more for one, more in zip(total, function(self._kept_slice(block))))
            return total

        size = -(-len(self._blocks) // _GROUPS)
        groups = [self._blocks[k : k + size] for k in range(0, len(self._blocks), size)]
        return tuple(sum(parts) for parts in zip(*_on_all_cores(of_group, groups)))

    def _kept_slice(self, block: tuple[int, int]) -> slice:
        return slice(int(self._kept[block[0]]), int(self._kept[block[1]]))

    def sums(self, values: Callable[[slice], np.ndarray]) -> np.ndarray:
        """Sum over the pairs of each stimulus, float64, [n]; `values` gives those of a block of pairs, float32."""

        def of_block(block: tuple[int, int]) -> np.ndarray:
            a, b = block
            whole = values(self._kept_slice(block))
            begin, end = int(self._starts[a]), int(self._starts[b])
            if self.mask is not None:
                spread = np.zeros(end - begin, whole.dtype)
                spread[self.mask[begin:end]] = whole
                whole = spread
            total = np.zeros(self.n - a)
            place = 0
            for row in range(b - a):
                length = self.n - 1 - a - row
                one = whole[place : place + length]
                total[row] += one.sum(dtype=np.float64)
                total[row + 1 :] += one
                place += length
            return total

        result = np.zeros(self.n)
        for (a, _), total in zip(self._blocks, _on_all_cores(of_block, self._blocks)):
            result[a:] += total
        return result


class RankedSide:
    """Values of one RDM over the pairs that count, with the parts of its influence that need no other RDM.

    Args:
        values: Doubled centred ranks, int32, or values, float32 or float64, [p].
        index: The index, which says whether values are ranks and whether they are centred.
    """

    def __init__(self, values: np.ndarray, *, index: str) -> None:
        p = len(values)
        chosen = index_named(index)
        self.is_ranked, self.values, self.mean = chosen.ranked, values, 0.0
        if chosen.centred and not chosen.ranked:
            self.mean = float(values.mean(dtype=np.float64))
        parts = [slice(k, min(k + _BLOCK, p)) for k in range(0, p, _BLOCK)]
        squares = _on_all_cores(lambda part: float(np.square(self.centred(part)).sum()), parts)
        self.square = math.fsum(squares) / p  # mean square
        if self.square <= (1e-15 * self.mean) ** 2:  # squares of rounding errors
            self.square = 0.0
        if self.is_ranked:
            self.shift = max(0, (2 * p - 1).bit_length() - (N_BINS - 1).bit_length())
            self.n_bins = ((2 * p - 1) >> self.shift) + 1
            counted = _on_all_cores(lambda part: np.bincount(self.bins(part), minlength=self.n_bins), parts)
            share = np.sum(counted, axis=0) / p
            centres = np.cumsum(share) - share / 2 - 0.5  # ranks over p, centred
            # Change of the mean square of ranks by a pair of this rank: a constant 1/4 without ties.
            self.own = centres**2 + 2 * _mean_beyond(share * centres)

    def centred(self, part: slice) -> np.ndarray:
        """Values less their mean, float64; of ranks, divided by the number of pairs."""
        if self.is_ranked:
            return self.values[part] * (0.5 / len(self.values))
        return self.values[part] - np.float64(self.mean)

    def bins(self, part: slice) -> np.ndarray:
        """Number of each rank's bin."""
        bins = self.values[part] + np.int32(len(self.values))
        bins >>= self.shift
        return bins


def correlation(
    x: RankedSide, y: RankedSide, places: Places, index: str, with_influence: bool = True
) -> tuple[float, np.ndarray]:
    """An index of two RDMs and the influence of each stimulus on it, [n]; NaN where one of them does not vary."""
    p, nothing = places.n_pairs, np.full(places.n, np.nan)
    untied = index_named(index).untied_scale
    if not untied and min(x.square, y.square) <= 0:
        return math.nan, nothing

    def of_block(part: slice) -> tuple:
        a, b = x.centred(part), y.centred(part)
        x_table = np.bincount(x.bins(part), b, x.n_bins) if with_influence and x.is_ranked else 0.0
        y_table = np.bincount(y.bins(part), a, y.n_bins) if with_influence and y.is_ranked else 0.0
        return float(np.einsum('p,p->', a, b)), x_table, y_table  # a @ b would wake BLAS threads for each block

    product, *tables = places.total(of_block)
    product /= p
    if untied:
        scale, value = 1 / 12, 12 * product / (1 - float(p) ** -2)
    else:
        scale = math.sqrt(x.square) * math.sqrt(y.square)
        value = max(-1.0, min(1.0, product / scale))
    if not with_influence:
        return value, nothing
    half = 0.0 if untied else value / 2
    x_table, y_table = (
        (_mean_beyond(table / p) / scale - half * _over(side.own, side.square)).astype(np.float32)
        if side.is_ranked
        else None
        for side, table in zip((x, y), tables)
    )

    def moved(part: slice) -> np.ndarray:
        a, b = (side.centred(part).astype(np.float32) for side in (x, y))
        total = a * b
        total *= np.float32(1 / scale)
        for side, values, table in ((x, a, x_table), (y, b, y_table)):
            total += table[side.bins(part)] if table is not None else values**2 * np.float32(-half / side.square)
        return total

    sums = places.sums(moved)
    # A common factor of all weights changes nothing, so the influences sum to 0.
    return value, places.n / p * (sums - places.counts * (sums.sum() / places.counts.sum()))


class RanksOfPart:
    """Ranks among some of the values, and among all others, from the ranks among all: two look-ups, no new counting.

    Args:
        ranks: Doubled centred ranks of all values, int32, [p].
        mask: Which values the part has, [p] booleans.
    """

    def __init__(self, ranks: np.ndarray, mask: np.ndarray) -> None:
        self.mask, self._p = mask, len(ranks)
        self._n_part = int(np.count_nonzero(mask))
        counts = np.bincount(self._place(ranks[mask]), minlength=self._p)
        below = np.cumsum(counts, dtype=np.int32)
        # Twice the values of the part below a value, and once those equal to it.
        self._twice = below
        self._twice += below - counts.astype(np.int32)

    def ranks(self, ranks: np.ndarray, mask: np.ndarray, *, of_part: bool) -> np.ndarray:
        """Doubled centred ranks among the values in `mask`, which is the part's mask or the rest's, int32."""
        parts = [slice(k, k + 8 * _BLOCK) for k in range(0, self._p, 8 * _BLOCK)]
        ends = np.cumsum(_on_all_cores(lambda part: int(np.count_nonzero(mask[part])), parts))
        found = np.empty(int(ends[-1]), np.int32)

        def fill(number: int) -> None:
            own = ranks[parts[number]][mask[parts[number]]]
            inside = self._twice[self._place(own)]
            into = found[ends[number] - len(own) : ends[number]]
            into[:] = inside - np.int32(self._n_part) if of_part else own - inside + np.int32(self._n_part)

        _on_all_cores(fill, range(len(parts)))
        return found

    def _place(self, ranks: np.ndarray) -> np.ndarray:
        """A number in 0..p-1 that only equal values share: the whole part of the rank, from 0."""
        place = ranks + np.int32(self._p - 1)
        place >>= 1
        return place


def doubled_ranks(values: np.ndarray) -> np.ndarray:
    """2 * rank - (p + 1) of average ranks, which is a whole number: [p] -> int32 [p]."""
    n_values = len(values)
    if n_values < _FEW or values.dtype != np.float32:
        ranks = average_ranks(values)
        ranks *= 2
        ranks -= n_values + 1
        return ranks.astype(np.int32)

    def make(_: int, number: int) -> jax.Array:
        chunk = values[number * _TILE : (number + 1) * _TILE]
        return jnp.asarray(np.pad(chunk, (0, _TILE - len(chunk)), constant_values=np.nan))

    span = float(values.min()), float(values.max())
    stored = Values(make, -(-n_values // _TILE), n_values, span=span)
    tables = RankTables(stored, local_devices(1), table_bytes=_TABLE_BYTES)
    ranks = np.zeros(n_values, np.int32)  # `average_ranks` in four times the memory
    for window in range(tables.n_windows):
        tables.load(window)
        for number in range(stored.n_tiles):
            part = ranks[number * _TILE : (number + 1) * _TILE]
            part += np.asarray(tables.ranks(number))[: len(part)]
    return ranks


def partial(
    xy: tuple[float, np.ndarray], xz: tuple[float, np.ndarray], yz: tuple[float, np.ndarray]
) -> tuple[float, np.ndarray]:
    """Partial correlation of x and y given z, and its influence by the chain rule, from the three correlations."""
    rest = [1 - r * r for r, _ in (xz, yz)]
    if not min(rest) > 1e-12:  # explained entirely by z; also NaN
        return math.nan, np.full(len(xy[1]), np.nan)
    scale = math.sqrt(rest[0] * rest[1])
    value = (xy[0] - xz[0] * yz[0]) / scale
    by_xz = -yz[0] / scale + value * xz[0] / rest[0]
    by_yz = -xz[0] / scale + value * yz[0] / rest[1]
    return value, xy[1] / scale + by_xz * xz[1] + by_yz * yz[1]


def _mean_beyond(means: np.ndarray) -> np.ndarray:
    """Sum over the bins above each bin, and half of its own: [bins] -> [bins]."""
    return means.sum() - np.cumsum(means) + means / 2


def _over(own: np.ndarray, square: float) -> np.ndarray | float:
    return own / square if square > 0 else 0.0


def _on_all_cores(function: Callable, items: Sequence) -> list:
    """`function` of every item, in order; NumPy works outside Python's lock."""
    if len(items) == 1:
        return [function(items[0])]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        return list(pool.map(function, items))
