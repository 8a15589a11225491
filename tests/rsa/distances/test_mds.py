import numpy as np
import pytest
from scipy.spatial.distance import pdist

from humalign_jax.rsa.distances.mds import classical_mds


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
