"""Function episodes: items with the values of one function, to be learnt in context, drawn inside the compiled step.

An episode of length t takes n+ positive and t - n+ negative items of a function, without replacement, in random order.
n+ is a rounded draw of Normal(t / 2, t / 20), clipped to what the function has: at most its positive items, at least t
minus its negative items. An episode therefore always has t items.

Positive items of sparse functions are those with a value other than 0, and the value is the magnitude. A dense function
(a raw neuron) is positive above its median; the magnitude is value - median, for negative items too.

References:
    Demircan et al. (2026). Meta-learning as a principle for human-like visual representations. arXiv 2606.28399
"""

import dataclasses
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from humalign_jax.data.functions import Functions

Arrays = Mapping[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class EpisodeRule:
    """How episodes are drawn.

    Attributes:
        length: Items of an episode t.
        scale: Standard deviation of the magnitudes, by which the magnitude of the item before is divided.
        n_repeats: Episodes of each function in evaluation.
        seed: Seed of the evaluation episodes, which are the same at every evaluation.
    """

    length: int
    scale: float
    n_repeats: int
    seed: int


def magnitude_scale(functions: Functions, medians: np.ndarray | None = None) -> float:
    """Standard deviation of all positive magnitudes, of dense functions of all magnitudes; 1 if they are all equal.

    Args:
        functions: The training functions on the training items.
        medians: Medians of dense functions, [f]; None for sparse functions.
    """
    values = functions.values if medians is None else functions.dense() - medians[:, None]
    scale = float(np.std(values, dtype=np.float64))
    return scale if scale > 1e-6 * float(np.abs(values).max()) else 1.0


def episode_arrays(
    features: np.ndarray, functions: Functions, medians: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """What stays on the devices, for `make_episode_batch`.

    Args:
        features: Features of the items, in the order of `functions.item_ids`, [n, d].
        functions: Functions of these items.
        medians: Medians of dense functions, [f]; None for sparse functions.

    Returns:
        `features` [n, d], and for sparse functions the CSR arrays and `skipped` [nnz], the number of negative items
        before each positive one; for dense functions `magnitudes` [f, n], `order` [f, n], the items from the lowest
        magnitude to the highest, and `n_positive` [f].

    Raises:
        ValueError: Features and functions are of different numbers of items, or no item is positive.
    """
    if len(features) != functions.n_items:
        raise ValueError(f'{len(features)} features, but {functions.n_items} items of functions {functions.name!r}.')
    features = np.asarray(features, np.float32)
    if medians is not None:
        magnitudes = (functions.dense() - medians[:, None]).astype(np.float32)
        order = np.argsort(magnitudes, axis=1, kind='stable').astype(np.int32)
        n_positive = (magnitudes > 0).sum(axis=1).astype(np.int32)
        return {'features': features, 'magnitudes': magnitudes, 'order': order, 'n_positive': n_positive}
    if not len(functions.indices):
        raise ValueError(f'functions {functions.name!r} have no positive item: nothing can be learnt.')
    n_positive = np.diff(functions.indptr)
    place = np.arange(len(functions.indices)) - np.repeat(functions.indptr[:-1], n_positive)
    return {
        'features': features,
        'indptr': functions.indptr.astype(np.int32),
        'indices': functions.indices,
        'values': functions.values,
        'skipped': (functions.indices - place).astype(np.int32),
    }


def make_episode_batch(rule: EpisodeRule) -> Callable[[Arrays, jax.Array, jax.Array | None], dict[str, jax.Array]]:
    """`(arrays, rows [b], keys [b]) -> batch` of episodes.

    In training a function is drawn with the episode's key, each equally often, and rows are only counted. Without keys
    row r is the fixed episode `r % n_repeats` of function `r // n_repeats`.

    Returns:
        The function. Its batch has `x` [b, t, d], `previous` [b, t] (magnitude of the item before over `scale`, 0 at
        the first), `binary` [b, t] (1 for positive items), `magnitude` [b, t], `item` [b, t] and `function` [b].
    """

    def make_batch(arrays: Arrays, rows: jax.Array, keys: jax.Array | None) -> dict[str, jax.Array]:
        n_functions = len(arrays['order'] if 'order' in arrays else arrays['indptr'][1:])
        is_training = keys is not None
        if keys is None:
            keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(rule.seed), rows)
        bits = jax.vmap(lambda key: jax.random.bits(key, (3 * rule.length + 2,)))(keys)
        function = (bits[:, 0] % n_functions).astype(jnp.int32) if is_training else rows // rule.n_repeats
        item, binary, magnitude = jax.vmap(draw_episode, (None, 0, 0))(arrays, function, bits[:, 1:])
        return {
            'x': arrays['features'][item],
            'previous': jnp.pad(magnitude[:, :-1] / rule.scale, ((0, 0), (1, 0))),
            'binary': binary.astype(jnp.float32),
            'magnitude': magnitude,
            'item': item,
            'function': function,
        }

    return make_batch


def draw_episode(arrays: Arrays, function: jax.Array, bits: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """One episode: items [t], whether they are positive [t], magnitudes [t].

    Args:
        arrays: From `episode_arrays`, with at least t items.
        function: Row of the function, [].
        bits: Random numbers of 32 bits, uint32, [3 t + 1].
    """
    length, n_items = len(bits) // 3, len(arrays['features'])
    find = _find_dense if 'order' in arrays else _find_sparse
    n_positive = arrays['n_positive'][function] if 'order' in arrays else jnp.diff(arrays['indptr'])[function]
    normal = jax.scipy.special.ndtri((bits[0].astype(jnp.float32) + 0.5) / 2.0**32)
    wanted = jnp.round(jnp.clip(length / 2 + length / 20 * normal, 0, length)).astype(jnp.int32)
    wanted = jnp.clip(wanted, length - (n_items - n_positive), n_positive)
    counts, sizes = jnp.stack([wanted, length - wanted]), jnp.stack([n_positive, n_items - n_positive])
    of_positive, of_negative, of_order = bits[1:].reshape(3, length)
    positive, negative = jax.vmap(draw_distinct)(jnp.stack([of_positive, of_negative]), counts, sizes)
    is_positive = jnp.arange(length) < wanted
    rank = jnp.where(is_positive, positive, jnp.roll(negative, wanted))
    item, magnitude = find(arrays, function, rank, is_positive, n_positive)
    order = jnp.argsort(of_order)
    return item[order], is_positive[order], magnitude[order]


def draw_distinct(bits: jax.Array, count: jax.Array, n: jax.Array) -> jax.Array:
    """`count` different numbers of 0..n-1, every set of them equally likely, in no random order.

    Args:
        bits: Random numbers of 32 bits, uint32, [t].
        count: How many, at most n and t, [].
        n: How many numbers there are, [].

    Returns:
        int32, [t], of which the first `count` are drawn.

    References:
        Bentley & Floyd (1987). A sample of brilliance. Communications of the ACM 30(9), algorithm F2.
    """
    largest = n - count + jnp.arange(len(bits))
    drawn = (bits % (largest + 1).astype(jnp.uint32)).astype(jnp.int32)

    def add(i: int, chosen: jax.Array) -> jax.Array:
        return chosen.at[i].set(jnp.where(jnp.any(chosen == drawn[i]), largest[i], drawn[i]))

    return jax.lax.fori_loop(0, len(bits), add, jnp.full(len(bits), -1, jnp.int32))


def _find_sparse(
    arrays: Arrays, function: jax.Array, rank: jax.Array, is_positive: jax.Array, n_positive: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Items and magnitudes of the rank-th positive or negative items of a sparse function."""
    first, last = arrays['indptr'][function], arrays['indptr'][function] + n_positive

    # Positive items before the rank-th negative one: those before which at most `rank` negative items lie.
    def halve(_: int, bounds: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        low, high = bounds
        middle = (low + high) // 2
        is_before = (low < high) & (arrays['skipped'][middle] <= rank)
        return jnp.where(is_before, middle + 1, low), jnp.where(is_before, high, middle)

    bounds = jnp.full(rank.shape, first), jnp.full(rank.shape, last)
    low, _ = jax.lax.fori_loop(0, len(arrays['features']).bit_length(), halve, bounds)
    place = jnp.where(is_positive, first + rank, 0)
    item = jnp.where(is_positive, arrays['indices'][place], rank + low - first)
    return item, jnp.where(is_positive, arrays['values'][place], 0.0)


def _find_dense(
    arrays: Arrays, function: jax.Array, rank: jax.Array, is_positive: jax.Array, n_positive: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Items and magnitudes of the rank-th positive or negative items of a dense function."""
    n_negative = len(arrays['features']) - n_positive
    item = arrays['order'][function, jnp.where(is_positive, n_negative + rank, rank)]
    return item, arrays['magnitudes'][function, item]
