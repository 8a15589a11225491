"""One image as an array: size, depth, transparency, orientation, frames, and damaged files by name."""

import io

import numpy as np
import pytest
from PIL import Image

from humalign_jax.data import image_files


def save(path, values, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(values, np.uint8)).save(path, **options)


def plain(level, height=6, width=6):
    return np.full((height, width, 3), level)


def test_crop_takes_the_centre_and_stretch_takes_all(tmp_path):
    stripes = np.zeros((8, 24, 3))
    stripes[:, 8:16] = 255  # black, white, black
    save(tmp_path / 'wide.png', stripes)
    save(tmp_path / 'tall.png', stripes.transpose(1, 0, 2))
    for name in ('wide', 'tall'):
        assert (image_files.read_image(tmp_path / f'{name}.png', size_px=8) == 255).all()
    stretched = image_files.read_image(tmp_path / 'wide.png', size_px=24, fit='stretch')
    np.testing.assert_array_equal(stretched[12, [2, 12, 21], 0], [0, 255, 0])


@pytest.mark.parametrize('size_px', [1, 5, 17, 224])
@pytest.mark.parametrize('shape', [(7, 3), (1, 50), (13, 13)])
def test_any_shape_becomes_the_asked_square(shape, size_px, tmp_path):
    save(tmp_path / 'a.png', plain(9, *shape))
    assert (image_files.read_image(tmp_path / 'a.png', size_px=size_px) == np.full((size_px, size_px, 3), 9)).all()


def test_grey_is_luma_and_transparency_lies_on_white(tmp_path):
    save(tmp_path / 'red.png', np.full((2, 2, 3), [255, 0, 0]))
    np.testing.assert_array_equal(image_files.read_image(tmp_path / 'red.png', size_px=2, grey=True), 76)  # 0.299 * 255
    clear = np.zeros((2, 2, 4))
    clear[0, :, 3] = 255
    save(tmp_path / 'clear.png', clear)
    np.testing.assert_array_equal(image_files.read_image(tmp_path / 'clear.png', size_px=2)[:, 0, 0], [0, 255])


@pytest.mark.parametrize('ending', ['png', 'tif'])
def test_16_bit_images_keep_their_upper_byte(ending, tmp_path):
    levels = np.array([[0, 300], [32768, 65535]], np.uint16)
    Image.fromarray(levels).save(tmp_path / f'deep.{ending}')
    read, notes = image_files.read_with_notes(tmp_path / f'deep.{ending}', size_px=2, grey=True)
    np.testing.assert_array_equal(read[..., 0], levels // 256)
    assert notes == ()


def test_16_bit_images_that_would_become_black_or_nearly_so_are_refused_or_noted(tmp_path):
    for name, top in (('black', 255), ('dark', 4095)):
        Image.fromarray(np.array([[0, top]], np.uint16)).save(tmp_path / f'{name}.png')
    with pytest.raises(ValueError, match=r'black\.png cannot .*16-bit levels end at 255 of 65,535'):
        image_files.read_image(tmp_path / 'black.png', size_px=2)
    assert image_files.read_with_notes(tmp_path / 'dark.png', size_px=2)[1] == (image_files.DARK,)


def test_a_float_image_is_refused_because_it_has_no_white(tmp_path):
    Image.fromarray(np.ones((2, 2), np.float32)).save(tmp_path / 'float.tif')
    with pytest.raises(ValueError, match=r"float\.tif cannot be read as an image \(its mode 'F' has no fixed white"):
        image_files.read_image(tmp_path / 'float.tif', size_px=2)


def test_a_palette_image_keeps_its_levels(tmp_path):
    Image.fromarray(np.arange(4, dtype=np.uint8).reshape(2, 2) * 60).convert('P').save(tmp_path / 'p.png')
    np.testing.assert_array_equal(image_files.read_image(tmp_path / 'p.png', size_px=2)[..., 0], [[0, 60], [120, 180]])


def test_cmyk_is_converted_to_rgb(tmp_path):
    Image.new('CMYK', (2, 2), (0, 255, 255, 0)).save(tmp_path / 'red.tif')
    np.testing.assert_array_equal(image_files.read_image(tmp_path / 'red.tif', size_px=2)[0, 0], [255, 0, 0])


@pytest.mark.parametrize('ending', ['gif', 'tif', 'png', 'webp'])
def test_of_several_frames_the_first_is_read_and_noted(ending, tmp_path):
    frames = [Image.fromarray(np.full((4, 4, 3), level, np.uint8)) for level in (200, 100, 0)]
    options = {'lossless': True} if ending == 'webp' else {}
    frames[0].save(tmp_path / f'film.{ending}', save_all=True, append_images=frames[1:], **options)
    read, notes = image_files.read_with_notes(tmp_path / f'film.{ending}', size_px=4)
    np.testing.assert_array_equal(read, 200)
    assert notes == (image_files.FIRST_FRAME,)


# What each EXIF orientation says of the stored rows and columns (EXIF 2.32, tag 0x0112), as NumPy turns it back.
UPRIGHT = {
    1: lambda x: x,
    2: np.fliplr,
    3: lambda x: np.rot90(x, 2),
    4: np.flipud,
    5: lambda x: x.T,
    6: lambda x: np.rot90(x, -1),
    7: lambda x: np.rot90(x, 2).T,
    8: np.rot90,
}


@pytest.mark.parametrize('orientation', UPRIGHT)
@pytest.mark.parametrize('ending', ['png', 'tif'])
def test_the_orientation_of_the_camera_is_followed_and_noted(orientation, ending, tmp_path):
    stored = np.arange(9, dtype=np.uint8).reshape(3, 3) * 20
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(stored).save(tmp_path / f'a.{ending}', exif=exif)
    read, notes = image_files.read_with_notes(tmp_path / f'a.{ending}', size_px=3, grey=True)
    np.testing.assert_array_equal(read[..., 0], UPRIGHT[orientation](stored))
    assert notes == (() if orientation == 1 else (image_files.TURNED,))


def test_an_empty_file_is_named_as_empty(tmp_path):
    (tmp_path / 'a.png').touch()
    with pytest.raises(ValueError, match=r'a\.png cannot be read as an image \(it is empty, of 0 bytes\): replace'):
        image_files.read_image(tmp_path / 'a.png', size_px=2)


def test_damaged_images_are_named_or_give_the_right_shape(tmp_path):
    np_rng = np.random.default_rng(0)
    path = tmp_path / 'a.png'
    refused = 0
    for trial in range(420):
        ending = ('PNG', 'JPEG', 'BMP', 'WEBP', 'TIFF', 'GIF', 'PPM')[trial % 7]
        buffer = io.BytesIO()
        Image.fromarray(np_rng.integers(0, 256, (12, 12, 3), np.uint8)).save(buffer, ending)
        content = bytearray(buffer.getvalue())
        if trial % 14 < 7:
            content = content[: np_rng.integers(0, len(content) - 3)]
        else:
            for _ in range(4):
                content[np_rng.integers(0, min(120, len(content)))] ^= 1 << np_rng.integers(0, 8)
        path.write_bytes(content)
        try:
            assert image_files.read_image(path, size_px=12).shape == (12, 12, 3)
        except ValueError as error:
            refused += 1
            assert str(path) in str(error)
    assert refused > 150


def test_a_decompression_bomb_is_refused_by_name(tmp_path, monkeypatch):
    save(tmp_path / 'big.png', plain(0, 30, 30))
    for limit in (800, 400):  # Pillow warns above the limit and raises above twice the limit
        monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', limit)
        with pytest.raises(ValueError, match=r'big\.png cannot be read as an image .*decompression bomb'):
            image_files.read_image(tmp_path / 'big.png', size_px=4)
