"""Errors of the forms of convolution that training on a CPU uses, against float64.

    python benchmarks/convolution_errors.py

For single layers: value and both gradients of a sum with random weights, ours and XLA's convolution, as the largest
error over the largest value and as root mean squares. For whole networks with fresh weights on random images: loss and
gradient. Writes benchmarks/results/convolution_errors.json and prints a table.
"""

import functools
import pathlib
from collections.abc import Callable
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np

from humalign_jax import models, storage
from humalign_jax.models import convolution, layers

RESULT = pathlib.Path(__file__).parent / 'results' / 'convolution_errors.json'
LAYERS = {  # name: map [b, h, w, c], kernel size, stride, padding, features
    '3x3, 32x32, 3 to 32': ((64, 32, 32, 3), 3, 1, 1, 32),
    '3x3, 32x32, 32 to 64': ((64, 32, 32, 32), 3, 1, 1, 64),
    '3x3, 16x16, 64 to 128': ((64, 16, 16, 64), 3, 1, 1, 128),
    '3x3, 16x16, 128 to 256': ((64, 16, 16, 128), 3, 1, 1, 256),
    '3x3, 8x8, 256 to 512': ((64, 8, 8, 256), 3, 1, 1, 512),
    '3x3 of stride 2, 16x16, 128 to 256': ((64, 16, 16, 128), 3, 2, 1, 256),
    '4x4 of stride 2, 16x16, 32 to 64': ((64, 16, 16, 32), 4, 2, 1, 64),
    '1x1 of stride 2, 16x16, 64 to 128': ((64, 16, 16, 64), 1, 2, 0, 128),
    '3x3, 2x2, 512 to 512': ((64, 2, 2, 512), 3, 1, 1, 512),
}


def direct(x: jax.Array, kernel: jax.Array, *, stride: int, padding: int) -> jax.Array:
    """XLA's convolution."""
    pads = ((padding, padding), (padding, padding))
    return jax.lax.conv_general_dilated(x, kernel, (stride, stride), pads, dimension_numbers=('NHWC', 'HWIO', 'NHWC'))


def transposed(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """XLA's transposed convolution, kernel 4, stride 2, padding 1."""
    return jax.lax.conv_transpose(
        x, kernel[::-1, ::-1], (2, 2), ((2, 2), (2, 2)), dimension_numbers=('NHWC', 'HWIO', 'NHWC')
    )


def both_ways(function: Callable, *arrays: np.ndarray) -> list[np.ndarray]:
    """Value and gradients of the sum of the value times the last array."""

    @jax.jit
    def run(x, kernel, dy):
        y, pullback = jax.vjp(function, x, kernel)
        return y, *pullback(dy)

    return [np.asarray(value, np.float64) for value in run(*arrays)]


def errors(found: list[np.ndarray], exact: list[np.ndarray]) -> dict[str, dict[str, float]]:
    """Largest error over largest value, and root mean square error over root mean square, of each array."""
    return {
        name: {
            'max': float(np.abs(ours - true).max() / np.abs(true).max()),
            'rms': float(np.sqrt(((ours - true) ** 2).mean() / (true**2).mean())),
        }
        for name, ours, true in zip(('value', 'gradient of x', 'gradient of kernel'), found, exact, strict=True)
    }


def compare(ours: Callable, xla: Callable, x_shape: tuple, kernel_shape: tuple) -> dict[str, object]:
    """Both forms in float32 against XLA's in float64."""
    np_rng = np.random.default_rng(0)
    x = np.maximum(np_rng.normal(size=x_shape), 0.0)
    kernel = np_rng.normal(size=kernel_shape) * np.sqrt(2 / np.prod(kernel_shape[:3]))
    dy = np_rng.normal(size=jax.eval_shape(xla, x, kernel).shape)
    narrow = [np.float32(array) for array in (x, kernel, dy)]
    with jax.enable_x64(True):
        exact = both_ways(xla, *(np.float64(array) for array in narrow))
    return {form: errors(both_ways(f, *narrow), exact) for form, f in (('ours', ours), ('xla', xla))}


def network(model: type, **options: object) -> dict[str, dict[str, float]]:
    """Loss and gradient of a network with fresh weights, batch 64, against float64."""
    np_rng = np.random.default_rng(0)
    image = np.float32(np_rng.normal(size=(64, 32, 32, 3)))
    label = np_rng.integers(0, 10, 64)
    module = model(**options)
    variables = jax.device_get(jax.jit(module.init)(jax.random.key(0), image))

    def run(dtype: type) -> tuple[float, np.ndarray]:
        def loss(params):
            rest = {name: values for name, values in cast.items() if name != 'params'}
            logits, _ = module.apply({'params': params, **rest}, dtype(image), train=True, mutable=['batch_stats'])
            return -jnp.take_along_axis(jax.nn.log_softmax(logits), label[:, None], 1).mean()

        cast = jax.tree.map(dtype, variables)
        value, grads = jax.jit(jax.value_and_grad(loss))(cast['params'])
        return float(value), np.concatenate([np.float64(g).ravel() for g in jax.tree.leaves(grads)])

    with jax.enable_x64(True), mock.patch.object(layers, 'compute_dtype', lambda _: jnp.dtype('float64')):
        true_loss, true_gradient = run(np.float64)
    found = {'ours': run(np.float32)}
    with mock.patch.object(convolution, '_fits_winograd', lambda *_: False):
        found['xla'] = run(np.float32)
    return {
        form: {
            'loss': abs(value / true_loss - 1),
            'gradient': float(np.linalg.norm(gradient - true_gradient) / np.linalg.norm(true_gradient)),
        }
        for form, (value, gradient) in found.items()
    }


def main() -> None:
    """Measures all, prints and writes them."""
    record: dict[str, dict] = {'layers': {}, 'networks': {}}
    for name, (shape, k, stride, padding, features) in LAYERS.items():
        ours, xla = (functools.partial(f, stride=stride, padding=padding) for f in (convolution.conv, direct))
        record['layers'][name] = compare(ours, xla, shape, (k, k, shape[-1], features))
    of_transposed = compare(convolution.conv_transpose_4x4, transposed, (64, 8, 8, 128), (4, 4, 128, 64))
    record['layers']['transposed 4x4, 8x8, 128 to 64'] = of_transposed
    record['networks']['philnet'] = network(models.PhilNet, dropout_rate=0.0)
    record['networks']['resnet18'] = network(models.ResNet18)
    for name, forms in record['layers'].items():
        for form, found in forms.items():
            print(f'{name:36} {form:5}', *(f'{e["max"]:.1e} {e["rms"]:.1e} ' for e in found.values()))
    print(record['networks'])
    storage.write_json(RESULT, {'what': 'errors over float64', 'jax': jax.__version__, **record})


if __name__ == '__main__':
    main()
