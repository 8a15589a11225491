"""Features of any scale and offset, and jax settings of the user's."""

import jax
import numpy as np
import pytest
from scipy.spatial.distance import pdist

from humalign_jax import rsa

SCALES = (1e-22, 1e-19, 1e18, 1e20)


def features(n=30, d=200, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d))


@pytest.mark.parametrize('measure', ['euclidean', 'cityblock', 'chebyshev', 'correlation', 'cosine', 'mahalanobis'])
@pytest.mark.parametrize('scale', SCALES)
def test_float32_distances_equal_scipy_at_any_scale_that_float32_holds(scale, measure):
    x = scale * features(60, 20 if measure == 'mahalanobis' else 200)
    np.testing.assert_allclose(rsa.rdm(x, measure), pdist(x, measure), rtol=1e-5)


@pytest.mark.parametrize('scale', [1e-22, 1e20])
def test_squared_distances_that_float32_cannot_hold_are_refused(scale):
    x = scale * features()
    with pytest.raises(ValueError, match=r"sqeuclidean distances such as .* do not fit float32.*dtype='float64'"):
        rsa.rdm(x, 'sqeuclidean')
    np.testing.assert_allclose(rsa.rdm(x, 'sqeuclidean', dtype='float64'), pdist(x, 'sqeuclidean'), rtol=1e-12)


@pytest.mark.parametrize('measure', ['euclidean', 'sqeuclidean', 'cityblock', 'correlation'])
@pytest.mark.parametrize('index', ['spearman', 'rho_a', 'pearson', 'cosine'])
def test_streamed_indices_do_not_depend_on_a_power_of_two(measure, index):
    x, y = features(), features(seed=1)
    plain = rsa.compare_features(x, y, measure_x=measure, index=index).value
    for exponent in (-100, 70):
        scaled = rsa.compare_features(np.ldexp(x, exponent), y, measure_x=measure, index=index).value
        assert scaled == pytest.approx(plain, abs=1e-12)


@pytest.mark.parametrize('scale', [1e-200, 1e-20, 1e20, 1e200])
@pytest.mark.parametrize('name', rsa.FEATURE_INDICES)
def test_indices_of_features_do_not_depend_on_scale(name, scale):
    x, y = features(), features(seed=1)
    index = rsa.FEATURE_INDICES[name]
    assert index(scale * x, y) == pytest.approx(index(x, y), abs=1e-6)


@pytest.mark.parametrize('measure', ['euclidean', 'cityblock', 'chebyshev', 'correlation'])
@pytest.mark.parametrize('offset', [1e6, 1e7])
def test_a_large_common_offset_leaves_the_digits(offset, measure):
    x = features() + offset
    # Features around 1e7 hold 1e-9 of a unit; SciPy's 1 - r loses 1e-16 of 1.
    np.testing.assert_allclose(rsa.rdm(x, measure), pdist(x, measure), rtol=1e-5)


@pytest.mark.parametrize('offset', [1e6, 1e7])
def test_jensenshannon_keeps_its_digits_under_an_offset(offset):
    x = features() + offset
    # SciPy's own value is off by 0.3 % at 1e7: it subtracts logarithms that nearly cancel.
    p = x.astype(np.longdouble) / x.astype(np.longdouble).sum(axis=1, keepdims=True)
    i, j = np.triu_indices(len(p), 1)
    t = (p[i] - p[j]) / (p[i] + p[j])
    terms = (p[i] + p[j]) / 2 * ((1 + t) * np.log1p(t) + (1 - t) * np.log1p(-t))
    np.testing.assert_allclose(rsa.rdm(x, 'jensenshannon'), np.sqrt(terms.sum(axis=1) / 2).astype(float), rtol=1e-5)


def test_a_function_of_the_users_keeps_its_digits_under_offset_and_scale():
    import jax.numpy as jnp

    def largest(x, y):
        return jnp.max(jnp.abs(x - y))

    for x in (features() + 1e7, 1e-30 * features(), 1e25 * features()):
        np.testing.assert_allclose(rsa.rdm(x, largest), pdist(x, 'chebyshev'), rtol=1e-6)


@pytest.mark.parametrize(
    'setting', [jax.debug_nans(True), jax.debug_infs(True), jax.numpy_dtype_promotion('strict'), jax.enable_x64(True)]
)
def test_settings_of_jax_change_no_result(setting):
    x, y = features(60, 100), features(60, 100, seed=1)
    x[3] = x[7] * 1.0000001  # a near-duplicate, which is refined
    plain = rsa.compare_features(x, y).value, rsa.rbf_cka(x, y), rsa.linear_cka(x, y), rsa.rdm(x)
    weights = rsa.infer([rsa.rdm(x)], rsa.rdm(y), n_permutations=20, seed=0)
    with setting:
        again = rsa.compare_features(x, y).value, rsa.rbf_cka(x, y), rsa.linear_cka(x, y), rsa.rdm(x)
        same = rsa.infer([rsa.rdm(x)], rsa.rdm(y), n_permutations=20, seed=0)
    assert plain[:3] == pytest.approx(again[:3], abs=1e-12)
    np.testing.assert_array_equal(plain[3], again[3])
    np.testing.assert_allclose(weights.low, same.low, rtol=1e-12)
