import numpy as np
import pytest
from scipy.spatial.distance import cdist

from humalign_jax import rsa


@pytest.mark.parametrize('dimension', [1, 2, 4])
def test_points_in_a_cube_have_the_dimension_of_the_cube_in_any_space(dimension):
    rng = np.random.default_rng(0)
    cube = rng.uniform(size=(2500, dimension))
    rotation, _ = np.linalg.qr(rng.normal(size=(9, 9)))
    x = 5 * np.pad(cube, ((0, 0), (0, 9 - dimension))) @ rotation + 3
    assert rsa.two_nn(x) == pytest.approx(dimension, rel=0.08)
    assert rsa.two_nn(x) == pytest.approx(rsa.two_nn(cube), rel=1e-6)


def test_a_curved_surface_has_two_dimensions():
    points = np.random.default_rng(0).normal(size=(2500, 3))
    assert rsa.two_nn(points / np.linalg.norm(points, axis=1, keepdims=True)) == pytest.approx(2, rel=0.08)


@pytest.mark.parametrize('discarded', [0.0, 0.1])
def test_the_estimate_is_the_least_squares_slope_over_sorted_ratios(discarded):
    x = np.random.default_rng(1).normal(size=(1100, 4))  # more than one block of stimuli
    distances = np.sort(cdist(x, x), axis=1)
    ratios = np.sort(distances[:, 2] / distances[:, 1])
    kept = int(1100 * (1 - discarded))
    across, up = np.log(ratios[:kept]), -np.log(1 - np.arange(kept) / 1100)
    slope = np.linalg.lstsq(across[:, None], up, rcond=None)[0][0]
    assert rsa.two_nn(x, discarded=discarded) == pytest.approx(slope, rel=1e-9)


def test_equal_stimuli_count_once_and_features_can_be_brought_to_one_range():
    x = np.random.default_rng(0).normal(size=(300, 3))
    assert rsa.two_nn(np.concatenate([x, x[:50]])) == pytest.approx(rsa.two_nn(x), rel=1e-12)
    stretched = np.concatenate([x * [1, 100, 0.01], np.ones((300, 1))], axis=1)
    scaled = (x - x.min(axis=0)) / np.ptp(x, axis=0)
    assert rsa.two_nn(stretched, min_max=True) == pytest.approx(rsa.two_nn(scaled), rel=1e-6)


def test_too_few_stimuli_have_no_dimension_and_a_wrong_share_is_refused():
    assert np.isnan(rsa.two_nn(np.eye(2)))
    with pytest.raises(ValueError, match='discarded must be at least 0 and below 1, not 1'):
        rsa.two_nn(np.eye(5), discarded=1)
