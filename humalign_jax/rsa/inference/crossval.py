"""Scores of flexible models: fitted to some stimuli and subjects, scored on the pairs of other stimuli, other subjects.

Stimuli and subjects are dealt into folds once. In every fold of stimuli and of subjects, models are fitted to the pairs
of the remaining stimuli, averaged over the remaining subjects, and scored on the pairs within the fold. Fixed models
are scored on the same pairs, so that all models compete on equal terms.

In a bootstrap sample, of stimuli, of subjects or of both, everything is fitted anew; a stimulus or subject that is
drawn twice stays in its one fold both times, so that nothing is scored on what it was fitted to.
"""

import itertools
from collections.abc import Sequence

import jax
import numpy as np

from humalign_jax.progress import steps
from humalign_jax.rsa.inference.covariance import Dyadic
from humalign_jax.rsa.inference.dyads import crossvalidated_covariance
from humalign_jax.rsa.inference.evaluation import MIN_DISTINCT, Evaluation, check_defined, unit_rdms
from humalign_jax.rsa.inference.models import Model
from humalign_jax.rsa.inference.over_subjects import OverSubjects
from humalign_jax.rsa.inference.resample import SAMPLES, WEIGHTED_INDICES, permuted_products, weighted_products
from humalign_jax.rsa.pairs import n_stimuli_of
from humalign_jax.rsa.similarity.ceiling import RANK_INDICES


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
    subject_weights: np.ndarray,
    orders: np.ndarray,
    mask: np.ndarray | None,
    control: np.ndarray | None,
    devices: Sequence[jax.Device],
) -> Evaluation:
    """Cross-validated scores; a flexible model whose fit predicts nothing (all weights zero) scores 0.

    Targets of a fit are the subjects' RDMs scaled as for the noise ceiling (ranks for rank indices) on all stimuli.
    Controls are taken out of components and targets over the training pairs, and of both sides over the pairs scored.

    Args:
        models: m models.
        components: Their condensed component RDMs, m arrays [q, p].
        subjects: Condensed RDMs, [k, p].
        index: One of `resample.WEIGHTED_INDICES`.
        stimulus_folds: Fold of each stimulus, [n].
        subject_folds: Fold of each subject, [k]; all 0 fits and scores the same subjects.
        weights: Bootstrap weights of the stimuli, [b, n]; b = 0 for none.
        subject_weights: Bootstrap weights of the subjects, [b, k]; b = 0 for none. With both kinds, draw b of both is
            also drawn at once.
        orders: Permutations of the stimuli within folds, [permutations, n].
        mask: Which pairs count, [p]; None for all.
        control: RDMs to partial out, [c, p]; None for none.
        devices: Where to compute permutations.

    Returns:
        The evaluation; scores are means over folds of stimuli.

    Raises:
        ValueError: A score is not defined on the data.
    """
    n, k, m = len(stimulus_folds), len(subjects), len(models)
    weights = np.concatenate([np.ones((1, n)), weights])  # the first draw is the data
    people = np.concatenate([np.ones((1, k)), subject_weights])
    folds = _Folds(models, components, subjects, index, stimulus_folds, subject_folds, mask, control)
    by_fold = folds.products(weights, devices)
    scores, predictions = folds.scores(weights[0], [products[0] for products in by_fold], people[0])
    check_defined(scores[:m], [model.name for model in models])

    def drawn(stimulus_draw: int, subject_draw: int) -> np.ndarray:
        fits = [products[stimulus_draw] for products in by_fold]
        return folds.scores(weights[stimulus_draw], fits, people[subject_draw])[0]

    draws, refitted = scores[None][:0], {}
    if len(weights) > 1:
        draws = np.stack([drawn(b, 0) for b in steps(range(1, len(weights)), SAMPLES)])
        refitted['stimuli'] = draws.mean(axis=2)
    if len(people) > 1:
        of_subjects = steps(range(1, len(people)), f'{SAMPLES} of subjects')
        refitted['subjects'] = np.stack([_mean_over(drawn(0, b), people[b]) for b in of_subjects])
    if len(refitted) == 2:
        of_both = steps(range(1, len(people)), f'{SAMPLES} of both')
        refitted['both'] = np.stack([_mean_over(drawn(b, b), people[b]) for b in of_both])

    over_subjects = OverSubjects.of(scores[:m], scores[m], scores[m + 1]) if len(refitted) == 2 else None
    permuted = np.zeros((len(orders) + 1, m))
    orders = np.concatenate([np.arange(len(stimulus_folds))[None], orders])
    for group in range(folds.n_groups if len(orders) > 1 else 0):
        own = subject_folds == group
        unit = [np.zeros((m, subjects.shape[1])), np.zeros((own.sum(), subjects.shape[1]))]
        for fold, predicted in enumerate(predictions):
            inside = folds.test_pairs[fold]
            held = None if control is None else control[:, inside]
            unit[0][:, inside] = np.nan_to_num(unit_rdms(predicted[:m, group], index, control=held))
            unit[1][:, inside] = np.nan_to_num(unit_rdms(subjects[own][:, inside], index, control=held))
        share = own.sum() / len(subjects) / len(predictions)
        permuted += share * permuted_products(unit[0], unit[1].mean(axis=0), orders, devices=devices)
    return Evaluation(
        scores=scores[:m],
        lower=scores[m],
        upper=scores[m + 1],
        draws=draws[:, :m],
        lower_draws=draws[:, m],
        upper_draws=draws[:, m + 1],
        permuted=permuted[1:],
        observed=permuted[0],
        refitted=refitted,
        subjects=over_subjects,
        dyadic=folds.covariance(predictions, by_subject=len(people) > 1) if len(weights) > 1 else None,
    )


def _mean_over(scores: np.ndarray, people: np.ndarray) -> np.ndarray:
    """Mean over the subjects that were drawn: [.., k], [k] -> [..]."""
    return np.where(people > 0, scores, 0.0) @ people / people.sum()


class _Folds:
    """Arrays that every draw shares, and the scores of one draw."""

    def __init__(self, models, components, subjects, index, stimulus_folds, subject_folds, mask, control) -> None:
        if index not in WEIGHTED_INDICES:
            raise ValueError(f'flexible models are for {", ".join(WEIGHTED_INDICES)}, not for {index!r}.')
        n, of_ranks = n_stimuli_of(subjects.shape[1]), index in RANK_INDICES
        self.models, self.subjects, self.index = models, subjects, index
        self.components, self.stimulus_folds, self.subject_folds = components, stimulus_folds, subject_folds
        self.n_groups, self.n_folds = subject_folds.max() + 1, stimulus_folds.max() + 1
        # Targets: for each group of subjects the pooled others; one group has no others.
        self.scaled, self.control = unit_rdms(subjects, index, mask=mask), control
        everyone = np.ones((1, len(subjects)), dtype=bool)
        groups = np.arange(self.n_groups)[:, None]
        self.fitted_to = subject_folds != groups if self.n_groups > 1 else everyone  # [groups, k]
        self.pooled = np.concatenate([self.fitted_to, everyone])
        bases = [unit_rdms(c, index) if of_ranks and model.of_ranks else c for model, c in zip(models, components)]
        self.n_controls = 0 if control is None else len(control)
        held = [] if control is None else [control]  # categories, which are two values: ranks or not is one
        basis = np.concatenate([*bases, self.scaled, *held]).astype(np.float64)
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
        """Inner products of components and subjects over the training pairs, for each fold [draws, r, r]."""
        by_fold = []
        for train in self.train_pairs:
            products = weighted_products(self.basis, weights, mask=train, devices=devices)
            totals, sums, products = products[:, :1, :1], products[:, 0, 1:], products[:, 1:, 1:]
            if self.index != 'cosine':
                products = products - sums[:, :, None] * sums[:, None, :] / np.maximum(totals, 1.0)
            products = products * np.outer(self.scale, self.scale)
            if self.n_controls:
                r = products.shape[1] - self.n_controls
                across = products[:, :r, r:]
                explained = across @ np.linalg.pinv(products[:, r:, r:]) @ across.transpose(0, 2, 1)
                products = products[:, :r, :r] - explained
            by_fold.append(products)
        return by_fold

    def scores(
        self, weight: np.ndarray, fits: list[np.ndarray], people: np.ndarray
    ) -> tuple[np.ndarray, list[np.ndarray]]:
        """Scores of the m models, the pooled others and everyone pooled, [m + 2, k], and predictions by fold.

        One draw of stimuli, `weight` [n], whose inner products in each fold are `fits`, and of subjects, `people` [k].
        Subjects that have no others in the draw have no score.
        """
        m = len(self.models)
        by_fold = np.full((self.n_folds, m + 2, len(self.subjects)), np.nan)
        shares = self.pooled * people
        total = shares.sum(axis=1)
        shares = shares / np.where(total > 0, total, np.nan)[:, None]
        possible = np.flatnonzero(total[:-1] > 0)
        pooled, predictions = np.nan_to_num(shares) @ self.scaled, []
        for fold, (products, test) in enumerate(zip(fits, self.test_pairs)):
            fitted = self._fit(products, np.nan_to_num(shares[:-1]))
            predicted = np.empty((m + 2, self.n_groups, len(test)))
            for j, component in enumerate(self.components):
                predicted[j] = fitted[j] @ component[:, test]
            predicted[m], predicted[m + 1] = pooled[:-1, test], pooled[-1, test]
            predictions.append(predicted)
            pair_weights = weight[self.rows[test]] * weight[self.columns[test]]
            drawn = pair_weights > 0
            if drawn.sum() < MIN_DISTINCT:
                continue
            held = None if self.control is None else self.control[:, test[drawn]]
            for group in possible:
                own = np.flatnonzero(self.subject_folds == group)
                similarity = weighted_similarity(
                    predicted[:, group][:, drawn],
                    self.subjects[own][:, test[drawn]],
                    pair_weights[drawn],
                    self.index,
                    control=held,
                )
                similarity[:m] = np.nan_to_num(similarity[:m])
                by_fold[fold][:, own] = similarity
        if self.n_groups == 1:
            by_fold[:, m:] = np.nan  # a ceiling needs other subjects
        counted = ~np.isnan(by_fold[:, 0]).all(axis=1)
        return (by_fold[counted].mean(axis=0) if counted.any() else np.full(by_fold.shape[1:], np.nan)), predictions

    def covariance(self, predictions: list[np.ndarray], *, by_subject: bool) -> Dyadic | None:
        """Covariance over stimuli of the m scores and the lower ceiling, given the `predictions` of the data."""
        counted = [fold for fold, test in enumerate(self.test_pairs) if len(test) >= MIN_DISTINCT]
        if not counted:
            return None
        return crossvalidated_covariance(
            [predictions[fold][:-1] for fold in counted],
            self.subjects,
            self.index,
            test_pairs=[self.test_pairs[fold] for fold in counted],
            folds=[self.stimulus_folds == fold for fold in counted],
            groups=self.subject_folds,
            control=self.control,
            by_subject=by_subject,
        )

    def _fit(self, products: np.ndarray, shares: np.ndarray) -> list[np.ndarray]:
        """Component weights of each model for targets of these shares of the subjects, [groups, k]: m [groups, q]."""
        n_components = len(products) - len(self.subjects)
        targets = products[:n_components, n_components:] @ shares.T  # [components, groups]
        return [
            np.stack([model.weights(products[own, own], target[own]) for target in targets.T])
            for model, own in zip(self.models, self.slices)
        ]


def weighted_similarity(
    a: np.ndarray, b: np.ndarray, pair_weights: np.ndarray, index: str, *, control: np.ndarray | None = None
) -> np.ndarray:
    """An index over pairs that count `pair_weights` times: [m, p], [k, p], [p] -> [m, k]. NaN where undefined.

    `control` [c, p] is taken out of both sides, by its ranks for rank indices.
    """
    total = pair_weights.sum()

    def prepared(x: np.ndarray) -> np.ndarray:
        x = np.stack([_weighted_ranks(row, pair_weights) for row in x]) if index in RANK_INDICES else x
        return x if index == 'cosine' else x - (x @ pair_weights / total)[:, None]

    a, b = prepared(a), prepared(b)
    floors = [1e-20 * np.einsum('rp,rp->r', x, x) for x in (a, b)]
    if control is not None:
        z = prepared(control)
        inverse = np.linalg.pinv((z * pair_weights) @ z.T)
        a, b = (x - (x * pair_weights) @ z.T @ inverse @ z for x in (a, b))
    products = (a * pair_weights) @ b.T
    if index == 'rho_a':
        return 12.0 * products / (total**3 - total)
    scales = [np.einsum('rp,rp,p->r', x, x, pair_weights) for x in (a, b)]
    scales = [np.where(scale > floor, scale, np.nan) for scale, floor in zip(scales, floors)]
    return products / np.sqrt(np.outer(*scales))


def _weighted_ranks(values: np.ndarray, pair_weights: np.ndarray) -> np.ndarray:
    """Average ranks of values that occur `pair_weights` times each, [p]."""
    group = np.unique(values, return_inverse=True)[1]
    counts = np.bincount(group, pair_weights)
    return (np.cumsum(counts) - (counts - 1.0) / 2.0)[group]
