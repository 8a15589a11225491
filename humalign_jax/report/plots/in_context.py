"""Learning functions in context: a measure along the items of an episode, and every function by its accuracy."""

import dataclasses
from collections.abc import Mapping, Sequence

import matplotlib.figure
import numpy as np
from matplotlib.ticker import MaxNLocator

from humalign_jax.report.plots import style

_PANEL_INCHES = (2.3, 2.2)
_DASHES = ('-', '--', ':')


@dataclasses.dataclass(frozen=True)
class Curve:
    """A measure of several functions at every position of an episode.

    Attributes:
        functions: Of each function, [f, t]; NaN where there is none.
        mean: Over functions, [t].
        low: Lower end of its interval, [t].
        high: Upper end of its interval, [t].
    """

    functions: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray


def draw_functions(
    rows: Mapping[str, Mapping[str, Curve]], *, label: str, limits: tuple[float, float], chance: float | None = None
) -> matplotlib.figure.Figure:
    """A thin line for each function, their mean as a thick line with its interval: kinds of functions by conditions.

    Args:
        rows: By kind of functions, then by condition; every kind has the same conditions.
        label: What the vertical axis measures, with its unit.
        limits: Ends of the vertical axis.
        chance: Where chance is; None to leave it out.

    Returns:
        The figure.
    """
    shape = len(rows), max(map(len, rows.values()))
    with style.figure_style():
        size = (_PANEL_INCHES[0] * shape[1] + 0.5, _PANEL_INCHES[1] * shape[0])
        figure = matplotlib.figure.Figure(figsize=size, layout='constrained')
        axes = figure.subplots(*shape, squeeze=False, sharex=True, sharey=True)
        for row, (kind, curves) in zip(axes, rows.items()):
            for ax, (name, curve), colour in zip(row, curves.items(), _colours(shape[1])):
                at = np.arange(1, curve.functions.shape[1] + 1)
                # Hundreds of lines are a picture in the file.
                ax.plot(at, curve.functions.T, color='0.6', linewidth=0.4, alpha=0.5, zorder=1, rasterized=True)
                ax.fill_between(at, curve.low, curve.high, color=colour, alpha=0.35, linewidth=0.0, zorder=2)
                ax.plot(at, curve.mean, color=colour, linewidth=2.0, zorder=3)
                if chance is not None:
                    ax.axhline(chance, color='0.3', linewidth=0.8, linestyle='--', zorder=2)
                title = f'{name}: {len(curve.functions)} {kind}'
                ax.set_title(style.wrapped(title, 0.9 * _PANEL_INCHES[0]))
            row[0].set_ylabel(style.wrapped(label, 1.6))
        for ax in axes[-1]:
            ax.set_xlabel('item of the episode')
        axes[0, 0].set_ylim(*limits)
    return figure


def draw_means(curves: Mapping[str, Curve], *, label: str, chance: float | None = None) -> matplotlib.figure.Figure:
    """Means over functions with their intervals, a line for each condition.

    Args:
        curves: By condition.
        label: What the vertical axis measures, with its unit.
        chance: Where chance is; None to leave it out.

    Returns:
        The figure, with a legend below.
    """
    with style.figure_style():
        figure = matplotlib.figure.Figure(figsize=(style.COLUMN_INCHES, 2.4), layout='constrained')
        ax = figure.subplots()
        for i, ((name, curve), colour) in enumerate(zip(curves.items(), _colours(len(curves)))):
            at = np.arange(1, len(curve.mean) + 1)
            ax.fill_between(at, curve.low, curve.high, color=colour, alpha=0.2, linewidth=0.0)
            dash = _DASHES[i // len(style.COLOURS) % len(_DASHES)]
            ax.plot(at, curve.mean, color=colour, linestyle=dash, label=style.plain(name))
        if chance is not None:
            ax.axhline(chance, color='0.3', linewidth=0.8, linestyle='--', label='chance')
        ax.set_xlabel('item of the episode')
        ax.set_ylabel(style.wrapped(label, 1.6))
        style.legend_below(figure, ax)
    return figure


def draw_sorted(
    values: Mapping[str, Sequence[float]], *, label: str, chance: float | None = None
) -> matplotlib.figure.Figure:
    """A point for each function and condition, in the order of the functions given.

    Args:
        values: Of each function, by condition.
        label: What the vertical axis measures, with its unit.
        chance: Where chance is; None to leave it out.

    Returns:
        The figure, with a legend below.
    """
    with style.figure_style():
        figure = matplotlib.figure.Figure(figsize=(style.COLUMN_INCHES, 2.4), layout='constrained')
        ax = figure.subplots()
        for i, ((name, of), colour) in enumerate(zip(values.items(), _colours(len(values)))):
            size = 3.5 if len(of) < 100 else 2.2
            ax.plot(np.arange(1, len(of) + 1), of, 'o', color=colour, markersize=size, markeredgewidth=0.7,
                    fillstyle='none' if i else 'full', label=style.plain(name))  # fmt: skip
        if chance is not None:
            ax.axhline(chance, color='0.3', linewidth=0.8, linestyle='--', label='chance')
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.set_xlabel('function, sorted')
        ax.set_ylabel(style.wrapped(label, 1.6))
        style.legend_below(figure, ax)
    return figure


def _colours(n: int) -> list[str]:
    return [style.COLOURS[i % len(style.COLOURS)] for i in range(n)]
