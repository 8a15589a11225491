"""Folders of images as image sets: labels by name, ids by path, and what is said of them."""

import shutil

import numpy as np
import pytest
from absl import logging
from PIL import Image

from humalign_jax.data import load_image_folder


def save(path, level=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    options = {'lossless': True} if path.suffix == '.webp' else {}
    Image.fromarray(np.full((6, 6, 3), level, np.uint8)).save(path, **options)


@pytest.fixture
def said(monkeypatch):
    """What is logged as a warning."""
    lines = []
    monkeypatch.setattr(logging, 'warning', lambda text, *values: lines.append(text % values))
    return lines


def test_classes_and_paths_are_sorted_and_kept(tmp_path):
    for number, name in enumerate(['zebra/b.png', 'zebra/a.BMP', 'Ant/x.png', 'bee/1.webp', 'bee/10.png', 'bee/2.png']):
        save(tmp_path / 'train' / name, 40 * number)
    read = load_image_folder('train', root=str(tmp_path), size_px=6, dataset='zoo')
    assert read.class_names == ('Ant', 'bee', 'zebra')
    expected = ['Ant/x.png', 'bee/1.webp', 'bee/10.png', 'bee/2.png', 'zebra/a.BMP', 'zebra/b.png']
    assert read.extras['path'].tolist() == [f'train/{path}' for path in expected]
    assert read.ids.tolist() == [f'zoo/train/{path}' for path in expected]
    np.testing.assert_array_equal(read.labels, [0, 1, 1, 1, 2, 2])
    np.testing.assert_array_equal(read.images[:, 0, 0, 0], [80, 120, 160, 200, 40, 0])


def test_both_splits_number_the_classes_alike_when_one_is_missing_in_test(tmp_path, said):
    for name in ('ant', 'bee', 'cow'):
        save(tmp_path / 'train' / name / '0.png')
        if name != 'bee':
            save(tmp_path / 'test' / name / '1.png')
    train, test = (load_image_folder(split, root=str(tmp_path), size_px=6) for split in ('train', 'test'))
    assert train.class_names == test.class_names == ('ant', 'bee', 'cow')
    np.testing.assert_array_equal(test.labels, [0, 2])
    assert said == [f"{tmp_path}: no test image is of class 'bee'."]


def test_a_file_added_later_changes_no_id(tmp_path):
    for name in ('ant/b.png', 'bee/a.png'):
        save(tmp_path / 'train' / name, 10)
    before = load_image_folder('train', root=str(tmp_path), size_px=6)
    save(tmp_path / 'train' / 'ant' / 'a.png', 20)
    after = load_image_folder('train', root=str(tmp_path), size_px=6)
    assert (
        dict(zip(before.ids, before.extras['path'], strict=True)).items()
        <= dict(zip(after.ids, after.extras['path'], strict=True)).items()
    )
    assert len(after) == 3


def test_ids_go_with_the_images_that_are_taken(tmp_path):
    for i in range(4):
        save(tmp_path / 'train' / 'ant' / f'{i}.png', 10 * i)
    part = load_image_folder('train', root=str(tmp_path), size_px=6).take(np.array([2, 0]), split='validation')
    assert part.ids.tolist() == ['image_folder/train/ant/2.png', 'image_folder/train/ant/0.png']


def test_a_folder_without_splits_is_split_and_says_so(tmp_path, said):
    for number in range(40):
        save(tmp_path / 'ab'[number % 2] / f'{number}.png', number)
    options = {'root': str(tmp_path), 'size_px': 6, 'test_share': 0.3, 'split_seed': 2}
    train, test = (load_image_folder(split, **options) for split in ('train', 'test'))
    assert not {*train.ids} & {*test.ids} and len(train) + len(test) == 40
    assert {*train.images[:, 0, 0, 0], *test.images[:, 0, 0, 0]} == set(range(40))
    assert test.ids[0].startswith('image_folder/all/a/')
    expected = f'{len(test)} of 40 images held out by split_seed=2, about 0.3 of each class: the folder has no split'
    for images in (train, test):
        assert images.provenance['test_split'].startswith(expected)
    assert expected in said[0]


def test_the_split_does_not_depend_on_where_the_folder_lies(tmp_path):
    for number in range(20):
        save(tmp_path / 'here' / 'a' / f'{number}.png')
    shutil.copytree(tmp_path / 'here', tmp_path / 'there' / 'else')
    here, there = (load_image_folder('test', root=str(tmp_path / place), size_px=6) for place in ('here', 'there/else'))
    np.testing.assert_array_equal(here.ids, there.ids)


def test_without_a_share_all_images_are_for_training(tmp_path):
    for number in range(5):
        save(tmp_path / 'a' / f'{number}.png')
    read = load_image_folder('train', root=str(tmp_path), size_px=6, test_share=0.0)
    assert len(read) == 5 and 'test_split' not in read.provenance
    with pytest.raises(ValueError, match='test_share=0 holds out no test images'):
        load_image_folder('test', root=str(tmp_path), size_px=6, test_share=0.0)


def test_no_test_image_can_be_held_out_of_single_images(tmp_path):
    for name in 'ab':
        save(tmp_path / name / '0.png')
    assert len(load_image_folder('train', root=str(tmp_path), size_px=6)) == 2
    with pytest.raises(ValueError, match='no class has two images'):
        load_image_folder('test', root=str(tmp_path), size_px=6)


def test_files_left_out_are_counted_named_and_kept(tmp_path, said):
    for split in ('train', 'test'):
        save(tmp_path / split / 'a' / f'{split}.png')
        (tmp_path / split / 'a' / f'{split}.heic').touch()
    read = load_image_folder('train', root=str(tmp_path), size_px=6)
    assert read.provenance == {'files_left_out': "1 of another ending ('train/a/train.heic')"}
    assert said == [f"Left out below {tmp_path}: 1 of another ending ('train/a/train.heic')."]


def test_images_that_were_turned_or_have_frames_are_counted_and_named(tmp_path, said):
    exif = Image.Exif()
    exif[0x0112] = 6
    save(tmp_path / 'train' / 'a' / '0.png')
    Image.new('RGB', (4, 4)).save(tmp_path / 'train' / 'a' / '1.jpg', exif=exif)
    frames = [Image.new('RGB', (4, 4), colour) for colour in ('red', 'blue')]
    frames[0].save(tmp_path / 'train' / 'a' / '2.gif', save_all=True, append_images=frames[1:])
    read = load_image_folder('train', root=str(tmp_path), size_px=6)
    expected = "1 turned by EXIF orientation ('train/a/1.jpg'); 1 first of several frames ('train/a/2.gif')"
    assert read.provenance == {'images_changed': expected}
    assert said == [f'Images below {tmp_path}: {expected}.']


def test_all_images_that_cannot_be_read_are_named_at_once(tmp_path):
    save(tmp_path / 'train' / 'a' / '0.png')
    for name in ('1.png', '2.tif'):
        (tmp_path / 'train' / 'a' / name).touch()
    with pytest.raises(ValueError, match=r"a/1\.png cannot .*0 bytes.* So must 1 more: 'train/a/2\.tif'"):
        load_image_folder('train', root=str(tmp_path), size_px=6)


@pytest.mark.parametrize(
    'present, split, message',
    [
        (
            ('train',),
            'test',
            r'no images of the test split .*only of train\. With .*/train as the root, test images',
        ),
        (
            ('train', 'Val'),
            'test',
            r"only of train\. Left out: 1 in a val.* If 'Val' is to be scored, rename it to 'te",
        ),
        (('test',), 'train', r'no images of the train split \(<split>/<class>/<image>\), only of test\.$'),
    ],
)
def test_a_missing_split_is_an_error_with_a_way_out(present, split, message, tmp_path):
    for place in present:
        save(tmp_path / place / 'a' / '0.png')
    with pytest.raises(ValueError, match=message):
        load_image_folder(split, root=str(tmp_path), size_px=6)


@pytest.mark.parametrize(
    'options, message',
    [
        ({'split': 'validation'}, "'train' or 'test', not 'validation'"),
        ({'fit': 'pad'}, "'crop' or 'stretch', not 'pad'"),
        ({'size_px': 0}, 'size_px must be at least 1'),
        ({'test_share': 1.0}, r'test_share must be at least 0 and below 1, not 1\.0'),
        ({'dataset': 'a/b'}, "dataset must be a name without '/', not 'a/b'"),
        ({'dataset': ''}, "dataset must be a name without '/', not ''"),
        ({'root': '/nowhere/at/all'}, '/nowhere/at/all is not a folder'),
        ({}, 'has no images'),
    ],
)
def test_wrong_options_and_empty_folders_are_errors(options, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        load_image_folder(**{'split': 'train', 'root': str(tmp_path), **options})
