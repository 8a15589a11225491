"""Measures of geometry with intervals over items: known values, paired differences, standard errors that cover."""

import numpy as np
import pytest

from humalign_jax import rsa
from humalign_jax.alignment import geometry_scores
from humalign_jax.alignment.geometry_scores import CKA, PARTICIPATION, SEPARATION, TWO_NN


def _data(seed, n=60):
    rng = np.random.default_rng(seed)
    label = rng.integers(3, size=n)
    values = 2.0 * np.eye(4)[label] + rng.normal(size=(n, 4))
    return values, label[:, None] == np.arange(3), values @ rng.normal(size=(4, 2)) + rng.normal(size=(n, 2))


def test_values_are_those_of_all_items_and_intervals_those_of_repeated_items():
    values, members, human = _data(0)
    samples = geometry_scores.draw_items(60, 25, seed=4)
    found = geometry_scores.geometry_of(values, {'coarse': members}, {'people': human}, samples)
    expected = {
        (f'{SEPARATION}_coarse', ''): lambda rows: rsa.class_separation(values[rows], members[rows]),
        (PARTICIPATION, ''): lambda rows: rsa.participation_ratio(values[rows]),
        (TWO_NN, ''): lambda rows: rsa.two_nn(values[np.unique(rows)], min_max=True),
        (CKA, 'people'): lambda rows: rsa.linear_cka(values[rows], human[rows]),
    }
    assert found.keys() == expected.keys()
    scores = {score.name: score for score in geometry_scores.scores_of(found, {'model': 'net'})}
    for (name, embedding), of in expected.items():
        score, error = scores[name], np.std([of(rows) for rows in samples], ddof=1)
        assert score.value == pytest.approx(of(np.arange(60))) and score.n == 60
        assert (score.high - score.low) / 2 == pytest.approx(1.959964 * error)
        assert score.provenance.get('human_embedding', '') == embedding and score.provenance['model'] == 'net'


def test_a_difference_is_paired_over_items_and_a_representation_does_not_differ_from_its_copy():
    values, members, human = _data(1)
    samples = geometry_scores.draw_items(60, 20, seed=0)
    one, copy, other = (
        geometry_scores.geometry_of(x, {'coarse': members}, embeddings, samples)
        for x, embeddings in ((values, {'people': human}), (values.copy(), {}), (human, {'people': human}))
    )
    same = geometry_scores.difference_scores(one, copy, {'model': 'one', 'other': 'copy'})
    assert [(score.value, score.low, score.high) for score in same] == [(0.0, 0.0, 0.0)] * 3  # no CKA of the copy
    differing = geometry_scores.difference_scores(one, other, {})
    cka = next(score for score in differing if score.name == f'{CKA}/difference')
    draws = one[CKA, 'people'].draws - 1.0
    assert cka.value == pytest.approx(one[CKA, 'people'].value - 1.0)
    assert cka.high - cka.value == pytest.approx(1.959964 * draws.std(ddof=1), rel=1e-6)


def test_networks_of_a_group_are_averaged_draw_by_draw():
    samples = geometry_scores.draw_items(60, 5, seed=0)
    one, other = (geometry_scores.geometry_of(_data(seed)[0], {}, {}, samples) for seed in (0, 1))
    mean = geometry_scores.mean_geometry([one, other])
    assert mean[TWO_NN, ''].value == pytest.approx((one[TWO_NN, ''].value + other[TWO_NN, ''].value) / 2)
    expected = (one[PARTICIPATION, ''].draws + other[PARTICIPATION, ''].draws) / 2
    np.testing.assert_allclose(mean[PARTICIPATION, ''].draws, expected)


def test_items_without_direction_and_classes_of_one_item_do_not_enter_class_separation():
    values, members, _ = _data(2)
    values[:5] = 0.0
    more = np.concatenate([members, np.arange(60)[:, None] == 7], axis=1)  # one class more, of one item
    samples = geometry_scores.draw_items(60, 3, seed=0)
    found = geometry_scores.geometry_of(values, {'coarse': more}, {}, samples)[f'{SEPARATION}_coarse', '']
    assert found.value == pytest.approx(rsa.class_separation(values[5:], members[5:])) and found.n == 55


def test_the_standard_error_of_two_nn_covers_the_spread_over_new_items_and_is_not_twice_as_large():
    found = []
    for seed in range(50):
        x = np.random.default_rng(seed).normal(size=(120, 3))
        samples = geometry_scores.draw_items(120, 20, seed)
        draws = [rsa.two_nn(x[rows], min_max=True) for rows in samples]
        found.append((rsa.two_nn(x, min_max=True), np.std(draws, ddof=1)))
    values, errors = np.array(found).T
    assert 0.9 < errors.mean() / values.std(ddof=1) < 1.6
