"""The records that packages exchange: images, features, RDMs and scores.

A stimulus id is a string `<dataset>/<split>/<number in the published order>`, such as `cifar10/test/00042`. Images of a
folder have no published order; their path replaces the number. Records join by stimulus id, never by position.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from humalign_jax import arrays, drawing


def stimulus_ids(dataset: str, split: str, index: np.ndarray) -> np.ndarray:
    """Ids of stimuli numbered in the published order: [n] integers -> [n] strings."""
    return np.array([f'{dataset}/{split}/{i:05d}' for i in np.asarray(index)], dtype=np.str_)


@dataclasses.dataclass(frozen=True, repr=False)
class ImageSet:
    """Labelled images of one split, in the published order.

    Attributes:
        images: uint8, [n, h, w, c], 0 to 255.
        labels: Class numbers, int32, [n], each in [0, len(class_names)).
        index: Stimulus numbers in the published order, int64, [n].
        class_names: Names of the k classes.
        name: Name of the dataset, the first part of every stimulus id.
        split: 'train', 'validation' or 'test'; a validation set cut from train keeps its train ids.
        simulated: True if a program made the images; every score derived from them says so.
        extras: Further arrays by name with n rows, such as simulated observers' counts.
        stimuli: Stimulus ids of images without a published order, unique strings, [n]; None if `index` makes them.
        provenance: How the set was made: how test images were held out, and which files were left out.
    """

    images: np.ndarray
    labels: np.ndarray
    index: np.ndarray
    class_names: tuple[str, ...]
    name: str
    split: str
    simulated: bool = False
    extras: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    stimuli: np.ndarray | None = None
    provenance: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        n, where = len(self.images), f'{self.name}/{self.split}'
        if self.images.dtype != np.uint8 or self.images.ndim != 4:
            raise ValueError(
                f'{where}: images must be uint8 [n, h, w, c], not {self.images.dtype} {self.images.shape}.'
            )
        if n == 0:
            raise ValueError(f'{where}: there are no images.')
        for field in ('labels', 'index'):
            if getattr(self, field).shape != (n,):
                raise ValueError(f'{where}: {n} images but {field} has shape {getattr(self, field).shape}.')
        n_classes = len(self.class_names)
        if self.labels.min() < 0 or self.labels.max() >= n_classes:
            wrong = int(np.flatnonzero((self.labels < 0) | (self.labels >= n_classes))[0])
            raise ValueError(
                f'{where}: image {wrong} has label {self.labels[wrong]}, outside 0..{n_classes - 1}: the labels file '
                'belongs to another dataset or is damaged.'
            )
        if len(np.unique(self.index)) != n:
            raise ValueError(f'{where}: stimulus numbers repeat.')
        if self.stimuli is not None:
            check_ids(self.stimuli, n, where)
        for field, values in self.extras.items():
            if len(values) != n:
                raise ValueError(f'{where}: {n} images but {field!r} has {len(values)} rows.')

    def __repr__(self) -> str:
        shape = ' x '.join(map(str, self.images.shape[1:]))
        simulated = ', simulated' if self.simulated else ''
        n_classes = len(self.class_names)
        return f'ImageSet({self.name}/{self.split}: {len(self)} images, {shape}, {n_classes} classes{simulated})'

    def __len__(self) -> int:
        return len(self.images)

    @property
    def ids(self) -> np.ndarray:
        """Stimulus ids, [n] strings."""
        if self.stimuli is not None:
            return self.stimuli
        return stimulus_ids(self.name, 'train' if self.split == 'validation' else self.split, self.index)

    def take(self, rows: np.ndarray | slice, *, split: str | None = None) -> 'ImageSet':
        """The images in `rows`, in that order, with their labels, numbers and extras."""
        return dataclasses.replace(
            self,
            images=self.images[rows],
            labels=self.labels[rows],
            index=self.index[rows],
            split=split or self.split,
            extras={field: values[rows] for field, values in self.extras.items()},
            stimuli=None if self.stimuli is None else self.stimuli[rows],
        )


@dataclasses.dataclass(frozen=True, repr=False)
class Features:
    """One layer's responses to n stimuli.

    Attributes:
        values: Float array, [n, d]; converted by `arrays.numeric`.
        ids: Stimulus ids, unique, [n]; text, or whole numbers, which become text.
        name: Name in legends, such as 'philnet/penultimate'.
        provenance: Where the values come from (checkpoint, layer, preprocessing, hashes).
    """

    values: np.ndarray
    ids: np.ndarray
    name: str
    provenance: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        what = f'features {self.name!r}'
        _convert(self, 'values', what)
        if self.values.ndim != 2:
            raise ValueError(f'{what} must be [n, d], not {self.values.shape}: flatten each stimulus.')
        _convert_ids(self, len(self.values), what)

    def __repr__(self) -> str:
        n, *rest = self.values.shape
        ids = f'{self.ids[0]} ...' if n else ''
        return f'{type(self).__name__}({self.name!r}: {n} stimuli ({ids}), {" x ".join(map(str, rest))} features)'

    @classmethod
    def from_arrays(cls, layers: Mapping[str, Any], ids: Any, **provenance: Any) -> 'list[Features]':
        """One record for each array, such as the activations of a network's layers.

        Args:
            layers: Arrays or tensors by name, each [n, ...]; further axes are flattened.
            ids: Stimulus ids of the rows of all of them, [n].
            provenance: Where the values come from, noted in every record.

        Raises:
            ValueError: There are no layers, or an array does not have one row for each id.
        """
        if not layers:
            raise ValueError('there are no layers: give a dict of arrays [n, ...] by name.')
        made = []
        for name, values in layers.items():
            array = arrays.numeric(values, f'features {name!r}')
            if array.ndim < 2 or len(array) != len(ids):
                raise ValueError(
                    f'features {name!r} must be [n, ...] with one row for each of the {len(ids)} ids, not '
                    f'{list(array.shape)}.'
                )
            made.append(Features(array.reshape(len(array), -1), ids, str(name), dict(provenance)))
        return made


@dataclasses.dataclass(frozen=True, repr=False)
class RepeatedFeatures(Features):
    """Responses to n stimuli, each measured r times, such as voxels in r runs; used for crossnobis distances only.

    Attributes:
        values: [n, r, d].
        noise: Covariance of the noise, [d, d]; None to estimate it from the repeats, of which there must be four.
    """

    noise: np.ndarray | None = None

    def __post_init__(self) -> None:
        what = f'features {self.name!r}'
        _convert(self, 'values', what)
        if self.values.ndim != 3:
            raise ValueError(f'repeated features {self.name!r} must be [n, r, d], not {self.values.shape}.')
        if self.noise is not None:
            _convert(self, 'noise', f'the noise of {self.name!r}')
            d = self.values.shape[2]
            if self.noise.shape != (d, d):
                raise ValueError(f'the noise of {self.name!r} must be [{d}, {d}], not {list(self.noise.shape)}.')
        _convert_ids(self, len(self.values), what)

    @property
    def repeats(self) -> np.ndarray:
        """The measurements as `rsa.rdm` takes arrays of them, [r, n, d]."""
        return np.moveaxis(self.values, 1, 0)


@dataclasses.dataclass(frozen=True, repr=False)
class Rdm:
    """Representational dissimilarities of all pairs of n stimuli.

    Attributes:
        values: [n (n - 1) / 2], in the condensed order of scipy.spatial.distance.pdist.
        ids: Stimulus ids, unique, [n].
        name: Name in legends.
        measure: Name of the distance, such as 'correlation'.
        provenance: Where the values come from.
    """

    values: np.ndarray
    ids: np.ndarray
    name: str
    measure: str
    provenance: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        what = f'RDM {self.name!r}'
        _convert(self, 'values', what)
        n = len(self.ids)
        if self.values.shape != (n * (n - 1) // 2,):
            raise ValueError(
                f'{what} of {n} stimuli needs {n * (n - 1) // 2} values in condensed order, not {self.values.shape}.'
            )
        _convert_ids(self, n, what)

    def __repr__(self) -> str:
        n = len(self.ids)
        return f'Rdm({self.name!r}: {n} stimuli ({self.ids[0]} ...), {len(self.values)} pairs, {self.measure})'

    @classmethod
    def from_arrays(cls, rdms: Any, ids: Any, name: str = 'subject', measure: str = 'unknown') -> 'list[Rdm]':
        """One record for each subject.

        Args:
            rdms: One RDM, condensed [p] or square [n, n], or those of k subjects, [k, p] or [k, n, n].
            ids: Stimulus ids of all of them, [n].
            name: Name of a single RDM; several are 'name 1', 'name 2' and so on.
            measure: Name of the distance.

        Raises:
            ValueError: The array has another shape, or a square RDM is not symmetric with a zero diagonal.
        """
        rows = arrays.condensed(rdms, f'RDMs {name!r}')
        names = [name] if len(rows) == 1 else [f'{name} {k}' for k in range(1, len(rows) + 1)]
        return [cls(row, ids, called, measure) for row, called in zip(rows, names)]

    def plot(self, ax: drawing.Axes | None = None) -> drawing.Axes:
        """A square heat map in the order of the ids, with a colour bar; returns the axes."""
        unit = 'dissimilarity' if self.measure == 'unknown' else self.measure
        return drawing.plot_square(self.values, len(self.ids), title=self.name, unit=unit, ax=ax)


@dataclasses.dataclass(frozen=True)
class Score:
    """One published number.

    Attributes:
        name: Name of the measure, such as 'accuracy' or 'rsa/spearman'.
        value: The number.
        low: Lower end of the 95 % interval, NaN where none is defined.
        high: Upper end of the 95 % interval, NaN where none is defined.
        n: Number of independent units (images, pairs, subjects).
        interval: How the interval was made, such as 'wilson' or 'bootstrap over stimuli, 1000 draws'.
        ceiling_lower: Lower noise ceiling, NaN where none is defined.
        ceiling_upper: Upper noise ceiling, NaN where none is defined.
        provenance: Measure, layer, checkpoint, stimuli, seed: everything needed to reproduce the number.
    """

    name: str
    value: float
    low: float
    high: float
    n: int
    interval: str
    ceiling_lower: float = float('nan')
    ceiling_upper: float = float('nan')
    provenance: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """A JSON object; NaN becomes null because JSON has no NaN."""
        row = dataclasses.asdict(self)
        return {key: None if isinstance(value, float) and np.isnan(value) else value for key, value in row.items()}

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> 'Score':
        """The score that `to_json` wrote, also with an older version's word for a baseline, `anchor`."""
        numbers = ('value', 'low', 'high', 'ceiling_lower', 'ceiling_upper')
        fields: dict[str, Any] = dict(row)
        provenance = fields.get('provenance', {})
        fields['provenance'] = {'baseline' if key == 'anchor' else key: value for key, value in provenance.items()}
        for key in numbers:
            fields[key] = float('nan') if fields[key] is None else fields[key]
        return cls(**fields)


def check_ids(ids: Sequence[str] | np.ndarray, n: int, what: str) -> None:
    """Raises ValueError unless there are n ids and no two are equal; the message names the first that repeats."""
    ids = np.asarray(ids)
    if ids.shape != (n,):
        raise ValueError(f'{what}: {n} stimuli but ids of shape {ids.shape}.')
    unique, counts = np.unique(ids, return_counts=True)
    if len(unique) != n:
        repeated = ', '.join(repr(str(i)) for i in unique[counts > 1][:3])
        raise ValueError(f'{what}: stimulus ids must be unique, but {repeated} occur more than once.')


def _convert(record: Any, field: str, what: str) -> None:
    """Makes a field of a frozen record the float array that `arrays.numeric` makes of it."""
    object.__setattr__(record, field, arrays.numeric(getattr(record, field), what))


def _convert_ids(record: Any, n: int, what: str) -> None:
    """Makes the ids of a frozen record an array of n strings."""
    object.__setattr__(record, 'ids', arrays.stimulus_names(record.ids, what))
    check_ids(record.ids, n, what)
