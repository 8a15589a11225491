"""Choices that follow from soft labels."""

import numpy as np
import pytest

from humalign_jax.human.soft_label_triplets import derive_triplets
from humalign_jax.human_data import Answers


def _answers(counts):
    counts = np.asarray(counts)
    return Answers(counts, np.array([f'i{k}' for k in range(len(counts))]), tuple('abc'[: counts.shape[1]]), 'people')


def test_the_odd_one_lies_outside_the_closest_pair_of_answers():
    answers = _answers(np.random.default_rng(0).integers(1, 30, size=(12, 3)))
    made = derive_triplets(answers, 400, seed=1)
    p = answers.probabilities
    cosine = (p @ p.T) / np.outer(np.linalg.norm(p, axis=1), np.linalg.norm(p, axis=1))
    for (a, b, c), odd in zip(made.items, made.odd):
        assert int(np.argmax([cosine[b, c], cosine[a, c], cosine[a, b]])) == odd
    assert len(made) == 400 and made.participants is None and not made.in_order


def test_triplets_without_one_closest_pair_are_drawn_again_and_counted():
    made = derive_triplets(_answers([[9, 0, 0], [9, 0, 0], [0, 9, 0], [0, 0, 9]]), 100, seed=0)
    assert all({0, 1} <= set(items.tolist()) for items in made.items)  # others have no closest pair
    assert 0.3 < made.provenance['n_tied'] / (made.provenance['n_tied'] + 100) < 0.7  # 1/2 of the triplets are tied


def test_answers_that_are_all_alike_are_refused():
    with pytest.raises(ValueError, match="almost all triplets of 'people' are tied"):
        derive_triplets(_answers(np.full((5, 2), 3)), 10, seed=0)
    with pytest.raises(ValueError, match='10 triplets of 2 images: at least 1 triplet and 3 images'):
        derive_triplets(_answers(np.ones((2, 2), int)), 10, seed=0)
