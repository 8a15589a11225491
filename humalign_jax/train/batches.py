"""Which rows of the resident images make up a batch, in training and in evaluation."""

from collections.abc import Iterator

import numpy as np


def epoch_order(n: int, batch_size: int, *, seed: int, epoch: int) -> np.ndarray:
    """Rows of every training batch of one epoch, a function of (seed, epoch) alone.

    Args:
        n: Number of training images.
        batch_size: Images per step, over all devices.
        seed: The run's seed.
        epoch: Number of the epoch, from 0.

    Returns:
        int32, [n // batch_size, batch_size]. The remainder of the shuffled images is left out of this epoch.

    Raises:
        ValueError: There are fewer images than one batch needs.
    """
    if n < batch_size:
        raise ValueError(f'{n} training images do not fill one batch of {batch_size}: lower config.data.batch_size.')
    order = np.random.default_rng([seed, epoch]).permutation(n)
    n_steps = n // batch_size
    return order[: n_steps * batch_size].reshape(n_steps, batch_size).astype(np.int32)


def padded_batches(n: int, batch_size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows 0..n-1 in batches of one size: yields (rows [b], mask [b]); padding repeats the last row, with mask 0."""
    for first in range(0, n, batch_size):
        rows = np.arange(first, first + batch_size)
        yield np.minimum(rows, n - 1).astype(np.int32), (rows < n).astype(np.float32)
