"""Centred kernel alignment with Gaussian kernels, by tiles: neither kernel is ever held."""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from humalign_jax.devices import compiled, local_devices, spread
from humalign_jax.progress import steps
from humalign_jax.records import Features
from humalign_jax.rsa.distances.paired import PairedTiles
from humalign_jax.rsa.distances.rdm import prepare_features
from humalign_jax.rsa.similarity.cka import alignment, checked_pair

_BLOCK = 1000
_HALF_BITS = 16  # of a float32's pattern, whose order is that of distances


def rbf_cka(
    x: Features | np.ndarray,
    y: Features | np.ndarray,
    *,
    bandwidth: float = 1.0,
    debiased: bool = False,
    block_size: int | None = None,
    devices: Sequence[jax.Device] | None = None,
) -> float:
    """Centred kernel alignment with Gaussian kernels exp(-|x - x'|^2 / (2 s^2)).

    Distances are float32, all sums float64. The median takes two passes over all pairs, the sums one.

    Args:
        x: Features of one system, [n, d].
        y: Features of the other for the same stimuli, [n, e]. Records are joined by stimulus id, arrays by position.
        bandwidth: s, as a multiple of the median distance between different stimuli of the set.
        debiased: Use the unbiased estimate of each alignment (needs at least four stimuli).
        block_size: Rows and columns of a tile.
        devices: Where to compute; all local devices by default.

    Returns:
        Similarity, in [0, 1], or up to 1 if debiased. NaN if a set is constant, or has a median distance of 0.

    Raises:
        ValueError: The sets do not fit, hold NaN or Inf, or the bandwidth is not positive.

    References:
        Kornblith et al. (2019). arXiv:1905.00414
        Song et al. (2012), unbiased estimator. JMLR 13

    Example:
        >>> x = np.random.default_rng(0).normal(size=(50, 5))
        >>> round(rsa.rbf_cka(x, 3.0 * x[:, ::-1]), 6)
        1.0
    """
    both = checked_pair(x, y, 4 if debiased else 2)
    if not bandwidth > 0:
        raise ValueError(f'bandwidth must be positive, not {bandwidth}.')
    operands = [prepare_features(z, 'sqeuclidean', block_size=block_size or _BLOCK) for z in both]
    tiles = PairedTiles(operands, local_devices() if devices is None else devices)
    medians = _medians(tiles)
    if min(medians) == 0:
        return float('nan')
    scales = [np.float32(2.0 * (bandwidth * median) ** 2) for median in medians]
    products, rows = _kernel_sums(tiles, scales)
    hsic = _unbiased_hsic if debiased else _hsic
    return alignment(*(hsic(products[i, j], rows[i], rows[j]) for i, j in ((0, 1), (0, 0), (1, 1))))


def _over_tiles(tiles: PairedTiles, function: Callable, what: str):
    """`function(tile of x, tile of y)` of every tile, on the host in float64, with its first row and column."""

    def run(_: int, number: int):
        device = number % len(tiles.devices)
        both = tiles.tile(0, device, number), tiles.tile(1, device, number)
        with jax.enable_x64(True):
            return jax.tree.map(np.asarray, function(*both))

    found = spread(run, range(len(tiles.starts)), len(tiles.devices))
    yield from zip(tiles.starts, steps(found, what, len(tiles.starts)))


def _medians(tiles: PairedTiles) -> list[float]:
    """Median distance between different stimuli of each set, from counts of the leading, then the trailing bits."""
    n_pairs = tiles.n * (tiles.n - 1) // 2
    middle = np.array([(n_pairs - 1) // 2, n_pairs // 2])  # places in order, of which the median is the mean
    leading = np.zeros((2, 1 << _HALF_BITS), np.int64)
    for _, counts in _over_tiles(tiles, _count_leading, 'tiles for the median'):
        leading += counts
    below = np.cumsum(leading, axis=1)
    first = np.stack([np.searchsorted(x, middle, side='right') for x in below])  # leading bits of the two, [2 sets, 2]
    trailing = np.zeros((2, 2, 1 << _HALF_BITS), np.int64)
    count = functools.partial(_count_trailing, leading=first.astype(np.uint32))
    for _, counts in _over_tiles(tiles, count, 'tiles for the median'):
        trailing += counts
    medians = []
    for side in (0, 1):
        found = []
        for two in (0, 1):
            place = middle[two] - (below[side, first[side, two]] - leading[side, first[side, two]])
            last = np.searchsorted(np.cumsum(trailing[side, two]), place, side='right')
            bits = np.uint32((int(first[side, two]) << _HALF_BITS) | int(last))
            found.append(np.sqrt(float(bits.view(np.float32))))
        medians.append(float(np.mean(found)))
    return medians


def _kernel_sums(tiles: PairedTiles, scales: Sequence[np.float32]) -> tuple[np.ndarray, np.ndarray]:
    """Sums over pairs i != j of products of two kernels, [2, 2], and each kernel's row sums without i = j, [2, n]."""
    products, rows = np.zeros((2, 2)), np.zeros((2, tiles.n + tiles.block))
    sums = functools.partial(_sums_of_kernels, scales=np.array(scales))
    for (i, j), (of_products, of_rows, of_columns) in _over_tiles(tiles, sums, 'tiles of kernels'):
        products += 2.0 * of_products  # a tile holds each pair once
        rows[:, i : i + tiles.block] += of_rows
        rows[:, j : j + tiles.block] += of_columns
    return products, rows[:, : tiles.n]


def _hsic(products: float, rows_x: np.ndarray, rows_y: np.ndarray) -> float:
    """Trace of the product of two centred kernels, whose diagonals are 1, from sums without them."""
    n = len(rows_x)
    rows_x, rows_y = rows_x + 1.0, rows_y + 1.0
    return products + n - 2.0 / n * float(rows_x @ rows_y) + float(rows_x.sum()) * float(rows_y.sum()) / n**2


def _unbiased_hsic(products: float, rows_x: np.ndarray, rows_y: np.ndarray) -> float:
    """Unbiased HSIC, times n (n - 3); diagonals do not count."""
    n = len(rows_x)
    sums = float(rows_x.sum()) * float(rows_y.sum()) / ((n - 1.0) * (n - 2.0))
    return products + sums - 2.0 / (n - 2.0) * float(rows_x @ rows_y)


@compiled
def _count_leading(x, y):
    return jnp.stack([_counts(_bits(tile) >> _HALF_BITS, ~jnp.isnan(tile)) for tile in (x, y)])


@compiled
def _count_trailing(x, y, leading):
    """Counts of the trailing bits of values with these leading bits, [2, 2] -> [2, 2, 2^16]."""
    counts = []
    for tile, two in zip((x, y), leading):
        bits = _bits(tile)
        trailing = bits & jnp.uint32((1 << _HALF_BITS) - 1)
        counts.append(jnp.stack([_counts(trailing, (bits >> _HALF_BITS) == wanted) for wanted in two]))
    return jnp.stack(counts)


def _bits(tile):
    return jax.lax.bitcast_convert_type(tile, jnp.uint32)


def _counts(values, counted):
    return jnp.zeros(1 << _HALF_BITS, jnp.int32).at[values.reshape(-1)].add(counted.reshape(-1).astype(jnp.int32))


@compiled
def _sums_of_kernels(x, y, scales):
    kernels = []
    for tile, scale in zip((x, y), scales):
        kernels.append(jnp.where(jnp.isnan(tile), 0.0, jnp.exp(-tile / scale)).astype(jnp.float64))
    both = jnp.stack(kernels)
    products = jnp.einsum('aij,bij->ab', both, both)
    return products, both.sum(axis=2), both.sum(axis=1)
