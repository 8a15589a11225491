"""Comparison of two feature sets over all pairs of stimuli, with neither RDM ever held.

Tiles of both RDMs are counted, ranked and multiplied as they come (`rsa.ranks.counting`). Where memory allows, the
tiles of the first pass are kept; otherwise they are computed again, with the same bits.

Binned ranks come with a bound. Average ranks over bins are the projection of the exact ranks' vector onto vectors that
are constant within bins, so the angle between both is at most theta with sin(theta)^2 = sum(c^3 - c) / (p^3 - p) over
the counts c of the bins, and the angle between two RDMs changes by at most the sum of both.
"""

import dataclasses
import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from humalign_jax import arrays
from humalign_jax.devices import compiled, local_devices, spread
from humalign_jax.progress import steps
from humalign_jax.records import Features
from humalign_jax.rsa.distances.paired import PairedTiles
from humalign_jax.rsa.distances.rdm import Measure, is_product, prepare_features
from humalign_jax.rsa.distances.tiles import Operands, StimulusCounts
from humalign_jax.rsa.pairs import join_features
from humalign_jax.rsa.ranks.counting import GRID_SIZE, Values, count_dtype, together
from humalign_jax.rsa.ranks.products import RankProducts, rank_products, sorted_products
from humalign_jax.rsa.similarity.indices import STREAMABLE_INDICES, Index, index_named

_BLOCK = 1000
_PAIR_BLOCK = 256
_SORTED_PAIRS = 1 << 22  # up to 2,896 stimuli sorting is quicker than a table of all possible distances (CPU)
# Of both tables and the counts they are made from. With this much, distances on a grid need no second pass.
_LEAST_TABLE_BYTES = 16 * GRID_SIZE
_TILES_ON_THEIR_WAY = 12


@dataclasses.dataclass(frozen=True)
class FeatureComparison:
    """Similarity of the RDMs of two feature sets.

    Attributes:
        value: The index; NaN where it is not defined.
        index: Its name.
        error_bound: Largest difference between `value` and the exact index of the float32 distances; 0.0 in exact mode.
        n_stimuli: Stimuli compared.
        n_pairs: Pairs compared.
        counts_x: Undefined and duplicate stimuli of the first set, before any were left out.
        counts_y: The same for the second set.
        discrete: Whether the features of each set are discrete, so that their distances have exact ties.
    """

    value: float
    index: str
    error_bound: float
    n_stimuli: int
    n_pairs: int
    counts_x: StimulusCounts
    counts_y: StimulusCounts
    discrete: tuple[bool, bool]


def compare_features(
    x: Features | np.ndarray,
    y: Features | np.ndarray,
    *,
    measure_x: Measure = 'correlation',
    measure_y: Measure = 'correlation',
    index: str = 'spearman',
    mode: str = 'exact',
    n_bins: int = 1 << 16,
    nan_policy: str = 'raise',
    covariance_x: np.ndarray | None = None,
    covariance_y: np.ndarray | None = None,
    block_size: int | None = None,
    devices: Sequence[jax.Device] | None = None,
    memory_bytes: float = 0.8e9,
) -> FeatureComparison:
    """Rank correlation, correlation or cosine of the RDMs of two feature sets, straight from the features.

    The distances are those of `rsa.rdm(.., refine=False)`: float32, without refinement of near-duplicates. Distances of
    discrete features and of soft labels keep their ties, as in `rsa.rdm`. The result does not depend on the number of
    devices.

    Args:
        x: Features of one system, [n, d] (repeated ones for crossnobis, as for `rsa.rdm`).
        y: Features of the other, [n, e]. Records are joined by stimulus id, arrays by position.
        measure_x: Distance for `x`, as for `rsa.rdm`.
        measure_y: Distance for `y`.
        index: 'spearman' (average ranks), 'rho_a' (its expectation with ties broken at random), 'pearson' or 'cosine'
            (of the distances).
        mode: 'exact', or 'binned': ranks of distances in `n_bins` bins, with a bound on the error.
        n_bins: Largest number of bins, up to 65,535.
        nan_policy: For stimuli whose distances are not defined (NaN or Inf, constant under correlation, zero under
            cosine): 'raise', 'omit' those that are undefined in either set, or 'propagate' (the value is NaN).
        covariance_x: For mahalanobis and crossnobis, as for `rsa.rdm`.
        covariance_y: The same for `y`.
        block_size: Rows and columns of a tile.
        devices: Where to compute; all local devices by default.
        memory_bytes: Memory to plan with beyond the features; the allocator adds some. Tiles that fit (for 10k stimuli
            in 800 MB those of one set and half of the other's) are kept between passes, others are computed twice.

    Returns:
        The value with its error bound and the numbers of stimuli.

    Raises:
        ValueError: Options, shapes or stimuli do not fit, or distances are not defined under 'raise'.
    """
    chosen = index_named(index, STREAMABLE_INDICES, 'streamed index')
    if mode not in ('exact', 'binned') or (mode == 'binned' and not chosen.ranked):
        raise ValueError(f"mode must be 'exact', or 'binned' for spearman and rho_a, not {mode!r} for {index}.")
    if nan_policy not in ('raise', 'omit', 'propagate'):
        raise ValueError(f"nan_policy must be 'raise', 'omit' or 'propagate', not {nan_policy!r}.")
    devices = local_devices() if devices is None else list(devices)
    # Both sets need the same tiles, and distances without a matrix product want small ones.
    block = block_size or (_BLOCK if all(map(is_product, (measure_x, measure_y))) else _PAIR_BLOCK)

    def prepare_both(x: Features | np.ndarray, y: Features | np.ndarray) -> list[Operands]:
        prepare = functools.partial(prepare_features, nan_policy='propagate', block_size=block)
        return together(
            functools.partial(prepare, x, measure_x, covariance=covariance_x),
            functools.partial(prepare, y, measure_y, covariance=covariance_y),
        )

    y = join_features(x, y)
    both = prepare_both(x, y)
    found = both[0].counts, both[1].counts, (both[0].is_discrete, both[1].is_discrete)
    counts = found[:2]
    defined = both[0].valid_rows & both[1].valid_rows
    n = int(defined.sum())
    if n < len(defined) and nan_policy == 'raise':
        raise ValueError(_undefined_message(x, counts, defined))
    if n < len(defined) and nan_policy == 'propagate':
        n = len(defined)
        return FeatureComparison(math.nan, index, 0.0, n, n * (n - 1) // 2, *found)
    if n < 3:
        raise ValueError(f'{n} of {len(defined)} stimuli have distances in both feature sets: at least 3 are needed.')
    if n < len(defined):
        both = prepare_both(_take(x, defined), _take(y, defined))
    tiles = PairedTiles(both, devices)
    if chosen.ranked:
        value, error = _rank_index(tiles, chosen, n_bins if mode == 'binned' else 0, memory_bytes)
    else:
        value, error = _moments_index(tiles, centred=chosen.centred), 0.0
    return FeatureComparison(value, index, error, n, n * (n - 1) // 2, *found)


def _rank_index(tiles: PairedTiles, index: Index, n_bins: int, memory_bytes: float) -> tuple[float, float]:
    """Spearman's rho or rho_a, and the bound on its error."""
    n_pairs = tiles.n * (tiles.n - 1) // 2
    sides = [
        Values(functools.partial(tiles.tile, side), len(tiles.starts), n_pairs, grid=tiles.both[side].grid)
        for side in (0, 1)
    ]
    if n_pairs <= _SORTED_PAIRS and not n_bins:
        found = sorted_products(*(_collected(tiles, side) for side in (0, 1)))
        return _correlation(found, index), 0.0
    operands = sum(operands.n_bytes for operands in tiles.both)
    per_address = 4 + count_dtype(tiles.devices, n_pairs, GRID_SIZE).itemsize  # bytes for the rank and the count
    tables = 0 if n_bins else 2 * per_address * GRID_SIZE
    tile_bytes = tiles.block**2 * (2 if n_bins else 4)
    spare = max(0, int(memory_bytes - operands - tables) // tile_bytes - _TILES_ON_THEIR_WAY)
    first = min(spare, len(tiles.starts))
    keep = first, min(spare - first, len(tiles.starts))
    left = max(_LEAST_TABLE_BYTES, memory_bytes - operands - tile_bytes * sum(keep))
    table_bytes = int(left * 4 / per_address)
    found = rank_products(sides[0], sides[1], tiles.devices, table_bytes=table_bytes, keep=keep, n_bins=n_bins)
    return _correlation(found, index), _error_bound(found, index) if n_bins else 0.0


def _collected(tiles: PairedTiles, side: int) -> np.ndarray:
    """All distances of one set, in the order of tiles."""

    def pairs(_: int, number: int) -> np.ndarray:
        tile = np.asarray(tiles.tile(side, number % len(tiles.devices), number))
        return tile[~np.isnan(tile)]

    return np.concatenate(list(spread(pairs, range(len(tiles.starts)), len(tiles.devices))))


def _moments_index(tiles: PairedTiles, *, centred: bool) -> float:
    """Pearson's r, or the cosine, of the two RDMs' distances."""

    def sums(_: int, number: int) -> list[float]:
        device = number % len(tiles.devices)
        x, y = tiles.tile(0, device, number), tiles.tile(1, device, number)
        with jax.enable_x64(True):
            return np.asarray(_moments(x, y)).tolist()

    rows = spread(sums, range(len(tiles.starts)), len(tiles.devices))
    rows = steps(rows, 'tiles of distances', len(tiles.starts))
    x, y, xx, yy, xy = (math.fsum(column) for column in zip(*rows))
    if centred:
        n_pairs = tiles.n * (tiles.n - 1) // 2
        xx, yy, xy = xx - x * x / n_pairs, yy - y * y / n_pairs, xy - x * y / n_pairs
    return xy / math.sqrt(xx * yy) if min(xx, yy) > 0 else math.nan


@compiled
def _moments(x, y):
    """Sums of x, y, x^2, y^2 and x y over pairs, in float64: [5]."""
    x, y = (jnp.where(jnp.isnan(tile), 0, tile).astype(jnp.float64) for tile in (x, y))
    return jnp.stack([x.sum(), y.sum(), (x * x).sum(), (y * y).sum(), (x * y).sum()])


def _correlation(found: RankProducts, index: Index) -> float:
    return found.rho_a() if index.untied_scale else found.spearman()


def _error_bound(found: RankProducts, index: Index) -> float:
    """Largest difference between the exact index and the index of the bins."""
    angle_x, angle_y = found.angles()
    if index.untied_scale:
        # Both exact rank vectors are the binned one plus an orthogonal rest no longer than sin(angle) of the whole.
        return math.sin(angle_x + angle_y) + math.sin(angle_x) * math.sin(angle_y)
    value = found.spearman()
    if math.isnan(value):
        return 2.0
    angle, most = math.acos(value), angle_x + angle_y
    return max(value - math.cos(min(math.pi, angle + most)), math.cos(max(0.0, angle - most)) - value)


def _take(features: Features | np.ndarray, rows: np.ndarray) -> Features | np.ndarray:
    if isinstance(features, Features):
        return dataclasses.replace(features, values=features.values[rows], ids=np.asarray(features.ids)[rows])
    return arrays.real(features, 'features')[..., rows, :]


def _undefined_message(x, counts, defined) -> str:
    first = int(np.flatnonzero(~defined)[0])
    name = repr(str(x.ids[first])) if isinstance(x, Features) else str(first)
    return (
        f'{int((~defined).sum())} of {len(defined)} stimuli have no defined distances (NaN or Inf features: '
        f'{counts[0].n_nonfinite} and {counts[1].n_nonfinite}; constant or zero rows: {counts[0].n_undefined} and '
        f"{counts[1].n_undefined}), first stimulus {name}: pass nan_policy='omit' to leave them out."
    )
