"""How well people who rated the same pairs agree: what a model can reach at most.

All figures follow from the covariances of raters over pairs, so that each is computed for many bootstrap samples at
once: [..., r, r] -> [...].
"""

import numpy as np
import scipy.stats


def rater_covariances(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Covariances of raters over the pairs of each bootstrap sample.

    Args:
        values: Ratings without gaps, [r, p].
        weights: How often each pair is drawn, [n_draws, p].

    Returns:
        Divided by the number of pairs, [n_draws, r, r].
    """
    shares = weights / weights.sum(axis=1, keepdims=True)
    centred = values[None] - (shares @ values.T)[:, :, None]
    return (centred * shares[:, None]) @ centred.swapaxes(1, 2)


def inter_rater(covariances: np.ndarray) -> np.ndarray:
    """Mean Pearson correlation of two raters; NaN if a rater is constant."""
    n_raters = covariances.shape[-1]
    deviations = np.sqrt(_diagonal(covariances))
    with np.errstate(invalid='ignore', divide='ignore'):
        correlations = covariances / (deviations[..., :, None] * deviations[..., None, :])
    return correlations[..., *np.triu_indices(n_raters, 1)].mean(axis=-1)


def cronbach_alpha(covariances: np.ndarray) -> np.ndarray:
    """Reliability of the mean of all raters, at most 1; a lower bound if their errors are uncorrelated.

    References:
        Cronbach (1951). doi:10.1007/BF02310555
    """
    n_raters = covariances.shape[-1]
    total, own = covariances.sum(axis=(-2, -1)), _diagonal(covariances).sum(axis=-1)
    with np.errstate(invalid='ignore', divide='ignore'):
        return n_raters / (n_raters - 1) * (1.0 - own / total)


def against_others(covariances: np.ndarray) -> np.ndarray:
    """Pearson correlation of each rater with the mean of the others: [..., r, r] -> [..., r]."""
    own, rows = _diagonal(covariances), covariances.sum(axis=-1)
    others = rows.sum(axis=-1, keepdims=True) - 2.0 * rows + own
    with np.errstate(invalid='ignore', divide='ignore'):
        return (rows - own) / np.sqrt(own * others)


def spearman_brown(r: np.ndarray, n_raters: int) -> np.ndarray:
    """Reliability of the mean of n parallel raters, of whom one has reliability r: [...] -> [...]."""
    return n_raters * r / (1.0 + (n_raters - 1) * r)


def parallel_p(values: np.ndarray) -> float:
    """p of the hypothesis that raters are parallel: of equal variances and equal covariances.

    Likelihood-ratio test of normal ratings with Box's correction. A small p says that the correction of Spearman and
    Brown does not apply; a large p does not prove that it does.

    Args:
        values: Ratings without gaps, [r, p].

    Returns:
        NaN with fewer than two raters, not more pairs than raters, or a singular covariance.

    References:
        Wilks (1946). doi:10.1214/aoms/1177730940
        Box (1949). doi:10.1093/biomet/36.3-4.317
    """
    k, n = values.shape
    if k < 2 or n <= k:
        return float('nan')
    covariances = np.cov(values)
    variance = covariances.trace() / k
    shared = (covariances.sum() - covariances.trace()) / (k * (k - 1)) / variance if variance > 0 else np.nan
    sign, log_determinant = np.linalg.slogdet(covariances)
    if sign <= 0 or not -1.0 / (k - 1) < shared < 1.0:
        return float('nan')
    log_expected = k * np.log(variance) + (k - 1) * np.log1p(-shared) + np.log1p((k - 1) * shared)
    factor = n - 1 - k * (k + 1) ** 2 * (2 * k - 3) / (6 * (k - 1) * (k**2 + k - 4))
    return float(scipy.stats.chi2.sf(factor * (log_expected - log_determinant), (k**2 + k - 4) / 2))


def _diagonal(covariances: np.ndarray) -> np.ndarray:
    return np.diagonal(covariances, axis1=-2, axis2=-1)
