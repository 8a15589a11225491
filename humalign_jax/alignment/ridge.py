"""Ridge and banded ridge regression of many responses, a penalty for each, from one eigendecomposition.

The smaller Gram matrix of the features, X X' or X'X, is decomposed once in double precision. All penalties and all
responses follow from it by matrix products on the device, in batches of responses, so that memory does not grow with
their number.

References:
    Hoerl & Kennard (1970), Technometrics (ridge). Allen (1974), Technometrics (leave-one-out errors in closed form).
    Dupré la Tour, Eickenberg, Nunez-Elizalde & Gallant (2022), NeuroImage (banded ridge by random search).
    doi:10.1016/j.neuroimage.2022.119728
"""

import dataclasses
import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

DTYPES = ('float32', 'float64')
_BATCH_BYTES = 256e6  # of one array of a batch, [n, responses]


@dataclasses.dataclass(frozen=True)
class RidgeFit:
    """Predictions, and what was chosen for each response.

    Attributes:
        predictions: Of the test rows, [m, v].
        penalty: [v].
        weights: Number of the chosen band weights, int64, [v]; 0 where there is one set of weights.
        error: Mean squared error of the inner cross-validation, [v].
    """

    predictions: np.ndarray
    penalty: np.ndarray
    weights: np.ndarray
    error: np.ndarray


@dataclasses.dataclass(frozen=True)
class _Basis:
    """The eigendecomposition of the Gram matrix of centred features, X = U S^(1/2) V'.

    Attributes:
        u: U, [n, k]; columns of eigenvalue 0 are 0.
        s: Eigenvalues, [k].
        test: X_test V S^(1/2), [m, k].
        full: Whether U spans all centred vectors, so that nothing of a response is outside of it.
    """

    u: jax.Array
    s: jax.Array
    test: jax.Array
    full: bool


def fit_ridge(
    train: Sequence[np.ndarray],
    responses: np.ndarray,
    test: Sequence[np.ndarray],
    *,
    penalties: Sequence[float],
    weights: np.ndarray | None = None,
    groups: np.ndarray | None = None,
    dtype: str = 'float32',
    batch: int = 0,
) -> RidgeFit:
    """Ridge regression with intercept; for each response the penalty (and band weights) of least inner error.

    The loss is the sum of squared errors + penalty * sum over bands of squared coefficients / weight of the band.

    Args:
        train: Features of each band (feature space), [n, d] each.
        responses: [n, v], finite.
        test: Features of the rows to predict, [m, d] each.
        penalties: Penalties, above 0.
        weights: Sets of band weights, [g, bands], none below 0, one above 0 in each set; None for ones.
        groups: Groups of the n rows for inner leave-one-group-out cross-validation, [n]; None for leave-one-out over
            rows, which assumes that errors of different rows are independent.
        dtype: Of the matrix products, 'float32' or 'float64'; the decomposition is in float64.
        batch: Number of responses at a time; 0 for as many as 256 MB hold.

    Returns:
        The fit. With one band and `groups=None`, penalties and predictions are those of
        sklearn.linear_model.RidgeCV(alphas=penalties, alpha_per_target=True).

    Raises:
        ValueError: Sizes do not fit together, or there is one group only.
    """
    sets = np.ones((1, len(train))) if weights is None else np.asarray(weights, np.float64)
    _check(train, responses, test, penalties, sets, groups)
    inner = [] if groups is None else [np.asarray(groups) == group for group in np.unique(groups).tolist()]
    n, v = responses.shape
    batch = min(v, batch or max(1, int(_BATCH_BYTES // (np.dtype(dtype).itemsize * n))))
    predictions = np.zeros((len(test[0]), v), dtype)
    penalty, chosen, error = np.zeros(v), np.zeros(v, np.int64), np.full(v, np.inf)
    with jax.enable_x64(True):
        strengths = jnp.asarray(np.asarray(penalties, dtype))
        for number, one in enumerate(sets):
            x, x_test = (_weighted(bands, one) for bands in (train, test))
            basis = _decompose(x, x_test, dtype)
            folds = [(~mask, mask, _decompose(x[~mask], x[mask], dtype)) for mask in inner]
            for start in range(0, v, batch):
                part = slice(start, min(v, start + batch))
                y, mean = _columns(responses, part, batch, dtype)
                if folds:
                    errors = sum(
                        _held_out_errors(fold.u, fold.s, fold.test, y[rows], y[mask], strengths)
                        for rows, mask, fold in folds
                    )
                else:
                    errors = _leave_one_out_errors(basis.u, basis.s, y, strengths, full=basis.full)
                best = jnp.argmin(errors, axis=0)
                least = np.asarray(jnp.take_along_axis(errors, best[None], axis=0)[0])[: part.stop - start] / n
                better = least < error[part]
                if better.any():
                    made = np.asarray(_predict(basis.u, basis.s, basis.test, y, strengths[best]))
                    made = made[:, : part.stop - start] + mean
                    predictions[:, part] = np.where(better, made, predictions[:, part])
                    picked = np.asarray(penalties, np.float64)[np.asarray(best)][: part.stop - start]
                    penalty[part] = np.where(better, picked, penalty[part])
                    chosen[part] = np.where(better, number, chosen[part])
                    error[part] = np.where(better, least, error[part])
    return RidgeFit(predictions, penalty, chosen, error)


def band_weights(n_bands: int, n_samples: int, *, seed: int) -> np.ndarray:
    """Sets of band weights for random search: equal weights, each band alone, then Dirichlet(1) samples.

    Returns:
        [n_samples, n_bands]; rows sum to 1. With one band, one set.
    """
    if n_bands == 1:
        return np.ones((1, 1))
    fixed = np.concatenate([np.full((1, n_bands), 1.0 / n_bands), np.eye(n_bands)])
    more = np.random.default_rng(seed).dirichlet(np.ones(n_bands), size=max(0, n_samples - len(fixed)))
    return np.concatenate([fixed, more])[:n_samples]


def _check(
    train: Sequence[np.ndarray],
    responses: np.ndarray,
    test: Sequence[np.ndarray],
    penalties: Sequence[float],
    sets: np.ndarray,
    groups: np.ndarray | None,
) -> None:
    n = len(responses)
    for x, x_test in zip(train, test, strict=True):
        if len(x) != n or x.shape[1] != x_test.shape[1]:
            raise ValueError(
                f'features {list(x.shape)} and {list(x_test.shape)} do not fit each other or {n} responses.'
            )
    if n < 3:
        raise ValueError(f'ridge regression needs three training rows or more, not {n}.')
    if not len(penalties) or not min(penalties) > 0:
        raise ValueError(f'penalties must be above 0, not {tuple(penalties)}.')
    if sets.ndim != 2 or sets.shape[1] != len(train) or sets.min() < 0 or not sets.any(axis=1).all():
        raise ValueError(f'band weights must be [sets, {len(train)}], none below 0, and not all 0 in a set.')
    if groups is not None and len(np.unique(groups)) < 2:
        raise ValueError('inner cross-validation over groups needs two groups or more in the training rows.')


def _weighted(bands: Sequence[np.ndarray], weights: np.ndarray) -> np.ndarray:
    """Bands times the root of their weights, side by side; bands of weight 0 are left out: [n, d]."""
    kept = [np.sqrt(weight) * np.asarray(band, np.float64) for band, weight in zip(bands, weights) if weight > 0]
    return kept[0] if len(kept) == 1 else np.concatenate(kept, axis=1)


def _decompose(x: np.ndarray, x_test: np.ndarray, dtype: str) -> _Basis:
    mean = x.mean(axis=0)
    u, s, test = _eigen(jnp.asarray(x - mean), jnp.asarray(x_test - mean), dtype=dtype)
    return _Basis(u, s, test, full=int((s > 0).sum()) >= len(x) - 1)


@functools.partial(jax.jit, static_argnames='dtype')
def _eigen(x: jax.Array, x_test: jax.Array, *, dtype: str) -> tuple[jax.Array, jax.Array, jax.Array]:
    n, d = x.shape
    if n <= d:
        s, u = jnp.linalg.eigh(x @ x.T)
        test = (x_test @ x.T) @ u
    else:
        s, v = jnp.linalg.eigh(x.T @ x)
        root = jnp.sqrt(jnp.maximum(s, jnp.finfo(s.dtype).tiny))[None]
        u, test = x @ v / root, x_test @ v * root
    known = s > jnp.finfo(s.dtype).eps * max(n, d) * s[-1]
    u, test = (jnp.where(known[None], values, 0.0).astype(dtype) for values in (u, test))
    return u, jnp.where(known, s, 0.0).astype(dtype), test


def _columns(responses: np.ndarray, part: slice, batch: int, dtype: str) -> tuple[jax.Array, np.ndarray]:
    """Centred responses of a batch, padded with zeros to [n, batch], and their means."""
    y = np.zeros((len(responses), batch), dtype)
    some = responses[:, part]
    mean = some.mean(axis=0, dtype=np.float64)
    y[:, : some.shape[1]] = some - mean
    return jnp.asarray(y), mean.astype(dtype)


_dot = functools.partial(jnp.matmul, precision='highest')  # a GPU would round float32 to TF32


@functools.partial(jax.jit, static_argnames='full')
def _leave_one_out_errors(u: jax.Array, s: jax.Array, y: jax.Array, penalties: jax.Array, *, full: bool) -> jax.Array:
    """Sum of squared leave-one-out errors of each penalty: [n, k], [k], [n, v], [p] -> [p, v].

    The error of a row is its residual over one minus its leverage. Both are sums of terms of one sign over the
    eigenvectors and over what they leave, so that small penalties lose no digits.
    """
    n = len(y)
    z, squares = _dot(u.T, y), u**2
    left = jnp.zeros_like(y) if full else y - _dot(u, z)
    unspanned = jnp.zeros(n, y.dtype) if full else 1.0 - 1.0 / n - squares.sum(axis=1)

    def of_penalty(penalty: jax.Array) -> jax.Array:
        shrunk = penalty / (s + penalty)
        residual = left + _dot(u, shrunk[:, None] * z)
        return ((residual / (unspanned + _dot(squares, shrunk))[:, None]) ** 2).sum(axis=0)

    return jax.lax.map(of_penalty, penalties)


@jax.jit
def _held_out_errors(
    u: jax.Array, s: jax.Array, test: jax.Array, y: jax.Array, y_test: jax.Array, penalties: jax.Array
) -> jax.Array:
    """Sum of squared errors of held-out rows for each penalty, [p, v]."""
    mean = y.mean(axis=0, keepdims=True)
    z, target = _dot(u.T, y - mean), y_test - mean

    def of_penalty(penalty: jax.Array) -> jax.Array:
        return ((target - _dot(test, z / (s + penalty)[:, None])) ** 2).sum(axis=0)

    return jax.lax.map(of_penalty, penalties)


@jax.jit
def _predict(u: jax.Array, s: jax.Array, test: jax.Array, y: jax.Array, penalty: jax.Array) -> jax.Array:
    """Predictions less the mean of the training rows, [m, v]; a penalty for each response, [v]."""
    return _dot(test, _dot(u.T, y) / (s[:, None] + penalty[None]))
