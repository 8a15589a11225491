"""Responses of voxels: what a record admits, means over repeats, z-scores and masks."""

import numpy as np
import pytest

from humalign_jax import human_responses
from humalign_jax.human_responses import Responses
from humalign_jax.records import Features


@pytest.fixture
def responses():
    values = np.random.default_rng(0).normal(size=(6, 5)).astype(np.float32)
    rois = {'V1': np.array([1, 1, 0, 0, 0]), 'V4': np.array([0, 0, 1, 1, 1])}
    return Responses(values, ['b', 'a', 'b', 'c', 'a', 'b'], [1, 1, 1, 2, 2, 2], rois, 's1', 'some', [1, 1, 2, 1, 1, 1])


def test_the_mean_over_repeats_is_weighted_by_what_rows_are_means_of(responses):
    made = responses.averaged()
    assert made.stimuli.tolist() == ['b', 'a', 'c'] and made.n_averaged.tolist() == [4, 2, 1]
    expected = np.average(responses.values[[0, 2, 5]], axis=0, weights=[1, 2, 1])
    np.testing.assert_allclose(made.values[0], expected, rtol=1e-6)


def test_regions_select_their_voxels(responses):
    made = responses.of_rois(['V4'])
    assert list(made.rois) == ['V4'] and made.rois['V4'].all()
    np.testing.assert_array_equal(made.values, responses.values[:, 2:])
    with pytest.raises(ValueError, match=r"subject 's1': there is no region 'V5'\. Known: V1, V4"):
        responses.of_rois(['V5'])


def test_zscores_use_the_mean_and_sd_of_train(responses):
    train, test = responses.take(responses.sessions == '1'), responses.take(responses.sessions == '2')
    made = human_responses.zscore(train, test)
    mean, sd = train.values.mean(axis=0), train.values.std(axis=0)
    np.testing.assert_allclose(made[1].values, (test.values - mean) / sd, rtol=1e-4, atol=1e-6)
    within = human_responses.zscore_sessions(responses).values
    np.testing.assert_allclose(within[:3].std(axis=0), 1.0, rtol=1e-5)
    np.testing.assert_allclose(within[3:].mean(axis=0), 0.0, atol=1e-6)


def test_nan_and_constant_voxels_are_masked_and_counted(responses):
    values = responses.values.copy()
    values[2, 0], values[:, 3] = np.nan, 7.0
    made = Responses(values, responses.stimuli, responses.sessions, responses.rois, 's1', 'some')
    mask, counts = human_responses.usable_voxels(made)
    assert mask.tolist() == [False, True, True, False, True] and counts == {'n_not_finite': 1, 'n_constant': 1}


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'stimuli': ['a', 'b']}, r'2 trials|stimuli of shape \[2\]'),
        ({'n_averaged': [0, 1, 1, 1, 1, 1]}, 'n_averaged must be 6 whole numbers, 1 or more'),
        ({'rois': {}}, 'have no region of interest'),
        ({'rois': {'V1': np.zeros(5)}}, "region 'V1' must be a mask of 5 voxels with at least one"),
        ({'ncsnr': np.array([1.0, -0.1, 1, 1, 1])}, 'ncsnr must be 5 numbers, one for each voxel, none below 0'),
        ({'values': np.zeros((6, 0))}, r'must be \[trials, voxels\]'),
    ],
)
def test_a_wrong_record_is_refused_by_name(responses, changes, message):
    fields = {key: getattr(responses, key) for key in ('values', 'stimuli', 'sessions', 'rois', 'subject', 'name')}
    with pytest.raises(ValueError, match=message):
        Responses(**{**fields, **changes})


def test_features_join_trials_by_stimulus_id(responses):
    features = Features(np.eye(4), ['d', 'c', 'b', 'a'], 'net')
    assert human_responses.feature_rows(responses, features).tolist() == [2, 3, 2, 1, 3, 2]
    with pytest.raises(ValueError, match=r"net lacks 1 of the 3 stimuli of 'some'.*'c'"):
        human_responses.feature_rows(responses, Features(np.eye(2), ['b', 'a'], 'net'))
