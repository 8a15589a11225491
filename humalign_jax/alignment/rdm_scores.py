"""Scores of representations by RSA with people: over pairs of images, over pairs of classes, and differences of models.

Ceilings are those of split halves. The upper one, the square root of the reliability, assumes that the errors of two
groups of people are independent. For soft labels they are not: pairs of classes that nobody chooses are tied in both
groups. A network without such ties may therefore stay below the band even if it equals the distribution that people's
answers are drawn from (docs/inference.md has the figures).
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import scipy.stats

from humalign_jax import rsa
from humalign_jax.records import Score

CEILING = 'lower: reliability of the full data, extrapolated from split halves and quarters; upper: its square root'
_OF_BOTH = ('level', 'pairs', 'measure', 'human_measure', 'data', 'human', 'simulated', 'seed', 'better')


def image_ceilings(
    counts: np.ndarray,
    compare: Callable[[np.ndarray, np.ndarray], Mapping[str, float]],
    pairs: Sequence[str],
    *,
    n_splits: int,
    seed: int,
) -> dict[str, tuple[float, float]]:
    """Reliability of people's RDM and its square root, for each kind of pairs.

    Args:
        counts: People's answers, [n, k].
        compare: Scores of two sets of soft labels, each [n, k], by kind of pairs.
        pairs: Kinds of pairs.
        n_splits: Number of random splits.
        seed: Seed of the splits.
    """
    found = rsa.agreements(counts, compare, n_splits=n_splits, seed=seed)
    splits = {kind: rsa.SplitHalf(*([one[kind] for one in part] for part in found)) for kind in pairs}
    return {kind: (split.reliability, split.ceiling) for kind, split in splits.items()}


def image_scores(
    index: str,
    found: Sequence[rsa.InfluenceScore],
    provenances: Sequence[Mapping[str, Any]],
    compared: Sequence[bool],
    *,
    ceiling: tuple[float, float],
    n_draws: int,
    seed: int,
) -> list[Score]:
    """`rsa/<index>` over pairs of images for each representation, then `rsa/<index>/difference`.

    Args:
        index: Name of the index.
        found: Score and influences of each of m representations; those whose score is NaN are left out.
        provenances: Provenance of each, [m].
        compared: Which of them are compared pairwise, [m].
        ceiling: Lower and upper noise ceiling.
        n_draws: Draws of the largest t, for family-wise p values.
        seed: Seed of these draws.
    """
    defined = [i for i, one in enumerate(found) if np.isfinite(one.value)]
    if not defined:
        return []
    result = rsa.summarise_influence([found[i] for i in defined], n_draws=100, seed=seed)
    n, interval = len(found[0].influence), "infinitesimal jackknife over images, t of Fisher's z"
    scores = []
    for place, i in enumerate(defined):
        provenance = {
            **provenances[i],
            'ceiling': CEILING,
            'n_pairs': result.n_pairs,
            'standard_error': float(result.standard_errors[place]),
            'p_zero': float(result.p_zero[place]),
        }
        ends = float(result.values[place]), float(result.low[place]), float(result.high[place])
        scores.append(Score(f'rsa/{index}', *ends, n, interval, *ceiling, provenance))
    chosen = [i for i in defined if compared[i]]
    result = rsa.summarise_influence([found[i] for i in chosen], n_draws=n_draws, seed=seed)
    ends = result.differences, result.difference_low, result.difference_high
    tests = {'p': result.p_differences, 'p_fwer': result.p_differences_fwer, 'p_fdr': result.p_differences_fdr}
    of_chosen = [provenances[i] for i in chosen]
    return scores + _differences(index, of_chosen, ends, tests, n, 'infinitesimal jackknife over images, t')


@dataclasses.dataclass(frozen=True)
class ClassScore:
    """Similarity of a representation to people over pairs of classes.

    Attributes:
        rdm: RDM of the class means of the representation, condensed, [p].
        value: The index of this RDM and people's.
        draws: The index in each bootstrap sample of images within classes, [n_draws].
        p_zero: One-sided p value of no relation, by exchanging classes.
    """

    rdm: np.ndarray
    value: float
    draws: np.ndarray
    p_zero: float

    @property
    def is_defined(self) -> bool:
        """Whether the RDM varies, in nine of ten samples at least."""
        return bool(np.isfinite(self.value) and np.isfinite(self.draws).mean() >= 0.9)


@dataclasses.dataclass(frozen=True)
class ClassReference:
    """People's RDM of class means, as what representations of the same images are compared with.

    Attributes:
        people: The RDM, and its bootstrap samples.
        labels: Class of each image, [n].
        weights: How often each image is in each sample, [n_draws, n].
        index: Name of the index.
        n_permutations: How often classes are exchanged for a p value.
        seed: Seed of the permutations.
    """

    people: rsa.class_level.ClassRdms
    labels: np.ndarray
    weights: np.ndarray
    index: str
    n_permutations: int
    seed: int

    def compare(self, features: np.ndarray, measure: str) -> ClassScore:
        """The similarity of features [n, d] whose class means have distances of this measure."""
        rdms = rsa.class_level.class_rdms(features, self.labels, measure, self.weights)
        value, draws = rsa.class_level.class_scores(rdms, self.people, self.index)
        p_zero = rsa.class_level.permutation_p(
            rdms.values, self.people.values, self.index, n_permutations=self.n_permutations, seed=self.seed
        )
        return ClassScore(rdms.values, value, draws, p_zero)


def class_reference(
    probabilities: np.ndarray,
    labels: np.ndarray,
    measure: str,
    *,
    index: str,
    n_bootstrap: int,
    n_permutations: int,
    seed: int,
) -> ClassReference:
    """The reference of soft labels [n, k], with `n_bootstrap` samples of images within classes.

    Raises:
        ValueError: There are fewer than three classes.
    """
    weights = rsa.class_level.class_weights(labels, n_bootstrap, seed=seed)
    people = rsa.class_level.class_rdms(probabilities, labels, measure, weights)
    return ClassReference(people, labels, weights, index, n_permutations, seed)


def class_scores(
    reference: ClassReference,
    found: Sequence[ClassScore],
    provenances: Sequence[Mapping[str, Any]],
    compared: Sequence[bool],
    *,
    ceiling: tuple[float, float],
) -> list[Score]:
    """`rsa/<index>` over pairs of classes for each representation, then `rsa/<index>/difference`.

    Args:
        reference: What the representations were compared with.
        found: Scores of m representations, all defined.
        provenances: Provenance of each, [m].
        compared: Which of them are compared pairwise, [m].
        ceiling: Lower and upper noise ceiling.
    """
    if not found:
        return []
    index, n = reference.index, len(reference.labels)
    values = np.array([one.value for one in found])
    draws = rsa.class_level.join_draws({str(i): one.draws for i, one in enumerate(found)})
    factor = np.sqrt(n / (n - 1.0))
    errors = factor * draws.std(axis=0, ddof=1)
    low, high = rsa.fisher_interval(values, errors, n - 1)
    sampled = f'bootstrap over images within classes, {len(draws)} draws'
    scores = []
    for i, one in enumerate(found):
        provenance = {
            **provenances[i],
            'ceiling': CEILING,
            'n_pairs': reference.people.values.size,
            'standard_error': float(errors[i]),
            'p_zero': one.p_zero,
            'p_zero_test': 'exchanging classes, one-sided',
        }
        ends = float(values[i]), float(low[i]), float(high[i])
        scores.append(Score(f'rsa/{index}', *ends, n, f"{sampled}, t of Fisher's z", *ceiling, provenance))
    chosen = [i for i, is_compared in enumerate(compared) if is_compared]
    first, second = np.triu_indices(len(chosen), 1)
    of_pairs = draws[:, chosen][:, first] - draws[:, chosen][:, second]
    gaps = values[chosen][first] - values[chosen][second]
    gap_errors = factor * of_pairs.std(axis=0, ddof=1)
    centred = draws[:, chosen] - draws[:, chosen].mean(axis=0)
    covariance = centred.T @ centred / (len(draws) - 1.0)
    p_values = rsa.difference_p(gaps, gap_errors, n - 1, covariance, np.random.default_rng([reference.seed, 6]))
    half = scipy.stats.t.ppf(0.975, n - 1) * gap_errors

    def square(by_pair: np.ndarray) -> np.ndarray:
        return rsa.pair_matrix(by_pair, len(chosen), diagonal=0.0)

    ends = square(gaps), square(gaps - half), square(gaps + half)
    tests: dict[str, np.ndarray] = dict(zip(('p', 'p_fwer', 'p_fdr'), map(square, p_values)))
    return scores + _differences(index, [provenances[i] for i in chosen], ends, tests, n, f'{sampled}, t')


def _differences(
    index: str,
    provenances: Sequence[Mapping[str, Any]],
    ends: tuple[np.ndarray, np.ndarray, np.ndarray],
    tests: Mapping[str, np.ndarray],
    n: int,
    interval: str,
) -> list[Score]:
    """One score for each pair of representations, the earlier minus the later.

    Args:
        index: Name of the index.
        provenances: Provenance of each of m representations.
        ends: Differences, and lower and upper ends of their intervals, each [m, m].
        tests: p values by name, each [m, m].
        n: Number of images.
        interval: How the intervals were made.
    """
    scores = []
    for i, one in enumerate(provenances):
        for j in range(i + 1, len(provenances)):
            other = provenances[j]
            provenance = {
                'model': one['model'],
                'other': other['model'],
                'layer': one['layer'],
                'other_layer': other['layer'],
                **{key: one[key] for key in _OF_BOTH},
                **{name: float(matrix[i, j]) for name, matrix in tests.items()},
            }
            value, low, high = (float(matrix[i, j]) for matrix in ends)
            scores.append(Score(f'rsa/{index}/difference', value, low, high, n, interval, provenance=provenance))
    return scores
