"""Intrinsic dimension of a feature set, from the distances to the two nearest stimuli."""

import numpy as np

from humalign_jax.records import Features
from humalign_jax.rsa.similarity.cka import checked_pair

_BLOCK = 1024  # stimuli whose distances to all others are held at a time


def two_nn(x: Features | np.ndarray, *, discarded: float = 0.1, min_max: bool = False) -> float:
    """TwoNN estimate of the intrinsic dimension.

    The ratio of the distances to the second and the first neighbour follows a Pareto law whose exponent is the
    dimension, if the density is constant over that range. The estimate is the slope through the origin of
    -log(1 - F) against the logarithm of the ratio. Beyond about 10 dimensions it is too low unless there are very many
    stimuli.

    Args:
        x: Features, [n, d]; equal stimuli count once.
        discarded: Share of the largest ratios that are left out, in [0, 1).
        min_max: Bring every feature to the range from 0 to 1 first; constant features become 0.

    Returns:
        Dimension, above 0; NaN with fewer than three different stimuli.

    Raises:
        ValueError: Features are NaN or Inf, or `discarded` is outside [0, 1).

    References:
        Facco et al. (2017). Estimating the intrinsic dimension of datasets by a minimal neighborhood information.
        doi:10.1038/s41598-017-11873-y

    Example:
        >>> plane = np.random.default_rng(0).uniform(size=(2000, 2)) @ np.random.default_rng(1).normal(size=(2, 10))
        >>> round(rsa.two_nn(plane))  # ten features, but two dimensions
        2
    """
    if not 0 <= discarded < 1:
        raise ValueError(f'discarded must be at least 0 and below 1, not {discarded}.')
    values, _ = checked_pair(x, x, 2)
    values = np.unique(values, axis=0)
    if min_max:
        span = np.ptp(values, axis=0)
        values = (values - values.min(axis=0)) / np.where(span > 0, span, 1.0)
    if len(values) < 3:
        return float('nan')
    first, second = _two_nearest(values - values.mean(axis=0))
    log_ratio = np.sort(np.log(second / first))
    n_kept = max(1, int(len(values) * (1 - discarded)))
    log_ratio = log_ratio[:n_kept]
    below = np.arange(n_kept) / len(values)  # F before each ratio, so that the last is below 1
    squares = float(log_ratio @ log_ratio)
    return float(log_ratio @ -np.log1p(-below)) / squares if squares > 0 else float('nan')


def _two_nearest(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distances of each stimulus to its nearest and second nearest other one: [n, d] -> [n], [n]."""
    lengths = np.einsum('nd,nd->n', values, values)
    nearest = np.empty((len(values), 2), np.int64)
    for start in range(0, len(values), _BLOCK):
        rows = np.arange(start, min(start + _BLOCK, len(values)))
        squares = lengths[None, :] - 2 * values[rows] @ values.T  # the rows' own lengths change no order
        squares[np.arange(len(rows)), rows] = np.inf
        nearest[rows] = np.argpartition(squares, 1, axis=1)[:, :2]
    distances = [np.linalg.norm(values - values[others], axis=1) for others in nearest.T]
    return np.minimum(*distances), np.maximum(*distances)
