"""Figures of rated pairs beside their similarities, in the workdir; a JSON file beside each says what it shows."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from humalign_jax import storage
from humalign_jax.alignment.ratings import min_max
from humalign_jax.human_data import Ratings
from humalign_jax.records import ImageSet, Score
from humalign_jax.report import numbers
from humalign_jax.report.plots import ratings as plots
from humalign_jax.report.plots import style

Similarities = Sequence[tuple[Mapping[str, Any], np.ndarray]]


def draw_scatters(folder: pathlib.Path, similarities: Similarities, ratings: Ratings, scores: Sequence[Score]) -> None:
    """`figures/scatter_<model>` of the headline layer of each model, and of the pixels."""
    sidecar = {'categories': ratings.categories, 'pairs': ratings.pairs, 'simulated': ratings.simulated}
    headlines = _headlines(similarities)
    stems = storage.file_names([f'scatter_{about["model"]}' for about, _ in headlines])
    for stem, (about, similarity) in zip(stems, headlines):
        panels = plots.panels_of(about, similarity, ratings.values, sidecar, scores)
        figure = plots.draw_scatters(
            panels, xlabel=plots.similarity_label(about), ylabel=plots.rating_label(len(ratings.raters))
        )
        style.save_figure(figure, folder / 'figures' / stem)


def draw_pairs(
    folder: pathlib.Path, similarities: Similarities, ratings: Ratings, images: ImageSet, *, invert: bool
) -> None:
    """`figures/pairs_<model>_<category>`: every pair under 'net s, human h', the most similar to people first.

    Both numbers are scaled to 0..1 over the pairs of the category, for display only.
    """
    row_of = {stimulus: row for row, stimulus in enumerate(images.ids.tolist())}
    headlines = [(about, similarity) for about, similarity in _headlines(similarities) if not about['baseline']]
    categories = dict.fromkeys(ratings.categories.tolist())
    stems = iter(
        storage.file_names([f'pairs_{about["model"]}_{name}' for about, _ in headlines for name in categories])
    )
    for about, similarity in headlines:
        net_is = plots.similarity_label(about)
        for category in categories:
            within = np.flatnonzero(ratings.categories == category)
            net, human = min_max(similarity[within]), min_max(ratings.mean[within])
            order = np.argsort(-ratings.mean[within], kind='stable')
            sides = (ratings.ids_a[within[order]].tolist(), ratings.ids_b[within[order]].tolist())
            cells = [[_shown(images.images[row_of[one]], invert) for one in pair] for pair in zip(*sides)]
            titles = [f'net {numbers.text(net[i], 2)}, human {numbers.text(human[i], 2)}' for i in order]
            title = f'{net_is}; category {category}; both numbers scaled to 0–1, for display only'
            names = [f'pair {name}' for name in ratings.pairs[within[order]]]
            figure = plots.draw_pairs(cells, titles, names, title=title)
            caption = (
                f'Pairs of category {category}, the most similar to people first. net: {net_is}; '
                'human: mean rating; each scaled to 0–1 over these pairs for display only'
            )
            worst = int(np.nanargmax(np.abs(net - human))) if np.isfinite(net - human).any() else 0
            alt = f'{len(within)} pairs of images with both numbers; they differ most for pair '
            alt += f'{ratings.pairs[within[worst]]}.'
            stem = next(stems)
            style.save_figure(figure, folder / 'figures' / stem)
            kept = {key: about[key] for key in ('model', 'layer', 'measure')}
            said = {'caption': caption, 'alt': alt, 'category': category, **kept}
            storage.write_json(folder / 'figures' / f'{stem}.json', said)


def _headlines(similarities: Similarities) -> Similarities:
    return [(about, values) for about, values in similarities if about['headline']]


def _shown(image: np.ndarray, invert: bool) -> np.ndarray:
    return 255 - image if invert else image
