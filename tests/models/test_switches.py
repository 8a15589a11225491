"""Pooling with switches and unpooling."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from humalign_jax.models import switches


def test_switches_name_the_first_maximum_and_unpooling_puts_values_there():
    rows = [[3, 9, 0, 0], [9, 1, 0, 0], [-2, -3, 5, 6], [-1, -4, 7, 8]]  # ties of 9, and of 0 as after a ReLU
    x = np.array(rows, np.float32).reshape(1, 4, 4, 1)
    maxima, where = switches.max_pool(x)
    np.testing.assert_array_equal(maxima[0, ..., 0], [[9, 0], [-1, 8]])
    np.testing.assert_array_equal(where[0, ..., 0], [[1, 0], [2, 3]])
    values = np.array([[10.0, 20.0], [30.0, 40.0]], np.float32).reshape(1, 2, 2, 1)
    placed = [[0, 10, 20, 0], [0, 0, 0, 0], [0, 0, 0, 0], [30, 0, 0, 40]]
    np.testing.assert_array_equal(switches.unpool(values, where)[0, ..., 0], placed)
    np.testing.assert_array_equal(switches.unpool(values)[0, ..., 0], np.kron(values[0, ..., 0], np.ones((2, 2))))
    gradient = jax.grad(lambda x: jnp.sum(switches.max_pool(x)[0] * values))(x)
    np.testing.assert_array_equal(gradient[0, ..., 0], placed)
    with pytest.raises(ValueError, match='even height and width, not 3x4'):
        switches.max_pool(x[:, :3])
