"""Several measures of the same representations: a panel for each measure, a line for each representation."""

from collections.abc import Mapping

import matplotlib.figure
import numpy as np
from matplotlib.axes import Axes

from humalign_jax.records import Score
from humalign_jax.report import numbers
from humalign_jax.report.plots import style

LOOKS = {'model': ('o', style.COLOURS[0]), 'baseline': ('s', style.GREY), 'human embedding': ('D', style.COLOURS[3])}
_MOST_COLUMNS, _LINE_INCHES, _NAME_INCHES = 3, 0.19, 1.4


def draw_dots(
    panels: Mapping[str, Mapping[str, Score]], kinds: Mapping[str, str], *, reference: str = ''
) -> matplotlib.figure.Figure:
    """Dots with 95 % intervals.

    Args:
        panels: Scores by representation, by what the panel measures; a representation may lack some.
        kinds: Kind of each representation, a key of `LOOKS`, by name, the first on top.
        reference: Name of the representation whose value is a dashed line in each panel; '' for none.

    Returns:
        The figure, with the legend below all panels.
    """
    n_rows = -(-len(panels) // _MOST_COLUMNS)
    n_columns = -(-len(panels) // n_rows)
    height = _LINE_INCHES * len(kinds) + 0.65
    width = min(_NAME_INCHES + 1.85 * n_columns, style.PAGE_INCHES)
    with style.figure_style():
        figure = matplotlib.figure.Figure(figsize=(width, height * n_rows), layout='constrained')
        axes = figure.subplots(n_rows, n_columns, squeeze=False, sharey=True)
        for ax, (label, scores) in zip(axes.flat, panels.items()):
            plot_dots(ax, scores, kinds, reference=reference)
            ax.set_xlabel(style.wrapped(label, (width - _NAME_INCHES) / n_columns - 0.15))
        for ax in list(axes.flat)[len(panels) :]:
            ax.set_axis_off()
        first = axes[0, 0]
        names = [style.shortened(name, _NAME_INCHES) for name in kinds]
        first.set_yticks(range(len(kinds)), names, fontsize=style.TICK_POINTS)
        first.set_ylim(len(kinds) - 0.4, -0.6)
        for kind in dict.fromkeys(kinds.values()):
            marker, colour = LOOKS[kind]
            first.plot([], [], marker, color=colour, markersize=4, label=kind)
        if reference:
            first.plot([], [], '--', color='0.4', linewidth=0.8, label=style.plain(reference))
        style.legend_below(figure, first)
    return figure


def plot_dots(ax: Axes, scores: Mapping[str, Score], kinds: Mapping[str, str], *, reference: str = '') -> Axes:
    """One panel of `draw_dots`; representation k of `kinds` is at height k."""
    if reference in scores:
        ax.axvline(scores[reference].value, color='0.4', linewidth=0.8, linestyle='--', zorder=0)
    for place, (name, kind) in enumerate(kinds.items()):
        if name not in scores or not np.isfinite(scores[name].value):
            continue
        marker, colour = LOOKS[kind]
        score = scores[name]
        ends = np.maximum([[score.value - score.low], [score.high - score.value]], 0.0)
        error = ends if np.isfinite(ends).all() else None
        drawn = ax.errorbar(
            score.value, place, xerr=error, fmt=marker, color=colour, markersize=4, elinewidth=1.0, capsize=2.0
        )
        style.hover(drawn.lines[0], f'{name}: {numbers.score_text(score)}')
    ax.margins(x=0.08)
    ax.tick_params(axis='y', length=0)
    return ax
