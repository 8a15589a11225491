"""The command line: what it runs, what it refuses, and in which words."""

import os
import pathlib
import subprocess
import sys

import pytest

from humalign_jax import main, workdir

ROOT = pathlib.Path(__file__).parents[2]
VAE = f'--config={ROOT}/configs/vae.py:tiny'

# Of ml_collections, where it reads a config file.
pytestmark = pytest.mark.filterwarnings('ignore:the load_module:DeprecationWarning')


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
        (['-v', '--config=configs/nothing.py'], "there is no config file 'configs/nothing.py'"),
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
    row = next(line.split() for line in first.stdout.splitlines() if line.startswith('l1'))
    assert row[0] == 'l1' and float(row[1]) > 0 and row[-1] == '128', first.stdout
    assert f'Next: humalign run extract --config.run={tmp_path}/run' in first.stdout
    assert 'images.py' in (tmp_path / 'run' / 'log.txt').read_text()
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
    assert f'The files in {tmp_path}/run are complete' in done.stderr and 'Traceback' not in done.stderr


@pytest.mark.parametrize(
    ('flag', 'message'),
    [
        (
            '--config.model.n_latents=8',
            "config.model.n_latents is not a setting of this config. Did you mean 'latent_dim'?",
        ),
        ('--config.foo=1', 'config.foo is not a setting of this config. Known: data, experiment, model'),
        ('--config.dat.root=x', "config.dat is not a setting of this config. Did you mean 'data'?"),
        ('--config.seed.x=1', 'config.seed is a single setting'),
        ('--config.model=foo', 'config.model is a section: set config.model.dtype'),
        ('--noconfig.preprocess.flop', "config.preprocess.flop is not a setting of this config. Did you mean 'flip'?"),
        ('--config.seed=-1', 'config.seed=-1 cannot be: a whole number from 0 to 4294967295'),
        ('--config.train.epochs=inf', 'config.train.epochs=inf cannot be: a finite number above 0'),
        ('--config.optimizer.learning_rate=nan', 'config.optimizer.learning_rate=nan cannot be'),
        ('--config.data.batch_size=0', 'config.data.batch_size=0 cannot be: a whole number, 1 or more'),
        ('--config.train.epochs=many', "could not convert string to float: 'many'"),
    ],
)
def test_a_wrong_setting_is_named_with_what_is_wrong(flag, message):
    with pytest.raises(ValueError) as error:
        main.read_config([VAE, flag])
    assert message in str(error.value)


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('def get_config():\n    return {}["a"]\n', "KeyError: 'a' ({path}, line 2)"),
        ('def get_config( return\n', 'SyntaxError: invalid syntax'),
        ('import nothing_of_this_name\n', "No module named 'nothing_of_this_name' ({path}, line 1)"),
        ('x = 1\n', "has no attribute 'get_config' ({path})"),
        ('def get_config():\n    return 3\n', 'get_config() of {path} must return a ConfigDict, not 3.'),
    ],
)
def test_whatever_a_config_file_raises_is_told_with_its_line(tmp_path, text, message):
    path = tmp_path / 'config.py'
    path.write_text(text)
    with pytest.raises(ValueError) as error:
        main.read_config([f'--config={path}'])
    assert message.format(path=path) in str(error.value)


def test_the_home_folder_is_written_out_in_every_path(tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path))
    (tmp_path / 'rsa.py').write_text((ROOT / 'configs' / 'rsa.py').read_text())
    config = main.read_config(
        ['--config=~/rsa.py', '--config.features.ids_file=~/ids.txt', "--config.reference.files=('~/a.npy', 'b~.npy')"]
    )
    assert config.features.ids_file == f'{tmp_path}/ids.txt'
    assert config.reference.files == (f'{tmp_path}/a.npy', 'b~.npy')


def _run_main(code, *arguments, **environment):
    """The command line after `code`, in a process of its own."""
    code = f'import sys; from absl import app; from humalign_jax import main, workdir\n{code}\n'
    code += f'sys.argv = ["main", *{list(arguments)!r}]\napp.run(main.main, flags_parser=main._parse_flags)\n'
    environment = {**os.environ, **environment}
    command = [sys.executable, '-c', code]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=100, env=environment)


def test_a_fault_of_the_program_shows_its_traceback_and_keeps_it(tmp_path):
    (tmp_path / 'run').mkdir()
    code = 'def fault(*_): {}["key"]\nworkdir.run_once = fault'
    done = _run_main(code, VAE, f'--workdir={tmp_path}/run')
    assert done.returncode == 1 and 'Traceback' in done.stderr and "KeyError: 'key'" in done.stderr
    assert 'Traceback' in (tmp_path / 'run' / 'error.txt').read_text()


def test_a_run_without_memory_says_so(tmp_path):
    done = _run_main('def full(*_): raise MemoryError\nworkdir.run_once = full', VAE, f'--workdir={tmp_path}/run')
    assert done.returncode == 2 and 'not enough memory' in done.stderr and 'Traceback' not in done.stderr


def test_an_error_that_ctrl_c_was_turned_into_is_an_interruption(tmp_path):
    code = (
        'def imports(*_):\n'
        '    import os, signal, time\n'
        '    try:\n        os.kill(os.getpid(), signal.SIGINT); time.sleep(5)\n'
        '    except KeyboardInterrupt:\n        raise ImportError("numpy.core.multiarray failed to import")\n'
        'workdir.run_once = imports'
    )
    done = _run_main(code, VAE, f'--workdir={tmp_path}/run')
    assert done.returncode == 130 and 'Traceback' not in done.stderr, done.stderr


def test_a_refused_folder_gets_no_note_of_the_error(tmp_path):
    workdir.run_once(lambda config, folder: None, main.read_config([VAE]), tmp_path)
    (tmp_path / 'complete.json').unlink()
    (tmp_path / 'metrics.jsonl').write_text('{}')
    done = _run_main('', VAE, f'--workdir={tmp_path}', '--config.model.latent_dim=8')
    assert done.returncode == 2 and 'config.model.latent_dim: 16 -> 8' in done.stderr
    assert not (tmp_path / 'error.txt').exists()


@pytest.mark.parametrize('platform', ['cuda', 'nothing'])
def test_a_platform_that_is_not_here_is_one_message(tmp_path, platform):
    if platform == 'cuda' and os.path.exists('/dev/nvidia0'):
        pytest.skip('there is a GPU')
    done = _run_main('', VAE, f'--workdir={tmp_path}/run', JAX_PLATFORMS=platform)
    assert done.returncode == 2 and 'Traceback' not in done.stderr, done.stderr
    assert f'JAX_PLATFORMS={platform} finds no device on this machine' in done.stderr


def test_more_devices_than_there_are_is_said_before_any_work(tmp_path):
    done = _run_main('', VAE, f'--workdir={tmp_path}/run', '--config.train.n_devices=99')
    assert done.returncode == 2 and 'config.train.n_devices=99: there are 4 (cpu)' in done.stderr, done.stderr


def test_what_was_set_for_other_programs_is_taken_back(monkeypatch):
    monkeypatch.setenv('MPLBACKEND', 'module://matplotlib_inline.backend_inline')  # by '!python' in a notebook
    monkeypatch.setenv('JAX_NUMPY_DTYPE_PROMOTION', 'strict')  # optax fails under it
    monkeypatch.setenv('JAX_COMPILATION_CACHE_DIR', '~/cache')
    main.set_up_environment()
    assert os.environ['MPLBACKEND'] == 'agg' and 'JAX_NUMPY_DTYPE_PROMOTION' not in os.environ
    assert os.environ['JAX_COMPILATION_CACHE_DIR'] == os.path.expanduser('~/cache')
