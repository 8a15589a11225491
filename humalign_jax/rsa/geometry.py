"""How two feature sets' point clouds fit onto each other, and how many dimensions one fills."""

import numpy as np

from humalign_jax.rsa.cka import checked_pair, linear_cka


def procrustes_similarity(x: np.ndarray, y: np.ndarray) -> float:
    """Nuclear norm of x' y over the product of Frobenius norms, after centring: cosine of the Procrustes angle.

    Unchanged by rotation, reflection and scale of either set. 1 - the square of this is scipy.spatial.procrustes's
    disparity.

    Args:
        x: Features of one system, [n, d].
        y: Features of the other for the same stimuli, [n, e].

    Returns:
        Similarity in [0, 1]; NaN if a set is constant.

    Raises:
        ValueError: The sets do not fit, or hold NaN or Inf.

    References:
        Williams et al. (2021). arXiv:2110.14739
    """
    x, y = checked_pair(x, y, 2)
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    norms = float(np.linalg.norm(x) * np.linalg.norm(y))
    if norms == 0:
        return float('nan')
    if len(x) < min(x.shape[1], y.shape[1]):  # the same singular values from the smaller factors
        x, y = (np.asarray(np.linalg.qr(z.T, mode='r')).T for z in (x, y))
    return float(np.linalg.svd(x.T @ y, compute_uv=False).sum()) / norms


def procrustes_distance(x: np.ndarray, y: np.ndarray) -> float:
    """Angular Procrustes distance, arccos of `procrustes_similarity`, a metric: [n, d], [n, e] -> radians in [0, pi/2].

    Raises:
        ValueError: The sets do not fit, or hold NaN or Inf.
    """
    return float(np.arccos(np.clip(procrustes_similarity(x, y), -1, 1)))


def rv_coefficient(x: np.ndarray, y: np.ndarray) -> float:
    """RV coefficient, the cosine between the sets' centred Gram matrices; the same number as linear CKA.

    Args:
        x: Features of one system, [n, d].
        y: Features of the other for the same stimuli, [n, e].

    Returns:
        Similarity in [0, 1]; NaN if a set is constant.

    Raises:
        ValueError: The sets do not fit, or hold NaN or Inf.

    References:
        Robert & Escoufier (1976). doi:10.2307/2347233
    """
    return linear_cka(x, y)


def participation_ratio(x: np.ndarray) -> float:
    """Effective number of dimensions, (sum of eigenvalues)^2 / sum of their squares, of the features' covariance.

    Args:
        x: Features, [n, d].

    Returns:
        Between 1 and min(n - 1, d); NaN if all stimuli are equal.

    References:
        Gao et al. (2017). doi:10.1101/214262
    """
    x, _ = checked_pair(x, x, 2)
    variances = np.linalg.svd(x - x.mean(axis=0), compute_uv=False) ** 2
    squares = float(np.sum(variances**2))
    return float(np.sum(variances)) ** 2 / squares if squares > 0 else float('nan')
