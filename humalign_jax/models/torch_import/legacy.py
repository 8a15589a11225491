"""PyTorch's older, not zipped format: five pickles (mark, version, machine, value, keys of blocks), then the blocks.

A block is its number of values (int64) and the values, little-endian on every machine: the `little_endian` that the
third pickle holds tells about the machine, and PyTorch does not use it either.
"""

import re
import struct
from typing import Any

from humalign_jax.models.torch_import import pickled
from humalign_jax.models.torch_import.storages import Storages

_MAGIC_NUMBER = (0x1950A86A20F9469CFC6C).to_bytes(10, 'little')
_MARK = re.compile(rb'\x80[\x02-\x05](?:\x95.{8})?\x8a\x0a' + re.escape(_MAGIC_NUMBER) + rb'\.', re.DOTALL)
_VERSION = 1001


def is_legacy(content: bytes) -> bool:
    """Whether the bytes begin as this format does."""
    return _MARK.match(content) is not None


def read(content: bytes) -> tuple[Any, Storages]:
    """The value, with `Tensor` records in place of tensors, and their blocks.

    Raises:
        ValueError: The file is damaged, or holds something that is refused.
    """
    match = _MARK.match(content)
    assert match is not None
    version, end = _next(content, match.end())
    if version != _VERSION:
        raise ValueError(f'its version is not {_VERSION}')
    _, end = _next(content, end)
    machine = pickled.TorchMachine(content, end)
    value = machine.run()
    keys, end = _next(content, machine.end)
    names = [pickled.text(key) for key in keys] if isinstance(keys, list) else [None]
    if None in names or len(set(names)) != len(names) or set(names) != set(machine.storages):
        raise ValueError('the list of its storages is not that of its tensors')
    blocks = {}
    for name in names:
        storage = machine.storages[str(name)]
        if end + 8 + storage.n_bytes > len(content):
            raise ValueError(f'it ends within storage {storage.key[:60]!r}: copy or download it again')
        (size,) = struct.unpack_from('<q', content, end)
        if size != storage.size:
            raise ValueError(f'storage {storage.key[:60]!r} has {size} values, its tensors expect {storage.size}')
        blocks[storage.key] = memoryview(content)[end + 8 : end + 8 + storage.n_bytes]
        end += 8 + storage.n_bytes
    if end != len(content):
        raise ValueError(f'{len(content) - end} bytes follow its end')
    return value, Storages(lambda storage: blocks[storage.key])


def _next(content: bytes, start: int) -> tuple[Any, int]:
    """A pickle, and where the next one begins."""
    machine = pickled.TorchMachine(content, start)
    return machine.run(), machine.end
