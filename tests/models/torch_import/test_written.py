"""Flax variables by PyTorch's names and axes, and the safetensors files of them."""

import jax
import numpy as np
import pytest

from humalign_jax import models

from .test_variables import STATE, TEMPLATE

IMAGE = np.zeros((1, 28, 28, 1), np.float32)


def test_a_state_dict_comes_back_from_flax_as_it_was():
    variables = models.to_flax(STATE, TEMPLATE, flatten={'fc': 4})
    found = models.from_flax(variables, flatten={'fc': 4})
    expected = {name: array for name, array in STATE.items() if not name.endswith('num_batches_tracked')}
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


def test_a_network_comes_back_from_its_file_with_every_weight(tmp_path):
    model = models.DigitNet()
    variables = jax.device_get(jax.jit(model.init)(jax.random.key(0), IMAGE))
    variables.pop('layers', None)
    path = tmp_path / 'net.safetensors'
    models.write_safetensors(path, models.from_flax(variables, flatten=model.from_torch['flatten']))
    found = models.to_flax(models.read_state_dict(path), variables, **model.from_torch)
    jax.tree.map(np.testing.assert_array_equal, found, variables)


def test_safetensors_reads_what_was_written(tmp_path):
    numpy = pytest.importorskip('safetensors.numpy')
    arrays = {'a': np.arange(6, dtype=np.float32).reshape(2, 3), 'b': np.array(True), 'c': np.arange(3, dtype=np.int64)}
    models.write_safetensors(tmp_path / 'file', arrays)
    found = numpy.load_file(tmp_path / 'file')
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype
