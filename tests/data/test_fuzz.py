"""Over a thousand damaged files: each gives an error that names the file, or what can be proven about its content.

What can be proven depends on the format. Behind a CRC (.gz, .tar.gz) an accepted file must hold exactly the true
values. In plain files a flipped pixel is invisible; there an accepted file must differ in no more values than bytes
were flipped, and a file of another length must be refused.
"""

import gzip
import shutil
import struct

import numpy as np
import pytest

from humalign_jax.data import cifar10, load_cifar10, load_mnist, mnist

from .test_cifar10 import FORMS, convert, expected_mini

TRIALS = 160  # per format; eight formats


def damage(content: bytes, np_rng: np.random.Generator) -> tuple[bytes, int]:
    """The content flipped, cut or extended, and the number of bytes flipped, -1 for another length."""
    kind = np_rng.integers(0, 4)
    damaged = bytearray(content)
    if kind == 0:
        return bytes(damaged[: np_rng.integers(0, len(damaged))]), -1
    if kind == 1:
        return bytes(damaged) + np_rng.bytes(int(np_rng.integers(1, 600))), -1
    # Half of the flips hit the first 200 or last 1500 bytes, where the structure is.
    n_flips = int(np_rng.integers(1, 5))
    for _ in range(n_flips):
        near = np_rng.choice([np_rng.integers(0, min(200, len(content))), -np_rng.integers(1, min(1500, len(content)))])
        place = near if np_rng.random() < 0.5 else np_rng.integers(0, len(content))
        damaged[place] ^= 1 << np_rng.integers(0, 8)
    return bytes(damaged), n_flips


def check_error_or_provable(read, images, labels, n_flips, is_guarded, path):
    """One trial; returns whether the file was accepted."""
    try:
        got = read()
    except ValueError as error:
        assert str(path) in str(error)
        return False
    assert got.images.shape == images.shape and got.labels.shape == labels.shape
    n_wrong = int((got.images != images).sum() + (got.labels != labels).sum())
    if is_guarded:
        assert n_wrong == 0
    else:
        assert 0 <= n_wrong <= n_flips  # -1, another length, is never accepted
    assert got.labels.min() >= 0 and got.labels.max() <= 9
    return True


@pytest.mark.parametrize('form', FORMS)
def test_damaged_cifar10_gives_a_named_error_or_a_provable_array(form, mini_cifar, tmp_path):
    np_rng = np.random.default_rng(FORMS.index(form))
    images, labels = expected_mini(mini_cifar, 'test')
    root = convert(mini_cifar, tmp_path / 'fuzzed', form)
    found = cifar10.find(root)
    path = found if found.is_file() else next(found.glob('test_batch*'))
    content = path.read_bytes()
    accepted = 0
    for _ in range(TRIALS):
        damaged, n_flips = damage(content, np_rng)
        path.write_bytes(damaged)
        accepted += check_error_or_provable(
            lambda: load_cifar10('test', root=str(root)), images, labels, n_flips, found.is_file(), found
        )
    assert accepted < TRIALS  # the damage does reach the reader


@pytest.mark.parametrize('damaged_file', ['images', 'labels'])
@pytest.mark.parametrize('ending', ['', '.gz'])
def test_damaged_mnist_gives_a_named_error_or_a_provable_array(ending, damaged_file, tmp_path, monkeypatch):
    n = 20
    monkeypatch.setattr(mnist, '_N_IMAGES', {'train': 30, 'test': n})
    np_rng = np.random.default_rng(5)
    images, labels = np_rng.integers(0, 256, (n, 28, 28), np.uint8), np_rng.integers(0, 10, n).astype(np.uint8)
    contents = {
        'images': struct.pack('>4B3I', 0, 0, 8, 3, n, 28, 28) + images.tobytes(),
        'labels': struct.pack('>4BI', 0, 0, 8, 1, n) + labels.tobytes(),
    }
    paths = {what: tmp_path / f't10k-{what}-idx{d}-ubyte{ending}' for what, d in (('images', 3), ('labels', 1))}
    for what, path in paths.items():
        contents[what] = gzip.compress(contents[what]) if ending else contents[what]
        path.write_bytes(contents[what])
    path = paths[damaged_file]
    for _ in range(TRIALS):
        damaged, n_flips = damage(contents[damaged_file], np_rng)
        path.write_bytes(damaged)
        check_error_or_provable(
            lambda: load_mnist('test', root=str(tmp_path)), images[..., None], labels, n_flips, bool(ending), path
        )


def test_swapped_files_are_named(mini_cifar, tmp_path):
    folder = mini_cifar / cifar10.PYTHON_FOLDER
    for a in cifar10._BATCH_LABELS:
        for b in cifar10._BATCH_LABELS:
            if a != b:
                shutil.copytree(folder, tmp_path / a / b / cifar10.PYTHON_FOLDER)
                (tmp_path / a / b / cifar10.PYTHON_FOLDER / a).write_bytes((folder / b).read_bytes())
                with pytest.raises(ValueError, match=f'{a} calls itself'):
                    load_cifar10('test' if a == 'test_batch' else 'train', root=str(tmp_path / a / b))
