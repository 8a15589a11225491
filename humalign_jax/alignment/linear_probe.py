"""How well a linear read-out tells categories apart: multinomial logistic regression on fixed features.

The features are standardised by the training stimuli, the strength of the L2 penalty is chosen on validation stimuli,
and only the chosen probe is meant to see test stimuli.
"""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import scipy.linalg
import scipy.optimize
import scipy.special

STRENGTHS = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # of the penalty, beside a mean cross-entropy
_CHUNK = 4096  # stimuli converted at a time
_LEAST_RIDGE = 1e-5  # of the preconditioner, above the rounding errors of a float32 covariance


@dataclasses.dataclass(frozen=True)
class LinearProbe:
    """A fitted read-out, softmax(((x - mean) / scale) @ weights + bias).

    Attributes:
        weights: Of standardised features, [d, k].
        bias: [k].
        mean: Of the training features, [d].
        scale: Their standard deviations; 1 where a feature is constant, [d].
        l2: Strength of the penalty that it was fitted with.
        n_iterations: Of L-BFGS.
        converged: Whether L-BFGS stopped because it was done.
    """

    weights: np.ndarray
    bias: np.ndarray
    mean: np.ndarray
    scale: np.ndarray
    l2: float
    n_iterations: int
    converged: bool

    def logits(self, features: np.ndarray) -> np.ndarray:
        """Unnormalised log probabilities of the classes: [n, d] -> [n, k]."""
        if np.ndim(features) != 2 or features.shape[1] != len(self.mean):
            raise ValueError(f'the probe was fitted on {len(self.mean)} features, not on {np.shape(features)[1:]}.')
        parts = [part @ self.weights for _, part in _standardised(features, self.mean, self.scale)]
        return np.concatenate(parts) + self.bias

    def predict(self, features: np.ndarray) -> np.ndarray:
        """The most probable class of each stimulus: [n, d] -> [n] int64."""
        return self.logits(features).argmax(axis=1)


def fit_probes(
    features: np.ndarray,
    labels: np.ndarray,
    strengths: Sequence[float] = STRENGTHS,
    *,
    n_classes: int,
    tolerance: float = 1e-6,
    max_iterations: int = 1000,
) -> list[LinearProbe]:
    """Multinomial logistic regressions of several strengths, the strongest penalty first.

    Minimises mean cross-entropy + l2 / 2 times the sum of squared weights; the bias is free. L-BFGS runs in coordinates
    in which Boehning's bound on the Hessian is the identity, so that correlated features such as pixels take tens of
    steps instead of thousands; the minimum is the same. Each strength starts where the one before it ended.

    Args:
        features: Of the training stimuli, [n, d], of any number type; computed in float64 if they are float64, else in
            float32, with one standardised copy.
        labels: Class numbers, [n].
        strengths: Values of l2, all above 0.
        n_classes: Number of classes k.
        tolerance: Largest component of the gradient, in those coordinates, at which L-BFGS stops.
        max_iterations: Most iterations for each strength.

    Returns:
        One probe for each strength: scikit-learn's LogisticRegression(C=1 / (n * l2)) on standardised features.

    Raises:
        ValueError: Shapes or labels do not fit, features are not finite, or a strength is not positive.

    References:
        Boehning (1992), Multinomial logistic regression algorithm. doi:10.1007/BF00048682
    """
    features, labels = np.asarray(features), np.asarray(labels)
    if features.ndim != 2 or labels.shape != (len(features),) or len(features) < 2:
        raise ValueError(f'a probe needs features [n, d] and labels [n], not {features.shape} and {labels.shape}.')
    if labels.min() < 0 or labels.max() >= n_classes:
        raise ValueError(f'labels must lie in 0..{n_classes - 1}, but reach from {labels.min()} to {labels.max()}.')
    if not len(strengths) or min(strengths) <= 0:
        raise ValueError(f'strengths of the penalty must be positive, not {tuple(strengths)}.')
    mean, scale = _moments(features)
    if not (np.isfinite(mean).all() and np.isfinite(scale).all()):
        wrong = int(np.flatnonzero(~np.isfinite(mean) | ~np.isfinite(scale))[0])
        raise ValueError(f'feature {wrong} is NaN or infinite for some stimulus: no probe can be fitted.')
    x = np.empty(features.shape, _dtype(features))
    for start, part in _standardised(features, mean, scale):
        x[start : start + len(part)] = part
    basis = None
    if len(x) < len(mean):  # the best weights lie in the span of the stimuli, which has fewer dimensions
        basis = scipy.linalg.qr(x.T, mode='economic')[0]
        x = x @ basis
    covariance = (x.T @ x / len(x)).astype(np.float64)
    start, probes = np.zeros((len(covariance) + 1, n_classes)), []
    for l2 in sorted(strengths, reverse=True):
        start, n_iterations, converged = _minimise(x, labels, l2, covariance, start, tolerance, max_iterations)
        weights, bias = start[:-1].astype(x.dtype), start[-1].astype(x.dtype)
        weights = weights if basis is None else basis @ weights
        probes.append(LinearProbe(weights, bias, mean, scale, float(l2), n_iterations, converged))
    return probes


def choose_probe(
    probes: Sequence[LinearProbe], features: np.ndarray, labels: np.ndarray
) -> tuple[LinearProbe, list[float]]:
    """The probe with the most correct validation stimuli, of equal ones the first.

    Args:
        probes: As `fit_probes` returns them, the strongest penalty first.
        features: Of the validation stimuli, [n, d].
        labels: Their class numbers, [n].

    Returns:
        The probe, and the accuracy of each.
    """
    accuracies = [float((probe.predict(features) == labels).mean()) for probe in probes]
    return probes[int(np.argmax(accuracies))], accuracies


def _minimise(
    x: np.ndarray,
    labels: np.ndarray,
    l2: float,
    covariance: np.ndarray,
    start: np.ndarray,
    tolerance: float,
    max_iterations: int,
) -> tuple[np.ndarray, int, bool]:
    """Weights and, in the last row, bias: [d + 1, k]; iterations; whether L-BFGS was done."""
    n, d = x.shape
    n_classes, rows = start.shape[1], np.arange(n)
    # The Hessian is at most (covariance / 2 + l2) = root' root for every class, and 1/2 for the bias.
    root = scipy.linalg.cholesky(covariance / 2 + max(l2, _LEAST_RIDGE) * np.eye(d))

    def loss_and_gradient(flat: np.ndarray) -> tuple[float, np.ndarray]:
        inner = flat.reshape(d + 1, n_classes)
        weights, bias = scipy.linalg.solve_triangular(root, inner[:-1], check_finite=False), inner[-1]
        log_p = scipy.special.log_softmax((x @ weights.astype(x.dtype)).astype(np.float64) + bias, axis=1)
        loss = -log_p[rows, labels].mean() + 0.5 * l2 * np.sum(weights**2)
        error = np.exp(log_p)
        error[rows, labels] -= 1.0
        gradient = x.T @ (error / n).astype(x.dtype) + l2 * weights
        inner = scipy.linalg.solve_triangular(root, gradient, trans=1, check_finite=False)
        return float(loss), np.concatenate([inner, error.mean(axis=0)[None]]).ravel()

    begin = np.concatenate([root @ start[:-1], start[-1:]])
    # Float32 losses cannot fall by less than this, and L-BFGS would search for a step that lowers them.
    least_fall = 1e-15 if x.dtype == np.float64 else 1e-10
    options = dict(maxiter=max_iterations, maxfun=2 * max_iterations, ftol=least_fall, gtol=tolerance, maxcor=20)
    found = scipy.optimize.minimize(loss_and_gradient, begin.ravel(), jac=True, method='L-BFGS-B', options=options)
    inner = found.x.reshape(d + 1, n_classes)
    weights = scipy.linalg.solve_triangular(root, inner[:-1], check_finite=False)
    # Status 1 means out of iterations; 2, that no step lowers the loss any more in this precision.
    return np.concatenate([weights, inner[-1:]]), int(found.nit), found.status != 1


def _dtype(features: np.ndarray) -> type[np.floating]:
    return np.float64 if features.dtype == np.float64 else np.float32


def _moments(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each feature, float64, in two passes: [n, d] -> [d], [d]."""
    n = len(features)
    chunks = [slice(start, start + _CHUNK) for start in range(0, n, _CHUNK)]
    mean, squares = np.zeros(features.shape[1]), np.zeros(features.shape[1])
    for chunk in chunks:
        mean += features[chunk].sum(axis=0, dtype=np.float64) / n
    for chunk in chunks:
        squares += np.square(features[chunk] - mean).sum(axis=0) / n
    scale = np.sqrt(squares)
    # A constant feature leaves rounding errors behind, which must not be blown up to unit variance.
    return mean, np.where(scale > 1e-12 * np.abs(mean), scale, 1.0)


def _standardised(features: np.ndarray, mean: np.ndarray, scale: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """First row and values of each chunk of standardised features."""
    dtype = _dtype(features)
    for start in range(0, len(features), _CHUNK):
        yield start, ((features[start : start + _CHUNK] - mean) / scale).astype(dtype)
