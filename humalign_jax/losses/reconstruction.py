"""Reconstruction losses."""

import jax
import jax.numpy as jnp


def l1(recon: jax.Array, image: jax.Array) -> jax.Array:
    """Absolute differences summed over pixels and channels, in pixel units: [b, h, w, c], [b, h, w, c] -> [b].

    Summed, not averaged, because the KL divergence of a VAE is summed over latents.
    """
    return jnp.abs(recon - image).sum(axis=(1, 2, 3))
