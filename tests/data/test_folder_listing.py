"""Which images a folder holds: layouts, classes by name, a split by hash, and everything left out by name."""

import os
import unicodedata

import numpy as np
import pytest

from humalign_jax.data import folder_listing

COMPOSED, DECOMPOSED = (unicodedata.normalize(form, 'bée') for form in ('NFC', 'NFD'))


def touch(root, *paths):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    return root


def list_of(root, *paths):
    return folder_listing.list_folder(touch(root, *paths))


def names(listing, split):
    return [image.name for image in listing.images if image.split == split]


def test_images_are_found_at_any_depth_with_endings_in_any_letters(tmp_path):
    listing = list_of(tmp_path, 'a/0.png', 'a/1.TIF', 'a/2.gif', 'b/0.webp', 'b/1.tiff', 'b/x/y/2.JPG')
    assert names(listing, 'all') == ['a/0.png', 'a/1.TIF', 'a/2.gif', 'b/0.webp', 'b/1.tiff', 'b/x/y/2.JPG']
    assert listing.class_names == ('a', 'b') and not listing.left_out


@pytest.mark.parametrize('train', ['train', 'Training', 'TRAIN'])
@pytest.mark.parametrize('test', ['test', 'Testing'])
def test_split_folders_are_known_by_their_usual_names(train, test, tmp_path):
    listing = list_of(tmp_path, f'{train}/a/0.png', f'{train}/b/0.png', f'{test}/b/1.png')
    assert listing.splits == ('test', 'train') and listing.class_names == ('a', 'b')
    assert names(listing, 'test') == ['b/1.png']


@pytest.mark.parametrize('validation', ['val', 'valid', 'validation', 'Val', 'dev'])
def test_a_validation_folder_is_no_class_and_named_among_what_is_left_out(validation, tmp_path):
    listing = list_of(tmp_path, 'train/a/0.png', 'test/a/0.png', f'{validation}/a/0.png')
    assert listing.splits == ('test', 'train')
    assert listing.left_out == {
        'in a validation folder, of which nothing is read: validation images are cut from train': (
            f'{validation}/a/0.png',
        )
    }


def test_a_class_may_be_called_train_or_test(tmp_path):
    listing = list_of(tmp_path, 'airplane/0.png', 'train/0.png', 'truck/0.png', 'test/0.png')
    assert listing.splits == ('all',) and listing.class_names == ('airplane', 'test', 'train', 'truck')


def test_in_split_folders_too_a_class_may_be_called_train(tmp_path):
    assert list_of(tmp_path, 'train/train/0.png', 'train/bus/0.png').class_names == ('bus', 'train')


@pytest.mark.parametrize(
    'paths, message',
    [
        (('train/a/0.png', 'test/a/0.png', 'extra/0.png'), r"splits \('test', 'train'\) beside others \('extra'\)"),
        (('train/steam/0.png', 'train/0.png', 'bus/0.png'), r"\('train'\) beside others \('bus'\).*cannot be disting"),
        (('train/0.png', 'test/0.png'), "images directly in its split folders 'test', 'train'.*<split>/<class>/<im"),
        (('test/a/0.png', 'testing/a/0.png', 'train/a/0.png'), "2 folders for the test split, 'test', 'testing': keep"),
        (('zoo/train/a/0.png', 'zoo/val/a/0.png'), r'zoo has the split folders, not .*: give .*zoo as the root'),
    ],
)
def test_folders_that_could_be_splits_or_classes_are_refused_by_name(paths, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        list_of(tmp_path, *paths)


def test_a_class_without_test_images_keeps_its_place_in_the_table(tmp_path):
    listing = list_of(tmp_path, 'train/a/0.png', 'train/b/0.png', 'train/c/0.png', 'test/a/0.png', 'test/c/0.png')
    assert listing.class_names == ('a', 'b', 'c')


def test_a_test_class_that_train_lacks_is_refused_by_name(tmp_path):
    with pytest.raises(ValueError, match=r"test has the classes 'emu', of which train has no images \(train has 'a'\)"):
        list_of(tmp_path, 'train/a/0.png', 'test/a/0.png', 'test/emu/0.png')


@pytest.mark.parametrize('other', ['Dog', 'dog ', 'ｄog'])
@pytest.mark.parametrize('place', ['train', 'test'])
def test_classes_that_differ_only_in_capitals_blanks_or_width_are_refused(other, place, tmp_path):
    with pytest.raises(ValueError, match='differ only in capitals, width or blanks') as caught:
        list_of(tmp_path, 'train/cat/0.png', 'train/dog/0.png', f'{place}/{other}/1.png')
    assert repr(other) in str(caught.value) and "'dog'" in str(caught.value)


def test_composed_and_decomposed_letters_are_one_class_and_one_name(tmp_path):
    assert COMPOSED != DECOMPOSED
    listing = list_of(tmp_path, f'train/{DECOMPOSED}/0.png', f'test/{COMPOSED}/1.png')
    assert listing.class_names == (COMPOSED,)
    assert names(listing, 'train') == [f'{COMPOSED}/0.png']
    assert (tmp_path / listing.images[1].path).exists()


def test_two_files_of_one_name_in_composed_letters_are_refused(tmp_path):
    touch(tmp_path, f'a/{COMPOSED}.png', f'a/{DECOMPOSED}.png')
    if len(os.listdir(tmp_path / 'a')) == 1:
        pytest.skip('this file system composes names')
    with pytest.raises(ValueError, match=r"written with the same letters \('a/be\\u0301e.png' and 'a/b\\xe9e.png'\)"):
        folder_listing.list_folder(tmp_path)


def test_everything_left_out_is_named_by_reason(tmp_path):
    touch(tmp_path, 'a/0.png', 'a/.hidden.png', '.git/x.png', 'a/notes.txt', 'b/c/notes.md', '0.png')
    (tmp_path / 'a' / 'gone.png').symlink_to(tmp_path / 'nowhere.png')
    (tmp_path / 'a' / 'loop').symlink_to(tmp_path)
    (tmp_path / 'a' / 'itself.png').symlink_to(tmp_path / 'a' / 'itself.png')
    os.mkfifo(tmp_path / 'a' / 'pipe.png')
    assert folder_listing.list_folder(tmp_path).left_out == {
        'hidden': ('.git', 'a/.hidden.png'),
        'in no class folder': ('0.png',),
        'of another ending': ('a/notes.txt', 'b/c/notes.md'),
        'broken link': ('a/gone.png', 'a/itself.png'),
        'no regular file': ('a/pipe.png',),
        'linked to a folder above': ('a/loop',),
        'folder without images': ('b/c', 'b'),
    }


def test_a_linked_folder_is_followed(tmp_path):
    touch(tmp_path, 'elsewhere/0.png', 'zoo/b/1.png')
    (tmp_path / 'zoo' / 'a').symlink_to(tmp_path / 'elsewhere')
    assert names(folder_listing.list_folder(tmp_path / 'zoo'), 'all') == ['a/0.png', 'b/1.png']


@pytest.mark.parametrize('link', ['folder', 'symbolic', 'hard'])
def test_a_file_in_train_and_test_is_refused(link, tmp_path):
    touch(tmp_path, 'train/a/0.png')
    if link == 'folder':
        (tmp_path / 'test').symlink_to(tmp_path / 'train')
    else:
        touch(tmp_path, 'test/a/1.png')
        path = tmp_path / 'test' / 'a' / '0.png'
        path.symlink_to(tmp_path / 'train/a/0.png') if link == 'symbolic' else path.hardlink_to(
            tmp_path / 'train/a/0.png'
        )
    with pytest.raises(ValueError, match=r'test/a/0\.png and train/a/0\.png are the same file'):
        folder_listing.list_folder(tmp_path)


def test_a_folder_without_images_says_what_lies_there(tmp_path):
    left_out = r"Left out: 1 of another ending \('a/0\.heic'\); 1 folder without images \('a'\); 1 in no class folder"
    with pytest.raises(ValueError, match=f'has no images.*{left_out}'):
        list_of(tmp_path, '0.png', 'a/0.heic')


@pytest.mark.parametrize('letter', [b'\xff', b'\n'])
def test_a_file_name_that_is_no_line_of_text_is_refused(letter, tmp_path):
    touch(tmp_path, 'a/0.png')
    try:
        open(os.fsencode(tmp_path) + b'/a/' + letter + b'.png', 'wb').close()
    except OSError:
        pytest.skip('this file system has text names only')
    with pytest.raises(ValueError, match=r'a/\\(xff|n)\.png.*must have a name in UTF-8 without line breaks'):
        folder_listing.list_folder(tmp_path)


def numbered(n, class_name='a', ending='png'):
    return [folder_listing.Image(f'{i}', 'all', class_name, f'{class_name}/{i:04d}.{ending}') for i in range(n)]


def test_the_share_held_out_is_the_asked_one_and_depends_on_the_seed():
    images = numbered(4000)
    sides = {(share, seed): folder_listing.held_out(images, share, seed) for share in (0.2, 0.5) for seed in (0, 1)}
    for (share, _), side in sides.items():
        assert abs(np.mean(side) - share) < 4 * np.sqrt(share * (1 - share) / 4000)
    assert sides[0.2, 0] != sides[0.2, 1] and sides[0.2, 0] == folder_listing.held_out(images, 0.2, 0)


@pytest.mark.parametrize('n', [2, 3, 5])
@pytest.mark.parametrize('share', [0.01, 0.99])
def test_each_class_of_two_images_or_more_has_both_sides(n, share):
    images = [image for k in range(20) for image in numbered(n, f'class{k}')]
    side = np.array(folder_listing.held_out(images, share, 0)).reshape(20, n)
    assert side.any(axis=1).all() and not side.all(axis=1).any()


def test_a_single_image_is_for_training():
    assert folder_listing.held_out(numbered(1), 0.99, 0) == [False]


def test_files_added_later_make_no_training_image_a_test_image():
    images = numbered(300)
    few = folder_listing.held_out(images[::3], 0.2, 0)
    for before, after in zip(few, folder_listing.held_out(images, 0.2, 0)[::3], strict=True):
        assert before or not after


def test_one_picture_in_two_formats_is_on_one_side():
    assert folder_listing.held_out(numbered(50), 0.3, 0) == folder_listing.held_out(numbered(50, ending='tif'), 0.3, 0)
