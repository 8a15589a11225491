"""MNIST from IDX files: real values, every place and name, strict headers."""

import gzip
import hashlib
import struct

import numpy as np
import pytest

from humalign_jax.data import load_mnist, mnist


def idx(values: np.ndarray, dtype_code: int = 8) -> bytes:
    return struct.pack(f'>4B{values.ndim}I', 0, 0, dtype_code, values.ndim, *values.shape) + values.tobytes()


@pytest.fixture
def mini(monkeypatch):
    monkeypatch.setattr(mnist, '_N_IMAGES', {'train': 7, 'test': 5})
    return np.random.default_rng(0).integers(0, 256, (5, 28, 28), np.uint8), np.arange(5, dtype=np.uint8)


@pytest.mark.data
def test_real_test_set_has_the_published_digits(real_data):
    test = load_mnist('test', root=str(real_data))
    assert test.images.shape == (10_000, 28, 28, 1) and test.images.dtype == np.uint8
    np.testing.assert_array_equal(test.labels[:10], [7, 2, 1, 0, 4, 1, 4, 9, 5, 9])
    np.testing.assert_array_equal(np.bincount(test.labels), [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009])
    # Of the bytes behind the header, read by gzip and a slice.
    with gzip.open(real_data / 'mnist' / 't10k-images-idx3-ubyte.gz') as file:
        assert hashlib.md5(file.read()[16:]).digest() == hashlib.md5(test.images.tobytes()).digest()


@pytest.mark.data
def test_truncated_real_training_images_are_reported_missing(real_data):
    with pytest.raises(ValueError, match='train-images-idx3-ubyte'):
        load_mnist('train', root=str(real_data))


@pytest.mark.parametrize('place', ['', 'mnist', 'MNIST/raw'])
@pytest.mark.parametrize('mark', ['-', '.'])
@pytest.mark.parametrize('ending', ['', '.gz'])
def test_every_place_and_name_is_found(place, mark, ending, mini, tmp_path):
    images, labels = mini
    (tmp_path / place).mkdir(parents=True, exist_ok=True)
    for what, values in (('images', images), ('labels', labels)):
        content = idx(values)
        path = tmp_path / place / f't10k-{what}{mark}idx{values.ndim}-ubyte{ending}'
        path.write_bytes(gzip.compress(content) if ending else content)
    read = load_mnist('test', root=str(tmp_path))
    np.testing.assert_array_equal(read.images[..., 0], images)
    np.testing.assert_array_equal(read.labels, labels)


@pytest.mark.parametrize(
    'content, message',
    [
        (b'', 'has 0 bytes, too few'),
        (idx(np.zeros((5, 28, 28), np.uint8))[:-1], r'has 3935 bytes where 3936 were expected'),
        (idx(np.zeros((5, 28, 28), np.uint8)) + b'x', 'holds more than the expected 3936 bytes'),
        (idx(np.zeros((4, 28, 28), np.uint8)), r'declares the shape \(4, 28, 28\) where \(5, 28, 28\)'),
        (idx(np.zeros((5, 28 * 28), np.uint8)), r'begins with 00000802; 00000803'),
        (idx(np.zeros((5, 28, 28), np.uint8), 9), r'begins with 00000903; 00000803'),
        (b'\x93NUMPY' + bytes(100), 'begins with 934e554d'),
        (struct.pack('>4B3I', 0, 0, 8, 3, 2**32 - 1, 2**32 - 1, 2**32 - 1), 'declares the shape'),
    ],
)
def test_a_wrong_header_is_named_with_expected_and_found(content, message, mini, tmp_path):
    for ending in ('', '.gz'):
        path = tmp_path / f'images{ending}'
        path.write_bytes(gzip.compress(content) if ending else content)
        with pytest.raises(ValueError, match=message) as caught:
            mnist.read_idx(path, (5, 28, 28))
        assert str(path) in str(caught.value)


def test_a_gzip_bomb_is_not_inflated(tmp_path):
    path = tmp_path / 'bomb.gz'
    path.write_bytes(gzip.compress(bytes(50 << 20)))
    with pytest.raises(ValueError, match='holds more than the expected 3936 bytes'):
        mnist.read_idx(path, (5, 28, 28))


def test_a_label_beyond_nine_is_named(mini, tmp_path):
    images, labels = mini
    (tmp_path / 't10k-images-idx3-ubyte').write_bytes(idx(images))
    (tmp_path / 't10k-labels-idx1-ubyte').write_bytes(idx(labels + np.uint8([0, 0, 11, 0, 0])))
    with pytest.raises(ValueError, match=r't10k-labels-idx1-ubyte: image 2 has label 13, outside 0\.\.9'):
        load_mnist('test', root=str(tmp_path))


def test_labels_of_one_copy_are_not_taken_for_images_of_another(mini, tmp_path):
    images, labels = mini
    (tmp_path / 'mnist').mkdir()
    (tmp_path / 't10k-images-idx3-ubyte').write_bytes(idx(images))
    (tmp_path / 'mnist' / 't10k-labels-idx1-ubyte').write_bytes(idx(labels))
    with pytest.raises(ValueError, match='t10k-images-idx3-ubyte is there, but none of t10k-labels-idx1-ubyte'):
        load_mnist('test', root=str(tmp_path))


def test_an_unknown_split_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="not 'validation'"):
        load_mnist('validation', root=str(tmp_path))
