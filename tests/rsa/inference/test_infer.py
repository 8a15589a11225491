import dataclasses

import jax
import numpy as np
import pytest
import scipy.stats
from scipy.spatial.distance import pdist

from humalign_jax.records import Rdm
from humalign_jax.rsa.inference import dyads, evaluation, resample, significance
from humalign_jax.rsa.inference.bootstrap import bootstrap
from humalign_jax.rsa.inference.covariance import variances_over_both
from humalign_jax.rsa.inference.infer import infer
from humalign_jax.rsa.pairs import take_stimuli
from humalign_jax.rsa.similarity.ceiling import noise_ceiling
from humalign_jax.rsa.similarity.compare import compare
from humalign_jax.rsa.similarity.indices import row_ranks


def make_data(n=16, n_models=3, n_subjects=4, seed=0, decimals=None):
    """RDMs of models and subjects that share latent points; rounding makes ties."""
    np_rng = np.random.default_rng(seed)
    points = np_rng.normal(size=(n, 5))
    noisy = [points + (0.5 + 0.3 * i) * np_rng.normal(size=(n, 5)) for i in range(n_models)]
    noisy += [points + np_rng.normal(size=(n, 5)) for _ in range(n_subjects)]
    rdms = np.stack([pdist(x) for x in noisy])
    rdms = rdms if decimals is None else rdms.round(decimals)
    return rdms[:n_models], rdms[n_models:]


@pytest.mark.parametrize('index', ['spearman', 'pearson', 'cosine', 'rho_a'])
def test_permuted_scores_equal_scores_of_permuted_stimuli(index):
    models, subjects = make_data()
    orders = resample.stimulus_permutations(0, np.zeros(16), 10)
    options = dict(over='none', mask=None, control=None, devices=jax.devices()[:1], names='abc')
    got = evaluation.evaluate_fixed(models, subjects, index, orders=orders, **options)
    expected = [compare(models, take_stimuli(subjects, order), index).mean(axis=1) for order in orders]
    np.testing.assert_allclose(got.permuted, expected, atol=1e-6)
    np.testing.assert_allclose(got.observed, compare(models, subjects, index).mean(axis=1), atol=1e-6)


def test_permutations_stay_in_their_groups():
    groups = np.array([0, 1, 0, 2, 1, 1, 0])
    orders = resample.stimulus_permutations(0, groups, 50)
    np.testing.assert_array_equal(np.sort(orders, axis=1), np.tile(np.arange(7), (50, 1)))
    np.testing.assert_array_equal(groups[orders], np.tile(groups, (50, 1)))
    assert len(np.unique(orders, axis=0)) > 15  # of 36


@pytest.mark.parametrize('index', ['spearman', 'cosine'])
def test_one_and_four_devices_give_the_same_bits(index):
    models, subjects = make_data(n=40)
    one, four = (
        infer(models, subjects, index=index, over='both', n_permutations=70, devices=devices)
        for devices in (jax.devices()[:1], jax.devices()[:4])
    )
    for field in dataclasses.fields(one):
        np.testing.assert_array_equal(getattr(one, field.name), getattr(four, field.name))


def test_errors_over_subjects_are_those_of_a_mean_over_subjects():
    models, subjects = make_data(n_subjects=12)
    result = infer(models, subjects, over='subjects', n_permutations=0)
    scores = compare(models, subjects)
    np.testing.assert_allclose(result.standard_errors, scipy.stats.sem(scores, axis=1), rtol=1e-6)
    np.testing.assert_allclose(result.covariance, np.cov(scores) / 12, rtol=1e-6)
    paired = [scipy.stats.ttest_rel(*result.scores_by_subject[[0, i]]).pvalue for i in (1, 2)]
    np.testing.assert_allclose(result.p_differences[0, 1:], paired, rtol=1e-6)
    assert np.isnan(result.p_zero).all()


def test_order_of_stimuli_changes_no_value():
    models, subjects = make_data()
    ids = np.array([f'toy/test/{i:05d}' for i in range(16)])
    order = np.random.default_rng(0).permutation(16)
    a = [Rdm(x, ids, f'm{i}', 'euclidean') for i, x in enumerate(models)]
    b = [Rdm(take_stimuli(x, order), ids[order], f's{i}', 'euclidean') for i, x in enumerate(subjects)]
    straight, shuffled = infer(models, subjects), infer(a, b)
    for field in ('values', 'low', 'high', 'p_zero', 'ceiling_lower'):
        np.testing.assert_array_equal(getattr(straight, field), getattr(shuffled, field))


def test_variance_over_both_is_the_sum_less_the_interaction_and_no_less_than_either():
    stimulus, subject, interaction = 1.0, np.array([2.0, 0.1, 9.0]), np.array([3.0, 0.4, 3.0])
    over_stimuli, over_subjects = stimulus + interaction, subject + interaction
    variances, dof = variances_over_both((over_stimuli, 30.0), (over_subjects, 10.0), interaction)
    np.testing.assert_allclose(variances, stimulus + subject + interaction)
    np.testing.assert_allclose(dof, variances**2 / (over_stimuli**2 / 30 + subject**2 / 10))
    less, _ = variances_over_both((over_stimuli, 30.0), (0.5 * interaction, 10.0), interaction)
    np.testing.assert_allclose(less, over_stimuli)  # the subject component is estimated below zero
    more, dof = variances_over_both((np.ones(1), 30.0), (np.full(1, 5.0), 10.0), np.full(1, 4.5))
    np.testing.assert_allclose([more[0], dof[0]], [5.0, 10.0])


def test_degrees_of_freedom_of_a_sum_are_welchs():
    np_rng = np.random.default_rng(0)
    a, b = np_rng.normal(size=8), 3 * np_rng.normal(size=15)
    parts = [(x.var(ddof=1, keepdims=True) / len(x), len(x) - 1.0) for x in (a, b)]
    expected = scipy.stats.ttest_ind(a, b, equal_var=False).df
    assert significance.satterthwaite(parts[0][0] + parts[1][0], parts) == pytest.approx(expected)
    assert significance.satterthwaite(np.zeros(1), [(np.zeros(1), 7.0), (np.zeros(1), 14.0)]) == 7.0


def test_interval_leaves_the_bias_of_the_draws_out():
    values, errors = np.array([0.3, 0.8]), np.array([0.05, 0.02])
    draws = np.tanh(np.arctanh(values) + np.array([0.0, 0.01]) + np.array([[-0.1], [0.1]]))
    plain = significance.fisher_interval(values, errors, 20)
    moved = significance.fisher_interval(values, errors, 20, draws=draws)
    np.testing.assert_allclose(np.arctanh(moved), np.arctanh(plain) - [0.0, 0.01], atol=1e-12)
    within = significance.fisher_interval(np.array([1.0]), np.zeros(1), 20, draws=np.ones((3, 1)))
    np.testing.assert_allclose(within, np.ones((2, 1)), atol=1e-9)


def test_a_cosines_interval_over_stimuli_has_the_error_and_bias_of_bootstrap_samples():
    models, subjects = make_data(n=30)
    result = infer(models, subjects, index='cosine', n_permutations=0)
    drawn = bootstrap(models, subjects, index='cosine')
    np.testing.assert_allclose(result.standard_errors, drawn.standard_errors, rtol=1e-5)
    expected = significance.fisher_interval(result.values, drawn.standard_errors, 29, draws=drawn.scores)
    np.testing.assert_allclose([result.low, result.high], expected, rtol=1e-5)
    assert result.interval == "bootstrap over stimuli, 1000 draws, t of Fisher's z less its bias"


def test_bures_has_the_errors_of_the_delete_one_jackknife():
    models, subjects = (x**2 for x in make_data(n=13))
    result = infer(models, subjects, index='bures', n_permutations=0)
    rows = [np.delete(np.arange(13), i) for i in range(13)]
    once = [compare(take_stimuli(models, r), take_stimuli(subjects, r), 'bures').mean(axis=1) for r in rows]
    assert result.interval == "jackknife over stimuli, t of Fisher's z"
    np.testing.assert_allclose(result.standard_errors, np.sqrt(12.0 * np.var(once, axis=0)), rtol=1e-6)


@pytest.mark.parametrize('index', ['whitened_cosine', 'whitened_pearson'])
def test_whitened_indices_have_plain_intervals(index):
    models, subjects = (x**2 for x in make_data(n=13))
    result = infer(models, subjects, index=index, n_permutations=0)
    assert result.interval == 'variance over stimuli in closed form, t'
    np.testing.assert_allclose(result.high - result.values, result.values - result.low)


def test_pearsons_interval_is_that_of_t_around_the_score():
    models, subjects = make_data()
    result = infer(models, subjects, index='pearson', n_permutations=0)
    assert result.interval == 'variance over stimuli in closed form, t'
    np.testing.assert_allclose((result.low + result.high) / 2, result.values, atol=1e-12)
    dof = dyads.score_covariance(models, subjects, 'pearson')[0].variances(np.eye(3, 4))[1]
    half = scipy.stats.t.ppf(0.975, dof) * result.standard_errors
    np.testing.assert_allclose(result.high - result.values, half, rtol=1e-9)
    cut = significance.t_interval(np.array([0.95, -0.9]), np.array([0.1, 0.2]), 9)
    np.testing.assert_allclose(cut, [[0.95 - 0.1 * 2.2621572, -1.0], [1.0, -0.9 + 0.2 * 2.2621572]])


def test_family_wise_p_of_independent_hypotheses_is_sidaks():
    # Model 0 is known exactly, the others are independent: three of the six differences are independent.
    p = np.array([0.01, 0.2, 0.5, np.nan, np.nan, np.nan])
    got = significance.family_wise_p(p, np.diag([0.0, 1.0, 4.0, 9.0]), np.random.default_rng(0), 40_000)
    np.testing.assert_allclose(got[:3], 1.0 - (1.0 - p[:3]) ** 3, atol=0.01)
    assert np.isnan(got[3:]).all()


def test_family_wise_p_of_three_equal_models_is_tukeys():
    t = np.array([2.4, 1.0, 0.2])
    p = 2.0 * scipy.stats.norm.sf(t)
    got = significance.family_wise_p(p, np.eye(3) + 0.5, np.random.default_rng(0), 40_000)
    expected = scipy.stats.studentized_range.sf(t * np.sqrt(2.0), 3, np.inf)
    np.testing.assert_allclose(got, expected, atol=0.01)


def test_family_wise_p_of_one_hypothesis_is_its_own_and_of_none_below_the_draws():
    p = np.array([0.03])
    assert significance.family_wise_p(p, np.eye(2), np.random.default_rng(0), 40_000) == pytest.approx(p, abs=0.003)
    assert significance.family_wise_p(np.zeros(1), np.eye(2), np.random.default_rng(0), 500) == pytest.approx(1 / 501)


@pytest.mark.parametrize('index', ['kendall_tau_a', 'whitened_pearson'])
def test_closed_form_of_whole_indices_is_near_the_spread_of_repeated_studies(index):
    np_rng, values, errors = np.random.default_rng(0), [], []
    for _ in range(200):
        shared = np_rng.normal(size=(24, 4))
        a, b = (pdist(shared + np_rng.normal(size=(24, 4)), 'sqeuclidean')[None] for _ in range(2))
        values.append(compare(a, b, index)[0, 0])
        errors.append(np.sqrt(dyads.score_covariance(a, b, index)[0].variances(np.array([[1.0, 0.0]]))[0]))
    # The spread of 200 values has a relative error of 0.05; halves of the stimuli give 1.15 to 1.7 of it.
    assert np.mean(errors) / np.std(values) == pytest.approx(0.97, abs=0.13)


def test_standard_errors_in_closed_form_are_near_the_spread_of_repeated_studies():
    np_rng = np.random.default_rng(0)
    values, errors = [], []
    for _ in range(150):
        shared = np_rng.normal(size=(24, 4))
        a, b = (pdist(shared + np_rng.normal(size=(24, 4)))[None] for _ in range(2))
        values.append(compare(a, b)[0, 0])
        errors.append(np.sqrt(dyads.score_covariance(a, b, 'spearman')[0].variances(np.array([[1.0, 0.0]]))[0]))
    # The spread of 150 values has a relative error of 0.06; the bootstrap's mean error is 1.15 of it.
    assert np.mean(errors) / np.std(values) == pytest.approx(0.97, abs=0.15)


def test_identical_models_do_not_differ_and_false_discoveries_are_scipys():
    models, subjects = make_data()
    result = infer(np.concatenate([models, models[:1]]), subjects, n_permutations=0)
    assert result.p_differences[0, 3] == result.p_differences_fwer[0, 3] == 1.0
    above = np.triu_indices(4, 1)
    expected = scipy.stats.false_discovery_control(result.p_differences[above])
    np.testing.assert_allclose(result.p_differences_fdr[above], expected)
    assert np.all(result.p_differences_fwer >= result.p_differences)


def test_scores_carry_interval_ceiling_and_model():
    models, subjects = make_data()
    result = infer(models, subjects, n_permutations=99)
    score = result.scores()[1]
    assert (score.name, score.n, score.provenance['model']) == ('rsa/spearman', 16, 'model 1')
    assert score.interval == "variance over stimuli in closed form, t of Fisher's z"
    assert (score.value, score.low, score.high) == (result.values[1], result.low[1], result.high[1])
    assert (score.ceiling_lower, score.ceiling_upper) == pytest.approx(noise_ceiling(subjects))
    assert score.value == pytest.approx(compare(models[1], subjects).mean())


@pytest.mark.parametrize('index', ['spearman', 'pearson', 'bures'])
def test_one_model_and_one_subject_have_a_defined_answer(index):
    models, subjects = make_data()
    result = infer(models[0], subjects[0], index=index, n_permutations=50)
    assert result.values[0] == pytest.approx(float(compare(models[0], subjects[0], index)))
    assert result.low[0] < result.values[0] < result.high[0]
    assert np.isnan([result.ceiling_lower, result.p_ceiling[0]]).all()
    assert result.p_differences.shape == (1, 1)


def test_mistakes_are_named():
    models, subjects = make_data()
    with pytest.raises(ValueError, match="over='both' needs the RDMs of at least two subjects, not 1"):
        infer(models, subjects[:1], over='both')
    with pytest.raises(ValueError, match='at least 4 of them, not 3'):
        infer(models[:, :3], subjects[:, :3])
    with pytest.raises(ValueError, match=r"infer has no bootstrap, n_bootstrap: pass over='both'"):
        infer(models, subjects, bootstrap='both', n_bootstrap=100)
    with pytest.raises(ValueError, match="no index 'kendall': did you mean 'kendall_tau_b'"):
        infer(models, subjects, index='kendall')
    with pytest.raises(ValueError, match='category of each of the 16 stimuli'):
        infer(models, subjects, pairs='within')
    with pytest.raises(ValueError, match="pairs='within': 0 pairs are left of 16 stimuli in 16 categories"):
        infer(models, subjects, pairs='within', labels=np.arange(16))
    with pytest.raises(ValueError, match="pairs='between': 0 pairs are left of 16 stimuli in 1 categories"):
        infer(models, subjects, pairs='between', labels=np.zeros(16))
    with pytest.raises(ValueError, match="pairs='partial' is for pearson, spearman, not for 'cosine'"):
        infer(models, subjects, index='cosine', pairs='partial', labels=np.arange(16) % 2)
    with pytest.raises(ValueError, match="'model 0' has 1 values that are NaN"):
        infer(np.where(np.arange(120) == 3, np.nan, models[:1]), subjects)
    with pytest.raises(ValueError, match="no score is defined for 'model 1'"):
        infer(np.stack([models[0], np.ones(120)]), subjects)
    with pytest.raises(ValueError, match=r'no score is defined for subjects \[1\] of the reference'):
        infer(models, np.stack([subjects[0], np.ones(120)]))
    with pytest.raises(ValueError, match="no score is defined for 'model 0' with any subject"):
        infer(np.ones((1, 120)), subjects[:2])
    with pytest.raises(ValueError, match=r'no score is defined for subjects \[1\] of the reference'):
        infer(models, np.stack([subjects[0], np.ones(120)]), index='pearson', over='both')


# Simulated studies, small; benchmarks/rsa_calibration.py has the large ones.
def study(np_rng, n, k):
    """An unrelated model, two equally good ones, and k subjects; every stimulus anew."""
    shared = np_rng.normal(size=(n, 4))
    unrelated = pdist(np_rng.normal(size=(n, 4)))
    fair = [pdist(shared + np_rng.normal(size=(n, 4))) for _ in range(2)]
    subjects = [pdist(shared + np_rng.normal(size=(n, 4))) for _ in range(k)]
    return np.stack([unrelated, *fair]), np.stack(subjects)


@pytest.mark.slow
@pytest.mark.parametrize('index', ['pearson', 'spearman'])
def test_tests_and_intervals_are_calibrated(index):
    n_studies, np_rng = 300, np.random.default_rng(0)
    truth = np.mean([compare(*study(np_rng, 400, 3), index).mean(axis=1) for _ in range(60)], axis=0)
    zero, pair, covered = [], [], []
    for seed in range(n_studies):
        options = dict(index=index, n_permutations=99, seed=seed)
        result = infer(*study(np_rng, 30, 3), **options)
        zero.append(result.p_zero[0] <= 0.05)
        pair.append(result.p_differences[1, 2] <= 0.05)
        covered.append((result.low <= truth) & (truth <= result.high))
    error = 3 * np.sqrt(0.05 * 0.95 / n_studies)
    for rate in (np.mean(zero), np.mean(pair), *(1 - np.mean(covered, axis=0))):
        assert rate == pytest.approx(0.05, abs=error)


@pytest.mark.slow
def test_family_wise_tests_and_the_test_against_the_ceiling_are_calibrated():
    n_studies, np_rng = 300, np.random.default_rng(1)
    at_ceiling, uncorrected, family_wise = [], [], []
    for seed in range(n_studies):
        # Four models, each the mean ranks of two people more, are as good as each other and as two of three subjects.
        shared = np_rng.normal(size=(30, 4))
        people = np.stack([pdist(shared + np_rng.normal(size=(30, 4))) for _ in range(11)])
        models = row_ranks(people[:8]).reshape(4, 2, -1).mean(axis=1)
        result = infer(models, people[8:], n_permutations=0, seed=seed)
        at_ceiling.append(result.p_ceiling[0] <= 0.05)
        uncorrected.append((result.p_differences <= 0.05).any())
        family_wise.append((result.p_differences_fwer <= 0.05).any())
    error = 3 * np.sqrt(0.05 * 0.95 / n_studies)
    assert np.mean(at_ceiling) == pytest.approx(0.05, abs=error)
    assert np.mean(family_wise) == pytest.approx(0.05, abs=error)
    assert np.mean(uncorrected) > 0.12  # of any of six pairs


@pytest.mark.slow
def test_errors_of_differences_of_good_models_over_both_are_a_little_too_large():
    """Truncation of the subject component, which is nearly zero here, adds to the variance; it never takes away."""
    np_rng, differences, variances = np.random.default_rng(2), [], []
    above = np.triu_indices(4, 1)
    for seed in range(200):
        shared = np_rng.normal(size=(30, 4))
        subjects = np.stack([pdist(shared + np_rng.normal(size=(30, 4))) for _ in range(8)])
        models = np.stack([pdist(shared + 0.3 * np_rng.normal(size=(30, 4))) for _ in range(4)])
        options = dict(over='both', n_permutations=0, seed=seed)
        result = infer(models, subjects, **options)
        differences.append(result.differences[above])
        variances.append(result.difference_errors[above] ** 2)
    # Six differences of four independent scores in 200 studies: their mean square has a relative error of 6 %.
    assert 0.93 < np.mean(variances) / np.mean(np.square(differences)) < 1.35
