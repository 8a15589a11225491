"""Alignment watched during training: its numbers, its probe images, and that it changes nothing else."""

import dataclasses
import os
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats
from scipy.spatial.distance import pdist

from humalign_jax import data, devices, models, records, rsa, storage
from humalign_jax.data import cifar10, pipeline
from humalign_jax.experiments import train_classifier
from humalign_jax.human_data import Answers
from humalign_jax.train import loop, state
from humalign_jax.wiring import provenance, training
from humalign_jax.wiring import watch as watch_lib

from ..conftest import load_config

PREPARE = pipeline.make_prepare(mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))


@pytest.fixture
def probe():
    return data.load('synthetic', 'test', n_test=40)


def make_watch(name, probe, layer, **options):
    """A watch over a small network, and random parameters for it."""
    model = models.make_model(name, **options)
    variables = dict(model.init(jax.random.key(0), jnp.zeros((1, 32, 32, 3)), train=False))
    variables.pop('layers', None)
    answers = Answers(probe.extras['counts'], probe.ids, probe.class_names, 'simulated observers', simulated=True)
    used = devices.local_devices(2)
    shown = watch_lib.Probe(probe, layer, 'synthetic', 0)
    watch = watch_lib.Watch(model, shown, answers, prepare=PREPARE, batch_size=16, devices=used, seed=3)
    return watch, model, variables


def scores_of(watch, variables) -> dict[str, float]:
    params, used = variables.pop('params'), devices.local_devices(2)
    return watch(state_with(*devices.replicate((params, variables), used)))


def state_with(params, model_state):
    """A state in which nothing is set but what a network computes with."""
    return state.TrainState(None, params, model_state, None, {}, None, None)


def choose(config, images):
    """The probe of a training config."""
    return watch_lib.choose_probe(
        config.watch, images, source=config.data.name, best_metric=config.train.best_metric, seed=config.seed
    )


def test_scores_are_scipys_on_the_layer_read_out_by_itself(probe):
    watch, model, variables = make_watch('philnet', probe, 'penultimate', widths=((4, 4), (4, 8)))
    scores = scores_of(watch, dict(variables))
    values = models.capture(model, variables, PREPARE(probe.images, None), ('penultimate', 'logits'))
    human = probe.extras['counts'] / probe.extras['counts'].sum(axis=1, keepdims=True)
    x = pdist(np.asarray(values['penultimate'], np.float64), 'correlation')
    y, z = pdist(human, 'cosine').astype(np.float32), rsa.category_rdm(probe.labels)
    assert scores['alignment/rsa'] == pytest.approx(scipy.stats.spearmanr(x, y).statistic, abs=1e-4)
    ranks = np.stack([scipy.stats.rankdata(v) for v in (x, y, z)])
    left = [r - np.poly1d(np.polyfit(ranks[2], r, 1))(ranks[2]) for r in ranks[:2]]
    assert scores['alignment/rsa_partial'] == pytest.approx(scipy.stats.pearsonr(*left).statistic, abs=1e-4)
    log_q = scipy.special.log_softmax(np.asarray(values['logits'], np.float64), axis=1)
    assert scores['alignment/cross_entropy'] == pytest.approx(-(human * log_q).sum(axis=1).mean(), rel=1e-5)


def test_the_band_comes_from_split_halves_of_the_answers(probe):
    watch, _, variables = make_watch('vae', probe, 'mu', latent_dim=4, widths=(4, 4))
    scores = scores_of(watch, variables)
    assert 'alignment/cross_entropy' not in scores and tuple(watch.modes) == watch.bands
    for name, pairs in (('alignment/rsa', 'all'), ('alignment/rsa_partial', 'partial')):
        half = rsa.split_half(probe.extras['counts'], labels=probe.labels, pairs=pairs, seed=3)
        assert scores[f'{name}_ceiling_lower'] == half.reliability < scores[f'{name}_ceiling_upper'] == half.ceiling


def test_a_layer_that_answers_with_zeros_has_no_rsa_score(probe):
    watch, _, variables = make_watch('philnet', probe, 'penultimate', widths=((4, 4), (4, 8)))
    variables['params'] = jax.tree.map(jnp.zeros_like, variables['params'])
    scores = scores_of(watch, variables)
    assert 'alignment/rsa' not in scores and 'alignment/rsa_partial' not in scores
    assert scores['alignment/cross_entropy'] == pytest.approx(np.log(10), rel=1e-5)


def _images_like_cifar10():
    images = data.load('synthetic', 'test', n_test=200)
    named = dataclasses.replace(images, name='cifar10', class_names=cifar10.CLASS_NAMES, simulated=False)
    return {'train': named, 'validation': named, 'test': named}


def _config(**changes):
    config = load_config('philnet', 'full')
    config.watch.update(every_epochs=1.0, n_images=50)
    config.update_from_flattened_dict(changes)
    return config


def test_watching_leaves_nothing_out_and_choosing_by_it_leaves_the_probe_out():
    images = _images_like_cifar10()
    watched, all_images = choose(_config(), images)
    chosen, rest = choose(_config(**{'train.best_metric': 'alignment/rsa'}), images)
    assert (watched.n_left_out, chosen.n_left_out) == (0, 50)
    watched, probe = watched.images, chosen.images
    assert all_images['test'] is images['test'] and watched.ids.tolist() == probe.ids.tolist()
    assert probe.ids[0].startswith('cifar10/test/') and np.bincount(probe.labels).tolist() == [5] * 10
    assert sorted([*probe.ids, *rest['test'].ids]) == sorted(images['test'].ids) and len(rest['test']) == 150
    assert rest['validation'] is images['validation']
    other, _ = choose(_config(seed=1), images)
    assert set(other.images.ids) != set(probe.ids)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'watch.n_images': 200, 'train.best_metric': 'alignment/rsa'}, 'must be 3 to 199 of the 200 test images'),
        ({'watch.n_images': 2}, 'must be 3 to 200'),
        ({'watch.human': 'cifar10'}, "Did you mean 'cifar10h'"),
        ({'watch.human': 'synthetic'}, "has answers to images of 'synthetic', but config.data.name is 'cifar10'"),
        ({'watch.every_epochs': 0.0, 'train.best_metric': 'alignment/rsa'}, 'set config.watch.every_epochs'),
    ],
)
def test_a_probe_that_cannot_be_is_named(changes, message):
    with pytest.raises(ValueError, match=message):
        choose(_config(**changes), _images_like_cifar10())


def test_metrics_and_layers_that_cannot_be_are_named(small_config):
    def fails(message, **changes):
        config = small_config()
        config.watch.every_epochs = 1.0
        config.update_from_flattened_dict({key.replace('__', '.'): value for key, value in changes.items()})
        with pytest.raises(ValueError, match=message):
            training.make_watch(train_classifier.make_task(config))

    fails("'penultimat' is no layer of the model. Did you mean 'penultimate'", watch__layer='penultimat')
    fails('the best alignment/rsa is its max', train__best_metric='alignment/rsa')
    fails('must be one of loss, accuracy, alignment/rsa', train__best_metric='alignment/rsa_ceiling_upper')


def _counts_of(images):
    """Counts of 10,000 images, the first of which are these: most people give the label."""
    shares = np.full((10_000, 10), 0.04)
    shares[np.arange(10_000), np.resize(images.labels, 10_000)] = 0.64
    return np.random.default_rng(0).multinomial(50, shares)


def test_answers_in_another_order_than_the_probe_are_refused(tmp_path):
    images = _images_like_cifar10()
    shuffled = _counts_of(images['test'])[np.random.default_rng(1).permutation(10_000)]
    np.save(tmp_path / 'cifar10h-counts.npy', shuffled)
    probe, _ = choose(_config(), images)
    with pytest.raises(ValueError, match='labels and answers are in different orders'):
        probe.answers(str(tmp_path))


def test_answers_are_joined_by_id(tmp_path):
    counts = _counts_of(_images_like_cifar10()['test'])
    np.save(tmp_path / 'cifar10h-counts.npy', counts)
    probe, _ = choose(_config(), _images_like_cifar10())
    np.testing.assert_array_equal(probe.answers(str(tmp_path)).counts, counts[probe.images.index])


def _rows(folder, *splits):
    return [row for row in storage.read_jsonl(folder / 'metrics.jsonl') if row['split'] in splits]


def test_a_watched_run_is_the_same_run_stopped_or_not_and_is_not_scored_on_its_probe(
    small_config, tmp_path, monkeypatch
):
    """Here the simulated observers' probe comes from the test images, as CIFAR-10H's does."""
    config = small_config()
    train_classifier.run(config, str(tmp_path / 'unwatched'))

    monkeypatch.setitem(watch_lib._HUMANS, 'synthetic', ('synthetic', 'test'))
    config = small_config(best_metric='alignment/rsa', best_mode='max')
    config.watch.update(every_epochs=0.5, n_images=20)
    train_classifier.run(config, str(tmp_path / 'unbroken'))
    probe = _rows(tmp_path / 'unbroken', 'probe')
    assert [row['step'] for row in probe] == [2, 4, 6, 8, 10, 12]
    rows = [_rows(tmp_path / name, 'train', 'validation') for name in ('unwatched', 'unbroken')]
    assert rows[0] == rows[1]

    scores = [records.Score.from_json(row) for row in storage.read_jsonl(tmp_path / 'unbroken' / 'scores.jsonl')]
    best = max(probe, key=lambda row: row['alignment/rsa'])['step']
    assert {score.provenance['checkpoint_step'] for score in scores} == {best}
    assert scores[0].n == 20 == np.load(tmp_path / 'unbroken' / 'confusion.npy').sum()
    assert scores[0].provenance['left_out'] == '20 probe images whose alignment chose the checkpoint'
    assert storage.read_jsonl(tmp_path / 'unbroken' / 'timing.jsonl')[0]['watch_seconds'] > 0

    original, seen = loop.Loop._between, []

    def between(self, step, state):
        seen.append(step)
        if len(seen) == 7:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(self, step, state)

    with monkeypatch.context() as patch:
        patch.setattr(loop.Loop, '_between', between)
        with pytest.raises(SystemExit):
            train_classifier.run(config, str(tmp_path / 'broken'))
    train_classifier.run(config, str(tmp_path / 'broken'))
    for file in ('metrics.jsonl', 'scores.jsonl'):
        assert (tmp_path / 'broken' / file).read_bytes() == (tmp_path / 'unbroken' / file).read_bytes(), file


def test_a_start_notes_which_cifar10_files_it_read(tmp_path, monkeypatch):
    storage.write_json(tmp_path / 'provenance.json', [{'seed': 0}, {'seed': 1}])
    monkeypatch.setattr(cifar10, 'identify', lambda root: {'test_batch': 'published', 'data_batch_1': 'differs'})
    provenance.note_files(tmp_path, source='synthetic', root='')
    assert storage.read_json(tmp_path / 'provenance.json') == [{'seed': 0}, {'seed': 1}]
    provenance.note_files(tmp_path, source='cifar10', root='')
    expected = {'test_batch': 'published', 'data_batch_1': 'differs'}
    assert storage.read_json(tmp_path / 'provenance.json') == [{'seed': 0}, {'seed': 1, 'cifar10_files': expected}]
