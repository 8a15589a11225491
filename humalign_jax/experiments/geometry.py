"""Geometry of representations: class separation, dimensionality, CKA with human embeddings, and maps before and after.

Writes

    scores.jsonl                geometry/<measure> of every representation and on average over each group of networks,
                                and geometry/<measure>/difference from config.reference
    maps/<name>_<method>.npy    coordinates of items, aligned to the first map
"""

import pathlib
from typing import Any

from absl import logging
from ml_collections import ConfigDict

from humalign_jax import progress, rsa, settings, storage
from humalign_jax.alignment import geometry_scores, scoring
from humalign_jax.alignment.geometry_scores import Geometry
from humalign_jax.records import Score
from humalign_jax.wiring import geometry as wiring
from humalign_jax.wiring import maps
from humalign_jax.wiring.triplets import JOINS

KEYS = (
    'experiment', 'seed', 'features', 'arrays', 'names', 'groups', 'layers', 'baselines', 'stimuli', 'join',
    'embeddings', 'reference', 'human', 'categories', 'n_bootstrap', 'maps', 'simulated',
)  # fmt: skip


def run(config: ConfigDict, workdir: str) -> None:
    """Writes scores and maps into the workdir.

    Raises:
        ValueError: A setting is invalid, a file is missing or wrong, or representations lack items.
    """
    _check(config)
    loaded = wiring.simulate(config) if config.simulated.n_stimuli > 0 else wiring.load(config)
    names = [one.source.name for one in loaded.features]
    if config.reference and config.reference not in names:
        raise ValueError(
            f'config.reference={config.reference!r} is no representation.{settings.nearest(config.reference, names)}'
        )
    scores = _scores(config, loaded)
    if config.maps.methods:
        options = settings.plain(config.maps)
        maps.write_maps(pathlib.Path(workdir) / 'maps', loaded, **options, reference=config.reference, seed=config.seed)
    storage.write_jsonl(pathlib.Path(workdir) / 'scores.jsonl', [score.to_json() for score in scores])
    for score in scores:
        said = score.provenance
        logging.info(
            '%s, %s %s: %.4f [%.4f, %.4f]', said['model'], score.name, said.get('human_embedding', ''), score.value,
            score.low, score.high,
        )  # fmt: skip


def _scores(config: ConfigDict, loaded: wiring.GeometryData) -> list[Score]:
    """Scores of every representation, of each group on average, and differences."""
    samples = geometry_scores.draw_items(len(loaded.ids), config.n_bootstrap, config.seed)
    classes = {kind: found.members for kind, found in loaded.classes.items()}
    human = {one.source.name: one.values for one in loaded.features if one.human}
    shared = {**wiring.about_items(loaded), 'seed': config.seed}
    measured: dict[str, tuple[Geometry, dict[str, Any]]] = {}
    groups: dict[str, list[str]] = {}
    for one in progress.each(loaded.features, 'representations', lambda one: one.source.name):
        name = one.source.name
        others = {key: values for key, values in human.items() if key != name}
        measured[name] = geometry_scores.geometry_of(one.values, classes, others, samples), {**shared, **one.about}
        if one.source.group:
            groups.setdefault(one.source.group_name, []).append(name)
    for name, members in groups.items():
        if name in measured:
            raise ValueError(f'config.groups: {name!r} is the name of a representation too; name the group otherwise.')
        abouts = {member: measured[member][1] for member in members}
        about = scoring.about_networks(abouts[members[0]]['group'], abouts)
        measured[name] = geometry_scores.mean_geometry([measured[member][0] for member in members]), about
    scores = [score for found, about in measured.values() for score in geometry_scores.scores_of(found, about)]
    pairs = [(name, config.reference) for name in measured if config.reference and name != config.reference]
    pairs += [(name, next(iter(groups))) for name in list(groups)[1:]]  # the others are ablations of the first group
    for name, other in pairs:
        found, about = measured[name]
        if not about.get('baseline'):
            scores += geometry_scores.difference_scores(found, measured[other][0], {**about, 'other': other})
    return scores


def _check(config: ConfigDict) -> None:
    """Raises ValueError for a section or value that cannot be, before anything is read."""
    settings.check_keys(config, KEYS, 'config')
    for section, keys in (
        ('stimuli', ('dataset', 'split', 'ids_file')),
        ('human', ('root', 'stimuli_file')),
        ('categories', ('file', 'ids_column', 'coarse', 'fine')),
        ('maps', ('methods', 'categories', 'n_per_class', 'measure', 'perplexity')),
        ('simulated', ('n_stimuli',)),
    ):
        settings.check_keys(config[section], keys, f'config.{section}')
    if config.join not in JOINS:
        raise ValueError(f'config.join={config.join!r} must be one of {", ".join(JOINS)}.')
    if config.maps.measure not in rsa.TSNE_MEASURES:
        raise ValueError(f'config.maps.measure={config.maps.measure!r} must be one of {", ".join(rsa.TSNE_MEASURES)}.')
    unknown = [method for method in config.maps.methods if method not in maps.METHODS]
    if unknown:
        raise ValueError(f'config.maps.methods has {unknown[0]!r}.{settings.nearest(unknown[0], maps.METHODS)}')
