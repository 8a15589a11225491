"""Interpretability Index (II): how alike the images are that excite a unit most.

II is the mean similarity over the distinct pairs of a unit's most exciting images (MEIs), where similarity is a
negative distance: larger is more interpretable. A distance is given by a vector for each image (`ImageDistance`), so
that every index and the machine psychophysics compute with the same few lines.

References:
    Klindt, Sanborn, Acosta, Poitevin & Miolane (2023). Identifying interpretable visual features in artificial and
    biological neural systems. arXiv:2310.11431
"""

import dataclasses
import tempfile
from collections.abc import Callable

import numpy as np

_BYTES = 64 << 20  # of vectors that are compared at a time


@dataclasses.dataclass(frozen=True)
class ImageDistance:
    """A distance between images, from a vector for each of them.

    Attributes:
        name: Such as 'lpips'.
        vectors: [n, d]; rows of images without a vector are not used.
        is_squared: Whether the distance is the squared Euclidean distance of two vectors, else the Euclidean distance.
        places: Row of each image in `vectors`, [n_images], -1 for images without one; None if all have one.
        matrix: Squared Euclidean distances of all pairs of vectors, [n, n], see `with_matrix`; None if not computed.
    """

    name: str
    vectors: np.ndarray
    is_squared: bool
    places: np.ndarray | None = None
    matrix: np.ndarray | None = None

    def of(self, rows: np.ndarray) -> np.ndarray:
        """Vectors of images, [...] -> [..., d]."""
        return np.asarray(self.vectors[self._places(rows)])

    def between(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Distances of each of q images from each of r: rows [t, q], [t, r] -> [t, q, r]."""
        if self.matrix is not None:
            return self.from_squared(self.matrix[self._places(first)[:, :, None], self._places(second)[:, None, :]])
        a, b = self.of(first), self.of(second)
        norms = np.square(a).sum(axis=-1)[:, :, None] + np.square(b).sum(axis=-1)[:, None, :]
        return self.from_squared(norms - 2.0 * np.matmul(a, b.swapaxes(1, 2)))

    def from_squared(self, squared: np.ndarray) -> np.ndarray:
        """The distance whose squared Euclidean distance is given; rounding below 0 is cut off."""
        squared = np.maximum(squared, 0.0)
        return squared if self.is_squared else np.sqrt(squared)

    def with_matrix(self) -> 'ImageDistance':
        """The same distance with all pairs computed by matrix products, for many pairs of few images."""
        n, d = self.vectors.shape
        matrix = np.empty((n, n), self.vectors.dtype)
        norms = np.square(self.vectors).sum(axis=1)
        for block in _blocks(n, d * self.vectors.itemsize):
            rest = slice(block.start, n)
            found = norms[block, None] + norms[None, rest] - 2.0 * (self.vectors[block] @ self.vectors[rest].T)
            matrix[block, rest] = found
            matrix[rest, block] = found.T
        np.fill_diagonal(matrix, 0.0)
        return dataclasses.replace(self, matrix=matrix)

    def _places(self, rows: np.ndarray) -> np.ndarray:
        return rows if self.places is None else self.places[rows]


def colour_distance(images: np.ndarray) -> ImageDistance:
    """Euclidean distance of mean colours, in units of 0 to 255: uint8 [n, h, w, c]."""
    return ImageDistance('colour', images.mean(axis=(1, 2), dtype=np.float64), is_squared=False)


def label_distance(labels: np.ndarray) -> ImageDistance:
    """0 for equal labels, 1 for different ones: [n]."""
    one_hot = labels[:, None] == np.unique(labels)
    return ImageDistance('label', one_hot * np.sqrt(0.5), is_squared=True)


def cosine_distance(name: str, features: np.ndarray) -> ImageDistance:
    """One minus the cosine of two images' features, [n, d], half the squared distance of unit vectors.

    The distance of an image whose features are all 0 from others is 1/2.
    """
    values = np.asarray(features, np.float32)
    norm = np.linalg.norm(values, axis=1, keepdims=True)
    return ImageDistance(name, values / np.where(norm > 0, norm, 1.0) * np.float32(np.sqrt(0.5)), is_squared=True)


def embedded_distance(
    name: str,
    embed: Callable[[np.ndarray], np.ndarray],
    images: np.ndarray,
    rows: np.ndarray,
    *,
    batch_size: int,
    max_bytes: float,
    folder: str | None = None,
) -> ImageDistance:
    """Squared Euclidean distance of embeddings, which are computed once for each image that is needed.

    Args:
        name: Name of the distance.
        embed: `images [b, h, w, c] -> vectors [b, d]`.
        images: All images, [n, h, w, c].
        rows: Rows that are needed, in any order and with repeats.
        batch_size: Images at a time.
        max_bytes: Vectors that take more are kept in a temporary file instead of in memory.
        folder: Where that file lies; None for the system's folder.
    """
    needed = np.unique(rows)
    places = np.full(len(images), -1, np.int64)
    places[needed] = np.arange(len(needed))
    vectors: np.ndarray | None = None
    for first in range(0, len(needed), batch_size):
        chosen = needed[np.minimum(np.arange(first, first + batch_size), len(needed) - 1)]  # one shape, one program
        found = np.asarray(embed(images[chosen]), np.float32)
        if vectors is None:
            vectors = _array((len(needed), found.shape[1]), max_bytes, folder)
        vectors[first : first + batch_size] = found[: len(needed) - first]
    assert vectors is not None
    return ImageDistance(name, vectors, is_squared=True, places=places)


def mean_distance(distance: ImageDistance, rows: np.ndarray) -> np.ndarray:
    """Mean distance over the m (m - 1) / 2 distinct pairs of each unit's images: rows [u, m] -> float64 [u]."""
    m = rows.shape[1]
    first, second = np.triu_indices(m, 1)
    found = np.empty(len(rows))
    for block in _blocks(len(rows), m * distance.vectors.shape[1] * distance.vectors.itemsize):
        vectors = distance.of(rows[block])  # [u, m, d]
        pairs = [np.square(vectors[:, i] - vectors[:, j]).sum(axis=-1) for i, j in zip(first, second)]
        found[block] = distance.from_squared(np.stack(pairs)).mean(axis=0, dtype=np.float64)
    return found


def seed_compat(mean_of_pairs: np.ndarray, n_meis: int) -> np.ndarray:
    """The mean over all m^2 ordered pairs, self pairs with distance 0 among them: 0.8 of the mean for five images."""
    return mean_of_pairs * (1.0 - 1.0 / n_meis)


def _array(shape: tuple[int, int], max_bytes: float, folder: str | None) -> np.ndarray:
    """An array in memory, or in a file that vanishes with it."""
    if 4.0 * shape[0] * shape[1] <= max_bytes:
        return np.empty(shape, np.float32)
    with tempfile.TemporaryFile(dir=folder) as file:  # stays until the array is gone
        return np.memmap(file, np.float32, 'w+', shape=shape)


def _blocks(n: int, bytes_each: int) -> list[slice]:
    size = max(1, _BYTES // max(bytes_each, 1))
    return [slice(first, first + size) for first in range(0, n, size)]
