r"""Random-effects Bayesian model selection: which model is the most frequent one in the population.

Participant n uses model k with probability r_k; r has a uniform Dirichlet prior. Given the log evidence of every model
for every participant, a variational posterior of r is Dirichlet(alpha). The exceedance probability of a model is
P(r_k > r_j for all j != k). Protected exceedance probabilities account for the chance that all frequencies are equal:

    protected_k = (1 - bor) exceedance_k + bor / m,    bor = P(all r_k = 1 / m | data), the Bayesian omnibus risk

References:
    Stephan, Penny, Daunizeau, Moran & Friston (2009), NeuroImage 46, 1004-1017. doi:10.1016/j.neuroimage.2009.03.025
    Rigoux, Stephan, Friston & Daunizeau (2014), NeuroImage 84, 971-985. doi:10.1016/j.neuroimage.2013.08.065
"""

import dataclasses

import numpy as np
from scipy import special, stats

_TOLERANCE, _MOST_ITERATIONS = 1e-8, 2_000
_NODES = 400  # of the quadrature for each model


@dataclasses.dataclass(frozen=True)
class ModelSelection:
    """How frequent each of m models is among participants.

    Attributes:
        alpha: Parameters of the Dirichlet posterior of the frequencies, [m]; they sum to m + number of participants.
        assignment: Posterior probability of each model for each participant, [n, m].
        frequency: Expected frequency of each model, [m]; sums to 1.
        exceedance: Probability that a model is more frequent than all others, [m]; sums to 1.
        omnibus_risk: Probability that all models are equally frequent, in [0, 1].
        protected: Protected exceedance probability, [m]; sums to 1.
    """

    alpha: np.ndarray
    assignment: np.ndarray
    frequency: np.ndarray
    exceedance: np.ndarray
    omnibus_risk: float
    protected: np.ndarray


def random_effects(log_evidence: np.ndarray) -> ModelSelection:
    """Random-effects selection among m models.

    Args:
        log_evidence: Log evidence in nats, such as a cross-validated log likelihood summed over trials, [n, m] with n
            participants and two models or more.

    Raises:
        ValueError: Not [n, m] with m of 2 or more, or values that are not finite.
    """
    evidence = np.asarray(log_evidence, np.float64)
    if evidence.ndim != 2 or evidence.shape[0] < 1 or evidence.shape[1] < 2:
        raise ValueError(f'log evidences must be [participants, models] with two models or more: {evidence.shape}.')
    if not np.isfinite(evidence).all():
        row, column = np.argwhere(~np.isfinite(evidence))[0]
        raise ValueError(f'the log evidence of model {column} for participant {row} is not finite.')
    m = evidence.shape[1]
    alpha, assignment = _posterior(evidence)
    exceedance = dirichlet_exceedance(alpha)
    null = float(np.sum(special.logsumexp(evidence - np.log(m), axis=1)))
    risk = float(special.expit(null - _free_energy(evidence, alpha, assignment)))
    protected = (1.0 - risk) * exceedance + risk / m
    return ModelSelection(alpha, assignment, alpha / alpha.sum(), exceedance, risk, protected)


def dirichlet_exceedance(alpha: np.ndarray) -> np.ndarray:
    """P(r_k > all other r) for r ~ Dirichlet(alpha), [m] -> [m], by numerical integration.

    r_k is proportional to independent Gamma(alpha_k) variables; the probability is the integral over u in (0, 1) of
    prod_{j != k} F_j(F_k^{-1}(u)), with F_j the distribution function of Gamma(alpha_j).
    """
    alpha = np.asarray(alpha, np.float64)
    node, weight = np.polynomial.legendre.leggauss(_NODES)
    # u = (1 + sin(pi t / 2)) / 2 puts more nodes near 0 and 1, where products of distribution functions change fast.
    u, weight = 0.5 * (1.0 + np.sin(0.5 * np.pi * node)), weight * 0.25 * np.pi * np.cos(0.5 * np.pi * node)
    found = np.zeros(len(alpha))
    for k, own in enumerate(alpha):
        others = np.delete(alpha, k)
        found[k] = weight @ stats.gamma.cdf(stats.gamma.ppf(u, own)[:, None], others).prod(axis=1)
    return found / found.sum()


def _posterior(evidence: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Alpha, [m], and the assignment of participants to models, [n, m]."""
    alpha = np.ones(evidence.shape[1])
    for _ in range(_MOST_ITERATIONS):
        assignment = special.softmax(evidence + special.digamma(alpha), axis=1)
        new = 1.0 + assignment.sum(axis=0)
        change = np.abs(new - alpha).max()
        alpha = new
        if change < _TOLERANCE:
            break
    return alpha, assignment


def _free_energy(evidence: np.ndarray, alpha: np.ndarray, assignment: np.ndarray) -> float:
    """Lower bound of the log evidence of unequal frequencies (Rigoux et al. 2014, appendix); the prior is uniform."""
    m = evidence.shape[1]
    expected = special.digamma(alpha) - special.digamma(alpha.sum())  # of log r
    joint = special.gammaln(m) + (assignment * (evidence + expected)).sum()
    entropy_r = special.gammaln(alpha).sum() - special.gammaln(alpha.sum()) - ((alpha - 1.0) * expected).sum()
    return float(joint + entropy_r + special.entr(assignment).sum())
