"""Whether the run of a config can start: its folder, its data, and space for its checkpoints."""

import importlib
import json
import pathlib
import shutil

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from humalign_jax import lock, main, workdir
from humalign_jax.machine import FAULT, OK, WARNING
from humalign_jax.wiring import readiness

CONFIGS = pathlib.Path(__file__).parents[2] / 'configs'
# Of ml_collections, where it reads a config file.
pytestmark = pytest.mark.filterwarnings('ignore:the load_module:DeprecationWarning')


def _by_name(checks):
    return {check.name: check for check in checks}


@pytest.fixture
def config(small_config):
    return small_config()


@pytest.fixture
def begun(config, tmp_path):
    """The folder of a run of `config` that has computed something."""
    folder = tmp_path / 'run'
    workdir.run_once(lambda config, place: (folder / 'metrics.jsonl').write_text('{}\n'), config, folder)
    return folder


def test_the_estimate_is_the_size_of_the_arrays_of_a_checkpoint(small_config):
    config = small_config('vae')  # BatchNorm, and two slots of Adam
    task = importlib.import_module(f'humalign_jax.experiments.{config.experiment}').make_task(config)
    state = task.first_state()
    arrays = jax.tree.leaves((state.params, state.model_state, state.opt_state))
    assert readiness.state_bytes(task) == sum(np.asarray(values).nbytes for values in arrays)


def test_a_fresh_folder_and_simulated_data_are_fit_to_start(config, tmp_path):
    config.train.keep_checkpoints = 3
    checks = _by_name(readiness.check_run(config, tmp_path / 'new'))
    assert {check.status for check in checks.values()} == {OK}
    assert '64 train, 32 validation, 40 test' in checks['data'].text and '5 checkpoints of' in checks['space'].text


def test_too_little_space_for_the_checkpoints_is_a_fault(config, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, 'disk_usage', lambda _: type('Usage', (), {'free': 10}))
    assert _by_name(readiness.check_run(config, tmp_path))['space'].status == FAULT


def test_missing_data_are_a_fault_that_says_what_was_looked_for(config, tmp_path):
    config.data = dict(name='mnist', root=str(tmp_path), batch_size=16, n_validation=32, target='label')
    found = _by_name(readiness.check_run(config, tmp_path))['data']
    assert found.status == FAULT and 'train-images-idx3-ubyte' in found.text


def test_too_many_devices_are_a_fault(config, tmp_path):
    config.train.n_devices = 9
    found = _by_name(readiness.check_run(config, tmp_path))['n_devices']
    assert found.status == FAULT and 'config.train.n_devices=9' in found.text


def test_a_folder_of_another_config_is_a_fault(config, begun):
    assert _by_name(readiness.check_run(config, begun))['workdir'].text.endswith('complete: a start does nothing')
    config.seed = 1
    found = _by_name(readiness.check_run(config, begun))['workdir']
    assert found.status == FAULT and 'config.seed: 0 -> 1' in found.text


def test_a_folder_in_which_a_living_process_works_is_a_fault(config, tmp_path):
    with lock.held(tmp_path):
        found = _by_name(readiness.check_run(config, tmp_path))['workdir']
    assert found.status == FAULT and 'works in' in found.text
    assert _by_name(readiness.check_run(config, tmp_path))['workdir'].status == OK


def test_a_lock_of_another_machine_is_a_warning(config, tmp_path):
    (tmp_path / lock.NAME).write_text(json.dumps({'host': 'elsewhere', 'pid': 7, 'since': 'now', 'token': 'x'}))
    found = _by_name(readiness.check_run(config, tmp_path))['workdir']
    assert found.status == WARNING and 'process 7 on elsewhere' in found.text


def test_cifar10_with_other_sums_than_the_published_is_a_warning(config, tmp_path, monkeypatch):
    folder = tmp_path / readiness.cifar10.PYTHON_FOLDER
    folder.mkdir()
    (folder / 'test_batch').write_bytes(b'other')
    images = readiness.data.load('synthetic', 'test', n_test=40)
    monkeypatch.setattr(readiness.data, 'load', lambda name, split, *, root: images)
    collect = ConfigDict(dict(experiment='collect_ratings', data=dict(name='cifar10', root=str(tmp_path))))
    found = _by_name(readiness.check_run(collect, tmp_path / 'new'))['data']
    assert found.status == WARNING and 'MD5 not as published: test_batch' in found.text


def test_a_run_or_file_that_does_not_exist_is_a_fault(config, tmp_path):
    evaluate = ConfigDict(dict(experiment='evaluate', run=str(tmp_path / 'none')))
    assert 'is no run' in _by_name(readiness.check_run(evaluate, tmp_path / 'new'))['data'].text
    alignment = ConfigDict(dict(experiment='alignment', features='net', validation=''))
    found = _by_name(readiness.check_run(alignment, tmp_path / 'new'))['data']
    assert found.status == FAULT and 'config.features: net does not exist' in found.text
    alignment.features = ''
    assert 'config.features is empty' in _by_name(readiness.check_run(alignment, tmp_path / 'new'))['data'].text


@pytest.mark.parametrize('name', ['rsa', 'human_rsa', 'encoding', 'geometry', 'learning', 'odd_one_out'])
def test_files_of_an_experiment_without_training_are_read_unless_they_are_simulated(tmp_path, monkeypatch, name):
    monkeypatch.setenv('HUMALIGN_DATA', str(tmp_path))
    full, tiny = (main.read_config([f'--config={CONFIGS}/{name}.py{variant}']) for variant in ('', ':tiny'))
    assert _by_name(readiness.check_run(full, tmp_path / 'new'))['data'].status == FAULT
    assert _by_name(readiness.check_run(tiny, tmp_path / 'new', tiny=True))['data'].status == OK


def test_people_of_an_experiment_are_read(tmp_path):
    human = ConfigDict(dict(experiment='alignment', human=dict(name='cifar10h', root=str(tmp_path))))
    found = _by_name(readiness.check_run(human, tmp_path / 'new'))['data']
    assert found.status == FAULT and 'cifar10h-counts.npy' in found.text
    np.save(tmp_path / 'cifar10h-counts.npy', np.full((10_000, 10), 5))
    found = _by_name(readiness.check_run(human, tmp_path / 'new'))['data']
    assert found.status == OK and 'answers to 10000 images' in found.text


def test_the_run_that_a_tiny_variant_reads_is_made_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    evaluate = ConfigDict(dict(experiment='evaluate', run='runs/philnet-tiny'))
    assert 'made first' in _by_name(readiness.check_run(evaluate, tmp_path, tiny=True))['data'].text


def test_the_networks_of_a_study_are_summed(tmp_path):
    config = main.read_config([f'--config={CONFIGS}/quickstart.py:tiny'])
    found = _by_name(readiness.check_run(config, tmp_path))
    assert found['space'].text.count('checkpoints of') == 3 and found['data'].status == OK
