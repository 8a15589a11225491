"""The command line: what it runs, what it refuses, and in which words."""

import subprocess
import sys

import pytest

ROOT = __import__('pathlib').Path(__file__).parents[2]


def test_help_needs_neither_jax_nor_tensorflow():
    code = (
        'import sys; sys.argv = ["main", "--help"]\n'
        'import runpy\n'
        'try:\n'
        '    runpy.run_module("humalign_jax.main", run_name="__main__")\n'
        'except SystemExit:\n'
        '    pass\n'
        'print([m for m in ("jax", "flax", "tensorflow", "matplotlib", "orbax") if m in sys.modules])\n'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert '--config' in done.stdout and done.stdout.strip().endswith('[]'), done.stdout + done.stderr


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ([], '--config is missing'),
        (['--config=configs/nothing.py'], "there is no config file 'configs/nothing.py'"),
        (['--config', 'configs/va.py'], "Did you mean 'configs/vae.py'"),
        (['--config=configs/vae.py:huge'], "no variant 'huge'"),
        (['--config=configs/vae.py:tiny', '--config.train.epoch=2'], 'epochs'),
        (['--config=configs/vae.py:tiny', '--config.train.epochs=many'], 'many'),
        (['--config=configs/vae.py:tiny', '--config.experiment=train_vea'], "Did you mean 'train_vae'"),
        (['--config=configs/vae.py:tiny', 'epochs=2'], "what is 'epochs=2'"),
        (['--cofnig=configs/vae.py'], 'cofnig'),
    ],
)
def test_a_mistake_on_the_command_line_is_one_message_and_no_traceback(command, tmp_path, arguments, message):
    done = command(*arguments, f'--workdir={tmp_path}/run')
    assert done.returncode in (1, 2)
    assert message in done.stderr and 'Traceback' not in done.stderr, done.stderr


def test_missing_data_says_where_it_looked_and_the_ways_out(command, tmp_path):
    done = command(
        '--config=configs/vae.py', f'--config.data.root={tmp_path}/none', f'--workdir={tmp_path}/run', check=2
    )
    assert f'{tmp_path}/none' in done.stderr and ':tiny' in done.stderr and 'cifar-10-batches-py' in done.stderr
    assert 'Traceback' not in done.stderr


def test_a_run_is_complete_once_and_its_folder_is_its_own(command, tmp_path):
    tiny = ['--config=configs/vae.py:tiny', '--config.train.max_steps=2', f'--workdir={tmp_path}/run']
    first = command(*tiny, check=0)
    assert 'Done' in first.stdout
    for name in ('config.json', 'provenance.json', 'metrics.jsonl', 'scores.jsonl', 'timing.jsonl', 'complete.json'):
        assert (tmp_path / 'run' / name).exists(), name
    assert (tmp_path / 'run' / 'figures' / 'samples.png').exists()
    assert 'is complete' in command(*tiny, check=0).stdout
    other = command(*tiny, '--config.model.latent_dim=8', check=2)
    assert 'config.model.latent_dim: 16 -> 8' in other.stderr


def test_ctrl_c_is_one_line_and_no_traceback(tmp_path):
    code = (
        'import sys; from absl import app; from humalign_jax import main, workdir\n'
        f'sys.argv = ["main", "--config=configs/rsa.py:tiny", "--workdir={tmp_path}/run"]\n'
        'def interrupted(*_): raise KeyboardInterrupt\n'
        'workdir.run_once = interrupted\n'
        'app.run(main.main, flags_parser=main._parse_flags)\n'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.returncode == 130
    assert f'What {tmp_path}/run holds is whole' in done.stderr and 'Traceback' not in done.stderr
