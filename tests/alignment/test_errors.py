"""Confusions and error consistency: against scikit-learn, brute force over people, and the figures of CIFAR-10H."""

import itertools

import numpy as np
import pytest
import scipy.stats

from humalign_jax.alignment import errors
from humalign_jax.human import cifar10h

K = 4


@pytest.fixture(scope='module')
def case():
    """Labels, answers of twelve people, and a model's predictions, on 500 images."""
    np_rng = np.random.default_rng(0)
    labels = np_rng.integers(0, K, 500)
    truth = np.stack([np_rng.dirichlet(0.5 + 4.0 * np.eye(K)[label]) for label in labels])
    counts = np_rng.multinomial(12, truth)
    predictions = np.array([np_rng.choice(K, p=row) for row in truth])
    return labels, counts, predictions


def right_share(counts, labels):
    return counts[np.arange(len(labels)), labels] / counts.sum(axis=1)


def test_confusions_equal_scikit_learn(case):
    metrics = pytest.importorskip('sklearn.metrics')
    labels, _, predictions = case
    expected = metrics.confusion_matrix(labels, predictions, normalize='true')
    np.testing.assert_allclose(errors.confusion(labels, np.eye(K)[predictions]), expected, rtol=1e-12)


def test_a_class_without_images_has_no_shares():
    matrix = errors.confusion(np.array([0, 0]), np.array([[0.5, 0.5], [1.0, 0.0]]))
    np.testing.assert_array_equal(matrix, [[0.75, 0.25], [np.nan, np.nan]])


def test_the_error_matrix_has_lost_its_diagonal_and_nothing_else(case):
    labels, counts, _ = case
    matrix = errors.confusion(labels, counts / 12)
    np.testing.assert_array_equal(errors.error_matrix(matrix), matrix - np.diag(np.diag(matrix)))


def test_confusion_spearman_equals_scipy_over_off_diagonal_cells(case):
    labels, counts, predictions = case
    first, second = errors.confusion(labels, np.eye(K)[predictions]), errors.confusion(labels, counts / 12)
    off = ~np.eye(K, dtype=bool)
    expected = scipy.stats.spearmanr(first[off], second[off]).statistic
    assert errors.confusion_spearman(first, second) == pytest.approx(expected, abs=1e-12)
    np.testing.assert_allclose(errors.confusion_spearman(np.stack([first, second]), second), [expected, 1.0])


def test_confusions_of_classes_without_images_are_left_out():
    first, second = np.random.default_rng(0).random((2, 5, 5))
    small = errors.confusion_spearman(first[:4, :4], second[:4, :4])
    empty = np.full((5, 5), np.nan)
    a, b = empty.copy(), empty.copy()
    a[:4], b[:4] = first[:4], second[:4]
    a[:4, 4] = b[:4, 4] = np.nan
    assert errors.confusion_spearman(a, b) == pytest.approx(small, abs=1e-12)


def test_a_model_without_errors_has_no_confusions_to_compare():
    assert np.isnan(errors.confusion_spearman(np.eye(3), np.random.default_rng(0).random((3, 3))))


def test_a_model_that_confuses_as_people_do_is_near_one_and_a_random_one_near_nought(case):
    labels, counts, _ = case
    np_rng = np.random.default_rng(1)
    human = errors.confusion(np.repeat(labels, 40), np.repeat(counts / 12, 40, axis=0))
    like = np.array([np_rng.choice(K, p=human[label]) for label in np.repeat(labels, 40)])
    assert errors.confusion_spearman(errors.confusion(np.repeat(labels, 40), np.eye(K)[like]), human) > 0.95
    random = [errors.confusion_spearman(np_rng.random((K, K)), human) for _ in range(400)]
    assert abs(np.mean(random)) < 0.1


def test_weights_of_one_leave_the_confusions_as_they_are_and_others_repeat_images(case):
    labels, counts, _ = case
    weights = np.random.default_rng(0).integers(0, 4, (3, len(labels))).astype(float)
    weights[0] = 1.0
    draws = errors.confusion_draws(labels, counts / 12, weights)
    np.testing.assert_allclose(draws[0], errors.confusion(labels, counts / 12), rtol=1e-12)
    rows = np.repeat(np.arange(len(labels)), weights[2].astype(int))
    np.testing.assert_allclose(draws[2], errors.confusion(labels[rows], counts[rows] / 12), rtol=1e-12)


def test_kappa_equals_scikit_learn(case):
    metrics = pytest.importorskip('sklearn.metrics')
    labels, counts, predictions = case
    first, second = predictions == labels, counts.argmax(axis=1) == labels
    expected = metrics.cohen_kappa_score(first, second)
    assert errors.kappa(first, second) == pytest.approx(expected, abs=1e-12)
    rows = np.random.default_rng(0).integers(0, len(labels), len(labels))
    weights = np.bincount(rows, minlength=len(labels))[None].astype(float)
    expected = metrics.cohen_kappa_score(first[rows], second[rows])
    np.testing.assert_allclose(errors.kappa(first, second, weights), [expected], atol=1e-12)


def test_kappa_with_a_random_person_is_the_mean_over_drawn_people(case):
    labels, counts, predictions = case
    np_rng, right = np.random.default_rng(2), predictions == labels
    share = right_share(counts, labels)
    drawn = np.mean([errors.kappa(right, np_rng.random(len(labels)) < share) for _ in range(4000)])
    assert errors.kappa(right, share) == pytest.approx(drawn, abs=3e-3)


def test_kappa_between_people_is_the_mean_over_all_pairs_of_them():
    # Five people name six images; which of them answers first does not matter.
    answers = np.array(
        [[0, 0, 0, 1, 2], [1, 1, 1, 1, 1], [2, 2, 0, 0, 1], [0, 0, 0, 0, 1], [1, 2, 1, 1, 2], [2, 2, 2, 2, 0]]
    )
    labels = np.array([0, 1, 2, 0, 1, 2])
    counts = np.stack([np.bincount(row, minlength=3) for row in answers])
    right = answers == labels[:, None]
    agreement = np.mean([right[:, i] == right[:, j] for i, j in itertools.permutations(range(5), 2)])
    accuracy = right.mean()
    chance = accuracy**2 + (1 - accuracy) ** 2
    assert errors.kappa_between_people(counts, labels) == pytest.approx((agreement - chance) / (1 - chance), abs=1e-12)


def test_the_best_kappa_is_that_of_the_best_of_all_patterns():
    share = np.random.default_rng(3).random(9)
    best = max(errors.kappa(np.array(pattern), share) for pattern in itertools.product((0, 1), repeat=9))
    assert errors.best_kappa(share) == pytest.approx(best, abs=1e-12)


def test_where_nobody_errs_there_is_no_consistency():
    assert np.isnan(errors.kappa(np.ones(5), np.ones(5)))
    assert np.isnan(errors.best_kappa(np.ones(5)))


def test_independent_errors_have_kappa_nought():
    np_rng = np.random.default_rng(4)
    assert abs(errors.kappa(np_rng.random(200_000) < 0.9, np_rng.random(200_000) < 0.8)) < 0.01


def test_a_model_that_is_one_of_the_classifier_scores_at_the_lower_ceiling(case):
    labels, counts, _ = case
    np_rng = np.random.default_rng(5)
    found = errors.ceilings(counts, labels, n_splits=5)['kappa']
    scores = []
    for _ in range(300):
        person = (12 * np_rng.random((len(counts), 1)) > counts.cumsum(axis=1)[:, :-1]).sum(axis=1)
        others = counts - np.eye(K, dtype=np.int64)[person]
        scores.append(errors.kappa(person == labels, right_share(others, labels)))
    assert np.mean(scores) == pytest.approx(found.lower, abs=0.005)
    assert found.lower < found.upper


def test_a_model_that_is_half_of_the_classifier_scores_at_the_ceiling_of_confusions(case):
    labels, counts, _ = case
    found = errors.ceilings(counts, labels, n_splits=50)['confusion_spearman']
    scores = []
    for seed in range(50):
        half = np.random.default_rng([6, seed]).multivariate_hypergeometric
        mine = np.stack([half(row, 6) for row in counts])
        scores.append(
            errors.confusion_spearman(*(errors.confusion(labels, part / 6) for part in (mine, counts - mine)))
        )
    assert np.mean(scores) == pytest.approx(found.lower, abs=0.02)


def test_bins_are_unanimous_images_and_thirds_of_the_others():
    counts = np.zeros((40, 2), np.int64)
    counts[:, 1] = np.r_[np.zeros(10, int), np.arange(1, 31)]
    counts[:, 0] = 100 - counts[:, 1]
    bins, edges = errors.uncertainty_bins(counts)
    assert np.bincount(bins).tolist() == [10, 10, 10, 10] and (np.diff(bins) >= 0).all()
    entropies = scipy.stats.entropy(counts / 100, axis=1)
    assert entropies[bins == 1].max() <= edges[0] < entropies[bins == 2].min()
    assert entropies[bins == 2].max() <= edges[1] < entropies[bins == 3].min()


def test_where_all_agree_there_is_one_bin():
    bins, edges = errors.uncertainty_bins(np.array([[5, 0], [0, 5]]))
    assert bins.tolist() == [0, 0] and np.isnan(edges).all()


@pytest.mark.data
def test_the_confusions_of_cifar10h(real_data):
    counts = cifar10h.load_counts(real_data / 'cifar10')
    with np.load(real_data / 'cifar10' / 'test_jpeg.npz') as file:
        labels = file['labels'].astype(np.int64)
    matrix = errors.error_matrix(errors.confusion(labels, counts / counts.sum(axis=1, keepdims=True)))
    order = np.argsort(matrix.reshape(-1))[::-1][:10]
    found = {
        f'{cifar10h.CLASS_NAMES[i]}->{cifar10h.CLASS_NAMES[j]}': round(100 * matrix[i, j], 2)
        for i, j in zip(*np.divmod(order, 10))
    }
    published = {
        'deer->horse': 4.31,
        'cat->dog': 4.24,
        'dog->cat': 3.42,
        'truck->automobile': 2.39,
        'automobile->truck': 2.22,
        'deer->dog': 2.05,
        'airplane->ship': 2.00,
        'cat->bird': 1.40,
        'frog->cat': 1.35,
        'cat->frog': 1.30,
    }
    assert found == pytest.approx(published, abs=0.011)
    found = errors.ceilings(counts, labels, n_splits=10)
    assert found['confusion_spearman'].lower == pytest.approx(0.977, abs=0.002)


def test_ties_survive_the_order_in_which_shares_are_summed():
    labels = np.zeros(3, np.int64)
    answers = np.array([[0.1, 0.3, 0.6], [0.2, 0.2, 0.6], [0.3, 0.1, 0.6]])
    other = np.array([[0.0, 0.2, 0.5], [0.5, 0.0, 0.3], [0.1, 0.2, 0.0]])
    first = errors.confusion(np.r_[labels, 1, 2], np.vstack([answers, answers[:2]]))
    moved = errors.confusion(np.r_[labels, 1, 2], np.vstack([answers[::-1], answers[:2]]))
    assert not np.array_equal(first, moved)  # in the last digit
    assert errors.confusion_spearman(first, other) == errors.confusion_spearman(moved, other)
