"""The choice model: equal to SciPy's fit, leak-free, and able to recover what made the choices."""

import jax
import numpy as np
import pytest
from scipy import optimize, special

from humalign_jax.alignment import triplet_choices
from humalign_jax.human_data import Triplets

BOUNDS = list(zip(triplet_choices.LOWEST, triplet_choices.HIGHEST))


def _choices(n_people=4, n_trials=70, seed=0, **changes):
    """Support [t, 3], and trials of people with temperatures and biases of their own."""
    np_rng = np.random.default_rng(seed)
    t = n_people * n_trials
    support = np_rng.normal(size=(t, 3))
    support /= support.std()
    people = np.repeat(np.arange(n_people), n_trials)
    temperature, bias = np.exp(np_rng.normal(size=n_people) * 0.5), np_rng.normal(size=(n_people, 3)) * [1.0, 0.0, 1.0]
    p = special.softmax(support / temperature[people, None] + bias[people], axis=1)
    odd = (np_rng.random((t, 1)) > p.cumsum(axis=1)[:, :2]).sum(axis=1)
    items = np.stack([np_rng.choice(20, 3, replace=False) for _ in range(t)])
    fields = {'participants': people, 'in_order': True, **changes}
    triplets = Triplets([f's{k}' for k in range(20)], items, odd, 'people', **fields)
    return support, triplets, temperature, bias, p


def _fit(support, triplets, **options):
    return triplet_choices.cross_validate(support, triplets, devices=jax.local_devices()[:1], **options)


def _nll(parameters, z, odd):
    """Of slope and biases of the places 1 and 3."""
    logits = parameters[0] * z + np.array([parameters[1], 0.0, parameters[2]])
    return -special.log_softmax(logits, axis=1)[np.arange(len(odd)), odd]


def _fit_by_scipy(z, odd, penalty):
    def loss(parameters):
        return _nll(parameters, z, odd).sum() + penalty / 2 * (parameters**2).sum()

    options = {'ftol': 1e-14, 'gtol': 1e-8}
    return optimize.minimize(loss, [1.0, 0.0, 0.0], method='L-BFGS-B', bounds=BOUNDS, options=options).x


@pytest.mark.parametrize('penalty', [0.0, 1.0])
def test_held_out_likelihoods_equal_those_of_scipys_fit(penalty):
    support, triplets, *_ = _choices()
    made = _fit(support, triplets, folds=3, seed=5, penalty=penalty)
    z = (support - support.mean()) / support.std()
    fold = triplet_choices._folds(triplets.participants, 3, 5)
    for person in range(4):
        for number in range(3):
            own = triplets.participants == person
            train, test = own & (fold != number), own & (fold == number)
            found = _fit_by_scipy(z[train], triplets.odd[train], penalty)
            np.testing.assert_allclose(made.nll[test], _nll(found, z[test], triplets.odd[test]), rtol=1e-3, atol=1e-4)


def test_temperatures_and_biases_of_people_are_recovered():
    support, triplets, temperature, bias, p = _choices(n_people=6, n_trials=3000)
    made = _fit(support, triplets)
    np.testing.assert_allclose(np.log(made.temperature), np.log(temperature), atol=0.12)
    np.testing.assert_allclose(made.bias, bias[:, [0, 2]], atol=0.25)
    truth = -np.log(p[np.arange(len(triplets)), triplets.odd])
    assert 0.0 < (made.nll - truth).mean() < 0.002


def test_the_choices_of_a_fold_do_not_enter_its_predictions():
    """With each of the three choices put in place of those of a fold, the probabilities add up to 1."""
    support, triplets, *_ = _choices()
    held_out = triplet_choices._folds(triplets.participants, 5, 0) == 2
    total = np.zeros(held_out.sum())
    for place in range(3):
        odd = np.where(held_out, place, triplets.odd)
        changed = Triplets(triplets.ids, triplets.items, odd, 'x', participants=triplets.participants, in_order=True)
        total += np.exp(-_fit(support, changed).nll[held_out])
    np.testing.assert_allclose(total, 1.0, rtol=1e-5)


def test_folds_of_a_person_are_equally_large_and_random():
    person = np.repeat(np.arange(30), 25)
    fold = triplet_choices._folds(person, 5, 0)
    assert all((np.bincount(fold[person == who]) == 5).all() for who in range(30))
    assert (fold != triplet_choices._folds(person, 5, 1)).mean() > 0.7


def test_two_trials_and_one_place_are_left_out_and_counted():
    support, triplets, *_ = _choices(n_people=4)
    person, place = triplets.participants, triplets.odd.copy()
    place[person == 2] = 1
    kept = (person != 3) | (np.cumsum(person == 3) <= 2)
    changed = Triplets(triplets.ids, triplets.items, place, 'people', participants=person, in_order=True).take(kept)
    made = _fit(support[kept], changed)
    assert (made.n_participants, made.n_few, made.n_one_place) == (2, 1, 1)
    np.testing.assert_array_equal(np.isnan(made.nll), changed.participants >= 2)
    alone = changed.take(changed.participants >= 2)
    with pytest.raises(
        ValueError, match="of 'people' can be fitted: 1 have fewer than 5 trials, 1 always chose the same"
    ):
        _fit(support[kept][changed.participants >= 2], alone)


def test_without_an_order_of_presentation_there_is_no_bias():
    support, triplets, *_ = _choices(in_order=False)
    assert (_fit(support, triplets).bias == 0.0).all()


def test_pooled_trials_share_one_temperature():
    support, triplets, *_ = _choices()
    made = _fit(support, triplets, pooled=True)
    assert made.n_participants == 1 and made.temperature.shape == (1,) and np.isfinite(made.nll).all()


def test_position_bias_alone_predicts_the_shares_of_places():
    support, triplets, *_ = _choices(n_people=1, n_trials=2000)
    made = _fit(support, triplets, with_support=False)
    shares = np.bincount(triplets.odd) / len(triplets)
    assert made.nll.mean() == pytest.approx(-(shares * np.log(shares)).sum(), abs=4e-3)
    np.testing.assert_allclose(made.bias[0], np.log(shares[[0, 2]] / shares[1]), atol=1e-2)


def test_jobs_do_not_change_the_fit(monkeypatch):
    support, triplets, *_ = _choices(n_people=7)
    whole = _fit(support, triplets)
    monkeypatch.setattr(triplet_choices, 'BLOCKS_PER_JOB', 5)  # a person has three blocks
    np.testing.assert_allclose(_fit(support, triplets).nll, whole.nll, rtol=1e-5)


def test_a_support_without_differences_is_refused():
    _, triplets, *_ = _choices()
    with pytest.raises(ValueError, match='similarities of all pairs are equal'):
        _fit(np.ones((len(triplets), 3)), triplets)
    with pytest.raises(ValueError, match=r'280 trials need a support \[t, 3\], not \(2, 3\)'):
        _fit(np.ones((2, 3)), triplets)
