import numpy as np
import pytest

from humalign_jax import rsa
from humalign_jax.devices import local_devices
from humalign_jax.records import Features
from humalign_jax.rsa.distances.paired import PairedTiles
from humalign_jax.rsa.distances.rdm import prepare_features
from humalign_jax.rsa.similarity import kernels

SIZES = [(60, 6, 9), (20, 30, 40)]  # feature form and Gram form


def two_sets(n, d, e):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(n, d)) + 5, rng.normal(size=(n, e))
    y[:, :5] += x[:, :5]
    return x, y


def hsic_by_definition(k, ell, debiased):
    n = len(k)
    if not debiased:
        centre = np.eye(n) - 1 / n
        return np.trace(k @ centre @ ell @ centre)
    k, ell, ones = k - np.diag(np.diag(k)), ell - np.diag(np.diag(ell)), np.ones(n)
    sums = (ones @ k @ ones) * (ones @ ell @ ones) / ((n - 1) * (n - 2))
    return np.trace(k @ ell) + sums - 2 / (n - 2) * (ones @ k @ ell @ ones)


def cka_by_definition(k, ell, debiased):
    xy, xx, yy = (hsic_by_definition(*pair, debiased) for pair in ((k, ell), (k, k), (ell, ell)))
    return xy / np.sqrt(xx * yy)


@pytest.mark.parametrize('debiased', [False, True])
@pytest.mark.parametrize('sizes', SIZES)
def test_linear_cka_follows_its_definition(sizes, debiased):
    x, y = two_sets(*sizes)
    expected = cka_by_definition(x @ x.T, y @ y.T, debiased)
    assert rsa.linear_cka(x, y, debiased=debiased) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize('debiased', [False, True])
@pytest.mark.parametrize('bandwidth', [0.5, 2.0])
@pytest.mark.parametrize('n', [59, 60])  # an odd and an even number of pairs: one middle distance, and two
def test_rbf_cka_follows_its_definition(n, bandwidth, debiased):
    x, y = two_sets(n, *SIZES[0][1:])
    x[3] = x[1]
    kernels = []
    for z in (x, y):
        square = np.sum((z[:, None] - z[None]) ** 2, axis=-1)
        median = np.median(np.sqrt(square[np.triu_indices(len(z), 1)]))
        kernels.append(np.exp(-square / (2 * (bandwidth * median) ** 2)))
    expected = cka_by_definition(*kernels, debiased)
    for block_size in (7, None):
        got = rsa.rbf_cka(x, y, bandwidth=bandwidth, debiased=debiased, block_size=block_size)
        assert got == pytest.approx(expected, abs=1e-6)


def test_medians_are_numpys_whatever_the_values_share():
    x, y = np.random.default_rng(3).normal(size=(2, 40, 100))
    y[:30] = y[0] + 1e-3 * np.sign(y[:30])  # most distances have the same leading bits, or are equal
    tiles = PairedTiles([prepare_features(z, 'sqeuclidean', block_size=16) for z in (x, y)], local_devices())
    expected = [np.median(rsa.rdm(z, 'euclidean', refine=False, block_size=16)) for z in (x, y)]
    np.testing.assert_allclose(kernels._medians(tiles), expected, rtol=1e-6)


@pytest.mark.parametrize('index', rsa.FEATURE_INDICES.values(), ids=rsa.FEATURE_INDICES)
def test_records_are_joined_by_stimulus_id(index):
    x, y = two_sets(*SIZES[0])
    ids, order = np.array([f's{i}' for i in range(len(x))]), np.random.default_rng(2).permutation(len(x))
    a, b = Features(x, ids, 'a'), Features(y[order], ids[order], 'b')
    assert index(a, b) == pytest.approx(index(x, y), abs=1e-12)
    assert isinstance(index(a, b), float)
    with pytest.raises(ValueError, match="'a' and 'b' have different stimuli: 1 only in 'a'"):
        index(a, Features(y[:-1], ids[:-1], 'b'))


def test_blocks_of_stimuli_add_up(monkeypatch):
    import humalign_jax.rsa.similarity.cka as module

    x, y = two_sets(*SIZES[0])
    whole = rsa.linear_cka(x, y)
    monkeypatch.setattr(module, '_CHUNK', 7)
    assert rsa.linear_cka(x, y) == pytest.approx(whole, abs=1e-6)


def test_cka_ignores_rotation_scale_and_offset():
    x, y = two_sets(*SIZES[0])
    rotation, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(6, 6)))
    assert rsa.linear_cka(4 * x @ rotation + 3, y) == pytest.approx(rsa.linear_cka(x, y), abs=1e-6)
    assert rsa.linear_cka(x, 2 * x) == pytest.approx(1, abs=1e-6)
    assert rsa.rbf_cka(4 * x @ rotation + 3, y) == pytest.approx(rsa.rbf_cka(x, y), abs=1e-6)


def test_debiased_cka_of_unrelated_wide_features_is_about_0():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(50, 500)), rng.normal(size=(50, 500))
    assert rsa.linear_cka(x, y) > 0.8
    assert abs(rsa.linear_cka(x, y, debiased=True)) < 0.05


def test_constant_features_have_no_alignment():
    assert np.isnan(rsa.linear_cka(np.ones((9, 3)), np.eye(9)))
    assert np.isnan(rsa.rbf_cka(np.ones((9, 3)), np.eye(9)))


@pytest.mark.parametrize('index', [rsa.linear_cka, rsa.rbf_cka, rsa.procrustes_similarity, rsa.rv_coefficient])
def test_messages_say_what_was_expected(index):
    x = np.random.default_rng(0).normal(size=(9, 3))
    with pytest.raises(ValueError, match=r'of the same stimuli, .* not \(9, 3\) and \(8, 3\)'):
        index(x, x[1:])
    x[4, 1] = np.nan
    with pytest.raises(ValueError, match='1 stimuli of the first feature set have NaN or Inf, first stimulus 4'):
        index(x, np.zeros((9, 3)))
