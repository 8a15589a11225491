"""The read-out to voxels, and the forward pass of a classifier with it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from humalign_jax import models

IMAGE = np.random.default_rng(0).normal(size=(3, 8, 8, 3)).astype(np.float32)


@pytest.fixture(scope='module')
def tuned():
    model, head = models.make_model('philnet', widths=((4, 4),), dropout_rate=0.0), models.NeuralHead(5)
    variables = dict(model.init(jax.random.key(0), IMAGE, train=False))
    features = models.capture(model, variables, IMAGE, ['block1'])['block1']
    params = {**variables.pop('params'), 'neural_head': head.init(jax.random.key(1), features)['params']}
    return model, head, params, variables, features


def test_the_head_on_2x2x512_has_2049_parameters_a_voxel():
    shapes = jax.eval_shape(lambda: models.NeuralHead(7).init(jax.random.key(0), jnp.zeros((1, 2, 2, 512))))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == 2049 * 7


def test_the_pooled_positive_head_is_a_line_of_the_mean_map_then_elu_plus_1():
    features = np.random.default_rng(0).normal(size=(4, 3, 3, 6)).astype(np.float32)
    head = models.NeuralHead(2, pool='mean', positive=True)
    variables = head.init(jax.random.key(0), features)
    line = features.mean(axis=(1, 2)) @ np.asarray(variables['params']['voxels']['kernel'])
    expected = np.where(line > 0, line + 1, np.exp(line))
    np.testing.assert_allclose(head.apply(variables, features), expected, rtol=1e-5, atol=1e-6)


def test_a_head_that_starts_at_zero_predicts_the_mean_response():
    head = models.NeuralHead(3, zero_start=True)
    assert not np.any(head.init_with_output(jax.random.key(0), IMAGE)[0])


def test_an_unknown_pool_is_refused():
    with pytest.raises(ValueError, match=r"config.head.pool must be 'none' or 'mean', not 'max'"):
        models.NeuralHead(2, pool='max').init(jax.random.key(0), np.zeros((1, 4)))


def test_evaluation_reads_the_named_layer_and_leaves_the_statistics(tuned):
    model, head, params, model_state, features = tuned
    forward = models.make_tuned_forward(model, head, 'block1')
    logits, voxels, after = forward(params, model_state, IMAGE, train=False)
    np.testing.assert_allclose(logits, model.apply({'params': params, **model_state}, IMAGE), rtol=1e-6)
    np.testing.assert_allclose(voxels, head.apply({'params': params['neural_head']}, features), rtol=1e-5, atol=1e-6)
    assert after is not model_state and jax.tree.all(jax.tree.map(lambda a, b: a is b, after, dict(model_state)))


def test_training_updates_the_statistics_of_the_classifier_alone(tuned):
    model, head, params, model_state, _ = tuned
    forward = models.make_tuned_forward(model, head, 'block1')
    _, _, after = forward(params, model_state, IMAGE, train=True, keys=jax.random.split(jax.random.key(0), 3))
    assert after.keys() == model_state.keys()
    assert any((a != b).any() for a, b in zip(jax.tree.leaves(after), jax.tree.leaves(model_state)))


def test_gradients_of_voxels_end_at_the_head_if_asked(tuned):
    model, head, params, model_state, _ = tuned
    for head_only in (False, True):
        forward = models.make_tuned_forward(model, head, 'block1', head_only=head_only)
        gradients = jax.grad(lambda p, f=forward: (f(p, model_state, IMAGE, train=False)[1] ** 2).sum())(params)
        assert np.abs(gradients.pop('neural_head')['voxels']['kernel']).max() > 0
        assert any(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(gradients)) is not head_only


def test_an_unknown_layer_is_named_with_the_nearest(tuned):
    model, head, params, model_state, _ = tuned
    with pytest.raises(ValueError, match=r"no layer 'blok1'. Did you mean 'block1'\?"):
        models.make_tuned_forward(model, head, 'blok1')(params, model_state, IMAGE, train=False)
