"""Exact average ranks of billions of float32 values, by counting instead of sorting.

The bit pattern of a float32 orders like the number, so a value can be an address: count how often each occurs, sum up,
and the table of sums is the table of ranks. Addresses run from the smallest to the largest value where that range is
short, as it is for distances; otherwise a coarse count of the leading bits finds the stretches in use, and only those
get a place. Distances on a grid (`rsa.distances.tiles`) are addresses themselves.

Ranks are kept as the integer 2 * rank - (p + 1) for p values: centred, and free of the halves that ties bring. Where
that passes 31 bits it is rounded to a multiple of a power of two, `rank_unit`.
"""

import concurrent.futures
import dataclasses
import functools
import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from humalign_jax import processes, progress
from humalign_jax.devices import compiled, owner
from humalign_jax.rsa.aligned import ALIGNMENT, aligned_empty

GRID_SIZE = 3 * 2**23 + 1  # addresses of float32 values on a grid of 2**25 steps, see `_addresses`
_LOW_BITS = 14  # a stretch is 2**14 addresses, 64 KB of table
_N_STRETCHES = 1 << (32 - _LOW_BITS)
_RANGE_LIMIT = 1 << 25  # addresses that are given places without looking for gaps: 134 MB
_HOST_CHUNK = 1 << 15  # table entries per step on the host
_INT32 = np.dtype(np.int32)
_INT32_MAX = 2**31 - 1
_PEAK = 16  # times the average count of an address that the largest is expected to stay below
_NAN_STRETCH = (0x7FC00000 >> _LOW_BITS) + _N_STRETCHES // 2
_NO_BIN = 2**16 - 1

Step = Callable[[jax.Array, jax.Array, int], jax.Array]  # counts with a tile's added, of a device


@dataclasses.dataclass(frozen=True)
class Values:
    """The values of one RDM, tile by tile.

    Attributes:
        make: `(device number, tile number) -> float32 array` on that device, NaN where an entry is no pair. Must give
            the same bits each time, and all tiles one shape.
        n_tiles: Number of tiles; tile t belongs to device t modulo the number of devices.
        n_pairs: Number of values without the NaN, p.
        grid: Values are multiples of it between 0 and 2**25 of it; 0.0: any.
        span: Smallest and largest value, where known.
    """

    make: Callable[[int, int], jax.Array]
    n_tiles: int
    n_pairs: int
    grid: float = 0.0
    span: tuple[float, float] | None = None


class RankTables:
    """Tables from values to doubled centred average ranks, one range of addresses ("window") at a time.

    Args:
        values: The values.
        devices: Where the tiles are.
        table_bytes: Size a table may have; sets the number of windows.
        keep: How many tiles to keep in memory instead of making them again.
        n_bins: Merge neighbouring addresses until at most so many are left; 0: exact.
        advance: Called with every tile that is looked through for the stretches in use.
    """

    def __init__(
        self,
        values: Values,
        devices: Sequence[jax.Device],
        *,
        table_bytes: int,
        keep: int = 0,
        n_bins: int = 0,
        advance: progress.Advance = progress.silent,
    ) -> None:
        self.values, self.devices = values, list(devices)
        self._kept: list[list[jax.Array]] = [[] for _ in self.devices]
        self._memory: list[np.ndarray | None] = [None] * len(self.devices)
        places = [len(range(device, min(keep, values.n_tiles), len(devices))) for device in range(len(devices))]
        # Bins are kept instead of values, once there are bins.
        self._n_places, self._is_binned = [0] * len(places) if n_bins else places, False
        base, lookup, size = self._layout(advance)
        self.shift = 0
        while n_bins and -(-size >> self.shift) > min(n_bins, _NO_BIN):
            self.shift += 1
        size = -(-size >> self.shift)
        self._address = [
            (np.uint32(base), None if lookup is None else jax.device_put(lookup, device)) for device in self.devices
        ]
        self._n_places, self._is_binned = places, n_bins > 0
        self._width = min(size, max(1, table_bytes // 4))
        self.n_windows = -(-size // self._width)
        exact_in_one = self.n_windows == 1 and not n_bins
        self._dtype = count_dtype(self.devices, values.n_pairs, size) if exact_in_one else _INT32
        self._window, self._low = -1, 0
        self._tables: list[jax.Array] = []
        self._ties = [0.0] * self.n_windows
        self._below = [0] * (self.n_windows + 1)  # values below each window, known once those windows were loaded

    @property
    def ties(self) -> float:
        """Sum of c^3 - c over groups of c equal values, of the windows loaded so far."""
        return math.fsum(self._ties)

    def load(self, window: int, advance: progress.Advance = progress.silent) -> None:
        """Makes `ranks` answer for values in a window, the windows below having been loaded before.

        `advance` is called with every tile.
        """
        if window == self._window:
            return
        self._window, self._tables, self._low = window, [], window * self._width
        counts = self._window_counts(advance)
        # Distances rarely fill their range: the table begins and ends where they do.
        filled = np.flatnonzero(np.maximum.reduceat(counts[:-1], np.arange(0, self._width, _HOST_CHUNK)))
        first, last = (filled[0] * _HOST_CHUNK, (filled[-1] + 1) * _HOST_CHUNK) if len(filled) else (0, 1)
        counts = counts[int(first) : min(int(last), self._width)]
        table, self._ties[window], n_counted = rank_table(counts, self._below[window], self.values.n_pairs)
        del counts
        self._below[window + 1] = self._below[window] + n_counted
        self._tables = [jax.device_put(table, device) for device in self.devices]
        self._low += int(first)

    @property
    def unit(self) -> int:
        """What `ranks` are multiples of."""
        return rank_unit(self.values.n_pairs)

    def ranks(self, number: int) -> jax.Array:
        """Doubled centred ranks of a tile over `unit`, int32; 0 outside the window and for no pair."""
        return _look_up(self.operands(number), shift=self.shift)

    def operands(self, number: int) -> dict:
        """What `ranks_of` takes for a tile."""
        device = number % len(self.devices)
        base, lookup = self._address[device]
        return {
            'table': self._tables[device],
            'tile': self._tile(device, number),
            'base': base,
            'lookup': lookup,
            'low': np.uint32(self._low),
        }

    def _tile(self, device: int, number: int) -> jax.Array:
        """Addresses of the values of a tile, or the numbers of their bins once these are known."""
        place = number // len(self.devices) // processes.n_sharing()
        kept = self._kept[device]
        if place < len(kept):
            return kept[place]
        tile = _addresses(self.values.make(device, number), grid=self.values.grid)
        if self._is_binned:
            tile = _bins(tile, *self._address[device], shift=self.shift)
        if place == len(kept) < self._n_places[device]:
            kept.append(self._keep(tile, device))
        return tile

    def _keep(self, tile: jax.Array, device: int) -> jax.Array:
        """The tile where it is kept. On a CPU that is one large array: many of their own leave holes in the memory."""
        if self.devices[device].platform != 'cpu':
            return tile
        memory = self._memory[device]
        if memory is None:
            shape = self._n_places[device], -(-tile.nbytes // ALIGNMENT) * ALIGNMENT
            memory = self._memory[device] = aligned_empty(shape, np.uint8)
        own = memory[len(self._kept[device]), : tile.nbytes].view(tile.dtype).reshape(tile.shape)
        np.copyto(own, np.asarray(tile))
        return jax.device_put(own, self.devices[device])

    def _layout(self, advance: progress.Advance) -> tuple[int, np.ndarray | None, int]:
        """Address of the first place, places of the stretches (None: there are no gaps), number of places."""
        if self.values.grid:
            return 0, None, GRID_SIZE
        if self.values.span is not None:
            low, high = (int(_host_address(value)) for value in self.values.span)
            if high - low < _RANGE_LIMIT:
                return low, None, high - low + 1
        used = self._total(_N_STRETCHES, lambda counts, tile, device: _count_stretches(counts, tile), advance) > 0
        used[_NAN_STRETCH] = False
        stretches = np.flatnonzero(used)
        if (stretches[-1] - stretches[0] + 1) << _LOW_BITS <= _RANGE_LIMIT:
            return int(stretches[0]) << _LOW_BITS, None, int(stretches[-1] - stretches[0] + 1) << _LOW_BITS
        # Stretches without values share the last place, which is outside every window.
        lookup = np.where(used, np.cumsum(used) - 1, _N_STRETCHES - 1).astype(np.uint32)
        return 0, lookup, len(stretches) << _LOW_BITS

    def _window_counts(self, advance: progress.Advance) -> np.ndarray:
        """How often each address of the window occurs, and all else as the last entry."""
        size = self._width + 1
        if self._dtype != _INT32:
            counts = self._total(size, self._count, advance, self._dtype)
            # A count of 8 or 16 bits that ran over has lost 2^8 or 2^16 at a time.
            if int(counts[:-1].sum(dtype=np.int64)) == self.values.n_pairs:
                return counts
            self._dtype = _INT32
        return self._total(size, self._count, advance)

    def _count(self, counts: jax.Array, tile: jax.Array, device: int) -> jax.Array:
        return _count(counts, tile, *self._address[device], np.uint32(self._low), shift=self.shift)

    def _total(self, size: int, step: Step, advance: progress.Advance, dtype: np.dtype = _INT32) -> np.ndarray:
        """Counts over all tiles, [size]."""
        count_on = functools.partial(self._count_on, size=size, step=step, advance=advance, dtype=dtype)
        jobs = [functools.partial(count_on, device) for device in range(len(self.devices))]
        first, *others = together(*jobs)
        for other in others:
            first = first.astype(np.int64) + other
        return processes.total(first) if processes.n_sharing() > 1 else first

    def _count_on(self, device: int, size: int, step: Step, advance: progress.Advance, dtype) -> np.ndarray:
        """Counts over the tiles of a device. Those of 32 bits move to int64 on the host before they can overflow."""
        moved, n_counted = None, 0
        counts = jnp.zeros(size, dtype, device=self.devices[device])
        waiting: list[jax.Array] = []
        for number in range(device, self.values.n_tiles, len(self.devices)):
            if processes.n_sharing() > 1 and owner(number, len(self.devices)) != processes.number():
                continue
            tile = self._tile(device, number)
            if dtype == _INT32 and n_counted + tile.size > _INT32_MAX:
                moved = np.asarray(counts).astype(np.int64) + (0 if moved is None else moved)
                counts, n_counted = jnp.zeros(size, dtype, device=self.devices[device]), 0
            counts = step(counts, tile, device)
            n_counted += tile.size
            waiting.append(tile)
            if len(waiting) > 2:  # dispatch runs ahead of the device, but not so far that tiles pile up
                waiting.pop(0).block_until_ready()
            advance(processes.n_sharing())
        return np.asarray(counts) if moved is None else moved + np.asarray(counts)


def count_dtype(devices: Sequence[jax.Device], n_pairs: int, n_addresses: int) -> np.dtype:
    """Smallest type that is likely to hold every count: caches hold small tables better. GPUs add 32-bit words only."""
    likely = _PEAK * n_pairs / n_addresses
    small = [dtype for dtype in (np.uint8, np.uint16) if likely <= np.iinfo(dtype).max + 1]
    return np.dtype(small[0] if small and devices[0].platform == 'cpu' else np.int32)


def rank_unit(n_pairs: int) -> int:
    """Power of two that doubled centred ranks are divided by to fit 32 bits; 1 up to 2^31 values."""
    return 1 << max(0, n_pairs.bit_length() - 31)


def rank_table(counts: np.ndarray, n_below: int, n_pairs: int) -> tuple[np.ndarray, float, int]:
    """Doubled centred average ranks from how often each value occurs.

    Args:
        counts: Occurrences, integers, [m].
        n_below: Number of values below the first.
        n_pairs: Number of all values, p.

    Returns:
        (2 * rank - (p + 1)) / `rank_unit(p)`, rounded, for each entry, and a last 0, int32 [m + 1]; the sum of c^3 - c
        over the counts c; and the sum of the counts.
    """
    table = aligned_empty((len(counts) + 1,), np.int32)
    unit = rank_unit(n_pairs)
    # A doubled cumulative sum of a chunk has to fit.
    integer = np.int32 if 2 * n_pairs <= _INT32_MAX else np.int64
    ties, twice_before = 0.0, 2 * n_below - n_pairs
    whole, reals = np.empty((2, _HOST_CHUNK), integer), np.empty((2, _HOST_CHUNK))
    for start in range(0, len(counts), _HOST_CHUNK):
        part = counts[start : start + _HOST_CHUNK]
        count, twice = whole[:, : len(part)]
        real, square = reals[:, : len(part)]
        # Doubled average rank = twice the number of smaller values + count + 1.
        count[:] = part
        np.cumsum(count, out=twice)
        twice += twice
        n_twice = int(twice[-1])
        count -= integer(twice_before + unit // 2)
        twice -= count
        if unit > 1:
            twice >>= unit.bit_length() - 1
        table[start : start + len(part)] = twice
        twice_before += n_twice
        real[:] = part
        np.multiply(real, real, out=square)
        ties += float(np.einsum('i,i->', square, real)) - n_twice / 2  # a dot product would wake BLAS threads
    table[-1] = 0
    return table, ties, (twice_before + n_pairs) // 2 - n_below


def together(*jobs: Callable) -> list:
    """Results of functions run at the same time, in host threads; one after the other if processes divide tiles."""
    if len(jobs) == 1 or processes.n_sharing() > 1:  # which have to meet in one order
        return [job() for job in jobs]
    with concurrent.futures.ThreadPoolExecutor(len(jobs)) as pool:
        return [future.result() for future in [pool.submit(job) for job in jobs]]


def _host_address(value: float) -> np.uint32:
    """`_addresses` of one number that lies on no grid."""
    bits = np.float32(value + 0.0).view(np.uint32)  # + 0.0 turns -0.0 into 0.0
    return ~bits if bits >> 31 else bits | np.uint32(1 << 31)


@compiled(static_argnames='grid')
def _addresses(tile, *, grid):
    """uint32 that order like the values, equal for 0.0 and -0.0, above all of a window's for NaN."""
    if grid:
        # Exact: a value on the grid divided by a power of two. Above 2**24 steps float32 holds even numbers only.
        steps = jnp.rint(tile * (1 / grid)).astype(jnp.int32)
        steps = jnp.where(steps > 2**24, 2**23 + (steps >> 1), steps)
        return jnp.where(jnp.isnan(tile), _INT32_MAX, steps).astype(jnp.uint32)
    bits = jax.lax.bitcast_convert_type(tile, jnp.uint32)
    bits = jnp.where(
        bits == jnp.uint32(1 << 31), 0, bits
    )  # -0.0; a comparison of floats may take subnormal numbers for 0
    return jnp.where(bits >> 31 == 1, ~bits, bits | jnp.uint32(1 << 31))


def _places(tile, base, lookup, shift):
    """Numbers of the table entries if one window held all, uint32."""
    if tile.dtype == jnp.uint16:
        return tile.astype(jnp.uint32)
    address = tile - base
    if lookup is not None:
        stretch = lookup.at[address >> _LOW_BITS].get(mode='promise_in_bounds')
        address = (stretch << _LOW_BITS) | (address & jnp.uint32((1 << _LOW_BITS) - 1))
    return address >> shift


def _entries(tile, base, lookup, low, shift, size):
    """Entries of a window's table, uint32; the last of the `size` for all that is outside."""
    # What lies below the window wraps around to large numbers.
    return jnp.minimum(_places(tile, base, lookup, shift) - low, jnp.uint32(size - 1))


@compiled(static_argnames='shift')
def _bins(tile, base, lookup, *, shift):
    return jnp.minimum(_places(tile, base, lookup, shift), jnp.uint32(_NO_BIN)).astype(jnp.uint16)


@compiled(static_argnames='shift', donate_argnums=0)
def _count(counts, tile, base, lookup, low, *, shift):
    entries = _entries(tile, base, lookup, low, shift, len(counts))
    return counts.at[entries.reshape(-1)].add(1, mode='promise_in_bounds')


@compiled(donate_argnums=0)
def _count_stretches(counts, tile):
    return counts.at[(tile >> _LOW_BITS).reshape(-1)].add(1, mode='promise_in_bounds')


def ranks_of(operands: dict, *, shift: int) -> jax.Array:
    """Ranks of a tile, inside a compiled function; see `RankTables.operands`."""
    table = operands['table']
    entries = _entries(operands['tile'], operands['base'], operands['lookup'], operands['low'], shift, len(table))
    return table.at[entries].get(mode='promise_in_bounds')


@compiled(static_argnames='shift')
def _look_up(operands, *, shift):
    return ranks_of(operands, shift=shift)
