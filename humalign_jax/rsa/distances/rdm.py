"""Representational dissimilarity matrices, computed tile by tile on all devices."""

import contextlib
import dataclasses
import os
import pathlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import Any, overload

import jax
import numpy as np

from humalign_jax import arrays, processes, storage
from humalign_jax.devices import local_devices, spread
from humalign_jax.progress import steps
from humalign_jax.records import Features, Rdm, RepeatedFeatures
from humalign_jax.rsa.distances import refine as refinement
from humalign_jax.rsa.distances.discrete import restore_ties
from humalign_jax.rsa.distances.measures import Distance, distance_named
from humalign_jax.rsa.distances.tiles import (
    Operands,
    distance_tile,
    even_block,
    fitted_distance,
    prepare,
    prepare_crossnobis,
    tile_starts,
    write_tile,
)

Measure = str | Callable | Distance
Consumer = Callable[[int, int, np.ndarray], None]
FEW_FEATURES = 64  # a product this narrow costs about the same in float64


@overload
def rdm(features: Features, measure: Measure = 'correlation', **options: Any) -> Rdm: ...
@overload
def rdm(features: np.ndarray, measure: Measure = 'correlation', **options: Any) -> np.ndarray: ...
def rdm(  # pyright: ignore[reportInconsistentOverload] (the overloads do not repeat the options)
    features: Features | np.ndarray,
    measure: Measure = 'correlation',
    *,
    dtype: str | type = 'float32',
    refine: bool = True,
    nan_policy: str = 'raise',
    covariance: np.ndarray | None = None,
    shrinkage: str = 'ledoit_wolf',
    block_size: int | None = None,
    devices: Sequence[jax.Device] | None = None,
    out: storage.PathLike | None = None,
    consumer: Consumer | None = None,
) -> Rdm | np.ndarray | None:
    """Distances of all pairs of stimuli.

    Only tiles of the upper triangle are computed, spread over the devices. Beside the output, memory holds the features
    once per device and a few tiles. A distance is never negative (but for crossnobis, which is unbiased and therefore
    scatters around 0), and stimuli with equal features are exactly 0 apart.

    Args:
        features: [n, d]; for crossnobis an array [r, n, d] of r repeated measurements, or a record of them.
        measure: A name in `rsa.DISTANCES`, 'mahalanobis', 'crossnobis', or a function of two vectors [d], [d] -> []
            written in jax.numpy.
        dtype: 'float32' or 'float64'; what distances are returned in. They are computed in it too, but for up to
            `FEW_FEATURES` features, and for rows of probabilities, always in float64. Discrete features (whole
            numbers, shares of few answers, one-hot codes: see `rsa.distances.discrete`) are detected. Their distances
            follow from exact sums, or are computed in float64 and rounded to 40 significant bits at most, so that equal
            distances come out equal.
        refine: Compute distances of near-duplicates again from their differences in float64, where a matrix product
            in `dtype` would lose digits; without it errors are relative to the largest distances.
        nan_policy: 'raise' for NaN or Inf features, or 'propagate': every pair of such a stimulus is NaN. Constant
            rows under correlation and zero rows under cosine and jensenshannon are NaN either way, as in SciPy.
        covariance: For mahalanobis the covariance of the features (default: over the stimuli, as in SciPy), for
            crossnobis the noise covariance, [d, d] (default: the record's, else for every two repeats the shrunk
            covariance of the other repeats, see `rsa.distances.noise`).
        shrinkage: 'ledoit_wolf' or 'diagonal', for crossnobis without a covariance.
        block_size: Rows and columns of a tile; by default about 1250, less for distances without a matrix product.
        devices: Where to compute; all local devices by default.
        out: A `.npy` file to write instead of memory, renamed into place when whole, with a JSON sidecar.
        consumer: Called as `consumer(row, column, tile)` with every tile [rows, columns] in order, instead of storing
            anything; only pairs with row + r < column + c are part of the RDM.

    Returns:
        Condensed distances [n (n - 1) / 2], as a record if features are one, memory-mapped if `out` is given; None with
        a consumer. How many stimuli were NaN, undefined or duplicates, and whether the features are discrete, is in the
        record's provenance and the sidecar.

    Raises:
        ValueError: Wrong shapes, unknown names, NaN or Inf features (the message names the stimulus), or distances too
            large or too small for `dtype`.

    Example:
        >>> rsa.rdm(np.array([[0.0, 0.0], [3.0, 4.0], [3.0, 0.0]]), 'euclidean')
        array([5., 3., 4.], dtype=float32)
    """
    if out is not None and consumer is not None:
        raise ValueError('give either out (a file) or consumer (a function), not both.')
    operands = prepare_features(
        features,
        measure,
        dtype=dtype,
        nan_policy=nan_policy,
        covariance=covariance,
        shrinkage=shrinkage,
        block_size=block_size,
    )
    values = _values(features)
    tiles = Tiles(operands, values if refine and refinement.applies(operands) else None, devices, dtype=dtype)
    if consumer is not None:
        for i, j, tile in tiles.in_order():
            consumer(i, j, tile)
        return None
    counts = dataclasses.asdict(operands.counts)
    name = operands.distance.name
    ids = list(features.ids) if isinstance(features, Features) else None
    described = {'measure': name, 'counts': counts, 'discrete': operands.is_discrete, 'ids': ids}
    with _destination(out, operands.n, np.dtype(dtype), described) as condensed:
        tiles.write(condensed)
    if out is not None:
        condensed = np.load(out, mmap_mode='r')
    if not isinstance(features, Features):
        return condensed
    more = {'features': features.name, 'counts': counts, 'discrete': operands.is_discrete}
    provenance = {**features.provenance, **more}
    return Rdm(condensed, features.ids, features.name, name, provenance)


def prepare_features(
    features: Features | np.ndarray,
    measure: Measure,
    *,
    dtype: str | type = 'float32',
    nan_policy: str = 'raise',
    covariance: np.ndarray | None = None,
    shrinkage: str = 'ledoit_wolf',
    block_size: int | None = None,
) -> Operands:
    """Features checked and transformed for the tile function; arguments as for `rdm`.

    Raises:
        ValueError: As for `rdm`.
    """
    kind = np.dtype(dtype)
    if kind not in (np.float32, np.float64):
        raise ValueError(f"dtype must be 'float32' or 'float64', not {kind}.")
    record = isinstance(features, Features)
    values = _values(features)
    what = f'features {features.name!r}' if record else 'features'
    if isinstance(features, RepeatedFeatures) and measure != 'crossnobis':
        name = measure if isinstance(measure, str) else distance_named(measure).name
        raise ValueError(
            f"{what} are repeated measurements, [n, r, d], for measure 'crossnobis': take their mean over repeats for "
            f'{name!r}.'
        )
    n = values.shape[1] if measure == 'crossnobis' and values.ndim == 3 else len(values)
    common = {'dtype': kind, 'what': what, 'ids': features.ids if record else None, 'nan_policy': nan_policy}
    if measure == 'crossnobis':
        block = _block(n, block_size, is_product=True)
        if covariance is None and isinstance(features, RepeatedFeatures):
            covariance = features.noise
        return prepare_crossnobis(values, covariance=covariance, shrinkage=shrinkage, block=block, **common)
    distance = fitted_distance(None if measure == 'mahalanobis' else distance_named(measure), values, covariance)
    if values.ndim == 2 and (values.shape[1] <= FEW_FEATURES or _are_probabilities(values)):
        common['dtype'] = np.dtype(np.float64)
    return prepare(values, distance, block=_block(n, block_size, is_product=bool(distance.product)), **common)


def defined_stimuli(features: Features | np.ndarray, measure: Measure) -> np.ndarray:
    """Which stimuli have a distance to others, [n] booleans: finite features, of which `measure` is defined.

    Example:
        >>> rsa.defined_stimuli(np.array([[1.0, 2.0], [3.0, 3.0]]), 'correlation')  # constant rows have no correlation
        array([ True, False])
    """
    return prepare_features(features, measure, nan_policy='propagate').valid_rows


def _values(features: Features | np.ndarray) -> np.ndarray:
    """[n, d]; [r, n, d] of repeated measurements."""
    if isinstance(features, RepeatedFeatures):
        return features.repeats
    return features.values if isinstance(features, Features) else arrays.real(features, 'features')


def _are_probabilities(values: np.ndarray) -> bool:
    """Whether all rows are non-negative and sum to 1, as soft labels are; the first row is checked first."""
    return all(
        bool((rows >= 0).all() and (np.abs(rows.sum(axis=1, dtype=np.float64) - 1.0) < 1e-4).all())
        for rows in (values[:1], values)
    )


def is_product(measure: Measure) -> bool:
    """Whether a distance of many pairs is one matrix product."""
    return measure in ('mahalanobis', 'crossnobis') or bool(distance_named(measure).product)


class Tiles:
    """The tiles of one feature set on its devices, with near-duplicates refined.

    Args:
        operands: From `prepare_features`.
        refine_from: The untransformed features, or None to leave near-duplicates unrefined.
        devices: Where to compute; all local devices by default.
        dtype: Type of the tiles on the host.
    """

    def __init__(
        self,
        operands: Operands,
        refine_from: np.ndarray | None,
        devices: Sequence[jax.Device] | None = None,
        *,
        dtype: str | type = 'float32',
    ) -> None:
        self.operands = operands
        self.starts = tile_starts(operands.n, operands.block)
        self._features = refine_from
        self._dtype = np.dtype(dtype)
        self._devices = local_devices() if devices is None else list(devices)
        self._arrays = [operands.on_device(device) for device in self._devices]

    def tile(self, device: int, start: tuple[int, int]) -> np.ndarray:
        """The tile that begins at row and column `start`, from device number `device`, on the host."""
        tile = distance_tile(self.operands, self._arrays[device], *start)
        if self._features is not None:
            tile = refinement.refined(self.operands, self._arrays[device], tile, start, self._features)
        return self._of_features(np.asarray(tile))

    def _of_features(self, tile: np.ndarray) -> np.ndarray:
        """Distances in the features' units, and in the type that was asked for."""
        operands = self.operands
        if operands.factor != 1.0:
            tile = tile.astype(np.float64) * operands.factor
        if operands.is_discrete and self._dtype == np.float64:
            tile = restore_ties(tile)
        if tile.dtype == self._dtype:
            return tile
        with np.errstate(over='ignore', under='ignore'):
            rounded = tile.astype(self._dtype)
        if operands.factor != 1.0 or not operands.distance.product:
            kinds = np.finfo(self._dtype)
            lost = (np.isinf(rounded) & ~np.isinf(tile)) | ((np.abs(rounded) < kinds.tiny) & (tile != 0))
            if lost.any():
                raise ValueError(
                    f'{operands.distance.name} distances such as {tile[lost][0]:.3g} do not fit {self._dtype}, which '
                    f"holds {kinds.tiny:.1e} to {kinds.max:.1e}: scale the features, or ask for dtype='float64'."
                )
        return rounded

    def in_order(self) -> Iterator[tuple[int, int, np.ndarray]]:
        """Row, column and distances of every tile, cut to the stimuli there are."""
        n, block = self.operands.n, self.operands.block
        tiles = spread(self.tile, self.starts, len(self._devices))
        for (i, j), tile in zip(self.starts, steps(tiles, 'tiles of distances', len(self.starts))):
            yield i, j, tile[: min(block, n - i), : min(block, n - j)]

    def write(self, condensed: np.ndarray) -> None:
        """Puts all distances in their places in `condensed`, [n (n - 1) / 2]."""
        n = self.operands.n
        if processes.n_sharing() > 1:
            for i, j, tile in self.in_order():
                write_tile(condensed, tile, n, i, j)
            return

        def place(device: int, start: tuple[int, int]) -> None:
            write_tile(condensed, self.tile(device, start), n, *start)

        for _ in steps(spread(place, self.starts, len(self._devices)), 'tiles of distances', len(self.starts)):
            pass


def _block(n: int, block_size: int | None, *, is_product: bool) -> int:
    if block_size is None:
        block_size = 1250 if is_product else 128
    if block_size < 1:
        raise ValueError(f'block_size must be at least 1, not {block_size}.')
    return even_block(max(n, 1), block_size)


@contextlib.contextmanager
def _destination(out, n, dtype, described):
    """An array to fill: in memory, or a file that gets its name only when the block has ended well."""
    shape = (n * (n - 1) // 2,)
    if out is None:
        yield np.empty(shape, dtype)
        return
    path = pathlib.Path(out)
    if path.suffix != '.npy':
        raise ValueError(f'out must end in .npy, not {path.name!r}.')
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f'.{path.name}.', dir=path.parent) as folder:
        temporary = pathlib.Path(folder) / 'rdm.npy'
        mapped = np.lib.format.open_memmap(temporary, mode='w+', dtype=dtype, shape=shape)
        yield mapped
        mapped.flush()
        digest = storage.array_digest(mapped)
        os.replace(temporary, path)
    storage.write_json(
        path.with_suffix('.json'), {**described, 'shape': list(shape), 'dtype': str(dtype), 'sha256': digest}
    )
