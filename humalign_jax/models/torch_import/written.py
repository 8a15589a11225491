"""The way back: Flax variables by PyTorch's names and axes, and safetensors files."""

import json
from collections.abc import Collection, Mapping
from typing import Any

import flax.traverse_util
import numpy as np

from humalign_jax import storage
from humalign_jax.models.torch_import import safetensors

_NAMES = {'kernel': 'weight', 'scale': 'weight', 'embedding': 'weight', 'mean': 'running_mean', 'var': 'running_var'}


def from_flax(
    variables: Any, *, flatten: Mapping[str, int] | None = None, transposed: Collection[str] = ()
) -> dict[str, np.ndarray]:
    """A state_dict of a Flax model, which `to_flax` turns back without renames.

    Args:
        variables: `params` and, if there are any, `batch_stats`.
        flatten: As in `to_flax`: channels of the flattened map, by path of the dense layer that reads it.
        transposed: As in `to_flax`: paths of transposed convolutions.

    Returns:
        Arrays by dotted name of the Flax module, such as `block1.conv.weight`, with PyTorch's order of axes.
    """
    flatten = flatten or {}
    arrays = {}
    for (_, *path, leaf), values in flax.traverse_util.flatten_dict(variables).items():
        array, channels = np.asarray(values), flatten.get('/'.join(path))
        if leaf == 'kernel' and channels:  # [h w c, d] -> [c h w, d]
            array = array.reshape(-1, channels, array.shape[-1]).transpose(1, 0, 2).reshape(array.shape)
        if leaf == 'kernel':  # [h, w, c, d] -> [d, c, h, w], transposed ones [c, d, h, w]; [c, d] -> [d, c]
            last = (-2, -1) if '/'.join(path) in transposed else (-1, -2)
            array = array.transpose(*last, *range(array.ndim - 2))
        arrays['.'.join([*path, _NAMES.get(leaf, leaf)])] = np.ascontiguousarray(array)
    return arrays


def write_safetensors(path: storage.PathLike, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes arrays by name as a safetensors file, atomically."""
    kinds = {dtype: kind for kind, dtype in safetensors.DTYPES.items()}
    header, end = {}, 0
    for name, array in arrays.items():
        offsets = [end, end := end + array.nbytes]
        header[name] = {'dtype': kinds[array.dtype], 'shape': array.shape, 'data_offsets': offsets}
    text = json.dumps(header).encode()
    text += b' ' * (-len(text) % 8)  # values begin at a multiple of 8 bytes
    with storage.atomic_file(path) as file:
        file.write(len(text).to_bytes(8, 'little') + text)
        for array in arrays.values():
            file.write(array.tobytes())
