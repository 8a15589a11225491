"""Whether a model errs on the same images as people, and confuses the same classes.

Several people name each image, some correctly and some not. Error consistency here is with *one random person*: for
every image, a person drawn at random from those who saw it. The expected agreement with the model follows exactly from
the share of correct answers, without drawing anybody. `kappa` also takes the errors of the majority, which are few.
"""

import numpy as np
import scipy.stats

from humalign_jax.alignment import soft_labels
from humalign_jax.rsa import Ceiling, SplitHalf, halves_and_quarters

BINS = ('unanimous', 'low', 'medium', 'high')


def confusion(labels: np.ndarray, answers: np.ndarray) -> np.ndarray:
    """Mean answer to the images of each true class: [n], [n, k] -> [k, k], rows true class.

    With one-hot predictions the shares of the class's images, with people's shares the shares of its answers. A class
    without images has a row of NaN.
    """
    n_classes = answers.shape[1]
    sums = np.zeros((n_classes, n_classes))
    np.add.at(sums, labels, answers)
    with np.errstate(invalid='ignore'):
        return sums / np.bincount(labels, minlength=n_classes)[:, None]


def error_matrix(confusions: np.ndarray) -> np.ndarray:
    """A confusion matrix with its diagonal set to zero: [..., k, k] -> [..., k, k]."""
    return np.where(np.eye(confusions.shape[-1], dtype=bool), 0.0, confusions)


def confusion_spearman(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Spearman's correlation of the k (k - 1) off-diagonal cells: [..., k, k], [..., k, k] -> [...].

    Cells of classes without images are left out. NaN if either has no errors at all, or as many in every cell.
    """
    off = ~np.eye(first.shape[-1], dtype=bool)
    ranks = []
    for cells in (first[..., off], second[..., off]):
        kept = np.isfinite(first[..., off]) & np.isfinite(second[..., off])
        # Equal shares that were summed in different orders differ in their last digits, which would break ties.
        cells = np.where(kept, np.round(cells, 12), np.nan)
        ranked = scipy.stats.rankdata(cells, axis=-1, nan_policy='omit')
        ranks.append(np.where(kept, ranked - np.nanmean(ranked, axis=-1, keepdims=True), 0.0))
    squares = (ranks[0] ** 2).sum(axis=-1) * (ranks[1] ** 2).sum(axis=-1)
    with np.errstate(invalid='ignore', divide='ignore'):
        return np.where(squares > 0, (ranks[0] * ranks[1]).sum(axis=-1) / np.sqrt(squares), np.nan)


def confusion_draws(labels: np.ndarray, answers: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Confusion matrices of bootstrap samples: [n], [n, k], weights [n_draws, n] -> [n_draws, k, k]."""
    n_classes = answers.shape[1]
    draws = np.full((len(weights), n_classes, n_classes), np.nan)
    for label in np.unique(labels):
        rows = labels == label
        drawn = weights[:, rows]
        with np.errstate(invalid='ignore'):
            draws[:, label] = (drawn @ answers[rows]) / drawn.sum(axis=1, keepdims=True)
    return draws


def kappa(first: np.ndarray, second: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Error consistency: Cohen's kappa of being right, of two observers.

    0 if they agree as often as two independent observers of their accuracies would, 1 if they always agree. An
    observer's chance of being right may be a fraction, for one drawn at random from many; then this is the ratio of
    expected agreements, which a drawn observer's kappa approaches as images become many.

    Args:
        first: Whether (or how probably) the first observer is right on each image, [n], 0 to 1.
        second: The same of the second, who answers independently given the image, [n].
        weights: How often each image counts in each of several samples, [n_draws, n]; None for once in one.

    Returns:
        [] or, with weights, [n_draws]; NaN where chance agreement is complete (nobody ever errs).

    References:
        Cohen (1960). doi:10.1177/001316446002000104
        Geirhos, Meding & Wichmann (2020), Beyond accuracy. arXiv:2006.16736
    """
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    agreement = first * second + (1.0 - first) * (1.0 - second)
    observed, a, b = (_mean(values, weights) for values in (agreement, first, second))
    return _kappa(observed, a * b + (1.0 - a) * (1.0 - b))


def kappa_between_people(counts: np.ndarray, labels: np.ndarray) -> float:
    """Error consistency of two different people, each drawn at random for every image: [n, k], [n] -> kappa.

    Without replacement, so that nobody is compared with themselves. At least two answers an image.
    """
    totals = counts.sum(axis=1)
    right = counts[np.arange(len(labels)), labels]
    wrong = totals - right
    observed = ((right * (right - 1) + wrong * (wrong - 1)) / (totals * (totals - 1.0))).mean()
    accuracy = (right / totals).mean()
    return float(_kappa(observed, accuracy**2 + (1.0 - accuracy) ** 2))


def best_kappa(right: np.ndarray) -> float:
    """The largest error consistency with a random person that any pattern of right and wrong could have.

    The best pattern errs on the images that people find hardest; only their number is to be found.

    Args:
        right: Share of people who are right on each image, [n].
    """
    right = np.sort(right)[::-1]
    n, accuracy = len(right), right.mean()
    n_right = np.arange(1, n + 1)
    observed = (np.cumsum(right) + (1.0 - right).sum() - np.cumsum(1.0 - right)) / n
    expected = n_right / n * accuracy + (1.0 - n_right / n) * (1.0 - accuracy)
    return float(np.nanmax(_kappa(observed, expected))) if accuracy < 1.0 else np.nan


def uncertainty_bins(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sorts images by people's uncertainty: those all agree on, then thirds of the others by their entropy.

    Args:
        counts: People's answers, [n, k].

    Returns:
        Number of each image's bin in `BINS`, [n], and the two entropies in nats between the thirds, [2] (an image at
        an edge is in the lower bin; NaN if all images are unanimous).
    """
    entropies = soft_labels.entropy(counts / counts.sum(axis=1, keepdims=True))
    unanimous = counts.max(axis=1) == counts.sum(axis=1)
    if unanimous.all():
        return np.zeros(len(counts), np.int64), np.full(2, np.nan)
    edges = np.quantile(entropies[~unanimous], [1 / 3, 2 / 3])
    return np.where(unanimous, 0, 1 + np.searchsorted(edges, entropies)), edges


def ceilings(counts: np.ndarray, labels: np.ndarray, *, n_splits: int = 20, seed: int = 0) -> dict[str, Ceiling]:
    """Noise ceilings, from people's answers compared with people's answers.

    | score | lower | upper |
    |---|---|---|
    | confusion_spearman | half of each image's answers with the other half | root of the reliability, `SplitHalf` |
    | kappa | two random people | the best pattern of errors for a random person (`best_kappa`) |
    | kappa_majority | majorities of halves (ties to the lower class) | 1 |

    Args:
        counts: People's answers, [n, k], at least two an image.
        labels: True classes, [n].
        n_splits: How many random splits.
        seed: Seed of the splits.

    Returns:
        A ceiling for each score's name; lower bounds are means over splits.
    """
    majorities, agreements = [], []
    for dealt in halves_and_quarters(counts, n_splits, seed):
        majorities.append(kappa(*(half.argmax(axis=1) == labels for half in dealt[0])))
        matrices = [[confusion(labels, part / part.sum(axis=1, keepdims=True)) for part in parts] for parts in dealt]
        agreements.append([confusion_spearman(*two) for two in matrices])
    similarity = SplitHalf(*zip(*agreements))
    right = counts[np.arange(len(labels)), labels] / counts.sum(axis=1)
    return {
        'confusion_spearman': Ceiling(similarity.half, similarity.ceiling),
        'kappa': Ceiling(kappa_between_people(counts, labels), best_kappa(right)),
        'kappa_majority': Ceiling(float(np.mean(majorities)), 1.0),
    }


def _mean(values: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    return np.asarray(values.mean() if weights is None else weights @ values / weights.sum(axis=1))


def _kappa(observed: np.ndarray | np.floating, expected: np.ndarray | np.floating) -> np.ndarray:
    with np.errstate(invalid='ignore', divide='ignore'):
        return np.where(expected < 1.0, (observed - expected) / (1.0 - np.asarray(expected)), np.nan)
