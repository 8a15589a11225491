"""Flax variables by PyTorch's names and axes, and the safetensors files of them."""

import jax
import numpy as np
import pytest

from humalign_jax import models

from .test_variables import STATE, TEMPLATE

NETWORKS = {
    'digitnet': (models.DigitNet(), np.zeros((1, 28, 28, 1), np.float32)),
    'deconv': (models.Deconv(), np.zeros((1, 32, 32, 3), np.float32)),
}


def test_a_state_dict_comes_back_from_flax_as_it_was():
    variables = models.to_flax(STATE, TEMPLATE, flatten={'fc': 4})
    found = models.from_flax(variables, flatten={'fc': 4})
    expected = {name: array for name, array in STATE.items() if not name.endswith('num_batches_tracked')}
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


@pytest.mark.parametrize('name', NETWORKS)
def test_a_network_comes_back_from_its_file_with_every_weight(tmp_path, name):
    model, image = NETWORKS[name]
    variables = jax.device_get(jax.jit(model.init)(jax.random.key(0), image))
    variables.pop('layers', None)
    path, axes = tmp_path / 'net.safetensors', {k: v for k, v in model.from_torch.items() if k != 'renames'}
    models.write_safetensors(path, models.from_flax(variables, **axes))
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
