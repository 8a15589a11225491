"""Procrustes similarity and RV coefficient of two feature sets, and the dimensionality of one."""

import functools
from collections.abc import Callable

import numpy as np

from humalign_jax.records import Features
from humalign_jax.rsa.similarity.cka import checked_pair, linear_cka
from humalign_jax.rsa.similarity.kernels import rbf_cka


def procrustes_similarity(x: Features | np.ndarray, y: Features | np.ndarray) -> float:
    """Nuclear norm of x' y over the product of Frobenius norms, after centring: cosine of the Procrustes angle.

    Unchanged by rotation, reflection and scale of either set. 1 - the square of this is scipy.spatial.procrustes's
    disparity.

    Args:
        x: Features of one system, [n, d].
        y: Features of the other for the same stimuli, [n, e]. Records are joined by stimulus id, arrays by position.

    Returns:
        Similarity in [0, 1]; NaN if a set is constant.

    Raises:
        ValueError: The sets do not fit, or hold NaN or Inf.

    References:
        Williams et al. (2021). arXiv:2110.14739

    Example:
        >>> x = np.random.default_rng(0).normal(size=(10, 2))
        >>> round(rsa.procrustes_similarity(x, x @ np.array([[0.0, 1.0], [-1.0, 0.0]])), 6)
        1.0
    """
    a, b = (z - z.mean(axis=0) for z in checked_pair(x, y, 2))
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    if norms == 0:
        return float('nan')
    if len(a) < min(a.shape[1], b.shape[1]):  # the same singular values from the smaller factors
        a, b = (np.asarray(np.linalg.qr(z.T, mode='r')).T for z in (a, b))
    return float(np.linalg.svd(a.T @ b, compute_uv=False).sum()) / norms


def procrustes_distance(x: Features | np.ndarray, y: Features | np.ndarray) -> float:
    """Angular Procrustes distance, arccos of `procrustes_similarity`, a metric: [n, d], [n, e] -> radians in [0, pi/2].

    Raises:
        ValueError: The sets do not fit, or hold NaN or Inf.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(10, 2))
        >>> rsa.procrustes_distance(x, x @ np.array([[0.0, 1.0], [-1.0, 0.0]])) < 1e-6  # rotations do not count
        True
    """
    return float(np.arccos(np.clip(procrustes_similarity(x, y), -1, 1)))


def procrustes_align(x: Features | np.ndarray, reference: Features | np.ndarray) -> np.ndarray:
    """The features moved, rotated or reflected, and scaled so that they lie closest to a reference, as for maps.

    Args:
        x: Features to be moved, [n, d].
        reference: Features of the same stimuli, [n, e]. Records are joined by stimulus id, arrays by position.

    Returns:
        [n, max(d, e)], in the units and the order of the reference; the set with fewer features gets features that are
        0. The remaining squared distance is 1 - `procrustes_similarity` ** 2 of the reference's variance.

    Raises:
        ValueError: The sets do not fit, or hold NaN or Inf.

    References:
        Gower (1975). doi:10.1007/BF02291478

    Example:
        >>> x = np.random.default_rng(0).normal(size=(10, 2))
        >>> turned = x @ np.array([[0.0, 1.0], [-1.0, 0.0]])
        >>> bool(np.allclose(rsa.procrustes_align(turned, x), x))
        True
    """
    target, moved = checked_pair(reference, x, 2)
    given = np.asarray(reference.values if isinstance(reference, Features) else reference, np.float64)
    target = target * (np.abs(given).max() / max(np.abs(target).max(), 1e-300))  # a power of two, nearly always 1
    width = max(target.shape[1], moved.shape[1])
    target, moved = (np.pad(z, ((0, 0), (0, width - z.shape[1]))) for z in (target, moved))
    centre = target.mean(axis=0)
    target, moved = target - centre, moved - moved.mean(axis=0)
    left, singular, right = np.linalg.svd(moved.T @ target)
    size = float(np.sum(moved**2))
    scale = float(singular.sum()) / size if size > 0 else 0.0
    return scale * moved @ (left @ right) + centre


def rv_coefficient(x: Features | np.ndarray, y: Features | np.ndarray) -> float:
    """RV coefficient, the cosine between the sets' centred Gram matrices; the same number as linear CKA.

    Args:
        x: Features of one system, [n, d].
        y: Features of the other for the same stimuli, [n, e]. Records are joined by stimulus id, arrays by position.

    Returns:
        Similarity in [0, 1]; NaN if a set is constant.

    Raises:
        ValueError: The sets do not fit, or hold NaN or Inf.

    References:
        Robert & Escoufier (1976). doi:10.2307/2347233

    Example:
        >>> x = np.random.default_rng(0).normal(size=(10, 2))
        >>> round(rsa.rv_coefficient(x, 3.0 * x), 6)
        1.0
    """
    return linear_cka(x, y)


def participation_ratio(x: Features | np.ndarray) -> float:
    """Effective number of dimensions, (sum of eigenvalues)^2 / sum of their squares, of the features' covariance.

    Args:
        x: Features, [n, d].

    Returns:
        Between 1 and min(n - 1, d); NaN if all stimuli are equal.

    References:
        Gao et al. (2017). doi:10.1101/214262

    Example:
        >>> round(rsa.participation_ratio(np.concatenate([np.eye(3), -np.eye(3)])), 6)  # three equal directions
        3.0
    """
    values, _ = checked_pair(x, x, 2)
    values = values - values.mean(axis=0)
    # The sum of the eigenvalues is the trace, the sum of their squares the squared Frobenius norm.
    squares = float(np.sum((values.T @ values if values.shape[1] < len(values) else values @ values.T) ** 2))
    return float(np.sum(values**2)) ** 2 / squares if squares > 0 else float('nan')


# These compare feature matrices directly: they have no RDMs, no pair restriction and no intervals.
FEATURE_INDICES: dict[str, Callable[..., float]] = {
    'linear_cka': linear_cka,
    'debiased_linear_cka': functools.partial(linear_cka, debiased=True),
    'rbf_cka': rbf_cka,
    'debiased_rbf_cka': functools.partial(rbf_cka, debiased=True),
    'procrustes': procrustes_similarity,
    'rv': rv_coefficient,
}
