"""The first figure of a page: a row for each model, with the noise ceiling and baselines behind."""

from collections.abc import Mapping

import matplotlib.figure
import numpy as np

from humalign_jax.records import Score
from humalign_jax.report import numbers
from humalign_jax.report.plots import levels, style

_WIDTH, _ROW, _NAME_INCHES = 3.7, 0.24, 1.1


def draw_answer(models: Mapping[str, Score], lines: Mapping[str, float], *, label: str) -> matplotlib.figure.Figure:
    """Dots with 95 % intervals, the noise ceiling as a band, and baselines as vertical lines.

    Args:
        models: Scores by name, the first on top.
        lines: Levels to compare with, such as baselines and chance, by name.
        label: What the axis measures, with its unit.

    Returns:
        The figure, with names and values of the lines below the axes.
    """
    with style.figure_style():
        figure = matplotlib.figure.Figure(figsize=(_WIDTH, _ROW * len(models) + 0.75), layout='constrained')
        ax = figure.subplots()
        ceiling = next((s for s in models.values() if np.isfinite([s.ceiling_lower, s.ceiling_upper]).all()), None)
        if ceiling is not None:
            band = ax.axvspan(
                ceiling.ceiling_lower, ceiling.ceiling_upper, color=style.CEILING_GREY, linewidth=0.0,
                zorder=0, label=f'noise ceiling {numbers.ceiling_text(ceiling)}',
            )  # fmt: skip
            style.hover(band, f'noise ceiling {numbers.ceiling_text(ceiling)}')
        for place, (name, score) in enumerate(models.items()):
            ends = np.maximum([[score.value - score.low], [score.high - score.value]], 0.0)
            drawn = ax.errorbar(
                score.value, place, xerr=ends if np.isfinite(ends).all() else None, fmt='o', markersize=5,
                color=style.COLOURS[0], elinewidth=1.4, capsize=2.5, zorder=3,
            )  # fmt: skip
            style.hover(drawn.lines[0], f'{name}: {numbers.score_text(score)}')
        levels.plot_baselines(ax, lines, vertical=True)
        names = [style.shortened(name, _NAME_INCHES) for name in models]
        ax.set_yticks(range(len(names)), names, fontsize=style.TEXT_POINTS)
        ax.set_ylim(len(names) - 0.4, -0.6)
        ax.tick_params(axis='y', length=0)
        ax.margins(x=0.06)
        ax.set_xlabel(style.wrapped(label, _WIDTH - _NAME_INCHES))
        style.legend_below(figure, ax)
    return figure
