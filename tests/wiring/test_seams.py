"""A dry run of the seams: what is not an image trains, goes on and is opened with one experiment file of its own."""

import os
import pathlib
import signal

import jax
import ml_collections
import numpy as np
import pytest

from humalign_jax import devices, experiments, storage, workdir
from humalign_jax.experiments import evaluate
from humalign_jax.train import loop
from humalign_jax.train.checkpoints import Checkpoints
from humalign_jax.wiring import runs

from ..conftest import load_config

TOYS = pathlib.Path(__file__).parent / 'toys'


@pytest.fixture
def toy(monkeypatch):
    """The module of the toy experiment, found by name as if its file lay in the package."""
    monkeypatch.setattr(experiments, '__path__', [*experiments.__path__, str(TOYS)])
    from humalign_jax.experiments import train_features  # type: ignore[attr-defined]

    return train_features


@pytest.fixture
def toy_config(tmp_path):
    """40 features that two latents explain, but for noise."""
    np_rng = np.random.default_rng(0)
    features = np_rng.normal(size=(72, 2)) @ np_rng.normal(size=(2, 40)) + 0.1 * np_rng.normal(size=(72, 40))
    np.save(tmp_path / 'features.npy', features.astype(np.float32))
    full = load_config('philnet', 'tiny')
    config = ml_collections.ConfigDict({'experiment': 'train_features', 'seed': 0, 'model': {'n_latents': 4}})
    config.data = {'features': str(tmp_path / 'features.npy'), 'batch_size': 8, 'n_validation': 8}
    config.optimizer, config.train = full.optimizer, full.train
    config.optimizer.update(learning_rate=0.1, weight_decay=0.0)
    config.train.update(epochs=12.0, n_devices=2, log_every_steps=4)
    return config


def _stop_after(monkeypatch, n_dispatches):
    original, seen = loop.Loop._between, []

    def between(self, step, state):
        seen.append(step)
        if len(seen) == n_dispatches:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(self, step, state)

    monkeypatch.setattr(loop.Loop, '_between', between)


def test_a_toy_experiment_is_one_short_file_that_knows_no_image():
    text = (TOYS / 'train_features.py').read_text()
    assert len(text.splitlines()) < 60
    assert 'image' not in text.split('"""', 2)[2]


def test_a_toy_without_images_trains_goes_on_and_is_opened_by_its_name(toy, toy_config, tmp_path, monkeypatch):
    unbroken, broken = tmp_path / 'unbroken', tmp_path / 'broken'
    workdir.run_once(toy.run, toy_config, unbroken)
    losses = [row['loss'] for row in storage.read_jsonl(unbroken / 'metrics.jsonl') if row['split'] == 'validation']
    assert losses[-1] < 0.2 * losses[0]

    with monkeypatch.context() as patch:
        _stop_after(patch, 13)
        with pytest.raises(SystemExit):
            workdir.run_once(toy.run, toy_config, broken)
    assert workdir.run_once(toy.run, toy_config, broken)
    assert (broken / 'metrics.jsonl').read_bytes() == (unbroken / 'metrics.jsonl').read_bytes()

    opened = {name: runs.open_run(tmp_path / name, 'newest') for name in ('unbroken', 'broken')}
    for one, other in zip(*(jax.tree.leaves(run.state) for run in opened.values()), strict=True):
        np.testing.assert_array_equal(one, other)
    task, best = opened['broken'].task, runs.open_run(broken)
    on_devices = devices.replicate(best.state, task.recipe.devices)
    assert task.evaluate(on_devices)['loss'] == pytest.approx(min(losses), rel=1e-6)


@pytest.mark.parametrize('average', [{'lookahead_steps': 5}, {'ema_decay': 0.9}])
def test_averaged_parameters_go_on_after_a_stop_and_are_those_that_are_evaluated(
    toy, toy_config, tmp_path, monkeypatch, average
):
    toy_config.optimizer.update(name='sgd', learning_rate=0.01, schedule='linear', **average)
    toy_config.train.update(epochs=4.0)  # 32 steps, the last of them two after a pull
    workdir.run_once(toy.run, toy_config, tmp_path / 'unbroken')
    with monkeypatch.context() as patch:
        _stop_after(patch, 13)
        with pytest.raises(SystemExit):
            workdir.run_once(toy.run, toy_config, tmp_path / 'broken')
    assert workdir.run_once(toy.run, toy_config, tmp_path / 'broken')
    rows = [(tmp_path / name / 'metrics.jsonl').read_bytes() for name in ('unbroken', 'broken')]
    assert rows[0] == rows[1]
    unbroken, broken = (runs.open_run(tmp_path / name, 'newest') for name in ('unbroken', 'broken'))
    for one, other in zip(jax.tree.leaves(unbroken.state), jax.tree.leaves(broken.state), strict=True):
        np.testing.assert_array_equal(one, other)

    with Checkpoints(tmp_path / 'broken' / 'checkpoints') as saved:
        _, tree = saved.restore(broken.task.first_state().to_tree())
    for trained, kept, opened in zip(
        *map(jax.tree.leaves, (tree['params'], tree['opt_state']['average'], broken.state.params)), strict=True
    ):
        np.testing.assert_array_equal(opened, kept)
        assert np.abs(trained - kept).max() > 1e-5
    kernels = [broken.state.params[name]['kernel'] for name in ('Dense_1', 'Dense_0')]
    biases = [broken.state.params[name]['bias'] for name in ('Dense_1', 'Dense_0')]
    x = np.load(toy_config.data.features)[-8:].astype(np.float64)
    loss = np.square((x @ kernels[0] + biases[0]) @ kernels[1] + biases[1] - x).mean()
    last = storage.read_jsonl(tmp_path / 'broken' / 'metrics.jsonl')[-1]
    assert (last['step'], last['split'], last['loss']) == (32, 'validation', pytest.approx(loss, rel=1e-5))


def test_a_toy_run_does_not_go_on_with_other_features(toy, toy_config, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        _stop_after(patch, 3)
        with pytest.raises(SystemExit):
            workdir.run_once(toy.run, toy_config, tmp_path / 'run')
    np.save(toy_config.data.features, np.load(toy_config.data.features)[::-1])
    with pytest.raises(ValueError, match=r'was begun with other data\. Changed since: features'):
        workdir.run_once(toy.run, toy_config, tmp_path / 'run')


def test_what_needs_images_or_scores_says_so_of_a_run_without_them(toy, toy_config, tmp_path):
    workdir.run_once(toy.run, toy_config, tmp_path / 'run')
    with pytest.raises(ValueError, match="is a run of 'train_features', which was not trained on images"):
        _ = runs.open_run(tmp_path / 'run').setup
    config = load_config('evaluate', 'full')
    config.run = str(tmp_path / 'run')
    with pytest.raises(ValueError, match="is a run of 'train_features', which has no scores"):
        evaluate.run(config, str(tmp_path / 'scores'))
