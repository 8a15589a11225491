"""A choice model for odd-one-out trials, fitted to each participant by cross-validation.

The probability that a person chooses item k is a softmax over the three items of (support of k + bias of place k) / T.
The support is divided by its standard deviation over all trials, which no choice enters, so that the temperature T has
one meaning for all representations. It is fitted as logits s z + c with slope s = 1 / T and c the biases in logits of
the first and the third place; that of the second is 0. The loss is the negative log-likelihood plus a ridge penalty,
half the squares of s and c, within a box: ln T in [-4.6, 4.6], biases in [-10, 10]. Without the penalty, people with
few trials get extreme parameters, and single held-out choices dominate the likelihood. All participants of a fold are
fitted at once by a projected Newton method with Levenberg's damping.

Every trial is scored by parameters fitted to other trials. Folds are random: folds stratified by the chosen place would
tell the model how often each place is chosen in the held-out trials.

References:
    le Cessie & van Houwelingen (1992), Ridge estimators in logistic regression. doi:10.2307/2347628
    Hebart et al. (2020), softmax over the three similarities. doi:10.1038/s41562-020-00951-3
    Levenberg (1944). doi:10.1090/qam/10666
    Bertsekas (1982), projected Newton methods. doi:10.1137/0320018
    McFadden (1974), Conditional logit analysis of qualitative choice behavior: R2 = 1 - NLL / NLL of chance.
"""

import dataclasses
import itertools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from humalign_jax.devices import compiled, spread
from humalign_jax.human_data import Triplets

CHANCE_NLL = float(np.log(3.0))
LOWEST = (float(np.exp(-4.6)), -10.0, -10.0)  # slope, bias of the first and of the third place
HIGHEST = (float(np.exp(4.6)), 10.0, 10.0)
TRIALS_PER_BLOCK = 32  # a block holds trials of one participant, and sums over it are made before sums over blocks
BLOCKS_PER_JOB = 1 << 13
_MOST_STEPS = 100
_ROUNDING = 1e-6  # relative error of a sum in float32, below which a loss is not called larger
_SMALL = 1e-5  # a step below this in all parameters ends a fit


@dataclasses.dataclass(frozen=True)
class ChoiceFit:
    """Held-out fit of the choice model.

    Attributes:
        nll: Negative log-likelihood of each choice under parameters fitted to other trials of the participant, nats,
            float64, [t]; NaN for trials of participants who are left out.
        temperature: Temperature of each fitted participant in units of the similarity, mean over folds in ln T, [p];
            NaN where the support is left out of the model.
        bias: Biases of the first and the third place relative to the second, in logits, mean over folds, [p, 2].
        n_participants: Number of fitted participants, 1 where all trials are pooled.
        n_few: Number of participants left out because they have fewer trials than there are folds.
        n_one_place: Number of participants left out because they always chose the same place.
    """

    nll: np.ndarray
    temperature: np.ndarray
    bias: np.ndarray
    n_participants: int
    n_few: int
    n_one_place: int


def cross_validate(
    support: np.ndarray,
    triplets: Triplets,
    *,
    folds: int = 5,
    seed: int = 0,
    pooled: bool = False,
    with_support: bool = True,
    penalty: float = 1.0,
    devices: Sequence[jax.Device] | None = None,
) -> ChoiceFit:
    """Fits temperature and position biases to each participant, and scores each choice out of sample.

    Participants with fewer trials than folds are left out. Where the order of presentation is known, so are those who
    always chose the same place: their choices do not depend on the stimuli.

    Args:
        support: Support of each item, as `odd_one_out.predict` returns it, [t, 3].
        triplets: The trials; biases are fitted only where `in_order`.
        folds: Number of folds.
        seed: Seed of the folds.
        pooled: One temperature and bias for all trials; so it is where no participants are known.
        with_support: False for the model of position bias alone.
        penalty: Weight of the ridge penalty; 0 for maximum likelihood.
        devices: Where to compute; None for all.

    Raises:
        ValueError: No participant can be fitted, or the support is constant.
    """
    support = np.asarray(support, np.float64)
    if support.shape != (len(triplets), 3):
        raise ValueError(f'{len(triplets)} trials need a support [t, 3], not {support.shape}.')
    spread_of = support.std()
    if with_support and not spread_of > 0:
        raise ValueError('the similarities of all pairs are equal, so that no temperature can be fitted.')
    z = (support - support.mean()) / spread_of if with_support else np.zeros_like(support)
    people = None if pooled else triplets.participants
    person = np.zeros(len(triplets), np.int64) if people is None else np.unique(people, return_inverse=True)[1]
    counts = np.bincount(person * 3 + triplets.odd, minlength=3 * (person.max() + 1)).reshape(-1, 3)
    few = counts.sum(axis=1) < folds
    one_place = ~few & ((counts > 0).sum(axis=1) == 1) & triplets.in_order
    fitted = np.flatnonzero(~few & ~one_place)
    if not len(fitted):
        raise ValueError(
            f'no participant of {triplets.name!r} can be fitted: {few.sum()} have fewer than {folds} trials, '
            f'{one_place.sum()} always chose the same place.'
        )
    free = np.array([with_support, triplets.in_order, triplets.in_order])
    run_devices = list(jax.local_devices() if devices is None else devices)
    fold = _folds(person, folds, seed)
    jobs = _jobs(person, fitted)

    def one(device: int, item: tuple['_Job', int]) -> tuple[np.ndarray, np.ndarray]:
        job, number = item
        inside = job.trials >= 0
        train = np.where(inside, fold[job.trials] != number, False)
        arrays = (z[job.trials].astype(np.float32), triplets.odd[job.trials].astype(np.int32), train, job.owner)
        chunk = jax.device_put((*arrays, free, np.float32(penalty)), run_devices[device])
        parameters, nll = _fit(*chunk, n_people=job.n_slots)
        return np.asarray(parameters)[: len(job.people)], np.asarray(nll)

    held_out = np.full(len(triplets), np.nan)
    found = np.zeros((folds, len(counts), 3))
    items = list(itertools.product(jobs, range(folds)))
    for (job, number), (parameters, nll) in zip(items, spread(one, items, len(run_devices))):
        found[number, job.people] = parameters
        scored = (job.trials >= 0) & (fold[job.trials] == number)
        held_out[job.trials[scored]] = nll[scored]
    slopes, biases = found[:, fitted, 0], found[:, fitted, 1:]
    temperature = np.full(len(fitted), np.nan)
    if with_support:
        temperature = spread_of * np.exp(-np.log(slopes).mean(axis=0))
    return ChoiceFit(held_out, temperature, biases.mean(axis=0), len(fitted), int(few.sum()), int(one_place.sum()))


def _folds(person: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """Fold of each trial, [t]: the trials of a person, in random order, are dealt out in turns."""
    order = np.lexsort((np.random.default_rng(seed).random(len(person)), person))
    starts = np.concatenate([[0], np.cumsum(np.bincount(person))])[person[order]]
    fold = np.empty(len(person), np.int64)
    fold[order] = (np.arange(len(person)) - starts) % folds
    return fold


@dataclasses.dataclass(frozen=True)
class _Job:
    """Trials of some participants in blocks: numbers of trials [b, r], -1 where empty; slot of each block, [b]."""

    trials: np.ndarray
    owner: np.ndarray
    people: np.ndarray
    n_slots: int


def _jobs(person: np.ndarray, fitted: np.ndarray) -> list[_Job]:
    """Participants divided into jobs of one shape; the trials of a participant stay together."""
    order = np.argsort(person, kind='stable')
    counts = np.bincount(person)
    starts = np.concatenate([[0], np.cumsum(counts)])
    n_blocks = -(-counts[fitted] // TRIALS_PER_BLOCK)
    room = _rounded(max(min(BLOCKS_PER_JOB, int(n_blocks.sum())), int(n_blocks.max())))
    ends = np.cumsum(n_blocks)
    groups, first = [], 0
    while first < len(fitted):
        before = int(ends[first - 1]) if first else 0
        last = int(np.searchsorted(ends, before + room, side='right'))
        groups.append(fitted[first:last])
        first = last
    n_slots = _rounded(max(len(group) for group in groups))
    jobs = []
    for group in groups:
        trials, owner = np.full((room, TRIALS_PER_BLOCK), -1), np.zeros(room, np.int32)
        block = 0
        for slot, who in enumerate(group.tolist()):
            own = order[starts[who] : starts[who + 1]]
            n = -(-len(own) // TRIALS_PER_BLOCK)
            trials[block : block + n].reshape(-1)[: len(own)] = own
            owner[block : block + n] = slot
            block += n
        jobs.append(_Job(trials, owner, group, n_slots))
    return jobs


def _rounded(n: int) -> int:
    """The next power of 2, or multiple of `BLOCKS_PER_JOB` beyond that, so that few shapes are compiled."""
    return 1 << (n - 1).bit_length() if n < BLOCKS_PER_JOB else -(-n // BLOCKS_PER_JOB) * BLOCKS_PER_JOB


def _fit_one(
    z: jax.Array,
    odd: jax.Array,
    train: jax.Array,
    owner: jax.Array,
    free: jax.Array,
    penalty: jax.Array,
    n_people: int,
) -> tuple[jax.Array, jax.Array]:
    """Parameters of each participant, [p, 3], and negative log-likelihood of each choice, [b, r].

    Args:
        z: Standardised support, [b, r, 3].
        odd: Chosen places, [b, r].
        train: Which trials are fitted, [b, r].
        owner: Participant of each block, [b].
        free: Which of slope and two biases are fitted, [3].
        penalty: Weight of the ridge penalty.
        n_people: Number of participants, p.
    """
    low, high, free = jnp.array(LOWEST)[None], jnp.array(HIGHEST)[None], free[None]
    weight = train.astype(jnp.float32)

    def total(values: jax.Array) -> jax.Array:
        """Sum over the fitted trials of each participant: [b, r, ...] -> [p, ...]."""
        weighted = values * weight.reshape(*weight.shape, *(1,) * (values.ndim - 2))
        return jax.ops.segment_sum(weighted.sum(axis=1), owner, n_people)

    def log_probabilities(parameters: jax.Array) -> jax.Array:
        slope, first, third = jnp.moveaxis(parameters[owner], -1, 0)  # [b] each
        bias = jnp.stack([first, jnp.zeros_like(first), third], axis=-1)
        return jax.nn.log_softmax(slope[:, None, None] * z + bias[:, None, :])

    def loss_of(log_p: jax.Array) -> jax.Array:
        return -jnp.take_along_axis(log_p, odd[..., None], axis=-1)[..., 0]

    def evaluate(parameters: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Penalised loss [p], its gradient [p, 3] and Hessian [p, 3, 3]."""
        log_p = log_probabilities(parameters)
        p = jnp.exp(log_p)
        residual = p - jax.nn.one_hot(odd, 3)
        gradient = jnp.stack([(residual * z).sum(axis=-1), residual[..., 0], residual[..., 2]], axis=-1)
        mean = (p * z).sum(axis=-1)
        variance = (p * (z - mean[..., None]) ** 2).sum(axis=-1)
        with_first, with_third = p[..., 0] * (z[..., 0] - mean), p[..., 2] * (z[..., 2] - mean)
        both = -p[..., 0] * p[..., 2]
        entries = [variance, with_first, with_third]
        entries += [with_first, p[..., 0] * (1 - p[..., 0]), both]
        entries += [with_third, both, p[..., 2] * (1 - p[..., 2])]
        sums = total(jnp.concatenate([loss_of(log_p)[..., None], gradient, jnp.stack(entries, axis=-1)], axis=-1))
        loss = sums[:, 0] + 0.5 * penalty * (parameters**2).sum(axis=1)
        return loss, sums[:, 1:4] + penalty * parameters, sums[:, 4:].reshape(-1, 3, 3) + penalty * jnp.eye(3)[None]

    def step(carry):
        parameters, damping, loss, gradient, hessian, _, count = carry
        outward = ((parameters <= low) & (gradient > 0)) | ((parameters >= high) & (gradient < 0))
        moving = (free & ~outward).astype(jnp.float32)  # [p, 3]
        curvature = jnp.diagonal(hessian, axis1=1, axis2=2)
        kept = hessian * moving[:, :, None] * moving[:, None, :]
        ridge = damping[:, None] * (curvature + 1e-3) * moving + (1.0 - moving) + 1e-6
        change = -_solve(kept + ridge[:, :, None] * jnp.eye(3)[None], gradient * moving)
        candidate = jnp.clip(parameters + change * moving, low, high)
        candidate = jnp.where(free, candidate, parameters)
        new = evaluate(candidate)
        better = new[0] <= loss * (1.0 + _ROUNDING)
        size = jnp.abs(candidate - parameters) / (1.0 + jnp.abs(parameters))
        is_open = (size.max(axis=1) > _SMALL) & (damping < 1e6)

        def chosen(after: jax.Array, before: jax.Array) -> jax.Array:
            return jnp.where(better.reshape(-1, *(1,) * (after.ndim - 1)), after, before)

        damping = jnp.where(better, damping * 0.1, jnp.maximum(damping, 1e-4) * 10.0)
        state = (
            chosen(candidate, parameters),
            damping,
            *(chosen(a, b) for a, b in zip(new, (loss, gradient, hessian))),
        )
        return (*state, is_open, count + 1)

    start = jnp.where(free, jnp.array([[1.0, 0.0, 0.0]]), 0.0)
    parameters = jnp.broadcast_to(start, (n_people, 3))
    carry = (parameters, jnp.full(n_people, 1e-3), *evaluate(parameters), jnp.ones(n_people, bool), jnp.int32(0))
    done = jax.lax.while_loop(lambda carry: carry[5].any() & (carry[6] < _MOST_STEPS), step, carry)
    return done[0], loss_of(log_probabilities(done[0]))


def _solve(matrix: jax.Array, vector: jax.Array) -> jax.Array:
    """Solution of 3 x 3 systems by Cramer's rule: [p, 3, 3], [p, 3] -> [p, 3]."""
    a, b, c = matrix[:, 0], matrix[:, 1], matrix[:, 2]
    columns = jnp.stack([jnp.cross(b, c), jnp.cross(c, a), jnp.cross(a, b)], axis=2)
    return (columns * vector[:, None, :]).sum(axis=2) / (a * columns[:, :, 0]).sum(axis=1)[:, None]


_fit = compiled(_fit_one, static_argnames=('n_people',))
