"""Fine-tuning on people's answers: nothing leaks, arms differ in targets alone, and the known answer comes back."""

import importlib.util
import os
import pathlib
import signal

import numpy as np
import optax
import pytest
from flax import linen as nn
from scipy import special, stats
from scipy.spatial import distance

from humalign_jax import devices, objectives, records, storage, workdir
from humalign_jax.alignment import fold_scores
from humalign_jax.data import pipeline, splits
from humalign_jax.experiments import train_classifier, train_soft_labels
from humalign_jax.human import cifar10h
from humalign_jax.train import batches, forward, loop, plan, signals
from humalign_jax.wiring import folds as folds_lib

N, K, EPOCHS, BATCH = 240, 3, 30, 20


# A world in which the right answer is known: two pixels say what people answer, and a linear network can learn it.


class Linear(nn.Module):
    @nn.compact
    def __call__(self, image, train=False, keys=None):
        return nn.Dense(K)(image.reshape(image.shape[0], -1))


@pytest.fixture(scope='module')
def toy():
    """Images, people's soft labels, folds, and a fine-tuner that has learned nothing yet."""
    np_rng = np.random.default_rng(0)
    pixels = np_rng.integers(0, 256, (N, 1, 2, 1)).astype(np.uint8)
    people = special.softmax(
        (pixels.reshape(N, 2) / 255.0 - 0.5) @ np.array([[4.0, -4.0, 0.0], [3.0, 3.0, -6.0]]), axis=1
    )
    labels = people.argmax(axis=1).astype(np.int32)
    images = {
        'image': pixels,
        'label': labels,
        'soft_label': np.eye(K, dtype=np.float32)[labels],
        'index': np.arange(N, dtype=np.int32),
    }
    used, ids = devices.local_devices(1), records.stimulus_ids('toy', 'test', np.arange(N))
    examples = batches.Examples(N, images, pipeline.make_image_batch(lambda image, keys, mirrored: image / 255.0 - 0.5))
    recipe = loop.Recipe(
        seed=0,
        batch_size=BATCH,
        devices=used,
        plan=plan.Plan(8, 8, 8, 8, 8, 8),  # `_tune` sets it by the number of training images
        tx=optax.adam(0.1),
        schedule=lambda step: 0.1,
        best_metric='loss',
        best_mode='min',
        keep_checkpoints=1,
        steps_per_dispatch=4,
        logger='',
        hyperparameters={},
    )
    task = loop.Task(
        recipe=recipe,
        model=Linear(),
        make_objective=objectives.make_classification_objective,
        examples=examples,
        evaluate=lambda state: {},
        metrics=(),
        digests=dict,
    )
    log_probs = folds_lib.make_log_probs(Linear())
    tuner = folds_lib.FineTuner(
        task,
        first=task.first_state(),
        log_probs=forward.Forward(log_probs, examples, batch_size=BATCH, devices=used),
        ids=ids,
        pretrained_ids=records.stimulus_ids('toy', 'train', np.arange(5)),
    )
    folds = splits.stratified_folds(labels, 3, seed=0)
    return tuner, people, labels, folds, ids


def _tune(toy, targets, parts):
    tuner, people, *_ = toy
    n = len(parts.training) // BATCH
    tuner._plan = plan.Plan(n, n * EPOCHS, n * EPOCHS, n, n, n)
    return tuner.tune(targets, parts, people=people, stop=signals.StopRequest(), on_step=lambda n: None)


@pytest.mark.parametrize('n_validation_folds', [0, 1])
def test_an_image_that_shaped_the_network_is_never_scored(toy, n_validation_folds):
    tuner, people, _, folds, ids = toy
    parts = splits.fold_parts(folds, 1, n_validation_folds)
    tuned = _tune(toy, people, parts)
    assert tuner.predict_held_out(tuned, parts.held_out).shape == (len(parts.held_out), K)
    for forbidden in (parts.training, parts.validation)[: 1 + n_validation_folds]:
        with pytest.raises(ValueError, match=f'1 of 81 images to be scored were trained on, .*{ids[forbidden[3]]}'):
            tuner.predict_held_out(tuned, np.append(parts.held_out, forbidden[3])[-81:])


def test_an_image_of_the_pretraining_is_never_scored():
    with pytest.raises(ValueError, match="'toy/train/00002'"):
        folds_lib.check_never_trained(
            records.stimulus_ids('toy', 'train', np.array([7, 2])), records.stimulus_ids('toy', 'train', np.arange(5))
        )


def test_what_people_said_about_held_out_images_changes_nothing(toy):
    tuner, people, _, folds, _ = toy
    parts = splits.fold_parts(folds, 2)
    others = people.copy()
    others[parts.held_out] = np.nan
    first, second = (tuner.predict_held_out(_tune(toy, t, parts), parts.held_out) for t in (people, others))
    np.testing.assert_array_equal(first, second)


def test_arms_see_the_same_images_in_the_same_order_and_no_other(toy, monkeypatch):
    tuner, people, labels, folds, _ = toy
    parts, original, seen = splits.fold_parts(folds, 0), tuner._step_devices, []

    def recording(on_devices, arrays, rows, key):
        seen[-1].append(rows.copy())
        return original(on_devices, arrays, rows, key)

    monkeypatch.setattr(tuner, '_step_devices', recording)
    for arm in ('human', 'hard'):
        seen.append([])
        _tune(toy, train_soft_labels.targets_of(arm, people, labels, 1.0), parts)
    human, hard = (np.concatenate(rows) for rows in seen)
    np.testing.assert_array_equal(human, hard)
    assert human.size == EPOCHS * 160
    np.testing.assert_array_equal(np.unique(human), parts.training)


def test_people_beat_hard_labels_where_they_truly_hesitate(toy):
    tuner, people, labels, folds, _ = toy
    entropy = special.entr(people).sum(axis=1).mean()
    losses = {}
    for arm in ('human', 'hard'):
        log_probs = np.empty((N, K))
        for fold in range(3):
            parts = splits.fold_parts(folds, fold)
            tuned = _tune(toy, train_soft_labels.targets_of(arm, people, labels, 1.0), parts)
            log_probs[parts.held_out] = tuner.predict_held_out(tuned, parts.held_out)
        losses[arm] = fold_scores.image_values(log_probs, people, labels)['cross_entropy'].mean()
    assert entropy <= losses['human'] < entropy + 0.005
    assert losses['hard'] > entropy + 0.05


def test_the_validation_fold_chooses_the_epoch(toy):
    tuner, people, labels, folds, _ = toy
    parts = splits.fold_parts(folds, 0, 1)
    tuned = _tune(toy, np.eye(K)[labels], parts)  # hard labels: the longer, the more certain and the worse
    by_epoch = [row['validation_loss'] for row in tuned.epochs]
    assert np.argmin(by_epoch) < EPOCHS - 1
    log_probs = tuner.predict(tuned.params, tuned.model_state, parts.validation)
    assert -(people[parts.validation] * log_probs).sum(axis=1).mean() == pytest.approx(min(by_epoch), rel=1e-6)


@pytest.mark.parametrize('n_validation_folds', [0, 2])
def test_the_parts_of_every_fold_hold_each_image_once_and_each_class_evenly(n_validation_folds):
    labels = np.random.default_rng(0).integers(0, 4, 203)
    folds = splits.stratified_folds(labels, 5, seed=3)
    everything = np.arange(203)
    scored = []
    for fold in range(5):
        parts = splits.fold_parts(folds, fold, n_validation_folds)
        together = np.concatenate([parts.training, parts.validation, parts.held_out])
        np.testing.assert_array_equal(np.sort(together), everything)
        assert len(np.unique(folds[parts.validation])) == n_validation_folds
        shares = np.bincount(labels[parts.held_out], minlength=4) - np.bincount(labels) / 5
        assert np.abs(shares).max() < 1
        scored.append(parts.held_out)
    np.testing.assert_array_equal(np.sort(np.concatenate(scored)), everything)


def test_folds_that_cannot_be_are_refused():
    folds = np.array([0, 1, 2, 0, 1, 2])
    with pytest.raises(ValueError, match='folds 0 to 2, but no fold 3'):
        splits.fold_parts(folds, 3)
    with pytest.raises(ValueError, match='of 3 folds 0 to 1 can be set aside, not 2'):
        splits.fold_parts(folds, 0, 2)


# Numbers


def test_per_image_values_equal_scipys():
    np_rng = np.random.default_rng(0)
    people = np_rng.multinomial(20, [0.6, 0.2, 0.1, 0.1], 50) / 20
    probs = np_rng.dirichlet(np.ones(4), 50)
    labels = np_rng.integers(0, 4, 50)
    values = fold_scores.image_values(np.log(probs), people, labels)
    np.testing.assert_allclose(values['kl'], stats.entropy(people, probs, axis=1))
    np.testing.assert_allclose(
        values['cross_entropy'], stats.entropy(people, axis=1) + stats.entropy(people, probs, axis=1)
    )
    np.testing.assert_allclose(values['js'], distance.jensenshannon(people, probs, axis=1) ** 2)
    for i in range(50):
        counts, by_model = np.sort(people[i])[::-1], np.argsort(-probs[i])
        assert values['accuracy'][i] == (by_model[0] == labels[i])
        if counts[0] > counts[1] > counts[2]:
            assert values['second_best'][i] == (people[i][by_model[1]] == counts[1])
        else:
            assert np.isnan(values['second_best'][i])


def test_a_known_temperature_comes_back():
    logits = np.random.default_rng(0).normal(scale=3.0, size=(400, 5))
    temperature = fold_scores.fit_temperature(
        special.log_softmax(logits, axis=1), special.softmax(logits / 2.5, axis=1)
    )
    assert temperature == pytest.approx(2.5, rel=1e-3)


def test_the_class_mean_of_other_folds_leaves_out_the_fold_itself():
    np_rng = np.random.default_rng(0)
    people, labels, folds = np_rng.dirichlet(np.ones(3), 30), np_rng.integers(0, 3, 30), np.arange(30) % 3
    means = np.exp(fold_scores.class_mean_of_other_folds(people, labels, folds, 50.0))
    for i in range(30):
        others = people[(labels == labels[i]) & (folds != folds[i])]
        expected = (others.sum(axis=0) + 1 / 150) / (len(others) + 1 / 50)
        np.testing.assert_allclose(means[i], expected)


@pytest.mark.data
def test_the_class_mean_baselines_of_cifar10h(real_data):
    counts = cifar10h.load_counts(real_data / 'cifar10')
    with np.load(real_data / 'cifar10' / 'test_jpeg.npz') as file:
        labels = file['labels'].astype(np.int64)
    people, folds = counts / counts.sum(axis=1, keepdims=True), splits.stratified_folds(labels, 10, seed=0)
    other_folds = fold_scores.class_mean_of_other_folds(people, labels, folds, 51.1)
    scores = {s.provenance['model']: s for s in fold_scores.baseline_scores(people, labels, other_folds, {})
              if s.name == 'soft_labels/cross_entropy'}  # fmt: skip
    assert scores['class-mean human label'].value == pytest.approx(0.2566, abs=1e-4)
    assert scores['human soft label itself'].value == pytest.approx(0.1545, abs=1e-4)
    held_out = scores['class-mean human label of the other folds'].value
    assert 0.2566 < held_out < 0.2585  # dearer by what the images told about themselves


def test_an_interval_over_images_equals_scipys_bootstrap():
    np_rng = np.random.default_rng(0)
    values, other = np_rng.normal(0.3, 1.0, 200), np.zeros(200)
    scores = _difference(values, other, np.arange(200) % 4)
    expected = stats.bootstrap((values,), np.mean, n_resamples=5000, method='percentile', random_state=1)
    assert scores['images'].value == pytest.approx(values.mean())
    assert (scores['images'].low, scores['images'].high) == pytest.approx(expected.confidence_interval, abs=0.02)


def test_an_interval_over_folds_counts_how_much_folds_differ():
    of_fold = np.array([0.1, -0.2, 0.4, 0.3, 0.0])
    values = np.repeat(of_fold, 40)  # all variance is between folds
    scores = _difference(values, np.zeros(200), np.repeat(np.arange(5), 40))
    expected = stats.bootstrap((of_fold,), np.mean, n_resamples=5000, method='percentile', random_state=1)
    assert (scores['folds'].low, scores['folds'].high) == pytest.approx(expected.confidence_interval, abs=0.021)
    assert scores['folds'].low < scores['images'].low


def test_one_fold_has_no_interval_over_folds():
    assert set(_difference(np.arange(9.0), np.zeros(9), np.full(9, 3))) == {'images'}


def _difference(values, other, folds):
    scores = fold_scores.difference_scores({'kl': values}, {'kl': other}, folds, {}, n_bootstrap=4000, seed=0)
    return {s.provenance['resampled']: s for s in scores if s.provenance['fold'] == 'all'}


def test_targets_mix_people_with_labels():
    people, labels = np.array([[0.5, 0.3, 0.2]]), np.array([2])
    np.testing.assert_allclose(train_soft_labels.targets_of('human', people, labels, 1.0), people)
    np.testing.assert_allclose(train_soft_labels.targets_of('human', people, labels, 0.25), [[0.125, 0.075, 0.8]])
    np.testing.assert_allclose(train_soft_labels.targets_of('hard', people, labels, 0.25), [[0, 0, 1]])


# The experiment


def _config(name, variant):
    path = pathlib.Path(__file__).parents[2] / 'configs' / f'{name}.py'
    spec = importlib.util.spec_from_file_location(f'config_{name}', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config(variant)


@pytest.fixture(scope='module')
def pretrained(tmp_path_factory):
    """The folder of a small training run on rendered images."""
    config = _config('philnet', 'tiny')
    config.data.update(batch_size=16, n_validation=32)
    config.data.n_train, config.data.n_test = 96, 64
    config.model.widths = ((4,), (8,))
    config.train.update(epochs=1.0, n_devices=1)
    folder = tmp_path_factory.mktemp('pretrained') / 'run'
    workdir.run_once(train_classifier.run, config, folder)
    return folder


@pytest.fixture
def soft_config(pretrained):
    """`(**changes) -> config` of a fine-tuning with three folds."""

    def make(**changes):
        config = _config('soft_labels', 'tiny')
        config.run, config.train.n_devices = str(pretrained), 1
        config.update(changes)
        return config

    return make


def test_a_stopped_run_loses_one_fold_and_ends_the_same(soft_config, tmp_path, monkeypatch):
    config = soft_config(n_validation_folds=1)
    train_soft_labels.run(config, str(tmp_path / 'unbroken'))
    original, began = folds_lib.FineTuner._rows_of, []

    def rows_of(self, epoch, training):
        began.append(epoch)
        if len(began) == 6:  # the second epoch of the third fine-tuning
            os.kill(os.getpid(), signal.SIGTERM)
        return original(self, epoch, training)

    monkeypatch.setattr(folds_lib.FineTuner, '_rows_of', rows_of)
    with pytest.raises(SystemExit) as stop:
        train_soft_labels.run(config, str(tmp_path / 'broken'))
    assert stop.value.code == signals.EXIT_SAVED
    kept = sorted(path.name for path in (tmp_path / 'broken' / 'folds').glob('*.npy'))
    assert kept == ['hard-0.npy', 'human-0.npy', 'pretrained-0.npy', 'pretrained-1.npy']
    train_soft_labels.run(config, str(tmp_path / 'broken'))
    assert len(began) == 6 + 4 * 2  # two epochs of each fine-tuning that was missing
    files = [path.relative_to(tmp_path / 'unbroken') for path in (tmp_path / 'unbroken').rglob('*.*')]
    assert len(files) == 2 + 2 * 3 + 2 * 9
    for file in files:
        assert (tmp_path / 'broken' / file).read_bytes() == (tmp_path / 'unbroken' / file).read_bytes(), file


def test_a_damaged_fold_is_made_again(soft_config, tmp_path):
    config = soft_config(arms=('pretrained',))
    train_soft_labels.run(config, str(tmp_path))
    path = folds_lib.path_of(tmp_path, 'pretrained', 1)
    whole = path.read_bytes()
    path.write_bytes(whole[:-4] + b'abcd')
    train_soft_labels.run(config, str(tmp_path))
    assert path.read_bytes() == whole


def test_folds_that_were_made_from_other_answers_are_not_mixed_with_new_ones(soft_config, tmp_path):
    config = soft_config(arms=('pretrained',))
    train_soft_labels.run(config, str(tmp_path))
    config.human.n_observers = 7
    with pytest.raises(ValueError, match=r'was begun with other data\. Changed since: answers\.'):
        train_soft_labels.run(config, str(tmp_path))


def test_scores_say_arm_fold_and_who_answered(soft_config, tmp_path):
    train_soft_labels.run(soft_config(which_folds=(0, 2), n_validation_folds=1), str(tmp_path))
    rows = [records.Score.from_json(row) for row in storage.read_jsonl(tmp_path / 'scores.jsonl')]
    sidecar = storage.read_json(tmp_path / 'predictions' / 'human.json')
    assert sorted(set(sidecar['folds'])) == [0, 2] and len(sidecar['ids']) == len(sidecar['folds'])
    log_probs = np.load(tmp_path / 'predictions' / 'human.npy')
    np.testing.assert_allclose(np.exp(log_probs).sum(axis=1), 1.0, rtol=1e-5)
    losses = {(r.provenance.get('arm'), r.provenance['fold']): r for r in rows if r.name == 'soft_labels/cross_entropy'
              and not r.provenance.get('baseline')}  # fmt: skip
    assert set(losses) == {(arm, fold) for arm in ('pretrained', 'human', 'hard') for fold in ('all', '0', '2')}
    assert losses['human', 'all'].n == len(log_probs) == losses['human', '0'].n + losses['human', '2'].n
    fitted_on = {r.provenance['arm']: r.provenance['temperature_from'] for r in rows if r.name.endswith('_scaled')}
    assert fitted_on == {'pretrained': 'training folds', 'human': 'validation folds', 'hard': 'validation folds'}
    for row in rows:
        assert row.provenance['simulated'] is True and row.provenance['human'] == 'simulated observers'
        assert row.provenance['data'] == 'synthetic/test' and row.provenance['better'] in ('larger', 'smaller', 'none')


def test_settings_that_cannot_be_are_refused(soft_config, tmp_path):
    for changes, message in (
        ({'arms': ('human', 'harder')}, "config.arms has 'harder', which is no arm. Did you mean 'hard'"),
        ({'arms': ()}, 'config.arms must hold one or more of'),
        ({'which_folds': (3,)}, 'config.which_folds has 3, but the folds are 0 to 2'),
        ({'objective': {'human_weight': 1.5}}, r'human_weight must be in \[0, 1\], not 1.5'),
        ({'human': {'name': 'cifar10h', 'root': str(tmp_path)}}, 'cifar10h'),
        ({'run': str(tmp_path)}, 'is no run'),
        ({'train': {'batch_size': 500}}, 'do not fill one batch of 500'),
    ):
        with pytest.raises(ValueError, match=message):
            train_soft_labels.run(soft_config(**changes), str(tmp_path / 'out'))
