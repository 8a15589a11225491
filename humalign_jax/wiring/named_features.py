"""Features that a config names by a file and an array of it, or by a folder of layers and one of its layers."""

import pathlib

from humalign_jax import settings
from humalign_jax.records import Features
from humalign_jax.rsa import files
from humalign_jax.wiring import layer_folders
from humalign_jax.wiring.words import Table, in_flags

_FLAGS: Table = (
    (r'choose an array with key=\.\.\.', 'name the array of each file, --config.arrays=\'("NAME",)\''),
    (r'(?<![\w.])ids_key=\S+', 'an array named ids'),
)


def read_named(path: str, array: str, name: str) -> tuple[Features, pathlib.Path]:
    """Features with the ids that the file has, if any, and the file that they are in.

    Args:
        path: An entry of `config.features`: a file, or a folder of layers.
        array: Array of the file, or layer of the folder; '' for the only one.
        name: What scores call them; '' for the name in the file or of the folder.

    Raises:
        ValueError: The file is missing or damaged or has values that are not finite, or there is no such layer.
    """
    place = pathlib.Path(path).expanduser()
    if place.is_dir():
        layers = layer_folders.layer_paths(place)
        if not array and len(layers) > 1:
            raise ValueError(f'{place} has the layers {", ".join(layers)}: name one of them with config.arrays.')
        array = array or next(iter(layers))
        if array not in layers:
            raise ValueError(f'{place} has no layer {array!r}.{settings.nearest(array, layers)}')
        name = name or f'{layer_folders.model_name(place)}/{array}'
        place, array = layers[array], ''
    with in_flags(_FLAGS):
        found = files.load_features(place, key=array or None, name=name or array or None)
    layer_folders.check_finite(found, place, 'Leave it out of config.features.')
    return found, place
