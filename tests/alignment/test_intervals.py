"""Bootstrap by weights equals SciPy on repeated images, and the intervals cover."""

import numpy as np
import pytest
import scipy.stats

from humalign_jax.alignment import intervals


@pytest.mark.parametrize(
    ('ours', 'scipys'),
    [(intervals.weighted_spearman, scipy.stats.spearmanr), (intervals.weighted_pearson, scipy.stats.pearsonr)],
)
def test_weighted_correlations_equal_scipy_on_repeated_images(ours, scipys):
    np_rng = np.random.default_rng(0)
    a, b = np_rng.integers(0, 9, 80).astype(float), np_rng.normal(size=80)
    drawn = np_rng.integers(0, 80, (7, 80))
    weights = np.stack([np.bincount(rows, minlength=80) for rows in drawn]).astype(float)
    expected = [scipys(a[rows], b[rows]).statistic for rows in drawn]
    np.testing.assert_allclose(ours(a, b, weights), expected, atol=1e-12)


def test_the_size_of_chunks_changes_nothing():
    np_rng = np.random.default_rng(1)
    a, b = np_rng.normal(size=(2, 40))
    weights = np_rng.integers(0, 3, (11, 40)).astype(float)
    whole = intervals.weighted_spearman(a, b, weights)
    np.testing.assert_array_equal(intervals.weighted_spearman(a, b, weights, draws_per_chunk=4), whole)


def test_a_constant_has_no_correlation():
    assert np.isnan(intervals.weighted_pearson(np.ones(5), np.arange(5.0), np.ones((1, 5)))).all()


def test_the_normal_interval_is_1_96_standard_errors_wide_and_leaves_nan_out():
    low, high = intervals.normal_interval(2.0, np.array([1.0, 3.0, np.nan]))
    assert (2.0 - low, high - 2.0) == pytest.approx((1.959964 * np.sqrt(2.0),) * 2, rel=1e-6)
    assert np.isnan(intervals.normal_interval(np.nan, np.arange(9.0))).all()


def test_a_correlations_interval_stays_within_one_and_is_wider_towards_nought():
    low, high = intervals.correlation_interval(0.95, np.random.default_rng(0).normal(0.9, 0.03, 1000), 50)
    assert 0.95 - low > high - 0.95 > 0 and high < 1
    assert np.isnan(intervals.correlation_interval(1.0, np.array([0.9, 1.0]), 50)).all()
    assert np.isnan(intervals.correlation_interval(0.5, np.array([0.9, np.nan]), 50)).all()


def test_a_correlations_interval_is_students_around_fishers_z():
    draws, n = np.array([0.3, 0.5, 0.7, np.nan]), 12
    low, high = intervals.correlation_interval(0.5, draws, n)
    half = scipy.stats.t.ppf(0.975, n - 1) * 0.2 / (1 - 0.5**2)  # the deviation of the draws, on the scale of z
    assert (low, high) == pytest.approx((np.tanh(np.arctanh(0.5) - half), np.tanh(np.arctanh(0.5) + half)))


def test_a_correlations_interval_covers_spearmans_correlation_nineteen_times_in_twenty():
    np_rng, covered, rho = np.random.default_rng(2), 0, 0.6
    truth = 6 / np.pi * np.arcsin(rho / 2)  # of two normal variables
    for _ in range(200):
        a, b = np_rng.multivariate_normal([0, 0], [[1, rho], [rho, 1]], 100).T
        weights = np_rng.multinomial(100, np.full(100, 1 / 100), 100).astype(float)
        value = intervals.weighted_spearman(a, b, np.ones((1, 100)))[0]
        low, high = intervals.correlation_interval(value, intervals.weighted_spearman(a, b, weights), 100)
        covered += low < truth < high
    assert scipy.stats.binomtest(covered, 200, 0.95).pvalue > 0.01
