"""Standard errors of scores over stimuli, in closed form: a score is a mean over pairs, and pairs share stimuli.

To first order a correlation is a mean over pairs (i, j) of *influences* psi_ij = g_i + g_j + e_ij: what either
stimulus does, and what is the pair's own. Its variance over new stimuli is 4 var(g) / n + var(e) / p, p pairs. Any
resampling of stimuli counts var(e) more than once, because it moves all pairs of a stimulus together: the jackknife
twice, the bootstrap three times. Here both parts are estimated, and var(e) is counted once.

Why not the bootstrap's standard error: over 400 to 2,000 simulated studies (benchmarks/rsa_calibration.py, Spearman,
scores and differences) the mean standard error over the spread of the scores was, at 20, 40 and 80 stimuli,

    bootstrap, ranks anew in every draw      1.19   1.10   1.09
    bootstrap, ranks of the data kept        1.16   1.07   1.06
    delete-one jackknife                     1.18   1.10   1.08
    twice the jackknife less the bootstrap   1.14   1.08   1.06
    infinitesimal jackknife, var(e) twice    1.11   1.06   1.04
    var(e) once                              0.92   0.96   0.99   (3,000 studies, as the next)
    the same times n / (n - 2): this file    0.97   0.99   1.00   (root mean square 1.01   1.00   1.01)

The last factor is that of a regression with two coefficients (MacKinnon & White 1985, HC1), which a correlation is.
Pearson's and cosine need more, since they normalise by values, not by ranks that are spread evenly whatever the sample:
powers of that factor, which were chosen by simulation. Pearson with the third: root mean squares over 4,000 studies
1.04, 1.00 and 1.00 at 20 stimuli (unrelated, fair and good model), 1.00, 1.00 and 0.99 at 40; the bootstrap's, 1.17,
1.06, 1.08 and 1.07, 1.01, 1.02. In other populations (clusters, squared distances, other numbers of dimensions) the
power that would have been right was 0 to 2 for Spearman, 1 to 5 for Pearson, 0 to 5 for cosine, at 12 to 40 stimuli;
results/rsa_calibration.json has some of them. No power helps Pearson where distances have no fourth moment. Where
pairs' own parts are nearly all there is (1 - r of 50 features), intervals are wide, as they are for 8 stimuli and
fewer. Scores (not differences) by cosine are better served by the bootstrap.

*Quantiles*. A standard error of few stimuli varies, the more so if some have a far larger influence than others, and
it may go with the score. So the 95 % quantile of |t| is taken from bootstrap samples of the influences, each with its
own standard error, and t has as many degrees of freedom as give it. For fewer or more stimuli than that is good for,
and for some of the pairs only, degrees of freedom are those of a sum of two mean squares (Satterthwaite): n - 1 for
stimuli, p - n for pairs, and the latter alone where stimuli are found to do nothing by themselves. Scores, which are
skewed, take the larger quantile of the two: with the resampled ones alone intervals of 20 stimuli missed in up to 6.4 %
of studies. (Estimates of bias and skewness were tried too, but are so noisy that intervals missed more often.)
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import scipy.sparse.linalg
import scipy.stats

from humalign_jax.rsa.ceiling import RANK_INDICES
from humalign_jax.rsa.pairs import n_stimuli_of
from humalign_jax.rsa.significance import satterthwaite

# Powers of n / (n - 2) by which variances are multiplied; the indices that have a closed form.
FITTED = {'spearman': 1, 'rho_a': 1, 'cosine': 2, 'pearson': 3}
# Stimuli for which quantiles are resampled: fewer are too often drawn twice, and for more they differ from t's by 1 %.
STUDENTISED = range(12, 201)
N_STUDENTISED = 1000


@dataclasses.dataclass(frozen=True)
class DyadicCovariance:
    """Covariance over new stimuli of q scores.

    Attributes:
        shared: With what is a pair's own counted for both of its stimuli, [q, q].
        excess: What that counts too much, [q, q].
        own: What is a pair's own, counted once: the least that the covariance can be, [q, q].
        n_stimuli: Number of stimuli, n.
        n_pairs: Number of pairs that count, p.
        influences: [q, n (n - 1) / 2], of mean 0; None where quantiles are not resampled.
    """

    shared: np.ndarray
    excess: np.ndarray
    own: np.ndarray
    n_stimuli: int
    n_pairs: int
    influences: np.ndarray | None = None

    def variances(self, contrasts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Variances of weighted sums of the scores and their degrees of freedom: [c, q] -> [c], [c]."""
        shared, excess, own = (
            np.einsum('cq,qr,cr->c', contrasts, x, contrasts) for x in (self.shared, self.excess, self.own)
        )
        variances, dof = _variances(shared, excess, own, self.n_stimuli, self.n_pairs)
        if self.influences is not None:
            quantiles = [_studentised_quantile(contrast @ self.influences, self.n_stimuli) for contrast in contrasts]
            resampled = _dof_of_quantile(np.array(quantiles))
            is_difference = np.abs(contrasts.sum(axis=1)) < 1e-9
            dof = np.where(is_difference, resampled, np.minimum(resampled, dof))
        return variances, dof


def score_covariance(
    models: np.ndarray,
    subjects: np.ndarray,
    index: str,
    *,
    mask: np.ndarray | None = None,
    control: np.ndarray | None = None,
    by_subject: bool = False,
) -> tuple[DyadicCovariance, np.ndarray | None]:
    """Covariance, over new stimuli, of models' mean scores over subjects and of the lower noise ceiling.

    Args:
        models: Condensed RDMs, [m, p].
        subjects: Condensed RDMs of the same stimuli, [k, p].
        index: One of `FITTED`.
        mask: Which pairs count, [p]; None for all.
        control: RDMs to partial out, [c, p]; None for none.
        by_subject: Whether the second value is wanted, which needs two subjects or more.

    Returns:
        Covariance of the scores, q = m + 1, the last one the lower ceiling (0 for a single subject); and that of their
        interaction with subjects, [q, q]: what of it comes from stimuli acting differently on different subjects.
    """
    n = n_stimuli_of(subjects.shape[1])
    kept = np.arange(subjects.shape[1]) if mask is None else np.flatnonzero(mask)
    rows, columns = (x[kept] for x in np.triu_indices(n, 1))
    sides = _sides(np.concatenate([models, subjects])[:, kept], None if control is None else control[:, kept], index)
    of_models, of_subjects = sides[: len(models)], sides[len(models) :]
    own = [_influence(side, side) for side in sides]
    m, k = len(models), len(subjects)

    mean = np.zeros((m + 1, len(kept)))
    single = np.zeros((m + 1, m + 1))
    for s, subject in enumerate(of_subjects):
        influences = np.zeros((m + 1, len(kept)))
        for j, model in enumerate(of_models):
            influences[j] = _score_influence(model, subject, own[j], own[m + s], index)
        if k > 1:
            others = _sum([x for t, x in enumerate(of_subjects) if t != s])
            influences[m] = _score_influence(others, subject, _influence(others, others), own[m + s], index)
        mean += influences / k
        if by_subject:
            of_subject = _covariance(influences, rows, columns, n)
            single += of_subject.shared - of_subject.excess
    covariance = _covariance(mean, rows, columns, n)
    # A correlation is a slope beside an intercept: influences at fitted values are too small, as residuals are.
    fitted = (n / (n - 2.0)) ** FITTED[index]
    whole = dataclasses.replace(
        covariance,
        shared=fitted * covariance.shared,
        excess=fitted * covariance.excess,
        own=fitted * covariance.own,
        influences=mean if mask is None and n in STUDENTISED else None,
    )
    if not by_subject:
        return whole, None
    # Deviations of single subjects from their mean; their sum of squares has k - 1 degrees of freedom.
    return whole, fitted * (single - k * (covariance.shared - covariance.excess)) / (k * (k - 1.0))


class _Moved(Protocol):
    """Something about an RDM that a pair changes for all others."""

    def moved(self, values: np.ndarray) -> np.ndarray:
        """What each pair does to the mean product with `values`: [p] -> [p]."""
        ...


@dataclasses.dataclass(frozen=True)
class _Order:
    """The order of one RDM's values: what a pair does to the ranks of all others."""

    places: np.ndarray  # pairs from smallest to largest, [p]
    starts: np.ndarray  # where each distinct value begins in `places`, and p
    group: np.ndarray  # number of each pair's value among the distinct ones, [p]

    def moved(self, values: np.ndarray) -> np.ndarray:
        """Mean over pairs beyond each pair (its ties by half) of `values`, which have mean 0: [p] -> [p]."""
        below = np.concatenate([[0.0], np.cumsum(values[self.places])])[self.starts]
        return (-0.5 * (below[:-1] + below[1:]) / len(values))[self.group]


@dataclasses.dataclass(frozen=True)
class _Scale:
    """The root mean square of one RDM, which divides it: `values` have mean square 1, [p]."""

    values: np.ndarray

    def moved(self, values: np.ndarray) -> np.ndarray:
        """What each pair does to the mean product with `values` by moving the root: [p] -> [p]."""
        return -0.5 * np.mean(self.values * values) * (self.values**2 - 1.0)


@dataclasses.dataclass(frozen=True)
class _Side:
    """A sum of transformed RDMs: its values, of mean 0 but for 'cosine', and what of other pairs they depend on."""

    values: np.ndarray
    depends: Sequence[tuple[float, _Moved]]

    def moved(self, values: np.ndarray) -> np.ndarray:
        """What a pair does to the mean product of this sum and `values` by changing what others are, [p]."""
        return sum((weight * on.moved(values) for weight, on in self.depends), np.zeros(len(values)))


def _sides(rdms: np.ndarray, control: np.ndarray | None, index: str) -> list[_Side]:
    """Ranks over the number of pairs, centred, or values of mean square 1; residuals where there is a control."""

    def transformed(rdm: np.ndarray) -> _Side:
        return _ranked(rdm) if index in RANK_INDICES else _scaled(rdm, centred=index == 'pearson')

    sides = [transformed(rdm) for rdm in rdms]
    if control is None:
        return sides
    held = [transformed(rdm) for rdm in control]
    basis = np.stack([side.values for side in held])
    slopes = np.linalg.lstsq(basis.T, np.stack([side.values for side in sides]).T)[0].T  # [r, c]
    return [
        _Side(side.values - slope @ basis, [*side.depends, *((-b, h.depends[0][1]) for b, h in zip(slope, held))])
        for side, slope in zip(sides, slopes)
    ]


def _scaled(rdm: np.ndarray, *, centred: bool) -> _Side:
    values = rdm - (rdm.mean(dtype=np.float64) if centred else 0.0)
    values = values / np.sqrt(np.mean(values**2, dtype=np.float64))
    return _Side(values, [(1.0, _Scale(values))])


def _ranked(rdm: np.ndarray) -> _Side:
    p = len(rdm)
    places = np.argsort(rdm, kind='stable').astype(np.int32)
    differs = np.concatenate([[True], rdm[places][1:] != rdm[places][:-1]])
    starts = np.append(np.flatnonzero(differs), p).astype(np.int32)
    group = np.empty(p, np.int32)
    group[places] = np.cumsum(differs) - 1
    return _Side(((starts[:-1] / p + starts[1:] / p) / 2.0 - 0.5)[group], [(1.0, _Order(places, starts, group))])


def _sum(sides: Sequence[_Side]) -> _Side:
    return _Side(sum(side.values for side in sides), [one for side in sides for one in side.depends])  # type: ignore[arg-type]


def _influence(a: _Side, b: _Side) -> np.ndarray:
    """Influence of each pair on the mean product of two sides, but for a constant, [p]."""
    if a is b:
        return a.values**2 + 2.0 * a.moved(a.values)
    return a.values * b.values + a.moved(b.values) + b.moved(a.values)


def _score_influence(a: _Side, b: _Side, a_own: np.ndarray, b_own: np.ndarray, index: str) -> np.ndarray:
    """Influence of each pair on the score of two sides, [p], of mean 0; NaN where the score is not defined."""
    (a_square, a_part), (b_square, b_part) = (
        # rho_a divides by the mean square of ranks without ties, which nothing moves; the pooled RDM has no ranks.
        (1.0 / 12.0, 0.0) if index == 'rho_a' and len(side.depends) == 1 else (np.mean(side.values**2), own)
        for side, own in ((a, a_own), (b, b_own))
    )
    r = np.mean(a.values * b.values) / np.sqrt(a_square * b_square)
    influence = _influence(a, b) / np.sqrt(a_square * b_square) - 0.5 * r * (a_part / a_square + b_part / b_square)
    return influence - influence.mean()


def _covariance(influences: np.ndarray, rows: np.ndarray, columns: np.ndarray, n: int) -> DyadicCovariance:
    """Covariance of means over pairs from the pairs' influences, [q, p] of mean 0."""
    p = influences.shape[1]
    # Formulas are exact where all stimuli have as many pairs, 2 p / n.
    sums = np.stack([np.bincount(rows, x, n) + np.bincount(columns, x, n) for x in influences])  # [q, n]
    shared = _shared_scale(n, p) * sums @ sums.T / p**2
    if p <= n:
        return DyadicCovariance(shared, np.zeros_like(shared), np.zeros_like(shared), n, p)
    # Least squares of psi_ij = g_i + g_j; what it leaves is the pairs' own, with p - n degrees of freedom.
    if p == n * (n - 1) // 2:
        effects = sums / (n - 2.0)
    else:
        design = np.zeros((n, n))
        design[rows, columns] = design[columns, rows] = 1.0
        design[np.diag_indices(n)] = design.sum(axis=1)
        effects = np.stack([scipy.sparse.linalg.cg(design, x, rtol=1e-6)[0] for x in sums])
    left = influences @ influences.T - effects @ sums.T
    own = 0.5 * (left + left.T) / (p - n) / p
    return DyadicCovariance(shared, (_own_in_shared(n, p) - 1.0) * own, own, n, p)


def _shared_scale(n: int, p: int | np.ndarray) -> float | np.ndarray:
    """Influences have mean 0, and those of a stimulus hold its partners' effects: what that takes from squares."""
    return n / (n + n**2 / (2.0 * p) - 4.0)


def _own_in_shared(n: int, p: int | np.ndarray) -> float | np.ndarray:
    """How often what is a pair's own is counted in `shared`."""
    return 2.0 * _shared_scale(n, p) * (n - 2.0) / n


def _variances(
    shared: np.ndarray, excess: np.ndarray, own: np.ndarray, n: int, p: int
) -> tuple[np.ndarray, np.ndarray]:
    """Variances, no smaller than those of the pairs' own, and their degrees of freedom."""
    variances, of_pairs = np.maximum(shared - excess, own), max(p - n, 1.0)
    dof = satterthwaite(variances, [(shared, n - 1.0), (excess, of_pairs)])
    return variances, np.where(shared - excess < own, of_pairs, dof)


def _studentised_quantile(influences: np.ndarray, n: int) -> float:
    """95 % quantile of |mean| / standard error over bootstrap samples of stimuli: [n (n - 1) / 2] -> one number.

    Scaled so that squared errors are right on average, as they are made to be for the data (bootstrap means spread too
    much, see above).
    """
    means, variances = _resampled(influences, n, _stimulus_draws(n))
    defined = variances > 0
    if not defined.any():
        return 0.0
    means, variances = means[defined], variances[defined]
    return float(np.quantile(np.abs(means) * np.sqrt(variances.mean() / np.mean(means**2) / variances), 0.95))


def _resampled(influences: np.ndarray, n: int, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means over pairs of different stimuli in bootstrap samples, and their variances as for the data.

    Args:
        influences: [n (n - 1) / 2].
        n: Number of stimuli.
        weights: How often each stimulus is drawn, [b, n]; of more pairs than stimuli.

    Returns:
        [b], [b].
    """
    square = np.zeros((n, n))
    square[np.triu_indices(n, 1)] = influences
    square += square.T
    pairs = (n**2 - np.square(weights).sum(axis=1)) / 2.0
    totals = weights @ square
    means = np.einsum('bn,bn->b', weights, totals) / (2.0 * pairs)
    totals -= means[:, None] * (n - weights)  # of a copy's influences less their mean; a copy has n - weight partners
    squares = np.einsum('bn,bn->b', weights, totals**2)
    left = np.einsum('bn,bn->b', weights, weights @ square**2) / 2.0 - pairs * means**2
    left -= squares / (2.0 * pairs / n - 1.0)
    own = np.maximum(left, 0.0) / (pairs - n) / pairs
    shared = _shared_scale(n, pairs) * squares / pairs**2
    return means, np.maximum(shared - (_own_in_shared(n, pairs) - 1.0) * own, own)


@functools.lru_cache(maxsize=4)
def _stimulus_draws(n: int) -> np.ndarray:
    """How often each stimulus is drawn, in samples with more pairs of different ones than stimuli, [b, n]."""
    weights = np.random.default_rng(0).multinomial(n, np.full(n, 1.0 / n), size=N_STUDENTISED).astype(float)
    return weights[(n**2 - np.square(weights).sum(axis=1)) / 2.0 > n]


def _dof_of_quantile(quantiles: np.ndarray) -> np.ndarray:
    """Degrees of freedom of the t distribution that has these two-sided 95 % quantiles."""
    shares = np.linspace(1e-4, 1.0, 2000)  # 1 / degrees of freedom
    return 1.0 / np.interp(quantiles, scipy.stats.t.ppf(0.975, 1.0 / shares), shares)
