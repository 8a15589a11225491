"""Machine psychophysics: which images a trial shows, and how often the right one is chosen."""

import numpy as np
import pytest

from humalign_jax.interpret import index, psychophysics

NP_RNG = np.random.default_rng(0)
ACTIVATIONS = NP_RNG.normal(size=(100, 3))
SIZES = {'n_trials': 4, 'n_references': 3}


def _trials(activations=ACTIVATIONS, quantile=0.0, **sizes):
    return psychophysics.make_trials(
        activations, quantile=quantile, np_rng=np.random.default_rng(5), **{**SIZES, **sizes}
    )


@pytest.mark.parametrize('quantile', [0.0, 0.25])
def test_queries_are_the_most_and_least_exciting_images_of_the_middle_and_references_follow(quantile):
    trials = _trials(quantile=quantile)
    order = np.random.default_rng(5)
    chosen = [order.permutation(4) for _ in range(2)]
    for unit, values in enumerate(ACTIVATIONS.T):
        limits = np.quantile(values, [quantile, 1 - quantile])
        middle = np.flatnonzero((values >= limits[0]) & (values <= limits[1]))
        down = middle[np.argsort(-values[middle])]
        for side, ranked in enumerate((down, down[::-1])):
            np.testing.assert_array_equal(trials.queries[unit, :, side], ranked[:4][chosen[side]])
            for trial in range(4):
                expected = ranked[4 + np.arange(3) * 4 + trial]
                np.testing.assert_array_equal(trials.references[unit, trial, side], expected)


def test_the_probability_is_the_softmax_of_z_scored_evidence():
    features = NP_RNG.normal(size=(100, 6))
    trials = _trials()
    expected = []
    for unit in range(3):
        right = []
        for (top, bottom), references in zip(trials.queries[unit], trials.references[unit]):
            similarity = np.array(
                [[-np.linalg.norm(features[q] - features[r]) for r in references.ravel()] for q in (top, bottom)]
            )
            z = (similarity - similarity.mean()) / similarity.std()
            to_top, to_bottom = z[:, :3].mean(axis=1), z[:, 3:].mean(axis=1)
            evidence = np.array([to_top[0] + to_bottom[1], to_top[1] + to_bottom[0]])
            right.append(np.exp(evidence[0]) / np.exp(evidence).sum())
        expected.append(np.mean(right))
    found = psychophysics.right_answers(index.ImageDistance('x', features, is_squared=False), trials)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_an_observer_that_sees_the_activation_is_nearly_always_right_and_a_blind_one_at_chance():
    seeing = index.ImageDistance('x', ACTIVATIONS[:, :1], is_squared=False)
    blind = index.ImageDistance('x', np.zeros((100, 2)), is_squared=False)
    trials = _trials(ACTIVATIONS[:, :1])
    assert psychophysics.right_answers(seeing, trials)[0] > 0.95
    np.testing.assert_array_equal(psychophysics.right_answers(blind, trials), 0.5)


def test_too_few_images_and_an_impossible_quantile_are_named():
    with pytest.raises(
        ValueError, match=r'4 trials with 13 references of each kind need 112 images, but .* 100 of 100'
    ):
        _trials(n_references=13)
    with pytest.raises(ValueError, match=r'quantile=0\.5 must be from 0 to below'):
        _trials(quantile=0.5)
