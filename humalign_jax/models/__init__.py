"""Networks as Flax modules whose interesting layers have names."""

from humalign_jax.models.digitnet import DigitNet
from humalign_jax.models.layers import capture, layer_names
from humalign_jax.models.philnet import PhilNet
from humalign_jax.models.registry import MODELS, make_model, model_options
from humalign_jax.models.resnet import ResNet, ResNet18, ResNet34, ResNet50
from humalign_jax.models.sae import SparseAutoencoder
from humalign_jax.models.torch_import import read_state_dict, to_flax
from humalign_jax.models.vae import VAE

__all__ = [
    'MODELS',
    'VAE',
    'DigitNet',
    'PhilNet',
    'ResNet',
    'ResNet18',
    'ResNet34',
    'ResNet50',
    'SparseAutoencoder',
    'capture',
    'layer_names',
    'make_model',
    'model_options',
    'read_state_dict',
    'to_flax',
]
