"""How well a model's class probabilities predict people's answers.

Losses are in nats, and smaller is better. A model is compared with the distribution of people's answers to each image,
`people` [n, k], or with the answers themselves, `counts` [n, k]. Everything is computed in float64.
"""

from typing import NamedTuple

import numpy as np
import scipy.optimize
import scipy.special
import scipy.stats

from humalign_jax.rsa import Ceiling, SplitHalf, halves_and_quarters

TEMPERATURES = (1e-2, 1e2)  # range of a fitted temperature


class Temperature(NamedTuple):
    """A temperature, which logits are divided by, with its 95 % interval."""

    value: float
    low: float
    high: float


def log_probabilities(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Log-softmax of logits / temperature: [n, k] -> float64 [n, k]."""
    return scipy.special.log_softmax(np.asarray(logits, np.float64) / temperature, axis=1)


def floored_log(probabilities: np.ndarray) -> np.ndarray:
    """Logarithm of probabilities that underflow set to 0: at least log(float32's smallest normal number), -87.3."""
    return np.log(np.maximum(np.asarray(probabilities, np.float64), np.finfo(np.float32).tiny))


def entropy(probabilities: np.ndarray) -> np.ndarray:
    """Entropy of each row in nats: [n, k] -> [n]."""
    return scipy.special.entr(np.asarray(probabilities, np.float64)).sum(axis=1)


def cross_entropy(people: np.ndarray, log_model: np.ndarray) -> np.ndarray:
    """-sum_c people_c log model_c of each image, in nats: [n, k], [n, k] -> [n].

    Classes that nobody chose contribute 0, also where the model gives them probability 0.

    References:
        Peterson et al. (2019). doi:10.1109/ICCV.2019.00971
    """
    # -inf where nobody answered would make NaN of 0 * inf
    return -(people * np.where(people > 0, log_model, 0.0)).sum(axis=1)


def kl_divergence(people: np.ndarray, log_model: np.ndarray) -> np.ndarray:
    """KL divergence from the model to people, cross-entropy less people's entropy, in nats: [n, k], [n, k] -> [n]."""
    return cross_entropy(people, log_model) - entropy(people)


def js_divergence(people: np.ndarray, log_model: np.ndarray) -> np.ndarray:
    """Jensen-Shannon divergence in nats, 0 to log 2: [n, k], [n, k] -> [n].

    The square of scipy.spatial.distance.jensenshannon.
    """
    model = np.exp(log_model)
    mixture = (people + model) / 2.0
    halves = scipy.special.rel_entr(people, mixture) + scipy.special.rel_entr(model, mixture)
    return np.maximum(halves.sum(axis=1) / 2.0, 0.0)


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> Temperature:
    """The temperature that minimises the negative log-likelihood of hard labels.

    The loss is convex in 1 / temperature, so that the root of its slope is the only minimum. Fit it on images that the
    model was not trained on, and that are not scored.

    Args:
        logits: [n, k].
        labels: True classes, [n].

    Returns:
        The temperature, within `TEMPERATURES` (an end of that range if the minimum lies beyond: logits that are right
        every time, or no better than chance), and its interval from the slope's variance over images; NaN at an end.

    References:
        Guo et al. (2017), On calibration of modern neural networks. ICML.
    """
    logits, labels = np.asarray(logits, np.float64), np.asarray(labels, np.int64)
    if logits.ndim != 2 or labels.shape != (len(logits),) or len(logits) == 0:
        raise ValueError(f'a temperature needs logits [n, k] and labels [n], not {logits.shape} and {labels.shape}.')
    rows = np.arange(len(logits))

    def slopes(inverse: float) -> np.ndarray:
        """Slope of each image's loss in 1 / temperature, [n]."""
        return (scipy.special.softmax(inverse * logits, axis=1) * logits).sum(axis=1) - logits[rows, labels]

    hottest, coldest = 1.0 / TEMPERATURES[1], 1.0 / TEMPERATURES[0]
    if slopes(coldest).mean() <= 0:
        return Temperature(TEMPERATURES[0], np.nan, np.nan)
    if slopes(hottest).mean() >= 0:
        return Temperature(TEMPERATURES[1], np.nan, np.nan)
    root = scipy.optimize.root_scalar(lambda b: slopes(b).mean(), bracket=(hottest, coldest), xtol=1e-10)
    inverse = float(root.root)
    probabilities = scipy.special.softmax(inverse * logits, axis=1)
    mean = (probabilities * logits).sum(axis=1, keepdims=True)
    curvature = (probabilities * (logits - mean) ** 2).sum(axis=1).mean()
    error = slopes(inverse).std() / (curvature * np.sqrt(len(logits)) * inverse)  # of log temperature
    factor = float(np.exp(scipy.stats.norm.ppf(0.975) * error))
    return Temperature(1.0 / inverse, 1.0 / inverse / factor, factor / inverse)


def majority_agreement(predictions: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Whether a prediction is people's most frequent answer: [n], [n, k] -> [n], 1 or 0.

    Where m answers are equally frequent, a prediction among them scores 1/m.
    """
    is_top = counts == counts.max(axis=1, keepdims=True)
    return np.where(is_top[np.arange(len(counts)), predictions], 1.0 / is_top.sum(axis=1), 0.0)


def second_answer(counts: np.ndarray) -> np.ndarray:
    """People's second most frequent answer: [n, k] -> int64 [n].

    -1 where there is none that is the only one: a unanimous image, or a tie for the first or for the second place.
    """
    order = np.argsort(-counts, axis=1, kind='stable')
    first, second, third = (np.take_along_axis(counts, order[:, place : place + 1], axis=1)[:, 0] for place in range(3))
    return np.where((first > second) & (second > third), order[:, 1], -1)


def second_best(scores: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Whether the model's second class is people's, for the images where people have one second answer.

    Args:
        scores: Logits or probabilities, [n, k]; among equal ones the lower class number comes first.
        counts: People's answers, [n, k].

    Returns:
        Booleans, [m], of the m images with `second_answer` >= 0.

    References:
        Peterson et al. (2019), second-best accuracy. doi:10.1109/ICCV.2019.00971
    """
    people = second_answer(counts)
    model = np.argsort(-np.asarray(scores, np.float64), axis=1, kind='stable')[:, 1]
    return (model == people)[people >= 0]


def smoothed_labels(labels: np.ndarray, amount: float, n_classes: int) -> np.ndarray:
    """One-hot labels mixed with the uniform distribution, (1 - amount) one-hot + amount / k: [n] -> [n, k]."""
    return (1.0 - amount) * np.eye(n_classes)[labels] + amount / n_classes


def class_mean(people: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The mean soft label of each image's true class: [n, k], [n] -> [n, k]."""
    means = np.zeros((people.shape[1], people.shape[1]))
    for label in np.unique(labels):
        means[label] = people[labels == label].mean(axis=0)
    return means[labels]


def baselines(people: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    """Log-probabilities of predictors that are no network, by their name in plain words; each [n, k].

    The human soft label itself is the lower bound of cross-entropy; the class-mean human label knows the true label and
    nothing about the image.
    """
    n_classes = people.shape[1]
    predictors = {
        'human soft label itself': people,
        'class-mean human label': class_mean(people, labels),
        **{
            f'true label smoothed by {percent} %': smoothed_labels(labels, percent / 100, n_classes)
            for percent in (1, 5, 10)
        },
        'uniform': np.full(people.shape, 1.0 / n_classes),
    }
    with np.errstate(divide='ignore'):
        return {name: np.log(probabilities) for name, probabilities in predictors.items()}


def shrunk_half(half: np.ndarray, labels: np.ndarray, strength: float) -> np.ndarray:
    """Answers with the class mean as a prior worth `strength` answers: counts [n, k] -> log-probabilities [n, k].

    The shares of half of people's answers do not predict the other half, because a class that they did not choose would
    have probability 0.
    """
    totals = half.sum(axis=1, keepdims=True)
    # A hundredth of an answer a class: an answer that nobody in the half gave to any image of the class.
    prior = (
        class_mean(half / totals, labels)
        + 1e-2 / (totals.mean() * np.bincount(labels, minlength=half.shape[1]))[labels, None]
    )
    prior = prior / prior.sum(axis=1, keepdims=True)
    return np.log((half + strength * prior) / (totals + strength))


def ceilings(counts: np.ndarray, labels: np.ndarray, *, n_splits: int = 20, seed: int = 0) -> dict[str, Ceiling]:
    """Noise ceilings from random splits of each image's answers, averaged over splits.

    | score | one bound | the other |
    |---|---|---|
    | cross_entropy, kl, js | upper: half predicts the other half (see below) | lower: the human soft label itself |
    | entropy_spearman, entropy_pearson | lower: half with half | upper: root of the reliability, see `SplitHalf` |
    | accuracy | lower: one person | upper: the majority of all |
    | human_top1 | lower: majority of half with half | upper: none |
    | second_best | lower: half with half, where both have a second answer (ties count in part) | upper: none |

    Bounds are in the order of their numbers, so that for a loss the split-half value is the upper. For cross-entropy
    and KL the first half predicts the second by `shrunk_half` with the strength that is best for the other
    half; KL subtracts the entropy of all answers, as a model's does. JS is between the bare shares of the halves, the
    second of which are noisier than all answers that a model is scored against.

    Args:
        counts: People's answers, [n, k], at least two an image.
        labels: True classes, [n].
        n_splits: How many random splits.
        seed: Seed of the splits.

    Returns:
        A ceiling for each score's name; NaN where a bound is not defined.
    """
    people = counts / counts.sum(axis=1, keepdims=True)
    floor = float(entropy(people).mean())
    rows, agreements = [], []
    for dealt in halves_and_quarters(counts, n_splits, seed):
        halves = dealt[0]
        first, second = (half / half.sum(axis=1, keepdims=True) for half in halves)
        best = scipy.optimize.minimize_scalar(
            lambda log_strength: cross_entropy(second, shrunk_half(halves[0], labels, np.exp(log_strength))).mean(),  # noqa: B023
            bounds=(-3.0, 5.0),
            method='bounded',
        )
        with np.errstate(divide='ignore'):
            js = js_divergence(second, np.log(first)).mean()
        rows.append(
            (
                best.fun,  # type: ignore[attr-defined]
                js,
                _same_top(*halves),
                _same_second(*halves),
            )
        )
        agreements.append([_entropy_correlations(parts) for parts in dealt])
    loss, js, top, second_place = np.mean(rows, axis=0).tolist()
    # [halves and quarters, Spearman and Pearson, splits]
    spearman, pearson = (SplitHalf(*x) for x in np.transpose(agreements, (2, 1, 0)))
    majority = majority_agreement(labels, counts).mean()
    return {
        'cross_entropy': Ceiling(floor, loss),
        'kl': Ceiling(0.0, loss - floor),
        'js': Ceiling(0.0, js),
        'entropy_spearman': Ceiling(spearman.half, spearman.ceiling),
        'entropy_pearson': Ceiling(pearson.half, pearson.ceiling),
        'accuracy': Ceiling(float(people[np.arange(len(labels)), labels].mean()), float(majority)),
        'human_top1': Ceiling(top, np.nan),
        'second_best': Ceiling(second_place, np.nan),
    }


def _entropy_correlations(parts: np.ndarray) -> tuple[float, float]:
    """Spearman's and Pearson's correlations of the entropies of two parts of the answers, [2, n, k]."""
    a, b = (entropy(part / part.sum(axis=1, keepdims=True)) for part in parts)
    return _correlation(scipy.stats.rankdata(a), scipy.stats.rankdata(b)), _correlation(a, b)


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson's r, NaN if either is constant."""
    return float(np.corrcoef(a, b)[0, 1]) if np.ptp(a) > 0 and np.ptp(b) > 0 else np.nan


def _same_top(first: np.ndarray, second: np.ndarray) -> float:
    """Share of images with the same most frequent answer; a tie counts in part."""
    return float(_overlap(*(half == half.max(axis=1, keepdims=True) for half in (first, second))).mean())


def _same_second(first: np.ndarray, second: np.ndarray) -> float:
    """Share with the same second answer of the images where both halves gave at least two; a tie counts in part."""
    places = []
    for half in (first, second):
        top = np.argmax(half, axis=1)
        rest = half.copy()
        rest[np.arange(len(half)), top] = 0
        places.append(rest == np.maximum(rest.max(axis=1, keepdims=True), 1))
    both = places[0].any(axis=1) & places[1].any(axis=1)
    return float(_overlap(places[0][both], places[1][both]).mean()) if both.any() else np.nan


def _overlap(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Chance that random members of two sets are the same: booleans [n, k], [n, k] -> [n]."""
    return (first & second).sum(axis=1) / (first.sum(axis=1) * second.sum(axis=1))
