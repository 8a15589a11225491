"""3x3 convolutions by Winograd's algorithm F(4x4, 3x3), for CPUs: a quarter of the products.

A tile of 4x4 outputs depends on 6x6 inputs and takes 36 products instead of 144: with the small matrices B, G and A
below, y = A' [(G k G') * (B x B')] A, summed over channels. Gradients are the adjoint of these steps, so that they need
a quarter of the products, too. All products of a position of the tile are one matrix product over tiles and channels.

In float32 errors are about ten times those of a direct convolution: docs/decisions.md.

References:
    Lavin & Gray (2016). Fast algorithms for convolutional neural networks, section 4.3. arXiv:1509.09308
"""

import functools
from collections.abc import Iterable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

TILE = 4  # outputs of a tile in each direction
_SIDE = TILE + 2  # inputs of a tile in each direction
_OF_INPUT = np.array(  # B
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ]
)
_OF_KERNEL = np.array([[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]) / 24  # G
_OF_OUTPUT = np.array([[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]])  # A'


def forward(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Convolution with stride 1 and padding 1.

    Args:
        x: Maps, [b, h, w, c]; h and w are multiples of 4.
        kernel: [3, 3, c, d].

    Returns:
        [b, h, w, d].
    """
    b, h, w, _ = x.shape
    products = jnp.matmul(_input_tiles(x), _kernel_tiles(kernel))
    products = products.reshape(_SIDE, _SIDE, b, h // TILE, w // TILE, -1)
    rows = _once(jnp.stack([_sum(factors, products) for factors in _OF_OUTPUT]))
    y = jnp.stack([_sum(factors, rows.swapaxes(0, 1)) for factors in _OF_OUTPUT], 4)  # [4, b, h / 4, w / 4, 4, d]
    return y.transpose(1, 2, 0, 3, 4, 5).reshape(b, h, w, -1)


def gradients(x: jax.Array, kernel: jax.Array, dy: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Gradients of the sum of `forward(x, kernel) * dy`, with respect to `x` and to `kernel`.

    Args:
        x: Maps, [b, h, w, c].
        kernel: [3, 3, c, d].
        dy: [b, h, w, d].

    Returns:
        [b, h, w, c] and [3, 3, c, d].
    """
    b, h, w, c = x.shape
    down, across = h // TILE, w // TILE  # number of tiles
    rows = _once(jnp.stack([_sum(factors, _strided(dy, 1, TILE)) for factors in _OF_OUTPUT.T]))
    tiles = jnp.stack([_sum(factors, _strided(rows, 3, TILE)) for factors in _OF_OUTPUT.T], 1)
    tiles = _once(tiles.reshape(_SIDE**2, b * down * across, -1))

    of_kernel = jnp.einsum('ptc,ptd->pcd', _input_tiles(x), tiles).reshape(_SIDE, _SIDE, c, -1)
    rows = _once(jnp.stack([_sum(factors, of_kernel) for factors in _OF_KERNEL.T]))
    of_kernel = jnp.stack([_sum(factors, rows.swapaxes(0, 1)) for factors in _OF_KERNEL.T], 1)

    of_x = jnp.einsum('ptd,pcd->ptc', tiles, _kernel_tiles(kernel)).reshape(_SIDE, _SIDE, b, down, across, c)
    rows = _overlapped([_sum(factors, of_x) for factors in _OF_INPUT.T], 2)  # [6, b, h / 4 + 1, 4, w / 4, c]
    rows = _once(rows.reshape(_SIDE, b, (down + 1) * TILE, across, c)[:, :, 1 : h + 1])
    of_x = _overlapped([_sum(factors, rows) for factors in _OF_INPUT.T], 2)
    return of_x.reshape(b, h, (across + 1) * TILE, c)[:, :, 1 : w + 1], of_kernel


def _input_tiles(x: jax.Array) -> jax.Array:
    """B x B' of every tile, [36, b h w / 16, c]."""
    x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    rows = _once(jnp.stack([_sum(factors, _strided(x, 1, _SIDE)) for factors in _OF_INPUT]))
    tiles = jnp.stack([_sum(factors, _strided(rows, 3, _SIDE)) for factors in _OF_INPUT], 1)
    return _once(tiles.reshape(_SIDE**2, -1, x.shape[-1]))


def _kernel_tiles(kernel: jax.Array) -> jax.Array:
    """G k G', [36, c, d]."""
    rows = _once(jnp.stack([_sum(factors, kernel) for factors in _OF_KERNEL]))
    tiles = jnp.stack([_sum(factors, rows.swapaxes(0, 1)) for factors in _OF_KERNEL], 1)
    return _once(tiles.reshape(_SIDE**2, *kernel.shape[2:]))


def _once(x: jax.Array) -> jax.Array:
    """Keeps the compiler from computing `x` anew for each of its uses."""
    return jax.lax.optimization_barrier(x)


def _strided(x: jax.Array, axis: int, n: int) -> list[jax.Array]:
    """The first, second, ..., nth row of all tiles, which lie 4 rows apart."""
    length = (x.shape[axis] - n) // TILE * TILE + 1
    return [jax.lax.slice_in_dim(x, i, i + length, TILE, axis) for i in range(n)]


def _sum(factors: np.ndarray, terms: Iterable[jax.Array]) -> jax.Array:
    """Weighted sum without the terms of weight zero."""
    return functools.reduce(jnp.add, [x if f == 1 else float(f) * x for f, x in zip(factors, terms) if f])


def _overlapped(rows: Sequence[jax.Array], axis: int) -> jax.Array:
    """Adds a tile's last two of six rows to the next tile's first two: [..., t, ...] -> [..., t + 1, 4, ...]."""

    def padded(x: jax.Array, before: int, after: int) -> jax.Array:
        return jnp.pad(x, [(before, after) if i == axis else (0, 0) for i in range(x.ndim)])

    own = [padded(x, 0, 1) for x in rows[:TILE]]
    of_last = [padded(x, 1, 0) for x in rows[TILE:]]
    return jnp.stack([own[0] + of_last[0], own[1] + of_last[1], *own[2:]], axis + 1)
