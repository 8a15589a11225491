"""Similarity of image pairs to models, against people's ratings: every layer and measure within every category.

scores.jsonl         ratings/pearson, ratings/spearman and those of each rater; ratings/pearson_without (without the
                     most influential pairs); ratings/alpha, inter_rater, one_against_others, spearman_brown
similarities.npy     [m, p] of m layers and measures; which they are is in the .json beside it
ratings.npy          [r, p] of r raters
within_class/        RDMs of all images of each category, if config.within_class asks for them
figures/             scatter plots; the rated pairs, whose images are under their data set's licence
"""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from absl import logging
from ml_collections import ConfigDict

from humalign_jax import data, progress, ranges, settings, storage
from humalign_jax.alignment import ratings as alignment
from humalign_jax.data.pairs import find_pairs
from humalign_jax.human.course_ratings import SIMILARITY, load_course_ratings
from humalign_jax.human.ratings import read_images, read_ratings
from humalign_jax.human_data import Ratings
from humalign_jax.records import ImageSet, Score
from humalign_jax.report import numbers
from humalign_jax.wiring import rated_pictures, training, within_class
from humalign_jax.wiring.rated_models import RatedModel, load_models

_KEYS = (
    'experiment', 'seed', 'n_devices', 'ratings', 'data', 'runs', 'checkpoint', 'features', 'stimuli', 'names',
    'layers', 'headline', 'preprocess', 'measures', 'n_bootstrap', 'n_influential', 'invert', 'within_class',
)  # fmt: skip
_RATINGS = ('source', 'files', 'images', 'dataset', 'split', 'name')


def run(config: ConfigDict, workdir: str) -> None:
    """Writes scores, arrays and figures into the workdir.

    Raises:
        ValueError: A setting is invalid, or ratings, images and layers do not fit together.
    """
    _check(config)
    folder = pathlib.Path(workdir)
    models: list[RatedModel] = []
    images = None
    if config.ratings.source == 'course':
        ratings = load_course_ratings()
        about = {'model': 'course network', 'layer': 'fc1', 'measure': 'cosine', 'baseline': False, 'headline': True}
        about |= {'experiment': config.experiment, 'data': 'mnist/test', **ratings.provenance}
        similarities = [(about, SIMILARITY)]
    else:
        ratings, images = _read(config)
        models = load_models(config, images)
        if not models:
            raise ValueError('there is nothing to score: give config.runs, config.features or the rated images.')
        similarities = _similarities(config, models, ratings, images)
    scores = _scores(config, similarities, ratings)
    if config.within_class.measure and models:
        about = _about(config, ratings, images)
        scores += within_class.within_class_scores(config, models, ratings, images, folder, about)
    _write_arrays(folder, similarities, ratings)
    training.write_scores(folder, scores)
    rated_pictures.draw_scatters(folder, similarities, ratings, scores)
    if images is not None:
        rated_pictures.draw_pairs(folder, similarities, ratings, images, invert=config.invert)
    for score in scores:
        if score.provenance.get('headline') and score.name in ('ratings/pearson', 'ratings/pearson_without'):
            said = score.provenance
            more = f'without {", ".join(said["without"])}' if 'without' in said else numbers.interval_text(score)
            where = f'category {said["category"]}, {said["model"]} {said["layer"]}, {said["measure"]}'
            logging.info('%s: r = %.3f %s', where, score.value, more)


def _check(config: ConfigDict) -> None:
    settings.check_keys(config, _KEYS, 'config')
    settings.check_keys(config.ratings, _RATINGS, 'config.ratings')
    settings.check_keys(config.within_class, within_class.KEYS, 'config.within_class')
    ranges.check(config)
    if config.ratings.source not in ('files', 'course'):
        raise ValueError(f"config.ratings.source={config.ratings.source!r} must be 'files' or 'course'.")
    if config.ratings.source == 'course' and (config.runs or config.features):
        raise ValueError("config.ratings.source='course' brings no images: models need the ratings of 'files'.")
    if config.ratings.source == 'files' and not config.ratings.files:
        raise ValueError(
            'config.ratings.files must name at least one table with ratings, --config.ratings.files=\'("anna.csv",)\'; '
            'configs/collect_ratings.py makes a page that collects them, and :tiny needs none.'
        )
    if not config.measures:
        raise ValueError('config.measures is empty: give at least one measure.')
    for measure in tuple(config.measures):
        if measure not in alignment.MEASURES:
            raise ValueError(f'config.measures has {measure!r}.{settings.nearest(measure, alignment.MEASURES)}')


def _read(config: ConfigDict) -> tuple[Ratings, ImageSet | None]:
    """Ratings, and the images that were rated."""
    section = config.ratings
    files = [pathlib.Path(path).expanduser() for path in tuple(section.files)]
    ratings = read_ratings(files, dataset=section.dataset, split=section.split, name=section.name)
    if section.images:
        return ratings, read_images(pathlib.Path(section.images).expanduser(), ratings)
    options = settings.plain(config.data)
    name = options.pop('name', '')
    if not name:
        return ratings, None
    if name not in data.SOURCES:
        raise ValueError(f'config.data.name={name!r} is no data source.{settings.nearest(name, data.SOURCES)}')
    images = settings.call(data.SOURCES[name], options, 'config.data', split=section.split)
    find_pairs(images, ratings.ids_a, ratings.ids_b, ratings.categories, name=ratings.name)  # images are the rated ones
    return dataclasses.replace(ratings, simulated=ratings.simulated or images.simulated), images


def _about(config: ConfigDict, ratings: Ratings, images: ImageSet | None) -> dict[str, Any]:
    """What every score says of the stimuli."""
    ids = np.concatenate([ratings.ids_a, ratings.ids_b])
    about = {
        'experiment': config.experiment,
        'data': f'{images.name}/{images.split}' if images is not None else '/'.join(str(ids[0]).split('/')[:-1]),
        'simulated': bool(ratings.simulated or (images is not None and images.simulated)),
        'stimuli_sha256': storage.array_digest(ids),
    }
    if images is not None:
        rows = {stimulus: row for row, stimulus in enumerate(images.ids.tolist())}
        shown = images.images[[rows[stimulus] for stimulus in ids.tolist()]]
        about |= {
            'images_sha256': storage.array_digest(shown),
            **{f'images_{k}': v for k, v in images.provenance.items()},
        }
    return about


def _similarities(
    config: ConfigDict, models: Sequence[RatedModel], ratings: Ratings, images: ImageSet | None
) -> list[tuple[dict[str, Any], np.ndarray]]:
    """Similarity of each pair under every layer and measure, with its provenance."""
    about, found = _about(config, ratings, images), []
    ids, places = np.unique(np.stack([ratings.ids_a, ratings.ids_b]), return_inverse=True)
    a, b = places.reshape(2, -1)
    for model in models:
        values = model.read(ids)
        for order, (layer, said) in enumerate(model.layers.items()):
            for number, measure in enumerate(tuple(config.measures)):
                own = {
                    'model': model.name,
                    'layer': layer,
                    'layer_order': order,
                    'measure': measure,
                    'baseline': model.baseline,
                    'headline': layer == model.headline and number == 0,
                }
                similarity = alignment.pair_similarity(values[layer][a], values[layer][b], measure)
                found.append(({**said, **about, **own}, similarity))
    return found


def _scores(
    config: ConfigDict, similarities: Sequence[tuple[Mapping[str, Any], np.ndarray]], ratings: Ratings
) -> list[Score]:
    """All scores, category by category."""
    options = {'n_bootstrap': config.n_bootstrap, 'seed': config.seed}
    scores: list[Score] = []
    for category in dict.fromkeys(ratings.categories.tolist()):
        part, within = ratings.of_category(category), ratings.categories == category
        scores += alignment.reliability_scores(part, **options)
        for about, similarity in progress.steps(similarities, f'layers and measures, category {category}'):
            scores += alignment.agreement_scores(similarity[within], part, about, **options)
            scores += alignment.influence_scores(similarity[within], part, about, n_pairs=config.n_influential)
    return scores


def _write_arrays(
    folder: pathlib.Path, similarities: Sequence[tuple[Mapping[str, Any], np.ndarray]], ratings: Ratings
) -> None:
    """`similarities.npy` and `ratings.npy`, with pair and stimulus ids beside them."""
    columns = {key: getattr(ratings, key) for key in ('pairs', 'ids_a', 'ids_b', 'categories')}
    columns |= {'human': ratings.name, 'simulated': ratings.simulated}
    values, rows = np.stack([values for _, values in similarities]), [about for about, _ in similarities]
    storage.write_array(folder / 'similarities.npy', values, {**columns, 'rows': rows})
    raters = {'raters': ratings.raters, 'scale': ratings.scale, **ratings.provenance}
    storage.write_array(folder / 'ratings.npy', ratings.values, {**columns, **raters})
