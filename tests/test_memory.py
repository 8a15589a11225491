"""How much memory is left, and what is given back."""

import platform

import jax
import numpy as np
import psutil
import pytest

from humalign_jax import memory


def _write(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_without_control_groups_it_is_what_the_machine_has(tmp_path, monkeypatch):
    monkeypatch.setattr(psutil, 'virtual_memory', lambda: type('Memory', (), {'available': 123})())
    assert memory.free_memory_bytes(tmp_path) == 123


@pytest.mark.parametrize(
    'files',
    [
        {  # version 2: the job has a limit, its step none
            'proc/self/cgroup': '0::/slurm/job_7/step_0\n',
            'sys/fs/cgroup/slurm/job_7/step_0/memory.max': 'max\n',
            'sys/fs/cgroup/slurm/job_7/step_0/memory.current': '600\n',
            'sys/fs/cgroup/slurm/job_7/step_0/memory.stat': 'anon 500\ninactive_file 100\n',
            'sys/fs/cgroup/slurm/job_7/memory.max': '1000\n',
            'sys/fs/cgroup/slurm/job_7/memory.current': '700\n',
            'sys/fs/cgroup/slurm/job_7/memory.stat': 'anon 600\ninactive_file 100\n',
        },
        {  # version 1
            'proc/self/cgroup': '3:cpu,cpuacct:/other\n2:memory:/job_7\n',
            'sys/fs/cgroup/memory/job_7/memory.limit_in_bytes': '1000\n',
            'sys/fs/cgroup/memory/job_7/memory.usage_in_bytes': '700\n',
            'sys/fs/cgroup/memory/job_7/memory.stat': 'cache 100\ninactive_file 100\n',
        },
    ],
    ids=['version 2', 'version 1'],
)
def test_a_job_has_what_its_limit_leaves_and_files_kept_in_memory_count_as_free(tmp_path, files):
    _write(tmp_path, files)
    assert memory.free_memory_bytes(tmp_path) == 400


def test_a_job_over_its_limit_has_nothing_left(tmp_path):
    group = 'sys/fs/cgroup/job/memory'
    files = {'proc/self/cgroup': '0::/job', f'{group}.max': '10', f'{group}.current': '11', f'{group}.stat': 'anon 11'}
    _write(tmp_path, files)
    assert memory.free_memory_bytes(tmp_path) == 0


@pytest.mark.parametrize(('needed', 'enough'), [(80, True), (95, False)])
def test_room_is_made_before_there_is_said_to_be_none(monkeypatch, needed, enough):
    left = [10]
    monkeypatch.setattr(memory, 'free_memory_bytes', lambda: left[-1])
    monkeypatch.setattr(memory, 'give_back_memory', lambda: left.append(100))
    if enough:
        memory.check_memory(needed, 'Things', 'have fewer')
    else:
        with pytest.raises(ValueError, match=r'Things need about .* have fewer'):
            memory.check_memory(needed, 'Things', 'have fewer')
    assert left == [10, 100]


@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='only glibc keeps freed blocks until it is asked')
def test_what_an_experiment_left_is_given_back():
    double = jax.jit(lambda x: 2 * x)
    double(np.float32(1))
    assert double._cache_size() == 1
    blocks = [np.ones(1000) for _ in range(50_000)]  # 8 kB each: from the heap, not from pages of their own
    last = blocks[-1]
    del blocks
    before = memory.held_bytes()
    memory.give_back_memory()
    assert double._cache_size() == 0
    assert before - memory.held_bytes() > 200e6
    assert last.sum() == 1000  # the heap's end is in use, so that the allocator alone could give nothing back
