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
Pearson's and cosine need more, since they normalise by values, not by ranks that are spread evenly whatever the sample,
and how much more depends on the population: for Pearson at 20 stimuli it was that factor to the power of 1.5 to 5. The
delete-one jackknife shows it: its variance over the one that counts var(e) twice was on average, over 4,000 studies,
within 7 % of what was needed (Pearson, 20 and 40 stimuli; Gaussian stimuli, clusters, squared distances). For single
scores that ratio is noisy, so it is that of the sums over all models. It belongs to what stimuli share; var(e) that is
taken out again has n / (n - 2). (With the same ratio for both, variances of Pearson's scores in folds of 8 and 12
stimuli were 0.74 to 0.85 and 0.88 to 0.96 of what they should be, and so 1.01 to 1.15 and 0.99 to 1.11.) A variance can
be no smaller than var(e) / p; what that bound adds on average is taken out (`quantiles.bounded_variance`): where pairs'
own parts are nearly all there is, as in folds of 8 stimuli, it is a fifth. Pearson's intervals are too short where
distances have no fourth moment. Scores (not differences) by cosine are better served by the bootstrap.

Kendall's tau is a mean over pairs of pairs, a pair's influence twice its own concordance with all others. The whitened
indices are traces of products of centred second moments, to which a pair gives their two entries' product. What the
mean RDM of the other subjects, the ceiling, is divided by is taken as given there.

*Quantiles*. Degrees of freedom are those of the t that has the resampled 95 % quantile of the influences, see
`quantiles`. For fewer or more stimuli than that is good for, and for some of the pairs only, they are those of a sum of
two mean squares (Satterthwaite): n - 1 for stimuli, p - n for pairs, and the latter alone where stimuli are found to do
nothing by themselves. Scores, which are skewed, take the larger quantile of the two: with the resampled ones alone
intervals of 20 stimuli missed in up to 6.4 % of studies; Pearson's take the largest of these and that of whole scores
resampled. (Estimates of bias and skewness were tried too, but are so noisy that intervals missed more often.)
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import scipy.sparse.linalg

from humalign_jax.rsa.ceiling import RANK_INDICES
from humalign_jax.rsa.compare import INDICES, WHOLE, second_moments
from humalign_jax.rsa.pair_influences import Product, Side, own_product, pooled, score_influence, sides_of
from humalign_jax.rsa.pairs import n_stimuli_of
from humalign_jax.rsa.quantiles import (
    NO_VARIANCE,
    STUDENTISED,
    bounded_variance,
    dof_of_quantile,
    influence_quantile,
    own_in_shared,
    score_quantiles,
    shared_scale,
    stimulus_sums,
)
from humalign_jax.rsa.significance import satterthwaite

CLOSED_FORM = tuple(index for index in INDICES if index != 'bures')


@dataclasses.dataclass(frozen=True)
class DyadicCovariance:
    """Covariance over new stimuli of q scores.

    Attributes:
        shared: With what is a pair's own counted for both of its stimuli, [q, q].
        excess: What that counts too much, [q, q].
        own: What is a pair's own, counted once: the least that the covariance can be, [q, q].
        n_stimuli: Number of stimuli, n.
        units: Degrees of freedom of stimuli and of pairs: n - 1 and p - n where p pairs of all stimuli count.
        influences: [q, n (n - 1) / 2], of mean 0; None where quantiles are not resampled.
        score_dof: The most degrees of freedom that single scores may have, [q]; None for no such bound.
    """

    shared: np.ndarray
    excess: np.ndarray
    own: np.ndarray
    n_stimuli: int
    units: tuple[float, float]
    influences: np.ndarray | None = None
    score_dof: np.ndarray | None = None

    def times(self, of_shared: float, of_own: float) -> 'DyadicCovariance':
        """The same with what stimuli share, and what is a pair's own, larger by these factors."""
        return dataclasses.replace(
            self, shared=of_shared * self.shared, excess=of_own * self.excess, own=of_own * self.own
        )

    def variances(self, contrasts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Variances of weighted sums of the scores and their degrees of freedom: [c, q] -> [c], [c]."""
        shared, excess, own = (
            np.einsum('cq,qr,cr->c', contrasts, x, contrasts) for x in (self.shared, self.excess, self.own)
        )
        variances, dof = _variances(shared, excess, own, *self.units)
        if self.influences is not None:
            quantiles = [influence_quantile(contrast @ self.influences, self.n_stimuli) for contrast in contrasts]
            resampled = dof_of_quantile(np.array(quantiles))
            is_difference = np.abs(contrasts.sum(axis=1)) < 1e-9
            if self.score_dof is not None:
                dof = np.minimum(dof, self.score_dof[contrasts.argmax(axis=1)])
            dof = np.where(is_difference, resampled, np.minimum(resampled, dof))
        return variances, dof


Dyadic = tuple[DyadicCovariance, np.ndarray | None]  # and what of it is an interaction with subjects


def score_covariance(
    models: np.ndarray,
    subjects: np.ndarray,
    index: str,
    *,
    mask: np.ndarray | None = None,
    control: np.ndarray | None = None,
    by_subject: bool = False,
) -> Dyadic:
    """Covariance, over new stimuli, of models' mean scores over subjects and of the lower noise ceiling.

    Args:
        models: Condensed RDMs, [m, p].
        subjects: Condensed RDMs of the same stimuli, [k, p].
        index: One of `CLOSED_FORM`.
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
    models, subjects = models[:, kept], subjects[:, kept]
    control = None if control is None else control[:, kept]
    m, k = len(models), len(subjects)
    sides = sides_of(np.concatenate([models, subjects]), control, index)
    of_models = [(side, own_product(side, index)) for side in sides[:m]]

    def compared(s: int) -> list[tuple[Side, Product]]:
        if k == 1:
            return of_models
        others = pooled([x for t, x in enumerate(sides[m:]) if t != s])
        return [*of_models, (others, own_product(others, index))]

    covariance, singles, mean = _over_subjects(compared, sides[m:], m + 1, index, rows, columns, n, by_subject)
    factors = np.full(2, n / (n - 2.0))
    if index not in RANK_INDICES:
        scores = _deleted_scores(models, subjects, control, index, rows, columns, n)
        factors[0] = max(factors[0], _jackknife_ratio([scores], [covariance]))
    is_resampled = mask is None and n in STUDENTISED
    score_dof = None
    if is_resampled and index == 'pearson':
        score_dof = np.append(dof_of_quantile(score_quantiles(models, subjects, control)), np.inf)
    whole = dataclasses.replace(
        covariance.times(*factors), influences=mean if is_resampled else None, score_dof=score_dof
    )
    return whole, interaction_with_subjects(whole, singles.times(*factors), k) if singles else None


def crossvalidated_covariance(
    predictions: Sequence[np.ndarray],
    subjects: np.ndarray,
    index: str,
    *,
    test_pairs: Sequence[np.ndarray],
    folds: Sequence[np.ndarray],
    groups: np.ndarray,
    control: np.ndarray | None = None,
    by_subject: bool = False,
) -> Dyadic:
    """Covariance, over new stimuli, of mean scores over folds of stimuli, for what was fitted in each of them.

    Folds share no stimulus, so that variances of their scores, each in closed form, add up. That other stimuli would
    have led to other fits is not counted.

    Args:
        predictions: For each fold the RDMs of m models and of the pooled others, in each group of subjects, over the
            pairs that are scored, [m + 1, g, p of the fold].
        subjects: Condensed RDMs, [k, p].
        index: One of `CLOSED_FORM`.
        test_pairs: Which pairs are scored in each fold, [p of the fold].
        folds: Which stimuli each fold has, [n] booleans.
        groups: Group of each subject, [k]; with a single one there is no ceiling.
        control: RDMs to partial out, [c, p]; None for none.
        by_subject: As in `score_covariance`.

    Returns:
        As `score_covariance`.
    """
    n, m = len(folds[0]), len(predictions[0]) - 1
    q = m + (groups.max() > 0)
    covariances, totals, deleted, least = [], [], [], []
    for predicted, test, inside in zip(predictions, test_pairs, folds):
        rows, columns = ((np.cumsum(inside) - 1)[x[test]] for x in np.triu_indices(n, 1))
        size, tested = inside.sum(), subjects[:, test]
        held = None if control is None else control[:, test]
        by_group = [sides_of(x[:q], held, index) for x in predicted.swapaxes(0, 1)]
        compared = [[(side, own_product(side, index)) for side in sides] for sides in by_group]
        covariance, singles, _ = _over_subjects(
            lambda s, compared=compared: compared[groups[s]],  # type: ignore[misc]
            sides_of(tested, held, index),
            m + 1,
            index,
            rows,
            columns,
            size,
            by_subject,
        )
        covariances.append(covariance)
        totals.append(singles)
        least.append(size / (size - 2.0))
        if index not in RANK_INDICES:
            deleted.append(np.zeros((size, m)))
            for g, x in enumerate(predicted.swapaxes(0, 1)):
                own = groups == g
                deleted[-1] += own.mean() * _deleted_scores(x[:m], tested[own], held, index, rows, columns, size)
    factors = np.maximum(least, _jackknife_ratio(deleted, covariances) if deleted else 0.0)

    def summed(parts: Sequence[DyadicCovariance]) -> DyadicCovariance:
        share = 1.0 / len(parts) ** 2  # of the variance of a mean over folds
        scaled = [x.times(share * shared, share * own) for x, shared, own in zip(parts, factors, least)]
        units = sum(x.units[0] for x in parts), sum(x.units[1] for x in parts)
        return dataclasses.replace(total_covariance(scaled), n_stimuli=n, units=units)

    whole = summed(covariances)
    return whole, interaction_with_subjects(whole, summed(totals), len(subjects)) if by_subject else None


def _over_subjects(
    compared: Callable[[int], Sequence[tuple[Side, Product]]],
    of_subjects: Sequence[Side],
    q: int,
    index: str,
    rows: np.ndarray,
    columns: np.ndarray,
    n: int,
    by_subject: bool,
) -> tuple[DyadicCovariance, DyadicCovariance | None, np.ndarray]:
    """Covariance of mean scores over subjects, the sum of those of single subjects, and the mean influences, [q, p].

    `compared(s)`: what subject s is compared with, up to q RDMs, and their own products; the scores of missing and of
    constant ones do not vary. The sum is None without `by_subject`.
    """
    k = len(of_subjects)
    mean, singles = np.zeros((q, len(rows))), []
    for s, subject in enumerate(of_subjects):
        own, influences = own_product(subject, index), np.zeros_like(mean)
        for j, (side, side_own) in enumerate(compared(s)):
            influences[j] = np.nan_to_num(score_influence(side, subject, side_own, own))  # constant: NaN
        mean += influences / k
        if by_subject:
            singles.append(_covariance(influences, rows, columns, n))
    return _covariance(mean, rows, columns, n), total_covariance(singles) if singles else None, mean


def total_covariance(parts: Sequence[DyadicCovariance]) -> DyadicCovariance:
    """The sum of several covariances of the same stimuli."""
    sums = {name: np.sum([getattr(x, name) for x in parts], axis=0) for name in ('shared', 'excess', 'own')}
    return dataclasses.replace(parts[0], **sums)


def interaction_with_subjects(mean: DyadicCovariance, total: DyadicCovariance, k: int) -> np.ndarray:
    """What of the covariance of mean scores is from stimuli that act differently on each of k subjects, [q, q].

    Args:
        mean: Covariance of the mean over subjects.
        total: Sum of the covariances of single subjects.
        k: Number of subjects.
    """
    # Deviations of single subjects from their mean; their sum of squares has k - 1 degrees of freedom.
    return (total.shared - total.excess - k * (mean.shared - mean.excess)) / (k * (k - 1.0))


def _jackknife_ratio(deleted: Sequence[np.ndarray], covariances: Sequence[DyadicCovariance]) -> float:
    """Sum of delete-one jackknife variances over that of the shared parts; 0 where neither is known.

    Args:
        deleted: Scores of m models without each of the stimuli, [n, m]; several where studies are separate.
        covariances: Covariances of the same scores.
    """
    total, shared = 0.0, 0.0
    for scores, covariance in zip(deleted, covariances):
        n, m = scores.shape
        jackknife = (n - 1.0) / n * np.square(scores - scores.mean(axis=0)).sum(axis=0)
        known = np.isfinite(jackknife)
        total += jackknife[known].sum()
        shared += np.diagonal(covariance.shared)[:m][known].sum()
    return total / shared if shared > 0 else 0.0


def _deleted_scores(
    models: np.ndarray,
    subjects: np.ndarray,
    control: np.ndarray | None,
    index: str,
    rows: np.ndarray,
    columns: np.ndarray,
    n: int,
) -> np.ndarray:
    """Mean scores over subjects by other than ranks, without each of the stimuli: [m, p], [k, p], [c, p] -> [n, m].

    NaN where a score is not defined without that stimulus.
    """
    if index in WHOLE:
        return _deleted_whole_scores(models, subjects, index)
    rdms = np.concatenate([models, subjects]).astype(np.float64)
    basis = np.empty((0, len(rows))) if control is None else control
    if index == 'pearson':
        rdms = rdms - rdms.mean(axis=1, keepdims=True)
        basis = np.concatenate([np.ones((1, len(rows))), basis])
    values, scores = np.concatenate([rdms, basis]), []
    products = values @ values.T
    both = np.concatenate([rows, columns])
    of_stimuli = np.split(np.argsort(both, kind='stable') % len(rows), np.cumsum(np.bincount(both, minlength=n))[:-1])
    for pairs in of_stimuli:
        without = products - values[:, pairs] @ values[:, pairs].T
        scores.append(_scores_of_products(without, len(models), len(basis)))
    return np.array(scores)


def _deleted_whole_scores(models: np.ndarray, subjects: np.ndarray, index: str) -> np.ndarray:
    """The same by a whitened index, from moments that are centred anew: [m, p], [k, p] -> [n, m]."""
    moments = second_moments(np.concatenate([models, subjects]))
    m, rest = len(models), moments.shape[1] - 1.0
    diagonals = np.einsum('qii->qi', moments)
    across = np.einsum('qij,rij->iqr', moments, moments)  # of stimulus i
    both = np.einsum('qi,ri->iqr', diagonals, diagonals)
    # Without row and column i, what remains is centred by its row sums, -A_ij, and their sum, A_ii.
    products = across.sum(axis=0) - 2.0 * across * (1.0 + 1.0 / rest) + both * (1.0 + 2.0 / rest + 1.0 / rest**2)
    if index == 'whitened_pearson':  # their mean subtracted from distances: their trace from moments
        traces = diagonals.sum(axis=1)[:, None] - diagonals * (1.0 + 1.0 / rest)
        products -= np.einsum('qi,ri->iqr', traces, traces) / (rest - 1.0)
    scores = []
    for product in products:
        norms = np.sqrt(np.where(np.diagonal(product) > 0, np.diagonal(product), np.nan))
        scores.append((product[:m, m:] / np.outer(norms[:m], norms[m:])).mean(axis=1))
    return np.array(scores)


def _scores_of_products(products: np.ndarray, m: int, c: int) -> np.ndarray:
    """Mean correlations of m models with subjects, c others held constant, from sums of products of all, [m]."""
    q = len(products) - c
    left, spread = products[:q, :q], np.diagonal(products)[:q]
    if c:
        left = left - products[:q, q:] @ np.linalg.pinv(products[q:, q:], hermitian=True) @ products[q:, :q]
    remains = np.diagonal(left)
    norms = np.sqrt(np.where(remains > NO_VARIANCE * spread, remains, np.nan))
    return (left[:m, m:] / np.outer(norms[:m], norms[m:])).mean(axis=1)


def _covariance(influences: np.ndarray, rows: np.ndarray, columns: np.ndarray, n: int) -> DyadicCovariance:
    """Covariance of means over pairs from the pairs' influences, [q, p] of mean 0."""
    p = influences.shape[1]
    # Formulas are exact where all stimuli have as many pairs, 2 p / n.
    sums = stimulus_sums(influences, rows, columns, n)  # [q, n]
    shared = shared_scale(n, p) * sums @ sums.T / p**2
    if p <= n:
        return DyadicCovariance(shared, np.zeros_like(shared), np.zeros_like(shared), n, (n - 1.0, 1.0))
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
    return DyadicCovariance(shared, (own_in_shared(n, p) - 1.0) * own, own, n, (n - 1.0, float(p - n)))


def _variances(
    shared: np.ndarray, excess: np.ndarray, own: np.ndarray, of_stimuli: float, of_pairs: float
) -> tuple[np.ndarray, np.ndarray]:
    """Variances and their degrees of freedom, from those of stimuli and of pairs."""
    total = shared - excess
    dof = satterthwaite(np.maximum(total, own), [(shared, of_stimuli), (excess, of_pairs)])
    return bounded_variance(shared, excess, own, of_stimuli, of_pairs), np.where(total < own, of_pairs, dof)
