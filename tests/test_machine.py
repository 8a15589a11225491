"""Checks of the machine: what SLURM, the driver, the packages and the file system say, and what follows for a run."""

import os
import shutil

import pytest

from humalign_jax import machine

JOB = {'SLURM_JOB_ID': '7'}
STEP = {**JOB, 'SLURM_STEP_NODELIST': 'n[1-2]', 'SLURM_STEP_NUM_NODES': '2', 'SLURM_STEP_NUM_TASKS': '4'}


def test_devices_are_counted_with_their_kind():
    found = machine.check_devices()
    assert found.status == machine.OK and '4 x cpu' in found.text  # tests/conftest.py makes four


def test_a_gpu_of_the_job_that_jax_does_not_see_is_a_fault():
    found = machine.check_gpu({**JOB, 'SLURM_JOB_GPUS': '0,1'})
    assert found.status == machine.FAULT and 'SLURM_JOB_GPUS=0,1' in found.text


@pytest.mark.parametrize(('chosen', 'status'), [('', machine.WARNING), ('cpu', machine.OK)])
def test_a_gpu_of_the_driver_that_jax_does_not_see_is_a_warning_unless_chosen(tmp_path, chosen, status):
    (tmp_path / 'proc/driver/nvidia/gpus/0000:01:00.0').mkdir(parents=True)
    found = machine.check_gpu({'JAX_PLATFORMS': chosen}, tmp_path)
    assert found.status == status and 'the driver has 1' in found.text
    assert machine.check_gpu({}, tmp_path / 'proc').text.startswith('none here')


def test_another_version_of_jaxlib_or_of_a_plugin_and_a_missing_package_are_warnings():
    same = dict.fromkeys(('jax', 'jaxlib', 'flax', 'optax', 'orbax-checkpoint', 'numpy', 'jax-cuda12-plugin'), '1.2')
    assert machine.check_versions(same.get).status == machine.OK
    for name in ('jaxlib', 'jax-cuda12-plugin'):
        found = machine.check_versions({**same, name: '1.1'}.get)
        assert found.status == machine.WARNING and f'jax 1.2 with {name} 1.1' in found.text
    found = machine.check_versions({**same, 'flax': None}.get)
    assert found.status == machine.WARNING and 'training needs flax (pip install' in found.text


@pytest.mark.parametrize(
    ('environment', 'status', 'words'),
    [
        ({}, machine.OK, 'no SLURM job'),
        ({**STEP, 'SLURM_PROCID': '3'}, machine.OK, 'rank 3 of 4'),
        ({**STEP, 'SLURM_PROCID': '3'}, machine.OK, '2 node(s): n[1-2]'),
        ({**STEP, 'SLURM_PROCID': '4'}, machine.FAULT, 'must be below the number of tasks'),
        ({**JOB, 'SLURM_NTASKS': '4'}, machine.WARNING, 'start the run with srun'),
        ({**JOB, 'SLURM_NTASKS': '1'}, machine.OK, 'rank 0 of 1'),
    ],
)
def test_the_process_is_placed_in_its_job(environment, status, words):
    found = machine.check_processes(environment)
    assert found.status == status and words in found.text


@pytest.mark.parametrize(
    ('left', 'status'), [(60, machine.FAULT), (300, machine.WARNING), (1200, machine.OK), (90_000, machine.OK)]
)
def test_time_left_is_read_from_the_variable_of_the_job(left, status):
    found = machine.check_time({**JOB, 'SLURM_JOB_END_TIME': str(1_000_000 + left)}, now=1_000_000)
    assert found.status == status and ('25.0 h' if left == 90_000 else f'{left // 60} min') in found.text


@pytest.mark.parametrize(
    ('said', 'status', 'words'),
    [
        ('1-02:00:00', machine.OK, '26.0 h'),
        ('5:00', machine.WARNING, '5 min'),
        ('UNLIMITED', machine.OK, 'no limit'),
        ('INVALID', machine.WARNING, 'unknown'),
        ('', machine.WARNING, 'unknown'),
    ],
)
def test_without_the_variable_squeue_tells_the_time_left(said, status, words):
    found = machine.check_time(JOB, ask={'7': said}.get)
    assert found.status == status and words in found.text


def test_outside_of_a_job_there_is_no_limit():
    assert machine.check_time({}).status == machine.OK


def test_squeue_is_asked_for_the_job(tmp_path, monkeypatch):
    (tmp_path / 'squeue').write_text('#!/bin/sh\ntest "$*" = "--noheader --jobs=7 --format=%L" && echo 2:00:00\n')
    (tmp_path / 'squeue').chmod(0o755)
    monkeypatch.setenv('PATH', f'{tmp_path}{os.pathsep}{os.environ["PATH"]}')
    assert machine.check_time(JOB).text.startswith('2.0 h left')


def test_the_write_test_leaves_nothing_behind_and_makes_no_workdir(tmp_path):
    assert machine.check_writing(tmp_path / 'runs' / 'new').status == machine.OK
    assert list(tmp_path.iterdir()) == []


def test_a_file_system_that_cannot_be_written_or_renamed_on_is_a_fault(tmp_path, monkeypatch):
    assert machine.check_writing('/proc/1').status == machine.FAULT

    def refuse(*_):
        raise OSError(18, os.strerror(18))

    monkeypatch.setattr(os, 'rename', refuse)
    found = machine.check_writing(tmp_path)
    assert found.status == machine.FAULT and 'cross-device' in found.text.lower()


def test_space_is_compared_with_the_estimate(tmp_path):
    free = shutil.disk_usage(tmp_path).free
    found = machine.check_space(tmp_path, 2 * free, '3 checkpoints of 1 GB')
    assert found.status == machine.FAULT and '3 checkpoints of 1 GB' in found.text and 'make space' in found.text
    assert machine.check_space(tmp_path / 'new', 1e5).status == machine.OK
    assert machine.check_space(tmp_path, None).status == machine.OK
