"""What one aim costs another: two scores of each run against each other, along a setting."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

from humalign_jax.records import Score
from humalign_jax.report.plots import style
from humalign_jax.report.plots.trends import MARKERS

Point = tuple[Score, Score, str]  # along x, along y, what stands beside it


def plot_pareto(
    ax: Axes, lines: Mapping[str, Sequence[Point]], marks: Mapping[str, Sequence[Point]], *, xlabel: str, ylabel: str
) -> Axes:
    """Runs as points with 95 % intervals: joined by a line in their order, or single marks.

    Args:
        ax: Where to draw.
        lines: Points to join, by name.
        marks: Points that stand alone, such as controls, by name.
        xlabel: Label of the first score, with its unit.
        ylabel: Label of the second score, with its unit.

    Returns:
        The axes; lines and marks have labels for a legend.
    """
    groups = [(name, points, '-') for name, points in lines.items()]
    groups += [(name, points, '') for name, points in marks.items()]
    for i, (name, points, line) in enumerate(groups):
        (x, spread_x), (y, spread_y) = (_with_spread([point[axis] for point in points]) for axis in (0, 1))  # type: ignore[misc]
        ax.errorbar(
            x, y, xerr=spread_x, yerr=spread_y, linestyle=line, marker=MARKERS[i % len(MARKERS)], markersize=4.5,
            capsize=1.5, elinewidth=0.6, color=style.COLOURS[i % len(style.COLOURS)], label=style.plain(name),
        )  # fmt: skip
        for left, bottom, (_, _, words) in zip(x, y, points):
            ax.annotate(style.plain(words), (left, bottom), (3, 3), textcoords='offset points', fontsize=6)
    ax.set_xlabel(style.wrapped(xlabel, 2.5))
    ax.set_ylabel(style.wrapped(ylabel, 2.2))
    return ax


def _with_spread(scores: Sequence[Score]) -> tuple[np.ndarray, np.ndarray]:
    """Values, and lengths of the intervals below and above them; 0 where there is none."""
    values, low, high = (np.array([getattr(score, field) for score in scores]) for field in ('value', 'low', 'high'))
    return values, np.nan_to_num(np.maximum(np.stack([values - low, high - values]), 0.0))
