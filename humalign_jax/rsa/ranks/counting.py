"""Exact average ranks of billions of float32 values, by counting instead of sorting.

The bit pattern of a float32 orders like the number, so a value can be an address: count how often each occurs, sum up,
and the table of sums is the table of ranks. Addresses run from the smallest to the largest value where that range is
short, as it is for distances; otherwise a coarse count of the leading bits finds the stretches in use, and only those
get a place. Distances on a grid (`rsa.distances.tiles`) are
addresses themselves.

Ranks are kept as the integer 2 * rank - (p + 1) for p values: centred, and free of the halves that ties bring.
"""

import concurrent.futures
import dataclasses
import functools
import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from humalign_jax import progress
from humalign_jax.devices import compiled, spread

GRID_SIZE = 3 * 2**23 + 1  # addresses of float32 values on a grid of 2**25 steps, see `_addresses`
_LOW_BITS = 14  # a stretch is 2**14 addresses, 64 KB of table
_N_STRETCHES = 1 << (32 - _LOW_BITS)
_RANGE_LIMIT = 1 << 25  # addresses that are given places without looking for gaps: 134 MB
_HOST_CHUNK = (
    1 << 13
)  # table entries per step on the host; dot products beyond 10,000 wake BLAS threads, ten times slower
_INT32_MAX = 2**31 - 1
_FEW_PER_ADDRESS = 16  # values for each address, on average, up to which a byte is likely to hold every count
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


@dataclasses.dataclass(frozen=True)
class RankProducts:
    """Sums from which the rank correlations of two RDMs follow.

    Attributes:
        product: Sum over pairs of the product of both doubled centred ranks.
        ties_a: Sum of c^3 - c over groups of c equal values (or values in one bin) of the first RDM.
        ties_b: The same for the second.
        n_pairs: Number of pairs, p.
    """

    product: float
    ties_a: float
    ties_b: float
    n_pairs: int

    @property
    def cubes(self) -> float:
        """p^3 - p, three times the sum of squares of doubled centred ranks without ties."""
        return float(self.n_pairs) ** 3 - self.n_pairs

    def spearman(self) -> float:
        """Pearson's r of the average ranks; NaN if all values of an RDM are equal."""
        squares = [self.cubes - ties for ties in (self.ties_a, self.ties_b)]
        if min(squares) <= 0:
            return math.nan
        return max(-1.0, min(1.0, 3 * self.product / (math.sqrt(squares[0]) * math.sqrt(squares[1]))))

    def rho_a(self) -> float:
        """Expected Spearman's rho when ties are broken at random."""
        return 3 * self.product / self.cubes

    def angles(self) -> tuple[float, float]:
        """Largest possible angle between exact ranks and ranks with these ties, in radians, for each RDM."""
        angle_a, angle_b = (math.asin(min(1.0, math.sqrt(ties / self.cubes))) for ties in (self.ties_a, self.ties_b))
        return angle_a, angle_b


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
        self._kept: list[jax.Array | None] = [None] * len(self.devices)
        self._n_kept = [0] * len(self.devices)
        places = [len(range(device, min(keep, values.n_tiles), len(devices))) for device in range(len(devices))]
        # Bins are kept instead of values, once there are bins.
        self._n_places, self._is_binned = [0] * len(places) if n_bins else places, False
        base, lookup, size = self._layout(advance)
        self._shift = 0
        while n_bins and -(-size >> self._shift) > min(n_bins, _NO_BIN):
            self._shift += 1
        size = -(-size >> self._shift)
        self._address = [
            (np.uint32(base), None if lookup is None else jax.device_put(lookup, device)) for device in self.devices
        ]
        self._n_places, self._is_binned = places, n_bins > 0
        self._width = min(size, max(1, table_bytes // 4))
        self.n_windows = -(-size // self._width)
        self._in_bytes = self.n_windows == 1 and not n_bins and counts_in_bytes(self.devices, values.n_pairs, size)
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

    def ranks(self, number: int) -> jax.Array:
        """Doubled centred ranks of a tile, int32 or float32; 0 outside the window and for no pair."""
        return _ranks(**self.operands(number))

    def operands(self, number: int) -> dict:
        """What `_ranks` takes for a tile."""
        device = number % len(self.devices)
        base, lookup = self._address[device]
        return {
            'table': self._tables[device],
            'tile': self._tile(device, number),
            'base': base,
            'lookup': lookup,
            'low': np.uint32(self._low),
            'grid': self.values.grid,
            'shift': self._shift,
        }

    def _tile(self, device: int, number: int) -> jax.Array:
        """Values of a tile, or the numbers of their bins once these are known."""
        place = number // len(self.devices)
        kept = self._kept[device]
        if kept is not None and place < self._n_kept[device]:
            return _read(kept, np.int32(place))
        tile = self.values.make(device, number)
        if self._is_binned:
            base, lookup = self._address[device]
            tile = _bins(tile, base, lookup, grid=self.values.grid, shift=self._shift)
        if place < self._n_places[device]:
            if kept is None:
                shape = (self._n_places[device], *tile.shape)
                kept = jnp.empty(shape, tile.dtype, device=self.devices[device])
            # One large array: many tiles of their own would leave the allocator with holes.
            self._kept[device] = _write(kept, tile, np.int32(place))
            self._n_kept[device] = place + 1
        return tile

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
        if self._in_bytes:
            counts = self._total(size, self._count, advance, jnp.uint8)
            # A byte that ran over has lost 256 at a time.
            if int(counts[:-1].sum(dtype=np.int64)) == self.values.n_pairs:
                return counts
            self._in_bytes = False
        return self._total(size, self._count, advance)

    def _count(self, counts: jax.Array, tile: jax.Array, device: int) -> jax.Array:
        base, lookup = self._address[device]
        return _count(counts, tile, base, lookup, np.uint32(self._low), grid=self.values.grid, shift=self._shift)

    def _total(self, size: int, step: Step, advance: progress.Advance, dtype=jnp.int32) -> np.ndarray:
        """Counts over all tiles, [size]."""
        count_on = functools.partial(self._count_on, size=size, step=step, advance=advance, dtype=dtype)
        jobs = [functools.partial(count_on, device) for device in range(len(self.devices))]
        first, *others = together(*jobs)
        for other in others:
            first = first.astype(np.int64) + other
        return first

    def _count_on(self, device: int, size: int, step: Step, advance: progress.Advance, dtype) -> np.ndarray:
        """Counts over the tiles of a device; int32 there, moved to int64 on the host before they can overflow."""
        moved, n_counted = None, 0
        counts = jnp.zeros(size, dtype, device=self.devices[device])
        waiting: list[jax.Array] = []
        for number in range(device, self.values.n_tiles, len(self.devices)):
            tile = self._tile(device, number)
            if n_counted + tile.size > _INT32_MAX:
                moved = np.asarray(counts).astype(np.int64) + (0 if moved is None else moved)
                counts, n_counted = jnp.zeros(size, dtype, device=self.devices[device]), 0
            counts = step(counts, tile, device)
            n_counted += tile.size
            waiting.append(tile)
            if len(waiting) > 2:  # dispatch runs ahead of the device, but not so far that tiles pile up
                waiting.pop(0).block_until_ready()
            advance()
        return np.asarray(counts) if moved is None else moved + np.asarray(counts)


def counts_in_bytes(devices: Sequence[jax.Device], n_pairs: int, n_addresses: int) -> bool:
    """Whether to try counts of a byte: a quarter of the memory, which caches hold better. GPUs add words only."""
    return devices[0].platform == 'cpu' and n_pairs <= _FEW_PER_ADDRESS * n_addresses


def rank_products(
    a: Values,
    b: Values,
    devices: Sequence[jax.Device],
    *,
    table_bytes: int,
    keep: tuple[int, int] = (0, 0),
    n_bins: int = 0,
) -> RankProducts:
    """Counts, ranks and multiplies the values of two RDMs.

    Args:
        a: Values of one RDM.
        b: Values of the other, with the same tiles.
        devices: Where the tiles are.
        table_bytes: Memory for both tables, without the counts they are made from; where it is too small the passes
            run over ranges of values.
        keep: How many tiles of `a`, and how many of `b`, to keep in memory between passes.
        n_bins: Bins instead of exact ranks; 0: exact.
    """
    make = functools.partial(RankTables, devices=devices, table_bytes=table_bytes // 2, n_bins=n_bins)
    with progress.stage('tiles of values looked through', 2 * a.n_tiles) as advance:
        side_a, side_b = together(
            functools.partial(make, a, keep=keep[0], advance=advance),
            functools.partial(make, b, keep=keep[1], advance=advance),
        )
    with progress.stage('tiles of values counted', 2 * a.n_tiles) as advance:
        together(functools.partial(side_a.load, 0, advance), functools.partial(side_b.load, 0, advance))

    def product(_: int, number: int) -> float:
        # Products of two 32-bit integers need float64.
        with jax.enable_x64(True):
            return float(_product(_ranks(**side_a.operands(number)), _ranks(**side_b.operands(number))))

    products: list[float] = []
    with progress.stage('tiles of ranks multiplied', side_a.n_windows * side_b.n_windows * a.n_tiles) as advance:
        for window_a in range(side_a.n_windows):
            side_a.load(window_a)
            for window_b in range(side_b.n_windows):
                side_b.load(window_b)
                for one in spread(product, range(a.n_tiles), len(devices)):
                    products.append(one)
                    advance()
    return RankProducts(math.fsum(products), side_a.ties, side_b.ties, a.n_pairs)


def sorted_products(a: np.ndarray, b: np.ndarray) -> RankProducts:
    """The same as `rank_products` by sorting, for few pairs: float32 [p], [p], p up to 2^32."""
    (ranks_a, ties_a), (ranks_b, ties_b) = together(
        functools.partial(_doubled_ranks, a), functools.partial(_doubled_ranks, b)
    )
    return RankProducts(float(ranks_a @ ranks_b), ties_a, ties_b, len(a))


def rank_table(counts: np.ndarray, n_below: int, n_pairs: int) -> tuple[np.ndarray, float, int]:
    """Doubled centred average ranks from how often each value occurs.

    Args:
        counts: Occurrences, integers, [m].
        n_below: Number of values below the first.
        n_pairs: Number of all values, p.

    Returns:
        2 * rank - (p + 1) for each entry, and a last 0, [m + 1]: int32, or float32 where p does not fit; the sum of
        c^3 - c over the counts c; and the sum of the counts.
    """
    table = np.empty(len(counts) + 1, np.int32 if n_pairs <= _INT32_MAX else np.float32)
    # Twice a cumulative sum of a chunk has to fit.
    integer = np.int32 if 2 * n_pairs <= _INT32_MAX else np.int64
    ties, twice_before = 0.0, 2 * n_below - n_pairs
    for start in range(0, len(counts), _HOST_CHUNK):
        chunk = slice(start, min(start + _HOST_CHUNK, len(counts)))
        count = counts[chunk].astype(integer, copy=False)
        # Average rank = number of smaller values + (count + 1) / 2.
        twice = np.cumsum(count, dtype=integer)
        twice += twice
        n_twice = int(twice[-1])
        twice -= count
        twice += integer(twice_before)
        table[chunk] = twice
        twice_before += n_twice
        real = count.astype(np.float64)
        ties += float(real @ (real * real)) - n_twice / 2
    table[-1] = 0
    return table, ties, (twice_before + n_pairs) // 2 - n_below


def together(*jobs: Callable) -> list:
    """Results of functions run at the same time, in host threads."""
    if len(jobs) == 1:
        return [jobs[0]()]
    with concurrent.futures.ThreadPoolExecutor(len(jobs)) as pool:
        return [future.result() for future in [pool.submit(job) for job in jobs]]


def _doubled_ranks(values: np.ndarray) -> tuple[np.ndarray, float]:
    """2 * rank - (p + 1) of each value, float64 [p], and the sum of c^3 - c over groups of c equal ones."""
    bits = (values + np.float32(0)).view(np.uint32)  # + 0 turns -0.0 into 0.0
    address = np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31))
    # Value and place in one integer: NumPy sorts these many times faster than it finds an order.
    packed = (address.astype(np.uint64) << np.uint64(32)) | np.arange(len(values), dtype=np.uint64)
    packed.sort()
    place, address = (packed & np.uint64(2**32 - 1)).astype(np.int64), (packed >> np.uint64(32)).astype(np.uint32)
    first = np.flatnonzero(np.concatenate([[True], address[1:] != address[:-1]]))
    counts = np.diff(first, append=len(values))
    doubled = np.empty(len(values))
    doubled[place] = np.repeat(2.0 * first + counts - len(values), counts)
    real = counts.astype(np.float64)
    return doubled, float(np.sum(real**3 - real))


def _host_address(value: float) -> np.uint32:
    """`_addresses` of one number that lies on no grid."""
    bits = np.float32(value + 0.0).view(np.uint32)  # + 0.0 turns -0.0 into 0.0
    return ~bits if bits >> 31 else bits | np.uint32(1 << 31)


def _addresses(tile: jax.Array, grid: float) -> jax.Array:
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


def _places(tile, base, lookup, grid, shift):
    """Numbers of the table entries if one window held all, uint32."""
    if tile.dtype == jnp.uint16:
        return tile.astype(jnp.uint32)
    address = _addresses(tile, grid) - base
    if lookup is not None:
        stretch = lookup.at[address >> _LOW_BITS].get(mode='promise_in_bounds')
        address = (stretch << _LOW_BITS) | (address & jnp.uint32((1 << _LOW_BITS) - 1))
    return address >> shift


def _entries(tile, base, lookup, low, grid, shift, size):
    """Entries of a window's table, int32; the last of the `size` for all that is outside."""
    # What lies below the window wraps around to large numbers.
    return jnp.minimum(_places(tile, base, lookup, grid, shift) - low, jnp.uint32(size - 1)).astype(jnp.int32)


@compiled(static_argnames=('grid', 'shift'))
def _bins(tile, base, lookup, *, grid, shift):
    return jnp.minimum(_places(tile, base, lookup, grid, shift), jnp.uint32(_NO_BIN)).astype(jnp.uint16)


@compiled(static_argnames=('grid', 'shift'), donate_argnums=0)
def _count(counts, tile, base, lookup, low, *, grid, shift):
    entries = _entries(tile, base, lookup, low, grid, shift, len(counts))
    return counts.at[entries.reshape(-1)].add(1, mode='promise_in_bounds')


@compiled(donate_argnums=0)
def _count_stretches(counts, tile):
    stretches = (_addresses(tile, 0.0) >> _LOW_BITS).astype(jnp.int32)
    return counts.at[stretches.reshape(-1)].add(1, mode='promise_in_bounds')


def _ranks(table, tile, base, lookup, low, *, grid, shift):
    # Two programs: in one, XLA works each entry out inside the gather, one by one, which takes three times as long.
    return _look_up(table, _entry_numbers(tile, base, lookup, low, grid=grid, shift=shift, size=len(table)))


@compiled(static_argnames=('grid', 'shift', 'size'))
def _entry_numbers(tile, base, lookup, low, *, grid, shift, size):
    return _entries(tile, base, lookup, low, grid, shift, size)


@compiled
def _look_up(table, entries):
    return table.at[entries].get(mode='promise_in_bounds')


@compiled(donate_argnums=0)
def _write(kept, tile, place):
    return jax.lax.dynamic_update_index_in_dim(kept, tile, place, 0)


@compiled
def _read(kept, place):
    return jax.lax.dynamic_index_in_dim(kept, place, keepdims=False)


@compiled
def _product(ranks_a, ranks_b):
    return jnp.sum(ranks_a.astype(jnp.float64) * ranks_b.astype(jnp.float64))
