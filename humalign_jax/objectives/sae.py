"""Sparse autoencoder: unexplained variance, with revival of latents that are never active."""

from collections.abc import Callable
from typing import cast

import flax.linen as nn
import jax
import jax.numpy as jnp


def make_sae_objective(
    model: nn.Module, *, total_variance: float, dead_weight: float, dead_k: int, dead_after_steps: int
) -> Callable:
    """Fraction of variance unexplained + dead_weight * the fraction of the error that dead latents leave.

    A latent is dead once it was active for no example of `dead_after_steps` steps. The dead latents with the
    largest activations reconstruct the error of the others (AuxK), which moves them towards what is not yet explained.

    Args:
        model: `models.SparseAutoencoder`; with its `axis_name`, devices agree on which latents are active.
        total_variance: Mean squared distance of the training examples from their mean.
        dead_weight: Weight of the second term, 1 / 32 in the paper; 0 leaves dead latents dead.
        dead_k: Dead latents that reconstruct the error of one example; about half the number of features.
        dead_after_steps: Steps after which a latent is dead.

    Returns:
        The objective of batches `x` [b, d]; its metrics are `fve` (fraction of variance explained), `l0` (active
        latents per example), `dead` (share of latents that are dead) and `dead_error` (the second term without its
        weight, 0 while no latent is dead).

    References:
        Gao et al. (2024). Scaling and evaluating sparse autoencoders, section 2 and appendix A.2. arXiv:2406.04093
    """
    axis_name = getattr(model, 'axis_name', None)

    def objective(params, model_state, batch, keys, step):
        variables = {'params': params, **model_state}
        x = batch['x']
        out = model.apply(variables, x)
        recon, codes, activations = cast(tuple[jax.Array, jax.Array, jax.Array], out)
        error = x - recon
        unexplained = jnp.square(error).sum(axis=1).mean() / total_variance

        steps_inactive = model_state['latents']['steps_inactive']
        is_dead = steps_inactive >= dead_after_steps  # [f]
        wanted = jax.lax.stop_gradient(error)
        of_dead = jnp.where(is_dead[None, :], activations, 0.0)
        left = wanted - cast(jax.Array, model.apply(variables, of_dead, dead_k, method='decode_largest'))
        dead_error = jnp.square(left).sum() / jnp.maximum(jnp.square(wanted).sum(), 1e-12)
        dead_error = jnp.where(is_dead.any(), dead_error, 0.0)

        active = (codes > 0).any(axis=0).astype(jnp.float32)  # [f]
        if axis_name is not None:
            active = jax.lax.pmax(active, axis_name)
        latents = {'steps_inactive': jnp.where(active > 0, 0.0, steps_inactive + 1.0)}
        metrics = {
            'fve': 1.0 - unexplained,
            'l0': (codes > 0).sum(axis=1).astype(jnp.float32).mean(),
            'dead': is_dead.astype(jnp.float32).mean(),
            'dead_error': dead_error,
        }
        return unexplained + dead_weight * dead_error, ({**model_state, 'latents': latents}, metrics)

    return objective


def make_sae_measure(model: nn.Module) -> Callable:
    """Per-example values of a sparse autoencoder.

    Returns:
        `(params, model_state, batch) -> {'squared_error', 'l0'}`, each [b]: squared distance of features and
        reconstruction, and number of active latents.
    """

    def measure(params, model_state, batch) -> dict[str, jax.Array]:
        out = model.apply({'params': params, **model_state}, batch['x'])
        recon, codes, _ = cast(tuple[jax.Array, jax.Array, jax.Array], out)
        return {
            'squared_error': jnp.square(batch['x'] - recon).sum(axis=1),
            'l0': (codes > 0).sum(axis=1).astype(jnp.float32),
        }

    return measure
