"""Data that a config names is looked for before anything starts."""

import json
import pathlib

import pytest

from humalign_jax import main
from humalign_jax.cli import sweep_data
from humalign_jax.data import cifar10

ROOT = pathlib.Path(__file__).parents[2]
# Of ml_collections, where it reads a config file.
pytestmark = pytest.mark.filterwarnings('ignore:the load_module:DeprecationWarning')


@pytest.fixture
def check(monkeypatch, tmp_path):
    """Looks for the data of a config, with no data elsewhere."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv('HUMALIGN_DATA', str(tmp_path / 'data'))
    monkeypatch.setenv('HOME', str(tmp_path))
    monkeypatch.delenv('TFDS_DATA_DIR', raising=False)
    (tmp_path / 'data').mkdir()
    sweep_data._find_images.cache_clear()
    sweep_data._find_answers.cache_clear()
    return lambda config, *flags: sweep_data.check(main.read_config([f'--config=configs/{config}', *flags]))


@pytest.mark.parametrize('path', sorted((ROOT / 'configs').glob('*.py')), ids=lambda path: path.stem)
def test_tiny_configs_need_nothing(check, path):
    check(f'{path.name}:tiny')


def test_images_are_looked_for_where_the_config_says_or_the_variable(check, tmp_path):
    with pytest.raises(ValueError, match=f'Looked in {tmp_path}/data for ') as raised:
        check('vae.py')
    assert str(raised.value).endswith('The folder with the data is set by --config.data.root=DIR or HUMALIGN_DATA.')
    for folder in ('data', 'other'):
        (tmp_path / folder / cifar10.PYTHON_FOLDER).mkdir(parents=True)
        sweep_data._find_images.cache_clear()
        check('vae.py', f'--config.data.root={tmp_path / "other"}' if folder == 'other' else '--config.seed=1')
    with pytest.raises(ValueError, match=f'MNIST was not found: .* is in {tmp_path}/other'):
        check('digitnet.py', f'--config.data.root={tmp_path / "other"}')


@pytest.mark.parametrize(
    ('config', 'flags', 'missing'),
    [
        ('cifar10n.py', [], 'holds no cifar10n.npz'),
        ('quickstart.py:cifar10', [], 'holds neither cifar10h-counts.npy nor cifar10h.npz'),
        ('vae.py', ['--config.watch.every_epochs=1.0'], 'holds neither cifar10h-counts.npy nor cifar10h.npz'),
        ('human_rsa.py', ['--config.features=configs'], '--config.human.root=DIR or HUMALIGN_DATA'),
    ],
)
def test_peoples_answers_are_looked_for_beside_the_images(check, tmp_path, config, flags, missing):
    (tmp_path / 'data' / cifar10.PYTHON_FOLDER).mkdir(parents=True)
    with pytest.raises(ValueError, match=missing):
        check(config, *flags)


def test_a_run_is_looked_for_and_then_its_images(check, tmp_path):
    with pytest.raises(ValueError, match=r'--config\.run=runs/none: runs/none is no run'):
        check('evaluate.py', '--config.run=runs/none')
    run = tmp_path / 'run'
    run.mkdir()
    (run / 'config.json').write_text(json.dumps({'data': {'name': 'cifar10', 'root': str(tmp_path / 'moved')}}))
    with pytest.raises(ValueError, match=f'Looked in {tmp_path}/moved for'):
        check('evaluate.py', f'--config.run={run}')
    (tmp_path / 'moved' / cifar10.PYTHON_FOLDER).mkdir(parents=True)
    sweep_data._find_images.cache_clear()
    check('evaluate.py', f'--config.run={run}')


@pytest.mark.parametrize(
    ('config', 'flag', 'message'),
    [
        ('metalearner.py', '--config.data.features=none.h5', '--config.data.features=none.h5 does not exist'),
        ('metalearner.py', '--config.functions.main=none.npz', '--config.functions.main=none.npz does not exist'),
        ('odd_one_out.py', '--config.features=("configs", "none.npy")', '--config.features=none.npy does not exist'),
        ('learning.py', '--config.human.root=/none', '--config.human.root=/none is no folder'),
        ('quickstart.py:tiny', '--config.runs.vae=none', '--config.runs.vae=none: none is no run'),
    ],
)
def test_a_file_or_folder_that_is_not_there_is_named_with_its_flag(check, config, flag, message):
    with pytest.raises(ValueError, match=message.replace('.', r'\.')):
        check(config, flag)
