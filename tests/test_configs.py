"""Every config: its tiny variant runs, its values are plain, and no key is silently ignored."""

import importlib.util
import pathlib
import re

import ml_collections
import pytest

from humalign_jax import main, models

ROOT = pathlib.Path(__file__).parents[1]
CONFIGS = sorted(path.stem for path in (ROOT / 'configs').glob('*.py'))
TRAINING = [name for name in CONFIGS if name in ('philnet', 'vae', 'resnet', 'image_folder')]


def _get(name, *variant):
    spec = importlib.util.spec_from_file_location(f'config_{name}', ROOT / 'configs' / f'{name}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config(*variant)


@pytest.mark.parametrize('name', CONFIGS)
def test_a_config_names_an_experiment_and_has_a_tiny_variant(name):
    for variant in ((), ('tiny',)):
        config = _get(name, *variant)
        assert isinstance(config, ml_collections.ConfigDict)
        assert config.experiment in main.experiment_names()
    with pytest.raises(ValueError, match='variant'):
        _get(name, 'enormous')


@pytest.mark.parametrize('name', CONFIGS)
def test_a_configs_docstring_shows_commands_that_name_it(name):
    text = (ROOT / 'configs' / f'{name}.py').read_text()
    assert re.search(rf'python -m humalign_jax\.main --config=configs/{name}\.py', text)


@pytest.mark.parametrize('name', TRAINING)
def test_one_step_of_the_tiny_variant_trains_and_scores(name, tmp_path):
    from humalign_jax.experiments import train_classifier, train_vae

    config = _get(name, 'tiny')
    config.train.update(max_steps=1, n_devices=1)
    {'train_vae': train_vae, 'train_classifier': train_classifier}[config.experiment].run(config, str(tmp_path))
    assert (tmp_path / 'scores.jsonl').stat().st_size > 0


@pytest.mark.parametrize('name', TRAINING)
def test_full_and_tiny_variants_have_the_same_settings(name):
    """A tiny variant adds the size of the rendered images and of the network, and takes nothing away."""
    full, tiny = _get(name).to_dict(), _get(name, 'tiny').to_dict()
    assert full.keys() == tiny.keys()
    for section in ('preprocess', 'objective', 'optimizer', 'train'):
        assert full[section].keys() == tiny[section].keys()


@pytest.mark.parametrize(('variant', 'model'), [('18', 'resnet18'), ('34', 'resnet34'), ('50', 'resnet50')])
def test_resnet_depth_is_an_argument(variant, model):
    assert _get('resnet', variant).model.name == model and model in models.MODELS
