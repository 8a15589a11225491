"""Reconstruction losses."""

import jax
import jax.numpy as jnp


def l1(recon: jax.Array, image: jax.Array) -> jax.Array:
    """Absolute differences summed over pixels and channels, in pixel units: [b, h, w, c], [b, h, w, c] -> [b].

    Summed, not averaged, because the KL divergence of a VAE is summed over latents.
    """
    return jnp.abs(recon - image).sum(axis=(1, 2, 3))


def mse(recon: jax.Array, image: jax.Array) -> jax.Array:
    """Squared differences averaged over pixels and channels: [b, h, w, c], [b, h, w, c] -> [b]."""
    return jnp.mean((recon - image) ** 2, axis=(1, 2, 3))
