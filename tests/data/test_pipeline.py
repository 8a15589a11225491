"""Preprocessing inside the step: normalisation, crops and flips, each a function of the image's own key."""

import itertools

import jax
import numpy as np
import pytest

from humalign_jax import data
from humalign_jax.data import pipeline

PLAIN = {'mean': (0.0, 0.0, 0.0), 'std': (1.0, 1.0, 1.0)}


def _images(n=64, side=8):
    return np.random.default_rng(0).integers(1, 256, (n, side, side, 3)).astype(np.uint8)


def _bytes(prepared):
    """Intensities of a PLAIN preparation as the bytes they came from: 1 / 255 is not exact in float32."""
    return np.rint(np.asarray(prepared) * 255).astype(np.uint8)


def _keys(n, seed=0):
    return jax.random.split(jax.random.key(seed), n)


def test_normalisation_is_subtract_mean_divide_by_std_of_unit_intensities():
    mean, std = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
    images = _images()
    expected = (images / 255.0 - mean) / std
    np.testing.assert_allclose(pipeline.make_prepare(mean=mean, std=std)(images, None), expected, rtol=1e-5, atol=1e-6)


def test_without_keys_nothing_is_random():
    images = _images()
    prepare = pipeline.make_prepare(**PLAIN, crop_padding_px=4, flip=True)
    np.testing.assert_array_equal(prepare(images, None), pipeline.make_prepare(**PLAIN)(images, None))


def test_flips_mirror_about_half_of_the_images_and_change_nothing_else():
    images = _images(400)
    flipped = _bytes(pipeline.make_prepare(**PLAIN, flip=True)(images, _keys(400)))
    same = (flipped == images).all(axis=(1, 2, 3))
    mirrored = (flipped == images[:, :, ::-1]).all(axis=(1, 2, 3))
    assert (same ^ mirrored).all()
    assert 150 < mirrored.sum() < 250  # binomial(400, 1/2): five standard deviations


@pytest.mark.parametrize(('mode', 'numpy_mode'), [('zeros', 'constant'), ('reflect', 'reflect')])
def test_crops_are_windows_of_the_padded_image_and_all_occur(mode, numpy_mode):
    image, pad, n = _images(1)[0], 2, 600
    prepare = pipeline.make_prepare(**PLAIN, crop_padding_px=pad, crop_padding_mode=mode)
    cropped = _bytes(prepare(np.stack([image] * n), _keys(n)))
    padded = np.pad(image, ((pad, pad), (pad, pad), (0, 0)), numpy_mode)
    windows = {padded[i : i + 8, j : j + 8].tobytes(): (i, j) for i in range(5) for j in range(5)}
    found = [windows[crop.tobytes()] for crop in cropped]  # a KeyError here is a crop that is no window
    counts = np.unique(found, axis=0, return_counts=True)[1]
    assert len(counts) == 25 and counts.min() > 5  # 24 expected of each


def _mirrored(epoch, seed=0, rows=range(400)):
    """Which of 400 images alternating flips mirror in an epoch, in the order of `rows`."""
    images, rows = _images(400), np.asarray(rows)
    run = {'epoch': np.int32(epoch), 'run_key': jax.random.key_data(jax.random.key(seed))}
    make_batch = pipeline.make_image_batch(pipeline.make_prepare(**PLAIN, flip=True, flip_mode='alternating'))
    batch = make_batch({'image': images, **run}, rows, _keys(len(rows), seed=epoch))
    assert set(batch) == {'image'}
    seen, mirrored = _bytes(batch['image']), (_bytes(batch['image']) == images[rows][:, :, ::-1]).all(axis=(1, 2, 3))
    np.testing.assert_array_equal(seen[~mirrored], images[rows][~mirrored])
    return mirrored


def test_alternating_flips_show_each_image_and_its_mirror_image_once_in_two_epochs():
    epochs = [_mirrored(epoch) for epoch in range(4)]
    assert 150 < epochs[0].sum() < 250  # binomial(400, 1/2): five standard deviations
    for first, second in itertools.pairwise(epochs):
        np.testing.assert_array_equal(first, ~second)


def test_alternating_flips_depend_on_the_seed_and_the_image_and_not_on_its_place_in_the_epoch():
    first, order = _mirrored(0), np.random.default_rng(1).permutation(400)
    np.testing.assert_array_equal(_mirrored(0, rows=order), first[order])
    assert 150 < (_mirrored(0, seed=1) ^ first).sum() < 250


def test_alternating_flips_are_random_where_there_are_no_epochs():
    prepare = pipeline.make_prepare(**PLAIN, flip=True, flip_mode='alternating')
    expected = pipeline.make_prepare(**PLAIN, flip=True)(_images(), _keys(64))
    np.testing.assert_array_equal(prepare(_images(), _keys(64)), expected)


def test_an_images_augmentation_depends_on_its_own_key_only():
    images, keys = _images(), _keys(64)
    prepare = jax.jit(pipeline.make_prepare(**PLAIN, crop_padding_px=4, flip=True))
    whole = prepare(images, keys)
    np.testing.assert_array_equal(prepare(images[10:14], keys[10:14]), whole[10:14])


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'mean': (0.5,), 'std': (0.2, 0.2)}, 'one number per channel'),
        ({'mean': (0.5,), 'std': (0.0,)}, 'every std above 0'),
        ({**PLAIN, 'crop_padding_px': -1}, 'must not be negative'),
        ({**PLAIN, 'crop_padding_mode': 'zero'}, "Did you mean 'zeros'"),
        ({**PLAIN, 'flip_mode': 'alternate'}, "Did you mean 'alternating'"),
    ],
)
def test_impossible_preprocessing_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        pipeline.make_prepare(**options)


def test_channels_that_do_not_match_the_config_are_said():
    with pytest.raises(ValueError, match=r'images have 3 channels, but config\.preprocess\.mean has 1'):
        pipeline.make_prepare(mean=(0.1,), std=(0.3,))(_images(), None)


def test_resident_targets_are_one_hot_or_the_observers_answers():
    images = data.load('synthetic', 'train', n_train=50)
    hard = pipeline.resident_arrays(images)
    np.testing.assert_array_equal(hard['soft_label'].argmax(axis=1), images.labels)
    assert hard['soft_label'].sum() == 50 and hard['image'].dtype == np.uint8
    soft = pipeline.resident_arrays(images, target='soft_label')['soft_label']
    np.testing.assert_allclose(soft.sum(axis=1), 1.0, rtol=1e-5)
    with pytest.raises(ValueError, match='must hold 10 probabilities'):
        pipeline.resident_arrays(images, target='counts')


def test_a_batch_of_images_has_these_rows_of_every_array_and_the_image_prepared():
    arrays = {'image': _images(), 'label': np.arange(len(_images())) * 10}
    rows, keys = np.array([2, 0, 2]), _keys(3)
    prepare = pipeline.make_prepare(**PLAIN, flip=True)
    batch = pipeline.make_image_batch(prepare)(arrays, rows, keys)
    np.testing.assert_array_equal(batch['label'], [20, 0, 20])
    np.testing.assert_array_equal(batch['image'], prepare(_images()[rows], keys))
    plain = pipeline.make_image_batch(prepare)(arrays, rows, None)
    np.testing.assert_array_equal(plain['image'], prepare(_images()[rows], None))
