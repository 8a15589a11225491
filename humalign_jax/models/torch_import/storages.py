"""Arrays from the blocks of values in a checkpoint: dtype, byte order, offset and stride, checked against the bytes."""

import math
from collections.abc import Callable

import numpy as np

from humalign_jax.models.torch_import.pickled import Storage, Tensor

# A tensor may show a value more than once (`expand`). Beyond this many elements it may not have more than its storage:
# a copy would take memory that the file's size does not bound.
MAX_EXPANDED = 1 << 16


class Storages:
    """The blocks of one checkpoint.

    Args:
        read: Returns the bytes of a block; raises ValueError if there is no such block.
        is_big_endian: The order of the bytes of a value.
    """

    def __init__(self, read: Callable[[Storage], memoryview], *, is_big_endian: bool = False) -> None:
        self._read = read
        self._is_big_endian = is_big_endian
        self._arrays: dict[tuple[str, np.dtype], np.ndarray] = {}

    def array(self, tensor: Tensor) -> np.ndarray:
        """The tensor as a read-only array, a view of the file's bytes where their order is the machine's.

        Raises:
            ValueError: The tensor reaches outside its block, or has more elements than it.
        """
        values = self._values(tensor.storage, tensor.dtype)
        size = tensor.size * (tensor.storage.dtype.itemsize if tensor.storage.dtype else 1) // tensor.dtype.itemsize
        values = values[tensor.first :][:size]
        shape, stride, offset = tensor.shape, tensor.stride, tensor.offset
        n = math.prod(shape)
        last = offset + sum((length - 1) * step for length, step in zip(shape, stride)) if n else -1
        if max(shape, default=0) >= 2**31:
            raise ValueError(f'its shape {shape} is too large')
        if last >= values.size:
            raise ValueError(
                f'shape {shape}, stride {stride} and offset {offset} reach value {last} of a storage of {values.size}'
            )
        if n > max(values.size, MAX_EXPANDED):
            raise ValueError(
                f'it shows {values.size} values as {n} elements of shape {shape}: save what its .contiguous() returns'
            )
        if n == 0:
            return _frozen(np.empty(shape, tensor.dtype))
        steps = [step * values.itemsize for step in stride]
        steps = [0 if length == 1 else step for length, step in zip(shape, steps)]  # which may be anything, unused
        # Not as_strided, which fails for float8; this compares with the length of the buffer once more.
        return np.ndarray(shape, values.dtype, values.view(np.uint8), offset * values.itemsize, steps)

    def _values(self, storage: Storage, dtype: np.dtype) -> np.ndarray:
        """A whole block, [size]."""
        key = (storage.key, dtype)
        if key not in self._arrays:
            raw = self._read(storage)
            if len(raw) % dtype.itemsize:
                raise ValueError(f'storage {storage.key[:60]!r} has {len(raw)} bytes, no multiple of {dtype.itemsize}')
            if dtype.kind == 'b' and bytes(raw).translate(None, b'\0\1'):
                raise ValueError(f'storage {storage.key[:60]!r} of bool holds bytes other than 0 and 1')
            self._arrays[key] = self._swapped(storage, np.frombuffer(raw, dtype))
        return self._arrays[key]

    def _swapped(self, storage: Storage, values: np.ndarray) -> np.ndarray:
        """The values in the machine's byte order."""
        unit = values.itemsize // (2 if values.dtype.kind == 'c' else 1)
        if not self._is_big_endian or unit == 1:
            return values
        if storage.dtype is None:
            raise ValueError(f'storage {storage.key[:60]!r} has no type, so that the order of its bytes is not known')
        return _frozen(values.view(f'u{unit}').byteswap().view(values.dtype))


def _frozen(values: np.ndarray) -> np.ndarray:
    values.flags.writeable = False
    return values
