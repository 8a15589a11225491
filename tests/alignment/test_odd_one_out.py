"""Zero-shot odd-one-out accuracy, ceilings from repeats, and the RDM that an odd-one-out experiment measures."""

import itertools

import jax
import numpy as np
import pytest

from humalign_jax.alignment import odd_one_out
from humalign_jax.human_data import Triplets
from humalign_jax.records import Features

NP_RNG = np.random.default_rng(0)


def _triplets(n=9, t=400, **changes):
    np_rng = np.random.default_rng(1)
    items = np.stack([np_rng.choice(n, 3, replace=False) for _ in range(t)])
    fields = {'ids': [f's{k}' for k in range(n)], 'items': items, 'odd': np_rng.integers(3, size=t), 'name': 'people'}
    return Triplets(**{**fields, **changes})


def _by_hand(features, triplets, measure):
    """Credit of each trial by a plain loop in float64."""
    credit = []
    for items, odd in zip(triplets.items, triplets.odd):
        x = features[items].astype(np.float64)
        if measure == 'cosine':
            x = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-300)
        support = np.float32([x[1] @ x[2], x[0] @ x[2], x[0] @ x[1]])
        credit.append((support[odd] == support.max()) / (support == support.max()).sum())
    return np.array(credit)


@pytest.mark.parametrize('from_features', [False, True])
@pytest.mark.parametrize('measure', ['cosine', 'dot'])
def test_credit_equals_a_plain_loop(measure, from_features, monkeypatch):
    features = NP_RNG.normal(size=(9, 5))
    triplets = _triplets()
    if from_features:
        monkeypatch.setattr(odd_one_out, 'MOST_STIMULI', 8)
    made = odd_one_out.predict(features, triplets, measure)
    np.testing.assert_allclose(made.credit, _by_hand(features, triplets, measure), rtol=1e-6)
    a, b, c = (features[triplets.items[:, k]] for k in range(3))
    if measure == 'dot':
        expected = np.stack([(b * c).sum(1), (a * c).sum(1), (a * b).sum(1)], axis=1)
        np.testing.assert_allclose(made.support, expected, rtol=1e-5, atol=1e-5)


def test_equal_supports_share_the_credit():
    features = np.array([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    trials = np.array([(0, 1, 2), (0, 1, 3), (0, 3, 4)])
    made = [Triplets(list('abcde'), trials, np.full(3, k), 'people') for k in range(3)]
    credit = np.stack([odd_one_out.predict(features, one).credit for one in made], axis=1)
    # Three equal ones; one odd one; zeros with everything, as cosines with a vector of zeros count.
    np.testing.assert_allclose(credit, [[1 / 3] * 3, [0, 0, 1], [1 / 3] * 3], rtol=1e-6)


@pytest.mark.parametrize('scale', [0.1, 1.0, 123.4])
def test_copies_of_a_stimulus_have_exactly_equal_supports(scale):
    features = np.repeat(scale * NP_RNG.normal(size=(3, 77)), 3, axis=0)  # rows 0 to 2 are equal, 3 to 5, 6 to 8
    trials = np.array([(0, 3, 6), (1, 4, 7), (2, 5, 8), (2, 3, 7)])
    made = odd_one_out.predict(features, Triplets([f's{k}' for k in range(9)], trials, np.zeros(4, int), 'people'))
    assert (made.support == made.support[:1]).all()


@pytest.mark.parametrize('chunk', [7, 400])
def test_chunks_and_devices_do_not_change_a_bit(chunk, monkeypatch):
    features, triplets = NP_RNG.normal(size=(9, 5)), _triplets()
    whole = odd_one_out.predict(features, triplets, devices=jax.local_devices()[:1])
    monkeypatch.setattr(odd_one_out, 'TRIALS_PER_CHUNK', chunk)
    made = odd_one_out.predict(features, triplets)
    np.testing.assert_array_equal(made.support, whole.support)
    np.testing.assert_array_equal(made.credit, whole.credit)


def test_the_order_of_presentation_does_not_matter():
    features, triplets = NP_RNG.normal(size=(9, 5)), _triplets()
    turned = Triplets(triplets.ids, np.roll(triplets.items, 1, axis=1), (triplets.odd + 1) % 3, 'people')
    np.testing.assert_array_equal(
        odd_one_out.predict(features, turned).credit, odd_one_out.predict(features, triplets).credit
    )


def test_what_cannot_be_scored_is_named():
    triplets = _triplets()
    with pytest.raises(ValueError, match="no similarity 'cosin' for triplets: choose one of cosine, dot"):
        odd_one_out.predict(np.ones((9, 2)), triplets, 'cosin')
    with pytest.raises(ValueError, match=r'9 stimuli need features \[n, d\], not \[8, 2\]'):
        odd_one_out.predict(np.ones((8, 2)), triplets)
    broken = np.ones((9, 2))
    broken[4, 1] = np.nan
    with pytest.raises(ValueError, match="features of 's4' are not finite"):
        odd_one_out.predict(broken, triplets)


def _repeated(counts, participants=None):
    """Trials of 30 different triplets, each with these numbers of choices of its three items, in any order."""
    sets = np.array(list(itertools.islice(itertools.combinations(range(9), 3), odd_one_out.LEAST_REPEATED)))
    np_rng, items, odd, people = np.random.default_rng(2), [], [], []
    for three in sets:
        for place, count in enumerate(counts):
            for k in range(count):
                shown = np_rng.permutation(three)
                items.append(shown)
                odd.append(int(np.flatnonzero(shown == three[place])[0]))
                people.append(participants(place, k) if participants else 0)
    return _triplets(items=np.array(items), odd=np.array(odd), participants=np.array(people))


def test_ceilings_of_known_counts():
    """Of 3, 1 and 0 choices: an answer of the three agrees with the others' majority, the single one does not."""
    found = odd_one_out.repeats(_repeated((3, 1, 0)))
    assert found.agreement == pytest.approx(3 / 4) and found.majority == pytest.approx(3 / 4)
    assert found.entropy == pytest.approx(-(0.75 * np.log(0.75) + 0.25 * np.log(0.25)))
    assert found.n_sets == 30 and found.n_trials == 120


def test_ties_among_the_others_answers_are_shared():
    """Of 1, 1 and 1 choices, each answer is against two others that tie and exclude it; of 2 and 1, the two tie."""
    assert odd_one_out.repeats(_repeated((1, 1, 1))).agreement == 0.0
    assert odd_one_out.repeats(_repeated((2, 1, 0))).agreement == pytest.approx((2 * 0.5 + 0) / 3)


def test_repeats_within_participants_compare_a_person_with_themself():
    """Each of three people is constant; they differ from each other."""
    triplets = _repeated((2, 2, 2), participants=lambda place, k: place)
    assert odd_one_out.repeats(triplets).majority == pytest.approx(1 / 3)
    within = odd_one_out.repeats(triplets, within=True)
    assert within.majority == 1.0 and within.entropy == 0.0 and within.n_sets == 90
    with pytest.raises(ValueError, match='does not say who answered'):
        odd_one_out.repeats(_triplets(), within=True)


def test_a_few_repeats_give_no_ceiling():
    triplets = _repeated((1, 1, 0))
    kept = np.isin(triplets.sets, np.unique(triplets.sets)[1:])
    assert odd_one_out.repeats(triplets.take(kept)) is None


def test_choice_rdm_equals_a_plain_loop_over_third_stimuli():
    values = NP_RNG.normal(size=(6, 4))
    made = odd_one_out.choice_rdm(Features(values, np.arange(6).astype(str), 'x'), 'dot', temperature=0.7)
    expected = []
    for i, j in itertools.combinations(range(6), 2):
        shares = []
        for k in set(range(6)) - {i, j}:
            weights = np.exp(np.array([values[i] @ values[j], values[i] @ values[k], values[j] @ values[k]]) / 0.7)
            shares.append(weights[0] / weights.sum())
        expected.append(1 - np.mean(shares))
    np.testing.assert_allclose(made.values, expected, rtol=1e-10)
