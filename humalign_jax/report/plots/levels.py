"""Levels across a figure that scores are compared with: the noise ceiling and baselines."""

import itertools
import math
from collections.abc import Mapping

from matplotlib.axes import Axes

from humalign_jax.report import numbers
from humalign_jax.report.plots import style

DASHES = ('--', ':', '-.', (0, (5, 1)), (0, (1, 1)))
_GREYS = ('0.3', '0.6')
_NEAREST = 0.015  # share of the axis: nearer lines would hide each other


def plot_ceiling(ax: Axes, lower: float, upper: float, *, named: bool = True) -> Axes:
    """The band between lower and upper noise ceiling, with its name beside the axes."""
    if not (math.isfinite(lower) and math.isfinite(upper)):
        return ax
    ax.axhspan(lower, upper, color=style.CEILING_GREY, linewidth=0.0, zorder=0)
    if named:
        ax.annotate(
            'noise\nceiling', (1.0, (lower + upper) / 2.0), (2, 0), xycoords=('axes fraction', 'data'),
            textcoords='offset points', ha='left', va='center', fontsize=style.CAPTION_POINTS, color='0.35',
            annotation_clip=False,
        )  # fmt: skip
    return ax


def plot_baselines(
    ax: Axes, baselines: Mapping[str, float], *, limits: tuple[float, float] | None = None, vertical: bool = False
) -> Axes:
    """Numbers as dashed lines over the whole width, named with their values for a legend.

    Baselines too near to be distinguished share one line and one entry of the legend.

    Args:
        ax: Where to draw, when everything else is drawn: how near is too near depends on the axis.
        baselines: Numbers by name; those that are not finite are left out.
        limits: Ends of the vertical axis, if several axes are to group their baselines alike.
        vertical: Whether the lines stand upright, at numbers of the horizontal axis.

    Returns:
        The axes.
    """
    known = sorted((value, name) for name, value in baselines.items() if math.isfinite(value))
    if not known:
        return ax
    bottom, top = limits or (ax.get_xlim() if vertical else ax.get_ylim())
    span = max(top, known[-1][0]) - min(bottom, known[0][0])
    groups = [[known[0]]]
    for value, name in known[1:]:
        if value - groups[-1][-1][0] < _NEAREST * span:
            groups[-1].append((value, name))
        else:
            groups.append([(value, name)])
    looks = itertools.cycle((dash, grey) for grey in _GREYS for dash in DASHES)
    for group, (dash, grey) in zip(groups, looks):
        label = ', '.join(f'{name} {numbers.text(value, min(numbers.decimals(value), 3))}' for value, name in group)
        middle = sum(value for value, _ in group) / len(group)
        draw = ax.axvline if vertical else ax.axhline
        style.hover(draw(middle, color=grey, linewidth=0.9, linestyle=dash, label=style.plain(label)), label)
    return ax
