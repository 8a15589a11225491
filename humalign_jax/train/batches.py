"""What batches are made of, and which examples make up a batch, in training and in evaluation."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping

import jax
import jax.numpy as jnp
import numpy as np

Batch = dict[str, jax.Array]
MakeBatch = Callable[[Mapping[str, jax.Array], jax.Array, jax.Array | None], Batch]


@dataclasses.dataclass(frozen=True)
class Examples:
    """What the batches of a training or evaluation are made of.

    Attributes:
        n: Number of examples.
        arrays: Arrays that stay on the devices, by name; any shapes.
        make_batch: `(arrays, rows [b], keys [b]) -> batch`, pure; it runs inside the compiled step. `rows` are numbers
            of examples, below n. `keys` are typed PRNG keys, one per example, or None in evaluation, where nothing is
            random. In training `arrays` also holds `epoch`, the number of the pass over the examples, int32 [], and
            `run_key`, the run's key, uint32 [2].
    """

    n: int
    arrays: Mapping[str, np.ndarray]
    make_batch: MakeBatch


def example_batch(examples: Examples) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes and dtypes of a training batch of two examples; nothing is computed."""

    def make(arrays: Mapping[str, jax.Array]) -> Batch:
        keys = jax.random.split(jax.random.key(0), 2)
        return with_mask(examples.make_batch(arrays, jnp.zeros(2, jnp.int32), keys), jnp.ones(2, jnp.float32))

    return jax.eval_shape(make, dict(examples.arrays))


def with_mask(batch: Batch, mask: jax.Array) -> Batch:
    """The batch with `mask` [b]: 1 for examples, 0 for padding."""
    return {**batch, 'mask': mask}


def epoch_order(n: int, batch_size: int, *, seed: int, epoch: int) -> np.ndarray:
    """Rows of every training batch of one epoch, a function of (seed, epoch) alone.

    Args:
        n: Number of training examples.
        batch_size: Examples per step, over all devices.
        seed: The run's seed.
        epoch: Number of the epoch, from 0.

    Returns:
        int32, [n // batch_size, batch_size]. The remainder of the shuffled examples is left out of this epoch.

    Raises:
        ValueError: There are fewer examples than one batch needs.
    """
    if n < batch_size:
        raise ValueError(f'{n} training examples do not fill one batch of {batch_size}: lower config.data.batch_size.')
    order = np.random.default_rng([seed, epoch]).permutation(n)
    n_steps = n // batch_size
    return order[: n_steps * batch_size].reshape(n_steps, batch_size).astype(np.int32)


def padded_batches(n: int, batch_size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows 0..n-1 in batches of one size: yields (rows [b], mask [b]); padding repeats the last row, with mask 0."""
    for first in range(0, n, batch_size):
        rows = np.arange(first, first + batch_size)
        yield np.minimum(rows, n - 1).astype(np.int32), (rows < n).astype(np.float32)
