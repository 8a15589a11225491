"""Evaluation over a whole set: every image once, in its order, on any number of devices."""

import jax.numpy as jnp
import numpy as np
import pytest

from humalign_jax import devices
from humalign_jax.train import batches, forward


def _images(n):
    np_rng = np.random.default_rng(0)
    return {
        'image': np_rng.integers(0, 256, (n, 4, 4, 3)).astype(np.uint8),
        'label': np.arange(n, dtype=np.int32),
        'soft_label': np.eye(n, dtype=np.float32),
        'index': np.arange(n, dtype=np.int32),
    }


def _function(params, model_state, batch):
    scaled = batch['image'].mean(axis=(1, 2, 3)) * params['scale']
    return {'scaled': scaled, 'label': batch['label'], 'map': batch['image'][:, :2, 0], 'mask': batch['mask']}


def _forward(images, batch_size, used):
    def make_batch(arrays, rows, keys):
        assert keys is None  # nothing is random in evaluation
        batch = {name: values[rows] for name, values in arrays.items()}
        return {**batch, 'image': batch['image'].astype(jnp.float32)}

    examples = batches.Examples(len(images['label']), images, make_batch)
    return forward.Forward(_function, examples, batch_size=batch_size, devices=used)


@pytest.mark.parametrize('n_devices', [1, 4])
@pytest.mark.parametrize(('n', 'batch_size'), [(23, 8), (24, 8), (5, 64), (1, 4)])
def test_every_image_counts_once_and_in_order(n, batch_size, n_devices):
    used, images = devices.local_devices(n_devices), _images(n)
    run = _forward(images, batch_size, used)
    values = run(devices.replicate({'scale': np.float32(2.0)}, used), {})
    np.testing.assert_array_equal(values['label'], np.arange(n))
    np.testing.assert_allclose(values['scaled'], 2.0 * images['image'].mean(axis=(1, 2, 3)), rtol=1e-5)
    assert values['map'].shape == (n, 2, 3) and (values['mask'] == 1).all()


def test_means_are_summed_in_float64():
    values = {'loss': np.full(100_000, 0.1, np.float32)}
    assert forward.means(values, ['loss'])['loss'] == pytest.approx(float(np.float32(0.1)), rel=1e-12)


@pytest.mark.parametrize('n_devices', [1, 4])
def test_chosen_rows_come_in_the_order_they_were_asked_for(n_devices):
    used, chosen = devices.local_devices(n_devices), np.array([7, 3, 22, 0, 3])
    run = _forward(_images(23), 4, used)
    values = run(devices.replicate({'scale': np.float32(2.0)}, used), {}, chosen)
    np.testing.assert_array_equal(values['label'], chosen)
