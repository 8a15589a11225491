"""Optimisers: steps as those of optax, PyTorch or a loop, what decays or is held, and which average is evaluated."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from optax import contrib

from humalign_jax.train import optimizers


@pytest.fixture
def params():
    np_rng = np.random.default_rng(0)
    kernel, bias = np_rng.normal(size=(3, 2)).astype(np.float32), np_rng.normal(size=2).astype(np.float32)
    return {'embed': {'kernel': kernel, 'bias': bias}, 'head': {'kernel': 2 * kernel, 'bias': 2 * bias}}


def _trajectory(tx, params, n_steps=5):
    """Parameters after some steps on gradients that depend on the parameters, and the optimiser's state."""

    @jax.jit
    def step(params, state):
        grads = jax.tree.map(lambda value: jnp.sin(3 * value) + value, params)
        updates, state = tx.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    state = tx.init(params)
    for _ in range(n_steps):
        params, state = step(params, state)
    return params, state


def _close(found, expected, **options):
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-7, **options)


@pytest.mark.parametrize('weight_decay', [0.0, 0.1])
def test_steps_and_averages_equal_those_of_optax(params, weight_decay):
    theirs = contrib.schedule_free_adamw(0.05, weight_decay=weight_decay)
    ours = optimizers.make_optimizer(
        name='schedule_free_adamw', schedule=lambda _: 0.05, weight_decay=weight_decay, decay_all=True
    )
    (found, state), (expected, their_state) = _trajectory(ours, params), _trajectory(theirs, params)
    _close(found, expected)
    _close(optimizers.averaged_params(found, state), contrib.schedule_free_eval_params(their_state, expected))


def test_averages_are_the_mean_of_the_steps_that_were_taken(params):
    """With b1 = 0.9 the gradient is taken at 0.9 x + 0.1 z; x is the mean of all z at a constant rate."""
    tx = optimizers.make_optimizer(name='schedule_free_adamw', schedule=lambda _: 0.05, weight_decay=0.0)
    visited = []
    for n_steps in (1, 2, 3):
        y, state = _trajectory(tx, params, n_steps)
        visited.append(state[-1].z)
    mean = jax.tree.map(lambda *z: sum(z) / 3, *visited)
    averaged = optimizers.averaged_params(y, state)
    for one, other in zip(jax.tree.leaves(averaged), jax.tree.leaves(mean), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_decay_spares_biases_and_named_submodules(params):
    made = [
        optimizers.make_optimizer(
            name='schedule_free_adamw', schedule=lambda _: 0.05, weight_decay=decay, no_decay=('embed',)
        )
        for decay in (0.0, 0.5)
    ]
    without, with_decay = (_trajectory(tx, params, 2)[0] for tx in made)
    _close(with_decay['embed'], without['embed'])
    _close(with_decay['head']['bias'], without['head']['bias'])
    assert np.abs(with_decay['head']['kernel'] - without['head']['kernel']).min() > 1e-3


def test_averages_behind_a_clipped_gradient_are_found_and_other_optimisers_have_none(params):
    options = {'schedule': lambda _: 0.05, 'weight_decay': 0.0, 'clip_norm': 1.0}
    after, state = _trajectory(optimizers.make_optimizer(name='schedule_free_adamw', **options), params)
    averaged = optimizers.averaged_params(after, state)
    assert np.abs(averaged['head']['kernel'] - after['head']['kernel']).max() > 1e-3
    after, state = _trajectory(optimizers.make_optimizer(name='adamw', **options), params)
    assert optimizers.averaged_params(after, state) is after


def test_adam_with_coupled_decay_equals_pytorchs():
    """Numbers of torch.optim.Adam([p, b], lr=0.1, weight_decay=0.5), torch 2.13, after three steps."""
    tx = optimizers.make_optimizer(name='adam', schedule=optax.constant_schedule(0.1), weight_decay=0.5, decay_all=True)
    params = {'p': jnp.array([1.0, -2.0]), 'b': jnp.array([0.5])}
    state = tx.init(params)
    for p, b in (([0.2, -0.3], [0.1]), ([-0.4, 0.1], [0.0]), ([0.1, 0.1], [-1.0])):
        updates, state = tx.update({'p': jnp.array(p), 'b': jnp.array(b)}, state, params)
        params = optax.apply_updates(params, updates)
    np.testing.assert_allclose(params['p'], [0.74511796, -1.70738387], rtol=5e-6)  # 1 - 0.999**t in float32
    np.testing.assert_allclose(params['b'], [0.33104113], rtol=5e-6)


def _sgd_loop(params, n_steps, after_step):
    """Nesterov SGD in float64 on the gradients of `_trajectory`; `after_step(t, params)` may replace the parameters."""
    params = {name: np.asarray(value, np.float64) for name, value in params.items()}
    trace = {name: np.zeros_like(value) for name, value in params.items()}
    for t in range(1, n_steps + 1):
        for name, value in params.items():
            gradient = np.sin(3 * value) + value
            trace[name] = 0.9 * trace[name] + gradient
            params[name] = value - 0.1 * (gradient + 0.9 * trace[name])
        params = after_step(t, params)
    return params


SGD = {'name': 'sgd', 'schedule': lambda _: 0.1, 'weight_decay': 0.0}


@pytest.mark.parametrize('n_steps', [7, 9])  # between two pulls, and just after one
@pytest.mark.parametrize('power', [0.0, 3.0])
def test_lookahead_equals_the_written_out_loop_and_its_slow_parameters_are_evaluated(params, power, n_steps):
    params, slow = params['head'], {name: np.float64(value) for name, value in params['head'].items()}
    options = {'lookahead_steps': 3, 'lookahead_share': 0.4, 'lookahead_power': power, 'total_steps': 10}

    def pull(t, fast):
        if t % 3:
            return fast
        for name, value in fast.items():
            slow[name] = slow[name] + (1 - 0.6 * (t / 10) ** power) * (value - slow[name])
        return dict(slow)

    expected = _sgd_loop(params, n_steps, pull)
    found, opt_state = _trajectory(optimizers.make_optimizer(**SGD, **options), params, n_steps)
    for name in params:
        np.testing.assert_allclose(found[name], expected[name], rtol=2e-5, atol=1e-6)
        averaged = optimizers.averaged_params(found, opt_state)[name]
        np.testing.assert_allclose(averaged, slow[name], rtol=2e-5, atol=1e-6)


def test_the_ema_equals_the_written_out_loop_and_training_goes_on_without_it(params):
    params = params['head']
    average = {name: np.float64(value) for name, value in params.items()}

    def keep(t, now):
        decay = min(0.8, t / (9 + t))
        average.update({name: decay * average[name] + (1 - decay) * value for name, value in now.items()})
        return now

    expected = _sgd_loop(params, 60, keep)  # 36 steps until the decay is 0.8
    found, opt_state = _trajectory(optimizers.make_optimizer(**SGD, ema_decay=0.8), params, 60)
    for name in params:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-4, atol=1e-6)
        averaged = optimizers.averaged_params(found, opt_state)[name]
        np.testing.assert_allclose(averaged, average[name], rtol=1e-4, atol=1e-6)


def test_the_rate_of_the_biases_of_batchnorm_has_a_factor_of_its_own(params):
    params = {'norm': {'scale': np.ones(2, np.float32), 'bias': np.ones(2, np.float32)}, **params}
    moved = {}
    for factor in (1.0, 64.0):
        after, _ = _trajectory(optimizers.make_optimizer(**SGD, norm_bias_rate=factor), params, 1)
        moved[factor] = jax.tree.map(np.subtract, after, params)
    moved[1.0]['norm']['bias'] *= 64
    _close(moved[64.0], moved[1.0])


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'lookahead_steps': 5, 'ema_decay': 0.9}, 'average the parameters more than once'),
        ({'name': 'schedule_free_adamw', 'ema_decay': 0.9}, 'average the parameters more than once'),
        ({'lookahead_steps': 5, 'lookahead_share': 0.0}, 'lookahead_share=0.0 must be above 0'),
    ],
)
def test_averages_that_cannot_be_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        optimizers.make_optimizer(**{**SGD, **options})


def test_a_held_optimiser_begins_as_new_after_its_steps():
    held, plain = optimizers.held(optax.adam(0.1), 2), optax.adam(0.1)
    params = jnp.array([1.0, -2.0])
    state, other = held.init(params), plain.init(params)
    for step in range(4):
        gradient = jnp.array([step + 1.0, -3.0])
        updates, state = held.update(gradient, state, params)
        if step < 2:
            assert not np.any(updates)
        else:
            expected, other = plain.update(gradient, other, params)
            np.testing.assert_array_equal(updates, expected)
