"""Tables of classes of stimuli."""

import numpy as np
import pytest

from humalign_jax.human.categories import Categories, load_categories

TABLE = 'id\tkinds\tconcept\nbee\tinsect, animal\tbee\ncat\tanimal\tcat\ncat2\tanimal\tcat\nmug\t\tmug\n'


def test_a_stimulus_may_be_in_several_classes_or_in_none(tmp_path):
    (tmp_path / 'items.tsv').write_text(TABLE)
    ids, classes = load_categories(tmp_path / 'items.tsv', 'id', {'coarse': 'kinds', 'fine': 'concept'})
    assert ids.tolist() == ['bee', 'cat', 'cat2', 'mug'] and classes['coarse'].names == ('animal', 'insect')
    np.testing.assert_array_equal(classes['coarse'].members, [[1, 1], [1, 0], [1, 0], [0, 0]])
    assert classes['fine'].names == ('bee', 'cat', 'mug')


def test_classes_of_fewer_than_two_of_the_stimuli_are_left_out():
    classes = Categories(('a', 'b'), np.array([[1, 1], [1, 0], [0, 1]], bool))
    taken = classes.take(np.array([0, 1]))
    assert taken.names == ('a',) and taken.members.tolist() == [[True], [True]]


@pytest.mark.parametrize(
    ('table', 'message'),
    [
        ('', 'lacks id, kinds: a tab-separated table with a header'),
        ('id\tkinds\n', 'lacks rows'),
        ('id\tkind\nbee\tinsect\n', 'lacks kinds.* columns are here id, kind'),
        ('id\tkinds\nbee\n', 'line 2, has 1 columns instead of 2'),
        ('id\tkinds\nbee\ta\nbee\tb\n', "ids must be unique, but 'bee'"),
        ('id\tkinds\nbee\t\n', "column 'kinds' names no class"),
    ],
)
def test_a_damaged_table_is_named(tmp_path, table, message):
    (tmp_path / 'items.tsv').write_text(table)
    with pytest.raises(ValueError, match=message):
        load_categories(tmp_path / 'items.tsv', 'id', {'coarse': 'kinds'})
