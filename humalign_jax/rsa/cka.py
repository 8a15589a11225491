"""Centred kernel alignment of two feature sets: 0 for unrelated ones, 1 for equal ones up to what the kernel ignores.

Linear CKA needs only the features' cross-products, [d, e], or the Gram matrices, [n, n], whichever are smaller; with
features the sums run over blocks of stimuli, so memory does not grow with their number.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

_CHUNK = 4096  # stimuli per block


def linear_cka(x: np.ndarray, y: np.ndarray, *, debiased: bool = False) -> float:
    """Linear centred kernel alignment.

    Unchanged by rotation and common scale of the features of either set. The plain estimate grows towards 1 with the
    number of features over stimuli; the debiased one is 0 on average for independent sets and may be negative.

    Args:
        x: Features of one system, [n, d].
        y: Features of the other for the same stimuli, [n, e].
        debiased: Use the unbiased estimate of each alignment (needs at least four stimuli).

    Returns:
        Similarity, in [0, 1], or up to 1 if debiased. NaN if a set is constant.

    Raises:
        ValueError: The sets do not fit, or hold NaN or Inf.

    References:
        Kornblith et al. (2019). arXiv:1905.00414
        Song et al. (2012), unbiased estimator. JMLR 13
    """
    x, y = checked_pair(x, y, 4 if debiased else 2)
    n = len(x)
    x, y = _centred(x), _centred(y)
    if n < max(x.shape[1], y.shape[1]):
        gram_x, gram_y = _product(x.T, x.T), _product(y.T, y.T)
        cross = [float(np.vdot(a, b)) for a, b in ((gram_x, gram_y), (gram_x, gram_x), (gram_y, gram_y))]
    else:
        cross = [float(np.sum(_product(a, b) ** 2)) for a, b in ((x, y), (x, x), (y, y))]
    if debiased:
        length_x, length_y = np.einsum('nd,nd->n', x, x), np.einsum('nd,nd->n', y, y)
        pairs = ((length_x, length_y), (length_x, length_x), (length_y, length_y))
        cross = [_debiased(c, a, b) for c, (a, b) in zip(cross, pairs)]
    return _ratio(*cross)


def rbf_cka(x: np.ndarray, y: np.ndarray, *, bandwidth: float = 1.0, debiased: bool = False) -> float:
    """Centred kernel alignment with Gaussian kernels exp(-|x - x'|^2 / (2 s^2)).

    Args:
        x: Features of one system, [n, d].
        y: Features of the other for the same stimuli, [n, e].
        bandwidth: s, as a multiple of the median distance between different stimuli of the set.
        debiased: Use the unbiased estimate of each alignment (needs at least four stimuli).

    Returns:
        Similarity, in [0, 1], or up to 1 if debiased. NaN if a set is constant. Holds two [n, n] kernels.

    Raises:
        ValueError: The sets do not fit, hold NaN or Inf, or the bandwidth is not positive.
    """
    x, y = checked_pair(x, y, 4 if debiased else 2)
    if not bandwidth > 0:
        raise ValueError(f'bandwidth must be positive, not {bandwidth}.')
    kernel_x, kernel_y = _gaussian_kernel(x, bandwidth), _gaussian_kernel(y, bandwidth)
    if debiased:
        return _ratio(*(_unbiased_hsic(a, b) for a, b in ((kernel_x, kernel_y), (kernel_x,) * 2, (kernel_y,) * 2)))
    for kernel in (kernel_x, kernel_y):
        kernel -= kernel.mean(axis=0, keepdims=True)
        kernel -= kernel.mean(axis=1, keepdims=True)
    return _ratio(*(float(np.vdot(a, b)) for a, b in ((kernel_x, kernel_y), (kernel_x,) * 2, (kernel_y,) * 2)))


def checked_pair(x: np.ndarray, y: np.ndarray, least: int) -> tuple[np.ndarray, np.ndarray]:
    """Both feature sets as float64, or a ValueError that says what does not fit."""
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if x.ndim != 2 or y.ndim != 2 or len(x) != len(y) or len(x) < least:
        raise ValueError(
            f'two feature sets [n, d] and [n, e] of the same stimuli, n at least {least}, are needed, '
            f'not {x.shape} and {y.shape}.'
        )
    for name, values in (('first', x), ('second', y)):
        finite = np.isfinite(values).all(axis=1)
        if not finite.all():
            raise ValueError(
                f'{int((~finite).sum())} stimuli of the {name} feature set have NaN or Inf, first stimulus '
                f'{int(np.flatnonzero(~finite)[0])}: leave them out.'
            )
    return x, y


def _centred(x: np.ndarray) -> np.ndarray:
    return x - x.mean(axis=0)


@functools.partial(jax.jit, donate_argnums=0)
def _add_product(total, x, y):
    return total + jnp.matmul(x.T, y, precision=jax.lax.Precision.HIGHEST).astype(total.dtype)


def _product(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """x' y over blocks of rows in float32, summed in float64: [n, d], [n, e] -> [d, e]."""
    with jax.enable_x64(True):
        total = jnp.zeros((x.shape[1], y.shape[1]), jnp.float64)
        for start in range(0, len(x), _CHUNK):
            rows = slice(start, start + _CHUNK)
            total = _add_product(total, x[rows].astype(np.float32), y[rows].astype(np.float32))
        return np.asarray(total)


def _debiased(cross: float, length_x: np.ndarray, length_y: np.ndarray) -> float:
    """Unbiased HSIC of linear kernels of centred features, times n (n - 3).

    Args:
        cross: Squared Frobenius norm of x' y of the centred features.
        length_x: Squared lengths of the centred rows, the diagonal of the kernel, [n].
        length_y: The same of the other set.
    """
    n = len(length_x)
    # The unbiased estimate ignores a constant added to rows and columns, so the centred kernels K, L serve; their rows
    # sum to zero, so with the diagonal removed each row sums to -length.
    trace = cross - float(length_x @ length_y)
    sums = float(length_x.sum()) * float(length_y.sum()) / ((n - 1) * (n - 2))
    return trace + sums - 2 / (n - 2) * float(length_x @ length_y)


def _unbiased_hsic(kernel_x: np.ndarray, kernel_y: np.ndarray) -> float:
    """Unbiased HSIC, times n (n - 3), of any two kernels [n, n]; their diagonals do not count."""
    n = len(kernel_x)
    diagonal_x, diagonal_y = np.diagonal(kernel_x), np.diagonal(kernel_y)
    rows_x, rows_y = kernel_x.sum(axis=1) - diagonal_x, kernel_y.sum(axis=1) - diagonal_y
    trace = float(np.vdot(kernel_x, kernel_y)) - float(diagonal_x @ diagonal_y)
    sums = float(rows_x.sum()) * float(rows_y.sum()) / ((n - 1) * (n - 2))
    return trace + sums - 2 / (n - 2) * float(rows_x @ rows_y)


def _gaussian_kernel(x: np.ndarray, bandwidth: float) -> np.ndarray:
    """exp(-d^2 / (2 s^2)) with s = bandwidth * median distance, [n, n]; all ones if the median is 0."""
    x = _centred(x)
    lengths = np.einsum('nd,nd->n', x, x)
    square = np.maximum(lengths[:, None] + lengths[None, :] - 2 * x @ x.T, 0)
    np.fill_diagonal(square, 0)
    median = float(np.median(np.sqrt(square[np.triu_indices(len(x), 1)])))
    return np.exp(-square / (2 * (bandwidth * median) ** 2)) if median > 0 else np.ones_like(square)


def _ratio(cross: float, x: float, y: float) -> float:
    return cross / float(np.sqrt(x * y)) if x > 0 and y > 0 else float('nan')
