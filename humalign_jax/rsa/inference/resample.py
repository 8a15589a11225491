"""Bootstrap and permutation of stimuli by weights: no RDM is ever copied.

A bootstrap sample draws stimulus i w_i times, so that pair (i, j) counts w_i w_j times; pairs of a stimulus with itself
are dropped, as in rsatoolbox. All that a correlation needs is then one matrix of weighted inner products of all RDMs
(models, subjects and controls) with each other for every draw.

Draws are dealt to devices in chunks of one fixed size and each draw has its own random key, so that the number of
devices changes no bit of the result.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats

from humalign_jax import progress
from humalign_jax.devices import compiled, spread

DRAWS_PER_CHUNK = 32
PAIRS_PER_BLOCK = 1 << 13
PERMUTATIONS_PER_CHUNK = 32
SAMPLES = 'bootstrap samples'
EXACT = jax.lax.Precision.HIGHEST  # TF32 would round the weights' products


@compiled(static_argnames=('n', 'n_draws', 'stream'))
def _weights(seed: jax.Array, n: int, n_draws: int, stream: int) -> jax.Array:
    key = jax.random.fold_in(jax.random.key(seed), stream)

    def one(draw: jax.Array) -> jax.Array:
        chosen = jax.random.randint(jax.random.fold_in(key, draw), (n,), 0, n)
        return jnp.zeros(n, jnp.float32).at[chosen].add(1.0)

    return jax.vmap(one)(jnp.arange(n_draws))


def bootstrap_weights(seed: int, n: int, n_draws: int, *, stream: int) -> np.ndarray:
    """How often each of n units is drawn, with replacement, n in all: [n_draws, n] float32.

    Args:
        seed: Seed of all streams.
        n: Number of stimuli or subjects.
        n_draws: Number of bootstrap samples.
        stream: Number of an independent sequence (0 stimuli, 1 subjects).

    Returns:
        Whole numbers, each row of sum n. Draw b is the same however many there are.

    Example:
        >>> weights = rsa.bootstrap_weights(0, 5, 3, stream=0)  # three samples of five stimuli
        >>> weights.sum(axis=1)
        array([5., 5., 5.], dtype=float32)
    """
    return np.asarray(_weights(jnp.uint32(seed), n, n_draws, stream))


@compiled(static_argnames=('n_draws',))
def _permutations(seed: jax.Array, groups: jax.Array, n_draws: int) -> jax.Array:
    key = jax.random.fold_in(jax.random.key(seed), 2)
    places = jnp.lexsort((jnp.zeros(groups.shape), groups))

    def one(draw: jax.Array) -> jax.Array:
        order = jnp.lexsort((jax.random.uniform(jax.random.fold_in(key, draw), groups.shape), groups))
        return jnp.zeros_like(order).at[places].set(order)

    return jax.vmap(one)(jnp.arange(n_draws))


def stimulus_permutations(seed: int, groups: np.ndarray, n_draws: int) -> np.ndarray:
    """Random orders of the stimuli that keep each in its group: groups [n] integers -> [n_draws, n]."""
    return np.asarray(_permutations(jnp.uint32(seed), jnp.asarray(groups, jnp.int32), n_draws))


def weighted_products(
    rdms: np.ndarray, weights: np.ndarray, *, mask: np.ndarray | None, devices: Sequence[jax.Device]
) -> np.ndarray:
    """Sums over pairs of w_i w_j a_ij b_ij, for all draws and all pairs of RDMs a, b.

    Args:
        rdms: Condensed RDMs, [r, p]; centre them first, since sums are in float32.
        weights: Weights of the stimuli, [draws, n].
        mask: Which pairs count, [p] booleans; None for all.
        devices: Where to compute.

    Returns:
        [draws, r, r] float64.
    """
    n_rdms, n_pairs = rdms.shape
    block = min(PAIRS_PER_BLOCK, n_pairs)
    n_blocks = -(-n_pairs // block)
    rows, columns = _pairs_of_stimuli(weights.shape[1], mask, n_blocks * block)
    values = np.zeros((n_rdms, n_blocks * block), np.float32)
    values[:, :n_pairs] = rdms
    blocks = (
        values.reshape(n_rdms, n_blocks, block).transpose(1, 0, 2),
        rows.reshape(n_blocks, block),
        columns.reshape(n_blocks, block),
    )

    weights = weights.astype(np.float32)
    sums = _in_chunks(_product_sums, blocks, weights, DRAWS_PER_CHUNK, devices, SAMPLES).astype(np.float64)
    products, (first, second) = np.empty((len(weights), n_rdms, n_rdms)), np.triu_indices(n_rdms)
    products[:, first, second] = products[:, second, first] = sums
    return products


def weighted_rank_products(
    rdms: np.ndarray, weights: np.ndarray, *, mask: np.ndarray | None, devices: Sequence[jax.Device]
) -> np.ndarray:
    """Covariances, over the pairs of each draw, of ranks divided by the number of pairs.

    Ranks are formed anew in every draw: each value's average rank among the pairs as often as they were drawn, ties
    included. They follow from cumulative sums of the weights in each RDM's own order, so nothing is sorted per draw.

    Args:
        rdms: Condensed RDMs, [r, p].
        weights: Weights of the stimuli, [draws, n].
        mask: Which pairs count, [p] booleans; None for all.
        devices: Where to compute.

    Returns:
        [draws, r, r] float64; a diagonal entry without ties is (1 - 1 / pairs^2) / 12.
    """
    n_pairs = rdms.shape[1]
    dense = np.stack([scipy.stats.rankdata(rdm, method='dense').astype(np.int32) - 1 for rdm in rdms])
    order = np.argsort(dense, axis=1, kind='stable').astype(np.int32)
    # Where in the sorted order each distinct value begins; RDMs with fewer distinct values are padded.
    starts = np.full((len(rdms), dense.max() + 2), n_pairs, np.int32)
    for start, values, places in zip(starts, dense, order):
        start[: values.max() + 1] = np.searchsorted(values[places], np.arange(values.max() + 1))
    rows, columns = _pairs_of_stimuli(weights.shape[1], mask, n_pairs)

    constants = (rows, columns, dense, order, starts)
    weights = weights.astype(np.float32)
    means = _in_chunks(_rank_product_means, constants, weights, DRAWS_PER_CHUNK, devices, SAMPLES)
    return means.astype(np.float64)


def permuted_products(
    models: np.ndarray, target: np.ndarray, orders: np.ndarray, *, devices: Sequence[jax.Device]
) -> np.ndarray:
    """Inner products of each model's RDM with the target's RDM whose stimuli were reordered.

    Args:
        models: Condensed RDMs, [m, p].
        target: Condensed RDM, [p].
        orders: Orders of the stimuli, [draws, n].
        devices: Where to compute.

    Returns:
        [draws, m] float64.
    """
    n = orders.shape[1]
    rows, columns = _pairs_of_stimuli(n, None, len(target))
    square = np.zeros((n, n), np.float32)
    square[rows, columns] = square[columns, rows] = target

    constants = (rows, columns, square, models.astype(np.float32))
    products = _in_chunks(_exchanged_products, constants, orders, PERMUTATIONS_PER_CHUNK, devices, 'permutations')
    return products.astype(np.float64)


@compiled
def _product_sums(blocks: tuple[jax.Array, jax.Array, jax.Array], weights: jax.Array) -> jax.Array:
    """Weighted sums of products of two RDMs, each unordered pair of RDMs once: [draws, r (r + 1) / 2]."""
    first, second = np.triu_indices(blocks[0].shape[1])
    weights = jnp.pad(weights, ((0, 0), (0, 1)))  # stimulus n, the padding's, weighs nothing

    def add_block(sums: jax.Array, one: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        values, rows, columns = one
        pair_weights = weights[:, rows] * weights[:, columns]  # [draws, c]
        products = values[first] * values[second]  # [r (r + 1) / 2, c]
        return sums + jnp.matmul(pair_weights, products.T, precision=EXACT), None

    return jax.lax.scan(add_block, jnp.zeros((len(weights), len(first)), jnp.float32), blocks)[0]


@compiled
def _rank_product_means(constants: tuple[jax.Array, ...], weights: jax.Array) -> jax.Array:
    """Weighted means of products of centred ranks, [draws, r, r]."""
    rows, columns, dense, order, starts = constants

    def one_draw(weights: jax.Array) -> jax.Array:
        weights = jnp.pad(weights, (0, 1))
        pair_weights = weights[rows] * weights[columns]  # [p]
        total = pair_weights.sum()

        def centred_ranks(one: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
            dense, order, starts = one
            below = jnp.pad(_cumulative_sum(pair_weights[order]), (1, 0))[starts]
            return ((below[:-1] + below[1:] - total) / (2.0 * total))[dense]

        # One RDM after the other: together they outgrow the cache, which takes twice as long.
        ranks = jax.lax.map(centred_ranks, (dense, order, starts))  # [r, p], of weighted mean 0
        return jnp.matmul(ranks * pair_weights[None], ranks.T, precision=EXACT) / total

    return jax.lax.map(one_draw, weights)


@compiled
def _exchanged_products(constants: tuple[jax.Array, ...], orders: jax.Array) -> jax.Array:
    """Products of the models with the target in each order of the stimuli, [draws, m]."""
    rows, columns, square, models = constants
    return jax.lax.map(lambda order: jnp.matmul(models, square[order[rows], order[columns]], precision=EXACT), orders)


def _cumulative_sum(values: jax.Array, block: int = 64) -> jax.Array:
    """Cumulative sum by small triangular matrix products, [p]; 1.6 times faster than jnp.cumsum on a CPU."""
    n_values = values.shape[0]
    if n_values <= block:
        return jnp.cumsum(values)
    n_blocks = -(-n_values // block)
    values = jnp.pad(values, (0, n_blocks * block - n_values)).reshape(n_blocks, block)
    inside = jnp.matmul(values, jnp.triu(jnp.ones((block, block), values.dtype)), precision=EXACT)
    before = _cumulative_sum(inside[:, -1]) - inside[:, -1]
    return (inside + before[:, None]).reshape(-1)[:n_values]


def _pairs_of_stimuli(n: int, mask: np.ndarray | None, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of all pairs, [length] int32; padding and pairs outside `mask` are of stimulus n."""
    rows, columns = (np.full(length, n, np.int32) for _ in range(2))
    end = 0
    for i in range(n - 1):  # np.triu_indices would take n^2 int64
        start, end = end, end + n - 1 - i
        rows[start:end], columns[start:end] = i, np.arange(i + 1, n)
    if mask is not None:
        outside = np.flatnonzero(~mask)
        rows[outside] = columns[outside] = n
    return rows, columns


def _in_chunks(
    chunk: Callable[..., jax.Array],
    constants: tuple[np.ndarray, ...],
    draws: np.ndarray,
    size: int,
    devices: Sequence[jax.Device],
    what: str,
) -> np.ndarray:
    """`chunk(constants, draws)` over chunks of `size` draws (`what`) on all devices, joined in order."""
    on_device = [jax.device_put(constants, device) for device in devices]
    n_chunks = -(-len(draws) // size)
    padded = np.concatenate([draws, np.repeat(draws[-1:], n_chunks * size - len(draws), axis=0)])

    def run(device: int, start: int) -> np.ndarray:
        part = jax.device_put(padded[start : start + size], devices[device])
        return np.asarray(chunk(on_device[device], part))

    starts = [size * i for i in range(n_chunks)]
    with progress.stage(what, len(draws)) as advance:
        parts = []
        for part in spread(run, starts, len(devices)):
            parts.append(part)
            advance(size)
    return np.concatenate(parts)[: len(draws)]
