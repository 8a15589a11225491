"""Most exciting images (MEIs): the images of a data set with the largest activations of a unit."""

import dataclasses
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from humalign_jax import settings


def _flattened(x: jax.Array) -> jax.Array:
    return x.reshape(len(x), -1)


def _center(x: jax.Array) -> jax.Array:
    return x[:, x.shape[1] // 2, x.shape[2] // 2]


# From maps [b, h, w, c] to one number for each unit, [b, u].
MODES: Mapping[str, Callable[[jax.Array], jax.Array]] = {
    'center': _center,  # the seed's
    'mean': lambda x: x.mean(axis=(1, 2)),
    'median': lambda x: jnp.median(x, axis=(1, 2)),
    'min': lambda x: x.min(axis=(1, 2)),
    'max': lambda x: x.max(axis=(1, 2)),
    'flattened': _flattened,  # each place of each channel is a unit
}


def aggregate(maps: jax.Array, mode: str) -> jax.Array:
    """One activation of each unit for each image.

    Args:
        maps: A layer's response, [b, h, w, c], or [b, u], which stays as it is.
        mode: A key of `MODES`. The centre is row h // 2, column w // 2; the median of an even number of places is the
            mean of the middle two.

    Returns:
        [b, u]; u is c, or h w c for 'flattened'.

    Raises:
        ValueError: There is no such mode, or the response is neither a map nor a vector.
    """
    if mode not in MODES:
        raise ValueError(f'there is no aggregation {mode!r}.{settings.nearest(mode, MODES)}')
    if maps.ndim == 2:
        return maps
    if maps.ndim != 4:
        raise ValueError(f'a layer [b, h, w, c] or [b, u] is expected, not {list(maps.shape)}.')
    return MODES[mode](maps)


@dataclasses.dataclass(frozen=True)
class Meis:
    """Most exciting images of u units.

    Attributes:
        rows: Their rows, the most exciting first, int32, [u, m].
        values: Activations, [u, m].
        is_dead: Whether a unit's largest activation is not positive, or no two of its activations differ, [u].
        is_tied: Whether another image excites the unit as much as the last of the m, so that the choice among equals
            (the first in stimulus order) is arbitrary, [u].
    """

    rows: np.ndarray
    values: np.ndarray
    is_dead: np.ndarray
    is_tied: np.ndarray


def most_exciting(activations: np.ndarray, n_meis: int, *, units_per_block: int = 1024) -> Meis:
    """The m images with the largest activations of each unit.

    Args:
        activations: [n, u].
        n_meis: Number m of images, 2 or more.
        units_per_block: Units that are sorted at a time.

    Raises:
        ValueError: There are no more images than m, or an activation is not finite.
    """
    n, n_units = activations.shape
    if not 2 <= n_meis < n:
        raise ValueError(f'n_meis={n_meis} must be from 2 to one less than the number of images, {n}.')
    values, rows, is_constant = [], [], []
    for first in range(0, n_units, units_per_block):
        block = np.ascontiguousarray(activations[:, first : first + units_per_block].T)
        wrong = np.argwhere(~np.isfinite(block))
        if len(wrong):
            raise ValueError(
                f'unit {first + wrong[0, 0]} has an activation that is not finite, for image {wrong[0, 1]}.'
            )
        top, places = jax.lax.top_k(jnp.asarray(block), n_meis + 1)  # the first of equals, in the order of rows
        values.append(np.asarray(top))
        rows.append(np.asarray(places, np.int32))
        is_constant.append(block.min(axis=1) == block.max(axis=1))
    top, places = np.concatenate(values), np.concatenate(rows)
    is_dead = (top[:, 0] <= 0) | np.concatenate(is_constant)
    return Meis(places[:, :n_meis], top[:, :n_meis], is_dead, top[:, n_meis - 1] == top[:, n_meis])
