"""Standard errors of rank scores over stimuli, in closed form: a score is a mean over pairs, and pairs share stimuli.

To first order a rank correlation is a mean over pairs (i, j) of *influences* psi_ij = g_i + g_j + e_ij: what either
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

The same for Pearson and cosine falls short at few stimuli (0.87 at 20), since their normalisation bends, whereas their
bootstrap does well: they keep it.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
import scipy.sparse.linalg

from humalign_jax.rsa.pairs import n_stimuli_of

DYADIC_INDICES = ('spearman', 'rho_a')


@dataclasses.dataclass(frozen=True)
class DyadicCovariance:
    """Covariance over new stimuli of q scores.

    Attributes:
        shared: With what is a pair's own counted for both of its stimuli, [q, q].
        excess: What that counts too much, [q, q].
    """

    shared: np.ndarray
    excess: np.ndarray

    def variances(self, contrasts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Variances of weighted sums of the scores, and those without the correction: [c, q] -> [c], [c]."""
        shared, excess = (np.einsum('cq,qr,cr->c', contrasts, x, contrasts) for x in (self.shared, self.excess))
        return np.maximum(shared - excess, 0.5 * shared), shared


def rank_score_covariance(
    models: np.ndarray,
    subjects: np.ndarray,
    index: str,
    *,
    mask: np.ndarray | None = None,
    control: np.ndarray | None = None,
    by_subject: bool = False,
) -> tuple[DyadicCovariance, DyadicCovariance | None]:
    """Covariance, over new stimuli, of models' mean scores over subjects and of the lower noise ceiling.

    Args:
        models: Condensed RDMs, [m, p].
        subjects: Condensed RDMs of the same stimuli, [k, p].
        index: One of `DYADIC_INDICES`.
        mask: Which pairs count, [p]; None for all.
        control: RDMs to partial out, [c, p]; None for none.
        by_subject: Whether the second value is wanted, which needs two subjects or more.

    Returns:
        Covariance of the scores, q = m + 1, the last one the lower ceiling (0 for a single subject); and of their
        interaction with subjects: what of it comes from stimuli acting differently on different subjects.
    """
    n = n_stimuli_of(subjects.shape[1])
    kept = np.arange(subjects.shape[1]) if mask is None else np.flatnonzero(mask)
    rows, columns = (x[kept] for x in np.triu_indices(n, 1))
    sides = _sides(np.concatenate([models, subjects])[:, kept], None if control is None else control[:, kept])
    of_models, of_subjects = sides[: len(models)], sides[len(models) :]
    own = [_influence(side, side) for side in sides]
    m, k = len(models), len(subjects)

    mean = np.zeros((m + 1, len(kept)))
    single = [np.zeros((m + 1, m + 1)), np.zeros((m + 1, m + 1))]
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
            single[0] += of_subject.shared
            single[1] += of_subject.excess
    covariance = _covariance(mean, rows, columns, n)
    # A correlation is a slope beside an intercept: influences at fitted values are too small, as residuals are.
    fitted = n / (n - 2.0)
    whole = DyadicCovariance(fitted * covariance.shared, fitted * covariance.excess)
    if not by_subject:
        return whole, None
    # Deviations of single subjects from their mean; their sum of squares has k - 1 degrees of freedom.
    shared, excess = (
        fitted * (sums - k * of_mean) / (k * (k - 1.0))
        for sums, of_mean in zip(single, (covariance.shared, covariance.excess))
    )
    return whole, DyadicCovariance(shared, excess)


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
class _Side:
    """A sum of rank-transformed RDMs: its values, of mean 0, and the orders that the ranks follow from."""

    values: np.ndarray
    orders: Sequence[tuple[float, _Order]]

    def moved(self, values: np.ndarray) -> np.ndarray:
        """What a pair does to the mean product of this sum and `values` by moving ranks, [p]."""
        return sum((weight * order.moved(values) for weight, order in self.orders), np.zeros(len(values)))


def _sides(rdms: np.ndarray, control: np.ndarray | None) -> list[_Side]:
    """Ranks over the number of pairs, centred; residuals where there is a control."""
    ranked = [_ranked(rdm) for rdm in rdms]
    if control is None:
        return ranked
    held = [_ranked(rdm) for rdm in control]
    basis = np.stack([side.values for side in held])
    slopes = np.linalg.lstsq(basis.T, np.stack([side.values for side in ranked]).T)[0].T  # [r, c]
    return [
        _Side(side.values - slope @ basis, [*side.orders, *((-b, h.orders[0][1]) for b, h in zip(slope, held))])
        for side, slope in zip(ranked, slopes)
    ]


def _ranked(rdm: np.ndarray) -> _Side:
    p = len(rdm)
    places = np.argsort(rdm, kind='stable').astype(np.int32)
    differs = np.concatenate([[True], rdm[places][1:] != rdm[places][:-1]])
    starts = np.append(np.flatnonzero(differs), p).astype(np.int32)
    group = np.empty(p, np.int32)
    group[places] = np.cumsum(differs) - 1
    return _Side(((starts[:-1] / p + starts[1:] / p) / 2.0 - 0.5)[group], [(1.0, _Order(places, starts, group))])


def _sum(sides: Sequence[_Side]) -> _Side:
    return _Side(sum(side.values for side in sides), [order for side in sides for order in side.orders])  # type: ignore[arg-type]


def _influence(a: _Side, b: _Side) -> np.ndarray:
    """Influence of each pair on the mean product of two sides, but for a constant, [p]."""
    if a is b:
        return a.values**2 + 2.0 * a.moved(a.values)
    return a.values * b.values + a.moved(b.values) + b.moved(a.values)


def _score_influence(a: _Side, b: _Side, a_own: np.ndarray, b_own: np.ndarray, index: str) -> np.ndarray:
    """Influence of each pair on the score of two sides, [p], of mean 0; NaN where the score is not defined."""
    (a_square, a_part), (b_square, b_part) = (
        # rho_a divides by the mean square of ranks without ties, which nothing moves; the pooled RDM has no ranks.
        (1.0 / 12.0, 0.0) if index == 'rho_a' and len(side.orders) == 1 else (np.mean(side.values**2), own)
        for side, own in ((a, a_own), (b, b_own))
    )
    r = np.mean(a.values * b.values) / np.sqrt(a_square * b_square)
    influence = _influence(a, b) / np.sqrt(a_square * b_square) - 0.5 * r * (a_part / a_square + b_part / b_square)
    return influence - influence.mean()


def _covariance(influences: np.ndarray, rows: np.ndarray, columns: np.ndarray, n: int) -> DyadicCovariance:
    """Covariance of means over pairs from the pairs' influences, [q, p] of mean 0."""
    p = influences.shape[1]
    degree = 2.0 * p / n  # pairs of a stimulus; formulas below are exact where all stimuli have as many
    sums = np.stack([np.bincount(rows, x, n) + np.bincount(columns, x, n) for x in influences])  # [q, n]
    scale = n / (n + n / degree - 4.0)  # influences have mean 0, and those of a stimulus hold its partners' effects
    shared = scale * sums @ sums.T / p**2
    # Least squares of psi_ij = g_i + g_j; what it leaves is the pairs' own, with p - n degrees of freedom.
    if p == n * (n - 1) // 2:
        effects = sums / (n - 2.0)
    else:
        design = np.zeros((n, n))
        design[rows, columns] = design[columns, rows] = 1.0
        design[np.diag_indices(n)] = design.sum(axis=1)
        effects = np.stack([scipy.sparse.linalg.cg(design, x, rtol=1e-6)[0] for x in sums])
    left = influences @ influences.T - effects @ sums.T
    too_often = 4.0 * scale * (n - 2.0) / (n**2 * degree) - 1.0 / p
    excess = too_often * 0.5 * (left + left.T) / (p - n) if p > n else np.zeros_like(shared)
    return DyadicCovariance(shared, excess)
