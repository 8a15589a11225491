"""One image file as an array: decoding, depth, transparency, orientation and size."""

import os
import warnings

import numpy as np
from PIL import Image

from humalign_jax.data import files

ENDINGS = (
    '.png', '.jpg', '.jpeg', '.jpe', '.jfif', '.bmp', '.webp', '.tif', '.tiff', '.gif', '.ppm', '.pgm', '.pbm', '.pnm',
)  # fmt: skip

FIRST_FRAME, TURNED, DARK = 'first of several frames', 'turned by EXIF orientation', '16 bits, of which at most 12 used'
_ORIENTATION = 0x0112  # the EXIF tag
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def read_image(path: files.PathLike, *, size_px: int, fit: str = 'crop', grey: bool = False) -> np.ndarray:
    """One image as uint8 [size_px, size_px, 3 or 1]; transparent parts become white.

    16-bit grey images keep their upper eight bits; files with several frames or pages give the first. The image is
    turned by its EXIF orientation. Colour profiles are not applied.

    Args:
        path: The file.
        size_px: Side of the square.
        fit: 'crop' resizes the shorter side to `size_px` and cuts out the centre, 'stretch' resizes both sides.
        grey: One channel instead of three.

    Raises:
        ValueError: Not an image, damaged, or larger than Pillow's limit for decompression bombs.
    """
    return read_with_notes(path, size_px=size_px, fit=fit, grey=grey)[0]


def read_with_notes(
    path: files.PathLike, *, size_px: int, fit: str = 'crop', grey: bool = False
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Like `read_image`, and notes on changes to the image: some of `FIRST_FRAME`, `TURNED`, `DARK`."""
    try:
        if os.path.getsize(path) == 0:
            raise ValueError('it is empty, of 0 bytes')
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # such as damaged EXIF of a sound image
            warnings.simplefilter('error', Image.DecompressionBombWarning)
            with Image.open(path) as opened:
                picture, notes = _upright(opened)
                picture = _flat(picture).convert('L' if grey else 'RGB')
    except Exception as error:  # Pillow's decoders raise many kinds, struct.error among them
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
    return np.asarray(picture, np.uint8).reshape(size_px, size_px, 1 if grey else 3), notes


def _upright(opened: Image.Image) -> tuple[Image.Image, tuple[str, ...]]:
    """The first frame with 8 bits per channel, turned by its EXIF orientation, and notes on changes."""
    notes = [FIRST_FRAME] if getattr(opened, 'n_frames', 1) > 1 else []
    before = _orientation(opened)
    opened.load()
    now = _orientation(opened)  # 1 in a TIFF file, which Pillow turns while it loads
    if before in _TURNS:
        notes.append(TURNED)
    picture, is_dark = _eight_bits(opened)
    if is_dark:
        notes.append(DARK)
    return picture.transpose(_TURNS[now]) if now in _TURNS else picture, tuple(notes)


def _orientation(picture: Image.Image) -> int:
    return picture.getexif().get(_ORIENTATION, 1)


def _eight_bits(picture: Image.Image) -> tuple[Image.Image, bool]:
    """The picture with 8 bits per channel, and whether it has 16-bit levels whose upper four bits are unused.

    Pillow's own conversion would make every level above 255 white.
    """
    if picture.mode.startswith('I;16'):
        levels = np.asarray(picture)
        if 0 < levels.max() < 256:
            raise ValueError(
                f'its 16-bit levels end at {levels.max()} of 65,535, and nothing is left in eight bits; save it with '
                'eight bits'
            )
        return Image.fromarray((levels >> 8).astype(np.uint8)), bool(0 < levels.max() < 4096)
    if picture.mode in ('I', 'F'):
        raise ValueError(f'its mode {picture.mode!r} has no fixed white; save it with 8 or 16 bits')
    return picture, False


def _flat(picture: Image.Image) -> Image.Image:
    """The picture on white, where it has transparency."""
    if picture.mode not in ('RGBA', 'LA', 'PA') and 'transparency' not in picture.info:
        return picture
    white = Image.new('RGBA', picture.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, picture.convert('RGBA'))
