import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from humalign_jax import models, objectives

N_FEATURES, N_LATENTS = 8, 16
X = np.random.default_rng(0).normal(size=(64, N_FEATURES)).astype(np.float32)
RECIPE = {'total_variance': 8.0, 'dead_weight': 0.25, 'dead_k': 4, 'dead_after_steps': 3}


@pytest.fixture(scope='module')
def sae():
    """An autoencoder, its parameters and its state."""
    model = models.SparseAutoencoder(N_FEATURES, N_LATENTS, 2)
    variables = jax.jit(model.init)(jax.random.key(0), X)
    params = variables.pop('params')
    return model, params, variables


@pytest.fixture(scope='module')
def outputs(sae):
    """Reconstruction, codes, activations and directions, as NumPy arrays."""
    model, params, variables = sae

    @jax.jit
    def run(x):
        everything = {'params': params, **variables}
        return *model.apply(everything, x), model.apply(everything, method='dictionary')

    return jax.tree.map(np.asarray, run(X))


@pytest.fixture(scope='module')
def value(sae):
    """`(steps inactive [f], batch) -> loss, state after, metrics` of the objective."""
    model, params, variables = sae
    objective = jax.jit(objectives.make_sae_objective(model, **RECIPE))

    def run(steps_inactive, x=X):
        state = {**variables, 'latents': {'steps_inactive': jnp.asarray(steps_inactive, jnp.float32)}}
        loss, (after, metrics) = objective(params, state, {'x': x}, None, 0)
        return float(loss), np.asarray(after['latents']['steps_inactive']), jax.tree.map(float, metrics)

    return run


def test_the_loss_is_the_unexplained_share_of_the_variance(value, outputs):
    loss, _, metrics = value(np.zeros(N_LATENTS))
    recon, codes, *_ = outputs
    unexplained = float(np.square(X - recon).sum(axis=1).mean() / 8.0)
    assert loss == pytest.approx(unexplained, rel=1e-5)
    assert metrics['fve'] == pytest.approx(1 - unexplained, rel=1e-5)
    assert metrics['l0'] == pytest.approx(np.mean(np.sum(codes > 0, axis=1)))
    assert metrics['dead'] == metrics['dead_error'] == 0


def test_the_second_term_is_what_the_largest_dead_latents_leave_of_the_error(value, outputs):
    dead = np.arange(N_LATENTS) < 6
    loss, _, metrics = value(3.0 * dead)
    recon, _, activations, directions = outputs
    left = []
    for error, values in zip(X - recon, activations * dead):
        largest = np.argsort(values)[-4:]
        left.append(np.square(error - values[largest] @ directions[largest]).sum())
    expected = float(np.sum(left) / np.square(X - recon).sum())
    assert metrics['dead_error'] == pytest.approx(expected, rel=1e-4)
    assert metrics['dead'] == pytest.approx(6 / 16)
    assert loss == pytest.approx(1 - metrics['fve'] + 0.25 * expected, rel=1e-4)


def test_steps_without_activity_are_counted_and_begin_again_when_a_latent_is_active(value, outputs):
    active = (outputs[1][:2] > 0).any(axis=0)
    _, after, _ = value(np.full(N_LATENTS, 7.0), X[:2])
    np.testing.assert_array_equal(after, np.where(active, 0.0, 8.0))
    assert 0 < active.sum() < N_LATENTS


def test_devices_agree_on_which_latents_are_active(sae, value):
    """Two halves of a batch on two devices leave the state that the whole batch leaves on one."""
    model, params, variables = sae
    _, whole, _ = value(np.zeros(N_LATENTS), X[:4])
    objective = objectives.make_sae_objective(model.clone(axis_name='devices'), **RECIPE)

    def of_half(x):
        _, (after, _) = objective(params, variables, {'x': x}, None, 0)
        return after['latents']['steps_inactive']

    for half in jax.jit(jax.vmap(of_half, axis_name='devices'))(X[:4].reshape(2, 2, -1)):
        np.testing.assert_array_equal(half, whole)


def test_dead_latents_come_back_with_the_second_term_and_not_without_it():
    """24 directions, one an item; half of 24 latents begin too weak to be the most active of any item."""
    np_rng, weak = np.random.default_rng(0), jnp.where(jnp.arange(24) < 12, 0.01, 1.0)
    directions = np_rng.normal(size=(24, 16))
    x = np_rng.uniform(0.5, 1.5, size=(240, 1)) * directions[np.arange(240) % 24]
    x = (x / np.sqrt(x.var(axis=0).sum())).astype(np.float32)
    model, tx = models.SparseAutoencoder(16, 24, 1), optax.adam(1e-2)
    variables = jax.jit(model.init)(jax.random.key(0), x)
    params = variables.pop('params')
    params = {**params, 'encoder': params['encoder'] * weak[None, :]}

    @jax.jit
    @jax.vmap
    def train(dead_weight):
        recipe = {'total_variance': 1.0, 'dead_k': 4, 'dead_after_steps': 3, 'dead_weight': dead_weight}
        objective = jax.value_and_grad(objectives.make_sae_objective(model, **recipe), has_aux=True)

        def step(carry, _):
            params, variables, opt_state = carry
            (_, (variables, metrics)), grads = objective(params, variables, {'x': x}, None, 0)
            updates, opt_state = tx.update(grads, opt_state, params)
            return (optax.apply_updates(params, updates), variables, opt_state), metrics

        _, metrics = jax.lax.scan(step, (params, variables, tx.init(params)), length=600)
        return metrics['dead'][-1], metrics['fve'][-1]

    dead, fve = train(jnp.array([0.0, 1 / 32]))
    assert dead[0] > 0.4 and dead[1] < 0.2
    assert fve[0] < 0.8 and fve[1] > 0.93


def test_measure_gives_the_squared_error_and_the_active_latents_of_each_item(sae, outputs):
    model, params, variables = sae
    found = jax.jit(objectives.make_sae_measure(model))(params, variables, {'x': X})
    recon, codes, *_ = outputs
    np.testing.assert_allclose(found['squared_error'], np.square(X - recon).sum(axis=1), rtol=1e-5)
    np.testing.assert_array_equal(found['l0'], (codes > 0).sum(axis=1))
