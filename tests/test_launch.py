"""The launch scripts, with stand-ins for the scheduler and the run."""

import os
import pathlib
import signal
import subprocess
import time

import pytest

LAUNCH = pathlib.Path(__file__).parents[1] / 'launch'


@pytest.mark.parametrize(
    'path', sorted(p for p in LAUNCH.iterdir() if p.suffix in ('.sh', '.sbatch')), ids=lambda p: p.name
)
def test_scripts_are_valid_bash(path):
    done = subprocess.run(['bash', '-n', str(path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def _job(folder, run):
    """Starts slurm.sbatch; `run` stands in for the training process, and a stub notes what the scheduler is asked."""
    (folder / '.venv' / 'bin').mkdir(parents=True)
    (folder / 'bin').mkdir()
    for path, text in {
        folder / '.venv' / 'bin' / 'python': f'#!/usr/bin/env bash\necho "$@" > arguments\n{run}\n',
        folder / 'bin' / 'scontrol': f'#!/usr/bin/env bash\necho "$@" > {folder}/asked\n',
    }.items():
        path.write_text(text)
        path.chmod(0o755)
    environment = {
        **os.environ,
        'SLURM_SUBMIT_DIR': str(folder),
        'SLURM_JOB_ID': '42',
        'PATH': f'{folder / "bin"}:{os.environ["PATH"]}',
    }
    command = ['bash', str(LAUNCH / 'slurm.sbatch'), 'configs/x.py', 'runs/x', '--config.seed=1']
    return subprocess.Popen(command, env=environment)


def test_a_job_that_saves_on_the_time_limit_requeues_itself(tmp_path):
    job = _job(tmp_path, 'trap "sleep 0.3; exit 75" USR1; touch ready; while :; do sleep 0.05; done')
    deadline = time.time() + 20
    while not (tmp_path / 'ready').exists() and time.time() < deadline:
        time.sleep(0.02)
    job.send_signal(signal.SIGUSR1)
    assert job.wait(timeout=20) == 75
    assert (tmp_path / 'asked').read_text().split() == ['requeue', '42']
    arguments = (tmp_path / 'arguments').read_text()
    assert '--config=configs/x.py --workdir=runs/x --config.seed=1' in arguments


@pytest.mark.parametrize('status', [0, 2])
def test_a_job_that_is_done_or_wrong_is_not_requeued(tmp_path, status):
    job = _job(tmp_path, f'exit {status}')
    assert job.wait(timeout=20) == status
    assert not (tmp_path / 'asked').exists()


def test_local_without_arguments_says_its_usage():
    done = subprocess.run(['bash', str(LAUNCH / 'local.sh')], capture_output=True, text=True)
    assert done.returncode == 2 and 'usage' in done.stderr
