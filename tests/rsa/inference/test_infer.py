import dataclasses

import jax
import numpy as np
import pytest
import scipy.stats
from scipy.spatial.distance import pdist, squareform

from humalign_jax.records import Rdm
from humalign_jax.rsa.inference import dyads, evaluation, quantiles, resample, significance
from humalign_jax.rsa.inference import infer as infer_module
from humalign_jax.rsa.inference.infer import infer
from humalign_jax.rsa.inference.over_subjects import OverSubjects
from humalign_jax.rsa.pairs import take_stimuli
from humalign_jax.rsa.similarity.ceiling import noise_ceiling, subject_ceilings
from humalign_jax.rsa.similarity.compare import compare, compare_condensed, row_ranks


def make_data(n=16, n_models=3, n_subjects=4, seed=0, decimals=None):
    """RDMs of models and subjects that share latent points; rounding makes ties."""
    np_rng = np.random.default_rng(seed)
    points = np_rng.normal(size=(n, 5))
    noisy = [points + (0.5 + 0.3 * i) * np_rng.normal(size=(n, 5)) for i in range(n_models)]
    noisy += [points + np_rng.normal(size=(n, 5)) for _ in range(n_subjects)]
    rdms = np.stack([pdist(x) for x in noisy])
    rdms = rdms if decimals is None else rdms.round(decimals)
    return rdms[:n_models], rdms[n_models:]


def copied(rdms, weights):
    """RDMs of a bootstrap sample with every pair of different stimuli written out as often as it was drawn."""
    chosen = np.repeat(np.arange(len(weights)), weights.astype(int))
    rows, columns = (chosen[x] for x in np.triu_indices(len(chosen), 1))
    different = rows != columns
    return np.stack([squareform(rdm)[rows[different], columns[different]] for rdm in rdms])


@pytest.mark.parametrize('decimals', [None, 0], ids=['distinct', 'tied'])
@pytest.mark.parametrize('index', resample.WEIGHTED_INDICES)
def test_weighted_scores_equal_those_of_the_copied_sample(index, decimals):
    models, subjects = make_data(decimals=decimals)
    weights = resample.bootstrap_weights(0, 16, 40, stream=0)
    orders = np.empty((0, 16), int)
    options = dict(weights=weights, orders=orders, mask=None, control=None, devices=jax.devices()[:1], names='abc')
    got = evaluation.evaluate_fixed(models, subjects, index, **options)
    for draw, weight in enumerate(weights):
        sample = copied(models, weight), copied(subjects, weight)
        np.testing.assert_allclose(got.draws[draw], compare_condensed(*sample, index), atol=3e-6)
        if index in ('pearson', 'cosine'):
            lower, upper = subject_ceilings(sample[1], index)
            np.testing.assert_allclose(got.lower_draws[draw], lower, atol=3e-6)
            np.testing.assert_allclose(got.upper_draws[draw], upper, atol=3e-6)


def test_partial_and_restricted_draws_equal_those_of_the_copied_sample():
    models, subjects = make_data()
    labels = np.arange(16) % 3
    for pairs, index in (
        ('partial', 'spearman'),
        ('partial', 'pearson'),
        ('within', 'spearman'),
        ('between', 'pearson'),
    ):
        mask, control, _ = infer_module._restriction(labels, pairs, 16)
        weights = resample.bootstrap_weights(1, 16, 20, stream=0)
        options = dict(
            orders=np.empty((0, 16), int), mask=mask, control=control, devices=jax.devices()[:1], names='abc'
        )
        got = evaluation.evaluate_fixed(models, subjects, index, weights=weights, **options)
        for draw, weight in enumerate(weights):
            sample = [copied(x, weight) for x in (models, subjects)]
            kept = slice(None) if mask is None else copied(mask[None].astype(float), weight)[0] == 1
            held = None if control is None else copied(control, weight)
            expected = compare_condensed(*(x[:, kept] for x in sample), index, control=held)
            np.testing.assert_allclose(got.draws[draw], expected, atol=3e-5)


def test_kendall_draws_are_those_of_the_copied_sample():
    models, subjects = make_data(n=8)
    weights = resample.bootstrap_weights(0, 8, 5, stream=0)
    options = dict(orders=np.empty((0, 8), int), mask=None, control=None, devices=jax.devices()[:1], names='abc')
    got = evaluation.evaluate_fixed(models, subjects, 'kendall_tau_a', weights=weights, **options)
    for draw, weight in enumerate(weights):
        expected = compare_condensed(copied(models, weight), copied(subjects, weight), 'kendall_tau_a')
        np.testing.assert_allclose(got.draws[draw], expected, rtol=1e-12)


@pytest.mark.parametrize('index', ['spearman', 'pearson', 'cosine', 'rho_a'])
def test_permuted_scores_equal_scores_of_permuted_stimuli(index):
    models, subjects = make_data()
    orders = resample.stimulus_permutations(0, np.zeros(16), 10)
    options = dict(weights=np.empty((0, 16)), mask=None, control=None, devices=jax.devices()[:1], names='abc')
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


def test_bootstrap_weights_have_the_moments_of_drawing_with_replacement():
    weights = resample.bootstrap_weights(0, 10, 20_000, stream=0)
    np.testing.assert_array_equal(weights.sum(axis=1), np.full(20_000, 10.0))
    np.testing.assert_allclose(weights.mean(axis=0), np.ones(10), atol=0.03)
    np.testing.assert_allclose(weights.var(axis=0), np.full(10, 0.9), atol=0.04)
    np.testing.assert_array_equal(resample.bootstrap_weights(0, 10, 30, stream=0), weights[:30])
    assert not np.array_equal(resample.bootstrap_weights(0, 10, 30, stream=1), weights[:30])


@pytest.mark.parametrize('index', ['spearman', 'cosine'])
def test_one_and_four_devices_give_the_same_bits(index):
    models, subjects = make_data(n=40)
    one, four = (
        infer(models, subjects, index=index, bootstrap='both', n_bootstrap=100, n_permutations=70, devices=devices)
        for devices in (jax.devices()[:1], jax.devices()[:4])
    )
    for field in dataclasses.fields(one):
        np.testing.assert_array_equal(getattr(one, field.name), getattr(four, field.name))


def test_subject_bootstrap_gives_the_standard_error_of_the_mean():
    models, subjects = make_data(n_subjects=12)
    result = infer(models, subjects, bootstrap='subjects', n_bootstrap=20_000, n_permutations=0)
    expected = scipy.stats.sem(compare(models, subjects), axis=1)
    np.testing.assert_allclose(result.standard_errors, expected, rtol=1e-6)
    np.testing.assert_allclose(result.draws.std(axis=0, ddof=1) * np.sqrt(12 / 11), expected, rtol=0.03)
    paired = [scipy.stats.ttest_rel(*result.scores_by_subject[[0, i]]).pvalue for i in (1, 2)]
    np.testing.assert_allclose(result.p_differences[0, 1:], paired, rtol=1e-6)
    assert np.isnan(result.p_zero).all()


def test_order_of_stimuli_changes_no_value():
    models, subjects = make_data()
    ids = np.array([f'toy/test/{i:05d}' for i in range(16)])
    order = np.random.default_rng(0).permutation(16)
    a = [Rdm(x, ids, f'm{i}', 'euclidean') for i, x in enumerate(models)]
    b = [Rdm(take_stimuli(x, order), ids[order], f's{i}', 'euclidean') for i, x in enumerate(subjects)]
    straight, shuffled = infer(models, subjects, n_bootstrap=50), infer(a, b, n_bootstrap=50)
    for field in ('values', 'low', 'high', 'p_zero', 'ceiling_lower'):
        np.testing.assert_array_equal(getattr(straight, field), getattr(shuffled, field))


def test_dual_bootstrap_takes_the_interaction_out():
    np_rng = np.random.default_rng(0)
    stimulus, subject, interaction = 1.0, 2.0, 3.0  # variances of the three components of a score
    samples = {
        'stimuli': np_rng.normal(size=(200_000, 1)) * np.sqrt(stimulus + interaction),
        'subjects': np_rng.normal(size=(200_000, 1)) * np.sqrt(subject + interaction),
        'both': np_rng.normal(size=(200_000, 1)) * np.sqrt(stimulus + subject + 3 * interaction),
    }
    factors, degrees = {'stimuli': 1.0, 'subjects': 1.0}, {'stimuli': 30.0, 'subjects': 10.0}
    variance, dof = significance.contrast_variance(samples, np.eye(1), factors, degrees)
    # Less what a bound at 0 adds to the part of subjects alone, on average, by the share of stimuli.
    added = quantiles.added_by_bound(np.array([subject]), np.array([(subject + interaction) * np.sqrt(2 / 10)]))
    assert 0.2 < added < 0.25
    assert variance + ((stimulus + interaction) / (stimulus + interaction + subject)) ** 2 * added == pytest.approx(
        stimulus + subject + interaction, rel=0.02
    )
    parts = (stimulus + interaction) ** 2 / 30 + subject**2 / 10  # of subjects what they do by themselves
    assert dof == pytest.approx(variance**2 / parts, rel=0.05)
    one = significance.contrast_variance({'subjects': samples['subjects']}, np.eye(1), factors, degrees)
    np.testing.assert_array_equal(one[1], [10.0])


def test_few_subjects_who_do_nothing_by_themselves_make_no_variance_far_too_small():
    np_rng = np.random.default_rng(0)
    over_stimuli, common, k = np.ones(20_000), np.full(20_000, 0.65), 8
    over_subjects = common * np_rng.chisquare(k - 1, 20_000) / (k - 1)
    variances, _ = significance.variance_over_both((over_stimuli, 299.0), (over_subjects, k - 1.0), common)
    assert 1.0 < variances.mean() < 1.07 < np.maximum(over_stimuli, over_stimuli + over_subjects - common).mean()
    assert variances.min() > 0.85  # 0.5 if nothing is done about estimates below 0
    # Where subjects do nearly everything there is nothing to take out.
    variances, dof = significance.variance_over_both((over_stimuli, 299.0), (100.0 * np.ones(1), 29.0), np.zeros(1))
    assert variances[0] == pytest.approx(101.0, rel=1e-3) and dof[0] == pytest.approx(29.6, abs=0.1)


def test_a_cosines_interval_over_both_is_as_wide_as_skewed_subjects_ask_for():
    np_rng = np.random.default_rng(3)
    models, subjects = np_rng.uniform(1.0, 2.0, (1, 45)), np_rng.uniform(1.0, 2.0, (8, 45))
    subjects[0] = 10.0 ** np_rng.uniform(0.0, 2.0, 45)  # far less like the model than the others
    of_both = infer(models, subjects, index='cosine', bootstrap='both', n_bootstrap=100, n_permutations=0)
    dof = OverSubjects.of(of_both.scores_by_subject, np.ones(8), np.ones(8)).score_dof[0]
    half = np.arctanh(of_both.high[0]) - np.arctanh(of_both.low[0])
    error = of_both.standard_errors[0] / (1.0 - of_both.values[0] ** 2)
    assert dof < 3.0
    # Stimuli have some more; with 7 of subjects it would be no more than 2.4 standard errors.
    assert 4.0 < half / (2.0 * error) < scipy.stats.t.ppf(0.975, dof)


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


def test_pearsons_interval_is_that_of_t_around_the_score():
    models, subjects = make_data()
    result = infer(models, subjects, index='pearson', n_bootstrap=20, n_permutations=0)
    assert result.interval == 'variance over stimuli in closed form, t'
    np.testing.assert_allclose((result.low + result.high) / 2, result.values, atol=1e-12)
    dof = dyads.score_covariance(models, subjects, 'pearson')[0].variances(np.eye(3, 4))[1]
    half = scipy.stats.t.ppf(0.975, dof) * result.standard_errors
    np.testing.assert_allclose(result.high - result.values, half, rtol=1e-9)
    cut = significance.t_interval(np.array([0.95, -0.9]), np.array([0.1, 0.2]), 9)
    np.testing.assert_allclose(cut, [[0.95 - 0.1 * 2.2621572, -1.0], [1.0, -0.9 + 0.2 * 2.2621572]])


def test_family_wise_p_is_that_of_the_largest_t_for_independent_normal_samples():
    np_rng = np.random.default_rng(0)
    samples = np_rng.normal(size=(40_000, 3))
    t = np.array([1.0, 2.0, 3.0])
    got = significance.family_wise_p(t, samples, 10**7, np_rng)
    np.testing.assert_allclose(got, 1 - (1 - 2 * scipy.stats.norm.sf(t)) ** 3, atol=0.01)


def test_family_wise_p_takes_only_correlations_from_the_samples():
    np_rng, t = np.random.default_rng(0), np.array([2.5, 1.0, 0.0])
    normal = np_rng.normal(size=(40_000, 3)) @ np.array([[1.0, 0.5, 0.0], [0.0, 1.0, 0.3], [0.0, 0.0, 0.2]])
    heavy = normal / np.sqrt(np_rng.chisquare(5, size=(40_000, 1)))
    got = [significance.family_wise_p(t, x, 12, np.random.default_rng(1)) for x in (normal, heavy)]
    np.testing.assert_allclose(*got, atol=0.006)
    few = np.mean([significance.family_wise_p(t, x, 12, np_rng) for x in np.split(normal[:20_000], 100)], axis=0)
    np.testing.assert_allclose(few, got[0], atol=0.015)


def test_family_wise_p_of_more_hypotheses_than_samples():
    np_rng = np.random.default_rng(0)
    got = significance.family_wise_p(np.append(4.0, np.zeros(99)), np_rng.normal(size=(50, 100)), 10**6, np_rng)
    assert got[0] == pytest.approx(1 / 51)
    np.testing.assert_array_equal(got[1:], 1.0)


def test_family_wise_p_of_one_hypothesis_is_the_t_test():
    np_rng = np.random.default_rng(0)
    got = significance.family_wise_p(np.array([2.2]), np_rng.normal(size=(40_000, 1)), 7, np_rng)
    assert got == pytest.approx(2 * scipy.stats.t.sf(2.2, 7), abs=0.005)


def test_family_wise_p_treats_hypotheses_of_few_and_of_many_degrees_of_freedom_alike():
    np_rng, dof, correlation = np.random.default_rng(0), np.array([4.0, 60.0]), np.array([[1.0, 0.6], [0.6, 1.0]])
    samples = np_rng.multivariate_normal(np.zeros(2), correlation, size=40_000)
    t = scipy.stats.t.isf(np.array([0.015, 0.015]), dof)  # p of 0.03, both
    got = significance.family_wise_p(t, samples, dof, np_rng)
    # Studies without an effect: normal estimates over standard errors that are small or large together.
    estimates = np.random.default_rng(1).multivariate_normal(np.zeros(2), correlation, size=40_000)
    errors = np.sqrt(scipy.stats.gamma.ppf(np.random.default_rng(2).random((40_000, 1)), dof / 2.0, scale=2.0 / dof))
    np.testing.assert_allclose(got, (np.abs(estimates / errors) >= t).any(axis=1).mean(), atol=0.004)
    assert got[0] == got[1]


def test_family_wise_p_over_subjects_is_that_of_the_largest_t_of_their_differences():
    np_rng, k = np.random.default_rng(0), 9
    contrasts = np.array([[1.0, -1.0, 0.0], [1.0, 0.0, -1.0], [0.0, 1.0, -1.0]])
    samples = np_rng.normal(size=(40_000, 3)) @ contrasts.T
    got = significance.family_wise_p(np.array([2.5, 0.0, 0.0]), samples, k - 1, np_rng, together=False)
    values = np.random.default_rng(1).normal(size=(40_000, k, 3)) @ contrasts.T
    largest = np.abs(values.mean(axis=1) / scipy.stats.sem(values, axis=1)).max(axis=1)
    assert got[0] == pytest.approx((largest >= 2.5).mean(), abs=0.005)
    assert significance.family_wise_p(np.array([2.5, 0.0, 0.0]), samples, k - 1, np_rng)[0] < got[0] - 0.005


@pytest.mark.parametrize('index', ['whitened_cosine', 'whitened_pearson', 'bures'])
def test_indices_of_whole_rdms_are_resampled_by_halves_and_bures_has_the_jackknifes_errors(index):
    models, subjects = (x**2 for x in make_data(n=13))
    result = infer(models, subjects, index=index, n_bootstrap=40, n_permutations=0, seed=3)
    halves = resample.half_samples(3, 13, 40)
    np.testing.assert_array_equal(halves.sum(axis=1), np.full(40, 7.0))
    assert len(np.unique(halves, axis=0)) > 35  # of 1,716
    for draw, half in zip(result.draws[:5], halves):
        rows = np.flatnonzero(half)
        expected = compare(take_stimuli(models, rows), take_stimuli(subjects, rows), index).mean(axis=1)
        np.testing.assert_allclose(draw, expected, rtol=1e-9)

    if index != 'bures':
        assert result.interval == 'variance over stimuli in closed form, t'
        np.testing.assert_allclose(result.high - result.values, result.values - result.low)
        return

    def without(*left_out):
        rows = np.delete(np.arange(13), left_out)
        return compare(take_stimuli(models, rows), take_stimuli(subjects, rows), index).mean(axis=1)

    assert result.interval == "jackknife over stimuli, t of Fisher's z"
    once = np.array([without(i) for i in range(13)])
    parts = [13 * without() - 12 * (once[i] + once[j]) + 11 * without(i, j) for i in range(13) for j in range(i)]
    jackknife, half = 12.0 * once.var(axis=0), 0.5 * 10.0 / 22.0 * np.mean(np.square(parts), axis=0)
    expected = quantiles.bounded_variance(jackknife, half, 0.5 * jackknife, 12, 78)
    np.testing.assert_allclose(result.standard_errors, np.sqrt(expected), rtol=1e-6)


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


def test_halves_give_the_standard_error_of_a_mean():
    values = np.random.default_rng(0).normal(size=21)
    halves = resample.half_samples(0, 21, 20_000)
    drawn = (halves @ values / 11).var(ddof=1)
    assert np.sqrt(11 / 10 * drawn) == pytest.approx(scipy.stats.sem(values), rel=0.03)


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
    result = infer(np.concatenate([models, models[:1]]), subjects, n_bootstrap=100, n_permutations=0)
    assert result.p_differences[0, 3] == result.p_differences_fwer[0, 3] == 1.0
    above = np.triu_indices(4, 1)
    expected = scipy.stats.false_discovery_control(result.p_differences[above])
    np.testing.assert_allclose(result.p_differences_fdr[above], expected)
    assert np.all(result.p_differences_fwer >= result.p_differences)


def test_scores_carry_interval_ceiling_and_model():
    models, subjects = make_data()
    result = infer(models, subjects, n_bootstrap=60, n_permutations=99)
    score = result.scores()[1]
    assert (score.name, score.n, score.provenance['model']) == ('rsa/spearman', 16, 'model 1')
    assert score.interval == "variance over stimuli in closed form, t of Fisher's z"
    assert (score.value, score.low, score.high) == (result.values[1], result.low[1], result.high[1])
    assert (score.ceiling_lower, score.ceiling_upper) == pytest.approx(noise_ceiling(subjects))
    assert score.value == pytest.approx(compare(models[1], subjects).mean())


@pytest.mark.parametrize('index', ['spearman', 'pearson', 'bures'])
def test_one_model_and_one_subject_have_a_defined_answer(index):
    models, subjects = make_data()
    result = infer(models[0], subjects[0], index=index, n_bootstrap=50, n_permutations=50)
    assert result.values[0] == pytest.approx(float(compare(models[0], subjects[0], index)))
    assert result.low[0] < result.values[0] < result.high[0]
    assert np.isnan([result.ceiling_lower, result.p_ceiling[0]]).all()
    assert result.p_differences.shape == (1, 1)


def test_mistakes_are_named():
    models, subjects = make_data()
    with pytest.raises(ValueError, match="bootstrap='both' needs the RDMs of at least two subjects, not 1"):
        infer(models, subjects[:1], bootstrap='both')
    with pytest.raises(ValueError, match='at least 4 of them, not 3'):
        infer(models[:, :3], subjects[:, :3])
    with pytest.raises(ValueError, match='at least 8 are needed, not 6'):
        infer(models[:, :15], subjects[:, :15], index='bures')
    with pytest.raises(ValueError, match='index must be one of pearson'):
        infer(models, subjects, index='kendall')
    with pytest.raises(ValueError, match='category of each of the 16 stimuli'):
        infer(models, subjects, pairs='within')
    with pytest.raises(ValueError, match="pairs='within': 0 pairs are left of 16 stimuli in 16 categories"):
        infer(models, subjects, pairs='within', labels=np.arange(16))
    with pytest.raises(ValueError, match="pairs='between': 0 pairs are left of 16 stimuli in 1 categories"):
        infer(models, subjects, pairs='between', labels=np.zeros(16))
    with pytest.raises(ValueError, match="pairs='partial' does not go with index 'cosine'"):
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
        infer(models, np.stack([subjects[0], np.ones(120)]), index='pearson', bootstrap='both')


def test_samples_with_too_few_distinct_stimuli_are_left_out_and_counted():
    models, subjects = make_data(n=4)
    weights = resample.bootstrap_weights(0, 4, 400, stream=0)
    result = infer(models, subjects, index='pearson', n_bootstrap=400, n_permutations=0)
    assert result.n_undefined >= np.sum((weights > 0).sum(axis=1) < 3) > 0
    assert len(result.draws) + result.n_undefined == 400


@pytest.mark.parametrize(('index', 'theirs'), [('spearman', 'spearman'), ('cosine', 'cosine')])
def test_bootstrap_distribution_equals_rsatoolbox(index, theirs):
    toolbox = pytest.importorskip('rsatoolbox')
    models, subjects = make_data(n=20)
    np.random.seed(0)  # rsatoolbox draws from NumPy's global state
    fixed = [toolbox.model.ModelFixed(str(i), x) for i, x in enumerate(models)]
    data = toolbox.rdm.RDMs(subjects)
    expected = toolbox.inference.eval_bootstrap_pattern(fixed, data, method=theirs, N=600)
    result = infer(models, subjects, index=index, n_bootstrap=4000, n_permutations=0)
    drawn, own = expected.evaluations, result.draws
    error = drawn.std(axis=0) / np.sqrt(600)
    assert np.all(np.abs(own.mean(axis=0) - drawn.mean(axis=0)) < 4 * error)
    # A standard deviation of 600 draws has a relative error of 0.03, a quantile at 2.5 % about 0.11 deviations.
    np.testing.assert_allclose(own.std(axis=0), drawn.std(axis=0), rtol=0.12)
    for q in (0.025, 0.975):
        gap = np.abs(np.quantile(own, q, axis=0) - np.quantile(drawn, q, axis=0))
        assert np.all(gap < 0.45 * drawn.std(axis=0))
    if index == 'cosine':  # Spearman's are in closed form, which is narrower
        np.testing.assert_allclose(result.standard_errors, np.sqrt(expected.model_var), rtol=0.12)
    else:
        assert np.all(result.standard_errors < 1.05 * np.sqrt(expected.model_var))


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
        options = dict(index=index, n_bootstrap=20, n_permutations=99, seed=seed)
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
        result = infer(models, people[8:], n_bootstrap=100, n_permutations=0, seed=seed)
        at_ceiling.append(result.p_ceiling[0] <= 0.05)
        uncorrected.append((result.p_differences <= 0.05).any())
        family_wise.append((result.p_differences_fwer <= 0.05).any())
    error = 3 * np.sqrt(0.05 * 0.95 / n_studies)
    assert np.mean(at_ceiling) == pytest.approx(0.05, abs=error)
    assert np.mean(family_wise) == pytest.approx(0.05, abs=error)
    assert np.mean(uncorrected) > 0.12  # of any of six pairs


@pytest.mark.slow
def test_differences_of_good_models_over_stimuli_and_subjects_have_their_error():
    np_rng, differences, variances = np.random.default_rng(2), [], []
    above = np.triu_indices(4, 1)
    for seed in range(200):
        shared = np_rng.normal(size=(30, 4))
        subjects = np.stack([pdist(shared + np_rng.normal(size=(30, 4))) for _ in range(8)])
        models = np.stack([pdist(shared + 0.3 * np_rng.normal(size=(30, 4))) for _ in range(4)])
        options = dict(bootstrap='both', n_bootstrap=20, n_permutations=0, seed=seed)
        result = infer(models, subjects, **options)
        differences.append(result.differences[above])
        variances.append(result.difference_errors[above] ** 2)
    # Six differences of four independent scores in 200 studies: their mean square has a relative error of 6 %.
    assert np.mean(variances) / np.mean(np.square(differences)) == pytest.approx(1.0, abs=0.13)
