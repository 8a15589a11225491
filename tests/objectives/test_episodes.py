"""The loss of function learning: equal to NumPy, and what is reported of it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from sklearn.metrics import r2_score

from humalign_jax import objectives


class _Given(nn.Module):
    """Predicts the numbers in `x`, whatever the parameters."""

    @nn.compact
    def __call__(self, x, train=False, keys=None):
        self.param('log_variance', nn.initializers.zeros, (2,))
        return x[..., 0], x[..., 1]


@pytest.fixture
def batch():
    np_rng = np.random.default_rng(0)
    binary = (np_rng.random((5, 8)) < 0.4).astype(np.float32)
    return {
        'x': 2 * np_rng.normal(size=(5, 8, 2)).astype(np.float32),
        'binary': binary,
        'magnitude': (binary + 0.3 * np_rng.normal(size=(5, 8))).astype(np.float32),
    }


@pytest.mark.parametrize(('dense', 'magnitudes'), [(False, True), (True, True), (False, False)])
def test_the_loss_equals_its_definition(batch, dense, magnitudes):
    s = np.array([0.3, -0.7])
    logit, predicted = np.moveaxis(batch['x'].astype(np.float64), -1, 0)
    p = 1 / (1 + np.exp(-logit))
    bce = -np.mean(np.where(batch['binary'] > 0, np.log(p), np.log(1 - p)))
    squares = (predicted - batch['magnitude']) ** 2
    mse = squares.mean() if dense else squares[batch['binary'] > 0].mean()
    expected = np.exp(-s[0]) * bce + 0.5 * s[0]
    if magnitudes:
        expected += 0.5 * np.exp(-s[1]) * mse + 0.5 * s[1] - 0.0
    objective = objectives.make_episode_objective(_Given(), dense=dense, magnitudes=magnitudes)
    params = {'log_variance': jnp.asarray(s, jnp.float32)}
    loss, (_, metrics) = jax.jit(objective)(params, {}, batch, None, 0)
    assert float(loss) == pytest.approx(expected, rel=1e-5)
    assert float(metrics['bce']) == pytest.approx(bce, rel=1e-5)
    assert float(metrics['mse']) == pytest.approx(mse, rel=1e-5)
    assert float(metrics['accuracy']) == pytest.approx(np.mean((logit > 0) == (batch['binary'] > 0)))


@pytest.mark.parametrize('dense', [False, True])
def test_goodness_of_fit_equals_scikit_learn_over_all_counted_items(batch, dense):
    measure = objectives.make_episode_measure(_Given())
    values = jax.tree.map(np.asarray, jax.jit(measure)({'log_variance': jnp.zeros(2)}, {}, batch))
    sums = objectives.episode_sums(values, dense=dense)
    rows = np.ones((5, 8), bool) if dense else batch['binary'] > 0
    expected = r2_score(batch['magnitude'][rows], batch['x'][..., 1][rows])
    assert objectives.goodness_of_fit(sums) == pytest.approx(expected, rel=1e-4)


def test_a_batch_without_positive_items_has_no_squared_error(batch):
    batch['binary'] = np.zeros_like(batch['binary'])
    objective = objectives.make_episode_objective(_Given())
    _, (_, metrics) = jax.jit(objective)({'log_variance': jnp.zeros(2)}, {}, batch, None, 0)
    assert float(metrics['mse']) == 0.0
