"""Winograd's 3x3 convolution and its gradients, against sums in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from humalign_jax.models import convolution, winograd


def _direct(x, kernel):
    """The convolution in float64, with stride 1 and padding 1."""
    padded = np.pad(np.float64(x), ((0, 0), (1, 1), (1, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))  # [b, h, w, c, 3, 3]
    return np.einsum('bhwcij,ijcd->bhwd', windows, np.float64(kernel))


def _direct_gradients(x, kernel, dy):
    of_x = _direct(dy, kernel[::-1, ::-1].swapaxes(2, 3))
    padded = np.pad(np.float64(x), ((0, 0), (1, 1), (1, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    return of_x, np.einsum('bhwcij,bhwd->ijcd', windows, np.float64(dy))


def _arrays(shape, features):
    np_rng = np.random.default_rng(0)
    x, kernel, dy = shape, (3, 3, shape[-1], features), (*shape[:3], features)
    return tuple(np_rng.normal(size=size).astype(np.float32) for size in (x, kernel, dy))


SHAPES = [((2, 8, 8, 16), 5), ((3, 4, 12, 24), 16), ((1, 16, 4, 32), 40)]


@pytest.mark.parametrize('shape, features', SHAPES)
def test_value_and_gradients_equal_float64_sums_to_two_parts_in_100_000(shape, features):
    x, kernel, dy = _arrays(shape, features)
    found = [jax.jit(winograd.forward)(x, kernel), *jax.jit(winograd.gradients)(x, kernel, dy)]
    for ours, exact in zip(found, [_direct(x, kernel), *_direct_gradients(x, kernel, dy)], strict=True):
        assert np.abs(ours - exact).max() < 2e-5 * np.abs(exact).max()


def test_a_lone_pixel_gives_the_turned_kernel():
    x = np.zeros((1, 8, 8, 1), np.float32)
    x[0, 3, 4] = 1.0  # in the corner of a tile
    kernel = np.arange(9, dtype=np.float32).reshape(3, 3, 1, 1)
    y = np.asarray(winograd.forward(x, kernel))[0, :, :, 0]
    np.testing.assert_allclose(y[2:5, 3:6], kernel[::-1, ::-1, 0, 0], atol=1e-5)
    assert np.abs(y).sum() == pytest.approx(36, abs=1e-3)


def _n_convolutions(function, *args):
    return jax.jit(function).lower(*args).as_text().count('stablehlo.convolution')


def test_on_a_cpu_only_training_in_float32_uses_it():
    x, kernel, _ = _arrays((2, 8, 8, 16), 16)

    def loss(x, kernel):
        return convolution.conv(x, kernel, padding=1).astype(jnp.float32).sum()

    assert _n_convolutions(loss, x, kernel) == 1  # evaluation
    assert _n_convolutions(jax.grad(loss, (0, 1)), x, kernel) == 0
    narrow = jnp.asarray(x, jnp.bfloat16), jnp.asarray(kernel, jnp.bfloat16)
    assert _n_convolutions(jax.grad(loss, (0, 1)), *narrow) > 0


def test_on_a_gpu_the_value_and_both_gradients_are_convolutions():
    x, kernel, dy = _arrays((2, 8, 8, 16), 16)

    def step(x, kernel, dy):
        y, pullback = jax.vjp(lambda x, kernel: convolution.conv(x, kernel, padding=1), x, kernel)
        return y, pullback(dy)

    text = jax.jit(step).trace(x, kernel, dy).lower(lowering_platforms=('cuda',)).as_text()
    assert text.count('stablehlo.convolution') == 3 and 'dot_general' not in text
