import dataclasses

import numpy as np
import pytest

from humalign_jax.data import functions as functions_lib
from humalign_jax.data.functions import Functions, load_functions, save_functions, usable

VALUES = np.array([[0, 2, 0, 1], [0, 0, 0, 0], [0.5, 0, 0, 0], [0, 2, 0, 1], [1, 1, 1, 1]], np.float32)  # [f, n]
ITEMS, NAMES = ['a', 'b', 'c', 'd'], ['p', 'q', 'r', 's', 't']


@pytest.fixture
def functions():
    return Functions.from_dense(VALUES, ITEMS, NAMES, 'toy', provenance={'file': 'x'})


def test_entries_are_those_of_the_matrix(functions):
    np.testing.assert_array_equal(functions.indptr, [0, 2, 2, 3, 5, 9])
    np.testing.assert_array_equal(functions.indices, [1, 3, 0, 1, 3, 0, 1, 2, 3])
    np.testing.assert_array_equal(functions.values, [2, 1, 0.5, 2, 1, 1, 1, 1, 1])
    np.testing.assert_array_equal(functions.dense(), VALUES)
    assert [functions.indptr.dtype, functions.indices.dtype, functions.values.dtype] == ['int64', 'int32', 'float32']


def test_select_takes_functions_in_the_order_asked_for(functions):
    chosen = functions.select(np.array([2, 0]))
    np.testing.assert_array_equal(chosen.dense(), VALUES[[2, 0]])
    np.testing.assert_array_equal(chosen.function_ids, ['r', 'p'])
    np.testing.assert_array_equal(functions.select(VALUES.any(axis=1)).function_ids, ['p', 'r', 's', 't'])


def test_items_join_by_id(functions):
    np.testing.assert_array_equal(functions.select_items(np.array(['d', 'a'])).dense(), VALUES[:, [3, 0]])
    with pytest.raises(ValueError, match=r"no values of 1 of 2 items, the first of them 'z'; their ids are such as 'a"):
        functions.select_items(np.array(['a', 'z']))


def test_n_positive_counts_among_the_items_asked_for(functions):
    np.testing.assert_array_equal(functions.n_positive(), [2, 0, 1, 2, 4])
    np.testing.assert_array_equal(functions.n_positive(np.array([0, 1])), [1, 0, 1, 1, 2])


def test_usable_names_why_each_function_is_left_out(functions):
    chosen, counts = usable(functions, min_positives=2, min_negatives=1)
    assert chosen.function_ids.tolist() == ['p']
    assert counts == {'dead': 1, 'rare': 1, 'common': 1, 'duplicate': 1}
    assert chosen.provenance['usable']['left_out'] == counts and chosen.provenance['file'] == 'x'


def test_a_usable_function_has_enough_items_in_every_set(functions):
    sets = {'train': np.array([0, 1]), 'eval': np.array([2, 3])}
    chosen, counts = usable(functions, min_positives=1, item_sets=sets)
    assert chosen.function_ids.tolist() == ['p', 't']  # r has no item in eval
    assert counts == {'dead': 1, 'rare': 1, 'common': 0, 'duplicate': 1}


def test_no_usable_function_is_refused(functions):
    with pytest.raises(ValueError, match=r"none of the 5 functions 'toy' has 5 positive and 0 negative items in each"):
        usable(functions, min_positives=5)


def test_more_than_half_zeros_are_sparse(functions):
    assert functions.select(np.array([0, 2])).are_sparse
    assert not functions.select(np.array([0, 3])).are_sparse


def test_files_hold_the_record(functions, tmp_path):
    save_functions(tmp_path / 'codes.npz', functions)
    loaded = load_functions(tmp_path / 'codes.npz')
    for field in dataclasses.fields(functions):
        np.testing.assert_array_equal(getattr(loaded, field.name), getattr(functions, field.name))


def test_files_that_do_not_belong_together_are_refused(functions, tmp_path):
    save_functions(tmp_path / 'codes.npz', functions)
    save_functions(tmp_path / 'other.npz', functions.select(np.array([0, 1])))
    (tmp_path / 'other.json').replace(tmp_path / 'codes.json')
    with pytest.raises(ValueError, match=r'codes\.npz and codes\.json do not belong together'):
        load_functions(tmp_path / 'codes.npz')
    (tmp_path / 'codes.json').unlink()
    with pytest.raises(ValueError, match=r'codes\.json is missing: it holds the ids'):
        load_functions(tmp_path / 'codes.npz')


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'indices': [3, 1, 0, 1, 3, 0, 1, 2, 3]}, 'item rows must rise within a function'),
        ({'indices': [1, 4, 0, 1, 3, 0, 1, 2, 3]}, r'item rows must be in 0\.\.3, not up to 4'),
        ({'indptr': [0, 2, 2, 3, 5, 8]}, 'indptr must rise from 0 to the number of values, 9'),
        ({'values': [0, 1, 0.5, 2, 1, 1, 1, 1, 1]}, 'values must be finite and not 0'),
        ({'values': [np.nan, 1, 0.5, 2, 1, 1, 1, 1, 1]}, 'values must be finite and not 0'),
        ({'function_ids': ['p', 'p', 'r', 's', 't']}, "'p' occur more than once"),
        ({'function_ids': ['p']}, r'1 functions need indptr \[2\]'),
    ],
)
def test_what_is_no_csr_matrix_is_refused(functions, change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(functions, **change)


def test_a_matrix_of_other_shape_is_refused():
    with pytest.raises(ValueError, match=r'values must be \[f, n\] = \(5, 4\), not \(4, 5\)'):
        functions_lib.Functions.from_dense(VALUES.T, ITEMS, NAMES, 'toy')
