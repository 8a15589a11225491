"""The tuning objective on linear toys: what it averages, what replay adds, and what stays."""

import jax
import numpy as np
import pytest
from scipy import special

from humalign_jax import objectives

B, R, K, V = 4, 2, 3, 5
np_rng = np.random.default_rng(0)
IMAGE, REPLAY = (np_rng.normal(size=shape).astype(np.float32) for shape in ((B, 2, 2, 1), (B, R, 2, 2, 1)))
RESPONSES = np_rng.normal(size=(B, V)).astype(np.float32)
PARAMS = {'logits': np_rng.normal(size=(4, K)).astype(np.float32), 'voxels': np_rng.normal(size=(4, V)).astype('f4')}
STATE = {'teacher': np_rng.normal(size=(4, K)).astype(np.float32), 'seen': np.float32(0)}
KEYS = jax.random.split(jax.random.key(0), B)


def forward(params, model_state, image, *, train, keys=None):
    assert (keys is not None) == train and (keys is None or len(keys) == len(image))
    x = image.reshape(len(image), -1)
    seen = model_state['seen'] + len(image) if train else model_state['seen']
    return x @ params['logits'], x @ params['voxels'], {**model_state, 'seen': seen}


def teacher(weights, image):
    return image.reshape(len(image), -1) @ weights


def kl(image, temperature):
    x = image.reshape(-1, 4).astype(np.float64)
    p, q = (special.log_softmax(x @ w / temperature, axis=1) for w in (STATE['teacher'], PARAMS['logits']))
    return temperature**2 * (np.exp(p) * (p - q)).sum(axis=1)


def mse():
    return ((IMAGE.reshape(B, -1) @ PARAMS['voxels'] - RESPONSES) ** 2).mean()


@pytest.mark.parametrize(('weight', 'temperature'), [(1.0, 1.0), (3.0, 2.0)])
def test_the_loss_is_voxel_mse_plus_weight_times_kl(weight, temperature):
    objective = objectives.make_neural_tuning_objective(
        forward, teacher, distillation_weight=weight, temperature=temperature
    )
    loss, (_, metrics) = objective(PARAMS, STATE, {'image': IMAGE, 'responses': RESPONSES}, KEYS, 0)
    assert float(metrics['neural']) == pytest.approx(mse(), rel=1e-5)
    assert float(metrics['distillation']) == pytest.approx(kl(IMAGE, temperature).mean(), rel=1e-4)
    assert float(loss) == pytest.approx(mse() + weight * kl(IMAGE, temperature).mean(), rel=1e-5)


def test_replayed_images_are_distilled_with_equal_weight_and_have_no_voxels():
    objective = objectives.make_neural_tuning_objective(forward, teacher)
    batch = {'image': IMAGE, 'responses': RESPONSES, 'replay': REPLAY}
    _, (_, metrics) = objective(PARAMS, STATE, batch, KEYS, 0)
    assert float(metrics['neural']) == pytest.approx(mse(), rel=1e-5)
    expected = np.concatenate([kl(IMAGE, 1.0), kl(REPLAY, 1.0)]).mean()
    assert float(metrics['distillation']) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(('train_statistics', 'seen'), [(False, 0), (True, B * (1 + R))])
def test_statistics_are_frozen_or_those_of_voxel_and_replayed_images_together(train_statistics, seen):
    objective = objectives.make_neural_tuning_objective(forward, teacher, train_statistics=train_statistics)
    batch = {'image': IMAGE, 'responses': RESPONSES, 'replay': REPLAY}
    _, (after, _) = objective(PARAMS, STATE, batch, KEYS, 0)
    assert after['seen'] == seen and after['teacher'] is STATE['teacher']


def test_no_gradient_reaches_the_teacher():
    objective = objectives.make_neural_tuning_objective(forward, teacher)
    batch = {'image': IMAGE, 'responses': RESPONSES}
    gradient = jax.grad(lambda weights: objective(PARAMS, {**STATE, 'teacher': weights}, batch, KEYS, 0)[0])
    assert not np.any(gradient(STATE['teacher']))


def test_measured_values_are_per_image():
    measure = objectives.make_neural_tuning_measure(forward, teacher, neural_loss='correlation')
    values = measure(PARAMS, STATE, {'image': IMAGE, 'responses': RESPONSES})
    assert values['neural'].shape == (B,) and float(values['mse'].mean()) == pytest.approx(mse(), rel=1e-5)
    np.testing.assert_allclose(values['distillation'], kl(IMAGE, 1.0), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(values['voxels'], IMAGE.reshape(B, -1) @ PARAMS['voxels'], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(neural_loss='mae'), "neural_loss='mae' must be one of mse, correlation"),
        (dict(distillation_weight=-1.0), 'must not be negative'),
        (dict(temperature=0.0), 'above 0'),
    ],
)
def test_settings_that_cannot_be_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        objectives.make_neural_tuning_objective(forward, teacher, **options)
