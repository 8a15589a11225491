import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
from scipy.spatial.distance import pdist

from humalign_jax import rsa
from humalign_jax.records import Features, Rdm, RepeatedFeatures, Score

X = np.random.default_rng(0).normal(size=(6, 10)).astype(np.float32)
IDS = [f'im{i}' for i in range(6)]


@pytest.mark.parametrize(
    'values', [X.tolist(), X.view(np.matrix), jnp.asarray(X, jnp.bfloat16)], ids=['list', 'matrix', 'bfloat16']
)
def test_distances_of_a_record_of_any_array_equal_scipy(values):
    expected = pdist(np.asarray(values, np.float64), 'correlation')
    np.testing.assert_allclose(rsa.rdm(Features(values, IDS, 'net')).values, expected, atol=1e-6)


def test_records_hold_plain_arrays_of_numbers_and_of_text():
    records = [
        Features(X.tolist(), IDS, 'net'),
        RepeatedFeatures(X[:, None, :].tolist(), IDS, 'voxels', noise=np.eye(10).tolist()),
        Rdm(pdist(X).tolist(), IDS, 'human', 'euclidean'),
    ]
    for record in records:
        assert type(record.values) is np.ndarray and record.values.dtype == np.float64
        np.testing.assert_array_equal(record.ids, np.array(IDS), strict=True)
    np.testing.assert_array_equal(records[1].noise, np.eye(10), strict=True)


def test_records_copy_no_floats():
    features = Features(X, IDS, 'net')
    assert features.values is X
    assert dataclasses.replace(features, name='other').values is X


def test_numbers_as_ids_join_the_same_numbers_as_text():
    a = Features(X, np.arange(6), 'a')
    b = Features(X[::-1], [str(i) for i in range(5, -1, -1)], 'b')
    assert rsa.compare_features(a, b).value == pytest.approx(1.0)


@pytest.mark.parametrize(
    ('make', 'message'),
    [
        (lambda: Features(scipy.sparse.csr_array(X), IDS, 'net'), "features 'net' .*sparse"),
        (lambda: Features(np.ma.array(X, mask=X > 0), IDS, 'net'), "features 'net': .*masked"),
        (lambda: RepeatedFeatures(X[:, None] * 1j, IDS, 'voxels'), "features 'voxels' .*complex"),
        (lambda: RepeatedFeatures(X[:, None], IDS, 'voxels', noise=X * 1j), "noise of 'voxels' .*complex"),
        (lambda: Rdm(['a'] * 15, IDS, 'human', 'euclidean'), "RDM 'human' .*text"),
        (lambda: Features(X, [*IDS[:5], None], 'net'), "features 'net': .*row 5 is None"),
        (lambda: Features(X, [*IDS[:5], 'im0'], 'net'), "unique, but 'im0' occur"),
    ],
)
def test_records_refuse_by_name(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_baseline_of_an_older_version_is_read_as_one():
    row = Score('rsa/spearman', 0.5, 0.4, 0.6, 9, 'none', provenance={'model': 'pixels', 'baseline': True}).to_json()
    older = {**row, 'provenance': {'model': 'pixels', 'anchor': True}}
    assert Score.from_json(older).to_json() == row
