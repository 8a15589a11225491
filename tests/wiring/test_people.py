"""People's answers and the images that they are about: one place checks classes and order."""

import pathlib
import re

import numpy as np
import pytest

from humalign_jax import experiments
from humalign_jax.human import cifar10h, cifar10n
from humalign_jax.human_data import Answers
from humalign_jax.records import stimulus_ids
from humalign_jax.wiring import people

N = 200
LABELS = np.random.default_rng(0).integers(0, 10, N)


def answers_named(name: str) -> Answers:
    counts = np.eye(10, dtype=np.int64)[LABELS] * 40 + 1
    return Answers(counts, stimulus_ids('cifar10', 'test', np.arange(N)), cifar10h.CLASS_NAMES, name)


@pytest.mark.parametrize('name', ['cifar10h', 'cifar10n', 'simulated observers'])
def test_answers_are_joined_by_id_and_refused_in_another_order(name):
    answers, rows = answers_named(name), np.array([7, 3, 100])
    found = people.matched(answers, answers.ids[rows], LABELS[rows], cifar10n.CLASS_NAMES)
    np.testing.assert_array_equal(found.counts, answers.counts[rows])
    with pytest.raises(ValueError, match='labels and answers are in different orders'):
        people.matched(answers, answers.ids, np.random.default_rng(1).permutation(LABELS), cifar10h.CLASS_NAMES)


def test_answers_about_other_classes_are_refused():
    answers = answers_named('cifar10h')
    with pytest.raises(ValueError, match=r'the labels have the classes truck, .* would mean different classes'):
        people.matched(answers, answers.ids, LABELS, cifar10h.CLASS_NAMES[::-1])


def test_no_experiment_joins_answers_in_another_way():
    folder = pathlib.Path(experiments.__file__).parent
    others = [path for path in folder.glob('*.py') if path.name != 'people.py']
    joins = re.compile(r'answers\.select\(|load_answers\(.*\)\.select\(|check_order\(')
    assert [path.name for path in others if joins.search(path.read_text())] == []
