"""Learners refitted after every trial on the trials before it, for all participants in one compiled program.

Call these in 64 bits. Coordinates of stimuli are such that the i-th stimulus of a participant has zeros beyond
coordinate i where there are as many coordinates as stimuli.

References:
    Rasmussen & Williams (2006), Gaussian Processes for Machine Learning, algorithm 3.1.
    MacKay (1992), Neural Computation 4, 415-447.
"""

import jax
import jax.numpy as jnp
import numpy as np

_NEWTON_STEPS, _NEWTON_TOLERANCE = 100, 1e-6  # convergence is quadratic: the error left is far smaller
_LANES = 16  # fits that take Newton steps together, until the last has converged
_PART = 30  # trials; the fits of early parts invert smaller matrices
_STEP_SIZES = 0.5 ** np.arange(12)  # tried in each Newton step, the best is taken
_RIDGE_PART = 15  # trials, likewise
_RIDGE_STEPS = 300  # as scikit-learn's max_iter
_RIDGE_PRIOR = 1e-6  # shape and rate of both gamma priors


@jax.jit
def category_values(kernel: jax.Array, right: jax.Array, mask: jax.Array, strengths: jax.Array) -> jax.Array:
    """Log odds of category 1 in each trial from inner products: [p, t, t], [p, t], [p, t], [s] -> [p, t]."""
    p, t = right.shape
    lanes = jnp.arange(-(-p * len(strengths) // _LANES) * _LANES) % (p * len(strengths))

    def fit(lane):  # equal strengths take similar numbers of Newton steps and stand together
        person = lane % p
        return _sequential_logistic(kernel[person] / strengths[lane // p], right[person], mask[person])

    odds = jax.lax.map(fit, lanes, batch_size=_LANES)[: p * len(strengths)].reshape(len(strengths), p, t)
    loss = jnp.where(mask[None], jax.nn.softplus((1.0 - 2.0 * right)[None] * odds), 0.0)
    before = jnp.cumsum(loss, axis=2) - loss
    return jnp.take_along_axis(odds, jnp.argmin(before, axis=0)[None], axis=0)[0]


def _sequential_logistic(kernel: jax.Array, right: jax.Array, mask: jax.Array) -> jax.Array:
    """Log odds in each trial by a logistic regression on the trials before it: [t, t], [t], [t] -> [t].

    Each fit starts at the one before; early trials use a part of the kernel. Before both categories were seen the odds
    are 0.
    """
    t = len(right)
    weights, bias, odds = jnp.zeros(t, kernel.dtype), jnp.zeros((), kernel.dtype), []
    for start in range(0, t, _PART):
        end = min(start + _PART, t)
        part = kernel[:end, :end]

        def trial(fit, number, part=part, end=end):
            seen = mask[:end] & (jnp.arange(end) < number)
            ones = jnp.where(seen, right[:end], 0.0).sum()
            both = (ones > 0) & (ones < seen.sum())
            weights, bias = _fit_logistic(part, right[:end], seen, both, fit)
            return (weights, bias), jnp.where(both, part[number] @ weights + bias, 0.0)

        (kept, bias), found = jax.lax.scan(trial, (weights[:end], bias), jnp.arange(start, end))
        weights = weights.at[:end].set(kept)
        odds.append(found)
    return jnp.concatenate(odds)


def _fit_logistic(
    kernel: jax.Array, right: jax.Array, seen: jax.Array, wanted: jax.Array, start: tuple[jax.Array, jax.Array]
) -> tuple[jax.Array, jax.Array]:
    """Dual weights and bias that minimise the log losses of seen trials + weights' kernel weights / 2.

    Newton's method (Rasmussen & Williams 2006, algorithm 3.1) with a free bias: the eigenvalues of the matrix to be
    inverted are 1 or more. Of several step sizes the best is taken.
    """
    sign = 2.0 * right - 1.0
    sizes = jnp.asarray(_STEP_SIZES, kernel.dtype)
    identity = jnp.eye(len(right), dtype=kernel.dtype)

    def step(state):
        weights, bias, _, n = state
        latent = kernel @ weights
        odds = latent + bias
        p = jax.nn.sigmoid(odds)
        curvature = jnp.where(seen, p * (1.0 - p), 0.0)
        root = jnp.sqrt(curvature)
        target = curvature * odds + jnp.where(seen, right - p, 0.0)  # curvature times Newton's target of the odds
        factor = jnp.linalg.cholesky(identity + root[:, None] * kernel * root[None])
        sides = jnp.stack([root * (kernel @ target), root], axis=1)
        solved = root[:, None] * jax.scipy.linalg.cho_solve((factor, True), sides)
        of_target, of_ones = target - solved[:, 0], solved[:, 1]
        new_bias = of_target.sum() / of_ones.sum()
        move, move_bias = of_target - new_bias * of_ones - weights, new_bias - bias
        along = kernel @ move
        tried = odds[None] + sizes[:, None] * (along + move_bias)[None]
        losses = jnp.where(seen[None], jax.nn.softplus(-sign[None] * tried), 0.0).sum(axis=1)
        losses += sizes * (move @ latent) + 0.5 * sizes**2 * (move @ along)
        size = sizes[jnp.argmin(losses)]
        change = size * (jnp.abs(move).max() + jnp.abs(move_bias))
        return weights + size * move, bias + size * move_bias, change, n + 1

    def goes_on(state):
        return wanted & (state[2] > _NEWTON_TOLERANCE) & (state[3] < _NEWTON_STEPS)

    first = (*start, jnp.full((), jnp.inf, kernel.dtype), jnp.zeros((), jnp.int32))
    return jax.lax.while_loop(goes_on, step, first)[:2]


@jax.jit
def reward_values(seen: jax.Array, rewards: jax.Array, mask: jax.Array) -> jax.Array:
    """Expected rewards by a Bayesian ridge on the trials before: [p, t, k, r], [p, t, k], [p, t] -> [p, t, k]."""
    return jax.vmap(_sequential_ridge)(seen, rewards, mask)


def _sequential_ridge(seen: jax.Array, rewards: jax.Array, mask: jax.Array) -> jax.Array:
    """Expected rewards in each trial: [t, k, r], [t, k], [t] -> [t, k]; carries sums over the trials before."""
    t, k, r = seen.shape
    shapes = {'n': (), 'x': (0,), 'y': (), 'xx': (0, 0), 'xy': (0,), 'yy': ()}
    sums, values = {name: jnp.zeros(shape, seen.dtype) for name, shape in shapes.items()}, []

    def trial(sums, of_trial):
        x, y, is_trial = of_trial
        weights, mean_x, mean_y = _bayesian_ridge(sums)
        found = jnp.where(sums['n'] > 0, (x - mean_x[None]) @ weights + mean_y, 0.0)
        added = {'n': k * 1.0, 'x': x.sum(axis=0), 'y': y.sum(), 'xx': x.T @ x, 'xy': x.T @ y, 'yy': y @ y}
        return {name: sums[name] + is_trial * added[name] for name in sums}, found

    for start in range(0, t, _RIDGE_PART):
        end = min(start + _RIDGE_PART, t)
        size = k * end if r == k * t else r  # coordinates beyond are zeros until then, see _in_span
        sums = {name: jnp.pad(v, [(0, size - len(v))] * v.ndim) if v.ndim else v for name, v in sums.items()}
        sums, found = jax.lax.scan(trial, sums, (seen[start:end, :, :size], rewards[start:end], mask[start:end]))
        values.append(found)
    return jnp.concatenate(values)


def _bayesian_ridge(sums: dict[str, jax.Array]) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Weights [r], mean features [r] and mean reward [] of scikit-learn's BayesianRidge from sums over n examples.

    The precisions of noise and weights are updated a fixed number of times (MacKay 1992).
    """
    n = jnp.maximum(sums['n'], 1.0)
    mean_x, mean_y = sums['x'] / n, sums['y'] / n
    covariance = sums['xx'] - n * mean_x[:, None] * mean_x[None]
    values, vectors = jnp.linalg.eigh(covariance)
    values = jnp.maximum(values, 0.0)
    along = vectors.T @ (sums['xy'] - n * mean_x * mean_y)  # of the cross products
    total = jnp.maximum(sums['yy'] - n * mean_y**2, 0.0)

    def coefficients(noise, prior):
        return along / (values + prior / noise)

    def update(_, precisions):
        noise, prior = precisions
        found = coefficients(noise, prior)
        squared_error = jnp.maximum(total - 2.0 * found @ along + found @ (values * found), 0.0)
        determined = (noise * values / (prior + noise * values)).sum()
        prior = (determined + 2.0 * _RIDGE_PRIOR) / (found @ found + 2.0 * _RIDGE_PRIOR)
        noise = (n - determined + 2.0 * _RIDGE_PRIOR) / (squared_error + 2.0 * _RIDGE_PRIOR)
        return noise, prior

    start = (1.0 / (total / n + jnp.finfo(values.dtype).eps), jnp.ones((), values.dtype))
    return vectors @ coefficients(*jax.lax.fori_loop(0, _RIDGE_STEPS, update, start)), mean_x, mean_y
