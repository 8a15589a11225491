import numpy as np
import pytest
import scipy.spatial

from humalign_jax import rsa
from humalign_jax.records import Features


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


@pytest.mark.parametrize('shape', [(30, 7), (7, 30)])
def test_participation_ratio_is_that_of_the_eigenvalues_of_the_covariance(shape):
    x = np.random.default_rng(0).normal(size=shape) * np.arange(1, shape[1] + 1)
    eigenvalues = np.linalg.eigvalsh(np.cov(x.T))
    assert rsa.participation_ratio(x) == pytest.approx(eigenvalues.sum() ** 2 / (eigenvalues**2).sum())


@pytest.mark.parametrize(('d', 'e'), [(2, 2), (3, 2), (2, 4)])
def test_aligned_maps_are_as_close_as_scipys(d, e):
    rng = np.random.default_rng(0)
    reference = 3 * rng.normal(size=(25, e)) + 7
    x = rng.normal(size=(25, d)) + reference[:, :2] @ rng.normal(size=(2, d))
    width = max(d, e)
    padded = [np.pad(z, ((0, 0), (0, width - z.shape[1]))) for z in (reference - reference.mean(0), x - x.mean(0))]
    standard, moved, disparity = scipy.spatial.procrustes(*padded)
    aligned = rsa.procrustes_align(x, reference)
    size = np.linalg.norm(padded[0])
    centre = np.pad(reference.mean(0), (0, width - e))
    np.testing.assert_allclose(aligned, moved * size + centre, atol=1e-10)
    np.testing.assert_allclose(np.sum((aligned - centre - standard * size) ** 2), disparity * size**2, rtol=1e-9)


def test_maps_join_by_id_and_keep_the_order_of_the_reference():
    rng = np.random.default_rng(0)
    values, ids = 1e9 * rng.normal(size=(6, 2)), np.array(list('abcdef'))
    order = rng.permutation(6)
    turned = Features(values[order] @ [[0, 2], [-2, 0]], ids[order], 'turned')
    np.testing.assert_allclose(rsa.procrustes_align(turned, Features(values, ids, 'map')), values, rtol=1e-9)
