"""Every config and every variant of it: values are plain, and one step of each training config trains and scores."""

import importlib
import pathlib
import re
import runpy

import ml_collections
import pytest

from humalign_jax import main, models, storage
from humalign_jax.experiments import train_classifier

ROOT = pathlib.Path(__file__).parents[1]
FILES = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / 'configs').rglob('*.py'))


def _function(file):
    """The function of a config file: `get_config`, or `get_sweep` of a sweep."""
    functions = runpy.run_path(str(ROOT / file))
    return functions['get_sweep'] if file.startswith('configs/sweeps/') else functions['get_config']


def _variants(file):
    """Names of a config's variants, from the message for an unknown one."""
    with pytest.raises(ValueError, match=rf"{re.escape(file)} has no variant 'enormous': ") as error:
        _function(file)('enormous')
    return re.split(', | or ', str(error.value).partition("'enormous': ")[2].rstrip('.'))


def _trains(file):
    """Whether a config describes a training run with nothing to be given."""
    if file.startswith('configs/sweeps/') or 'optimizer' not in _function(file)():
        return False
    module = importlib.import_module(f'humalign_jax.experiments.{_function(file)().experiment}')
    return hasattr(module, 'make_task')


VARIANTS = [(file, variant) for file in FILES for variant in _variants(file)]
TRAINING = [file for file in FILES if _trains(file)]


def test_every_file_of_configs_is_found():
    assert {'configs/philnet.py', 'configs/rsa.py', 'configs/sweeps/networks.py'} <= set(FILES)
    assert {'configs/philnet.py', 'configs/vae.py', 'configs/cifar10n.py'} <= set(TRAINING)


@pytest.mark.parametrize(('file', 'variant'), VARIANTS)
def test_a_variant_names_an_experiment_or_sweeps_over_configs_that_there_are(file, variant):
    made = _function(file)(variant)
    if file.startswith('configs/sweeps/'):
        for override in made:
            config, _, of_config = override['config'].partition(':')
            assert _function(config)(*filter(None, [of_config])).experiment in main.experiment_names()
    else:
        assert isinstance(made, ml_collections.ConfigDict)
        assert made.experiment in main.experiment_names()


@pytest.mark.parametrize('file', FILES)
def test_a_config_has_a_tiny_variant_and_commands_in_its_docstring_name_variants_that_there_are(file):
    text, variants = (ROOT / file).read_text(), _variants(file)
    assert 'tiny' in variants
    shown = re.findall(rf'python .*{re.escape(file)}(?::(\w+))?', text)
    assert shown and set(filter(None, shown)) <= set(variants)


def test_commands_in_docstrings_write_into_different_folders():
    """A sweep's folder is named again by commands that read its scores."""
    owners = {}
    for file in FILES:
        text = runpy.run_path(str(ROOT / file))['__doc__'].replace('\\\n', ' ')
        for line in (line for line in text.splitlines() if line.strip().startswith('python ')):
            variant = re.search(rf'{re.escape(file)}(:\w+)?', line)
            default = f'runs/{pathlib.Path(file).stem}{((variant and variant[1]) or "").replace(":", "-")}'
            folder = (re.findall(r'--workdir=(\S+)', line) or [default])[0]
            owner = file if 'sweeps' in file else line
            assert owners.setdefault(folder, owner) == owner, f'{folder}: {owner} and {owners[folder]}'
    assert len(owners) > 60


@pytest.mark.parametrize(
    ('file', 'variant'), [pair for pair in VARIANTS if pair[1] == 'tiny' and 'sweeps' not in pair[0]]
)
def test_a_tiny_variant_reads_no_folder_but_that_of_another_tiny_variant(file, variant):
    config = _function(file)(variant)
    for key in ('run', 'study'):
        given = config.get(key, '')
        assert given in ('', 'synthetic') or (ROOT / 'configs' / f'{given[5:-5]}.py').exists(), given
        assert given in ('', 'synthetic') or (given.startswith('runs/') and given.endswith('-tiny'))


def test_the_run_that_a_tiny_variant_reads_is_made_first(command, tmp_path):
    command(f'--config={ROOT}/configs/report.py:tiny', check=0, cwd=tmp_path)
    assert (tmp_path / 'runs/rsa-tiny/scores.jsonl').exists() and (tmp_path / 'runs/report-tiny/report.html').exists()


@pytest.mark.parametrize('file', TRAINING)
def test_one_step_of_the_tiny_variant_trains_and_scores(file, tmp_path):
    config = _function(file)('tiny')
    config.train.update(max_steps=1, n_devices=1)
    importlib.import_module(f'humalign_jax.experiments.{config.experiment}').run(config, str(tmp_path))
    assert (tmp_path / 'scores.jsonl').stat().st_size > 0


def test_the_fast_recipe_also_scores_two_views_of_each_test_image(tmp_path):
    config = _function('configs/philnet.py')('fast_tiny')
    config.model.widths = ((4,), (8,))
    config.train.update(max_steps=1, n_devices=1)
    train_classifier.run(config, str(tmp_path))
    scores = {row['name']: row for row in storage.read_jsonl(tmp_path / 'scores.jsonl')}
    assert scores['accuracy_mirrored_views']['n'] == scores['accuracy']['n'] == 128
    assert scores['accuracy_mirrored_views']['low'] < scores['accuracy_mirrored_views']['high']


def test_the_tiny_variant_of_an_import_needs_no_file(tmp_path):
    config = _function('configs/import_checkpoint.py')('tiny')
    config.train.update(n_devices=1)
    importlib.import_module('humalign_jax.experiments.import_checkpoint').run(config, str(tmp_path))
    assert (tmp_path / 'scores.jsonl').stat().st_size > 0


@pytest.mark.parametrize('file', TRAINING)
def test_full_and_tiny_variants_have_the_same_settings(file):
    """A tiny variant adds the size of the rendered images and of the network, and takes nothing away."""
    full, tiny = _function(file)().to_dict(), _function(file)('tiny').to_dict()
    assert full.keys() == tiny.keys()
    for section in {'preprocess', 'objective', 'optimizer', 'train'} & full.keys():
        assert full[section].keys() == tiny[section].keys()


@pytest.mark.parametrize(('variant', 'model'), [('18', 'resnet18'), ('34', 'resnet34'), ('50', 'resnet50')])
def test_resnet_depth_is_an_argument(variant, model):
    assert _function('configs/resnet.py')(variant).model.name == model and model in models.MODELS
