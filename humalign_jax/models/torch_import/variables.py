"""From PyTorch's names and axes to Flax's."""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import flax.traverse_util
import numpy as np

_N_NAMED = 12  # names in a message, of each kind


def to_flax(
    state_dict: Mapping[str, np.ndarray],
    template: Any,
    *,
    renames: Sequence[tuple[str, str]] = (),
    flatten: Mapping[str, int] | None = None,
    transposed: Collection[str] = (),
) -> dict[str, Any]:
    """Variables of a Flax model from a PyTorch state_dict.

    `a.b.weight` becomes `params/a/b/kernel` (or `scale`, `embedding`), `a.b.bias` becomes `params/a/b/bias`.
    `running_mean` and `running_var` become `batch_stats/a/b/mean` and `var`; `num_batches_tracked` is left out. Kernels
    are transposed: [d, c, h, w] to [h, w, c, d], [d, c] to [c, d].

    PyTorch flattens a map as channels, rows, columns, Flax as rows, columns, channels. The kernel of a dense layer
    that reads a flattened map is reordered accordingly; `flatten` says which layers do. The outputs of a dense layer
    that become a map are not reordered.

    Args:
        state_dict: From `read_state_dict`.
        template: Variables of the model, from `model.init`, or their shapes, from `jax.eval_shape` of it.
        renames: (pattern, replacement) of `re.sub`, applied in turn to the dotted name of a PyTorch module; the result,
            with / for the dots, is the path of the Flax module.
        flatten: Channels of the map that is flattened, by path of the dense layer that reads it; 1 where a layer
            reads something else than a flattened map.
        transposed: Paths of transposed convolutions, whose PyTorch kernels are [c, d, h, w]. Taps are not flipped, as
            in `layers.ConvTranspose4x4`; flax.linen.ConvTranspose would need that.

    Returns:
        The variables, nested as `template`, of its shapes and dtypes.

    Raises:
        ValueError: Names or shapes do not fit, with those that remain on both sides; or a dense layer follows a
            convolution, its inputs are not that one's channels, and `flatten` does not say what they are.
    """
    wanted: dict[str, Any] = flax.traverse_util.flatten_dict(template, sep='/')
    flatten = dict(flatten or {})
    found: dict[str, np.ndarray] = {}
    source: dict[str, str] = {}
    unknown, misfits = [], []
    n_channels = 0  # of the convolution before, until a dense layer follows
    for name, array in state_dict.items():
        module, _, leaf = name.rpartition('.')
        if leaf == 'num_batches_tracked':
            continue
        place = _place(_renamed(module, renames), leaf, wanted)
        if place is None:
            unknown.append(f'{name} {array.shape}')
            continue
        if place in source:
            misfits.append(f'{name} and {source[place]} both become {place}')
            continue
        source[place] = name
        path = place.removeprefix('params/').rpartition('/')[0]
        values = _kernel(array, path in transposed) if place.endswith('/kernel') else array
        if values.shape != wanted[place].shape:
            misfits.append(
                f'{name} becomes {values.shape}, {place} is {wanted[place].shape}{_hint(array, wanted[place])}'
            )
            continue
        if not _is_float(values) and np.dtype(wanted[place].dtype).kind not in 'biu':
            misfits.append(f'{name} is {values.dtype}, {place} is {wanted[place].dtype}')
            continue
        if place.endswith('/kernel') and values.ndim > 2:
            n_channels = values.shape[-1]
        elif place.endswith('/kernel') and values.ndim == 2:
            values = _from_map(values, path, name, n_channels, flatten)
            n_channels = 0
        found[place] = np.array(values, dtype=wanted[place].dtype, order='C')
    missing = [f'{place} {leaf.shape}' for place, leaf in wanted.items() if place not in source]
    missing += [f'{path}/kernel (named in flatten)' for path in flatten if f'params/{path}/kernel' not in wanted]
    if unknown or missing or misfits:
        raise ValueError(_message(unknown, missing, misfits))
    return flax.traverse_util.unflatten_dict({place: found[place] for place in wanted}, sep='/')


def _renamed(module: str, renames: Sequence[tuple[str, str]]) -> str:
    for pattern, replacement in renames:
        module = re.sub(pattern, replacement, module)
    return module.replace('.', '/')


def _place(path: str, leaf: str, wanted: Mapping[str, Any]) -> str | None:
    """Where in the variables an entry of a module belongs; None if nowhere."""
    names = {
        'weight': ('params/{}/kernel', 'params/{}/scale', 'params/{}/embedding'),
        'running_mean': ('batch_stats/{}/mean',),
        'running_var': ('batch_stats/{}/var',),
    }.get(leaf, ())
    candidates = [name.format(path) for name in names] + [f'params/{path}/{leaf}' if path else f'params/{leaf}']
    return next((name for name in candidates if name in wanted), None)


def _kernel(array: np.ndarray, is_transposed: bool) -> np.ndarray:
    """[d, c, ...] -> [..., c, d]; of a transposed convolution [c, d, ...] -> [..., c, d]."""
    if array.ndim < 2:
        return array
    first = (0, 1) if is_transposed else (1, 0)
    return array.transpose(*range(2, array.ndim), *first)


def _from_map(kernel: np.ndarray, path: str, name: str, n_channels: int, flatten: Mapping[str, int]) -> np.ndarray:
    """The kernel of a dense layer, [c h w, d] -> [h w c, d] where it reads a flattened map."""
    n_inputs, n_outputs = kernel.shape
    if path not in flatten:
        if n_channels in (0, n_inputs):
            return kernel
        raise ValueError(
            f'{name} takes {n_inputs} inputs after a convolution of {n_channels} channels. If they are a flattened '
            f'map, give its number of channels with flatten={{{path!r}: {n_channels}}}, so that they are reordered; if '
            f'not, flatten={{{path!r}: 1}}.'
        )
    channels = flatten[path]
    if channels < 1 or n_inputs % channels:
        raise ValueError(f'{name} takes {n_inputs} inputs, which are no map of {channels} channels.')
    return kernel.reshape(channels, -1, n_outputs).transpose(1, 0, 2).reshape(n_inputs, n_outputs)


def _is_float(array: np.ndarray) -> bool:
    """Whether the values are real floating-point numbers; those of ml_dtypes are of kind V."""
    return array.dtype.kind == 'f' or (array.dtype.kind == 'V' and np.can_cast(array.dtype, np.float32))


def _hint(array: np.ndarray, wanted: Any) -> str:
    if array.ndim > 2 and _kernel(array, True).shape == wanted.shape:
        return ' (it would fit as a transposed convolution: name the layer in transposed)'
    return ''


def _message(unknown: list[str], missing: list[str], misfits: list[str]) -> str:
    lists = {
        'only in the checkpoint': unknown,
        'only in the model': missing,
        'of another shape or dtype': misfits,
    }
    parts = []
    for what, names in lists.items():
        more = f' and {len(names) - _N_NAMED} more' if len(names) > _N_NAMED else ''
        parts += [f'{what}: {", ".join(names[:_N_NAMED])}{more}'] if names else []
    return f'The checkpoint does not fit the model; {"; ".join(parts)}. Map names with renames.'
