import numpy as np
import pytest

from humalign_jax import rsa
from humalign_jax.rsa.similarity.indices import INDICES, index_named

N = 12


def two_rdms():
    np_rng = np.random.default_rng(0)
    return tuple(rsa.rdm(np_rng.normal(size=(N, 5)), 'sqeuclidean') for _ in range(2))


@pytest.mark.parametrize('index', INDICES.values(), ids=INDICES)
def test_an_offset_changes_no_index_that_is_called_centred(index):
    x, y = two_rdms()
    shifted = rsa.compare(x + 3.0, y, index.name)
    assert np.isclose(shifted, rsa.compare(x, y, index.name), rtol=1e-6) == index.centred


@pytest.mark.parametrize('index', INDICES.values(), ids=INDICES)
def test_a_monotone_transformation_changes_no_index_that_is_called_ranked(index):
    x, y = two_rdms()
    assert np.isclose(rsa.compare(x**3, y, index.name), rsa.compare(x, y, index.name), rtol=1e-6) == index.ranked


@pytest.mark.parametrize('index', INDICES.values(), ids=INDICES)
def test_a_size_changes_no_index(index):
    x, y = two_rdms()
    assert rsa.compare(x * 7.0, y, index.name) == pytest.approx(rsa.compare(x, y, index.name))
    assert index.size(7.0 * x[None]) == pytest.approx(7.0 * index.size(x[None]))


@pytest.mark.parametrize('index', INDICES.values(), ids=INDICES)
def test_a_constant_rdm_has_similarity_0_where_the_scale_ignores_ties(index):
    constant = float(rsa.compare(np.ones(N * (N - 1) // 2), two_rdms()[0], index.name))
    assert (constant == 0) == index.untied_scale


@pytest.mark.parametrize('index', INDICES.values(), ids=INDICES)
@pytest.mark.parametrize(
    ('option', 'allowed'),
    [
        ({'mask': np.arange(N * (N - 1) // 2) > 3}, lambda index: not index.whole),
        ({'control': np.arange(N * (N - 1) // 2.0)}, lambda index: index.partialable),
        ({'sigma_k': np.ones(N)}, lambda index: index.whitened),
    ],
    ids=['mask', 'control', 'sigma_k'],
)
def test_compare_takes_the_options_that_the_table_allows(index, option, allowed):
    if allowed(index):
        assert np.isfinite(rsa.compare(*two_rdms(), index.name, **option))
    else:
        with pytest.raises(ValueError, match=r'need every pair|control is for|sigma_k is for'):
            rsa.compare(*two_rdms(), index.name, **option)


@pytest.mark.parametrize('index', [index for index in INDICES.values() if index.weighted], ids=lambda index: index.name)
def test_a_weighted_index_is_an_inner_product_of_transformed_rdms(index):
    ranks = {'ranks': lambda rdm: rdm.argsort().argsort() + 1.0}.get(index.transform, np.asarray)
    x, y = (ranks(rdm) for rdm in two_rdms())
    if index.centred:
        x, y = x - x.mean(), y - y.mean()
    assert rsa.compare(*two_rdms(), index.name) == pytest.approx(x @ y / np.sqrt(x @ x * (y @ y)))


@pytest.mark.parametrize('index', INDICES.values(), ids=INDICES)
def test_compare_features_takes_the_streamable_indices(index):
    features = np.random.default_rng(0).normal(size=(2, 20, 5))
    if index.streamable:
        expected = rsa.compare(rsa.rdm(features[0]), rsa.rdm(features[1]), index.name)
        assert rsa.compare_features(*features, index=index.name).value == pytest.approx(float(expected), abs=1e-6)
    else:
        with pytest.raises(ValueError, match=f"no streamed index '{index.name}'"):
            rsa.compare_features(*features, index=index.name)


def test_a_wrong_name_is_answered_with_the_nearest():
    with pytest.raises(ValueError, match=r"no index 'spearmn': did you mean 'spearman'\? Choose one of pearson, "):
        index_named('spearmn')
