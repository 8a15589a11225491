"""Memory that NumPy and jax share."""

import numpy as np

ALIGNMENT = 64  # bytes; jax takes host memory that begins at a multiple of it over without a copy, on a CPU


def aligned_empty(shape: tuple[int, ...], dtype: np.dtype | type) -> np.ndarray:
    """An uninitialised array that `jax.device_put` does not copy on a CPU: do not change it after that.

    NumPy asks the system for huge pages for it, which makes random access to large tables faster.
    """
    dtype = np.dtype(dtype)
    n_bytes = int(np.prod(shape)) * dtype.itemsize
    memory = np.empty(n_bytes + ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    return memory[start : start + n_bytes].view(dtype).reshape(shape)


def aligned_zeros(shape: tuple[int, ...], dtype: np.dtype | type) -> np.ndarray:
    """The same filled with zeros."""
    array = aligned_empty(shape, dtype)
    array[...] = 0
    return array
