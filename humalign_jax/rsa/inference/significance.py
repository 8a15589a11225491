"""From standard errors to intervals and p values. See docs/inference.md, section 5."""

from collections.abc import Sequence

import numpy as np
import scipy.stats

_INSIDE = 1.0 - 1e-12  # the largest correlation that has a Fisher's z
TINY = 1e-6  # a difference or a standard error below this is rounding of float32 sums
N_DRAWS = 10_000  # of the smallest p under no difference; 0.05 is known to 0.002
_CHUNK = 1000  # draws held at a time


def satterthwaite(variances: np.ndarray, parts: Sequence[tuple[np.ndarray, np.ndarray | float]]) -> np.ndarray:
    """Degrees of freedom of sums of independent variances, [q], from pairs of a part and its degrees of freedom.

    Where there is no variance, the fewest of the parts.

    References:
        Satterthwaite (1946). doi:10.2307/3002019
    """
    fewest = np.min([np.broadcast_to(dof, variances.shape) for _, dof in parts], axis=0)
    positive = np.where(variances > 0, variances, 1.0)
    inverse = sum((part / positive) ** 2 / dof for part, dof in parts)
    return np.where((variances > 0) & (inverse > 0), 1.0 / np.where(inverse > 0, inverse, 1.0), fewest)


def fisher_interval(
    values: np.ndarray,
    errors: np.ndarray,
    dof: np.ndarray | int,
    draws: np.ndarray | None = None,
) -> tuple[np.ndarray, ...]:
    """Lower and upper ends of 95 % t intervals around Fisher's z of correlations, within [-1, 1].

    Args:
        values: [m].
        errors: Their standard errors, [m].
        dof: Degrees of freedom, of all or of each.
        draws: Bootstrap samples of the values, [b, m], whose mean z gives the bias to subtract; None for none.

    Returns:
        Lower and upper ends, [m] each.

    Example:
        >>> low, high = rsa.fisher_interval(np.array([0.5]), np.array([0.1]), 20)
        >>> low.round(3), high.round(3)
        (array([0.265]), array([0.679]))
    """
    inside = np.clip(values, -_INSIDE, _INSIDE)
    half = scipy.stats.t.ppf(0.975, dof) * errors / (1.0 - inside**2)
    centre = np.arctanh(inside)
    if draws is not None:
        centre = 2.0 * centre - np.arctanh(np.clip(draws, -_INSIDE, _INSIDE)).mean(axis=0)
    return np.tanh(centre - half), np.tanh(centre + half)


def t_interval(values: np.ndarray, errors: np.ndarray, dof: np.ndarray | int) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper ends, [m] each, of 95 % t intervals around correlations, cut off at -1 and 1."""
    half = scipy.stats.t.ppf(0.975, dof) * errors
    return np.maximum(values - half, -1.0), np.minimum(values + half, 1.0)


def t_values(differences: np.ndarray, errors: np.ndarray) -> np.ndarray:
    """Differences over their standard errors; 0 for no difference without error, infinite for one without error."""
    none = np.abs(differences) < TINY
    with np.errstate(divide='ignore', invalid='ignore'):
        return np.where((errors < TINY) & none, 0.0, differences / np.where(errors < TINY, 0.0, errors))


def two_sided_p(t: np.ndarray, dof: np.ndarray | int) -> np.ndarray:
    """Two-sided p values of Student's t; NaN stays NaN."""
    return 2.0 * scipy.stats.t.sf(np.abs(t), dof)


def family_wise_p(
    p: np.ndarray, covariance: np.ndarray, np_rng: np.random.Generator, n_draws: int = N_DRAWS
) -> np.ndarray:
    """p values of all pairs of m models, corrected for their number and their correlations.

    How often the smallest p of all pairs would be as small under no difference: normal scores with this covariance are
    drawn, and each p value is compared by its normal quantile, which makes degrees of freedom alike.

    Args:
        p: Two-sided p values, [q], in the order of np.triu_indices; NaN where not defined.
        covariance: Of the m scores, [m, m]; its negative eigenvalues count as 0.
        np_rng: Source of the draws.
        n_draws: How many.

    Returns:
        Family-wise p values, [q], none below the uncorrected one.

    References:
        Conneely & Boehnke (2007). doi:10.1086/522036
        Hothorn, Bretz & Westfall (2008). doi:10.1002/bimj.200810425
    """
    known = np.flatnonzero(~np.isnan(p))
    first, second = (x[known] for x in np.triu_indices(len(covariance), 1))
    eigenvalues, vectors = np.linalg.eigh(np.nan_to_num(covariance))
    root = vectors * np.sqrt(np.maximum(eigenvalues, 0.0))  # root @ root.T: the covariance
    spread = np.linalg.norm(root[first] - root[second], axis=1)
    scale = np.where(spread < TINY, np.inf, spread)  # identical models
    bound, exceeded = scipy.stats.norm.isf(p[known] / 2.0), np.zeros(len(known))
    for start in range(0, n_draws, _CHUNK):
        drawn = np_rng.normal(size=(min(_CHUNK, n_draws - start), len(root))) @ root.T
        largest = (np.abs(drawn[:, first] - drawn[:, second]) / scale).max(axis=1)
        exceeded += len(drawn) - np.searchsorted(np.sort(largest), bound)
    corrected = np.full(len(p), np.nan)
    corrected[known] = np.maximum((1.0 + exceeded) / (1.0 + n_draws), p[known])
    return corrected


def difference_p(
    differences: np.ndarray,
    errors: np.ndarray,
    dof: np.ndarray | int,
    covariance: np.ndarray,
    np_rng: np.random.Generator,
    n_draws: int = N_DRAWS,
) -> np.ndarray:
    """p values of the differences of all pairs of m models: two-sided, family-wise, and by false-discovery rate.

    Args:
        differences: In the order of np.triu_indices, [q]; NaN where not defined, as all that follows.
        errors: Their standard errors, [q].
        dof: Degrees of freedom, of all or of each.
        covariance: Of the scores, [m, m], for `family_wise_p`.
        np_rng: As there.
        n_draws: As there.

    Returns:
        [3, q].

    References:
        Benjamini & Hochberg (1995), through scipy.stats.false_discovery_control.

    Example:
        >>> np_rng = np.random.default_rng(0)
        >>> p, p_fwer, p_fdr = rsa.difference_p(np.array([0.3]), np.array([0.1]), 18, np.eye(2) * 0.005, np_rng)
        >>> p.round(4)  # two-sided, of t = 3 with 18 degrees of freedom
        array([0.0077])
    """
    p = np.full((3, len(differences)), np.nan)
    p[0] = two_sided_p(t_values(differences, errors), dof)
    known = ~np.isnan(p[0])
    if known.any():
        p[1] = family_wise_p(p[0], covariance, np_rng, n_draws)
        p[2, known] = scipy.stats.false_discovery_control(p[0, known])
    return p


def pair_matrix(by_pair: np.ndarray, m: int, *, diagonal: float, sign: float = 1.0) -> np.ndarray:
    """Values of all pairs of m, in the order of np.triu_indices, as a matrix: as they are above, times sign below.

    Example:
        >>> rsa.pair_matrix(np.array([0.1, 0.2, 0.3]), 3, diagonal=1.0)
        array([[1. , 0.1, 0.2],
               [0.1, 1. , 0.3],
               [0.2, 0.3, 1. ]])
    """
    full = np.full((m, m), diagonal)
    first, second = np.triu_indices(m, 1)
    full[first, second], full[second, first] = by_pair, sign * by_pair
    return full


def permutation_p(observed: np.ndarray, permuted: np.ndarray) -> np.ndarray:
    """One-sided p values, the observed order counting as one permutation: [m], [b, m] -> [m]; NaN without any."""
    if not len(permuted):
        return np.full(len(observed), np.nan)
    exceeded = (permuted >= observed - TINY).sum(axis=0)
    return np.where(np.isnan(observed), np.nan, (1.0 + exceeded) / (1.0 + len(permuted)))
