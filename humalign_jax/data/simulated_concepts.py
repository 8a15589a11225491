"""Simulated concepts with features and functions, where it is known which part of the features people use."""

import dataclasses

import numpy as np

from humalign_jax.data.functions import Functions
from humalign_jax.records import Features, stimulus_ids

NAME = 'simulated-concepts'
NUISANCE_SD = 1.0  # of the dimensions that people do not use; those that they use have 1
NOISE_SD = 0.1  # of each feature


@dataclasses.dataclass(frozen=True)
class SimulatedConcepts:
    """Concepts that people see in a few dimensions, and a network's features that also hold larger other dimensions.

    Attributes:
        features: A mixture of both kinds of dimensions and noise, [n, d].
        human: The dimensions that people use, [n, k]; their similarity of two concepts is the scalar product.
        functions: What people know: non-negative values, 0.1 of the items positive, in human dimensions only.
        mid_functions: As many functions of the features as a whole, as of a layer that knows no concepts yet.
    """

    features: Features
    human: np.ndarray
    functions: Functions
    mid_functions: Functions


def simulate_concepts(
    n_items: int, *, n_features: int = 32, n_functions: int = 64, n_human: int = 6, seed: int = 0
) -> SimulatedConcepts:
    """Simulated concepts, a function of the arguments alone.

    Args:
        n_items: Number of concepts n.
        n_features: Features of a concept d.
        n_functions: Functions of each kind f.
        n_human: Dimensions that people use k; there are twice as many others.
        seed: Seed.
    """
    np_rng = np.random.default_rng([seed, n_items])
    human, other = np_rng.normal(size=(n_items, n_human)), NUISANCE_SD * np_rng.normal(size=(n_items, 2 * n_human))
    mixing = np_rng.normal(size=(3 * n_human, n_features)) / np.sqrt(3 * n_human)
    values = np.hstack([human, other]) @ mixing + NOISE_SD * np_rng.normal(size=(n_items, n_features))
    ids = stimulus_ids(NAME, 'train', np.arange(n_items))
    made = {'simulated': True, 'seed': seed}
    functions, mid_functions = (
        Functions.from_dense(
            _functions_of(source, n_functions, np_rng), ids, [f'{name}/{i:04d}' for i in range(n_functions)], name,
            simulated=True, provenance=made,
        )
        for name, source in (('concepts', human), ('mid', values))
    )  # fmt: skip
    features = Features(values.astype(np.float32), ids, NAME, made)
    return SimulatedConcepts(features, human.astype(np.float32), functions, mid_functions)


def _functions_of(source: np.ndarray, n_functions: int, np_rng: np.random.Generator) -> np.ndarray:
    """Rectified projections on random directions, 0 for 0.9 of the items: [n, k] -> [f, n]."""
    projected = np_rng.normal(size=(n_functions, source.shape[1])) @ source.T
    projected /= projected.std(axis=1, keepdims=True)
    return np.maximum(projected - np.quantile(projected, 0.9, axis=1, keepdims=True), 0.0)
