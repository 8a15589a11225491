"""Losses against closed forms, SciPy and numerical integration."""

import jax
import numpy as np
import pytest
from scipy import integrate, special, stats

from humalign_jax import losses


def test_cross_entropy_of_the_target_itself_is_its_entropy():
    p = np.random.default_rng(0).dirichlet(np.ones(10), size=6).astype(np.float32)
    np.testing.assert_allclose(losses.cross_entropy(np.log(p), p), stats.entropy(p, axis=1), rtol=1e-5)


def test_cross_entropy_equals_scipy():
    np_rng = np.random.default_rng(1)
    logits = (10 * np_rng.normal(size=(5, 7))).astype(np.float32)
    p = np_rng.dirichlet(np.ones(7), size=5).astype(np.float32)
    expected = -(p * special.log_softmax(logits.astype(np.float64), axis=1)).sum(axis=1)
    np.testing.assert_allclose(losses.cross_entropy(logits, p), expected, rtol=1e-5)


def test_cross_entropy_gradient_is_softmax_minus_target():
    logits = np.random.default_rng(2).normal(size=(1, 4)).astype(np.float32)
    p = np.array([[0.1, 0.2, 0.3, 0.4]], np.float32)
    grad = jax.grad(lambda x: losses.cross_entropy(x, p).sum())(logits)
    np.testing.assert_allclose(grad, special.softmax(logits, axis=1) - p, atol=1e-6)


def test_smoothing_keeps_a_distribution():
    smooth = losses.smooth_labels(np.eye(4, dtype=np.float32), 0.1)
    np.testing.assert_allclose(smooth.sum(axis=1), 1.0, rtol=1e-6)
    np.testing.assert_allclose(smooth[0], [0.925, 0.025, 0.025, 0.025], rtol=1e-6)


def test_mse_is_averaged_over_pixels_and_channels():
    image = np.zeros((2, 4, 4, 3), np.float32)
    recon = np.stack([np.full((4, 4, 3), 0.5), np.full((4, 4, 3), -2.0)]).astype(np.float32)
    np.testing.assert_allclose(losses.mse(recon, image), [0.25, 4.0])


def test_l1_is_summed_over_pixels_and_channels():
    image = np.zeros((2, 4, 4, 3), np.float32)
    recon = np.stack([np.full((4, 4, 3), 0.5), np.full((4, 4, 3), -1.0)]).astype(np.float32)
    np.testing.assert_allclose(losses.l1(recon, image), [24.0, 48.0])


@pytest.mark.parametrize(('mean', 'logvar'), [(0.0, 0.0), (1.5, -1.0), (-0.3, 0.7)])
def test_gaussian_kl_equals_the_integral(mean, logvar):
    q = stats.norm(mean, np.exp(0.5 * logvar))
    expected, _ = integrate.quad(lambda x: q.pdf(x) * (q.logpdf(x) - stats.norm.logpdf(x)), -15, 15)
    z = np.ones((2, 3), np.float32)
    np.testing.assert_allclose(losses.gaussian_kl(mean * z, logvar * z), 3 * expected, rtol=1e-5, atol=1e-6)
