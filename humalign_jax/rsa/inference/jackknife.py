"""Scores without one of the stimuli, and the delete-one jackknife. See docs/inference.md, section 2.

References:
    Tukey (1958). doi:10.1214/aoms/1177706647
    Arvesen (1969), of U-statistics. doi:10.1214/aoms/1177697287
    Efron & Stein (1981), its variance is too large rather than too small. doi:10.1214/aos/1176345462
"""

from collections.abc import Callable, Sequence

import numpy as np

from humalign_jax.progress import steps
from humalign_jax.rsa.inference.covariance import DyadicCovariance, interaction_with_subjects
from humalign_jax.rsa.similarity.indices import INDICES, second_moments

NO_VARIANCE = 1e-12  # of the variance before others were partialled out: rounding


def jackknife_covariance(
    scores_without: Callable[[int], np.ndarray], n: int, *, by_subject: bool = False
) -> tuple[DyadicCovariance, np.ndarray | None]:
    """Covariance, over new stimuli, of mean scores over subjects, for an index without a closed form.

    Args:
        scores_without: q scores with each of k subjects without stimulus i, [q, k].
        n: Number of stimuli.
        by_subject: Whether the interaction with subjects is wanted, which needs two of them.

    Returns:
        As `dyads.score_covariance`.
    """
    scores = np.stack([scores_without(i) for i in steps(range(n), 'stimuli left out')])  # [n, q, k]
    deviations = scores - scores.mean(axis=0)
    mean, k = deviations.mean(axis=2), scores.shape[2]
    shared = (n - 1.0) / n * mean.T @ mean
    none = np.zeros_like(shared)
    covariance = DyadicCovariance(shared, none, none, (n - 1.0, 1.0))
    if not by_subject:
        return covariance, None
    total = (n - 1.0) / n * np.einsum('nqk,nrk->qr', deviations, deviations)
    return covariance, interaction_with_subjects(covariance, total, k)


def jackknife_factor(deleted: Sequence[np.ndarray], covariances: Sequence[DyadicCovariance]) -> float:
    """Sum of delete-one jackknife variances over that of the shared parts; 0 where neither is known.

    Args:
        deleted: Scores of m models without each of the stimuli, [n, m], of every fold of stimuli.
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


def deleted_scores(
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
    chosen = INDICES[index]
    if chosen.whole:
        return _deleted_whole_scores(models, subjects, index)
    rdms = np.concatenate([models, subjects]).astype(np.float64)
    basis = np.empty((0, len(rows))) if control is None else control
    if chosen.centred:
        rdms = rdms - rdms.mean(axis=1, keepdims=True)
        basis = np.concatenate([np.ones((1, len(rows))), basis])
    values, scores = np.concatenate([rdms, basis]), []
    products = values @ values.T
    both = np.concatenate([rows, columns])
    of_stimuli = np.split(np.argsort(both, kind='stable') % len(rows), np.cumsum(np.bincount(both, minlength=n))[:-1])
    for pairs in steps(of_stimuli, 'stimuli left out'):
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
    if INDICES[index].centred:  # their mean subtracted from distances: their trace from moments
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
