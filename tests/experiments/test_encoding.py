"""The experiment `encoding`: simulated voxels, files of each kind, and bad input."""

import pathlib
import runpy

import numpy as np
import pytest

from humalign_jax import storage
from humalign_jax.experiments import encoding
from humalign_jax.human import fmri, simulated_voxels
from humalign_jax.records import Features, Score

CONFIG = pathlib.Path(__file__).parents[2] / 'configs' / 'encoding.py'


def _config(variant):
    return runpy.run_path(str(CONFIG))['get_config'](variant)


def _scores(folder):
    return [Score.from_json(row) for row in storage.read_jsonl(folder / 'scores.jsonl')]


def _one(scores, name, **said):
    found = [s for s in scores if s.name == f'encoding/{name}' and said.items() <= s.provenance.items()]
    assert len(found) == 1, [s.provenance for s in found]
    return found[0]


@pytest.fixture(scope='module')
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp('tiny')
    encoding.run(_config('tiny'), str(folder))
    return folder


def test_the_features_that_made_the_voxels_win_in_every_region_and_noise_explains_nothing(tiny):
    scores = _scores(tiny)
    for roi in simulated_voxels.NSD_NCSNR:
        teacher, noise = (_one(scores, 'r', model=m, roi=roi, subject='all subjects') for m in ('teacher', 'noise'))
        assert teacher.provenance['q'] < 0.01 and noise.provenance['q'] > 0.1 and teacher.provenance['simulated']
        assert teacher.value > 0.7 * teacher.ceiling_upper
        difference = _one(scores, 'r/difference', model='teacher', roi=roi, subject='simulated 0')
        pixels = _one(scores, 'r', model='pixels', roi=roi, subject='simulated 0')
        own = _one(scores, 'r', model='teacher', roi=roi, subject='simulated 0')
        assert difference.value == pytest.approx(own.value - pixels.value)


def test_ceilings_from_repeats_hold_the_known_ones(tiny):
    held = []
    for score in _scores(tiny):
        if score.name == 'encoding/ceiling' and score.provenance['subject'] != 'all subjects':
            ncsnr = simulated_voxels.NSD_NCSNR[score.provenance['roi']]
            held.append(score.low < ncsnr**2 / (1 + ncsnr**2) < score.high)
    assert len(held) == 10 and sum(held) >= 9


def test_maps_hold_the_measures_of_every_voxel(tiny):
    maps, about = storage.read_described(tiny / 'voxels_simulated_0.npy')
    assert maps.shape == (4, 11, 100) and about['models'] == ['teacher', 'pixels', 'noise', 'pixels + noise']
    rois, named = storage.read_described(tiny / 'rois_simulated_0.npy')
    score = _one(_scores(tiny), 'r', model='teacher', roi='hV4', subject='simulated 0')
    assert np.nanmean(maps[0, 0, rois[named['rois'].index('hV4')]]) == pytest.approx(score.value, rel=1e-5)


@pytest.fixture
def files(tmp_path):
    """A config, features with ids in a file, and responses of one subject in sessions, as plain arrays."""
    np_rng = np.random.default_rng(0)
    ids = np.array([f's{k}' for k in range(40)])
    features = Features(np_rng.normal(size=(40, 3)), ids, 'net')
    made = simulated_voxels.simulate_responses(features, {'V1v': 4, 'hV4': 4}, n_repeats=2, n_sessions=4)
    np.savez(tmp_path / 'net.npz', values=features.values, ids=ids)
    config = _config('full')
    config.features, config.arrays, config.penalties = (str(tmp_path / 'net.npz'),), ('values',), (1.0, 10.0)
    config.human.update(name='npz', paths=(str(tmp_path / 'ann.npz'),))
    config.cross_validation.update(by='session', inner='stimuli')
    config.ceilings.min_ceiling = 0.0

    def write(**changes):
        arrays = {'responses': made.values, 'stimuli': made.stimuli, 'sessions': made.sessions}
        np.savez(tmp_path / 'ann.npz', **{**arrays, 'rois': ['V1v'] * 4 + ['hV4'] * 4, **changes})
        return config

    return write, made, tmp_path


def test_plain_arrays_with_sessions_are_scored_and_masks_counted(files):
    write, made, folder = files
    values = made.values.copy()
    values[3, 0], values[:, 5] = np.nan, 1.0
    config = write(responses=values)
    encoding.run(config, str(folder / 'run'))
    score = _one(_scores(folder / 'run'), 'r', model='values', roi='V1v')
    left_out = score.provenance['left_out']
    assert left_out['n_not_finite'] == 1 and left_out['n_constant'] == 1 and score.n == 4
    assert score.provenance['p'] >= 2.0**-4 and 'q' in score.provenance


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'human.paths': ()}, r'config\.features must name at least one .*configs/encoding\.py:tiny'),
        ({'human.rois': ('V9',)}, "there is no region 'V9'"),
        ({'reference': 'other'}, r"config\.reference='other' is no model"),
        ({'bands': (('values', 'x'),)}, r"config\.bands: 'x' is no model"),
        ({'ceilings.source': 'published'}, 'the files have no ncsnr, so there is no noise ceiling'),
        ({'ridge.dtype': 'half'}, r"config\.ridge\.dtype='half' must be one of float32, float64"),
        ({'identification': ('luck',)}, r"config\.identification='luck' must be one of"),
        ({'trials.average': True}, r'config\.trials\.average=True joins sessions'),
        ({'penalties': ()}, r'config\.penalties must have at least one'),
    ],
)
def test_bad_settings_are_named(files, change, message):
    write, _, folder = files
    config = write()
    config.update_from_flattened_dict(change)
    with pytest.raises(ValueError, match=message):
        encoding.run(config, str(folder / 'run'))


def test_one_run_all_nan_and_missing_stimuli_are_named(files):
    write, made, folder = files
    config = write(sessions=np.zeros(80, int))
    with pytest.raises(ValueError, match=r'has one session .or run. only'):
        encoding.run(config, str(folder / 'run'))
    holes = made.values.copy()
    holes[np.arange(8) * 9, np.arange(8)] = np.nan
    with pytest.raises(ValueError, match=r"subject 'ann': every voxel is NaN or constant"):
        encoding.run(write(responses=holes), str(folder / 'run'))
    config = write()
    np.savez(folder / 'net.npz', values=np.eye(39), ids=[f's{k}' for k in range(39)])
    with pytest.raises(ValueError, match=r"values lacks 1 of the 40 stimuli .*'s39'"):
        encoding.run(config, str(folder / 'run'))


def test_repeats_can_be_averaged_and_splits_of_nsd_folders_are_used(files):
    write, made, folder = files
    config = write()
    test = np.isin(made.stimuli, made.ids[:16])
    fmri.write_nsd(folder / 'subj', {'train': made.take(~test), 'val': made.take(test)})
    config.human.update(name='nsd', paths=(str(folder / 'subj'),))
    config.cross_validation.update(by='split', parts=4, inner='rows')
    config.trials.average = True
    encoding.run(config, str(folder / 'run'))
    score = _one(_scores(folder / 'run'), 'r2', roi='V1v')
    assert score.provenance['n_averaged'] == 2.0 and score.provenance['n_trials'] == 40 and score.n == 4
