"""95 % intervals of statistics over images, from a bootstrap that draws images by weights."""

import numpy as np
import scipy.stats

from humalign_jax.rsa import fisher_interval

Interval = tuple[float, float]


def correlation_interval(value: float, draws: np.ndarray, n: int) -> Interval:
    """Interval of a correlation over n images: Student's t around Fisher's z with the bootstrap's standard error.

    Plain percentiles are too low: resampled images repeat, which adds noise to every draw and lowers its correlation.

    Args:
        value: The correlation of all images.
        draws: The correlation of each bootstrap sample, [n_draws]; NaN are left out.
        n: Number of images.

    Returns:
        Lower and upper end; NaN where fewer than two draws have a value, or the correlation is not within (-1, 1).
    """
    kept = draws[np.isfinite(draws)]
    if len(kept) < 2 or not abs(value) < 1.0:
        return np.nan, np.nan
    low, high = fisher_interval(np.array([value]), np.array([kept.std(ddof=1)]), n - 1)
    return float(low[0]), float(high[0])


def normal_interval(value: float, draws: np.ndarray) -> Interval:
    """Interval of a statistic: normal around its value with the bootstrap's standard error; NaN draws are left out."""
    kept = np.asarray(draws, np.float64)
    kept = kept[np.isfinite(kept)]
    if len(kept) < 2 or not np.isfinite(value):
        return np.nan, np.nan
    half = float(scipy.stats.norm.ppf(0.975) * kept.std(ddof=1))
    return float(value) - half, float(value) + half


def weighted_pearson(a: np.ndarray, b: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Pearson's r in each bootstrap sample: [n] or [n_draws, n], likewise, weights [n_draws, n] -> [n_draws].

    NaN where either is constant in a sample.
    """
    weights = weights / weights.sum(axis=1, keepdims=True)
    a, b = np.broadcast_to(a, weights.shape), np.broadcast_to(b, weights.shape)
    a = a - (weights * a).sum(axis=1, keepdims=True)
    b = b - (weights * b).sum(axis=1, keepdims=True)
    squares = (weights * a**2).sum(axis=1) * (weights * b**2).sum(axis=1)
    with np.errstate(invalid='ignore', divide='ignore'):
        return np.where(squares > 0, (weights * a * b).sum(axis=1) / np.sqrt(squares), np.nan)


def weighted_spearman(a: np.ndarray, b: np.ndarray, weights: np.ndarray, *, draws_per_chunk: int = 50) -> np.ndarray:
    """Spearman's correlation in each bootstrap sample, ranks made anew in every one, ties sharing their mean rank.

    Args:
        a: Values, [n].
        b: Values, [n].
        weights: How often each image is drawn, [n_draws, n].
        draws_per_chunk: How many samples are held at a time.

    Returns:
        [n_draws]; equal to scipy.stats.spearmanr of the images repeated as often as they were drawn.
    """
    ranked = [_RankOrder(a), _RankOrder(b)]
    chunks = [weights[start : start + draws_per_chunk] for start in range(0, len(weights), draws_per_chunk)]
    return np.concatenate([weighted_pearson(ranked[0].ranks(w), ranked[1].ranks(w), w) for w in chunks])


class _RankOrder:
    """The order of some values, from which their mean ranks under any weights follow without a sort."""

    def __init__(self, values: np.ndarray):
        self._dense = np.unique(values, return_inverse=True)[1]  # SciPy's dense ranks are no integers from 1.18 on
        self._order = np.argsort(self._dense, kind='stable')
        self._starts = np.searchsorted(self._dense[self._order], np.arange(self._dense.max() + 2))

    def ranks(self, weights: np.ndarray) -> np.ndarray:
        """Mean ranks, from 1/2 less than SciPy's: [n_draws, n] -> [n_draws, n]."""
        below = np.pad(np.cumsum(weights[:, self._order], axis=1, dtype=np.float64), ((0, 0), (1, 0)))[:, self._starts]
        return ((below[:, :-1] + below[:, 1:]) / 2.0)[:, self._dense]
