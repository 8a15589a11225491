"""Copies of datasets prepared by TensorFlow Datasets (TFDS), read in the published order.

    python -m humalign_jax.data.tfds --root DIR     # downloads and prepares CIFAR-10; needs the extra `tfds`
    python -m humalign_jax.data.tfds --root DIR --dataset cifar10_h     # the same with CIFAR-10H's answers

This is the only file that imports TFDS or TensorFlow, and only inside functions. TFDS shuffles what it writes: the i-th
stored CIFAR-10 image is not image i of the published order. Every example carries an `id` such as 'train_00042', whose
number counts through the published files, and the images are placed by it.
"""

import argparse
import os
import pathlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from absl import logging

from humalign_jax import storage
from humalign_jax.data import files

_ARCHIVE = 'cifar-10-binary.tar.gz'
_ARCHIVE_SHA256 = 'c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd'


def places(name: str, folder: pathlib.Path) -> list[pathlib.Path]:
    """Folders that may hold a prepared copy of dataset `name`: `folder`, `$TFDS_DATA_DIR` and TFDS's default."""
    parents = [folder, folder / 'tensorflow_datasets', pathlib.Path('~/tensorflow_datasets').expanduser()]
    if os.environ.get('TFDS_DATA_DIR'):
        parents.insert(2, pathlib.Path(os.environ['TFDS_DATA_DIR']))
    return [parent / name for parent in parents]


def find_prepared(name: str, folder: pathlib.Path) -> pathlib.Path | None:
    """The folder `<place>/<version>` of the newest prepared version in the first place that has one, or None.

    Only the disk is searched, because without a network TFDS itself takes minutes to answer.
    """
    for place in places(name, folder):
        versions = [path.parent for path in place.glob('*/dataset_info.json') if _version(path.parent)]
        if versions:
            return max(versions, key=_version)
    return None


def read_prepared(
    path: files.PathLike, split: str, *, class_names: Sequence[str] = ()
) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels of a prepared copy, in the published order.

    An `array_record` copy needs tensorflow-datasets alone, a `tfrecord` copy TensorFlow as well.

    Args:
        path: Folder of one version, such as `~/tensorflow_datasets/cifar10/3.0.2`.
        split: 'train' or 'test'.
        class_names: Expected class names, compared if the copy names its classes; () for no check.

    Returns:
        uint8 [n, h, w, c] and int32 [n].

    Raises:
        ValueError: TFDS is not installed, the copy is damaged, its ids are not 0 to n - 1, each once, or its classes
            have other names.
    """
    logging.info('reading the %s split of the TFDS copy %s (some 5,000 images a second)', split, path)
    builder, n = _open(path, split)
    features = builder.info.features  # which is no dict
    stored = list(getattr(features['label'], 'names', None) or ()) if 'label' in features else []
    unnamed = [str(k) for k in range(len(stored))]
    if class_names and stored not in (list(class_names), unnamed):
        raise ValueError(f'{path} has the classes {", ".join(stored)}, where {", ".join(class_names)} were expected.')
    return in_published_order(_examples(builder, split, path), split, n, path)


def read_human_labels(path: files.PathLike, split: str, n_classes: int) -> np.ndarray:
    """Counts of people's answers in a prepared copy with `human_labels`, in the published order.

    Args:
        path: Folder of one version, such as `~/tensorflow_datasets/cifar10_h/1.0.0`.
        split: The split with people's answers: 'test'.
        n_classes: Number of classes, k.

    Returns:
        Number of people who chose each class for each image, int64 [n, k].

    Raises:
        ValueError: As `read_prepared`; or an image has no answers.
    """
    logging.info("reading people's answers to the %s split from the TFDS copy %s", split, path)
    builder, n = _open(path, split)
    if 'human_labels' not in builder.info.features:
        raise ValueError(f"{path} has no human_labels: it is a copy of images without people's answers.")
    counts = np.zeros((n, n_classes), np.int64)
    for example in _examples(builder, split, path):
        row = _number_of(example, split, n, path)
        if counts[row].any():
            raise ValueError(f'{path}: image {row} of {split} occurs twice.')
        answers = np.asarray(example['human_labels'], np.int64)
        if len(answers) == 0 or answers.min() < 0 or answers.max() >= n_classes:
            raise ValueError(f'{path}: image {row} of {split} needs answers from 0 to {n_classes - 1}, not {answers}.')
        counts[row] = np.bincount(answers, minlength=n_classes)
    missing = np.flatnonzero(~counts.any(axis=1))
    if len(missing):
        raise ValueError(f'{path}: {len(missing)} of {n} images of {split} are missing, the first is {missing[:1]}.')
    return counts


def in_published_order(
    examples: Iterable[Mapping[str, Any]], split: str, n: int, name: files.PathLike
) -> tuple[np.ndarray, np.ndarray]:
    """Sorts examples by the number in their `id`.

    Args:
        examples: Mappings with `id` ('train_00042', text or bytes), `image` [h, w, c] and `label`, in any order.
        split: The split whose name every id must carry.
        n: Expected number of examples.
        name: Name of the copy in messages.

    Returns:
        Images, uint8 [n, h, w, c], and labels, int32 [n]; row i is the example whose id has number i.

    Raises:
        ValueError: An id of another form or split, one that repeats, or one that is missing.
    """
    images, labels = None, np.full(n, -1, np.int32)
    for example in examples:
        row, image = _number_of(example, split, n, name), np.asarray(example['image'])
        identity = f'{split}_{row:05d}'
        if labels[row] >= 0:
            raise ValueError(f'{name}: id {identity!r} occurs twice.')
        if images is None:
            images = np.empty((n, *image.shape), np.uint8)
        if image.dtype != np.uint8 or image.shape != images.shape[1:]:
            raise ValueError(f'{name}: image {identity!r} is {image.dtype} {image.shape}, unlike the first.')
        images[row], labels[row] = image, int(example['label'])
    missing = np.flatnonzero(labels < 0)
    if images is None or len(missing):
        raise ValueError(f'{name}: {len(missing)} of {n} images of {split} are missing, the first is {missing[:1]}.')
    return images, labels


def prepare_cifar10(root: str = '', name: str = 'cifar10') -> pathlib.Path:
    """Downloads CIFAR-10 through TFDS and prepares it as array_record under `root`, for machines without a network.

    The name 'cifar10_h' adds CIFAR-10H's answers to the images and also needs pandas. Needs tensorflow-datasets and
    TensorFlow. A `cifar-10-binary.tar.gz` in `root` is used instead of a download.

    Returns:
        The folder of the prepared version.

    Raises:
        ValueError: A package is missing, or the archive in `root` is not the published one.
    """
    try:
        import tensorflow  # noqa: F401  (TFDS would fail much later and less clearly)
        import tensorflow_datasets
    except ImportError as error:
        raise ValueError(
            f"preparing needs TensorFlow and TensorFlow Datasets ({error}): pip install 'humalign_jax[tfds]'. "
            'Without them put cifar-10-python.tar.gz into the folder, which is read directly.'
        ) from error
    folder = files.data_root(root)
    folder.mkdir(parents=True, exist_ok=True)
    archive = folder / _ARCHIVE
    if archive.exists() and storage.file_digest(archive) != _ARCHIVE_SHA256:
        raise ValueError(
            f'{archive} is not the published archive (its SHA-256 differs): download it again or remove it.'
        )
    builder = tensorflow_datasets.builder(name, data_dir=os.fspath(folder), file_format='array_record')
    config = tensorflow_datasets.download.DownloadConfig(manual_dir=os.fspath(folder))
    builder.download_and_prepare(download_config=config)
    return pathlib.Path(builder.data_path)


def _open(path: files.PathLike, split: str) -> tuple[Any, int]:
    """The builder of a prepared copy, and the number of examples in a split."""
    try:
        import tensorflow_datasets
        from google.protobuf import json_format
    except ImportError as error:
        raise ValueError(f"{path} needs TensorFlow Datasets: pip install 'humalign_jax[tfds]'.") from error
    try:
        builder = tensorflow_datasets.builder_from_directory(os.fspath(path))
    except (ValueError, KeyError, OSError, json_format.Error) as error:
        raise ValueError(f'{path} is not a complete TFDS copy ({error}): prepare it again.') from error
    if split not in builder.info.splits:
        raise ValueError(f'{path} has the splits {sorted(builder.info.splits)}, not {split!r}.')
    return builder, builder.info.splits[split].num_examples


def _number_of(example: Mapping[str, Any], split: str, n: int, name: files.PathLike) -> int:
    """An example's number in the published order, from its id 'train_00042' (text or bytes)."""
    identity = example['id'].decode() if isinstance(example['id'], bytes) else str(example['id'])
    parts = re.fullmatch(rf'{split}_(\d{{1,9}})', identity)
    if parts is None or int(parts[1]) >= n:
        raise ValueError(f'{name}: id {identity!r} is not {split}_<number below {n}>.')
    return int(parts[1])


def _version(path: pathlib.Path) -> tuple[int, ...]:
    """(3, 0, 2) for a folder named '3.0.2', () for any other."""
    return tuple(map(int, path.name.split('.'))) if re.fullmatch(r'\d+\.\d+\.\d+', path.name) else ()


def _examples(builder: Any, split: str, path: files.PathLike) -> Iterator[Mapping[str, Any]]:
    """Every stored example, in stored order."""
    try:
        if getattr(builder.info.file_format, 'value', None) == 'array_record':
            source = builder.as_data_source(split)
            for row in range(len(source)):
                yield source[row]
        else:
            import tensorflow_datasets

            yield from tensorflow_datasets.as_numpy(builder.as_dataset(split=split))
    except ImportError as error:
        raise ValueError(
            f'{path} holds files that only TensorFlow reads ({error}): install it, or prepare the copy again with '
            '`python -m humalign_jax.data.tfds`.'
        ) from error
    # The readers below TFDS (Riegeli, protobuf, Pillow) share no exception of their own.
    except (RuntimeError, ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise ValueError(f'{path} is damaged ({error}): copy or prepare it again.') from error


def _main() -> None:
    parser = argparse.ArgumentParser(description='Download CIFAR-10 with TensorFlow Datasets and prepare it.')
    parser.add_argument('--root', default='', help='folder with datasets (default: $HUMALIGN_DATA or the cache)')
    parser.add_argument(
        '--dataset', default='cifar10', choices=('cifar10', 'cifar10_h'), help='cifar10_h: with answers'
    )
    arguments = parser.parse_args()
    print(prepare_cifar10(arguments.root, arguments.dataset))


if __name__ == '__main__':
    _main()
