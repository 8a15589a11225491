"""Covariance of scores over new stimuli in closed form: a score is a mean over pairs, and pairs share stimuli.

To first order a score is a mean over pairs (i, j) of influences psi_ij = g_i + g_j + e_ij. Its variance over new
stimuli is 4 var(g) / n + var(e) / p. See docs/inference.md, section 2.

References:
    Fafchamps & Gubert (2007), dyadic variances. doi:10.1016/j.jdeveco.2006.05.005
    Aronow, Samii & Assenova (2015). doi:10.1093/pan/mpv018
    MacKinnon & White (1985), HC1. doi:10.1016/0304-4076(85)90158-7
"""

from collections.abc import Callable, Sequence

import numpy as np
import scipy.sparse.linalg

from humalign_jax.progress import steps
from humalign_jax.rsa.inference.covariance import DyadicCovariance, interaction_with_subjects, sum_of
from humalign_jax.rsa.inference.jackknife import deleted_scores, jackknife_factor
from humalign_jax.rsa.inference.pair_influences import Product, Side, own_product, pooled, score_influence, sides_of
from humalign_jax.rsa.pairs import n_stimuli_of
from humalign_jax.rsa.similarity.indices import INDICES

Dyadic = tuple[DyadicCovariance, np.ndarray | None]  # and covariance of the interaction with subjects, [q, q]


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

    What divides the ceiling's pooled RDM is taken as given.

    Args:
        models: Condensed RDMs, [m, p].
        subjects: Condensed RDMs of the same stimuli, [k, p].
        index: Any of `indices.INDICES` but 'bures'.
        mask: Which pairs count, [p]; None for all.
        control: RDMs to partial out, [c, p]; None for none.
        by_subject: Whether the interaction is wanted, which needs two subjects or more.

    Returns:
        Covariance of q = m + 1 values, the last one the lower ceiling (0 for a single subject); and that of their
        interaction with subjects, [q, q], None without `by_subject`.
    """
    n, m, k = n_stimuli_of(subjects.shape[1]), len(models), len(subjects)
    kept = np.arange(subjects.shape[1]) if mask is None else np.flatnonzero(mask)
    rows, columns = (x[kept] for x in np.triu_indices(n, 1))
    models, subjects = models[:, kept], subjects[:, kept]
    control = None if control is None else control[:, kept]
    sides = sides_of(np.concatenate([models, subjects]), control, index)
    of_models = [(side, own_product(side, index)) for side in sides[:m]]

    def compared(s: int) -> list[tuple[Side, Product]]:
        if k == 1:
            return of_models
        others = pooled([x for t, x in enumerate(sides[m:]) if t != s])
        return [*of_models, (others, own_product(others, index))]

    whole, total = _over_subjects(compared, sides[m:], m + 1, index, rows, columns, n, by_subject)
    deleted = []
    if not INDICES[index].ranked:
        deleted.append(deleted_scores(models, subjects, control, index, rows, columns, n))
    factors = _factors(deleted, [whole], [n])[0]
    whole = whole.times(*factors)
    return whole, interaction_with_subjects(whole, total.times(*factors).matrix, k) if total is not None else None


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

    Folds share no stimulus, so that variances of their scores add up. Other stimuli would have led to other fits:
    this is not counted.

    Args:
        predictions: For each fold the RDMs of m models and of the pooled others, in each group of subjects, over the
            pairs that are scored, [m + 1, g, p of the fold].
        subjects: Condensed RDMs, [k, p].
        index: Any of `indices.INDICES` but 'bures'.
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
    covariances, totals, deleted = [], [], []
    for predicted, test, inside in zip(predictions, test_pairs, folds):
        rows, columns = ((np.cumsum(inside) - 1)[x[test]] for x in np.triu_indices(n, 1))
        size, tested = inside.sum(), subjects[:, test]
        held = None if control is None else control[:, test]
        by_group = [sides_of(x[:q], held, index) for x in predicted.swapaxes(0, 1)]
        compared = [[(side, own_product(side, index)) for side in sides] for sides in by_group]
        covariance, total = _over_subjects(
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
        totals.append(total)
        if not INDICES[index].ranked:
            deleted.append(np.zeros((size, m)))
            for g, x in enumerate(predicted.swapaxes(0, 1)):
                own = groups == g
                deleted[-1] += own.mean() * deleted_scores(x[:m], tested[own], held, index, rows, columns, size)
    factors = _factors(deleted, covariances, [inside.sum() for inside in folds])
    units = sum(x.units[0] for x in covariances), sum(x.units[1] for x in covariances)

    def summed(parts: Sequence[DyadicCovariance]) -> DyadicCovariance:
        share = 1.0 / len(parts) ** 2  # of the variance of a mean over folds
        return sum_of([x.times(share * shared, share * own) for x, (shared, own) in zip(parts, factors)], units)

    whole = summed(covariances)
    return whole, interaction_with_subjects(whole, summed(totals).matrix, len(subjects)) if by_subject else None


def _factors(
    deleted: Sequence[np.ndarray], covariances: Sequence[DyadicCovariance], sizes: Sequence[int]
) -> list[tuple[float, float]]:
    """Small-sample factors of the shared part and of the pair component, for every fold of `sizes` stimuli.

    n / (n - 2), HC1 of two coefficients; of the shared part the jackknife's where that is larger, with `deleted`.
    """
    factor = jackknife_factor(deleted, covariances) if deleted else 0.0
    return [(max(size / (size - 2.0), factor), size / (size - 2.0)) for size in sizes]


def _over_subjects(
    compared: Callable[[int], Sequence[tuple[Side, Product]]],
    of_subjects: Sequence[Side],
    q: int,
    index: str,
    rows: np.ndarray,
    columns: np.ndarray,
    n: int,
    by_subject: bool,
) -> tuple[DyadicCovariance, DyadicCovariance | None]:
    """Covariance of mean scores over subjects, and the sum of those of single subjects; None without `by_subject`.

    `compared(s)`: what subject s is compared with, up to q RDMs, and their own products. Scores of missing and of
    constant RDMs have no variance.
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
    whole = _covariance(mean, rows, columns, n)
    return whole, sum_of(singles, whole.units) if singles else None


def _covariance(influences: np.ndarray, rows: np.ndarray, columns: np.ndarray, n: int) -> DyadicCovariance:
    """Covariance of means over pairs from the pairs' influences, [q, p] of mean 0.

    Unbiased for influences g_i + g_j + e_ij where all stimuli have equally many pairs, 2 p / n.
    """
    p = influences.shape[1]
    sums = np.stack([np.bincount(rows, x, n) + np.bincount(columns, x, n) for x in influences])  # [q, n]
    scale = n / (n + n**2 / (2.0 * p) - 4.0)  # influences have mean 0
    shared = scale * sums @ sums.T / p**2
    if p <= n:
        return DyadicCovariance(shared, np.zeros_like(shared), np.zeros_like(shared), (n - 1.0, 1.0))
    # Least squares of psi_ij = g_i + g_j; the residual is the pair component, with p - n degrees of freedom.
    if p == n * (n - 1) // 2:
        effects = sums / (n - 2.0)
    else:
        design = np.zeros((n, n))
        design[rows, columns] = design[columns, rows] = 1.0
        design[np.diag_indices(n)] = design.sum(axis=1)
        effects = np.stack([scipy.sparse.linalg.cg(design, x, rtol=1e-6)[0] for x in sums])
    left = influences @ influences.T - effects @ sums.T
    own = 0.5 * (left + left.T) / (p - n) / p
    counted = 2.0 * scale * (n - 2.0) / n  # how often `shared` counts the pair component
    return DyadicCovariance(shared, (counted - 1.0) * own, own, (n - 1.0, float(p - n)))
