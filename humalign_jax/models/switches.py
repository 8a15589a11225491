"""Max-pooling that remembers where each maximum was, and unpooling that puts values there.

References:
    Zeiler & Fergus (2014), section 2.1. arXiv:1311.2901
"""

import jax
import jax.numpy as jnp


def max_pool(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Max-pooling of 2x2 squares with stride 2, and the position of each maximum.

    Equal to torch.nn.functional.max_pool2d with return_indices=True: of tied values the first in row-major order is
    the maximum, and has the whole gradient.

    Args:
        x: Maps, [b, h, w, c], h and w even.

    Returns:
        Maxima, [b, h / 2, w / 2, c], and switches of the same shape, int8: 0 and 1 for the upper row of the square,
        2 and 3 for the lower.

    Raises:
        ValueError: An odd height or width.
    """
    b, h, w, c = x.shape
    if h % 2 or w % 2:
        raise ValueError(f'Pooling with switches needs an even height and width, not {h}x{w}.')
    windows = x.reshape(b, h // 2, 2, w // 2, 2, c)
    upper_left, upper_right = windows[:, :, 0, :, 0], windows[:, :, 0, :, 1]
    lower_left, lower_right = windows[:, :, 1, :, 0], windows[:, :, 1, :, 1]
    upper, lower = jnp.maximum(upper_left, upper_right), jnp.maximum(lower_left, lower_right)
    in_upper = jnp.where(upper_left >= upper_right, 0, 1)
    in_lower = jnp.where(lower_left >= lower_right, 2, 3)
    switches = jax.lax.stop_gradient(jnp.where(upper >= lower, in_upper, in_lower).astype(jnp.int8))
    return jnp.sum(jnp.where(_is_switched(switches), windows, 0), axis=(2, 4)), switches


def unpool(x: jax.Array, switches: jax.Array | None = None) -> jax.Array:
    """Doubles height and width: each value at its switch and zeros elsewhere, or the value four times without switches.

    Equal to torch.nn.functional.max_unpool2d of 2x2 squares with switches, and to nearest-neighbour upsampling without.

    Args:
        x: Maps, [b, h, w, c].
        switches: Positions from `max_pool`, [b, h, w, c], or None.

    Returns:
        [b, 2 h, 2 w, c].
    """
    b, h, w, c = x.shape
    values = jnp.broadcast_to(x[:, :, None, :, None], (b, h, 2, w, 2, c))
    if switches is not None:
        values = jnp.where(_is_switched(switches), values, 0)
    return values.reshape(b, 2 * h, 2 * w, c)


def _is_switched(switches: jax.Array) -> jax.Array:
    """Which pixel of each 2x2 square is the maximum: [b, h, w, c] -> bool [b, h, 2, w, 2, c]."""
    positions = jnp.arange(4, dtype=switches.dtype).reshape(1, 1, 2, 1, 2, 1)
    return switches[:, :, None, :, None] == positions
