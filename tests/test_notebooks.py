"""The notebooks of the documentation run without data, and say what is true."""

import importlib.util
import json
import pathlib

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).parents[1]
NOTEBOOKS = ROOT / 'docs' / 'notebooks'
pytestmark = pytest.mark.filterwarnings('ignore:the load_module:DeprecationWarning')

spec = importlib.util.spec_from_file_location('run_notebooks', ROOT / 'docs' / 'run_notebooks.py')
run_notebooks = importlib.util.module_from_spec(spec)
spec.loader.exec_module(run_notebooks)


def _run(name, folder, monkeypatch, **parameters):
    pytest.importorskip('matplotlib')
    monkeypatch.chdir(folder)
    cells = run_notebooks.read((NOTEBOOKS / f'{name}.py').read_text())
    return run_notebooks.run(cells, **parameters), cells


def test_the_notebook_on_own_features_finds_the_layer_with_the_least_noise(tmp_path, monkeypatch):
    names, cells = _run('own_features', tmp_path, monkeypatch)
    result = names['result']
    assert result.names[int(np.argmax(result.values))] == 'fc' and len(cells) > 8


def test_the_notebook_on_92_images_finds_the_simulated_animacy(tmp_path, monkeypatch):
    names, _ = _run('images92', tmp_path, monkeypatch)
    assert max(names['with_mean'], key=names['with_mean'].get) == 'animacy'
    assert abs(names['with_mean']['noise']) < 0.05


@pytest.mark.data
def test_the_notebook_on_92_images_gives_the_correlations_of_the_data_sheet(real_data, tmp_path, monkeypatch):
    names, _ = _run('images92', tmp_path, monkeypatch, data=str(real_data))
    sheet = {'animacy': 0.588, 'FaceBodyManmadeNatobj': 0.405, 'monkeyIT': 0.439, 'EVA': 0.354, 'HMAX': 0.222}
    assert {name: round(names['with_mean'][name], 3) for name in sheet} == pytest.approx(sheet, abs=0.002)


def test_the_notebook_on_crossnobis_puts_equal_conditions_near_zero(tmp_path, monkeypatch):
    names, _ = _run('haxby_crossnobis', tmp_path, monkeypatch)
    pair = np.flatnonzero((names['first'] == 4) & (names['second'] == 5))[0]  # bottle, scissors
    assert abs(names['crossnobis'].values[pair]) < 0.1 * names['crossnobis'].values.max()
    assert names['ordinary'].values[pair] > 0.2 * names['ordinary'].values.max()


def test_the_notebook_on_a_study_orders_networks_by_their_noise(tmp_path, monkeypatch):
    names, _ = _run('cifar10h_study', tmp_path, monkeypatch)
    values = [names['partial'][f'latents with noise {k}'].value for k in range(3)]
    assert values == sorted(values, reverse=True)
    assert (tmp_path / 'study/alignment/mynet/scores.jsonl').exists()


def test_the_notebook_on_a_sweep_gets_narrower_intervals_from_more_subjects(tmp_path, monkeypatch):
    monkeypatch.setenv('PYTHONPATH', str(ROOT))
    monkeypatch.setenv('XLA_FLAGS', '')  # one device for each run of the sweep
    names, _ = _run('sweep', tmp_path, monkeypatch)
    few, many = names['found'].values()
    assert many.high - many.low < few.high - few.low


def test_an_unknown_parameter_of_a_notebook_is_named():
    with pytest.raises(ValueError, match='no parameter dat'):
        run_notebooks.run(run_notebooks.read((NOTEBOOKS / 'images92.py').read_text())[:2], dat='x')


def test_a_notebook_keeps_what_its_cells_print_and_draw():
    text = '# %% [markdown]\n# # A title\n# %%\nfrom matplotlib import pyplot\n\nprint(6 * 7)\npyplot.plot([1, 2])\n'
    cells = run_notebooks.read(text)
    run_notebooks.run(cells)
    page, files = run_notebooks.page(cells, 'name')
    assert page.startswith('# A title\n\n```python\nfrom') and '```text\n42\n```' in page and '](name_1.svg)' in page
    assert files['name_1.svg'].lstrip().startswith(b'<?xml')
    first, second = json.loads(run_notebooks.ipynb(cells))['cells']
    assert first['cell_type'] == 'markdown' and first['source'] == '# A title'
    assert [output['output_type'] for output in second['outputs']] == ['stream', 'display_data']
