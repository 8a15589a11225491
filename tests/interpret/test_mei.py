"""Most exciting images: aggregation over a map, the images, and the flags."""

import numpy as np
import pytest

from humalign_jax.interpret import mei

MAPS = np.random.default_rng(0).normal(size=(7, 4, 3, 5)).astype(np.float32)


@pytest.mark.parametrize(
    ('mode', 'expected'),
    [
        ('mean', MAPS.mean(axis=(1, 2))),
        ('median', np.median(MAPS, axis=(1, 2))),
        ('min', MAPS.min(axis=(1, 2))),
        ('max', MAPS.max(axis=(1, 2))),
        ('center', MAPS[:, 2, 1]),
        ('flattened', MAPS.reshape(7, -1)),
    ],
)
def test_a_map_becomes_one_number_for_each_unit(mode, expected):
    np.testing.assert_allclose(mei.aggregate(MAPS, mode), expected, atol=1e-6)


def test_the_centre_of_two_by_two_is_its_last_place():
    np.testing.assert_array_equal(mei.aggregate(MAPS[:, :2, :2], 'center'), MAPS[:, 1, 1])


def test_a_vector_stays_as_it_is_in_every_mode():
    for mode in mei.MODES:
        np.testing.assert_array_equal(mei.aggregate(MAPS[:, 0, 0], mode), MAPS[:, 0, 0])


def test_an_unknown_mode_and_a_layer_of_other_rank_are_named():
    with pytest.raises(ValueError, match=r"no aggregation 'centre'\. Did you mean 'center'"):
        mei.aggregate(MAPS, 'centre')
    with pytest.raises(ValueError, match=r'is expected, not \[7, 4, 3\]'):
        mei.aggregate(MAPS[..., 0], 'mean')


@pytest.mark.parametrize('units_per_block', [3, 100])
def test_the_images_are_those_with_the_largest_activations(units_per_block):
    activations = np.random.default_rng(1).normal(size=(50, 8)).astype(np.float32)
    found = mei.most_exciting(activations, 4, units_per_block=units_per_block)
    expected = np.argsort(-activations, axis=0)[:4].T
    np.testing.assert_array_equal(found.rows, expected)
    np.testing.assert_array_equal(found.values, np.take_along_axis(activations.T, expected, axis=1))
    assert not found.is_dead.any() and not found.is_tied.any()


def test_dead_units_and_arbitrary_choices_are_flagged():
    activations = np.array(
        # silent, constant, tied at the edge, tied within, negative
        [[0, 2, 1, 5, -3], [0, 2, 4, 5, -1], [0, 2, 1, 1, -2], [0, 2, 1, 2, -4], [0, 2, 0, 0, -5]],
        np.float32,
    )
    found = mei.most_exciting(activations, 2)
    assert found.is_dead.tolist() == [True, True, False, False, True]
    assert found.is_tied.tolist() == [True, True, True, False, False]
    assert found.rows[2].tolist() == [1, 0]  # of equals the first


def test_too_few_images_and_values_that_are_not_finite_are_named():
    with pytest.raises(ValueError, match='n_meis=5 must be from 2 to one less than the number of images, 5'):
        mei.most_exciting(np.zeros((5, 2), np.float32), 5)
    broken = np.zeros((9, 4), np.float32)
    broken[6, 3] = np.nan
    with pytest.raises(ValueError, match='unit 3 has an activation that is not finite, for image 6'):
        mei.most_exciting(broken, 2, units_per_block=2)
