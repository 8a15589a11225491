"""Scores of a classifier against people: losses, entropies, answers and errors, with intervals and noise ceilings."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from absl import logging

from humalign_jax.alignment import errors, intervals, soft_labels
from humalign_jax.alignment.scoring import mean, proportion
from humalign_jax.human_data import Answers
from humalign_jax.records import Score
from humalign_jax.rsa import Ceiling, bootstrap_weights

# Losses of an image, and their names in words.
LOSSES = {
    'cross_entropy': (soft_labels.cross_entropy, 'cross-entropy to people'),
    'kl': (soft_labels.kl_divergence, 'KL divergence from people'),
    'js': (soft_labels.js_divergence, 'Jensen-Shannon divergence from people'),
}
# The bounds of each ceiling in words.
_HALVES = 'lower: half of people with the other half; upper: root of the reliability of all'
_PEOPLE = 'lower: one person; upper: the majority of people'
_PREDICTED = 'lower: the human soft label itself; upper: half of people predicting the other half'
CEILINGS = {
    'cross_entropy': f'{_PREDICTED}, with the class mean as a prior',
    'kl': f'{_PREDICTED}, with the class mean as a prior',
    'js': f'{_PREDICTED}, by the shares of its answers',
    'entropy_spearman': _HALVES,
    'entropy_pearson': _HALVES,
    'accuracy': _PEOPLE,
    'human_top1': 'lower: half of people with the other half',
    'second_best': 'lower: half of people with the other half, where both have a second answer',
    'confusion_spearman': _HALVES,
    'kappa': 'lower: two random people; upper: the best pattern of errors for a random person',
    'kappa_majority': 'lower: the majorities of two halves of people; upper: complete agreement',
}
# Keys of provenance that describe people and images, and not the model.
_NOT_OF_THE_MODEL = ('layer', 'data', 'human', 'simulated', 'seed', 'stimuli_sha256')


@dataclasses.dataclass(frozen=True)
class Case:
    """A model and people who answered to the same images, row by row.

    Attributes:
        logits: The model's logits or log-probabilities, float64, [n, k].
        labels: True classes, int64, [n].
        answers: People's answers to the n images.
        provenance: Provenance of every score.
        ceilings: Noise ceilings by name of the score.
        weights: How often each image is in each bootstrap sample, float64, [n_draws, n].
    """

    logits: np.ndarray
    labels: np.ndarray
    answers: Answers
    provenance: Mapping[str, Any]
    ceilings: Mapping[str, Ceiling]
    weights: np.ndarray

    @property
    def predictions(self) -> np.ndarray:
        """The model's classes, [n]; the lowest number of several equal ones."""
        return self.logits.argmax(axis=1)


def make_case(
    logits: np.ndarray,
    labels: np.ndarray,
    answers: Answers,
    provenance: Mapping[str, Any],
    *,
    n_bootstrap: int,
    n_splits: int,
    seed: int,
) -> Case:
    """A case with its ceilings, from `n_splits` random halves of people, and `n_bootstrap` samples of images."""
    options = {'n_splits': n_splits, 'seed': seed}
    ceilings = {
        **soft_labels.ceilings(answers.counts, labels, **options),
        **errors.ceilings(answers.counts, labels, **options),
    }
    weights = bootstrap_weights(seed, len(labels), n_bootstrap, stream=0).astype(np.float64)
    return Case(logits, labels, answers, provenance, ceilings, weights)


def loss_scores(case: Case, log_model: np.ndarray, provenance: Mapping[str, Any], suffix: str = '') -> list[Score]:
    """Cross-entropy, KL and JS divergence of some log-probabilities [n, k], each a mean over images."""
    scores = []
    for name, (function, text) in LOSSES.items():
        values = function(case.answers.probabilities, log_model)
        more = {**provenance, 'better': 'smaller', 'unit': 'nats', 'measure': text}
        scores.append(_with_ceiling(case, mean(f'soft_labels/{name}{suffix}', values, more), name))
    return scores


def scaled_scores(case: Case, validation_logits: np.ndarray, validation_labels: np.ndarray) -> list[Score]:
    """The temperature fitted to validation labels, and the losses at this temperature."""
    fitted = soft_labels.fit_temperature(validation_logits, validation_labels)
    if np.isnan(fitted.low):
        logging.warning(
            'The temperature is at an end of its range, %g: the validation images are all named rightly, or at random.',
            fitted.value,
        )
    scaled = {**case.provenance, 'temperature': fitted.value}
    losses = loss_scores(case, soft_labels.log_probabilities(case.logits, fitted.value), scaled, '_scaled')
    more = {**case.provenance, 'better': 'none', 'measure': 'temperature fitted to validation labels'}
    kind = "normal in log temperature, from the slope's variance over validation images"
    n = len(validation_labels)
    return [*losses, Score('soft_labels/temperature', *fitted, n, kind, provenance=more)]


def answer_scores(case: Case) -> list[Score]:
    """Correlations of the model's and people's entropies; agreement of first and second answers."""
    model_entropy = soft_labels.entropy(np.exp(soft_labels.log_probabilities(case.logits)))
    human_entropy = soft_labels.entropy(case.answers.probabilities)
    scores, once = [], np.ones((1, len(case.labels)))
    for kind, function in (('spearman', intervals.weighted_spearman), ('pearson', intervals.weighted_pearson)):
        value = float(function(model_entropy, human_entropy, once)[0])
        interval = intervals.correlation_interval(
            value, function(model_entropy, human_entropy, case.weights), len(case.labels)
        )
        text = f"{kind.capitalize()} correlation over images of the model's and people's entropy"
        scores.append(_bootstrapped(case, f'soft_labels/entropy_{kind}', value, interval, text, f'entropy_{kind}'))

    larger = {**case.provenance, 'better': 'larger'}
    right = int((case.predictions == case.labels).sum())
    score = proportion('soft_labels/accuracy', right, len(case.labels), {**larger, 'measure': 'against the label'})
    scores.append(_with_ceiling(case, score, 'accuracy'))

    agreement = soft_labels.majority_agreement(case.predictions, case.answers.counts)
    text = "against people's most frequent answer; where m are equally frequent, one of them counts 1/m"
    score = mean('soft_labels/human_top1', agreement, {**larger, 'measure': text})
    scores.append(_with_ceiling(case, score, 'human_top1'))

    second = soft_labels.second_best(case.logits, case.answers.counts)
    text = "the model's second class against people's second answer, on images where there is exactly one"
    score = proportion('soft_labels/second_best', int(second.sum()), len(second), {**larger, 'measure': text})
    return [*scores, _with_ceiling(case, score, 'second_best')]


def error_scores(case: Case) -> list[Score]:
    """Similarity of confusions, and error consistency, of model and people."""
    labels, people = case.labels, case.answers.probabilities
    n, n_classes = people.shape
    human = errors.confusion(labels, people)
    human_draws = errors.confusion_draws(labels, people, case.weights)
    scores = []
    for name, given, shares in (
        ('confusion_spearman', np.eye(n_classes)[case.predictions], 'shares of predictions'),
        ('confusion_spearman_soft', np.exp(soft_labels.log_probabilities(case.logits)), 'mean probabilities'),
    ):
        value = float(errors.confusion_spearman(errors.confusion(labels, given), human))
        draws = errors.confusion_spearman(errors.confusion_draws(labels, given, case.weights), human_draws)
        text = f"Spearman correlation of the model's and people's {n_classes * (n_classes - 1)} confusions ({shares})"
        interval = intervals.correlation_interval(value, draws, n)
        scores.append(_bootstrapped(case, f'errors/{name}', value, interval, text, 'confusion_spearman'))

    right = case.predictions == labels
    for name, observer, who in (
        ('kappa', people[np.arange(n), labels], 'a person drawn at random for each image'),
        ('kappa_majority', case.answers.counts.argmax(axis=1) == labels, "people's majority"),
    ):
        value = float(errors.kappa(right, observer))
        interval = intervals.normal_interval(value, errors.kappa(right, observer, case.weights))
        text = f"error consistency (Cohen's kappa) with {who}"
        scores.append(_bootstrapped(case, f'errors/{name}', value, interval, text, name))
    return scores


def uncertainty_scores(case: Case) -> list[Score]:
    """Accuracy on images with unanimous answers, and on thirds of the other images by entropy of the answers."""
    bins, edges = errors.uncertainty_bins(case.answers.counts)
    right = case.predictions == case.labels
    one_person = case.answers.probabilities[np.arange(len(right)), case.labels]
    majority = soft_labels.majority_agreement(case.labels, case.answers.counts)
    ranges = ('0', f'above 0, up to {edges[0]:.4f}', f'above {edges[0]:.4f}, up to {edges[1]:.4f}', 'larger still')
    scores = []
    for number, (name, entropies) in enumerate(zip(errors.BINS, ranges)):
        rows = bins == number
        more = {
            **case.provenance,
            'better': 'larger',
            'measure': f"accuracy where people's entropy in nats is {entropies}",
            'ceiling': _PEOPLE,
        }
        full_name = f'errors/accuracy_by_uncertainty/{name}'
        score = proportion(full_name, int(right[rows].sum()), int(rows.sum()), more)
        if rows.any():
            lower, upper = float(one_person[rows].mean()), float(majority[rows].mean())
            score = dataclasses.replace(score, ceiling_lower=lower, ceiling_upper=upper)
        scores.append(score)
    return scores


def baseline_scores(case: Case) -> list[Score]:
    """The losses of predictors that are no network, for the same images."""
    kept = {
        key: case.provenance[key] for key in case.provenance if key in _NOT_OF_THE_MODEL or key.startswith('human_')
    }
    scores = []
    for name, log_model in soft_labels.baselines(case.answers.probabilities, case.labels).items():
        scores += loss_scores(case, log_model, {**kept, 'model': name, 'baseline': True})
    return scores


def _bootstrapped(case: Case, name: str, value: float, interval: intervals.Interval, text: str, ceiling: str) -> Score:
    """A score of all images whose interval comes from the bootstrap; larger is better."""
    kind = f'normal (of a correlation: of its z), standard error from {len(case.weights)} bootstrap samples of images'
    more = {**case.provenance, 'better': 'larger', 'measure': text}
    return _with_ceiling(case, Score(name, value, *interval, len(case.labels), kind, provenance=more), ceiling)


def _with_ceiling(case: Case, score: Score, name: str) -> Score:
    lower, upper = case.ceilings[name]
    more = {**score.provenance, 'ceiling': CEILINGS[name]}
    return dataclasses.replace(score, ceiling_lower=lower, ceiling_upper=upper, provenance=more)
