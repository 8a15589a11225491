"""Learning functions in context: labels by cross-entropy, magnitudes by squared error, with learned weights."""

from collections.abc import Callable, Mapping
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

Predictions = tuple[jax.Array, jax.Array]


def uncertainty_weighted(bce: jax.Array, mse: jax.Array, log_variance: jax.Array) -> jax.Array:
    """exp(-s_b) bce + exp(-s_m) mse / 2 + (s_b + s_m) / 2 for log variances s_b and s_m, [2].

    References:
        Kendall, Gal & Cipolla (2018). Multi-task learning using uncertainty to weigh losses. CVPR.
    """
    s_b, s_m = log_variance
    return jnp.exp(-s_b) * bce + 0.5 * jnp.exp(-s_m) * mse + 0.5 * (s_b + s_m)


def make_episode_objective(model: nn.Module, *, dense: bool = False, magnitudes: bool = True) -> Callable:
    """The loss of a batch with `binary` and `magnitude`, both of the shape of the model's predictions.

    The cross-entropy is a mean over all predictions, the squared error one over positive items; over all items of dense
    functions, whose negative items have magnitudes too. Means are over one device's share of the batch.

    Args:
        model: Returns (logits, magnitudes); takes entries of the batch by the names of its arguments. Its parameter
            `log_variance` [2] weighs the two losses.
        dense: Whether the functions are dense.
        magnitudes: Whether there are magnitudes to learn. Without them the squared error has no weight: it would reach
            0, and its log variance would fall without bound.

    Returns:
        The objective; its metrics are `bce` (nats), `mse`, `accuracy` and the two log variances.
    """

    def objective(params, model_state, batch, keys, step):
        del step
        logit, magnitude = _predict(model, params, model_state, batch, train=True, keys=keys)
        bce = optax.sigmoid_binary_cross_entropy(logit, batch['binary']).mean()
        counted = jnp.ones_like(magnitude) if dense else batch['binary']
        mse = jnp.sum(counted * jnp.square(magnitude - batch['magnitude'])) / jnp.maximum(counted.sum(), 1.0)
        s = params['log_variance']
        metrics = {'bce': bce, 'mse': mse, 'accuracy': jnp.mean((logit > 0) == (batch['binary'] > 0))}
        metrics |= {'log_variance_binary': s[0], 'log_variance_magnitude': s[1]}
        loss = uncertainty_weighted(bce, mse, s) if magnitudes else jnp.exp(-s[0]) * bce + 0.5 * s[0]
        return loss, (model_state, metrics)

    return objective


def make_episode_measure(model: nn.Module) -> Callable:
    """Values of every prediction in evaluation mode.

    Returns:
        `(params, model_state, batch) -> {'correct': [b, t] 0 or 1, 'squared_error': [b, t], 'binary': [b, t],
        'magnitude': [b, t]}`, the last two as in the batch.
    """

    def measure(params, model_state, batch) -> dict[str, jax.Array]:
        logit, magnitude = _predict(model, params, model_state, batch, train=False, keys=None)
        return {
            'correct': ((logit > 0) == (batch['binary'] > 0)).astype(jnp.float32),
            'squared_error': jnp.square(magnitude - batch['magnitude']),
            'binary': batch['binary'],
            'magnitude': batch['magnitude'],
        }

    return measure


def episode_sums(values: Mapping[str, Any], *, dense: bool = False) -> dict[str, Any]:
    """Sums over the predictions of each row, from the values of `make_episode_measure`, as NumPy or jax arrays.

    Returns:
        `{'accuracy', 'n', 'sum', 'sum_of_squares', 'squared_error'}`, each [b]: the share of right labels, and of the
        positive items (of dense functions all items) number, sum and sum of squares of the magnitudes, and the sum of
        the squared errors; for `goodness_of_fit`.
    """
    counted = 0 * values['binary'] + 1 if dense else values['binary']
    return {
        'accuracy': values['correct'].mean(axis=1),
        'n': counted.sum(axis=1),
        'sum': (counted * values['magnitude']).sum(axis=1),
        'sum_of_squares': (counted * values['magnitude'] ** 2).sum(axis=1),
        'squared_error': (counted * values['squared_error']).sum(axis=1),
    }


def goodness_of_fit(sums: Mapping[str, np.ndarray]) -> float:
    """R2 of the magnitudes over all rows together, as sklearn.metrics.r2_score; from `episode_sums`."""
    n, total, squares, error = (
        float(np.sum(sums[name], dtype=np.float64)) for name in ('n', 'sum', 'sum_of_squares', 'squared_error')
    )
    return 1.0 - error / (squares - total**2 / n)


def _predict(
    model: nn.Module, params: Any, model_state: Any, batch: dict[str, jax.Array], *, train: bool, keys: jax.Array | None
) -> Predictions:
    inputs = [batch[name] for name in ('x', 'previous') if name in batch]
    variables = {'params': params, **model_state}
    return cast(Predictions, model.apply(variables, *inputs, train=train, keys=keys))
