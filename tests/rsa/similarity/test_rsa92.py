"""Published and independently computed values on the 92-image data of Kriegeskorte et al. (2008)."""

import numpy as np
import pytest

from humalign_jax.rsa.similarity.compare import compare

pytestmark = pytest.mark.data


@pytest.fixture(scope='module')
def rdms(real_data):
    with np.load(real_data / 'rsa92' / 'rdms.npz', allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def test_monkey_and_human_it_correlate_as_published(rdms):
    assert compare(rdms['mit_fig1'], rdms['hit_mean_fig1'], 'pearson') == pytest.approx(0.491, abs=5e-4)
    assert compare(rdms['mit_fig1'], rdms['hit_mean_fig1'], 'spearman') == pytest.approx(0.439, abs=5e-4)


def test_models_correlate_with_human_it_as_recorded(rdms):
    expected = dict(animacy=0.588, FaceBodyManmadeNatobj=0.405, monkeyIT=0.439, EVA=0.354)
    expected |= dict(HMAX=0.222, Silhouette=0.125, RADON=0.061, V1=0.039)
    scores = dict(zip(rdms['model_name'].tolist(), compare(rdms['models'], rdms['hit_mean_fig1'])))
    assert scores == pytest.approx(expected, abs=5e-4)


def test_sessions_agree_as_recorded(rdms):
    pearson = [compare(first, second, 'pearson') for first, second in rdms['hit']]
    spearman = [compare(first, second, 'spearman') for first, second in rdms['hit']]
    assert min(np.abs(np.subtract(r, [0.291, 0.098, 0.398, 0.118])).max() for r in (pearson, spearman)) < 5e-4


def test_mean_of_sessions_is_the_published_mean(rdms):
    assert compare(rdms['hit'].reshape(8, -1).mean(axis=0), rdms['hit_mean_fig1']) == pytest.approx(1.0, abs=5e-4)
