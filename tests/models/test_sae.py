import jax
import jax.numpy as jnp
import numpy as np
import pytest

from humalign_jax import models
from humalign_jax.models.sae import keep_largest

X = np.random.default_rng(0).normal(size=(7, 6)).astype(np.float32)


@pytest.fixture
def sae():
    """An autoencoder and its variables; the raw decoder's rows are not of norm 1, as after some steps."""
    model = models.make_model('sae', n_features=6, n_latents=10, k=3)
    variables = jax.jit(model.init)(jax.random.key(0), X)
    variables['params']['decoder'] *= jnp.arange(1.0, 11.0)[:, None]
    return model, variables


def test_directions_have_norm_1_whatever_the_parameters(sae):
    model, variables = sae
    directions = model.apply(variables, method='dictionary')
    np.testing.assert_allclose(np.linalg.norm(directions, axis=1), 1.0, rtol=1e-6)


def test_the_encoder_begins_as_the_transpose_of_the_decoder(sae):
    model, variables = sae
    np.testing.assert_allclose(variables['params']['encoder'].T, model.apply(variables, method='dictionary'), rtol=1e-5)


def test_the_reconstruction_is_the_sum_of_the_k_most_active_directions(sae):
    model, variables = sae
    variables['params'] |= {'bias': jnp.full(6, 0.1), 'encoder_bias': jnp.linspace(0, 1, 10)}
    recon, codes, activations = model.apply(variables, X)
    params = jax.tree.map(np.asarray, variables['params'])
    expected = np.maximum((X - 0.1) @ params['encoder'] + params['encoder_bias'], 0)
    np.testing.assert_allclose(activations, expected, atol=1e-5)
    for row, values in enumerate(expected):
        largest = np.argsort(values)[-3:]
        np.testing.assert_allclose(codes[row, largest], values[largest], atol=1e-5)
        assert np.sum(codes[row] != 0) <= 3
        directions = params['decoder'] / np.linalg.norm(params['decoder'], axis=1, keepdims=True)
        np.testing.assert_allclose(recon[row], values[largest] @ directions[largest] + 0.1, atol=1e-5)


def test_active_latents_are_the_codes(sae):
    model, variables = sae
    _, codes, _ = model.apply(variables, X)
    values, latents = model.apply(variables, X, method='active')
    np.testing.assert_array_equal(np.take_along_axis(np.asarray(codes), np.asarray(latents), axis=1), values)


def test_of_equal_activations_k_are_kept():
    np.testing.assert_array_equal(keep_largest(jnp.ones((2, 5)), 2).sum(axis=1), [2, 2])


def test_number_of_parameters(sae):
    assert sum(leaf.size for leaf in jax.tree.leaves(sae[1]['params'])) == 2 * 10 * 6 + 10 + 6


def test_sizes_that_cannot_be_are_refused(sae):
    model, variables = sae
    with pytest.raises(ValueError, match='was made for 6 features, not 5'):
        model.apply(variables, X[:, :5])
    with pytest.raises(ValueError, match='k=11 latents cannot be active of n_latents=10'):
        models.make_model('sae', n_features=6, n_latents=10, k=11).init(jax.random.key(0), X)
