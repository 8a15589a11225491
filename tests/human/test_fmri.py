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
