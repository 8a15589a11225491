"""Pictures made of images: grids, and PNG files."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from humalign_jax import storage


def grid(rows: Sequence[np.ndarray], *, gap_px: int = 2) -> np.ndarray:
    """Rows of images side by side on white.

    Args:
        rows: uint8 arrays [m, h, w, c], one per row of the picture, all of one shape; c is 1 (grey) or 3.
        gap_px: Space around every image.

    Returns:
        uint8, [height, width, 3].
    """
    n_rows, (n_columns, height, width, channels) = len(rows), rows[0].shape
    step_y, step_x = height + gap_px, width + gap_px
    picture = np.full((n_rows * step_y + gap_px, n_columns * step_x + gap_px, 3), 255, np.uint8)
    for i, row in enumerate(rows):
        for j, image in enumerate(row):
            top, left = gap_px + i * step_y, gap_px + j * step_x
            picture[top : top + height, left : left + width] = np.broadcast_to(image, (height, width, max(3, channels)))
    return picture


def beside(blocks: Sequence[np.ndarray], *, gap_px: int = 8) -> np.ndarray:
    """Pictures of one height next to each other on white: uint8 [h, w_i, 3] each -> [h, sum of w_i and gaps, 3]."""
    gap = np.full((blocks[0].shape[0], gap_px, 3), 255, np.uint8)
    parts = [part for block in blocks for part in (gap, block)][1:]
    return np.concatenate(parts, axis=1)


def enlarged(picture: np.ndarray, width_px: int) -> np.ndarray:
    """A picture enlarged to about this width by a whole factor: uint8 [h, w, 3] -> [m h, m w, 3].

    Viewers smooth small pictures when they stretch them, which looks like a blurred reconstruction. A picture that is
    wider already stays as it is; others come out within a third of the width, most of them nearer.
    """
    factor = max(1, round(width_px / picture.shape[1]))
    return picture.repeat(factor, axis=0).repeat(factor, axis=1)


def to_bytes(images: np.ndarray) -> np.ndarray:
    """Float images as uint8 of the same shape; values are clipped to [0, 1]."""
    return np.rint(255.0 * np.clip(images, 0.0, 1.0)).astype(np.uint8)


def save_png(path, picture: np.ndarray) -> None:
    """Writes a picture, uint8 [h, w, 3], as PNG, atomically."""
    with storage.atomic_file(path) as file:
        Image.fromarray(picture).save(file, format='PNG')
