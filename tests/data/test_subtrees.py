"""Whole branches are held out: their items, and the functions that nothing else has."""

import numpy as np
import pytest

from humalign_jax.data.functions import Functions
from humalign_jax.data.subtrees import hold_out_subtrees


@pytest.fixture
def tree():
    """Ten branches of ten items, each with two twigs of five; one function is true of everything."""
    branch, twig = np.arange(100) // 10, np.arange(100) // 5
    values = np.vstack([branch == np.arange(10)[:, None], twig == np.arange(20)[:, None], np.ones((1, 100))])
    names = [*(f'branch {k}' for k in range(10)), *(f'twig {k}' for k in range(20)), 'thing']
    return Functions.from_dense(values.astype(float), [f'i{k}' for k in range(100)], names, 'tree')


@pytest.mark.parametrize('seed', range(4))
def test_no_held_out_item_has_a_relative_among_the_others(tree, seed):
    items, functions = hold_out_subtrees(tree, 0.4, seed=seed, smallest=6)
    assert items.sum() == 40
    assert all(items[10 * k : 10 * k + 10].all() or not items[10 * k : 10 * k + 10].any() for k in range(10))
    held_out = set(tree.function_ids[functions].tolist())
    branches = {k for k in range(10) if items[10 * k]}
    assert held_out == {f'branch {k}' for k in branches} | {f'twig {2 * k + j}' for k in branches for j in range(2)}


def test_another_seed_holds_out_others_and_the_same_seed_the_same(tree):
    first, again, other = (hold_out_subtrees(tree, 0.4, seed=seed, smallest=6)[0] for seed in (0, 0, 1))
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_functions_without_branches_are_named(tree):
    with pytest.raises(ValueError, match="no function of 'tree' has 6 to 5 of 100 positive items"):
        hold_out_subtrees(tree, 0.2, seed=0, smallest=6)
