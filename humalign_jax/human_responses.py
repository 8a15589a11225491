"""Record of brain responses: one value for each trial and voxel, with the stimulus and the session of each trial."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from humalign_jax import arrays, records, settings


@dataclasses.dataclass(frozen=True)
class Responses:
    """Responses of one subject's voxels to stimuli; several trials with one stimulus are its repeats.

    A value may be NaN, and a voxel may be constant: `usable_voxels` says which voxels have neither.

    Attributes:
        values: One row for each trial, float32 or float64, [m, v].
        stimuli: Stimulus id of each trial, [m]; an id occurs as often as its stimulus was shown.
        sessions: Session (or run) of each trial, text, [m]; the same text everywhere where there is only one.
        rois: Voxels of each region of interest, by its name, bool, [v]; regions may overlap.
        subject: Name of the subject.
        name: What a legend calls the data, such as 'NSD'.
        n_averaged: How many measurements each row is the mean of, int64, [m]; None for one.
        ncsnr: Standard deviation of the signal over that of the noise of a single measurement (noise-ceiling
            signal-to-noise ratio), [v]; None where only repeats can tell.
        simulated: True if a program made the responses; every score derived from them says so.
        provenance: Where they come from (files, hashes, licence).
    """

    values: np.ndarray
    stimuli: np.ndarray
    sessions: np.ndarray
    rois: Mapping[str, np.ndarray]
    subject: str
    name: str
    n_averaged: np.ndarray | None = None
    ncsnr: np.ndarray | None = None
    simulated: bool = False
    provenance: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        what = f'responses {self.name!r}, subject {self.subject!r}'
        values = arrays.numeric(self.values, what)
        values = values.astype(np.float32) if values.dtype == np.float16 else values
        if values.ndim != 2 or 0 in values.shape:
            raise ValueError(f'{what} must be [trials, voxels], none of them 0, not {list(values.shape)}.')
        m, v = values.shape
        object.__setattr__(self, 'values', values)
        for field in ('stimuli', 'sessions'):
            texts = arrays.stimulus_names(getattr(self, field), f'{what}, {field}')
            if texts.shape != (m,):
                raise ValueError(f'{what}: {m} trials but {field} of shape {list(texts.shape)}.')
            object.__setattr__(self, field, texts)
        if self.n_averaged is None:
            object.__setattr__(self, 'n_averaged', np.ones(m, np.int64))
        counts = np.asarray(self.n_averaged)
        if counts.shape != (m,) or not np.issubdtype(counts.dtype, np.integer) or counts.min() < 1:
            raise ValueError(f'{what}: n_averaged must be {m} whole numbers, 1 or more.')
        object.__setattr__(self, 'n_averaged', counts.astype(np.int64))
        if self.ncsnr is not None:
            ncsnr = np.asarray(self.ncsnr, np.float64)
            if ncsnr.shape != (v,) or (ncsnr < 0).any():
                raise ValueError(f'{what}: ncsnr must be {v} numbers, one for each voxel, none below 0.')
            object.__setattr__(self, 'ncsnr', ncsnr)
        if not self.rois:
            raise ValueError(f'{what} have no region of interest: give one with all voxels, such as {{"all": ...}}.')
        masks = {roi: np.asarray(mask, bool) for roi, mask in self.rois.items()}
        for roi, mask in masks.items():
            if mask.shape != (v,) or not mask.any():
                raise ValueError(f'{what}: region {roi!r} must be a mask of {v} voxels with at least one true value.')
        object.__setattr__(self, 'rois', masks)

    def __len__(self) -> int:
        return len(self.values)

    @property
    def n_voxels(self) -> int:
        """Number of voxels, v."""
        return self.values.shape[1]

    @property
    def ids(self) -> np.ndarray:
        """The different stimuli in the order in which they first occur, [n]."""
        return np.array(list(dict.fromkeys(self.stimuli.tolist())), dtype=np.str_)

    def take(self, trials: np.ndarray) -> 'Responses':
        """Some trials, by number or by a mask [m]."""
        assert self.n_averaged is not None
        fields = {field: getattr(self, field)[trials] for field in ('values', 'stimuli', 'sessions', 'n_averaged')}
        return dataclasses.replace(self, **fields)

    def take_voxels(self, voxels: np.ndarray) -> 'Responses':
        """Some voxels, by a mask [v]; regions without any of them are left out."""
        rois = {roi: mask[voxels] for roi, mask in self.rois.items() if mask[voxels].any()}
        ncsnr = None if self.ncsnr is None else self.ncsnr[voxels]
        return dataclasses.replace(self, values=self.values[:, voxels], rois=rois, ncsnr=ncsnr)

    def of_rois(self, rois: Sequence[str]) -> 'Responses':
        """The voxels of these regions, and these regions alone.

        Raises:
            ValueError: There is no such region; the message names the nearest.
        """
        unknown = [roi for roi in rois if roi not in self.rois]
        if unknown:
            near = settings.nearest(unknown[0], list(self.rois))
            raise ValueError(f'{self.name!r}, subject {self.subject!r}: there is no region {unknown[0]!r}.{near}')
        named = dataclasses.replace(self, rois={roi: self.rois[roi] for roi in rois})
        return named.take_voxels(np.any(list(named.rois.values()), axis=0))

    def averaged(self) -> 'Responses':
        """One row for each stimulus, the mean over its trials, weighted by `n_averaged`; its session is the first."""
        assert self.n_averaged is not None
        ids, first, number = np.unique(self.stimuli, return_index=True, return_inverse=True)
        counts = np.bincount(number, weights=self.n_averaged)
        sums = np.zeros((len(ids), self.n_voxels))
        np.add.at(sums, number, self.values * self.n_averaged[:, None])
        order = np.argsort(first)
        means = (sums / counts[:, None])[order].astype(self.values.dtype)
        chosen = first[order]
        return dataclasses.replace(
            self,
            values=means,
            stimuli=self.stimuli[chosen],
            sessions=self.sessions[chosen],
            n_averaged=counts[order].astype(np.int64),
        )


def concatenate(first: Responses, second: Responses) -> Responses:
    """Trials of two records of the same voxels, one after the other; ceilings and provenance are those of the first.

    Raises:
        ValueError: Voxels or regions differ.
    """
    same = list(first.rois) == list(second.rois) and all(
        np.array_equal(first.rois[roi], second.rois[roi]) for roi in first.rois
    )
    if not same:
        sizes = f'{_sizes(first)} and {_sizes(second)}'
        raise ValueError(f'{first.name!r}, subject {first.subject!r}: the parts differ in voxels, {sizes}.')
    joined = {
        field: np.concatenate([getattr(first, field), getattr(second, field)])
        for field in ('values', 'stimuli', 'sessions', 'n_averaged')
    }
    return dataclasses.replace(first, **joined)


def _sizes(responses: Responses) -> str:
    return ', '.join(f'{roi} {int(mask.sum())}' for roi, mask in responses.rois.items())


def usable_voxels(responses: Responses) -> tuple[np.ndarray, dict[str, int]]:
    """Voxels with finite values in all trials that are not all equal.

    Returns:
        Mask, [v], and how many voxels are left out for which reason (`n_not_finite`, `n_constant`).
    """
    finite = np.isfinite(responses.values).all(axis=0)
    constant = finite & ~(np.ptp(responses.values, axis=0) > 0)
    return finite & ~constant, {'n_not_finite': int((~finite).sum()), 'n_constant': int(constant.sum())}


def zscore(train: Responses, *others: Responses) -> list[Responses]:
    """Train and other responses with the mean and standard deviation of each voxel in train (SD over m trials).

    A voxel that is constant in train, or has a NaN there, becomes NaN everywhere.

    Returns:
        As many records as were given, in their order.

    Raises:
        ValueError: The records differ in voxels.
    """
    for other in others:
        if other.n_voxels != train.n_voxels:
            raise ValueError(f'{train.name!r} has {train.n_voxels} voxels in train, but {other.n_voxels} elsewhere.')
    mean, sd = train.values.mean(axis=0, dtype=np.float64), train.values.std(axis=0, dtype=np.float64)
    sd = np.where(sd > 0, sd, np.nan)
    return [
        dataclasses.replace(one, values=((one.values - mean) / sd).astype(one.values.dtype)) for one in (train, *others)
    ]


def zscore_sessions(responses: Responses) -> Responses:
    """Each voxel with mean 0 and SD 1 within every session; uses no stimulus, so held-out sessions learn nothing.

    Raises:
        ValueError: A session has one trial only.
    """
    values = np.array(responses.values, dtype=np.float64)
    for session in np.unique(responses.sessions).tolist():
        rows = responses.sessions == session
        if rows.sum() < 2:
            raise ValueError(f'{responses.name!r}: session {session!r} has one trial only, so it has no SD.')
        sd = values[rows].std(axis=0)
        values[rows] = (values[rows] - values[rows].mean(axis=0)) / np.where(sd > 0, sd, np.nan)
    return dataclasses.replace(responses, values=values.astype(responses.values.dtype))


def feature_rows(responses: Responses, features: records.Features) -> np.ndarray:
    """Row of `features` for each trial, [m].

    Raises:
        ValueError: Stimuli have no features; the message names the first few.
    """
    rows = {stimulus: row for row, stimulus in enumerate(np.asarray(features.ids).tolist())}
    missing = [stimulus for stimulus in responses.ids.tolist() if stimulus not in rows]
    if missing:
        raise ValueError(
            f'{features.name} lacks {len(missing)} of the {len(responses.ids)} stimuli of {responses.name!r}, subject '
            f'{responses.subject!r}, the first of them {", ".join(map(repr, missing[:3]))}; its ids are such as '
            f'{str(features.ids[0])!r}.'
        )
    return np.array([rows[stimulus] for stimulus in responses.stimuli.tolist()], dtype=np.int64)
