"""Early stopping: which evaluations count, what improves, and when a run ends."""

import pytest

from humalign_jax.train.stopping import EarlyStopping

PUBLISHED = EarlyStopping('score', patience=10, min_improvement=1e-3, after_steps=1000, min_accuracy=0.6)


def _rows(scores, *, accuracy=0.7, first=1100):
    return [{'step': first + 100 * i, 'score': score, 'accuracy': accuracy} for i, score in enumerate(scores)]


def test_a_run_ends_after_ten_evaluations_without_an_improvement_of_a_thousandth():
    almost = [0.5, *(0.5 + 1e-4 * i for i in range(1, 11))]  # the tenth reaches the thousandth, but does not exceed it
    assert PUBLISHED.is_over(_rows(almost))
    assert not PUBLISHED.is_over(_rows(almost[:-1]))
    assert not PUBLISHED.is_over(_rows([*almost[:-1], 0.502]))
    assert not PUBLISHED.is_over(_rows([*almost[:-1], 0.502, *almost[:9]]))


@pytest.mark.parametrize(('first', 'accuracy'), [(-1000, 0.7), (1100, 0.59)])
def test_evaluations_before_a_step_or_below_an_accuracy_do_not_count(first, accuracy):
    assert not PUBLISHED.is_over(_rows([0.5] * 20, first=first, accuracy=accuracy))


def test_counting_goes_on_once_the_accuracy_was_reached():
    rows = [*_rows([0.5]), *_rows([0.4] * 10, first=1200, accuracy=0.5)]
    assert PUBLISHED.is_over(rows) and not PUBLISHED.is_over(rows[:-1])


def test_small_improvements_before_counting_raise_what_must_be_exceeded():
    before = _rows([0.5 + 1e-4 * i for i in range(20)], first=-1400)  # up to 0.5019 at step 500
    assert PUBLISHED.is_over([*before, *_rows([0.5028] * 10)])
    assert not PUBLISHED.is_over([*before, *_rows([0.503] * 10)])


def test_without_patience_a_run_never_ends_early():
    never = EarlyStopping('score', patience=0, min_improvement=0.0, after_steps=0, min_accuracy=0.0)
    assert not never.is_over(_rows([0.5] * 100)) and not never.is_over([])
