"""Several processes that run one experiment together."""

import os
import re
import signal
import socket
import subprocess
import sys
import time

import pytest

from humalign_jax import processes, storage
from tests.conftest import ROOT

# A run of seconds with BatchNorm, whose statistics are over the batch of all processes.
SMALL = (
    *('--config=configs/philnet.py:tiny', '--config.model.widths=((4, 4), (4, 8))', '--config.data.n_train=96'),
    *('--config.data.n_test=40', '--config.data.n_validation=32', '--config.data.batch_size=16'),
    *('--config.train.log_every_steps=2', '--config.train.epochs=2.0'),
)
SLURM = {
    'SLURM_STEP_NUM_TASKS': '5',
    'SLURM_STEP_NODELIST': 'gpu[08-10,12],cpu1',
    'SLURM_STEP_TASKS_PER_NODE': '2,1(x3)',
    'SLURM_JOB_ID': '7',
    'SLURM_STEP_ID': '0',
    'SLURM_PROCID': '1',
    'SLURM_LOCALID': '1',
    'SLURM_NODEID': '0',
}


def start(n, workdir, *arguments, n_devices=1):
    """Starts the processes of one run, each with its own devices; they write to files beside the workdir."""
    with socket.socket() as probe:
        probe.bind(('localhost', 0))
        port = probe.getsockname()[1]
    started = []
    for number in range(n):
        environment = {
            **os.environ,
            'JAX_PLATFORMS': 'cpu',
            'XLA_FLAGS': f'--xla_force_host_platform_device_count={n_devices}',
        }
        place = (f'--coordinator=localhost:{port}', f'--n_processes={n}', f'--process={number}') if n > 1 else ()
        command = [sys.executable, '-m', 'humalign_jax.main', f'--workdir={workdir}', *place, *arguments]
        with open(f'{workdir}-{number}.log', 'a') as log:
            started.append(subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log))
    return started


def end(started, workdir, status=0, seconds=400):
    """Waits for the processes, and shows what they wrote if one ends otherwise than expected."""
    ended = [process.wait(seconds) for process in started]
    assert ended == [status] * len(ended), '\n'.join(logs(workdir, len(ended)))


def logs(workdir, n):
    return [workdir.with_name(f'{workdir.name}-{number}.log').read_text() for number in range(n)]


def wait_until(what, seconds=240):
    last = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < last, 'it never came'
        time.sleep(0.2)


def newest_step(folder):
    return max((int(path.name) for path in folder.glob('checkpoints/*') if path.name.isdigit()), default=0)


def scores(folder):
    return [(row['name'], row['value'], row['low'], row['high']) for row in storage.read_jsonl(folder / 'scores.jsonl')]


@pytest.mark.slow
def test_two_processes_train_as_two_devices_of_one_do(tmp_path):
    end(start(2, tmp_path / 'two', *SMALL), tmp_path / 'two')
    end(start(1, tmp_path / 'one', *SMALL, n_devices=2), tmp_path / 'one')
    assert (tmp_path / 'two/metrics.jsonl').read_bytes() == (tmp_path / 'one/metrics.jsonl').read_bytes()
    assert scores(tmp_path / 'two') == scores(tmp_path / 'one')
    assert storage.read_json(tmp_path / 'two/provenance.json')[0]['processes'] == 2
    assert 'Done:' in logs(tmp_path / 'two', 2)[0] and 'Done:' not in logs(tmp_path / 'two', 2)[1]


@pytest.mark.slow
def test_four_processes_train_as_four_devices_of_one_do_up_to_rounding(tmp_path):
    """Sums of four numbers depend on their order, sums of two do not."""
    end(start(4, tmp_path / 'four', *SMALL), tmp_path / 'four')
    end(start(1, tmp_path / 'one', *SMALL, n_devices=4), tmp_path / 'one')
    rows = zip(*(storage.read_jsonl(tmp_path / name / 'metrics.jsonl') for name in ('four', 'one')), strict=True)
    for four, one in rows:
        assert four.pop('split') == one.pop('split')
        assert four == pytest.approx(one, rel=1e-5)


@pytest.mark.slow
def test_others_stop_when_one_is_killed_and_a_new_start_goes_on_until_any_is_asked_to_stop(tmp_path):
    run = tmp_path / 'run'
    long = (*SMALL, '--config.train.epochs=100000.0')
    running = start(2, run, *long)
    try:
        wait_until(lambda: newest_step(run) > 0)
        running[1].kill()
        running[1].wait()
        assert running[0].wait(60) == 1
        assert 'process 0 of 2 stops, because another one has ended' in logs(run, 2)[0]

        running = start(2, run, *long)
        wait_until(lambda: 'Going on from the checkpoint of step' in logs(run, 2)[0])
        before = newest_step(run)
        wait_until(lambda: newest_step(run) > before)
        running[1].send_signal(signal.SIGTERM)
        end(running, run, status=75, seconds=120)
        found = re.search(r'Stopped by a signal to another process at step (\d+)', logs(run, 2)[0])
        assert found and (run / 'checkpoints' / found[1]).exists()
    finally:
        for process in running:
            process.kill()
            process.wait()


@pytest.mark.slow
@pytest.mark.parametrize('inference', ['stimuli', 'none'])
def test_four_processes_divide_the_tiles_of_rdms(tmp_path, inference):
    arguments = ('--config=configs/rsa.py:tiny', f'--config.inference.over={inference}')
    if inference == 'none':  # straight from the features, by counting
        arguments += ('--config.features.write_rdms=False', '--config.comparison.pairs=("all",)')
    end(start(4, tmp_path / 'four', *arguments), tmp_path / 'four')
    end(start(1, tmp_path / 'one', *arguments), tmp_path / 'one')
    assert scores(tmp_path / 'four') == scores(tmp_path / 'one')


@pytest.mark.parametrize(
    ('arguments', 'what'),
    [
        (('--config=configs/human_rsa.py:tiny',), 'human_rsa'),
        (('--config=configs/vae.py:tiny', '--config.train.n_seeds=2'), 'train_vae with config.train.n_seeds'),
    ],
)
def test_what_runs_in_one_process_refuses_to_run_in_several(tmp_path, arguments, what):
    end(start(2, tmp_path / 'run', *arguments), tmp_path / 'run', status=2)
    assert all(f'{what} runs in one process, not in 2' in log for log in logs(tmp_path / 'run', 2))


def test_a_task_of_srun_finds_its_place():
    place = processes.place_in_slurm(SLURM)
    assert place is not None
    assert (place.coordinator.split(':')[0], place.n_processes, place.number, place.gpus) == ('gpu08', 5, 1, ())
    assert 61440 <= int(place.coordinator.split(':')[1]) <= 65535
    assert processes.place_in_slurm({**SLURM, 'SLURM_STEP_NUM_TASKS': '1'}) is None
    assert processes.place_in_slurm({'SLURM_NTASKS': '4'}) is None  # the batch script itself


@pytest.mark.parametrize(
    ('seen', 'node', 'gpus'),
    [('0,1,2,3', '0', (2, 3)), ('0,1', '0', (1,)), ('3', '0', ()), ('0,1,2,3', '2', ())],
)
def test_tasks_of_a_node_divide_its_gpus(seen, node, gpus):
    environment = {**SLURM, 'CUDA_VISIBLE_DEVICES': seen, 'SLURM_NODEID': node}
    place = processes.place_in_slurm(environment)
    assert place is not None and place.gpus == gpus


@pytest.mark.parametrize(
    ('nodes', 'first'), [('a', 'a'), ('a,b', 'a'), ('n[3-7]', 'n3'), ('r1-n[009,012]-ib', 'r1-n009-ib')]
)
def test_the_first_host_of_a_list_is_found(nodes, first):
    assert processes.first_host(nodes) == first


@pytest.mark.parametrize(('address', 'n', 'number'), [('host', 2, 0), ('host:1', 2, 2), ('', 2, 0), ('host:1', 0, -1)])
def test_incomplete_flags_are_refused(address, n, number):
    with pytest.raises(ValueError, match='--coordinator=HOST:PORT --n_processes=N --process=K'):
        processes.place_from_flags(address, n, number)


def test_without_flags_there_is_one_process():
    assert processes.place_from_flags('', 0, -1) is None
    assert (processes.count(), processes.number(), processes.from_first(3)) == (1, 0, 3)
