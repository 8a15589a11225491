"""How far a studentised score strays: 95 % quantiles over bootstrap samples, each with a standard error of its own.

A standard error of few stimuli varies, the more so if some stimuli have a far larger influence than others, and it may
go with the score. So the quantile of |t| is taken from bootstrap samples of the stimuli, and t has as many degrees of
freedom as give it: from samples of the influences (what `dyads` explains), or from whole scores with all that they
normalise by formed anew in every sample.
"""

import functools

import numpy as np
import scipy.stats

from humalign_jax.progress import steps
from humalign_jax.rsa.pairs import n_stimuli_of

# Stimuli for which quantiles are resampled: fewer are too often drawn twice; for more it takes long, and quantiles of
# scores were larger than t's by 2 % (Spearman) and 2 to 9 % (Pearson) at 200 and 300 stimuli of rsa_calibration.py.
STUDENTISED = range(12, 201)
N_STUDENTISED = 1000
NO_VARIANCE = 1e-12  # of the variance before others were partialled out: rounding


def shared_scale(n: int, p: int | np.ndarray) -> float | np.ndarray:
    """Influences have mean 0, and those of a stimulus hold its partners' effects: what that takes from squares."""
    return n / (n + n**2 / (2.0 * p) - 4.0)


def own_in_shared(n: int, p: int | np.ndarray) -> float | np.ndarray:
    """How often what is a pair's own is counted in the shared part of a variance."""
    return 2.0 * shared_scale(n, p) * (n - 2.0) / n


def bounded_variance(
    shared: np.ndarray,
    excess: np.ndarray,
    own: np.ndarray,
    of_stimuli: float | np.ndarray,
    of_pairs: float | np.ndarray,
) -> np.ndarray:
    """Variance shared - excess, which can be no smaller than what is the pairs' own, less what that bound adds to it.

    With the distance from the bound as found, that would also shorten intervals of some studies that are far from it;
    so it counts by the square of the share that is the pairs' own.

    Args:
        shared: With what is a pair's own counted too often.
        excess: What that counts too much.
        own: What is a pair's own, counted once.
        of_stimuli: Degrees of freedom of `shared`.
        of_pairs: Of `own`.

    Returns:
        Variances, at least half of `own`.
    """
    spread = np.sqrt(2.0 * (shared**2 / of_stimuli + excess**2 / of_pairs))
    bounded = np.maximum(shared - excess, own)
    added = added_by_bound(bounded - own, spread)
    share = own / np.where(bounded > 0, bounded, 1.0)
    return np.maximum(bounded - share**2 * added, 0.5 * own)


def added_by_bound(distance: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """What a lower bound adds to an estimate on average: [q], [q] -> [q].

    It is s (f(d) - d F(-d)), d the distance of the true value from the bound over the standard error s, f and F the
    standard normal's density and distribution.
    """
    d = distance / np.where(spread > 0, spread, 1.0)
    return spread * (scipy.stats.norm.pdf(d) - d * scipy.stats.norm.sf(d))


def stimulus_sums(values: np.ndarray, rows: np.ndarray, columns: np.ndarray, n: int) -> np.ndarray:
    """Sums over the pairs of every stimulus: [q, p] -> [q, n]."""
    return np.stack([np.bincount(rows, x, n) + np.bincount(columns, x, n) for x in values])


def _residuals(values: np.ndarray, basis: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """What a weighted least squares fit of `basis`, [c, p], leaves of `values`, [q, p]; NaN where that is rounding."""
    weighted = basis * counts
    left = values - (values @ weighted.T) @ np.linalg.pinv(weighted @ basis.T, hermitian=True) @ basis
    is_rounding = (left**2 * counts).sum(axis=1) <= NO_VARIANCE * (values**2 * counts).sum(axis=1)
    return np.where(is_rounding[:, None], np.nan, left)


def influence_quantiles(influences: np.ndarray, n: int, mask: np.ndarray | None = None) -> np.ndarray:
    """95 % quantiles of |mean| / standard error over bootstrap samples of stimuli: [q, p], pairs that count, -> [q]."""
    return np.array([_quantile(*x) for x in zip(*resampled_influences(influences, n, _unit_draws(n), mask))])


def score_quantiles(models: np.ndarray, subjects: np.ndarray, control: np.ndarray | None = None) -> np.ndarray:
    """95 % quantiles of |mean Pearson correlation less its mean| / standard error over bootstrap samples of stimuli.

    Args:
        models: Condensed RDMs, [m, p].
        subjects: Condensed RDMs of the same stimuli, [k, p].
        control: RDMs to partial out, [c, p]; None for none.

    Returns:
        [m].
    """
    draws = _unit_draws(n_stimuli_of(models.shape[1]))
    scores, variances = resampled_scores(models, subjects, control, draws)
    return np.array([_quantile(x - np.nanmean(x), v) for x, v in zip(scores.T, variances.T)])


def mean_quantiles(values: np.ndarray) -> np.ndarray:
    """95 % quantiles of |mean less the mean| / standard error over bootstrap samples of k units: [q, k] -> [q]."""
    k = values.shape[1]
    draws, centred = _unit_draws(k), values - values.mean(axis=1, keepdims=True)
    means = centred @ draws.T / k  # [q, b]
    variances = (centred**2 @ draws.T / k - means**2) / (k - 1.0)
    return np.array([_quantile(x, v) for x, v in zip(means, variances)])


def dof_of_quantile(quantiles: np.ndarray) -> np.ndarray:
    """Degrees of freedom of the t distribution that has these two-sided 95 % quantiles."""
    shares = np.linspace(1e-4, 1.0, 2000)  # 1 / degrees of freedom
    return 1.0 / np.interp(quantiles, scipy.stats.t.ppf(0.975, 1.0 / shares), shares)


def resampled_influences(
    influences: np.ndarray, n: int, weights: np.ndarray, mask: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Means over pairs of different stimuli in bootstrap samples, and their variances as for the data.

    Args:
        influences: Of the pairs that count, [q, p].
        n: Number of stimuli.
        weights: How often each stimulus is drawn, [b, n].
        mask: Which pairs count, [n (n - 1) / 2]; None for all.

    Returns:
        [q, b], [q, b]; without the samples that have no more pairs than stimuli.
    """
    square, counting = np.zeros((2, n, n))
    rows, columns = (x if mask is None else x[mask] for x in np.triu_indices(n, 1))
    counting[rows, columns] = counting[columns, rows] = 1.0
    partners = weights @ counting  # of a copy of each stimulus
    pairs = np.einsum('bn,bn->b', weights, partners) / 2.0
    weights, partners, pairs = (x[pairs > n] for x in (weights, partners, pairs))
    means, variances = np.empty((2, len(influences), len(weights)))
    for j, own in enumerate(influences):
        square[rows, columns] = square[columns, rows] = own
        totals = weights @ square
        means[j] = np.einsum('bn,bn->b', weights, totals) / (2.0 * pairs)
        totals -= means[j][:, None] * partners  # of a copy's influences less their mean
        squares = np.einsum('bn,bn->b', weights, totals**2)
        total = np.einsum('bn,bn->b', weights, weights @ square**2) / 2.0 - pairs * means[j] ** 2
        variances[j] = _variances(squares, total, n, pairs)
    return means, variances


def resampled_scores(
    models: np.ndarray, subjects: np.ndarray, control: np.ndarray | None, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Mean Pearson correlations over subjects in bootstrap samples, and their variances as for the data.

    Args:
        models: Condensed RDMs, [m, p].
        subjects: Condensed RDMs of the same stimuli, [k, p].
        control: RDMs to partial out, [c, p]; None for none.
        weights: How often each stimulus is drawn, [b, n]; of more pairs than stimuli.

    Returns:
        [b, m], [b, m]; NaN where an RDM has no variance in a sample.
    """
    m, k, n = len(models), len(subjects), weights.shape[1]
    rows, columns = np.triu_indices(n, 1)
    rdms = np.concatenate([models, subjects]).astype(np.float64)
    rdms -= rdms.mean(axis=1, keepdims=True)
    basis = np.concatenate([np.ones((1, len(rows))), *([] if control is None else [control])])
    scores, squares, totals = np.empty((3, len(weights), m))
    for draw, weight in enumerate(steps(weights, 'samples of whole scores')):
        counts = weight[rows] * weight[columns]
        kept = np.flatnonzero(counts)
        counts = counts[kept]
        values = _residuals(rdms[:, kept], basis[:, kept], counts)
        values /= np.sqrt(values**2 @ (counts / counts.sum()))[:, None]
        x, y = values[:m], values[m:]
        r = (x * counts) @ y.T / counts.sum()
        influences = x * y.mean(axis=0) - 0.5 * (r.mean(axis=1)[:, None] * x**2 + r @ y**2 / k)
        sums = stimulus_sums(influences * counts, rows[kept], columns[kept], n)  # times how often each is drawn
        scores[draw], totals[draw] = r.mean(axis=1), influences**2 @ counts
        squares[draw] = sums**2 @ np.where(weight > 0, 1.0 / np.maximum(weight, 1.0), 0.0)
    return scores, _variances(squares, totals, n, _drawn_pairs(weights)[:, None])


def _variances(squares: np.ndarray, totals: np.ndarray, n: int, pairs: np.ndarray) -> np.ndarray:
    """Variances of means over pairs from squared sums of stimuli's influences and the sum of all squared influences."""
    own = np.maximum(totals - squares / (2.0 * pairs / n - 1.0), 0.0) / (pairs - n) / pairs
    shared = shared_scale(n, pairs) * squares / pairs**2
    return bounded_variance(shared, (own_in_shared(n, pairs) - 1.0) * own, own, n - 1.0, pairs - n)


def _quantile(deviations: np.ndarray, variances: np.ndarray) -> float:
    """95 % quantile of |deviation| / standard error; 0 where nothing varies.

    Scaled so that squared errors are right on average, as they are made to be for the data (bootstrap means spread too
    much, see `dyads`).
    """
    defined = variances > 0
    if not defined.any():
        return 0.0
    deviations, variances = deviations[defined], variances[defined]
    scale = variances.mean() / np.mean(deviations**2)
    return float(np.quantile(np.abs(deviations) * np.sqrt(scale / variances), 0.95))


def _drawn_pairs(weights: np.ndarray) -> np.ndarray:
    """Number of pairs of different stimuli in samples: [b, n] -> [b]."""
    return (weights.shape[1] ** 2 - np.square(weights).sum(axis=1)) / 2.0


@functools.lru_cache(maxsize=4)
def _unit_draws(n: int) -> np.ndarray:
    """How often each stimulus or subject is drawn, in samples with more pairs of different ones than units, [b, n]."""
    weights = np.random.default_rng(0).multinomial(n, np.full(n, 1.0 / n), size=N_STUDENTISED).astype(float)
    return weights[_drawn_pairs(weights) > n]
