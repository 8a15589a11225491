"""Which of three stimuli a representation makes the odd one out, and how often people chose it.

The pair with the largest similarity is kept, the third stimulus is odd. The support of an item is the similarity of the
two others, so that the item with the largest support is the odd one.
"""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from humalign_jax.devices import compiled, spread
from humalign_jax.human_data import Triplets
from humalign_jax.records import Features, Rdm

MEASURES = ('cosine', 'dot')
CHANCE = 1.0 / 3.0
TRIALS_PER_CHUNK = 1 << 18
MOST_STIMULI = 1 << 14  # whose similarities are held as a matrix, 1 GiB; beyond it they come from the features
LEAST_REPEATED = 30  # triplets that must be repeated for a noise ceiling
_ROWS_PER_BLOCK = 2048
_GATHERED_BYTES = 1 << 28  # features of a chunk of trials


@dataclasses.dataclass(frozen=True)
class TripletPredictions:
    """What a representation says of each trial.

    Attributes:
        support: Similarity of the two other items, for each item, float32, [t, 3].
        credit: 1 where the item with the largest support is the chosen one, 1/2 or 1/3 where it is one of two or three
            with equal support, else 0, float32, [t]. Its mean is the zero-shot accuracy.
    """

    support: np.ndarray
    credit: np.ndarray


def predict(
    features: np.ndarray, triplets: Triplets, measure: str = 'cosine', *, devices: Sequence[jax.Device] | None = None
) -> TripletPredictions:
    """Zero-shot predictions of a representation, computed in chunks of trials on all devices.

    Up to `MOST_STIMULI` stimuli, similarities are computed in float64 and rounded to float32, so that stimuli with
    equal features have equal similarities; beyond, they are float32 products of the trials' features.

    Args:
        features: Features of the stimuli in the order of `triplets.ids`, [n, d].
        triplets: The trials.
        measure: 'cosine' (0 with a vector of zeros) or 'dot'.
        devices: Where to compute; None for all.

    Raises:
        ValueError: An unknown measure, another number of rows, or features that are not finite.

    References:
        Hebart et al. (2020). doi:10.1038/s41562-020-00951-3
        Muttenthaler et al. (2023), Human alignment of neural network representations. arXiv:2211.01201
    """
    if measure not in MEASURES:
        raise ValueError(f'there is no similarity {measure!r} for triplets: choose one of {", ".join(MEASURES)}.')
    if features.ndim != 2 or len(features) != len(triplets.ids):
        raise ValueError(f'{len(triplets.ids)} stimuli need features [n, d], not {list(features.shape)}.')
    finite = np.isfinite(features).all(axis=1)
    if not finite.all():
        raise ValueError(f'features of {str(triplets.ids[np.argmin(finite)])!r} are not finite.')
    of_matrix = len(features) <= MOST_STIMULI
    table = similarity_matrix(features, measure) if of_matrix else _rows(features, measure).astype(np.float32)
    score = _score_by_matrix if of_matrix else _score_by_features
    run_devices = list(jax.local_devices() if devices is None else devices)
    tables = [jax.device_put(table, device) for device in run_devices]
    fitting = TRIALS_PER_CHUNK if of_matrix else max(1024, _GATHERED_BYTES // (12 * features.shape[1]))
    size = min(TRIALS_PER_CHUNK, fitting, len(triplets))

    def one(device: int, start: int) -> tuple[np.ndarray, np.ndarray]:
        stop = min(start + size, len(triplets))
        first = stop - size  # the last chunk begins earlier, so that all have one size
        chunk = jax.device_put((triplets.items[first:stop], triplets.odd[first:stop]), run_devices[device])
        support, credit = score(tables[device], *chunk)
        return np.asarray(support)[start - first :], np.asarray(credit)[start - first :]

    support, credit = np.empty((len(triplets), 3), np.float32), np.empty(len(triplets), np.float32)
    starts = range(0, len(triplets), size)
    for start, (some, right) in zip(starts, spread(one, starts, len(run_devices))):
        support[start : start + size], credit[start : start + size] = some, right
    return TripletPredictions(support, credit)


def similarity_matrix(features: np.ndarray, measure: str) -> np.ndarray:
    """Similarities of all stimuli, computed in float64 and rounded: [n, d] -> float32 [n, n]."""
    rows = _rows(features, measure)
    made = np.empty((len(rows), len(rows)), np.float32)
    for start in range(0, len(rows), _ROWS_PER_BLOCK):
        made[start : start + _ROWS_PER_BLOCK] = rows[start : start + _ROWS_PER_BLOCK] @ rows.T
    return made


def choice_rdm(features: Features, measure: str, *, temperature: float) -> Rdm:
    """Dissimilarities as an odd-one-out experiment measures them: 1 - probability that a pair is kept.

    The probability is that of a softmax over the three similarities of a triplet divided by the temperature, averaged
    over all third stimuli of the features.

    Args:
        features: Features of n stimuli, at least 3; choose the stimuli of the experiment first.
        measure: One of `MEASURES`.
        temperature: In units of the similarity; 1 for dot products of embeddings fitted to such choices.

    References:
        Hebart et al. (2020). doi:10.1038/s41562-020-00951-3
    """
    rows = _rows(np.asarray(features.values), measure)
    logits = (rows @ rows.T) / temperature
    n = len(logits)
    kept = np.zeros((n, n))
    for third in range(n):
        others = (logits, logits[:, third, None], logits[None, third])  # similarities of the triplet's three pairs
        top = np.maximum(np.maximum(*others[:2]), others[2])
        share = np.exp(logits - top) / sum(np.exp(other - top) for other in others)
        share[third], share[:, third] = 0.0, 0.0
        kept += share / (n - 2)
    return Rdm(1.0 - kept[np.triu_indices(n, 1)], features.ids, features.name, f'odd one out, {measure}')


def _rows(features: np.ndarray, measure: str) -> np.ndarray:
    """Features whose dot products are the similarities, float64, [n, d]."""
    rows = np.asarray(features, np.float64)
    if measure == 'dot':
        return rows
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, norms, out=np.zeros_like(rows), where=norms > 0)


@compiled
def _score_by_matrix(matrix: jax.Array, items: jax.Array, odd: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Support and credit of a chunk of trials: [n, n], [c, 3], [c] -> [c, 3], [c]."""
    a, b, c = items[:, 0], items[:, 1], items[:, 2]
    support = jnp.stack([matrix[b, c], matrix[a, c], matrix[a, b]], axis=1)
    return support, _credit(support, odd)


@compiled
def _score_by_features(rows: jax.Array, items: jax.Array, odd: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Support and credit of a chunk of trials: [n, d], [c, 3], [c] -> [c, 3], [c]."""
    a, b, c = (rows[items[:, place]] for place in range(3))
    support = jnp.stack([(b * c).sum(axis=1), (a * c).sum(axis=1), (a * b).sum(axis=1)], axis=1)
    return support, _credit(support, odd)


def _credit(support: jax.Array, odd: jax.Array) -> jax.Array:
    """Share of the items with the largest support that are the chosen one: [c, 3], [c] -> [c]."""
    largest = support == support.max(axis=1, keepdims=True)
    is_chosen = odd[:, None] == jnp.arange(3)[None, :]
    return (largest & is_chosen).sum(axis=1) / largest.sum(axis=1)


@dataclasses.dataclass(frozen=True)
class Repeats:
    """Consistency of choices about triplets that were shown several times.

    Attributes:
        agreement: Share of answers that equal the most frequent one of the other answers to the triplet, ties shared;
            the mean over triplets. A prediction that people themselves reach: the lower noise ceiling of accuracy.
        majority: Share of the most frequent answer, mean over triplets: no prediction can do better on these answers,
            so the upper noise ceiling of accuracy. Few repeats inflate it.
        entropy: Mean entropy of the answers to a triplet, nats: the smallest negative log-likelihood. Few repeats
            deflate it. `1 - entropy / log(3)` is the upper noise ceiling of McFadden's R2.
        n_sets: Number of repeated triplets.
        n_trials: Number of their trials.
        within: Whether repeats count only if one person answered them.
    """

    agreement: float
    majority: float
    entropy: float
    n_sets: int
    n_trials: int
    within: bool


def repeats(triplets: Triplets, *, within: bool = False) -> Repeats | None:
    """Consistency over trials with the same three stimuli in any order; None for fewer than `LEAST_REPEATED` of them.

    Args:
        triplets: The trials.
        within: Whether to compare only trials of one person, whose consistency limits a model of this person; otherwise
            trials of all people are compared, whose consistency limits one model for all.

    Raises:
        ValueError: `within` without known participants.

    References:
        Hebart et al. (2020), noise ceiling by repeated triplets. doi:10.1038/s41562-020-00951-3
        Nili et al. (2014), lower and upper noise ceilings. doi:10.1371/journal.pcbi.1003553
    """
    people = triplets.participants
    if within and people is None:
        raise ValueError(f'{triplets.name!r} does not say who answered, so there are no repeats within participants.')
    group = np.unique(triplets.sets, return_inverse=True)[1]
    if within and people is not None:
        person = np.unique(people, return_inverse=True)[1]
        group = np.unique(group * (person.max() + 1) + person, return_inverse=True)[1]
    place = (triplets.items < triplets.chosen[:, None]).sum(axis=1)  # of the chosen one among the sorted items
    counts = np.bincount(group * 3 + place, minlength=3 * (group.max() + 1)).reshape(-1, 3)
    counts = counts[counts.sum(axis=1) > 1]
    if len(counts) < LEAST_REPEATED:
        return None
    totals = counts.sum(axis=1, keepdims=True)
    shares = counts / totals
    with np.errstate(divide='ignore', invalid='ignore'):
        entropy = -np.where(counts > 0, shares * np.log(shares), 0.0).sum(axis=1)
    # Without one answer of each kind k: which answers are then the most frequent, and is k among them?
    others = counts[:, None, :] - np.eye(3, dtype=counts.dtype)[None]
    leading = others == others.max(axis=2, keepdims=True)
    credit = np.diagonal(leading, axis1=1, axis2=2) / leading.sum(axis=2)
    agreement = (counts * credit).sum(axis=1) / totals[:, 0]
    return Repeats(
        float(agreement.mean()),
        float(shares.max(axis=1).mean()),
        float(entropy.mean()),
        len(counts),
        int(totals.sum()),
        within,
    )
