"""Noise ceilings from repeats: variance components, their intervals, and NSD's published noise."""

import numpy as np
import pytest
import scipy.stats

from humalign_jax.alignment import response_ceilings
from humalign_jax.human import simulated_voxels
from humalign_jax.human_responses import Responses
from humalign_jax.records import Features


def _simulated(seed, n=150, **options):
    features = Features(np.random.default_rng(seed).normal(size=(n, 8)), [str(k) for k in range(n)], 'teacher')
    voxels = dict.fromkeys(simulated_voxels.NSD_NCSNR, 60)
    return simulated_voxels.simulate_responses(features, voxels, n_repeats=3, seed=seed, **options)


def _record(values, stimuli, **fields):
    values = np.asarray(values, np.float64)
    return Responses(
        values, stimuli, np.zeros(len(values), int), {'all': np.ones(values.shape[1])}, 's', 'some', **fields
    )


def test_f_of_equal_repeats_equals_scipy():
    np_rng = np.random.default_rng(0)
    values = np.repeat(np_rng.normal(size=(9, 2)), 4, axis=0) + np_rng.normal(size=(36, 2))
    found = response_ceilings.repeat_ceilings(_record(values, np.repeat(np.arange(9), 4)))
    f = scipy.stats.f_oneway(*values.reshape(9, 4, 2)).statistic
    signal = (f - 1) / 4
    np.testing.assert_allclose(found.share, signal / (1 + signal), rtol=1e-10)


def test_unequal_repeats_have_the_shares_of_a_loop_over_stimuli():
    np_rng = np.random.default_rng(1)
    stimuli = np.repeat(np.arange(7), [1, 2, 3, 2, 5, 2, 1])
    values = np_rng.normal(size=(7, 1))[stimuli] + np_rng.normal(size=(16, 1))
    found = response_ceilings.repeat_ceilings(_record(values, stimuli))
    groups = [values[stimuli == k, 0] for k in range(1, 6)]
    n = np.array([len(one) for one in groups])
    n0 = (n.sum() - (n**2).sum() / n.sum()) / 4
    signal = (scipy.stats.f_oneway(*groups).statistic - 1) / n0
    assert found.share[0] == pytest.approx(signal / (1 + signal)) and found.n_stimuli == 5
    without = [one for k, one in enumerate(groups) if k != 2]
    n = np.array([len(one) for one in without])
    signal = (scipy.stats.f_oneway(*without).statistic - 1) / ((n.sum() - (n**2).sum() / n.sum()) / 3)
    assert np.isclose(found.jackknife[:, 0], signal / (1 + signal)).sum() <= 1  # two groups of two or three stimuli


def test_nsd_noise_is_recovered_within_the_interval_of_each_region_and_of_95_percent_of_voxels():
    made = _simulated(4)
    found = response_ceilings.repeat_ceilings(made)
    truth = response_ceilings.published_ceilings(made).share
    for roi, ncsnr in simulated_voxels.NSD_NCSNR.items():
        value, low, high = found.interval(made.rois[roi])
        known = ncsnr**2 / (1 + ncsnr**2)
        assert low < known < high and high - low < 0.06, (roi, value)
    covered = (found.low < truth) & (truth < found.high)
    assert 0.92 < covered.mean() < 0.98


def test_the_share_of_a_mean_follows_from_that_of_a_measurement():
    made = _simulated(5)
    single = response_ceilings.published_ceilings(made)
    np.testing.assert_allclose(single.of_mean(3)[0], 0.481**2 / (0.481**2 + 1 / 3))
    np_rng = np.random.default_rng(2)
    values = np_rng.normal(size=(40, 1)).repeat(2, axis=0) + np_rng.normal(size=(80, 1))
    pairs = _record(values, np.repeat(np.arange(40), 2))
    averaged = response_ceilings.repeat_ceilings(_record(pairs.values, pairs.stimuli, n_averaged=np.full(80, 2)))
    one = response_ceilings.repeat_ceilings(pairs)
    np.testing.assert_allclose(averaged.of_mean(2), one.share)


def test_there_is_no_ceiling_without_repeats_and_unequal_means_are_refused():
    values = np.random.default_rng(0).normal(size=(6, 2))
    assert response_ceilings.repeat_ceilings(_record(values, np.arange(6))) is None
    assert response_ceilings.published_ceilings(_record(values, np.arange(6))) is None
    with pytest.raises(ValueError, match='repeats are means of 1 to 2 measurements'):
        response_ceilings.repeat_ceilings(_record(values, [0, 0, 1, 1, 2, 2], n_averaged=np.array([1, 2, 1, 1, 1, 1])))
