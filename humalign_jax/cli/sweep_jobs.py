"""Points of a sweep as processes of this machine, one or several at a time, each with its share of GPUs and cores."""

import collections
import contextlib
import dataclasses
import os
import pathlib
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import IO

from humalign_jax import logs, workdir
from humalign_jax.cli.sweep_points import Point
from humalign_jax.train import signals

_LOOK_SECONDS = 0.1  # between two looks at whether a point has ended


@dataclasses.dataclass(frozen=True)
class Share:
    """What one of several points that run at a time gets of the machine.

    Attributes:
        gpu: Its value of CUDA_VISIBLE_DEVICES; '' where there are no GPUs.
        cores: Numbers of its CPU cores; empty where the system cannot bind a process to cores.
    """

    gpu: str
    cores: frozenset[int]


@dataclasses.dataclass(frozen=True)
class _Running:
    number: int
    point: Point
    share: Share | None
    started: float


def command_of(folder: pathlib.Path, point: Point) -> list[str]:
    """The command that runs a point of the sweep in `folder`."""
    return [sys.executable, '-m', 'humalign_jax.main', *point.arguments, f'--workdir={folder / point.name}']


def open_output(folder: pathlib.Path) -> IO[bytes]:
    """Opens `output.txt` of a point's folder, which is made where it is missing, to add to it."""
    folder.mkdir(parents=True, exist_ok=True)
    return open(folder / logs.OUTPUT, 'ab')


def run_points(folder: pathlib.Path, points: Sequence[Point], of_machine: Sequence[Share | None] = (None,)) -> int:
    """Runs the points that are not complete; after a failure the next points still run.

    A stop signal goes on to all running points. No point starts after it, nor after a point that was stopped by itself.

    Args:
        folder: The sweep's folder.
        points: The points.
        of_machine: `shares`, one for each point that runs at a time. With a share, a point writes to `output.txt` of
            its folder; None means the whole machine and the output of this process.

    Returns:
        The exit status of the sweep.
    """
    free = list(of_machine)
    statuses = {point.name: 0 for point in points if workdir.is_complete(folder / point.name)}
    waiting = collections.deque((n, point) for n, point in enumerate(points, start=1) if point.name not in statuses)
    running: dict[subprocess.Popen, _Running] = {}
    received: list[signal.Signals] = []

    def pass_on(number: signal.Signals) -> None:
        received.append(number)
        for process in list(running):
            process.send_signal(number)

    with signals.call_on_signals(pass_on), _stopped_at_the_end(running):
        while running or (waiting and not received):
            while waiting and free and not received:
                number, point = waiting.popleft()
                share, n_before = free.pop(0), len(received)
                print(_words(number, len(points), point, share), flush=True)
                process = _start(folder, point, share)
                running[process] = _Running(number, point, share, time.monotonic())
                for late in received[n_before:]:  # signals that arrived before the process started
                    process.send_signal(late)
            time.sleep(_LOOK_SECONDS)
            for process in [process for process in running if process.poll() is not None]:
                ended = running.pop(process)
                free.append(ended.share)
                statuses[ended.point.name] = process.returncode
                if ended.share is not None:
                    print(_words_at_end(ended, len(points), process.returncode, stopped=bool(received)), flush=True)
                if process.returncode == signals.EXIT_SAVED and not received:
                    pass_on(signal.SIGTERM)
    n_complete = sum(status == 0 for status in statuses.values())
    if received:
        print(f'Stopped: {n_complete} of {len(points)} points are complete. Start again to go on.')
        return signals.EXIT_SAVED
    failed = [point.name for point in points if statuses[point.name]]
    print(f'{n_complete} of {len(points)} points are complete: {folder}')
    if failed:
        print(f'error: failed: {", ".join(failed)}; --list says why. Start again to run them again.', file=sys.stderr)
    return 2 if failed else 0


def shares(jobs: int, environment: Mapping[str, str]) -> Sequence[Share | None]:
    """Equal shares of the machine, one for each of `jobs` points: one GPU where there are GPUs, and CPU cores.

    XLA starts as many threads as its process may use cores, so the points do not compete for cores. More points than
    cores take turns on them.

    Args:
        jobs: Number of points at a time; a single one has the whole machine, which is None.
        environment: Variables of this process.

    Raises:
        ValueError: There are GPUs, but fewer than `jobs`.
    """
    if jobs == 1:
        return [None]
    gpus = visible_gpus(environment)
    if 0 < len(gpus) < jobs:
        raise ValueError(
            f'--jobs={jobs}: every point has a GPU for itself, and there are {len(gpus)} GPUs. Choose at most '
            f'--jobs={len(gpus)}, or set JAX_PLATFORMS=cpu to compute on the CPU.'
        )
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else []
    parts = [cores[len(cores) * k // jobs : len(cores) * (k + 1) // jobs] for k in range(jobs)]
    if len(cores) < jobs:
        parts = [cores[k % len(cores) :][:1] if cores else [] for k in range(jobs)]
    return [Share(gpu, frozenset(part)) for gpu, part in zip(gpus[:jobs] or [''] * jobs, parts)]


def visible_gpus(environment: Mapping[str, str], system: pathlib.Path = pathlib.Path('/')) -> list[str]:
    """GPUs that a process may use, each as a value of CUDA_VISIBLE_DEVICES; found without starting jax on them.

    Args:
        environment: Variables of the process: CUDA_VISIBLE_DEVICES names the GPUs, else nvidia-smi or the driver does;
            JAX_PLATFORMS=cpu means none.
        system: Folder that holds `proc`.
    """
    if environment.get('JAX_PLATFORMS', '').split(',')[0] == 'cpu':
        return []
    if 'CUDA_VISIBLE_DEVICES' in environment:
        names = [name.strip() for name in environment['CUDA_VISIBLE_DEVICES'].split(',')]
        return names[: names.index('-1')] if '-1' in names else [name for name in names if name]
    try:
        told = subprocess.run(['nvidia-smi', '-L'], capture_output=True, text=True, timeout=60).stdout
    except (OSError, subprocess.TimeoutExpired):
        told = ''
    n_gpus = len(re.findall(r'^GPU \d+:', told, flags=re.MULTILINE))
    n_gpus = n_gpus or len(list((system / 'proc/driver/nvidia/gpus').glob('*')))
    return [str(number) for number in range(n_gpus)]


def _start(folder: pathlib.Path, point: Point, share: Share | None) -> subprocess.Popen:
    """Starts a point in a process group of its own, so that Ctrl-C reaches it once, passed on by this process."""
    if share is None:
        return subprocess.Popen(command_of(folder, point), process_group=0)
    environment = {**os.environ, **({'CUDA_VISIBLE_DEVICES': share.gpu} if share.gpu else {})}
    with open_output(folder / point.name) as output, _bound_to(share.cores):
        return subprocess.Popen(
            command_of(folder, point),
            process_group=0,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment,
        )


@contextlib.contextmanager
def _bound_to(cores: frozenset[int]) -> Iterator[None]:
    """Binds this process to cores inside the block: a process that starts there inherits the binding."""
    if not cores:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextlib.contextmanager
def _stopped_at_the_end(running: Mapping[subprocess.Popen, object]) -> Iterator[None]:
    """Stops the processes that still run when the block ends, which they do only after an error."""
    try:
        yield
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.wait()


def _words(number: int, n_points: int, point: Point, share: Share | None) -> str:
    words = f'Point {number} of {n_points}: {point.name}'
    if share is None:
        return words
    having = [f'GPU {share.gpu}'] if share.gpu else []
    having += [f'{len(share.cores)} core{"s" if len(share.cores) > 1 else ""}'] if share.cores else []
    return f'{words} started' + (f' ({", ".join(having)})' if having else '')


def _words_at_end(ended: _Running, n_points: int, status: int, *, stopped: bool) -> str:
    how = {0: 'complete', signals.EXIT_SAVED: 'saved and stopped'}.get(status, f'failed with status {status}')
    if stopped and status not in (0, signals.EXIT_SAVED):
        how = 'stopped before there was anything to save'
    seconds = time.monotonic() - ended.started
    return f'Point {ended.number} of {n_points}: {ended.point.name} {how} after {seconds:.0f} s'
