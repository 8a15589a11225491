"""Scores of odd-one-out trials: over people and triplets, of each kind of trial, with ceilings."""

import dataclasses
import itertools

import numpy as np
import pytest

from humalign_jax.alignment import triplet_scores
from humalign_jax.alignment.triplet_choices import CHANCE_NLL, ChoiceFit
from humalign_jax.human_data import Triplets

OPTIONS = {'n_bootstrap': 50, 'seed': 0}


@pytest.fixture
def triplets():
    """40 triplets, shown to each of two people; the second half is of another kind."""
    sets = np.array(list(itertools.islice(itertools.combinations(range(7), 3), 35)))
    items, people = np.repeat(sets, 2, axis=0), np.tile(['ann', 'bob'], 35)
    kinds = np.where(np.arange(70) < 64, 'easy', 'hard')
    return Triplets(
        [f's{k}' for k in range(7)], items, np.zeros(70, int), 'people', participants=people, kinds=kinds, in_order=True
    )


def _named(scores):
    return {(s.name.rpartition('/')[2], s.provenance['trials'], s.provenance['over']): s for s in scores}


def test_accuracy_is_over_participants_and_triplets_for_all_trials_and_each_kind(triplets):
    credit = (np.arange(70) < 64).astype(np.float32)
    ceilings = triplet_scores.ceilings_of(triplets, within=False)
    about = {**triplet_scores.about_triplets(triplets), 'model': 'net'}
    one = triplet_scores.Predicted('net', about, credit, None)
    scores = _named(triplet_scores.scores_of(one, triplets, {}, ceilings, **OPTIONS))
    assert {key[1:] for key in scores} == {
        (kind, over) for kind in ('all', 'easy', 'hard') for over in ('participants', 'triplets')
    }
    found = scores['accuracy', 'all', 'triplets']
    assert found.value == pytest.approx(64 / 70) and found.n == 35 and found.provenance['chance'] == 1 / 3
    assert scores['accuracy', 'easy', 'participants'].value == 1.0 and scores['accuracy', 'hard', 'triplets'].value == 0
    assert found.ceiling_lower == found.ceiling_upper == 1.0  # both people always chose the same
    assert np.isnan(scores['accuracy', 'hard', 'triplets'].ceiling_upper)  # only 3 repeated triplets


def test_r2_is_the_share_of_the_nll_of_chance_and_left_out_people_are_counted(triplets):
    nll = np.where(triplets.participants == 'ann', 0.5, np.nan)
    choices = ChoiceFit(nll, np.array([2.0]), np.zeros((1, 2)), 1, n_few=0, n_one_place=1)
    ceilings = triplet_scores.ceilings_of(triplets, within=False)
    scores = _named(triplet_scores.choice_scores(choices, triplets, {}, ceilings, **OPTIONS))
    found = scores['mcfadden_r2', 'all', 'triplets']
    assert found.value == pytest.approx(1 - 0.5 / CHANCE_NLL) and found.ceiling_upper == pytest.approx(1.0)
    assert scores['nll', 'all', 'participants'].value == 0.5 and scores['nll', 'all', 'participants'].n == 1
    assert found.provenance['n_left_out_one_place'] == 1 and found.provenance['n_trials'] == 35


def test_a_difference_is_paired_over_trials(triplets):
    one, other = np.tile([1.0, 0.0], 35), np.tile([0.0, 0.0], 35)
    scores = _named(triplet_scores.difference_scores(('a', one), ('b', other), triplets, {}, **OPTIONS))
    found = scores['difference', 'all', 'triplets']
    assert (found.value, found.low, found.high) == pytest.approx((0.5, 0.5, 0.5))  # each triplet has both people
    assert scores['difference', 'all', 'participants'].high == 1.0
    assert found.provenance['model'] == 'a' and found.provenance['other'] == 'b'


def test_networks_of_one_group_are_scored_by_what_one_of_them_has_on_average():
    fit = ChoiceFit(np.array([1.0, np.nan]), np.array([1.0]), np.zeros((1, 2)), 1, n_few=1, n_one_place=0)
    shared = {'human': 'people', 'measure': 'cosine', 'group': 'main'}
    members = [
        triplet_scores.Predicted(
            f'main-{k}',
            {**shared, 'model': f'main-{k}', 'file': f'{k}.npy'},
            np.array([float(k), 1.0]),
            dataclasses.replace(fit, nll=np.array([1.0 + k, np.nan]), temperature=np.array([4.0**k])),
        )
        for k in range(2)
    ]
    found = triplet_scores.pooled(members, 'main')
    np.testing.assert_allclose(found.credit, [0.5, 1.0])
    np.testing.assert_allclose(found.choices.nll, [1.5, np.nan])
    np.testing.assert_allclose(found.choices.temperature, [2.0])
    assert found.about == {
        'human': 'people', 'measure': 'cosine', 'model': 'main', 'n_networks': 2, 'networks': ['main-0', 'main-1']
    }  # fmt: skip
    without = [members[0], dataclasses.replace(members[1], choices=None)]
    assert triplet_scores.pooled(without, 'main').choices is None
