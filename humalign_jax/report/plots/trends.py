"""Scores of several models along something: layers, people's uncertainty, folds, epochs."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.figure
import numpy as np
from matplotlib.axes import Axes

from humalign_jax.records import Score
from humalign_jax.report import numbers
from humalign_jax.report.plots import levels, style

MARKERS = 'osD^vPX*'
_LAYER_INCHES, _PANEL_INCHES = 0.3, 0.5  # width of a layer along its axis, and of a panel beside its layers


def draw_layer_profile(
    lines: Mapping[str, Mapping[str, Score]], *, label: str, baselines: Mapping[str, float] | None = None
) -> matplotlib.figure.Figure:
    """Scores along the layers of each network, a panel for each: layers of two networks do not correspond.

    Args:
        lines: Scores by layer, input first, by network.
        label: What the axis measures; all panels share it.
        baselines: Numbers drawn as dashed lines.

    Returns:
        The figure.
    """
    most = max(map(len, lines.values()))
    n_columns = max(1, min(len(lines), int(style.PAGE_INCHES / (_LAYER_INCHES * most + _PANEL_INCHES))))
    n_rows = -(-len(lines) // n_columns)
    side = min(_LAYER_INCHES * most + _PANEL_INCHES, style.PAGE_INCHES / n_columns)
    width = min(max(style.COLUMN_INCHES, side * n_columns + 0.9), style.PAGE_INCHES)
    with style.figure_style():
        figure = matplotlib.figure.Figure(figsize=(width, 2.6 * n_rows), layout='constrained')
        axes = figure.subplots(n_rows, n_columns, squeeze=False, sharey=True)
        below = 0.0
        for i, (ax, (name, scores)) in enumerate(zip(axes.flat, lines.items())):
            is_last, is_first = i % n_columns == n_columns - 1 or i == len(lines) - 1, i % n_columns == 0
            places = list(scores)
            named = {'': scores}  # in the title, not in the legend
            plot_lines(ax, named, label=label if is_first else '', places=places, xlabel='layer', name_ceiling=is_last)
            ax.set_title(style.wrapped(name, style.axes_inches(ax)[0]))
            below = max(below, style.name_x(ax, range(len(places)), places, longest=style.LONGEST_NAME_INCHES))
        limits = axes[0, 0].get_ylim()
        for ax in list(axes.flat)[: len(lines)]:
            levels.plot_baselines(ax, baselines or {}, limits=limits)
        for ax in list(axes.flat)[len(lines) :]:
            ax.set_axis_off()
        figure.set_size_inches(width, n_rows * (2.4 + below))
        style.legend_below(figure, axes[0, 0])
    return figure


def plot_lines(
    ax: Axes,
    lines: Mapping[str, Mapping[str, Score]],
    *,
    label: str,
    places: Sequence[str],
    xlabel: str,
    show_ceiling: bool = True,
    name_ceiling: bool = True,
) -> Axes:
    """A line with 95 % intervals for each model over common places, below the noise ceiling.

    Args:
        ax: Where to draw.
        lines: Scores by place, by model.
        label: The vertical axis's label, with its unit.
        places: Places in order; a model may lack some.
        xlabel: What the places are.
        show_ceiling: Whether to draw the band of the first score that has one.
        name_ceiling: Whether to write its name beside it.

    Returns:
        The axes; lines have labels for a legend.
    """
    for i, (name, scores) in enumerate(lines.items()):
        at = [j for j, place in enumerate(places) if place in scores]
        values = np.array([scores[places[j]].value for j in at])
        low, high = (np.array([getattr(scores[places[j]], end) for j in at]) for end in ('low', 'high'))
        spread = np.nan_to_num(np.maximum(np.stack([values - low, high - values]), 0.0))
        shift = 0.06 * (i - (len(lines) - 1) / 2.0)  # intervals of two models do not hide each other
        drawn = ax.errorbar(
            np.array(at) + shift, values, yerr=spread, marker=MARKERS[i % len(MARKERS)], markersize=3.5, capsize=2,
            elinewidth=0.8, color=style.COLOURS[i % len(style.COLOURS)], label=style.plain(name),
        )  # fmt: skip
        spoken = (f'{places[j]} {numbers.score_text(scores[places[j]])}' for j in at)
        style.hover(drawn.lines[0], f'{name}: {", ".join(spoken)}')
    everything = [score for scores in lines.values() for score in scores.values()]
    banded = next((s for s in everything if math.isfinite(s.ceiling_lower) and math.isfinite(s.ceiling_upper)), None)
    if show_ceiling and banded is not None:
        levels.plot_ceiling(ax, banded.ceiling_lower, banded.ceiling_upper, named=name_ceiling)
    style.name_x(ax, range(len(places)), places)
    ax.set_xlim(-0.4, len(places) - 0.6)
    ax.set_xlabel(style.plain(xlabel))
    ax.set_ylabel(style.wrapped(label, 1.5))
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
    style.name_x(ax, range(len(arms)), list(arms))
    ax.set_xlim(-0.6, len(arms) - 0.4)
    ax.set_ylabel(style.wrapped(label, 1.5))
    return levels.plot_baselines(ax, baselines)


def plot_watch(ax: Axes, rows: Sequence[Mapping[str, Any]], column: str, *, label: str) -> Axes:
    """A measure of alignment over training, with its noise ceiling from metrics.jsonl.

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
        levels.plot_ceiling(ax, *bands[-1])
    ax.set_xlim(left=0.0)
    ax.set_xlabel('epoch')
    ax.set_ylabel(style.wrapped(label, 1.5))
    return ax


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
