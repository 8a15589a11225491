"""How far a reconstruction is from its image."""

import jax
import jax.numpy as jnp


def l1(recon: jax.Array, image: jax.Array) -> jax.Array:
    """Absolute differences summed over pixels and channels, in pixel units: [b, h, w, c], [b, h, w, c] -> [b].

    Summed and not averaged: beside a summed KL, a mean over 3,072 pixel values would make the KL term
    3,072 times heavier.
    """
    return jnp.abs(recon - image).sum(axis=(1, 2, 3))
