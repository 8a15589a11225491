"""What every pair of stimuli does to a correlation of two RDMs, to first order.

A side is one RDM, or a sum of several, transformed as an index asks (ranks, or values of mean square 1), together with
what a pair changes for all others: their ranks, or the root that divides them.
"""

import dataclasses
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from humalign_jax.rsa.ceiling import RANK_INDICES


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


@dataclasses.dataclass(frozen=True)
class Side:
    """A sum of transformed RDMs: its values, of mean 0 but for 'cosine', and what of other pairs they depend on."""

    values: np.ndarray
    depends: Sequence[tuple[float, _Moved]]

    def moved(self, values: np.ndarray) -> np.ndarray:
        """What a pair does to the mean product of this sum and `values` by changing what others are, [p]."""
        return sum((weight * on.moved(values) for weight, on in self.depends), np.zeros(len(values)))


def sides_of(rdms: np.ndarray, control: np.ndarray | None, index: str) -> list[Side]:
    """Ranks over the number of pairs, centred, or values of mean square 1; residuals where there is a control."""

    def transformed(rdm: np.ndarray) -> Side:
        return _ranked(rdm) if index in RANK_INDICES else _scaled(rdm, centred=index == 'pearson')

    sides = [transformed(rdm) for rdm in rdms]
    if control is None:
        return sides
    held = [transformed(rdm) for rdm in control]
    basis = np.stack([side.values for side in held])
    slopes = np.linalg.lstsq(basis.T, np.stack([side.values for side in sides]).T)[0].T  # [r, c]
    return [
        Side(side.values - slope @ basis, [*side.depends, *((-b, h.depends[0][1]) for b, h in zip(slope, held))])
        for side, slope in zip(sides, slopes)
    ]


def _scaled(rdm: np.ndarray, *, centred: bool) -> Side:
    values = rdm - (rdm.mean(dtype=np.float64) if centred else 0.0)
    root = np.sqrt(np.mean(values**2, dtype=np.float64))
    values = values / (root if root > 0 else np.nan)
    return Side(values, [(1.0, _Scale(values))])


def _ranked(rdm: np.ndarray) -> Side:
    p = len(rdm)
    places = np.argsort(rdm, kind='stable').astype(np.int32)
    differs = np.concatenate([[True], rdm[places][1:] != rdm[places][:-1]])
    starts = np.append(np.flatnonzero(differs), p).astype(np.int32)
    group = np.empty(p, np.int32)
    group[places] = np.cumsum(differs) - 1
    return Side(((starts[:-1] / p + starts[1:] / p) / 2.0 - 0.5)[group], [(1.0, _Order(places, starts, group))])


def pooled(sides: Sequence[Side]) -> Side:
    """The sum of several sides."""
    return Side(sum(side.values for side in sides), [one for side in sides for one in side.depends])  # type: ignore[arg-type]


def product_influence(a: Side, b: Side) -> np.ndarray:
    """Influence of each pair on the mean product of two sides, but for a constant, [p]."""
    if a is b:
        return a.values**2 + 2.0 * a.moved(a.values)
    return a.values * b.values + a.moved(b.values) + b.moved(a.values)


def score_influence(a: Side, b: Side, a_own: np.ndarray, b_own: np.ndarray, index: str) -> np.ndarray:
    """Influence of each pair on the score of two sides, [p], of mean 0; NaN where the score is not defined."""
    (a_square, a_part), (b_square, b_part) = (
        # rho_a divides by the mean square of ranks without ties, which nothing moves; the pooled RDM has no ranks.
        (1.0 / 12.0, 0.0) if index == 'rho_a' and len(side.depends) == 1 else (np.mean(side.values**2), own)
        for side, own in ((a, a_own), (b, b_own))
    )
    if a_square * b_square == 0:
        return np.full(len(a.values), np.nan)
    r = np.mean(a.values * b.values) / np.sqrt(a_square * b_square)
    influence = product_influence(a, b) / np.sqrt(a_square * b_square) - 0.5 * r * (
        a_part / a_square + b_part / b_square
    )
    return influence - influence.mean()
