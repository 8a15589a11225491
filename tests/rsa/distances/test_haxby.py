"""Crossnobis distances between the voxel patterns of Haxby et al. (2001): 12 runs, 8 conditions, 481 voxels."""

import numpy as np
import pytest

from humalign_jax import rsa
from humalign_jax.rsa.distances import noise

pytestmark = pytest.mark.data


@pytest.fixture(scope='module')
def patterns(real_data):
    with np.load(real_data / 'haxby2001' / 'sub001_one_slice.npz', allow_pickle=False) as file:
        return file['patterns']


@pytest.mark.filterwarnings('ignore:invalid value')  # theirs
def test_distances_equal_rsatoolbox(patterns):
    toolbox = pytest.importorskip('rsatoolbox')
    r, n, d = patterns.shape
    rows = {'condition': np.tile(np.arange(n), r), 'run': np.repeat(np.arange(r), n)}
    data = toolbox.data.Dataset(patterns.reshape(-1, d).astype(float), obs_descriptors=rows)
    precision = np.linalg.inv(noise.noise_covariance(patterns))
    theirs = toolbox.rdm.calc_rdm(data, 'crossnobis', descriptor='condition', noise=precision, cv_descriptor='run')
    ours = rsa.rdm(patterns, 'crossnobis', covariance=np.linalg.inv(precision))
    np.testing.assert_allclose(ours, theirs.dissimilarities[0] * d, rtol=1e-5)  # theirs are means over voxels


def test_distances_of_shuffled_conditions_are_0_on_average(patterns):
    np_rng, patterns = np.random.default_rng(0), patterns[:, :, ::4]
    shuffled = [np.stack([run[np_rng.permutation(len(run))] for run in patterns]) for _ in range(20)]
    means = [rsa.rdm(x, 'crossnobis').mean() for x in shuffled]
    assert abs(np.mean(means)) < 3 * np.std(means) / np.sqrt(len(means))
    assert rsa.rdm(patterns, 'crossnobis').mean() > np.max(means)
