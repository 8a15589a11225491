"""Directions of a layer other than its units: principal and independent components, and centres of clusters.

A direction is fitted on one set of images and gives each image of another set an activation, as a unit does.
"""

import dataclasses
import warnings

import numpy as np
from absl import logging

from humalign_jax import settings

KINDS = ('pca', 'ica', 'kmeans')


@dataclasses.dataclass(frozen=True)
class Directions:
    """k directions of d units.

    Attributes:
        kind: One of `KINDS`.
        vectors: [k, d].
        mean: Taken off the features first, [d].
        unit_norm: Whether features are brought to norm 1 first.
    """

    kind: str
    vectors: np.ndarray
    mean: np.ndarray
    unit_norm: bool = False

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Activations: [n, d] -> float32 [n, k]."""
        return (_prepared(features, self.unit_norm) - self.mean).astype(np.float32) @ self.vectors.T.astype(np.float32)


def fit_directions(kind: str, features: np.ndarray, *, n_directions: int = 0, seed: int) -> Directions:
    """Directions of a matrix of features.

    Args:
        kind: 'pca'; 'ica' (FastICA); or 'kmeans' (centres of clusters of features of norm 1, as in Klindt et al. 2023;
            their activation is the dot product with the centre). The sign of a principal or independent component is
            arbitrary: it is chosen so that its activations have a positive third moment.
        features: [n, d].
        n_directions: Number k; 0 for as many as there are units, or one less than the images if these are fewer.
        seed: Of ICA and k-means.

    Raises:
        ValueError: There is no such kind, or k directions cannot be found in these features.
    """
    if kind not in KINDS:
        raise ValueError(f'there are no directions {kind!r}.{settings.nearest(kind, KINDS)}')
    n, d = features.shape
    k = n_directions or min(d, n - 1)
    if k > (n if kind == 'kmeans' else min(n - 1, d)):
        raise ValueError(
            f'{k} directions by {kind} cannot be found in {n} images with {d} features: lower their number.'
        )
    values = _prepared(features, kind == 'kmeans')
    if kind == 'kmeans':
        from sklearn.cluster import MiniBatchKMeans

        fitted = MiniBatchKMeans(k, random_state=seed, n_init=3, batch_size=1024).fit(values)  # type: ignore[arg-type]
        return Directions(kind, np.asarray(fitted.cluster_centers_), np.zeros(d), unit_norm=True)
    mean = values.mean(axis=0)
    vectors = _principal(values - mean, k) if kind == 'pca' else _independent(values, k, seed)
    skew = np.mean(((values - mean) @ vectors.T) ** 3, axis=0)
    return Directions(kind, vectors * np.where(skew < 0, -1.0, 1.0)[:, None], mean)


def _prepared(features: np.ndarray, unit_norm: bool) -> np.ndarray:
    values = np.asarray(features, np.float64)
    return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-6) if unit_norm else values


def _principal(centred: np.ndarray, k: int) -> np.ndarray:
    """Components of norm 1 in order of their variance: [n, d] -> [k, d]."""
    return np.linalg.eigh(centred.T @ centred)[1][:, ::-1][:, :k].T


def _independent(values: np.ndarray, k: int, seed: int) -> np.ndarray:
    """Rows of the unmixing matrix, which give components of variance 1: [n, d] -> [k, d]."""
    from sklearn.decomposition import FastICA
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        fitted = FastICA(k, whiten='unit-variance', random_state=seed, max_iter=200, tol=1e-3).fit(values)
    for warning in caught:
        if issubclass(warning.category, ConvergenceWarning):
            logging.warning('ICA with %d components did not converge in 200 iterations.', k)
        else:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    return fitted.components_
