"""Images with voxels: files of any size, ids of the classifier's images, held-out images, and what is refused."""

import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image

from humalign_jax.data import image_files
from humalign_jax.human import fmri
from humalign_jax.human_responses import Responses
from humalign_jax.wiring import voxel_images
from humalign_jax.wiring.images import load_images

N, N_VAL, V = 12, 4, 5


@pytest.fixture(scope='module')
def of_classifier():
    section = dict(name='synthetic', root='', batch_size=1, n_validation=16, target='label', n_train=48, n_test=16)
    return load_images(ConfigDict(section), seed=0)


def section(root, **changes):
    return ConfigDict({**dict(name='nsd', root=str(root), images='', rois=('V4',), n_validation=3), **changes})


def write(folder, train, val, values=None):
    """An NSD folder with these stimuli."""
    values = np.random.default_rng(0).normal(2, 3, size=(len(train) + len(val), V)) if values is None else values
    everything = Responses(
        values.astype(np.float32),
        np.array([*train, *val]),
        np.zeros(len(values), int),
        {'V4': np.ones(V, bool)},
        'a',
        'b',
    )
    first = np.arange(len(values)) < len(train)
    fmri.write_nsd(folder, {'train': everything.take(first), 'val': everything.take(~first)})
    return everything


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    """A folder with images of 40 x 48 and 64 x 50 px and their responses."""
    folder, np_rng = tmp_path_factory.mktemp('nsd'), np.random.default_rng(1)
    (folder / 'images').mkdir()
    names = [f'images/{k}.png' for k in range(N + N_VAL)]
    for k, name in enumerate(names):
        size = (40, 48, 3) if k % 2 else (64, 50, 3)
        Image.fromarray(np_rng.integers(0, 256, size, dtype=np.uint8)).save(folder / name)
    return folder, names, write(folder, names[:N], names[N:])


def test_image_files_are_resized_by_the_shorter_side_and_cut_to_the_centre(files, of_classifier):
    folder, _, _ = files
    parts = voxel_images.read(section(folder), of_classifier, seed=0)
    for part in parts.values():
        assert part.images.shape[1:] == (32, 32, 3)
        for image, stimulus in zip(part.images, part.responses.stimuli):
            np.testing.assert_array_equal(image, image_files.read_image(folder / stimulus, size_px=32, fit='crop'))


def test_parts_share_no_image_and_are_scaled_by_the_training_images(files, of_classifier):
    folder, names, everything = files
    parts = voxel_images.read(section(folder), of_classifier, seed=0)
    assert {split: len(part) for split, part in parts.items()} == {'train': N - 3, 'validation': 3, 'test': N_VAL}
    ids = {split: set(part.responses.stimuli) for split, part in parts.items()}
    assert not ids['train'] & ids['validation'] and ids['train'] | ids['validation'] == set(names[:N])
    rows = [names.index(stimulus) for stimulus in parts['train'].responses.stimuli]
    mean, sd = everything.values[rows].mean(axis=0), everything.values[rows].std(axis=0)
    test_rows = [names.index(stimulus) for stimulus in parts['test'].responses.stimuli]
    np.testing.assert_allclose(
        parts['test'].responses.values, (everything.values[test_rows] - mean) / sd, rtol=1e-5, atol=1e-5
    )


def test_without_held_out_images_those_that_are_scored_choose_the_checkpoint(files, of_classifier):
    parts = voxel_images.read(section(files[0], n_validation=0), of_classifier, seed=0)
    np.testing.assert_array_equal(parts['validation'].images, parts['test'].images)
    assert len(parts['train']) == N


def test_stimuli_may_be_images_of_the_classifier_by_id(of_classifier, tmp_path):
    train, validation = of_classifier['train'], of_classifier['validation']
    write(tmp_path, train.ids[:8], validation.ids[:4])
    parts = voxel_images.read(section(tmp_path), of_classifier, seed=0)
    np.testing.assert_array_equal(parts['test'].images, validation.images[:4])
    first = list(train.ids).index(parts['train'].responses.stimuli[0])
    np.testing.assert_array_equal(parts['train'].images[0], train.images[first])


def test_voxels_that_are_constant_or_not_finite_are_left_out(of_classifier, tmp_path):
    values = np.random.default_rng(0).normal(size=(12, V))
    values[:, 1], values[3, 4] = 7.0, np.nan
    write(tmp_path, of_classifier['train'].ids[:8], of_classifier['train'].ids[8:12], values)
    assert voxel_images.read(section(tmp_path), of_classifier, seed=0)['train'].responses.n_voxels == 3


def test_test_images_of_the_classifier_are_refused(of_classifier, tmp_path):
    write(tmp_path, of_classifier['train'].ids[:8], of_classifier['test'].ids[:4])
    with pytest.raises(ValueError, match='4 images with voxels are test images of the classifier, the first of them'):
        voxel_images.read(section(tmp_path), of_classifier, seed=0)


def test_an_image_in_train_and_val_is_refused(of_classifier, tmp_path):
    write(tmp_path, of_classifier['train'].ids[:8], of_classifier['train'].ids[7:10])
    with pytest.raises(ValueError, match='1 of 3 images to be scored are training images, too'):
        voxel_images.read(section(tmp_path), of_classifier, seed=0)


def test_a_missing_image_is_named(of_classifier, tmp_path):
    write(tmp_path, [f'{k}.png' for k in range(8)], ['8.png', '9.png'])
    with pytest.raises(ValueError, match=r'images of .* are missing, the first of them .*\.png'):
        voxel_images.read(section(tmp_path), of_classifier, seed=0)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(name='bold'), "config.human.name='bold' must be 'nsd' or 'synthetic'"),
        (dict(n_validation=12), 'n_validation=12 leaves none of 12 images'),
        (dict(rois=('V1',)), r'has no V1\.npy, but V4'),
    ],
)
def test_settings_that_cannot_be_are_named(files, of_classifier, changes, message):
    with pytest.raises(ValueError, match=message):
        voxel_images.read(section(files[0], **changes), of_classifier, seed=0)


def test_synthetic_voxels_follow_from_the_pixels_of_training_images(of_classifier):
    parts = voxel_images.read(section('', name='synthetic', rois=()), of_classifier, seed=0)
    assert parts['train'].responses.simulated and set(parts['test'].responses.stimuli) <= set(
        of_classifier['train'].ids
    )
