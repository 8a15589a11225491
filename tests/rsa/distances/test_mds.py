import numpy as np
import pytest
from scipy.spatial.distance import pdist
from sklearn.manifold import ClassicalMDS

from humalign_jax.rsa.distances.mds import classical_mds, stress


@pytest.mark.parametrize('n', [20, 520])  # the larger one takes the sparse solver
def test_points_of_a_plane_are_found_up_to_rotation(n):
    points = np.random.default_rng(0).normal(size=(n, 2)) * [3.0, 1.0]
    found = classical_mds(pdist(points))
    np.testing.assert_allclose(pdist(found), pdist(points), rtol=1e-6)
    np.testing.assert_allclose(found.mean(axis=0), [0.0, 0.0], atol=1e-9)
    assert found[:, 0].std() > found[:, 1].std()
    np.testing.assert_array_equal(found, classical_mds(pdist(points)))


def test_too_many_dimensions_are_refused():
    with pytest.raises(ValueError, match='3 stimuli with finite distances can be put on 1 to 2 dimensions, not 3'):
        classical_mds(np.ones(3), 3)


def test_coordinates_are_those_of_scikit_learn_up_to_the_direction_of_axes():
    x = np.random.default_rng(0).normal(size=(30, 5))
    expected = ClassicalMDS(n_components=2, metric='cityblock').fit_transform(x)
    np.testing.assert_allclose(np.abs(classical_mds(pdist(x, 'cityblock'))), np.abs(expected), atol=1e-8)


def test_stress_of_an_equilateral_triangle_on_a_line():
    assert stress(np.ones(3), np.array([[0.0], [0.5], [1.0]])) == pytest.approx(np.sqrt(0.5 / 3))
    assert stress(np.ones(3), np.zeros((3, 2))) == 1.0 and np.isnan(stress(np.zeros(3), np.zeros((3, 2))))
    corners = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, np.sqrt(0.75)]])
    assert stress(np.ones(3), corners) == pytest.approx(0.0, abs=1e-12)
