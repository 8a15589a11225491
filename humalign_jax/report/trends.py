"""Scores of several models along something: layers, people's uncertainty, folds, epochs."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.figure
import numpy as np
from matplotlib.axes import Axes

from humalign_jax.records import Score
from humalign_jax.report import style

MARKERS = 'osD^vPX*'
_LEGEND_CHARACTERS = 60  # that fit side by side under a figure as wide as a column
DASHES = ('--', ':', '-.', (0, (5, 1)), (0, (1, 1)))


def draw_layer_profile(
    lines: Mapping[str, Mapping[str, Score]], *, label: str, baselines: Mapping[str, float] | None = None
) -> matplotlib.figure.Figure:
    """A figure of its own with scores along the layers of each network.

    Args:
        lines: Scores by layer, input first, by network.
        label: What the axis measures.
        baselines: Numbers drawn as dashed lines.

    Returns:
        The figure.
    """
    names = [*lines, *(baselines or {})]
    columns = max(1, min(3, _LEGEND_CHARACTERS // (max(map(len, names)) + 7)))  # a line's sample is as wide as 7
    height = 3.0 + 0.17 * math.ceil(len(names) / columns)
    with style.figure_style():
        figure = matplotlib.figure.Figure(figsize=(style.COLUMN_INCHES, height), layout='constrained')
        places = in_order(list(lines.values()))
        plot_lines(figure.subplots(), lines, label=label, places=places, xlabel='layer', baselines=baselines)
        figure.legend(loc='outside lower center', ncols=columns)
    return figure


def in_order(lines: Sequence[Mapping[str, Score]]) -> list[str]:
    """All places, each after those that come before it in the longest line."""
    places: list[str] = []
    for line in sorted(lines, key=len, reverse=True):
        before = 0
        for place in line:
            if place in places:
                before = places.index(place) + 1
            else:
                places.insert(before, place)
                before += 1
    return places


def plot_lines(
    ax: Axes,
    lines: Mapping[str, Mapping[str, Score]],
    *,
    label: str,
    places: Sequence[str],
    xlabel: str,
    baselines: Mapping[str, float] | None = None,
    show_ceiling: bool = True,
) -> Axes:
    """A line with 95 % intervals for each model, over places such as layers, under the band of the noise ceiling.

    Args:
        ax: Where to draw.
        lines: Scores by place, by model.
        label: The vertical axis's label, with its unit.
        places: Places in order; a model may lack some.
        xlabel: What the places are.
        baselines: Numbers drawn as dashed lines over the whole width.
        show_ceiling: Whether to draw the band of the first score that has one.

    Returns:
        The axes; lines and baselines have labels for a legend.
    """
    for i, (name, scores) in enumerate(lines.items()):
        at = [j for j, place in enumerate(places) if place in scores]
        values = np.array([scores[places[j]].value for j in at])
        low, high = (np.array([getattr(scores[places[j]], end) for j in at]) for end in ('low', 'high'))
        spread = np.nan_to_num(np.maximum(np.stack([values - low, high - values]), 0.0))
        shift = 0.06 * (i - (len(lines) - 1) / 2.0)  # intervals of two models do not hide each other
        ax.errorbar(
            np.array(at) + shift, values, yerr=spread, marker=MARKERS[i % len(MARKERS)], markersize=3.5, capsize=2,
            elinewidth=0.8, color=style.COLOURS[i % len(style.COLOURS)], label=name,
        )  # fmt: skip
    everything = [score for scores in lines.values() for score in scores.values()]
    banded = next((s for s in everything if math.isfinite(s.ceiling_lower) and math.isfinite(s.ceiling_upper)), None)
    if show_ceiling and banded is not None:
        plot_ceiling(ax, banded.ceiling_lower, banded.ceiling_upper)
    for dash, (name, value) in zip(DASHES, (baselines or {}).items()):
        ax.axhline(value, color='0.3', linewidth=0.9, linestyle=dash, label=name)
    is_crowded = max(map(len, places)) > 9 or len(places) > 5
    ax.set_xticks(
        range(len(places)), list(places), rotation=35 if is_crowded else 0, ha='right' if is_crowded else 'center',
        rotation_mode='anchor',
    )  # fmt: skip
    ax.set_xlim(-0.4, len(places) - 0.6)
    ax.set_xlabel(xlabel)
    ax.set_ylabel(label)
    return ax


def plot_folds(
    ax: Axes,
    arms: Mapping[str, Sequence[Score]],
    means: Mapping[str, Score],
    baselines: Mapping[str, float],
    *,
    label: str,
) -> Axes:
    """A point for each fold, the mean of all folds with its interval beside them, baselines as dashed lines.

    Args:
        ax: Where to draw.
        arms: Scores of the folds of each way of training.
        means: Score of all folds of each way of training, where there is one.
        baselines: Numbers by name.
        label: The vertical axis's label, with its unit.

    Returns:
        The axes; baselines have labels for a legend.
    """
    for i, (arm, folds) in enumerate(arms.items()):
        colour = style.COLOURS[i % len(style.COLOURS)]
        values = [score.value for score in folds]
        ax.plot(i - 0.1 + np.linspace(-0.12, 0.12, len(values)), values, '.', color=colour, markersize=4, alpha=0.8)
        if arm in means:
            mean = means[arm]
            spread = np.nan_to_num([[max(mean.value - mean.low, 0.0)], [max(mean.high - mean.value, 0.0)]])
            ax.errorbar([i + 0.2], [mean.value], yerr=spread, fmt='D', markersize=4.5, capsize=3, color=colour)
    for dash, (name, value) in zip(DASHES, baselines.items()):
        ax.axhline(value, color='0.3', linewidth=0.9, linestyle=dash, label=name)
    ax.set_xticks(range(len(arms)), list(arms))
    ax.set_xlim(-0.6, len(arms) - 0.4)
    ax.set_ylabel(label)
    return ax


def plot_watch(ax: Axes, rows: Sequence[Mapping[str, Any]], column: str, *, label: str) -> Axes:
    """A measure of alignment over training, with the noise ceiling that stands beside it in metrics.jsonl.

    Args:
        ax: Where to draw.
        rows: Rows of metrics.jsonl.
        column: Column to draw; `<column>_ceiling_lower` and `..._upper` give the band.
        label: The vertical axis's label, with its unit.

    Returns:
        The axes.
    """
    points = [(row['epoch'], row[column]) for row in rows if _is_number(row.get(column))]
    ax.plot(*zip(*points), 'o-', color=style.COLOURS[2], markersize=3)
    ends = [f'{column}_ceiling_lower', f'{column}_ceiling_upper']
    bands = [[float(row[end]) for end in ends] for row in rows if all(_is_number(row.get(end)) for end in ends)]
    if bands:
        plot_ceiling(ax, *bands[-1])
    ax.set_xlim(left=0.0)
    ax.set_xlabel('epoch')
    ax.set_ylabel(label)
    return ax


def plot_ceiling(ax: Axes, lower: float, upper: float) -> Axes:
    """The band between lower and upper noise ceiling, with its name."""
    ax.axhspan(lower, upper, color=style.CEILING_GREY, linewidth=0.0, zorder=0)
    ax.annotate(
        'noise ceiling', (1.0, upper), (-2, -1), xycoords=('axes fraction', 'data'), textcoords='offset points',
        ha='right', va='top', fontsize=6, color='0.35',
    )  # fmt: skip
    return ax


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
