"""The study of meta-learned alignment: its stages, what a change does again, and main above base where it must be."""

import os
import shutil
import signal

import numpy as np
import pytest

from humalign_jax import storage
from humalign_jax.data.function_files import load_function_file
from humalign_jax.experiments import metalign, simulate_concepts
from humalign_jax.human import learning as tables
from humalign_jax.human import things
from humalign_jax.rsa import files
from humalign_jax.wiring import stages

from ..conftest import load_config

NETWORKS = 'metalearners'
AFTER = ['odd_one_out', 'learning', 'geometry', 'report']


@pytest.fixture
def config():
    return load_config('metalign', 'tiny')


def names(config, folder):
    return [stage.name for stage in metalign.make_stages(config, folder)]


def stage_of(config, folder, name):
    return next(stage for stage in metalign.make_stages(config, folder) if stage.name == name)


def test_the_stages_follow_from_conditions_seeds_and_comparisons(config, tmp_path):
    config.include = ('main', 'noemb')
    networks = [f'{NETWORKS}/{name}' for name in ('main-0', 'main-1', 'noemb-0', 'noemb-1')]
    assert names(config, tmp_path) == ['simulated', *networks, *AFTER]
    config.include, config.seeds, config.compare = ('sae',), (3,), ()
    assert names(config, tmp_path) == ['simulated', 'sae', f'{NETWORKS}/sae-3', 'report']


def test_a_condition_changes_its_networks_alone(config, tmp_path):
    main, raw, sae, static = (
        stage_of(config, tmp_path, f'{NETWORKS}/{name}-1').config for name in ('main', 'raw', 'sae', 'static_linear')
    )
    assert (main.model.name, static.model.name) == ('metalearner', 'static_linear')
    assert (main.functions.use, raw.functions.use, main.seed) == ('main', 'raw', 1)
    assert main.functions.main.endswith('simulated/functions.npz') and sae.functions.main.endswith('sae/codes.npz')


def test_people_see_the_base_once_and_every_layer_of_networks_with_an_embedding(config, tmp_path):
    config.include = ('main', 'static_linear', 'noemb')
    for name in ('odd_one_out', 'learning', 'geometry'):
        made = stage_of(config, tmp_path, name).config
        rows = list(zip(made.names, made.groups, made.features))[:7]
        assert [(name, group) for name, group, _ in rows] == [
            ('base', ''), ('main-0', 'main'), ('main-1', 'main'), ('static_linear-0', 'static_linear'),
            ('static_linear-normalised-0', 'static_linear-normalised'), ('static_linear-1', 'static_linear'),
            ('static_linear-normalised-1', 'static_linear-normalised'),
        ]  # fmt: skip
        assert rows[4][2].endswith(f'{NETWORKS}/static_linear-0/features/simulated-concepts/normalised.npy')
        assert made.reference == 'base'
    config.layers = ('embed',)
    assert stage_of(config, tmp_path, 'odd_one_out').config.names == (
        'base', 'main-0', 'main-1', 'static_linear-0', 'static_linear-1'
    )  # fmt: skip


def test_features_and_functions_of_ones_own_are_inputs(config, tmp_path):
    path = tmp_path / 'words.npz'
    np.savez(path, words=np.eye(4, 3), ids=['a', 'b', 'c', 'd'], wordnet=np.eye(4))
    config.data.update(features=str(path), key='words')
    config.functions.update(main=str(path), mid='', key='wordnet')
    config.include, config.compare = ('main', 'sae'), ('odd_one_out',)
    main, sae = (stage_of(config, tmp_path / 'study', f'{NETWORKS}/{name}-0') for name in ('main', 'sae'))
    assert main.inputs == (path,) and sae.inputs == (path, tmp_path / 'study' / 'sae')
    compared = stage_of(config, tmp_path / 'study', 'odd_one_out').config.features
    assert compared[1] == f'{tmp_path}/study/{NETWORKS}/main-0/features/words/embed.npy'


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'include': ('mian',)}, "config.include has 'mian'. Did you mean 'main'"),
        ({'include': ()}, 'config.include.* must have one entry or more'),
        ({'seeds': (1, 1)}, 'config.seeds.* each once'),
        ({'layers': ('base',)}, "config.layers has 'base'"),
        ({'compare': ('geomtry',)}, "Did you mean 'geometry'"),
        ({'conditions': {'main': {'model': {'colour': 1}}}}, r'conditions\.main\.model\.colour is not a setting'),
        ({'odd_one_out': {'reference': 'x'}}, 'config.odd_one_out.reference is filled in by the study'),
        ({'data': {'features': 'words.npy'}}, r"functions\.main='simulated' needs config.data.features"),
        ({'metalearner': {'colour': 1}}, 'config.metalearner.colour is not a setting'),
    ],
)
def test_a_wrong_config_is_refused_before_anything_is_done(config, tmp_path, change, message):
    with config.unlocked():
        config.update(change)
    with pytest.raises(ValueError, match=message):
        metalign.run(config, str(tmp_path))
    assert not list(tmp_path.iterdir())


@pytest.fixture
def stages_that_ran(monkeypatch):
    """Folders of the stages that ran, in order; they leave a score and nothing else."""
    ran = []

    def run(config, folder):
        ran.append('/'.join(folder.split('/')[-2:]) if NETWORKS in folder else folder.split('/')[-1])
        storage.write_text(f'{folder}/scores.jsonl', str(config.seed))

    monkeypatch.setattr(stages, '_run_experiment', run)
    return ran


@pytest.mark.parametrize('stopped', range(6))
def test_a_signal_in_any_stage_leaves_a_study_that_goes_on_there(config, tmp_path, monkeypatch, stopped):
    config.include, config.seeds, config.compare = ('main', 'sae'), (0,), ('odd_one_out',)
    ran = []

    def run(config, folder):
        ran.append(folder)
        if len(ran) == stopped + 1:
            os.kill(os.getpid(), signal.SIGTERM)
        storage.write_text(f'{folder}/scores.jsonl', '{}')

    monkeypatch.setattr(stages, '_run_experiment', run)
    with pytest.raises(SystemExit):
        metalign.run(config, str(tmp_path))
    metalign.run(config, str(tmp_path))
    done = [str(tmp_path / name) for name in names(config, tmp_path)]
    assert ran == done[: stopped + 1] + done[stopped:]


@pytest.fixture(scope='module')
def simulated(tmp_path_factory):
    folder = tmp_path_factory.mktemp('simulated')
    config = load_config('metalign', 'tiny')
    config.simulated.update(n_items=300, n_triplets=3000, n_participants=6, n_trials=20)
    simulate_concepts.run(stage_of(config, folder, 'simulated').config, str(folder))
    return folder


def test_simulated_files_are_read_as_real_ones_and_say_that_they_are_simulated(simulated):
    concepts, triplets = things.load_concepts(simulated), things.load_triplets(simulated)
    features = files.load_features(simulated / 'features.npy')
    np.testing.assert_array_equal(features.ids, concepts.ids)
    np.testing.assert_array_equal(load_function_file(simulated / 'functions.npz').item_ids, concepts.ids)
    assert triplets.simulated and 'citation' not in triplets.provenance and len(triplets) == 3000
    for task in tables.TASKS:
        choices = tables.read_choices(simulated / f'{task}_learning.csv')
        assert choices.simulated and choices.task == task and len(choices) == 6 * 20
        assert set(choices.stimuli.ravel()) <= set(concepts.ids)


def test_simulated_people_choose_by_scalar_products_of_their_dimensions(simulated):
    """At every predicted probability of the first place, about that share of the people chose it."""
    human = things.load_embedding(simulated, 'human').values
    triplets = storage.read_array(simulated / 'triplets.npz', key='triplets')
    shuffled = np.random.default_rng(0).permuted(np.tile(np.arange(3), (len(triplets), 1)), axis=1)
    items = np.take_along_axis(triplets, shuffled, axis=1)
    a, b, c = (human[items[:, place]] for place in range(3))
    products = np.exp([(b * c).sum(1), (a * c).sum(1), (a * b).sum(1)])
    expected, chosen = products[0] / products.sum(axis=0), shuffled[:, 0] == 2
    for low in (0.0, 0.25, 0.5, 0.75):
        inside = (expected >= low) & (expected < low + 0.25)
        sd = np.sqrt((expected * (1 - expected))[inside].sum()) / inside.sum()
        assert abs(chosen[inside].mean() - expected[inside].mean()) < 4 * sd


def test_feedback_of_simulated_learners_follows_one_of_the_first_three_dimensions(simulated):
    human, ids = things.load_embedding(simulated, 'human').values, things.load_concepts(simulated).ids
    row = {stimulus: k for k, stimulus in enumerate(ids.tolist())}
    category = tables.read_choices(simulated / 'category_learning.csv')
    for number, person in enumerate(category.people):
        of_person = category.of_people([person])
        seen = human[[row[stimulus] for stimulus in of_person.stimuli[:, 0]], number % 3]
        np.testing.assert_array_equal(of_person.feedback[:, 0], seen > np.median(human[:, number % 3]))


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
    """A small study from end to end."""
    folder, config = tmp_path_factory.mktemp('metalign') / 'study', load_config('metalign', 'tiny')
    config.include = ('main',)
    config.simulated.update(n_triplets=1500, n_participants=6, n_trials=16)
    config.metalearner.train.update(epochs=5.0, n_devices=1)
    config.odd_one_out.n_devices = 1
    config.learning.strengths = (1.0,)
    config.geometry.update(n_bootstrap=10)
    config.geometry.maps.methods = ('mds',)
    metalign.run(config, str(folder))
    return config, folder


def accuracies(folder):
    rows = storage.read_jsonl(folder / 'odd_one_out' / 'scores.jsonl')
    return {row['provenance']['model']: row for row in rows if row['name'] == 'odd_one_out/accuracy'}


def test_meta_learned_features_are_above_their_base_where_functions_are_the_peoples(finished):
    found = accuracies(finished[1])
    assert found['main']['provenance']['networks'] == ['main-0', 'main-1']
    assert found['main']['low'] > found['base']['high'] and found['human']['low'] > found['main']['value']


def test_every_stage_leaves_scores_that_say_they_are_simulated_and_the_page_is_made(finished):
    config, folder = finished
    for stage in metalign.make_stages(config, folder)[1:-1]:
        rows = storage.read_jsonl(folder / stage.name / 'scores.jsonl')
        assert rows and all(row['provenance']['simulated'] for row in rows), stage.name
    page = (folder / 'report' / 'report.html').read_text(encoding='utf-8')
    assert 'Does meta-learning make features more human-like?' in page and 'Odd-one-out choices' in page


def test_a_finished_study_does_nothing_again_also_from_a_moved_folder(finished, tmp_path, stages_that_ran):
    config, folder = finished
    metalign.run(config, str(folder))
    shutil.copytree(folder, tmp_path / 'moved')
    metalign.run(config, str(tmp_path / 'moved'))
    assert not stages_that_ran and not (tmp_path / 'moved' / 'superseded').exists()


@pytest.mark.parametrize(
    ('change', 'again'),
    [
        ({'conditions': {'main': {'model': {'n_layers': 2}}}}, [f'{NETWORKS}/main-0', f'{NETWORKS}/main-1', *AFTER]),
        ({'seeds': (0, 1, 2)}, [f'{NETWORKS}/main-2', *AFTER]),
        ({'seeds': (0,)}, AFTER),
        ({'odd_one_out': {'n_bootstrap': 300}}, ['odd_one_out', 'report']),
        ({'include': ('main', 'noemb')}, [f'{NETWORKS}/noemb-0', f'{NETWORKS}/noemb-1', 'report']),
    ],
    ids=['condition', 'seed more', 'seed less', 'comparison', 'network without features'],
)
def test_only_what_depends_on_a_change_is_done_again(finished, tmp_path, stages_that_ran, change, again):
    config, folder = finished[0].copy_and_resolve_references(), tmp_path / 'study'
    shutil.copytree(finished[1], folder)
    with config.unlocked():
        config.update(change)
    metalign.run(config, str(folder))
    assert stages_that_ran == again
    assert [path.name for path in sorted((folder / NETWORKS).iterdir())] == sorted(
        f'{condition}-{seed}' for condition in config.include for seed in config.seeds
    )
