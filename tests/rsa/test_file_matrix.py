"""Every kind of file, with ids of every kind, in any order: the score is SciPy's, or its ids are said to be made up."""

import json

import h5py
import numpy as np
import pytest
import scipy.io
from scipy.spatial.distance import pdist
from scipy.stats import spearmanr

from humalign_jax import rsa
from humalign_jax.rsa import files

N = 12
NP_RNG = np.random.default_rng(0)
NET = NP_RNG.normal(size=(N, 8))
PEOPLE = NET + NP_RNG.normal(size=NET.shape)
IDS = {
    'text': np.array([f'im{i:02d}' for i in range(N)]),
    'numbers': np.arange(1000, 1000 + N),
    'none': None,
}
SHUFFLED = NP_RNG.permutation(N)
ROWS = {'same order': np.arange(N), 'other order': SHUFFLED, 'three missing': SHUFFLED[3:]}


def write_npy(path, values, ids):
    np.save(path, values)
    if ids is not None:
        path.with_suffix('.json').write_text(json.dumps({'ids': ids.tolist()}))


def write_npz(path, values, ids):
    np.savez(path, features=values, **({} if ids is None else {'ids': ids}))


def write_hdf5(path, values, ids, group=''):
    with h5py.File(path, 'w') as file:
        file[f'{group}features'] = values
        if ids is not None:
            file[f'{group}ids'] = ids.astype('S') if ids.dtype.kind == 'U' else ids


def write_groups(path, values, ids):
    write_hdf5(path, values, ids, 'conv1/')


def write_mat5(path, values, ids):
    found = {} if ids is None else {'ids': ids.astype(object) if ids.dtype.kind == 'U' else ids.astype(float)}
    scipy.io.savemat(path, {'features': values, **found})


def write_mat73(path, values, ids):
    with h5py.File(path, 'w') as file:
        file.create_dataset('features', data=values.T).attrs['MATLAB_class'] = np.bytes_(b'double')
        if ids is None:
            return
        if ids.dtype.kind != 'U':
            file.create_dataset('ids', data=ids[None].astype(float)).attrs['MATLAB_class'] = np.bytes_(b'double')
            return
        cells = np.empty((1, len(ids)), dtype=h5py.ref_dtype)
        for i, name in enumerate(ids):
            text = file.create_dataset(f'#refs#/{i}', data=np.array([[ord(c)] for c in name], np.uint16))
            text.attrs['MATLAB_class'] = np.bytes_(b'char')
            cells[0, i] = text.ref
        file.create_dataset('ids', data=cells).attrs['MATLAB_class'] = np.bytes_(b'cell')


def write_csv(path, values, ids, corner='', separator=',', decimal='.', index=True):
    """As pandas does, with its index or with ids as a column of their own."""
    first = np.arange(len(values)) if ids is None else ids
    with_first = index or ids is not None
    lines = [[*([corner] if with_first else []), *map(str, range(values.shape[1]))]]
    for name, row in zip(first, values.tolist()):
        numbers = [repr(x).replace('.', decimal) for x in row]
        lines.append([*([str(name)] if with_first else []), *numbers])
    path.write_text('\n'.join(map(separator.join, lines)) + '\n')


def write_column(path, values, ids):
    write_csv(path, values, ids, corner='image_id', index=False)


def write_semicolons(path, values, ids):
    write_csv(path, values, ids, separator=';', decimal=',')


WRITERS = {
    '.npy and .json': ('.npy', write_npy),
    '.npz': ('.npz', write_npz),
    '.h5': ('.h5', write_hdf5),
    '.h5 groups': ('.h5', write_groups),
    '.mat 5': ('.mat', write_mat5),
    '.mat 7.3': ('.mat', write_mat73),
    '.csv with an index': ('.csv', write_csv),
    '.csv without': ('.csv', write_column),
    '.csv semicolons': ('.csv', write_semicolons),
}


@pytest.mark.parametrize('rows', ROWS)
@pytest.mark.parametrize('kind', IDS)
@pytest.mark.parametrize('writer', WRITERS)
def test_scores_of_files_are_those_of_matched_rows_or_their_ids_are_made_up(tmp_path, writer, kind, rows):
    suffix, write = WRITERS[writer]
    ids, chosen = IDS[kind], ROWS[rows]
    write(tmp_path / f'net{suffix}', NET, ids)
    write(tmp_path / f'people{suffix}', PEOPLE[chosen], None if ids is None else ids[chosen])
    # pandas' own names of columns, 0, 1, .., without an index: the first line has to be named.
    told = {'csv': files.CsvFormat(header=True)} if (writer, kind) == ('.csv without', 'none') else {}
    if told:
        with pytest.raises(ValueError, match=r'CsvFormat\(header=True\)'):
            files.load_features(tmp_path / f'net{suffix}')
    net, people = (files.load_features(tmp_path / f'{name}{suffix}', **told) for name in ('net', 'people'))
    if ids is None:
        assert net.provenance['ids'] == people.provenance['ids'] == 'made up'
        return
    assert net.provenance['ids'] == people.provenance['ids'] == 'file'
    x, y = rsa.align(rsa.rdm(net), rsa.rdm(people), join='shared')
    kept = np.sort(chosen)
    expected = spearmanr(pdist(NET[kept], 'correlation'), pdist(PEOPLE[kept], 'correlation'))[0]
    assert rsa.compare(x, y) == pytest.approx(expected, abs=1e-6)
    if rows == 'three missing':
        with pytest.raises(ValueError, match='only in'):
            rsa.compare_features(net, people)
