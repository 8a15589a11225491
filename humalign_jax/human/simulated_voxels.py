"""Synthetic voxels with a known noise ceiling, in place of fMRI data that may not be passed on.

The signal of a voxel is a random linear combination of features, such as those of a network that is held out from the
analysis; Gaussian noise is added to every measurement. The standard deviation of the signal over that of the noise is
the published one of NSD.

References:
    Allen et al. (2022), Nature Neuroscience (NSD, ncsnr). doi:10.1038/s41593-021-00962-x
"""

from collections.abc import Mapping

import numpy as np

from humalign_jax import records
from humalign_jax.human_responses import Responses

# Mean ncsnr of the voxels of a region in NSD (1.8 mm, GLMsingle betas), as published for each voxel.
NSD_NCSNR = {'V1v': 0.481, 'hV4': 0.395, 'FFA-1': 0.426, 'EBA': 0.490, 'PPA': 0.435}


def simulate_responses(
    features: records.Features,
    n_voxels: Mapping[str, int],
    *,
    ncsnr: Mapping[str, float] = NSD_NCSNR,
    n_repeats: int | np.ndarray = 1,
    n_sessions: int = 1,
    spread: float = 0.0,
    subject: str = 'simulated',
    seed: int = 0,
) -> Responses:
    """Single-trial responses of voxels to stimuli whose features are known.

    To make train and test sets of the same voxels, simulate all stimuli at once and divide them with `Responses.take`.

    Args:
        features: Features of the stimuli, [n, d]; constant features carry no signal.
        n_voxels: Number of voxels of each region of interest.
        ncsnr: Mean ratio of the SD of the signal to that of the noise in each of these regions.
        n_repeats: How often each stimulus is shown, one number or [n].
        n_sessions: Number of sessions; the repeats of a stimulus are dealt to them in turn.
        spread: Coefficient of variation of ncsnr over the voxels of a region (gamma distribution); 0 for equal voxels.
        subject: Name of the subject.
        seed: Seed of projection and noise.

    Returns:
        Float32 responses; the signal has mean 0 and SD 1 over the n stimuli. `ncsnr` has the known value of each voxel.

    Raises:
        ValueError: A region has no ncsnr, a number is too small, or no feature varies.
    """
    values = np.asarray(features.values, np.float64)
    n = len(values)
    unknown = [roi for roi in n_voxels if roi not in ncsnr]
    if unknown or not n_voxels:
        raise ValueError(f'there is no ncsnr for the regions {unknown}, only for {", ".join(ncsnr)}.')
    repeats = np.broadcast_to(np.asarray(n_repeats, np.int64), (n,))
    if min(n_voxels.values()) < 1 or repeats.min() < 1 or n_sessions < 1 or spread < 0:
        raise ValueError('n_voxels, n_repeats and n_sessions must be 1 or more, and spread 0 or more.')
    varying = values.std(axis=0) > 0
    if n < 2 or not varying.any():
        raise ValueError(f'{features.name}: no feature varies over the {n} stimuli, so voxels would have no signal.')
    values = values[:, varying]
    values = (values - values.mean(axis=0)) / values.std(axis=0)
    np_rng = np.random.default_rng(seed)
    v = sum(n_voxels.values())
    signal = values @ np_rng.normal(size=(values.shape[1], v))
    signal = (signal - signal.mean(axis=0)) / signal.std(axis=0)
    of_voxel = np.repeat(list(n_voxels), list(n_voxels.values()))
    ratio = np.array([ncsnr[roi] for roi in of_voxel.tolist()], dtype=np.float64)
    if spread > 0:
        ratio = ratio * np_rng.gamma(spread**-2, spread**2, size=v)
    rows = np.repeat(np.arange(n), repeats)
    sd = np.divide(1.0, ratio, out=np.ones(v), where=ratio > 0)
    measured = (signal[rows] * (ratio > 0) + sd * np_rng.normal(size=(len(rows), v))).astype(np.float32)
    turn = np.concatenate([np.arange(k) for k in repeats.tolist()]) + rows  # a stimulus starts in another session
    return Responses(
        values=measured,
        stimuli=np.asarray(features.ids, dtype=np.str_)[rows],
        sessions=np.array([f'{k:02d}' for k in (turn % n_sessions).tolist()]),
        rois={roi: of_voxel == roi for roi in n_voxels},
        subject=subject,
        name='simulated voxels',
        ncsnr=ratio,
        simulated=True,
        provenance={'simulated': True, 'source': features.name, 'seed': seed, 'spread': spread},
    )
