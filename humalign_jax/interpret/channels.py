"""What each channel of a code carries: one channel kept alone, and one channel dropped.

A network takes part if its forward pass multiplies the channels of its layers by factors before the rest of it runs:
`forward(variables, images [b, h, w, c], factors) -> (logits [b, k], reconstruction [b, h, w, c])`, where `factors` has
a vector for each layer, as long as the layer has channels.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

MODES = ('keep_only', 'drop_one')
VALUES = ('mse', 'mse_to_full', 'psnr', 'correct')  # of each image, see `measure`
Forward = Callable[[Any, jax.Array, Sequence[jax.Array]], tuple[jax.Array, jax.Array]]


def factors_of(n_channels: int) -> jax.Array:
    """Factors of the channels for each mode and channel, 0 or 1: [2, n_channels, n_channels]."""
    kept_alone = jnp.eye(n_channels)
    return jnp.stack([kept_alone, 1.0 - kept_alone])


def isolate(
    forward: Forward, variables: Any, images: jax.Array, n_channels: Sequence[int], layer: int
) -> tuple[jax.Array, jax.Array]:
    """Outputs with each channel of one layer kept alone, and with each one dropped; other layers stay whole.

    Args:
        forward: The network.
        variables: Its first argument.
        images: [b, h, w, c].
        n_channels: Number of channels of every layer that takes factors.
        layer: Which of these layers, from 0; it has m channels.

    Returns:
        Logits [2, m, b, k] and reconstructions [2, m, b, h, w, c], the modes in the order of `MODES`.
    """
    whole = [jnp.ones(n) for n in n_channels]

    def one(factors: jax.Array) -> tuple[jax.Array, jax.Array]:
        return forward(variables, images, (*whole[:layer], factors, *whole[layer + 1 :]))

    return jax.vmap(jax.vmap(one))(factors_of(n_channels[layer]))


def measure(
    forward: Forward,
    variables: Any,
    images: jax.Array,
    labels: jax.Array,
    n_channels: Sequence[int],
    *,
    data_range: float,
) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    """Values of each image with all channels, and with each channel kept alone or dropped.

    The last axis is that of `VALUES`: mean squared error (MSE) of the reconstruction to the image; MSE to the
    reconstruction from all channels; PSNR to the image in decibels; 1 where the class is named rightly, else 0.

    Args:
        forward: The network.
        variables: Its first argument.
        images: As the network reads them, [b, h, w, c]; the MSE is in their units, squared.
        labels: True classes, [b].
        n_channels: Number of channels of every layer that takes factors.
        data_range: Largest minus smallest possible value of a pixel, for the PSNR.

    Returns:
        Values with all channels, [b, 4]; and for each layer of m channels [b, 2, m, 4].
    """
    full = forward(variables, images, tuple(jnp.ones(n) for n in n_channels))

    def values_of(logits: jax.Array, recon: jax.Array) -> jax.Array:
        mse, mse_to_full = (jnp.mean((recon - to) ** 2, axis=(-3, -2, -1)) for to in (images, full[1]))
        psnr = 10.0 * jnp.log10(data_range**2 / mse)
        correct = (logits.argmax(axis=-1) == labels).astype(mse.dtype)
        return jnp.stack([mse, mse_to_full, psnr, correct], axis=-1)

    each = jax.vmap(jax.vmap(values_of))  # over modes and channels
    by_layer = [
        jnp.moveaxis(each(*isolate(forward, variables, images, n_channels, layer)), 2, 0)  # [2, m, b, 4] -> [b, ..]
        for layer in range(len(n_channels))
    ]
    return values_of(*full), tuple(by_layer)
