"""Interpretability Index: distances by brute force and by SciPy, distinct pairs, and vectors that are computed once."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist, pdist

from humalign_jax.interpret import index

NP_RNG = np.random.default_rng(0)
IMAGES = NP_RNG.integers(0, 256, (30, 6, 6, 3), dtype=np.uint8)
LABELS = NP_RNG.integers(0, 4, 30)
FEATURES = NP_RNG.normal(size=(30, 9)).astype(np.float32)
ROWS = np.stack([NP_RNG.permutation(30)[:5] for _ in range(6)])


@pytest.mark.parametrize(
    ('distance', 'values', 'measure'),
    [
        (index.colour_distance(IMAGES), IMAGES.mean(axis=(1, 2)), 'euclidean'),
        (index.label_distance(LABELS), LABELS[:, None], 'hamming'),
        (index.cosine_distance('own', FEATURES), FEATURES, 'cosine'),
    ],
)
def test_a_mean_distance_is_that_of_scipy_over_distinct_pairs(distance, values, measure):
    expected = [pdist(values[rows], measure).mean() for rows in ROWS]
    np.testing.assert_allclose(index.mean_distance(distance, ROWS), expected, rtol=1e-5)


def test_seed_compat_is_the_mean_over_all_ordered_pairs_with_self_pairs():
    vectors = FEATURES[ROWS]
    everything = np.square(vectors[:, :, None] - vectors[:, None]).sum(axis=-1).mean(axis=(1, 2))
    mean = index.mean_distance(index.ImageDistance('x', FEATURES, is_squared=True), ROWS)
    np.testing.assert_allclose(index.seed_compat(mean, 5), everything, rtol=1e-5)
    np.testing.assert_allclose(index.seed_compat(mean, 5), 0.8 * mean)


def test_equal_images_have_distance_zero_even_if_they_are_silent():
    silent = index.cosine_distance('own', np.zeros((3, 4)))
    np.testing.assert_array_equal(index.mean_distance(silent, np.array([[0, 1, 2]])), 0.0)
    same = np.zeros((1, 5), int)
    for distance in (index.colour_distance(IMAGES), index.label_distance(LABELS)):
        np.testing.assert_array_equal(index.mean_distance(distance, same), 0.0)


@pytest.mark.parametrize('max_bytes', [1e9, 100.0])  # in memory, in a file
def test_each_image_that_is_needed_is_embedded_once(max_bytes, tmp_path):
    seen = []

    def embed(images):
        seen.append(images)
        return images.reshape(len(images), -1) / np.float32(255)

    rows = ROWS[:2]
    distance = index.embedded_distance(
        'pixels', embed, IMAGES, rows, batch_size=4, max_bytes=max_bytes, folder=str(tmp_path)
    )
    needed = np.unique(rows)
    assert len(seen) == -(-len(needed) // 4) and {len(batch) for batch in seen} == {4}
    np.testing.assert_array_equal(np.concatenate(seen)[: len(needed)], IMAGES[needed])
    assert isinstance(distance.vectors, np.memmap) == (max_bytes < 1e9)
    expected = [pdist(IMAGES[r].reshape(5, -1) / 255.0, 'sqeuclidean').mean() for r in rows]
    np.testing.assert_allclose(index.mean_distance(distance, rows), expected, rtol=1e-5)


def test_distances_between_images_are_those_of_all_pairs(monkeypatch):
    monkeypatch.setattr(index, '_BYTES', 400)  # several blocks
    distance = index.cosine_distance('own', FEATURES)
    first, second = ROWS[:, :2], ROWS[:, 2:]
    expected = [cdist(FEATURES[a], FEATURES[b], 'cosine') for a, b in zip(first, second)]
    np.testing.assert_allclose(distance.between(first, second), expected, atol=1e-6)
    np.testing.assert_allclose(distance.with_matrix().between(first, second), expected, atol=1e-6)
    assert (distance.with_matrix().between(first, first)[:, [0, 1], [0, 1]] == 0).all()


def test_blocks_of_units_change_nothing(monkeypatch):
    distance = index.cosine_distance('own', FEATURES)
    whole = index.mean_distance(distance, ROWS)
    monkeypatch.setattr(index, '_BYTES', 400)
    np.testing.assert_array_equal(index.mean_distance(distance, ROWS), whole)
