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
`quantiles`. For fewer or more stimuli than that is good for, and for no more than two pairs a stimulus, they are those
of a sum of two mean squares (Satterthwaite): n - 1 for stimuli, p - n for pairs, and the latter alone where stimuli are
found to do nothing by themselves; with these Spearman's intervals within categories held the truth in 93.9 % of 2,000
studies, with resampled ones in 94.4 % (40 stimuli of five categories, mean of four models). Scores, which are skewed,
take the larger quantile of the two: with the resampled ones alone intervals of 20 stimuli missed in up to 6.4 % of
studies; Pearson's take the largest of these and that of whole scores resampled. Differences by whitened indices take
that of the sum of mean squares: with the resampled one, that of t with 88 degrees of freedom at 40 stimuli (median),
tests of equal models rejected in 6.2 % of 4,000 studies. (Estimates of bias and skewness were tried too, but are so
noisy that intervals missed more often.)
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import scipy.sparse.linalg

from humalign_jax.progress import steps
from humalign_jax.rsa.inference.covariance import Dyadic, DyadicCovariance, interaction_with_subjects, total_covariance
from humalign_jax.rsa.inference.jackknife import deleted_scores, jackknife_ratio
from humalign_jax.rsa.inference.pair_influences import Product, Side, own_product, pooled, score_influence, sides_of
from humalign_jax.rsa.inference.quantiles import (
    STUDENTISED,
    dof_of_quantile,
    influence_quantiles,
    own_in_shared,
    score_quantiles,
    shared_scale,
    stimulus_sums,
)
from humalign_jax.rsa.pairs import n_stimuli_of
from humalign_jax.rsa.similarity.ceiling import RANK_INDICES
from humalign_jax.rsa.similarity.compare import WHOLE


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
        index: Any of `compare.INDICES` but 'bures'.
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
        scores = deleted_scores(models, subjects, control, index, rows, columns, n)
        factors[0] = max(factors[0], jackknife_ratio([scores], [covariance]))
    is_resampled = n in STUDENTISED and len(kept) > 2 * n
    score_dof, influences = None, mean if is_resampled else None
    if is_resampled and index == 'pearson' and mask is None:
        score_dof = np.append(dof_of_quantile(score_quantiles(models, subjects, control)), np.inf)
    if is_resampled and index in WHOLE:
        score_dof, influences = dof_of_quantile(influence_quantiles(mean, n)), None
    whole = dataclasses.replace(covariance.times(*factors), influences=influences, mask=mask, score_dof=score_dof)
    return whole, interaction_with_subjects(whole, singles.times(*factors), k) if singles is not None else None


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
        index: Any of `compare.INDICES` but 'bures'.
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
                deleted[-1] += own.mean() * deleted_scores(x[:m], tested[own], held, index, rows, columns, size)
    factors = np.maximum(least, jackknife_ratio(deleted, covariances) if deleted else 0.0)

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
    for s, subject in enumerate(steps(of_subjects, 'influences of pairs, subjects')):
        own, influences = own_product(subject, index), np.zeros_like(mean)
        for j, (side, side_own) in enumerate(compared(s)):
            influences[j] = np.nan_to_num(score_influence(side, subject, side_own, own))  # constant: NaN
        mean += influences / k
        if by_subject:
            singles.append(_covariance(influences, rows, columns, n))
    return _covariance(mean, rows, columns, n), total_covariance(singles) if singles else None, mean


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
