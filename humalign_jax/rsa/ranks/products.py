"""Rank correlations of two RDMs, from sums over billions of pairs."""

import dataclasses
import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from humalign_jax import progress
from humalign_jax.devices import compiled, spread
from humalign_jax.rsa.ranks.counting import RankTables, Values, rank_unit, ranks_of, together


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
            operands = side_a.operands(number), side_b.operands(number)
            return float(_product(*operands, shifts=(side_a.shift, side_b.shift)))

    products: list[float] = []
    with progress.stage('tiles of ranks multiplied', side_a.n_windows * side_b.n_windows * a.n_tiles) as advance:
        for window_a in range(side_a.n_windows):
            side_a.load(window_a)
            for window_b in range(side_b.n_windows):
                side_b.load(window_b)
                for one in spread(product, range(a.n_tiles), len(devices)):
                    products.append(one)
                    advance()
    product = math.fsum(products) * rank_unit(a.n_pairs) ** 2
    return RankProducts(product, side_a.ties, side_b.ties, a.n_pairs)


def sorted_products(a: np.ndarray, b: np.ndarray) -> RankProducts:
    """The same as `rank_products` by sorting, for few pairs: float32 [p], [p], p up to 2^32."""
    (ranks_a, ties_a), (ranks_b, ties_b) = together(
        functools.partial(_doubled_ranks, a), functools.partial(_doubled_ranks, b)
    )
    return RankProducts(float(ranks_a @ ranks_b), ties_a, ties_b, len(a))


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


@compiled(static_argnames='shifts')
def _product(a, b, *, shifts):
    # One program: the look-ups wait for memory, and the products are made meanwhile.
    ranks_a, ranks_b = (ranks_of(side, shift=shift).astype(jnp.float64) for side, shift in zip((a, b), shifts))
    return jnp.sum(ranks_a * ranks_b)
