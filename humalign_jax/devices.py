"""Mapping over devices: the only file that says `pmap`.

All other code is written for one device and, where devices must agree, names the axis `AXIS` in a `lax.pmean` or
`lax.psum`. The mapping can therefore change (to `shard_map`, say) without touching a model, an objective or a distance.
"""

import collections
import concurrent.futures
import functools
import itertools
import pathlib
import queue
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import jax
import numpy as np
from absl import logging

from humalign_jax import processes

AXIS = 'device'  # name of the mapped axis inside every mapped function

Tree = TypeVar('Tree')
Item = TypeVar('Item')
Result = TypeVar('Result')


def local_devices(n_devices: int = 0, *, where: str = '') -> list[jax.Device]:
    """The first `n_devices` devices of this process; 0 means all.

    Args:
        n_devices: Number of devices.
        where: Name of the setting with this number, for the message.

    Raises:
        ValueError: There are fewer devices, or none of the platform that JAX_PLATFORMS names.
    """
    devices = _all_local()
    if n_devices < 0 or n_devices > len(devices):
        asked = f'{where}={n_devices}: ' if where else f'{n_devices} devices were asked for, but '
        raise ValueError(
            f'{asked}there are {len(devices)} ({devices[0].platform}): set the number to 0 (all) or to at most that.'
        )
    return devices[: n_devices or None]


def all_devices(n_devices: int = 0, *, where: str = '') -> list[jax.Device]:
    """The devices of all processes of the run, in the order of the processes; of a single process `local_devices`.

    Raises:
        ValueError: There are fewer devices, or a number is given for several processes.
    """
    if processes.count() == 1:
        return local_devices(n_devices, where=where)
    if n_devices:
        raise ValueError(
            f'{where or "n_devices"}={n_devices}: {processes.count()} processes use all their devices; set 0.'
        )
    return sorted(jax.devices(), key=lambda device: (device.process_index, device.id))


def of_this_process(devices: Sequence[jax.Device]) -> list[jax.Device]:
    """Those of the devices that belong to this process."""
    if processes.count() == 1:
        return list(devices)
    return [device for device in devices if device.process_index == processes.number()]


def check_gpu_is_used(environment: Mapping[str, str], system: pathlib.Path = pathlib.Path('/')) -> None:
    """Looks for a GPU that jax does not use; silent where the user has chosen by JAX_PLATFORMS.

    Args:
        environment: Variables of the process.
        system: Folder that holds `proc`.

    Raises:
        ValueError: A SLURM job was given GPUs, but jax has none. Outside of a job it is a warning.
    """
    if _all_local()[0].platform != 'cpu' or environment.get('JAX_PLATFORMS'):
        return
    advice = (
        'install jax for its driver (`make venv JAX=cuda12`, or pip install "humalign_jax[cuda12]"), or set '
        'JAX_PLATFORMS=cpu to compute on the CPU.'
    )
    for name in ('SLURM_JOB_GPUS', 'SLURM_STEP_GPUS'):
        if environment.get(name):
            raise ValueError(f'this job has a GPU ({name}={environment[name]}), but jax does not find it: {advice}')
    if any((system / 'proc/driver/nvidia/gpus').glob('*')):
        logging.warning('This machine has a GPU, but jax does not find it: %s', advice)


def compiled(function: Callable[..., Any] | None = None, **options: Any) -> Callable[..., Any]:
    """`jax.jit` for analyses: the function runs under jax's default checks, whatever the user has set.

    `jax_debug_nans`, which helps to find a NaN in training, would refuse the NaN that mark entries of a tile outside
    the condensed RDM. Strict promotion would refuse a 32-bit index beside a 64-bit one.

    Args:
        function: The function to compile; without it a decorator is returned.
        options: Of `jax.jit`.
    """
    if function is None:
        return functools.partial(compiled, **options)
    program = jax.jit(function, **options)

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        with jax.debug_nans(False), jax.debug_infs(False), jax.numpy_dtype_promotion('standard'):
            return program(*args, **kwargs)

    return run


def _all_local() -> list[jax.Device]:
    """All devices of this process; the first call starts jax's backend, which may be missing on this machine."""
    try:
        return jax.local_devices()
    except (RuntimeError, AssertionError) as error:  # an AssertionError without words where jax lacks the plugin
        wanted = jax.config.jax_platforms or ''  # type: ignore[attr-defined]
        name = f'JAX_PLATFORMS={wanted}' if wanted else 'jax'
        words = str(error).strip() or 'this jax was installed without support for it'
        raise ValueError(
            f'{name} finds no device on this machine ({words}). Unset JAX_PLATFORMS to take what there is, or set '
            'JAX_PLATFORMS=cpu.'
        ) from error


def map_over_devices(
    function: Callable[..., Any], devices: Sequence[jax.Device], *, donate: Sequence[int] = ()
) -> Callable[..., Any]:
    """`function` compiled and run on all devices at once.

    Args:
        function: A function for one device; `lax.pmean(x, AXIS)` and similar functions combine devices.
        devices: The devices.
        donate: Positions of arguments whose memory the result may reuse.

    Returns:
        The mapped function: its arguments and results have a leading axis [d] over the devices of this process.
    """
    return jax.pmap(function, axis_name=AXIS, devices=list(devices), donate_argnums=tuple(donate))


def replicate(tree: Tree, devices: Sequence[jax.Device]) -> Tree:
    """A copy of every leaf on every device of this process: [...] -> [d, ...]."""
    devices = of_this_process(devices)
    mesh = jax.sharding.Mesh(np.asarray(devices), (AXIS,))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(AXIS))

    def one(leaf: Any) -> jax.Array:
        host = np.asarray(leaf)
        return jax.make_array_from_callback((len(devices), *host.shape), sharding, lambda _: host[None])

    return jax.tree.map(one, tree)


def unreplicate(tree: Tree) -> Tree:
    """The first device's copy, on the host as NumPy arrays: [d, ...] -> [...]."""
    return jax.tree.map(lambda leaf: np.asarray(leaf.addressable_shards[0].data)[0], tree)


def shard(tree: Tree, devices: Sequence[jax.Device]) -> Tree:
    """Rows divided among the devices in order: [d * b, ...] -> [d, b, ...], those of this process.

    Raises:
        ValueError: The number of rows is not a multiple of the number of devices.
    """
    n_devices = len(devices)

    def one(leaf: Any) -> Any:
        if leaf.shape[0] % n_devices:
            raise ValueError(
                f'{leaf.shape[0]} rows do not divide among {n_devices} devices: choose a batch size that is a multiple '
                f'of {n_devices}, or use fewer devices.'
            )
        return part_of_this_process(leaf.reshape(n_devices, leaf.shape[0] // n_devices, *leaf.shape[1:]), devices)

    return jax.tree.map(one, tree)


def part_of_this_process(values: Any, devices: Sequence[jax.Device]) -> Any:
    """What belongs to the devices of this process, of an array with an axis over all: [d, ...] -> [d of these, ...]."""
    if processes.count() == 1:
        return values
    mine = [place for place, device in enumerate(devices) if device.process_index == processes.number()]
    return values[mine[0] : mine[-1] + 1]


def collect(values: jax.Array) -> np.ndarray:
    """Results of a mapped function on the host, over the devices of all processes in their order: [d, ...]."""
    here = np.asarray(values)
    return here if processes.count() == 1 else np.concatenate(list(processes.gather(here)))


def spread(
    function: Callable[[int, Item], Result], items: Sequence[Item], n_devices: int, *, threads_per_device: int = 2
) -> Iterator[Result]:
    """`function(device_number, item)` of every item, in the order of the items.

    Host threads, each bound to one device, take the next item when they are free; of two threads per device, one copies
    results while the other computes. The device of an item is not fixed, so results must not depend on it. Only a few
    items are computed ahead of the consumed results, so memory stays flat.

    Inside `processes.sharing_tiles` the processes divide the items, `owner` says how, and all get all results, which
    are then trees of arrays and numbers.
    """
    if processes.n_sharing() == 1:
        yield from _spread_here(function, items, n_devices, threads_per_device)
        return
    owners = [owner(place, n_devices) for place in range(len(items))]
    mine = [item for item, process in zip(items, owners) if process == processes.number()]
    results = _spread_here(function, mine, n_devices, threads_per_device)
    per_round = 2 * n_devices * threads_per_device  # items of each process whose results travel at once
    example: Result | None = None
    left = [owners.count(process) for process in range(processes.count())]
    order = iter(owners)
    while any(left):
        n_results = [min(n, per_round) for n in left]
        here = list(itertools.islice(results, n_results[processes.number()]))
        if not here and example is None:
            example = function(0, items[0])  # computed for its structure alone
        example = here[0] if here else example
        found = [iter(part) for part in processes.exchange(here or [example], n_results)]
        yield from (next(found[process]) for process in itertools.islice(order, sum(n_results)))
        left = [n - n_now for n, n_now in zip(left, n_results)]


def owner(place: int, n_devices: int) -> int:
    """The process that computes the item at a place, of those that divide items: as many in a row as it has devices."""
    return place // n_devices % processes.n_sharing()


def _spread_here(
    function: Callable[[int, Item], Result], items: Sequence[Item], n_devices: int, threads_per_device: int
) -> Iterator[Result]:
    """`spread` over the devices of this process."""
    n_threads = max(1, n_devices * threads_per_device)
    free: queue.SimpleQueue[int] = queue.SimpleQueue()
    for worker in range(n_threads):
        free.put(worker % n_devices)

    def run(item: Item) -> Result:
        device = free.get()
        try:
            return function(device, item)
        finally:
            free.put(device)

    with concurrent.futures.ThreadPoolExecutor(n_threads) as pool:
        waiting: collections.deque[concurrent.futures.Future[Result]] = collections.deque()
        try:
            for item in items:
                if len(waiting) >= 2 * n_threads:
                    yield waiting.popleft().result()
                waiting.append(pool.submit(run, item))
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
