"""Scores of single voxels with 95 % intervals over held-out blocks."""

import numpy as np
import scipy.stats

from humalign_jax.alignment.encoding import EncodingFit
from humalign_jax.alignment.encoding_scores import Kept

MEASURES = (
    'r', 'r_low', 'r_high', 'r2', 'r2_low', 'r2_high', 'ceiling', 'normalised_r2', 'normalised_r2_low',
    'normalised_r2_high', 'penalty',
)  # fmt: skip


def voxel_maps(fit: EncodingFit, kept: Kept) -> np.ndarray:
    """Measures of every voxel, in the order of `MEASURES`: float32, [11, v].

    r: mean over blocks with Student's interval. R2: pooled over blocks, Student's interval with the jackknife's error.
    Normalised R2: R2 and the ends of its interval over the voxel's ceiling, which is taken as known. NaN: voxels that
    are not scored, unknown ceilings, and the ends of intervals of one block.
    """
    maps = {measure: np.full(len(kept.voxels), np.nan) for measure in MEASURES}
    voxels, f = kept.voxels, len(fit.blocks)
    quantile = float(scipy.stats.t.ppf(0.975, f - 1)) if f > 1 else np.nan
    r, residual, total = (values[:, voxels] for values in (fit.r, fit.residual, fit.total))
    r2 = 1 - residual.sum(axis=0) / total.sum(axis=0)
    r_half = r2_half = np.full(int(voxels.sum()), np.nan)
    if f > 1:
        r_half = quantile * r.std(axis=0, ddof=1) / np.sqrt(f)
        left_out = 1 - (residual.sum(axis=0) - residual) / (total.sum(axis=0) - total)
        r2_half = quantile * np.sqrt((f - 1) * left_out.var(axis=0))
    for name, value, half in (('r', r.mean(axis=0), r_half), ('r2', r2, r2_half)):
        maps[name][voxels], maps[f'{name}_low'][voxels], maps[f'{name}_high'][voxels] = (
            value,
            value - half,
            value + half,
        )
    if kept.ceiling is not None:
        maps['ceiling'] = np.where(voxels, kept.ceiling, np.nan)
        for end in ('', '_low', '_high'):
            maps[f'normalised_r2{end}'][voxels] = maps[f'r2{end}'][voxels] / kept.ceiling[voxels]
    maps['penalty'][voxels] = np.median(fit.penalty[:, voxels], axis=0)
    return np.stack([maps[measure] for measure in MEASURES]).astype(np.float32)
