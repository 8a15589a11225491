"""Scores of flexible models: fitted to some stimuli and subjects, scored on the pairs of other stimuli, other subjects.

Stimuli and subjects are dealt into folds once. In every fold of stimuli and of subjects, models are fitted to the pairs
of the remaining stimuli, averaged over the remaining subjects, and scored on the pairs within the fold. Fixed models
are scored on the same pairs, so that all models compete on equal terms.
"""

import itertools
from collections.abc import Sequence

import jax
import numpy as np

from humalign_jax.rsa.ceiling import RANK_INDICES
from humalign_jax.rsa.evaluation import MIN_DISTINCT, Evaluation, unit_rdms
from humalign_jax.rsa.models import Model
from humalign_jax.rsa.pairs import n_stimuli_of
from humalign_jax.rsa.resample import WEIGHTED_INDICES, permuted_products, weighted_products


def default_folds(n_stimuli: int, n_subjects: int) -> tuple[int, int]:
    """Folds of stimuli (2 to 5) and of subjects (1 to 5), as in rsatoolbox."""
    stimuli = 2 + sum(n_stimuli >= bound for bound in (12, 24, 40))
    subjects = 2 + sum(n_subjects >= bound for bound in (6, 12, 20))
    return stimuli, min(subjects, n_subjects)


def deal_folds(seed: int, n: int, n_folds: int, *, stream: int) -> np.ndarray:
    """Which fold each of n units is in, as even as can be: [n] integers, 0..n_folds-1, in random order."""
    return np.random.default_rng([seed, stream]).permutation(np.arange(n) % n_folds)


def evaluate_crossvalidated(
    models: Sequence[Model],
    components: Sequence[np.ndarray],
    subjects: np.ndarray,
    index: str,
    *,
    stimulus_folds: np.ndarray,
    subject_folds: np.ndarray,
    weights: np.ndarray,
    orders: np.ndarray,
    mask: np.ndarray | None,
    devices: Sequence[jax.Device],
) -> Evaluation:
    """Cross-validated scores; a flexible model whose fit predicts nothing (all weights zero) scores 0.

    Fits are repeated in every bootstrap sample of stimuli. Targets of a fit are the subjects' RDMs scaled as for the
    noise ceiling (ranks for rank indices) on all stimuli.

    Args:
        models: m models.
        components: Their condensed component RDMs, m arrays [q, p].
        subjects: Condensed RDMs, [k, p].
        index: One of `resample.WEIGHTED_INDICES`.
        stimulus_folds: Fold of each stimulus, [n].
        subject_folds: Fold of each subject, [k]; all 0 fits and scores the same subjects.
        weights: Bootstrap weights of the stimuli, [b, n].
        orders: Permutations of the stimuli within folds, [permutations, n].
        mask: Which pairs count, [p]; None for all.
        devices: Where to compute permutations.

    Returns:
        The evaluation; scores are means over folds of stimuli.
    """
    weights = np.concatenate([np.ones((1, len(stimulus_folds))), weights])  # the first draw is the data
    folds = _Folds(models, components, subjects, index, stimulus_folds, subject_folds, mask)
    fits = folds.products(weights, devices)
    scores, predictions = folds.scores(weights[0], [products[0] for products in fits])
    draws = [folds.scores(w, [products[b] for products in fits])[0] for b, w in enumerate(weights[1:], start=1)]
    draws = np.stack(draws) if draws else scores[None][:0]
    m = len(models)

    permuted = np.zeros((len(orders) + 1, m))
    orders = np.concatenate([np.arange(len(stimulus_folds))[None], orders])
    for group in range(folds.n_groups if len(orders) > 1 else 0):
        own = subject_folds == group
        unit = [np.zeros((m, subjects.shape[1])), np.zeros((own.sum(), subjects.shape[1]))]
        for fold, predicted in enumerate(predictions):
            inside = folds.test_pairs[fold]
            unit[0][:, inside] = np.nan_to_num(unit_rdms(predicted[:m, group], index))
            unit[1][:, inside] = np.nan_to_num(unit_rdms(subjects[own][:, inside], index))
        share = own.sum() / len(subjects) / len(predictions)
        permuted += share * permuted_products(unit[0], unit[1].mean(axis=0), orders, devices=devices)
    return Evaluation(
        scores[:m], scores[m], scores[m + 1], draws[:, :m], draws[:, m], draws[:, m + 1], permuted[1:], permuted[0]
    )


class _Folds:
    """Arrays that every draw shares, and the scores of one draw."""

    def __init__(self, models, components, subjects, index, stimulus_folds, subject_folds, mask) -> None:
        if index not in WEIGHTED_INDICES:
            raise ValueError(f'flexible models are for {", ".join(WEIGHTED_INDICES)}, not for {index!r}.')
        n, of_ranks = n_stimuli_of(subjects.shape[1]), index in RANK_INDICES
        self.models, self.subjects, self.index = models, subjects, index
        self.components, self.subject_folds = components, subject_folds
        self.n_groups, self.n_folds = subject_folds.max() + 1, stimulus_folds.max() + 1
        # Targets: for each group of subjects the pooled others; one group has no others.
        scaled = unit_rdms(subjects, index, mask=mask)
        pooled = [
            scaled[subject_folds != g].mean(axis=0) if self.n_groups > 1 else scaled.mean(axis=0)
            for g in range(self.n_groups)
        ]
        self.references = np.stack([*pooled, scaled.mean(axis=0)])
        bases = [unit_rdms(c, index) if of_ranks and model.of_ranks else c for model, c in zip(models, components)]
        basis = np.concatenate([*bases, np.stack(pooled)]).astype(np.float64)
        if index != 'cosine':
            basis = basis - basis.mean(axis=1, keepdims=True)
        self.scale = np.sqrt((basis**2).mean(axis=1))
        self.scale[self.scale == 0] = 1.0
        self.basis = np.concatenate([np.ones((1, basis.shape[1])), basis / self.scale[:, None]])
        ends = np.cumsum([0, *map(len, components)])
        self.slices = [slice(start, end) for start, end in itertools.pairwise(ends)]
        self.rows, self.columns = np.triu_indices(n, 1)
        kept = np.ones(subjects.shape[1], dtype=bool) if mask is None else mask
        tested = [np.stack([stimulus_folds[self.rows], stimulus_folds[self.columns]]) == f for f in range(self.n_folds)]
        self.test_pairs = [np.flatnonzero(kept & two.all(axis=0)) for two in tested]
        self.train_pairs = [kept & ~two.any(axis=0) for two in tested]  # masks, [p]

    def products(self, weights: np.ndarray, devices: Sequence[jax.Device]) -> list[np.ndarray]:
        """Inner products of components and targets over the training pairs, for each fold [draws, r, r]."""
        by_fold = []
        for train in self.train_pairs:
            products = weighted_products(self.basis, weights, mask=train, devices=devices)
            totals, sums, products = products[:, :1, :1], products[:, 0, 1:], products[:, 1:, 1:]
            if self.index != 'cosine':
                products = products - sums[:, :, None] * sums[:, None, :] / np.maximum(totals, 1.0)
            by_fold.append(products * np.outer(self.scale, self.scale))
        return by_fold

    def scores(self, weight: np.ndarray, fits: list[np.ndarray]) -> tuple[np.ndarray, list[np.ndarray]]:
        """Scores of the m models, the pooled others and everyone pooled, [m + 2, k], and predictions by fold.

        One draw, whose inner products in each fold are `fits`.
        """
        m = len(self.models)
        by_fold = np.full((self.n_folds, m + 2, len(self.subjects)), np.nan)
        predictions = []
        for fold, (products, test) in enumerate(zip(fits, self.test_pairs)):
            fitted = self._fit(products)
            predicted = np.empty((m + 2, self.n_groups, len(test)))
            for j, component in enumerate(self.components):
                predicted[j] = fitted[j] @ component[:, test]
            predicted[m], predicted[m + 1] = self.references[:-1, test], self.references[-1, test]
            predictions.append(predicted)
            pair_weights = weight[self.rows[test]] * weight[self.columns[test]]
            drawn = pair_weights > 0
            if drawn.sum() < MIN_DISTINCT:
                continue
            for group in range(self.n_groups):
                own = np.flatnonzero(self.subject_folds == group)
                similarity = weighted_similarity(
                    predicted[:, group][:, drawn], self.subjects[own][:, test[drawn]], pair_weights[drawn], self.index
                )
                similarity[:m] = np.nan_to_num(similarity[:m])
                by_fold[fold][:, own] = similarity
        if self.n_groups == 1:
            by_fold[:, m:] = np.nan  # a ceiling needs other subjects
        counted = ~np.isnan(by_fold[:, 0, 0])
        return (by_fold[counted].mean(axis=0) if counted.any() else np.full(by_fold.shape[1:], np.nan)), predictions

    def _fit(self, products: np.ndarray) -> list[np.ndarray]:
        """Component weights of each model for each group of subjects, m arrays [groups, q]."""
        n_components = len(products) - self.n_groups
        return [
            np.stack([model.weights(products[own, own], products[own, n_components + g]) for g in range(self.n_groups)])
            for model, own in zip(self.models, self.slices)
        ]


def weighted_similarity(a: np.ndarray, b: np.ndarray, pair_weights: np.ndarray, index: str) -> np.ndarray:
    """An index over pairs that count `pair_weights` times: [m, p], [k, p], [p] -> [m, k]. NaN where undefined."""
    total = pair_weights.sum()
    if index in RANK_INDICES:
        a, b = (np.stack([_weighted_ranks(x, pair_weights) for x in xs]) for xs in (a, b))
    if index != 'cosine':
        a, b = (x - (x @ pair_weights / total)[:, None] for x in (a, b))
    products = (a * pair_weights) @ b.T
    if index == 'rho_a':
        return 12.0 * products / (total**3 - total)
    scales = [np.einsum('rp,rp,p->r', x, x, pair_weights) for x in (a, b)]
    floors = [1e-20 * np.einsum('rp,rp->r', x, x) for x in (a, b)]
    scales = [np.where(scale > floor, scale, np.nan) for scale, floor in zip(scales, floors)]
    return products / np.sqrt(np.outer(*scales))


def _weighted_ranks(values: np.ndarray, pair_weights: np.ndarray) -> np.ndarray:
    """Average ranks of values that occur `pair_weights` times each, [p]."""
    group = np.unique(values, return_inverse=True)[1]
    counts = np.bincount(group, pair_weights)
    return (np.cumsum(counts) - (counts - 1.0) / 2.0)[group]
