import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import scipy.sparse

from humalign_jax import arrays

X = np.array([[1.0, 2.5], [-3.0, 0.25]])


class Frame:
    """What pandas and torch have in common."""

    def __init__(self, values=X, error=None):
        self.values, self.error = values, error

    def __array__(self, dtype=None, copy=None):
        if self.error:
            raise self.error
        return self.values


@pytest.mark.parametrize(
    'values',
    [
        X.tolist(),
        tuple(map(tuple, X)),
        [X[0], jnp.asarray(X[1])],
        X.view(np.matrix),
        Frame(),
        np.ma.array(X, mask=False),
    ],
    ids=['list', 'tuple', 'list of arrays', 'matrix', 'frame', 'masked array that masks nothing'],
)
def test_numbers_of_other_containers_become_the_same_plain_array(values):
    made = arrays.numeric(values, 'x')
    assert type(made) is np.ndarray
    np.testing.assert_array_equal(made, X, strict=True)


@pytest.mark.parametrize(
    ('kind', 'becomes'),
    [
        (bool, np.float64),
        (np.uint8, np.float64),
        (np.int64, np.float64),
        (np.longdouble, np.float64),
        (np.float16, np.float16),
        (np.float32, np.float32),
        ('>f4', np.float32),
        ('>i2', np.float64),
        (ml_dtypes.bfloat16, np.float32),
        (ml_dtypes.float8_e4m3fn, np.float32),
    ],
)
def test_every_number_type_becomes_a_native_float_that_holds_it(kind, becomes):
    values = np.array([[0, 1], [1, 0]]).astype(kind)
    made = arrays.numeric(values, 'x')
    assert made.dtype == becomes
    assert made.dtype.isnative
    np.testing.assert_array_equal(made, [[0, 1], [1, 0]])


def test_half_precision_of_jax_becomes_float32():
    made = arrays.numeric(jnp.asarray(X, jnp.bfloat16), 'x')
    np.testing.assert_array_equal(made, X.astype(np.float32), strict=True)


def test_floats_are_not_copied_and_memory_maps_stay_maps(tmp_path):
    assert arrays.numeric(X, 'x') is X
    np.save(tmp_path / 'x.npy', X.astype(np.float32))
    mapped = np.load(tmp_path / 'x.npy', mmap_mode='r')
    assert arrays.numeric(mapped, 'x') is mapped


@pytest.mark.parametrize(
    ('values', 'message'),
    [
        (scipy.sparse.csr_array(X), r'not csr_array float64 \[2, 2\], which is sparse: give its \.toarray\(\)'),
        (np.ma.array(X, mask=X < 0), r'1 values of a masked array are masked.*\.filled'),
        ([np.ma.array(X[0], mask=True), X[1]], '2 values of a masked array are masked'),
        (X + 1j, r'not complex numbers \(ndarray complex128 \[2, 2\]\): give the real part'),
        (X.astype(object), r'not Python objects \(ndarray object'),
        (np.array([1.0, None]), 'Python objects'),
        (X.astype(str), 'not text'),
        (['1', '2'], r'not text \(list <U1 \[2\]\)'),
        ([[1.0, 2.0], [3.0]], 'cannot be made an array from list .*rows of one length'),
        (np.zeros(2, [('a', 'f4'), ('b', 'f4')]), 'raw bytes .*one field'),
        (np.zeros(2, 'V2'), 'bfloat16 must be float32 before NumPy saves it'),
        (np.array(['2020-01-01'], 'M8[D]'), 'datetime64'),
        (Frame(error=TypeError("can't convert cuda:0 tensor")), r'cuda:0 tensor\): .*\.detach\(\)\.cpu\(\)'),
        (Frame(error=RuntimeError('tensor requires grad')), 'requires grad'),
    ],
)
def test_what_numpy_would_change_is_refused_by_name(values, message):
    with pytest.raises(ValueError, match=message) as caught:
        arrays.numeric(values, "features 'net'")
    assert str(caught.value).startswith("features 'net'")


@pytest.mark.parametrize(
    'ids',
    [
        [7, 10, 2],
        np.array([7, 10, 2], np.uint8),
        [7.0, 10.0, 2.0],
        ['7', '10', '2'],
        [b'7', b'10', b'2'],
        Frame(np.array(['7', 10, 2.0], object)),
    ],
)
def test_text_and_whole_numbers_are_ids(ids):
    np.testing.assert_array_equal(arrays.stimulus_names(ids, 'x'), np.array(['7', '10', '2']), strict=True)


@pytest.mark.parametrize('wrong', [None, 1.5, np.nan, True, b'\xff', ['a']])
def test_ids_that_are_neither_are_refused_with_their_row(wrong):
    ids = np.empty(2, object)
    ids[:] = ['a', wrong]
    with pytest.raises(ValueError, match=r'x: stimulus ids must be text or whole numbers, but that of row 1 is'):
        arrays.stimulus_names(ids, 'x')
