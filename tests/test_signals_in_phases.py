"""SIGTERM and SIGUSR1 in every phase of a run: its exit status, and the same command goes on to the undisturbed end."""

import json
import os
import pathlib
import signal
import subprocess
import sys

import pytest

from humalign_jax.train.signals import EXIT_SAVED

ROOT = pathlib.Path(__file__).parents[1]
SCRIPT = pathlib.Path(__file__).with_name('signal_in_phase.py')
ENVIRONMENT = {
    **os.environ,
    'XLA_FLAGS': '',
    'JAX_PLATFORMS': 'cpu',
    'MPLBACKEND': 'agg',
    'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0.1',
}
TRAINING = (
    *('--config=configs/philnet.py:tiny', '--config.model.widths=((4, 4), (4, 8))', '--config.train.epochs=3'),
    *('--config.data.n_train=96', '--config.data.n_test=40', '--config.data.n_validation=32'),
    *('--config.data.batch_size=16', '--config.train.logger=csv'),
)
RSA = ('--config=configs/rsa.py:tiny', '--config.comparison.pairs=("all",)', '--config.inference.n_permutations=10')


def _extraction(run):
    return ('--config=configs/extract.py', f'--config.run={run}', '--config.layers=("penultimate",)')


@pytest.fixture(scope='module')
def server():
    """`(flags, folder, phase='', number=0) -> (exit status, log)`, each in a process of its own."""
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT)],
        cwd=ROOT,
        env=ENVIRONMENT,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )

    def run(flags, folder, phase='', number=0):
        log = folder.with_name(f'{folder.name}.log')
        before = len(log.read_text()) if log.exists() else 0
        request = [phase, int(number), str(log), [*flags, f'--workdir={folder}']]
        process.stdin.write(json.dumps(request) + '\n')
        process.stdin.flush()
        return int(process.stdout.readline()), log.read_text()[before:]

    yield run
    process.stdin.close()
    process.wait(timeout=60)
    process.stdout.close()


@pytest.fixture(scope='module')
def undisturbed(server, tmp_path_factory):
    """Folders of whole runs: training, extraction, RSA."""
    folder = tmp_path_factory.mktemp('undisturbed')
    commands = {'training': TRAINING, 'extraction': _extraction(folder / 'training'), 'rsa': RSA}
    for name, flags in commands.items():
        status, log = server(flags, folder / name)
        assert status == 0, log
    return folder


def _goes_on_to(server, flags, folder, undisturbed, names):
    assert not (folder / 'running.json').exists()
    status, log = server(flags, folder)
    assert status == 0, log
    for name in names:
        assert (folder / name).read_bytes() == (undisturbed / name).read_bytes(), name


both = pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGUSR1], ids=lambda number: number.name)


@both
def test_a_run_that_is_signalled_while_it_starts_ends_with_the_signal_s_status(tmp_path, number):
    folder = tmp_path / 'run'
    command = [sys.executable, str(SCRIPT), 'start', str(int(number)), *TRAINING, f'--workdir={folder}']
    done = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=100)
    assert done.returncode == 128 + number, done.stderr
    assert f'Stopped by {number.name}' in done.stderr and 'Traceback' not in done.stderr
    assert not (folder / 'running.json').exists()


@both
def test_training_that_is_signalled_in_every_phase_saves_and_goes_on(tmp_path, server, undisturbed, number):
    folder = tmp_path / 'run'
    for phase in ('compile', 'train', 'evaluate', 'save', 'test'):
        status, log = server(TRAINING, folder, phase, number)
        assert status == EXIT_SAVED, (phase, log)
        assert f'Stopped by {number.name}' in log and 'start again' in log.lower(), (phase, log)
    _goes_on_to(server, TRAINING, folder, undisturbed / 'training', ('scores.jsonl', 'metrics.jsonl'))


@both
def test_an_extraction_that_is_signalled_goes_on(tmp_path, server, undisturbed, number):
    flags = _extraction(undisturbed / 'training')
    status, log = server(flags, tmp_path / 'run', 'extract', number)
    assert status == 128 + number and f'Stopped by {number.name}' in log, log  # no row is on the disk yet
    _goes_on_to(server, flags, tmp_path / 'run', undisturbed / 'extraction', ('penultimate.npy', 'penultimate.json'))


@both
def test_an_rsa_that_is_signalled_goes_on_with_the_rdms_that_it_has(tmp_path, server, undisturbed, number):
    for phase, expected in (('RDM', 128 + number), ('inference', EXIT_SAVED)):
        status, log = server(RSA, tmp_path / 'run', phase, number)
        assert status == expected and f'Stopped by {number.name}' in log, (phase, log)
    _goes_on_to(server, RSA, tmp_path / 'run', undisturbed / 'rsa', ('scores.jsonl',))
