"""HDF5 files with one array for each stimulus, named by its number."""

import h5py
import numpy as np
import pytest

from humalign_jax.rsa import files

VALUES = np.random.default_rng(0).normal(size=(12, 5)).astype(np.float32)


@pytest.fixture
def path(tmp_path):
    with h5py.File(tmp_path / 'features.h5', 'w') as file:
        for row, values in enumerate(VALUES):
            file[str(row)] = values
    return tmp_path / 'features.h5'


def test_numbered_vectors_are_rows_in_the_order_of_their_numbers(path):
    np.testing.assert_array_equal(files.load_features(path, ids=np.arange(12)).values, VALUES)


def test_one_compressed_array_named_representations_is_read(tmp_path):
    with h5py.File(tmp_path / 'dense.h5', 'w') as file:
        file.create_dataset('representations', data=VALUES, compression='gzip')
    np.testing.assert_array_equal(files.load_features(tmp_path / 'dense.h5').values, VALUES)


def test_a_missing_number_or_another_length_is_named(path):
    with h5py.File(path, 'a') as file:
        del file['3']
    with pytest.raises(ValueError, match=r'datasets 0 to 10 must all have shape \(5,\), but 3 is missing'):
        files.load_features(path)
    with h5py.File(path, 'a') as file:
        file['3'] = [1.0]
    with pytest.raises(ValueError, match=r'but 3 is of shape \(1,\)'):
        files.load_features(path)


def test_sparse_codes_are_no_features(tmp_path):
    with h5py.File(tmp_path / 'codes.h5', 'w') as file:
        for row in range(3):
            file.create_group(str(row)).update({'indices': [0], 'activations': [1.0]})
    with pytest.raises(ValueError, match='is a sparse matrix, but must be dense'):
        files.load_features(tmp_path / 'codes.h5')


def test_matrices_with_numbers_as_names_are_arrays_of_their_own(tmp_path):
    with h5py.File(tmp_path / 'two.h5', 'w') as file:
        file['0'], file['1'] = VALUES, VALUES[:3]
    np.testing.assert_array_equal(files.load_features(tmp_path / 'two.h5', key='1').values, VALUES[:3])
