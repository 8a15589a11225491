"""Variance of scores over stimuli by leaving out one and two of them: whole for Bures' similarity, a factor for others.

Bures' similarity of whole geometries is a sum of what stimuli do by themselves, in pairs, in threes and so on
(Hoeffding). Leaving out one counts what pairs do twice, so that its variance is too large; less what leaving out two
shows, V = sum of squares of
n T - (n - 1) (T_i + T_j) + (n - 2) T_ij, it is too small, since that also holds what more of them do. Over 600 and
1,000 simulated studies (squared distances of benchmarks/rsa_calibration.py, three models) the two were 1.05 to 1.10 and
0.77 to 0.86 of the variance of the scores at 40 stimuli, 1.25 to 1.45 and 0.73 to 0.74 at 20. Here it is their mean:
0.91 to 0.97 and 1.00 to 1.09. For a model that shares nothing with the reference, where the similarity has no
derivative, it is 1.3 at either number: intervals are too wide.

References:
    Efron & Stein (1981), the jackknife estimate of variance. doi:10.1214/aos/1176345462
"""

from collections.abc import Callable, Sequence

import numpy as np

from humalign_jax.progress import steps
from humalign_jax.rsa.inference.covariance import Dyadic, DyadicCovariance, interaction_with_subjects, total_covariance
from humalign_jax.rsa.inference.quantiles import NO_VARIANCE
from humalign_jax.rsa.similarity.compare import WHOLE, second_moments

N_TWICE = 200  # pairs of stimuli that are left out, where there are more: V is a mean of squares


def jackknife_covariance(
    scores_without: Callable[[Sequence[int]], np.ndarray], n: int, *, seed: int, by_subject: bool = False
) -> Dyadic | None:
    """Covariance, over new stimuli, of mean scores over subjects.

    Args:
        scores_without: q scores with each of k subjects without some of the stimuli, [q, k].
        n: Number of stimuli, five or more.
        seed: Seed of the pairs that are left out.
        by_subject: Whether the interaction with subjects is wanted, which needs two of them.

    Returns:
        Covariance of the scores and its interaction with subjects, as `dyads.score_covariance`; None where a score is
        not defined without some stimuli.
    """
    once = np.stack([scores_without([i]) for i in steps(range(n), 'stimuli left out')])  # [n, q, k]
    first, second = np.triu_indices(n, 1)
    if len(first) > N_TWICE:
        chosen = np.random.default_rng([seed, 6]).choice(len(first), N_TWICE, replace=False)
        first, second = first[chosen], second[chosen]
    both = list(zip(first.tolist(), second.tolist()))
    twice = np.stack([scores_without(two) for two in steps(both, 'pairs of stimuli left out')])
    pairs = n * scores_without([]) - (n - 1.0) * (once[first] + once[second]) + (n - 2.0) * twice
    if not (np.isfinite(once).all() and np.isfinite(pairs).all()):
        return None

    def covariance(without_one: np.ndarray, without_two: np.ndarray) -> DyadicCovariance:
        deviations = without_one - without_one.mean(axis=0)
        shared = (n - 1.0) / n * deviations.T @ deviations
        of_pairs = (n - 3.0) / (2.0 * n - 4.0) * without_two.T @ without_two / len(without_two)
        # No less than half of the jackknife's, which counts nothing less than once.
        return DyadicCovariance(shared, 0.5 * of_pairs, 0.5 * shared, n, (n - 1.0, n * (n - 1.0) / 2.0))

    whole = covariance(once.mean(axis=2), pairs.mean(axis=2))
    if not by_subject:
        return whole, None
    singles = [covariance(once[:, :, s], pairs[:, :, s]) for s in range(once.shape[2])]
    return whole, interaction_with_subjects(whole, total_covariance(singles), len(singles))


def jackknife_ratio(deleted: Sequence[np.ndarray], covariances: Sequence[DyadicCovariance]) -> float:
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
