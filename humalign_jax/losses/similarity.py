"""Similarity of an image and its reconstruction, PSNR and SSIM: larger is more similar. For scoring, not training."""

import jax
import jax.numpy as jnp
import numpy as np

_WINDOW = 11  # px, and the standard deviation of the Gaussian in it: Wang et al. (2004), section III.B
_SIGMA_PX = 1.5
_K1, _K2 = 0.01, 0.03


def psnr(recon: jax.Array, image: jax.Array, data_range: float = 1.0) -> jax.Array:
    """Peak signal-to-noise ratio of each image in decibels: [b, h, w, c], [b, h, w, c] -> [b].

    10 log10(data_range^2 / mean squared error of the image); infinite where the two are equal.
    """
    return 10.0 * jnp.log10(data_range**2 / jnp.mean((recon - image) ** 2, axis=(1, 2, 3)))


def ssim(recon: jax.Array, image: jax.Array, data_range: float = 1.0) -> jax.Array:
    """Structural similarity index of each image, averaged over positions and channels.

    A Gaussian window of 11 x 11 px with a standard deviation of 1.5 px, K1 = 0.01, K2 = 0.03, only where the whole
    window is inside the image. 1 for equal images, 0 for unrelated images, negative for inverted contrast.

    Args:
        recon: [b, h, w, c], h and w at least 11.
        image: Of the same shape.
        data_range: Largest minus smallest possible value.

    Returns:
        In [-1, 1], no unit, [b]. Equal to skimage.metrics.structural_similarity with gaussian_weights=True, sigma=1.5,
        use_sample_covariance=False and a channel axis.

    Raises:
        ValueError: The images are smaller than the window.

    References:
        Wang, Bovik, Sheikh & Simoncelli (2004). doi:10.1109/TIP.2003.819861
    """
    _, h, w, _ = image.shape
    if min(h, w) < _WINDOW:
        raise ValueError(f'SSIM has a window of {_WINDOW} x {_WINDOW} px, but the images are {h} x {w}.')
    rows, columns = _window_means(h), _window_means(w)

    def local_mean(x: jax.Array) -> jax.Array:
        return jnp.einsum('yh,bhwc,xw->byxc', rows, x, columns, precision='highest')

    mean_x, mean_y = local_mean(recon), local_mean(image)
    var_x = local_mean(recon**2) - mean_x**2
    var_y = local_mean(image**2) - mean_y**2
    covariance = local_mean(recon * image) - mean_x * mean_y
    c1, c2 = (_K1 * data_range) ** 2, (_K2 * data_range) ** 2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    structure = (2 * covariance + c2) / (var_x + var_y + c2)
    return jnp.mean(luminance * structure, axis=(1, 2, 3))


def _window_means(size: int) -> np.ndarray:
    """Gaussian averages over every window that fits into a line, as a matrix: [size - 10, size]."""
    offsets = np.arange(_WINDOW) - _WINDOW // 2
    window = np.exp(-0.5 * (offsets / _SIGMA_PX) ** 2)
    banded = np.zeros((size - _WINDOW + 1, size), np.float32)
    for i, row in enumerate(banded):
        row[i : i + _WINDOW] = window / window.sum()
    return banded
