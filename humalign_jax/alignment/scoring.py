"""Per-image values turned into scores with 95 % intervals."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from humalign_jax.records import Score

CLASS_MEASURES = ('precision', 'recall', 'f1', 'n')  # columns of `class_measures`


def proportion(name: str, k: int, n: int, provenance: Mapping[str, Any]) -> Score:
    """A share k / n with its Wilson interval.

    References:
        Wilson (1927), through scipy.stats.binomtest.
    """
    if n == 0:
        nan = float('nan')
        return Score(name, nan, nan, nan, 0, 'none: no images', provenance=provenance)
    interval = stats.binomtest(int(k), int(n)).proportion_ci(method='wilson')
    return Score(name, k / n, float(interval.low), float(interval.high), int(n), 'wilson', provenance=provenance)


def mean(name: str, values: np.ndarray, provenance: Mapping[str, Any]) -> Score:
    """A mean over images [n] with Student's interval; NaN ends if there is one image only."""
    values = np.asarray(values, np.float64)
    average, low, high = float(values.mean()), float('nan'), float('nan')
    if len(values) > 1:
        error = float(values.std(ddof=1) / np.sqrt(len(values)))
        half = float(stats.t.ppf(0.975, len(values) - 1)) * error
        low, high = average - half, average + half
    return Score(name, average, low, high, len(values), "Student's t over images", provenance=provenance)


def paired_difference(name: str, first: np.ndarray, second: np.ndarray, provenance: Mapping[str, Any]) -> Score:
    """Difference of two shares of the same images, first - second, with the adjusted Wald interval.

    Args:
        name: Name of the score.
        first: Whether each image counts in the first share, 0 or 1, [n].
        second: The same of the second share, [n].
        provenance: Provenance of the score.

    References:
        Bonett & Price (2012), Adjusted Wald confidence interval for a difference of binomial proportions based on
        paired data. doi:10.3102/1076998611411915
    """
    first, second = np.asarray(first, bool), np.asarray(second, bool)
    n, only_first, only_second = len(first), int((first & ~second).sum()), int((second & ~first).sum())
    a, b = (only_first + 1) / (n + 2), (only_second + 1) / (n + 2)
    half = float(stats.norm.ppf(0.975)) * np.sqrt((a + b - (a - b) ** 2) / (n + 2))
    low, high = max(a - b - half, -1.0), min(a - b + half, 1.0)
    value = (only_first - only_second) / n
    return Score(name, value, float(low), float(high), n, 'adjusted Wald for paired shares', provenance=provenance)


def confusion_matrix(labels: np.ndarray, predictions: np.ndarray, n_classes: int) -> np.ndarray:
    """Counts, rows true class, columns predicted class: [n], [n] -> int64 [k, k]."""
    return np.bincount(labels * n_classes + predictions, minlength=n_classes**2).reshape(n_classes, n_classes)


def class_measures(counts: np.ndarray) -> np.ndarray:
    """Precision, recall, F1 and number of images of each class, as columns: [k, k] with true classes in rows -> [k, 4].

    NaN where a denominator is 0: precision of a class that is never predicted, recall of a class without images, F1 of
    a class with neither. Otherwise equal to sklearn.metrics.precision_recall_fscore_support.
    """
    counts = np.asarray(counts, np.float64)
    hits, n_true, n_predicted = counts.diagonal(), counts.sum(axis=1), counts.sum(axis=0)
    with np.errstate(invalid='ignore'):  # 0 / 0
        return np.stack([hits / n_predicted, hits / n_true, 2 * hits / (n_true + n_predicted), n_true], axis=1)


def macro_f1(counts: np.ndarray, provenance: Mapping[str, Any]) -> Score:
    """The mean of the classes' F1 with the delta method's interval, clipped to [0, 1]: counts [k, k], true in rows.

    Classes with neither images nor predictions are left out. The counts are taken as multinomial, and the interval's
    standard error follows from the derivative of macro F1 with respect to the cells' probabilities.

    References:
        Takahashi, Yamamoto, Kuchiba & Koyama (2022). doi:10.1007/s10489-021-02635-5
    """
    f1 = class_measures(counts)[:, 2]
    kept, n = np.isfinite(f1), int(counts.sum())
    f1, shares = f1[kept], np.asarray(counts, np.float64)[np.ix_(kept, kept)] / n
    size = shares.sum(axis=0) + shares.sum(axis=1)  # F1 = 2 p_ii / (p_i. + p_.i)
    slope = (np.diag(2 / size) - (f1 / size)[:, None] - (f1 / size)[None, :]) / len(f1)
    variance = (np.sum(shares * slope**2) - np.sum(shares * slope) ** 2) / n
    value, half = float(f1.mean()), float(stats.norm.ppf(0.975) * np.sqrt(max(0.0, variance)))
    low, high = max(0.0, value - half), min(1.0, value + half)
    return Score('macro_f1', value, low, high, n, 'normal, standard error by the delta method', provenance=provenance)


def classification_scores(
    values: Mapping[str, np.ndarray],
    labels: np.ndarray,
    class_names: Sequence[str],
    provenance: Mapping[str, Any],
    *,
    unit: str = 'nats',
) -> tuple[list[Score], np.ndarray]:
    """Accuracy, loss, macro F1, accuracy of each class, and every cell of the confusion matrix.

    Args:
        values: `loss` and `prediction`, each [n].
        labels: True classes, [n].
        class_names: Names of the k classes.
        provenance: Provenance of every score.
        unit: Of the loss.

    Returns:
        The scores (`accuracy`, `loss`, `macro_f1`, `accuracy/<class>`, `confusion/<true>/<predicted>`, the last as the
        share of the true class's images), and the counts [k, k] with true classes in rows.
    """
    n_classes = len(class_names)
    counts = confusion_matrix(np.asarray(labels, np.int64), np.asarray(values['prediction'], np.int64), n_classes)
    scores = [
        proportion('accuracy', int(counts.trace()), int(counts.sum()), provenance),
        mean('loss', values['loss'], {**provenance, 'unit': unit}),
        macro_f1(counts, provenance),
    ]
    per_class = counts.sum(axis=1)
    for true, name in enumerate(class_names):
        scores.append(proportion(f'accuracy/{name}', int(counts[true, true]), int(per_class[true]), provenance))
    for true, name in enumerate(class_names):
        for predicted, other in enumerate(class_names):
            cell = int(counts[true, predicted])
            scores.append(proportion(f'confusion/{name}/{other}', cell, int(per_class[true]), provenance))
    return scores, counts


def about_networks(group: str, networks: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Provenance of scores over several networks of one kind, such as those of several seeds.

    Args:
        group: What they have in common, which becomes the model's name.
        networks: Provenance of each network's own scores, by its name.

    Returns:
        What all of them say alike, with `model`, `n_networks` and `networks`, and without `group`, which marks members.
    """
    first, *others = networks.values()
    same = {key: value for key, value in first.items() if all(key in one and one[key] == value for one in others)}
    same.pop('group', None)
    return {**same, 'model': group, 'n_networks': len(networks), 'networks': list(networks)}
