"""fMRI files: the NSD layout and its errors."""

import numpy as np
import pytest

from humalign_jax.human import fmri, simulated_voxels
from humalign_jax.records import Features


@pytest.fixture
def written(tmp_path):
    """A folder in the NSD layout with two regions, and the responses that were written."""
    features = Features(np.random.default_rng(1).normal(size=(12, 4)), [f'img/{k}.png' for k in range(12)], 'teacher')
    made = simulated_voxels.simulate_responses(features, {'V1v': 3, 'hV4': 5}, n_repeats=2, n_sessions=3, seed=2)
    splits = {'train': made.take(np.arange(16)), 'val': made.take(np.arange(16, 24))}
    fmri.write_nsd(tmp_path / 'subj01', splits)
    return tmp_path / 'subj01', splits


@pytest.mark.parametrize('split', ['train', 'val'])
def test_an_nsd_folder_is_read_as_it_was_written(written, split):
    folder, splits = written
    read, given = fmri.load_nsd(folder, split, rois=('V1v', 'hV4')), splits[split]
    for field in ('values', 'stimuli', 'sessions', 'n_averaged', 'ncsnr'):
        np.testing.assert_array_equal(getattr(read, field), getattr(given, field))
    assert {roi: int(mask.sum()) for roi, mask in read.rois.items()} == {'V1v': 3, 'hV4': 5}
    assert read.simulated and read.subject == 'subj01'


def test_regions_are_put_together_in_the_order_asked_for(written):
    folder, splits = written
    read = fmri.load_nsd(folder, 'val', rois=('hV4', 'V1v'))
    np.testing.assert_array_equal(read.values[:, read.rois['V1v']], splits['val'].values[:, :3])
    assert read.rois['hV4'][:5].all()


def test_an_nsd_folder_needs_activities_and_paths_alone(written):
    folder, _ = written
    for name in ('preprocessed/n_averaged.npy', 'preprocessed/sessions.npy', 'ncsnr/V1v.npy'):
        (folder / 'train' / name).unlink()
    (folder / 'source.json').unlink()
    read = fmri.load_nsd(folder, 'train')
    assert read.ncsnr is None and not read.simulated and set(read.sessions) == {'0'} and read.n_averaged.max() == 1


def test_a_region_of_other_length_than_the_path_list_is_named(written):
    folder, _ = written
    np.save(folder / 'train/brain_activities/hV4.npy', np.zeros((15, 5)))
    with pytest.raises(ValueError, match=r'hV4\.npy has 15 rows, but .*img_paths\.npy names 16 images'):
        fmri.load_nsd(folder, 'train')


def test_an_unknown_region_or_split_is_named(written):
    folder, _ = written
    with pytest.raises(ValueError, match=r'has no V2\.npy, but V1v, hV4'):
        fmri.load_nsd(folder, 'train', rois=('V2',))
    with pytest.raises(ValueError, match='brain_activities is no folder'):
        fmri.load_nsd(folder, 'test')


def test_missing_images_are_counted_and_the_first_is_named(written, tmp_path):
    folder, _ = written
    read = fmri.load_nsd(folder, 'val')
    for stimulus in read.ids[1:].tolist():
        (tmp_path / stimulus).parent.mkdir(exist_ok=True)
        (tmp_path / stimulus).touch()
    with pytest.raises(ValueError, match=r'1 of 4 images of .* are missing, the first of them .*img/8\.png'):
        fmri.image_files(read, tmp_path)
    (tmp_path / 'img/8.png').touch()
    assert len(fmri.image_files(read, tmp_path)) == 8


def _npz(folder, **arrays):
    np.savez(folder / 'ann.npz', **arrays)
    return folder / 'ann.npz'


def test_plain_arrays_of_repeats_become_trials_and_missing_repeats_are_left_out(tmp_path):
    values = np.random.default_rng(0).normal(size=(3, 4, 2))
    values[2, 1] = np.nan
    read = fmri.load_npz(_npz(tmp_path, responses=values, stimuli=list('abcd'), rois=['V1', 'V4']))
    assert len(read) == 11 and read.stimuli[:5].tolist() == list('abcda') and read.sessions[4] == '1'
    np.testing.assert_array_equal(read.values[4], values[1, 0])
    assert list(read.rois) == ['V1', 'V4'] and read.subject == 'ann'
    one = fmri.load_npz(tmp_path / 'ann.npz', rois=('V4',))
    np.testing.assert_array_equal(one.values[:4, 0], values[0, :, 1])


@pytest.mark.parametrize(
    ('arrays', 'message'),
    [
        ({'responses': np.zeros((4, 2)), 'stimuli': list('abc')}, r'4 rows of responses but stimuli of shape \[3\]'),
        ({'responses': np.zeros(4), 'stimuli': list('abcd')}, r'must be numbers \[trials, voxels\]'),
        ({'responses': np.zeros((4, 2))}, "has no array named 'stimuli'"),
        ({'responses': np.zeros((4, 2)), 'stimuli': list('abcd'), 'rois': ['V1']}, '2 voxels but rois of shape'),
        ({'responses': np.full((2, 2), np.nan), 'stimuli': list('ab')}, 'all responses are NaN'),
    ],
)
def test_plain_arrays_that_do_not_fit_are_named(tmp_path, arrays, message):
    with pytest.raises(ValueError, match=message):
        fmri.load_npz(_npz(tmp_path, **arrays))


@pytest.mark.data
def test_haxby_patterns_have_conditions_as_stimuli_and_runs_as_sessions(real_data):
    read = fmri.load_haxby(real_data / 'haxby2001' / 'sub001_one_slice.npz')
    with np.load(real_data / 'haxby2001' / 'sub001_one_slice.npz') as file:
        np.testing.assert_array_equal(
            read.values[(read.sessions == '5') & (read.stimuli == 'face')][0], file['patterns'][5, 7]
        )
    assert read.values.shape == (96, 481) and len(read.ids) == 8
