"""THINGS-fMRI: the three files of a subject, on small files of the same layout."""

import h5py
import numpy as np
import pytest

from humalign_jax.human import things_fmri

VOXELS, TRIALS = 6, 8


@pytest.fixture
def write(tmp_path):
    """Writes the files of a subject, as pandas lays them out, and returns prefix and values."""
    values = np.random.default_rng(0).normal(size=(VOXELS, TRIALS))

    def make(*, ids_in_block=False, trials=TRIALS, voxel_ids=range(10, 10 + VOXELS), voxel_table=None):
        with h5py.File(tmp_path / 'sub-01_ResponseData.h5', 'w') as file:
            group = file.create_group('ResponseData')
            numbers = np.array(list(voxel_ids))
            block = np.column_stack([numbers, values]) if ids_in_block else values
            group['block0_values'] = block
            if not ids_in_block:
                group['block1_values'] = numbers[:, None]
            group['axis0'] = np.array([b'voxel_id', *(str(k).encode() for k in range(TRIALS))])
        table = voxel_table or '\n'.join(
            ['voxel_id,voxel_x,nc_singletrial,V1,lEBA,rEBA,glasser']
            + [f'{10 + k},1,{10.0 * k},{int(k < 2)},{int(k == 3)},{int(k == 4)},1' for k in range(VOXELS)]
        )
        (tmp_path / 'sub-01_VoxelMetadata.csv').write_text(table + '\n')
        rows = [f'train,{1 + k // 4},1,{k},{"ab"[k % 2]}_{k // 2}.jpg,{"ab"[k % 2]}' for k in range(trials)]
        text = '\n'.join(['trial_type,session,run,trial_id,stimulus,concept', *rows])
        (tmp_path / 'sub-01_StimulusMetadata.csv').write_text(text + '\n')
        return tmp_path / 'sub-01', values

    return make


@pytest.mark.parametrize('ids_in_block', [False, True])
def test_trials_regions_of_both_sides_and_ceilings_are_read(write, ids_in_block):
    prefix, values = write(ids_in_block=ids_in_block)
    read = things_fmri.load_things_fmri(prefix)
    assert list(read.rois) == ['V1', 'EBA'] and read.subject == 'sub-01'
    np.testing.assert_allclose(read.values, values[[0, 1, 3, 4]].T.astype(np.float32))
    assert read.rois['EBA'].tolist() == [False, False, True, True]
    assert read.stimuli[:3].tolist() == ['a_0.jpg', 'b_0.jpg', 'a_1.jpg'] and read.sessions[4] == '2'
    share = read.ncsnr**2 / (read.ncsnr**2 + 1)
    np.testing.assert_allclose(share, [0.0, 0.1, 0.3, 0.4], atol=1e-12)


def test_concepts_can_be_the_stimuli_and_other_columns_regions(write):
    prefix, _ = write()
    read = things_fmri.load_things_fmri(prefix, rois=('glasser',), ids='concept')
    assert read.ids.tolist() == ['a', 'b'] and read.n_voxels == VOXELS


@pytest.mark.parametrize(
    ('changes', 'options', 'message'),
    [
        ({'trials': 5}, {}, r'must hold one array \[6 voxels, 5 trials\].*\[6, 8\]'),
        ({'voxel_ids': [10, 11, 12, 13, 15, 14]}, {}, 'voxel ids differ from those of the voxel table'),
        ({}, {'rois': ('FFA',)}, "region 'FFA' has no voxels"),
        ({}, {'ids': 'word'}, "ids='word' must be one of stimulus, concept"),
        ({'voxel_table': 'voxel_id,V1\n10,1\n11'}, {}, 'line 3, has 1 cells instead of 2'),
        ({'voxel_table': 'voxel_id,V7\n' + '\n'.join(f'{10 + k},1' for k in range(6))}, {}, 'none of the regions V1'),
        ({'voxel_table': 'voxel_id,V1\n' + '\n'.join(f'{10 + k},x' for k in range(6))}, {}, "'V1': numbers are expec"),
    ],
)
def test_files_that_do_not_fit_are_named(write, changes, options, message):
    prefix, _ = write(**changes)
    with pytest.raises(ValueError, match=message):
        things_fmri.load_things_fmri(prefix, **options)


def test_a_missing_or_damaged_file_is_named(write):
    prefix, _ = write()
    prefix.with_name('sub-01_ResponseData.h5').write_bytes(b'no hdf5')
    with pytest.raises(ValueError, match='cannot be read as HDF5'):
        things_fmri.load_things_fmri(prefix)
    prefix.with_name('sub-01_VoxelMetadata.csv').unlink()
    with pytest.raises(ValueError, match=r'sub-01_VoxelMetadata\.csv is missing'):
        things_fmri.load_things_fmri(prefix)
