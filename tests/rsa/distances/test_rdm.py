import json

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import pdist, squareform

from humalign_jax import rsa
from humalign_jax.records import Features


def features(n=100, d=30, seed=0):
    return np.maximum(np.random.default_rng(seed).normal(size=(n, d)), 0).astype(np.float32)


def record(values):
    return Features(values, np.array([f'toy/test/{i:05d}' for i in range(len(values))]), 'toy features')


@pytest.mark.parametrize('measure', ['correlation', 'euclidean', 'cityblock'])
def test_one_and_four_devices_give_the_same_bits(measure):
    x = features()
    one = rsa.rdm(x, measure, block_size=16, devices=jax.local_devices()[:1])
    four = rsa.rdm(x, measure, block_size=16, devices=jax.local_devices()[:4])
    np.testing.assert_array_equal(one, four)


@settings(max_examples=15, deadline=None)
@given(block_size=st.integers(1, 60), n=st.integers(2, 50))
def test_every_block_size_puts_every_pair_in_its_place(block_size, n):
    x = features(n=50, d=5)[:n]
    np.testing.assert_allclose(rsa.rdm(x, 'euclidean', block_size=block_size), pdist(x), rtol=1e-5)


def test_permuted_stimuli_give_the_permuted_rdm():
    x, order = features(), np.random.default_rng(1).permutation(100)
    full = squareform(rsa.rdm(x))
    np.testing.assert_allclose(squareform(rsa.rdm(x[order])), full[np.ix_(order, order)], atol=1e-6)


def test_correlation_ignores_offset_and_scale_of_each_stimulus():
    x = features()
    rng = np.random.default_rng(1)
    changed = x * rng.uniform(0.1, 10, size=(100, 1)) + rng.uniform(-5, 5, size=(100, 1))
    np.testing.assert_allclose(rsa.rdm(changed), rsa.rdm(x), atol=1e-5)


def test_euclidean_scales_with_the_features_over_many_magnitudes():
    x = features()
    for scale in (1e-12, 1e12):
        np.testing.assert_allclose(rsa.rdm(x * np.float32(scale), 'euclidean'), scale * pdist(x), rtol=1e-5)


def test_records_give_records_with_their_ids_and_counts():
    x = features()
    x[3], x[5] = 1, x[4]
    rdm = rsa.rdm(record(x))
    assert (rdm.name, rdm.measure) == ('toy features', 'correlation')
    np.testing.assert_array_equal(rdm.ids, record(x).ids)
    assert rdm.provenance['counts'] == {'n_stimuli': 100, 'n_nonfinite': 0, 'n_undefined': 1, 'n_duplicate': 1}


def test_constant_stimuli_are_nan_under_correlation_as_in_scipy():
    x = features()
    x[3] = 0.1
    distances = squareform(rsa.rdm(x), checks=False)
    assert np.isnan(np.delete(distances[3], 3)).all()
    assert np.isfinite(np.delete(np.delete(distances, 3, 0), 3, 1)).all()


@pytest.mark.parametrize('measure', ['correlation', 'cosine', 'euclidean', 'cityblock', 'jensenshannon'])
@pytest.mark.parametrize('bad', [np.nan, np.inf])
def test_stimuli_with_nan_or_inf_raise_by_name_or_spoil_only_their_own_pairs(bad, measure):
    x = features()
    clean = squareform(rsa.rdm(x, measure))
    x[7, 2] = bad
    with pytest.raises(ValueError, match=r"'toy features': 1 of 100 stimuli .* first stimulus 'toy/test/00007'"):
        rsa.rdm(record(x), measure)
    spoilt = squareform(rsa.rdm(x, measure, nan_policy='propagate'), checks=False)
    assert np.isnan(np.delete(spoilt[7], 7)).all()
    rest = np.delete(np.arange(100), 7)
    np.testing.assert_allclose(spoilt[np.ix_(rest, rest)], clean[np.ix_(rest, rest)], atol=2e-6)


def test_a_file_appears_whole_with_its_sidecar(tmp_path):
    x = features()
    path = tmp_path / 'rdms' / 'toy.npy'
    rdm = rsa.rdm(record(x), out=path, block_size=16)
    assert isinstance(rdm.values, np.memmap)
    np.testing.assert_array_equal(np.load(path), rsa.rdm(x, block_size=16))
    sidecar = json.loads(path.with_suffix('.json').read_text())
    assert sidecar['measure'] == 'correlation' and sidecar['shape'] == [4950]
    assert sidecar['counts']['n_stimuli'] == 100 and sidecar['ids'][3] == 'toy/test/00003'
    assert sorted(p.name for p in path.parent.iterdir()) == ['toy.json', 'toy.npy']


def test_a_failure_leaves_the_earlier_file(tmp_path):
    path = tmp_path / 'toy.npy'
    rsa.rdm(features(), out=path)
    before = path.read_bytes()

    def broken(a, b):
        raise RuntimeError('broken distance')

    with pytest.raises(RuntimeError, match='broken distance'):
        rsa.rdm(features(), broken, out=path)
    assert path.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ['toy.json', 'toy.npy']


def test_a_consumer_sees_every_pair_once_and_in_order():
    x, seen, starts = features(), np.full((100, 100), np.nan), []

    def consume(row, column, tile):
        starts.append((row, column))
        seen[row : row + len(tile), column : column + tile.shape[1]] = tile

    assert rsa.rdm(x, block_size=16, consumer=consume) is None
    assert starts == sorted(set(starts))
    np.testing.assert_array_equal(seen[np.triu_indices(100, 1)], rsa.rdm(x, block_size=16))


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ({'features': np.zeros(5)}, r'must be \[n, d\] with at least two stimuli and one feature, not \(5,\)'),
        ({'features': np.zeros((1, 5))}, 'at least two stimuli'),
        ({'features': np.array([['a'], ['b']])}, 'must be real numbers, not text'),
        ({'measure': 'crossnobis'}, r'must be \[r, n, d\] for crossnobis'),
        ({'dtype': 'float16'}, "dtype must be 'float32' or 'float64', not float16"),
        ({'nan_policy': 'omit'}, "nan_policy must be 'raise' or 'propagate'"),
        ({'block_size': 0}, 'block_size must be at least 1'),
        ({'out': 'rdm.csv'}, r"out must end in \.npy, not 'rdm\.csv'"),
        ({'out': 'rdm.npy', 'consumer': print}, 'either out .* or consumer'),
    ],
)
def test_messages_say_what_was_expected(arguments, message):
    with pytest.raises(ValueError, match=message):
        rsa.rdm(**{'features': features(), **arguments})


@pytest.mark.parametrize('n_classes', [5, 100])  # 100: wider than what is always compared in float64
@pytest.mark.parametrize('measure', ['cosine', 'euclidean', 'correlation', 'jensenshannon'])
def test_soft_labels_keep_their_ties_in_float32(measure, n_classes):
    """Distances that are equal in exact arithmetic are equal in float32: as many distinct values as SciPy rounds to."""
    votes = np.random.default_rng(0).multinomial(51, [0.9, 0.1, *np.zeros(n_classes - 2)], size=300)
    votes = np.take_along_axis(votes, np.random.default_rng(1).random(votes.shape).argsort(axis=1), axis=1)
    soft_labels = (votes / votes.sum(axis=1, keepdims=True)).astype(np.float32)
    expected = pdist(soft_labels.astype(np.float64), measure)
    found = rsa.rdm(soft_labels, measure)
    assert found.dtype == np.float32
    for level in (1.0, np.sqrt(2.0), np.sqrt(np.log(2.0))):  # where disjoint answers lie
        assert (found == np.float32(level)).sum() >= (np.abs(expected - level) < 1e-12).sum()
