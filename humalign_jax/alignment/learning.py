"""Learners on fixed features that see what a participant saw, and how well they predict the participant's choices.

A learner is refitted after every trial on the stimuli and the feedback so far, and values the options of the next trial
(`learned_values`). Fits lie in the span of the stimuli that a participant saw, so that their cost depends on the number
of trials and not on the number of features. All participants and trials are one compiled program.

    category learning   logistic regression with an L2 penalty; values 0 and the log odds of the second category
    reward learning     Bayesian ridge regression on all options and rewards seen; values are expected rewards

A participant chooses option i with probability softmax(values / T)_i. T is fitted for each participant on other trials
than those that it predicts (`predict_choices`).

References:
    Demircan et al. (2024), NeurIPS.
"""

import dataclasses
from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from humalign_jax.alignment import learners
from humalign_jax.human_data import Choices
from humalign_jax.records import Features

STRENGTHS = tuple(10.0 ** (k * 8 / 9 - 4) for k in range(10))  # of the L2 penalty, 1 / C of scikit-learn
_BISECTIONS = 60
_LEAST_TEMPERATURE, _MOST_TEMPERATURE = 1e-2, 1e2  # in units of the spread of a participant's values


@dataclasses.dataclass(frozen=True)
class Predictions:
    """A learner's predictions of choices.

    Attributes:
        nll: Negative log likelihood of each choice at a temperature fitted on other trials, in nats, [m].
        hit: 1 where the most valued option was chosen, 0 where not, 1 / n where n options are valued most, [m].
        temperature: Temperature of each participant, the geometric mean over folds, in units of the values, [p].
    """

    nll: np.ndarray
    hit: np.ndarray
    temperature: np.ndarray


def usable_people(choices: Choices, folds: int) -> tuple[list[str], dict[str, str]]:
    """Participants whose choices can be predicted, and why others cannot: names, and reasons by name."""
    kept, left_out = [], {}
    for person in choices.people:
        own = choices.choices[choices.participants == person]
        if len(own) < folds:
            left_out[person] = f'{len(own)} trials are fewer than {folds} folds'
        elif own.min() == own.max():
            left_out[person] = f'all {len(own)} choices are {choices.options[own[0]]!r}'
        else:
            kept.append(person)
    return kept, left_out


def stimulus_rows(choices: Choices, features: Features) -> np.ndarray:
    """Rows of the features of the stimuli shown, int64, like `choices.stimuli`.

    Raises:
        ValueError: A stimulus has no features; the message names the first few.
    """
    row = {stimulus: number for number, stimulus in enumerate(np.asarray(features.ids).tolist())}
    shown = np.unique(choices.stimuli).tolist()
    missing = [stimulus for stimulus in shown if stimulus not in row]
    if missing:
        raise ValueError(
            f'{len(missing)} of {len(shown)} stimuli of {choices.name!r} have no features in {features.name!r}, the '
            f'first of them {", ".join(map(repr, missing[:3]))}; there the ids are such as {str(features.ids[0])!r}.'
        )
    return np.vectorize(row.__getitem__, otypes=[np.int64])(choices.stimuli)


def learned_values(choices: Choices, shown: np.ndarray, strengths: Sequence[float] = STRENGTHS) -> np.ndarray:
    """Values of the options in each trial after learning from all trials before it.

    Args:
        choices: Of the task; what people chose is not used.
        shown: Features of the stimuli shown, [m, 1, d] in category learning, [m, k, d] in reward learning.
        strengths: Penalties of the logistic regression, minimising sum of log losses + strength / 2 times the sum of
            squared weights. In each trial the one is used whose predictions of the earlier trials were best; of equals
            the strongest. Reward learning has none to choose.

    Returns:
        [m, k]; zeros before anything is learned.

    Raises:
        ValueError: Other shapes, features that are not finite, or more than two categories.
    """
    if shown.ndim != 3 or shown.shape[:2] != choices.stimuli.shape:
        shape = f'[{len(choices)}, {choices.stimuli.shape[1]}, d]'
        raise ValueError(f'{choices.name!r} needs features {shape}, not {list(shown.shape)}.')
    if not np.isfinite(shown).all():
        first = choices.stimuli[~np.isfinite(shown).all(axis=2)][0]
        raise ValueError(f'features of {str(first)!r} are NaN or infinite.')
    layout = _Layout.of(choices)
    feedback = layout.padded(choices.feedback)
    seen = _in_span(layout, np.asarray(shown, np.float64))
    with jax.enable_x64(True):
        if choices.task == 'reward':
            return layout.flat(np.asarray(learners.reward_values(seen, feedback, layout.mask)))
        if len(choices.options) != 2:
            raise ValueError(f'{choices.name!r} has {len(choices.options)} categories: two can be learned.')
        penalties = np.sort(np.asarray(strengths, np.float64))[::-1]
        kernel = np.einsum('ptr,pur->ptu', seen[:, :, 0], seen[:, :, 0], optimize=True)
        odds = np.asarray(learners.category_values(kernel, feedback[:, :, 0], layout.mask, penalties))
        return layout.flat(np.stack([np.zeros_like(odds), odds], axis=-1))


def predict_choices(
    choices: Choices, values: np.ndarray, *, folds: int, seed: int, penalty: float = 1.0
) -> Predictions:
    """Predictions of choices by softmax(values / T), with T fitted for each participant on other trials.

    Args:
        choices: Of participants with at least as many trials as folds.
        values: Values of the options in each trial, [m, k].
        folds: Parts into which each participant's trials are divided at random; T of a part is fitted on all others. As
            many as trials: leave-one-out.
        seed: Of the division.
        penalty: Weight of the ridge penalty, penalty / 2 times the squared slope of values divided by their root mean
            square; 0 for maximum likelihood, which is fragile where values have outliers.

    Raises:
        ValueError: Values of another shape, or a participant with fewer trials than folds.
    """
    if values.shape != (len(choices), len(choices.options)) or not np.isfinite(values).all():
        raise ValueError(
            f'{choices.name!r} needs finite values [{len(choices)}, {len(choices.options)}], not {values.shape}.'
        )
    layout = _Layout.of(choices)
    few = layout.mask.sum(axis=1) < folds
    if few.any():
        person = choices.people[int(np.argmax(few))]
        raise ValueError(f'{choices.name!r}: participant {person} has fewer trials than the {folds} folds.')
    part = np.full(layout.mask.shape, -1)
    for number, mask in enumerate(layout.mask):
        n = mask.sum()
        part[number, :n] = np.random.default_rng([seed, number]).permutation(np.arange(n) % folds)
    centred = values - values.mean(axis=1, keepdims=True)
    with jax.enable_x64(True):
        fitted = _fit_choices(layout.padded(centred), layout.padded(choices.choices), part, layout.mask, penalty, folds)
        nll, temperature = map(np.asarray, fitted)
    best = values == values.max(axis=1, keepdims=True)
    hit = np.take_along_axis(best, choices.choices[:, None], axis=1)[:, 0] / best.sum(axis=1)
    return Predictions(layout.flat(nll), hit, temperature)


def true_dimensions(choices: Choices, shown: np.ndarray) -> np.ndarray:
    """Which dimension each participant's feedback follows: the one with the largest absolute correlation.

    Args:
        choices: Of the task; what people chose is not used.
        shown: Candidate dimensions of the stimuli shown, [m, 1, c] in category learning, [m, k, c] in reward learning.

    Returns:
        Number of the dimension, int64, [p].
    """
    found = []
    for person in choices.people:
        own = choices.participants == person
        x, y = shown[own].reshape(-1, shown.shape[2]), choices.feedback[own].reshape(-1, 1)
        x, y = x - x.mean(axis=0), y - y.mean()
        norm = np.sqrt((x**2).sum(axis=0))
        found.append(np.abs((x * y).sum(axis=0) / np.where(norm > 0, norm, np.inf)).argmax())
    return np.array(found, np.int64)


def of_each_person(choices: Choices, per_trial: np.ndarray, statistic=np.mean) -> np.ndarray:
    """A statistic of the trials of each participant: [m] -> [p]."""
    return np.array([statistic(per_trial[choices.participants == person]) for person in choices.people])


@dataclasses.dataclass(frozen=True)
class _Layout:
    """Where trials stand in a table of participants and trials, [p, t]: row of each, and whether there is one."""

    rows: np.ndarray
    mask: np.ndarray

    @classmethod
    def of(cls, choices: Choices) -> '_Layout':
        own = [np.flatnonzero(choices.participants == person) for person in choices.people]
        rows = np.zeros((len(own), max(map(len, own))), np.int64)
        mask = np.zeros(rows.shape, bool)
        for number, found in enumerate(own):
            rows[number, : len(found)] = found
            mask[number, : len(found)] = True
        return cls(rows, mask)

    def padded(self, values: np.ndarray) -> np.ndarray:
        """[m, ...] -> [p, t, ...], zeros where there is no trial."""
        mask = self.mask.reshape(*self.mask.shape, *(1,) * (values.ndim - 1))
        return np.where(mask, values[self.rows], 0)

    def flat(self, values: np.ndarray) -> np.ndarray:
        """[p, t, ...] -> [m, ...]; the rows of a participant stand together."""
        return values[self.mask]


def _in_span(layout: _Layout, shown: np.ndarray) -> np.ndarray:
    """Coordinates of the stimuli in the span of all that a participant saw, [m, k, d] -> [p, t, k, r], r <= t k.

    Inner products are those of the features, and so are all fits with a penalty on squared weights. With d of t k or
    more, the i-th stimulus has zeros beyond coordinate i; with less, zeros are added up to a multiple of eight, so that
    features of about one size need one program.
    """
    k, d = shown.shape[1:]
    n = layout.mask.shape[1] * k
    r = min(-(-d // 8) * 8, n - 1) if d < n else n
    made = []
    for rows, mask in zip(layout.rows, layout.mask):
        own = np.where(mask[:, None, None], shown[rows], 0.0).reshape(n, d)
        made.append(np.pad(own, ((0, 0), (0, r - d))) if d < n else np.transpose(np.linalg.qr(own.T, mode='r')))
    return np.stack(made).reshape(*layout.mask.shape, k, r)


@partial(jax.jit, static_argnames='folds')
def _fit_choices(
    values: jax.Array, chosen: jax.Array, part: jax.Array, mask: jax.Array, penalty: float, folds: int
) -> tuple[jax.Array, jax.Array]:
    """Held-out negative log likelihood [p, t] and temperature [p] of values [p, t, k] and choices [p, t]."""

    def person(values, chosen, part, mask):
        spread = jnp.sqrt((values**2).sum() / jnp.maximum(mask.sum() * values.shape[1], 1))
        values = values / jnp.where(spread > 0, spread, 1.0)
        of_chosen = jnp.take_along_axis(values, chosen[:, None], axis=1)[:, 0]

        def slope(log_inverse, train):
            """Derivative of the penalised negative log likelihood by 1 / T, which grows with 1 / T."""
            inverse = jnp.exp(log_inverse)
            expected = (jax.nn.softmax(inverse * values, axis=1) * values).sum(axis=1)
            return jnp.where(train, expected - of_chosen, 0.0).sum() + penalty * inverse

        def fit(fold):
            train = mask & (part != fold)

            def halve(_, ends):
                low, high = ends
                middle = 0.5 * (low + high)
                falls = slope(middle, train) < 0
                return jnp.where(falls, middle, low), jnp.where(falls, high, middle)

            ends = jnp.log(jnp.asarray([1.0 / _MOST_TEMPERATURE, 1.0 / _LEAST_TEMPERATURE], values.dtype))
            low, high = jax.lax.fori_loop(0, _BISECTIONS, halve, (ends[0], ends[1]))
            return 0.5 * (low + high)

        log_inverse = jax.vmap(fit)(jnp.arange(folds))
        held_out = jnp.exp(log_inverse[part])[:, None]
        nll = jax.nn.logsumexp(held_out * values, axis=1) - held_out[:, 0] * of_chosen
        return nll, jnp.where(spread > 0, spread, jnp.nan) * jnp.exp(-log_inverse.mean())

    return jax.vmap(person)(values, chosen, part, mask)
