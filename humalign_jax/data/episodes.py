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


def episode_arrays(features: np.ndarray, functions: Functions, medians: np.ndarray | None = None) -> dict[str, np.ndarray]:
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
        ValueError: Features and functions are of different numbers of items.
    """
    if len(features) != functions.n_items:
        raise ValueError(f'{len(features)} features, but {functions.n_items} items of functions {functions.name!r}.')
    features = np.asarray(features, np.float32)
    if medians is not None:
        magnitudes = (functions.dense() - medians[:, None]).astype(np.float32)
        order = np.argsort(magnitudes, axis=1, kind='stable').astype(np.int32)
        n_positive = np.sum(magnitudes > 0, axis=1, dtype=np.int32)
        return {'features': features, 'magnitudes': magnitudes, 'order': order, 'n_positive': n_positive}
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
        if keys is None:
            function = rows // rule.n_repeats
            keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(rule.seed), rows)
        else:
            n_functions = len(arrays['order'] if 'order' in arrays else arrays['indptr'][1:])
            keys, of_function = jnp.moveaxis(jax.vmap(jax.random.split)(keys), 1, 0)
            function = jax.vmap(lambda key: jax.random.randint(key, (), 0, n_functions))(of_function)
        item, binary, magnitude = jax.vmap(lambda f, key: draw_episode(arrays, f, key, rule.length))(function, keys)
        return {
            'x': arrays['features'][item],
            'previous': jnp.pad(magnitude[:, :-1] / rule.scale, ((0, 0), (1, 0))),
            'binary': binary.astype(jnp.float32),
            'magnitude': magnitude,
            'item': item,
            'function': function,
        }

    return make_batch


def draw_episode(
    arrays: Arrays, function: jax.Array, key: jax.Array, length: int
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """One episode: items [t], whether they are positive [t], magnitudes [t].

    Args:
        arrays: From `episode_arrays`, with at least `length` items.
        function: Row of the function, [].
        key: Typed PRNG key, [].
        length: Items of an episode t.
    """
    find = _find_dense if 'order' in arrays else _find_sparse
    n_items = len(arrays['features'])
    n_positive = (
        arrays['n_positive'][function] if 'order' in arrays else jnp.diff(arrays['indptr'])[function]
    )  # []
    key_count, key_positive, key_negative, key_order = jax.random.split(key, 4)
    wanted = jnp.round(length / 2 + length / 20 * jax.random.normal(key_count)).astype(jnp.int32)
    wanted = jnp.clip(jnp.clip(wanted, 0, length), length - (n_items - n_positive), n_positive)
    positive = draw_distinct(key_positive, wanted, n_positive, length)
    negative = draw_distinct(key_negative, length - wanted, n_items - n_positive, length)
    step = jnp.arange(length)
    is_positive = step < wanted
    rank = jnp.where(is_positive, positive, jnp.roll(negative, wanted))
    item, magnitude = find(arrays, function, rank, is_positive, n_positive)
    order = jax.random.permutation(key_order, length)
    return item[order], is_positive[order], magnitude[order]


def draw_distinct(key: jax.Array, count: jax.Array, n: jax.Array, length: int) -> jax.Array:
    """`count` different numbers of 0..n-1, every set of them equally likely, in no random order.

    Args:
        key: Typed PRNG key, [].
        count: How many, at most n and `length`, [].
        n: How many numbers there are, [].
        length: Size of the result.

    Returns:
        int32, [length], of which the first `count` are drawn.

    References:
        Bentley & Floyd (1987). A sample of brilliance. Communications of the ACM 30(9), algorithm F2.
    """
    largest = n - count + jnp.arange(length)
    drawn = jax.random.randint(key, (length,), 0, largest + 1)

    def add(i: int, chosen: jax.Array) -> jax.Array:
        return chosen.at[i].set(jnp.where(jnp.any(chosen == drawn[i]), largest[i], drawn[i]))

    return jax.lax.fori_loop(0, length, add, jnp.full(length, -1, jnp.int32))


def _find_sparse(
    arrays: Arrays, function: jax.Array, rank: jax.Array, is_positive: jax.Array, n_positive: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Items and magnitudes of the rank-th positive or negative items of a sparse function."""
    first, last = arrays['indptr'][function], arrays['indptr'][function] + n_positive
    # Positive items before the rank-th negative one: those before which at most `rank` negative items lie.
    low, high = jnp.full(rank.shape, first), jnp.full(rank.shape, last)
    for _ in range(len(arrays['features']).bit_length()):
        middle = (low + high) // 2
        is_before = (low < high) & (arrays['skipped'][middle] <= rank)
        low, high = jnp.where(is_before, middle + 1, low), jnp.where(is_before, high, middle)
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
