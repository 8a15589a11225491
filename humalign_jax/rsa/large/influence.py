"""Standard errors of RSA scores over tens of thousands of stimuli, without a bootstrap: the infinitesimal jackknife.

Give stimulus k the weight w_k, and pair (i, j) the weight w_i w_j, as a bootstrap sample does with whole numbers. The
derivative of a score by w_k at equal weights, times n, is the *influence* of the stimulus. Bootstrap samples scatter
the weights around 1 with variance 1, so that the standard error of the score over new stimuli is the standard deviation
of the influences over sqrt(n); that of a difference of two scores follows from the difference of their influences.
Nothing is drawn, and one model's RDM is in memory at a time.

A score is a function of means over pairs of products and squares. With values x and y of mean 0 and mean square 1, a
pair adds x y - r (x^2 + y^2) / 2 to the influence of either of its stimuli on Pearson's r. Ranks are functions of the
weights, too: a stimulus that gains weight moves the ranks of all pairs that lie beyond its own. With G the rank of x
over the number of pairs, this adds to the product the mean of y over pairs with a larger x (pairs with equal x count
half), and likewise for y and for the squares; without ties the squares stay the same whatever the weights. These means
are functions of the rank, kept in a table of up to 2^14 bins; the table is exact up to 128 stimuli.

The error that the linearisation leaves is of relative size 1 / n, toward standard errors that are too large.

References:
    Efron (1982), The jackknife, the bootstrap and other resampling plans, chapter 6. doi:10.1137/1.9781611970319
    Hoeffding (1948), U-statistics. doi:10.1214/aoms/1177730196
"""

import dataclasses
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import scipy.stats

from humalign_jax import drawing, results
from humalign_jax.records import Rdm
from humalign_jax.rsa.inference.significance import difference_p, fisher_interval, pair_matrix, t_values, two_sided_p
from humalign_jax.rsa.large.linearised import Places, RankedSide, RanksOfPart, correlation, doubled_ranks, partial
from humalign_jax.rsa.pairs import align, within_category
from humalign_jax.rsa.similarity.ceiling import PAIRS
from humalign_jax.rsa.similarity.indices import INDICES, WEIGHTED_INDICES, index_named, indices_that

MIN_STIMULI = 4
MAX_STIMULI = 32_768  # doubled ranks are 32-bit integers


@dataclasses.dataclass(frozen=True)
class InfluenceScore:
    """A score of one model and how each stimulus moves it.

    Attributes:
        name: The model's.
        index: The index of similarity.
        pairs: Which pairs: 'all', 'within', 'between' or 'partial'.
        n_pairs: How many pairs count.
        value: The score, equal to `rsa.compare`; NaN where it is not defined.
        influence: n times the derivative of the score by each stimulus' weight, float64, [n]; the mean is 0.
    """

    name: str
    index: str
    pairs: str
    n_pairs: int
    value: float
    influence: np.ndarray

    @property
    def standard_error(self) -> float:
        """Standard error over new stimuli."""
        return float(self.influence.std(ddof=1) / math.sqrt(len(self.influence)))


@dataclasses.dataclass(frozen=True, repr=False)
class InfluenceResult(results.Result):
    """Scores of m models with one reference, and what can be said of other stimuli.

    Attributes:
        names: Names of the models, m of them.
        index: The index of similarity.
        pairs: Which pairs count.
        n_stimuli: Number of stimuli.
        n_pairs: Number of pairs.
        values: Scores, [m]; NaN where not defined, as all that follows from them.
        standard_errors: Over new stimuli, [m].
        low: Lower ends of the 95 % intervals, [m].
        high: Upper ends of the 95 % intervals, [m].
        p_zero: Two-sided p values of no relation, [m].
        differences: values[i] - values[j], [m, m].
        difference_errors: Their standard errors, [m, m].
        difference_low: Lower ends of their 95 % intervals, [m, m].
        difference_high: Upper ends of their 95 % intervals, [m, m].
        p_differences: Two-sided p values, [m, m], 1 on the diagonal.
        p_differences_fwer: The same corrected for all pairs of models by the smallest p, [m, m].
        p_differences_fdr: The same by Benjamini and Hochberg's false-discovery rate, [m, m].
    """

    names: tuple[str, ...]
    index: str
    pairs: str
    n_stimuli: int
    n_pairs: int
    values: np.ndarray
    standard_errors: np.ndarray
    low: np.ndarray
    high: np.ndarray
    p_zero: np.ndarray
    differences: np.ndarray
    difference_errors: np.ndarray
    difference_low: np.ndarray
    difference_high: np.ndarray
    p_differences: np.ndarray
    p_differences_fwer: np.ndarray
    p_differences_fdr: np.ndarray

    def columns(self) -> dict[str, Sequence[Any]]:
        """One row for each model: score, interval and p value."""
        arrays = {'score': self.values, 'low': self.low, 'high': self.high, 'standard_error': self.standard_errors}
        each = {'index': self.index, 'pairs': self.pairs, 'n_stimuli': self.n_stimuli, 'n_pairs': self.n_pairs}
        return {
            'model': list(self.names),
            **{name: values.tolist() for name, values in (arrays | {'p_zero': self.p_zero}).items()},
            **{name: [value] * len(self.names) for name, value in each.items()},
        }

    def shown(self) -> tuple[str, dict[str, list[str]]]:
        """Title and columns of the printed table."""
        return (
            f'{self.index}, {self.pairs} pairs of {self.n_stimuli} stimuli; intervals for new stimuli',
            {
                'model': list(self.names),
                'score': [results.number(value) for value in self.values],
                '95 % interval': [results.interval(*ends) for ends in zip(self.low, self.high)],
                'p (zero)': [results.p_value(p) for p in self.p_zero],
            },
        )

    def plot(self, ax: drawing.Axes | None = None) -> drawing.Axes:
        """Scores as dots with 95 % intervals; returns the axes."""
        label = f'{self.index}, {self.pairs} pairs'
        return drawing.plot_intervals(self.names, self.values, self.low, self.high, label=label, ax=ax)


class Reference:
    """An RDM, such as people's, made ready for comparison with any number of model RDMs of as many stimuli.

    For pairs 'within' and 'between', ranks are made anew among the pairs that count: the score is Spearman's
    correlation of those pairs, as in `rsa.compare(.., mask=..)`. 'partial' is the partial correlation of all pairs
    given the same/different RDM of the labels, as in `rsa.compare(.., control=..)`.

    Args:
        rdm: The reference.
        index: 'spearman', 'rho_a', 'pearson' or 'cosine'.
        labels: Category of each stimulus of the reference, [n].
        pairs: Any of 'all', 'within', 'between' and 'partial'.

    Raises:
        ValueError: Too few or too many stimuli, values that are not finite, labels that are needed and missing, or
            options that do not fit each other.
    """

    def __init__(
        self, rdm: Rdm, *, index: str = 'spearman', labels: np.ndarray | None = None, pairs: Sequence[str] = ('all',)
    ) -> None:
        self.rdm, self.index, self.pairs = rdm, index, tuple(pairs)
        n = len(rdm.ids)
        _check_options(index, self.pairs, labels, n)
        self._is_ranked = INDICES[index].ranked
        within = None if labels is None else within_category(labels)
        self._places: dict[str, Places] = {}
        for kind in ('all', 'within', 'between'):
            if kind in pairs or (kind == 'all' and 'partial' in pairs):
                mask = None if kind == 'all' else within if kind == 'within' else ~np.asarray(within)
                places = Places(n, mask)
                if places.n_pairs < 2:
                    raise ValueError(f'pairs={kind!r}: {places.n_pairs} pairs are left, but at least two are needed.')
                self._places[kind] = places
        self._own = dict(self._sides(rdm))
        if 'partial' in pairs:
            # Any two numbers for same and different give one correlation, so that ranks need no part in it.
            self._same = RankedSide(np.asarray(within), index='pearson')
            self._own_same = correlation(self._own['all'], self._same, self._places['all'], index)

    def values(self, model: Rdm) -> dict[str, float]:
        """Scores of a model by kind of pairs: those of `rsa.compare`, NaN where not defined.

        Raises:
            ValueError: As `influence`.
        """
        return {kind: score.value for kind, score in self._scores(model, with_influence=False).items()}

    def influence(self, model: Rdm) -> dict[str, InfluenceScore]:
        """Scores of a model and their influences, by kind of pairs.

        Args:
            model: An RDM of the reference's stimuli, in any order; the reference's saves time and memory.

        Raises:
            ValueError: Stimuli differ, or values are not finite.
        """
        return self._scores(model, with_influence=True)

    def _scores(self, model: Rdm, *, with_influence: bool) -> dict[str, InfluenceScore]:
        model = align(self.rdm, model)[1]
        found: dict[str, InfluenceScore] = {}
        for kind, side in self._sides(model):
            places = self._places[kind]
            value, influence = correlation(side, self._own[kind], places, self.index, with_influence)
            if kind in self.pairs:
                found[kind] = InfluenceScore(model.name, self.index, kind, places.n_pairs, value, influence)
            if kind == 'all' and 'partial' in self.pairs:
                with_same = correlation(side, self._same, places, self.index, with_influence)
                value, influence = partial((value, influence), with_same, self._own_same)
                found['partial'] = InfluenceScore(model.name, self.index, 'partial', places.n_pairs, value, influence)
        return {kind: found[kind] for kind in self.pairs}

    def _sides(self, rdm: Rdm) -> Iterator[tuple[str, 'RankedSide']]:
        """The RDM's values or ranks over each kind of pairs, one kind in memory at a time."""
        values = np.asarray(rdm.values)
        if not np.isfinite(values.sum(dtype=np.float64)):
            raise ValueError(
                f'RDM {rdm.name!r} has {np.sum(~np.isfinite(values))} values that are NaN or infinite: leave their '
                'stimuli out with rsa.select first; constant features are the usual cause.'
            )
        if not self._is_ranked:
            for kind, places in self._places.items():
                yield kind, RankedSide(values if places.mask is None else values[places.mask], index=self.index)
            return
        ranks = doubled_ranks(values)
        del values
        masks = {kind: places.mask for kind, places in self._places.items() if places.mask is not None}
        tables = RanksOfPart(ranks, next(iter(masks.values()))) if masks else None
        for kind, places in self._places.items():
            if places.mask is None or tables is None:
                yield kind, RankedSide(ranks, index=self.index)
            else:
                own = tables.ranks(ranks, places.mask, of_part=tables.mask is places.mask)
                yield kind, RankedSide(own, index=self.index)


def infer_by_influence(
    models: Iterable[Rdm],
    reference: Rdm,
    *,
    index: str = 'spearman',
    labels: np.ndarray | None = None,
    pairs: Sequence[str] = ('all',),
    n_draws: int = 10_000,
    seed: int = 0,
) -> dict[str, InfluenceResult]:
    """Scores of models with one reference, with intervals and tests over stimuli, for RDMs too large to resample.

    The score of every model is exact; standard errors are those of the infinitesimal jackknife. For few hundred
    stimuli and fewer, and for several subjects, use `rsa.infer`.

    Args:
        models: RDMs of the reference's stimuli; a generator that makes them keeps one in memory at a time.
        reference: The RDM of people.
        index: 'spearman', 'rho_a', 'pearson' or 'cosine'.
        labels: Category of each stimulus of the reference, [n].
        pairs: Any of 'all', 'within', 'between' and 'partial', see `Reference`.
        n_draws: Draws of the smallest p under no difference.
        seed: Their seed.

    Returns:
        The result for each kind of pairs.

    Raises:
        ValueError: As `Reference`, `Reference.influence` and `summarise_influence`.

    Example:
        >>> ids = [f'image{i}' for i in range(20)]
        >>> seen = np.random.default_rng(0).normal(size=(20, 6))
        >>> model = rsa.rdm(rsa.Features(seen, ids, 'model'))
        >>> person = rsa.rdm(rsa.Features(seen + np.random.default_rng(1).normal(size=seen.shape), ids, 'person'))
        >>> print(rsa.infer_by_influence([model], person)['all'])
        spearman, all pairs of 20 stimuli; intervals for new stimuli
        model  score  95 % interval   p (zero)
        model  0.415  [0.171, 0.612]   < 0.001
    """
    prepared = Reference(reference, index=index, labels=labels, pairs=pairs)
    found = [prepared.influence(model) for model in models]
    return {kind: summarise_influence([one[kind] for one in found], n_draws=n_draws, seed=seed) for kind in pairs}


def summarise_influence(scores: Sequence[InfluenceScore], *, n_draws: int = 10_000, seed: int = 0) -> InfluenceResult:
    """Intervals, tests and differences of models that were compared with one reference over the same pairs.

    Intervals are Student's t around Fisher's z. Tests of differences are t tests; the family-wise correction, over all
    pairs of the models given, takes the distribution of the smallest p from normal draws with the influences'
    correlations.

    Raises:
        ValueError: No scores, names that repeat, or scores of different indices, pairs or stimuli.

    Example:
        >>> influence = np.random.default_rng(0).normal(size=100)
        >>> score = rsa.InfluenceScore('model', 'spearman', 'all', 4950, 0.5, influence - influence.mean())
        >>> print(rsa.summarise_influence([score]))
        spearman, all pairs of 100 stimuli; intervals for new stimuli
        model  score  95 % interval   p (zero)
        model  0.500  [0.285, 0.667]   < 0.001
    """
    names = tuple(score.name for score in scores)
    alike = {(score.index, score.pairs, score.n_pairs, len(score.influence)) for score in scores}
    if not names or len(set(names)) != len(names) or len(alike) != 1:
        raise ValueError(
            f'scores must be of models with names that differ, and of one index, kind of pairs and set of stimuli, '
            f'not {list(names)} with {sorted(alike)}.'
        )
    (index, pairs, n_pairs, n) = alike.pop()
    m, dof = len(scores), n - 1
    values = np.array([score.value for score in scores])
    influences = np.stack([score.influence for score in scores])
    errors = influences.std(axis=1, ddof=1) / math.sqrt(n)
    low, high = fisher_interval(values, errors, dof)

    first, second = np.triu_indices(m, 1)
    differences = values[first] - values[second]
    contrasts = influences[first] - influences[second]  # [q, n]
    difference_errors = contrasts.std(axis=1, ddof=1) / math.sqrt(n)
    covariance = np.atleast_2d(np.cov(influences)) / n
    np_rng = np.random.default_rng([seed, 6])
    p, p_fwer, p_fdr = difference_p(differences, difference_errors, dof, covariance, np_rng, n_draws)

    half = scipy.stats.t.ppf(0.975, dof) * pair_matrix(difference_errors, m, diagonal=0.0)
    centre = pair_matrix(differences, m, diagonal=0.0, sign=-1.0)
    return InfluenceResult(
        names=names,
        index=index,
        pairs=pairs,
        n_stimuli=n,
        n_pairs=n_pairs,
        values=values,
        standard_errors=errors,
        low=low,
        high=high,
        p_zero=two_sided_p(t_values(values, errors), dof),
        differences=centre,
        difference_errors=pair_matrix(difference_errors, m, diagonal=0.0),
        difference_low=centre - half,
        difference_high=centre + half,
        p_differences=pair_matrix(p, m, diagonal=1.0),
        p_differences_fwer=pair_matrix(p_fwer, m, diagonal=1.0),
        p_differences_fdr=pair_matrix(p_fdr, m, diagonal=1.0),
    )


def _check_options(index: str, pairs: tuple[str, ...], labels: np.ndarray | None, n: int) -> None:
    """Raises ValueError for options that exist neither alone nor together."""
    index_named(index, WEIGHTED_INDICES)
    unknown = [kind for kind in pairs if kind not in PAIRS]
    if unknown or not pairs:
        raise ValueError(f'pairs must be some of {", ".join(PAIRS)}, not {", ".join(map(repr, pairs)) or "none"}.')
    if 'partial' in pairs and not INDICES[index].partialable:
        fitting = ', '.join(indices_that(lambda x: x.partialable))
        raise ValueError(f"pairs='partial' is for {fitting}, not for {index!r}.")
    if set(pairs) != {'all'} and (labels is None or np.shape(labels) != (n,)):
        raise ValueError(f'pairs={pairs} needs the category of each of the {n} stimuli: pass labels, [{n}].')
    if not MIN_STIMULI <= n <= MAX_STIMULI:
        raise ValueError(f'the influence of stimuli needs {MIN_STIMULI} to {MAX_STIMULI} of them, not {n}.')
