import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.distance import pdist
from sklearn.covariance import ledoit_wolf as sklearn_ledoit_wolf

from humalign_jax import rsa
from humalign_jax.rsa import noise
from humalign_jax.rsa.distances import distance_named

NAMES = ('correlation', 'cosine', 'euclidean', 'sqeuclidean', 'cityblock', 'chebyshev', 'jensenshannon', 'mahalanobis')


def features(n=100, d=30, offset=0.0, seed=0):
    rng = np.random.default_rng(seed)
    return (np.maximum(rng.normal(size=(n, d)), 0) + offset).astype(np.float32)


@pytest.mark.parametrize('block_size', [7, 64])  # 7 leaves a short last block
@pytest.mark.parametrize('measure', NAMES)
def test_float32_distances_equal_scipy_to_1e_5(measure, block_size):
    x = features()
    np.testing.assert_allclose(
        rsa.rdm(x, measure, block_size=block_size), pdist(x.astype(np.float64), measure), rtol=1e-5
    )


@pytest.mark.parametrize('measure', NAMES)
def test_float64_distances_equal_scipy_to_1e_12(measure):
    x = features().astype(np.float64)
    distances = rsa.rdm(x, measure, dtype='float64', block_size=64)
    assert distances.dtype == np.float64
    np.testing.assert_allclose(distances, pdist(x, measure), rtol=1e-12)


@pytest.mark.parametrize('measure', [name for name in NAMES if name != 'jensenshannon'])
def test_a_common_offset_of_100_leaves_the_digits(measure):
    x = features(offset=100)
    np.testing.assert_allclose(rsa.rdm(x, measure), pdist(x.astype(np.float64), measure), rtol=1e-5)


@pytest.mark.parametrize('noise_size', [1e-1, 1e-3, 1e-5])
@pytest.mark.parametrize('measure', [name for name in NAMES if name != 'jensenshannon'])
def test_near_duplicates_keep_their_digits(measure, noise_size):
    x = features()
    x[50:] = x[:50] + noise_size * np.random.default_rng(1).normal(size=(50, 30))
    # Two-pass reference: SciPy's own 1 - r loses the digits of near-duplicates.
    rows = x.astype(np.float64)
    if measure in ('correlation', 'cosine'):
        rows = rows - rows.mean(axis=1, keepdims=True) * (measure == 'correlation')
        rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        expected = pdist(rows, 'sqeuclidean') / 2
    else:
        expected = pdist(rows, measure)
    np.testing.assert_allclose(rsa.rdm(x, measure), expected, rtol=1e-5)


def test_near_duplicates_under_jensenshannon_are_off_by_1e_7_at_most():
    x = features() + 0.1
    x[50:] = x[:50] * (1 + 1e-4 * np.random.default_rng(1).normal(size=(50, 30)))
    np.testing.assert_allclose(rsa.rdm(x, 'jensenshannon'), pdist(x.astype(np.float64), 'jensenshannon'), atol=1e-7)


def test_many_near_duplicates_in_a_tile_keep_their_digits():
    rng = np.random.default_rng(0)
    x = (np.repeat(rng.normal(size=(4, 20)), 50, axis=0) + 1e-3 * rng.normal(size=(200, 20))).astype(np.float32)
    np.testing.assert_allclose(rsa.rdm(x, 'euclidean'), pdist(x.astype(np.float64)), rtol=1e-5)


@pytest.mark.parametrize('dtype', ['float32', 'float64'])
@pytest.mark.parametrize('measure', [name for name in NAMES if name != 'mahalanobis'])
def test_equal_stimuli_are_exactly_0_apart_and_no_distance_is_negative(measure, dtype):
    x = features(n=60)
    x[30:] = x[:30]
    distances = rsa.rdm(x, measure, dtype=dtype, block_size=16)
    rows, columns = np.triu_indices(60, 1)
    assert np.all(distances[columns == rows + 30] == 0)
    assert distances.min() == 0


@pytest.mark.parametrize('measure', [name for name in NAMES if name != 'mahalanobis'])
def test_pair_functions_equal_the_products(measure):
    x = features(n=20)
    by_pairs = rsa.rdm(x, rsa.DISTANCES[measure].pair)
    np.testing.assert_allclose(by_pairs, rsa.rdm(x, measure), rtol=1e-5, atol=1e-6)


def test_any_function_of_two_vectors_is_a_distance():
    x = features(n=20)
    distances = rsa.rdm(x, lambda a, b: jnp.sum(jnp.abs(a - b) ** 3) ** (1 / 3))
    np.testing.assert_allclose(distances, pdist(x, 'minkowski', p=3), rtol=1e-5)


def test_mahalanobis_takes_a_covariance():
    x, covariance = features(), np.cov(features(n=200, seed=1).T)
    expected = pdist(x, 'mahalanobis', VI=np.linalg.inv(covariance))
    np.testing.assert_allclose(rsa.rdm(x, 'mahalanobis', covariance=covariance), expected, rtol=1e-5)


def crossnobis_by_loops(repeats, covariance):
    precision, (r, n, _) = np.linalg.inv(covariance), repeats.shape
    values = []
    for i in range(n):
        for j in range(i + 1, n):
            difference = (repeats[:, i] - repeats[:, j]).astype(np.float64)
            folds = [difference[k] @ precision @ np.delete(difference, k, 0).mean(0) for k in range(r)]
            values.append(np.mean(folds))
    return np.array(values)


@pytest.mark.parametrize('shrinkage', ['ledoit_wolf', 'diagonal'])
def test_crossnobis_is_the_mean_over_left_out_repeats(shrinkage):
    repeats = np.random.default_rng(0).normal(size=(4, 25, 6)) + np.random.default_rng(1).normal(size=(25, 6)) + 100
    expected = crossnobis_by_loops(repeats, noise.noise_covariance(repeats, shrinkage))
    assert expected.min() < 0
    distances = rsa.rdm(repeats, 'crossnobis', shrinkage=shrinkage, block_size=7)
    np.testing.assert_allclose(distances, expected, atol=1e-5 * np.abs(expected).max())


def test_crossnobis_of_pure_noise_is_0_on_average():
    repeats = np.random.default_rng(0).normal(size=(4, 80, 10))
    distances = rsa.rdm(repeats, 'crossnobis', covariance=np.eye(10))
    assert abs(distances.mean()) < 0.05  # the biased distance would be 20


def test_ledoit_wolf_equals_scikit_learn():
    x = np.random.default_rng(0).normal(size=(40, 15)) @ np.random.default_rng(1).normal(size=(15, 15))
    np.testing.assert_allclose(noise.ledoit_wolf(x), sklearn_ledoit_wolf(x, assume_centered=True)[0], rtol=1e-12)


def test_shrinkage_to_the_diagonal_follows_its_definition():
    x = np.random.default_rng(0).normal(size=(40, 5)) @ np.random.default_rng(1).normal(size=(5, 5))
    z = x / np.sqrt((x**2).mean(0))
    products = np.einsum('mi,mj->mij', z, z)
    variance, mean = products.var(axis=0) / len(x), products.mean(axis=0)
    off = ~np.eye(5, dtype=bool)
    amount = variance[off].sum() / (mean[off] ** 2).sum()
    expected = np.where(off, 1 - amount, 1) * (x.T @ x / len(x))
    np.testing.assert_allclose(noise.shrink_to_diagonal(x), expected, rtol=1e-12)


def test_residuals_of_repeats_count_their_degrees_of_freedom():
    repeats = np.random.default_rng(0).normal(size=(2, 4000, 3))  # unit variance: residuals alone would give 1/2
    np.testing.assert_allclose(noise.noise_covariance(repeats), np.eye(3), atol=0.05)


def test_unknown_distances_list_the_known_ones():
    with pytest.raises(ValueError, match=r"no distance 'pearson': choose one of correlation, cosine, .*, crossnobis"):
        distance_named('pearson')


def test_singular_covariances_say_what_to_do():
    with pytest.raises(ValueError, match=r'singular .* use more samples than features'):
        rsa.rdm(features(n=10), 'mahalanobis')


def test_negative_values_are_no_distribution():
    x = features()
    x[3, 4] = -1
    with pytest.raises(ValueError, match=r'feature 4 of a stimulus is -1\.0: give probabilities'):
        rsa.rdm(x, 'jensenshannon')
