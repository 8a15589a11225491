"""The record of odd-one-out choices refuses what is no triplet, and joins by id."""

import numpy as np
import pytest

from humalign_jax.human_data import Triplets

IDS = ['cat', 'dog', 'car', 'bus']


def _triplets(items=((0, 1, 2), (3, 2, 0)), odd=(2, 0), **changes):
    return Triplets(**{'ids': IDS, 'items': np.array(items), 'odd': np.array(odd), 'name': 'people', **changes})


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'items': ((0, 1, 2), (3, 3, 0))}, r'trial 1 \(from 0\) shows a stimulus twice, bus, bus, cat \(1 such'),
        ({'items': ((0, 1, 4), (3, 2, 0))}, r'trial 0 \(from 0\) has the item 4, outside 0 to 3 \(1 such trials\)'),
        ({'items': ((0, 1, 2), (-1, 2, 0))}, 'trial 1 .* has the item -1'),
        ({'odd': (2, 3)}, 'odd must be the place 0, 1 or 2 of the odd one out'),
        ({'odd': (2,)}, 'in each of 2 trials'),
        ({'items': np.zeros((0, 3), int), 'odd': ()}, 'with t above 0'),
        ({'items': ((0.0, 1.0, 2.0), (3.0, 2.0, 0.0))}, 'must be whole numbers'),
        ({'participants': ['p']}, r'2 trials but participants has shape \(1,\)'),
        ({'kinds': ['a', 'b', 'c']}, r'2 trials but kinds has shape \(3,\)'),
        ({'ids': ['cat', 'cat', 'car', 'bus']}, "must be unique, but 'cat'"),
    ],
)
def test_what_is_no_triplet_is_named(changes, message):
    with pytest.raises(ValueError, match=message):
        _triplets(**changes)


def test_repeats_in_any_order_are_one_set():
    made = _triplets(((0, 1, 2), (2, 0, 1), (0, 1, 3)), (2, 0, 1))
    assert made.sets[0] == made.sets[1] != made.sets[2]
    assert made.ids[made.chosen].tolist() == ['car', 'car', 'dog']


def test_joining_gives_rows_of_the_features_and_keeps_what_was_chosen():
    made = _triplets().join(np.array(['extra', 'bus', 'car', 'dog', 'cat']), what='net')
    assert made.ids[made.items].tolist() == [['cat', 'dog', 'car'], ['bus', 'car', 'cat']]
    assert made.ids[made.chosen].tolist() == ['car', 'bus']


def test_stimuli_that_features_lack_are_named_with_the_trials_that_show_them():
    with pytest.raises(ValueError, match=r"net lacks 1 of the 4 stimuli of 'people', .* 'bus', which 1 of 2 trials"):
        _triplets().join(np.array(['cat', 'dog', 'car']), what='net')


def test_stimuli_that_no_trial_shows_may_be_missing():
    made = _triplets(((0, 1, 2),), (2,)).join(np.array(['cat', 'dog', 'car']), what='net')
    assert made.items.tolist() == [[0, 1, 2]]


def test_taking_trials_takes_participants_and_kinds_along():
    made = _triplets(participants=np.array([7, 8]), kinds=np.array(['a', 'b'])).take(np.array([False, True]))
    assert made.participants.tolist() == [8] and made.kinds.tolist() == ['b'] and made.odd.tolist() == [0]


def test_triplets_given_by_id_are_rows_of_the_sorted_ids():
    made = Triplets.from_ids(np.array([['b', 'c', 'a'], ['d', 'a', 'b']]), np.array([1, 2]), 'people')
    assert made.ids.tolist() == ['a', 'b', 'c', 'd'] and made.items.tolist() == [[1, 2, 0], [3, 0, 1]]
