"""RDMs of all images of a category under every layer of every model, against a matrix of ratings."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from absl import logging
from ml_collections import ConfigDict

from humalign_jax import rsa, settings, storage
from humalign_jax.alignment.ratings import rating_rdms
from humalign_jax.devices import local_devices
from humalign_jax.human_data import Ratings
from humalign_jax.records import Features, ImageSet, Rdm, Score
from humalign_jax.wiring.rated_models import RatedModel

KEYS = ('measure', 'rdm', 'index', 'n_permutations')


def within_class_scores(
    config: ConfigDict,
    models: Sequence[RatedModel],
    ratings: Ratings,
    images: ImageSet | None,
    folder: pathlib.Path,
    about: Mapping[str, Any],
) -> list[Score]:
    """Writes `within_class/<model>_<layer>_<category>.npy`, and compares these RDMs with the rating matrix.

    The matrix is the file `config.within_class.rdm`, joined by stimulus id, or else one RDM for each rater. Where it
    is known for all pairs of its images, scores have intervals over images (`rsa.infer`). Where it is known for some
    pairs only, scores are over these pairs and have no interval.

    Args:
        config: Config of the experiment `ratings`.
        models: Models and baseline.
        ratings: Ratings, whose categories are compared.
        images: All images; without them a category has the rated images alone.
        folder: The run's folder.
        about: Provenance of all scores.

    Returns:
        `ratings/within_class_<index>`.

    Raises:
        ValueError: The matrix has no stimulus ids, or too few images of a category.
    """
    section = config.within_class
    matrix = rsa.files.load_rdm(pathlib.Path(section.rdm).expanduser()) if section.rdm else None
    if matrix is not None and not rsa.pairs.has_ids(matrix):
        raise ValueError(f'{section.rdm} has no stimulus ids, and everything joins by id: write them beside the RDM.')
    scores = []
    for category in dict.fromkeys(ratings.categories.tolist()):
        part = ratings.of_category(category)
        ids = np.unique(np.concatenate([part.ids_a, part.ids_b]))
        if images is not None:
            ids = images.ids[images.labels == images.class_names.index(category)]
        made = _rdms(config, models, ids, category, folder, about)
        reference = rating_rdms(part) if matrix is None else [_select(matrix, ids, category)]
        said = {
            **about,
            'category': category,
            'human': ratings.name if matrix is None else matrix.name,
            'human_measure': reference[0].measure,
            'n_images': len(ids),
            'seed': config.seed,
            'better': 'larger',
            **({'human_sha256': storage.file_digest(section.rdm)} if section.rdm else {}),
        }
        rdms = [(model, rsa.select(rdm, reference[0].ids)) for model, rdm in made]
        scores += [
            dataclasses.replace(score, provenance={**score.provenance, **rdm.provenance, **said, 'model': model})
            for (model, rdm), score in zip(rdms, _compared(config, [rdm for _, rdm in rdms], reference))
        ]
    return scores


def _rdms(
    config: ConfigDict,
    models: Sequence[RatedModel],
    ids: np.ndarray,
    category: str,
    folder: pathlib.Path,
    about: Mapping[str, Any],
) -> list[tuple[str, Rdm]]:
    """The RDM of each layer over these images, written to the disk; with the model's name."""
    made, measure = [], config.within_class.measure
    names = [f'{model.name}_{layer}_{category}' for model in models for layer in model.layers]
    stems = iter(storage.file_names(names))
    for model in models:
        for layer, values in model.read(ids).items():
            stem = next(stems)
            said = {'layer': layer, 'measure': measure, 'baseline': model.baseline, **model.layers[layer]}
            features = Features(values, ids, f'{model.name}/{layer}')
            rdm = rsa.rdm(features, measure, devices=local_devices(config.n_devices))
            if not np.isfinite(rdm.values).all() or np.ptp(rdm.values) == 0:
                logging.warning('%s, category %s: no %r for some images; left out.', features.name, category, measure)
                continue
            digest = {'features_sha256': storage.array_digest(np.asarray(values))}
            rdm = dataclasses.replace(rdm, provenance={**about, **said, **digest})
            rsa.files.save_rdm(folder / 'within_class' / f'{stem}.npy', rdm)
            made.append((model.name, rdm))
    return made


def _select(matrix: Rdm, ids: np.ndarray, category: str) -> Rdm:
    """The part of the rating matrix that is about these images."""
    shared = np.asarray(matrix.ids)[np.isin(matrix.ids, ids)]
    if len(shared) < 4:
        raise ValueError(
            f'{matrix.name} has {len(shared)} of the {len(ids)} images of category {category!r}, fewer than 4: its ids '
            f'are such as {str(matrix.ids[0])!r}, those of the images such as {str(ids[0])!r}.'
        )
    return rsa.select(matrix, shared)


def _compared(config: ConfigDict, models: Sequence[Rdm], reference: Sequence[Rdm]) -> list[Score]:
    """A score for each RDM."""
    options = settings.plain(config.within_class)
    index, nan = options['index'], float('nan')
    name = f'ratings/within_class_{index}'
    if not models:
        return []
    known = np.isfinite([rdm.values for rdm in reference])
    if known.all():
        found = rsa.infer(
            models, reference, index=index, n_permutations=options['n_permutations'], seed=config.seed,
            devices=local_devices(config.n_devices),
        )  # fmt: skip
        return [dataclasses.replace(score, name=name) for score in found.scores()]
    rated = known.any(axis=0)
    total = np.where(known, [rdm.values for rdm in reference], 0.0).sum(axis=0)
    mean = np.divide(total, known.sum(axis=0), out=np.full(len(rated), nan), where=rated)
    values = rsa.compare(models, dataclasses.replace(reference[0], values=mean), index, nan_policy='omit')
    why = f'none: {rated.sum()} of {len(rated)} pairs are rated'
    return [Score(name, float(value), nan, nan, int(rated.sum()), why) for value in values]
