"""Image sets by name.

A source is a function `load_<name>(split, *, root='', ...)`; its keyword-only arguments are what a config's `data`
section may set.
"""

import types
from collections.abc import Callable, Mapping
from typing import Any

from humalign_jax import records, settings
from humalign_jax.data.cifar10 import load_cifar10
from humalign_jax.data.image_folder import load_image_folder
from humalign_jax.data.mnist import load_mnist
from humalign_jax.data.synthetic import load_synthetic

SOURCES: Mapping[str, Callable[..., records.ImageSet]] = types.MappingProxyType(
    {
        'cifar10': load_cifar10,
        'image_folder': load_image_folder,
        'mnist': load_mnist,
        'synthetic': load_synthetic,
    }
)


def load(name: str, split: str, *, root: str = '', **options: Any) -> records.ImageSet:
    """The images of one split, in the published order.

    Args:
        name: A name in `SOURCES`.
        split: 'train' or 'test'.
        root: Folder with datasets; '' means `$HUMALIGN_DATA`, else `~/.cache/humalign_jax`.
        **options: The source's further keyword arguments.

    Returns:
        The images.

    Raises:
        ValueError: The source is unknown or cannot be read.
    """
    if name not in SOURCES:
        raise ValueError(f'there is no data source {name!r}.{settings.nearest(name.lower(), SOURCES)}')
    return SOURCES[name](split, root=root, **options)
