"""The experiment on simulated learners and on files: the true dimension wins, and what does not fit is named."""

import json

import numpy as np
import pytest

from humalign_jax import ranges
from humalign_jax.experiments import learning
from humalign_jax.records import Score
from humalign_jax.report import page
from humalign_jax.report.loading import load_study
from humalign_jax.rsa import files
from humalign_jax.storage import read_jsonl

from ..conftest import load_config

CHOICES = ['participant,trial,left_unique_id,right_unique_id,reward_left,reward_right,choice']
CONCEPTS = [f'c{number:02d}' for number in range(20)]


def read_scores(folder):
    return [Score.from_json(row) for row in read_jsonl(folder / 'scores.jsonl')]


@pytest.fixture(scope='module')
def simulated(tmp_path_factory):
    folder = tmp_path_factory.mktemp('learning')
    config = load_config('learning', 'tiny')
    ranges.check(config)
    learning.run(config, str(folder))
    return folder


@pytest.mark.parametrize('task', ['category', 'reward'])
def test_the_learner_on_the_true_dimension_predicts_simulated_people_best(simulated, task):
    r2 = {s.provenance['model']: s for s in read_scores(simulated)
          if s.name == 'learning/mcfadden_r2' and s.provenance['task'] == task}  # fmt: skip
    assert max(r2, key=lambda model: r2[model].value) == 'true dimension'
    assert r2['true dimension'].low > r2['noise'].high and r2['all latents'].low > 0
    assert abs(r2['chance'].value) < 1e-9 and all(s.provenance['simulated'] for s in r2.values())


def test_evidence_is_the_held_out_log_likelihood_of_the_scores(simulated):
    evidence = np.load(simulated / 'evidence_simulated_category_learning.npy')
    about = json.loads((simulated / 'evidence_simulated_category_learning.json').read_text())
    for score in read_scores(simulated):
        if score.name == 'learning/nll' and score.provenance['task'] == 'category':
            column = about['models'].index(score.provenance['model'])
            np.testing.assert_allclose(-evidence[:, column].mean() / 30, score.value, rtol=1e-9)


def test_the_page_shows_bars_table_and_differences(simulated, tmp_path):
    made = page.write_page(load_study(simulated), tmp_path, date='2026-01-01', title='', n_images=1,
                           recipe_epochs={}, claims=())  # fmt: skip
    section = next(section for section in made if section.name == 'learning')
    html = (tmp_path / 'report.html').read_text()
    assert 'PXP' in html and 'Simulated category learning' in html
    table = (tmp_path / 'tables' / 'learning_0.csv').read_text()
    assert table.splitlines()[0].startswith('kind,Features,') and 'true dimension' in table
    assert len(section.blocks) == 5 and 'true dimension' not in section.passages[0].sentences[0].text


@pytest.fixture
def study_files(tmp_path):
    """Features of 20 concepts and a table of eight participants, who choose at random; ways to change it."""
    np_rng = np.random.default_rng(0)
    values = np_rng.normal(size=(20, 4))
    np.savez(tmp_path / 'net.npz', net=values, ids=np.array(CONCEPTS))
    lines = list(CHOICES)
    for person in range(8):
        for trial in range(12):
            left, right = np_rng.choice(20, 2, replace=False)
            rewards = np.rint(50 + 20 * values[[left, right], 0])
            choice = ('left', 'right')[np_rng.integers(2)]
            lines.append(f'{person},{trial},{CONCEPTS[left]},{CONCEPTS[right]},{rewards[0]},{rewards[1]},{choice}')

    def make(change=lambda lines: lines):
        (tmp_path / 'choices.csv').write_text('\n'.join(change(list(lines))) + '\n')
        config = load_config('learning', 'full')
        config.features = (str(tmp_path / 'net.npz'),)
        config.arrays = ('net',)
        config.human.sets = (str(tmp_path / 'choices.csv'),)
        return config

    return make


def test_participants_who_cannot_be_predicted_are_counted(study_files, tmp_path):
    def change(lines):
        lines = [line if not line.startswith('3,') else line.replace('right', 'left') for line in lines]
        return [line for k, line in enumerate(lines) if not line.startswith('5,') or line.split(',')[1] in '01']

    learning.run(study_files(change), str(tmp_path / 'run'))
    score = next(s for s in read_scores(tmp_path / 'run') if s.name == 'learning/mcfadden_r2')
    assert score.n == 6 and score.provenance['n_left_out'] == 2
    assert score.provenance['left_out'] == [
        "3: all 12 choices are 'left'", '5: 2 trials are fewer than 5 folds'
    ]  # fmt: skip


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda c: c.update(features=()), 'config.features must name at least one'),
        (lambda c: c.update(names=('a', 'b')), r'config.names has 2 entries for 1 of config.features'),
        (lambda c: c.update(reference='other'), "config.reference='other' is no model"),
        (lambda c: c.rule.update(file=c.features[0], array='net', dimensions=(9,)), r'config.rule.dimensions=\(9,\)'),
        (lambda c: c.stimuli.update(dataset='cifar10'), None),
    ],
)
def test_settings_that_do_not_fit_are_named(study_files, tmp_path, change, message):
    config = study_files()
    change(config)
    if message is None:  # only read for files without ids
        np.save(tmp_path / 'plain.npy', np.ones((20, 3)))
        config.features, config.arrays = (str(tmp_path / 'plain.npy'),), ()
        message = "config.stimuli.dataset='cifar10' must be 'things'"
    with pytest.raises(ValueError, match=message):
        learning.run(config, str(tmp_path / 'run'))


def test_unknown_stimuli_and_files_without_ids_are_named(study_files, tmp_path):
    config = study_files(lambda lines: [*lines, '9,1,zebra,c01,1,2,left'])
    message = r"1 of 21 stimuli of 'choices' have no features in 'net', the first of them 'zebra'"
    with pytest.raises(ValueError, match=message):
        learning.run(config, str(tmp_path / 'run'))
    np.save(tmp_path / 'plain.npy', np.ones((20, 3)))
    config.features, config.arrays = (str(tmp_path / 'plain.npy'),), ()
    with pytest.raises(ValueError, match=r'plain.npy has no stimulus ids.*--config.stimuli.dataset=things'):
        learning.run(config, str(tmp_path / 'run'))


def test_layers_of_a_folder_are_models(study_files, tmp_path):
    config = study_files()
    found = files.load_features(tmp_path / 'net.npz', key='net')
    (tmp_path / 'features' / 'net' / 'test').mkdir(parents=True)
    files.save_features(tmp_path / 'features' / 'net' / 'test' / 'fc.npy', found)
    config.features, config.arrays = (str(tmp_path / 'features' / 'net' / 'test'),), ('fc',)
    config.human.sets = config.human.sets[:1]
    learning.run(config, str(tmp_path / 'run'))
    assert 'net/fc' in {score.provenance['model'] for score in read_scores(tmp_path / 'run')}


def test_models_of_one_group_are_scored_on_average_and_selected_as_one(study_files, tmp_path):
    config = study_files()
    np_rng = np.random.default_rng(0)
    ids = np.load(config.features[0])['ids']
    for k in range(2):
        np.savez(tmp_path / f'g{k}.npz', values=np_rng.normal(size=(len(ids), 3)), ids=ids)
    config.features = (config.features[0], str(tmp_path / 'g0.npz'), str(tmp_path / 'g1.npz'))
    config.arrays, config.names, config.groups = ('net', '', ''), ('base', 'main-0', 'main-1'), ('', 'main', 'main')
    config.reference = 'base'
    learning.run(config, str(tmp_path / 'run'))
    scores = read_scores(tmp_path / 'run')
    nll = {s.provenance['model']: s for s in scores if s.name == 'learning/nll'}
    assert nll['main'].value == pytest.approx((nll['main-0'].value + nll['main-1'].value) / 2)
    assert nll['main'].provenance['networks'] == ['main-0', 'main-1'] and nll['main-0'].provenance['group'] == 'main'
    selected = {s.provenance['model'] for s in scores if s.name == 'learning/pxp'}
    assert {'base', 'main'} < selected and not {'main-0', 'main-1'} & selected
    differences = {(s.provenance['model'], s.provenance['other']) for s in scores if s.name.endswith('/difference')}
    assert ('main', 'base') in differences
    config.names = ('main', 'main-0', 'main-1')
    config.reference = 'main'
    with pytest.raises(ValueError, match=r"config\.groups: 'main' is the name of a model too"):
        learning.run(config, str(tmp_path / 'other'))
