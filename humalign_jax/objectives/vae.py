"""Variational auto-encoder: L1 reconstruction plus KL."""

from collections.abc import Callable
from typing import cast

import jax
import jax.numpy as jnp
from flax import linen as nn

from humalign_jax import losses


def make_vae_objective(model: nn.Module, *, kl_weight: float = 1.0, kl_warmup_steps: int = 0) -> Callable:
    """L1 + weight * KL; each term is summed per image, then averaged over the batch.

    Args:
        model: Returns `(recon [b, h, w, c], mean [b, z], logvar [b, z])`.
        kl_weight: Weight of the KL term (beta), at least 0.
        kl_warmup_steps: The weight rises linearly from 0 to `kl_weight` over this many steps; 0 means at once.

    Returns:
        The objective; its metrics are `l1` (pixel units), `kl` (nats, unweighted) and `kl_weight`.

    References:
        Kingma & Welling (2014), arXiv:1312.6114; Higgins et al. (2017) for beta; Bowman et al. (2016) for the warm-up.
    """
    if kl_weight < 0 or kl_warmup_steps < 0:
        raise ValueError(f'kl_weight ({kl_weight}) and kl_warmup_steps ({kl_warmup_steps}) must not be negative.')

    def objective(params, model_state, batch, keys, step):
        variables = {'params': params, **model_state}
        (recon, mean, logvar), model_state = model.apply(
            variables, batch['image'], train=True, keys=keys, mutable=list(model_state)
        )
        l1 = losses.l1(recon, batch['image']).mean()  # [b, h, w, c] -> [b] -> []
        kl = losses.gaussian_kl(mean, logvar).mean()  # [b, z] -> [b] -> []
        weight = jnp.float32(kl_weight)
        if kl_warmup_steps:
            weight = weight * jnp.minimum(1.0, (step + 1.0) / kl_warmup_steps)
        return l1 + weight * kl, (model_state, {'l1': l1, 'kl': kl, 'kl_weight': weight})

    return objective


def make_vae_measure(model: nn.Module, *, kl_weight: float = 1.0) -> Callable:
    """Per-image values of a VAE in evaluation mode, with the code's mean in place of a sample.

    Returns:
        `(params, model_state, batch) -> {'loss', 'l1', 'kl'}`, each [b]; `loss` is l1 + kl_weight * kl.
    """

    def measure(params, model_state, batch) -> dict[str, jax.Array]:
        out = model.apply({'params': params, **model_state}, batch['image'], train=False)
        recon, mean, logvar = cast(tuple[jax.Array, jax.Array, jax.Array], out)
        l1 = losses.l1(recon, batch['image'])
        kl = losses.gaussian_kl(mean, logvar)
        return {'loss': l1 + kl_weight * kl, 'l1': l1, 'kl': kl}

    return measure
