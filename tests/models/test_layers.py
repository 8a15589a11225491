"""Named layers, randomness per example, and the convolution and pooling forms."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from humalign_jax import models
from humalign_jax.models import convolution, layers

IMAGE = np.random.default_rng(0).normal(size=(3, 16, 16, 3)).astype(np.float32)


@functools.cache
def philnet():
    model = models.PhilNet(widths=((8,), (16, 12)), head='gap_hidden')
    return model, jax.jit(model.init)(jax.random.key(0), IMAGE)


def vjp(function, *args, cotangent):
    """Value of a function and the gradients of its product with `cotangent`, compiled as one."""

    def both(cotangent, *args):
        value, pullback = jax.vjp(function, *args)
        return value, *pullback(cotangent)

    return jax.jit(both)(cotangent, *args)


def test_layer_names_are_in_the_order_of_the_forward_pass():
    assert models.layer_names(models.PhilNet(), (32, 32, 3)) == [
        *('block1', 'block2', 'block3', 'penultimate', 'logits', 'probs'),
    ]
    assert models.layer_names(models.VAE(widths=(8, 8)), (32, 32, 3)) == [
        *('encoder1', 'encoder2', 'mu', 'logvar', 'decoder1', 'recon'),
    ]
    assert models.layer_names(models.ResNet50(), (32, 32, 3)) == [
        *('stem', 'layer1', 'layer2', 'layer3', 'layer4', 'penultimate', 'logits', 'probs'),
    ]


def test_captured_layers_equal_values_computed_from_the_submodules():
    model, variables = philnet()
    names = models.layer_names(model, IMAGE.shape[1:])
    found = jax.jit(lambda v: models.capture(model, v, IMAGE, names))(variables)
    forward = functools.partial(model.apply, capture_intermediates=True, mutable=['intermediates'])
    logits, state = jax.jit(forward)(variables, IMAGE)
    outputs = {name: value['__call__'][0] for name, value in state['intermediates'].items() if name != '__call__'}
    for block, norm in (('block1', 'block1_norm1'), ('block2', 'block2_norm2')):
        np.testing.assert_allclose(
            found[block], nn.max_pool(nn.relu(outputs[norm]), (2, 2), (2, 2)), rtol=1e-5, atol=1e-6
        )
    np.testing.assert_allclose(found['penultimate'], nn.relu(outputs['hidden']), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found['logits'], outputs['classifier'], rtol=1e-5, atol=1e-6)
    exponentials = np.exp(np.asarray(found['logits'], np.float64))
    np.testing.assert_allclose(found['probs'], exponentials / exponentials.sum(axis=1, keepdims=True), rtol=1e-5)
    np.testing.assert_allclose(found['logits'], logits, rtol=1e-5, atol=1e-6)


def test_capture_runs_once_and_computes_only_what_is_asked_for():
    model, variables = philnet()

    def flops(function):
        return jax.jit(function).lower(variables, IMAGE).compile().cost_analysis()['flops']

    def capturing(*names):
        return lambda variables, image: models.capture(model, variables, image, names)

    forward = flops(model.apply)
    everything = flops(capturing(*models.layer_names(model, IMAGE.shape[1:])))
    assert forward <= everything < 1.01 * forward
    block1 = 2 * 3 * 16 * 16 * 9 * 3 * 8  # its only convolution: images, positions, taps, channels in and out
    assert block1 <= flops(capturing('block1')) < 1.5 * block1 < forward


def test_names_cost_nothing_in_a_training_step(monkeypatch):
    model, variables = philnet()
    keys = jax.random.split(jax.random.key(0), len(IMAGE))

    def step(variables):
        def loss(params):
            out, _ = model.apply({**variables, 'params': params}, IMAGE, True, keys, mutable=['batch_stats'])
            return jnp.sum(out**2)

        return jax.grad(loss)(variables['params'])

    def flops():
        return jax.jit(lambda v: step(v)).lower(variables).compile().cost_analysis()

    named = flops()
    monkeypatch.setattr(layers, 'named', lambda module, name, x: x)
    monkeypatch.setattr(nn, 'softmax', lambda x: x)
    nameless = flops()
    assert (named['flops'], named['transcendentals']) == (nameless['flops'], nameless['transcendentals'])


def test_init_returns_no_activations():
    _, variables = philnet()
    assert set(variables) == {'params', 'batch_stats'}


def test_unknown_layer_is_an_error_that_lists_the_layers():
    model, variables = philnet()
    with pytest.raises(ValueError, match=r"no layer 'block4'. Did you mean 'block\d'\? Known: block1, block2, pen"):
        models.capture(model, variables, IMAGE, ['block1', 'block4'])


def test_nested_layers_are_named_by_their_path():
    class Outer(nn.Module):
        @nn.compact
        def __call__(self, image, train=False, keys=None):
            return philnet()[0].copy(name='inner')(image)

    assert models.layer_names(Outer(), (16, 16, 3))[:2] == ['inner/block1', 'inner/block2']


def test_dropout_of_an_example_does_not_depend_on_the_batch():
    keys = jax.random.split(jax.random.key(1), 6)
    x = np.random.default_rng(1).normal(size=(6, 5, 7)).astype(np.float32)
    whole = layers.example_dropout(x, keys, 0.4)
    rows = np.array([4, 1])
    np.testing.assert_array_equal(layers.example_dropout(x[rows], keys[rows], 0.4), whole[rows])
    np.testing.assert_array_equal(layers.example_normal(keys[rows], (9,)), layers.example_normal(keys, (9,))[rows])


def test_dropout_drops_its_rate_and_keeps_the_expected_value():
    n = 64 * 1000
    keys = jax.random.split(jax.random.key(2), 64)
    y = np.asarray(layers.example_dropout(jnp.ones((64, 1000)), keys, 0.4))
    np.testing.assert_allclose(np.unique(y), [0, 1 / 0.6], rtol=1e-6)
    assert abs((y == 0).mean() - 0.4) < 4 * np.sqrt(0.4 * 0.6 / n)
    other = np.asarray(layers.example_dropout(jnp.ones((64, 1000)), keys, 0.4, use=1))
    both = ((y == 0) & (other == 0)).mean()  # two uses of one key are independent
    assert abs(both - 0.16) < 4 * np.sqrt(0.16 * 0.84 / n)
    np.testing.assert_array_equal(layers.example_dropout(y, keys, 0.0), y)


def test_batch_norm_has_pytorchs_constants():
    x = np.random.default_rng(3).normal(2.0, 3.0, size=(50, 4)).astype(np.float32)
    norm = layers.batch_norm('float32', None)
    variables = norm.init(jax.random.key(0), x, use_running_average=True)
    y, state = norm.apply(variables, x, use_running_average=False, mutable=['batch_stats'])
    np.testing.assert_allclose(y, (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(state['batch_stats']['mean'], 0.1 * x.mean(0), rtol=1e-5)
    np.testing.assert_allclose(state['batch_stats']['var'], 0.9 + 0.1 * x.var(0), rtol=1e-5)


def test_convolutions_start_with_he_variance_by_fan_out():
    kernel = layers.Conv(256, 3).init(jax.random.key(0), jnp.zeros((1, 4, 4, 128)))['params']['kernel']
    assert kernel.shape == (3, 3, 128, 256)
    np.testing.assert_allclose(np.std(kernel), np.sqrt(2 / (9 * 256)), rtol=0.01)


def test_transposed_convolution_keeps_the_scale():
    x = jax.random.normal(jax.random.key(0), (16, 8, 8, 256))
    y, _ = layers.ConvTranspose4x4(64).init_with_output(jax.random.key(1), x)
    np.testing.assert_allclose(np.std(y[:, 1:-1, 1:-1]), 1.0, rtol=0.02)


@pytest.mark.parametrize(('size', 'padding'), [(2, 0), (3, 1)])
@pytest.mark.parametrize('shape', [(2, 8, 6, 3), (2, 7, 5, 3), (1, 2, 3, 2)])
def test_max_pool_equals_flax(shape, size, padding):
    x = np.random.default_rng(4).normal(size=shape).astype(np.float32) - 3.0  # below the zeros of a wrong padding

    def reference(x):
        return nn.max_pool(x, (size, size), (2, 2), ((padding, padding), (padding, padding)))

    cotangent = np.random.default_rng(5).normal(size=reference(x).shape).astype(np.float32)
    ours = vjp(lambda x: layers.max_pool(x, size, padding), x, cotangent=cotangent)
    for a, b in zip(ours, vjp(reference, x, cotangent=cotangent), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)


def test_max_pool_shares_the_gradient_of_ties():
    x = jnp.asarray([[1.0, 1.0], [0.0, 1.0]]).reshape(1, 2, 2, 1)
    gradient = jax.grad(lambda x: layers.max_pool(x, 2).sum())(x).reshape(2, 2)
    assert gradient.sum() == 1 and gradient[1, 0] == 0 and (gradient >= 0).all()
    # Ties at zero after a ReLU: nothing gets through.
    gradient = jax.grad(lambda x: layers.max_pool(nn.relu(x), 2).sum())(-jnp.abs(x))
    np.testing.assert_array_equal(gradient, 0.0)


@pytest.mark.parametrize(
    ('shape', 'size', 'stride', 'padding'),
    [
        ((2, 8, 6, 3), 3, 1, 1),  # this one and the next: XLA's convolution, its kernel's gradient by taps
        ((2, 9, 8, 3), 3, 2, 1),
        ((2, 2, 2, 5), 3, 1, 1),
        ((2, 4, 4, 3), 3, 2, 1),
        ((2, 5, 3, 3), 3, 2, 1),
        ((1, 6, 4, 3), 4, 2, 1),
        ((2, 6, 5, 3), 1, 2, 0),
        ((2, 3, 4, 3), 1, 1, 0),
    ],
)
def test_conv_equals_xlas_convolution(shape, size, stride, padding):
    np_rng = np.random.default_rng(6)
    x = np_rng.normal(size=shape).astype(np.float32)
    kernel = np_rng.normal(size=(size, size, shape[-1], 4)).astype(np.float32)

    def reference(x, kernel):
        pads = ((padding, padding), (padding, padding))
        numbers = ('NHWC', 'HWIO', 'NHWC')
        return jax.lax.conv_general_dilated(x, kernel, (stride, stride), pads, dimension_numbers=numbers)

    cotangent = np_rng.normal(size=reference(x, kernel).shape).astype(np.float32)
    ours = vjp(functools.partial(convolution.conv, stride=stride, padding=padding), x, kernel, cotangent=cotangent)
    for a, b in zip(ours, vjp(reference, x, kernel, cotangent=cotangent), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('shape', [(2, 1, 1, 3), (1, 2, 5, 4), (3, 8, 4, 2)])
def test_conv_transpose_equals_the_sum_it_stands_for(shape):
    np_rng = np.random.default_rng(7)
    x, kernel = np_rng.normal(size=shape), np_rng.normal(size=(4, 4, shape[-1], 6))
    b, h, w, _ = shape
    padded = np.zeros((b, 2 * h + 2, 2 * w + 2, 6))  # output pixel o = 2 i - 1 + k, shifted by the padding of 1
    for i in range(h):
        for j in range(w):
            for k in range(4):
                for m in range(4):
                    padded[:, 2 * i + k, 2 * j + m] += x[:, i, j] @ kernel[k, m]
    y = convolution.conv_transpose_4x4(jnp.asarray(x, jnp.float32), jnp.asarray(kernel, jnp.float32))
    np.testing.assert_allclose(y, padded[:, 1:-1, 1:-1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('shape', [(2, 2, 2, 5), (2, 4, 6, 5)])
def test_a_transposed_convolution_and_its_convolution_have_each_others_gradients(shape):
    np_rng = np.random.default_rng(8)
    x, kernel = (np_rng.normal(size=s).astype(np.float32) for s in (shape, (4, 4, shape[-1], 7)))
    dy = np_rng.normal(size=(shape[0], 2 * shape[1], 2 * shape[2], 7)).astype(np.float32)

    def by_xla(x, kernel):
        numbers = ('NHWC', 'HWIO', 'NHWC')
        return jax.lax.conv_transpose(x, kernel[::-1, ::-1], (2, 2), ((2, 2), (2, 2)), dimension_numbers=numbers)

    found = vjp(convolution.conv_transpose_4x4, x, kernel, cotangent=dy)
    for ours, theirs in zip(found, vjp(by_xla, x, kernel, cotangent=dy), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)
    strided = functools.partial(convolution.conv, stride=2, padding=1)
    _, of_dy, of_kernel = vjp(strided, dy, kernel.swapaxes(2, 3), cotangent=x)
    np.testing.assert_allclose(of_dy, found[0], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(of_kernel.swapaxes(2, 3), found[2], rtol=1e-4, atol=1e-4)


def test_a_transposed_convolution_spreads_each_pixel_over_the_kernel():
    np_rng = np.random.default_rng(0)
    x, kernel = np_rng.normal(size=(2, 3, 4, 2)), np_rng.normal(size=(5, 5, 2, 3))
    expected = np.zeros((2, 7, 8, 3))
    for row in range(3):
        for column in range(4):
            expected[:, row : row + 5, column : column + 5] += np.einsum('bc,ijcd->bijd', x[:, row, column], kernel)
    np.testing.assert_allclose(convolution.conv_transpose(jnp.asarray(x), jnp.asarray(kernel)), expected, atol=1e-5)


@pytest.mark.parametrize('padding', [0, 4])
def test_a_convolution_by_rows_equals_a_convolution(padding):
    np_rng = np.random.default_rng(1)
    x, kernel = np_rng.normal(size=(2, 9, 7, 3)), np_rng.normal(size=(5, 5, 3, 4))
    args = (jnp.asarray(x, jnp.float32), jnp.asarray(kernel, jnp.float32))
    cotangent = jnp.asarray(np_rng.normal(size=(2, 5 + 2 * padding, 3 + 2 * padding, 4)), jnp.float32)
    found = vjp(functools.partial(convolution.row_conv, padding=padding), *args, cotangent=cotangent)
    expected = vjp(functools.partial(convolution.conv, padding=padding), *args, cotangent=cotangent)
    for ours, theirs in zip(found, expected):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)
