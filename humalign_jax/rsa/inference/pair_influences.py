"""What every pair of stimuli does to the similarity of two RDMs, to first order.

A side is one RDM, or a sum of several, as an index sees it: ranks, or values of mean square 1, together with what a
pair changes for all others (their ranks, or the root that divides them); the order of its values; or second moments.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Protocol, Self

import numpy as np

from humalign_jax.rsa.ranks.average import concordance
from humalign_jax.rsa.similarity.indices import INDICES, row_ranks, second_moments

Product = tuple[float, np.ndarray]  # of two sides: a mean over pairs, each pair's influence on it but for a constant


class _Moved(Protocol):
    """Something about an RDM that a pair changes for all others."""

    def moved(self, values: np.ndarray) -> np.ndarray:
        """What each pair does to the mean product with `values`: [p] -> [p]."""
        ...


@dataclasses.dataclass(frozen=True)
class _Order:
    """The order of one RDM's values: what a pair does to the ranks of all others."""

    places: np.ndarray  # pairs from smallest to largest, [p]
    starts: np.ndarray  # where each distinct value begins in `places`, and p
    group: np.ndarray  # number of each pair's value among the distinct ones, [p]

    def moved(self, values: np.ndarray) -> np.ndarray:
        """Mean over pairs beyond each pair (its ties by half) of `values`, which have mean 0: [p] -> [p]."""
        below = np.concatenate([[0.0], np.cumsum(values[self.places])])[self.starts]
        return (-0.5 * (below[:-1] + below[1:]) / len(values))[self.group]


@dataclasses.dataclass(frozen=True)
class _Scale:
    """The root mean square of one RDM, which divides it: `values` have mean square 1, [p]."""

    values: np.ndarray

    def moved(self, values: np.ndarray) -> np.ndarray:
        """What each pair does to the mean product with `values` by moving the root: [p] -> [p]."""
        return -0.5 * np.mean(self.values * values) * (self.values**2 - 1.0)


class Side(Protocol):
    """A transformed RDM, or a sum of them."""

    def product(self, other: Self) -> Product:
        """What an index divides by the root of both sides' own products."""
        ...

    def plus(self, other: Self) -> Self:
        """The sum of two."""
        ...


@dataclasses.dataclass(frozen=True)
class Transformed:
    """A sum of transformed RDMs: its values, of mean 0 but for 'cosine', and what of other pairs they depend on."""

    values: np.ndarray
    depends: Sequence[tuple[float, _Moved]]

    def product(self, other: Self) -> Product:
        """The mean product of values."""
        products = self.values * other.values
        if self is other:
            return products.mean(), products + 2.0 * self.moved(self.values)
        return products.mean(), products + self.moved(other.values) + other.moved(self.values)

    def moved(self, values: np.ndarray) -> np.ndarray:
        """What a pair does to the mean product of this sum and `values` by changing what others are, [p]."""
        return sum((weight * on.moved(values) for weight, on in self.depends), np.zeros(len(values)))

    def plus(self, other: Self) -> Self:
        """The sum of two."""
        return dataclasses.replace(self, values=self.values + other.values, depends=[*self.depends, *other.depends])


@dataclasses.dataclass(frozen=True)
class _Signs:
    """The signs of all differences between values, [p], or between sums of ranks, which are taken as they are."""

    values: np.ndarray

    def product(self, other: Self) -> Product:
        """The mean product of signs, over pairs of pairs."""
        concordant = concordance(self.values, other.values)
        return concordant.mean(), 2.0 * concordant

    def plus(self, other: Self) -> Self:
        """The order of the sum of two."""
        return dataclasses.replace(self, values=self.values + other.values)


@dataclasses.dataclass(frozen=True)
class _Moments:
    """Second moments of the stimuli, [n, n], of centred distances; what divides a sum of them is taken as it is."""

    moments: np.ndarray

    def product(self, other: Self) -> Product:
        """The trace of the product, as a mean over pairs, to which the diagonal gives each stimulus' share."""
        n = len(self.moments)
        products = self.moments * other.moments
        shares = np.diagonal(products) / (n - 1.0)
        influences = 2.0 * products + shares + shares[:, None]
        influences = influences[np.triu_indices(n, 1)]
        return influences.mean(), influences

    def plus(self, other: Self) -> Self:
        """The sum of two."""
        return dataclasses.replace(self, moments=self.moments + other.moments)


def has_influences(index: str) -> bool:
    """Whether pairs have influences on this index; the Bures similarity is no function of inner products."""
    return not INDICES[index].whole or INDICES[index].whitened


def sides_of(rdms: np.ndarray, control: np.ndarray | None, index: str) -> Sequence[Side]:
    """Ranks over the number of pairs, centred, values of mean square 1, signs or moments; residuals of a control."""
    chosen = INDICES[index]
    if chosen.ranked and not chosen.weighted:  # Kendall's
        return [_Signs(x) for x in row_ranks(rdms)]
    if chosen.whole:
        centred = rdms - rdms.mean(axis=1, keepdims=True) if chosen.centred else rdms
        return [_Moments(x) for x in second_moments(centred / np.sqrt((centred**2).mean(axis=1, keepdims=True)))]

    def transformed(rdm: np.ndarray) -> Transformed:
        return _ranked(rdm) if chosen.ranked else _scaled(rdm, centred=chosen.centred)

    sides = [transformed(rdm) for rdm in rdms]
    if control is None:
        return sides
    held = [transformed(rdm) for rdm in control]
    basis = np.stack([side.values for side in held])
    slopes = np.linalg.lstsq(basis.T, np.stack([side.values for side in sides]).T)[0].T  # [r, c]
    return [
        Transformed(side.values - slope @ basis, [*side.depends, *((-b, h.depends[0][1]) for b, h in zip(slope, held))])
        for side, slope in zip(sides, slopes)
    ]


def _scaled(rdm: np.ndarray, *, centred: bool) -> Transformed:
    values = rdm - (rdm.mean(dtype=np.float64) if centred else 0.0)
    root = np.sqrt(np.mean(values**2, dtype=np.float64))
    values = values / (root if root > 0 else np.nan)
    return Transformed(values, [(1.0, _Scale(values))])


def _ranked(rdm: np.ndarray) -> Transformed:
    p = len(rdm)
    places = np.argsort(rdm, kind='stable').astype(np.int32)
    differs = np.concatenate([[True], rdm[places][1:] != rdm[places][:-1]])
    starts = np.append(np.flatnonzero(differs), p).astype(np.int32)
    group = np.empty(p, np.int32)
    group[places] = np.cumsum(differs) - 1
    return Transformed(((starts[:-1] / p + starts[1:] / p) / 2.0 - 0.5)[group], [(1.0, _Order(places, starts, group))])


def pooled(sides: Sequence[Side]) -> Side:
    """The sum of several sides."""
    return functools.reduce(lambda a, b: a.plus(b), sides)


def own_product(side: Side, index: str) -> Product:
    """The product of a side with itself, as an index divides by it."""
    if not INDICES[index].untied_scale:
        return side.product(side)
    if isinstance(side, _Signs):
        return 1.0, np.zeros(1)  # divided by the scale without ties, which no pair moves
    is_one = len(getattr(side, 'depends', ())) == 1  # the pooled RDM has no ranks
    return (1.0 / 12.0, np.zeros(1)) if is_one else side.product(side)


def score_influence(a: Side, b: Side, a_own: Product, b_own: Product) -> np.ndarray:
    """Influence of each pair on the score of two sides, [p], of mean 0; NaN where the score is not defined.

    `a_own`, `b_own`: their own products.
    """
    (a_square, a_part), (b_square, b_part) = a_own, b_own
    product, influence = a.product(b)
    if not a_square * b_square > 0:
        return np.full(len(influence), np.nan)
    root = np.sqrt(a_square * b_square)
    influence = influence / root - 0.5 * product / root * (a_part / a_square + b_part / b_square)
    return influence - influence.mean()
