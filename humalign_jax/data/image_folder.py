"""Images in folders named after their classes."""

import pathlib
import warnings

import numpy as np
from PIL import Image

from humalign_jax import records
from humalign_jax.data import files

ENDINGS = ('.png', '.jpg', '.jpeg', '.bmp', '.webp')


def load_image_folder(
    split: str,
    *,
    root: str = '',
    dataset: str = 'image_folder',
    size_px: int = 224,
    fit: str = 'crop',
    grey: bool = False,
) -> records.ImageSet:
    """Images from `root/<split>/<class>/*`, or `root/<class>/*` where there is no folder of the split's name.

    Classes and relative paths are sorted by their characters' code points; the stimulus number is the position in that
    order. It is the same on every machine, but a file added later renumbers those behind it.

    Args:
        split: 'train' or 'test'; a folder without split folders has only one of them, by either name.
        root: The folder; '' means `$HUMALIGN_DATA`, else `~/.cache/humalign_jax`.
        dataset: Name of the dataset, the first part of every stimulus id.
        size_px: Side of the square images.
        fit: 'crop' resizes the shorter side to `size_px` and cuts out the centre, 'stretch' resizes both sides.
        grey: One channel instead of three.

    Returns:
        [n, size_px, size_px, 3 or 1], with the extra `path`: each image's path relative to the folder, [n] strings.

    Raises:
        ValueError: No folder, no images, an option out of range, or an image that cannot be read; the message names it.
    """
    if split not in ('train', 'test'):
        raise ValueError(f"split must be 'train' or 'test', not {split!r}.")
    if fit not in ('crop', 'stretch'):
        raise ValueError(f"fit must be 'crop' or 'stretch', not {fit!r}.")
    if size_px < 1:
        raise ValueError(f'size_px must be at least 1, not {size_px}.')
    folder = _split_folder(files.data_root(root), split)
    paths = sorted(
        (
            path.relative_to(folder)
            for path in folder.glob('*/*')
            if _is_image(path.relative_to(folder)) and path.is_file()
        ),
        key=lambda path: path.parts,
    )
    if not paths:
        raise ValueError(f'{folder} has no images: <class>/*{{{",".join(ENDINGS)}}} was expected.')
    class_names = tuple(sorted({path.parts[0] for path in paths}))
    number = {class_name: k for k, class_name in enumerate(class_names)}
    return records.ImageSet(
        images=np.stack([read_image(folder / path, size_px=size_px, fit=fit, grey=grey) for path in paths]),
        labels=np.array([number[path.parts[0]] for path in paths], np.int32),
        index=np.arange(len(paths), dtype=np.int64),
        class_names=class_names,
        name=dataset,
        split=split,
        extras={'path': np.array([path.as_posix() for path in paths], dtype=np.str_)},
    )


def read_image(path: files.PathLike, *, size_px: int, fit: str = 'crop', grey: bool = False) -> np.ndarray:
    """One image as uint8 [size_px, size_px, 3 or 1]; transparent parts lie on white.

    Of 16-bit grey images the upper eight bits are kept. A camera's note on orientation (EXIF) is not followed.

    Raises:
        ValueError: Not an image, damaged, or so large that Pillow takes it for a decompression bomb.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('error', Image.DecompressionBombWarning)
            with Image.open(path) as opened:
                picture = _flat(_eight_bits(opened)).convert('L' if grey else 'RGB')
    # Pillow's decoders raise these and no common base: SyntaxError for broken PNG chunks, ValueError and OSError else.
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ValueError(f'{path} cannot be read as an image ({error}): replace or remove it.') from error
    if fit == 'crop':
        width, height = picture.size
        scale = size_px / min(width, height)
        side_px = (max(size_px, round(width * scale)), max(size_px, round(height * scale)))
        picture = picture.resize(side_px, Image.Resampling.BICUBIC)
        left, top = (side_px[0] - size_px) // 2, (side_px[1] - size_px) // 2
        picture = picture.crop((left, top, left + size_px, top + size_px))
    else:
        picture = picture.resize((size_px, size_px), Image.Resampling.BICUBIC)
    return np.asarray(picture, np.uint8).reshape(size_px, size_px, 1 if grey else 3)


def _eight_bits(picture: Image.Image) -> Image.Image:
    """The picture with 8 bits per channel; Pillow's own conversion would turn everything above 255 white."""
    if picture.mode.startswith('I;16'):
        return Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
    if picture.mode in ('I', 'F'):
        raise ValueError(f'its mode {picture.mode!r} has no fixed white; save it with 8 or 16 bits')
    return picture


def _is_image(path: pathlib.Path) -> bool:
    hidden = any(part.startswith('.') for part in path.parts)  # such as .ipynb_checkpoints/
    return path.suffix.lower() in ENDINGS and not hidden


def _flat(picture: Image.Image) -> Image.Image:
    """The picture on white, where it has transparency."""
    if picture.mode not in ('RGBA', 'LA', 'PA') and 'transparency' not in picture.info:
        return picture
    white = Image.new('RGBA', picture.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, picture.convert('RGBA'))


def _split_folder(folder: pathlib.Path, split: str) -> pathlib.Path:
    if not folder.is_dir():
        raise ValueError(f'{folder} is not a folder; <split>/<class>/<image> or <class>/<image> was expected there.')
    has_splits = any((folder / name).is_dir() for name in ('train', 'test'))
    if has_splits and not (folder / split).is_dir():
        raise ValueError(f'{folder} has no folder {split!r}, only the other split.')
    return folder / split if has_splits else folder
