"""The leaves of a tree by their path, so that a state of any structure can be stored as nested dicts and compared.

None and empty containers have no leaves: they are not stored, and come back from the template.
"""

import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

Path = tuple[str, ...]
Arrays = dict[Path, np.ndarray]


def flatten(tree: Any) -> dict[Path, Any]:
    """Leaves by path, in the order of `jax.tree.leaves`: keys, field names and positions, as strings.

    Raises:
        ValueError: The tree is a bare leaf, or two paths cannot be told apart once they are joined.
    """
    leaves, names = {}, {}
    for keys, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        path = tuple(jax.tree_util.keystr((key,), simple=True) for key in keys)
        if not path:
            raise ValueError('a checkpoint is a tree of named arrays, not a bare array: put it into a dict.')
        # Orbax joins a path with dots, the manifest with slashes.
        other = names.setdefault('/'.join(path).replace('.', '/'), path)
        if path in leaves or other != path:
            raise ValueError(f'{path} and {other} have the same name once joined: rename one of them.')
        leaves[path] = leaf
    return leaves


def arrays(tree: Any) -> Arrays:
    """Leaves by path, as NumPy arrays (not copied).

    Raises:
        ValueError: A leaf is not made of numbers.
    """
    found = {path: np.asarray(leaf) for path, leaf in flatten(tree).items()}
    for path, values in found.items():
        if values.dtype.kind in 'OUSMm':
            raise ValueError(f'{"/".join(path)} is not an array of numbers ({values.dtype}): it cannot be saved.')
    return found


def shape(leaf: Any) -> tuple[int, ...]:
    """Shape of an array, of a Python number, or of anything else that says its shape."""
    return tuple(np.shape(leaf))


def dtype(leaf: Any) -> np.dtype:
    """Dtype of an array, of a Python number, or of anything else that says its dtype."""
    return np.dtype(leaf.dtype) if hasattr(leaf, 'dtype') else np.asarray(leaf).dtype


def check_fits(folder: pathlib.Path, saved: Mapping[str, Mapping[str, Any]], template: Mapping[Path, Any]) -> None:
    """Raises ValueError that names every leaf in which the saved arrays and the template differ.

    Args:
        folder: Where the arrays were saved, for the message.
        saved: Dtype and shape of the saved arrays, by joined path.
        template: Leaves with the wanted shapes and dtypes, by path.
    """
    wanted = {'/'.join(path): leaf for path, leaf in template.items()}
    problems = [f'{name} is saved, but not in the template' for name in sorted(saved.keys() - wanted.keys())]
    problems += [f'{name} is in the template, but was not saved' for name in sorted(wanted.keys() - saved.keys())]
    for name in sorted(saved.keys() & wanted.keys()):
        have = (saved[name]['dtype'], tuple(saved[name]['shape']))
        want = (str(dtype(wanted[name])), shape(wanted[name]))
        if have != want:
            problems.append(f'{name} is saved as {have[0]} {have[1]}, but the template has {want[0]} {want[1]}')
    if problems:
        raise ValueError(
            f'{folder} does not fit the model or optimiser of this run:\n  ' + '\n  '.join(problems) + '\nUse the '
            'config that the run was started with, or another folder.'
        )
