"""Noise covariance of the features, shrunk so that it can be inverted, and the whitening that follows from it.

A crossnobis distance is 0 on average for equal stimuli if the noise is independent between the two repeats that are
multiplied, and independent of the precision matrix. A precision from residuals of the same repeats is not independent
and biases distances upwards, so `fold_whiteners` takes it from the other repeats. docs/inference.md has the figures.
"""

from collections.abc import Iterator

import numpy as np
from scipy.linalg import get_lapack_funcs

from humalign_jax.progress import steps

MIN_REPEATS = 4  # two that are multiplied, and two whose differences show the noise
MAX_FOLDS = 6  # more leave a precision more repeats, but cost a product of features each pair of them


def residuals(repeats: np.ndarray) -> np.ndarray:
    """Residuals of repeated measurements after the means of stimuli and of repeats: [r, n, d] -> [r * n, d].

    The mean of a repeat, such as the baseline of a run, cancels in differences between stimuli.
    """
    repeats = np.asarray(repeats, np.float64)
    repeats = repeats - repeats.mean(axis=1, keepdims=True)
    return (repeats - repeats.mean(axis=0)).reshape(-1, repeats.shape[-1])


def ledoit_wolf(x: np.ndarray, *, n_free: int | None = None) -> np.ndarray:
    """Covariance shrunk towards a multiple of the identity by the Ledoit-Wolf amount.

    Args:
        x: Samples with mean zero, [m, d].
        n_free: Degrees of freedom of the samples; m by default. Those of r repeats of n stimuli have (r - 1) (n - 1).

    Returns:
        Covariance, [d, d]. With the default `n_free` equal to sklearn.covariance.ledoit_wolf(assume_centered=True).

    References:
        Ledoit & Wolf (2004). doi:10.1016/S0047-259X(03)00096-4

    Example:
        >>> noise = np.random.default_rng(0).normal(size=(10, 3))
        >>> rsa.ledoit_wolf(noise).round(2)  # shrunk towards a multiple of the identity
        array([[ 0.91,  0.11,  0.07],
               [ 0.11,  0.56, -0.04],
               [ 0.07, -0.04,  0.55]])
    """
    x = np.asarray(x, np.float64)
    m, d = x.shape
    sample = x.T @ x / m
    mean_variance = np.trace(sample) / d
    spread = np.sum(sample**2) - d * mean_variance**2  # squared distance of sample to target
    # Mean squared distance of the single outer products to their mean, over m.
    error = (np.mean(np.sum(x * x, axis=1) ** 2) - np.sum(sample**2)) / m
    amount = 0.0 if spread <= 0 else float(np.clip(error / spread, 0.0, 1.0))
    shrunk = (1 - amount) * sample + amount * mean_variance * np.eye(d)
    return shrunk * (m / (n_free or m))


def shrink_to_diagonal(x: np.ndarray, *, n_free: int | None = None) -> np.ndarray:
    """Covariance whose off-diagonal part is shrunk towards zero by the Schäfer-Strimmer amount.

    Args:
        x: Samples with mean zero, [m, d].
        n_free: Degrees of freedom of the samples; m by default.

    Returns:
        Covariance, [d, d]; its diagonal is the sample's.

    References:
        Schäfer & Strimmer (2005). doi:10.2202/1544-6115.1175
    """
    x = np.asarray(x, np.float64)
    m, d = x.shape
    scale = np.sqrt(np.mean(x * x, axis=0))
    z = x / np.where(scale > 0, scale, 1.0)
    correlation = z.T @ z / m
    # Variance of each sample correlation, from the spread of the products that it averages.
    variance = ((z * z).T @ (z * z) / m - correlation**2) / m
    off_diagonal = ~np.eye(d, dtype=bool)
    total = np.sum(correlation[off_diagonal] ** 2)
    amount = 1.0 if total == 0 else float(np.clip(np.sum(variance[off_diagonal]) / total, 0.0, 1.0))
    shrunk = np.where(off_diagonal, 1 - amount, 1.0) * (x.T @ x) / m
    return shrunk * (m / (n_free or m))


SHRINKAGE = {'ledoit_wolf': ledoit_wolf, 'diagonal': shrink_to_diagonal}


def noise_covariance(repeats: np.ndarray, shrinkage: str = 'ledoit_wolf') -> np.ndarray:
    """Noise covariance of the features from the residuals of repeats: [r, n, d] -> [d, d].

    Use it to whiten other repeats than these; the top of this file says why.

    Raises:
        ValueError: There are fewer than two repeats or stimuli, or `shrinkage` is not one of `SHRINKAGE`.

    Example:
        >>> repeats = np.random.default_rng(0).normal(size=(4, 50, 2))  # four measurements of 50 stimuli
        >>> np.diag(rsa.noise_covariance(repeats)).round(1)
        array([1., 1.])
    """
    if np.ndim(repeats) != 3 or min(np.shape(repeats)[:2]) < 2:
        raise ValueError(f'repeated measurements must be [r, n, d] with r and n at least 2, not {np.shape(repeats)}.')
    if shrinkage not in SHRINKAGE:
        raise ValueError(f'there is no shrinkage {shrinkage!r}: choose one of {", ".join(SHRINKAGE)}.')
    r, n, _ = np.shape(repeats)
    return SHRINKAGE[shrinkage](residuals(repeats), n_free=(r - 1) * (n - 1))


def fold_whiteners(repeats: np.ndarray, shrinkage: str) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Whiteners for the products of two repeats, estimated from the other repeats.

    Args:
        repeats: [r, n, d], r of at least `MIN_REPEATS`.
        shrinkage: One of `SHRINKAGE`.

    Yields:
        For every two folds of the repeats, and for every fold of several with itself (the same array twice): the
        numbers of the repeats in either, and the whitener, [d, d], of the noise in all other folds.

    Raises:
        ValueError: There are too few repeats.
    """
    r, _, d = repeats.shape
    if r < MIN_REPEATS:
        raise ValueError(
            f'crossnobis of {r} repeats needs a covariance of their noise, [d, d], from elsewhere: from residuals of '
            f'the same {r}, distances of stimuli that do not differ would not be 0 on average (from {MIN_REPEATS} '
            f'repeats on each two are whitened by the others). Give that of a first-level model or of other stimuli, '
            f'or np.eye({d}) for cross-validated squared Euclidean distances.'
        )
    folds = np.array_split(np.arange(r), min(r, MAX_FOLDS))
    pairs = [(i, j) for i in range(len(folds)) for j in range(i, len(folds)) if i != j or len(folds[i]) > 1]
    for i, j in steps(pairs, 'noise of other repeats'):
        others = np.delete(repeats, np.concatenate([folds[i], folds[j]]), axis=0)
        yield folds[i], folds[j], whitener(noise_covariance(others, shrinkage))


def whitener(covariance: np.ndarray) -> np.ndarray:
    """W with W W' = inverse of `covariance`, so that x @ W has unit covariance: [d, d] -> [d, d].

    Raises:
        ValueError: `covariance` is not square, finite, symmetric and positive definite.
    """
    covariance = np.asarray(covariance, np.float64)
    if covariance.ndim != 2 or covariance.shape[0] != covariance.shape[1]:
        raise ValueError(f'a covariance must be [d, d], not {covariance.shape}.')
    if not np.isfinite(covariance).all():
        raise ValueError('a covariance must be finite, but has NaN or Inf: leave out the samples that have them.')
    if not np.allclose(covariance, covariance.T, rtol=1e-6, atol=1e-12 * np.abs(covariance).max()):
        raise ValueError('a covariance must be symmetric: average it with its transpose if rounding broke that.')
    covariance = (covariance + covariance.T) / 2
    least = len(covariance) * np.finfo(np.float64).eps
    factorise, condition, invert = get_lapack_funcs(('potrf', 'pocon', 'trtri'), (covariance,))
    lower, failed = factorise(covariance, lower=1)
    if not failed and condition(lower, np.abs(covariance).sum(axis=0).max(), uplo='L')[0] > least:
        return invert(lower, lower=1)[0].T  # faster than eigenvectors
    values, vectors = np.linalg.eigh(covariance)
    if values[0] <= values[-1] * least:
        raise ValueError(
            f'the covariance of {len(values)} features is singular (eigenvalues {values[0]:.2g} to {values[-1]:.2g}): '
            'use more samples than features, fewer features, or a shrunk covariance (rsa.noise_covariance of repeats).'
        )
    return vectors / np.sqrt(values)
