"""Features and functions of the same items, joined by id, and which of both are held out from training."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from absl import logging
from ml_collections import ConfigDict

from humalign_jax import settings, storage
from humalign_jax.data import episodes, simulated_concepts, subtrees
from humalign_jax.data import functions as functions_lib
from humalign_jax.data.function_files import load_function_file
from humalign_jax.data.functions import Functions
from humalign_jax.records import Features
from humalign_jax.rsa import files
from humalign_jax.wiring import feature_matrix

SIMULATED = 'simulated'  # in place of a file
SCALINGS = ('none', 'rms')
USES = ('main', 'mid', 'raw')
WAYS = ('random', 'subtrees')  # how items and functions are held out
_DATA_KEYS = (
    'features', 'key', 'ids_file', 'ids_column', 'n_simulated', 'scaling', 'batch_size', 'split_seed', 'held_out_by',
    'held_out_items', 'held_out_items_file',
)  # fmt: skip
_FUNCTION_KEYS = ('use', *USES, 'key', 'min_positives', 'held_out', 'held_out_file')


@dataclasses.dataclass(frozen=True)
class FunctionData:
    """Items with features and functions, split for training.

    Attributes:
        features: Features as read, [n, d].
        shift: Subtracted from the features before training, [d].
        divisor: By which they are divided thereafter.
        functions: Functions of those items that have both, all usable.
        rows: Rows of these items in `features`, [m].
        train_items: Which of the m items are trained on, bool, [m]; the others are held out.
        train_functions: Which of the functions are trained on, bool, [f]; the others are held out.
        evaluated: Which of the functions the held-out items can evaluate, bool, [f].
        medians: Of dense functions on the training items, [f]; None for sparse functions.
        scale: Standard deviation of the magnitudes of the training functions.
        has_magnitudes: False where all positive values are equal, so that only labels can be learnt.
        left_out: How many functions are not usable, by reason.
    """

    features: Features
    shift: np.ndarray
    divisor: float
    functions: Functions
    rows: np.ndarray
    train_items: np.ndarray
    train_functions: np.ndarray
    evaluated: np.ndarray
    medians: np.ndarray | None
    scale: float
    has_magnitudes: bool
    left_out: Mapping[str, int]

    def scaled(self, values: np.ndarray) -> np.ndarray:
        """Features as the model takes them, float32, [n, d]."""
        return ((values - self.shift) / self.divisor).astype(np.float32)

    def part(self, items: np.ndarray, chosen: np.ndarray) -> tuple[np.ndarray, Functions, np.ndarray | None]:
        """Features [k, d], functions and medians of some items [m] and functions [f], both given as masks."""
        functions = self.functions.select(chosen).select_items(self.functions.item_ids[items])
        medians = None if self.medians is None else self.medians[chosen]
        return self.scaled(self.features.values[self.rows[items]]), functions, medians

    def digests(self) -> dict[str, str]:
        """Hashes of everything that is trained on, by name."""
        functions = self.functions
        return {
            'features': storage.array_digest(self.features.values),
            'item ids': storage.array_digest(self.features.ids),
            'functions': storage.array_digest(np.concatenate([functions.indptr, functions.indices, functions.values])),
            'function ids': storage.array_digest(functions.function_ids),
            'items with functions': storage.array_digest(functions.item_ids),
            'training items': storage.array_digest(self.train_items),
            'training functions': storage.array_digest(self.train_functions),
        }


def read(config: ConfigDict, *, n_items: int) -> FunctionData:
    """Reads `config.data` and `config.functions`.

    Args:
        config: The config of the experiment.
        n_items: Items of an episode, which training and held-out items must suffice for.

    Raises:
        ValueError: A file is missing or damaged, features and functions share no item, no function is usable, or
            nothing or everything is held out.
    """
    section, wanted = config.data, config.functions
    settings.check_keys(section, _DATA_KEYS, 'config.data')
    settings.check_keys(wanted, _FUNCTION_KEYS, 'config.functions')
    for where, value, known in (
        ('data.scaling', section.scaling, SCALINGS),
        ('data.held_out_by', section.held_out_by, WAYS),
        ('functions.use', wanted.use, USES),
    ):
        if value not in known:
            raise ValueError(f'config.{where}={value!r} is unknown.{settings.nearest(value, known)}')
    features = read_features(section)
    functions = _read_functions(section, wanted, features)
    rows = np.flatnonzero(np.isin(features.ids, functions.item_ids))
    if not len(rows):
        raise ValueError(
            f'features {features.name!r} and functions {functions.name!r} have no item in common: ids are such as '
            f'{str(features.ids[0])!r} and {str(functions.item_ids[0])!r}.'
        )
    logging.info('%d of %d items have both features and functions.', len(rows), len(features.ids))
    functions = functions.select_items(features.ids[rows])
    in_branches = None  # functions of held-out branches
    if section.held_out_by == 'subtrees':
        train_items, in_branches = _subtrees(section, wanted, functions, features)
    else:
        items_file, where = section.held_out_items_file, 'data.held_out_items'
        train_items = ~_held_out(functions.item_ids, section.held_out_items, items_file, section.split_seed, where)
    for name, n in (('training', int(train_items.sum())), ('held-out', int((~train_items).sum()))):
        if n < n_items:
            raise ValueError(
                f'{n} {name} items do not fill an episode of {n_items}: change config.data.held_out_items, or lower '
                'config.episodes.length.'
            )
    if in_branches is not None:
        functions, held_out, evaluated, left_out = _usable_by_subtree(
            functions, train_items, in_branches, wanted.min_positives
        )
        medians = None
    else:
        functions, left_out, medians = _usable(functions, train_items, wanted.min_positives)
        held_out, evaluated = np.zeros(len(functions), bool), np.ones(len(functions), bool)
        if wanted.held_out or wanted.held_out_file:
            names, path = functions.function_ids, wanted.held_out_file
            held_out = _held_out(names, wanted.held_out, path, section.split_seed, 'functions.held_out')
    training = functions.select(~held_out).select_items(functions.item_ids[train_items])
    of_training = None if medians is None else medians[~held_out]
    values = np.asarray(features.values[rows[train_items]], np.float64)
    shift, divisor = np.zeros(values.shape[1]), 1.0
    if section.scaling == 'rms':
        shift = values.mean(axis=0)
        divisor = float(np.sqrt(np.mean((values - shift) ** 2)))
    data = FunctionData(
        features=features,
        shift=shift,
        divisor=divisor,
        functions=functions,
        rows=rows,
        train_items=train_items,
        train_functions=~held_out,
        evaluated=evaluated,
        medians=medians,
        scale=episodes.magnitude_scale(training, of_training),
        has_magnitudes=medians is not None or float(np.ptp(training.values)) > 0,
        left_out=left_out,
    )
    logging.info(
        '%d functions of %r for training and %d held out (not usable: %s); %d items for training and %d held out.',
        np.sum(~held_out), functions.name, held_out.sum(), left_out, train_items.sum(), (~train_items).sum(),
    )  # fmt: skip
    return data


def read_features(section: ConfigDict) -> Features:
    """Features with ids, from the file `section.features` (see `feature_matrix`), or simulated.

    Raises:
        ValueError: The file is missing or damaged, has no ids, or has values that are not finite.
    """
    if section.features == SIMULATED:
        return _simulated(section).features
    if not section.features:
        raise ValueError(
            "config.data.features names no file: give one with an array [n, d], or 'simulated' for made-up concepts."
        )
    return feature_matrix.read_features(section, seed=section.split_seed)


def read_file(section: ConfigDict, path: str) -> Features:
    """Features of another file than that of `config.data`, which holds one array and its ids."""
    return read_features(ConfigDict({**section.to_dict(), 'features': path, 'key': '', 'ids_file': ''}))


def _read_functions(section: ConfigDict, wanted: ConfigDict, features: Features) -> Functions:
    """The functions of `config.functions.use`; items of a file without ids are those of the features."""
    path = wanted[wanted.use]
    if wanted.use == 'raw':
        neurons = read_file(section, path) if path else features
        names = [f'neuron/{i:05d}' for i in range(neurons.values.shape[1])]
        simulated = bool(neurons.provenance.get('simulated', False))
        return Functions.from_dense(neurons.values.T, neurons.ids, names, 'neurons', simulated=simulated)
    if path == SIMULATED:
        made = _simulated(section)
        return made.functions if wanted.use == 'main' else made.mid_functions
    if not path:
        raise ValueError(f'config.functions.{wanted.use} names no file: give the codes.npz of configs/sae.py.')
    return load_function_file(path, item_ids=np.asarray(features.ids), key=wanted.key)


def _simulated(section: ConfigDict) -> simulated_concepts.SimulatedConcepts:
    return simulated_concepts.simulate_concepts(section.n_simulated, seed=section.split_seed)


def _held_out(names: np.ndarray, share: float, path: str, seed: int, where: str) -> np.ndarray:
    """Which of the names are held out, bool, [n]: those in a file, else a random share.

    Raises:
        ValueError: None or all are held out, or no name of the file is known.
    """
    if path:
        held_out = np.isin(names, files.load_ids(path, 'id'))
        what = f'{path} holds out'
    else:
        order = np.random.default_rng([seed, len(names)]).permutation(len(names))
        held_out = np.isin(np.arange(len(names)), order[: round(share * len(names))])
        what = f'config.{where}={share:g} holds out'
    if held_out.all() or not held_out.any():
        raise ValueError(f'{what} {held_out.sum()} of {len(names)}: some must be held out, and some trained on.')
    return held_out


def _subtrees(
    section: ConfigDict, wanted: ConfigDict, functions: Functions, features: Features
) -> tuple[np.ndarray, np.ndarray | None]:
    """Training items [n], and held-out functions [f], by whole branches of the functions `config.functions.main`.

    The same items are held out from other functions (`config.functions.use`), which have no branches: None.
    """
    if section.held_out_items_file or wanted.held_out_file:
        raise ValueError(
            "config.data.held_out_by='subtrees' draws what is held out: leave config.data.held_out_items_file and "
            'config.functions.held_out_file empty.'
        )
    is_main = wanted.use == 'main'
    main = functions
    if not is_main:
        main = _read_functions(section, ConfigDict({**wanted.to_dict(), 'use': 'main'}), features)
        main = main.select_items(functions.item_ids)
    if not main.are_sparse:
        raise ValueError("config.data.held_out_by='subtrees' needs sparse functions in config.functions.main.")
    items, held_out = subtrees.hold_out_subtrees(
        main, section.held_out_items, seed=section.split_seed, smallest=wanted.min_positives
    )
    return ~items, held_out if is_main else None


def _usable_by_subtree(
    functions: Functions, train_items: np.ndarray, held_out: np.ndarray, min_positives: int
) -> tuple[Functions, np.ndarray, np.ndarray, dict[str, int]]:
    """Functions that can be trained on, or are held out and can be evaluated; which are held out, and which evaluated.

    A branch has its items on one side, so that its function is usable on that side alone.
    """
    limits = {'min_positives': min_positives, 'min_negatives': min_positives}
    of_training, of_held_out = (
        functions_lib.why_unusable(functions, **limits, item_sets={'': np.flatnonzero(items)})
        for items in (train_items, ~train_items)
    )
    reasons = np.where(held_out, of_held_out, of_training)
    chosen = reasons == ''
    for what, some in (('held-out', chosen & held_out), ('training', chosen & ~held_out)):
        if not some.any():
            raise ValueError(
                f'no {what} function of {functions.name!r} has {min_positives} positive and as many negative items: '
                'lower config.functions.min_positives, or change config.data.held_out_items.'
            )
    left_out = {reason: int(np.sum(reasons == reason)) for reason in functions_lib.REASONS}
    return functions.select(chosen), held_out[chosen], of_held_out[chosen] == '', left_out


def _usable(
    functions: Functions, train_items: np.ndarray, min_positives: int
) -> tuple[Functions, dict[str, int], np.ndarray | None]:
    """One list of functions for training and evaluation, how many were left out and why, and medians of dense ones."""
    if functions.are_sparse:
        sets = {'training': np.flatnonzero(train_items), 'held-out': np.flatnonzero(~train_items)}
        usable, left_out = functions_lib.usable(
            functions, min_positives=min_positives, min_negatives=min_positives, item_sets=sets
        )
        return usable, left_out, None
    values = functions.dense()
    medians = np.median(values[:, train_items], axis=1)
    above = values > medians[:, None]
    enough = np.ones(len(functions), bool)
    for chosen in (train_items, ~train_items):
        n_above = above[:, chosen].sum(axis=1)
        enough &= (n_above >= min_positives) & (chosen.sum() - n_above >= min_positives)
    if not enough.any():
        raise ValueError(
            f'none of the {len(functions)} dense functions {functions.name!r} has {min_positives} items above its '
            'median and as many below, in training and held-out items: lower config.functions.min_positives.'
        )
    return functions.select(enough), {'one-sided': int((~enough).sum())}, medians[enough]


def provenance_of(data: FunctionData) -> dict[str, Any]:
    """What scores and layers say of the data."""
    return {
        'data': data.features.name,
        'functions': data.functions.name,
        'simulated': data.functions.simulated or bool(data.features.provenance.get('simulated', False)),
        'features_sha256': storage.array_digest(data.features.values),
        'stimuli_sha256': storage.array_digest(data.features.ids),
        'n_train_items': int(data.train_items.sum()),
        'n_train_functions': int(data.train_functions.sum()),
    }
