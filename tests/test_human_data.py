"""Answers join by id, and rows in a wrong order are noticed."""

import numpy as np
import pytest

from humalign_jax.human_data import Choices, Ratings, check_order


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


def _ratings(values=((1, 2, 3), (4, np.nan, 6)), **changes):
    n = np.shape(values)[1]
    fields = {
        'pairs': [f'p{i}' for i in range(n)],
        'ids_a': [f'a{i}' for i in range(n)],
        'ids_b': [f'b{i}' for i in range(n)],
        'categories': ['7', '8', '8'][:n],
        'raters': ['r1', 'r2'],
        'values': values,
        'scale': (1, 10),
        'name': 'people',
    }
    return Ratings(**{**fields, **changes})


def test_the_mean_rating_is_over_those_who_rated_the_pair():
    np.testing.assert_array_equal(_ratings().mean, [2.5, 2.0, 4.5])


def test_a_category_has_its_pairs_only():
    chosen = _ratings().of_category('8')
    assert chosen.pairs.tolist() == ['p1', 'p2'] and chosen.ids_b.tolist() == ['b1', 'b2']
    np.testing.assert_array_equal(chosen.values, [[2, 3], [np.nan, 6]])
    with pytest.raises(ValueError, match=r"'people' have no category '9', but 7, 8"):
        _ratings().of_category('9')


def test_a_rater_has_the_pairs_that_this_person_rated():
    chosen = _ratings().of_rater('r2')
    assert chosen.pairs.tolist() == ['p0', 'p2'] and chosen.values.tolist() == [[4, 6]]
    with pytest.raises(ValueError, match="no rater 'r3', but r1, r2"):
        _ratings().of_rater('r3')


def test_a_rater_without_ratings_in_a_category_is_left_out_of_it():
    chosen = _ratings(((1, 2, 3), (4, np.nan, np.nan))).of_category('8')
    assert chosen.raters.tolist() == ['r1']


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'values': ((1, 2, 3), (4, 11, 6))}, 'r2 rated pair p1 11, outside the scale from 1 to 10'),
        ({'values': ((1, 2, 3), (4, np.inf, 6))}, 'r2 rated pair p1 inf, outside'),
        ({'values': ((1, np.nan, 3), (4, np.nan, 6))}, 'pair p1 has no rating'),
        ({'values': ((1, 2, 3), (np.nan,) * 3)}, 'rater r2 has no rating'),
        ({'values': ((1, 2, 3),)}, r'2 raters and 3 pairs must be \(2, 3\): \(1, 3\)'),
        ({'pairs': ['p0', 'p1', 'p1']}, "pairs must be unique, but 'p1' occurs twice"),
        ({'raters': ['r1', 'r1']}, "raters must be unique, but 'r1' occurs twice"),
        ({'ids_b': ['b0', 'b1']}, r'3 pairs but ids_b has shape \(2,\)'),
        ({'raters': [], 'values': np.empty((0, 3))}, 'have no rater'),
    ],
)
def test_ratings_that_cannot_be_are_refused_by_name(changes, message):
    with pytest.raises(ValueError, match=message):
        _ratings(**changes)


def make_choices(**changes):
    fields = dict(
        participants=np.array(['a', 'a', 'b']),
        trials=np.array([1, 2, 1]),
        stimuli=np.array([['x', 'y'], ['y', 'z'], ['x', 'z']]),
        choices=np.array([0, 1, 1]),
        feedback=np.array([[1.0, 2.0], [3.0, 0.0], [5.0, 5.0]]),
        options=('left', 'right'),
        name='made up',
    )
    return Choices(**{**fields, **changes})


def test_choices_know_their_task_and_people():
    choices = make_choices()
    assert choices.task == 'reward' and choices.people == ['a', 'b']
    assert choices.of_people(['b']).stimuli.tolist() == [['x', 'z']]
    one = make_choices(stimuli=np.array([['x'], ['y'], ['z']]), feedback=np.array([[0], [1], [1]]))
    assert one.task == 'category'


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'choices': np.array([0, 2, 1])}, 'participant a, trial 2: the choice is none of the options 0 to 1'),
        ({'choices': np.array([0.0, 1.0, 1.0])}, 'choices must be whole numbers'),
        (
            {'feedback': np.array([[1.0, 2.0], [3.0, 0.0], [5.0, np.nan]])},
            'participant b, trial 1: the feedback is',
        ),
        ({'trials': np.array([2, 2, 1])}, 'participant a, trial 2: the trial does not come after'),
        ({'participants': np.array(['a', 'b', 'a'])}, 'the trials of each participant must stand together'),
        ({'options': ('left',)}, 'two options are needed'),
        ({'options': ('left', 'right', 'up')}, r'one for each option, \[3, 3\], not \[3, 2\]'),
        ({'feedback': np.ones((3, 1))}, r'feedback must be \[3, 2\]'),
        (
            {'stimuli': np.array([['x'], ['y'], ['z']]), 'feedback': np.array([[0.0], [0.5], [1.0]])},
            'participant a, trial 2: the feedback is none of the options',
        ),
    ],
)
def test_choices_that_cannot_be_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        make_choices(**changes)
