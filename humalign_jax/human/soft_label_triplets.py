"""Odd-one-out choices derived from soft labels: the odd one lies outside the closest pair of label distributions."""

import numpy as np

from humalign_jax.human_data import Answers, Triplets


def derive_triplets(answers: Answers, n_triplets: int, *, seed: int) -> Triplets:
    """Random triplets of images with the choice that people's answers imply; no person made these choices.

    The closest pair has the largest cosine similarity of its two distributions of answers, computed in float64 and
    rounded to float32. Triplets whose largest similarity is that of two pairs or three have no odd one: they are drawn
    again, and `provenance['n_tied']` counts them.

    Args:
        answers: Answers of several people to n images, such as CIFAR-10H.
        n_triplets: Number of triplets.
        seed: Seed of the triplets.

    Returns:
        The triplets, without participants and without an order of presentation.

    Raises:
        ValueError: There are fewer than three images, or almost all triplets are tied.
    """
    n = len(answers)
    if n < 3 or n_triplets < 1:
        raise ValueError(f'{n_triplets} triplets of {n} images: at least 1 triplet and 3 images are needed.')
    unit = answers.probabilities / np.linalg.norm(answers.probabilities, axis=1, keepdims=True)
    np_rng = np.random.default_rng(seed)
    items, odd, n_kept, n_tied = [], [], 0, 0
    while n_kept < n_triplets:
        drawn = np_rng.integers(0, n, size=(2 * n_triplets + 100, 3))
        first, second, third = drawn.T
        drawn = drawn[(first != second) & (first != third) & (second != third)]
        a, b, c = (unit[drawn[:, place]] for place in range(3))
        pairs = [(b * c).sum(axis=1), (a * c).sum(axis=1), (a * b).sum(axis=1)]
        similarity = np.stack(pairs, axis=1).astype(np.float32)
        tied = (similarity == similarity.max(axis=1, keepdims=True)).sum(axis=1) > 1
        wanted = np.flatnonzero(~tied)[: n_triplets - n_kept]
        n_seen = len(drawn) if n_kept + len(wanted) < n_triplets else int(wanted[-1]) + 1
        n_tied += int(tied[:n_seen].sum())
        items.append(drawn[wanted])
        odd.append(similarity[wanted].argmax(axis=1))
        n_kept += len(wanted)
        if n_tied > 100 * n_kept + 1000:
            raise ValueError(f'almost all triplets of {answers.name!r} are tied: the answers to most images are alike.')
    derived = {'derived': 'odd one out of soft labels, by cosine similarity', 'n_tied': n_tied, 'triplets_seed': seed}
    return Triplets(
        answers.ids,
        np.concatenate(items),
        np.concatenate(odd),
        f'{answers.name}, derived triplets',
        simulated=answers.simulated,
        provenance={**answers.provenance, **derived},
    )
