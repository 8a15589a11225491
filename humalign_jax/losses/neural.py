"""How far predicted brain responses are from measured ones."""

import jax
import jax.numpy as jnp

_EPSILON = 1e-8  # inside the root, so that a constant prediction has a finite gradient


def voxel_mse(predicted: jax.Array, responses: jax.Array) -> jax.Array:
    """Squared differences averaged over voxels: [b, v], [b, v] -> [b]."""
    return jnp.mean((predicted - responses) ** 2, axis=-1)


def pattern_correlation_loss(predicted: jax.Array, responses: jax.Array) -> jax.Array:
    """One minus Pearson's r over the voxels of each image.

    In [0, 2], 1 where either pattern is constant. Unlike a correlation over images, it does not depend on the batch.

    Args:
        predicted: Predicted responses, [b, v].
        responses: Measured responses, [b, v].

    Returns:
        [b].
    """
    x = predicted - predicted.mean(axis=-1, keepdims=True)
    y = responses - responses.mean(axis=-1, keepdims=True)
    squares = jnp.sum(x**2, axis=-1) * jnp.sum(y**2, axis=-1)
    return 1.0 - jnp.sum(x * y, axis=-1) / jnp.sqrt(squares + _EPSILON)
