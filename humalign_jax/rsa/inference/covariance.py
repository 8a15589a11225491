"""Covariance of mean scores and of the lower noise ceiling over new stimuli, new subjects or both.

Here q = m + 1: the scores of m models and, last, the lower noise ceiling. See docs/inference.md, sections 2 to 4.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from humalign_jax.rsa.inference.significance import satterthwaite

Variances = tuple[np.ndarray, np.ndarray]  # of weighted sums of the scores, and their degrees of freedom, [c] each


@dataclasses.dataclass(frozen=True)
class DyadicCovariance:
    """Covariance over new stimuli of q means over pairs.

    Attributes:
        shared: With the pair component counted for both stimuli of a pair, [q, q].
        excess: What that counts too often, [q, q].
        own: The pair component counted once, below which no variance can be, [q, q].
        units: Degrees of freedom of stimuli and of pairs: n - 1 and p - n.
    """

    shared: np.ndarray
    excess: np.ndarray
    own: np.ndarray
    units: tuple[float, float]

    @property
    def matrix(self) -> np.ndarray:
        """The unbiased estimate, [q, q], which need not be positive semidefinite."""
        return self.shared - self.excess

    def times(self, of_shared: float, of_pairs: float) -> 'DyadicCovariance':
        """The same with the shared part and the pair component larger by these factors."""
        return dataclasses.replace(
            self, shared=of_shared * self.shared, excess=of_pairs * self.excess, own=of_pairs * self.own
        )

    def variances(self, contrasts: np.ndarray) -> Variances:
        """Variances of weighted sums of the means, truncated below at the pair component: [c, q] -> [c], [c]."""
        shared, excess, own = (quadratic(contrasts, x) for x in (self.shared, self.excess, self.own))
        of_stimuli, of_pairs = self.units
        variances = np.maximum(shared - excess, own)
        dof = satterthwaite(variances, [(shared, of_stimuli), (excess, of_pairs)])
        return variances, np.where(shared - excess < own, of_pairs, dof)


@dataclasses.dataclass(frozen=True)
class SampleCovariance:
    """Covariance of q means over n independent units, such as subjects.

    Attributes:
        matrix: [q, q].
        dof: Degrees of freedom, n - 1.
    """

    matrix: np.ndarray
    dof: float

    def variances(self, contrasts: np.ndarray) -> Variances:
        """Variances of weighted sums of the means: [c, q] -> [c], [c]."""
        return quadratic(contrasts, self.matrix), np.full(len(contrasts), self.dof)


@dataclasses.dataclass(frozen=True)
class Uncertainty:
    """Covariance of the scores over new stimuli, new subjects or both.

    Attributes:
        stimuli: Over stimuli; None where the stimuli are fixed.
        subjects: Over subjects; None where the subjects are fixed.
        interaction: Covariance of the interaction of both, [q, q], which `stimuli` and `subjects` both contain.
    """

    stimuli: DyadicCovariance | SampleCovariance | None
    subjects: SampleCovariance | None
    interaction: np.ndarray | None = None

    @property
    def matrix(self) -> np.ndarray:
        """Covariance of the scores, [q, q], whose correlations the family-wise correction takes."""
        parts = [part.matrix for part in (self.stimuli, self.subjects) if part is not None]
        return np.sum(parts, axis=0) - (0.0 if self.interaction is None else self.interaction)

    def variances(self, contrasts: np.ndarray) -> Variances:
        """Variances of weighted sums of the scores: [c, q] -> [c], [c]."""
        if self.subjects is None:
            assert self.stimuli is not None
            return self.stimuli.variances(contrasts)
        if self.stimuli is None:
            return self.subjects.variances(contrasts)
        common = 0.0 if self.interaction is None else quadratic(contrasts, self.interaction)
        return variances_over_both(self.stimuli.variances(contrasts), self.subjects.variances(contrasts), common)


def variances_over_both(stimuli: Variances, subjects: Variances, interaction: np.ndarray | float) -> Variances:
    """Variances over new stimuli and subjects from those over either, which both contain that of the interaction.

    The sum less the interaction, truncated below at the larger of the two.

    References:
        Schutt et al. (2023), two-factor correction. doi:10.7554/eLife.82566
    """
    (over_stimuli, of_stimuli), (over_subjects, of_subjects) = stimuli, subjects
    alone = np.maximum(over_subjects - interaction, 0.0)
    total = over_stimuli + alone
    dof = satterthwaite(total, [(over_stimuli, of_stimuli), (alone, of_subjects)])
    return np.maximum(total, over_subjects), np.where(total < over_subjects, of_subjects, dof)


def interaction_with_subjects(mean: DyadicCovariance, total: np.ndarray, k: int) -> np.ndarray:
    """Covariance of mean scores from stimuli acting differently on each of k subjects, [q, q].

    Args:
        mean: Covariance over stimuli of the mean over subjects.
        total: Sum of the covariances of single subjects, [q, q].
        k: Number of subjects.
    """
    # Deviations of single subjects from their mean; their sum of squares has k - 1 degrees of freedom.
    return (total - k * mean.matrix) / (k * (k - 1.0))


def sum_of(parts: Sequence[DyadicCovariance], units: tuple[float, float]) -> DyadicCovariance:
    """The sum of several covariances."""
    shared, excess, own = (np.sum([getattr(x, name) for x in parts], axis=0) for name in ('shared', 'excess', 'own'))
    return DyadicCovariance(shared, excess, own, units)


def quadratic(contrasts: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """c' A c of every contrast: [c, q], [q, q] -> [c]."""
    return np.sum((contrasts @ matrix) * contrasts, axis=1)
