"""The classical linear code of images, principal components of their pixels: a strong baseline for a learned one."""

import dataclasses
from collections.abc import Iterator

import numpy as np
import scipy.linalg

_CHUNK = 4096  # images converted at a time


@dataclasses.dataclass(frozen=True)
class LinearCode:
    """Images as their mean plus a sum of components.

    Attributes:
        mean: Mean image in [0, 1], float32 [d], d = h w c.
        components: Orthonormal, the one with the most variance first, float32 [d, z].
        image_shape: (h, w, c).
    """

    mean: np.ndarray
    components: np.ndarray
    image_shape: tuple[int, ...]

    def encode(self, images: np.ndarray) -> np.ndarray:
        """Coefficients: uint8 [n, h, w, c] -> float32 [n, z]."""
        return np.concatenate([part @ self.components for part in _centred(images, self.mean)])

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """Images of the first m coefficients, cut to [0, 1], which only brings them nearer: [n, m] -> [n, h, w, c]."""
        flat = codes @ self.components[:, : codes.shape[1]].T + self.mean[None]
        return np.clip(flat, 0.0, 1.0).reshape(-1, *self.image_shape)


def fit_linear_code(images: np.ndarray, n_components: int) -> LinearCode:
    """Principal components of images, from a covariance summed in float64 over chunks.

    Args:
        images: uint8, [n, h, w, c].
        n_components: At most n and at most h w c.

    Raises:
        ValueError: More components are asked for than there are images or pixel values.
    """
    n, d = len(images), int(np.prod(images.shape[1:]))
    if not 0 <= n_components <= min(n, d):
        raise ValueError(f'{n} images of {d} values have at most {min(n, d)} components, not {n_components}.')
    total = np.zeros(d)
    for start in range(0, n, _CHUNK):
        total += images[start : start + _CHUNK].reshape(-1, d).sum(axis=0, dtype=np.float64)
    mean = (total / n / 255.0).astype(np.float32)
    if n_components == 0:
        return LinearCode(mean, np.zeros((d, 0), np.float32), images.shape[1:])
    if n <= d:  # few images: right singular vectors of the images themselves
        _, _, rows = scipy.linalg.svd(np.concatenate(list(_centred(images, mean))), full_matrices=False)
        vectors = rows[:n_components].T
    else:
        covariance = np.zeros((d, d))
        for part in _centred(images, mean):
            covariance += part.T @ part
        wanted = (d - n_components, d - 1)  # of eigenvalues in rising order
        vectors = scipy.linalg.eigh(covariance / n, subset_by_index=wanted, overwrite_a=True)[1][:, ::-1]
    return LinearCode(mean, np.ascontiguousarray(vectors, np.float32), images.shape[1:])


def _centred(images: np.ndarray, mean: np.ndarray) -> Iterator[np.ndarray]:
    """Pixel values in [0, 1] less their means, float32, a chunk of images at a time: [m, d]."""
    for start in range(0, len(images), _CHUNK):
        yield images[start : start + _CHUNK].reshape(-1, len(mean)).astype(np.float32) / np.float32(255) - mean[None]
