import itertools

import numpy as np
import pytest
from scipy.spatial.distance import pdist, squareform
from scipy.stats import spearmanr

from humalign_jax import rsa
from humalign_jax.records import Features, Rdm
from humalign_jax.rsa import files, pairs

IDS = np.array([f'toy/test/{i:05d}' for i in range(7)])


def make_rdm(name='a', ids=IDS, seed=0):
    return Rdm(np.random.default_rng(seed).random(len(ids) * (len(ids) - 1) // 2), ids, name, 'euclidean')


def test_take_stimuli_equals_indexing_the_square_matrix():
    rdm, rows = make_rdm().values, np.array([5, 0, 6, 2])
    expected = squareform(squareform(rdm)[np.ix_(rows, rows)])
    np.testing.assert_array_equal(pairs.take_stimuli(rdm, rows), expected)
    np.testing.assert_array_equal(pairs.take_stimuli(np.stack([rdm, 2 * rdm]), rows), [expected, 2 * expected])


def test_align_undoes_a_permutation():
    rdm, order = make_rdm(), np.random.default_rng(1).permutation(7)
    shuffled = pairs.select(rdm, IDS[order])
    a, b = pairs.align(rdm, shuffled)
    np.testing.assert_array_equal(b.ids, IDS)
    np.testing.assert_array_equal(b.values, a.values)


def test_align_keeps_the_shared_stimuli_when_asked():
    a, b = pairs.align(make_rdm(ids=IDS[:5]), make_rdm('b', ids=IDS[:1:-1]), join='shared')
    np.testing.assert_array_equal(a.ids, IDS[2:5])
    np.testing.assert_array_equal(b.ids, IDS[2:5])
    np.testing.assert_array_equal(a.values, pairs.take_stimuli(make_rdm(ids=IDS[:5]).values, np.arange(2, 5)))


def test_align_names_the_ids_that_do_not_match():
    with pytest.raises(ValueError, match=r"1 only in 'a' \(such as 'toy/test/00000'\).*6 are in both.*join='shared'"):
        pairs.align(make_rdm(), make_rdm('b', ids=IDS[1:]))
    with pytest.raises(ValueError, match='share 0 stimuli: their ids come from different data sets'):
        pairs.align(make_rdm(), make_rdm('b', ids=np.char.add('x', IDS)), join='shared')


@pytest.fixture
def from_files(tmp_path):
    """Features and an RDM of two files without ids."""
    values = np.random.default_rng(0).random((7, 3))
    np.save(tmp_path / 'net.npy', values)
    np.save(tmp_path / 'subject.npy', pdist(values**2))
    return files.load_features(tmp_path / 'net.npy'), files.load_rdm(tmp_path / 'subject.npy')


def test_records_of_files_without_ids_join_nothing(from_files):
    features, rdm = from_files
    other = Features(features.values, IDS, 'other')
    calls = [
        lambda: pairs.align(rsa.rdm(features), rdm),
        lambda: pairs.align(rsa.rdm(features), rdm, join='shared'),
        lambda: rsa.compare(rsa.rdm(features), rdm),
        lambda: rsa.compare(rdm, make_rdm('b')),
        lambda: rsa.infer([rsa.rdm(features)], [rdm]),
        lambda: rsa.Reference(rdm).influence(rsa.rdm(features)),
        lambda: rsa.compare_features(features, other),
        lambda: rsa.linear_cka(other, features),
    ]
    for call in calls:
        with pytest.raises(
            ValueError, match=r"came from a file without stimulus ids.*load with ids=.*dataset='cifar10'"
        ):
            call()


def test_values_of_files_without_ids_and_rdms_of_one_file_are_compared_by_row(from_files):
    features, rdm = from_files
    one, other = rsa.rdm(features, 'euclidean'), rsa.rdm(features, 'cityblock')
    assert rsa.compare(one.values, rdm.values) == pytest.approx(spearmanr(one.values, rdm.values)[0])
    assert rsa.compare(one, other) == pytest.approx(spearmanr(one.values, other.values)[0])


def test_align_by_position_gives_both_the_ids_that_one_has(from_files):
    features, rdm = from_files
    a, b = pairs.align(rsa.rdm(features), rdm, join='position')
    assert a.ids.tolist() == b.ids.tolist() == [f'position/{i:05d}' for i in range(7)]
    a, b = pairs.align(rdm, make_rdm('b'), join='position')
    np.testing.assert_array_equal(a.ids, IDS)
    np.testing.assert_array_equal(a.values, rdm.values)
    assert rsa.compare(a, b) == pytest.approx(spearmanr(rdm.values, make_rdm('b').values)[0])


def test_align_by_position_refuses_other_numbers_and_ids_in_another_order():
    with pytest.raises(ValueError, match="as many stimuli in each, but 'a' has 7 and 'b' 6"):
        pairs.align(make_rdm(), make_rdm('b', ids=IDS[:6]), join='position')
    with pytest.raises(
        ValueError, match="contradicts the ids: 'toy/test/00006' is in row 6 of 'a' and in row 0 of 'b'"
    ):
        pairs.align(make_rdm(), make_rdm('b', ids=IDS[::-1]), join='position')
    with pytest.raises(ValueError, match="join must be one of exact, shared, position, not 'row'"):
        pairs.align(make_rdm(), make_rdm('b'), join='row')


def test_select_names_the_ids_it_does_not_find():
    with pytest.raises(ValueError, match=r"RDM 'a' has no stimulus 'other' \(1 of 2 are missing\)"):
        pairs.select(make_rdm(), np.array([IDS[0], 'other']))


def test_lengths_that_are_no_rdm_raise():
    assert [pairs.n_stimuli_of(p) for p in (1, 3, 49_995_000)] == [2, 3, 10_000]
    for p in (0, 2, 49_995_001):
        with pytest.raises(ValueError, match='no condensed RDM'):
            pairs.n_stimuli_of(p)


def test_category_rdm_is_the_hamming_distance_of_labels():
    labels = np.array([0, 2, 0, 1, 1, 2])
    np.testing.assert_array_equal(pairs.category_rdm(labels), pdist(labels[:, None], 'hamming'))
    same = [a == b for a, b in itertools.combinations(labels, 2)]
    np.testing.assert_array_equal(pairs.within_category(labels), same)
    np.testing.assert_array_equal(pairs.between_category(labels), np.logical_not(same))
