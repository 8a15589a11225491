"""The command `humalign doctor`: a line for each check, and an exit status that says whether a run can start."""

import sys

import pytest

from humalign_jax.cli import command

# Of ml_collections, where it reads a config file.
pytestmark = pytest.mark.filterwarnings('ignore:the load_module:DeprecationWarning')


@pytest.fixture
def call(capsys, monkeypatch, tmp_path):
    """Carries out `humalign doctor` in a folder of its own; gives its status and what it printed."""
    monkeypatch.setattr(command.interrupts, 'end_at_once', lambda: None)
    monkeypatch.setenv('MPLBACKEND', 'agg')
    monkeypatch.setenv('XLA_PYTHON_CLIENT_PREALLOCATE', 'false')
    monkeypatch.setenv('HUMALIGN_DATA', str(tmp_path))
    for name in [name for name in command.os.environ if name.startswith('SLURM_')]:
        monkeypatch.delenv(name)

    def run(*arguments):
        with pytest.raises(SystemExit) as leaving:
            command.main(['doctor', *map(str, arguments)])
        said = capsys.readouterr()
        return leaving.value.code, said.out, said.err

    return run


def test_a_run_on_simulated_data_can_start(call, tmp_path):
    status, out, err = call('vae:tiny', '--workdir', tmp_path / 'new')
    lines = out.splitlines()
    assert status == 0, out
    assert [line.split()[1] for line in lines[:-1]] == [
        *('devices', 'gpu', 'versions', 'processes', 'time', 'writing', 'config', 'workdir', 'data', 'space')
    ]
    assert lines[-1].startswith('A run can start.') and err == '' and not (tmp_path / 'new').exists()


def test_missing_data_are_a_fault_and_status_2(call, tmp_path):
    status, out, _ = call('vae', f'--config.data.root={tmp_path}', '--workdir', tmp_path / 'new')
    assert status == 2 and 'A run cannot start: 1 fault(s).' in out
    assert [line.split()[1] for line in out.splitlines() if line.startswith('fault')] == ['data']
    assert f'Looked in {tmp_path}' in out


def test_a_job_whose_gpu_jax_does_not_see_is_status_2(call, monkeypatch):
    monkeypatch.setenv('SLURM_JOB_GPUS', '0')
    monkeypatch.delenv('JAX_PLATFORMS')
    status, out, _ = call()
    assert status == 2 and 'fault    gpu' in out and 'SLURM_JOB_GPUS=0' in out


@pytest.mark.parametrize('wrong', [['vea:tiny'], ['vae:tiny', '--config.model.latent=3'], ['vae:huge']])
def test_a_mistake_in_the_config_is_a_fault_and_the_machine_is_still_checked(call, monkeypatch, wrong):
    monkeypatch.setattr(sys, 'argv', ['humalign'])
    status, out, _ = call(*wrong)
    assert status == 2 and 'fault    config' in out and 'ok       writing' in out


def test_without_a_config_the_machine_and_the_fetched_files_are_checked(call, tmp_path):
    status, out, _ = call()
    assert status == 0 and 'config' not in [line.split()[1] for line in out.splitlines()]
    assert out.count('data  ') == 1
    (tmp_path / 'cifar10h-raw.zip').write_bytes(b'damaged')
    status, out, _ = call()
    assert status == 0 and 'warning  data       cifar10h: cifar10h-counts.npy absent, cifar10h-raw.zip differs' in out
