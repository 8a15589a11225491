"""fMRI responses from files: NSD folders, plain arrays in .npz, and the patterns of Haxby et al.

An NSD folder is that of one subject; arrays of a split have one row for each entry of `img_paths.npy`:

    <split>/brain_activities/<roi>.npy       responses, [m, voxels of the region]
    <split>/preprocessed/img_paths.npy       image path of each row, text, [m]; a path that repeats is a repeat
    <split>/preprocessed/n_averaged.npy      how many measurements each row is the mean of, [m] (optional)
    <split>/preprocessed/sessions.npy        session of each row, text or whole numbers, [m] (optional)
    <split>/ncsnr/<roi>.npy                  noise-ceiling signal-to-noise ratio of each voxel (optional)

Plain arrays of one subject are a .npz with `responses` [trials, voxels] or [repeats, stimuli, voxels] and `stimuli`,
one id for each trial or stimulus. Optional: `sessions` (of each trial, or of each repeat), `rois` (name of the region
of each voxel), `n_averaged`, `ncsnr`. Without sessions a repeat is a session. Trials of NaN alone are left out.

References:
    Allen et al. (2022), Nature Neuroscience. doi:10.1038/s41593-021-00962-x
    Haxby et al. (2001), Science. doi:10.1126/science.1063736
"""

import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from humalign_jax import storage
from humalign_jax.human_responses import Responses

SPLITS = ('train', 'val')
_ACTIVITY, _PATHS, _NCSNR = 'brain_activities', 'preprocessed/img_paths.npy', 'ncsnr'
_COUNTS, _SESSIONS = 'preprocessed/n_averaged.npy', 'preprocessed/sessions.npy'


def load_nsd(
    folder: storage.PathLike, split: str, *, rois: Sequence[str] = (), subject: str = '', name: str = 'NSD'
) -> Responses:
    """Responses of one split of an NSD folder; several regions are put together along voxels.

    Args:
        folder: The folder with the splits.
        split: 'train' or 'val'.
        rois: Regions, in this order; () for all files of `brain_activities`.
        subject: Name of the subject; '' for the folder's name.
        name: What a legend calls the data.

    Returns:
        The responses. The ids of stimuli are the image paths, as they stand in the file.

    Raises:
        ValueError: A folder or file is missing or damaged, or a region has other rows than there are image paths.
    """
    folder = pathlib.Path(folder)
    place = folder / split
    if not (place / _ACTIVITY).is_dir():
        raise ValueError(f'{place / _ACTIVITY} is no folder: it should hold one file for each region, such as V4.npy.')
    there = [path.stem for path in sorted((place / _ACTIVITY).glob('*.npy'))]
    wanted = list(rois) or there
    missing = [roi for roi in wanted if roi not in there]
    if missing or not wanted:
        raise ValueError(
            f'{place / _ACTIVITY} has no {(missing or ["*"])[0]}.npy, but {", ".join(there) or "nothing"}.'
        )
    stimuli = storage.read_array(place / _PATHS)
    if stimuli.ndim != 1 or stimuli.dtype.kind not in 'US':
        raise ValueError(f'{place / _PATHS} must be text, one image path a row, not {stimuli.dtype} {stimuli.shape}.')
    values = {roi: _rows(place / _ACTIVITY / f'{roi}.npy', len(stimuli)) for roi in wanted}
    repeated = [roi for k, roi in enumerate(wanted) if roi in wanted[:k]]
    if repeated:
        raise ValueError(f'region {repeated[0]!r} is named twice.')
    sizes = [values[roi].shape[1] for roi in wanted]
    of_voxel = np.repeat(np.arange(len(wanted)), sizes)
    return Responses(
        values=np.concatenate([values[roi] for roi in wanted], axis=1),
        stimuli=stimuli.astype(np.str_),
        sessions=_optional(place / _SESSIONS, len(stimuli), np.zeros(len(stimuli), np.int64)),
        rois={roi: of_voxel == k for k, roi in enumerate(wanted)},
        subject=subject or folder.name,
        name=name,
        n_averaged=_optional(place / _COUNTS, len(stimuli), None),
        ncsnr=_ncsnr(place / _NCSNR, wanted, sizes),
        **_described(folder),
    )


def write_nsd(folder: storage.PathLike, splits: dict[str, Responses]) -> None:
    """Writes responses as an NSD folder, `load_nsd`'s layout, one record for each split.

    Raises:
        ValueError: Regions overlap, or do not cover all voxels, or a split is neither 'train' nor 'val'.
    """
    folder = pathlib.Path(folder)
    for split, responses in splits.items():
        if split not in SPLITS:
            raise ValueError(f'split {split!r} must be one of {", ".join(SPLITS)}.')
        if not (np.sum(list(responses.rois.values()), axis=0) == 1).all():
            raise ValueError(f'{responses.name!r}: every voxel must be in exactly one region to be written as NSD.')
        place = folder / split
        arrays: dict[pathlib.Path, Any] = {
            place / _PATHS: responses.stimuli,
            place / _COUNTS: responses.n_averaged,
            place / _SESSIONS: responses.sessions,
        }
        for roi, mask in responses.rois.items():
            arrays[place / _ACTIVITY / f'{roi}.npy'] = responses.values[:, mask]
            if responses.ncsnr is not None:
                arrays[place / _NCSNR / f'{roi}.npy'] = responses.ncsnr[mask]
        for path, values in arrays.items():
            with storage.atomic_file(path) as file:
                np.save(file, np.ascontiguousarray(values), allow_pickle=False)
    one = next(iter(splits.values()))
    storage.write_json(folder / 'source.json', {**one.provenance, 'name': one.name, 'simulated': one.simulated})


def load_npz(path: storage.PathLike, *, rois: Sequence[str] = (), subject: str = '') -> Responses:
    """Responses of one subject from plain arrays, see the module's docstring; regions are those asked for, () all.

    Raises:
        ValueError: The file is missing or damaged, lacks an array, or arrays do not fit together.
    """
    path = pathlib.Path(path)
    values, stimuli = (storage.read_array(path, key=key) for key in ('responses', 'stimuli'))
    with np.load(path, allow_pickle=False) as file:
        more = {key: file[key] for key in ('sessions', 'rois', 'n_averaged', 'ncsnr') if key in file.files}
    if values.ndim not in (2, 3) or values.dtype.kind not in 'fiu':
        raise ValueError(
            f'{path}: responses must be numbers [trials, voxels] or [repeats, stimuli, voxels], not {values.dtype} '
            f'{list(values.shape)}.'
        )
    n, v = values.shape[-2:]
    if stimuli.shape != (n,):
        raise ValueError(f'{path}: {n} rows of responses but stimuli of shape {list(stimuli.shape)}.')
    sessions = more.get('sessions', np.arange(len(values)) if values.ndim == 3 else np.zeros(n, np.int64))
    if values.ndim == 3:
        if sessions.shape != (len(values),):
            raise ValueError(f'{path}: {len(values)} repeats but sessions of shape {list(sessions.shape)}.')
        stimuli, sessions = np.tile(stimuli, len(values)), np.repeat(sessions, n)
        values = values.reshape(-1, v)
    names = more.get('rois', np.full(v, 'all')).astype(np.str_)
    if names.shape != (v,):
        raise ValueError(f'{path}: {v} voxels but rois of shape {list(names.shape)}.')
    made = Responses(
        values=values,
        stimuli=stimuli,
        sessions=sessions,
        rois={roi: names == roi for roi in dict.fromkeys(names.tolist())},
        subject=subject or path.stem,
        name=path.stem,
        n_averaged=more.get('n_averaged'),
        ncsnr=more.get('ncsnr'),
        provenance={'file': path.name, 'sha256': storage.file_digest(path)},
    )
    made = made.of_rois(rois) if rois else made
    measured = np.asarray(~np.isnan(made.values).all(axis=1))
    if not measured.any():
        raise ValueError(f'{path}: all responses are NaN.')
    return made if measured.all() else made.take(measured)


def load_haxby(path: storage.PathLike, *, subject: str = '') -> Responses:
    """Block patterns of Haxby et al. (2001) from a .npz with `patterns` [runs, conditions, voxels] and `condition`.

    Stimuli are the conditions, sessions the runs; the one region, 'slice', has all voxels.

    Raises:
        ValueError: The file is missing or damaged, or an array is.
    """
    path = pathlib.Path(path)
    patterns, condition = (storage.read_array(path, key=key) for key in ('patterns', 'condition'))
    if patterns.ndim != 3 or condition.shape != patterns.shape[1:2]:
        raise ValueError(
            f'{path}: patterns must be [runs, conditions, voxels] with a name for each condition, not '
            f'{list(patterns.shape)} and {list(condition.shape)}.'
        )
    runs, n, v = patterns.shape
    return Responses(
        values=patterns.reshape(-1, v),
        stimuli=np.tile(condition, runs),
        sessions=np.repeat(np.arange(runs), n),
        rois={'slice': np.ones(v, bool)},
        subject=subject or path.stem,
        name='Haxby 2001',
        provenance={'file': path.name, 'sha256': storage.file_digest(path), 'citation': 'Haxby et al. (2001), Science'},
    )


def image_files(responses: Responses, root: storage.PathLike = '') -> list[pathlib.Path]:
    """The image file of each row, [m]; stimulus ids are paths, relative ones below `root`.

    Raises:
        ValueError: Images are missing; the message counts them and names the first.
    """
    paths = [pathlib.Path(root) / stimulus for stimulus in responses.stimuli.tolist()]
    missing = [path for path in dict.fromkeys(paths) if not path.is_file()]
    if missing:
        raise ValueError(
            f'{len(missing)} of {len(set(paths))} images of {responses.name!r} are missing, the first of them '
            f'{missing[0]}: copy the images there, or say where they are.'
        )
    return paths


def _rows(path: pathlib.Path, m: int) -> np.ndarray:
    """The responses of a region, [m, v]."""
    values = storage.read_array(path)
    if values.ndim != 2 or values.dtype.kind not in 'fiu':
        raise ValueError(f'{path} must be numbers [images, voxels], not {values.dtype} {list(values.shape)}.')
    if len(values) != m:
        raise ValueError(
            f'{path} has {len(values)} rows, but {path.parents[1] / _PATHS} names {m} images: row k of both must be '
            'the same image, so one of the two belongs to another split or subject.'
        )
    return values.astype(np.float32) if values.dtype.kind != 'f' else values


def _optional(path: pathlib.Path, m: int, default: Any) -> Any:
    if not path.is_file():
        return default
    values = storage.read_array(path)
    if values.shape != (m,):
        raise ValueError(f'{path} has shape {list(values.shape)}, but there are {m} images.')
    return values


def _ncsnr(folder: pathlib.Path, rois: Sequence[str], sizes: Sequence[int]) -> np.ndarray | None:
    """The ratios of all voxels; None unless every region has a file."""
    paths = [folder / f'{roi}.npy' for roi in rois]
    if not all(path.is_file() for path in paths):
        return None
    ratios = [storage.read_array(path) for path in paths]
    for path, ratio, size in zip(paths, ratios, sizes):
        if ratio.shape != (size,):
            raise ValueError(f'{path} has shape {list(ratio.shape)}, but the region has {size} voxels.')
    return np.concatenate(ratios)


def _described(folder: pathlib.Path) -> dict[str, Any]:
    """Whether the responses are simulated, and where they come from."""
    path = folder / 'source.json'
    about = storage.read_json(path) if path.is_file() else {}
    if not isinstance(about, dict):
        raise ValueError(f'{path} should be a JSON object.')
    return {'simulated': bool(about.get('simulated', False)), 'provenance': about}
