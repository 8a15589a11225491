"""Simulated features whose sparse code is known: sums of a few directions, so that an analysis has a right answer."""

import numpy as np

from humalign_jax import records
from humalign_jax.data.functions import Functions

NAME = 'synthetic_features'


def simulate_features(
    *, n_items: int, n_features: int, n_functions: int, n_active: int, noise_sd: float, seed: int
) -> tuple[records.Features, Functions, np.ndarray]:
    """Features `codes @ directions + noise`, with the codes as functions.

    Args:
        n_items: Number of items n.
        n_features: Number of features d.
        n_functions: Number of functions f, which may exceed d.
        n_active: Functions that are not 0 for an item; their values are uniform in [0.5, 1.5].
        noise_sd: Standard deviation of Gaussian noise in each feature.
        seed: Seed.

    Returns:
        The features [n, d]; the functions, [f, n], simulated; their directions of norm 1, float32 [f, d].

    Raises:
        ValueError: More functions are active than there are.
    """
    if n_active > n_functions:
        raise ValueError(f'n_active={n_active} functions cannot be active of n_functions={n_functions}.')
    np_rng = np.random.default_rng(seed)
    directions = np_rng.normal(size=(n_functions, n_features))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    active = np.argsort(np_rng.random((n_items, n_functions)), axis=1)[:, :n_active]
    codes = np.zeros((n_items, n_functions))
    np.put_along_axis(codes, active, np_rng.uniform(0.5, 1.5, size=active.shape), axis=1)
    values = codes @ directions + noise_sd * np_rng.normal(size=(n_items, n_features))
    ids = records.stimulus_ids(NAME, 'train', np.arange(n_items))
    provenance = {'dataset': NAME, 'seed': seed, 'simulated': True}
    features = records.Features(values.astype(np.float32), ids, NAME, provenance)
    names = [f'{NAME}/{number:05d}' for number in range(n_functions)]
    functions = Functions.from_dense(codes.T, ids, names, NAME, simulated=True, provenance=provenance)
    return features, functions, directions.astype(np.float32)
