"""MNIST in the published order, from IDX files.

Headers, counts, exact lengths, the label range and (for .gz files) the CRC are checked. The format has no checksum, so
a changed byte in an unpacked file is not detected.

References:
    LeCun, Cortes & Burges, The MNIST database of handwritten digits.
"""

import math
import pathlib
import struct

import numpy as np

from humalign_jax import records
from humalign_jax.data import files

CLASS_NAMES = tuple('0123456789')

_N_IMAGES = {'train': 60_000, 'test': 10_000}
_PREFIX = {'train': 'train', 'test': 't10k'}
_UBYTE = 0x08  # the IDX code of unsigned bytes


def load_mnist(split: str, *, root: str = '') -> records.ImageSet:
    """MNIST, [60000, 28, 28, 1] for train and [10000, 28, 28, 1] for test.

    Looks in `root`, `root/mnist`, `root/MNIST/raw` for `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`, or `t10k-`
    for test, with `.` for the second `-` as well, plain or `.gz`.

    Args:
        split: 'train' or 'test'.
        root: Folder with datasets; '' means `$HUMALIGN_DATA`, else `~/.cache/humalign_jax`.

    Returns:
        The images in the published order, white on black.

    Raises:
        ValueError: Nothing was found, or something is wrong with a file; the message names it and says what was
            expected.
    """
    if split not in _N_IMAGES:
        raise ValueError(f"MNIST has the splits 'train' and 'test', not {split!r}.")
    folder, n = files.data_root(root), _N_IMAGES[split]
    images_path, labels_path = _find(folder, split)
    images = read_idx(images_path, (n, 28, 28))
    labels = read_idx(labels_path, (n,)).astype(np.int32)
    if labels.max() > 9:
        wrong = int(labels.argmax())
        raise ValueError(f'{labels_path}: image {wrong} has label {labels[wrong]}, outside 0..9: the file is damaged.')
    return records.ImageSet(
        images=images[..., None],
        labels=labels,
        index=np.arange(n, dtype=np.int64),
        class_names=CLASS_NAMES,
        name='mnist',
        split=split,
    )


def read_idx(path: files.PathLike, shape: tuple[int, ...]) -> np.ndarray:
    """An IDX file of unsigned bytes whose shape is known.

    Args:
        path: The file, plain or `.gz`; no more than the expected bytes are inflated.
        shape: The expected shape.

    Returns:
        uint8, of that shape.

    Raises:
        ValueError: Another magic number, dtype, shape or length, or a damaged gzip stream.
    """
    header_bytes = 4 + 4 * len(shape)
    expected_bytes = header_bytes + math.prod(shape)
    content = files.read_file(path, max_bytes=expected_bytes)
    if len(content) < header_bytes:
        raise ValueError(f'{path} has {len(content)} bytes, too few for the header of an IDX file.')
    zero, dtype_code, n_dimensions = struct.unpack('>HBB', content[:4])
    if (zero, dtype_code, n_dimensions) != (0, _UBYTE, len(shape)):
        raise ValueError(
            f'{path} begins with {content[:4].hex()}; {bytes([0, 0, _UBYTE, len(shape)]).hex()} (IDX, unsigned bytes, '
            f'{len(shape)} dimensions) was expected: it is another file or damaged.'
        )
    declared = struct.unpack(f'>{n_dimensions}I', content[4:header_bytes])
    if declared != shape:
        raise ValueError(f'{path} declares the shape {declared} where {shape} was expected.')
    if len(content) != expected_bytes:
        raise ValueError(f'{path} has {len(content)} bytes where {expected_bytes} were expected: it was cut short.')
    return np.frombuffer(content, np.uint8, offset=header_bytes).reshape(shape)


def _find(folder: pathlib.Path, split: str) -> tuple[pathlib.Path, pathlib.Path]:
    """Images and labels, both from the first folder that has either, so that two copies are never mixed."""
    folders = [folder, folder / 'mnist', folder / 'MNIST' / 'raw']
    names = {
        what: [f'{_PREFIX[split]}-{what}{mark}idx{n}-ubyte{end}' for mark in '-.' for end in ('', '.gz')]
        for what, n in (('images', 3), ('labels', 1))
    }
    for place in folders:
        found = {what: files.first_existing([place / name for name in names[what]]) for what in names}
        images, labels = found['images'], found['labels']
        if images and labels:
            return images, labels
        if images or labels:
            missing = 'labels' if images else 'images'
            raise ValueError(
                f'{images or labels} is there, but none of {", ".join(names[missing])} beside it: put the {missing} of '
                'the same copy into that folder.'
            )
    raise ValueError(
        f'MNIST was not found: none of {", ".join(names["images"])} is in {", ".join(map(str, folders))}. Put the four '
        f'IDX files there (on a machine with internet: `humalign fetch mnist --root {folder}`), or use the '
        '`:tiny` variant of the config, which runs on simulated images.'
    )
