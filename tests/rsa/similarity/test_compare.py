import numpy as np
import pytest
import scipy.sparse
import scipy.spatial.distance
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from humalign_jax import rsa
from humalign_jax.records import Rdm
from humalign_jax.rsa import pairs
from humalign_jax.rsa.similarity.compare import compare
from humalign_jax.rsa.similarity.indices import INDICES

CORRELATIONS = ('pearson', 'spearman', 'rho_a', 'kendall_tau_a', 'kendall_tau_b', 'cosine')
SCIPY = {
    'pearson': scipy.stats.pearsonr,
    'spearman': scipy.stats.spearmanr,
    'kendall_tau_b': scipy.stats.kendalltau,
}


def make_rdms(n_rdms=3, n=12, levels=0, seed=0):
    """Euclidean RDMs that share a part; `levels` > 0 rounds them to that many values, which makes heavy ties."""
    np_rng = np.random.default_rng(seed)
    shared = np_rng.normal(size=(n, 4))
    points = [shared + np_rng.normal(size=(n, 4)) for _ in range(n_rdms)]
    rdms = np.stack([[np.sum((x[i] - x[j]) ** 2) for i in range(n) for j in range(i + 1, n)] for x in points])
    return np.ceil(rdms / rdms.max() * levels) if levels else rdms


@pytest.mark.parametrize('levels', [0, 2, 5], ids=lambda n: f'{n}_levels')
@pytest.mark.parametrize('index', SCIPY)
def test_index_equals_scipy_under_ties(index, levels):
    rdms = make_rdms(4, levels=levels)
    expected = [[SCIPY[index](x, y).statistic for y in rdms[2:]] for x in rdms[:2]]
    np.testing.assert_allclose(compare(rdms[:2], rdms[2:], index), expected, rtol=1e-12)


@pytest.mark.parametrize('levels', [0, 3])
def test_tau_a_equals_counting_all_pairs_of_values(levels):
    x, y = make_rdms(2, levels=levels)
    signs = np.sign(x[:, None] - x) * np.sign(y[:, None] - y)
    expected = signs.sum() / (len(x) * (len(x) - 1))
    assert compare(x, y, 'kendall_tau_a') == pytest.approx(expected, rel=1e-12)


def test_rho_a_is_spearman_averaged_over_random_tie_breaks():
    x, y = make_rdms(2, n=6, levels=3)
    np_rng = np.random.default_rng(0)
    broken = [
        scipy.stats.spearmanr(*(np.lexsort((np_rng.random(len(v)), v)).argsort() for v in (x, y))).statistic
        for _ in range(4000)
    ]
    assert compare(x, y, 'rho_a') == pytest.approx(np.mean(broken), abs=4 * np.std(broken) / np.sqrt(len(broken)))


@pytest.mark.parametrize('sigma', ['identity', 'diagonal', 'full'])
@pytest.mark.parametrize('index', ['whitened_pearson', 'whitened_cosine'])
def test_whitened_index_equals_inverting_the_covariance_of_distances(index, sigma):
    n = 7
    x, y = make_rdms(2, n=n)
    root = np.random.default_rng(1).normal(size=(n, n))
    sigma_k = {'identity': None, 'diagonal': np.arange(1.0, n + 1), 'full': root @ root.T + np.eye(n)}[sigma]
    full = np.eye(n) if sigma_k is None else np.diag(sigma_k) if sigma_k.ndim == 1 else sigma_k
    rows, columns = np.triu_indices(n, 1)
    contrasts = np.eye(n)[rows] - np.eye(n)[columns]
    inverse = np.linalg.inv((contrasts @ full @ contrasts.T) ** 2)
    if index == 'whitened_pearson':
        x, y = x - x.mean(), y - y.mean()
    expected = x @ inverse @ y / np.sqrt((x @ inverse @ x) * (y @ inverse @ y))
    assert compare(x, y, index, sigma_k=sigma_k) == pytest.approx(expected, rel=1e-9)


def test_bures_equals_the_nuclear_norm_of_the_centred_cross_product():
    np_rng = np.random.default_rng(0)
    x, y = np_rng.normal(size=(9, 4)), np_rng.normal(size=(9, 6))
    rdms = [np.array([np.sum((z[i] - z[j]) ** 2) for i in range(9) for j in range(i + 1, 9)]) for z in (x, y)]
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    expected = np.linalg.norm(x.T @ y, 'nuc') / (np.linalg.norm(x) * np.linalg.norm(y))
    assert compare(*rdms, 'bures') == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize('levels', [0, 3])
@pytest.mark.parametrize('index', INDICES)
def test_index_equals_rsatoolbox(index, levels):
    toolbox = pytest.importorskip('rsatoolbox.rdm')
    rdms = make_rdms(5, levels=levels)
    theirs = dict(pearson='corr', rho_a='rho-a', kendall_tau_a='tau-a', kendall_tau_b='tau-b')
    theirs |= dict(whitened_pearson='corr_cov', whitened_cosine='cosine_cov')
    if index == 'bures' and levels:
        pytest.skip('ties make these RDMs non-Euclidean, for which the two definitions differ')
    expected = toolbox.compare(rdms[:2], rdms[2:], theirs.get(index, index))
    # rsatoolbox takes square roots of eigenvalues that are rounding errors, here 1e-16
    rtol = 1e-6 if index == 'bures' else 1e-9
    # A correlation of exactly 0 is 1e-17 on both sides, of either sign.
    np.testing.assert_allclose(compare(rdms[:2], rdms[2:], index), expected, rtol=rtol, atol=1e-15)


def test_whitening_by_a_full_covariance_equals_rsatoolbox():
    toolbox = pytest.importorskip('rsatoolbox.rdm')
    rdms, root = make_rdms(3), np.random.default_rng(1).normal(size=(12, 12))
    sigma_k = root @ root.T + np.eye(12)
    for ours, theirs in (('whitened_pearson', 'corr_cov'), ('whitened_cosine', 'cosine_cov')):
        expected = toolbox.compare(rdms[:1], rdms[1:], theirs, sigma_k=sigma_k)
        # rsatoolbox solves by conjugate gradients to 1e-5
        np.testing.assert_allclose(compare(rdms[:1], rdms[1:], ours, sigma_k=sigma_k), expected, rtol=1e-4)


@pytest.mark.parametrize('index', ['pearson', 'spearman'])
def test_partial_equals_the_textbook_formula(index):
    x, y, z = make_rdms(3, levels=6)
    xy, xz, yz = (SCIPY[index](*two).statistic for two in ((x, y), (x, z), (y, z)))
    partial = (xy - xz * yz) / np.sqrt((1 - xz**2) * (1 - yz**2))
    semipartial = (xy - xz * yz) / np.sqrt(1 - xz**2)
    assert compare(x, y, index, control=z) == pytest.approx(partial, rel=1e-10)
    assert compare(x, y, index, control=z, control_from='a') == pytest.approx(semipartial, rel=1e-10)
    assert compare(y, x, index, control=z, control_from='b') == pytest.approx(semipartial, rel=1e-10)


def test_two_controls_equal_residuals_of_least_squares():
    x, y, *controls = make_rdms(4)
    design = np.stack([np.ones_like(x), *controls], axis=1)
    rest = [v - design @ np.linalg.lstsq(design, v)[0] for v in (x, y)]
    expected = scipy.stats.pearsonr(*rest).statistic
    assert compare(x, y, 'pearson', control=np.stack(controls)) == pytest.approx(expected, rel=1e-10)


def test_a_model_that_is_its_own_control_scores_nan():
    x, y = make_rdms(2)
    assert np.isnan(compare(x, y, control=x))


def test_mask_equals_comparing_the_kept_pairs():
    x, y = make_rdms(2)
    mask = pairs.within_category(np.arange(12) % 3)
    assert compare(x, y, mask=mask) == pytest.approx(scipy.stats.spearmanr(x[mask], y[mask]).statistic, rel=1e-12)


@given(seed=st.integers(0, 2**31))
@settings(max_examples=30, deadline=None)
def test_rank_indices_are_invariant_to_increasing_functions_and_others_to_scale(seed):
    np_rng = np.random.default_rng(seed)
    x, y = make_rdms(2, n=8, seed=seed % 97)
    scale, shift = np_rng.uniform(0.1, 10.0, size=2)
    for index in INDICES:
        assert compare(scale * x, y, index) == pytest.approx(compare(x, y, index), rel=1e-9, abs=1e-12)
    for index in ('pearson', 'whitened_pearson'):
        assert compare(scale * x + shift, y, index) == pytest.approx(compare(x, y, index), rel=1e-9, abs=1e-9)
    for index in ('spearman', 'rho_a', 'kendall_tau_a', 'kendall_tau_b'):
        assert compare(x**3 + shift, y, index) == pytest.approx(compare(x, y, index), rel=1e-9)


def test_10_000_permutations_of_one_records_stimuli_give_the_same_score():
    ids = np.array([f'toy/test/{i:05d}' for i in range(6)])
    x, y = (Rdm(values, ids, name, 'sqeuclidean') for values, name in zip(make_rdms(2, n=6), 'ab'))
    np_rng = np.random.default_rng(0)
    shuffled = [pairs.select(y, np_rng.permutation(ids)) for _ in range(10_000)]
    np.testing.assert_allclose(compare(x, shuffled), np.full(10_000, compare(x, y)), rtol=1e-12)


def test_10_000_permutations_of_both_sides_give_the_same_score():
    both, np_rng = make_rdms(2, n=6), np.random.default_rng(0)
    shuffled = np.stack([pairs.take_stimuli(both, np_rng.permutation(6)) for _ in range(10_000)])
    scores = [compare(x, y) for x, y in shuffled]
    np.testing.assert_allclose(scores, np.full(10_000, compare(*both)), rtol=1e-12)


@pytest.mark.parametrize('index', INDICES)
def test_no_index_depends_on_the_order_of_stimuli(index):
    both, np_rng = make_rdms(2, n=8, levels=4), np.random.default_rng(0)
    for _ in range(20):
        x, y = pairs.take_stimuli(both, np_rng.permutation(8))
        assert compare(x, y, index) == pytest.approx(compare(*both, index), rel=1e-9)


def test_single_rdms_drop_their_axis():
    rdms = make_rdms(3)
    assert compare(rdms, rdms[0]).shape == (3,)
    assert compare(rdms[0], rdms).shape == (3,)
    assert compare(rdms[0], rdms[1]).shape == ()
    assert compare(rdms[:1], rdms).shape == (1, 3)


@pytest.mark.parametrize('index', CORRELATIONS)
def test_constant_rdm_has_a_defined_outcome(index):
    constant, other = np.full(15, 0.1), make_rdms(1, n=6)[0]
    value = compare(constant, other, index)
    if index in ('rho_a', 'kendall_tau_a'):
        assert value == 0.0
    elif index == 'cosine':
        assert np.isnan(compare(np.zeros(15), other, index))
    else:
        assert np.isnan(value)


def test_float32_rdms_with_a_large_offset_keep_their_digits():
    rdms = (make_rdms(2, n=60) / 100 + 1000).astype(np.float32)
    expected = scipy.stats.pearsonr(*rdms.astype(np.float64)).statistic
    assert compare(*rdms, 'pearson') == pytest.approx(expected, rel=1e-12)


def test_nan_raises_and_is_dropped_jointly_when_asked():
    x, y = make_rdms(2)
    x[3], y[5] = np.nan, np.inf
    with pytest.raises(ValueError, match=r"2 of 66 pairs are NaN or infinite.*nan_policy='omit'"):
        compare(x, y)
    kept = np.setdiff1d(np.arange(66), [3, 5])
    assert compare(x, y, nan_policy='omit') == pytest.approx(
        scipy.stats.spearmanr(x[kept], y[kept]).statistic, rel=1e-12
    )
    with pytest.raises(ValueError, match='need every pair, but 2 of 66'):
        compare(x, y, 'bures', nan_policy='omit')


def test_mistakes_are_named():
    x, y = make_rdms(2)
    ids = np.array([f'toy/test/{i:05d}' for i in range(12)])
    record = Rdm(x, ids, 'x', 'sqeuclidean')
    with pytest.raises(ValueError, match="no index 'tau': choose one of pearson, spearman"):
        compare(x, y, 'tau')
    with pytest.raises(ValueError, match='cannot be joined: wrap the arrays'):
        compare(record, y)
    with pytest.raises(ValueError, match="only in 'y'"):
        compare(record, Rdm(y, np.char.add('other/', ids), 'y', 'sqeuclidean'))
    with pytest.raises(ValueError, match=r'one p, not \(1, 66\) and \(1, 65\)'):
        compare(x, y[:-1])
    with pytest.raises(ValueError, match='mask must be 66 booleans'):
        compare(x, y, mask=np.ones(12, dtype=bool))
    with pytest.raises(ValueError, match='at least two'):
        compare(x, y, mask=np.arange(66) == 3)
    with pytest.raises(ValueError, match="control is for 'pearson' and 'spearman', not for 'cosine'"):
        compare(x, y, 'cosine', control=x)
    with pytest.raises(ValueError, match='sigma_k is for'):
        compare(x, y, sigma_k=np.ones(12))
    with pytest.raises(ValueError, match='positive definite'):
        compare(x, y, 'whitened_cosine', sigma_k=-np.ones(12))


def test_a_square_rdm_is_refused_and_not_read_as_rows():
    square = scipy.spatial.distance.squareform(np.arange(1.0, 46.0))  # 10 stimuli; rows of 10 would be those of 5
    with pytest.raises(ValueError, match='squareform'):
        rsa.compare(square, square, 'spearman')
    with pytest.raises(ValueError, match='squareform'):
        rsa.infer([np.arange(10.0)], square)


@pytest.mark.parametrize('call', [rsa.rdm, lambda x: rsa.linear_cka(x, x), lambda x: rsa.compare_features(x, x)])
def test_masked_sparse_and_complex_arrays_are_refused_by_name(call):
    values = np.random.default_rng(0).normal(size=(12, 5))
    for array, said in (
        (np.ma.array(values, mask=values > 1), 'masked'),
        (scipy.sparse.csr_matrix(values), 'sparse'),
        (values + 1j, 'complex'),
        (values.astype(object), 'objects'),
    ):
        with pytest.raises(ValueError, match=said):
            call(array)


@pytest.mark.parametrize('index', INDICES)
@pytest.mark.parametrize('scale', [1e-200, 1e200])
def test_indices_do_not_depend_on_the_scale_of_an_rdm(scale, index):
    x, y = make_rdms(2)
    assert compare(scale * x, y, index) == pytest.approx(compare(x, y, index), rel=1e-9)
