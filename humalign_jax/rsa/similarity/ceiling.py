"""Noise ceilings: the score of the best possible model, given how people differ or how few answers they gave.

With RDMs of several subjects the ceiling is that of Nili et al. (2014), `noise_ceiling`. With answers to each stimulus
it is the square root of the reliability of the full data, `split_half`. The reliability is extrapolated from split
halves and quarters: the log odds of agreement are assumed to grow from halves to all answers as much as from quarters
to halves, or as the correction of Spearman and Brown says, whichever gives less. docs/inference.md has the figures.
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
from humalign_jax.rsa.similarity.indices import Index, index_named, row_ranks

PAIRS = ('all', 'within', 'between', 'partial')
Agreement = TypeVar('Agreement')


class Ceiling(NamedTuple):
    """Bounds of the score of the true model. A score between them does not differ from the true model's."""

    lower: float
    upper: float


def pool(rdms: np.ndarray, index: str) -> np.ndarray:
    """The one RDM that agrees best with several, under an index.

    The average of RDMs on a common scale: unit root mean square for the cosines, zero mean and unit variance for the
    Pearson correlations, ranks for the rank correlations, mean 1 for 'bures'. The average has the largest mean
    similarity for 'cosine' and 'pearson'; for the others it is an approximation, for 'bures' a rough one.

    Args:
        rdms: Condensed RDMs, [s, p].
        index: One of `rsa.INDICES`.

    Returns:
        Condensed RDM, [p].
    """
    return _alike(rdms, index_named(index)).mean(axis=0)


def _alike(rdms: np.ndarray, index: Index) -> np.ndarray:
    """RDMs on the common scale of `pool`: [s, p] -> [s, p] float64."""
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
        index: One of `rsa.INDICES`.
        mask: Which pairs count, [p] booleans; as for `compare`.
        control: RDMs whose effect is removed; as for `compare`.

    Returns:
        The lower and the upper bound.

    Raises:
        ValueError: There are fewer than two subjects.

    References:
        Nili et al. (2014). doi:10.1371/journal.pcbi.1003553

    Example:
        >>> rdms = np.random.default_rng(0).uniform(size=(5, 45)) + np.arange(45) / 45  # of five people
        >>> lower, upper = rsa.noise_ceiling(rdms)
        >>> round(float(lower), 3), round(float(upper), 3)
        (0.656, 0.78)
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
    """Similarity of each subject's RDM to the pooled RDM of the other subjects, and of all: [s, p] -> [s], [s].

    Example:
        >>> rdms = np.random.default_rng(0).uniform(size=(3, 45)) + np.arange(45) / 45
        >>> lower, upper = rsa.subject_ceilings(rdms, 'spearman')
        >>> bool((lower < upper).all())
        True
    """
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
        """Reliability of the full data by the correction of Spearman and Brown, 2 r / (1 + r)."""
        return spearman_brown(self.half)

    @property
    def reliability(self) -> float:
        """Reliability of the full data: `spearman_brown`, or the extrapolation from quarters if that is less."""
        if not len(self.quarters):
            return self.spearman_brown
        return min(self.spearman_brown, twice_as_long(self.half, float(np.mean(self.quarters))))

    @property
    def ceiling(self) -> float:
        """Square root of the reliability: the largest expected score of a model without noise."""
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
        index: One of `rsa.INDICES`; 'spearman' or 'pearson' where pairs is 'partial'.
        n_splits: How many random splits.
        seed: Seed of the splits.

    Returns:
        The agreement of every split, with the reliability of the full data and the ceiling of a model.

    Raises:
        ValueError: A stimulus has fewer than two answers, or the options do not fit each other.

    References:
        Spearman (1910), Brown (1910), the correction for length.

    Example:
        >>> shares = np.random.default_rng(0).dirichlet(np.ones(5), size=40)
        >>> counts = np.random.default_rng(1).multinomial(50, shares)  # 50 answers to each of 40 images
        >>> split = rsa.split_half(counts)
        >>> round(split.half, 2), round(split.reliability, 2), round(split.ceiling, 2)
        (0.63, 0.78, 0.88)
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
            # In float64, rounding errors would break ties and lower rank correlations.
            rdms.append(rdm.astype(np.float32))
        return float(compare(rdms[0], rdms[1], index, **options))

    return SplitHalf(*agreements(counts, agreement, n_splits=n_splits, seed=seed))


def agreements(
    counts: np.ndarray, agreement: Callable[[np.ndarray, np.ndarray], Agreement], *, n_splits: int, seed: int
) -> tuple[list[Agreement], list[Agreement]]:
    """Agreement of the answer probabilities of two halves, and of two quarters, for every split.

    Args:
        counts: As for `split_counts`.
        agreement: Function of two sets of answer probabilities, [n, k] each.
        n_splits: How many random splits.
        seed: Seed of the splits.

    Returns:
        Agreements of the halves, one for each split, and of the quarters, likewise; there are no quarters where a
        stimulus has fewer than four answers.

    Example:
        >>> counts = np.array([[8, 0], [4, 4], [0, 8]])  # eight answers to each of three images
        >>> halves, _ = rsa.agreements(counts, lambda a, b: float(np.abs(a - b).max()), n_splits=2, seed=0)
        >>> len(halves)  # the largest difference of two halves, for each split
        2
    """
    dealt = halves_and_quarters(counts, n_splits, seed)
    found = [
        [agreement(*(part / part.sum(axis=1, keepdims=True) for part in parts)) for parts in split]
        for split in steps(dealt, 'halves of the answers', n_splits)
    ]
    return [split[0] for split in found], [split[1] for split in found if len(split) > 1]


def halves_and_quarters(counts: np.ndarray, n_splits: int, seed: int) -> Iterator[tuple[np.ndarray, ...]]:
    """Answers dealt into two halves and, where all stimuli have four or more answers, one half into two quarters.

    A generator, since the two RDMs of 10,000 stimuli take 400 MB.

    Args:
        counts: As for `split_counts`.
        n_splits: How many.
        seed: Seed of the splits.

    Example:
        >>> counts = np.array([[8, 0], [4, 4], [0, 8]])
        >>> halves, quarters = next(rsa.halves_and_quarters(counts, 1, 0))
        >>> halves.sum(axis=(1, 2)), quarters.sum(axis=(1, 2))  # answers in each half, and in two quarters
        (array([12, 12]), array([6, 6]))
    """
    np_rng = np.random.default_rng(seed)
    of_quarters = np_rng.spawn(1)[0]
    for _ in range(n_splits):
        halves = split_counts(counts, np_rng)
        few = halves[0].sum(axis=1).min() < 2
        yield (halves,) if few else (halves, split_counts(halves[0], of_quarters))


def split_counts(counts: np.ndarray, np_rng: np.random.Generator, n_splits: int | None = None) -> np.ndarray:
    """Answers of each stimulus dealt at random into two halves (multivariate hypergeometric).

    The first half gets the smaller share of an odd number of answers.

    Args:
        counts: Non-negative whole numbers of any type, [n, k], at least two a row.
        np_rng: Source of randomness.
        n_splits: How many independent splits; None for one, without a leading axis.

    Returns:
        Counts of the two halves, int64, [2, n, k] or [n_splits, 2, n, k]; the halves sum to `counts`.

    Raises:
        ValueError: The counts are not of that kind.

    Example:
        >>> half = rsa.split_counts(np.array([[8, 0], [4, 4]]), np.random.default_rng(0))
        >>> half.sum(axis=-1)  # half of the eight answers to each image
        array([[4, 4],
               [4, 4]])
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
    """Reliability of a measurement of twice the length, 2 r / (1 + r)."""
    return float(2.0 * r / (1.0 + r))


def twice_as_long(r: float, shorter: float) -> float:
    """Reliability of a measurement of twice the length, extrapolated on the scale of log odds.

    The log odds grow from r to the result as much as from `shorter`, the reliability at half the length, to r. Where
    one of the two is not in (0, 1), and so has no log odds, the correction of Spearman and Brown is used.
    """
    if not (0.0 < r < 1.0 and 0.0 < shorter < 1.0):
        return spearman_brown(r)
    return float(scipy.special.expit(2.0 * scipy.special.logit(r) - scipy.special.logit(shorter)))
