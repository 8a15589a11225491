"""95 % intervals of means over trials whose errors are correlated within clusters, such as the trials of one person."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy.stats

from humalign_jax.records import Score
from humalign_jax.rsa import bootstrap_weights

_PARTICIPANTS = 1  # stream of random numbers: that of subjects elsewhere
_DRAWS_PER_CHUNK = 100


def over_sets(
    name: str, values: np.ndarray, sets: np.ndarray, provenance: Mapping[str, Any], **ceilings: float
) -> Score:
    """A mean over trials with Student's interval over triplets; repeats of one triplet form a cluster.

    The standard error is that of a ratio of cluster totals, linearised; with one trial per cluster it is the usual one
    of a mean.

    Args:
        name: Name of the score.
        values: A value for each trial, [t].
        sets: Number of the triplet of each trial, [t].
        provenance: Provenance of the score.
        **ceilings: `ceiling_lower` and `ceiling_upper`, where there are any.

    References:
        Cochran (1977), Sampling techniques, 3rd edition, section 6.4 (ratio estimates of cluster totals).
    """
    average, totals, counts = _by_cluster(values, sets)
    n, low, high = len(totals), float('nan'), float('nan')
    if n > 1:
        error = np.sqrt(n / (n - 1) * ((totals - average * counts) ** 2).sum()) / counts.sum()
        half = float(scipy.stats.t.ppf(0.975, n - 1)) * float(error)
        low, high = average - half, average + half
    about = {**provenance, 'over': 'triplets', 'n_trials': len(values)}
    return Score(name, average, low, high, n, "Student's t over triplets", provenance=about, **ceilings)


def over_participants(
    name: str,
    values: np.ndarray,
    participants: np.ndarray,
    provenance: Mapping[str, Any],
    *,
    n_bootstrap: int,
    seed: int,
    **ceilings: float,
) -> Score:
    """A mean over trials with percentiles of a bootstrap that draws participants with all their trials.

    Args:
        name: Name of the score.
        values: A value for each trial, [t].
        participants: Who answered each trial, [t].
        provenance: Provenance of the score.
        n_bootstrap: Number of bootstrap samples.
        seed: Seed of the samples.
        **ceilings: `ceiling_lower` and `ceiling_upper`, where there are any.

    References:
        Davison & Hinkley (1997), Bootstrap methods and their application, section 3.8 (hierarchical data, strategy 1).
    """
    average, totals, counts = _by_cluster(values, participants)
    n, low, high = len(totals), float('nan'), float('nan')
    if n > 1 and n_bootstrap > 1:
        weights = bootstrap_weights(seed, n, n_bootstrap, stream=_PARTICIPANTS)
        chunks = [weights[start : start + _DRAWS_PER_CHUNK] for start in range(0, n_bootstrap, _DRAWS_PER_CHUNK)]
        draws = np.concatenate([(chunk @ totals) / (chunk @ counts) for chunk in chunks])
        low, high = (float(end) for end in np.quantile(draws, (0.025, 0.975)))
    about = {**provenance, 'over': 'participants', 'n_trials': len(values), 'seed': seed}
    how = f'percentiles of {n_bootstrap} bootstrap samples of participants'
    return Score(name, average, low, high, n, how, provenance=about, **ceilings)


def _by_cluster(values: np.ndarray, clusters: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """Mean over trials, and total and number of trials of each cluster, [c] and [c]."""
    values = np.asarray(values, np.float64)
    number = np.unique(clusters, return_inverse=True)[1]
    counts = np.bincount(number).astype(np.float64)
    return float(values.mean()), np.bincount(number, weights=values), counts
