"""RSA of networks with people: every layer, by image and by class, with ceilings, baselines and tests over images.

Reads folders of layers (see `wiring.layer_folders`), all networks at once, and writes

    scores.jsonl                 rsa/<index> of every layer and baseline, rsa/<index>/difference of headline layers
    influence_<pairs>.npz        n times the derivative of each score by each image's weight
    rdm_class_<model>.npy        RDM of class means of the headline layer, condensed; `human` beside the models
    rdm_image_<model>.npy        RDM of the images ordered by class, averaged in at most 100 x 100 blocks
    figures/                     scores with ceilings, layer profiles, RDMs of classes

One image-level RDM is in memory beside people's.
"""

import operator
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from absl import logging
from ml_collections import ConfigDict

from humalign_jax import progress, rsa, settings, storage
from humalign_jax.alignment import rdm_scores
from humalign_jax.records import Score
from humalign_jax.wiring import rsa_display
from humalign_jax.wiring.representations import (
    CLASS_MEAN,
    HUMAN,
    PIXELS,
    SAME,
    Comparison,
    Representation,
    check_memory,
    features_of,
    human_rdm,
    load_comparison,
    rdm_of,
    simulate_comparison,
)

_KEYS = (
    'experiment', 'seed', 'n_devices', 'features', 'stimuli', 'names', 'layers', 'headline', 'human', 'measure',
    'human_measure', 'index', 'levels', 'pairs', 'baselines', 'n_splits', 'n_bootstrap', 'n_draws', 'simulated',
)  # fmt: skip
LEVELS = ('image', 'class')


def run(config: ConfigDict, workdir: str) -> None:
    """Writes scores, influences, RDMs for display and figures into the workdir.

    Raises:
        ValueError: A setting is invalid, files do not fit together, or memory does not suffice.
    """
    _check(config)
    folder = pathlib.Path(workdir)
    comparison = simulate_comparison(config) if config.simulated.n_models > 0 else load_comparison(config)
    check_memory(comparison)
    scores: list[Score] = []
    if 'image' in config.levels:
        scores += _image_level(config, comparison, folder)
    if 'class' in config.levels:
        scores += _class_level(config, comparison, folder)
    storage.write_jsonl(folder / 'scores.jsonl', [score.to_json() for score in scores])
    rsa_display.draw(config.index, comparison, scores, folder)
    for score in scores:
        provenance = score.provenance
        if provenance.get('headline') or provenance.get('baseline'):
            where = (provenance[key] for key in ('level', 'pairs', 'model', 'layer'))
            logging.info('%s, %s level, %s pairs, %s %s: %.3f [%.3f, %.3f]', score.name, *where,
                         score.value, score.low, score.high)  # fmt: skip


def _check(config: ConfigDict) -> None:
    settings.check_keys(config, _KEYS, 'config')
    for key, known in (
        ('levels', LEVELS),
        ('pairs', rsa.PAIRS),
        ('baselines', (SAME, CLASS_MEAN, PIXELS)),
    ):
        for value in tuple(config[key]):
            if value not in known:
                raise ValueError(f'config.{key} has {value!r}.{settings.nearest(value, known)}')
    if config.index not in ('spearman', 'pearson'):
        raise ValueError(f"config.index={config.index!r} must be 'spearman' or 'pearson'.")
    if config.n_splits < 1 or config.n_bootstrap < 20 or config.n_draws < 100:
        raise ValueError(
            f'config.n_splits={config.n_splits} must be 1 or more, n_bootstrap={config.n_bootstrap} 20 or more, and '
            f'n_draws={config.n_draws} 100 or more.'
        )


def _image_level(config: ConfigDict, comparison: Comparison, folder: pathlib.Path) -> list[Score]:
    """Scores over pairs of images."""
    pairs = tuple(config.pairs)
    options = dict(index=config.index, labels=comparison.labels, pairs=pairs)
    ceilings = _image_ceilings(config, comparison, options)
    human = human_rdm(comparison.answers.probabilities, comparison, config)
    rsa_display.keep_image_rdm(folder, human, comparison, HUMAN, {'measure': config.human_measure})
    reference = rsa.Reference(human, **options)
    found: dict[str, list[rsa.InfluenceScore]] = {kind: [] for kind in pairs}
    read: list[Representation] = []
    for item in progress.each(comparison.representations, 'image-level RSA', operator.attrgetter('key')):
        rdm = rdm_of(item, comparison, config)
        if rdm is None:
            continue
        read.append(item)
        for kind, score in reference.influence(rdm).items():
            found[kind].append(score)
        if item.key in comparison.headline.values() or item.model == PIXELS:
            described = {'layer': item.layer, 'measure': item.measure}
            rsa_display.keep_image_rdm(folder, rdm, comparison, item.model, described)
        del rdm
    scores: list[Score] = []
    for kind in pairs:
        with storage.atomic_file(folder / f'influence_{kind}.npz') as file:
            arrays = {'names': np.array([one.name for one in found[kind]]), 'ids': comparison.ids}
            np.savez(file, **arrays, influence=np.stack([one.influence for one in found[kind]]).astype(np.float32))
        scores += rdm_scores.image_scores(
            config.index,
            found[kind],
            [_provenance(config, comparison, item, 'image', kind) for item in read],
            [item.key in comparison.compared for item in read],
            ceiling=ceilings[kind],
            n_draws=config.n_draws,
            seed=config.seed,
        )
    return scores


def _image_ceilings(
    config: ConfigDict, comparison: Comparison, options: Mapping[str, Any]
) -> dict[str, tuple[float, float]]:
    """Noise ceilings of each kind of pairs; NaN if an image has one answer only."""
    if comparison.answers.counts.sum(axis=1).min() < 2:
        logging.warning('Some images have one answer only: there is no noise ceiling.')
        return dict.fromkeys(options['pairs'], (float('nan'), float('nan')))

    def agreement(*parts: np.ndarray) -> Mapping[str, float]:
        one, other = (human_rdm(probabilities, comparison, config) for probabilities in parts)
        return rsa.Reference(one, **options).values(other)

    counts, n_splits = comparison.answers.counts, config.n_splits
    return rdm_scores.image_ceilings(counts, agreement, options['pairs'], n_splits=n_splits, seed=config.seed)


def _class_level(config: ConfigDict, comparison: Comparison, folder: pathlib.Path) -> list[Score]:
    """Scores over pairs of classes, with a bootstrap of images within classes."""
    reference = rdm_scores.class_reference(
        comparison.answers.probabilities, comparison.labels, config.human_measure, index=config.index,
        n_bootstrap=config.n_bootstrap, n_permutations=config.n_draws, seed=config.seed,
    )  # fmt: skip
    described = {'measure': config.human_measure}
    rsa_display.keep_class_rdm(folder, reference.people.values, comparison, HUMAN, described)
    split = rsa.split_half(
        comparison.answers.counts, config.human_measure, labels=comparison.labels, level='class', index=config.index,
        n_splits=10 * config.n_splits, seed=config.seed,
    )  # fmt: skip
    found, scored = [], []
    # Class means of the class-mean label are people's RDM itself, and 'same category' has one value for all pairs.
    varied = [item for item in comparison.representations if item.model not in (SAME, CLASS_MEAN)]
    for item in progress.each(varied, 'class-level RSA', operator.attrgetter('key')):
        score = reference.compare(np.asarray(features_of(item, comparison).values), item.measure)
        if item.key in comparison.headline.values() or item.model == PIXELS:
            described = {'layer': item.layer, 'measure': item.measure}
            rsa_display.keep_class_rdm(folder, score.rdm, comparison, item.model, described)
        if not score.is_defined:
            logging.warning('%s: the RDM of class means does not vary; it has no class-level score.', item.key)
            continue
        found.append(score)
        scored.append(item)
    return rdm_scores.class_scores(
        reference,
        found,
        [_provenance(config, comparison, item, 'class', 'all') for item in scored],
        [item.key in comparison.compared for item in scored],
        ceiling=(split.reliability, split.ceiling),
    )


def _provenance(
    config: ConfigDict, comparison: Comparison, item: Representation, level: str, kind: str
) -> dict[str, Any]:
    return {
        **item.provenance,
        'model': item.model,
        'layer': item.layer,
        'level': level,
        'pairs': kind,
        'measure': 'hamming' if item.model == SAME else item.measure,
        'human_measure': config.human_measure,
        'data': comparison.data,
        'human': 'simulated observers' if comparison.answers.simulated else comparison.answers.name,
        'simulated': comparison.simulated,
        'seed': config.seed,
        'better': 'larger',
        'baseline': item.baseline,
        'headline': item.key in comparison.headline.values(),
    }
