"""Scores of flexible models: fitted to some stimuli and subjects, scored on the pairs of other stimuli, other subjects.

Stimuli and subjects are dealt into folds once. In every fold of stimuli and of subjects, models are fitted to the pairs
of the remaining stimuli, averaged over the remaining subjects, and scored on the pairs within the fold. Fixed models
are scored on the same pairs, so that all models compete on equal terms.

Over subjects alone everything is fitted anew in bootstrap samples of the subjects; a subject that is drawn twice stays
in its one fold both times, so that no subject is scored on its own data.
"""

import itertools
from collections.abc import Sequence

import jax
import numpy as np

from humalign_jax.progress import steps
from humalign_jax.rsa.inference.bootstrap import check_samples
from humalign_jax.rsa.inference.covariance import SampleCovariance
from humalign_jax.rsa.inference.dyads import Dyadic, crossvalidated_covariance
from humalign_jax.rsa.inference.evaluation import Evaluation, check_defined, joined, unit_rdms
from humalign_jax.rsa.inference.inputs import Inputs
from humalign_jax.rsa.inference.over_subjects import leverage, subject_covariance
from humalign_jax.rsa.inference.resample import SAMPLES, permuted_products
from humalign_jax.rsa.pairs import n_stimuli_of
from humalign_jax.rsa.similarity.compare import compare_condensed
from humalign_jax.rsa.similarity.indices import INDICES

MIN_PAIRS = 3  # of a fold: fewer have no correlation


def default_folds(n_stimuli: int, n_subjects: int) -> tuple[int, int]:
    """Folds of stimuli (2 to 5) and of subjects (1 to 5), as in rsatoolbox."""
    stimuli = 2 + sum(n_stimuli >= bound for bound in (12, 24, 40))
    subjects = 2 + sum(n_subjects >= bound for bound in (6, 12, 20))
    return stimuli, min(subjects, n_subjects)


def deal_folds(seed: int, n: int, n_folds: int, *, stream: int) -> np.ndarray:
    """Which fold each of n units is in, as even as can be: [n] integers, 0..n_folds-1, in random order."""
    return np.random.default_rng([seed, stream]).permutation(np.arange(n) % n_folds)


def evaluate_crossvalidated(
    inputs: Inputs,
    index: str,
    *,
    over: str,
    stimulus_folds: np.ndarray,
    subject_folds: np.ndarray,
    subject_weights: np.ndarray,
    orders: np.ndarray,
    devices: Sequence[jax.Device],
) -> Evaluation:
    """Cross-validated scores, means over folds of stimuli; a model whose fitted weights are all zero scores 0.

    Targets of a fit are the subjects' RDMs scaled as for the noise ceiling (ranks for rank indices) on all stimuli.
    Controls are taken out of components and targets over the training pairs, and of both sides over the pairs scored.

    Args:
        inputs: Models, subjects, and which pairs count.
        index: One of `indices.WEIGHTED_INDICES`.
        over: 'stimuli', 'subjects' or 'both'.
        stimulus_folds: Fold of each stimulus, [n].
        subject_folds: Fold of each subject, [k]; all 0 fits and scores the same subjects.
        subject_weights: How often each subject is drawn in samples, [b, k]; b = 0 unless over subjects alone.
        orders: Permutations of the stimuli within folds, [permutations, n].
        devices: Where to compute permutations.

    Raises:
        ValueError: A score is not defined on the data, or in fewer than two samples.
    """
    subjects, control, m, k = inputs.subjects, inputs.control, len(inputs.models), len(inputs.subjects)
    folds = _Folds(inputs, index, stimulus_folds, subject_folds)
    scores, predictions = folds.scores(np.ones(k))
    check_defined(scores[:m], inputs.names)
    lower, upper = scores[m], scores[m + 1]
    of_stimuli = folds.covariance(predictions, by_subject=over == 'both') if over != 'subjects' else None
    of_subjects = subject_covariance(scores[:m], lower, upper) if over == 'both' else None
    if over == 'subjects':
        drawn = np.stack([_mean_over(folds.scores(p)[0], p) for p in steps(subject_weights, f'{SAMPLES} of subjects')])
        drawn = drawn[np.isfinite(drawn[:, :m]).all(axis=1)]
        check_samples(drawn, len(subject_weights))
        # Without a ceiling its column is NaN.
        of_subjects = SampleCovariance(np.cov(np.nan_to_num(drawn[:, : m + 1]).T) * k / (k - 1.0), k - 1.0)

    permuted = np.zeros((len(orders) + 1, m))
    orders = np.concatenate([np.arange(len(stimulus_folds))[None], orders])
    for group in range(folds.n_groups if len(orders) > 1 else 0):
        own = subject_folds == group
        unit = [np.zeros((m, subjects.shape[1])), np.zeros((own.sum(), subjects.shape[1]))]
        for inside, predicted in zip(folds.test_pairs, predictions):
            held = None if control is None else control[:, inside]
            unit[0][:, inside] = np.nan_to_num(unit_rdms(predicted[:m, group], index, control=held))
            unit[1][:, inside] = np.nan_to_num(unit_rdms(subjects[own][:, inside], index, control=held))
        share = own.sum() / len(subjects) / len(predictions)
        permuted += share * permuted_products(unit[0], unit[1].mean(axis=0), orders, devices=devices)
    return Evaluation(
        scores[:m],
        lower,
        upper,
        permuted[1:],
        permuted[0],
        joined(of_stimuli, of_subjects, leverage(lower, upper)),
        is_fitted=True,
    )


def _mean_over(scores: np.ndarray, people: np.ndarray) -> np.ndarray:
    """Mean over the subjects that were drawn: [.., k], [k] -> [..]."""
    return np.where(people > 0, scores, 0.0) @ people / people.sum()


class _Folds:
    """Arrays that every sample of subjects shares, and the scores of one sample."""

    def __init__(self, inputs: Inputs, index: str, stimulus_folds: np.ndarray, subject_folds: np.ndarray) -> None:
        subjects, mask = inputs.subjects, inputs.mask
        of_ranks = INDICES[index].ranked
        self.models, self.components, self.subjects = inputs.models, inputs.components, subjects
        self.index, self.control = index, inputs.control
        self.stimulus_folds, self.subject_folds = stimulus_folds, subject_folds
        self.n_groups, n_folds = subject_folds.max() + 1, stimulus_folds.max() + 1
        # Targets: for each group of subjects the pooled others; one group has no others.
        self.scaled = unit_rdms(subjects, index, mask=mask)
        everyone = np.ones((1, len(subjects)), dtype=bool)
        groups = np.arange(self.n_groups)[:, None]
        fitted_to = subject_folds != groups if self.n_groups > 1 else everyone  # [groups, k]
        self.pooled = np.concatenate([fitted_to, everyone])
        bases = [
            unit_rdms(c, index) if of_ranks and model.of_ranks else c for model, c in zip(self.models, self.components)
        ]
        ends = np.cumsum([0, *map(len, self.components)])
        self.slices = [slice(start, end) for start, end in itertools.pairwise(ends)]
        rows, columns = np.triu_indices(n_stimuli_of(subjects.shape[1]), 1)
        kept = np.ones(subjects.shape[1], dtype=bool) if mask is None else mask
        in_fold = [np.stack([stimulus_folds[rows], stimulus_folds[columns]]) == f for f in range(n_folds)]
        self.test_pairs = [np.flatnonzero(kept & two.all(axis=0)) for two in in_fold]
        basis = np.concatenate([*bases, self.scaled]).astype(np.float64)
        self.products = [self._products(basis, kept & ~two.any(axis=0)) for two in in_fold]

    def _products(self, basis: np.ndarray, train: np.ndarray) -> np.ndarray:
        """Inner products of components and subjects over the training pairs, controls taken out, [r, r]."""
        values, held = basis[:, train], np.empty((0, train.sum()))
        if self.control is not None:
            held = self.control[:, train].astype(np.float64)  # two values, for which ranks are no other control
        if INDICES[self.index].centred:
            values, held = (x - x.mean(axis=1, keepdims=True) for x in (values, held))
        across = values @ held.T
        return values @ values.T - across @ np.linalg.pinv(held @ held.T) @ across.T

    def scores(self, people: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
        """Scores of the m models, the pooled others and everyone pooled, [m + 2, k], and predictions by fold.

        Subjects are drawn `people` times each, [k]; those that have no others in the sample have no score.
        """
        m, by_fold, predictions = len(self.models), [], []
        shares = self.pooled * people
        total = shares.sum(axis=1)
        shares = np.nan_to_num(shares / np.where(total > 0, total, np.nan)[:, None])
        pooled = shares @ self.scaled
        for products, test in zip(self.products, self.test_pairs):
            fitted = self._fit(products, shares[:-1])
            predicted = np.empty((m + 2, self.n_groups, len(test)))
            for j, component in enumerate(self.components):
                predicted[j] = fitted[j] @ component[:, test]
            predicted[m], predicted[m + 1] = pooled[:-1, test], pooled[-1, test]
            predictions.append(predicted)
            if len(test) < MIN_PAIRS:
                continue
            held = None if self.control is None else self.control[:, test]
            found = np.full((m + 2, len(self.subjects)), np.nan)
            for group in np.flatnonzero(total[:-1] > 0):
                own = np.flatnonzero(self.subject_folds == group)
                found[:, own] = compare_condensed(
                    predicted[:, group], self.subjects[own][:, test], self.index, control=held
                )
                found[:m, own] = np.nan_to_num(found[:m, own])
            by_fold.append(found)
        scores = np.mean(by_fold, axis=0) if by_fold else np.full((m + 2, len(self.subjects)), np.nan)
        if self.n_groups == 1:
            scores[m:] = np.nan  # a ceiling needs other subjects
        return scores, predictions

    def covariance(self, predictions: list[np.ndarray], *, by_subject: bool) -> Dyadic:
        """Covariance over stimuli of the m scores and the lower ceiling, given the `predictions` of the data."""
        counted = [fold for fold, test in enumerate(self.test_pairs) if len(test) >= MIN_PAIRS]
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
