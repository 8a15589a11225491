import ml_collections
import numpy as np
import pytest

from humalign_jax.records import Features
from humalign_jax.rsa import files
from humalign_jax.wiring import feature_matrix

VALUES = np.arange(12.0).reshape(3, 4)


def _section(**changes):
    return ml_collections.ConfigDict({'features': '', 'key': '', 'ids_file': '', 'ids_column': '', **changes})


def test_a_layer_with_ids_needs_nothing_else(tmp_path):
    files.save_features(tmp_path / 'layer.npy', Features(VALUES, np.array(['a', 'b', 'c']), 'net/layer'))
    features = feature_matrix.read_features(_section(features=str(tmp_path / 'layer.npy')), seed=0)
    np.testing.assert_array_equal(features.values, VALUES)
    assert features.ids.tolist() == ['a', 'b', 'c'] and features.name == 'net/layer'


@pytest.mark.parametrize('simulated', [True, False])
def test_features_of_a_file_are_simulated_if_the_file_says_so(tmp_path, simulated):
    made = Features(VALUES, np.array(['a', 'b', 'c']), 'net/layer', {'simulated': simulated})
    files.save_features(tmp_path / 'layer.npy', made)
    features = feature_matrix.read_features(_section(features=str(tmp_path / 'layer.npy')), seed=0)
    assert features.provenance['simulated'] is simulated


@pytest.mark.parametrize(
    ('name', 'text'),
    [('ids.txt', 'a\nb\nc\n'), ('t.tsv', 'number\tname\n0\ta\n1\tb\n2\tc\n'), ('t.csv', 'name,x\na,1\nb,2\nc,3\n')],
)
def test_ids_come_from_a_list_or_from_a_column_of_a_table(tmp_path, name, text):
    np.savez(tmp_path / 'two.npz', one=VALUES, other=VALUES + 1)
    (tmp_path / name).write_text(text)
    given = {'features': str(tmp_path / 'two.npz'), 'key': 'other', 'ids_file': str(tmp_path / name)}
    features = feature_matrix.read_features(_section(**given, ids_column='name'), seed=0)
    assert features.ids.tolist() == ['a', 'b', 'c'] and features.name == 'other'
    np.testing.assert_array_equal(features.values, VALUES + 1)


def test_what_cannot_be_read_is_named_with_its_flag(tmp_path):
    np.savez(tmp_path / 'two.npz', one=VALUES, other=VALUES)
    np.save(tmp_path / 'x.npy', VALUES)
    np.save(tmp_path / 'nan.npy', np.full((3, 4), np.nan))
    (tmp_path / 't.tsv').write_text('number\tname\n0\ta\n1\n')
    (tmp_path / 'ids.txt').write_text('a\nb\nc\n')
    ids = {'ids_file': str(tmp_path / 'ids.txt')}
    cases = [
        ({'features': 'two.npz', **ids}, r'name the array, --config\.data\.key=NAME'),
        ({'features': 'x.npy'}, r'x\.npy has no stimulus ids.*--config\.data\.ids_file=FILE'),
        ({'features': 'nan.npy', **ids}, r"nan\.npy: 3 of 3 .* NaN or infinite values, the first of them 'a'"),
        ({'features': 'x.npy', 'ids_file': 't.tsv'}, r"no column '': its columns are number, name"),
        ({'features': 'x.npy', 'ids_file': 't.tsv', 'ids_column': 'name'}, r't\.tsv, line 3, has 1 columns instead of'),
        ({}, r'config\.data\.features is empty: .* Simulated features need n_items, n_features'),
    ]
    for changes, message in cases:
        paths = {key: value if key == 'ids_column' else str(tmp_path / value) for key, value in changes.items()}
        with pytest.raises(ValueError, match=message):
            feature_matrix.read_features(_section(**paths), seed=0)


def test_the_same_seed_simulates_the_same_features_with_the_codes_that_made_them():
    sizes = {'n_items': 50, 'n_features': 6, 'n_functions': 9, 'n_active': 2, 'noise_sd': 0.0}
    features, functions, directions = feature_matrix.simulate(_section(**sizes), seed=3)
    np.testing.assert_allclose(functions.dense().T @ directions, features.values, atol=1e-5)
    assert np.all(np.sum(functions.dense() > 0, axis=0) == 2)
    assert features.provenance['simulated'] and functions.simulated
    again = feature_matrix.read_features(_section(**sizes), seed=3)
    np.testing.assert_array_equal(again.values, features.values)
    assert not np.array_equal(feature_matrix.read_features(_section(**sizes), seed=4).values, features.values)
