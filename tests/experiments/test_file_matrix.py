"""Every format with ids as text, as numbers or without, in one order, another, or with stimuli missing.

Two feature files are read and joined as the experiment `rsa` does it: the score is SciPy's of the stimuli matched by
id, or there is an error; never another number.
"""

import json
import runpy

import h5py
import numpy as np
import pytest
import scipy.io
from scipy.spatial.distance import pdist
from scipy.stats import spearmanr

from humalign_jax.records import Features
from humalign_jax.wiring import rsa_join, rsa_study

from ..conftest import ROOT

N, D = 12, 5
MISSING = [2, 5, 9]
IDS = {
    'text': np.array([f'im{7 * i % N:02d}.png' for i in range(N)]),
    'numbers': np.array([7 * i % N + 30 for i in range(N)]),
}
ROWS = {
    'same order': np.arange(N),
    'other order': np.random.default_rng(3).permutation(N),
    'three missing': np.delete(np.arange(N), MISSING),
}


def write_npy(path, values, ids):
    np.save(path, values)
    if ids is not None:
        path.with_suffix('.json').write_text(json.dumps({'ids': ids.tolist()}))


def write_npz(path, values, ids):
    np.savez(path, features=values, **({} if ids is None else {'ids': ids}))


def write_h5(path, values, ids, place=''):
    with h5py.File(path, 'w') as file:
        file[f'{place}features'] = values
        if ids is not None:
            file[f'{place}ids'] = ids.astype('S') if ids.dtype.kind == 'U' else ids


def write_h5_groups(path, values, ids):
    write_h5(path, values, ids, 'model/conv1/')


def write_mat5(path, values, ids):
    named = {} if ids is None else {'ids': ids.astype(object) if ids.dtype.kind == 'U' else ids}
    scipy.io.savemat(path, {'features': values, **named})


def write_mat73(path, values, ids):
    """As MATLAB's save('-v7.3') does: axes in reverse, a cellstr as references to uint16 below #refs#."""
    with h5py.File(path, 'w', userblock_size=512) as file:
        file.create_dataset('features', data=values.T).attrs['MATLAB_class'] = np.bytes_(b'double')
        if ids is not None and ids.dtype.kind == 'U':
            refs, cells = file.create_group('#refs#'), np.empty((1, len(ids)), dtype=h5py.ref_dtype)
            for i, name in enumerate(ids):
                text = refs.create_dataset(f'c{i}', data=np.array([[ord(c)] for c in name], np.uint16))
                text.attrs['MATLAB_class'] = np.bytes_(b'char')
                cells[0, i] = text.ref
            file.create_dataset('ids', data=cells, dtype=h5py.ref_dtype).attrs['MATLAB_class'] = np.bytes_(b'cell')
        elif ids is not None:
            file.create_dataset('ids', data=ids[None].astype(float)).attrs['MATLAB_class'] = np.bytes_(b'double')
    with path.open('r+b') as file:
        file.write(b'MATLAB 7.3 MAT-file'.ljust(116) + b' ' * 8 + b'\x00\x02IM')


def write_table(path, header, rows, separator=',', decimal='.'):
    lines = [header, *rows] if header else rows
    cells = [[one if isinstance(one, str) else repr(one).replace('.', decimal) for one in row] for row in lines]
    path.write_text('\n'.join(separator.join(row) for row in cells) + '\n')


def write_csv_index(path, values, ids):
    """`DataFrame(values, index=ids).to_csv(path)` of pandas; without ids the index counts rows."""
    index = [str(one) for one in (range(len(values)) if ids is None else ids)]
    write_table(path, ['', *map(str, range(D))], [[one, *row] for one, row in zip(index, values.tolist())])


def write_csv_column(path, values, ids):
    """`DataFrame(..).to_csv(path, index=False)` of pandas, ids in the first column."""
    names = [f'unit{j}' for j in range(D)]
    if ids is None:
        write_table(path, names, values.tolist())
    else:
        write_table(path, ['image_id', *names], [[str(one), *row] for one, row in zip(ids, values.tolist())])


def write_csv_semicolon(path, values, ids):
    """As spreadsheets write it where the decimal mark is a comma."""
    rows = values.tolist() if ids is None else [[str(one), *row] for one, row in zip(ids, values.tolist())]
    header = [f'unit{j}' for j in range(D)]
    write_table(path, header if ids is None else ['image_id', *header], rows, ';', ',')


FORMATS = {
    'npy and json': ('.npy', write_npy),
    'npz': ('.npz', write_npz),
    'h5': ('.h5', write_h5),
    'h5 groups': ('.h5', write_h5_groups),
    'mat v5': ('.mat', write_mat5),
    'mat v7.3': ('.mat', write_mat73),
    'csv with index': ('.csv', write_csv_index),
    'csv without index': ('.csv', write_csv_column),
    'csv semicolon': ('.csv', write_csv_semicolon),
}


@pytest.fixture(scope='module')
def plain_config():
    config = runpy.run_path(str(ROOT / 'configs' / 'rsa.py'))['get_config']()
    config.reference.update(kind='features', measure='correlation')
    return config


@pytest.fixture
def case(tmp_path, plain_config):
    """`(name of a format, kind of ids, order) -> function of the join`, which gives Spearman or raises ValueError."""
    np_rng = np.random.default_rng(1)
    x = np_rng.normal(size=(N, D))
    y = x + 0.5 * np_rng.normal(size=(N, D))

    def make(name, kind, order):
        suffix, write = FORMATS[name]
        ids = IDS.get(kind)
        for stem, values, rows in (('net', x, ROWS['same order']), ('subject', y, ROWS[order])):
            write(tmp_path / f'{stem}{suffix}', values[rows], None if ids is None else ids[rows])

        def score(join):
            config = plain_config.copy_and_resolve_references()
            config.features.files = (str(tmp_path / f'net{suffix}'),)
            config.reference.files = (str(tmp_path / f'subject{suffix}'),)
            config.comparison.join = join
            study, _ = rsa_join.join_study(config, rsa_study.load(config))
            (a,), (b,) = study.models, study.reference
            assert isinstance(b, Features)
            np.testing.assert_array_equal(a.ids, b.ids)
            return spearmanr(pdist(a.values, 'correlation'), pdist(b.values, 'correlation')).statistic

        kept = ROWS['three missing'] if order == 'three missing' else ROWS['same order']
        return score, spearmanr(pdist(x[kept], 'correlation'), pdist(y[kept], 'correlation')).statistic

    return make


@pytest.mark.parametrize('order', ROWS)
@pytest.mark.parametrize('kind', ['text', 'numbers'])
@pytest.mark.parametrize('name', FORMATS)
def test_files_with_ids_give_the_score_of_matched_stimuli(name, kind, order, case):
    score, truth = case(name, kind, order)
    if order == 'three missing':
        with pytest.raises(ValueError, match=r'3 only in .*--config\.comparison\.join=shared'):
            score('exact')
        assert score('shared') == pytest.approx(truth, abs=1e-12)
    else:
        assert score('exact') == pytest.approx(truth, abs=1e-12)


@pytest.mark.parametrize('order', ROWS)
@pytest.mark.parametrize('name', FORMATS)
def test_files_without_ids_are_refused_or_joined_by_position_when_asked(name, order, case):
    score, truth = case(name, 'none', order)
    for join in ('exact', 'shared'):
        with pytest.raises(ValueError, match='there are no stimulus ids'):
            score(join)
    if order == 'three missing':
        with pytest.raises(ValueError, match='as many stimuli in each'):
            score('position')
    elif order == 'same order':
        assert score('position') == pytest.approx(truth, abs=1e-12)


def test_a_column_of_numbers_that_may_be_ids_is_refused_until_it_is_told(tmp_path, plain_config):
    np_rng = np.random.default_rng(1)
    x, y = np_rng.normal(size=(2, N, D))
    order = ROWS['other order']
    for stem, values, rows in (('net', x, ROWS['same order']), ('subject', y, order)):
        cells = [[str(one), *row] for one, row in zip(IDS['numbers'][rows], values[rows].tolist())]
        write_table(tmp_path / f'{stem}.csv', ['image', *(f'unit{j}' for j in range(D))], cells)
    config = plain_config.copy_and_resolve_references()
    config.features.files, config.reference.files = (str(tmp_path / 'net.csv'),), (str(tmp_path / 'subject.csv'),)
    with pytest.raises(ValueError, match=r"stimulus ids \(--config\.features\.ids_key='image'\) or a feature"):
        rsa_study.load(config)
    config.features.ids_key = config.reference.ids_key = 'image'
    study, _ = rsa_join.join_study(config, rsa_study.load(config))
    np.testing.assert_array_equal(study.reference[0].values, y)
