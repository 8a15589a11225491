"""Ties of discrete features, against exact arithmetic in Python's whole numbers and fractions."""

import functools
from fractions import Fraction

import numpy as np
import pytest
import scipy.stats
from scipy.spatial.distance import pdist, squareform

from humalign_jax import rsa
from humalign_jax.rsa.distances import discrete

MEASURES = ('correlation', 'cosine', 'euclidean', 'sqeuclidean', 'cityblock', 'chebyshev', 'jensenshannon')
KINDS = ('binary', 'one-hot', 'counts', 'percent', 'float16')
WIDTHS = (10, 64, 65, 1000)
N = 40


@functools.cache
def whole_features(kind: str, d: int) -> tuple[np.ndarray, np.ndarray]:
    """Features as a user has them, and the whole numbers that they are multiples of, [N, d]."""
    rng = np.random.default_rng([d, KINDS.index(kind), 1])
    if kind == 'one-hot':
        whole = np.eye(d, dtype=np.int64)[rng.integers(0, min(d, 8), N)]
    elif kind == 'binary':
        whole = np.zeros((N, d), np.int64)
        for row in whole:
            row[rng.choice(d, rng.integers(2, 6), replace=False)] = 1
    else:
        # Sums that differ from stimulus to stimulus would make percent multiples of many steps.
        whole = np.stack([rng.multinomial(20, p) for p in rng.dirichlet(np.full(d, 0.3), N)])
    given = {'percent': whole * 5.0, 'float16': (whole / 16).astype(np.float16)}.get(kind, whole)
    return given, whole


@functools.cache
def exact_ranks(kind: str, d: int, measure: str) -> np.ndarray:
    """Average ranks of the exact distances, [p]."""
    whole = whole_features(kind, d)[1]
    if measure == 'jensenshannon':  # no fraction: a few values, far apart
        return scipy.stats.rankdata(np.round(pdist(whole, measure), 11))
    keys = [_key(whole[i], whole[j], measure) for i in range(N) for j in range(i + 1, N)]
    order = {key: place for place, key in enumerate(sorted(set(keys)))}
    return scipy.stats.rankdata([order[key] for key in keys])


def _key(x: np.ndarray, y: np.ndarray, measure: str) -> Fraction:
    """A number that orders like the distance of two int64 vectors, without rounding."""
    differences = np.abs(x - y)
    if measure in ('euclidean', 'sqeuclidean'):
        return Fraction(int(differences @ differences))
    if measure in ('cityblock', 'chebyshev'):
        return Fraction(int(differences.sum() if measure == 'cityblock' else differences.max()))
    if measure == 'correlation':
        x, y = (len(z) * z - z.sum() for z in (x, y))
    inner = int(x @ y)
    return -Fraction(inner * abs(inner), int(x @ x) * int(y @ y))


@functools.cache
def continuous(d: int = 30) -> np.ndarray:
    return np.random.default_rng(5).normal(size=(N, d))


@pytest.mark.parametrize('dtype', ['float32', 'float64'])
@pytest.mark.parametrize('measure', MEASURES)
@pytest.mark.parametrize('d', WIDTHS)
@pytest.mark.parametrize('kind', KINDS)
def test_distances_are_tied_where_exact_ones_are(kind, d, measure, dtype):
    made = rsa.rdm(whole_features(kind, d)[0], measure, dtype=dtype)
    np.testing.assert_array_equal(scipy.stats.rankdata(made), exact_ranks(kind, d, measure))


@pytest.mark.parametrize('measure', MEASURES)
@pytest.mark.parametrize('d', WIDTHS)
@pytest.mark.parametrize('kind', KINDS)
def test_distances_of_discrete_features_are_those_of_scipy(kind, d, measure):
    given = np.asarray(whole_features(kind, d)[0], np.float64)
    # SciPy's own 1 - r and divergences are off by a few 1e-16, which matters next to 0.
    np.testing.assert_allclose(rsa.rdm(given, measure, dtype='float64'), pdist(given, measure), rtol=1e-11, atol=1e-7)
    np.testing.assert_allclose(rsa.rdm(given, measure), pdist(given, measure), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize('mode', ['exact', 'binned'])
@pytest.mark.parametrize('index', ['spearman', 'rho_a'])
@pytest.mark.parametrize('measure', MEASURES)
@pytest.mark.parametrize('d', [64, 65, 1000])
def test_streamed_rank_indices_keep_ties(d, measure, index, mode):
    for kind in KINDS:
        found = rsa.compare_features(
            whole_features(kind, d)[0], continuous(), measure_x=measure, index=index, mode=mode, block_size=16
        )
        ranks, other = exact_ranks(kind, d, measure), scipy.stats.rankdata(pdist(continuous(), 'correlation'))
        assert found.discrete == (True, False)
        p, middle = len(ranks), (len(ranks) + 1) / 2
        product = float((ranks - middle) @ (other - middle))
        lengths = np.linalg.norm(ranks - middle) * np.linalg.norm(other - middle)
        if index == 'spearman' and lengths == 0:  # all pairs of binary rows differ by 1 at most
            assert np.isnan(found.value)
            continue
        expected = product / lengths if index == 'spearman' else 12 * product / (p**3 - p)
        assert abs(found.value - expected) < 1e-5 + found.error_bound


@pytest.mark.parametrize('index', ['spearman', 'rho_a', 'kendall_tau_a', 'kendall_tau_b'])
@pytest.mark.parametrize('measure', ['correlation', 'cosine', 'euclidean'])
def test_stored_rank_indices_keep_ties(measure, index):
    for kind in KINDS:
        reference = pdist(continuous(), 'correlation')
        made = rsa.rdm(whole_features(kind, 1000)[0], measure)
        exact = rsa.compare(exact_ranks(kind, 1000, measure), reference, index)
        assert rsa.compare(made, reference, index) == pytest.approx(exact, abs=1e-12)
    assert scipy.stats.kendalltau(exact_ranks('counts', 1000, measure), reference)[0] == pytest.approx(
        rsa.compare(rsa.rdm(whole_features('counts', 1000)[0], measure), reference, 'kendall_tau_b'), abs=1e-12
    )


@pytest.mark.parametrize('measure', ['correlation', 'cosine', 'jensenshannon'])
def test_the_scale_of_a_row_does_not_break_ties(measure):
    whole = whole_features('counts', 1000)[1]
    rows = np.random.default_rng(1).uniform(0.001, 1000.0, (N, 1)) * whole
    np.testing.assert_array_equal(scipy.stats.rankdata(rsa.rdm(rows, measure)), exact_ranks('counts', 1000, measure))
    np.testing.assert_array_equal(
        scipy.stats.rankdata(rsa.rdm(rows.astype(np.float32), measure)), exact_ranks('counts', 1000, measure)
    )


@pytest.mark.parametrize('measure', ['correlation', 'euclidean', 'sqeuclidean', 'cityblock', 'chebyshev'])
def test_an_offset_does_not_break_ties(measure):
    binary = whole_features('binary', 1000)[1]
    for moved in (binary - 0.3, binary * 0.1 + 7.7, (binary * 0.1 + 7.7).astype(np.float32)):
        ranks = scipy.stats.rankdata(rsa.rdm(moved, measure))
        np.testing.assert_array_equal(ranks, exact_ranks('binary', 1000, measure))
    if measure != 'correlation':
        ranks = scipy.stats.rankdata(rsa.rdm(binary - binary.mean(axis=0), measure))
        np.testing.assert_array_equal(ranks, exact_ranks('binary', 1000, measure))


def test_shares_of_unequal_numbers_of_answers_keep_ties_under_any_distance_and_dtype():
    rng = np.random.default_rng(2)
    counts = np.stack([rng.multinomial(m, np.full(80, 1 / 80)) for m in rng.integers(5, 9, N)])
    shares = counts / counts.sum(axis=1, keepdims=True)
    for measure in ('cosine', 'euclidean', 'cityblock', 'jensenshannon'):
        exact = scipy.stats.rankdata(np.round(pdist(shares, measure), 11))
        for dtype in ('float32', 'float64'):
            np.testing.assert_array_equal(scipy.stats.rankdata(rsa.rdm(shares, measure, dtype=dtype)), exact)


def test_a_function_of_the_users_keeps_the_ties_of_discrete_features():
    import jax.numpy as jnp

    shares = whole_features('counts', 1000)[1] / 20
    made = rsa.rdm(shares, lambda x, y: jnp.sum(jnp.abs(x - y)))
    np.testing.assert_array_equal(scipy.stats.rankdata(made), exact_ranks('counts', 1000, 'cityblock'))


def test_columns_in_another_order_give_the_same_bits():
    given, order = whole_features('counts', 1000)[0] / 20, np.random.default_rng(3).permutation(1000)
    for measure in ('correlation', 'cosine', 'euclidean'):
        np.testing.assert_array_equal(
            rsa.rdm(given, measure, dtype='float64'), rsa.rdm(given[:, order], measure, dtype='float64')
        )


def test_continuous_features_are_not_taken_for_discrete_ones():
    rng = np.random.default_rng(4)
    normal = rng.normal(size=(200, 70))
    for x in (normal, normal.astype(np.float32), np.maximum(normal, 0), np.exp(3 * normal), normal.astype(np.float16)):
        for ignores in ('row scale', 'row scale and offset', 'offset'):
            assert discrete.whole_numbers(x, ignores, np.ones(200, bool)) is None


def test_one_continuous_row_makes_features_continuous():
    binary = np.array(whole_features('binary', 1000)[1], np.float64)
    binary[37] += np.random.default_rng(0).normal(size=1000)
    assert not discrete.is_discrete(binary, np.ones(N, bool))
    np.testing.assert_allclose(rsa.rdm(binary, 'euclidean'), pdist(binary), rtol=1e-5)


def test_undefined_and_missing_rows_of_discrete_features_have_no_distances():
    x = np.array(whole_features('binary', 64)[1], np.float64)
    x[3], x[5, 2] = 0.0, np.nan
    square = squareform(rsa.rdm(x, 'cosine', nan_policy='propagate'), checks=False)
    missing = np.isnan(square).sum(axis=0) >= N - 1  # all but the diagonal
    np.testing.assert_array_equal(np.flatnonzero(missing), [3, 5])
    assert np.isfinite(square[np.ix_(~missing, ~missing)]).all()


def test_the_record_and_the_sidecar_say_that_features_are_discrete(tmp_path):
    from humalign_jax import storage
    from humalign_jax.records import Features, stimulus_ids

    ids = stimulus_ids('toy', 'test', np.arange(N))
    rdm = rsa.rdm(Features(whole_features('binary', 64)[0], ids, 'attributes'), out=tmp_path / 'rdm.npy')
    assert rdm.provenance['discrete'] is True and storage.read_json(tmp_path / 'rdm.json')['discrete'] is True
    assert rsa.rdm(Features(continuous(), ids, 'net')).provenance['discrete'] is False


def test_rbf_cka_of_binary_features_is_that_of_their_exact_distances():
    x, y = (np.asarray(whole_features(kind, 1000)[0], np.float64) for kind in ('binary', 'counts'))

    def kernel(z):
        squares = squareform(pdist(z, 'sqeuclidean'))
        median = np.median(np.sqrt(squares[np.triu_indices(N, 1)]))
        k = np.exp(-squares / (2 * median**2))
        centre = np.eye(N) - 1 / N
        return centre @ k @ centre

    a, b = kernel(x), kernel(y)
    expected = np.vdot(a, b) / np.sqrt(np.vdot(a, a) * np.vdot(b, b))
    assert rsa.rbf_cka(x, y) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize('n', [2, 3, 7])
@pytest.mark.parametrize('measure', MEASURES)
def test_a_few_discrete_stimuli_have_scipys_distances(measure, n):
    x = whole_features('counts', 64)[0][:n]
    np.testing.assert_allclose(rsa.rdm(x, measure), pdist(x, measure), rtol=1e-6)
