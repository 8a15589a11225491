"""Scores of single voxels."""

import numpy as np
import pytest
import scipy.stats

from humalign_jax.alignment import encoding_maps
from humalign_jax.alignment.encoding import EncodingFit
from humalign_jax.alignment.encoding_scores import Kept


@pytest.fixture
def fit():
    np_rng = np.random.default_rng(0)
    shape = (6, 3)
    total = np.full(shape, 20.0)
    return EncodingFit(
        tuple('abcdef'), np_rng.uniform(size=shape), total * np_rng.uniform(0.5, 1, shape), total, np.full(shape, 7.0),
        np.ones((*shape, 1)), {}, np.full(6, 0.1),
    )  # fmt: skip


def test_intervals_of_voxels_are_those_of_means_over_blocks_of_equal_size(fit):
    voxels, ceiling = np.array([True, False, True]), np.array([0.5, 0.2, 0.8])
    made = dict(zip(encoding_maps.MEASURES, encoding_maps.voxel_maps(fit, Kept(voxels, ceiling, None, 1.0, {}))))
    r2 = 1 - fit.residual / fit.total
    for name, values in (('r', fit.r), ('r2', r2)):
        interval = scipy.stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
        for end, expected in (('', values.mean(axis=0)), ('_low', interval.low), ('_high', interval.high)):
            np.testing.assert_allclose(made[name + end][voxels], expected[voxels], rtol=1e-5)
            assert np.isnan(made[name + end][1])
    np.testing.assert_allclose(made['normalised_r2_high'][voxels], made['r2_high'][voxels] / [0.5, 0.8], rtol=1e-6)
    assert made['penalty'][0] == 7.0


def test_one_block_has_no_interval_and_an_unknown_ceiling_no_normalised_r2(fit):
    one = EncodingFit(
        ('a',), fit.r[:1], fit.residual[:1], fit.total[:1], fit.penalty[:1], fit.band[:1], {}, fit.chance[:1]
    )
    made = dict(zip(encoding_maps.MEASURES, encoding_maps.voxel_maps(one, Kept(np.ones(3, bool), None, None, 1.0, {}))))
    np.testing.assert_allclose(made['r'], fit.r[0], rtol=1e-6)
    assert np.isnan([made['r_low'], made['r2_high'], made['ceiling'], made['normalised_r2']]).all()
