"""Every network equals its PyTorch twin: outputs, gradients and BatchNorm statistics."""

import importlib.util
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from humalign_jax import models
from humalign_jax.models import convolution, layers, switches

torch = pytest.importorskip('torch')

_path = pathlib.Path(__file__).parents[2] / 'benchmarks' / 'torch_networks.py'
_spec = importlib.util.spec_from_file_location('torch_networks', _path)
twins = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(twins)

CLASSIFIERS = {
    'philnet': (models.PhilNet(dropout_rate=0.0), twins.TorchPhilNet, dict(dropout_rate=0.0)),
    'philnet_gap_hidden': (
        models.PhilNet(dropout_rate=0.0, head='gap_hidden', widths=((8,), (16, 16))),
        twins.TorchPhilNet,
        dict(dropout_rate=0.0, head='gap_hidden', widths=((8,), (16, 16))),
    ),
    'philnet_flatten': (
        models.PhilNet(dropout_rate=0.0, head='flatten', widths=((8,), (16, 16))),
        twins.TorchPhilNet,
        dict(dropout_rate=0.0, head='flatten', widths=((8,), (16, 16))),
    ),
    'resnet18': (
        models.ResNet18(stage_sizes=(2, 1, 1, 1)),
        twins.TorchResNet,
        dict(stage_sizes=(2, 1, 1, 1)),
    ),
    'resnet18_no_maxpool': (
        models.ResNet18(keep_maxpool=False, stage_sizes=(1, 1, 1, 1)),
        twins.TorchResNet,
        dict(keep_maxpool=False, stage_sizes=(1, 1, 1, 1)),
    ),
    'resnet50': (
        models.ResNet50(stage_sizes=(1, 2, 1, 1)),
        twins.TorchResNet,
        dict(stage_sizes=(1, 2, 1, 1), bottleneck=True),
    ),
    'digitnet': (models.DigitNet(), twins.TorchDigitNet, dict(image_shape=(32, 32, 3))),
}


def nchw(x):
    return torch.from_numpy(np.array(np.transpose(x, (0, 3, 1, 2)), order='C'))


def random_variables(model, image):
    """Initial variables with BatchNorm constants that are not 0 and 1, so that a swap would show."""
    variables = jax.jit(model.init)(jax.random.key(0), image)
    np_rng = np.random.default_rng(0)

    def jitter(path, leaf):
        if path[-1].key in ('scale', 'var'):
            return leaf * np_rng.uniform(0.5, 1.5, leaf.shape).astype(np.float32)
        return leaf + (0.1 * np_rng.normal(size=leaf.shape).astype(np.float32) if leaf.ndim == 1 else 0.0)

    return jax.tree_util.tree_map_with_path(jitter, variables)


def assert_trees_close(actual, expected, tolerance):
    """Norm of every leaf's difference below `tolerance` times the leaf's norm.

    Not entry by entry: an activation that is zero but for rounding passes its ReLU in one library and not in the other.
    """
    for (path, a), b in zip(jax.tree_util.tree_leaves_with_path(actual), jax.tree.leaves(expected), strict=True):
        error = np.linalg.norm(np.asarray(a) - b) / (np.linalg.norm(b) + 1e-6)
        assert error < tolerance, f'{jax.tree_util.keystr(path)}: relative error {error:.2g}'


@pytest.mark.parametrize('name', CLASSIFIERS)
def test_classifier_equals_torch(name):
    model, twin_class, options = CLASSIFIERS[name]
    np_rng = np.random.default_rng(1)
    image = np_rng.normal(size=(6, 32, 32, 3)).astype(np.float32)
    weights = np_rng.normal(size=(6, 10)).astype(np.float32)
    variables = random_variables(model, image)
    twin = twin_class(**options)
    twins.load_flax(twin, variables)

    twin.eval()
    with torch.no_grad():
        expected = twin(nchw(image)).numpy()
    np.testing.assert_allclose(jax.jit(model.apply)(variables, image), expected, rtol=1e-4, atol=1e-4)

    @jax.jit
    def loss(params):
        logits, state = model.apply({**variables, 'params': params}, image, train=True, mutable=['batch_stats'])
        return jnp.sum(weights * jax.nn.log_softmax(logits)), (logits, state.get('batch_stats', {}))

    gradients, (logits, stats) = jax.grad(loss, has_aux=True)(variables['params'])
    twin.train()
    expected = twin(nchw(image))
    (torch.from_numpy(weights) * torch.log_softmax(expected, dim=1)).sum().backward()
    np.testing.assert_allclose(logits, expected.detach().numpy(), rtol=5e-4, atol=5e-4)
    assert_trees_close(gradients, twins.in_flax_layout(twin, variables['params'], gradients=True), 5e-3)
    means = jax.tree.map(lambda leaf: leaf['mean'], stats, is_leaf=lambda leaf: 'mean' in leaf)
    theirs = twins.in_flax_layout(twin, stats)
    assert_trees_close(
        means, jax.tree.map(lambda leaf: leaf['mean'], theirs, is_leaf=lambda leaf: 'mean' in leaf), 1e-4
    )


@pytest.mark.parametrize('fields', [{}, dict(image_shape=(28, 20, 1), widths=(8, 16), latent_dim=5)])
def test_vae_equals_torch(fields):
    model = models.VAE(**fields)
    np_rng = np.random.default_rng(2)
    image = np_rng.uniform(size=(6, *model.image_shape)).astype(np.float32)
    variables = random_variables(model, image)
    twin = twins.TorchVAE(**fields)
    twins.load_flax(twin, variables)

    twin.eval()
    with torch.no_grad():
        expected = twin(nchw(image))
    recon, mean, logvar = jax.jit(model.apply)(variables, image)
    np.testing.assert_allclose(nchw(recon), expected[0], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(mean, expected[1], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(logvar, expected[2], rtol=1e-4, atol=1e-4)

    keys = jax.random.split(jax.random.key(3), len(image))

    @jax.jit
    def loss(params):
        outputs, _ = model.apply({**variables, 'params': params}, image, train=True, keys=keys, mutable=['batch_stats'])
        return sum(jnp.sum(output**2) for output in outputs), outputs

    gradients, (recon, mean, logvar) = jax.grad(loss, has_aux=True)(variables['params'])
    twin.train()
    eps = torch.from_numpy(np.array(layers.example_normal(keys, (model.latent_dim,))))
    expected = twin(nchw(image), eps)
    sum((output**2).sum() for output in expected).backward()
    np.testing.assert_allclose(nchw(recon), expected[0].detach(), rtol=5e-4, atol=5e-4)
    np.testing.assert_allclose(logvar, expected[2].detach(), rtol=5e-4, atol=5e-4)
    assert_trees_close(gradients, twins.in_flax_layout(twin, variables['params'], gradients=True), 5e-3)


def test_running_variance_is_torchs_times_n_minus_1_over_n():
    model = models.PhilNet(widths=((4,),), dropout_rate=0.0)
    image = np.random.default_rng(4).normal(size=(3, 4, 4, 3)).astype(np.float32)
    variables = model.init(jax.random.key(0), image)
    twin = twins.TorchPhilNet(widths=((4,),), dropout_rate=0.0, image_shape=(4, 4, 3))
    twins.load_flax(twin, variables)
    _, state = model.apply(variables, image, train=True, mutable=['batch_stats'])
    twin.train()
    twin(nchw(image))
    # Both start from 1 and add a tenth of the batch's variance over n = 3 images of 16 pixels.
    ours = (np.asarray(state['batch_stats']['block1_norm1']['var']) - 0.9) / 0.1
    theirs = (twin.block1_norm1.running_var.numpy() - 0.9) / 0.1
    np.testing.assert_allclose(ours, theirs * 47 / 48, rtol=1e-4)


@pytest.mark.parametrize('shape', [(2, 1, 1, 3), (1, 2, 5, 4), (3, 8, 4, 2)])
def test_conv_transpose_equals_torch(shape):
    np_rng = np.random.default_rng(5)
    x = np_rng.normal(size=shape).astype(np.float32)
    kernel = np_rng.normal(size=(4, 4, shape[-1], 6)).astype(np.float32)
    weights = np_rng.normal(size=(shape[0], 2 * shape[1], 2 * shape[2], 6)).astype(np.float32)

    @jax.jit
    def value_and_gradients(weights, x, kernel):
        y, pullback = jax.vjp(convolution.conv_transpose_4x4, x, kernel)
        return y, *pullback(weights)

    y, x_gradient, kernel_gradient = value_and_gradients(weights, x, kernel)

    their_x = nchw(x).requires_grad_()
    their_kernel = torch.from_numpy(kernel.transpose(2, 3, 0, 1).copy()).requires_grad_()
    expected = torch.nn.functional.conv_transpose2d(their_x, their_kernel, stride=2, padding=1)
    expected.backward(nchw(weights))
    np.testing.assert_allclose(nchw(y), expected.detach(), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(nchw(x_gradient), their_x.grad, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(kernel_gradient.transpose(2, 3, 0, 1), their_kernel.grad, rtol=1e-4, atol=2e-4)


def test_pooling_and_unpooling_with_switches_equal_torch_with_ties():
    np_rng = np.random.default_rng(6)
    x = np.maximum(np_rng.integers(-2, 3, size=(3, 8, 6, 4)), 0).astype(np.float32)  # ties at zero and above
    values, weights = (np_rng.normal(size=shape).astype(np.float32) for shape in ((3, 4, 3, 4), x.shape))

    @jax.jit
    def both(x, values, weights):
        maxima, pullback, where = jax.vjp(switches.max_pool, x, has_aux=True)
        placed, unpool_pullback = jax.vjp(lambda values: switches.unpool(values, where), values)
        return maxima, where, placed, *pullback(values), *unpool_pullback(weights)

    maxima, where, placed, pool_gradient, unpool_gradient = both(x, values, weights)
    their_x, their_values = nchw(x).requires_grad_(), nchw(values).requires_grad_()
    expected, indices = torch.nn.functional.max_pool2d(their_x, 2, return_indices=True)
    expected_placed = torch.nn.functional.max_unpool2d(their_values, indices, 2)
    expected.backward(nchw(values))
    expected_placed.backward(nchw(weights))
    row, column = indices.numpy() // 6 % 2, indices.numpy() % 6 % 2  # within the 2x2 square
    np.testing.assert_array_equal(nchw(where), 2 * row + column)
    for ours, theirs in (
        (maxima, expected),
        (placed, expected_placed),
        (pool_gradient, their_x.grad),
        (unpool_gradient, their_values.grad),
    ):
        np.testing.assert_allclose(nchw(ours), theirs.detach(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(('shape', 'd'), [((2, 10, 10, 16), 6), ((2, 28, 28, 6), 3), ((1, 1, 2, 3), 2)])
def test_conv_transpose_of_stride_1_equals_torch(shape, d):
    np_rng = np.random.default_rng(7)
    x = np_rng.normal(size=shape).astype(np.float32)
    kernel = (np_rng.normal(size=(5, 5, shape[-1], d)) / np.sqrt(25 * shape[-1])).astype(np.float32)
    weights = np_rng.normal(size=(shape[0], shape[1] + 4, shape[2] + 4, d)).astype(np.float32)

    @jax.jit
    def value_and_gradients(weights, x, kernel):
        y, pullback = jax.vjp(convolution.conv_transpose, x, kernel)
        return y, *pullback(weights)

    y, x_gradient, kernel_gradient = value_and_gradients(weights, x, kernel)
    their_x = nchw(x).requires_grad_()
    their_kernel = torch.from_numpy(kernel.transpose(2, 3, 0, 1).copy()).requires_grad_()
    expected = torch.nn.functional.conv_transpose2d(their_x, their_kernel)
    expected.backward(nchw(weights))
    kernel_gradient = kernel_gradient.transpose(2, 3, 0, 1)
    pairs = (nchw(y), expected.detach()), (nchw(x_gradient), their_x.grad), (kernel_gradient, their_kernel.grad)
    for ours, theirs in pairs:
        assert np.linalg.norm(np.asarray(ours) - theirs.numpy()) < 1e-6 * np.linalg.norm(theirs.numpy())


def test_deconv_equals_the_published_network_and_reads_its_checkpoint():
    torch.manual_seed(8)
    twin, model = twins.TorchDeconv(), models.Deconv()
    image = np.random.default_rng(8).normal(size=(5, 32, 32, 3)).astype(np.float32)
    template = jax.eval_shape(lambda: model.init(jax.random.key(0), image))
    state = {name: tensor.numpy() for name, tensor in twin.state_dict().items()}
    variables = models.to_flax(state, template, **model.from_torch)

    @jax.jit
    def loss(variables):
        logits, recon = model.apply(variables, image)
        return jnp.sum(jax.nn.log_softmax(logits)[:, 3]) + jnp.sum(recon**2) / 100, (logits, recon)

    gradients, (logits, recon) = jax.grad(loss, has_aux=True)(variables)
    their_logits, their_recon = twin(nchw(image))
    np.testing.assert_allclose(logits, their_logits.detach(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(nchw(recon), their_recon.detach(), rtol=1e-5, atol=1e-6)
    (torch.log_softmax(their_logits, dim=1)[:, 3].sum() + (their_recon**2).sum() / 100).backward()
    their_gradients = {name: parameter.grad.numpy() for name, parameter in twin.named_parameters()}
    assert_trees_close(gradients, models.to_flax(their_gradients, template, **model.from_torch), 1e-4)
