"""Pairs of images of one class: drawn without repeats, by seed, and joined by id."""

import numpy as np
import pytest

from humalign_jax import data
from humalign_jax.data.pairs import find_pairs, sample_pairs


@pytest.fixture(scope='module')
def images():
    return data.load('synthetic', 'test', n_test=100, image='grey')


def test_each_image_is_in_one_pair_and_of_the_pairs_class(images):
    pairs = sample_pairs(images, (), 5, seed=0)
    assert len(pairs) == 50 and len(np.unique(pairs.rows)) == 100
    names = np.array(images.class_names)[images.labels[pairs.rows]]
    np.testing.assert_array_equal(names, np.stack([pairs.categories] * 2, axis=1))
    assert len(set(pairs.names.tolist())) == 50 and pairs.names[0] == 'animate_a1-01'


def test_the_seed_decides_and_a_smaller_study_is_the_head_of_a_larger_one(images):
    few, more = (sample_pairs(images, ('animate_b1',), n, seed=3).rows for n in (2, 5))
    np.testing.assert_array_equal(few, more[:2])
    both = sample_pairs(images, ('animate_a1', 'animate_b1'), 5, seed=3).rows
    np.testing.assert_array_equal(both[5:], more)
    assert not np.array_equal(more, sample_pairs(images, ('animate_b1',), 5, seed=4).rows)


@pytest.mark.parametrize(
    ('categories', 'n_pairs', 'message'),
    [
        (('animate_a1',), 6, "6 pairs of class 'animate_a1' need 12 images, but synthetic/test has 10: ask for 5"),
        (('animate_a9',), 2, "no class 'animate_a9'. Did you mean 'animate_a"),
        (('animate_a1', 'animate_a1'), 2, 'named twice'),
    ],
)
def test_what_cannot_be_drawn_is_refused(images, categories, n_pairs, message):
    with pytest.raises(ValueError, match=message):
        sample_pairs(images, categories, n_pairs, seed=0)


def test_rated_pairs_are_found_by_id_in_images_of_another_order(images):
    pairs = sample_pairs(images, ('animate_a1',), 5, seed=0)
    turned = images.take(np.arange(len(images))[::-1])
    ids = images.ids[pairs.rows]
    rows = find_pairs(turned, ids[:, 0], ids[:, 1], pairs.categories, name='people')
    np.testing.assert_array_equal(turned.images[rows], images.images[pairs.rows])


def test_images_that_are_missing_or_of_another_class_are_named(images):
    pairs = sample_pairs(images, ('animate_a1',), 2, seed=0)
    a, b = images.ids[pairs.rows].T
    with pytest.raises(ValueError, match=r"1 of 4 images of ratings 'people' are not in .*/test, .* 'elsewhere'"):
        find_pairs(images, np.array(['elsewhere', a[1]]), b, pairs.categories, name='people')
    with pytest.raises(ValueError, match=f"{a[0]} is of class 'animate_a1', but .* call it 'animate_a2'"):
        find_pairs(images, a, b, np.repeat('animate_a2', 2), name='people')
