"""Results print as tables, become frames and figures, and come back from files unchanged."""

import csv
import dataclasses
import io
import sys
import types

import matplotlib
import numpy as np
import pytest
from scipy.spatial.distance import squareform

from humalign_jax import results, rsa
from humalign_jax.records import Features, ImageSet, Rdm

matplotlib.use('agg')
IDS = [f'image{i}' for i in range(12)]
NAMES = ['conv1', 'conv2', '<fc>', 'logits']


@pytest.fixture(scope='module')
def inferred():
    np_rng = np.random.default_rng(0)
    rdms = np_rng.uniform(1.0, 2.0, (7, 66))
    models = [Rdm(values, IDS, name, 'euclidean') for values, name in zip(rdms[:4], NAMES)]
    subjects = Rdm.from_arrays(rdms[4:] + rdms[:1], IDS)
    return rsa.infer(models, subjects, over='both', n_permutations=20)


@pytest.fixture
def figures():
    from matplotlib import pyplot

    yield pyplot
    pyplot.close('all')


def test_four_models_print_in_six_lines_with_their_numbers(inferred):
    lines = repr(inferred).splitlines()
    assert len(lines) == 6 and max(map(len, lines)) < 100
    assert '12 stimuli, 3 subjects' in lines[0]
    for name, line, value, low, p in zip(NAMES, lines[2:], inferred.values, inferred.low, inferred.p_zero):
        assert line.split()[:3] == [name, f'{value:.3f}', f'[{low:.3f},']
        assert f'{p:.3f}' in line and f'{inferred.ceiling_upper:.3f}' in line


def test_a_notebook_shows_a_table_with_every_name_escaped(inferred):
    page = inferred._repr_html_()
    assert page.count('<tr>') == 5 and '&lt;fc&gt;' in page and '<fc>' not in page


def test_columns_go_into_a_frame_and_a_csv_file(inferred, monkeypatch):
    monkeypatch.setitem(sys.modules, 'pandas', types.SimpleNamespace(DataFrame=dict))
    frame = inferred.to_frame()
    np.testing.assert_array_equal(frame['score'], inferred.values)
    np.testing.assert_array_equal(frame['p_ceiling'], inferred.p_ceiling)
    rows = list(csv.DictReader(io.StringIO(results.csv_text(frame))))
    assert [row['model'] for row in rows] == NAMES
    assert [float(row['high']) for row in rows] == inferred.high.tolist()


def test_without_pandas_a_frame_is_refused_in_plain_words(inferred, monkeypatch):
    monkeypatch.setitem(sys.modules, 'pandas', None)
    with pytest.raises(ImportError, match='needs pandas: pip install pandas'):
        inferred.to_frame()


def test_a_figure_shows_scores_intervals_and_ceiling(inferred, figures):
    ax = inferred.plot()
    dots = ax.containers[0][0]
    np.testing.assert_array_equal(dots.get_xdata(), inferred.values)
    segments = ax.containers[0][2][0].get_segments()
    np.testing.assert_allclose([s[:, 0] for s in segments], np.stack([inferred.low, inferred.high], 1), atol=1e-12)
    np.testing.assert_allclose(ax.patches[0].get_x(), inferred.ceiling_lower)
    assert [label.get_text() for label in ax.get_yticklabels()] == NAMES
    assert '12 stimuli, 3 subjects' in ax.get_xlabel()
    assert inferred.plot(ax) is ax


def test_an_rdm_is_drawn_as_its_square(figures):
    rdm = Rdm(np.arange(66.0), IDS, 'net', 'cosine')
    ax = rdm.plot()
    np.testing.assert_array_equal(ax.images[0].get_array(), squareform(rdm.values))
    assert ax.get_title() == 'net' and ax.images[0].colorbar.ax.get_ylabel() == 'cosine'


def test_of_a_large_rdm_evenly_spaced_stimuli_are_drawn(figures, monkeypatch):
    monkeypatch.setattr('humalign_jax.drawing.MOST_STIMULI', 3)
    ax = Rdm(np.arange(10.0), IDS[:5], 'net', 'cosine').plot()
    np.testing.assert_array_equal(ax.images[0].get_array(), squareform(np.arange(10.0))[::2, ::2])
    assert ax.get_xlabel() == '3 of 5 stimuli'


def test_results_come_back_from_a_file_unchanged(inferred, tmp_path):
    x = np.random.default_rng(1).normal(size=(10, 4))
    made = [
        inferred,
        rsa.compare_features(x, x + 1.0),
        rsa.bootstrap(np.random.default_rng(2).normal(size=(2, 21)), np.arange(21.0), n_draws=5),
    ]
    for number, result in enumerate(made):
        result.save(tmp_path / f'{number}.npz')
        loaded = type(result).load(tmp_path / f'{number}.npz')
        for field in dataclasses.fields(result):
            np.testing.assert_equal(getattr(loaded, field.name), getattr(result, field.name))
    with pytest.raises(ValueError, match=r'holds FeatureComparison, not InferenceResult: call FeatureComparison\.load'):
        rsa.InferenceResult.load(tmp_path / '1.npz')
    with pytest.raises(ValueError, match=r'results are written as \.npz'):
        inferred.save(tmp_path / 'a.json')
    np.savez(tmp_path / 'other.npz', x=x)
    with pytest.raises(ValueError, match=r"other\.npz has no array named 'about'"):
        rsa.InferenceResult.load(tmp_path / 'other.npz')


def test_long_tables_end_in_the_number_of_further_rows():
    text = results.text_table({'model': [f'm{i}' for i in range(25)], 'score': ['0.5'] * 25})
    assert text.splitlines()[-2:] == ['m19      0.5', 'and 5 more']


def test_records_print_in_one_line():
    features = Features(np.zeros((12, 5)), IDS, 'net/fc')
    images = ImageSet(np.zeros((2, 4, 4, 3), np.uint8), np.zeros(2, np.int32), np.arange(2), ('a', 'b'), 'toy', 'test')
    assert repr(features) == "Features('net/fc': 12 stimuli (image0 ...), 5 features)"
    assert repr(Rdm(np.zeros(66), IDS, 'net', 'cosine')) == "Rdm('net': 12 stimuli (image0 ...), 66 pairs, cosine)"
    assert repr(images) == 'ImageSet(toy/test: 2 images, 4 x 4 x 3, 2 classes)'


def test_arrays_by_name_become_features_of_the_same_stimuli():
    layers = {'conv': np.arange(48.0).reshape(12, 2, 2, 1), 'fc': np.ones((12, 3), np.float32)}
    conv, fc = Features.from_arrays(layers, IDS, checkpoint='abc')
    np.testing.assert_array_equal(conv.values, np.arange(48.0).reshape(12, 4))
    assert (conv.name, fc.name, fc.provenance) == ('conv', 'fc', {'checkpoint': 'abc'})
    with pytest.raises(ValueError, match=r"'fc' must be .* one row for each of the 11 ids, not \[12, 3\]"):
        Features.from_arrays({'fc': layers['fc']}, IDS[:11])


def test_condensed_and_square_stacks_become_one_rdm_a_subject():
    rows = np.random.default_rng(0).uniform(size=(3, 66))
    squares = np.stack([squareform(row) for row in rows])
    for given in (rows, squares):
        made = Rdm.from_arrays(given, IDS)
        np.testing.assert_array_equal([rdm.values for rdm in made], rows)
        assert [rdm.name for rdm in made] == ['subject 1', 'subject 2', 'subject 3']
    for given in (rows[0], squares[0]):
        (single,) = Rdm.from_arrays(given, IDS, 'hIT')
        np.testing.assert_array_equal(single.values, rows[0])
        assert single.name == 'hIT'
    with pytest.raises(ValueError, match='symmetric'):
        Rdm.from_arrays(squares + np.triu(np.ones((12, 12)), 1), IDS)
    with pytest.raises(ValueError, match=r'condensed, \[p\] or \[k, p\]'):
        Rdm.from_arrays(rows[:, :65], IDS)
