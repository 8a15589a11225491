"""Checks of the machine and its SLURM job before a run: devices, versions, processes, file system, time left.

Each check returns a `Check` and raises nothing, so that one fault does not hide the next.
"""

import collections
import contextlib
import dataclasses
import os
import pathlib
import platform
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from importlib import metadata
from typing import Literal

from humalign_jax import devices, memory, mistakes, storage

OK, WARNING, FAULT = 'ok', 'warning', 'fault'
Status = Literal['ok', 'warning', 'fault']

SAVE_SECONDS = 120.0  # before its time limit a job of launch/ saves and is queued again
SHORT_SECONDS = 600.0

_PACKAGES = ('jax', 'jaxlib', 'flax', 'optax', 'orbax-checkpoint', 'numpy')
_OF_TRAINING = ('flax', 'optax', 'orbax-checkpoint')
_PLUGINS = ('jax-cuda12-plugin', 'jax-cuda12-pjrt', 'jax-cuda13-plugin', 'jax-cuda13-pjrt')
_GPUS_OF_DRIVER = 'proc/driver/nvidia/gpus'
_PROBE_BYTES = 1 << 20
_ASK_SECONDS = 10  # for squeue, on a busy controller


@dataclasses.dataclass(frozen=True)
class Check:
    """What one check found.

    Attributes:
        name: What was checked, one word.
        status: 'ok', 'warning' (a run starts, but perhaps not as meant) or 'fault' (a run cannot start).
        text: What was found and, unless it is ok, what to do.
    """

    name: str
    status: Status
    text: str


def check_devices() -> Check:
    """Devices of this process with the memory that jax may take, CPU cores, and free memory of the machine."""
    try:
        found = devices.local_devices()
    except ValueError as error:
        return Check('devices', FAULT, str(error))
    parts = []
    for kind, n in collections.Counter(device.device_kind for device in found).items():
        device = next(device for device in found if device.device_kind == kind)
        limit = (device.memory_stats() or {}).get('bytes_limit')
        parts.append(f'{n} x {kind}' + (f' ({gigabytes(limit)} for jax)' if limit else ''))
    n_cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
    free = gigabytes(memory.free_memory_bytes())
    return Check('devices', OK, f'{", ".join(parts)}; {n_cores} CPU cores, {free} of memory free')


def check_gpu(environment: Mapping[str, str], system: pathlib.Path = pathlib.Path('/')) -> Check:
    """Whether jax sees the GPUs that SLURM or the driver has.

    Args:
        environment: Variables of the process.
        system: Folder that holds `proc`.
    """
    try:
        devices.check_gpu_is_used(environment, system)
        found = devices.local_devices()
    except ValueError as error:
        return Check('gpu', FAULT, str(error))
    n_driver, n_seen = len(list((system / _GPUS_OF_DRIVER).glob('*'))), len(found)
    if found[0].platform != 'cpu':
        of_driver = f', the driver has {n_driver}' if n_driver else ''
        return Check('gpu', OK, f'jax uses {n_seen}{of_driver}')
    if not n_driver:
        return Check('gpu', OK, 'none here: runs compute on the CPU')
    chosen = environment.get('JAX_PLATFORMS')
    if chosen:
        return Check('gpu', OK, f'the driver has {n_driver}, not used because JAX_PLATFORMS={chosen}')
    advice = 'install jax for its driver (pip install "humalign_jax[cuda12]"), or set JAX_PLATFORMS=cpu'
    return Check('gpu', WARNING, f'the driver has {n_driver}, but jax sees none and computes on the CPU: {advice}')


def check_versions(version_of: Callable[[str], str | None] | None = None) -> Check:
    """Versions of Python, jax, jaxlib, flax, optax, orbax and numpy; jaxlib and GPU plugins must have jax's version.

    Args:
        version_of: Installed version of a package, None if it is not installed; default: of this Python.
    """
    version_of = version_of or _version_of
    versions = {name: version_of(name) for name in _PACKAGES}
    text = ', '.join(f'{name} {version or "missing"}' for name, version in versions.items())
    text = f'Python {platform.python_version()}, {text}'
    wanted = versions['jax']
    others = {name: found for name in ('jaxlib', *_PLUGINS) if (found := version_of(name)) and found != wanted}
    if others:
        named = ', '.join(f'{name} {found}' for name, found in others.items())
        return Check('versions', WARNING, f'{text}: jax {wanted} with {named}; install all of them in one version')
    if missing := [name for name in _OF_TRAINING if versions[name] is None]:
        return Check(
            'versions', WARNING, f"{text}: training needs {', '.join(missing)} (pip install 'humalign_jax[train]')"
        )
    return Check('versions', OK, text)


def check_processes(environment: Mapping[str, str]) -> Check:
    """This process among those of its SLURM job: rank, host and nodes.

    Args:
        environment: Variables of the process.
    """
    host, job = platform.node(), environment.get('SLURM_JOB_ID')
    if not job:
        return Check('processes', OK, f'one process on {host}, no SLURM job')
    in_step = 'SLURM_STEP_NODELIST' in environment
    n = _number(environment, 'SLURM_STEP_NUM_TASKS' if in_step else 'SLURM_NTASKS', 1)
    rank = _number(environment, 'SLURM_PROCID', 0)
    nodes = environment.get('SLURM_STEP_NODELIST') or environment.get('SLURM_JOB_NODELIST') or host
    n_nodes = _number(environment, 'SLURM_STEP_NUM_NODES' if in_step else 'SLURM_JOB_NUM_NODES', 1)
    if n > 1 and not in_step:
        advice = 'start the run with srun, or ask for one task'
        return Check(
            'processes', WARNING, f'job {job} has {n} tasks, but srun did not start this process on {host}: {advice}'
        )
    text = f'rank {rank} of {n} on {host}, job {job}, {n_nodes} node(s): {nodes}'
    if not 0 <= rank < n:
        return Check(
            'processes', FAULT, f'{text}: SLURM_PROCID must be below the number of tasks; unset the SLURM_* variables'
        )
    return Check('processes', OK, text)


def check_time(
    environment: Mapping[str, str], now: float | None = None, ask: Callable[[str], str] | None = None
) -> Check:
    """Time left in the SLURM job, by `SLURM_JOB_END_TIME`, else by squeue.

    Args:
        environment: Variables of the process.
        now: Seconds since 1970; default: the clock's.
        ask: From a job's number to the time left as squeue prints it, '' if it cannot be known.
    """
    job = environment.get('SLURM_JOB_ID')
    if not job:
        return Check('time', OK, 'no SLURM job, no limit')
    end, left = environment.get('SLURM_JOB_END_TIME', ''), None
    if end.isdigit():
        left = float(end) - (time.time() if now is None else now)
    else:
        said = (ask or _ask_squeue)(job)
        if said == 'UNLIMITED':
            return Check('time', OK, f'job {job} has no limit')
        left = seconds_of(said)
    if left is None:
        return Check('time', WARNING, f'time left in job {job} is unknown: neither SLURM_JOB_END_TIME nor squeue tells')
    text = f'{left / 3600:.1f} h left in job {job}' if left >= 7200 else f'{left / 60:.0f} min left in job {job}'
    if left < SAVE_SECONDS:
        return Check('time', FAULT, f'{text}: a run stops {SAVE_SECONDS:.0f} s before the limit; submit a new job')
    if left < SHORT_SECONDS:
        return Check('time', WARNING, f'{text}: a run starts, saves and is queued again; ask for more time (--time)')
    return Check('time', OK, text)


def check_writing(folder: storage.PathLike) -> Check:
    """Writes, replaces, renames and reads a file as runs publish theirs, beside or in `folder`, and removes it again.

    Args:
        folder: The run's folder; its nearest parent that exists is used.
    """
    place = existing(folder)
    content = os.urandom(_PROBE_BYTES)
    start = time.perf_counter()
    try:
        with tempfile.TemporaryDirectory(prefix='.humalign-doctor-', dir=place) as made:
            before, after = pathlib.Path(made, 'before'), pathlib.Path(made, 'after')
            for written in (b'old', content):
                with storage.atomic_file(before / 'file') as file:
                    file.write(written)
            os.rename(before, after)
            same = (after / 'file').read_bytes() == content
    except OSError as error:
        return Check('writing', FAULT, f'{place}: {mistakes.message_of(error)}')
    seconds = time.perf_counter() - start
    if not same:
        return Check('writing', FAULT, f'{place}: a file came back changed; choose a --workdir on another file system')
    return Check('writing', OK, f'1 MB written, renamed and read in {1000 * seconds:.0f} ms in {place}')


def check_space(folder: storage.PathLike, needed_bytes: float | None, what: str = '') -> Check:
    """Free space and free files of the file system of `folder` against what a run needs.

    Args:
        folder: The run's folder; its nearest parent that exists is asked.
        needed_bytes: Estimate of what the run will write; None if there is no estimate.
        what: How the estimate is made up.
    """
    place = existing(folder)
    free = shutil.disk_usage(place).free
    text = f'{gigabytes(free)} free in {place}'
    advice = 'make space, or choose another --workdir'
    with contextlib.suppress(OSError, AttributeError):
        found = os.statvfs(place)
        if found.f_files and not found.f_favail:
            return Check('space', FAULT, f'{text}, but its number of files is used up: {advice}')
    if needed_bytes is None:
        return Check('space', OK, text)
    text = f'{text}; the run needs about {gigabytes(needed_bytes)} ({what})'
    if free < needed_bytes:
        return Check('space', FAULT, f'{text}: {advice}')
    return Check('space', OK, text)


def existing(folder: storage.PathLike) -> pathlib.Path:
    """The folder, or its nearest parent that exists."""
    path = pathlib.Path(folder).absolute()
    return next(place for place in (path, *path.parents) if place.is_dir())


def seconds_of(text: str) -> float | None:
    """Seconds of a duration as SLURM prints it ('5:00', '2:00:00', '1-00:00:00'); None for anything else."""
    match = re.fullmatch(r'(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)', text.strip())
    if match is None:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return float(((days * 24 + hours) * 60 + minutes) * 60 + seconds)


def gigabytes(n_bytes: float) -> str:
    """A number of bytes for people: '3.2 GB', '14 MB'."""
    return f'{n_bytes / 1e9:.1f} GB' if n_bytes >= 1e9 else f'{n_bytes / 1e6:.3g} MB'


def _version_of(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _number(environment: Mapping[str, str], name: str, default: int) -> int:
    given = environment.get(name, '')
    return int(given) if given.isdigit() else default


def _ask_squeue(job: str) -> str:
    try:
        done = subprocess.run(
            ['squeue', '--noheader', f'--jobs={job}', '--format=%L'],
            capture_output=True, text=True, timeout=_ASK_SECONDS, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return ''
    return done.stdout.strip()
