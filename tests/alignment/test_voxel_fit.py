"""Fit of predicted voxels: Pearson's r, its bootstrap, and the noise ceiling."""

import dataclasses

import numpy as np
import pytest
from scipy import stats

from humalign_jax.alignment import voxel_fit
from humalign_jax.human_responses import Responses

N, V = 60, 6
np_rng = np.random.default_rng(0)
MEASURED = np_rng.normal(size=(N, V))
PREDICTED = 0.6 * MEASURED + np_rng.normal(size=(N, V))
RESPONSES = Responses(
    MEASURED,
    np.arange(N).astype(str),
    np.zeros(N, int),
    {'V1': np.arange(V) < 2, 'V4': np.arange(V) >= 2},
    'one',
    'made up',
    n_averaged=np.full(N, 3),
    ncsnr=np.full(V, 0.5),
)


def test_correlations_equal_scipys():
    expected = [stats.pearsonr(PREDICTED[:, v], MEASURED[:, v])[0] for v in range(V)]
    np.testing.assert_allclose(voxel_fit.voxel_correlations(PREDICTED, MEASURED), expected, rtol=1e-10)


def test_weights_are_repetitions_of_images():
    weights = np_rng.multinomial(N, np.full(N, 1 / N), size=2)
    for found, counts in zip(voxel_fit.voxel_correlations(PREDICTED, MEASURED, weights), weights):
        rows = np.repeat(np.arange(N), counts)
        expected = [stats.pearsonr(PREDICTED[rows, v], MEASURED[rows, v])[0] for v in range(V)]
        np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_a_constant_prediction_has_r_0():
    np.testing.assert_array_equal(voxel_fit.voxel_correlations(np.ones((N, V)), MEASURED), np.zeros(V))


def test_explainable_variance_is_nsds_noise_ceiling():
    np.testing.assert_allclose(voxel_fit.explainable_variance(RESPONSES), 0.25 / (0.25 + 1 / 3))
    assert voxel_fit.explainable_variance(dataclasses.replace(RESPONSES, ncsnr=None)) is None


def test_scores_are_means_over_the_voxels_of_each_region():
    scores = voxel_fit.fit_scores(PREDICTED, RESPONSES, {'model': 'toy'}, n_bootstrap=400, seed=0)
    assert [(s.name, s.provenance['roi'], s.provenance['n_voxels']) for s in scores] == [
        ('tuning/voxel_r', 'V1', 2), ('tuning/noise_normalised_r2', 'V1', 2),
        ('tuning/voxel_r', 'V4', 4), ('tuning/noise_normalised_r2', 'V4', 4),
    ]  # fmt: skip
    r = voxel_fit.voxel_correlations(PREDICTED, MEASURED)
    assert scores[2].value == pytest.approx(r[2:].mean())
    assert scores[3].value == pytest.approx((r[2:] ** 2).mean() / (0.25 / (0.25 + 1 / 3)))
    assert scores[2].ceiling_upper == pytest.approx(np.sqrt(0.25 / (0.25 + 1 / 3)))
    # Four independent voxels: the standard error of their mean is that of one r, (1 - r^2) / sqrt(n), halved.
    expected = 1.96 * (1 - scores[2].value ** 2) / np.sqrt(N) / 2
    assert (scores[2].high - scores[2].low) / 2 == pytest.approx(expected, rel=0.3)


def test_a_voxel_without_signal_is_left_out_of_normalised_r2():
    ncsnr = np.full(V, 0.5)
    ncsnr[0] = 0.0
    scores = voxel_fit.fit_scores(PREDICTED, dataclasses.replace(RESPONSES, ncsnr=ncsnr), {}, n_bootstrap=0, seed=0)
    assert scores[0].provenance['n_voxels'] == 2 and scores[1].provenance['n_voxels'] == 1 and np.isnan(scores[1].low)
