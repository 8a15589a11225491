import jax
import numpy as np
import pytest

from humalign_jax.rsa.aligned import aligned_empty, aligned_zeros


@pytest.mark.parametrize('shape', [(3,), (5, 7), (1 << 21,)])
@pytest.mark.parametrize('dtype', [np.uint8, np.int32, np.float64])
def test_a_cpu_takes_aligned_arrays_over_without_a_copy(shape, dtype):
    with jax.enable_x64(True):
        for array in (aligned_empty(shape, dtype), aligned_zeros(shape, dtype)):
            on_device = jax.device_put(array, jax.local_devices(backend='cpu')[0])
            assert on_device.unsafe_buffer_pointer() == array.ctypes.data
            assert (on_device.shape, on_device.dtype) == (shape, np.dtype(dtype))


def test_zeros_are_zeros():
    np.testing.assert_array_equal(aligned_zeros((4, 3), np.float32), np.zeros((4, 3), np.float32))
