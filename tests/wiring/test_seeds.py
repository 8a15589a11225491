"""Several seeds of one config in one program: each is the run of its seed, and they stop and go on together."""

import dataclasses
import os
import pathlib
import signal
import types

import jax
import numpy as np
import pytest
from scipy import stats

from humalign_jax import storage, workdir
from humalign_jax.cli import sweep_scores
from humalign_jax.experiments import extract, train_metalearner, train_sae
from humalign_jax.records import Score
from humalign_jax.report.loading import load_study
from humalign_jax.train import many_seeds, signals
from humalign_jax.train.step import NotFiniteError
from humalign_jax.wiring import runs, seeds

from ..conftest import load_config

SEEDS = (3, 4)


def _config(**train):
    """A sparse autoencoder: features, split and a constant of the loss depend on the seed."""
    config = load_config('sae', 'tiny')
    config.data.update(n_items=400, n_validation=40, n_test=40, n_functions=16, n_features=16)
    config.model.update(n_latents=24)
    config.seed = SEEDS[0]
    config.train.update(
        **{'n_seeds': 2, 'n_devices': 2, 'epochs': 4.0, 'log_every_steps': 2, 'checkpoint_every_epochs': 1.0, **train}
    )
    return config


def _run(config, folder, experiment=train_sae):
    workdir.run_once(lambda config, folder: seeds.run(experiment, config, pathlib.Path(folder)), config, folder)


def _stop_after(monkeypatch, n_dispatches):
    original, seen = many_seeds._Seeds._between, []

    def between(self, step, state):
        seen.append(step)
        if len(seen) == n_dispatches:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(self, step, state)

    monkeypatch.setattr(many_seeds._Seeds, '_between', between)


def _newest(folder):
    """The newest step, and every array of it by its digest."""
    step = max(int(path.name) for path in (folder / 'checkpoints').iterdir() if path.name.isdigit())
    about = storage.read_json(folder / 'checkpoints' / str(step) / 'manifest.json')
    return step, {name: entry['sha256'] for name, entry in about['arrays'].items()}


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """The folder of two seeds in one program."""
    folder = tmp_path_factory.mktemp('seeds') / 'run'
    _run(_config(), folder)
    return folder


def _check_equal(folder, other):
    for file in ('metrics.jsonl', 'scores.jsonl', 'config.json'):
        assert (folder / file).read_bytes() == (other / file).read_bytes(), file
    assert _newest(folder) == _newest(other)


@pytest.mark.parametrize('seed', SEEDS)
def test_a_seed_leaves_what_a_run_of_this_seed_alone_leaves(trained, tmp_path, seed):
    config = _config(n_seeds=1)
    config.seed = seed
    workdir.run_once(train_sae.run, config, tmp_path)
    _check_equal(trained / f'seed_{seed}', tmp_path)
    assert {path.name for path in (trained / f'seed_{seed}').iterdir()} == {path.name for path in tmp_path.iterdir()}


def test_stopped_seeds_are_saved_after_the_same_step_and_go_on_to_the_same_end(trained, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        _stop_after(patch, 7)  # between two rows
        with pytest.raises(SystemExit) as stop:
            _run(_config(), tmp_path)
    assert stop.value.code == signals.EXIT_SAVED
    assert [_newest(tmp_path / f'seed_{seed}')[0] for seed in SEEDS] == [7, 7]
    _run(_config(), tmp_path)
    for seed in SEEDS:
        _check_equal(tmp_path / f'seed_{seed}', trained / f'seed_{seed}')
    assert (tmp_path / 'scores.jsonl').read_bytes() == (trained / 'scores.jsonl').read_bytes()


def test_all_seeds_go_on_from_the_newest_step_that_all_have(trained, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        _stop_after(patch, 12)
        with pytest.raises(SystemExit):
            _run(_config(), tmp_path)
    last = tmp_path / f'seed_{SEEDS[1]}' / 'checkpoints' / '12'
    (last / 'manifest.json').unlink()  # as if this save had been interrupted
    began = []
    with monkeypatch.context() as patch:
        original = many_seeds._Seeds.go
        patch.setattr(many_seeds._Seeds, 'go', lambda self, states: began.append(states) or original(self, states))
        _run(_config(), tmp_path)
    assert [int(state.step) for state in began[0]] == [10, 10]
    for seed in SEEDS:
        _check_equal(tmp_path / f'seed_{seed}', trained / f'seed_{seed}')


def test_a_seed_whose_loss_is_not_finite_is_named(tmp_path):
    def make_task(config):
        task = train_sae.make_task(config)
        if config.seed == SEEDS[0]:
            return task
        state = task.first_state()
        broken = state.replace(params=jax.tree.map(lambda leaf: np.full_like(leaf, np.nan), state.params))
        return dataclasses.replace(task, make_first_state=lambda: broken)

    broken = types.SimpleNamespace(make_task=make_task, run=train_sae.run)
    with pytest.raises(NotFiniteError, match=r'^seed 4: the loss or gradient of step 1 .*seed_4/checkpoints/0'):
        _run(_config(), tmp_path, broken)


def test_the_folder_above_has_means_standard_deviations_and_student_intervals_over_the_named_seeds(trained):
    of_seeds = [storage.read_jsonl(trained / f'seed_{seed}' / 'scores.jsonl') for seed in SEEDS]
    rows = storage.read_jsonl(trained / 'scores.jsonl')
    assert [row['name'] for row in rows] == [row['name'] for row in of_seeds[0]]
    for row, *own in zip(rows, *of_seeds):
        values = [one['value'] for one in own]
        assert row['provenance']['seeds'] == list(SEEDS) and row['provenance']['values'] == values
        assert row['value'] == pytest.approx(np.mean(values)) and row['n'] == 2
        assert row['provenance']['sd'] == pytest.approx(np.std(values, ddof=1))
        if np.ptp(values):
            low, high = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
            assert (row['low'], row['high']) == pytest.approx((low, high))
    assert 'seed' not in rows[0]['provenance'] and rows[0]['provenance']['model'] == 'sae'


def test_a_sweep_and_a_page_read_the_means_and_a_seed_is_opened_like_a_run(trained):
    table = sweep_scores.compare(trained.parent, {'run': {'config.seed': 3}}, ['fve'])
    (row,) = [row for row in storage.read_jsonl(trained / 'scores.jsonl') if row['name'] == 'fve']
    assert f'{row["value"]:.3f}'[:4] in table
    assert {entry.run for entry in load_study(trained).entries} == {'.'}
    opened = runs.open_run(trained / 'seed_4', 'newest')
    assert int(opened.state.step) == 20 and opened.config.seed == 4
    with pytest.raises(ValueError, match=r'one run for each seed: give one of them, such as .*/seed_3'):
        runs.open_run(trained)


def test_scores_of_one_name_are_averaged_with_their_like():
    def score(value, roi, seed):
        about = {'roi': roi, 'seed': seed, 'stimuli_sha256': str(seed)}
        return Score('r', value, 0.0, 1.0, 9, 'fisher', provenance=about)

    of_seeds = [[score(1.0, 'V1', 0), score(2.0, 'IT', 0)], [score(4.0, 'IT', 1), score(3.0, 'V1', 1)]]
    means = {one.provenance['roi']: one.value for one in seeds.over_seeds(of_seeds, [0, 1])}
    assert means == {'V1': 2.0, 'IT': 3.0}


def test_a_score_that_a_seed_lacks_has_no_mean(caplog):
    full = [Score('a', 1.0, 0.0, 1.0, 9, ''), Score('b', 1.0, 0.0, 1.0, 9, '')]
    assert [score.name for score in seeds.over_seeds([full, full[:1]], [0, 1])] == ['a']


def test_what_cannot_train_several_seeds_says_so(tmp_path):
    with pytest.raises(ValueError, match='n_seeds=2: only `humalign run` of a training config'):
        train_sae.make_task(_config())  # as a stage of a study does
    with pytest.raises(ValueError, match='experiments that train'):
        seeds.run(extract, _config(), tmp_path)
    config = load_config('metalearner', 'tiny')
    config.train.n_seeds = 2
    with pytest.raises(ValueError, match=r'config\.stopping\.patience=0'):
        seeds.run(train_metalearner, config, tmp_path)
    with pytest.raises(ValueError, match='the largest seed is'):
        config.seed = 2**32 - 1
        seeds.run(train_metalearner, config, tmp_path)
