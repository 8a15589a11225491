"""A checkpoint's weights by PyTorch's names, whichever of the three formats the file has."""

import pathlib
from typing import Any

import numpy as np

from humalign_jax import settings
from humalign_jax.models.torch_import import legacy, pickled, safetensors, zipped
from humalign_jax.storage import PathLike

MAX_BYTES = 8 << 30  # a file is read whole

# Under which names checkpoints keep a network beside epochs and optimisers.
WRAPPERS = ('state_dict', 'model_state_dict', 'model_state', 'model', 'net', 'network', 'weights', 'params')
_MAX_WRAPPED = 5
# What DataParallel, torch.compile and wrapping modules put before the name of every tensor.
PREFIXES = ('module.', '_orig_mod.', 'model.', 'net.', 'network.')


def read_state_dict(path: PathLike, *, key: str = '', max_bytes: int = MAX_BYTES) -> dict[str, np.ndarray]:
    """The tensors of a PyTorch checkpoint (zip or older format) or safetensors file; needs no PyTorch and runs nothing.

    The content decides the format, not the name of the file. The network is found below `WRAPPERS`, and a prefix
    out of `PREFIXES` that all names share is taken off.

    Args:
        path: The file.
        key: Entry of the file that holds the network, where it has several.
        max_bytes: The longest file that is read; the memory needed is about as much.

    Returns:
        Arrays by PyTorch's name, in the file's order: read-only, mostly views of one buffer with the file's bytes, with
        the dtype of the file (bfloat16 and float8 are those of ml_dtypes) in the machine's byte order.

    Raises:
        ValueError: The file is missing, damaged, of another kind, or holds something that is refused, such as code.
    """
    path = pathlib.Path(path)
    content = _content(path, max_bytes)
    try:
        arrays = _arrays(content, key)
    except (ValueError, OverflowError) as error:  # OverflowError: NumPy, for sizes beyond 64 bits
        raise ValueError(f'{path} cannot be read as a checkpoint: {str(error)[:600]}') from error
    return _without_prefix(arrays)


def _content(path: pathlib.Path, max_bytes: int) -> bytes:
    if not path.is_file():
        raise ValueError(f'{path} is not a regular file: it should be a PyTorch checkpoint or a safetensors file.')
    try:
        if path.stat().st_size > max_bytes:
            raise ValueError(f'{path} has more than {max_bytes} bytes: it is another file, or max_bytes is too small.')
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f'{path} cannot be read: {error.strerror or error}.') from error


def _arrays(content: bytes, key: str) -> dict[str, np.ndarray]:
    if safetensors.is_safetensors(content):
        if key:
            raise ValueError(f'a safetensors file has no entry {key!r}: leave key empty')
        return safetensors.read(content)
    if content.startswith(zipped.MARK):
        value, storages = zipped.read(content)
    elif legacy.is_legacy(content):
        value, storages = legacy.read(content)
    else:
        raise ValueError(_kind(content))
    arrays = {}
    for name, tensor in _network(value, key).items():
        try:
            arrays[name] = storages.array(tensor) if isinstance(tensor, pickled.Tensor) else tensor
        except ValueError as error:
            raise ValueError(f'tensor {name[:100]!r}: {error}') from error
    return arrays


def _kind(content: bytes) -> str:
    """What the file seems to be instead."""
    head = content[:512].lstrip().lower()
    if not content:
        return 'it is empty'
    if head.startswith(b'version https://git-lfs'):
        return "it is a Git LFS pointer in place of the file; fetch the file itself with 'git lfs pull'"
    if head.startswith((b'<!doctype', b'<html', b'<?xml')):
        return 'it is a web page: download the file itself'
    if content[257:262] == b'ustar' or content[:1] == b'\x80':
        return (
            'it is a pickle or tar archive that torch.save did not write, or before 2017: load it where PyTorch is '
            'installed, if you trust it, and save its state_dict() with torch.save'
        )
    return 'it begins neither as a zip archive nor as an older PyTorch checkpoint nor as safetensors'


def _network(value: Any, key: str) -> dict[str, Any]:
    """Tensors and arrays of the network by name."""
    if key:
        value = _entries(value)
        if key not in value:
            raise ValueError(f'there is no entry {key!r} in it.{settings.nearest(key, list(value)[:50])}')
        value = value[key]
    for _ in range(_MAX_WRAPPED):
        entries = _entries(value)
        wrapped = [name for name in WRAPPERS if isinstance(entries.get(name), dict) and _holds_tensors(entries[name])]
        if len(wrapped) > 1:
            raise ValueError(f'it holds several networks ({", ".join(wrapped)}): name one with key')
        if not wrapped:
            return _tensors(entries)
        value = entries[wrapped[0]]
    raise ValueError(f'its network is nested more than {_MAX_WRAPPED} deep')


def _tensors(entries: dict[str, Any]) -> dict[str, Any]:
    """The entries that are tensors; numbers and text beside them are left out."""
    found = {name: entry for name, entry in entries.items() if isinstance(entry, pickled.Tensor | np.ndarray)}
    nested = [name for name, entry in entries.items() if isinstance(entry, dict) and _holds_tensors(entry)]
    if nested or not found:
        names = ', '.join(repr(name[:40]) for name in (nested or list(entries))[:10]) or 'nothing'
        what = 'tensors lie within its entries' if nested else 'it has no state_dict of a network, but'
        raise ValueError(f'{what} {names}: name the entry that is the network with key')
    return found


def _entries(value: Any) -> dict[str, Any]:
    """A dict whose keys are text; entries with other keys are left out."""
    if not isinstance(value, dict):
        kind = 'tensor' if isinstance(value, pickled.Tensor | np.ndarray) else type(value).__name__
        raise ValueError(f'a state_dict (a dict of tensors by name) was expected, not a {kind.lower()}')
    named: dict[str, Any] = {}
    for name, entry in value.items():
        as_text = pickled.text(name)
        if as_text is not None:
            if as_text in named:
                raise ValueError(f'its entry {as_text[:100]!r} occurs twice')
            named[as_text] = entry
    return named


def _holds_tensors(value: dict) -> bool:
    """Whether a tensor lies in a dict or the dicts in it; each is looked at once, in case they hold each other."""
    seen: set[int] = set()
    waiting: list[dict] = [value]
    while waiting:
        entries = waiting.pop()
        if id(entries) in seen:
            continue
        seen.add(id(entries))
        for entry in entries.values():
            if isinstance(entry, pickled.Tensor | np.ndarray):
                return True
            if isinstance(entry, dict):
                waiting.append(entry)
    return False


def _without_prefix(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    while True:
        prefix = next((prefix for prefix in PREFIXES if all(name.startswith(prefix) for name in arrays)), None)
        if prefix is None or not arrays:
            return arrays
        arrays = {name.removeprefix(prefix): array for name, array in arrays.items()}
