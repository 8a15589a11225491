"""The feature matrix that a config names: a file from `extract` or from elsewhere, with stimulus ids, or simulated."""

import dataclasses
import pathlib

import numpy as np
from ml_collections import ConfigDict

from humalign_jax import settings, text
from humalign_jax.data import synthetic_features
from humalign_jax.data.functions import Functions
from humalign_jax.records import Features
from humalign_jax.rsa import files, pairs
from humalign_jax.wiring import layer_folders
from humalign_jax.wiring.words import in_flags

KEYS = ('features', 'key', 'ids_file', 'ids_column')
SIMULATED = ('n_items', 'n_features', 'n_functions', 'n_active', 'noise_sd')
_WORDS = (
    (r'choose an array with key=\.\.\.', 'name the array, --config.data.key=NAME'),
    (r',? ?(?:choose (?:one|others) with )?ids_key=\.\.\.[^:]*$', ' keep the right ones alone, named ids.'),
)


def read_features(section: ConfigDict, *, seed: int) -> Features:
    """The features of `config.data`.

    Args:
        section: `features` (file, see `rsa.files`; '' for simulated features of the sizes in `SIMULATED`), `key` (which
            array of the file), `ids_file` and `ids_column` (see `read_ids`), for files without ids.
        seed: Seed of simulated features.

    Raises:
        ValueError: The file is missing, damaged, not finite or without ids; or neither a file nor sizes are given.
    """
    if not section.features:
        return simulate(section, seed=seed)[0]
    path = pathlib.Path(section.features)
    ids = read_ids(section.ids_file, section.ids_column) if section.ids_file else None
    with in_flags(_WORDS):
        features = files.load_features(path, key=section.key or None, ids=ids, name=section.key or None)
    if not pairs.has_ids(features):
        raise ValueError(
            f'{path} has no stimulus ids, and everything joins by id: list them, one a line for each row, with '
            '--config.data.ids_file=FILE (a table with a column of ids will do, --config.data.ids_column=NAME).'
        )
    layer_folders.check_finite(features, path, 'Extract them again, or leave these items out.')
    simulated = bool(layer_folders.provenance_of(path).get('simulated'))
    return dataclasses.replace(features, provenance={**features.provenance, 'simulated': simulated})


def simulate(section: ConfigDict, *, seed: int) -> tuple[Features, Functions, np.ndarray]:
    """Simulated features of the sizes in `config.data`, their functions and directions.

    Raises:
        ValueError: A size is missing.
    """
    missing = [key for key in SIMULATED if key not in section]
    if missing:
        raise ValueError(
            'config.data.features is empty: name a file of features [n, d] (.npy, .npz, .h5, .mat or .csv), such as a '
            f'layer that configs/extract.py wrote. Simulated features need {", ".join(missing)}, as in :tiny.'
        )
    sizes = {key: section[key] for key in SIMULATED}
    return synthetic_features.simulate_features(**sizes, seed=seed)


def read_ids(path: str, column: str = '') -> np.ndarray:
    """Stimulus ids from a text file, one a line, or from a column of a table with a header (.tsv, .csv): [n] strings.

    Raises:
        ValueError: The file is missing, or the table has no such column.
    """
    suffix = pathlib.Path(path).suffix
    if suffix not in ('.tsv', '.csv'):
        return files.load_ids(path)
    separator = '\t' if suffix == '.tsv' else ','
    rows = [line.split(separator) for line in text.lines_of(text.read_text(path)[0]) if line]
    if not rows or column not in rows[0]:
        header = ', '.join(rows[0]) if rows else 'none'
        raise ValueError(f'{path} has no column {column!r}: its columns are {header} (--config.data.ids_column).')
    place = rows[0].index(column)
    short = next((line for line, row in enumerate(rows, start=1) if len(row) <= place), None)
    if short is not None:
        raise ValueError(f'{path}, line {short}, has {len(rows[short - 1])} columns instead of {len(rows[0])}.')
    return np.array([row[place] for row in rows[1:]], dtype=np.str_)


def check_keys(section: ConfigDict, more: tuple[str, ...]) -> None:
    """Raises ValueError if `config.data` lacks one of `KEYS` or `more`, or has an unknown key."""
    settings.check_keys(section, (*KEYS, *more), 'config.data', optional=SIMULATED)
