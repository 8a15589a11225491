"""Synthetic voxels have the noise that they were asked to have."""

import numpy as np
import pytest

from humalign_jax.human import simulated_voxels
from humalign_jax.records import Features


def _features(n=400, d=6):
    return Features(np.random.default_rng(3).normal(size=(n, d)), [str(k) for k in range(n)], 'teacher')


def test_signal_and_noise_have_the_published_ratio_in_each_region():
    made = simulated_voxels.simulate_responses(_features(), {'hV4': 40, 'EBA': 40}, n_repeats=4, seed=1)
    repeats = made.values.reshape(400, 4, 80)
    noise = repeats.var(axis=1, ddof=1).mean(axis=0)
    signal = repeats.mean(axis=1).var(axis=0, ddof=1) - noise / 4
    for roi, expected in (('hV4', 0.395), ('EBA', 0.490)):
        mask = made.rois[roi]
        assert np.sqrt(signal[mask].mean() / noise[mask].mean()) == pytest.approx(expected, rel=0.02)
        np.testing.assert_allclose(made.ncsnr[mask], expected)


def test_the_signal_is_linear_in_the_features():
    features = _features()
    made = simulated_voxels.simulate_responses(features, {'x': 10}, ncsnr={'x': 1e4}, seed=1)
    inputs = np.column_stack([features.values, np.ones(400)])
    residual = made.values - inputs @ np.linalg.lstsq(inputs, made.values, rcond=None)[0]
    assert np.abs(residual).max() < 1e-3


def test_ratios_spread_about_their_mean_and_0_is_noise_alone():
    made = simulated_voxels.simulate_responses(_features(50), {'hV4': 4000}, spread=0.5, seed=1)
    assert made.ncsnr.mean() == pytest.approx(0.395, rel=0.03)
    assert made.ncsnr.std() / made.ncsnr.mean() == pytest.approx(0.5, rel=0.05)
    silent = simulated_voxels.simulate_responses(_features(), {'x': 5}, ncsnr={'x': 0.0}, n_repeats=2)
    first, second = silent.values[::2], silent.values[1::2]
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.1


def test_repeats_are_dealt_to_sessions():
    made = simulated_voxels.simulate_responses(_features(12), {'hV4': 1}, n_repeats=3, n_sessions=4)
    assert {session: int((made.sessions == session).sum()) for session in set(made.sessions)} == {
        '00': 9, '01': 9, '02': 9, '03': 9,
    }  # fmt: skip
    of_one = made.sessions[made.stimuli == '7']
    assert len(set(of_one)) == 3


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'n_voxels': {'V9': 3}}, r"no ncsnr for the regions \['V9'\], only for V1v, hV4"),
        ({'n_voxels': {'hV4': 0}}, 'must be 1 or more'),
        ({'n_voxels': {'hV4': 2}, 'features': Features(np.ones((3, 2)), list('abc'), 'flat')}, 'flat: no feature var'),
    ],
)
def test_what_cannot_be_is_named(options, message):
    with pytest.raises(ValueError, match=message):
        simulated_voxels.simulate_responses(options.pop('features', _features(5)), **options)
