"""Folders of images: order, labels, resizing, and damaged files by name."""

import io

import numpy as np
import pytest
from PIL import Image

from humalign_jax.data import image_folder, load_image_folder


def save(path, values, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(values, np.uint8)).save(path, **options)


def plain(level, height=6, width=6):
    return np.full((height, width, 3), level)


def test_classes_and_paths_are_sorted_and_kept(tmp_path):
    for number, name in enumerate(['zebra/b.png', 'zebra/a.BMP', 'Ant/x.png', 'bee/1.webp', 'bee/10.png', 'bee/2.png']):
        save(tmp_path / 'train' / name, plain(40 * number), **({'lossless': True} if name.endswith('webp') else {}))
    (tmp_path / 'train' / 'bee' / 'notes.txt').write_text('no image')
    save(tmp_path / 'train' / '.ipynb_checkpoints' / 'x.png', plain(1))
    save(tmp_path / 'train' / 'bee' / '.hidden.png', plain(1))
    read = load_image_folder('train', root=str(tmp_path), size_px=6, dataset='zoo')
    assert read.class_names == ('Ant', 'bee', 'zebra')
    expected = ['Ant/x.png', 'bee/1.webp', 'bee/10.png', 'bee/2.png', 'zebra/a.BMP', 'zebra/b.png']
    assert read.extras['path'].tolist() == expected
    np.testing.assert_array_equal(read.labels, [0, 1, 1, 1, 2, 2])
    np.testing.assert_array_equal(read.images[:, 0, 0, 0], [80, 120, 160, 200, 40, 0])
    assert read.ids[5] == 'zoo/train/00005'


def test_a_folder_without_splits_serves_any_split_and_one_with_splits_only_its_own(tmp_path):
    save(tmp_path / 'flat' / 'a' / '1.png', plain(1))
    for split in ('train', 'test'):
        assert load_image_folder(split, root=str(tmp_path / 'flat'), size_px=4).split == split
    save(tmp_path / 'split' / 'train' / 'a' / '1.png', plain(1))
    with pytest.raises(ValueError, match="has no folder 'test'"):
        load_image_folder('test', root=str(tmp_path / 'split'))


def test_crop_takes_the_centre_and_stretch_takes_all(tmp_path):
    stripes = np.zeros((8, 24, 3))
    stripes[:, 8:16] = 255  # black, white, black
    save(tmp_path / 'wide.png', stripes)
    save(tmp_path / 'tall.png', stripes.transpose(1, 0, 2))
    for name in ('wide', 'tall'):
        assert (image_folder.read_image(tmp_path / f'{name}.png', size_px=8) == 255).all()
    stretched = image_folder.read_image(tmp_path / 'wide.png', size_px=24, fit='stretch')
    np.testing.assert_array_equal(stretched[12, [2, 12, 21], 0], [0, 255, 0])


@pytest.mark.parametrize('size_px', [1, 5, 17, 224])
@pytest.mark.parametrize('shape', [(7, 3), (1, 50), (13, 13)])
def test_any_shape_becomes_the_asked_square(shape, size_px, tmp_path):
    save(tmp_path / 'a.png', plain(9, *shape))
    assert (image_folder.read_image(tmp_path / 'a.png', size_px=size_px) == np.full((size_px, size_px, 3), 9)).all()


def test_grey_is_luma_and_transparency_lies_on_white(tmp_path):
    save(tmp_path / 'red.png', np.full((2, 2, 3), [255, 0, 0]))
    np.testing.assert_array_equal(
        image_folder.read_image(tmp_path / 'red.png', size_px=2, grey=True), 76
    )  # 0.299 * 255
    clear = np.zeros((2, 2, 4))
    clear[0, :, 3] = 255
    save(tmp_path / 'clear.png', clear)
    np.testing.assert_array_equal(image_folder.read_image(tmp_path / 'clear.png', size_px=2)[:, 0, 0], [0, 255])


def test_16_bit_images_keep_their_upper_byte(tmp_path):
    levels = np.array([[0, 300], [32768, 65535]], np.uint16)
    Image.fromarray(levels).save(tmp_path / 'deep.png')
    read = image_folder.read_image(tmp_path / 'deep.png', size_px=2, grey=True)[..., 0]
    np.testing.assert_array_equal(read, levels // 256)


def test_a_palette_image_keeps_its_levels(tmp_path):
    Image.fromarray(np.arange(4, dtype=np.uint8).reshape(2, 2) * 60).convert('P').save(tmp_path / 'p.png')
    np.testing.assert_array_equal(image_folder.read_image(tmp_path / 'p.png', size_px=2)[..., 0], [[0, 60], [120, 180]])


def test_damaged_images_are_named_or_give_the_right_shape(tmp_path):
    np_rng = np.random.default_rng(0)
    path = tmp_path / 'a.png'
    refused = 0
    for trial in range(300):
        ending = ('PNG', 'JPEG', 'BMP', 'WEBP')[trial % 4]
        buffer = io.BytesIO()
        Image.fromarray(np_rng.integers(0, 256, (12, 12, 3), np.uint8)).save(buffer, ending)
        content = bytearray(buffer.getvalue())
        if trial % 8 < 4:
            content = content[: np_rng.integers(0, len(content) - 3)]
        else:
            for _ in range(4):
                content[np_rng.integers(0, min(120, len(content)))] ^= 1 << np_rng.integers(0, 8)
        path.write_bytes(content)
        try:
            assert image_folder.read_image(path, size_px=12).shape == (12, 12, 3)
        except ValueError as error:
            refused += 1
            assert str(path) in str(error)
    assert refused > 100


def test_a_decompression_bomb_is_refused_by_name(tmp_path, monkeypatch):
    save(tmp_path / 'big.png', plain(0, 30, 30))
    for limit in (800, 400):  # Pillow warns above the limit and raises above twice the limit
        monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', limit)
        with pytest.raises(ValueError, match=r'big\.png cannot be read as an image .*decompression bomb'):
            image_folder.read_image(tmp_path / 'big.png', size_px=4)


@pytest.mark.parametrize(
    'options, message',
    [
        ({'split': 'validation'}, "'train' or 'test', not 'validation'"),
        ({'fit': 'pad'}, "'crop' or 'stretch', not 'pad'"),
        ({'size_px': 0}, 'size_px must be at least 1'),
        ({'root': '/nowhere/at/all'}, '/nowhere/at/all is not a folder'),
        ({}, 'has no images'),
    ],
)
def test_wrong_options_and_empty_folders_are_errors(options, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        load_image_folder(**{'split': 'train', 'root': str(tmp_path), **options})
