"""Memory of large experiments: a check before they start, and giving memory back after they end."""

import contextlib
import ctypes
import gc
import pathlib
from collections.abc import Iterator

import jax
import psutil
from absl import logging


def check_memory(needed_bytes: float, what: str, advice: str) -> None:
    """Logs how much memory is needed and how much is free; gives memory back first if too little is free.

    Args:
        needed_bytes: Expected rise of the peak.
        what: Name of the data or work that needs the memory, a plural.
        advice: Advice in the message if too little is free.

    Raises:
        ValueError: Too little memory is free.
    """
    free = free_memory_bytes()
    if needed_bytes > 0.9 * free:
        give_back_memory()
        free = free_memory_bytes()
    logging.info('%s need about %.2f GB of memory (%.1f free).', what, needed_bytes / 1e9, free / 1e9)
    if needed_bytes > 0.9 * free:
        raise ValueError(
            f'{what} need about {needed_bytes / 1e9:.1f} GB of memory, but only {free / 1e9:.1f} GB are free: {advice}.'
        )


def free_memory_bytes(system: pathlib.Path = pathlib.Path('/')) -> int:
    """Memory that this process may still take: the machine's free memory, within the limits of a job or container.

    Files that the kernel caches count as free, because it drops them on demand.

    Args:
        system: Folder that holds `proc` and `sys`.
    """
    return min([psutil.virtual_memory().available, *_left_in_cgroups(system)])


def give_back_memory() -> None:
    """Returns memory of finished experiments to the system: compiled programs and freed blocks.

    Programs that are needed again compile again, so this is meant for when memory is short.
    """
    jax.clear_caches()
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # only glibc keeps freed blocks
        ctypes.CDLL(None).malloc_trim(0)


def held_bytes(which: str = 'VmRSS') -> int:
    """Memory that this process holds now ('VmRSS') or held at most ('VmHWM'); 0 on systems other than Linux."""
    try:
        text = pathlib.Path('/proc/self/status').read_text()
    except OSError:
        return 0
    return 1024 * int(text.split(f'{which}:')[1].split()[0])


def forget_peak() -> None:
    """Starts 'VmHWM' again: a study runs its stages in one process, and an earlier stage may have held more."""
    with contextlib.suppress(OSError):
        pathlib.Path('/proc/self/clear_refs').write_text('5')


def _left_in_cgroups(system: pathlib.Path) -> Iterator[int]:
    """Free memory under each limit of the process's control groups (Linux, version 1 and 2)."""
    try:
        lines = (system / 'proc/self/cgroup').read_text().splitlines()
    except OSError:
        return
    for _, controllers, path in (line.split(':', 2) for line in lines):
        if controllers not in ('', 'memory'):
            continue
        root = system / 'sys/fs/cgroup' / controllers
        names = ('memory.limit_in_bytes', 'memory.usage_in_bytes') if controllers else ('memory.max', 'memory.current')
        folder = root / path.lstrip('/')
        for group in (folder, *folder.parents):
            if not group.is_relative_to(root):
                break
            try:
                most, now = ((group / name).read_text().strip() for name in names)
                cached = dict(line.split() for line in (group / 'memory.stat').read_text().splitlines())
            except OSError:
                continue
            if most != 'max':
                yield max(0, int(most) - int(now) + int(cached.get('inactive_file', 0)))
