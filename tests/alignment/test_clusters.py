"""Intervals of means over clusters of trials."""

import numpy as np
import pytest
import scipy.stats

from humalign_jax.alignment import clusters


def test_without_repeats_the_interval_is_students():
    values = np.random.default_rng(0).normal(size=50)
    score = clusters.over_sets('x', values, np.arange(50), {'model': 'm'})
    low, high = scipy.stats.t.interval(0.95, 49, values.mean(), scipy.stats.sem(values))
    assert (score.value, score.low, score.high) == pytest.approx((values.mean(), low, high))
    assert score.n == 50 and score.provenance['over'] == 'triplets' and score.provenance['model'] == 'm'


def test_copies_of_every_trial_do_not_narrow_an_interval():
    values = np.random.default_rng(0).normal(size=50)
    once = clusters.over_sets('x', values, np.arange(50), {})
    thrice = clusters.over_sets('x', np.repeat(values, 3), np.repeat(np.arange(50), 3), {})
    assert (thrice.low, thrice.high) == pytest.approx((once.low, once.high)) and thrice.n == 50


def test_an_interval_over_participants_covers_the_mean_of_their_population():
    """Means of 15 people vary by sd 1, trials by 0.1: of 200 studies, about 93 % cover 0 (percentiles are narrow)."""
    np_rng, covered = np.random.default_rng(1), 0
    people = np.repeat(np.arange(15), 10)
    for study in range(200):
        values = np_rng.normal(size=15)[people] + 0.1 * np_rng.normal(size=150)
        score = clusters.over_participants('x', values, people, {}, n_bootstrap=200, seed=study)
        covered += score.low <= 0.0 <= score.high
    assert 0.86 <= covered / 200 <= 0.98


def test_people_with_more_trials_count_more():
    values, people = np.array([1.0, 1.0, 1.0, 0.0]), np.array(['a', 'a', 'a', 'b'])
    score = clusters.over_participants('x', values, people, {}, n_bootstrap=500, seed=0, ceiling_upper=0.9)
    assert score.value == 0.75 and (score.low, score.high) == (0.0, 1.0) and score.n == 2
    assert score.ceiling_upper == 0.9 and np.isnan(score.ceiling_lower)


def test_one_cluster_has_no_interval():
    for score in (
        clusters.over_sets('x', np.ones(3), np.zeros(3), {}),
        clusters.over_participants('x', np.ones(3), np.zeros(3), {}, n_bootstrap=10, seed=0),
    ):
        assert score.value == 1.0 and np.isnan([score.low, score.high]).all() and score.n == 1
