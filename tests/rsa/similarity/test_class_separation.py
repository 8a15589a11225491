import numpy as np
import pytest
from scipy.spatial.distance import cdist

from humalign_jax import rsa


def _classes(sizes, spread):
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(len(sizes)), sizes)
    return rng.normal(size=(len(sizes), 5))[labels] + spread * rng.normal(size=(len(labels), 5)), labels


def test_separation_is_one_minus_the_ratio_of_mean_cosine_distances():
    """Kornblith et al. (2021), equation 11, with classes of one size."""
    x, labels = _classes([8] * 4, 0.5)
    distances = cdist(x, x, 'cosine')
    within = np.mean([distances[np.ix_(labels == k, labels == k)].mean() for k in range(4)])
    assert rsa.class_separation(x, labels) == pytest.approx(1 - within / distances.mean(), rel=1e-9)


def test_classes_of_different_sizes_count_the_same():
    x, labels = _classes([4, 30], 0.7)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    within = np.mean([unit[labels == k].var(axis=0).sum() for k in range(2)])
    assert rsa.class_separation(x, labels) == pytest.approx(1 - within / unit.var(axis=0).sum(), rel=1e-9)


def test_a_table_of_single_classes_is_the_same_as_labels_and_stimuli_without_a_class_are_left_out():
    x, labels = _classes([5, 6, 7], 0.5)
    table = labels[:, None] == np.arange(3)
    expected = rsa.class_separation(x, np.array(['a', 'b', 'c'])[labels])
    assert rsa.class_separation(x, table) == pytest.approx(expected, rel=1e-12)
    more = np.concatenate([x, 9 * np.ones((4, 5))]), np.concatenate([table, np.zeros((4, 3), bool)])
    assert rsa.class_separation(*more) == pytest.approx(expected, rel=1e-12)


def test_a_stimulus_may_be_in_several_classes():
    x, labels = _classes([6, 6], 0.5)
    table = np.stack([labels == 0, labels == 1, np.arange(12) % 2 == 0], axis=1)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    within = np.mean([unit[members].var(axis=0).sum() for members in table.T])
    assert rsa.class_separation(x, table) == pytest.approx(1 - within / unit.var(axis=0).sum(), rel=1e-9)


def test_equal_stimuli_of_a_class_give_1_and_the_scale_of_a_stimulus_changes_nothing():
    x = np.eye(3)[np.repeat(np.arange(3), 4)]
    assert rsa.class_separation(x * np.arange(1, 13)[:, None], np.repeat(np.arange(3), 4)) == pytest.approx(1.0)
    assert np.isnan(rsa.class_separation(np.ones((4, 2)), np.array([0, 0, 1, 1])))


@pytest.mark.parametrize(
    ('labels', 'message'),
    [
        (np.array([0, 0, 1]), r'class 1 of 2 has 1 stimuli, but a variance needs 2'),
        (np.array([0, 0]), r'labels of 3 stimuli must be \[3\]'),
        (np.ones((3, 2)), r'booleans \[3, classes\], not float64'),
    ],
)
def test_labels_that_do_not_fit_are_refused(labels, message):
    with pytest.raises(ValueError, match=message):
        rsa.class_separation(np.eye(3), labels)


def test_a_stimulus_without_direction_is_refused():
    with pytest.raises(ValueError, match='features of 1 stimuli are all 0'):
        rsa.class_separation(np.array([[0, 0], [1, 0], [0, 1]]), np.zeros(3))
