"""Whole runs in this process: what they leave behind, how they go on, and how they stop."""

import dataclasses
import json
import os
import signal

import ml_collections
import numpy as np
import pytest

from humalign_jax import data, records, storage
from humalign_jax.experiments import evaluate, train_classifier, train_vae
from humalign_jax.train import loop, signals
from humalign_jax.train.checkpoints import Checkpoints
from humalign_jax.train.step import NotFiniteError
from humalign_jax.wiring import images, runs


def _arrays(folder, step=None):
    """Every array file of a checkpoint by its digest."""
    steps = sorted(int(p.name) for p in (folder / 'checkpoints').iterdir() if p.name.isdigit())
    manifest = storage.read_json(folder / 'checkpoints' / str(step or steps[-1]) / 'manifest.json')
    return {name: entry['sha256'] for name, entry in manifest['arrays'].items()}


def _stop_after(monkeypatch, n_dispatches, number=signal.SIGTERM):
    """Sends this process a signal after so many dispatches."""
    original, seen = loop.Loop._between, {'n': 0}

    def between(self, step, state):
        seen['n'] += 1
        if seen['n'] == n_dispatches:
            os.kill(os.getpid(), number)
        return original(self, step, state)

    monkeypatch.setattr(loop.Loop, '_between', between)


@pytest.mark.parametrize(('name', 'experiment'), [('philnet', train_classifier), ('vae', train_vae)])
def test_a_stopped_run_goes_on_to_the_same_end(small_config, tmp_path, monkeypatch, name, experiment):
    config = small_config(name)
    experiment.run(config, str(tmp_path / 'unbroken'))
    with monkeypatch.context() as patch:
        _stop_after(patch, 6)  # in the middle of the second epoch
        with pytest.raises(SystemExit) as stop:
            experiment.run(config, str(tmp_path / 'broken'))
    assert stop.value.code == signals.EXIT_SAVED == 75
    rows_at_stop = storage.read_jsonl(tmp_path / 'broken' / 'metrics.jsonl')
    assert rows_at_stop[-1]['step'] < 12
    experiment.run(config, str(tmp_path / 'broken'))
    for file in ('metrics.jsonl', 'scores.jsonl'):
        assert (tmp_path / 'broken' / file).read_bytes() == (tmp_path / 'unbroken' / file).read_bytes(), file
    assert _arrays(tmp_path / 'broken') == _arrays(tmp_path / 'unbroken')


def test_a_csv_file_holds_the_numbers_of_the_rows(small_config, tmp_path):
    train_vae.run(small_config('vae', logger='csv', epochs=1.0), str(tmp_path))
    expected = [
        f'{row["step"]},{row["split"]}/{name},{float(value)!r}'
        for row in storage.read_jsonl(tmp_path / 'metrics.jsonl')
        for name, value in row.items()
        if name not in ('step', 'epoch', 'split')
    ]
    lines = (tmp_path / 'metrics.csv').read_text().splitlines()[1:]
    assert [line for line in lines if 'steps_per_sec' not in line and 'uptime' not in line] == expected
    assert not (tmp_path / 'tensorboard').exists()


def test_a_run_of_a_version_without_loggers_and_seeds_is_opened(small_config, tmp_path):
    config = small_config(max_steps=1)
    train_classifier.run(config, str(tmp_path))
    old = config.to_dict()
    del old['train']['logger'], old['train']['n_seeds']
    storage.write_json(tmp_path / 'config.json', old)
    assert int(runs.open_run(tmp_path, 'newest').state.step) == 1


def test_a_stopped_run_goes_on_with_other_devices(small_config, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        _stop_after(patch, 6)
        with pytest.raises(SystemExit):
            train_classifier.run(small_config(n_devices=4), str(tmp_path))
    train_classifier.run(small_config(n_devices=2), str(tmp_path))
    rows = [row for row in storage.read_jsonl(tmp_path / 'metrics.jsonl') if row['split'] == 'train']
    assert [row['step'] for row in rows] == [2, 4, 6, 8, 10, 12]
    assert all(np.isfinite(row['loss']) for row in rows)


@pytest.mark.parametrize('changed', ['images', 'labels', 'test'])
def test_a_stopped_run_does_not_go_on_with_other_data(small_config, tmp_path, monkeypatch, changed):
    config = small_config()
    with monkeypatch.context() as patch:
        _stop_after(patch, 3)
        with pytest.raises(SystemExit):
            train_classifier.run(config, str(tmp_path))

    def load(name, split, *, root='', **options):
        loaded = data.load_synthetic(split, **options)
        if changed == 'labels' and split == 'train':
            return dataclasses.replace(loaded, labels=loaded.labels[::-1])
        if (changed == 'images' and split == 'train') or changed == split:
            other = loaded.images.copy()
            other[0, 0, 0] ^= 1
            return dataclasses.replace(loaded, images=other)
        return loaded

    monkeypatch.setattr(images.data, 'load', load)
    with pytest.raises(ValueError, match='was begun with other data'):
        train_classifier.run(config, str(tmp_path))


def test_a_run_leaves_scores_with_intervals_and_provenance(small_config, tmp_path):
    train_classifier.run(small_config(epochs=1.0), str(tmp_path))
    scores = {row['name']: records.Score.from_json(row) for row in storage.read_jsonl(tmp_path / 'scores.jsonl')}
    confusion = np.load(tmp_path / 'confusion.npy')
    assert confusion.shape == (10, 10) and confusion.sum() == 40 == scores['accuracy'].n
    assert scores['accuracy'].value == confusion.trace() / 40
    assert scores['accuracy'].low < scores['accuracy'].value < scores['accuracy'].high
    assert len([name for name in scores if name.startswith('confusion/')]) == 100
    for score in scores.values():
        assert score.provenance['simulated'] is True and score.provenance['data'] == 'synthetic/test'


def test_the_best_checkpoint_is_scored_and_evaluate_gives_the_same(small_config, tmp_path):
    config = small_config()
    train_classifier.run(config, str(tmp_path / 'run'))
    storage.write_json(tmp_path / 'run' / 'config.json', json.loads(config.to_json_best_effort()))
    rows = [r for r in storage.read_jsonl(tmp_path / 'run' / 'metrics.jsonl') if r['split'] == 'validation']
    best = min(rows, key=lambda row: row['loss'])['step']
    scores = storage.read_jsonl(tmp_path / 'run' / 'scores.jsonl')
    assert {row['provenance']['checkpoint_step'] for row in scores} == {best}

    again = type(config)({'experiment': 'evaluate', 'seed': 0, 'checkpoint': 'best', 'split': 'test'})
    again.run = str(tmp_path / 'run')
    evaluate.run(again, str(tmp_path / 'again'))
    assert storage.read_jsonl(tmp_path / 'again' / 'scores.jsonl') == scores

    again.split = 'validation'
    evaluate.run(again, str(tmp_path / 'validation'))
    loss = next(r for r in storage.read_jsonl(tmp_path / 'validation' / 'scores.jsonl') if r['name'] == 'loss')
    assert loss['value'] == pytest.approx(min(row['loss'] for row in rows), rel=1e-5)
    again.checkpoint = '7'
    with pytest.raises(ValueError, match='7'):
        evaluate.run(again, str(tmp_path / 'none'))
    again.run = str(tmp_path)
    with pytest.raises(ValueError, match='is no run'):
        evaluate.run(again, str(tmp_path / 'none'))


def test_a_damaged_newest_checkpoint_is_left_aside_and_the_end_is_the_same(small_config, tmp_path, monkeypatch, caplog):
    config = small_config()
    train_classifier.run(config, str(tmp_path / 'unbroken'))
    with monkeypatch.context() as patch:
        _stop_after(patch, 10)
        with pytest.raises(SystemExit):
            train_classifier.run(config, str(tmp_path / 'run'))
    newest = max(int(p.name) for p in (tmp_path / 'run' / 'checkpoints').iterdir() if p.name.isdigit())
    manifest = tmp_path / 'run' / 'checkpoints' / str(newest) / 'manifest.json'
    data = bytearray(manifest.read_bytes())
    data[len(data) // 2] ^= 4
    manifest.write_bytes(bytes(data))
    train_classifier.run(config, str(tmp_path / 'run'))
    assert f'{newest}' in caplog.text
    assert _arrays(tmp_path / 'run') == _arrays(tmp_path / 'unbroken')
    unbroken = (tmp_path / 'unbroken' / 'metrics.jsonl').read_bytes()
    assert (tmp_path / 'run' / 'metrics.jsonl').read_bytes() == unbroken


def test_nan_stops_the_run_and_says_where_and_from_what(small_config, tmp_path):
    config = small_config()
    config.optimizer.update(name='sgd', learning_rate=1e18, schedule='constant')
    with pytest.raises(NotFiniteError, match=r'was NaN or Inf\. Last finite metrics: .*loss') as error:
        train_classifier.run(config, str(tmp_path))
    with Checkpoints(tmp_path / 'checkpoints') as saved:
        (step,) = saved.steps()
    assert f'checkpoints/{step}' in str(error.value) and f'step {step + 1}' in str(error.value)


def test_training_and_evaluation_take_what_a_typing_error_meant(small_config, tmp_path):
    config = small_config()
    config.model.name = 'philnett'
    with pytest.raises(ValueError, match="'philnet'"):
        train_classifier.run(config, str(tmp_path))
    config = small_config()
    config.data.name = 'cifar'
    with pytest.raises(ValueError, match="Did you mean 'cifar10'"):
        train_classifier.run(config, str(tmp_path))
    config = small_config()
    config.model.dropuot_rate = 0.1
    with pytest.raises(ValueError, match="Did you mean 'dropout_rate'"):
        train_classifier.run(config, str(tmp_path))
    config = small_config()
    config.train.epoch = 3
    with pytest.raises(ValueError, match=r"config\.train\.epoch is not a setting\. Did you mean 'epochs'"):
        train_classifier.run(config, str(tmp_path))
    config = small_config(n_devices=3)
    with pytest.raises(ValueError, match='does not divide among 3 devices'):
        train_classifier.run(config, str(tmp_path))


def test_soft_labels_can_be_the_target(small_config, tmp_path):
    config = small_config(epochs=1.0)
    config.data.target = 'soft_label'
    train_classifier.run(config, str(tmp_path))
    loss = next(r for r in storage.read_jsonl(tmp_path / 'scores.jsonl') if r['name'] == 'loss')
    assert loss['value'] > 0.3  # never below the entropy of the observers' answers
    config.data.target = 'human'
    with pytest.raises(ValueError, match="has no target 'human'"):
        train_classifier.run(config, str(tmp_path / 'other'))


@pytest.mark.parametrize(('wanted', 'batch_size', 'expected'), [(8, 16, 4), (0, 18, 3), (2, 16, 2), (4, 7, 1)])
def test_a_run_of_another_machine_is_opened_with_the_devices_here(wanted, batch_size, expected):
    config = ml_collections.ConfigDict({'train': {'n_devices': wanted}, 'data': {'batch_size': batch_size}})
    assert runs._devices_here(config) == expected  # of four
