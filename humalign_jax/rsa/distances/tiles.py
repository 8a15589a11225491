"""Square tiles of a distance matrix, for RDMs and for streamed comparisons.

`prepare` turns features into operands once, in float64 on the host; a compiled function of one shape makes any tile
from them. A tile that is computed again has the same bits.

Distances of discrete features are computed from exact sums of whole numbers k (see `rsa.distances.discrete`),
with q = sum k^2:

    |x - y|^2 = q_x + q_y - 2 x.y,      cos(x, y) = sign(x.y) sqrt((x.y)^2 / (q_x q_y)),

and for correlations the same with d x.y - sum(x) sum(y) in place of x.y, and so of q.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from humalign_jax.devices import compiled
from humalign_jax.rsa.aligned import aligned_zeros
from humalign_jax.rsa.distances import discrete, noise
from humalign_jax.rsa.distances.chunks import by_chunks
from humalign_jax.rsa.distances.measures import Distance, check_pair, mahalanobis

PLAIN_EXPONENTS = range(-20, 21)  # largest features from 1e-6 to 1e6: their squares and sums fit float32
_CENTRE_ROWS = 256  # the origin only has to lie among the stimuli, so some of them suffice
_SMALL_SPREAD = 1e-3  # of the largest feature: below, rounding to float32 takes more than 6e-5 of the differences
_GRID_BITS = 25  # distances on a grid take at most 2**25 + 1 values


@dataclasses.dataclass(frozen=True)
class StimulusCounts:
    """Numbers of undefined and duplicate stimuli of a feature set.

    Attributes:
        n_stimuli: All stimuli.
        n_nonfinite: Stimuli with NaN or Inf among their features; all their distances are NaN.
        n_undefined: Constant (correlation) or zero (cosine, jensenshannon) stimuli; their distances are NaN, as in
            SciPy.
        n_duplicate: Stimuli that equal an earlier one after the distance's transform; the pair's distance is exactly 0.
    """

    n_stimuli: int
    n_nonfinite: int
    n_undefined: int
    n_duplicate: int


@dataclasses.dataclass(frozen=True)
class Operands:
    """A feature set prepared for the tile function.

    Attributes:
        left: Rows, zero-padded to whole blocks, [n_padded, k].
        right: Columns, [n_padded, k]; the same array as `left` but for crossnobis.
        half: Half the squared length of each row (product forms), [n_padded].
        group: Number of the first stimulus with the same row, int32, [n_padded].
        distance: The distance.
        signed: The distance may be negative (crossnobis).
        grid: Spacing of the float32 distances, a power of two; 0.0 where they lie on no grid.
        block: Rows and columns of a tile.
        valid_rows: Rows whose distances are defined, bool, [n].
        counts: Numbers of undefined and duplicate stimuli.
        unit: Divisor of the features before rounding.
        is_discrete: Whether features are discrete.
        sums: For rows of whole numbers, float64, [2, n_padded]: first the sum of squares (for correlations d times the
            sum of squares minus the squared sum), then the sum. Empty, [2, 0], for other rows.
    """

    left: np.ndarray
    right: np.ndarray
    half: np.ndarray
    group: np.ndarray
    distance: Distance
    signed: bool
    grid: float
    block: int
    valid_rows: np.ndarray
    counts: StimulusCounts
    unit: float
    is_discrete: bool
    sums: np.ndarray

    @property
    def n(self) -> int:
        """Number of stimuli."""
        return self.counts.n_stimuli

    @property
    def is_exact(self) -> bool:
        """Whether distances follow from exact sums of whole numbers."""
        return self.sums.size > 0

    @property
    def is_double(self) -> bool:
        """Whether tiles are float64."""
        return self.is_exact or self.left.dtype == np.float64

    @property
    def factor(self) -> float:
        """Factor from the distances of a tile to those of the features."""
        return self.unit**self.distance.degree

    @property
    def n_bytes(self) -> int:
        """Memory of the rows and columns."""
        return self.left.nbytes + (0 if self.right is self.left else self.right.nbytes)

    def on_device(self, device: jax.Device) -> tuple[jax.Array, ...]:
        """The arrays that `distance_tile` takes, on `device`."""
        with jax.enable_x64(self.is_double):
            left = jax.device_put(self.left, device)
            right = left if self.right is self.left else jax.device_put(self.right, device)
            return left, right, *(jax.device_put(array, device) for array in (self.half, self.group, self.sums))


def prepare(
    features: np.ndarray,
    distance: Distance,
    *,
    dtype: np.dtype,
    block: int,
    what: str,
    ids: Sequence[str] | np.ndarray | None = None,
    nan_policy: str = 'raise',
) -> Operands:
    """Checks features and transforms them: [n, d] -> operands.

    Args:
        features: Real numbers, [n, d].
        distance: The distance.
        dtype: float32 or float64, what tiles are computed in.
        block: Rows and columns of a tile.
        what: What messages call the features.
        ids: What messages call the stimuli; their row numbers by default.
        nan_policy: 'raise' refuses NaN and Inf, 'propagate' gives those stimuli NaN distances.

    Raises:
        ValueError: Wrong shape or type, or NaN or Inf under 'raise'; the message names the first such stimulus.
    """
    if features.ndim != 2 or features.shape[0] < 2 or features.shape[1] < 1:
        raise ValueError(f'{what} must be [n, d] with at least two stimuli and one feature, not {features.shape}.')
    if not distance.product:
        check_pair(distance, features.shape[1], dtype)
    finite, largest = _check_numbers(features, what, ids, nan_policy)
    if distance.ignores:
        whole = discrete.whole_numbers(features, distance.ignores, finite)
        if whole is not None:
            return _prepare_exact(whole, distance, finite, block)
    is_discrete = not distance.ignores.startswith('row scale') and discrete.is_discrete(features, finite)
    exponent = math.frexp(largest)[1]
    unit = 2.0**exponent if distance.degree and exponent not in PLAIN_EXPONENTS else 1.0
    transform = _row_transform(features, distance, unit)
    if is_discrete or _loses_digits(features, distance, largest):
        dtype = np.dtype(np.float64)
    n, width = features.shape
    left = aligned_zeros((_padded(n, block), width), dtype)
    half = np.zeros(len(left), dtype)

    def fill(rows: slice) -> None:
        left[rows] = transform(features[rows])
        # From the rounded rows, which the product takes too.
        half[rows] = np.einsum('nd,nd->n', left[rows], left[rows], dtype=np.float64) / 2

    by_chunks(fill, n)
    left[:n][~finite] = np.nan
    defined = np.asarray(~np.isnan(left[:n]).any(axis=1) if distance.undefined else finite)
    half[:n][~defined] = np.nan
    left[:n][~defined] = np.nan
    group, n_duplicate = _groups(left[:n], defined)
    counts = StimulusCounts(n, int((~finite).sum()), int((finite & ~defined).sum()), n_duplicate)
    bound = min(2.0, 4 * float(np.max(half[:n], initial=0.0, where=defined))) or 1.0
    on_grid = distance.bounded and dtype == np.float32
    grid = 2.0 ** (np.ceil(np.log2(bound)) - _GRID_BITS) if on_grid else 0.0
    group = np.pad(group, (0, len(left) - n), constant_values=-1)
    no_sums = np.zeros((2, 0))
    return Operands(left, left, half, group, distance, False, grid, block, defined, counts, unit, is_discrete, no_sums)


def _prepare_exact(whole: discrete.WholeNumbers, distance: Distance, finite: np.ndarray, block: int) -> Operands:
    """Operands of discrete features."""
    n, width = whole.rows.shape
    sums = np.zeros((2, _padded(n, block)))

    def fill(part: slice) -> float:
        rows = whole.rows[part].astype(np.float64)
        squares, total = np.einsum('nd,nd->n', rows, rows), rows.sum(axis=1)
        sums[0, part] = width * squares - total**2 if distance.ignores == 'row scale and offset' else squares
        sums[1, part] = total
        return float(squares.max())

    largest = max(by_chunks(fill, n))
    dtype = np.float32 if largest <= discrete.EXACT_SINGLE else np.float64
    left = aligned_zeros((_padded(n, block), width), dtype)
    left[:n] = whole.rows
    defined = finite & (sums[0, :n] > 0) if distance.undefined else finite
    group, n_duplicate = _groups(left[:n], defined)
    sums[0, :n][~defined] = np.nan
    counts = StimulusCounts(n, int((~finite).sum()), int((finite & ~defined).sum()), n_duplicate)
    group = np.pad(group, (0, len(left) - n), constant_values=-1)
    half = np.zeros(1)  # takes no part
    return Operands(left, left, half, group, distance, False, 0.0, block, defined, counts, whole.step, True, sums)


def prepare_crossnobis(
    repeats: np.ndarray,
    *,
    covariance: np.ndarray | None,
    shrinkage: str,
    dtype: np.dtype,
    block: int,
    what: str,
    ids: Sequence[str] | np.ndarray | None = None,
    nan_policy: str = 'raise',
) -> Operands:
    """Operands of the cross-validated Mahalanobis distance of repeated measurements [r, n, d].

    With differences d_r of two stimuli in repeat r, the mean of d_r . d_s over r != s is (|sum d_r|^2 - sum |d_r|^2) /
    (r (r - 1)): one product of the rows [sum, x_1, .., x_r] with the columns [sum, -x_1, .., -x_r]. Repeats of two
    folds with a precision of their own add that of the rows [a, b] with the columns [b, a], a and b their sums.
    """
    if repeats.ndim != 3 or repeats.shape[0] < 2 or repeats.shape[1] < 2:
        raise ValueError(
            f'{what} must be [r, n, d] for crossnobis, with at least two repeats of two stimuli, not {repeats.shape}.'
        )
    r, n, d = repeats.shape
    finite, _ = _check_numbers(repeats.transpose(1, 0, 2).reshape(n, r * d), what, ids, nan_policy)
    usable = np.asarray(repeats[:, finite], np.float64)
    everyone = np.arange(r)
    if covariance is None:
        whitened_by = noise.fold_whiteners(usable, shrinkage)
    else:
        whitened_by = [(everyone, everyone, noise.whitener(covariance))]
    # Each repeat around its own mean: an offset of a repeat cancels in its differences.
    centred = (usable - usable.mean(axis=1, keepdims=True)) / np.sqrt(r * (r - 1.0))
    rows, columns = [], []
    for one, other, whitener in whitened_by:
        sums = [(centred[fold].sum(axis=0) @ whitener).astype(dtype) for fold in (one, other)]
        if one is other:
            parts = (centred[one] @ whitener).astype(dtype)
            rows += [sums[0], *parts]
            columns += [sums[0], *-parts]
        else:
            rows += sums
            columns += sums[::-1]
    left, right = (aligned_zeros((_padded(n, block), len(rows) * d), dtype) for _ in range(2))
    for padded, blocks in ((left, rows), (right, columns)):
        padded[:n] = np.nan
        padded[:n][finite] = np.concatenate(blocks, axis=1)
    half = np.einsum('nd,nd->n', left, right, dtype=np.float64).astype(dtype) / 2
    group, n_duplicate = _groups(left[:n], finite)
    counts = StimulusCounts(n, int((~finite).sum()), 0, n_duplicate)
    distance = Distance('crossnobis', lambda x, y: jnp.sum((x - y) ** 2), product='square')
    group = np.pad(group, (0, len(left) - n), constant_values=-1)
    no_sums = np.zeros((2, 0))
    return Operands(left, right, half, group, distance, True, 0.0, block, finite, counts, 1.0, False, no_sums)


def tile_starts(n: int, block: int) -> list[tuple[int, int]]:
    """First row and column of every tile that holds pairs of the upper triangle, row of tiles by row of tiles."""
    return [(i, j) for i in range(0, n, block) for j in range(i, n, block)]


def even_block(n: int, largest: int) -> int:
    """The block size up to `largest` that cuts n stimuli into the fewest blocks with the least padding."""
    return -(-n // -(-n // largest))


def distance_tile(operands: Operands, arrays: tuple[jax.Array, ...], i: int, j: int) -> jax.Array:
    """Distances of stimuli i, i+1, .. to stimuli j, j+1, ..: [block, block] on the device that holds `arrays`.

    They are to be multiplied by `operands.factor`. Entries outside the upper triangle, or of padding, mean nothing.
    """
    distance = operands.distance
    left, right, half, group, sums = arrays
    with jax.enable_x64(operands.is_double):
        if operands.is_exact:
            return _exact_tile(
                left,
                group,
                sums,
                np.int32(i),
                np.int32(j),
                block=operands.block,
                ignores=distance.ignores,
                product=distance.product,
            )
        if not distance.product:
            return _pair_tile(left, np.int32(i), np.int32(j), block=operands.block, pair=distance.pair)
        return _product_tile(
            left,
            right,
            half,
            group,
            np.int32(i),
            np.int32(j),
            block=operands.block,
            product=distance.product,
            signed=operands.signed,
            grid=operands.grid,
        )


@compiled(static_argnames=('block', 'ignores', 'product'))
def _exact_tile(left, group, sums, i, j, *, block, ignores, product):
    def cut(array, start):
        return jax.lax.dynamic_slice_in_dim(array, start, block, axis=-1)

    rows, columns = (jax.lax.dynamic_slice_in_dim(left, start, block) for start in (i, j))
    inner = jax.lax.dot_general(rows, columns, (((1,), (1,)), ((), ())), precision=jax.lax.Precision.HIGHEST)
    inner = inner.astype(jnp.float64)
    (square_x, sum_x), (square_y, sum_y) = cut(sums, i)[..., :, None], cut(sums, j)[..., None, :]
    if product == 'half':
        if ignores == 'row scale and offset':
            inner = left.shape[1] * inner - sum_x * sum_y
        # Squares: of numbers below 2^53 nothing is rounded before the division, so that equal cosines are equal.
        cosine = jnp.sign(inner) * jnp.sqrt(jnp.minimum(inner * inner / (square_x * square_y), 1))
        distance = 1 - cosine
    else:
        distance = square_x + square_y - 2 * inner
    distance = jnp.where(cut(group, i)[:, None] == cut(group, j)[None, :], 0, distance)
    return jnp.sqrt(distance) if product == 'root' else distance


@compiled(static_argnames=('block', 'product', 'signed', 'grid'))
def _product_tile(left, right, half, group, i, j, *, block, product, signed, grid):
    def cut(array, start):
        return jax.lax.dynamic_slice_in_dim(array, start, block)

    inner = jax.lax.dot_general(
        cut(left, i), cut(right, j), (((1,), (1,)), ((), ())), precision=jax.lax.Precision.HIGHEST
    )
    distance = cut(half, i)[:, None] + cut(half, j)[None, :] - inner
    if product != 'half':
        distance = 2 * distance
    if not signed:
        distance = jnp.maximum(distance, 0)
    distance = jnp.where(cut(group, i)[:, None] == cut(group, j)[None, :], 0, distance)
    if product == 'root':
        distance = jnp.sqrt(distance)
    if grid:
        distance = jnp.minimum(jnp.rint(distance * (1 / grid)), 2**_GRID_BITS) * grid
    return distance


@compiled(static_argnames=('block', 'pair'))
def _pair_tile(x, i, j, *, block, pair):
    rows = jax.lax.dynamic_slice_in_dim(x, i, block)
    columns = jax.lax.dynamic_slice_in_dim(x, j, block)
    return jax.vmap(jax.vmap(pair, in_axes=(None, 0)), in_axes=(0, None))(rows, columns)


def transformed_rows(features: np.ndarray, distance: Distance, unit: float = 1.0) -> np.ndarray:
    """Rows over `unit` after the distance's transform, float64, [m, d]; all NaN where a feature is NaN or Inf."""
    rows = np.array(features, np.float64)
    if unit != 1.0:
        rows /= unit
    with np.errstate(invalid='ignore', over='ignore'):
        total = rows.sum()
    if not np.isfinite(total):  # the sum alone shows whether all rows are finite
        rows[~np.isfinite(rows).all(axis=1)] = np.nan
    return rows if distance.rows is None else distance.rows(rows)


def fitted_distance(distance: Distance | None, features: np.ndarray, covariance: np.ndarray | None) -> Distance:
    """`distance`, or for None the Mahalanobis distance of `covariance` (by default SciPy's: of the features)."""
    if distance is not None:
        return distance
    if covariance is None:
        finite = features[np.isfinite(features).all(axis=1)]
        covariance = np.atleast_2d(np.cov(np.asarray(finite, np.float64), rowvar=False))
    return mahalanobis(covariance)


def write_tile(condensed: np.ndarray, tile: np.ndarray, n: int, i: int, j: int) -> None:
    """Puts the upper-triangle pairs of the tile at row i and column j in their places in condensed order.

    Args:
        condensed: Distances of all pairs of n stimuli, [n (n - 1) / 2]; changed in place.
        tile: Distances of stimuli i, i+1, .. to stimuli j, j+1, .., [block, block].
        n: Number of stimuli.
        i: First row.
        j: First column, i or a later block's.
    """
    block = len(tile)
    rows = np.arange(i, min(i + block, n - 1))
    first, stop = np.maximum(j, rows + 1), min(j + block, n)
    widths = stop - first
    places, begins = rows * (2 * n - rows - 1) // 2 + first - rows - 1, (rows - i) * block + first - j
    into, values = condensed.data, np.ascontiguousarray(tile).reshape(-1).data
    # Memory views are made faster than array views, and do not hand over Python's lock with every row.
    for place, end, begin, last in zip(*(x.tolist() for x in (places, places + widths, begins, begins + widths))):
        into[place:end] = values[begin:last]


def _padded(n: int, block: int) -> int:
    return -(-n // block) * block


def _row_transform(features: np.ndarray, distance: Distance, unit: float) -> Callable[[np.ndarray], np.ndarray]:
    """The function from raw rows to the rows on the device, float64."""
    if not (distance.product or distance.rows or distance.of_differences):
        return lambda rows: np.asarray(rows)
    if not (distance.product or distance.of_differences):
        return lambda rows: transformed_rows(rows, distance)
    some = _some_rows(features, distance, unit)
    centre = some.mean(axis=0) if len(some) else np.zeros(some.shape[1])

    def centred(rows: np.ndarray) -> np.ndarray:
        rows = transformed_rows(rows, distance, unit)
        rows -= centre
        return rows

    return centred


def _some_rows(features: np.ndarray, distance: Distance, unit: float = 1.0) -> np.ndarray:
    """Some finite rows after the distance's transform, float64."""
    some = transformed_rows(features[:: max(1, len(features) // _CENTRE_ROWS)], distance, unit)
    return some[np.isfinite(some).all(axis=1)]


def _loses_digits(features: np.ndarray, distance: Distance, largest: float) -> bool:
    """Whether float32 is too coarse for a distance whose features keep their offset and scale."""
    if distance.product or distance.of_differences:
        return False
    some = _some_rows(features, distance)
    spread = float(np.max(np.abs(some - some.mean(axis=0)))) if len(some) else 0.0
    far = spread < _SMALL_SPREAD * float(np.max(np.abs(some), initial=0.0))
    return far or (not distance.rows and math.frexp(largest)[1] not in PLAIN_EXPONENTS)


def _check_numbers(features, what, ids, nan_policy):
    """Which rows are finite, bool [n], and the largest size of a feature in these."""
    if nan_policy not in ('raise', 'propagate'):
        raise ValueError(f"nan_policy must be 'raise' or 'propagate', not {nan_policy!r}.")
    if features.dtype.kind not in 'fiub':
        raise ValueError(f'{what} must be real numbers, not {features.dtype}.')

    def look(part: slice) -> tuple[np.ndarray, float]:
        rows = features[part]
        finite, largest = np.isfinite(rows).all(axis=1), np.maximum(np.max(rows), -np.min(rows, initial=0))
        if not finite.all():
            largest = np.max(np.abs(rows[finite]), initial=0)
        return finite, float(largest)

    finite, largest = zip(*by_chunks(look, len(features)))
    finite = np.concatenate(finite)
    if nan_policy == 'raise' and not finite.all():
        first = int(np.flatnonzero(~finite)[0])
        name = first if ids is None else repr(str(np.asarray(ids)[first]))
        raise ValueError(
            f'{what}: {int((~finite).sum())} of {len(finite)} stimuli have NaN or Inf features, first stimulus {name}: '
            "leave them out, or pass nan_policy='propagate' to get NaN for their pairs."
        )
    return finite, max(largest)


def _groups(rows, defined):
    """The first stimulus with an equal row for each row, int32 [n]; how many are not the first of their kind."""
    group = np.arange(len(rows), dtype=np.int32)
    n_words = rows.shape[1] * rows.dtype.itemsize // 4
    weights = np.random.default_rng(0).integers(0, 2**32, n_words, dtype=np.uint32) | np.uint32(1)

    def weighted(part: slice) -> np.ndarray:
        return np.einsum('nd,d->n', (rows[part] + 0).view(np.uint32), weights)  # + 0 makes -0.0 equal 0.0

    # Equal rows have equal sums. Rows with equal sums are then compared by value.
    sums = np.concatenate(by_chunks(weighted, len(rows)))
    _, inverse, counts = np.unique(sums, return_inverse=True, return_counts=True)
    seen: dict[bytes, int] = {}
    for k in np.flatnonzero((counts[inverse] > 1) & defined):
        group[k] = seen.setdefault((rows[k] + 0).tobytes(), int(k))
    return group, int((group != np.arange(len(rows))).sum())
