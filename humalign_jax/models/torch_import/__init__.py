"""PyTorch checkpoints (zip and older) and safetensors as Flax variables, without PyTorch; nothing in a file is run."""

from humalign_jax.models.torch_import.state_dict import read_state_dict
from humalign_jax.models.torch_import.variables import to_flax
from humalign_jax.models.torch_import.written import from_flax, write_safetensors

__all__ = ['from_flax', 'read_state_dict', 'to_flax', 'write_safetensors']
