"""Sparse autoencoder of a feature matrix: few of many latents are active for each item."""

import flax.linen as nn
import jax
import jax.numpy as jnp

LATENTS = 'latents'  # the variable collection that counts the steps since a latent was active


class SparseAutoencoder(nn.Module):
    """A linear encoder whose k largest positive activations are kept, and a linear decoder of unit directions.

    The decoder's rows are divided by their norms wherever they are used, so every step keeps them at norm 1. The
    encoder begins as the transpose of the decoder. 2 f d + f + d parameters for f latents and d features.

    Attributes:
        n_features: Number of features d.
        n_latents: Number of latents f.
        k: Most active latents of an item.
        axis_name: Mapped axis over which the objective says whether a latent was active, or None.

    References:
        Gao et al. (2024). Scaling and evaluating sparse autoencoders. arXiv:2406.04093
    """

    n_features: int
    n_latents: int
    k: int
    axis_name: str | None = None

    def setup(self) -> None:
        """Makes parameters: decoder [f, d], encoder [d, f], encoder bias [f], bias before the encoder [d]."""
        if self.k > self.n_latents:
            raise ValueError(f'k={self.k} latents cannot be active of n_latents={self.n_latents}: lower k.')
        shape = (self.n_latents, self.n_features)
        self.raw_decoder = self.param('decoder', lambda key: _unit_rows(jax.random.normal(key, shape)))
        self.encoder = self.param('encoder', lambda key: _unit_rows(self.raw_decoder).T)
        self.encoder_bias = self.param('encoder_bias', nn.initializers.zeros, (self.n_latents,))
        self.bias = self.param('bias', nn.initializers.zeros, (self.n_features,))
        self.variable(LATENTS, 'steps_inactive', jnp.zeros, (self.n_latents,))

    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Reconstruction [b, d], codes [b, f] and activations before all but k are dropped [b, f] of features [b, d].

        Raises:
            ValueError: Features of another number than `n_features`.
        """
        activations = self.activations(x)
        codes = keep_largest(activations, self.k)
        return codes @ self.dictionary() + self.bias[None, :], codes, activations

    def activations(self, x: jax.Array) -> jax.Array:
        """Activations of all latents, 0 or more: [b, d] -> [b, f]."""
        if x.shape[-1] != self.n_features:
            raise ValueError(f'the autoencoder was made for {self.n_features} features, not {x.shape[-1]}.')
        return nn.relu((x - self.bias[None, :]) @ self.encoder + self.encoder_bias[None, :])

    def active(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The k largest activations, 0 where fewer are active, and their latents: [b, d] -> [b, k], [b, k]."""
        values, latents = jax.lax.top_k(self.activations(x), self.k)
        return values, latents

    def decode_largest(self, activations: jax.Array, k: int) -> jax.Array:
        """The k largest of these activations of each item, times their directions: [b, f] -> [b, d]."""
        return keep_largest(activations, min(k, self.n_latents)) @ self.dictionary()

    def dictionary(self) -> jax.Array:
        """Directions of the latents, of norm 1, [f, d]."""
        return _unit_rows(self.raw_decoder)


def keep_largest(activations: jax.Array, k: int) -> jax.Array:
    """The k largest activations of each row, others 0: [b, f] -> [b, f]."""
    values, latents = jax.lax.top_k(activations, k)
    return jnp.put_along_axis(jnp.zeros_like(activations), latents, values, axis=-1, inplace=False)


def _unit_rows(x: jax.Array) -> jax.Array:
    return x / jnp.linalg.norm(x, axis=-1, keepdims=True)
