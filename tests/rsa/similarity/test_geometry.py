import numpy as np
import pytest
import scipy.spatial

from humalign_jax import rsa


@pytest.mark.parametrize(('n', 'd', 'e'), [(60, 6, 9), (20, 30, 40), (20, 30, 5)])
def test_procrustes_equals_scipy(n, d, e):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(n, d)) + 5, rng.normal(size=(n, e))
    y[:, :5] += x[:, :5]
    width = max(d, e)  # SciPy wants equally many columns; zeros change nothing
    padded = [np.pad(z - z.mean(0), ((0, 0), (0, width - z.shape[1]))) for z in (x, y)]
    disparity = scipy.spatial.procrustes(*padded)[2]
    assert 1 - rsa.procrustes_similarity(x, y) ** 2 == pytest.approx(disparity, abs=1e-12)
    assert np.cos(rsa.procrustes_distance(x, y)) == pytest.approx(rsa.procrustes_similarity(x, y), abs=1e-12)


def test_rotated_features_are_at_distance_0():
    x = np.random.default_rng(0).normal(size=(30, 6))
    rotation, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(6, 6)))
    assert rsa.procrustes_distance(x, 3 * x @ rotation + 1) == pytest.approx(0, abs=1e-6)


def test_rv_is_the_cosine_of_gram_matrices():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(30, 4)), rng.normal(size=(30, 7))
    grams = [(z - z.mean(0)) @ (z - z.mean(0)).T for z in (x, y)]
    expected = np.vdot(*grams) / np.sqrt(np.vdot(grams[0], grams[0]) * np.vdot(grams[1], grams[1]))
    assert rsa.rv_coefficient(x, y) == pytest.approx(expected, abs=1e-6)


def test_participation_ratio_counts_equal_directions():
    corners = np.concatenate([np.eye(5), -np.eye(5)])
    assert rsa.participation_ratio(corners) == pytest.approx(5)
    assert rsa.participation_ratio(corners * [1, 0, 0, 0, 0]) == pytest.approx(1)
