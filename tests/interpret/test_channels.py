"""Channels kept alone and dropped: brute force, and networks whose answer is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from humalign_jax import losses
from humalign_jax.interpret import channels

N_CHANNELS = (3, 4)


def _times(z, factors):
    return z * jnp.reshape(factors, (1, 1, 1, -1))


@pytest.fixture(scope='module')
def network():
    """A network with two layers of channels, on images [b, 8, 8, 3], and its variables."""
    keys = jax.random.split(jax.random.key(0), 4)
    shapes = {'first': (3, 3), 'second': (3, 4), 'up': (4, 3), 'classes': (4, 5)}
    variables = {name: jax.random.normal(key, shape) for key, (name, shape) in zip(keys, shapes.items())}

    def forward(variables, images, factors):
        z1 = _times(jax.nn.relu(images @ variables['first']), factors[0])
        z2 = _times(jax.nn.relu(z1 @ variables['second'] - 0.1), factors[1])
        return z2.mean(axis=(1, 2)) @ variables['classes'], jnp.tanh(z2 @ variables['up'])

    return forward, variables


@pytest.fixture(scope='module')
def data():
    np_rng = np.random.default_rng(0)
    return np_rng.normal(size=(6, 8, 8, 3)).astype(np.float32), np_rng.integers(0, 5, 6)


def _measured(forward, variables, images, labels, n_channels):
    measure = jax.jit(lambda *arrays: channels.measure(forward, *arrays, n_channels, data_range=2.0))
    return jax.device_get(measure(variables, images, labels))


def _zeroed(layer, wanted):
    """Factors that only keep the wanted channels of one layer."""
    factors = [np.ones(n, np.float32) for n in N_CHANNELS]
    factors[layer] = np.array([float(k in wanted) for k in range(N_CHANNELS[layer])], np.float32)
    return factors


def test_every_channel_equals_a_forward_pass_of_its_own(network, data):
    (forward, variables), (images, labels) = network, data
    full, by_layer = _measured(forward, variables, images, labels, N_CHANNELS)
    forward = jax.jit(forward)
    whole = np.asarray(forward(variables, images, [np.ones(n, np.float32) for n in N_CHANNELS])[1])
    np.testing.assert_allclose(full[:, 0], np.mean((whole - images) ** 2, axis=(1, 2, 3)), rtol=1e-6)
    np.testing.assert_array_equal(full[:, 1], 0.0)
    for layer, n_channels in enumerate(N_CHANNELS):
        assert by_layer[layer].shape == (6, 2, n_channels, 4)
        for channel in range(n_channels):
            others = [k for k in range(n_channels) if k != channel]
            for mode, wanted in enumerate(([channel], others)):
                logits, recon = jax.device_get(forward(variables, images, _zeroed(layer, wanted)))
                mse, to_full = (np.mean((recon - to) ** 2, axis=(1, 2, 3)) for to in (images, whole))
                right = logits.argmax(axis=1) == labels
                expected = np.stack([mse, to_full, losses.psnr(recon, images, 2.0), right], axis=1)
                np.testing.assert_allclose(by_layer[layer][:, mode, channel], expected, rtol=1e-5, atol=1e-6)


def test_a_channel_that_carries_everything_is_all_that_matters():
    """The image, grey, is the second of three channels, and its class is whether it is bright."""
    images = jnp.array([-1.0, 0.5, 1.0])[:, None, None, None] * jnp.ones((3, 4, 4, 1))

    def forward(variables, images, factors):
        del variables
        z = _times(jnp.concatenate([jnp.zeros_like(images), images, jnp.zeros_like(images)], axis=-1), factors[0])
        bright = z.sum(axis=-1).mean(axis=(1, 2))
        return jnp.stack([0.25 * jnp.ones(len(images)), bright], axis=1), z.sum(axis=-1, keepdims=True)

    labels = jnp.array([0, 1, 1])
    full, (values,) = _measured(forward, {}, images, labels, (3,))
    energy = np.array([1.0, 0.25, 1.0])  # of the images: what is lost without the channel
    mse, correct = values[..., 0], values[..., 3]
    np.testing.assert_array_equal(full[:, 0], 0.0)
    np.testing.assert_array_equal(full[:, 3], 1.0)
    np.testing.assert_array_equal(mse[:, 0], np.stack([energy, 0 * energy, energy], 1))  # kept alone
    np.testing.assert_array_equal(mse[:, 1], np.stack([0 * energy, energy, 0 * energy], 1))  # dropped
    np.testing.assert_array_equal(correct[:, 0], [[1, 1, 1], [0, 1, 0], [0, 1, 0]])
    np.testing.assert_array_equal(correct[:, 1], [[1, 1, 1], [1, 0, 1], [1, 0, 1]])
    assert values[1, 0, 0, 2] == pytest.approx(10 * np.log10(4 / 0.25))
