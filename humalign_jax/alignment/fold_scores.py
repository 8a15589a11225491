"""Scores of held-out predictions against people's answers: by arm and fold, and paired differences of arms."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import optimize

from humalign_jax.alignment import scoring, soft_labels
from humalign_jax.records import Score

# Per-image values by name: (what counts as better, unit).
MEASURES: Mapping[str, tuple[str, str]] = {
    'cross_entropy': ('smaller', 'nats'),
    'kl': ('smaller', 'nats'),
    'js': ('smaller', 'nats'),
    'accuracy': ('larger', 'share of images'),
    'second_best': ('larger', 'share of images with one second label'),
}
DIVERGENCES = ('cross_entropy', 'kl', 'js')


def image_values(log_probs: np.ndarray, people: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    """How each prediction agrees with people and with the published label.

    Args:
        log_probs: Predicted log-probabilities, [n, k]; -inf where a class is excluded.
        people: People's soft labels, [n, k].
        labels: Published labels, [n].

    Returns:
        Each float64 [n]. `cross_entropy`, `kl` (from the model to people) and `js` (Jensen-Shannon divergence, at most
        log 2) in nats; `accuracy` 0 or 1; `second_best` 1 where the class predicted second is people's second answer,
        NaN where people have no such answer or several.
    """
    log_probs = np.asarray(log_probs, np.float64)
    has_second = soft_labels.second_answer(people) >= 0
    second_best = np.full(len(people), np.nan)
    second_best[has_second] = soft_labels.second_best(log_probs, people)
    return {
        'cross_entropy': soft_labels.cross_entropy(people, log_probs),
        'kl': soft_labels.kl_divergence(people, log_probs),
        'js': soft_labels.js_divergence(people, log_probs),
        'accuracy': (log_probs.argmax(axis=1) == labels).astype(np.float64),
        'second_best': second_best,
    }


def fit_temperature(log_probs: np.ndarray, people: np.ndarray) -> float:
    """The temperature whose softmax(log_probs / T) has the least cross-entropy to people: [m, k], [m, k] -> float.

    Unlike `soft_labels.fit_temperature`, which needs hard labels of other images, it aims at what is scored.
    """

    def cross_entropy(log_temperature: float) -> float:
        at_temperature = soft_labels.log_probabilities(log_probs, np.exp(log_temperature))
        return float(soft_labels.cross_entropy(people, at_temperature).mean())

    ends = tuple(np.log(soft_labels.TEMPERATURES))
    best = optimize.minimize_scalar(cross_entropy, bounds=ends, method='bounded')
    return float(np.exp(best.x))  # type: ignore[attr-defined]


def arm_scores(
    values: Mapping[str, np.ndarray], folds: np.ndarray, provenance: Mapping[str, Any], *, suffix: str = ''
) -> list[Score]:
    """Scores over all images and over those of each fold.

    Args:
        values: Per-image values by name, each [n]; images with NaN are left out.
        folds: Fold of every image, [n].
        provenance: Of every score; gets `fold`, `better` and `unit`.
        suffix: Appended to the names.
    """
    scores = []
    for name, per_image in values.items():
        better, unit = MEASURES[name]
        for fold, rows in _all_and_each(folds):
            counted = per_image[rows][~np.isnan(per_image[rows])]
            more = {**provenance, 'fold': fold, 'better': better, 'unit': unit}
            full_name = f'soft_labels/{name}{suffix}'
            if name in DIVERGENCES:
                scores.append(scoring.mean(full_name, counted, more))
            else:
                scores.append(scoring.proportion(full_name, int(counted.sum()), len(counted), more))
    return scores


def difference_scores(
    values: Mapping[str, np.ndarray],
    other: Mapping[str, np.ndarray],
    folds: np.ndarray,
    provenance: Mapping[str, Any],
    *,
    n_bootstrap: int,
    seed: int,
) -> list[Score]:
    """Paired differences, `values` minus `other`, over all images and within each fold.

    Over all images there are two rows that differ in their interval alone: `resampled` 'images' takes the trained
    networks as given, 'folds' (folds, and images within them) also counts that another fold gives another network.

    Args:
        values: Per-image values by name, each [n].
        other: The same of the arm to compare with.
        folds: Fold of every image, [n].
        provenance: Of every score; gets `fold`, `better`, `unit` and `resampled`.
        n_bootstrap: Number of draws.
        seed: Decides the draws.
    """
    scores = []
    for name in values:
        better, unit = MEASURES[name]
        paired = values[name] - other[name]
        counted = ~np.isnan(paired)
        full_name = f'soft_labels/{name}/difference'
        for fold, rows in _all_and_each(folds):
            more = {**provenance, 'fold': fold, 'better': better, 'unit': unit}
            here = paired[rows & counted]
            if fold != 'all':
                scores.append(scoring.mean(full_name, here, {**more, 'resampled': 'images'}))
                continue
            one_group = np.zeros(len(here), np.int64)
            for resampled, groups, over in (
                ('images', one_group, 'images'),
                ('folds', folds[counted], 'folds and the images in them'),
            ):
                if resampled == 'folds' and len(np.unique(folds)) < 2:
                    continue  # one fold does not say how much folds differ
                low, high = _bootstrap(here, groups, n_bootstrap, seed)
                interval = f'bootstrap over {over}, {n_bootstrap} draws'
                row = Score(full_name, float(here.mean()), low, high, len(here), interval)
                scores.append(dataclasses.replace(row, provenance={**more, 'resampled': resampled}))
    return scores


def class_mean_of_other_folds(
    people: np.ndarray, labels: np.ndarray, folds: np.ndarray, n_answers: float
) -> np.ndarray:
    """Log of the mean soft label of each image's class in the other folds, [n, k]: what cross-validation allows.

    It knows the true label, and people's answers to other images of that class. One answer, spread over all classes, is
    added to each class, so that a confusion that the other folds do not have is unlikely and not impossible.

    Args:
        people: People's soft labels, [n, k].
        labels: Published labels, [n].
        folds: Fold of every image, [n].
        n_answers: Answers per image, on average.
    """
    n_classes = people.shape[1]
    one_hot = np.eye(n_classes)[labels]
    means = np.empty_like(people)
    for fold in np.unique(folds):
        rest = folds != fold
        sums = one_hot[rest].T @ people[rest] + 1.0 / (n_classes * n_answers)  # [k, k], rows true class
        means[~rest] = (sums / sums.sum(axis=1, keepdims=True))[labels[~rest]]
    return np.log(means)


def baseline_scores(
    people: np.ndarray, labels: np.ndarray, other_folds: np.ndarray, provenance: Mapping[str, Any]
) -> list[Score]:
    """Divergences of predictions that no network made, and second-best accuracy of those that have a second class.

    Args:
        people: People's soft labels, [n, k].
        labels: Published labels, [n].
        other_folds: From `class_mean_of_other_folds`, [n, k].
        provenance: Of every score; gets `baseline`, `fold`, `better`, `unit`, and `model`, its name in plain words.
    """
    other = 'class-mean human label of the other folds'
    baselines = {other: other_folds, **soft_labels.baselines(people, labels)}
    scores = []
    for model, log_probs in baselines.items():
        values = image_values(log_probs, people, labels)
        del values['accuracy']  # they are told the label
        if not model.startswith('class-mean'):
            del values['second_best']
        nobody = np.zeros(len(labels), np.int64)
        rows = arm_scores(values, nobody, {**provenance, 'model': model, 'baseline': True})
        scores += [score for score in rows if score.provenance['fold'] == 'all']
    return scores


def temperature_score(temperature: np.ndarray, folds: np.ndarray, provenance: Mapping[str, Any]) -> Score:
    """The fitted temperature, averaged over folds: [n, 1], [n] -> score."""
    per_fold = [temperature[folds == fold][0, 0] for fold in np.unique(folds)]
    more = {**provenance, 'fold': 'all', 'better': 'none', 'unit': ''}
    score = scoring.mean('soft_labels/temperature', np.array(per_fold), more)
    return dataclasses.replace(score, interval="Student's t over folds")


def _all_and_each(folds: np.ndarray) -> Sequence[tuple[str, np.ndarray]]:
    """('all', every image) and (fold, its images) for each fold that there is."""
    return [('all', np.ones(len(folds), bool)), *((str(fold), folds == fold) for fold in np.unique(folds))]


def _bootstrap(values: np.ndarray, groups: np.ndarray, n_bootstrap: int, seed: int) -> tuple[float, float]:
    """Percentile interval of the mean: groups drawn with replacement, then the images of each drawn group."""
    np_rng = np.random.default_rng(seed)
    members = [values[groups == group] for group in np.unique(groups)]
    draws = np.empty(n_bootstrap)
    for draw in range(n_bootstrap):
        chosen = [members[group] for group in np_rng.integers(len(members), size=len(members))]
        total = sum(group[np_rng.integers(len(group), size=len(group))].sum() for group in chosen)
        draws[draw] = total / sum(map(len, chosen))
    low, high = np.quantile(draws, (0.025, 0.975))
    return float(low), float(high)
