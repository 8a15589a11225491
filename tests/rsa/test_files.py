import json

import h5py
import numpy as np
import pytest
import scipy.io
from scipy.spatial.distance import squareform

from humalign_jax import rsa
from humalign_jax.records import Features, Rdm, RepeatedFeatures
from humalign_jax.rsa import files
from humalign_jax.rsa.similarity.compare import compare

IDS = np.array(['toy/test/00003', 'toy/test/00001', 'toy/test/00002'])
VALUES = np.arange(12.0).reshape(3, 4)
CONDENSED = np.array([1.0, 2.0, 3.0])


def write(path, *, rdm=False, ids=True):
    """One array named `x` and, where the format can, ids."""
    array = squareform(CONDENSED) if rdm else VALUES
    more = {'ids': IDS} if ids else {}
    if path.suffix == '.npz':
        np.savez(path, x=array, **more)
    elif path.suffix == '.mat':
        scipy.io.savemat(path, {'x': array, **{k: v.astype(object) for k, v in more.items()}})
    elif path.suffix == '.h5':
        with h5py.File(path, 'w') as file:
            file['group/x'] = array
            for k, v in more.items():
                file.create_dataset(k, data=v.astype(object), dtype=h5py.string_dtype())
    elif path.suffix == '.csv':
        rows = [','.join([*([i] if ids else []), *map(str, row)]) for i, row in zip(IDS, array)]
        path.write_text('\n'.join([','.join(['id'] * ids + ['f'] * array.shape[1]), *rows]) + '\n')
    else:
        np.save(path, array)
    return path


@pytest.mark.parametrize('suffix', ['.npz', '.mat', '.h5', '.csv'])
def test_features_and_ids_survive_every_format(tmp_path, suffix):
    features = files.load_features(write(tmp_path / f'net{suffix}'))
    np.testing.assert_array_equal(features.values, VALUES)
    np.testing.assert_array_equal(features.ids, IDS)
    assert features.name == 'net'


@pytest.mark.parametrize('suffix', ['.npy', '.npz', '.mat', '.h5', '.csv'])
def test_square_rdms_become_condensed_and_rows_get_ids_that_join_nothing(tmp_path, suffix):
    rdm = files.load_rdm(write(tmp_path / f'human{suffix}', rdm=True, ids=False))
    np.testing.assert_array_equal(rdm.values, CONDENSED)
    np.testing.assert_array_equal(rdm.ids, ['row/00000', 'row/00001', 'row/00002'])
    with pytest.raises(ValueError, match="'human' came from a file without stimulus ids"):
        compare(rdm, Rdm(CONDENSED, IDS, 'model', 'euclidean'))


def test_matlab_vectors_and_hdf5_based_mat_files_are_read(tmp_path):
    scipy.io.savemat(tmp_path / 'a.mat', {'rdm': CONDENSED})  # becomes [1, 3]
    np.testing.assert_array_equal(files.load_rdm(tmp_path / 'a.mat').values, CONDENSED)
    with h5py.File(tmp_path / 'b.mat', 'w') as file:
        file['features'] = VALUES.T  # MATLAB writes columns first
    np.testing.assert_array_equal(files.load_features(tmp_path / 'b.mat').values, VALUES)


def test_ids_given_by_the_caller_come_first(tmp_path):
    path = write(tmp_path / 'net.npz')
    features = files.load_features(path, dataset='cifar10', split='test')
    np.testing.assert_array_equal(features.ids, ['cifar10/test/00000', 'cifar10/test/00001', 'cifar10/test/00002'])
    np.testing.assert_array_equal(files.load_features(path, ids=IDS[::-1]).ids, IDS[::-1])
    with pytest.raises(ValueError, match='3 stimuli but 2 ids'):
        files.load_features(path, ids=IDS[:2])
    with pytest.raises(ValueError, match='both dataset and split'):
        files.load_features(path, dataset='cifar10')


def test_what_is_saved_is_loaded_again(tmp_path):
    features = Features(VALUES.astype(np.float32), IDS, 'net/layer', {'checkpoint': 'abc'})
    rdm = Rdm(CONDENSED, IDS, 'net/layer', 'cosine', {'seed': 3})
    files.save_features(tmp_path / 'f.npy', features)
    files.save_rdm(tmp_path / 'r.npy', rdm)
    again, rdm_again = files.load_features(tmp_path / 'f.npy'), files.load_rdm(tmp_path / 'r.npy')
    np.testing.assert_array_equal(again.values, features.values)
    np.testing.assert_array_equal(again.ids, IDS)
    assert again.values.dtype == np.float32
    assert (again.name, again.provenance['provenance']) == ('net/layer', {'checkpoint': 'abc'})
    np.testing.assert_array_equal(rdm_again.values, CONDENSED)
    assert (rdm_again.measure, rdm_again.name) == ('cosine', 'net/layer')
    assert json.loads((tmp_path / 'r.json').read_text())['shape'] == [3]
    with pytest.raises(ValueError, match=r'written as \.npy'):
        files.save_rdm(tmp_path / 'r.mat', rdm)


@pytest.mark.parametrize('suffix', ['.npy', '.npz', '.mat', '.h5'])
def test_repeated_measurements_keep_their_axes_and_join_by_stimulus(tmp_path, suffix):
    repeats = np.random.default_rng(0).normal(size=(5, 8, 3))
    ids = np.array([f'toy/test/{i}' for i in range(8)])
    path = tmp_path / f'voxels{suffix}'
    if suffix == '.npy':
        files.save_features(path, RepeatedFeatures(np.moveaxis(repeats, 1, 0), ids, 'voxels'))
    elif suffix == '.npz':
        np.savez(path, x=repeats)
    elif suffix == '.mat':
        scipy.io.savemat(path, {'x': repeats})
    else:
        with h5py.File(path, 'w') as file:
            file['x'] = repeats
    loaded = files.load_features(path, repeated=True, ids=ids)
    assert isinstance(loaded, RepeatedFeatures)
    np.testing.assert_array_equal(loaded.repeats, repeats)
    made = rsa.rdm(loaded, 'crossnobis')
    np.testing.assert_array_equal(made.values, rsa.rdm(repeats, 'crossnobis'))
    model = Features(np.random.default_rng(1).normal(size=(8, 4)), ids[::-1], 'model')
    expected = compare(rsa.rdm(model), made)
    assert rsa.compare_features(model, loaded, measure_y='crossnobis').value == pytest.approx(expected, abs=1e-6)


def test_records_bring_their_noise(tmp_path):
    repeats, noise = np.random.default_rng(0).normal(size=(2, 3, 4)), np.diag([1.0, 2.0, 3.0, 4.0])
    np.save(tmp_path / 'noise.npy', noise)
    found = files.load_covariance(tmp_path / 'noise.npy')
    voxels = RepeatedFeatures(np.moveaxis(repeats, 1, 0), IDS, 'voxels', noise=found)
    expected = rsa.rdm(repeats, 'crossnobis', covariance=noise)
    np.testing.assert_array_equal(rsa.rdm(voxels, 'crossnobis').values, expected)
    with pytest.raises(ValueError, match=r"noise of 'voxels' must be \[4, 4\], not \[3, 3\]"):
        RepeatedFeatures(np.moveaxis(repeats, 1, 0), IDS, 'voxels', noise=np.eye(3))
    np.save(tmp_path / 'wrong.npy', VALUES)
    with pytest.raises(ValueError, match=r'wrong\.npy: a covariance must be \[d, d\], not \[3, 4\]'):
        files.load_covariance(tmp_path / 'wrong.npy')


def test_repeated_measurements_are_for_crossnobis(tmp_path):
    np.save(tmp_path / 'x.npy', VALUES)
    with pytest.raises(ValueError, match=r'repeated measurements must be \[r, n, d\].*, not \[3, 4\]'):
        files.load_features(tmp_path / 'x.npy', repeated=True)
    voxels = RepeatedFeatures(np.ones((3, 2, 4)), IDS, 'voxels')
    with pytest.raises(ValueError, match=r"'voxels' are repeated .* take their mean over repeats for 'correlation'"):
        rsa.rdm(voxels)
    with pytest.raises(ValueError, match=r"'voxels' must be \[n, r, d\], not \(3, 4\)"):
        RepeatedFeatures(VALUES, IDS, 'voxels')


def test_a_sidecar_of_another_array_is_noticed(tmp_path):
    files.save_rdm(tmp_path / 'r.npy', Rdm(CONDENSED, IDS, 'a', 'cosine'))
    np.save(tmp_path / 'r.npy', CONDENSED + 1)
    with pytest.raises(ValueError, match='do not belong together'):
        files.load_rdm(tmp_path / 'r.npy')


def test_python_objects_are_never_unpickled(tmp_path):
    np.save(tmp_path / 'a.npy', np.array([{'x': 1}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match=r'damaged, of another kind, or holds Python objects'):
        files.load_features(tmp_path / 'a.npy')
    np.savez(tmp_path / 'a.npz', x=np.array([[{'x': 1}]], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match=r"choose an array.*'x' Python objects \[1, 1\]"):
        files.load_features(tmp_path / 'a.npz')
    with pytest.raises(ValueError, match=r'cannot be read as \.npz'):
        files.load_features(tmp_path / 'a.npz', key='x')


def test_mistakes_name_file_keys_and_shapes(tmp_path):
    np.savez(tmp_path / 'two.npz', a=VALUES, b=VALUES)
    with pytest.raises(ValueError, match=r"two.npz: choose an array with key=.*'a' float64 \[3, 4\], 'b' float64"):
        files.load_features(tmp_path / 'two.npz')
    with pytest.raises(ValueError, match=r"two.npz has no array 'c'; it has 'a'"):
        files.load_features(tmp_path / 'two.npz', key='c')
    with pytest.raises(ValueError, match=r'none\.npy does not exist'):
        files.load_rdm(tmp_path / 'none.npy')
    (tmp_path / 'a.txt').touch()
    with pytest.raises(ValueError, match=r'must end in one of .npy, .npz'):
        files.load_rdm(tmp_path / 'a.txt')
    for suffix in ('.npy', '.npz', '.h5', '.mat'):
        (tmp_path / f'broken{suffix}').write_bytes(b'not a file of this kind')
        with pytest.raises(ValueError, match='cannot be read as'):
            files.load_features(tmp_path / f'broken{suffix}')
    (tmp_path / 'a.csv').write_text('1,2\n3\n')


def test_matrices_that_are_no_rdm_are_refused(tmp_path):
    for values, message in (
        (squareform(CONDENSED) + np.eye(3), 'diagonal of an RDM must be zero, but reaches 1'),
        (np.triu(squareform(CONDENSED)), r'must be symmetric, but \(1, 2\) and \(2, 1\) differ by 3'),
        (np.ones((2, 3)), r'condensed \[p\] or square \[n, n\], not \[2, 3\]'),
        (np.ones(4), '4 values are no condensed RDM'),
    ):
        np.save(tmp_path / 'a.npy', values)
        with pytest.raises(ValueError, match=message):
            files.load_rdm(tmp_path / 'a.npy')


def test_records_say_where_their_ids_are_from(tmp_path):
    path, plain = write(tmp_path / 'a.npz'), write(tmp_path / 'b.npz', ids=False)
    assert files.load_features(path).provenance['ids'] == 'file'
    assert files.load_features(path, ids=IDS).provenance['ids'] == 'given'
    assert files.load_features(path, dataset='toy', split='test').provenance['ids'] == 'dataset'
    features = files.load_features(plain)
    assert features.provenance['ids'] == 'made up'
    assert rsa.rdm(features).provenance['ids'] == 'made up'
    files.save_features(tmp_path / 'again.npy', features)
    assert files.load_features(tmp_path / 'again.npy').provenance['ids'] == 'made up'
