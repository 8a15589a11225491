"""The launch scripts, with stand-ins for the scheduler and the run."""

import os
import pathlib
import shutil
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


RUN = 'trap "sleep 0.3; exit 75" USR1; touch ready; while :; do sleep 0.05; done'


def _job(folder, run, script='slurm.sbatch', arguments=('configs/x.py', 'runs/x', '--config.seed=1'), **variables):
    """Starts a batch script; `run` stands in for the training process, and a stub notes what the scheduler is asked."""
    (folder / '.venv' / 'bin').mkdir(parents=True)
    (folder / 'bin').mkdir()
    if not (folder / 'launch').exists():
        (folder / 'launch').symlink_to(LAUNCH)
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
        **variables,
        'PATH': f'{folder / "bin"}:{os.environ["PATH"]}',
    }
    return subprocess.Popen(['bash', str(LAUNCH / script), *arguments], env=environment)


def _send_when_ready(job, folder, number):
    deadline = time.time() + 20
    while not (folder / 'ready').exists() and time.time() < deadline:
        time.sleep(0.02)
    job.send_signal(number)
    assert job.wait(timeout=20) == 75


def test_a_job_that_saves_on_the_time_limit_requeues_itself(tmp_path):
    _send_when_ready(_job(tmp_path, RUN), tmp_path, signal.SIGUSR1)
    assert (tmp_path / 'asked').read_text().split() == ['requeue', '42']
    arguments = (tmp_path / 'arguments').read_text()
    assert '--config=configs/x.py --workdir=runs/x --config.seed=1' in arguments


@pytest.mark.parametrize(
    ('script', 'arguments'), [('slurm.sbatch', ['configs/x.py', 'runs/x']), ('slurm_array.sbatch', ['runs/x'])]
)
def test_modules_and_paths_of_env_sh_hold_in_every_job(tmp_path, script, arguments):
    (tmp_path / 'launch').mkdir()
    for path in LAUNCH.iterdir():
        (tmp_path / 'launch' / path.name).symlink_to(path)
    (tmp_path / 'launch' / 'env.sh').unlink()
    (tmp_path / 'launch' / 'env.sh').write_text('export HUMALIGN_DATA=$UNSET/project VENV=other\n')
    (tmp_path / 'other').symlink_to('.venv')
    job = _job(tmp_path, 'echo $HUMALIGN_DATA > data; echo $0 > python', script, arguments, SLURM_ARRAY_TASK_ID='3')
    assert job.wait(timeout=20) == 0
    assert (tmp_path / 'data').read_text() == '/project\n'
    assert (tmp_path / 'python').read_text() == 'other/bin/python\n'


def test_the_example_env_sh_changes_nothing():
    lines = (LAUNCH / 'env.sh').read_text().splitlines()
    assert all(not line or line.startswith('#') for line in lines)


def test_a_run_writes_to_its_folder_and_adds_to_what_is_there(tmp_path):
    (tmp_path / 'runs' / 'x').mkdir(parents=True)
    (tmp_path / 'runs' / 'x' / 'output.txt').write_text('before\n')
    assert _job(tmp_path, 'echo out; echo err >&2').wait(timeout=20) == 0
    assert (tmp_path / 'runs' / 'x' / 'output.txt').read_text() == 'before\nout\nerr\n'


def test_scripts_are_clean_to_shellcheck():
    checker = shutil.which('shellcheck')
    if checker is None:
        pytest.skip('no shellcheck')
    scripts = [path for path in LAUNCH.iterdir() if path.suffix in ('.sh', '.sbatch')]
    done = subprocess.run([checker, '--severity=warning', *scripts], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_a_task_of_an_array_requeues_itself_alone(tmp_path):
    """SLURM_JOB_ID of the last task is the array's: asked for by that, SLURM requeues all tasks (seen with 22.05)."""
    task = {'SLURM_JOB_ID': '42', 'SLURM_ARRAY_JOB_ID': '42', 'SLURM_ARRAY_TASK_ID': '3'}
    job = _job(tmp_path, RUN, 'slurm_array.sbatch', ['runs/sweep'], **task)
    _send_when_ready(job, tmp_path, signal.SIGUSR1)
    assert (tmp_path / 'asked').read_text().split() == ['requeue', '42_3']
    assert (tmp_path / 'arguments').read_text().split() == ['launch/sweep.py', '--workdir=runs/sweep', '--run=3']


def test_a_cancelled_job_saves_and_does_not_come_back(tmp_path):
    _send_when_ready(_job(tmp_path, RUN), tmp_path, signal.SIGTERM)
    assert not (tmp_path / 'asked').exists()


@pytest.mark.parametrize(
    ('script', 'arguments'), [('slurm.sbatch', ['configs/x.py']), ('slurm_array.sbatch', ['runs/x'])]
)
def test_a_batch_script_that_lacks_something_says_its_usage(tmp_path, script, arguments):
    job = _job(tmp_path, 'exit 0', script, arguments)  # the second: not in an array
    assert job.wait(timeout=20) == 2


@pytest.mark.parametrize('status', [0, 2])
def test_a_job_that_is_done_or_wrong_is_not_requeued(tmp_path, status):
    job = _job(tmp_path, f'exit {status}')
    assert job.wait(timeout=20) == status
    assert not (tmp_path / 'asked').exists()


def test_local_without_arguments_says_its_usage():
    done = subprocess.run(['bash', str(LAUNCH / 'local.sh')], capture_output=True, text=True)
    assert done.returncode == 2 and 'usage' in done.stderr
