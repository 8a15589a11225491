"""Covariance of scores over new stimuli (or subjects), in parts: what they share, and what is a pair's own."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from humalign_jax.rsa.inference.quantiles import bounded_variance, dof_of_quantile, influence_quantiles
from humalign_jax.rsa.inference.significance import satterthwaite


@dataclasses.dataclass(frozen=True)
class DyadicCovariance:
    """Covariance over new stimuli of q scores; or over new subjects, who take the place of stimuli.

    Attributes:
        shared: With what is a pair's own counted for both of its stimuli, [q, q].
        excess: What that counts too much, [q, q].
        own: What is a pair's own, counted once: the least that the covariance can be, [q, q].
        n_stimuli: Number of stimuli, n.
        units: Degrees of freedom of stimuli and of pairs: n - 1 and p - n where p pairs of all stimuli count.
        influences: Of the pairs that count, [q, p], of mean 0; None where quantiles are not resampled.
        mask: Which pairs count, [n (n - 1) / 2]; None for all.
        score_dof: The most degrees of freedom that single scores may have, [q]; None for no such bound.
    """

    shared: np.ndarray
    excess: np.ndarray
    own: np.ndarray
    n_stimuli: int
    units: tuple[float, float]
    influences: np.ndarray | None = None
    mask: np.ndarray | None = None
    score_dof: np.ndarray | None = None

    def times(self, of_shared: float, of_own: float) -> 'DyadicCovariance':
        """The same with what stimuli share, and what is a pair's own, larger by these factors."""
        return dataclasses.replace(
            self, shared=of_shared * self.shared, excess=of_own * self.excess, own=of_own * self.own
        )

    def variances(self, contrasts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Variances of weighted sums of the scores and their degrees of freedom: [c, q] -> [c], [c]."""
        shared, excess, own = (
            np.einsum('cq,qr,cr->c', contrasts, x, contrasts) for x in (self.shared, self.excess, self.own)
        )
        is_difference = np.abs(contrasts.sum(axis=1)) < 1e-9
        of_scores = np.full(len(contrasts), np.inf)
        if self.score_dof is not None:
            of_scores = np.where(is_difference, np.inf, self.score_dof[contrasts.argmax(axis=1)])
        # They are few because what stimuli do varies much: so does what is found of it.
        variances = bounded_variance(shared, excess, own, np.minimum(self.units[0], of_scores), self.units[1])
        dof = np.minimum(part_dof(shared, excess, own, *self.units), of_scores)
        if self.influences is not None:
            resampled = dof_of_quantile(influence_quantiles(contrasts @ self.influences, self.n_stimuli, self.mask))
            dof = np.where(is_difference, resampled, np.minimum(resampled, dof))
        return variances, dof


Dyadic = tuple[DyadicCovariance, np.ndarray | None]  # and what of it is an interaction with subjects


def total_covariance(parts: Sequence[DyadicCovariance]) -> DyadicCovariance:
    """The sum of several covariances of the same stimuli."""
    sums = {name: np.sum([getattr(x, name) for x in parts], axis=0) for name in ('shared', 'excess', 'own')}
    return dataclasses.replace(parts[0], **sums)


def interaction_with_subjects(mean: DyadicCovariance, total: DyadicCovariance, k: int) -> np.ndarray:
    """What of the covariance of mean scores is from stimuli that act differently on each of k subjects, [q, q].

    Args:
        mean: Covariance of the mean over subjects.
        total: Sum of the covariances of single subjects.
        k: Number of subjects.
    """
    # Deviations of single subjects from their mean; their sum of squares has k - 1 degrees of freedom.
    return (total.shared - total.excess - k * (mean.shared - mean.excess)) / (k * (k - 1.0))


def part_dof(shared: np.ndarray, excess: np.ndarray, own: np.ndarray, of_stimuli: float, of_pairs: float) -> np.ndarray:
    """Degrees of freedom of shared - excess, from those of stimuli and of pairs; of pairs where no more than `own`."""
    total = shared - excess
    dof = satterthwaite(np.maximum(total, own), [(shared, of_stimuli), (excess, of_pairs)])
    return np.where(total < own, of_pairs, dof)
