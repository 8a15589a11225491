"""THINGS-fMRI in its table format: three files of a subject, `<prefix>_ResponseData.h5` and two tables.

    sub-01_ResponseData.h5        single-trial responses, voxels x trials (written by pandas), with or without a first
                                  column of voxel ids
    sub-01_VoxelMetadata.csv      a row for each voxel: voxel_id, nc_singletrial (percent), and a column for each region
    sub-01_StimulusMetadata.csv   a row for each trial: stimulus, concept, session

Regions of both hemispheres are merged: EBA is every voxel with 1 in EBA, lEBA or rEBA.

References:
    Hebart et al. (2023), eLife. doi:10.7554/eLife.82580
"""

import csv
import pathlib
from collections.abc import Sequence

import h5py
import numpy as np

from humalign_jax import storage, text
from humalign_jax.human_responses import Responses

ROIS = ('V1', 'V2', 'V3', 'hV4', 'LOC', 'EBA', 'FFA', 'OFA', 'STS', 'PPA', 'RSC', 'TOS')
IDS = ('stimulus', 'concept')
_ROWS = 20_000  # voxels read at a time


def load_things_fmri(
    prefix: storage.PathLike, *, rois: Sequence[str] = (), ids: str = 'stimulus', subject: str = ''
) -> Responses:
    """Single-trial responses of one subject; only the voxels of the regions are kept.

    Args:
        prefix: Folder and beginning of the three file names, such as `betas_csv/sub-01`.
        rois: Regions; () for those of `ROIS` that the subject has.
        ids: What the stimulus ids are: 'stimulus', the image file (`aardvark_01b.jpg`), or 'concept' (`aardvark`).
        subject: Name of the subject; '' for the last part of the prefix.

    Raises:
        ValueError: A file is missing or damaged, the three do not fit together, or a region is unknown.
    """
    prefix = pathlib.Path(prefix)
    if ids not in IDS:
        raise ValueError(f'ids={ids!r} must be one of {", ".join(IDS)}.')
    paths = {name: prefix.with_name(f'{prefix.name}_{name}') for name in
             ('ResponseData.h5', 'VoxelMetadata.csv', 'StimulusMetadata.csv')}  # fmt: skip
    absent = [str(path) for path in paths.values() if not path.is_file()]
    if absent:
        raise ValueError(
            f'{absent[0]} is missing: THINGS-fMRI needs {", ".join(path.name for path in paths.values())}.'
        )
    voxels, trials = _table(paths['VoxelMetadata.csv']), _table(paths['StimulusMetadata.csv'])
    about_voxels, about_trials = paths['VoxelMetadata.csv'], paths['StimulusMetadata.csv']
    masks = _regions(about_voxels, voxels, rois)
    kept = np.any(list(masks.values()), axis=0)
    numbers = _numbers(about_voxels, voxels, 'voxel_id')
    stimuli, sessions = (_column(about_trials, trials, name) for name in (ids, 'session'))
    values = _responses(paths['ResponseData.h5'], kept, numbers, len(stimuli))
    ncsnr = None
    if 'nc_singletrial' in voxels:
        share = _numbers(about_voxels, voxels, 'nc_singletrial')[kept] / 100.0
        if not ((share >= 0) & (share < 1)).all():
            raise ValueError(f'{about_voxels}: nc_singletrial must be in percent, from 0 to below 100.')
        ncsnr = np.sqrt(share / (1.0 - share))
    return Responses(
        values=values,
        stimuli=stimuli,
        sessions=sessions,
        rois={roi: mask[kept] for roi, mask in masks.items()},
        subject=subject or prefix.name,
        name='THINGS-fMRI',
        ncsnr=ncsnr,
        provenance={'file': paths['ResponseData.h5'].name, 'ids': ids, 'citation': 'Hebart et al. (2023), eLife'},
    )


def _table(path: pathlib.Path) -> dict[str, list[str]]:
    """Columns of a table separated by commas."""
    rows = [row for row in csv.reader(text.lines_of(text.read_text(path)[0])) if row]
    if len(rows) < 2:
        raise ValueError(f'{path} has no rows.')
    short = next((line for line, row in enumerate(rows, start=1) if len(row) != len(rows[0])), None)
    if short is not None:
        raise ValueError(f'{path}, line {short}, has {len(rows[short - 1])} cells instead of {len(rows[0])}.')
    return {name: [row[place] for row in rows[1:]] for place, name in enumerate(rows[0])}


def _column(path: pathlib.Path, table: dict[str, list[str]], name: str) -> np.ndarray:
    if name not in table:
        raise ValueError(f'{path} has no column {name!r}, but {", ".join(list(table)[:12])}.')
    return np.array(table[name], dtype=np.str_)


def _numbers(path: pathlib.Path, table: dict[str, list[str]], name: str) -> np.ndarray:
    try:
        return _column(path, table, name).astype(np.float64)
    except ValueError as error:
        raise ValueError(f'{path}, column {name!r}: numbers are expected ({error}).') from error


def _regions(path: pathlib.Path, table: dict[str, list[str]], rois: Sequence[str]) -> dict[str, np.ndarray]:
    """Voxels of each region."""
    columns = {roi: [name for name in (roi, f'l{roi}', f'r{roi}') if name in table] for roi in rois or ROIS}
    unknown = [roi for roi, found in columns.items() if not found]
    masks = {
        roi: np.any([_numbers(path, table, name) > 0 for name in found], axis=0)
        for roi, found in columns.items()
        if found
    }
    empty = [roi for roi, mask in masks.items() if not mask.any()]
    if rois and (unknown or empty):
        raise ValueError(f'{path}: the region {(unknown or empty)[0]!r} has no voxels (no column with a 1).')
    masks = {roi: mask for roi, mask in masks.items() if mask.any()}
    if not masks:
        raise ValueError(f'{path} has none of the regions {", ".join(ROIS)}: name its columns as rois.')
    return masks


def _responses(path: pathlib.Path, kept: np.ndarray, numbers: np.ndarray, n_trials: int) -> np.ndarray:
    """Responses of some voxels, float32, [trials, voxels]; rows of the file are checked against voxel ids."""
    try:
        with h5py.File(path) as file:
            found: list[h5py.Dataset] = []
            file.visititems(lambda _, item: found.append(item) if _is_matrix(item, len(kept)) else None)
            fitting = [item for item in found if item.shape[1] in (n_trials, n_trials + 1)]
            if len(fitting) != 1:
                shapes = ', '.join(str(list(item.shape)) for item in found) or 'none'
                raise ValueError(
                    f'{path} must hold one array [{len(kept)} voxels, {n_trials} trials], as the two tables say; '
                    f'arrays with {len(kept)} rows there: {shapes}.'
                )
            first = fitting[0].shape[1] - n_trials  # 1 where the first column has the voxel ids
            given = [item[:, 0] for item in found if item.shape[1] == 1] + ([fitting[0][:, 0]] if first else [])
            if any(not np.array_equal(one, numbers) for one in given):
                raise ValueError(f'{path}: the voxel ids differ from those of the voxel table, or their order does.')
            parts = [
                fitting[0][start : start + _ROWS, first:][kept[start : start + _ROWS]].astype(np.float32)
                for start in range(0, len(kept), _ROWS)
            ]
    except OSError as error:
        raise ValueError(f'{path} cannot be read as HDF5 ({error}): copy or download it again.') from error
    return np.ascontiguousarray(np.concatenate(parts).T)


def _is_matrix(item: object, rows: int) -> bool:
    return isinstance(item, h5py.Dataset) and item.ndim == 2 and item.shape[0] == rows and item.dtype.kind in 'fiu'
