import itertools

import numpy as np
import pytest
from scipy.spatial.distance import pdist, squareform

from humalign_jax.records import Rdm
from humalign_jax.rsa import pairs

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
