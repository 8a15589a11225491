"""Networks as Flax modules whose interesting layers have names."""

from humalign_jax.models.deconv import Deconv
from humalign_jax.models.digitnet import DigitNet
from humalign_jax.models.layers import capture, layer_names
from humalign_jax.models.neural_head import NeuralHead, make_tuned_forward
from humalign_jax.models.philnet import PhilNet
from humalign_jax.models.registry import MODELS, make_model, model_options
from humalign_jax.models.resnet import ResNet, ResNet18, ResNet34, ResNet50
from humalign_jax.models.resnet_cifar import ResNet20, ResNet56
from humalign_jax.models.sae import SparseAutoencoder
from humalign_jax.models.torch_import import from_flax, read_state_dict, to_flax, write_safetensors
from humalign_jax.models.vae import VAE

__all__ = [
    'MODELS',
    'VAE',
    'Deconv',
    'DigitNet',
    'NeuralHead',
    'PhilNet',
    'ResNet',
    'ResNet18',
    'ResNet20',
    'ResNet34',
    'ResNet50',
    'ResNet56',
    'SparseAutoencoder',
    'capture',
    'from_flax',
    'layer_names',
    'make_model',
    'make_tuned_forward',
    'model_options',
    'read_state_dict',
    'to_flax',
    'write_safetensors',
]
