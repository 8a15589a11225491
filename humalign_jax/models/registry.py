"""Models by the name that a config gives them."""

import dataclasses
from typing import Any

import flax.linen as nn

from humalign_jax.models import layers
from humalign_jax.models.deconv import Deconv
from humalign_jax.models.digitnet import DigitNet
from humalign_jax.models.philnet import PhilNet
from humalign_jax.models.resnet import ResNet18, ResNet34, ResNet50
from humalign_jax.models.resnet_cifar import ResNet20, ResNet56
from humalign_jax.models.sae import SparseAutoencoder
from humalign_jax.models.vae import VAE

MODELS: dict[str, type[nn.Module]] = {
    'philnet': PhilNet,
    'digitnet': DigitNet,
    'deconv': Deconv,
    'vae': VAE,
    'resnet18': ResNet18,
    'resnet34': ResNet34,
    'resnet50': ResNet50,
    'resnet20': ResNet20,
    'resnet56': ResNet56,
    'sae': SparseAutoencoder,
}


def make_model(name: str, **options: Any) -> nn.Module:
    """A model by name; `options` are its fields. Lists become tuples.

    Raises:
        ValueError: The model or one of the fields is unknown.
    """
    known = model_options(name)
    for option in options:
        if option not in known:
            raise ValueError(layers.unknown(f'option of model {name!r}', option, known))
    return MODELS[name](**{option: _as_tuple(value) for option, value in options.items()})


def model_options(name: str) -> dict[str, Any]:
    """Names and defaults of a model's options.

    Raises:
        ValueError: The model is unknown.
    """
    if name not in MODELS:
        raise ValueError(layers.unknown('model', name, MODELS))
    fields = dataclasses.fields(MODELS[name])
    return {field.name: field.default for field in fields if field.name not in ('parent', 'name')}


def _as_tuple(value: Any) -> Any:
    """Lists as tuples: Flax fields must be hashable, and configs read from JSON have lists."""
    return tuple(_as_tuple(item) for item in value) if isinstance(value, list | tuple) else value
