"""The documentation: links lead somewhere, and examples run."""

import pathlib
import re
import runpy

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from humalign_jax import storage

ROOT = pathlib.Path(__file__).parents[1]
FOLDERS = ('docs', 'launch', 'benchmarks', 'third_party')
PAGES = sorted([*ROOT.glob('*.md'), *(page for folder in FOLDERS for page in (ROOT / folder).rglob('*.md'))])


def _without_code(page):
    return re.sub(r'^```.*?^```|`[^`\n]*`', '', page.read_text(), flags=re.DOTALL | re.MULTILINE)


def _anchors(page):
    """Anchors of the headings, as GitHub makes them."""
    text = re.sub(r'^```.*?^```', '', page.read_text(), flags=re.DOTALL | re.MULTILINE)
    heads = re.findall(r'^#+ (.+)$', text, flags=re.MULTILINE)
    heads = [re.sub(r'\[([^]]*)\]\([^)]*\)', r'\1', head) for head in heads]
    return {re.sub(r'[^\w\- ]', '', head.lower()).replace(' ', '-') for head in heads}


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_of_a_page_lead_to_files_and_headings_that_there_are(page):
    for target in re.findall(r'\]\((?!\w+:)([^)\s]+)\)', _without_code(page)):
        path, _, anchor = target.partition('#')
        linked = page.parent / path if path else page
        assert linked.exists(), f'{target}: no such file'
        assert not anchor or anchor in _anchors(linked), f'{target}: no such heading'


def test_the_readme_has_at_most_120_lines():
    lines = (ROOT / 'README.md').read_text().splitlines()
    assert len(lines) <= 120


def _blocks(page):
    return re.findall(r'^```python\n(.*?)^```', (ROOT / 'docs' / page).read_text(), flags=re.DOTALL | re.MULTILINE)


def test_the_tutorial_prints_what_it_shows(tmp_path, monkeypatch, capsys):
    pytest.importorskip('matplotlib')
    monkeypatch.chdir(tmp_path)
    names = {}
    made, ten_lines, layers = _blocks('tutorial.md')
    assert len(ten_lines.strip().splitlines()) == 10
    for block in (made, ten_lines, layers):
        exec(block, names)
    (shown,) = re.findall(r'^```text\n(.*?)^```', (ROOT / 'docs/tutorial.md').read_text(), re.DOTALL | re.MULTILINE)
    assert capsys.readouterr().out.strip() == shown.strip()
    assert {'scores.png', 'rdm.png', 'result.npz'} <= {path.name for path in tmp_path.iterdir()}


def test_the_example_of_an_experiment_runs_and_exponential_responses_are_half_sparse(tmp_path):
    for name, block in zip(('config', 'experiment'), _blocks('howto/add_an_experiment.md')):
        (tmp_path / f'{name}.py').write_text(block)
    config = runpy.run_path(str(tmp_path / 'config.py'))['get_config']('tiny')
    config.simulated.n_stimuli = 500
    runpy.run_path(str(tmp_path / 'experiment.py'))['run'](config, str(tmp_path))
    (score,) = storage.read_jsonl(tmp_path / 'scores.jsonl')
    assert score['value'] == pytest.approx(0.5, abs=0.02) and score['low'] < score['value'] < score['high']


def test_the_lines_of_the_readme_score_the_layers_of_a_network(tmp_path, monkeypatch, capsys):
    pytest.importorskip('matplotlib')
    monkeypatch.chdir(tmp_path)
    np_rng = np.random.default_rng(0)
    seen = np_rng.normal(size=(20, 5))
    (tmp_path / 'subjects').mkdir()
    for k in range(3):
        np.savetxt(tmp_path / f'subjects/{k}.csv', pdist(seen + np_rng.normal(size=seen.shape)), delimiter=',')
    names = {'activations': {'conv1': np_rng.normal(size=(20, 2, 3)), 'fc': seen}, 'ids': [f'i{k}' for k in range(20)]}
    (block,) = _blocks('../README.md')
    exec(block, names)
    assert names['result'].values[1] > names['result'].values[0]
    assert '3 subjects; intervals for new stimuli and subjects' in capsys.readouterr().out


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_commands_of_a_page_name_configs_and_settings_that_there_are(page):
    text = re.sub(r'\\\n\s*', ' ', page.read_text())
    for line in re.findall(r'^.*(?:humalign run \w+|--config=configs/\w+\.py).*$', text, flags=re.MULTILINE):
        for command in re.split(r'(?=humalign run |--config=configs/)', line)[1:]:
            name, variant = re.match(r'(?:humalign run |--config=configs/)(\w+)(?:\.py)?:?(\w*)', command).groups()
            if name == 'sparseness' and page.name == 'add_an_experiment.md':
                continue
            config = runpy.run_path(str(ROOT / 'configs' / f'{name}.py'))['get_config'](*filter(None, [variant]))
            for key in re.findall(r'--config\.([\w.]+)=', command):
                place = config
                for part in key.split('.'):
                    assert part in place, f'configs/{name}.py has no setting {key}'
                    place = place[part]
