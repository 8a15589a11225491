"""Terms of the evidence lower bound."""

import jax
import jax.numpy as jnp


def gaussian_kl(mean: jax.Array, logvar: jax.Array) -> jax.Array:
    """KL divergence from N(mean, exp(logvar)) to N(0, 1), in nats, summed over latents: [b, z], [b, z] -> [b].

    References:
        Kingma & Welling (2014), appendix B. arXiv:1312.6114
    """
    return 0.5 * jnp.sum(jnp.exp(logvar) + mean**2 - 1.0 - logvar, axis=-1)
