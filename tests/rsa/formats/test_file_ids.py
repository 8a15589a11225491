import json
import tracemalloc

import h5py
import numpy as np
import pytest
import scipy.io
import scipy.sparse
from scipy.spatial.distance import pdist, squareform

from humalign_jax.rsa import files

N = 5
X = np.random.default_rng(0).normal(size=(N, 3))
IDS = np.array(['im3', 'im1', 'im0', 'im2', 'im4'])
OTHER = np.array(['x0', 'x1', 'x2', 'x3', 'x4'])
LABELS = np.array(['cat', 'dog', 'cat', 'dog', 'cat'])


def write_hdf5(path, arrays, attributes=()):
    with h5py.File(path, 'w') as file:
        for name, values in arrays.items():
            values = np.asarray(values)
            file[name] = values.astype('S') if values.dtype.kind == 'U' else values
        for where, name, value in attributes:
            file[where].attrs[name] = value


def write_mat73(path, arrays):
    """As MATLAB's save('-v7.3') does: axes in reverse, text as uint16, cells as references."""
    with h5py.File(path, 'w', userblock_size=512) as file:
        refs = file.create_group('#refs#')

        def text(name, words):
            width = max(map(len, words))
            codes = np.array([[ord(c) for c in word.ljust(width)] for word in words], np.uint16).T
            item = (refs if name is None else file).create_dataset(name or f'r{len(refs)}', data=codes)
            item.attrs['MATLAB_class'] = np.bytes_(b'char')
            return item

        for name, values in arrays.items():
            values = np.asarray(values)
            if values.dtype.kind == 'U':
                text(name, values.tolist())
            elif values.dtype.kind == 'O':
                cells = np.empty((1, len(values)), dtype=h5py.ref_dtype)
                cells[0] = [text(None, [word]).ref for word in values]
                file.create_dataset(name, data=cells).attrs['MATLAB_class'] = np.bytes_(b'cell')
            else:
                file.create_dataset(name, data=values.T).attrs['MATLAB_class'] = np.bytes_(b'double')
    with open(path, 'r+b') as file:
        file.write(b'MATLAB 7.3 MAT-file'.ljust(116) + b' ' * 8 + b'\x00\x02IM')
    return path


def check(path, ids=IDS, found_in=None, **options):
    found = files.load_features(path, **options)
    np.testing.assert_array_equal(found.values, X)
    if ids is None:
        assert found.provenance['ids'] == 'made up'
    else:
        np.testing.assert_array_equal(found.ids, ids)
        assert found.provenance['ids'] == 'file'
    assert found_in is None or found.provenance['ids_key'] == found_in


@pytest.mark.parametrize(
    'more',
    [
        {'ids': IDS},
        {'image_names': IDS},
        {'whatever': IDS},
        {'ids': IDS.astype('S')},
        {'whatever': IDS[:, None]},
        {'ids': IDS, 'captions': OTHER},  # the name decides
        {'a': IDS, 'b': IDS},  # they agree
        {'ids': IDS, 'labels': LABELS},
        {'whatever': IDS, 'labels': LABELS},  # labels repeat
        {'ids': IDS, 'meta': np.array({'layer': 'conv1'}, dtype=object)},
        {'whatever': IDS, 'stimuli': np.zeros((N, 2, 2, 3), np.uint8)},  # images
        {'whatever': IDS, 'class_names': np.array(['cat', 'dog'])},
    ],
    ids=lambda more: '+'.join(more),
)
def test_text_beside_an_array_is_its_ids_whatever_its_name(tmp_path, more):
    np.savez(tmp_path / 'a.npz', x=X, **more)
    check(tmp_path / 'a.npz', found_in=next(iter(more)), key='x')


@pytest.mark.parametrize('kind', [np.int64, np.uint16, float])
@pytest.mark.parametrize('name', ['ids', 'stimulus_id', 'imageID'])
def test_whole_numbers_named_as_ids_are_ids(tmp_path, kind, name):
    numbers = np.array([1003, 1001, 1000, 1002, 1004])
    np.savez(tmp_path / 'a.npz', x=X, **{name: numbers.astype(kind)})
    scipy.io.savemat(tmp_path / 'a.mat', {'x': X, name: numbers.astype(kind)})
    for path in ('a.npz', 'a.mat'):
        check(tmp_path / path, numbers.astype(str))


def test_numbers_and_labels_of_other_names_are_no_ids(tmp_path):
    np.savez(tmp_path / 'a.npz', x=X, reaction_times=np.arange(5), labels=LABELS)
    check(tmp_path / 'a.npz', None)


@pytest.mark.parametrize(
    ('more', 'message'),
    [
        ({'urls': IDS, 'captions': OTHER}, r"'urls', 'captions' may hold the stimulus ids: choose one with ids_key"),
        ({'names': IDS.astype(object)}, r"'names' may hold stimulus ids, but cannot be read \(Python objects\)"),
        ({'ids': IDS[:4]}, "5 stimuli but 4 ids in 'ids'"),
        ({'ids': np.array([0.5, 1, 2, 3, 4])}, "'ids': stimulus ids must be text or whole numbers, .* row 0 is 0.5"),
        ({'ids': np.array(['a', 'b', '', 'd', 'e'])}, "the id of row 2 in 'ids' is empty"),
        ({'ids': LABELS}, "must be unique, but 'cat', 'dog'"),
    ],
)
def test_ids_that_cannot_be_used_are_refused_by_name(tmp_path, more, message):
    np.savez(tmp_path / 'a.npz', x=X, **more)
    with pytest.raises(ValueError, match=message):
        files.load_features(tmp_path / 'a.npz', key='x')
    check(tmp_path / 'a.npz', None, key='x', ids_key='none')
    np.testing.assert_array_equal(files.load_features(tmp_path / 'a.npz', key='x', ids=IDS).ids, IDS)


def test_ids_key_chooses(tmp_path):
    np.savez(tmp_path / 'a.npz', x=X, urls=OTHER, captions=IDS)
    check(tmp_path / 'a.npz', found_in='captions', ids_key='captions')
    with pytest.raises(ValueError, match="no array 'z' for ids_key; it has 'x' float64"):
        files.load_features(tmp_path / 'a.npz', ids_key='z')
    np.save(tmp_path / 'a.npy', X)
    (tmp_path / 'a.json').write_text(json.dumps({'urls': OTHER.tolist(), 'captions': IDS.tolist()}))
    check(tmp_path / 'a.npy', found_in='captions', ids_key='captions')
    with pytest.raises(ValueError, match=r"a\.npy: neither it nor a \.json beside it has ids_key='z'"):
        files.load_features(tmp_path / 'a.npy', ids_key='z')


def test_ids_of_another_array_of_the_file_are_left_to_it(tmp_path):
    np.savez(tmp_path / 'a.npz', x=X, train=np.zeros((9, 3)), ids=np.arange(9).astype(str))
    check(tmp_path / 'a.npz', None, key='x')


@pytest.mark.parametrize(
    ('arrays', 'attributes', 'key', 'ids_key'),
    [
        ({'conv1/x': X, 'conv1/ids': IDS, 'conv2/x': X, 'conv2/ids': OTHER}, (), 'conv1/x', 'conv1/ids'),
        ({'conv1/x': X, 'conv2/x': X, 'ids': IDS}, (), 'conv1/x', 'ids'),
        ({'conv1/x': X, 'conv1/ids': IDS, 'ids': OTHER}, (), '/conv1/x', 'conv1/ids'),
        ({'x': X, 'meta/names': IDS}, (), 'x', 'meta/names'),
        ({'x': X}, [('x', 'ids', IDS.astype('S'))], 'x', 'x@ids'),
        ({'x': X}, [('x', 'names', IDS.astype(object))], 'x', 'x@names'),
        ({'conv1/x': X}, [('conv1', 'ids', IDS.astype('S'))], 'conv1/x', 'conv1@ids'),
        ({'conv1/x': X}, [('/', 'ids', np.array([3, 1, 0, 2, 4]))], 'conv1/x', '@ids'),
    ],
)
def test_ids_nearest_to_the_array_count_in_hdf5(tmp_path, arrays, attributes, key, ids_key):
    write_hdf5(tmp_path / 'a.h5', arrays, attributes)
    check(tmp_path / 'a.h5', ['3', '1', '0', '2', '4'] if ids_key == '@ids' else IDS, found_in=ids_key, key=key)


def test_ids_of_another_group_are_not_taken_without_a_word(tmp_path):
    write_hdf5(tmp_path / 'a.h5', {'conv1/x': X, 'conv2/x': X, 'conv2/ids': IDS})
    with pytest.raises(ValueError, match=r"'conv2/ids' may hold the stimulus ids of 'conv1/x', but stand elsewhere"):
        files.load_features(tmp_path / 'a.h5', key='conv1/x')
    np.testing.assert_array_equal(files.load_features(tmp_path / 'a.h5', key='conv1/x', ids_key='conv2/ids').ids, IDS)


def test_text_of_matlab_files_is_read_from_cells_characters_and_structs(tmp_path):
    people = np.array([(name,) for name in IDS], dtype=[('name', object)])
    for number, more in enumerate(
        [
            {'ids': IDS.astype(object)},
            {'whatever': IDS.astype(object)[None]},
            {'ids': IDS},  # a matrix of characters
            {'info': {'names': IDS.astype(object), 'subject': 'S1'}},
            {'stimuli': people},
        ]
    ):
        scipy.io.savemat(tmp_path / f'{number}.mat', {'x': X, **more})
        check(tmp_path / f'{number}.mat')
    scipy.io.savemat(tmp_path / 'struct.mat', {'data': {'x': X, 'ids': IDS.astype(object)}})
    check(tmp_path / 'struct.mat', found_in='data/ids', key='data.x')
    for number, more in enumerate([{'ids': IDS.astype(object)}, {'whatever': IDS.astype(object)}, {'names': IDS}]):
        check(write_mat73(tmp_path / f'hdf5-{number}.mat', {'x': X, **more}))


def test_structure_of_matlab_files_is_checked_before_scipy_trusts_it(tmp_path):
    path = tmp_path / 'a.mat'
    scipy.io.savemat(path, {'x': X, 'ids': IDS.astype(object), 'sparse': scipy.sparse.csc_matrix(X), 's': {'a': 'b'}})
    check(path, key='x')
    whole = path.read_bytes()
    place = whole.index(b'im1') - 20  # the second dimension of a cell's text
    path.write_bytes(whole[:place] + b'\x80' + whole[place + 1 :])
    with pytest.raises(ValueError, match=r'a\.mat cannot be read .*values of type \d+ need'):
        files.load_features(path, key='x')
    path.write_bytes(whole[:-9])
    with pytest.raises(ValueError, match=r'a\.mat cannot be read .*ends'):
        files.load_features(path, key='x')


def test_matlab_objects_that_may_be_ids_are_refused_by_name(tmp_path):
    path = write_mat73(tmp_path / 'a.mat', {'x': X})
    with h5py.File(path, 'r+') as file:
        names = file.create_dataset('names', data=np.zeros((1, 6), np.uint32))
        names.attrs['MATLAB_class'], names.attrs['MATLAB_object_decode'] = np.bytes_(b'string'), np.int32(3)
    with pytest.raises(ValueError, match=r"'names' may hold stimulus ids, .*MATLAB string.* as cellstr"):
        files.load_features(path)
    check(path, None, ids_key='none')


def test_sparse_matrices_are_refused_by_name(tmp_path):
    scipy.io.savemat(tmp_path / 'a.mat', {'X': scipy.sparse.csc_matrix(X)})
    with pytest.raises(ValueError, match=r"a\.mat: 'X' is a sparse matrix, .* save full\(X\)"):
        files.load_features(tmp_path / 'a.mat')
    with h5py.File(tmp_path / 'b.mat', 'w') as file:
        file.create_group('X').attrs['MATLAB_sparse'] = np.uint64(5)
        file['X/data'] = np.ones(4)
    with pytest.raises(ValueError, match=r"b\.mat: 'X' is a sparse matrix"):
        files.load_features(tmp_path / 'b.mat')


@pytest.mark.parametrize('suffix', ['.npy', '.npz', '.h5', '.mat', '.csv'])
@pytest.mark.parametrize('described', [IDS.tolist(), {'ids': IDS.tolist()}, {'made': 'by hand', 'files': IDS.tolist()}])
def test_lists_in_a_json_beside_any_array_are_its_ids(tmp_path, suffix, described):
    path = tmp_path / f'a{suffix}'
    if suffix == '.npy':
        np.save(path, X)
    elif suffix == '.npz':
        np.savez(path, x=X)
    elif suffix == '.h5':
        write_hdf5(path, {'x': X})
    elif suffix == '.mat':
        scipy.io.savemat(path, {'x': X})
    else:
        path.write_text('\n'.join(','.join(map(repr, row)) for row in X.tolist()))
    path.with_suffix('.json').write_text(json.dumps(described))
    check(path)


@pytest.mark.parametrize(
    ('described', 'message'),
    [
        ('["a", "b"]', r'a\.json: 5 stimuli but 2 ids'),
        ('{"ids": ["a", "b"]}', r"a\.json: 5 stimuli but 2 ids in 'ids'"),
        ('{"ids": {"0": "a"}}', r"a\.json: 'ids' must be a list of stimulus ids, not dict"),
        ('{"ids": [1.5, 2, 3, 4, 5]}', r'a\.json: ids must hold text or whole numbers'),
        ('{"ids": ', r'a\.json is not valid JSON'),
    ],
)
def test_lists_that_do_not_fit_are_refused_by_name(tmp_path, described, message):
    np.save(tmp_path / 'a.npy', X)
    (tmp_path / 'a.json').write_text(described)
    with pytest.raises(ValueError, match=message):
        files.load_features(tmp_path / 'a.npy')


def test_files_of_rsatoolbox_bring_their_descriptors(tmp_path):
    write_hdf5(
        tmp_path / 'data.h5',
        {
            'measurements': X,
            'obs_descriptors/stimulus': IDS,
            'obs_descriptors/category': LABELS,
            'obs_descriptors/index': np.arange(N),
            'channel_descriptors/roi': np.array(['V1', 'V2', 'V4']),
        },
    )
    check(tmp_path / 'data.h5', found_in='obs_descriptors/stimulus')
    write_hdf5(
        tmp_path / 'rdms.h5',
        {
            'dissimilarities': pdist(X)[None],
            'pattern_descriptors/conds': IDS,
            'pattern_descriptors/index': np.arange(N),
            'rdm_descriptors/index': np.arange(1),
        },
    )
    rdm = files.load_rdm(tmp_path / 'rdms.h5')
    np.testing.assert_array_equal(rdm.values, pdist(X))
    np.testing.assert_array_equal(rdm.ids, IDS)


def test_channels_of_rsatoolbox_are_no_ids(tmp_path):
    write_hdf5(tmp_path / 'a.h5', {'measurements': np.eye(N), 'obs_descriptors/index': np.arange(N)})
    with h5py.File(tmp_path / 'a.h5', 'r+') as file:
        file['channel_descriptors/name'] = OTHER.astype('S')
    assert files.load_features(tmp_path / 'a.h5').provenance['ids'] == 'made up'


def test_files_of_meadows_bring_their_stimuli(tmp_path):
    single = {'stimuli': IDS, 'rdmutv': pdist(X)}
    scipy.io.savemat(tmp_path / 'one.mat', single)
    many = {'rdmutv_clever_fox': pdist(X), 'stimuli_clever_fox': IDS}
    many |= {'rdmutv_shy_owl': pdist(X[::-1].copy()), 'stimuli_shy_owl': IDS[::-1].copy()}
    scipy.io.savemat(tmp_path / 'many.mat', many)
    tasks = [
        {'task': {'name': 'info', 'task_type': 'consent'}},
        {'task': {'name': 'arrange'}, 'stimuli': [{'name': i} for i in IDS.tolist()], 'rdm': pdist(X).tolist()},
    ]
    (tmp_path / 'tree.json').write_text(json.dumps({'tasks': tasks}))
    for rdm, rows in (
        (files.load_rdm(tmp_path / 'one.mat'), slice(None)),
        (files.load_rdm(tmp_path / 'many.mat', key='rdmutv_clever_fox'), slice(None)),
        (files.load_rdm(tmp_path / 'many.mat', key='rdmutv_shy_owl'), slice(None, None, -1)),
        (files.load_rdm(tmp_path / 'tree.json'), slice(None)),
    ):
        np.testing.assert_allclose(squareform(rdm.values), squareform(pdist(X[rows].copy())))
        np.testing.assert_array_equal(rdm.ids, IDS[rows])
    (tmp_path / 'other.json').write_text('{"a": 1}')
    with pytest.raises(ValueError, match=r'other\.json cannot be read as \.json .*Meadows'):
        files.load_rdm(tmp_path / 'other.json')


@pytest.mark.parametrize('suffix', ['.npz', '.h5', '.mat'])
def test_of_a_file_with_many_arrays_one_is_held(tmp_path, suffix):
    path = tmp_path / f'a{suffix}'
    layers = {f'layer{i}': np.full((100, 2000), i, np.float64) for i in range(8)}
    if suffix == '.npz':
        np.savez(path, **layers)
    elif suffix == '.h5':
        write_hdf5(path, layers)
    else:
        scipy.io.savemat(path, layers)
    del layers
    tracemalloc.start()
    values = files.load_features(path, key='layer3').values
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_array_equal(values, np.full((100, 2000), 3))
    assert peak < 2.5 * values.nbytes


def test_arrays_of_the_other_byte_order_are_read(tmp_path):
    write_hdf5(tmp_path / 'a.h5', {'x': X.astype('>f8')})
    np.save(tmp_path / 'a.npy', X.astype('>f8'))
    for path in ('a.h5', 'a.npy'):
        values = files.load_features(tmp_path / path).values
        np.testing.assert_array_equal(values, X)
        assert values.dtype.isnative
