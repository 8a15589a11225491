"""Centred kernel alignment (CKA) of two feature sets with linear kernels.

Linear CKA needs only the features' cross-products, [d, e], or the Gram matrices, [n, n], whichever are smaller; with
features the sums run over blocks of stimuli, so memory does not grow with their number.
"""

import jax
import jax.numpy as jnp
import numpy as np

from humalign_jax import arrays
from humalign_jax.devices import compiled
from humalign_jax.records import Features
from humalign_jax.rsa.distances.tiles import PLAIN_EXPONENTS
from humalign_jax.rsa.pairs import join_features

_CHUNK = 4096  # stimuli per block


def linear_cka(x: Features | np.ndarray, y: Features | np.ndarray, *, debiased: bool = False) -> float:
    """Linear centred kernel alignment.

    Unchanged by rotation and common scale of the features of either set. The plain estimate grows towards 1 with the
    number of features over stimuli; the debiased one is 0 on average for independent sets and may be negative.

    Args:
        x: Features of one system, [n, d].
        y: Features of the other for the same stimuli, [n, e]. Records are joined by stimulus id, arrays by position.
        debiased: Use the unbiased estimate of each alignment (needs at least four stimuli).

    Returns:
        Similarity, in [0, 1], or up to 1 if debiased. NaN if a set is constant.

    Raises:
        ValueError: The sets do not fit, or hold NaN or Inf.

    References:
        Kornblith et al. (2019). arXiv:1905.00414
        Song et al. (2012), unbiased estimator. JMLR 13

    Example:
        >>> x = np.random.default_rng(0).normal(size=(50, 5))
        >>> round(rsa.linear_cka(x, 3.0 * x[:, ::-1]), 6)  # scale and rotation do not count
        1.0
    """
    a, b = (_centred(z) for z in checked_pair(x, y, 4 if debiased else 2))
    if len(a) < max(a.shape[1], b.shape[1]):
        gram_a, gram_b = _product(a.T, a.T), _product(b.T, b.T)
        cross = [float(np.vdot(*two)) for two in ((gram_a, gram_b), (gram_a, gram_a), (gram_b, gram_b))]
    else:
        cross = [float(np.sum(_product(*two) ** 2)) for two in ((a, b), (a, a), (b, b))]
    if debiased:
        length_a, length_b = np.einsum('nd,nd->n', a, a), np.einsum('nd,nd->n', b, b)
        pairs = ((length_a, length_b), (length_a, length_a), (length_b, length_b))
        cross = [_debiased(c, *two) for c, two in zip(cross, pairs)]
    return alignment(*cross)


def checked_pair(x: Features | np.ndarray, y: Features | np.ndarray, least: int) -> tuple[np.ndarray, np.ndarray]:
    """Both feature sets as float64, records joined by stimulus id, or a ValueError that says what is wrong.

    Features far from 1 are divided by a power of two, since squares of 1e20 do not fit float32. No index depends on it.
    """
    if isinstance(x, Features) and isinstance(y, Features):
        y = join_features(x, y)
    values = [one.values if isinstance(one, Features) else one for one in (x, y)]
    a, b = (
        np.asarray(arrays.real(one, f'the {name} feature set'), np.float64)
        for name, one in zip(('first', 'second'), values)
    )
    if a.ndim != 2 or b.ndim != 2 or len(a) != len(b) or len(a) < least:
        raise ValueError(
            f'two feature sets [n, d] and [n, e] of the same stimuli, n at least {least}, are needed, '
            f'not {a.shape} and {b.shape}.'
        )
    for name, values in (('first', a), ('second', b)):
        finite = np.isfinite(values).all(axis=1)
        if not finite.all():
            raise ValueError(
                f'{int((~finite).sum())} stimuli of the {name} feature set have NaN or Inf, first stimulus '
                f'{int(np.flatnonzero(~finite)[0])}: leave them out.'
            )
    return _near_one(a), _near_one(b)


def _near_one(x: np.ndarray) -> np.ndarray:
    """Features over the power of two next to the largest of them, if that is above 1e6 or below 1e-6."""
    exponent = int(np.frexp(np.max(np.abs(x), initial=0.0))[1])
    return x if exponent in PLAIN_EXPONENTS else np.ldexp(x, -exponent)


def _centred(x: np.ndarray) -> np.ndarray:
    return x - x.mean(axis=0)


@compiled(donate_argnums=0)
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


def alignment(cross: float, x: float, y: float) -> float:
    """HSIC of two kernels, normalised by the HSIC of each with itself; NaN where one of the latter is not positive."""
    return float(cross / np.sqrt(x * y)) if x > 0 and y > 0 else float('nan')
