import h5py
import numpy as np
import pytest

from humalign_jax.data.function_files import load_function_file
from humalign_jax.data.functions import Functions, save_functions

VALUES = np.array([[0, 2, 0], [0.5, 0, 1], [0, 0, 0]], np.float32)  # [n, f]
IDS = np.array(['a', 'b', 'c'])


@pytest.fixture
def groups(tmp_path):
    """VALUES as one HDF5 group for each item."""
    path = tmp_path / 'codes.h5'
    with h5py.File(path, 'w') as file:
        for row, values in enumerate(VALUES):
            group = file.create_group(str(row))
            group['indices'] = np.flatnonzero(values)
            group['activations'] = values[np.flatnonzero(values)]
    return path


def test_groups_of_items_become_functions(groups):
    functions = load_function_file(groups, item_ids=IDS)
    np.testing.assert_array_equal(functions.dense(), VALUES.T)
    assert functions.function_ids.tolist() == ['codes/00000', 'codes/00001', 'codes/00002']
    assert functions.item_ids.tolist() == ['a', 'b', 'c']


def test_more_than_ten_groups_are_in_the_order_of_their_numbers(tmp_path):
    with h5py.File(tmp_path / 'codes.h5', 'w') as file:
        for row in range(12):
            file.create_group(str(row)).update({'indices': [0], 'activations': [row + 1.0]})
    functions = load_function_file(tmp_path / 'codes.h5', item_ids=np.arange(12))
    np.testing.assert_array_equal(functions.dense()[0], np.arange(1, 13))


def test_a_sparse_matrix_of_an_npz_has_values_of_1_unless_it_says_others(tmp_path):
    row, col = np.nonzero(VALUES)
    triple = {'tree_row': row, 'tree_col': col, 'tree_shape': VALUES.shape}
    np.savez(tmp_path / 'one.npz', **triple)
    np.savez(tmp_path / 'two.npz', **triple, tree_val=VALUES[row, col], other=VALUES[:, :2])
    np.testing.assert_array_equal(load_function_file(tmp_path / 'one.npz', item_ids=IDS).dense(), VALUES.T != 0)
    two = load_function_file(tmp_path / 'two.npz', item_ids=IDS, key='tree')
    np.testing.assert_array_equal(two.dense(), VALUES.T)
    other = load_function_file(tmp_path / 'two.npz', item_ids=IDS, key='other')
    np.testing.assert_array_equal(other.dense(), VALUES[:, :2].T)
    with pytest.raises(ValueError, match="name one of its matrices as key, not '': tree, other"):
        load_function_file(tmp_path / 'two.npz', item_ids=IDS)


def test_raw_neurons_of_an_npy_are_functions_too(tmp_path):
    np.save(tmp_path / 'layer.npy', VALUES - 1)
    functions = load_function_file(tmp_path / 'layer.npy', item_ids=IDS, name='raw')
    np.testing.assert_array_equal(functions.dense(), VALUES.T - 1)
    assert not functions.are_sparse


def test_saved_functions_need_no_ids(tmp_path):
    save_functions(tmp_path / 'codes.npz', Functions.from_dense(VALUES.T, IDS, ['p', 'q', 'r'], 'toy'))
    np.testing.assert_array_equal(load_function_file(tmp_path / 'codes.npz').dense(), VALUES.T)


def test_ids_that_do_not_fit_are_refused(groups):
    with pytest.raises(ValueError, match='has functions of 3 items, but no ids came'):
        load_function_file(groups)
    with pytest.raises(ValueError, match='has functions of 3 items, but 2 ids came'):
        load_function_file(groups, item_ids=IDS[:2])


def test_damaged_groups_are_named(groups):
    with h5py.File(groups, 'a') as file:
        file['1/indices'][...] = [1, 1]
    with pytest.raises(ValueError, match=r'codes\.h5 gives the value of one item and one function twice'):
        load_function_file(groups, item_ids=IDS)
    with h5py.File(groups, 'a') as file:
        del file['1/activations']
    with pytest.raises(ValueError, match=r'codes\.h5 cannot be read as sparse codes: item 1 has no indices and act'):
        load_function_file(groups, item_ids=IDS)
    with h5py.File(groups, 'a') as file:
        del file['1']
    with pytest.raises(ValueError, match=r"named 0 to 1, but \['1'\] is missing"):
        load_function_file(groups, item_ids=IDS)
    groups.write_bytes(b'no hdf5')
    with pytest.raises(ValueError, match=r'codes\.h5 cannot be read as sparse codes'):
        load_function_file(groups, item_ids=IDS)


def test_an_entry_outside_the_matrix_is_refused(tmp_path):
    np.savez(tmp_path / 'one.npz', tree_row=[3], tree_col=[0], tree_shape=[3, 2])
    with pytest.raises(ValueError, match=r'one\.npz has an entry outside its 3 items and 2 functions'):
        load_function_file(tmp_path / 'one.npz', item_ids=IDS)


@pytest.mark.data
def test_wordnet_ancestors_of_the_things_concepts_are_functions(real_data):
    path = real_data / 'things' / 'word_embeddings.npz'
    functions = load_function_file(path, item_ids=np.arange(1854), key='wordnet')
    positives = functions.n_positive()
    assert (len(functions), int(np.sum(positives >= 20)), int(np.sum(positives >= 5))) == (2928, 88, 286)
