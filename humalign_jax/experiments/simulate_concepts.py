"""Simulated concepts as the files that real data have: features, functions, and people who use known dimensions.

    features.npy            features of a network with ids, which hold more than people use
    functions.npz           concept functions of the dimensions that people use; mid_functions.npz of all dimensions
    concepts.tsv            the concepts, in columns of THINGS; the category is the largest of these dimensions
    triplets.npz            odd-one-out choices in THINGS's layout: column 2 of `triplets` is the odd one
    embeddings.npz          `human`: the dimensions that people use
    category_learning.csv   choices of people whose feedback follows one of the first three of these dimensions
    reward_learning.csv

`data.simulated_concepts` says how features and functions are made. People choose the most similar pair of three by a
softmax over scalar products of the dimensions that they use.
"""

import pathlib

import numpy as np
from ml_collections import ConfigDict

from humalign_jax import settings, storage
from humalign_jax.data import functions as functions_lib
from humalign_jax.data.simulated_concepts import SimulatedConcepts, simulate_concepts
from humalign_jax.human import learning as tables
from humalign_jax.human import things
from humalign_jax.records import Features
from humalign_jax.rsa import files
from humalign_jax.wiring import learning, triplets

KEYS = ('experiment', 'seed', 'n_items', 'n_triplets', 'n_participants', 'n_trials')
HUMAN = 'human'  # array of embeddings.npz
N_RULES = 3
_STRENGTHS = (1e-2, 1.0, 1e2)  # penalties of the simulated learners


def run(config: ConfigDict, workdir: str) -> None:
    """Writes the files into the workdir."""
    settings.check_keys(config, KEYS, 'config')
    folder, made = pathlib.Path(workdir), simulate_concepts(config.n_items, seed=config.seed)
    files.save_features(folder / 'features.npy', made.features)
    functions_lib.save_functions(folder / 'functions.npz', made.functions)
    functions_lib.save_functions(folder / 'mid_functions.npz', made.mid_functions)
    ids = np.asarray(made.features.ids)
    categories = made.human.argmax(axis=1)
    lines = ['unique_id\ttriplet_source_index\tcategory_top_down']
    lines += [f'{one}\t{row}\t{category}' for row, (one, category) in enumerate(zip(ids, categories))]
    storage.write_text(folder / things.CONCEPTS_FILE, '\n'.join(lines) + '\n')
    with storage.atomic_file(folder / 'embeddings.npz') as file:
        np.savez(file, **{HUMAN: made.human})
    with storage.atomic_file(folder / 'triplets.npz') as file:
        np.savez(file, triplets=_odd_last(config, made))
    storage.write_json(folder / 'triplets.json', {'name': 'simulated people', 'simulated': True})
    rule, np_rng = Features(made.human[:, :N_RULES], ids, 'rule'), np.random.default_rng([config.seed, 2])
    for task in tables.TASKS:
        choices = learning.simulate_people(
            task, rule, np_rng, n_participants=config.n_participants, n_trials=config.n_trials, strengths=_STRENGTHS
        )
        tables.write_choices(folder / f'{task}_learning.csv', choices)


def _odd_last(config: ConfigDict, made: SimulatedConcepts) -> np.ndarray:
    """Odd-one-out choices of simulated people, rows of concepts, int64, [t, 3]; column 2 is the odd one."""
    np_rng = np.random.default_rng([config.seed, 1])
    items = triplets.draw_triplets(config.n_items, config.n_triplets, np_rng)
    a, b, c = (made.human[items[:, place]] for place in range(3))
    similarity = np.stack([(b * c).sum(axis=1), (a * c).sum(axis=1), (a * b).sum(axis=1)], axis=1)
    odd = triplets.draw_odd(np.exp(similarity - similarity.max(axis=1, keepdims=True)), np_rng)
    order = np.argsort(np.arange(3) == odd[:, None], axis=1, kind='stable')
    return np.take_along_axis(items, order, axis=1)
