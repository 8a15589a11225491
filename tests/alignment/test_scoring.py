"""Scores of a classifier against closed forms and scikit-learn."""

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics

from humalign_jax.alignment import scoring


def test_the_interval_of_a_paired_difference_is_that_of_the_r_package_statpsych():
    """Its example ci.prop.ps(.05, 12, 4, 26, 6)."""
    first = np.repeat([0, 0, 1, 1], [12, 4, 26, 6])
    second = np.repeat([0, 1, 0, 1], [12, 4, 26, 6])
    score = scoring.paired_difference('lost', first, second, {})
    assert score.value == pytest.approx(22 / 48) and score.n == 48
    assert (score.low, score.high) == pytest.approx((0.2548067, 0.6251933), abs=1e-6)


def test_a_paired_difference_of_equal_answers_is_zero_with_an_interval():
    score = scoring.paired_difference('lost', np.ones(100), np.ones(100), {})
    assert score.value == 0.0 and score.low == -score.high < 0.0


def test_a_proportion_has_wilsons_interval():
    score = scoring.proportion('accuracy', 81, 263, {})
    z, n, p = stats.norm.ppf(0.975), 263, 81 / 263
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    assert (score.value, score.low, score.high) == pytest.approx((p, centre - half, centre + half), rel=1e-9)
    assert score.n == 263


def test_a_share_of_nothing_has_no_value():
    score = scoring.proportion('accuracy/cat', 0, 0, {})
    assert np.isnan(score.value) and score.n == 0


def test_a_mean_has_students_interval():
    values = np.random.default_rng(0).normal(size=30)
    score = scoring.mean('loss', values, {})
    low, high = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
    assert (score.low, score.high) == pytest.approx((low, high), rel=1e-9)
    alone = scoring.mean('loss', values[:1], {})
    assert alone.value == values[0] and np.isnan(alone.low)


def test_confusions_equal_scikit_learns_and_their_cells_are_shares_of_the_true_class():
    np_rng = np.random.default_rng(0)
    labels, predictions = np_rng.integers(0, 4, 200), np_rng.integers(0, 4, 200)
    values = {'loss': np_rng.uniform(size=200), 'prediction': predictions}
    names = ('a', 'b', 'c', 'd')
    scores, counts = scoring.classification_scores(values, labels, names, {'seed': 0})
    np.testing.assert_array_equal(counts, metrics.confusion_matrix(labels, predictions))
    by_name = {score.name: score for score in scores}
    assert len(by_name) == 3 + 4 + 16
    assert by_name['accuracy'].value == metrics.accuracy_score(labels, predictions)
    recall = metrics.recall_score(labels, predictions, average=None)
    for i, name in enumerate(names):
        assert by_name[f'accuracy/{name}'].value == pytest.approx(recall[i])
        shares = [by_name[f'confusion/{name}/{other}'].value for other in names]
        assert sum(shares) == pytest.approx(1.0) and shares[i] == pytest.approx(recall[i])


def test_measures_of_each_class_equal_scikit_learns():
    np_rng = np.random.default_rng(1)
    labels, predictions = np_rng.integers(0, 4, 200), np_rng.integers(0, 3, 200)  # class 3 is never predicted
    counts = scoring.confusion_matrix(labels, predictions, 4)
    found = scoring.class_measures(counts)
    expected = metrics.precision_recall_fscore_support(labels, predictions, zero_division=np.nan)
    np.testing.assert_allclose(found, np.stack(expected, axis=1), rtol=1e-12)
    assert np.isnan(found[3, 0]) and found[3, 1] == 0
    macro = metrics.f1_score(labels, predictions, average='macro')
    assert scoring.macro_f1(counts, {}).value == pytest.approx(macro, rel=1e-12)


def test_the_interval_of_macro_f1_is_that_of_a_bootstrap_over_images():
    np_rng = np.random.default_rng(2)
    labels = np_rng.choice(4, 600, p=(0.4, 0.3, 0.2, 0.1))
    predictions = np.where(np_rng.uniform(size=600) < 0.6, labels, np_rng.integers(0, 4, 600))
    score = scoring.macro_f1(scoring.confusion_matrix(labels, predictions, 4), {})
    rows = np_rng.integers(0, 600, size=(4000, 600))
    counts = [scoring.confusion_matrix(labels[row], predictions[row], 4) for row in rows]
    error = np.std([scoring.class_measures(one)[:, 2].mean() for one in counts])
    assert (score.high - score.low) / 2 / 1.96 == pytest.approx(error, rel=0.05)
    assert score.low < score.value < score.high and score.n == 600


def test_macro_f1_leaves_out_classes_that_do_not_occur():
    counts = np.zeros((3, 3), np.int64)
    counts[:2, :2] = [[5, 0], [0, 4]]
    score = scoring.macro_f1(counts, {})
    assert (score.value, score.low, score.high) == (1.0, 1.0, 1.0)
