"""What the experiment `geometry` compares: items with their classes, and representations of them; or all simulated."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from absl import logging
from ml_collections import ConfigDict

from humalign_jax import settings, storage
from humalign_jax.data import files as data_files
from humalign_jax.data import simulated_concepts
from humalign_jax.human import categories, things
from humalign_jax.human.categories import Categories
from humalign_jax.records import Features
from humalign_jax.rsa import files
from humalign_jax.wiring import layer_folders
from humalign_jax.wiring import triplets as wiring
from humalign_jax.wiring.triplets import Source

_PER_CONCEPT = 3  # simulated items of each concept
_GROUP = 'main'  # simulated networks of two seeds


@dataclasses.dataclass(frozen=True)
class ItemFeatures:
    """One representation of the items.

    Attributes:
        source: Where it comes from.
        values: Features, [n, d].
        about: Provenance of its scores.
        human: Whether it is a human embedding, with which the others are compared.
    """

    source: Source
    values: np.ndarray
    about: Mapping[str, Any]
    human: bool


@dataclasses.dataclass(frozen=True)
class GeometryData:
    """Items and their representations.

    Attributes:
        ids: Ids of the items, [n].
        name: Name of their table.
        classes: Their classes, 'coarse' and 'fine', those with fewer than two items left out.
        features: Their representations.
        simulated: Whether all is made up.
    """

    ids: np.ndarray
    name: str
    classes: Mapping[str, Categories]
    features: list[ItemFeatures]
    simulated: bool


def load(config: ConfigDict) -> GeometryData:
    """The table of items and the representations that a config names.

    Raises:
        ValueError: A file is missing or wrong, or representations lack items.
    """
    sources = wiring.find_sources(ConfigDict({**settings.plain(config), 'measures': ()}))  # which need no measure
    root = data_files.data_root(config.human.root)
    root = root / 'things' if (root / 'things').is_dir() else root
    path = pathlib.Path(config.categories.file or root / things.CONCEPTS_FILE).expanduser()
    if not path.is_file():
        raise ValueError(
            f'there is no table of items {path}: name one in config.categories.file, or the folder with '
            f'{things.CONCEPTS_FILE} in config.human.root (third_party/things).'
        )
    columns = {kind: config.categories[kind] for kind in ('coarse', 'fine') if config.categories[kind]}
    ids, classes = categories.load_categories(path, config.categories.ids_column, columns)
    concepts = _concepts(classes) if 'fine' in classes else None
    read = [wiring.read_source(source, config, ids, f'{path}') for source in sources]
    kept = np.ones(len(ids), bool)
    if config.human.stimuli_file:
        kept &= np.isin(ids, files.load_ids(config.human.stimuli_file))
        if not kept.any():
            raise ValueError(f'{config.human.stimuli_file}: {path} has none of these items.')
    rows = []
    for source, (features, _) in zip(sources, read):
        is_human = source.model in config.embeddings
        found = _rows(features, concepts if is_human and concepts is not None else ids, ids)
        lacks = kept & (found < 0)
        if lacks.any() and (config.join != 'shared' or np.array_equal(lacks, kept)):
            raise ValueError(
                f'{source.name} lacks {lacks.sum()} of {kept.sum()} items of {path}, the first of them '
                f'{str(ids[lacks][0])!r}: --config.join=shared leaves such items out, where others are left.'
            )
        if lacks.any():
            logging.warning('%s lacks %d of %d items, which are left out.', source.name, lacks.sum(), kept.sum())
        kept &= found >= 0
        rows.append(found)
    placed = []
    for source, (features, joined), found in zip(sources, read, rows):
        if source.path is not None:
            layer_folders.check_finite(features, source.path, 'Leave it out of config.features.')
        values = np.asarray(features.values)[found[kept]]
        about = wiring.provenance_of(source, features, joined)
        placed.append(ItemFeatures(source, values, about, source.model in config.embeddings))
    chosen = {kind: found.take(np.flatnonzero(kept)) for kind, found in classes.items()}
    simulated = any(layer_folders.provenance_of(one.path).get('simulated') for one in sources if one.path is not None)
    return GeometryData(ids[kept], path.name, _with_classes(chosen), placed, simulated)


def _with_classes(classes: Mapping[str, Categories]) -> dict[str, Categories]:
    """Sets of classes of which one has two items."""
    for kind, found in classes.items():
        if not found.names:
            logging.warning('No class of config.categories.%s has two items: its separation is not measured.', kind)
    return {kind: found for kind, found in classes.items() if found.names}


def _concepts(classes: Mapping[str, Categories]) -> np.ndarray:
    """Concept of each item, '' for none, [n]."""
    names = np.array(['', *classes['fine'].names], dtype=np.str_)
    members = classes['fine'].members
    return names[np.where(members.any(axis=1), members.argmax(axis=1) + 1, 0)]


def _rows(features: Features, wanted: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Row of each item, by its id, else by its concept; -1 where there is none: [n]."""
    row = {str(stimulus): k for k, stimulus in enumerate(np.asarray(features.ids).tolist())}
    return np.array([row.get(item, row.get(other, -1)) for item, other in zip(ids.tolist(), wanted.tolist())])


def simulate(config: ConfigDict) -> GeometryData:
    """Simulated concepts, of which each has several items.

    `base` has large dimensions that people do not use; two networks of the group `main` have them at a fifth of the
    size. A class is the concepts with large values in one human dimension.
    """
    n = -(-config.simulated.n_stimuli // _PER_CONCEPT)
    made = simulated_concepts.simulate_concepts(n, seed=config.seed)
    concept = np.repeat(np.arange(n), _PER_CONCEPT)
    ids = np.array([f'{made.features.ids[k]}/{i % _PER_CONCEPT}' for i, k in enumerate(concept)], dtype=np.str_)
    np_rng = np.random.default_rng([config.seed, n])
    base, human = np.asarray(made.features.values)[concept], made.human[concept]
    known = human @ np.linalg.lstsq(made.human, np.asarray(made.features.values), rcond=None)[0]
    less = known + 0.2 * (base - known)
    large = made.human > 1.0
    classes = {
        'coarse': Categories(tuple(f'category {k}' for k in range(large.shape[1])), large[concept]),
        'fine': Categories(tuple(map(str, made.features.ids)), concept[:, None] == np.arange(n)),
    }
    given = [('base', '', base, 0.3), ('main-0', _GROUP, less, 0.3), ('main-1', _GROUP, less, 0.3)]
    placed = []
    for name, group, values, noise in [*given, *((one, '', human, 0.0) for one in tuple(config.embeddings)[:1])]:
        noisy = (values + noise * np_rng.normal(size=values.shape)).astype(np.float32)
        is_human = name in config.embeddings
        features = Features(noisy, ids, name)
        source = Source(name, '', None, None, features, (), is_human, {}, group)
        about = {**wiring.provenance_of(source, features, 'id'), 'simulated': True}
        placed.append(ItemFeatures(source, noisy, about, is_human))
    whole = np.arange(len(ids))
    return GeometryData(
        ids, 'simulated concepts', _with_classes({k: c.take(whole) for k, c in classes.items()}), placed, True
    )


def about_items(loaded: GeometryData) -> dict[str, Any]:
    """Provenance that all scores about these items share."""
    return {
        'items': loaded.name,
        'n_items': len(loaded.ids),
        'stimuli_sha256': storage.array_digest(loaded.ids),
        'simulated': loaded.simulated,
    }
