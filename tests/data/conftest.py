"""CIFAR-10 as a folder of pickles: the real one, and a miniature with batches of 20 images."""

import pathlib
import pickle
import subprocess
import sys

import numpy as np
import pytest

from humalign_jax.data import cifar10

MINI_BATCH = 20


@pytest.fixture(scope='session')
def cifar_root(real_data: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A folder that holds the real `cifar-10-batches-py`."""
    folder = tmp_path_factory.mktemp('cifar10')
    command = [sys.executable, str(real_data / 'unpack_cifar10.py'), '--out', str(folder), '--workers', '2']
    subprocess.run(command, check=True, capture_output=True)
    return folder


@pytest.fixture
def mini_cifar(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """A folder with a random miniature of CIFAR-10, in pickles; the loader expects its sizes while the test runs."""
    monkeypatch.setattr(cifar10, '_BATCH_IMAGES', MINI_BATCH)
    monkeypatch.setattr(cifar10, '_BINARY_BYTES', MINI_BATCH * 3073)
    np_rng = np.random.default_rng(0)
    folder = tmp_path / 'mini'
    (folder / cifar10.PYTHON_FOLDER).mkdir(parents=True)
    for name, batch_label in cifar10._BATCH_LABELS.items():
        write_batch(
            folder / cifar10.PYTHON_FOLDER / name,
            data=np_rng.integers(0, 256, (MINI_BATCH, 3072), np.uint8),
            labels=np_rng.integers(0, 10, MINI_BATCH).tolist(),
            batch_label=batch_label,
            filenames=[f'{name}_{i}.png' for i in range(MINI_BATCH)],
        )
    return folder


def write_batch(path: pathlib.Path, **entries: object) -> None:
    path.write_bytes(pickle.dumps(entries, protocol=2))
