"""Covariance of mean scores and the lower noise ceiling over new subjects, in closed form.

A model's mean score is a mean over subjects. So is the lower ceiling, but its k values are not independent: a subject
counts by its own agreement with the others, and as one of the others. Let x_s be subjects' RDMs of length 1, and r the
mean product of two. The more the pool of the others is the truth, the less each of them matters: to first order
1 - r / l^2 as much as by its own agreement, l^2 = r + (1 - r) / (k - 1) being the pool's mean square, and r / l^2
nearly the lower over the upper ceiling. And the own agreement is with a pool that lacks that subject, so that it
differs from the mean by (k - 2) / (k - 1) of what the subject does. What leaving out one subject does (the jackknife)
goes with the agreements by 0.99 or more over the simulated studies of benchmarks/rsa_calibration.py (3 to 12 subjects);
its slope was 0.99 to 1.02 of the product of the two factors, 1.09 for 'bures', and 0.92 where subjects hardly agreed.

Two subjects also agree by something that is their own, which these values, like the jackknife, count too often: the
variance of a good model's distance from the ceiling was 1.5 (12 subjects) to 2.1 times (4) what it should be, and with
that taken out 0.9 to 1.1. It is what least squares of the agreements of two subjects, r_st = h_s + h_t, leave. But
where a model differs from the others as little as they do, most of the variance is of that kind, and what is left of
it varies so much that tests of models as good as the ceiling rejected in 5.7 to 6.5 % (5, 12 and 30 subjects; 2 to 3 %
with nothing taken out). With half of it taken out, and k - 1 degrees of freedom, they reject in 3 to 5 %. Over stimuli
and subjects it is found too large, since agreements over few stimuli vary by themselves: of 40 stimuli tests rejected
in 7 to 9 % with half of it taken out, of 300 stimuli in 2.3 % with nothing taken out (8 subjects, 800 studies). So it
counts by the square of the share of the variance over subjects that is not of their interaction with stimuli: 3.5 to
5.5 % (by the share itself 4.5 to 6.5 %).

Scores of subjects are skewed (-1 to -1.5 for good models): with t of k - 1 degrees of freedom intervals of the mean
held the truth in 93 to 95 % of 4,000 studies of 5, 6, 8 and 12 subjects, and lay above it three to five times as often
as below. Quantiles of bootstrapped t widen them, but samples of five subjects are often of two or three of them: with
those quantiles alone it was 96 to 98 % of 5 and 6, 95 to 96 % of 8 and more. So they count by 1 - (4 / k)^2 and
Student's by the rest, as 1 / degrees of freedom.
"""

import dataclasses
import functools

import numpy as np

from humalign_jax.rsa.inference.covariance import DyadicCovariance
from humalign_jax.rsa.inference.quantiles import dof_of_quantile, mean_quantiles

MIN_SUBJECTS = 3  # two agree as much with each other: nothing differs
FEW = 4  # subjects, whose skewness widens no intervals: samples of so few are mostly of two or three


@dataclasses.dataclass(frozen=True)
class OverSubjects:
    """What k subjects do to m mean scores and, as the last of q = m + 1, to the mean lower ceiling.

    Attributes:
        values: Scores, and as values of the ceiling whose mean it is, what each subject does to it, [q, k]; 0 for the
            ceiling where it is not defined.
        factor: How much farther from their mean these are than the subjects' agreements with the others.
        slope: What the mean agreement of two subjects does to the mean lower ceiling.
        of_pairs: Variance of what is two subjects' own in their agreement; 0 where that is left as it is counted.
    """

    values: np.ndarray
    factor: float
    slope: float
    of_pairs: float

    @classmethod
    def of(
        cls, scores: np.ndarray, lower: np.ndarray, upper: np.ndarray, agreements: np.ndarray | None = None
    ) -> 'OverSubjects':
        """From scores [m, k], each subject's agreement with the others and with all, [k], and with each, [k, k].

        Without the last, two subjects' own stays counted as often as it is in the values.
        """
        k = len(lower)
        if k < MIN_SUBJECTS or not np.isfinite(lower).all():
            return cls(np.concatenate([scores, np.zeros((1, k))]), 0.0, 0.0, 0.0)
        factor = float((2.0 - np.clip(lower.mean() / upper.mean(), 0.0, 1.0)) * (k - 1.0) / (k - 2.0))
        deviations = lower - lower.mean()
        values = np.concatenate([scores, (lower.mean() + factor * deviations)[None]])
        if k == MIN_SUBJECTS or agreements is None:
            return cls(values, factor, 0.0, 0.0)
        pairs = np.triu_indices(k, 1)
        sums = agreements.sum(axis=1) - np.diagonal(agreements)
        effects = (sums - agreements[pairs].sum() / (k - 1.0)) / (k - 2.0)
        left = agreements[pairs] - effects[pairs[0]] - effects[pairs[1]]
        spread = effects - effects.mean()
        # The mean agreement moves by 2 / k of what an effect does.
        slope = factor * (deviations @ spread) / (2.0 * (spread @ spread)) if spread.any() else 0.0
        return cls(values, factor, float(slope), float(left @ left / _pair_dof(k)))

    def of_ceiling(self, lower: np.ndarray) -> np.ndarray:
        """Agreements with the others as values of the ceiling: [.., k] -> [.., k]."""
        mean = lower.mean(axis=-1, keepdims=True)
        return mean + self.factor * (lower - mean)

    def variances(self, contrasts: np.ndarray, common: np.ndarray | float = 0.0) -> tuple[np.ndarray, np.ndarray]:
        """Variances of weighted sums of the q means over new subjects, and degrees of freedom: [c, q] -> [c], [c].

        Args:
            contrasts: Weights of the sums.
            common: Variances of their interaction with stimuli, [c], of which nothing is taken out.
        """
        whole = (contrasts @ self.values).var(axis=1, ddof=1) / self.values.shape[1]
        less, dof = self.covariance.variances(contrasts)
        alone = np.clip(1.0 - common / np.where(whole > 0, whole, 1.0), 0.0, 1.0)
        return whole - alone**2 * (whole - less), dof

    @functools.cached_property
    def covariance(self) -> DyadicCovariance:
        """Covariance of the q means over new subjects alone."""
        q, k = self.values.shape
        shared, own = np.atleast_2d(np.cov(self.values)) / k, np.zeros((q, q))
        if self.of_pairs > 0:
            of_pairs = self.slope**2 * self.of_pairs * 2.0 / (k * (k - 1.0))  # in the mean ceiling, counted once
            shared[-1, -1] -= 0.5 * k / (k - 2.0) * of_pairs  # half of what the values count it beyond once
            own[-1, -1] = 0.5 * of_pairs  # of which there is at least half
        units = k - 1.0, max(_pair_dof(k), 1.0)
        return DyadicCovariance(shared, np.zeros((q, q)), own, k, units, score_dof=self.score_dof)

    @functools.cached_property
    def score_dof(self) -> np.ndarray:
        """Degrees of freedom of single means, [q]."""
        q, k = self.values.shape
        if k <= FEW:
            return np.full(q, k - 1.0)
        resampled = np.minimum(dof_of_quantile(mean_quantiles(self.values)), k - 1.0)
        share = 1.0 - (FEW / k) ** 2
        return 1.0 / (share / resampled + (1.0 - share) / (k - 1.0))

    def interaction(self, of_agreements: np.ndarray) -> np.ndarray:
        """Covariance over stimuli of what depends on subjects, [q, q], from that of scores and agreements, [q, q]."""
        scale = np.append(np.ones(len(self.values) - 1), self.factor)
        return of_agreements * np.outer(scale, scale)


def _pair_dof(k: int) -> float:
    return k * (k - 3.0) / 2.0
