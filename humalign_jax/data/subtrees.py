"""Items and functions held out together, by whole branches of a hierarchy such as WordNet.

Where single concepts are held out at random, every held-out concept has relatives among those trained on. Whole
branches have none: all vehicles are held out, and with them the functions 'vehicle', 'car' and every other that only
vehicles have.
"""

import numpy as np

from humalign_jax.data.functions import Functions

LARGEST = 0.25  # of the share that is held out: the largest single branch


def hold_out_subtrees(functions: Functions, share: float, *, seed: int, smallest: int) -> tuple[np.ndarray, np.ndarray]:
    """Branches drawn at random until their items are the wanted share of all items.

    A branch is the positive items of one function. Functions of more than `LARGEST` of the wanted items are no
    branches, so that several branches are drawn.

    Args:
        functions: Sparse functions of n items.
        share: Wanted share of the items, above 0 and below 1; never exceeded.
        seed: Seed of the draw.
        smallest: Least number of items of a branch.

    Returns:
        The held-out items, bool, [n], and the held-out functions, bool, [f]: those without a positive item elsewhere.

    Raises:
        ValueError: No function is a branch.
    """
    wanted = share * functions.n_items
    n_positive = functions.n_positive()
    branches = np.flatnonzero((n_positive >= smallest) & (n_positive <= LARGEST * wanted))
    if not len(branches):
        raise ValueError(
            f'no function of {functions.name!r} has {smallest} to {LARGEST * wanted:.0f} of {functions.n_items} '
            'positive items, so that there is no branch to hold out: hold out single items, or a larger share.'
        )
    items = np.zeros(functions.n_items, bool)
    for row in np.random.default_rng([seed, len(functions)]).permutation(branches):
        with_branch = items.copy()
        with_branch[functions.indices[functions.indptr[row] : functions.indptr[row + 1]]] = True
        if with_branch.sum() <= wanted:
            items = with_branch
    elsewhere = functions.n_positive(np.flatnonzero(~items))
    return items, (elsewhere == 0) & (n_positive > 0)
