"""Similarities of image pairs beside people's ratings: scatter plots, and the images themselves."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.figure
import numpy as np
from matplotlib.axes import Axes

from humalign_jax.records import Score
from humalign_jax.report import numbers
from humalign_jax.report.plots import style

_GAP_PX = 2  # white between the two images of a pair
_PAIRS_PER_ROW = 5
_WORDS_INCHES = 0.17  # height of a line of words


@dataclasses.dataclass(frozen=True)
class Panel:
    """Pairs of one category.

    Attributes:
        title: Category, correlation with its interval, ceiling and n.
        similarity: The model's similarity of each pair, [p].
        rating: Mean rating of each pair, [p].
        named: Rows of the pairs whose names are shown, by name.
    """

    title: str
    similarity: np.ndarray
    rating: np.ndarray
    named: Mapping[str, int]


def panels_of(
    about: Mapping[str, Any],
    similarity: np.ndarray,
    ratings: np.ndarray,
    sidecar: Mapping[str, Any],
    scores: Sequence[Score],
) -> list[Panel]:
    """A panel for each category of what the experiment `ratings` left.

    Args:
        about: Provenance of the similarities: one of `rows` in similarities.json.
        similarity: Similarity of each pair, [p].
        ratings: Rating of each rater, NaN where there is none, [r, p].
        sidecar: similarities.json, with `pairs` and `categories`.
        scores: Scores of the same run.
    """
    categories, pairs = np.array(sidecar['categories']), np.array(sidecar['pairs'])
    keys = ('model', 'layer', 'measure')
    own = [score for score in scores if all(score.provenance.get(key) == about[key] for key in keys)]
    mark, panels = ' (simulated)' if sidecar['simulated'] or about.get('simulated') else '', []
    for category in dict.fromkeys(categories.tolist()):
        within = categories == category
        of = [score for score in own if score.provenance.get('category') == category]
        score = next(score for score in of if score.name == 'ratings/pearson')
        left_out = [s.provenance['without'] for s in of if s.name == 'ratings/pearson_without']
        names = pairs[within].tolist()
        value = f'{numbers.value_text(score)} {numbers.interval_text(score)}'.strip()
        ceiling = f'noise ceiling {numbers.ceiling_text(score)}, ' if math.isfinite(score.ceiling_lower) else ''
        panels.append(
            Panel(
                f'category {category}{mark}: r = {value}\n{ceiling}n = {score.n} pairs',
                np.asarray(similarity, np.float64)[within],
                np.nanmean(np.asarray(ratings, np.float64)[:, within], axis=0),
                {name: names.index(name) for name in max(left_out, key=len, default=[])},
            )
        )
    return panels


def similarity_label(about: Mapping[str, Any]) -> str:
    """Label of an axis of similarities, such as 'net, fc1: cosine'."""
    layer = '' if about['baseline'] else f', {about["layer"]}'
    return f'{about["model"]}{layer}: {about["measure"]}'


def rating_label(n_raters: int) -> str:
    """Label of an axis of mean ratings."""
    return 'rating of one person' if n_raters == 1 else f'mean rating of {n_raters} people'


def draw_scatters(panels: Sequence[Panel], *, xlabel: str, ylabel: str) -> matplotlib.figure.Figure:
    """`plot_scatter` of each category, side by side in rows of at most three."""
    n_columns = min(len(panels), 3)
    n_rows = -(-len(panels) // n_columns)
    width = style.COLUMN_INCHES if n_columns == 1 else style.PAGE_INCHES
    with style.figure_style():
        figure = matplotlib.figure.Figure(figsize=(width, 3.0 * n_rows), layout='constrained')
        axes = figure.subplots(n_rows, n_columns, squeeze=False).flat
        for ax, panel in zip(axes, panels):
            plot_scatter(ax, panel)
            ax.set_title(style.wrapped(panel.title, width / n_columns - 0.6))
            ax.set_xlabel(style.wrapped(xlabel, width / n_columns - 0.6))
            ax.set_ylabel(style.wrapped(ylabel, 2.0))
        for ax in list(axes)[len(panels) :]:
            ax.set_axis_off()
    return figure


def plot_scatter(ax: Axes, panel: Panel) -> Axes:
    """A point for each pair; the most influential pairs are orange and named. Returns the axes."""
    named = np.isin(np.arange(len(panel.rating)), list(panel.named.values()))
    for chosen, colour in ((~named, style.COLOURS[0]), (named, style.COLOURS[3])):
        ax.plot(panel.similarity[chosen], panel.rating[chosen], 'o', color=colour, markersize=4, alpha=0.8, mew=0)
    middle = np.nanmean(panel.similarity) if np.isfinite(panel.similarity).any() else 0.0
    for name, row in panel.named.items():
        left = panel.similarity[row] > middle  # names point to the middle, so that they stay inside
        ax.annotate(
            style.plain(name), (panel.similarity[row], panel.rating[row]), (-4 if left else 4, 0),
            textcoords='offset points', ha='right' if left else 'left', va='center', fontsize=style.CAPTION_POINTS,
        )  # fmt: skip
    ax.margins(0.08)
    return ax


def draw_pairs(
    pairs: Sequence[Sequence[np.ndarray]], titles: Sequence[str], below: Sequence[str], *, title: str
) -> matplotlib.figure.Figure:
    """Pairs of images side by side, each under its title, five pairs in a row.

    Args:
        pairs: Both images of each pair, uint8 [h, w, c] with c 1 or 3, all of one shape.
        titles: A title for each pair.
        below: Small words below each pair.
        title: Title of the figure.

    Returns:
        The figure, as wide as a page.
    """
    n_rows = -(-len(pairs) // _PAIRS_PER_ROW)
    height, width, _ = pairs[0][0].shape
    inches = style.PAGE_INCHES / _PAIRS_PER_ROW
    shown = 0.82 * inches
    picture_height = shown * height / (2 * width + _GAP_PX)
    tall = picture_height + 2 * _WORDS_INCHES
    with style.figure_style():
        text = style.wrapped(title, style.PAGE_INCHES - 0.2)
        whole = tall * n_rows + _WORDS_INCHES * (1 + text.count('\n'))
        figure = matplotlib.figure.Figure(figsize=(style.PAGE_INCHES, whole))
        figure.set_layout_engine('none')  # all places are known, and a layout of many axes takes seconds
        figure.text(0.5, 1.0 - 0.04 / whole, text, ha='center', va='top', fontsize=style.TEXT_POINTS)
        for i, ((a, b), own, words) in enumerate(zip(pairs, titles, below)):
            row, column = divmod(i, _PAIRS_PER_ROW)
            left, bottom = column * inches + 0.09 * inches, (n_rows - 1 - row) * tall + _WORDS_INCHES
            ax = figure.add_axes(
                (left / style.PAGE_INCHES, bottom / whole, shown / style.PAGE_INCHES, picture_height / whole)
            )
            ax.set_axis_off()
            white = np.full((height, _GAP_PX, a.shape[-1]), 255, np.uint8)
            picture = np.concatenate([a, white, b], axis=1)
            picture = picture.repeat(3, axis=2) if picture.shape[-1] == 1 else picture
            ax.imshow(picture, interpolation='nearest')
            ax.set_title(style.plain(own), fontsize=style.TICK_POINTS, pad=2)
            ax.annotate(
                style.shortened(words, inches, style.CAPTION_POINTS), (0.5, 0.0), (0, -2), xycoords='axes fraction',
                textcoords='offset points', ha='center', va='top', fontsize=style.CAPTION_POINTS, color='0.35',
            )  # fmt: skip
    return figure
