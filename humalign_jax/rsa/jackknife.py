"""Covariance of scores over stimuli by leaving out one and two of them: for Bures' similarity of whole geometries.

A score is a sum of what stimuli do by themselves, in pairs, in threes and so on (Hoeffding). Leaving out one counts
what pairs do twice, so that its variance is too large; less what leaving out two shows, V = sum of squares of
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

from humalign_jax.rsa.dyads import Dyadic, DyadicCovariance, interaction_with_subjects, total_covariance

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
    once = np.stack([scores_without([i]) for i in range(n)])  # [n, q, k]
    first, second = np.triu_indices(n, 1)
    if len(first) > N_TWICE:
        chosen = np.random.default_rng([seed, 6]).choice(len(first), N_TWICE, replace=False)
        first, second = first[chosen], second[chosen]
    twice = np.stack([scores_without(two) for two in zip(first.tolist(), second.tolist())])
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
