"""Machine psychophysics: can a unit's images be told from their likeness to its other images?

In a trial, one query image excites the unit much and one little; references are shown of both kinds. The observer is a
distance between images. Its evidence is z-scored within a trial, and a softmax turns the evidence into the probability
of the right answer (two-alternative forced choice).

References:
    Zimmermann, Klein & Brendel (2023). Scale alone does not improve mechanistic interpretability in vision models.
    arXiv:2307.05471. As computed by Klindt et al. (2023), arXiv:2310.11431.
"""

import dataclasses

import numpy as np

from humalign_jax.interpret.index import ImageDistance


@dataclasses.dataclass(frozen=True)
class ForcedChoices:
    """The images of every trial of u units.

    Attributes:
        queries: Rows of the query that excites the unit much and of that which excites it little, [u, t, 2].
        references: Rows of k references of each kind, in the same order of kinds, [u, t, 2, k].
    """

    queries: np.ndarray
    references: np.ndarray


def make_trials(
    activations: np.ndarray, *, quantile: float, n_trials: int, n_references: int, np_rng: np.random.Generator
) -> ForcedChoices:
    """Trials of each unit.

    Images whose activation lies below the quantile or above one minus it are left out. Of the others, the t most and
    the t least exciting ones are the queries, in random order; the next k t on either side are the references, of which
    trial i gets every t-th from the i-th.

    Args:
        activations: [n, u].
        quantile: 0 (easiest, all images) to below 0.5.
        n_trials: Number t of trials of each unit.
        n_references: Number k of references of each kind.
        np_rng: For the order of the queries; the order is the same for all units.

    Raises:
        ValueError: There are too few images, or `quantile` is none.
    """
    if not 0 <= quantile < 0.5:
        raise ValueError(f'quantile={quantile} must be from 0 to below 0.5.')
    n_each = n_trials * (n_references + 1)
    chosen = [np_rng.permutation(n_trials) for _ in range(2)]
    order = np.argsort(activations.T, axis=1, kind='stable').astype(np.int32)  # [u, n]
    limits = np.quantile(activations, (quantile, 1 - quantile), axis=0)
    low, high = ((activations < limits[0]).sum(axis=0), (activations <= limits[1]).sum(axis=0))
    if (high - low).min() < 2 * n_each:
        raise ValueError(
            f'{n_trials} trials with {n_references} references of each kind need {2 * n_each} images, but between the '
            f'quantiles {quantile} and {1 - quantile} there are {(high - low).min()} of {len(activations)}: lower the '
            'number of trials or of references.'
        )
    ranks = np.arange(n_each)
    from_top = np.take_along_axis(order, high[:, None] - 1 - ranks, axis=1)  # [u, t (k + 1)]
    from_bottom = np.take_along_axis(order, low[:, None] + ranks, axis=1)
    sides = (from_top, from_bottom)
    queries = np.stack([side[:, picks] for side, picks in zip(sides, chosen)], axis=-1)
    references = [side[:, n_trials:].reshape(-1, n_references, n_trials).swapaxes(1, 2) for side in sides]
    return ForcedChoices(queries, np.stack(references, axis=2))


def right_answers(distance: ImageDistance, trials: ForcedChoices) -> np.ndarray:
    """Probability of the right answer of each unit, averaged over its trials; chance is 1/2: [u]."""
    u, t, _, k = trials.references.shape
    found = np.empty(u)
    for unit in range(u):
        between = distance.between(trials.queries[unit], trials.references[unit].reshape(t, 2 * k))
        found[unit] = _probability(-between).mean()
    return found


def _probability(similarity: np.ndarray) -> np.ndarray:
    """Probability of the right answer in each trial: [t, 2 queries, 2 k references] -> [t]."""
    similarity = similarity.astype(np.float64)
    centred = similarity - similarity.mean(axis=(1, 2), keepdims=True)
    sd = similarity.std(axis=(1, 2), keepdims=True)
    z = (
        (centred / np.where(sd > 0, sd, 1.0)).reshape(len(similarity), 2, 2, -1).mean(axis=-1)
    )  # query, kind of reference
    right, wrong = z[:, 0, 0] + z[:, 1, 1], z[:, 0, 1] + z[:, 1, 0]
    return 1.0 / (1.0 + np.exp(wrong - right))
