import html.parser
import importlib.util
import pathlib
import re

import numpy as np
import pytest

from humalign_jax import storage
from humalign_jax.experiments import report
from humalign_jax.experiments import rsa as rsa_experiment
from humalign_jax.records import Features, Rdm, Score
from humalign_jax.report import figures
from humalign_jax.report.loading import load_study
from humalign_jax.rsa import files

ROOT = pathlib.Path(__file__).parents[2]


def _module(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def study(tmp_path):
    folder = tmp_path / 'study'
    _module(ROOT / 'tests' / 'report' / 'fake_study.py').write_study(folder, parts=('latents',))
    return folder


def _config(**changes):
    config = _module(ROOT / 'configs' / 'report.py').get_config('tiny')
    config.update(changes)
    return config


def test_the_command_writes_page_figures_and_tables(study, command):
    out = study / 'report'
    done = command('--config=configs/report.py:tiny', f'--config.study={study}', f'--workdir={out}', check=0)
    assert 'report.html' in done.stderr
    assert 'SIMULATED OBSERVERS' in (out / 'report.html').read_text(encoding='utf-8')
    assert {path.suffix for path in (out / 'tables').iterdir()} == {'.md', '.tex', '.csv'}


def test_without_a_study_the_workdir_is_the_study(study):
    report.run(_config(study=''), str(study))
    assert (study / 'report.html').exists()


def test_the_title_is_a_setting(study):
    report.run(_config(study='', title='Our <networks>'), str(study))
    assert '<h1>Our &lt;networks&gt;</h1>' in (study / 'report.html').read_text(encoding='utf-8')


def test_an_empty_study_is_one_clear_error(tmp_path):
    with pytest.raises(ValueError, match=r'holds no scores\.jsonl with scores, at any depth'):
        report.run(_config(study=str(tmp_path)), str(tmp_path / 'report'))
    with pytest.raises(ValueError, match='n_images=-1 must not be negative'):
        report.run(_config(study=str(tmp_path), n_images=-1), str(tmp_path))
    with pytest.raises(ValueError, match=r"config\.claims has 'ab', which is no claim. --config\.claims="):
        report.run(_config(study=str(tmp_path), claims=('ab',)), str(tmp_path))


N, K = 18, 3
KINDS = ('body part', 'face $x$', '_thing')


def _write_run(folder, *, names=('HMAX', 'V1_$a$'), reference='IT', **changes):
    """A run of the experiment rsa on made-up brain data: two models, three subjects, categories."""
    np_rng, given = np.random.default_rng(0), folder / 'given'
    given.mkdir(parents=True)
    ids, shared = np.array([f'monkeys/all/{i:03d}' for i in range(N)]), np_rng.normal(size=(N, 6))
    for i, name in enumerate(names):
        values = shared + (0.2 + 3 * i) * np_rng.normal(size=(N, 6))
        files.save_features(given / f'model{i}.npy', Features(values.astype(np.float32), ids, name))
    for i in range(K):
        values = np.linalg.norm((shared + np_rng.normal(size=(N, 6)))[:, None] - shared[None], axis=2)
        values = (values + values.T)[np.triu_indices(N, 1)]
        files.save_rdm(given / f'subject{i}.npy', Rdm(values, ids, f'{reference} {i}', 'euclidean'))
    (given / 'labels.txt').write_text('\n'.join(KINDS[i % 3] for i in range(N)) + '\n')
    config = _module(ROOT / 'configs' / 'rsa.py').get_config()
    config.features.update(files=tuple(str(given / f'model{i}.npy') for i in range(len(names))), names=names)
    config.reference.update(files=tuple(str(given / f'subject{i}.npy') for i in range(K)))
    config.comparison.update(labels_file=str(given / 'labels.txt'), pairs=('all', 'partial'))
    config.inference.update(over='both', n_permutations=50)
    config.update_from_flattened_dict(changes)
    (folder / 'run').mkdir()
    rsa_experiment.run(config, str(folder / 'run'))
    return folder / 'run'


class _Text(html.parser.HTMLParser):
    """The words of a page before its table of provenance, and the names of its sections."""

    def __init__(self, page):
        super().__init__()
        self.words, self.sections, self.skipped = [], [], 0
        self.feed(re.sub(r'<(style|script)>.*?</\1>', '', page, flags=re.DOTALL))
        self.text = ' '.join(' '.join(self.words).split())

    def handle_starttag(self, tag, attributes):
        if tag == 'section':
            self.sections.append(dict(attributes)['id'])
        self.words += [value for name, value in attributes if name in ('alt', 'aria-label')]

    def handle_data(self, data):
        if 'provenance' not in self.sections:
            self.words.append(data)


@pytest.fixture(scope='module')
def foreign(tmp_path_factory):
    """`(folder of a run of rsa, its study, its page, the figures of the page by name)`."""
    run, drawn = _write_run(tmp_path_factory.mktemp('foreign')), {}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(figures, 'save', lambda figure, folder, name: drawn.update({name: figure}))
        report.run(_config(study=str(run)), str(run / 'report'))
    return run, load_study(run), _Text((run / 'report' / 'report.html').read_text(encoding='utf-8')), drawn


def test_a_run_of_rsa_becomes_a_page_with_the_sections_it_has_data_for(foreign):
    assert foreign[2].sections == ['headline', 'reading', 'rsa', 'rdms', 'provenance', 'cite']
    assert 'How closely do HMAX and V1_$a$ agree with the reference?' in foreign[2].text
    assert 'Reference: IT 0, IT 1, IT 2' in foreign[2].text
    assert 'The noise ceilings say what disagreement among the subjects allows.' in foreign[2].text
    assert f'Over {N} stimuli, models are compared with 3 references (IT 0, IT 1, IT 2)' in foreign[2].text


NOUNS = ('people', 'human', 'image', 'observer', 'network', 'layer', 'CIFAR', 'PhilNet', 'ResNet', 'VAE', 'trained')


@pytest.mark.parametrize('word', NOUNS)
def test_the_page_of_a_foreign_run_does_not_speak_of(word, foreign):
    assert not re.search(rf'\b{word}', foreign[2].text, re.IGNORECASE)


def test_the_same_category_baseline_of_a_run_is_no_model(foreign):
    _, study, page, _ = foreign
    assert study.models == ['HMAX', 'V1_$a$'] and study.baselines == ['same category']
    relations = re.findall('(?:Above|Below|Not shown to differ from) this baseline: ([^.]+(?:\\.\\d[^.]*)*)', page.text)
    assert relations and not any('same category' in names for names in relations)


def test_baselines_of_streamed_scores_are_called_so_too(tmp_path):
    changes = {'inference.over': 'none', 'comparison.pairs': ('all',), 'features.write_rdms': False}
    given = tmp_path / 'given' / 'model0.npy'
    changes |= {'reference.kind': 'features', 'reference.files': (str(given),)}
    scores = storage.read_jsonl(_write_run(tmp_path, **changes) / 'scores.jsonl')
    said = {row['provenance']['model']: row['provenance'].get('baseline', False) for row in scores}
    assert said == {'HMAX': False, 'V1_$a$': False, 'same category': True}


def test_the_page_keeps_what_the_run_says_of_each_subject_and_pair_of_models(foreign):
    run, study, _, drawn = foreign
    with np.load(run / 'inference_all.npz') as file:
        names, by_subject, p = list(file['names']), file['scores_by_subject'], file['p_differences_fwer']
    figure = drawn['rsa_all']
    points = [line.get_ydata() for line in figure.axes[1].lines if line.get_marker() == '.']
    shown = [names.index(e) for e in ('HMAX', 'V1_$a$', 'same category')]
    np.testing.assert_allclose(points, by_subject[shown])
    found = {(e.model, e.get('other')): e.get('p_fwer') for e in study.differences(pairs='all')}
    assert found == {(names[i], names[j]): p[i, j] for i, j in zip(*np.triu_indices(3, 1))}
    marks = {line.get_label(): len(line.get_xdata()) for line in figure.axes[0].lines}
    assert marks['own'] == 3 and marks['shown'] + marks['not shown'] == 3 + 6  # above 0, and both halves of the pairs


def test_the_page_shows_the_rdms_and_the_map_with_the_names_of_categories(foreign):
    drawn = foreign[3]
    titles = [ax.get_title() for ax in drawn['rdms_image'].axes if ax.images]
    assert titles == ['the reference', 'HMAX', r'V1_\$a\$']
    legend = [text.get_text().replace(r'\$', '$').strip() for text in drawn['map'].legends[0].get_texts()]
    assert legend == sorted(KINDS)
    assert sum(len(points.get_offsets()) for points in drawn['map'].axes[0].collections) == N
    assert f'Dissimilarities of {N} stimuli, sorted by category: each' in foreign[2].text


def test_runs_with_different_references_are_not_put_on_one_page(foreign, tmp_path):
    score = Score(
        'rsa/spearman', 0.5, 0.4, 0.6, 9, 'some', provenance={'model': 'a', 'pairs': 'all', 'reference': ['V4']}
    )
    for name, one in (('one', score), ('two', load_study(foreign[0]).entries[0].score)):
        (tmp_path / name).mkdir()
        storage.write_jsonl(tmp_path / name / 'scores.jsonl', [one.to_json()])
    with pytest.raises(ValueError, match=r'2 references \(one: V4; two: IT 0, IT 1, IT 2\).*--config\.study=<folder'):
        report.run(_config(study=str(tmp_path)), str(tmp_path))


def test_two_runs_of_the_same_models_are_not_put_on_one_page(foreign, tmp_path):
    for name in ('euclidean', 'correlation'):
        (tmp_path / name).mkdir()
        storage.write_jsonl(tmp_path / name / 'scores.jsonl', storage.read_jsonl(foreign[0] / 'scores.jsonl'))
    with pytest.raises(ValueError, match=r"of 'HMAX' twice, in correlation and euclidean, .*--config\.study="):
        load_study(tmp_path)


def test_simulated_data_of_a_run_are_not_called_observers(tmp_path):
    about = {'model': 'a', 'pairs': 'all', 'reference': ['subject 0'], 'simulated': True}
    score = Score('rsa/spearman', 0.5, 0.4, 0.6, 9, 'some', provenance=about)
    storage.write_jsonl(tmp_path / 'scores.jsonl', [score.to_json()])
    report.run(_config(study=str(tmp_path)), str(tmp_path / 'report'))
    page = _Text((tmp_path / 'report' / 'report.html').read_text(encoding='utf-8')).text
    assert page.startswith(
        'How closely does a agree with the reference? SIMULATED DATA All scores on this page rest on data'
    )
    assert 'bserver' not in page and 'Stimuli: n = 9' in page


def test_damaged_inference_is_named(foreign, tmp_path):
    storage.write_jsonl(tmp_path / 'scores.jsonl', storage.read_jsonl(foreign[0] / 'scores.jsonl'))
    (tmp_path / 'inference_all.npz').write_bytes(b'no arrays')
    with pytest.raises(ValueError, match=r'inference_all\.npz holds no arrays'):
        load_study(tmp_path)
