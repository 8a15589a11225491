"""tune_to_brain: what trains and what stays, controls, scores, opening as a classifier, and going on after a stop."""

import jax
import numpy as np
import pytest

from humalign_jax import records, storage
from humalign_jax.experiments import extract, tune_to_brain
from humalign_jax.train.step import make_train_step, run_key
from humalign_jax.wiring import brain_tuning, runs

from ..conftest import load_config


def small(**changes):
    config = load_config('tune_to_brain', 'tiny')
    config.train.update(n_devices=1, epochs=2.0)
    config.human.n_validation = 28  # 64 training images: 4 steps an epoch
    config.objective.distillation_weight = 0.1
    config.optimizer.learning_rate = 1e-3
    config.update(changes)
    return config


def scores_of(folder):
    return {row['name']: records.Score.from_json(row) for row in storage.read_jsonl(folder / 'scores.jsonl')}


@pytest.fixture(scope='module')
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp('tuned')
    config = small()
    tune_to_brain.run(config, str(folder))
    storage.write_json(folder / 'config.json', config.to_dict())
    return folder


def differ(a, b):
    return any(np.any(x != y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


def test_student_and_head_change_while_teacher_and_statistics_stay(done):
    opened = runs.open_run(done, 'newest')
    first, last = opened.task.first_state(), opened.state
    assert int(last.step) == 8
    assert not differ(first.model_state, last.model_state)
    teacher = last.model_state['teacher']
    student = {name: value for name, value in last.params.items() if name != 'neural_head'}
    assert student.keys() == teacher['params'].keys() and differ(student, teacher['params'])
    assert differ(first.params['neural_head'], last.params['neural_head'])


def test_scores_are_of_the_classifier_and_of_the_voxels(done):
    scores = scores_of(done)
    fall = scores['tuning/accuracy_before'].value - scores['accuracy'].value
    assert scores['tuning/accuracy_fall'].value == pytest.approx(fall)
    r, sidecar = storage.read_described(done / 'voxel_r.npy')
    assert scores['tuning/voxel_r'].value == pytest.approx(r.mean()) and len(sidecar['ceiling']) == 12
    about = scores['tuning/voxel_r'].provenance
    assert (about['condition'], about['recipe'], about['roi'], about['simulated']) == ('tuned', 'better', 'hV4', True)


def test_the_checkpoint_is_chosen_by_validation_loss(done):
    rows = [row for row in storage.read_jsonl(done / 'metrics.jsonl') if row['split'] == 'validation']
    assert len(rows) == 2 and {'loss', 'neural', 'distillation', 'voxel_r', 'accuracy'} < rows[0].keys()
    assert rows[0]['loss'] == pytest.approx(rows[0]['neural'] + 0.1 * rows[0]['distillation'])
    best = min(rows, key=lambda row: row['loss'])
    assert scores_of(done)['accuracy'].provenance['checkpoint_step'] == best['step']


def test_it_opens_as_a_classifier_whose_layers_can_be_extracted(done, tmp_path):
    config = load_config('extract', 'full')
    config.update(run=str(done), layers=('layer3', 'logits'), batch_size=16, n_devices=1)
    extract.run(config, str(tmp_path))
    logits = np.load(tmp_path / 'logits.npy')
    opened = runs.open_run(done)
    assert (opened.config.model.name, opened.setup.model_name) == ('resnet20', 'resnet20')
    right = np.mean(logits.argmax(axis=1) == opened.setup.images['test'].labels)
    assert right == pytest.approx(scores_of(done)['accuracy'].value)


def test_a_run_that_was_stopped_goes_on_to_the_same_bits(done, tmp_path):
    config = small()
    config.train.max_steps = 3
    tune_to_brain.run(config, str(tmp_path))
    config.train.max_steps = 0
    tune_to_brain.run(config, str(tmp_path))
    task = runs.open_run(done, 'newest').task
    whole, again = (runs.load_checkpoint(task, folder, 'newest') for folder in (done, tmp_path))
    assert not differ((whole.params, whole.opt_state), (again.params, again.opt_state))


@pytest.fixture(scope='module')
def stepped():
    """`(condition, number of steps, changes of sections) -> (first state, state after the steps, tuning)`."""

    def step(condition, n_steps=1, **sections):
        config = small(condition=condition)
        for section, changes in sections.items():
            config[section].update(changes)
        task, tuning = tune_to_brain.make_task(config), brain_tuning.read(config)
        first = jax.tree.map(np.asarray, task.first_state())
        one = jax.jit(make_train_step(task.make_objective(task.model), task.recipe.tx, task.examples.make_batch))
        state, rows = first, np.arange(16, dtype=np.int32)[None]
        for _ in range(n_steps):
            state, _ = one(state, dict(task.examples.arrays), rows, run_key(0))
        return first, state, tuning

    return step


def test_only_the_head_learns_while_it_is_warmed_up(stepped):
    first, last, _ = stepped('tuned', head=dict(warmup_epochs=0.5))  # 2 steps
    assert differ(first.params.pop('neural_head'), last.params.pop('neural_head'))
    assert not differ(first.params, last.params)


def test_without_tuning_only_the_head_learns_even_with_decay_and_training_statistics(stepped):
    first, last, _ = stepped('untuned', head=dict(warmup_epochs=0.0), objective=dict(train_statistics=True))
    assert differ(first.params.pop('neural_head'), last.params.pop('neural_head'))
    assert not differ((first.params, first.model_state), (last.params, last.model_state))


def test_training_statistics_follow_the_batches_but_not_those_of_the_teacher(stepped):
    first, last, _ = stepped('tuned', objective=dict(train_statistics=True))
    assert not differ(first.model_state.pop('teacher'), last.model_state.pop('teacher'))
    assert differ(first.model_state, last.model_state)


def test_distillation_alone_leaves_an_undecayed_network_at_its_teacher(stepped):
    options = dict(
        optimizer=dict(weight_decay=0.0, name='sgd', momentum=0.0, nesterov=False), head=dict(warmup_epochs=0.0)
    )
    first, last, _ = stepped('distillation', **options)
    assert differ(first.params.pop('neural_head'), last.params.pop('neural_head'))
    for before, after in zip(jax.tree.leaves(first.params), jax.tree.leaves(last.params)):
        np.testing.assert_allclose(after, before, atol=1e-7)


def test_shuffled_responses_are_the_same_responses_of_other_training_images():
    plain, shuffled = (brain_tuning.read(small(condition=condition)).voxels for condition in ('tuned', 'shuffled'))
    before, after = plain['train'].responses.values, shuffled['train'].responses.values
    assert (before != after).any(axis=1).mean() > 0.8
    np.testing.assert_array_equal(np.unique(before, axis=0), np.unique(after, axis=0))
    np.testing.assert_array_equal(plain['train'].images, shuffled['train'].images)
    for split in ('validation', 'test'):
        np.testing.assert_array_equal(plain[split].responses.values, shuffled[split].responses.values)


def test_replay_draws_training_images_of_the_classifier_anew_for_every_key():
    config = small()
    config.data.replay_per_image = 3
    tuning = brain_tuning.read(config)
    examples = brain_tuning.examples(tuning)
    keys = jax.random.split(jax.random.key(0), 4)
    batch = examples.make_batch(examples.arrays, np.array([5, 0, 5, 2]), keys)
    assert batch['replay'].shape == (4, 3, 32, 32, 3)
    prepared = np.asarray(tuning.setup.prepare_plain(tuning.setup.images['train'].images, None))
    known = {image.tobytes() for image in prepared}
    drawn = [image.tobytes() for image in np.asarray(batch['replay']).reshape(12, 32, 32, 3)]
    assert set(drawn) <= known and len(set(drawn)) > 6
    np.testing.assert_array_equal(batch['responses'], tuning.voxels['train'].responses.values[[5, 0, 5, 2]])
    assert 'replay' not in examples.make_batch(examples.arrays, np.array([0]), None)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(condition='random'), "config.condition='random' must be one of tuned, shuffled"),
        (dict(run='no/such/run'), "'no/such/run' is no run"),
    ],
)
def test_settings_that_cannot_be_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        tune_to_brain.make_task(small(**changes))


@pytest.mark.parametrize('average', [dict(name='schedule_free_adamw'), dict(lookahead_steps=5), dict(ema_decay=0.9)])
def test_parameters_of_a_tuning_are_not_averaged(average):
    config = small()
    config.optimizer.update(average)
    with pytest.raises(ValueError, match=r'cannot tune|are not averaged'):
        tune_to_brain.make_task(config)


def test_a_tuned_run_is_not_tuned_again(done):
    with pytest.raises(ValueError, match='is tuned already: give the run of its classifier'):
        tune_to_brain.make_task(small(run=str(done)))
