"""Directions other than units: known components and clusters are found."""

import numpy as np
import pytest

from humalign_jax.interpret import directions

NP_RNG = np.random.default_rng(0)
SOURCES = NP_RNG.exponential(size=(3000, 4)) * [4, 3, 2, 1]
MIXING = np.linalg.qr(NP_RNG.normal(size=(4, 4)))[0]
FEATURES = SOURCES @ MIXING + 3.0


@pytest.mark.parametrize('kind', ['pca', 'ica'])
def test_components_are_the_mixed_sources_with_their_long_tail_up(kind):
    found = directions.fit_directions(kind, FEATURES, seed=0)(FEATURES)
    r = np.corrcoef(found.T, SOURCES.T)[:4, 4:]
    best = r.max(axis=0)
    assert (best > 0.97).all() and len(set(r.argmax(axis=0))) == 4
    assert (np.mean(found**3, axis=0) > 0).all()


def test_principal_components_come_in_order_of_their_variance():
    found = directions.fit_directions('pca', FEATURES, n_directions=2, seed=0)(FEATURES)
    expected = np.sort(np.linalg.eigvalsh(np.cov(FEATURES.T)))[::-1][:2]
    np.testing.assert_allclose(found.var(axis=0, ddof=1), expected, rtol=1e-4)


def test_a_cluster_excites_its_own_centre_most():
    centres = np.eye(6)[:3]
    labels = np.arange(300) % 3
    features = centres[labels] * NP_RNG.uniform(1, 5, (300, 1)) + 0.05 * NP_RNG.normal(size=(300, 6))
    fitted = directions.fit_directions('kmeans', features, n_directions=3, seed=0)
    found = fitted(features).argmax(axis=1)
    assert len({(a, b) for a, b in zip(labels, found)}) == 3
    np.testing.assert_allclose(fitted(features), fitted(7 * features), rtol=1e-5)  # of the direction alone


def test_an_unknown_kind_and_too_many_directions_are_named():
    with pytest.raises(ValueError, match=r"no directions 'nmf'\."):
        directions.fit_directions('nmf', FEATURES, seed=0)
    with pytest.raises(ValueError, match='5 directions by pca cannot be found in 3000 images with 4 features'):
        directions.fit_directions('pca', FEATURES, n_directions=5, seed=0)
