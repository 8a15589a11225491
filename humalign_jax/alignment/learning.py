"""Learners on fixed features that see what a participant saw, and how well they predict the participant's choices.

A learner is refitted after every trial on the stimuli and the feedback so far, and values the options of the next trial
(`learned_values`). Fits lie in the span of the stimuli that a participant saw, so that their cost depends on the number
of trials and not on the number of features. All participants and trials are one compiled program.

    category learning   logistic regression with an L2 penalty; values 0 and the log odds of the second category
    reward learning     Bayesian ridge regression on all options and rewards seen; values are expected rewards

A participant chooses option i with probability softmax(values / T)_i. T is fitted for each participant on other trials
than those that it predicts (`predict_choices`).

References:
    Demircan et al. (2024), NeurIPS. MacKay (1992), Neural Computation 4, 415-447 (Bayesian ridge).
"""

import dataclasses
from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from humalign_jax.human_data import Choices
from humalign_jax.records import Features

STRENGTHS = tuple(10.0 ** (k * 8 / 9 - 4) for k in range(10))  # of the L2 penalty, 1 / C of scikit-learn
_NEWTON_STEPS, _NEWTON_TOLERANCE = 100, 1e-6  # convergence is quadratic: the error left is far smaller
_LANES = 16  # fits that take Newton steps together, until the last has converged
_PART = 30  # trials; the fits of early parts invert smaller matrices
_STEP_SIZES = 0.5 ** np.arange(12)  # tried in each Newton step, the best is taken
_RIDGE_PART = 15  # trials, likewise
_RIDGE_STEPS = 300  # as scikit-learn's max_iter
_RIDGE_PRIOR = 1e-6  # shape and rate of both gamma priors
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
            return layout.flat(np.asarray(_reward_values(seen, feedback, layout.mask)))
        if len(choices.options) != 2:
            raise ValueError(f'{choices.name!r} has {len(choices.options)} categories: two can be learned.')
        penalties = np.sort(np.asarray(strengths, np.float64))[::-1]
        odds = np.asarray(_category_values(seen[:, :, 0], feedback[:, :, 0], layout.mask, penalties))
        return layout.flat(np.stack([np.zeros_like(odds), odds], axis=-1))


def predict_choices(choices: Choices, values: np.ndarray, *, folds: int, seed: int) -> Predictions:
    """Predictions of choices by softmax(values / T), with T fitted for each participant on other trials.

    Args:
        choices: Of participants with at least as many trials as folds.
        values: Values of the options in each trial, [m, k].
        folds: Parts into which each participant's trials are divided at random; T of a part is fitted on all others. As
            many as trials: leave-one-out.
        seed: Of the division.

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
        fitted = _fit_choices(layout.padded(centred), layout.padded(choices.choices), part, layout.mask, folds)
        nll, temperature = map(np.asarray, fitted)
    best = values == values.max(axis=1, keepdims=True)
    hit = np.take_along_axis(best, choices.choices[:, None], axis=1)[:, 0] / best.sum(axis=1)
    return Predictions(layout.flat(nll), hit, temperature)


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
    """Coordinates of the stimuli in the span of all that a participant saw, [m, k, d] -> [p, t, k, min(d, t k)].

    Inner products are those of the features, and so are all fits with a penalty on squared weights. With d of t k or
    more, the i-th stimulus has zeros beyond coordinate i.
    """
    k, d = shown.shape[1:]
    n = layout.mask.shape[1] * k
    made = []
    for rows, mask in zip(layout.rows, layout.mask):
        own = np.where(mask[:, None, None], shown[rows], 0.0).reshape(n, d)
        made.append(own if d < n else np.linalg.qr(own.T, mode='r').T)
    return np.stack(made).reshape(*layout.mask.shape, k, min(d, n))


@jax.jit
def _category_values(seen: jax.Array, right: jax.Array, mask: jax.Array, strengths: jax.Array) -> jax.Array:
    """Log odds of category 1 in each trial: [p, t, r], [p, t], [p, t], [s] -> [p, t]."""
    p, t = right.shape
    kernel = jnp.einsum('ptr,pur->ptu', seen, seen)
    lanes = jnp.arange(-(-p * len(strengths) // _LANES) * _LANES) % (p * len(strengths))

    def fit(lane):  # equal strengths take similar numbers of Newton steps and stand together
        person = lane % p
        return _sequential_logistic(kernel[person] / strengths[lane // p], right[person], mask[person])

    odds = jax.lax.map(fit, lanes, batch_size=_LANES)[: p * len(strengths)].reshape(len(strengths), p, t)
    loss = jnp.where(mask[None], jax.nn.softplus((1.0 - 2.0 * right)[None] * odds), 0.0)
    before = jnp.cumsum(loss, axis=2) - loss
    return jnp.take_along_axis(odds, jnp.argmin(before, axis=0)[None], axis=0)[0]


def _sequential_logistic(kernel: jax.Array, right: jax.Array, mask: jax.Array) -> jax.Array:
    """Log odds in each trial by a logistic regression on the trials before it: [t, t], [t], [t] -> [t].

    Each fit starts at the one before; early trials use a part of the kernel. Before both categories were seen the odds
    are 0.
    """
    t = len(right)
    weights, bias, odds = jnp.zeros(t, kernel.dtype), jnp.zeros((), kernel.dtype), []
    for start in range(0, t, _PART):
        end = min(start + _PART, t)
        part = kernel[:end, :end]

        def trial(fit, number, part=part, end=end):
            seen = mask[:end] & (jnp.arange(end) < number)
            ones = jnp.where(seen, right[:end], 0.0).sum()
            both = (ones > 0) & (ones < seen.sum())
            weights, bias = _fit_logistic(part, right[:end], seen, both, fit)
            return (weights, bias), jnp.where(both, part[number] @ weights + bias, 0.0)

        (kept, bias), found = jax.lax.scan(trial, (weights[:end], bias), jnp.arange(start, end))
        weights = weights.at[:end].set(kept)
        odds.append(found)
    return jnp.concatenate(odds)


def _fit_logistic(
    kernel: jax.Array, right: jax.Array, seen: jax.Array, wanted: jax.Array, start: tuple[jax.Array, jax.Array]
) -> tuple[jax.Array, jax.Array]:
    """Dual weights and bias that minimise the log losses of seen trials + weights' kernel weights / 2.

    Newton's method (Rasmussen & Williams 2006, algorithm 3.1) with a free bias: the eigenvalues of the matrix to be
    inverted are 1 or more. Of several step sizes the best is taken.
    """
    sign = 2.0 * right - 1.0
    sizes = jnp.asarray(_STEP_SIZES, kernel.dtype)
    identity = jnp.eye(len(right), dtype=kernel.dtype)

    def step(state):
        weights, bias, _, n = state
        latent = kernel @ weights
        odds = latent + bias
        p = jax.nn.sigmoid(odds)
        curvature = jnp.where(seen, p * (1.0 - p), 0.0)
        root = jnp.sqrt(curvature)
        target = curvature * odds + jnp.where(seen, right - p, 0.0)  # curvature times Newton's target of the odds
        factor = jnp.linalg.cholesky(identity + root[:, None] * kernel * root[None])
        sides = jnp.stack([root * (kernel @ target), root], axis=1)
        solved = root[:, None] * jax.scipy.linalg.cho_solve((factor, True), sides)
        of_target, of_ones = target - solved[:, 0], solved[:, 1]
        new_bias = of_target.sum() / of_ones.sum()
        move, move_bias = of_target - new_bias * of_ones - weights, new_bias - bias
        along = kernel @ move
        tried = odds[None] + sizes[:, None] * (along + move_bias)[None]
        losses = jnp.where(seen[None], jax.nn.softplus(-sign[None] * tried), 0.0).sum(axis=1)
        losses += sizes * (move @ latent) + 0.5 * sizes**2 * (move @ along)
        size = sizes[jnp.argmin(losses)]
        change = size * (jnp.abs(move).max() + jnp.abs(move_bias))
        return weights + size * move, bias + size * move_bias, change, n + 1

    def goes_on(state):
        return wanted & (state[2] > _NEWTON_TOLERANCE) & (state[3] < _NEWTON_STEPS)

    first = (*start, jnp.full((), jnp.inf, kernel.dtype), jnp.zeros((), jnp.int32))
    return jax.lax.while_loop(goes_on, step, first)[:2]


@jax.jit
def _reward_values(seen: jax.Array, rewards: jax.Array, mask: jax.Array) -> jax.Array:
    """Expected rewards by a Bayesian ridge on the trials before: [p, t, k, r], [p, t, k], [p, t] -> [p, t, k]."""
    return jax.vmap(_sequential_ridge)(seen, rewards, mask)


def _sequential_ridge(seen: jax.Array, rewards: jax.Array, mask: jax.Array) -> jax.Array:
    """Expected rewards in each trial: [t, k, r], [t, k], [t] -> [t, k]; carries sums over the trials before."""
    t, k, r = seen.shape
    shapes = {'n': (), 'x': (0,), 'y': (), 'xx': (0, 0), 'xy': (0,), 'yy': ()}
    sums, values = {name: jnp.zeros(shape, seen.dtype) for name, shape in shapes.items()}, []

    def trial(sums, of_trial):
        x, y, is_trial = of_trial
        weights, mean_x, mean_y = _bayesian_ridge(sums)
        found = jnp.where(sums['n'] > 0, (x - mean_x[None]) @ weights + mean_y, 0.0)
        added = {'n': k * 1.0, 'x': x.sum(axis=0), 'y': y.sum(), 'xx': x.T @ x, 'xy': x.T @ y, 'yy': y @ y}
        return {name: sums[name] + is_trial * added[name] for name in sums}, found

    for start in range(0, t, _RIDGE_PART):
        end = min(start + _RIDGE_PART, t)
        size = k * end if r == k * t else r  # coordinates beyond are zeros until then, see _in_span
        sums = {name: jnp.pad(v, [(0, size - len(v))] * v.ndim) if v.ndim else v for name, v in sums.items()}
        sums, found = jax.lax.scan(trial, sums, (seen[start:end, :, :size], rewards[start:end], mask[start:end]))
        values.append(found)
    return jnp.concatenate(values)


def _bayesian_ridge(sums: dict[str, jax.Array]) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Weights [r], mean features [r] and mean reward [] of scikit-learn's BayesianRidge from sums over n examples.

    The precisions of noise and weights are updated a fixed number of times (MacKay 1992).
    """
    n = jnp.maximum(sums['n'], 1.0)
    mean_x, mean_y = sums['x'] / n, sums['y'] / n
    covariance = sums['xx'] - n * mean_x[:, None] * mean_x[None]
    values, vectors = jnp.linalg.eigh(covariance)
    values = jnp.maximum(values, 0.0)
    along = vectors.T @ (sums['xy'] - n * mean_x * mean_y)  # of the cross products
    total = jnp.maximum(sums['yy'] - n * mean_y**2, 0.0)

    def coefficients(noise, prior):
        return along / (values + prior / noise)

    def update(_, precisions):
        noise, prior = precisions
        found = coefficients(noise, prior)
        squared_error = jnp.maximum(total - 2.0 * found @ along + found @ (values * found), 0.0)
        determined = (noise * values / (prior + noise * values)).sum()
        prior = (determined + 2.0 * _RIDGE_PRIOR) / (found @ found + 2.0 * _RIDGE_PRIOR)
        noise = (n - determined + 2.0 * _RIDGE_PRIOR) / (squared_error + 2.0 * _RIDGE_PRIOR)
        return noise, prior

    start = (1.0 / (total / n + jnp.finfo(values.dtype).eps), jnp.ones((), values.dtype))
    return vectors @ coefficients(*jax.lax.fori_loop(0, _RIDGE_STEPS, update, start)), mean_x, mean_y


@partial(jax.jit, static_argnames='folds')
def _fit_choices(
    values: jax.Array, chosen: jax.Array, part: jax.Array, mask: jax.Array, folds: int
) -> tuple[jax.Array, jax.Array]:
    """Held-out negative log likelihood [p, t] and temperature [p] of values [p, t, k] and choices [p, t]."""

    def person(values, chosen, part, mask):
        spread = jnp.sqrt((values**2).sum() / jnp.maximum(mask.sum() * values.shape[1], 1))
        values = values / jnp.where(spread > 0, spread, 1.0)
        of_chosen = jnp.take_along_axis(values, chosen[:, None], axis=1)[:, 0]

        def slope(log_inverse, train):
            """Derivative of the negative log likelihood by 1 / T, which grows with 1 / T."""
            expected = (jax.nn.softmax(jnp.exp(log_inverse) * values, axis=1) * values).sum(axis=1)
            return jnp.where(train, expected - of_chosen, 0.0).sum()

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
