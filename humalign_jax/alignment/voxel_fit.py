"""How well predicted voxel responses fit measured ones: mean over voxels, with intervals over images."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from humalign_jax.alignment import intervals
from humalign_jax.alignment.response_ceilings import signal_share
from humalign_jax.human_responses import Responses
from humalign_jax.records import Score

_VOXELS_AT_ONCE = 2000  # in the bootstrap, for memory


def voxel_correlations(predicted: np.ndarray, measured: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Pearson's r of each voxel over images.

    Args:
        predicted: [n, v].
        measured: [n, v].
        weights: How often each image counts, [n_draws, n]; None: once.

    Returns:
        [v], or [n_draws, v] with weights; 0 where the prediction is constant, NaN where the measurement is.
    """
    x, y = np.asarray(predicted, np.float64), np.asarray(measured, np.float64)
    w = np.ones((1, len(x))) if weights is None else np.asarray(weights, np.float64)
    w = w / w.sum(axis=1, keepdims=True)
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    mean_x, mean_y = w @ x, w @ y
    var_x, var_y = w @ x**2 - mean_x**2, w @ y**2 - mean_y**2
    covariance = w @ (x * y) - mean_x * mean_y
    tiny = np.finfo(np.float64).eps * np.maximum(x.var(axis=0) + 1e-300, 1e-300)
    with np.errstate(invalid='ignore', divide='ignore'):
        r = np.where(var_x > tiny, covariance / np.sqrt(np.maximum(var_x, 0) * np.maximum(var_y, 0)), 0.0)
    r = np.where(var_y > 0, r, np.nan)
    return r[0] if weights is None else r


def explainable_variance(responses: Responses) -> np.ndarray | None:
    """Share of each voxel's variance over images that is signal, [v]; None where `ncsnr` is not known.

    The noise is the mean of 1 / number of measurements averaged, see `response_ceilings.signal_share`.
    """
    if responses.ncsnr is None:
        return None
    assert responses.n_averaged is not None
    return signal_share(responses.ncsnr, float(np.mean(1.0 / responses.n_averaged)))


def fit_scores(
    predicted: np.ndarray, responses: Responses, provenance: Mapping[str, Any], *, n_bootstrap: int, seed: int
) -> list[Score]:
    """Scores of each region: `tuning/voxel_r` and, with a known ceiling, `tuning/noise_normalised_r2`.

    `voxel_r` is the mean of Pearson's r over voxels; its ceiling is the mean square root of the explainable variance.
    `noise_normalised_r2` is the mean of r^2 (with the sign of r) over the explainable variance, of voxels that have
    any. Intervals: normal with the standard error of a bootstrap over images.

    Args:
        predicted: [n, v].
        responses: One row for each image, [n, v].
        provenance: Provenance of every score; `roi` is added.
        n_bootstrap: Draws; 0 for no interval.
        seed: Of the draws.
    """
    n = len(responses)
    np_rng = np.random.default_rng([seed, n])
    weights = np_rng.multinomial(n, np.full(n, 1.0 / n), size=n_bootstrap)
    measured, share = responses.values, explainable_variance(responses)
    r = voxel_correlations(predicted, measured)
    how = f'bootstrap over images, {n_bootstrap} draws' if n_bootstrap else 'none'
    scores = []
    for roi, mask in responses.rois.items():
        about = {**provenance, 'roi': roi, 'n_voxels': int(mask.sum())}
        value = float(np.nanmean(r[mask]))
        draws = _mean_over_voxels(predicted[:, mask], measured[:, mask], weights, lambda r: r)
        low, high = intervals.normal_interval(value, draws)
        score = Score('tuning/voxel_r', value, low, high, n, how, provenance=about)
        if share is not None:
            top = float(np.sqrt(share[mask]).mean())
            score = dataclasses.replace(score, ceiling_lower=top, ceiling_upper=top)
        scores.append(score)
        if share is not None and (mask & (share > 0)).any():
            kept = mask & (share > 0)
            explained = share[kept]
            value = float(np.nanmean(np.sign(r[kept]) * r[kept] ** 2 / explained))
            draws = _mean_over_voxels(predicted[:, kept], measured[:, kept], weights, np.square, explained)
            low, high = intervals.normal_interval(value, draws)
            about = {**about, 'n_voxels': int(kept.sum())}
            scores.append(Score('tuning/noise_normalised_r2', value, low, high, n, how, provenance=about))
    return scores


def _mean_over_voxels(
    predicted: np.ndarray,
    measured: np.ndarray,
    weights: np.ndarray,
    transform: Callable[[np.ndarray], np.ndarray],
    divisor: np.ndarray | None = None,
) -> np.ndarray:
    """Mean over voxels of sign(r) |transform(r)| / divisor in each draw of weights [n_draws, n]: [n_draws]."""
    v = predicted.shape[1]
    total, counts = np.zeros(len(weights)), np.zeros(len(weights))
    for first in range(0, v, _VOXELS_AT_ONCE) if len(weights) else ():
        part = slice(first, first + _VOXELS_AT_ONCE)
        r = voxel_correlations(predicted[:, part], measured[:, part], weights)
        values = np.sign(r) * np.abs(transform(r)) / (1.0 if divisor is None else divisor[part])
        total, counts = total + np.nansum(values, axis=1), counts + np.isfinite(values).sum(axis=1)
    return total / np.maximum(counts, 1)
