"""Near-duplicates: pairs so close that a matrix product in float32 loses the digits of their distance.

|x - y|^2 = |x|^2 + |y|^2 - 2 x.y carries the rounding error of its terms. Where the result is less than `CLOSE` times
|x|^2 + |y|^2, the pair is computed again in float64: by a product where a tile has many such pairs, and from the
differences of the closest pairs.
"""

import jax
import jax.numpy as jnp
import numpy as np

from humalign_jax.devices import compiled
from humalign_jax.rsa.distances.measures import Distance
from humalign_jax.rsa.distances.tiles import Operands, transformed_rows

CLOSE = 0.03  # of |x|^2 + |y|^2; measured error there below 1e-5 in float32 and 1e-12 in float64
_CLOSE_IN_DOUBLE = 1e-9  # the same for 1e-6 after a float64 product
_MANY = 0.01  # of a tile's pairs: more than that, and a float64 product is cheaper than gathering pairs
_GATHER = 1 << 21  # numbers gathered at a time, 16 MB


def applies(operands: Operands) -> bool:
    """Whether distances of near-duplicates can be refined: they follow from a rounded product and are not signed."""
    return bool(operands.distance.product) and not operands.signed and not operands.is_exact


def refined(
    operands: Operands,
    arrays: tuple[jax.Array, ...],
    tile: jax.Array,
    start: tuple[int, int],
    features: np.ndarray,
) -> np.ndarray:
    """The tile [block, block] on the host, near-duplicates computed again from `features` [n, d]."""
    if _is_surely_apart(np.asarray(tile), operands, start):
        return np.asarray(tile)
    with jax.enable_x64(operands.is_double):
        close, n_close = _close(
            tile, arrays[2], arrays[3], *map(np.int32, (*start, operands.n)), product=operands.distance.product
        )
        if int(n_close) == 0:
            return np.asarray(tile)
    result = np.array(tile)
    rows, columns = np.nonzero(np.asarray(close))
    x, y = (transformed_rows(features[k : k + operands.block], operands.distance, operands.unit) for k in start)
    if len(rows) > _MANY * tile.size and not operands.is_double:
        rows, columns = _by_product(result, x, y, rows, columns, operands.distance)
    step = max(1, _GATHER // x.shape[1])
    for k in range(0, len(rows), step):
        r, c = rows[k : k + step], columns[k : k + step]
        difference = x[r] - y[c]
        result[r, c] = _from_squared(np.einsum('nd,nd->n', difference, difference), operands.distance)
    return result


def _is_surely_apart(tile: np.ndarray, operands: Operands, start: tuple[int, int]) -> bool:
    """Whether the least distance of the tile excludes near-duplicates; one pass, which settles nearly all tiles.

    False if undecided: with duplicates, padding on the diagonal, or NaN.
    """
    longest = sum(float(np.max(operands.half[k : k + operands.block])) for k in start)
    if start[0] == start[1] and len(tile) > 1:
        # Without the first entry, a square read as rows longer by one has its diagonal in the last column.
        tile = tile.reshape(-1)[1:].reshape(len(tile) - 1, len(tile) + 1)[:, :-1]
    least = float(np.min(tile))
    half_square = {'half': least, 'square': least / 2, 'root': least * least / 2}[operands.distance.product]
    return half_square >= CLOSE * longest


@compiled(static_argnames='product')
def _close(tile, half, group, i, j, n, *, product):
    """Which pairs of the upper triangle are near-duplicates, but not duplicates; how many."""
    block = len(tile)
    lengths = (
        jax.lax.dynamic_slice_in_dim(half, i, block)[:, None] + jax.lax.dynamic_slice_in_dim(half, j, block)[None, :]
    )
    differ = (
        jax.lax.dynamic_slice_in_dim(group, i, block)[:, None] != jax.lax.dynamic_slice_in_dim(group, j, block)[None, :]
    )
    half_square = {'half': tile, 'square': tile / 2, 'root': tile * tile / 2}[product]
    rows, columns = i + jnp.arange(block)[:, None], j + jnp.arange(block)[None, :]
    close = (half_square < CLOSE * lengths) & differ & (rows < columns) & (columns < n)
    return close, close.sum()


def _by_product(result, x, y, rows, columns, distance):
    """Refines by a float64 product; returns the pairs that are too close even for that."""
    centre = x.mean(axis=0)
    x, y = x - centre, y - centre
    lengths = np.einsum('nd,nd->n', x, x)[rows] + np.einsum('nd,nd->n', y, y)[columns]
    square = lengths - 2 * (x @ y.T)[rows, columns]
    result[rows, columns] = _from_squared(np.maximum(square, 0), distance)
    still = square < _CLOSE_IN_DOUBLE * lengths
    return rows[still], columns[still]


def _from_squared(square: np.ndarray, distance: Distance) -> np.ndarray:
    """The distance, from the squared Euclidean one of the transformed rows."""
    return {'half': square / 2, 'square': square, 'root': np.sqrt(square)}[distance.product]
