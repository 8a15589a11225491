"""CIFAR-10 from JPEG packs, in the binary form that its authors publish and that the package reads."""

import concurrent.futures
import io
import os
import pathlib
import time

import numpy as np
from PIL import Image

from gpu_parts.setting import Setting
from humalign_jax.data import cifar10

TRAIN_PACKS, TEST_PACK = ('train_jpeg_0.npz', 'train_jpeg_1.npz'), 'test_jpeg.npz'
BATCH_IMAGES = 10_000


def data(setting: Setting) -> None:
    """Makes CIFAR-10 for the parts that train, unless it is there."""
    folders = [folder for folder in (setting.data, setting.data / 'cifar10') if (folder / TEST_PACK).exists()]
    if setting.cifar_root:
        setting.row('CIFAR-10', f'found in {setting.cifar_root}')
    elif setting.tiny or not folders:
        names = ', '.join((*TRAIN_PACKS, TEST_PACK))
        reason = (
            'tiny runs use rendered images' if setting.tiny else f'{setting.data} holds neither {names} nor CIFAR-10'
        )
        setting.row('CIFAR-10', skipped=reason)
    else:
        start = time.perf_counter()
        n = unpack(folders[0], setting.work / 'cifar')
        setting.row('CIFAR-10', f'{n} JPEGs decoded in {time.perf_counter() - start:.1f} s', beside='JPEG pixels')


def unpack(packs: pathlib.Path, root: pathlib.Path, *, batch_images: int = BATCH_IMAGES) -> int:
    """Writes the packs' images as `root/cifar-10-batches-bin/`.

    A pack holds `jpeg` uint8 (all streams one after the other), `offsets` [n + 1] and `labels` [n], in the published
    order of the images.

    Args:
        packs: Folder of the packs.
        root: Folder of the result.
        batch_images: Images of a file.

    Returns:
        The number of images.

    Raises:
        ValueError: The packs do not fill five training files and a test file.
    """
    train = np.concatenate([_records(packs / name) for name in TRAIN_PACKS])
    test = _records(packs / TEST_PACK)
    if len(train) != 5 * batch_images or len(test) != batch_images:
        raise ValueError(
            f'{packs}: {len(train)} train and {len(test)} test images; {5 * batch_images} and {batch_images} were '
            'expected. Copy the packs again.'
        )
    folder = root / cifar10.BINARY_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for k in range(5):
        train[k * batch_images : (k + 1) * batch_images].tofile(folder / f'data_batch_{k + 1}.bin')
    test.tofile(folder / 'test_batch.bin')
    return len(train) + len(test)


def _records(path: pathlib.Path) -> np.ndarray:
    """Records of one label and three planes of 32x32, uint8 [n, 3073]."""
    with np.load(path, allow_pickle=False) as pack:
        streams, offsets, labels = pack['jpeg'].tobytes(), pack['offsets'].tolist(), pack['labels']

    def planes(number: int) -> np.ndarray:
        with Image.open(io.BytesIO(streams[offsets[number] : offsets[number + 1]])) as image:
            return np.asarray(image.convert('RGB')).transpose(2, 0, 1).reshape(-1)

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        pixels = np.stack(list(pool.map(planes, range(len(labels)), chunksize=256)))
    return np.concatenate([labels.astype(np.uint8)[:, None], pixels], axis=1)
