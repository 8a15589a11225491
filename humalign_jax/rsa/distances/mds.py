"""Stimuli as points whose distances are those of an RDM, as well as few dimensions allow."""

import numpy as np
import scipy.sparse.linalg
from scipy.spatial.distance import pdist, squareform

from humalign_jax.rsa.pairs import condensed_rows


def classical_mds(rdm: np.ndarray, n_dims: int = 2) -> np.ndarray:
    """Classical (Torgerson) multidimensional scaling, by the largest eigenvalues of the centred Gram matrix.

    Exact where the distances are Euclidean ones of points in `n_dims` dimensions. Each axis points so that its entry of
    largest magnitude is positive.

    Args:
        rdm: Condensed distances, [p], finite.
        n_dims: Number of dimensions, less than the number of stimuli.

    Returns:
        Coordinates in the unit of the distances, [n, n_dims], axes by falling spread, each of mean zero.

    References:
        Torgerson (1952). doi:10.1007/BF02288916

    Example:
        >>> points = rsa.classical_mds(np.array([1.0, 2.0, 1.0]), n_dims=1)  # three stimuli on a line
        >>> np.abs(np.diff(points[:, 0])).round(6)
        array([1., 1.])
    """
    squares = squareform(np.asarray(condensed_rows(rdm)[0], dtype=np.float64) ** 2)
    n = len(squares)
    if not 1 <= n_dims < n or not np.isfinite(squares).all():
        raise ValueError(f'{n} stimuli with finite distances can be put on 1 to {n - 1} dimensions, not {n_dims}.')
    rows = squares.mean(axis=0)
    gram = -0.5 * (squares - rows - rows[:, None] + rows.mean())
    if n <= 500:
        eigenvalues, vectors = np.linalg.eigh(gram)
    else:
        start = np.ones(n) + np.arange(n) / n  # a fixed start gives the same answer twice
        eigenvalues, vectors = scipy.sparse.linalg.eigsh(gram, k=n_dims, which='LA', v0=start)
    largest = np.argsort(eigenvalues)[::-1][:n_dims]
    points = vectors[:, largest] * np.sqrt(np.maximum(eigenvalues[largest], 0.0))
    return points * np.where(points[np.abs(points).argmax(axis=0), np.arange(n_dims)] < 0, -1.0, 1.0)


def stress(rdm: np.ndarray, points: np.ndarray) -> float:
    """How badly the distances of points fit an RDM: root of the squared misfit over the squared dissimilarities.

    Args:
        rdm: Condensed distances, [p].
        points: Coordinates of the stimuli, [n, n_dims].

    Returns:
        0 for a perfect fit, 1 for points in one place. NaN if all distances are 0. Equal to the `normalized_stress` of
        scikit-learn's MDS.

    References:
        Kruskal (1964). doi:10.1007/BF02289565

    Example:
        >>> rsa.stress(np.array([1.0, 2.0, 1.0]), np.array([[0.0], [1.0], [2.0]]))  # points at just these distances
        0.0
    """
    wanted = np.asarray(condensed_rows(rdm)[0], dtype=np.float64)
    size = float(np.sum(wanted**2))
    return float(np.sqrt(np.sum((pdist(points) - wanted) ** 2) / size)) if size > 0 else float('nan')
