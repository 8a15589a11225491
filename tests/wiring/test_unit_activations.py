"""Directions that come from a trained sparse autoencoder."""

import pathlib
import types

import jax
import numpy as np
import pytest

from humalign_jax.models.sae import keep_largest
from humalign_jax.wiring import runs, sparse_codes, unit_activations

from ..conftest import load_config


@pytest.fixture(scope='module')
def opened():
    """An untrained autoencoder of simulated features."""
    config = load_config('sae', 'tiny')
    config.data.update(n_items=400, n_validation=40, n_test=40)
    setup = sparse_codes.read(config)
    variables = dict(setup.model.init(jax.random.key(0), np.zeros((1, 32), np.float32)))
    state = types.SimpleNamespace(step=0, params=variables.pop('params'), model_state=variables)
    return runs.OpenRun(pathlib.Path('runs/sae'), config, types.SimpleNamespace(setup=setup), state)


def _activations(features, **changes):
    options = {'n_directions': 0, 'sae_run': 'runs/sae', 'seed': 0, **changes}
    return unit_activations.of_directions('sae', features, features, **options)


def test_latents_of_an_autoencoder_are_its_codes(opened, monkeypatch):
    monkeypatch.setattr(runs, 'open_run', lambda run: opened)
    features = np.random.default_rng(0).normal(size=(20, 32)).astype(np.float32)
    setup = opened.task.setup
    variables = {'params': opened.state.params, **opened.state.model_state}
    x = (features - setup.mean) / setup.factor
    expected = keep_largest(setup.model.apply(variables, x, method='activations'), setup.model.k)
    np.testing.assert_allclose(_activations(features), expected, atol=1e-5)


def test_a_run_that_does_not_fit_is_named(opened, monkeypatch):
    with pytest.raises(ValueError, match=r'name a run of configs/sae\.py'):
        _activations(np.zeros((9, 32), np.float32), sae_run='')
    monkeypatch.setattr(runs, 'open_run', lambda run: opened)
    with pytest.raises(ValueError, match='encodes 32 features, but the layer has 12 units'):
        _activations(np.zeros((9, 12), np.float32))
    other = runs.OpenRun(opened.folder, load_config('philnet', 'tiny'), types.SimpleNamespace(setup=None), opened.state)
    monkeypatch.setattr(runs, 'open_run', lambda run: other)
    with pytest.raises(ValueError, match="is a run of 'train_classifier', not of train_sae"):
        _activations(np.zeros((9, 32), np.float32))
