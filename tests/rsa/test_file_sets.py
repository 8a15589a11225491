"""Models and subjects from many files: globs, arrays by name, stacks of RDMs, and their stimuli."""

import h5py
import numpy as np
import pytest
import scipy.io
from scipy.spatial.distance import squareform

from humalign_jax import rsa
from humalign_jax.records import Features, Rdm

N, P = 6, 15
IDS = [f'image{i}' for i in range(N)]
np_rng = np.random.default_rng(0)
RDMS = np_rng.uniform(1.0, 2.0, (3, P))
LAYERS = {'conv2': np_rng.normal(size=(N, 2, 2)), 'conv10': np_rng.normal(size=(N, 5))}


def named(records):
    return [record.name for record in records]


def test_all_arrays_of_a_file_become_models_with_their_names(tmp_path):
    with h5py.File(tmp_path / 'net.h5', 'w') as file:
        for name, values in LAYERS.items():
            file[f'net/{name}'] = values
        file['stimuli'] = np.array(IDS, dtype='S')
        file['labels'] = np.arange(N) % 2
    np.savez(tmp_path / 'net.npz', **LAYERS)
    scipy.io.savemat(tmp_path / 'net.mat', LAYERS)
    first, second = rsa.load_models(str(tmp_path / 'net.h5'))
    assert sorted(named([first, second])) == ['net/conv10', 'net/conv2'] and first.ids.tolist() == IDS
    for suffix in ('npz', 'mat'):
        models = rsa.load_models(str(tmp_path / f'net.{suffix}'))
        assert named(models) == ['conv2', 'conv10'] and all(isinstance(model, Features) for model in models)
        np.testing.assert_array_equal(models[0].values, LAYERS['conv2'].reshape(N, 4))
    (one,) = rsa.load_models(f'{tmp_path}/net.h5:net/conv10', ids=IDS)
    np.testing.assert_array_equal(one.values, LAYERS['conv10'])


def test_subjects_come_from_a_pattern_in_natural_order(tmp_path):
    for number in (10, 2, 1):
        np.savetxt(tmp_path / f'subject{number}.csv', squareform(RDMS[number % 3]), delimiter=',')
    subjects = rsa.load_subjects(str(tmp_path / '*.csv'))
    assert named(subjects) == ['subject1', 'subject2', 'subject10']
    np.testing.assert_array_equal(subjects[1].values, RDMS[2])


@pytest.mark.parametrize(
    ('suffix', 'square'),
    [*((one, both) for one in ('npy', 'npz', 'mat', 'h5') for both in (False, True)), ('csv', False)],
)
def test_a_stack_of_rdms_is_as_many_subjects(tmp_path, suffix, square):
    values, path = np.stack([squareform(row) for row in RDMS]) if square else RDMS, tmp_path / f'people.{suffix}'
    if suffix == 'npy':
        np.save(path, values)
    elif suffix == 'npz':
        np.savez(path, rdms=values, rdm_name=np.array(['BE', 'KO', 'SN']))
    elif suffix == 'mat':
        scipy.io.savemat(path, {'rdms': values})
    elif suffix == 'h5':
        with h5py.File(path, 'w') as file:
            file['rdms'] = values
    else:
        np.savetxt(path, values, delimiter=',')
    subjects = rsa.load_subjects(str(path))
    np.testing.assert_array_equal([one.values for one in subjects], RDMS)
    expected = ['BE', 'KO', 'SN'] if suffix == 'npz' else [f'{one} {k}' for k in (1, 2, 3) for one in ['people']]
    assert named(subjects) == expected


def test_rdms_of_rsatoolbox_keep_their_stimuli_and_names(tmp_path):
    """As `rsatoolbox.rdm.RDMs.save` of version 0.3.2 writes them."""
    with h5py.File(tmp_path / 'rdms.h5', 'w') as file:
        file['dissimilarities'] = RDMS
        file['pattern_descriptors/conds'] = np.array(IDS, dtype='S')
        file['pattern_descriptors/index'] = np.arange(N)
        file['rdm_descriptors/subject'] = np.array(['a', 'b', 'c'], dtype='S')
        file['rdm_descriptors/index'] = np.arange(3)
        file.create_group('descriptors')
        file.attrs['dissimilarity_measure'] = 'crossnobis'
    for records in (rsa.load_subjects(str(tmp_path / 'rdms.h5')), rsa.load_models(str(tmp_path / 'rdms.h5'))):
        assert named(records) == ['a', 'b', 'c'] and records[0].ids.tolist() == IDS
        np.testing.assert_array_equal([one.values for one in records], RDMS)


def test_rdm_files_are_models(tmp_path):
    np.save(tmp_path / 'square.npy', squareform(RDMS[0]))
    np.save(tmp_path / 'vector.npy', RDMS[1])
    np.save(tmp_path / 'stack.npy', np.stack([squareform(row) for row in RDMS]))
    np.save(tmp_path / 'rows.npy', RDMS)
    np.save(tmp_path / 'features.npy', np_rng.normal(size=(N, N)))
    read = {name: rsa.load_models(f'{tmp_path}/{name}.npy') for name in ('square', 'vector', 'stack', 'features')}
    assert [len(read[name]) for name in read] == [1, 1, 3, 1]
    assert [isinstance(read[name][0], Rdm) for name in read] == [True, True, True, False]
    assert isinstance(rsa.load_models(f'{tmp_path}/rows.npy')[0], Features)
    for options in ({'kind': 'rdm'}, {'n_stimuli': N}):
        rows = rsa.load_models(f'{tmp_path}/rows.npy', **options)
        np.testing.assert_array_equal([one.values for one in rows], RDMS)


def test_arrays_of_other_stimuli_are_left_out_where_their_number_is_known(tmp_path):
    np.savez(tmp_path / 'net.npz', **LAYERS, mask=np.ones((40, 20)))
    assert named(rsa.load_models(str(tmp_path / 'net.npz'), n_stimuli=N)) == ['conv2', 'conv10']


def test_equal_names_get_the_folder_before_them(tmp_path):
    for folder in ('alex', 'vgg'):
        (tmp_path / folder).mkdir()
        np.save(tmp_path / folder / 'fc.npy', LAYERS['conv10'])
        np.savez(tmp_path / folder / 'net.npz', **LAYERS)
    assert named(rsa.load_models(f'{tmp_path}/*/fc.npy')) == ['alex/fc', 'vgg/fc']
    expected = ['alex/net/conv2', 'alex/net/conv10', 'vgg/net/conv2', 'vgg/net/conv10']
    assert named(rsa.load_models(f'{tmp_path}/*/net.npz')) == expected


def test_a_folder_is_its_arrays_and_not_what_describes_them(tmp_path):
    rsa.files.save_features(tmp_path / 'fc.npy', Features(LAYERS['conv10'], IDS, 'net/fc'))
    rsa.files.save_rdm(tmp_path / 'v1.npy', Rdm(RDMS[0], IDS, 'V1', 'cosine'))
    features, rdm = rsa.load_models(str(tmp_path))
    assert (features.name, rdm.name, rdm.measure) == ('net/fc', 'V1', 'cosine')


def test_a_pattern_without_files_names_the_nearest(tmp_path):
    np.save(tmp_path / 'subject1.npy', RDMS[0])
    with pytest.raises(ValueError, match=r"no file is called '.*subjct1\.npy'\. Did you mean 'subject1\.npy'\?"):
        rsa.load_subjects(f'{tmp_path}/subjct1.npy')
    np.savez(tmp_path / 'net.npz', x=np.ones((4, 9)))
    with pytest.raises(ValueError, match=r"net\.npz has no array that can be RDMs.*'x' float64 \[4, 9\]"):
        rsa.load_subjects(f'{tmp_path}/net.npz')


def test_records_are_brought_to_the_order_of_the_first():
    order = [3, 1, 0, 2, 5, 4]
    first = Features(LAYERS['conv10'], IDS, 'net')
    other = Rdm(squareform(squareform(RDMS[0])[order][:, order]), [IDS[i] for i in order], 'people', 'cosine')
    (_, moved), how = rsa.same_stimuli([first, other])
    np.testing.assert_array_equal(moved.values, RDMS[0])
    assert how == 'exact'
    part = Features(LAYERS['conv10'][:4], IDS[:4], 'part')
    with pytest.raises(ValueError, match=r"'net' and 'part' are of different stimuli: 2 only in 'net'.*join='shared'"):
        rsa.same_stimuli([first, part])
    (short, _), how = rsa.same_stimuli([first, part], 'shared')
    np.testing.assert_array_equal(short.values, LAYERS['conv10'][:4])


def test_files_without_any_ids_join_by_position_and_say_so(tmp_path):
    np.save(tmp_path / 'net.npy', LAYERS['conv10'])
    np.save(tmp_path / 'people.npy', RDMS)
    records = [*rsa.load_models(f'{tmp_path}/net.npy'), *rsa.load_subjects(f'{tmp_path}/people.npy')]
    joined, how = rsa.same_stimuli(records)
    assert how == 'position' and joined[0].ids.tolist() == joined[1].ids.tolist() and rsa.pairs.has_ids(joined[0])
    with_ids = rsa.load_subjects(f'{tmp_path}/people.npy', ids=IDS)
    with pytest.raises(ValueError, match=r"'net' came without stimulus ids, the others with ids.*--ids"):
        rsa.same_stimuli([records[0], *with_ids])
    with pytest.raises(ValueError, match='has 6'):
        rsa.same_stimuli([records[0], Rdm(RDMS[0][:6], ['row/0', 'row/1', 'row/2', 'row/3'], 'four', 'cosine')])
