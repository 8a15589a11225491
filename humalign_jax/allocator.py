"""The C library's allocator, set for programs that take and free the same large buffers again and again."""

import ctypes
import platform

# Names and numbers of <malloc.h> in glibc, and the values.
_SETTINGS = {
    'M_ARENA_MAX': (-8, 1),  # else every thread keeps an arena of its own, whose large buffers come from mmap
    'M_MMAP_THRESHOLD': (-3, 2**30),  # smaller buffers come from the heap, which keeps what is freed
    'M_TRIM_THRESHOLD': (-1, 2**31 - 1),  # and returns it to the system only beyond this many bytes
}


def keep_freed_memory() -> bool:
    """Makes the allocator keep freed buffers of up to 1 GB for the next use; call it before jax is imported.

    XLA on a CPU takes the large buffers of a train step anew in every step. By default the system maps and zeroes their
    pages each time. `memory.give_back_memory` still returns what is free.

    Returns:
        Whether the allocator accepted the settings: True on Linux with glibc 2.35 or later, as a rule.
    """
    if platform.libc_ver()[0] != 'glibc':
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return all([mallopt(number, value) for number, value in _SETTINGS.values()])
