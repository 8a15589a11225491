"""Grids of images."""

import numpy as np
from PIL import Image

from humalign_jax.report import pictures


def test_a_grid_holds_every_image_at_its_place(tmp_path):
    np_rng = np.random.default_rng(0)
    rows = [np_rng.integers(0, 256, (3, 5, 4, 3)).astype(np.uint8) for _ in range(2)]
    picture = pictures.grid(rows, gap_px=1)
    assert picture.shape == (2 * 6 + 1, 3 * 5 + 1, 3)
    np.testing.assert_array_equal(picture[7:12, 11:15], rows[1][2])
    assert (picture[0] == 255).all() and (picture[:, 5] == 255).all()
    pictures.save_png(tmp_path / 'figures' / 'grid.png', picture)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / 'figures' / 'grid.png')), picture)


def test_grey_images_become_three_equal_channels():
    row = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3, 1)
    picture = pictures.grid([row], gap_px=0)
    np.testing.assert_array_equal(picture[:, :3], np.repeat(row[0], 3, axis=2))
