"""Values of settings, checked by name before any work."""

import importlib.util
import numbers
import pathlib

import ml_collections
import numpy as np
import pytest

from humalign_jax import ranges

ROOT = pathlib.Path(__file__).parents[1]
VARIANTS = {
    'resnet': ('18', '50', 'tiny'),
    'quickstart': ('full', 'cifar10', 'tiny'),
    'philnet': ('full', 'short', 'fast', 'tiny', 'fast_tiny'),
    'metalearner': ('paper', 'tiny'),
    'metalign': ('full', 'paper', 'tiny'),
    'encoding': ('full', 'tiny', 'things', 'haxby'),
    'tune_to_brain': ('better', 'faithful', 'tiny'),
}


def _configs():
    for path in sorted((ROOT / 'configs').glob('*.py')):
        spec = importlib.util.spec_from_file_location(f'config_{path.stem}', path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        for variant in VARIANTS.get(path.stem, ('full', 'tiny')):
            yield f'{path.stem}:{variant}', module.get_config(variant)


@pytest.mark.parametrize(
    ('name', 'config'), list(_configs()), ids=lambda value: value if isinstance(value, str) else ''
)
def test_every_number_of_a_config_has_a_rule_and_obeys_it(name, config):
    ranges.check(config)
    for place, value in ranges.leaves(config.to_dict()):
        holds_numbers = any(isinstance(one, numbers.Real) for one in ranges._each(value))
        if holds_numbers:
            assert ranges.rule_of(*place.split('.')[-2:]) is not None, f'{place} needs a rule in ranges.py'


@pytest.mark.parametrize(
    ('key', 'value'),
    [
        ('seed', -1), ('seed', 2**32), ('seed', 1.0), ('seed', True), ('seed', '3'),
        ('batch_size', 0), ('batch_size', -4), ('batch_size', 2**31), ('batch_size', 1.5),
        ('n_devices', -1), ('folds', 1), ('n_bootstrap', -1),
        ('epochs', 0), ('epochs', float('inf')), ('epochs', float('nan')), ('epochs', 10**400), ('epochs', 'many'),
        ('learning_rate', float('nan')), ('learning_rate', 0.0), ('learning_rate', None),
        ('label_smoothing', 1.0), ('human_weight', 1.1), ('dropout_rate', -0.1), ('momentum', 1.0),
        ('std', (1.0, 0.0)), ('mean', (0.5, float('nan'))), ('widths', ((8, 8), (0, 1))), ('strengths', ('a',)),
        ('a_key_of_somebody', float('inf')), ('a_key_of_somebody', (1.0, float('nan'))),
        ('flip', 1), ('split', 3), ('files', (3,)), ('files', 'net.npy'), ('layers', 'probs'),
    ],
)  # fmt: skip
def test_a_value_that_cannot_be_is_named_with_what_is_expected(key, value):
    with pytest.raises(ValueError, match=rf'^config\.section\.{key}=.* cannot be: .* expected'):
        ranges.check({'section': {key: value}})


@pytest.mark.parametrize(
    ('key', 'value'),
    [
        ('seed', 2**32 - 1), ('epochs', 2), ('epochs', np.float32(0.5)), ('batch_size', np.int64(4)),
        ('human_weight', 1.0), ('steps', (-3.0, 0.0)), ('features', ''), ('features', ('a', 'b')),
        ('a_key_of_somebody', -3), ('a_key_of_somebody', None), ('files', ()),
    ],
)  # fmt: skip
def test_a_value_that_can_be_passes(key, value):
    ranges.check({'section': {key: value}})


def test_keys_that_name_networks_have_the_rule_of_their_section():
    ranges.check(ml_collections.ConfigDict({'recipe_epochs': {'seed': 2.5}}))
    with pytest.raises(ValueError, match=r'config\.recipe_epochs\.vae=0\.0 cannot be: a finite number above 0'):
        ranges.check({'recipe_epochs': {'vae': 0.0}})


def test_the_largest_seed_is_the_last_that_jax_keeps_apart():
    import jax

    last, beyond = (jax.random.key_data(jax.random.key(seed)) for seed in (2**32 - 1, 2**32))
    assert (last != jax.random.key_data(jax.random.key(2**31))).any()
    np.testing.assert_array_equal(beyond, jax.random.key_data(jax.random.key(0)))
