"""DigitNet: its layers, its dropout, and the course's weights in it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from humalign_jax import models
from humalign_jax.data import load_mnist
from humalign_jax.models import layers

IMAGE = np.random.default_rng(0).normal(size=(4, 28, 28, 1)).astype(np.float32)


def test_it_has_the_published_size_and_layers():
    model = models.make_model('digitnet')
    variables = jax.eval_shape(lambda: model.init(jax.random.key(0), IMAGE))
    assert sum(leaf.size for leaf in jax.tree.leaves(variables)) == 21_840
    names = models.layer_names(model, (28, 28, 1))
    found = jax.eval_shape(lambda v: models.capture(model, v, IMAGE, names), variables)
    assert {name: value.shape[1:] for name, value in found.items()} == {
        'conv1': (24, 24, 10),
        'conv1_pooled': (12, 12, 10),
        'conv2': (8, 8, 20),
        'conv2_pooled': (4, 4, 20),
        'fc1': (50,),
        'logits': (10,),
        'probs': (10,),
    }


def test_dropout_drops_channels_of_the_second_map_and_units_of_the_first_dense_layer():
    model = models.DigitNet(dropout_rate=0.5)
    variables = jax.jit(model.init)(jax.random.key(0), IMAGE)
    keys = jax.random.split(jax.random.key(1), len(IMAGE))
    train = jax.jit(lambda v: model.apply(v, IMAGE, train=True, keys=keys, mutable=['layers']))
    _, state = train(variables)
    dropped, whole = state['layers'], models.capture(model, variables, IMAGE, ['conv2', 'conv2_pooled'])
    np.testing.assert_array_equal(dropped['conv2'], whole['conv2'])
    pooled, expected = np.asarray(dropped['conv2_pooled']), np.asarray(whole['conv2_pooled'])
    kept = (pooled != 0).any(axis=(1, 2), keepdims=True)
    assert 0 < kept.sum() < kept.size
    np.testing.assert_allclose(pooled, 2 * expected * kept, rtol=1e-6)
    classifier = jax.tree.map(np.asarray, variables['params']['classifier'])
    seen = np.asarray(layers.example_dropout(dropped['fc1'], keys, 0.5, use=1))
    assert (seen == 0).mean() > (np.asarray(dropped['fc1']) == 0).mean() + 0.1
    np.testing.assert_allclose(
        dropped['logits'], seen @ classifier['kernel'] + classifier['bias'], rtol=1e-4, atol=1e-4
    )


def test_dropout_is_random_by_key_and_needs_keys():
    model = models.DigitNet(dropout_rate=0.5)
    variables = jax.jit(model.init)(jax.random.key(0), IMAGE)
    keys = jax.random.split(jax.random.key(1), len(IMAGE))
    train = jax.jit(lambda keys: model.apply(variables, IMAGE, train=True, keys=keys))
    np.testing.assert_array_equal(train(keys), train(keys))
    assert np.abs(train(keys) - train(keys[::-1])).max() > 1e-3
    np.testing.assert_array_equal(model.apply(variables, IMAGE), models.DigitNet().apply(variables, IMAGE, train=True))
    with pytest.raises(ValueError, match='DigitNet in training needs keys'):
        model.apply(variables, IMAGE, train=True)
    with pytest.raises(ValueError, match=r'dropout_rate must be in \[0, 1\)'):
        models.DigitNet(dropout_rate=1.0).apply(variables, IMAGE)


def test_bfloat16_stays_near_float32():
    variables = jax.jit(models.DigitNet().init)(jax.random.key(0), IMAGE)
    half = jax.jit(models.DigitNet(dtype='bfloat16').apply)(variables, IMAGE)
    whole = jax.jit(models.DigitNet().apply)(variables, IMAGE)
    assert half.dtype == jnp.float32
    assert 0 < np.abs(half - whole).max() / np.abs(whole).max() < 0.1


def float64_logits(state, image):
    """The course's network in PyTorch's layout: [b, 28, 28] -> [b, 10]."""

    def conv_relu_pool(x, name):
        kernel = state[f'{name}.weight'].astype(np.float64)
        windows = np.lib.stride_tricks.sliding_window_view(x, (5, 5), (2, 3))
        b, c, h, w = windows.shape[:4]
        patches = windows.transpose(0, 2, 3, 1, 4, 5).reshape(b * h * w, c * 25)
        y = (patches @ kernel.reshape(len(kernel), -1).T + state[f'{name}.bias']).reshape(b, h // 2, 2, w // 2, 2, -1)
        return np.maximum(y, 0).max(axis=(2, 4)).transpose(0, 3, 1, 2)

    x = conv_relu_pool(conv_relu_pool(image[:, None].astype(np.float64), 'conv1'), 'conv2').reshape(len(image), -1)
    x = np.maximum(x @ state['fc1.weight'].T.astype(np.float64) + state['fc1.bias'], 0)
    return x @ state['fc2.weight'].T.astype(np.float64) + state['fc2.bias']


@pytest.mark.data
def test_the_course_checkpoint_classifies_9871_of_10000_with_logits_of_float64(real_data):
    state = models.read_state_dict(real_data / 'mnist' / 'convnet_mnist_pretrained.pt')
    model = models.DigitNet()
    template = jax.eval_shape(lambda: model.init(jax.random.key(0), IMAGE))
    variables = models.to_flax(state, template, **model.from_torch)
    test = load_mnist('test', root=str(real_data / 'mnist'))
    image = ((test.images / 255 - 0.1307) / 0.3081).astype(np.float32)
    logits = np.asarray(jax.jit(model.apply)(variables, image))
    assert (logits.argmax(axis=1) == test.labels).sum() == 9871
    expected = np.concatenate([float64_logits(state, part[..., 0]) for part in np.split(image, 20)])
    np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-5)
    assert (expected.argmax(axis=1) == test.labels).sum() == 9871
