import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.distance import pdist
from sklearn.covariance import ledoit_wolf as sklearn_ledoit_wolf

from humalign_jax import rsa
from humalign_jax.rsa.distances import noise
from humalign_jax.rsa.distances.measures import distance_named

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


@pytest.mark.parametrize(
    ('function', 'made'),
    [
        (lambda a, b: a - b, r'but makes float64 of shape \(6,\)'),
        (lambda a, b: (a[0], b[0]), 'but makes a tuple'),
        (lambda a, b: None, 'but makes a NoneType'),
        (lambda a, b: 1j * a @ b, 'but makes complex128'),
        (lambda a: a, 'takes 1 positional argument'),
        (lambda a, b: np.linalg.norm(a - b), 'traced array'),
        (lambda a, b: 1.0 if a[0] > b[0] else 0.0, 'Attempted boolean conversion'),
        (lambda a, b: a @ b[:3], 'same shape'),
    ],
)
def test_what_is_no_distance_is_refused(function, made):
    with pytest.raises(ValueError, match=f"'<lambda>' must make one number of two vectors of 6 features, .*{made}"):
        rsa.rdm(features(n=5)[:, :6], function)


def test_whether_two_stimuli_differ_is_a_distance():
    x = np.repeat(np.arange(3.0), 2)[:, None]
    np.testing.assert_array_equal(rsa.rdm(x, lambda a, b: a[0] != b[0]), pdist(x, 'hamming'))


def test_mahalanobis_takes_a_covariance():
    x, covariance = features(), np.cov(features(n=200, seed=1).T)
    expected = pdist(x, 'mahalanobis', VI=np.linalg.inv(covariance))
    np.testing.assert_allclose(rsa.rdm(x, 'mahalanobis', covariance=covariance), expected, rtol=1e-5)


def crossnobis_by_loops(repeats, precision_of):
    """Mean product of two repeats, with the precision that `precision_of` gives for them."""
    (r, n, _), values = repeats.shape, []
    precisions = {(a, b): precision_of(a, b) for a in range(r) for b in range(r) if a != b}
    for i in range(n):
        for j in range(i + 1, n):
            difference = (repeats[:, i] - repeats[:, j]).astype(np.float64)
            values.append(np.mean([difference[a] @ p @ difference[b] for (a, b), p in precisions.items()]))
    return np.array(values)


def noisy_repeats(r):
    np_rng = np.random.default_rng(r)
    return np_rng.normal(size=(r, 15, 6)) + np_rng.normal(size=(15, 6)) + 100


def test_crossnobis_is_the_mean_over_left_out_repeats():
    repeats, covariance = noisy_repeats(3), np.cov(np.random.default_rng(0).normal(size=(6, 30)))
    expected = crossnobis_by_loops(repeats, lambda a, b: np.linalg.inv(covariance))
    assert expected.min() < 0
    distances = rsa.rdm(repeats, 'crossnobis', covariance=covariance, block_size=7)
    np.testing.assert_allclose(distances, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize('shrinkage', ['ledoit_wolf', 'diagonal'])
@pytest.mark.parametrize(('r', 'fold'), [(4, [0, 1, 2, 3]), (8, [0, 0, 1, 1, 2, 3, 4, 5])])
def test_two_repeats_are_whitened_by_others(r, fold, shrinkage):
    repeats, fold = noisy_repeats(r), np.array(fold)

    def precision_of(a, b):
        others = repeats[(fold != fold[a]) & (fold != fold[b])]
        return np.linalg.inv(noise.noise_covariance(others, shrinkage))

    expected = crossnobis_by_loops(repeats, precision_of)
    distances = rsa.rdm(repeats, 'crossnobis', shrinkage=shrinkage, block_size=7)
    np.testing.assert_allclose(distances, expected, atol=1e-5 * np.abs(expected).max())


def test_crossnobis_of_pure_noise_is_0_on_average():
    np_rng = np.random.default_rng(0)
    data = np_rng.normal(size=(20, 5, 30, 40)) @ (np.eye(40) + np_rng.normal(size=(40, 40)) / np.sqrt(40))

    def of_standard_error(covariance_of):
        means = [rsa.rdm(repeats, 'crossnobis', covariance=covariance_of(repeats)).mean() for repeats in data]
        return np.mean(means) / np.std(means) * np.sqrt(len(means))

    assert abs(of_standard_error(lambda repeats: None)) < 3
    assert abs(of_standard_error(lambda repeats: np.eye(40))) < 3
    assert of_standard_error(noise.noise_covariance) > 10  # that of the very repeats that it whitens


def test_what_all_stimuli_of_a_repeat_share_changes_nothing():
    repeats = noisy_repeats(5)
    shifted = repeats + 1000 * np.random.default_rng(0).normal(size=(5, 1, 6))
    expected = rsa.rdm(repeats, 'crossnobis', dtype='float64')
    np.testing.assert_allclose(rsa.rdm(shifted, 'crossnobis', dtype='float64'), expected, rtol=1e-8, atol=1e-8)


def test_few_repeats_need_a_covariance_from_elsewhere():
    with pytest.raises(ValueError, match=r'crossnobis of 3 repeats needs a covariance .* np\.eye\(6\)'):
        rsa.rdm(noisy_repeats(3), 'crossnobis')


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


@pytest.mark.parametrize('d', [1, 2, 30])
def test_whitened_noise_has_unit_covariance(d):
    x = np.random.default_rng(0).normal(size=(40, d))
    covariance = x.T @ x
    whitener = noise.whitener(covariance)
    np.testing.assert_allclose(whitener.T @ covariance @ whitener, np.eye(d), atol=1e-9)


@pytest.mark.parametrize(
    ('covariance', 'message'),
    [
        (np.ones((2, 3)), r'must be \[d, d\]'),
        (np.diag([1.0, np.nan]), 'must be finite'),
        (np.array([[1.0, 0.5], [0.2, 1.0]]), 'must be symmetric'),
        (np.diag([1.0, -1.0]), 'singular'),
        (np.ones((2, 2)), 'singular'),
    ],
)
def test_what_is_no_covariance_is_refused(covariance, message):
    with pytest.raises(ValueError, match=message):
        noise.whitener(covariance)


def test_singular_covariances_say_what_to_do():
    with pytest.raises(ValueError, match=r'singular .* use more samples than features'):
        rsa.rdm(features(n=10), 'mahalanobis')


def test_negative_values_are_no_distribution():
    x = features()
    x[3, 4] = -1
    with pytest.raises(ValueError, match=r'feature 4 of a stimulus is -1\.0: give probabilities'):
        rsa.rdm(x, 'jensenshannon')
