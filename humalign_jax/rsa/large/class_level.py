"""RSA between classes instead of stimuli: RDMs of class means, and their scores over new images of the same classes.

The bootstrap draws images with replacement within each class and computes every class mean again, of models and people
alike, from the same images. Its intervals speak of other images of these classes, not of other classes.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np
import scipy.stats
from scipy.spatial.distance import pdist

from humalign_jax.rsa.similarity.indices import WEIGHTED_INDICES, index_named

_BATCH_BYTES = 1 << 27  # of class means held at a time


@dataclasses.dataclass(frozen=True)
class ClassRdms:
    """RDM of the class means of one set of features, and the same in bootstrap samples of images.

    Attributes:
        values: Condensed, float32, [p]; classes in sorted order.
        draws: Float32, [b, p].
    """

    values: np.ndarray
    draws: np.ndarray


def class_weights(labels: np.ndarray, n_draws: int, *, seed: int) -> np.ndarray:
    """How often each stimulus is drawn when each class is resampled for itself: [n] -> int32 [b, n]."""
    labels, np_rng = np.asarray(labels), np.random.default_rng([seed, 7])
    weights = np.zeros((n_draws, len(labels)), np.int32)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        weights[:, rows] = np_rng.multinomial(len(rows), np.full(len(rows), 1.0 / len(rows)), size=n_draws)
    return weights


def class_rdms(values: np.ndarray, labels: np.ndarray, measure: str, weights: np.ndarray) -> ClassRdms:
    """RDMs of class means.

    Args:
        values: Features or soft labels, [n, d].
        labels: Class of each row, [n].
        measure: A name of scipy.spatial.distance.pdist.
        weights: From `class_weights`, [b, n].

    Raises:
        ValueError: There are fewer than three classes.
    """
    members = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    if len(members) < 3:
        raise ValueError(f'{len(members)} classes have no RDM to correlate: at least three are needed.')

    def rdm(means: np.ndarray) -> np.ndarray:
        # As everywhere: in float64 rounding would break ties.
        return pdist(means, metric=measure).astype(np.float32)  # type: ignore[call-overload]

    n_draws, n_pairs = len(weights), len(members) * (len(members) - 1) // 2
    draws = np.empty((n_draws, n_pairs), np.float32)
    kind = np.result_type(values.dtype, np.float32)
    step = max(1, _BATCH_BYTES // (len(members) * values.shape[1] * kind.itemsize))
    for start in range(0, n_draws, step):
        part = weights[start : start + step]
        means = np.stack([part[:, rows].astype(kind) @ values[rows] / kind.type(len(rows)) for rows in members], axis=1)
        draws[start : start + step] = [rdm(one) for one in means]
    whole = np.stack([np.mean(values[rows], axis=0, dtype=np.float64) for rows in members])
    return ClassRdms(rdm(whole), draws)


def class_scores(model: ClassRdms, reference: ClassRdms, index: str) -> tuple[float, np.ndarray]:
    """The index between the RDMs of class means, and in each sample: [], [b]; NaN where one of them does not vary."""
    values = _by_row(model.values[None], reference.values[None], index)[0]
    return float(values), _by_row(model.draws, reference.draws, index)


def permutation_p(model: np.ndarray, reference: np.ndarray, index: str, *, n_permutations: int, seed: int) -> float:
    """One-sided p value of no relation between two condensed RDMs of classes, by exchanging classes: [p], [p] -> []."""
    n_classes = int((1 + np.sqrt(1 + 8 * len(model))) // 2)
    square, (rows, columns) = np.zeros((n_classes, n_classes), reference.dtype), np.triu_indices(n_classes, 1)
    square[rows, columns] = square[columns, rows] = reference
    np_rng = np.random.default_rng([seed, 8])
    orders = np_rng.permuted(np.tile(np.arange(n_classes), (n_permutations, 1)), axis=1)
    exchanged = square[orders[:, rows], orders[:, columns]]
    scores = _by_row(np.broadcast_to(model, exchanged.shape), exchanged, index)
    observed = _by_row(model[None], reference[None], index)[0]
    return float('nan') if np.isnan(observed) else float((1 + np.sum(scores >= observed - 1e-9)) / (1 + n_permutations))


def join_draws(scores: Mapping[str, np.ndarray]) -> np.ndarray:
    """Samples in which every model has a score, [b, m]."""
    draws = np.stack(list(scores.values()), axis=1)
    return draws[np.isfinite(draws).all(axis=1)]


def _by_row(a: np.ndarray, b: np.ndarray, index: str) -> np.ndarray:
    """The index between row i of `a` and row i of `b`: [b, p], [b, p] -> [b]."""
    chosen = index_named(index, WEIGHTED_INDICES)
    a, b = (np.asarray(x, np.float64) for x in (a, b))
    if chosen.ranked:
        a, b = (scipy.stats.rankdata(x, axis=1) for x in (a, b))
    if chosen.centred:
        a, b = (x - x.mean(axis=1, keepdims=True) for x in (a, b))
    p = a.shape[1]
    products = np.einsum('bp,bp->b', a, b)
    if chosen.untied_scale:
        return 12.0 * products / (float(p) ** 3 - p)
    squares = np.einsum('bp,bp->b', a, a) * np.einsum('bp,bp->b', b, b)
    return products / np.sqrt(np.where(squares > 0, squares, np.nan))
