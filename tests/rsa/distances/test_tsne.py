import numpy as np
import pytest
from sklearn.manifold import TSNE

from humalign_jax import rsa


def test_coordinates_and_divergence_are_those_of_scikit_learn_with_a_perplexity_that_fits():
    x = np.random.default_rng(0).normal(size=(25, 6))
    expected = TSNE(perplexity=8, metric='cosine', method='exact', random_state=3)
    points = expected.fit_transform(x)
    found, divergence = rsa.tsne(x, perplexity=30.0, measure='cosine', seed=3)  # (25 - 1) / 3 is 8
    np.testing.assert_allclose(found, points, rtol=1e-4, atol=1e-4)
    assert divergence == pytest.approx(expected.kl_divergence_, rel=1e-5) and divergence > 0


def test_stimuli_of_far_clusters_stay_neighbours():
    rng = np.random.default_rng(0)
    cluster = np.repeat(np.arange(3), 12)
    points, _ = rsa.tsne(50 * np.eye(3)[cluster] + rng.normal(size=(36, 3)), perplexity=5.0)
    distances = np.linalg.norm(points[:, None] - points, axis=2) + 1e9 * np.eye(36)
    np.testing.assert_array_equal(cluster[distances.argmin(axis=1)], cluster)


def test_too_few_stimuli_and_unknown_distances_are_refused():
    with pytest.raises(ValueError, match='t-SNE needs at least four stimuli, not 3'):
        rsa.tsne(np.eye(3))
    with pytest.raises(ValueError, match="measure='jaccard' must be one of euclidean, cosine, correlation"):
        rsa.tsne(np.eye(5), measure='jaccard')
