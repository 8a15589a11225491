import math

import jax
import numpy as np
import pytest
from scipy import stats
from scipy.spatial.distance import cosine as cosine_distance
from scipy.spatial.distance import pdist
from scipy.stats import pearsonr

from humalign_jax import rsa
from humalign_jax.records import Features
from humalign_jax.rsa.large import stream


def spearmanr(a, b):
    """SciPy's, in float64: since 1.18 it ranks float32 values in float32."""
    return stats.spearmanr(np.asarray(a, np.float64), np.asarray(b, np.float64))


def two_sets(n=120, seed=0, counts=False):
    rng = np.random.default_rng(seed)
    x = np.maximum(rng.normal(size=(n, 20)), 0)
    y = np.maximum(x @ rng.normal(size=(20, 30)) / 3 + rng.normal(size=(n, 30)), 0)
    if counts:
        x, y = np.round(2 * x) + 1, np.round(2 * y[:, :20]) + 1
    return x.astype(np.float32), y.astype(np.float32)


def record(values, order=None, name='toy'):
    order = np.arange(len(values)) if order is None else order
    return Features(values[order], np.array([f'toy/test/{i:05d}' for i in order]), name)


PAIRS = [
    ('correlation', 'correlation'),
    ('cosine', 'euclidean'),
    ('sqeuclidean', 'cityblock'),
    ('chebyshev', 'jensenshannon'),
    ('mahalanobis', 'cosine'),
]


@pytest.mark.parametrize('counts', [False, True])
@pytest.mark.parametrize('measures', PAIRS)
def test_streamed_spearman_equals_scipy_on_the_stored_rdms(measures, counts):
    x, y = two_sets(counts=counts)
    options = {'refine': False, 'nan_policy': 'propagate', 'block_size': 32}
    a, b = rsa.rdm(x, measures[0], **options), rsa.rdm(y, measures[1], **options)
    found = rsa.compare_features(x, y, measure_x=measures[0], measure_y=measures[1], block_size=32)
    assert found.value == pytest.approx(spearmanr(a, b).statistic, abs=1e-13)
    assert (found.n_pairs, found.error_bound) == (120 * 119 // 2, 0.0)


@pytest.mark.parametrize('index', ['spearman', 'pearson'])
@pytest.mark.parametrize('measure', ['correlation', 'euclidean'])
def test_four_devices_and_little_memory_give_the_same_bits(index, measure, monkeypatch):
    monkeypatch.setattr(stream, '_SORTED_PAIRS', 0)
    x, y = two_sets()
    options = {'measure_x': measure, 'measure_y': measure, 'index': index, 'block_size': 16}
    one = rsa.compare_features(x, y, devices=jax.local_devices()[:1], **options)
    four = rsa.compare_features(x, y, devices=jax.local_devices()[:4], **options)
    recomputed = rsa.compare_features(x, y, memory_bytes=0, **options)
    assert one.value == four.value == recomputed.value


@pytest.mark.parametrize('measure', ['correlation', 'euclidean', 'cityblock'])
def test_counting_equals_sorting(measure, monkeypatch):
    x, y = two_sets(counts=True)
    options = {'measure_x': measure, 'measure_y': measure, 'block_size': 32}
    indices = ('spearman', 'rho_a')
    by_sorting = [rsa.compare_features(x, y, index=index, **options).value for index in indices]
    monkeypatch.setattr(stream, '_SORTED_PAIRS', 0)
    by_counting = [rsa.compare_features(x, y, index=index, **options).value for index in indices]
    assert by_counting == pytest.approx(by_sorting, abs=1e-14)


def test_pearson_and_cosine_equal_scipy_on_the_stored_rdms():
    x, y = two_sets()
    a, b = (rsa.rdm(z).astype(np.float64) for z in (x, y))
    pearson, cosine = (rsa.compare_features(x, y, index=index).value for index in ('pearson', 'cosine'))
    assert pearson == pytest.approx(pearsonr(a, b).statistic, abs=1e-9)
    assert cosine == pytest.approx(1 - cosine_distance(a, b), abs=1e-9)


@pytest.mark.parametrize('measure', ['cosine', 'euclidean', 'jensenshannon', 'cityblock'])
def test_the_ties_of_soft_labels_are_kept(measure):
    rng = np.random.default_rng(0)
    x = two_sets()[0]
    y = np.eye(6)[rng.integers(0, 6, 120)] * 50
    y[:30] += rng.integers(0, 20, (30, 6))
    y /= y.sum(axis=1, keepdims=True)
    exact = np.round(pdist(y, measure), 6)  # what is equal in exact arithmetic
    found = rsa.compare_features(x, y, measure_y=measure, block_size=32)
    assert found.value == pytest.approx(spearmanr(rsa.rdm(x), exact).statistic, abs=1e-5)


def test_rho_a_is_spearman_averaged_over_random_tie_breaking():
    x, y = two_sets(n=30, counts=True)
    a, b = (rsa.rdm(z, 'cityblock') for z in (x, y))
    rng, p = np.random.default_rng(0), len(a)
    broken = [
        np.corrcoef(*(np.argsort(np.lexsort((rng.random(p), z))).astype(float) for z in (a, b)))[0, 1]
        for _ in range(3000)
    ]
    found = rsa.compare_features(x, y, measure_x='cityblock', measure_y='cityblock', index='rho_a')
    assert found.value == pytest.approx(np.mean(broken), abs=5 * np.std(broken) / math.sqrt(3000))


@pytest.mark.parametrize('index', ['spearman', 'rho_a'])
@pytest.mark.parametrize('n_bins', [20, 500, 65_535])
@pytest.mark.parametrize('measure', ['correlation', 'euclidean', 'cityblock'])
def test_binned_ranks_are_within_their_bound(measure, n_bins, index):
    x, y = two_sets()
    options = {'measure_x': measure, 'measure_y': measure, 'index': index}
    exact = rsa.compare_features(x, y, **options)
    binned = rsa.compare_features(x, y, mode='binned', n_bins=n_bins, **options)
    assert abs(binned.value - exact.value) <= binned.error_bound
    assert binned.error_bound < {20: 1.0, 500: 0.1, 65_535: 1e-3}[n_bins]


def test_records_are_joined_by_id():
    x, y = two_sets()
    order = np.random.default_rng(1).permutation(120)
    straight = rsa.compare_features(record(x), record(y))
    assert rsa.compare_features(record(x), record(y, order)).value == straight.value


def test_different_stimuli_raise_and_name_some():
    x, y = two_sets()
    with pytest.raises(ValueError, match=r"'a' and 'b' have different stimuli: 1 only in 'a' .*'toy/test/00000'"):
        rsa.compare_features(record(x, name='a'), record(y, np.arange(1, 120), name='b'))
    with pytest.raises(ValueError, match='120 and 119 stimuli'):
        rsa.compare_features(x, y[1:])


def test_permuted_stimuli_give_the_same_value():
    x, y = two_sets()
    order = np.random.default_rng(1).permutation(120)
    straight, permuted = rsa.compare_features(x, y), rsa.compare_features(x[order], y[order])
    assert permuted.value == pytest.approx(straight.value, abs=1e-6)


def test_undefined_stimuli_raise_are_omitted_or_spoil_the_value():
    x, y = two_sets()
    x[4], y[9, 2], y[11] = 1.0, np.nan, y[10]
    with pytest.raises(
        ValueError, match=r'2 of 120 .* Inf features: 0 and 1; .* rows: 1 and 0\), first stimulus 4: .*omit'
    ):
        rsa.compare_features(x, y)
    kept = np.delete(np.arange(120), [4, 9])
    omitted = rsa.compare_features(x, y, nan_policy='omit')
    assert omitted.value == rsa.compare_features(x[kept], y[kept]).value
    assert (omitted.n_stimuli, omitted.counts_x.n_undefined, omitted.counts_y.n_nonfinite) == (118, 1, 1)
    assert omitted.counts_y.n_duplicate == 1
    assert math.isnan(rsa.compare_features(x, y, nan_policy='propagate').value)


def test_equal_features_have_similarity_1():
    x, _ = two_sets()
    assert rsa.compare_features(x, 3 * x).value == pytest.approx(1, abs=1e-6)


def test_crossnobis_streams_too():
    repeats = np.random.default_rng(0).normal(size=(4, 40, 8)) + np.random.default_rng(1).normal(size=(40, 8))
    y = two_sets(n=40)[1]
    found = rsa.compare_features(repeats, y, measure_x='crossnobis')
    expected = spearmanr(rsa.rdm(repeats, 'crossnobis'), rsa.rdm(y, refine=False)).statistic
    assert found.value == pytest.approx(expected, abs=1e-13)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'index': 'kendall'}, "no streamed index 'kendall': choose one of pearson, spearman, rho_a, cosine"),
        ({'mode': 'fast'}, "mode must be 'exact', or 'binned'"),
        ({'mode': 'binned', 'index': 'pearson'}, "'binned' for spearman and rho_a, not 'binned' for pearson"),
        ({'nan_policy': 'drop'}, "nan_policy must be 'raise', 'omit' or 'propagate', not 'drop'"),
    ],
)
def test_messages_say_what_was_expected(options, message):
    with pytest.raises(ValueError, match=message):
        rsa.compare_features(*two_sets(), **options)
