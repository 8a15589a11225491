"""Answers join by id, and rows in a wrong order are noticed."""

import numpy as np
import pytest

from humalign_jax.human_data import check_order


def test_matching_order_gives_the_share_of_images_whose_majority_is_the_label():
    counts = np.eye(10, dtype=np.int64)[[0, 1, 2, 3]] * 5
    assert check_order(counts, np.array([0, 1, 2, 4]), name='people') == 0.75


def test_shuffled_labels_are_refused():
    labels = np.arange(1000) % 10
    counts = np.eye(10, dtype=np.int64)[labels] * 50
    shuffled = np.random.default_rng(0).permutation(labels)
    with pytest.raises(
        ValueError, match=r"in 'people' is the label for (\d|1\d)\.\d % of 1000 images, less than the 50 %"
    ):
        check_order(counts, shuffled, name='people')


def test_another_number_of_labels_is_refused():
    with pytest.raises(ValueError, match='about 4 images, but there are 3 labels'):
        check_order(np.ones((4, 10), np.int64), np.zeros(3, np.int64), name='people')
