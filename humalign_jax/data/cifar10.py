"""CIFAR-10 in the published order, from the files that its authors distribute.

The published order is that of the classic Python pickles: train images 0 to 49,999 (`data_batch_1` to `data_batch_5`),
test images 0 to 9,999. CIFAR-10H and CIFAR-10N number images in this order.

The loader checks counts, shapes, dtypes, label ranges and lengths, the batches' names in the Python version, and the
CRCs of the archives. The formats themselves have no checksum: in unpacked files, a changed pixel, a label changed to
another valid label, and swapped files of the binary version can be detected only by the published MD5 sums. `identify`
compares them. Files with other sums are still read, because re-encoded copies of CIFAR-10 are in use.

References:
    Krizhevsky (2009), Learning Multiple Layers of Features from Tiny Images.
    https://www.cs.toronto.edu/~kriz/cifar.html
"""

import hashlib
import pathlib
import tarfile
import zlib

import numpy as np

from humalign_jax import pickles, records
from humalign_jax.data import files

CLASS_NAMES = ('airplane', 'automobile', 'bird', 'cat', 'deer', 'dog', 'frog', 'horse', 'ship', 'truck')

PYTHON_FOLDER, BINARY_FOLDER = 'cifar-10-batches-py', 'cifar-10-batches-bin'
PYTHON_ARCHIVE, BINARY_ARCHIVE = 'cifar-10-python.tar.gz', 'cifar-10-binary.tar.gz'

# Of the archives and of the files of the Python version; as published and as torchvision checks them.
MD5 = {
    PYTHON_ARCHIVE: 'c58f30108f718f92721af3b95e74349a',
    BINARY_ARCHIVE: 'c32a1d4ab5d03f1284b67883e8d87530',
    'data_batch_1': 'c99cafc152244af753f735de768cd75f',
    'data_batch_2': 'd4bba439e000b95fd0a9bffe97cbabec',
    'data_batch_3': '54ebc095f3ab1f0389bbae665268c751',
    'data_batch_4': '634d18415352ddfa80567beed471001a',
    'data_batch_5': '482c414d41f54cd18b22e5b47cb7c3cb',
    'test_batch': '40351d587109b95175f43aff81a1287e',
}

# Names inside the published batches.
_BATCH_LABELS = {f'data_batch_{k}': f'training batch {k} of 5' for k in range(1, 6)}
_BATCH_LABELS['test_batch'] = 'testing batch 1 of 1'

_BATCH_IMAGES = 10_000
_PIXEL_BYTES = 3 * 32 * 32
_BINARY_BYTES = _BATCH_IMAGES * (1 + _PIXEL_BYTES)  # records of one label and three planes
_PICKLE_BYTES = 64 << 20  # the largest pickle has 31 MB
_ARCHIVE_BYTES = 400 << 20  # the archives unpack to 186 MB


def load_cifar10(split: str, *, root: str = '') -> records.ImageSet:
    """CIFAR-10, [50000, 32, 32, 3] for train and [10000, 32, 32, 3] for test.

    Looks in `root` for, in this order, `cifar-10-batches-py/`, `cifar-10-batches-bin/`, `cifar-10-python.tar.gz`,
    `cifar-10-binary.tar.gz` (read in place), then for a copy prepared by TensorFlow Datasets.

    Args:
        split: 'train' or 'test'.
        root: Folder with datasets; '' means `$HUMALIGN_DATA`, else `~/.cache/humalign_jax`.

    Returns:
        The images in the published order.

    Raises:
        ValueError: Nothing was found, or something is wrong with a file; the message names it and says what was
            expected.
    """
    names = _batch_names(split)
    folder = files.data_root(root)
    found = find(folder)
    if found is None:
        return _from_tfds(folder, split)
    _check_class_names(found)
    is_binary = found.name in (BINARY_FOLDER, BINARY_ARCHIVE)
    members = [f'{name}.bin' if is_binary else name for name in names]
    expected_bytes = _BINARY_BYTES if is_binary else _PICKLE_BYTES
    if found.is_dir():
        batches = {name: _read_batch_file(found / name, expected_bytes) for name in members}
    else:
        batches = _read_archive(found, members, expected_bytes)
    parse = _parse_binary if is_binary else _parse_pickle
    images = np.empty((len(members) * _BATCH_IMAGES, 32, 32, 3), np.uint8)
    labels = np.empty(len(images), np.int32)
    for number, name in enumerate(members):
        rows = slice(number * _BATCH_IMAGES, (number + 1) * _BATCH_IMAGES)
        planes, labels[rows] = parse(batches.pop(name), found / name)
        images[rows] = planes.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        for earlier in range(number):
            if (labels[rows] == labels[earlier * _BATCH_IMAGES : (earlier + 1) * _BATCH_IMAGES]).all():
                raise ValueError(f'{found}: {members[earlier]} and {name} are the same file; unpack the archive again.')
    return _image_set(images, labels, split)


def find(folder: pathlib.Path) -> pathlib.Path | None:
    """The first of the two folders and two archives that exists in `folder`, None if none does."""
    return files.first_existing([folder / name for name in _standard_names()])


def identify(root: str = '') -> dict[str, str]:
    """Whether the files that `load_cifar10` would read are the published ones, for a run's provenance.

    Args:
        root: As for `load_cifar10`.

    Returns:
        For each file 'published' (its MD5 is the published one), 'differs' (it is not) or 'no published sum' (files of
        the binary folder); {} if neither folder nor archive exists.
    """
    found = find(files.data_root(root))
    if found is None:
        return {}
    if not found.is_dir():
        paths = [found]
    else:
        ending = '.bin' if found.name == BINARY_FOLDER else ''
        paths = [found / f'{name}{ending}' for split in ('train', 'test') for name in _batch_names(split)]
    verdicts = {}
    for path in paths:
        if path.name not in MD5:
            verdicts[path.name] = 'no published sum'
        elif path.is_file():
            with open(path, 'rb') as file:
                same = hashlib.file_digest(file, 'md5').hexdigest() == MD5[path.name]
            verdicts[path.name] = 'published' if same else 'differs'
    return verdicts


def _standard_names() -> tuple[str, ...]:
    return PYTHON_FOLDER, BINARY_FOLDER, PYTHON_ARCHIVE, BINARY_ARCHIVE


def _batch_names(split: str) -> list[str]:
    if split not in ('train', 'test'):
        raise ValueError(
            f"CIFAR-10 has the splits 'train' and 'test', not {split!r}; cut a validation set from train with "
            'humalign_jax.data.stratified_split.'
        )
    return [f'data_batch_{number}' for number in range(1, 6)] if split == 'train' else ['test_batch']


def _image_set(images: np.ndarray, labels: np.ndarray, split: str) -> records.ImageSet:
    index = np.arange(len(images), dtype=np.int64)
    return records.ImageSet(images, labels, index, CLASS_NAMES, name='cifar10', split=split)


def _from_tfds(folder: pathlib.Path, split: str) -> records.ImageSet:
    from humalign_jax.data import tfds  # here, so that `python -m humalign_jax.data.tfds` is not imported twice

    prepared = tfds.find_prepared('cifar10', folder)
    if prepared is None:
        places = '\n  '.join(str(path) for path in tfds.places('cifar10', folder))
        raise ValueError(
            f'CIFAR-10 was not found. Looked in {folder} for {", ".join(_standard_names())}; then for a copy '
            f'prepared by TensorFlow Datasets in\n  {places}\n'
            'Three ways out:\n'
            f'1. put {PYTHON_ARCHIVE} there, as it is or unpacked (https://www.cs.toronto.edu/~kriz/{PYTHON_ARCHIVE});\n'
            f'2. on a machine with internet run `humalign fetch cifar10 --root {folder}` or, with TensorFlow, '
            f'`python -m humalign_jax.data.tfds --root {folder}`;\n'
            '3. use the `:tiny` variant of the config, which runs on simulated images.'
        )
    images, labels = tfds.read_prepared(prepared, split, class_names=CLASS_NAMES)
    if len(images) != len(_batch_names(split)) * _BATCH_IMAGES or images.shape[1:] != (32, 32, 3):
        raise ValueError(f'{prepared}: {split} has images of shape {images.shape}, which is not CIFAR-10.')
    return _image_set(images, labels, split)


def _read_batch_file(path: pathlib.Path, max_bytes: int) -> bytes:
    if not path.exists():
        raise ValueError(f'{path} is missing: the folder {path.parent} is incomplete; unpack the archive again.')
    return files.read_file(path, max_bytes=max_bytes)


def _check_class_names(found: pathlib.Path) -> None:
    """Raises ValueError if an unpacked copy names other classes in its table `batches.meta`."""
    table = found / ('batches.meta.txt' if found.name == BINARY_FOLDER else 'batches.meta')
    if not table.is_file():
        return
    content = files.read_file(table, max_bytes=1 << 20)
    if table.suffix == '.txt':
        names = content.decode('latin-1').split()
    else:
        about = pickles.read_pickle(content, table)
        about = {_text(key): value for key, value in about.items()} if isinstance(about, dict) else {}
        given = about.get('label_names')
        names = [str(_text(name)) for name in given] if isinstance(given, list | tuple) else []
    if names and tuple(names) != CLASS_NAMES:
        raise ValueError(f'{table} names the classes {", ".join(names)}: {found} holds another dataset than CIFAR-10.')


def _text(value: object) -> object:
    """Text of a pickle of Python 2 (bytes) as text."""
    return value.decode('latin-1') if isinstance(value, bytes) else value


def _read_archive(path: pathlib.Path, members: list[str], max_bytes: int) -> dict[str, bytes]:
    """The members by name, in one pass over the archive, read to its end to check the CRC."""
    if not path.is_file():
        raise ValueError(f'{path} is not a regular file.')
    batches: dict[str, bytes] = {}
    try:
        with files.BoundedGzip(path, _ARCHIVE_BYTES) as unpacked:
            with tarfile.open(fileobj=unpacked, mode='r|') as archive:
                for member in archive:
                    name = pathlib.PurePosixPath(member.name).name
                    if name not in members or not member.isreg():
                        continue
                    if name in batches:
                        raise ValueError(f'{name} is in it twice')
                    if member.size > max_bytes:
                        raise ValueError(f'{name} has {member.size} bytes, more than the expected {max_bytes}')
                    content = archive.extractfile(member)
                    batches[name] = content.read() if content else b''
            unpacked.drain()
    # For a damaged header tarfile raises various exceptions of its parser.
    except (OSError, EOFError, zlib.error, tarfile.TarError, ValueError, OverflowError, IndexError) as error:
        raise ValueError(
            f'{path} is damaged or not the published archive ({error}): copy or download it again.'
        ) from error
    missing = [name for name in members if name not in batches]
    if missing:
        raise ValueError(f'{path} does not hold {", ".join(missing)}: it is not the published archive.')
    return batches


def _parse_binary(content: bytes, path: pathlib.Path) -> tuple[np.ndarray, np.ndarray]:
    """Planes [10000, 3072] and labels [10000] of one binary batch."""
    if len(content) != _BINARY_BYTES:
        raise ValueError(
            f'{path} has {len(content)} bytes; a CIFAR-10 batch of {_BATCH_IMAGES} records of {1 + _PIXEL_BYTES} bytes '
            f'has {_BINARY_BYTES}: it is cut short or another file.'
        )
    rows = np.frombuffer(content, np.uint8).reshape(_BATCH_IMAGES, 1 + _PIXEL_BYTES)
    return rows[:, 1:], _checked_labels(rows[:, 0], path)


def _parse_pickle(content: bytes, path: pathlib.Path) -> tuple[np.ndarray, np.ndarray]:
    """Planes [10000, 3072] and labels [10000] of one Python batch."""
    batch = pickles.read_pickle(content, path)
    if not isinstance(batch, dict):
        raise ValueError(f'{path} holds a {type(batch).__name__}; a CIFAR-10 batch is a dict with data and labels.')
    batch = {_text(key): value for key, value in batch.items()}
    if not {'data', 'labels'} <= batch.keys():
        raise ValueError(f"{path} holds the entries {list(batch)[:10]}; 'data' and 'labels' were expected.")
    data, labels = batch['data'], batch['labels']
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.shape != (_BATCH_IMAGES, _PIXEL_BYTES):
        what = f'{data.dtype} {data.shape}' if isinstance(data, np.ndarray) else f'a {type(data).__name__}'
        raise ValueError(f"{path}: 'data' must be uint8 ({_BATCH_IMAGES}, {_PIXEL_BYTES}), not {what}.")
    if not data.flags.c_contiguous:  # one flipped bit does this, and scrambles every image
        raise ValueError(f"{path}: 'data' is stored column by column, the published files row by row: it is damaged.")
    batch_label, expected = _text(batch.get('batch_label')), _BATCH_LABELS.get(path.name)
    if batch_label is not None and expected is not None and batch_label != expected:
        raise ValueError(f'{path} calls itself {batch_label!r} where {expected!r} was expected: files were swapped.')
    if isinstance(labels, np.ndarray):
        labels = labels.tolist()
    if not isinstance(labels, list) or len(labels) != _BATCH_IMAGES:
        what = f'a list of {len(labels)}' if isinstance(labels, list) else f'a {type(labels).__name__}'
        raise ValueError(f"{path}: 'labels' must be a list of {_BATCH_IMAGES} numbers, not {what}.")
    if any(type(label) is not int for label in labels):
        raise ValueError(f"{path}: 'labels' must be whole numbers, but some are not.")
    return data, _checked_labels(np.array(labels), path)


def _checked_labels(labels: np.ndarray, path: pathlib.Path) -> np.ndarray:
    wrong = np.flatnonzero((labels < 0) | (labels >= len(CLASS_NAMES)))
    if len(wrong):
        raise ValueError(
            f'{path}: image {wrong[0]} has label {labels[wrong[0]]}, outside 0..{len(CLASS_NAMES) - 1}: the file is '
            'damaged or another dataset.'
        )
    return labels.astype(np.int32)
