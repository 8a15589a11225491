"""Noise ceilings: what the best model could score, given how people differ or how few answers they gave.

How far two full sets of answers would agree follows from how far halves of one do, if it is known what length does.
Spearman and Brown's correction says that it doubles r / (1 - r), as for a correlation of true values and independent
noise. It does for Pearson's correlation of RDMs. Ranks are another matter where most people agree: few answers leave
most distances tied at 0 and 1, and more answers break these ties by noise. On CIFAR-10H (2,000 images, cosine) two sets
of 6, 12 and 23 answers agree by

                           6       12      23      what is made of 23 by the correction of 12
    Spearman, all pairs    0.814   0.762   0.724   0.865
    ... of one class       0.401   0.517   0.611   0.682
    ... of two classes     0.311   0.380   0.436   0.550
    Pearson, all pairs     0.970   0.986   0.993   0.993

so what length does is measured: by how much the log odds of agreement grow from quarters to halves, they are taken to
grow from halves to all. From 6 and 12 answers that makes 0.703, 0.632 and 0.454 (Pearson 0.993) of 23. Simulated sets
of 50 answers like CIFAR-10H's agreed by 0.85 and 0.87, where the correction gave 0.90 and 0.91, and this 0.83 and 0.84.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
import scipy.special
from scipy.spatial.distance import pdist

from humalign_jax import arrays
from humalign_jax.progress import steps
from humalign_jax.rsa.pairs import between_category, category_rdm, condensed_rows, within_category
from humalign_jax.rsa.similarity.compare import Rdms, compare, compare_condensed, join_rdms
from humalign_jax.rsa.similarity.indices import RANK_INDICES as RANK_INDICES
from humalign_jax.rsa.similarity.indices import Index, index_named, row_ranks

PAIRS = ('all', 'within', 'between', 'partial')
Agreement = TypeVar('Agreement')


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
    return _alike(rdms, index_named(index)).mean(axis=0)


def _alike(rdms: np.ndarray, index: Index) -> np.ndarray:
    """RDMs scaled so that the index sees each alike, [s, p] -> [s, p] float64."""
    rdms = np.asarray(condensed_rows(rdms), dtype=np.float64)
    if index.ranked:
        return row_ranks(rdms)
    if index.centred:
        rdms = rdms - rdms.mean(axis=-1, keepdims=True)
    size = index.size(rdms)
    if np.any(size == 0):
        raise ValueError(
            f'RDMs {np.flatnonzero(size == 0).tolist()} of {len(rdms)} subjects are constant, so that {index.name!r} '
            'is not defined for them: leave them out.'
        )
    return rdms / size[:, None]


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
    alike = _alike(rdms, index_named(index))
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
        quarters: Index between two quarters, likewise; empty where a stimulus has fewer than four answers.
    """

    halves: Sequence[float] | np.ndarray
    quarters: Sequence[float] | np.ndarray = ()

    @property
    def half(self) -> float:
        """Mean agreement of two halves."""
        return float(np.mean(self.halves))

    @property
    def spearman_brown(self) -> float:
        """2 r / (1 + r) of that."""
        return spearman_brown(self.half)

    @property
    def reliability(self) -> float:
        """Agreement expected of two full sets of answers: `spearman_brown`, or less where quarters say so."""
        if not len(self.quarters):
            return self.spearman_brown
        return min(self.spearman_brown, twice_as_long(self.half, float(np.mean(self.quarters))))

    @property
    def ceiling(self) -> float:
        """Square root of the reliability: the most that a model without noise can score."""
        return float(np.sqrt(max(self.reliability, 0.0)))


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
        The agreement of every split, what it makes of full sets of answers, and the ceiling for a model.

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

    def agreement(*parts: np.ndarray) -> float:
        rdms = []
        for probabilities in parts:
            if members:
                probabilities = np.stack([probabilities[member].mean(axis=0) for member in members])
            rdm = pdist(probabilities, metric=measure)  # type: ignore[call-overload]
            # In float64 rounding breaks ties: Jensen-Shannon on CIFAR-10H 0.58 instead of 0.72.
            rdms.append(rdm.astype(np.float32))
        return float(compare(rdms[0], rdms[1], index, **options))

    return SplitHalf(*agreements(counts, agreement, n_splits=n_splits, seed=seed))


def agreements(
    counts: np.ndarray, agreement: Callable[[np.ndarray, np.ndarray], Agreement], *, n_splits: int, seed: int
) -> tuple[list[Agreement], list[Agreement]]:
    """What `agreement` says of the answer probabilities of two halves, and of two quarters, of every split.

    Args:
        counts: As for `split_counts`.
        agreement: Of two sets of answer probabilities, [n, k] each.
        n_splits: How many random splits.
        seed: Seed of the splits.

    Returns:
        One for each split, and one for each or, where a stimulus has fewer than four answers, none.
    """
    dealt = halves_and_quarters(counts, n_splits, seed)
    found = [
        [agreement(*(part / part.sum(axis=1, keepdims=True) for part in parts)) for parts in split]
        for split in steps(dealt, 'halves of the answers', n_splits)
    ]
    return [split[0] for split in found], [split[1] for split in found if len(split) > 1]


def halves_and_quarters(counts: np.ndarray, n_splits: int, seed: int) -> Iterator[tuple[np.ndarray, ...]]:
    """Answers dealt into halves, and one of these again: [2, n, k], and another where all have four or more answers.

    One split at a time: the two RDMs of 10,000 stimuli are 400 MB.

    Args:
        counts: As for `split_counts`.
        n_splits: How many.
        seed: Seed of the splits.
    """
    np_rng = np.random.default_rng(seed)
    of_quarters = np_rng.spawn(1)[0]
    for _ in range(n_splits):
        halves = split_counts(counts, np_rng)
        few = halves[0].sum(axis=1).min() < 2
        yield (halves,) if few else (halves, split_counts(halves[0], of_quarters))


def split_counts(counts: np.ndarray, np_rng: np.random.Generator, n_splits: int | None = None) -> np.ndarray:
    """Answers dealt at random into two halves, every stimulus' for itself (multivariate hypergeometric).

    The first half gets the smaller share of an odd number of answers.

    Args:
        counts: Non-negative whole numbers of any type, [n, k], at least two a row.
        np_rng: Source of randomness.
        n_splits: How many independent splits; None for one, without a leading axis.

    Returns:
        Counts of the two halves, int64, [2, n, k] or [n_splits, 2, n, k]; the halves sum to `counts`.

    Raises:
        ValueError: The counts are not of that kind.
    """
    counts = arrays.real(counts, 'counts')
    if counts.ndim != 2 or counts.dtype.kind not in 'iuf' or counts.min() < 0 or (counts != np.rint(counts)).any():
        raise ValueError(
            f'counts must be non-negative whole numbers [n, k], not {counts.dtype} {counts.shape}: '
            'probabilities cannot be split, only answers can.'
        )
    counts = counts.astype(np.int64)
    totals = counts.sum(axis=1)
    if totals.min() < 2:
        raise ValueError(
            f'stimulus {int(np.argmin(totals))} has {totals.min()} answers: a split needs at least two, and '
            'probabilities cannot be split.'
        )
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


def twice_as_long(r: float, shorter: float) -> float:
    """Reliability of twice as long a measurement, whose log odds change as they did up to this one's, r, from half.

    The correction of Spearman and Brown where either is not in (0, 1), so that it has no odds.
    """
    if not (0.0 < r < 1.0 and 0.0 < shorter < 1.0):
        return spearman_brown(r)
    return float(scipy.special.expit(2.0 * scipy.special.logit(r) - scipy.special.logit(shorter)))
