"""Covariance of mean scores and of the lower noise ceiling over new subjects. See docs/inference.md, section 3."""

import numpy as np

from humalign_jax.rsa.inference.covariance import SampleCovariance

MIN_SUBJECTS = 3  # two subjects agree equally with each other: their ceiling has no variance


def leverage(lower: np.ndarray, upper: np.ndarray) -> float:
    """By how much a subject moves the mean lower ceiling, relative to its own agreement with the others.

    A subject counts by its own agreement, and as one of the others: (2 - l / u) (k - 1) / (k - 2), l and u the mean
    ceilings. 0 where the ceiling has no variance: fewer than three subjects, or one group of them.

    Args:
        lower: Agreement of each subject with the pooled others, [k].
        upper: Agreement of each subject with all pooled, [k].
    """
    k = len(lower)
    if k < MIN_SUBJECTS or not np.isfinite(lower).all():
        return 0.0
    return float((2.0 - np.clip(lower.mean() / upper.mean(), 0.0, 1.0)) * (k - 1.0) / (k - 2.0))


def subject_covariance(scores: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> SampleCovariance:
    """Covariance over new subjects of m mean scores and the mean lower ceiling, [m + 1, m + 1].

    Args:
        scores: Scores of the models with each subject, [m, k].
        lower: As for `leverage`.
        upper: As for `leverage`.
    """
    factor, k = leverage(lower, upper), len(lower)
    ceiling = factor * lower if factor else np.zeros(k)
    return SampleCovariance(np.atleast_2d(np.cov(np.concatenate([scores, ceiling[None]]))) / k, k - 1.0)
