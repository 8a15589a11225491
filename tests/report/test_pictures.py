"""Grids of images."""

import numpy as np
from PIL import Image

from humalign_jax.report.plots import pictures


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


def test_enlarging_makes_every_pixel_a_square_and_never_shrinks():
    picture = np.random.default_rng(0).integers(0, 256, (3, 4, 3)).astype(np.uint8)
    large = pictures.enlarged(picture, 9)  # 2 times 4 is nearest to 9
    np.testing.assert_array_equal(large, np.kron(picture, np.ones((2, 2, 1), np.uint8)))
    np.testing.assert_array_equal(pictures.enlarged(picture, 3), picture)


def test_pictures_stand_beside_each_other_on_white():
    left, right = np.zeros((2, 3, 3), np.uint8), np.full((2, 1, 3), 7, np.uint8)
    both = pictures.beside([left, right], gap_px=2)
    np.testing.assert_array_equal(both[0, :, 0], [0, 0, 0, 255, 255, 7])


def test_floats_become_the_nearest_bytes_and_those_outside_are_cut_off():
    bytes_ = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(pictures.to_bytes(bytes_ / np.float32(255)), bytes_)
    np.testing.assert_array_equal(pictures.to_bytes(np.array([-0.2, 1.7, 0.5])), [0, 255, 128])
