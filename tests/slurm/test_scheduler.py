"""The launch scripts on a real SLURM, which `make test-slurm` starts: arrays, pre-emption, two processes of one run."""

import os
import pathlib
import subprocess
import sys
import time

import numpy as np
import pytest

from humalign_jax import storage

ROOT = pathlib.Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, 'XLA_FLAGS': '', 'JAX_PLATFORMS': 'cpu', 'PYTHONPATH': str(ROOT)}
SECONDS = 900  # a few on a quiet machine
WHOLE_NODE = '--cpus-per-task=4'
SMALL = ('--gpus-per-node=0', '--mem=1G')
# With an evaluation and a checkpoint every 8 of 160 steps.
TRAINING = ('configs/philnet.py:tiny', '--config.model.widths=((4, 4), (4, 8))', '--config.train.epochs=20')
# RDMs of less than a second, then inference of several seconds.
RSA = (
    'configs/rsa.py:tiny',
    '--config.simulated.n_stimuli=400',
    '--config.simulated.n_models=6',
    '--config.comparison.pairs=("all", "within")',
    '--config.inference.n_permutations=1000',
)

pytestmark = [pytest.mark.slow, pytest.mark.slurm]


@pytest.fixture(autouse=True)
def _a_controller_answers():
    try:
        done = subprocess.run(['sinfo', '--noheader', '--format=%R'], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        pytest.skip('no SLURM: make test-slurm starts one')
    if {'low', 'high'} - set(done.stdout.split()):
        pytest.skip('this SLURM has no partitions low and high: make test-slurm starts one')
    if not (ROOT / '.venv' / 'bin' / 'python').exists():
        pytest.skip('the batch scripts need .venv: make venv')


def _call(*command, **variables):
    done = subprocess.run(
        [str(part) for part in command],
        cwd=ROOT,
        env={**ENVIRONMENT, **variables},
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    return done.returncode, done.stdout + done.stderr


def _submit(*command):
    status, said = _call('sbatch', '--parsable', *command)
    assert status == 0, said
    return said.strip()


def _wait_until(what, happened, *, log=None):
    deadline = time.time() + SECONDS
    while not happened():
        shown = log.read_text()[-3000:] if log is not None and log.exists() else ''
        assert time.time() < deadline, f'{what} did not happen within {SECONDS} s\n{_call("squeue")[1]}\n{shown}'
        time.sleep(0.05)


def _states(job):
    return _call('squeue', '--noheader', '--array', f'--jobs={job}', '--states=all', '--format=%T')[1].split()


def _sweep(folder, damaged):
    """A sweep of six comparisons of a feature file with a reference RDM; the feature file of one point is cut short."""
    np_rng = np.random.default_rng(0)
    for k in range(6):
        np.save(folder / f'net{k}.npy', np_rng.normal(size=(30, 8)))
    np.save(folder / 'people.npy', np_rng.uniform(size=435))
    whole = (folder / damaged).read_bytes()
    (folder / damaged).write_bytes(whole[:200])
    point = {
        'config': 'configs/rsa.py',
        'config.reference.files': (str(folder / 'people.npy'),),
        'config.comparison.join': 'position',
        'config.inference.over': 'none',
    }
    points = [{**point, 'config.features.files': (str(folder / f'net{k}.npy'),), 'config.seed': k} for k in range(6)]
    (folder / 'six.py').write_text(f'def get_sweep():\n    return {points!r}\n')
    return folder / 'six.py', whole


def test_of_six_tasks_the_one_that_failed_is_retried_alone(tmp_path):
    folder = tmp_path / 'points'
    options = f'--sbatch={" ".join(SMALL)} --cpus-per-task=1'
    sweep, whole = _sweep(tmp_path, 'net3.npy')
    command = (sys.executable, 'launch/sweep.py', sweep, f'--workdir={folder}')
    status, said = _call(*command, '--submit', options)
    assert status == 0, said
    job = storage.read_json(folder / 'sweep.json')['jobs'][-1]
    _wait_until('the end of all six tasks', lambda: set(_states(job)) <= {'COMPLETED', 'FAILED'})
    assert sorted(_states(job)) == ['COMPLETED'] * 5 + ['FAILED']
    assert 'net3.npy' in _call(*command, '--list')[1]
    (tmp_path / 'net3.npy').write_bytes(whole)
    status, said = _call(*command, '--submit', options)
    assert status == 0 and '1 points; 5 are complete' in said
    again = storage.read_json(folder / 'sweep.json')['jobs'][-1]
    _wait_until('the end of the retried task', lambda: _states(again) == ['COMPLETED'])
    assert len(list(folder.glob('*/scores.jsonl'))) == len(list(folder.glob('*/complete.json'))) == 6


def _preempted(tmp_path, run, is_amid):
    """Submits a run, pre-empts it once `is_amid(folder)`, and waits for its end; returns its folder and its log."""
    folder = tmp_path / 'preempted'
    log = folder / 'output.txt'
    config, *settings = run
    low = ('--partition=low', WHOLE_NODE, *SMALL, f'--output={tmp_path}/job.log', 'launch/slurm.sbatch')
    job = _submit(*low, config, folder, *settings)
    _wait_until('the middle of the run', lambda: is_amid(folder), log=log)
    urgent = _submit('--partition=high', WHOLE_NODE, '--mem=1G', '--output=/dev/null', '--wrap=sleep 1')
    _wait_until('pre-emption', lambda: 'COMPLETED' in _states(urgent), log=log)
    assert not (folder / 'complete.json').exists()
    _wait_until('the end of the run', lambda: _states(job) == ['COMPLETED'], log=log)
    assert len(storage.read_json(folder / 'provenance.json')) == 2  # two starts
    return folder, log.read_text()


def _undisturbed(tmp_path, run, **variables):
    config, *settings = run
    command = (sys.executable, '-m', 'humalign_jax.main', f'--config={config}', *settings)
    status, said = _call(*command, f'--workdir={tmp_path / "undisturbed"}', **variables)
    assert status == 0, said
    return tmp_path / 'undisturbed'


def test_a_job_that_is_preempted_in_training_ends_as_an_undisturbed_one(tmp_path):
    def is_amid(folder):
        metrics = folder / 'metrics.jsonl'
        return metrics.exists() and metrics.read_text().count('"validation"') >= 1

    folder, log = _preempted(tmp_path, TRAINING, is_amid)
    assert 'everything is saved' in log and 'Going on from the checkpoint' in log
    undisturbed = _undisturbed(tmp_path, TRAINING)
    for name in ('scores.jsonl', 'metrics.jsonl'):
        assert (folder / name).read_bytes() == (undisturbed / name).read_bytes(), name


def test_a_job_that_is_preempted_in_rsa_ends_as_an_undisturbed_one(tmp_path):
    folder, log = _preempted(tmp_path, RSA, lambda folder: len(list(folder.glob('rdms/*.npy'))) == 6)
    assert 'Stopped by SIG' in log and 'which no longer runs' not in log  # its lock was released
    assert (folder / 'scores.jsonl').read_bytes() == (_undisturbed(tmp_path, RSA) / 'scores.jsonl').read_bytes()


def test_two_tasks_of_srun_train_one_run_as_one_process_with_two_devices_does(tmp_path):
    short = (*TRAINING[:-1], '--config.train.epochs=2')
    folder, log = tmp_path / 'two', tmp_path / 'job.log'
    nodes = ('--nodes=1', '--ntasks-per-node=2', '--cpus-per-task=1', *SMALL, f'--output={log}')
    job = _submit(*nodes, 'launch/multi_node.sbatch', short[0], folder, *short[1:])
    _wait_until('the end of the run', lambda: _states(job) == ['COMPLETED'], log=log)
    about = storage.read_json(folder / 'provenance.json')[0]
    assert (about['processes'], about['devices']) == (2, ['cpu', 'cpu'])
    two_devices = {'XLA_FLAGS': '--xla_force_host_platform_device_count=2'}
    undisturbed = _undisturbed(tmp_path, short, **two_devices)
    assert (folder / 'scores.jsonl').read_bytes() == (undisturbed / 'scores.jsonl').read_bytes()
