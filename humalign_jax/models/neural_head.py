"""A linear read-out from a layer of a network to voxels."""

from collections.abc import Callable
from typing import Any, cast

import flax.linen as nn
import flax.traverse_util
import jax
import jax.numpy as jnp

from humalign_jax.models import layers

HEAD = 'neural_head'  # its name among the parameters of a tuned network


class NeuralHead(nn.Module):
    """Predicts voxels from a layer by one dense layer: (d + 1) v parameters.

    Attributes:
        n_voxels: Number of voxels v.
        pool: 'none': all values of a map are inputs (2,048 of a map of 2 x 2 x 512); 'mean': the mean over space.
        positive: Ends in ELU + 1, for responses that are never negative.
        zero_start: Starts with a kernel of zeros, which predicts the mean response; a random kernel predicts noise.
    """

    n_voxels: int
    pool: str = 'none'
    positive: bool = False
    zero_start: bool = False

    @nn.compact
    def __call__(self, features: jax.Array) -> jax.Array:
        """[b, h, w, c] or [b, d] -> [b, v]."""
        if self.pool not in ('none', 'mean'):
            raise ValueError(f"config.head.pool must be 'none' or 'mean', not {self.pool!r}.")
        x = features.astype(jnp.float32)
        if self.pool == 'mean' and x.ndim == 4:
            x = x.mean(axis=(1, 2))
        init = nn.initializers.zeros if self.zero_start else nn.linear.default_kernel_init
        x = nn.Dense(self.n_voxels, kernel_init=init, name='voxels')(x.reshape(len(x), -1))
        return nn.elu(x) + 1.0 if self.positive else x


def make_tuned_forward(model: nn.Module, head: NeuralHead, layer: str, *, head_only: bool = False) -> Callable:
    """The forward pass of a classifier with a head on one of its layers.

    Args:
        model: Classifier returning logits, or a tuple whose first part they are.
        head: Its parameters are `params['neural_head']`, beside those of the classifier.
        layer: Named layer that the head reads.
        head_only: Whether gradients of the voxels end at the head.

    Returns:
        `(params, model_state, image, *, train, keys) -> (logits [b, k], voxels [b, v], model_state)`. With
        `train=False` BatchNorm uses its running statistics, dropout is off, and `model_state` is returned as it was.

    Raises:
        ValueError: When called, if there is no such layer.
    """

    def forward(
        params: Any, model_state: Any, image: jax.Array, *, train: bool, keys: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array, Any]:
        changing = list(model_state) if train else []
        out, updated = model.apply(
            {'params': params, **model_state}, image, train=train, keys=keys, mutable=[*changing, layers.LAYERS]
        )
        updated = dict(updated)
        found: dict[str, Any] = flax.traverse_util.flatten_dict(updated.pop(layers.LAYERS, {}), sep='/')
        if layer not in found:
            raise ValueError(layers.unknown('layer', layer, found))
        features = jax.lax.stop_gradient(found[layer]) if head_only else found[layer]
        voxels = cast(jax.Array, head.apply({'params': params[HEAD]}, features))
        logits = cast(jax.Array, out[0] if isinstance(out, tuple) else out)
        return logits, voxels, {**model_state, **updated}

    return forward
