"""The tiles of two feature sets side by side, for sums over the same pairs of both."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from humalign_jax.devices import compiled
from humalign_jax.rsa.distances.tiles import Operands, distance_tile, tile_starts


class PairedTiles:
    """Two prepared feature sets with the same tiles, on their devices."""

    def __init__(self, both: Sequence[Operands], devices: Sequence[jax.Device]) -> None:
        self.both, self.devices = list(both), list(devices)
        self.n, self.block = both[0].n, both[0].block
        self.starts = tile_starts(self.n, self.block)
        self.arrays = [[operands.on_device(device) for device in self.devices] for operands in self.both]

    def tile(self, side: int, device: int, number: int) -> jax.Array:
        """Distances of a tile of one set, [block, block]; NaN where an entry is no pair."""
        i, j = self.starts[number]
        tile = distance_tile(self.both[side], self.arrays[side][device], i, j)
        if self.both[side].is_double:
            with jax.enable_x64(True):
                tile = _to_single(tile)
        if i != j and j + self.block <= self.n:
            return tile
        return _only_pairs(tile, np.int32(i), np.int32(j), np.int32(self.n))


@compiled
def _to_single(tile):
    return tile.astype(jnp.float32)


@compiled
def _only_pairs(tile, i, j, n):
    block = len(tile)
    rows, columns = i + jnp.arange(block)[:, None], j + jnp.arange(block)[None, :]
    return jnp.where((rows < columns) & (columns < n), tile, jnp.nan)
