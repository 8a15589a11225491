"""Agreement of raters, against NumPy, SciPy and a published test."""

import numpy as np
import pytest
import scipy.stats

from humalign_jax.alignment import reliability


@pytest.fixture
def values():
    return np.random.default_rng(0).integers(1, 11, (4, 15)).astype(float)


def _once(values):
    return reliability.rater_covariances(values, np.ones((1, values.shape[1])))


def test_covariances_of_a_sample_are_those_of_the_pairs_repeated_as_often_as_drawn(values):
    drawn = np.random.default_rng(1).integers(0, 15, (6, 15))
    weights = np.stack([np.bincount(rows, minlength=15) for rows in drawn]).astype(float)
    expected = [np.cov(values[:, rows], bias=True) for rows in drawn]
    np.testing.assert_allclose(reliability.rater_covariances(values, weights), expected, atol=1e-12)


def test_inter_rater_correlation_is_the_mean_of_numpys(values):
    expected = np.corrcoef(values)[np.triu_indices(4, 1)].mean()
    assert reliability.inter_rater(_once(values))[0] == pytest.approx(expected)


def test_alpha_is_that_of_the_textbook_formula(values):
    expected = 4 / 3 * (1 - values.var(axis=1).sum() / values.sum(axis=0).var())
    assert reliability.cronbach_alpha(_once(values))[0] == pytest.approx(expected)


def test_one_against_others_is_the_correlation_with_their_mean(values):
    expected = [np.corrcoef(values[i], np.delete(values, i, axis=0).mean(axis=0))[0, 1] for i in range(4)]
    np.testing.assert_allclose(reliability.against_others(_once(values))[0], expected, atol=1e-12)


def test_alpha_of_raters_of_equal_variance_is_spearman_and_browns_correction():
    covariances = np.full((1, 5, 5), 0.4) + 0.6 * np.eye(5)
    assert reliability.cronbach_alpha(covariances)[0] == pytest.approx(reliability.spearman_brown(np.array(0.4), 5))


def test_of_two_raters_the_test_of_parallelism_is_nearly_pitman_and_morgans():
    np_rng = np.random.default_rng(2)
    values = np.array([[1.0], [1.4]]) * np_rng.normal(size=(2, 60)) + np_rng.normal(size=60)
    exact = scipy.stats.pearsonr(values[0] + values[1], values[0] - values[1]).pvalue
    assert reliability.parallel_p(values) == pytest.approx(exact, abs=0.003) and 0.001 < exact < 0.5


@pytest.mark.parametrize('n_raters', [2, 4, 7])
def test_parallel_raters_are_rejected_once_in_twenty(n_raters):
    np_rng = np.random.default_rng(n_raters)
    p = [reliability.parallel_p(np_rng.normal(size=(n_raters, 30)) + np_rng.normal(size=30)) for _ in range(1000)]
    assert scipy.stats.binomtest(int(np.sum(np.array(p) < 0.05)), 1000, 0.05).pvalue > 0.001


def test_parallelism_cannot_be_tested_with_few_pairs_or_equal_raters(values):
    assert np.isnan(reliability.parallel_p(values[:, :4]))
    assert np.isnan(reliability.parallel_p(values[[0, 0]]))
    assert np.isnan(reliability.parallel_p(values[:1]))
