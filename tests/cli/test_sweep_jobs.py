"""Several points of a sweep at a time, with shell scripts that stand in for the runs."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from humalign_jax.cli import sweep_jobs

ROOT = pathlib.Path(__file__).parents[2]
# A sweep in $1 of the points $2..., two at a time; $RUN is what each of them does in its folder.
SWEEP = """
import os, pathlib, sys
from humalign_jax.cli import sweep_jobs
from humalign_jax.cli.sweep_points import Point
folder, points = pathlib.Path(sys.argv[1]), [Point(name, {}, ()) for name in sys.argv[2:]]
sweep_jobs.command_of = lambda folder, point: ['bash', '-c', 'cd "$0"; ' + os.environ['RUN'], str(folder / point.name)]
sys.exit(sweep_jobs.run_points(folder, points, sweep_jobs.shares(2, os.environ)))
"""
WAIT_FOR_STOP = 'trap "echo saved; exit 75" TERM USR1 INT; touch ready; while :; do sleep 0.05; done'


def _start(folder, run, names, **variables):
    environment = {**os.environ, 'JAX_PLATFORMS': 'cpu', 'PYTHONPATH': str(ROOT), **variables, 'RUN': run}
    return subprocess.Popen(
        [sys.executable, '-c', SWEEP, str(folder), *names],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _wait_for(*paths):
    deadline = time.time() + 60
    while not all(path.exists() for path in paths) and time.time() < deadline:
        time.sleep(0.02)
    assert all(path.exists() for path in paths)


def test_two_points_run_at_a_time_and_one_that_fails_stops_no_other(tmp_path):
    run = (
        'touch here; [ "$(basename "$PWD")" != b ] || exit 3; while [ ! -e ../b/here ]; do sleep 0.05; done; echo done'
    )
    sweep = _start(tmp_path, run, 'abc')  # a waits for b, which therefore runs beside it
    out, err = sweep.communicate(timeout=60)
    assert sweep.returncode == 2
    assert err == 'error: failed: b; --list says why. Start again to run them again.\n'
    lines = out.splitlines()
    assert lines[0].startswith('Point 1 of 3: a started') and lines[1].startswith('Point 2 of 3: b started')
    assert lines[-1] == f'2 of 3 points are complete: {tmp_path}'
    assert sum('failed with status 3 after' in line for line in lines) == 1
    assert sum('complete after' in line for line in lines) == 2
    assert [(tmp_path / name / 'output.txt').read_text() for name in 'abc'] == ['done\n', '', 'done\n']


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT], ids=lambda number: number.name)
def test_a_signal_reaches_all_running_points_and_starts_no_other(tmp_path, number):
    sweep = _start(tmp_path, WAIT_FOR_STOP, 'abc')
    _wait_for(tmp_path / 'a' / 'ready', tmp_path / 'b' / 'ready')
    sweep.send_signal(number)
    out, _ = sweep.communicate(timeout=60)
    assert sweep.returncode == 75
    assert out.count('saved and stopped after') == 2 and 'Stopped: 0 of 3 points are complete.' in out
    assert [(tmp_path / name / 'output.txt').read_text() for name in 'ab'] == ['saved\n', 'saved\n']
    assert not (tmp_path / 'c').exists()


def test_a_point_that_is_stopped_by_itself_stops_the_sweep_with_everything_saved(tmp_path):
    run = '[ "$(basename "$PWD")" != b ] || { while [ ! -e ../a/ready ]; do sleep 0.05; done; exit 75; }; '
    sweep = _start(tmp_path, run + WAIT_FOR_STOP, 'abc')
    out, _ = sweep.communicate(timeout=60)
    assert sweep.returncode == 75 and 'Stopped: 0 of 3' in out and not (tmp_path / 'c').exists()
    assert (tmp_path / 'a' / 'output.txt').read_text() == 'saved\n'


def test_each_point_has_a_gpu_and_cores_of_its_own(tmp_path):
    run = 'touch here; while [ ! -e ../a/here ] || [ ! -e ../b/here ]; do sleep 0.05; done; '
    run += f'echo $CUDA_VISIBLE_DEVICES; {sys.executable} -c "import os; print(*os.sched_getaffinity(0))"'
    sweep = _start(tmp_path, run, 'ab', JAX_PLATFORMS='', CUDA_VISIBLE_DEVICES='3,GPU-5')
    out, err = sweep.communicate(timeout=60)
    assert sweep.returncode == 0, err
    (gpu_a, cores_a), (gpu_b, cores_b) = ((tmp_path / name / 'output.txt').read_text().splitlines() for name in 'ab')
    assert (gpu_a, gpu_b) == ('3', 'GPU-5') and 'a started (GPU 3, ' in out
    if len(os.sched_getaffinity(0)) > 1:
        assert not set(cores_a.split()) & set(cores_b.split())
        assert {*cores_a.split(), *cores_b.split()} == {str(core) for core in os.sched_getaffinity(0)}


@pytest.mark.parametrize(
    ('n_cores', 'jobs', 'expected'), [(8, 3, [2, 3, 3]), (2, 4, [1, 1, 1, 1]), (4, 4, [1, 1, 1, 1])]
)
def test_cores_are_divided_evenly(monkeypatch, n_cores, jobs, expected):
    monkeypatch.setattr(os, 'sched_getaffinity', lambda _: set(range(n_cores)))
    shares = sweep_jobs.shares(jobs, {'JAX_PLATFORMS': 'cpu'})
    assert [len(share.cores) for share in shares] == expected
    assert frozenset.union(*(share.cores for share in shares)) == set(range(n_cores))


def test_one_job_has_the_whole_machine():
    assert sweep_jobs.shares(1, {'CUDA_VISIBLE_DEVICES': '0,1'}) == [None]


def test_more_jobs_than_gpus_are_refused():
    with pytest.raises(ValueError, match='--jobs=3: every point has a GPU for itself, and there are 2 GPUs'):
        sweep_jobs.shares(3, {'CUDA_VISIBLE_DEVICES': '0,1'})


@pytest.mark.parametrize(
    ('variables', 'expected'),
    [
        ({'CUDA_VISIBLE_DEVICES': '2, 0'}, ['2', '0']),
        ({'CUDA_VISIBLE_DEVICES': '1,-1,0'}, ['1']),  # CUDA stops at the first wrong number
        ({'CUDA_VISIBLE_DEVICES': ''}, []),
        ({'CUDA_VISIBLE_DEVICES': '0', 'JAX_PLATFORMS': 'cpu'}, []),
        ({}, ['0', '1']),
    ],
)
def test_gpus_are_those_that_the_variables_leave(tmp_path, monkeypatch, variables, expected):
    (tmp_path / 'nvidia-smi').write_text(
        '#!/usr/bin/env bash\n[ "$1" = -L ] && echo "GPU 0: NVIDIA H100 (UUID: GPU-a)\n'
        '  MIG 1g.10gb Device 0: (UUID: MIG-c)\nGPU 1: NVIDIA H100 (UUID: GPU-b)"\n'
    )
    (tmp_path / 'nvidia-smi').chmod(0o755)
    monkeypatch.setenv('PATH', f'{tmp_path}:{os.environ["PATH"]}')
    assert sweep_jobs.visible_gpus(variables) == expected


def test_without_nvidia_smi_the_driver_names_the_gpus(tmp_path, monkeypatch):
    monkeypatch.setenv('PATH', str(tmp_path))
    assert sweep_jobs.visible_gpus({}, tmp_path) == []
    for slot in ('0000:17:00.0', '0000:31:00.0'):
        (tmp_path / 'proc/driver/nvidia/gpus' / slot).mkdir(parents=True)
    assert sweep_jobs.visible_gpus({}, tmp_path) == ['0', '1']
