"""Learners equal scikit-learn refitted trial by trial; choices are predicted without having been fitted."""

import numpy as np
import pytest
from scipy import optimize
from sklearn.linear_model import BayesianRidge, LogisticRegression

from humalign_jax.alignment import learning
from humalign_jax.human_data import Choices
from humalign_jax.records import Features


def make_choices(n_people=2, n_trials=12, k=1, seed=0, **changes):
    """Random choices and feedback about random stimuli; the second participant has two trials less."""
    np_rng = np.random.default_rng(seed)
    lengths = [n_trials - 2 * (i % 2) for i in range(n_people)]
    m = sum(lengths)
    fields = dict(
        participants=np.repeat([f'p{i}' for i in range(n_people)], lengths),
        trials=np.concatenate([np.arange(n) for n in lengths]),
        stimuli=np_rng.integers(0, 40, (m, k)).astype(str),
        choices=np_rng.integers(0, 2, m),
        feedback=np_rng.integers(0, 2, (m, 1)) if k == 1 else np_rng.normal(50, 20, (m, k)),
        options=('a', 'b'),
        name='made up',
    )
    return Choices(**{**fields, **changes})


def shown_features(choices, d, seed=1):
    features = Features(np.random.default_rng(seed).normal(size=(40, d)), np.arange(40).astype(str), 'random')
    return np.asarray(features.values)[learning.stimulus_rows(choices, features)]


@pytest.mark.parametrize('d', [3, 30], ids=['fewer features than trials', 'more'])
def test_category_learner_equals_logistic_regression_refitted_after_every_trial(d):
    choices = make_choices()
    shown = shown_features(choices, d)
    found = learning.learned_values(choices, shown, strengths=(0.3,))
    expected = np.zeros_like(found)
    for t in range(len(choices)):
        seen = (choices.participants == choices.participants[t]) & (choices.trials < choices.trials[t])
        right = choices.feedback[seen, 0]
        if len(set(right)) == 2:
            fit = LogisticRegression(C=1 / 0.3, tol=1e-10, max_iter=2000).fit(shown[seen, 0], right)
            expected[t, 1] = fit.decision_function(shown[t])[0]
    assert np.abs(expected).max() > 0.5
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize('d', [3, 30], ids=['fewer features than options seen', 'more'])
def test_reward_learner_equals_bayesian_ridge_refitted_after_every_trial(d):
    choices = make_choices(k=2)
    shown = shown_features(choices, d)
    choices = make_choices(k=2, feedback=50 + 10 * shown[..., :3].sum(axis=2) + choices.feedback / 5)
    found = learning.learned_values(choices, shown)
    expected = np.zeros_like(found)
    for t in range(len(choices)):
        seen = (choices.participants == choices.participants[t]) & (choices.trials < choices.trials[t])
        if seen.any():
            fit = BayesianRidge(max_iter=300, tol=1e-14).fit(shown[seen].reshape(-1, d), choices.feedback[seen].ravel())
            expected[t] = fit.predict(shown[t])
    assert np.ptp(expected[1:], axis=1).max() > 1
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_the_penalty_of_a_trial_is_the_one_that_predicted_earlier_trials_best():
    choices, strengths = make_choices(n_people=1, n_trials=30), (10.0, 1e-3)
    shown = shown_features(choices, 2)
    shown[..., 0] = 3 * choices.feedback - 1.5 + 0.5 * shown[..., 0]
    odds = np.stack([learning.learned_values(choices, shown, (one, one))[:, 1] for one in strengths])
    loss = np.logaddexp(0, -(2 * choices.feedback[:, 0] - 1) * odds)
    chosen = (np.cumsum(loss, axis=1) - loss).argmin(axis=0)
    assert set(chosen) == {0, 1}
    found = learning.learned_values(choices, shown, strengths[::-1])
    np.testing.assert_allclose(found[:, 1], odds[chosen, np.arange(30)], atol=1e-9)


@pytest.mark.parametrize('k', [1, 2])
def test_what_comes_later_changes_no_value(k):
    choices = make_choices(k=k, n_people=1)
    shown = shown_features(choices, 5)
    later = choices.feedback.copy()
    later[8:] = later[8:][::-1] + (k == 2)
    changed = shown.copy()
    changed[9:] *= 2
    found = learning.learned_values(choices, shown)
    other = learning.learned_values(make_choices(k=k, n_people=1, feedback=later), changed)
    np.testing.assert_allclose(other[:9], found[:9], rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize('k', [1, 2])
def test_a_learner_on_the_true_dimension_solves_the_rule(k):
    choices = make_choices(k=k, n_people=3, n_trials=30)
    shown = shown_features(choices, 1)
    rule = shown[..., 0]
    feedback = (rule > 0).astype(float) if k == 1 else 50 + 20 * rule
    choices = make_choices(k=k, n_people=3, n_trials=30, feedback=feedback)
    values = learning.learned_values(choices, shown)
    right = choices.feedback[:, 0] if k == 1 else choices.feedback.argmax(axis=1)
    late = choices.trials >= 10
    different = np.ones(len(choices), bool) if k == 1 else choices.stimuli[:, 0] != choices.stimuli[:, 1]
    assert (values.argmax(axis=1) == right)[late & different].mean() > 0.95


@pytest.mark.parametrize('penalty', [0.0, 1.0])
def test_choices_are_predicted_at_the_temperature_that_is_best_for_all_other_trials(penalty):
    choices = make_choices(n_people=1, n_trials=10)
    values = np.stack([np.zeros(10), np.random.default_rng(2).normal(1.0 - 2.0 * (choices.choices == 0), 3.0)], axis=1)
    # As many folds as trials: leave-one-out.
    found = learning.predict_choices(choices, values, folds=10, seed=0, penalty=penalty)
    sign = 2 * choices.choices - 1
    mean_square, best = (values[:, 1] ** 2).mean() / 4, []  # of values less their mean over the two options
    for t in range(10):
        others = np.arange(10) != t
        fit = optimize.minimize_scalar(
            lambda log, others=others: (
                np.logaddexp(0, -sign * values[:, 1] / np.exp(log))[others].sum()
                + penalty * mean_square / np.exp(2 * log) / 2
            ),
            bounds=(-2.0, 4.0), method='bounded', options={'xatol': 1e-9},
        )  # fmt: skip
        best.append(fit.x)
    expected = np.logaddexp(0, -sign * values[:, 1] / np.exp(best))
    np.testing.assert_allclose(found.nll, expected, rtol=1e-5)
    np.testing.assert_allclose(found.temperature, [np.exp(np.mean(best))], rtol=1e-5)
    np.testing.assert_array_equal(found.hit, (values[:, 1] > 0) == choices.choices)


def test_values_that_do_not_differ_predict_chance():
    choices = make_choices(k=2)
    found = learning.predict_choices(choices, np.full((len(choices), 2), 7.0), folds=5, seed=0)
    np.testing.assert_allclose(found.nll, np.log(2))
    np.testing.assert_array_equal(found.hit, 0.5)


def test_participants_without_variation_or_with_two_trials_are_left_out_with_the_reason():
    choices = make_choices(n_people=4, n_trials=6)
    chosen = choices.choices.copy()
    chosen[choices.participants == 'p0'] = [0, 1, 0, 1, 0, 1]
    chosen[choices.participants == 'p2'] = 1
    short = np.flatnonzero(choices.participants == 'p3')[2:]
    kept = np.setdiff1d(np.arange(len(choices)), short)
    fields = ('participants', 'trials', 'stimuli', 'feedback')
    choices = make_choices(choices=chosen[kept], **{field: getattr(choices, field)[kept] for field in fields})
    people, left_out = learning.usable_people(choices, 4)
    assert left_out == {'p2': "all 6 choices are 'b'", 'p3': '2 trials are fewer than 4 folds'}
    assert set(people) | set(left_out) == {'p0', 'p1', 'p2', 'p3'}
    with pytest.raises(ValueError, match='participant p3 has fewer trials than the 4 folds'):
        learning.predict_choices(choices, np.zeros((len(choices), 2)), folds=4, seed=0)


def test_stimuli_without_features_are_named():
    features = Features(np.eye(3), np.array(['x/0', 'x/1', 'x/2']), 'net')
    choices = make_choices()
    message = r"stimuli of 'made up' have no features in 'net', the first of them '\d+'.*'x/0'"
    with pytest.raises(ValueError, match=message):
        learning.stimulus_rows(choices, features)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (lambda c: (c, np.zeros((len(c), 2, 3))), r'needs features \[22, 1, d\]'),
        (lambda c: (c, np.full((len(c), 1, 3), np.nan)), 'are NaN or infinite'),
        (lambda c: (make_choices(options=('a', 'b', 'c')), np.zeros((22, 1, 3))), '3 categories: two can be learned'),
    ],
)
def test_features_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        learning.learned_values(*changes(make_choices()))
