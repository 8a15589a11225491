"""Covariance of scores over stimuli by leaving out one and two of them: for indices without a closed form.

Of a mean over pairs (i, j) of g_i + g_j + e_ij (see `dyads`), values with one stimulus left out show var(g), but count
what is a pair's own, var(e), 2 (n - 1) / (n - 2) times, where bootstraps and half samples count it three times. With
two left out, n T - (n - 1) (T_i + T_j) + (n - 2) T_ij is free of g and has variance 4 var(e) / ((n - 1) (n - 3)).
What is no mean over pairs, to first order, as Bures' similarity of whole geometries, keeps the plain jackknife.

References:
    Efron & Stein (1981), the jackknife estimate of variance. doi:10.1214/aos/1176345462
"""

from collections.abc import Callable, Sequence

import numpy as np

from humalign_jax.rsa.dyads import Dyadic, DyadicCovariance, interaction_with_subjects

N_TWICE = 200  # pairs of stimuli that are left out, where there are more: what is their own is a mean of squares


def jackknife_covariance(
    scores_without: Callable[[Sequence[int]], np.ndarray],
    n: int,
    *,
    over_pairs: bool = True,
    seed: int,
    by_subject: bool = False,
) -> Dyadic | None:
    """Covariance, over new stimuli, of mean scores over subjects.

    Args:
        scores_without: q scores with each of k subjects without some of the stimuli, [q, k].
        n: Number of stimuli, four or more.
        over_pairs: Whether scores are, to first order, means over pairs.
        seed: Seed of the pairs that are left out.
        by_subject: Whether the interaction with subjects is wanted, which needs two of them.

    Returns:
        Covariance of the scores and its interaction with subjects, as `dyads.score_covariance`; None where a score is
        not defined without some stimuli.
    """
    once = np.stack([scores_without([i]) for i in range(n)])  # [n, q, k]
    own_parts = np.zeros((1, *once.shape[1:]))
    if over_pairs:
        first, second = np.triu_indices(n, 1)
        if len(first) > N_TWICE:
            chosen = np.random.default_rng([seed, 6]).choice(len(first), N_TWICE, replace=False)
            first, second = first[chosen], second[chosen]
        twice = np.stack([scores_without(two) for two in zip(first.tolist(), second.tolist())])
        own_parts = n * scores_without([]) - (n - 1.0) * (once[first] + once[second]) + (n - 2.0) * twice
    if not (np.isfinite(once).all() and np.isfinite(own_parts).all()):
        return None
    of_pairs = max(n * (n - 1) / 2.0 - n, 1.0)

    def covariance(without_one: np.ndarray, parts: np.ndarray) -> DyadicCovariance:
        deviations = without_one - without_one.mean(axis=0)
        own = (n - 3.0) / (2.0 * n) * parts.T @ parts / len(parts)
        shared = (n - 1.0) / n * deviations.T @ deviations
        return DyadicCovariance(shared, n / (n - 2.0) * own, own, n, (n - 1.0, of_pairs))

    whole = covariance(once.mean(axis=2), own_parts.mean(axis=2))
    if not by_subject:
        return whole, None
    singles = [covariance(once[:, :, s], own_parts[:, :, s]) for s in range(once.shape[2])]
    return whole, interaction_with_subjects(whole, singles)
