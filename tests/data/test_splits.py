"""Stratified splits and folds: exact proportions, published ids, repeatable."""

import dataclasses
import fractions

import numpy as np
import pytest
from sklearn.model_selection import StratifiedKFold

from humalign_jax import records
from humalign_jax.data import splits, stratified_folds, stratified_split


def image_set(counts, seed=0):
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts)).astype(np.int32)
    n = len(labels)
    return records.ImageSet(
        images=np.arange(n, dtype=np.uint8)[:, None, None, None],
        labels=labels,
        index=np.arange(n, dtype=np.int64),
        class_names=tuple(f'class {k}' for k in range(len(counts))),
        name='toy',
        split='train',
        extras={'row': np.arange(n)},
    )


@pytest.mark.parametrize(
    'counts, n_validation', [((10, 10, 10), 6), ((10, 10, 10), 7), ((50, 30, 21), 10), ((9, 3), 4)]
)
def test_shares_follow_the_largest_remainder(counts, n_validation):
    train, validation = stratified_split(image_set(counts), n_validation, 0)
    # Hamilton's method in exact fractions.
    quotas = [fractions.Fraction(c * n_validation, sum(counts)) for c in counts]
    shares = [int(q) for q in quotas]
    for k in sorted(range(len(counts)), key=lambda k: -(quotas[k] - int(quotas[k])))[: n_validation - sum(shares)]:
        shares[k] += 1
    np.testing.assert_array_equal(np.bincount(validation.labels, minlength=len(counts)), shares)
    np.testing.assert_array_equal(np.bincount(train.labels, minlength=len(counts)), np.subtract(counts, shares))


def test_parts_are_disjoint_complete_ordered_and_keep_their_ids():
    whole = image_set((40, 25, 35))
    train, validation = stratified_split(whole, 20, 1)
    assert train.split == 'train' and validation.split == 'validation'
    np.testing.assert_array_equal(np.sort(np.concatenate([train.index, validation.index])), np.arange(100))
    for part in (train, validation):
        assert (np.diff(part.index) > 0).all()
        np.testing.assert_array_equal(part.ids, whole.ids[part.index])
        np.testing.assert_array_equal(part.labels, whole.labels[part.index])
        np.testing.assert_array_equal(part.images[:, 0, 0, 0], part.index)
        np.testing.assert_array_equal(part.extras['row'], part.index)
    assert validation.ids[0].startswith('toy/train/')


def test_the_seed_decides():
    whole = image_set((50, 50))
    first, again, other = (stratified_split(whole, 10, seed)[1].index for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


@pytest.mark.parametrize('n_validation', [0, 20, 21, -1])
def test_sizes_out_of_range_are_errors(n_validation):
    with pytest.raises(ValueError, match=f'must be 1 to 19 for the 20 images of toy, not {n_validation}'):
        stratified_split(image_set((10, 10)), n_validation, 0)


@pytest.mark.parametrize('n_validation, part', [(2, 'validation'), (101, 'training')])
def test_a_class_that_would_vanish_is_named(n_validation, part):
    with pytest.raises(ValueError, match=f"leaves no {part} image of class 'class 1', which has 2"):
        stratified_split(image_set((100, 2)), n_validation, 0)


@pytest.mark.parametrize('counts, n_folds', [((20, 20), 10), ((13, 7, 25), 10), ((5, 9), 3)])
def test_folds_are_even_in_size_and_in_every_class(counts, n_folds):
    labels = image_set(counts).labels
    folds = stratified_folds(labels, n_folds, 0)
    sizes = np.bincount(folds, minlength=n_folds)
    assert sizes.max() - sizes.min() <= 1
    for k in range(len(counts)):
        per_fold = np.bincount(folds[labels == k], minlength=n_folds)
        assert per_fold.max() - per_fold.min() <= 1


def test_folds_hold_as_many_of_each_class_as_those_of_sklearn():
    labels = image_set((13, 27, 25)).labels
    ours = stratified_folds(labels, 5, 0)
    theirs = StratifiedKFold(5, shuffle=True, random_state=0).split(labels, labels)
    table = [np.bincount(labels[test], minlength=3) for _, test in theirs]
    assert sorted(np.bincount(labels[ours == f], minlength=3)[0] for f in range(5)) == sorted(row[0] for row in table)
    np.testing.assert_array_equal(np.sort(np.bincount(ours)), np.sort(np.sum(table, axis=1)))


def test_folds_are_random_but_repeatable():
    labels = np.zeros(100, np.int64)
    np.testing.assert_array_equal(stratified_folds(labels, 10, 3), stratified_folds(labels, 10, 3))
    assert (stratified_folds(labels, 10, 3) != stratified_folds(labels, 10, 4)).any()


@pytest.mark.parametrize('labels, n_folds', [([0, 1], 3), ([0, 1], 1), ([0.5, 1], 2), ([[0, 1]], 2), ([-1, 0], 2)])
def test_wrong_folds_are_errors(labels, n_folds):
    with pytest.raises(ValueError, match='must be'):
        stratified_folds(np.array(labels), n_folds, 0)


def test_images_with_the_pixels_of_others_are_found():
    whole = image_set((10, 10))
    some, others = whole.take(np.array([3, 15, 8])), whole.take(np.array([8, 2, 3]))
    np.testing.assert_array_equal(splits.repeated_images(some, others), [0, 2])
    larger = dataclasses.replace(others, images=np.zeros((3, 2, 1, 1), np.uint8))
    assert len(splits.repeated_images(some, larger)) == 0
