"""Several processes that run one experiment together, over the hosts of a job or one for each GPU.

Every process runs the same program in the same order. They meet in the train step, in evaluations and in the tiles of
RDMs, and all of them have every result there; the first process alone writes files. A run of one process needs none
of this, and nothing here starts jax for it.
"""

import contextlib
import dataclasses
import io
import os
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

import numpy as np
from absl import logging

HEARTBEAT_SECONDS = 30  # a process that is silent for so long has ended, and the others stop
_START_SECONDS = 300  # until all have come: nodes of a job do not start at one moment
_END_SECONDS = 30
_PORTS = 61440, 4096  # first and number of those that a job number chooses from: above those of most services

_place: 'Place | None' = None
_shares_tiles = False


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a process stands among those of its run.

    Attributes:
        coordinator: Address of the first process, 'host:port', that all can reach.
        n_processes: Number of processes.
        number: Number of this one, from 0.
        gpus: Numbers of the GPUs that it takes among those that it sees; () for all, and where there are none.
    """

    coordinator: str
    n_processes: int
    number: int
    gpus: tuple[int, ...] = ()


def place_from_flags(coordinator: str, n_processes: int, number: int) -> Place | None:
    """The place that flags describe; None if none of them is given, or `n_processes` is 1.

    Raises:
        ValueError: Some are missing, or they do not belong together.
    """
    if n_processes == 1 or (not coordinator and n_processes < 1 and number < 0):
        return None
    wanted = '--coordinator=HOST:PORT --n_processes=N --process=K, with K from 0 to N - 1, in every process'
    if not re.fullmatch(r'[^\s:]+:\d+|\[[^\s\]]+\]:\d+', coordinator) or not 0 <= number < n_processes:
        given = f'--coordinator={coordinator} --n_processes={n_processes} --process={number}'
        raise ValueError(f'{given}: several processes need {wanted}.')
    return Place(coordinator, n_processes, number)


def place_in_slurm(environment: Mapping[str, str]) -> Place | None:
    """The place of a task that `srun` started beside others; None for a single task, and outside of SLURM.

    Tasks of one node divide the GPUs that they see; where SLURM shows each task its own one, it takes that.

    Args:
        environment: Variables of the process.
    """
    n_tasks = int(environment.get('SLURM_STEP_NUM_TASKS', '1'))
    if n_tasks < 2:
        return None
    host = first_host(environment['SLURM_STEP_NODELIST'])
    job, step = int(environment['SLURM_JOB_ID']), int(environment.get('SLURM_STEP_ID', '0'))
    port = _PORTS[0] + (job * 16 + step) % _PORTS[1]
    here, n_here = int(environment['SLURM_LOCALID']), _n_tasks_here(environment)
    seen = [gpu for gpu in environment.get('CUDA_VISIBLE_DEVICES', '').split(',') if gpu]
    share = len(seen) // n_here
    gpus = range(share * here, share * (here + 1)) if n_here > 1 and share >= 1 else ()
    return Place(f'{host}:{port}', n_tasks, int(environment['SLURM_PROCID']), tuple(gpus))


def first_host(node_list: str) -> str:
    """First host of a list as SLURM writes it: 'gpu[03-05,7],cpu1' -> 'gpu03'."""
    found = re.match(r'([^\[,]+)(?:\[(\d+)[^\]]*\]([^\[,]*))?', node_list)
    if found is None:
        raise ValueError(f'SLURM_STEP_NODELIST={node_list!r} names no host.')
    return ''.join(part or '' for part in found.groups())


def _n_tasks_here(environment: Mapping[str, str]) -> int:
    """Number of tasks on this node, from a list such as '2(x3),1': two on each of three nodes, one on the fourth."""
    counts: list[int] = []
    for part in environment['SLURM_STEP_TASKS_PER_NODE'].split(','):
        n_tasks, _, n_nodes = part.rstrip(')').partition('(x')
        counts += [int(n_tasks)] * int(n_nodes or 1)
    return counts[int(environment.get('SLURM_NODEID', '0'))]


def start(place: Place) -> None:
    """Joins the other processes; before jax's first computation.

    Raises:
        ValueError: They do not all come within five minutes.
    """
    global _place
    import jax  # here: a run of one process that is complete needs no jax

    jax.config.update('jax_enable_preemption_service', False)  # it would take SIGTERM from our own handlers
    logging.info('Process %d of %d joins %s.', place.number, place.n_processes, place.coordinator)
    try:
        jax.distributed.initialize(
            place.coordinator,
            place.n_processes,
            place.number,
            local_device_ids=list(place.gpus),  # an empty list: all; None would ask the cluster
            initialization_timeout=_START_SECONDS,
            heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
            shutdown_timeout_seconds=_END_SECONDS,
        )
    except RuntimeError as error:
        raise ValueError(
            f'process {place.number} of {place.n_processes} waited {_START_SECONDS} s at {place.coordinator} for the '
            f'others: start all of them, with one address that all can reach ({str(error).splitlines()[0]}).'
        ) from error
    _place = place


def count() -> int:
    """Number of processes of this run."""
    return _place.n_processes if _place else 1


def number() -> int:
    """Number of this process, from 0."""
    return _place.number if _place else 0


def is_first() -> bool:
    """Whether this process writes the files."""
    return number() == 0


def leave(status: int) -> NoReturn:
    """Ends a process of several at once, so that the others notice it instead of waiting for it."""
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status)


def message_of(error: BaseException) -> str | None:
    """What to tell if an error comes from another process's end; None for other errors."""
    signs = ('Gloo', 'NCCL', 'Connection closed by peer', 'CoordinationService', 'heartbeat', 'coordination service')
    if count() == 1 or not any(sign in str(error) for sign in signs):
        return None
    return (
        f'process {number()} of {count()} stops, because another one has ended or does not answer; its own output says '
        'why. Everything up to the newest checkpoint is saved: start all of them again to go on.'
    )


def from_first(value: int) -> int:
    """The first process's value, in all of them; they wait for one another."""
    if count() == 1:
        return value
    from jax.experimental import multihost_utils

    return int(multihost_utils.broadcast_one_to_all(np.asarray(value, np.int32)))


def wait_for_all() -> None:
    """Returns in every process once all have come here."""
    from_first(0)


def gather(values: np.ndarray) -> np.ndarray:
    """Arrays of one shape and dtype of all processes, [...] -> [processes, ...]."""
    values = np.ascontiguousarray(values)
    if count() == 1:
        return values[None]
    from jax.experimental import multihost_utils

    # As bytes: jax would make float64 and int64 narrower.
    raw = multihost_utils.process_allgather(values.reshape(-1).view(np.uint8))
    return np.asarray(raw).view(values.dtype).reshape(count(), *values.shape)


def total(values: np.ndarray) -> np.ndarray:
    """Sum over processes of counts, int64 if there are several: [m] -> [m]. At most 32 MB travel at a time."""
    if count() == 1:
        return values
    summed = np.empty(len(values), np.int64)
    for first in range(0, len(values), 4 << 20):
        part = slice(first, first + (4 << 20))
        summed[part] = gather(values[part]).sum(axis=0, dtype=np.int64)
    return summed


@contextlib.contextmanager
def sharing_tiles() -> Iterator[None]:
    """Inside the block `devices.spread` divides its items among the processes; all must call it in the same order."""
    global _shares_tiles
    _shares_tiles = count() > 1
    try:
        yield
    finally:
        _shares_tiles = False


def n_sharing() -> int:
    """How many processes divide tiles among them: 1 outside `sharing_tiles`."""
    return count() if _shares_tiles else 1


def exchange(results: list[Any], n_results: list[int]) -> list[list[Any]]:
    """Results of all processes, in every process.

    Args:
        results: Trees of this process, of arrays and numbers. All trees of all processes have one structure; there is
            at least one in every process.
        n_results: How many each process contributes, the first of its results.

    Returns:
        A list for each process.
    """
    import jax

    leaves, structure = jax.tree.flatten(results[0])
    buffer = io.BytesIO()
    for result in results[: n_results[number()]]:
        for leaf in jax.tree.leaves(result):
            np.lib.format.write_array(buffer, np.asarray(leaf), allow_pickle=False)
    content = np.frombuffer(buffer.getvalue(), np.uint8)
    sizes = gather(np.array([len(content)]))[:, 0]
    padded = np.zeros(max(1, *sizes), np.uint8)
    padded[: len(content)] = content
    found = []
    for raw, size, n in zip(gather(padded), sizes, n_results):
        stream = io.BytesIO(raw[:size].tobytes())
        trees = []
        for _ in range(n):
            read = [np.lib.format.read_array(stream, allow_pickle=False) for _ in leaves]
            alike = [one.item() if isinstance(leaf, int | float) else one for one, leaf in zip(read, leaves)]
            trees.append(jax.tree.unflatten(structure, alike))
        found.append(trees)
    return found
