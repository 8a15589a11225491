"""Predictions of choices in a learning task turned into scores, and models compared across participants."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy import stats

from humalign_jax.alignment import scoring
from humalign_jax.alignment.learning import Predictions, of_each_person
from humalign_jax.alignment.model_comparison import random_effects
from humalign_jax.human_data import Choices
from humalign_jax.records import Score

CHANCE = 'chance'
_NAN = float('nan')
_OVER = "Student's t over participants"


def chance(choices: Choices) -> Predictions:
    """Predictions of a model that takes all options for equally likely."""
    k = len(choices.options)
    m = np.ones(len(choices))
    return Predictions(np.log(k) * m, m / k, np.full(len(choices.people), np.nan))


def model_scores(
    choices: Choices, predictions: Predictions, values: np.ndarray | None, about: Mapping[str, Any]
) -> list[Score]:
    """Scores of one model, means over participants.

    Args:
        choices: Of the task.
        predictions: The model's predictions of them.
        values: Values of the options that the model learned, [m, k]; None for a model that learns nothing.
        about: Provenance of every score.

    Returns:
        `learning/nll` (nats for each trial), `learning/accuracy` (share of choices that the most valued option
        predicts), `learning/mcfadden_r2` (1 - nll / log k), and `learning/task_accuracy`, the share of trials in which
        the learner's own choice would be right.
    """
    nll = of_each_person(choices, predictions.nll)
    r2 = 1.0 - nll / np.log(len(choices.options))
    larger = {**about, 'better': 'larger'}
    scores = [
        _mean('learning/nll', nll, {**about, 'better': 'smaller', 'unit': 'nats'}),
        _mean('learning/accuracy', of_each_person(choices, predictions.hit), larger),
        _mean('learning/mcfadden_r2', r2, larger),
    ]
    if values is not None:
        own = of_each_person(choices, _share_right(choices, values))
        scores.append(_mean('learning/task_accuracy', own, {**about, 'better': 'none'}))
    return scores


def people_score(choices: Choices, about: Mapping[str, Any]) -> Score:
    """`learning/people_accuracy`: the share of people's own choices that are right."""
    chosen = np.eye(len(choices.options))[choices.choices]
    right = of_each_person(choices, _share_right(choices, chosen))
    return _mean('learning/people_accuracy', right, {**about, 'better': 'none'})


def selection_scores(evidence: Mapping[str, np.ndarray], abouts: Mapping[str, Mapping[str, Any]]) -> list[Score]:
    """Random-effects model selection among all models, and of each against chance.

    Args:
        evidence: Log evidence of each model for each participant, [p]: held-out log likelihood, summed over trials.
        abouts: Provenance of each model's scores.

    Returns:
        `learning/frequency` and `learning/pxp` (protected exceedance probability) of each model among all, and
        `learning/pxp_chance` of each model against chance alone.
    """
    names = list(evidence)
    if len(names) < 2:
        return []
    every = random_effects(np.stack([evidence[name] for name in names], axis=1))
    n = len(next(iter(evidence.values())))
    scores = []
    for number, name in enumerate(names):
        said = {**abouts[name], 'better': 'larger', 'compared': names, 'omnibus_risk': every.omnibus_risk}
        scores.append(_plain('learning/frequency', every.frequency[number], n, said))
        scores.append(_plain('learning/pxp', every.protected[number], n, said))
        if CHANCE in evidence and name != CHANCE:
            pair = random_effects(np.stack([evidence[name], evidence[CHANCE]], axis=1))
            said = {**abouts[name], 'better': 'larger', 'compared': [name, CHANCE], 'omnibus_risk': pair.omnibus_risk}
            scores.append(_plain('learning/pxp_chance', pair.protected[0], n, said))
    return scores


def difference_score(
    model: str, other: str, evidence: Mapping[str, np.ndarray], r2: Mapping[str, np.ndarray], about: Mapping[str, Any]
) -> Score:
    """`learning/mcfadden_r2/difference`: one model less another, over the same participants.

    The provenance has p of Wilcoxon's signed-rank test of summed log likelihoods, and the protected exceedance
    probability of the first against the second.
    """
    lead = evidence[model] - evidence[other]
    tested: Any = stats.wilcoxon(lead) if np.any(lead) else None
    p = 1.0 if tested is None else float(tested.pvalue)
    pxp = float(random_effects(np.stack([evidence[model], evidence[other]], axis=1)).protected[0])
    said = {**about, 'model': model, 'other': other, 'better': 'larger', 'p': p, 'p_test': 'Wilcoxon', 'pxp': pxp}
    return _mean('learning/mcfadden_r2/difference', r2[model] - r2[other], said)


def _share_right(choices: Choices, values: np.ndarray) -> np.ndarray:
    """1 where the most valued option is right, 0 where not, a share where several are valued most: [m, k] -> [m]."""
    if choices.task == 'category':
        right = choices.feedback == np.arange(len(choices.options))
    else:
        right = choices.feedback == choices.feedback.max(axis=1, keepdims=True)
    best = values == values.max(axis=1, keepdims=True)
    return (best & right).sum(axis=1) / best.sum(axis=1)


def _mean(name: str, of_people: np.ndarray, about: Mapping[str, Any]) -> Score:
    found = scoring.mean(name, of_people, about)
    return Score(name, found.value, found.low, found.high, found.n, _OVER, provenance=about)


def _plain(name: str, value: float, n: int, about: Mapping[str, Any]) -> Score:
    how = 'none: a posterior probability' if 'pxp' in name else 'none: a posterior mean'
    return Score(name, float(value), _NAN, _NAN, n, how, provenance=about)
