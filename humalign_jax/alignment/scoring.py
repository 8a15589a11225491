"""Per-image values turned into scores with 95 % intervals."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from humalign_jax.records import Score


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


def classification_scores(
    values: Mapping[str, np.ndarray], labels: np.ndarray, class_names: Sequence[str], provenance: Mapping[str, Any]
) -> tuple[list[Score], np.ndarray]:
    """Accuracy, loss, accuracy of each class, and every cell of the confusion matrix.

    Args:
        values: `loss` and `prediction`, each [n].
        labels: True classes, [n].
        class_names: Names of the k classes.
        provenance: Provenance of every score.

    Returns:
        The scores (`accuracy`, `loss`, `accuracy/<class>`, `confusion/<true>/<predicted>`, the last as the share of the
        true class's images), and the counts [k, k] with true classes in rows.
    """
    n_classes = len(class_names)
    counts = confusion_matrix(np.asarray(labels, np.int64), np.asarray(values['prediction'], np.int64), n_classes)
    scores = [
        proportion('accuracy', int(counts.trace()), int(counts.sum()), provenance),
        mean('loss', values['loss'], {**provenance, 'unit': 'nats'}),
    ]
    per_class = counts.sum(axis=1)
    for true, name in enumerate(class_names):
        scores.append(proportion(f'accuracy/{name}', int(counts[true, true]), int(per_class[true]), provenance))
    for true, name in enumerate(class_names):
        for predicted, other in enumerate(class_names):
            cell = int(counts[true, predicted])
            scores.append(proportion(f'confusion/{name}/{other}', cell, int(per_class[true]), provenance))
    return scores, counts
