"""Noise ceilings: what the best model could score, given how people differ or how few answers they gave."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.spatial.distance import pdist

from humalign_jax.progress import steps
from humalign_jax.rsa.compare import INDICES, Rdms, compare, compare_condensed, join_rdms, row_ranks
from humalign_jax.rsa.pairs import between_category, category_rdm, within_category

RANK_INDICES = ('spearman', 'rho_a', 'kendall_tau_a', 'kendall_tau_b')
PAIRS = ('all', 'within', 'between', 'partial')


class Ceiling(NamedTuple):
    """Bounds of what the true model would score; a model between them cannot be told from the truth."""

    lower: float
    upper: float


def pool(rdms: np.ndarray, index: str) -> np.ndarray:
    """The one RDM that agrees best with several, under an index.

    The average of RDMs scaled so that the index sees each alike: to unit root mean square for the cosines, to zero mean
    and unit variance for the Pearson correlations, by their ranks for the rank correlations. The maximum is exact for
    'cosine' and 'pearson', close for the others (for 'bures', the average of RDMs of mean 1, it is a plain guess).

    Args:
        rdms: Condensed RDMs, [s, p].
        index: One of `compare.INDICES`.

    Returns:
        Condensed RDM, [p].
    """
    if index not in INDICES:
        raise ValueError(f'there is no index {index!r}: choose one of {", ".join(INDICES)}.')
    return _alike(rdms, index).mean(axis=0)


def _alike(rdms: np.ndarray, index: str) -> np.ndarray:
    """RDMs scaled so that the index sees each alike, [s, p] -> [s, p] float64."""
    rdms = np.asarray(rdms, dtype=np.float64)
    if index in RANK_INDICES:
        return row_ranks(rdms)
    if index in ('pearson', 'whitened_pearson'):
        rdms = rdms - rdms.mean(axis=-1, keepdims=True)
    scale = rdms.mean(axis=-1) if index == 'bures' else np.sqrt((rdms**2).mean(axis=-1))
    if np.any(scale == 0):
        raise ValueError(
            f'RDMs {np.flatnonzero(scale == 0).tolist()} of {len(rdms)} subjects are constant, so that {index!r} is '
            'not defined for them: leave them out.'
        )
    return rdms / scale[:, None]


def noise_ceiling(
    subjects: Rdms, index: str = 'spearman', *, mask: np.ndarray | None = None, control: Rdms | None = None
) -> Ceiling:
    """Noise ceiling of the mean score over subjects.

    Upper: every subject with the pooled RDM of all, which contains that subject. Lower: every subject with the pooled
    RDM of the others.

    Args:
        subjects: RDMs of at least two subjects: records, or a condensed array [s, p].
        index: One of `compare.INDICES`.
        mask: Which pairs count, [p] booleans; as for `compare`.
        control: RDMs whose effect is removed; as for `compare`.

    Returns:
        The lower and the upper bound.

    Raises:
        ValueError: There are fewer than two subjects.

    References:
        Nili et al. (2014). doi:10.1371/journal.pcbi.1003553
    """
    rdms, *controls = join_rdms(*([subjects] if control is None else [subjects, control]))
    if len(rdms) < 2:
        raise ValueError(
            f'a noise ceiling needs the RDMs of at least two subjects, not {len(rdms)}; from the answers to each '
            'stimulus, split_half gives a reliability instead.'
        )
    lower, upper = subject_ceilings(rdms, index, mask=mask, control=controls[0] if controls else None)
    return Ceiling(float(lower.mean()), float(upper.mean()))


def subject_ceilings(
    rdms: np.ndarray, index: str, *, mask: np.ndarray | None = None, control: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Agreement of each subject with the others' pooled RDM and with everyone's: [s, p] -> [s], [s]; see above."""
    if mask is not None:
        rdms, control = rdms[:, mask], None if control is None else control[:, mask]
    alike = _alike(rdms, index)
    total = alike.sum(axis=0)  # of ranks exact, so that ties stay ties
    upper = compare_condensed(total[None], rdms, index, control=control)[0]
    others = [
        compare_condensed((total - x)[None], rdm[None], index, control=control)
        for x, rdm in steps(list(zip(alike, rdms)), 'subjects against the others')
    ]
    return np.ravel(others), upper


@dataclasses.dataclass(frozen=True)
class SplitHalf:
    """Agreement of two RDMs, each made of half of every stimulus' answers.

    Attributes:
        halves: Index between the two halves, one for each random split, [n_splits].
        reliability: Spearman-Brown 2 r / (1 + r) of their mean: agreement expected of two full sets of answers.
        ceiling: Square root of the reliability: what a model equal to the noise-free RDM would score.
    """

    halves: np.ndarray
    reliability: float
    ceiling: float

    @classmethod
    def of(cls, halves: Sequence[float] | np.ndarray) -> 'SplitHalf':
        """What follows from the agreement of the halves, one number for each split."""
        mean = float(np.mean(halves))
        return cls(np.asarray(halves), spearman_brown(mean), noise_free(mean))


def split_half(
    counts: np.ndarray,
    measure: str = 'cosine',
    *,
    labels: np.ndarray | None = None,
    level: str = 'image',
    pairs: str = 'all',
    index: str = 'spearman',
    n_splits: int = 10,
    seed: int = 0,
) -> SplitHalf:
    """Split-half reliability of the RDM of answer probabilities.

    Args:
        counts: How often each answer was given to each stimulus, non-negative integers, [n, k].
        measure: Distance between two stimuli's answer probabilities, a name of scipy.spatial.distance.pdist.
        labels: True class of each stimulus, [n]; needed for level 'class' and for pairs other than 'all'.
        level: 'image' compares stimuli, 'class' the mean probabilities of each class.
        pairs: 'all'; 'within' or 'between' for pairs of one or of two classes only; 'partial' for all pairs with the
            same/different RDM of the classes partialled out.
        index: One of `compare.INDICES`; 'spearman' or 'pearson' where pairs is 'partial'.
        n_splits: How many random splits.
        seed: Seed of the splits.

    Returns:
        The agreement of every split, its mean corrected to full length, and the ceiling for a model.

    Raises:
        ValueError: A stimulus has fewer than two answers, or the options do not fit each other.

    References:
        Spearman (1910), Brown (1910), the correction for length.
    """
    if level not in ('image', 'class') or pairs not in PAIRS or n_splits < 1:
        raise ValueError(
            f"level must be 'image' or 'class', pairs one of {PAIRS} and n_splits positive, "
            f'not {level!r}, {pairs!r} and {n_splits}.'
        )
    if labels is None and (level == 'class' or pairs != 'all'):
        raise ValueError(f'level {level!r} with pairs {pairs!r} needs the true class of each stimulus: pass labels.')
    if level == 'class' and pairs != 'all':
        raise ValueError("at level 'class' every pair is of two classes: pairs must be 'all'.")
    options, members = {}, []
    if labels is not None:
        members = [labels == label for label in np.unique(labels)] if level == 'class' else []
        if pairs in ('within', 'between'):
            options['mask'] = (within_category if pairs == 'within' else between_category)(labels)
        elif pairs == 'partial':
            options['control'] = category_rdm(labels)

    np_rng, halves = np.random.default_rng(seed), np.empty(n_splits)
    for split in steps(range(n_splits), 'halves of the answers'):  # one at a time: an RDM of 10,000 stimuli is 200 MB
        rdms = []
        for half in split_counts(counts, np_rng):
            probabilities = half / half.sum(axis=1, keepdims=True)
            if members:
                probabilities = np.stack([probabilities[member].mean(axis=0) for member in members])
            rdm = pdist(probabilities, metric=measure)  # type: ignore[call-overload]
            # In float64 rounding breaks ties: Jensen-Shannon on CIFAR-10H 0.58 instead of 0.72.
            rdms.append(rdm.astype(np.float32))
        halves[split] = compare(rdms[0], rdms[1], index, **options)
    return SplitHalf.of(halves)


def split_counts(counts: np.ndarray, np_rng: np.random.Generator, n_splits: int | None = None) -> np.ndarray:
    """Answers dealt at random into two halves, every stimulus' for itself (multivariate hypergeometric).

    The first half gets the smaller share of an odd number of answers.

    Args:
        counts: Non-negative integers, [n, k], at least two a row.
        np_rng: Source of randomness.
        n_splits: How many independent splits; None for one, without a leading axis.

    Returns:
        Counts of the two halves, int64, [2, n, k] or [n_splits, 2, n, k]; the halves sum to `counts`.

    Raises:
        ValueError: The counts are not of that kind.
    """
    counts = np.asarray(counts)
    if counts.ndim != 2 or not np.issubdtype(counts.dtype, np.integer) or counts.min() < 0:
        raise ValueError(
            f'counts must be non-negative integers [n, k], not {counts.dtype} {counts.shape}: probabilities cannot be '
            'split, only answers can.'
        )
    counts = counts.astype(np.int64)
    totals = counts.sum(axis=1)
    if totals.min() < 2:
        raise ValueError(f'stimulus {int(np.argmin(totals))} has {totals.min()} answers: a split needs at least two.')
    shape = () if n_splits is None else (n_splits,)
    half = np.empty((*shape, *counts.shape), dtype=np.int64)
    to_draw, below = np.broadcast_to(totals // 2, (*shape, len(counts))), totals.copy()
    for answer in range(counts.shape[1]):  # the joint draw as a chain of hypergeometric ones
        below = below - counts[:, answer]
        half[..., answer] = np_rng.hypergeometric(np.broadcast_to(counts[:, answer], to_draw.shape), below, to_draw)
        to_draw = to_draw - half[..., answer]
    return np.stack([half, counts - half], axis=-3)


def spearman_brown(r: float) -> float:
    """Reliability of twice as long a measurement, 2 r / (1 + r)."""
    return float(2.0 * r / (1.0 + r))


def noise_free(r: float) -> float:
    """Correlation with all answers of a predictor without noise, from the correlation of two halves; 0 for r < 0."""
    return float(np.sqrt(max(spearman_brown(r), 0.0)))
