"""Items with the values of all functions."""

import jax
import numpy as np
import pytest

from humalign_jax.data import function_rows, simulated_concepts


@pytest.mark.parametrize('dense', [False, True])
def test_rows_hold_the_scaled_values_of_all_functions(dense):
    concepts = simulated_concepts.simulate_concepts(60, n_functions=7)
    functions, medians = concepts.functions, None
    values = functions.dense()
    if dense:
        medians = np.full(7, 0.1, np.float32)
        values = values - medians[:, None]
    scales = function_rows.function_scales(functions, medians)
    expected = values.std(axis=1) if dense else [row[row > 0].std() for row in values]
    np.testing.assert_allclose(scales, expected, rtol=1e-5)
    arrays = function_rows.row_arrays(concepts.features.values, functions, scales, medians)
    make_batch = jax.jit(function_rows.make_row_batch(7))
    batch = make_batch(arrays, np.arange(60), None)
    np.testing.assert_allclose(batch['magnitude'], (values / scales[:, None]).T, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(batch['binary'], (values > 0).T)
    np.testing.assert_array_equal(batch['x'], concepts.features.values)
    drawn = make_batch(arrays, np.zeros(600, np.int32), jax.random.split(jax.random.key(0), 600))
    rows = (np.asarray(drawn['x'])[:, None, 0] == concepts.features.values[None, :, 0]).argmax(axis=1)
    assert len(set(rows.tolist())) == 60
    np.testing.assert_allclose(drawn['magnitude'], (values / scales[:, None]).T[rows], rtol=1e-5, atol=1e-6)
