"""What an installation holds, and what RSA alone needs."""

import pathlib
import subprocess
import sys

import pytest

from humalign_jax import devices

ROOT = pathlib.Path(__file__).parents[1]
BLOCKED = ('flax', 'optax', 'orbax', 'clu', 'tensorboard', 'matplotlib', 'sklearn', 'PIL', 'jinja2')
RSA = f"""
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in {BLOCKED}:
            raise ModuleNotFoundError(f'No module named {{name!r}}', name=name)
sys.meta_path.insert(0, Absent())
from humalign_jax import rsa
import numpy as np
first, second = np.random.default_rng(0).normal(size=(2, 12, 5)).astype(np.float32)
print(rsa.compare_features(first, second).value)
"""


def test_rsa_needs_none_of_the_packages_of_training_and_reports():
    result = subprocess.run([sys.executable, '-c', RSA], capture_output=True, text=True, cwd=ROOT)
    assert result.returncode == 0, result.stderr
    assert -1 <= float(result.stdout) <= 1


def test_a_built_package_holds_the_configs_and_templates(tmp_path):
    pytest.importorskip('setuptools', reason='building needs setuptools')
    command = [sys.executable, 'setup.py', '--quiet', 'build', '--build-base', tmp_path / 'build', '--build-lib']
    subprocess.run([*command, tmp_path / 'lib'], cwd=ROOT, check=True, capture_output=True)
    inside = tmp_path / 'lib' / 'humalign_jax'
    configs = {path.relative_to(ROOT / 'configs') for path in (ROOT / 'configs').rglob('*.py')}
    assert {path.relative_to(inside / 'configs') for path in (inside / 'configs').rglob('*.py')} == configs
    assert (inside / 'data' / 'downloads.json').exists()
    assert (inside / 'py.typed').exists() and list((inside / 'report' / 'templates').glob('*.j2'))


def test_a_job_with_a_gpu_that_jax_does_not_find_is_refused():
    with pytest.raises(ValueError, match=r'this job has a GPU \(SLURM_JOB_GPUS=0\).*make venv JAX=cuda12'):
        devices.check_gpu_is_used({'SLURM_JOB_GPUS': '0'})
    devices.check_gpu_is_used({'SLURM_JOB_GPUS': '0', 'JAX_PLATFORMS': 'cpu'})
    devices.check_gpu_is_used({})


def test_a_gpu_of_the_machine_that_jax_does_not_find_is_a_warning(tmp_path, caplog):
    devices.check_gpu_is_used({}, tmp_path)
    assert not caplog.records
    (tmp_path / 'proc/driver/nvidia/gpus/0000:01:00.0').mkdir(parents=True)
    devices.check_gpu_is_used({}, tmp_path)
    assert 'This machine has a GPU, but jax does not find it' in caplog.text
