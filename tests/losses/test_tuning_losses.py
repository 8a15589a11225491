"""Distillation and neural losses equal PyTorch and closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from humalign_jax import losses

STUDENT = np.array([[1.0, -0.5, 2.0], [0.0, 3.0, -1.0]], np.float32)
TEACHER = np.array([[0.5, 0.0, 1.0], [40.0, -60.0, -200.0]], np.float32)


# torch 2.13: t**2 * F.kl_div(log_softmax(s / t), log_softmax(q / t), reduction='none', log_target=True).sum(1)
@pytest.mark.parametrize(
    ('temperature', 'expected'), [(1.0, (0.12435295, 3.06588387)), (2.0, (0.16469559, 7.22542334))]
)
def test_distillation_equals_pytorch_also_where_the_teacher_is_certain(temperature, expected):
    np.testing.assert_allclose(losses.distillation_kl(STUDENT, TEACHER, temperature), expected, rtol=2e-6)


def test_distillation_is_zero_with_zero_gradient_where_the_student_is_the_teacher():
    assert np.abs(losses.distillation_kl(STUDENT, STUDENT)).max() < 1e-7
    gradient = jax.grad(lambda logits: losses.distillation_kl(logits, STUDENT).sum())(jnp.asarray(STUDENT))
    assert np.abs(gradient).max() < 1e-7


def test_the_gradient_of_distillation_is_the_difference_of_probabilities_times_the_temperature():
    gradient = jax.grad(lambda logits: losses.distillation_kl(logits, TEACHER, 2.0).sum())(jnp.asarray(STUDENT))
    expected = 2.0 * (jax.nn.softmax(STUDENT / 2) - jax.nn.softmax(TEACHER / 2))
    np.testing.assert_allclose(gradient, expected, atol=1e-6)


def test_voxel_mse_is_the_mean_over_voxels():
    predicted, responses = np.array([[1.0, 2.0], [0.0, 0.0]]), np.array([[0.0, 4.0], [3.0, -1.0]])
    np.testing.assert_allclose(losses.voxel_mse(predicted, responses), [2.5, 5.0])


def test_pattern_correlation_loss_is_one_minus_scipys_pearson_over_voxels():
    x, y = np.random.default_rng(0).normal(size=(2, 5, 40)).astype(np.float32)
    expected = [1 - stats.pearsonr(a, b)[0] for a, b in zip(x, y)]
    np.testing.assert_allclose(losses.pattern_correlation_loss(x, y), expected, rtol=1e-5)


def test_a_constant_prediction_has_correlation_loss_1_and_a_finite_gradient():
    responses = np.random.default_rng(0).normal(size=(2, 6)).astype(np.float32)
    value, gradient = jax.value_and_grad(lambda x: losses.pattern_correlation_loss(x, responses).sum())(
        jnp.ones((2, 6))
    )
    assert float(value) == pytest.approx(2.0) and np.isfinite(gradient).all()
