"""Distances between two stimuli's features, under SciPy's names and with SciPy's values.

Every distance is written once as a function of two vectors. Those that are half a squared distance between transformed
rows carry that transform too, so that a whole tile of pairs is one matrix product (`rsa.distances.tiles`):

    1 - cos(x, y) = |x/|x| - y/|y||^2 / 2,      1 - r(x, y) = 1 - cos(x - mean x, y - mean y)

The transform runs in float64, and the mean row is subtracted before rounding to float32. Squared distances do not
change, and float32 keeps the digits that a common offset would take.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from humalign_jax.rsa.distances import noise


def correlation(x: jax.Array, y: jax.Array) -> jax.Array:
    """Correlation distance, one minus Pearson's r, of two feature vectors.

    0 for vectors equal up to offset and positive scale, 2 for opposite ones. NaN if a vector is constant.

    Args:
        x: Features of one stimulus, [d].
        y: Features of another stimulus, [d].

    Returns:
        Distance in [0, 2], no unit, []. Equal to scipy.spatial.distance.correlation.

    References:
        Kriegeskorte, Mur & Bandettini (2008). doi:10.3389/neuro.06.004.2008
    """
    return cosine(x - x.mean(), y - y.mean())


def cosine(x: jax.Array, y: jax.Array) -> jax.Array:
    """One minus the cosine of the angle between two vectors, in [0, 2]; NaN for a zero vector: [d], [d] -> []."""
    return 1.0 - x @ y / jnp.sqrt((x @ x) * (y @ y))


def sqeuclidean(x: jax.Array, y: jax.Array) -> jax.Array:
    """Sum of squared differences, in squared feature units: [d], [d] -> []."""
    return jnp.sum((x - y) ** 2)


def euclidean(x: jax.Array, y: jax.Array) -> jax.Array:
    """Root of the sum of squared differences, in feature units: [d], [d] -> []."""
    return jnp.sqrt(sqeuclidean(x, y))


def cityblock(x: jax.Array, y: jax.Array) -> jax.Array:
    """Sum of absolute differences, in feature units: [d], [d] -> []."""
    return jnp.sum(jnp.abs(x - y))


def chebyshev(x: jax.Array, y: jax.Array) -> jax.Array:
    """Largest absolute difference, in feature units: [d], [d] -> []."""
    return jnp.max(jnp.abs(x - y))


def jensenshannon(p: jax.Array, q: jax.Array) -> jax.Array:
    """Root of the Jensen-Shannon divergence of two distributions, in root nats, in [0, sqrt(ln 2)].

    With m = (p + q)/2 and t = (p - q)/(p + q) the divergence is the mean over both of m ((1 + t) ln(1 + t) +
    (1 - t) ln(1 - t)), written here without the terms that cancel for similar distributions.

    Args:
        p: Non-negative values, [d]; scaled to sum one.
        q: Non-negative values, [d]; scaled to sum one.

    Returns:
        Distance, []. Equal to scipy.spatial.distance.jensenshannon.
    """
    p, q = p / p.sum(), q / q.sum()
    total = p + q
    t = jnp.abs(p - q) / jnp.where(total > 0, total, 1)
    inner = jnp.where(t < 1, t, 0)  # log1p(-1) is -inf; the limit at t = 1 is 2 ln 2
    terms = jnp.where(
        t < 1,
        inner * (jnp.log1p(inner) - jnp.log1p(-inner)) + jnp.log1p(-inner * inner),
        2 * jnp.log(jnp.asarray(2, t.dtype)),
    )
    return jnp.sqrt(jnp.sum(total * terms) / 4)


def whitened_euclidean(x: jax.Array, y: jax.Array) -> jax.Array:
    """Mahalanobis distance of two rows that `whitening` has already been applied to: [d], [d] -> []."""
    return euclidean(x, y)


@dataclasses.dataclass(frozen=True)
class Distance:
    """How one distance is computed over many pairs.

    Attributes:
        name: SciPy's name.
        pair: The distance of two vectors.
        rows: Applied to each stimulus in float64 beforehand, [m, d] -> [m, d]; None: nothing is.
        product: How the distance follows from s = |x - y|^2 of the transformed rows: 'half' (s/2), 'square' (s), 'root'
            (square root of s); '' where it does not, and `pair` is mapped over the pairs.
        bounded: True if the distance cannot exceed a number that is known from the rows' lengths and if errors
            relative to that number are harmless; its float32 values then lie on a grid (see `rsa.distances.tiles`).
        undefined: The kind of finite row whose distances are undefined, for messages; '' if there is none.
        ignores: Invariance of the distance. With it, distances of discrete features follow from exact sums
            (`rsa.distances.discrete`): 'row scale', 'row scale and offset' or 'offset'; '' for none.
        of_differences: True if it depends on x - y alone and is proportional to it: a common offset and a scale of the
            features can be taken out before they are rounded.
    """

    name: str
    pair: Callable[[jax.Array, jax.Array], jax.Array]
    rows: Callable[[np.ndarray], np.ndarray] | None = None
    product: str = ''
    bounded: bool = False
    undefined: str = ''
    ignores: str = ''
    of_differences: bool = False

    @property
    def degree(self) -> int:
        """Distances scale with this power of a common scale of the features; 0 if they are not `of_differences`."""
        return {'square': 2}.get(self.product, 1) if self.of_differences else 0


def check_pair(distance: Distance, width: int, dtype: np.dtype) -> None:
    """Raises ValueError unless the distance makes one number of two vectors of `width` numbers."""
    expected = f'distance {distance.name!r} must make one number of two vectors of {width} features, with jax.numpy'
    try:
        with jax.enable_x64(dtype == np.float64):
            vector = jax.ShapeDtypeStruct((width,), dtype)
            made = jax.eval_shape(distance.pair, vector, vector)
    except (TypeError, ValueError, IndexError, AttributeError) as error:
        raise ValueError(f'{expected}: {str(error).strip().splitlines()[0]}') from error
    shape = getattr(made, 'shape', None)
    if shape != () or jnp.issubdtype(made.dtype, jnp.complexfloating):
        got = f'{made.dtype} of shape {shape}' if shape is not None else f'a {type(made).__name__}'
        raise ValueError(f'{expected}, but makes {got}.')


def unit_rows(x: np.ndarray) -> np.ndarray:
    """Rows scaled to length one; NaN rows for zero rows: [m, d] -> [m, d]."""
    largest = np.maximum(np.max(x, axis=1, keepdims=True), -np.min(x, axis=1, keepdims=True))
    with np.errstate(invalid='ignore', divide='ignore'):
        x = x / largest  # squares of huge or tiny features neither overflow nor vanish
        x /= np.sqrt(np.einsum('nd,nd->n', x, x))[:, None]
        return x


def centred_unit_rows(x: np.ndarray) -> np.ndarray:
    """Rows less their own mean, scaled to length one; NaN rows for constant rows: [m, d] -> [m, d]."""
    constant = np.all(x == x[:, :1], axis=1)  # the mean of equal numbers may be off by a rounding
    centred = x - x.mean(axis=1, keepdims=True)
    centred[constant] = 0.0
    return unit_rows(centred)


def probability_rows(x: np.ndarray) -> np.ndarray:
    """Rows scaled to sum one; NaN rows for zero rows: [m, d] -> [m, d].

    Raises:
        ValueError: There are negative values.
    """
    if np.any(x < 0):
        row, column = np.argwhere(x < 0)[0]
        raise ValueError(
            f'jensenshannon compares distributions, but feature {column} of a stimulus is {x[row, column]}: '
            'give probabilities or counts (softmax of logits, for example).'
        )
    with np.errstate(invalid='ignore', divide='ignore'):
        return x / x.sum(axis=1, keepdims=True)


def mahalanobis(covariance: np.ndarray) -> Distance:
    """The Mahalanobis distance for a covariance of the features, [d, d]."""
    whitener = noise.whitener(covariance)
    return Distance('mahalanobis', whitened_euclidean, rows=lambda x: x @ whitener, product='root')


DISTANCES: dict[str, Distance] = {
    distance.name: distance
    for distance in (
        Distance(
            'correlation',
            correlation,
            centred_unit_rows,
            'half',
            bounded=True,
            undefined='constant',
            ignores='row scale and offset',
        ),
        Distance('cosine', cosine, unit_rows, 'half', bounded=True, undefined='zero', ignores='row scale'),
        Distance('euclidean', euclidean, product='root', ignores='offset', of_differences=True),
        Distance('sqeuclidean', sqeuclidean, product='square', ignores='offset', of_differences=True),
        Distance('cityblock', cityblock, of_differences=True),
        Distance('chebyshev', chebyshev, of_differences=True),
        Distance('jensenshannon', jensenshannon, probability_rows, undefined='zero'),
    )
}


def distance_named(measure: str | Callable | Distance) -> Distance:
    """The distance called `measure`, or the one that a function of two vectors [d], [d] -> [] defines.

    Raises:
        ValueError: There is no such distance; the message lists those there are.
    """
    if isinstance(measure, Distance):
        return measure
    if callable(measure):
        return Distance(getattr(measure, '__name__', type(measure).__name__), measure)
    if measure not in DISTANCES:
        known = ', '.join([*DISTANCES, 'mahalanobis', 'crossnobis'])
        raise ValueError(f'there is no distance {measure!r}: choose one of {known}, or give a function of two vectors.')
    return DISTANCES[measure]
