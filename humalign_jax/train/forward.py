"""A function of a batch, over a whole set of examples, on all devices: evaluation and feature extraction."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from humalign_jax import devices as devices_lib
from humalign_jax.train.batches import Examples, padded_batches, with_mask


class Forward:
    """`function(params, model_state, batch) -> {name: [b, ...]}` over all examples of a set.

    Their arrays are put on the devices once; batches have one shape, the last one is padded and the padding is cut off
    again, so that every example counts once.
    """

    def __init__(
        self,
        function: Callable[..., Mapping[str, jax.Array]],
        examples: Examples,
        *,
        batch_size: int,
        devices: Sequence[jax.Device],
    ):
        """Compiles nothing yet.

        Args:
            function: Pure function for one device.
            examples: What batches are made of; keys are None.
            batch_size: Examples per batch over all devices; rounded up to a multiple of the number of devices.
            devices: Where to run.
        """
        self._devices = devices
        self._n = examples.n
        self._batch_size = -(-min(batch_size, self._n) // len(devices)) * len(devices)
        self._arrays = devices_lib.replicate(dict(examples.arrays), devices)

        def run(params, model_state, arrays, rows, mask):
            return function(params, model_state, with_mask(examples.make_batch(arrays, rows, None), mask))

        self._run = devices_lib.map_over_devices(run, devices)

    def __call__(self, params: Any, model_state: Any, rows: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """Values of all examples in their order, or of those in `rows`, {name: [n, ...]}.

        params and model_state have a leading device axis.
        """
        chosen = np.arange(self._n, dtype=np.int32) if rows is None else np.asarray(rows, np.int32)
        parts = []
        for places, mask in padded_batches(len(chosen), self._batch_size):
            batch_rows, mask = devices_lib.shard((chosen[places], mask), self._devices)
            parts.append(self._run(params, model_state, self._arrays, batch_rows, mask))
        # Fetched after all batches are dispatched: the devices never wait for the host.
        hosts = [jax.tree.map(devices_lib.collect, part) for part in parts]
        return {
            name: np.concatenate([host[name].reshape(-1, *host[name].shape[2:]) for host in hosts])[: len(chosen)]
            for name in hosts[0]
        }


class Stream:
    """The same function batch by batch, for results too large to hold: only two batches are in memory at a time."""

    def __init__(self, function: Callable[..., Mapping[str, jax.Array]], devices: Sequence[jax.Device]):
        """Compiles nothing yet.

        Args:
            function: `(params, model_state, rows of the array [b, ...]) -> {name: [b, ...]}`, pure, for one device.
            devices: Where to run.
        """
        self._devices = devices
        self._run = devices_lib.map_over_devices(function, devices)

    def bytes_needed(self, params: Any, model_state: Any, array: np.ndarray, batch_size: int) -> int:
        """Memory for two batches in flight and the results of one on the host, by the compiler's own account."""
        batch = np.zeros((batch_size, *array.shape[1:]), array.dtype)
        compiled = self._run.lower(params, model_state, devices_lib.shard(batch, self._devices)).compile()
        memory, n_devices = compiled.memory_analysis(), len(self._devices)
        if memory is None:
            raise ValueError(f'the compiler does not say how much memory {self._devices[0].platform} needs.')
        results = n_devices * memory.output_size_in_bytes
        return n_devices * memory.temp_size_in_bytes + 3 * results + 4 * batch.nbytes

    def batches(
        self, params: Any, model_state: Any, array: np.ndarray, batch_size: int, *, first: int = 0
    ) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
        """Yields (its first row, values {name: [b, ...]}) in order; padding of the last batch is cut off.

        Args:
            params: Parameters, with a leading device axis.
            model_state: Statistics, with a leading device axis.
            array: What is cut into batches, [n, ...]; may be memory-mapped.
            batch_size: Rows per batch over all devices, a multiple of their number.
            first: Row to begin with.
        """
        waiting: tuple[int, Any] | None = None
        for rows, _ in padded_batches(len(array) - first, batch_size):
            batch = devices_lib.shard(array[first + rows], self._devices)
            started = int(first + rows[0]), self._run(params, model_state, batch)
            if waiting is not None:  # the devices compute the next batch while the host takes this one
                yield self._fetched(*waiting, len(array))
            waiting = started
        if waiting is not None:
            yield self._fetched(*waiting, len(array))

    @staticmethod
    def _fetched(row: int, values: Mapping[str, jax.Array], n: int) -> tuple[int, dict[str, np.ndarray]]:
        hosts = {name: np.asarray(value) for name, value in values.items()}
        return row, {name: host.reshape(-1, *host.shape[2:])[: n - row] for name, host in hosts.items()}


def means(values: Mapping[str, np.ndarray], names: Sequence[str]) -> dict[str, float]:
    """Means over examples, summed in float64 and divided once: {name: [n]} -> {name: float}."""
    return {name: float(np.sum(values[name], dtype=np.float64) / len(values[name])) for name in names}
