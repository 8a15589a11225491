"""Deconv: its size and layers, channel isolation, switches, and the published network's checkpoint in it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from humalign_jax import models
from humalign_jax.models import convolution, switches

IMAGE = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype(np.float32)
ALL = (np.ones(6, np.float32), np.ones(16, np.float32))


@functools.cache
def network(**options):
    """The model, random variables, and its compiled forward pass."""
    model, np_rng = models.Deconv(**options), np.random.default_rng(2)
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), IMAGE))
    variables = jax.tree.map(lambda leaf: np_rng.normal(0.0, 0.1, leaf.shape).astype(np.float32), shapes)
    return model, variables, jax.jit(model.apply)


def n_parameters(model):
    variables = jax.eval_shape(lambda: model.init(jax.random.key(0), IMAGE))
    return sum(leaf.size for leaf in jax.tree.leaves(variables))


def test_it_has_the_published_size_with_and_without_decoder():
    assert n_parameters(models.make_model('deconv')) == 64_865
    assert n_parameters(models.make_model('deconv', unpool='nearest')) == 64_865
    assert n_parameters(models.make_model('deconv', decoder=False)) == 62_006


def test_its_layers_have_the_published_shapes():
    model, variables, _ = network()
    names = models.layer_names(model, (32, 32, 3))
    found = jax.eval_shape(lambda v: models.capture(model, v, IMAGE, names), variables)
    classifier = {
        'conv1': (28, 28, 6),
        'z1': (14, 14, 6),
        'conv2': (10, 10, 16),
        'z2': (5, 5, 16),
        'fc1': (120,),
        'fc2': (84,),
        'logits': (10,),
        'probs': (10,),
    }
    assert {name: value.shape[1:] for name, value in found.items()} == {**classifier, 'recon': (32, 32, 3)}
    assert models.layer_names(models.Deconv(decoder=False), (32, 32, 3)) == list(classifier)


def test_without_decoder_the_logits_are_the_same_and_there_is_no_reconstruction():
    _, variables, apply = network()
    logits, recon = apply(variables, IMAGE)
    alone, nothing = jax.jit(models.Deconv(decoder=False).apply)(variables, IMAGE)
    assert recon.shape == IMAGE.shape and nothing is None
    np.testing.assert_allclose(alone, logits, rtol=1e-5, atol=1e-6)


def test_one_channel_kept_is_the_network_rerun_from_the_masked_map():
    model, variables, apply = network()
    bias = {name: leaf['bias'].reshape(1, 1, 1, -1) for name, leaf in variables['params'].items() if 'conv' in name}
    kernel = {name: variables['params'][name]['kernel'] for name in bias}

    @jax.jit
    def masked(conv1):
        z1, switches1 = switches.max_pool(conv1)
        z1 = z1 * (jnp.arange(6) == 3).reshape(1, 1, 1, 6)
        conv2 = jax.nn.relu(convolution.conv(z1, kernel['convolution2']) + bias['convolution2'])
        z2, switches2 = switches.max_pool(conv2)  # fresh positions; those of the first pool are kept
        x = jax.nn.relu(switches.unpool(z2, switches2))
        x = convolution.conv_transpose(x, kernel['deconvolution2']) + bias['deconvolution2']
        x = jax.nn.relu(switches.unpool(x, switches1))
        return convolution.conv_transpose(x, kernel['deconvolution1']) + bias['deconvolution1']

    expected = masked(models.capture(model, variables, IMAGE, ['conv1'])['conv1'])
    _, recon = apply(variables, IMAGE, keep=(np.eye(6, dtype=np.float32)[3], ALL[1]))
    np.testing.assert_allclose(recon, expected, rtol=1e-4, atol=1e-5)


def test_vmap_over_rows_of_factors_equals_one_row_at_a_time():
    model, variables, apply = network()
    drop = 1 - np.eye(16, dtype=np.float32)[:3]
    together = jax.jit(jax.vmap(lambda keep2: model.apply(variables, IMAGE, keep=(ALL[0], keep2))))(drop)
    for i, row in enumerate(drop):
        for batched, single in zip(together, apply(variables, IMAGE, keep=(ALL[0], row))):
            np.testing.assert_allclose(batched[i], single, rtol=1e-4, atol=1e-5)
    for whole, masked in zip(apply(variables, IMAGE), apply(variables, IMAGE, keep=ALL)):
        np.testing.assert_allclose(whole, masked, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(('unpool', 'passes'), [('switches', True), ('nearest', False)])
def test_only_switches_carry_position_past_the_code(unpool, passes):
    _, variables, apply = network(unpool=unpool)
    _, recon = apply(variables, IMAGE, keep=(ALL[0], np.zeros(16, np.float32)))  # all images have the same code z2
    assert (np.abs(recon[0] - recon[1]).max() > 1e-3) == passes


def test_a_published_checkpoint_fills_every_variable():
    model, variables, _ = network()
    np_rng = np.random.default_rng(1)
    shapes = {
        'conv1': (6, 3, 5, 5),
        'deconv1': (6, 3, 5, 5),
        'conv2': (16, 6, 5, 5),
        'deconv2': (16, 6, 5, 5),
        'fc1': (120, 400),
        'fc2': (84, 120),
        'fc3': (10, 84),
    }
    n_outputs = {'conv1': 6, 'deconv1': 3, 'conv2': 16, 'deconv2': 6, 'fc1': 120, 'fc2': 84, 'fc3': 10}
    state = {f'{name}.weight': np_rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    state |= {f'{name}.bias': np_rng.normal(size=n).astype(np.float32) for name, n in n_outputs.items()}
    found = models.to_flax(state, variables, **model.from_torch)
    z2 = models.capture(model, found, IMAGE, ['z2', 'fc1'])
    flat = np.asarray(z2['z2']).transpose(0, 3, 1, 2).reshape(len(IMAGE), -1)  # as PyTorch flattens
    expected = np.maximum(flat @ state['fc1.weight'].T + state['fc1.bias'], 0)
    np.testing.assert_allclose(z2['fc1'], expected, rtol=1e-4, atol=1e-3)
    kernel = found['params']['deconvolution1']['kernel']
    np.testing.assert_array_equal(kernel, state['deconv1.weight'].transpose(2, 3, 0, 1))


def test_impossible_options_and_factors_are_refused():
    image = jax.ShapeDtypeStruct((1, 30, 30, 3), jnp.float32)

    def init(model, image):
        return jax.eval_shape(lambda image: model.init(jax.random.key(0), image), image)

    with pytest.raises(ValueError, match='multiples of 4 from 16, not 30x30'):
        init(models.Deconv(image_shape=(30, 30, 3)), image)
    with pytest.raises(ValueError, match=r'made for images of shape \(32, 32, 3\), not \(30, 30, 3\)'):
        init(models.Deconv(), image)
    with pytest.raises(ValueError, match="one of switches, nearest, not 'fixed'"):
        init(models.Deconv(unpool='fixed'), IMAGE)
    model, variables, _ = network()
    with pytest.raises(ValueError, match=r'vectors of 6 and 16 factors.*not of shapes \(16,\), \(6,\)'):
        model.apply(variables, IMAGE, keep=ALL[::-1])


def test_bfloat16_stays_near_float32():
    _, variables, apply = network(unpool='nearest')  # switches jump between nearly equal values
    for half, whole in zip(network(unpool='nearest', dtype='bfloat16')[2](variables, IMAGE), apply(variables, IMAGE)):
        assert half.dtype == jnp.float32
        assert 0 < np.linalg.norm(half - whole) / np.linalg.norm(whole) < 0.05
