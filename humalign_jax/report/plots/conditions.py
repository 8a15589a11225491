"""Conditions below each other: scores beside base, chance and noise ceiling, and differences from one of them."""

import dataclasses
import math
from collections.abc import Sequence

import matplotlib.figure
import numpy as np
from matplotlib.axes import Axes

from humalign_jax.records import Score
from humalign_jax.report import numbers
from humalign_jax.report.plots import style

WIDTH_INCHES = 3.5
_ROW_INCHES, _AROUND_INCHES = 0.24, 0.75
_NOTE_INCHES = 0.42  # width of a column of notes
_BELOW = 0.3  # of a row: how far below a condition its networks are drawn


@dataclasses.dataclass(frozen=True)
class Mark:
    """One row.

    Attributes:
        name: What it is called.
        score: Its score.
        networks: Values of single networks.
        notes: Short words at its right, such as probabilities, one for each of the heads.
        is_base: Whether the others are compared with it.
    """

    name: str
    score: Score
    networks: tuple[float, ...] = ()
    notes: tuple[str, ...] = ()
    is_base: bool = False


def draw_conditions(
    marks: Sequence[Mark], *, label: str, chance: float | None = None, heads: Sequence[str] = ()
) -> matplotlib.figure.Figure:
    """Points with 95 % intervals, dashed lines at the base, a dotted one at chance, the noise ceiling as a band.

    Args:
        marks: The rows from top to bottom, with the same ceiling.
        label: What the axis measures, with its unit.
        chance: Score of chance; None to leave it out.
        heads: Heads of the notes, each of one or two short lines.

    Returns:
        The figure, with a legend below.
    """
    figure, ax = _figure(len(marks))
    with style.figure_style():
        ceiling = marks[0].score.ceiling_lower, marks[0].score.ceiling_upper
        if all(map(math.isfinite, ceiling)):
            ax.axvspan(*ceiling, color=style.CEILING_GREY, linewidth=0.0, zorder=0, label='noise ceiling')
        if chance is not None:
            ax.axvline(chance, color='0.4', linewidth=0.9, linestyle=':', label='chance', zorder=1)
        for mark in marks:
            if mark.is_base:
                ax.axvline(mark.score.value, color='black', linewidth=0.9, linestyle='--', zorder=1,
                           label=style.plain(mark.name))  # fmt: skip
        singles = [(value, row + _BELOW) for row, mark in enumerate(marks) for value in mark.networks]
        if singles:
            ax.plot(*zip(*singles), '.', color=style.COLOURS[1], markersize=5.5, markeredgewidth=0, zorder=2,
                    label='single networks')  # fmt: skip
        _points(ax, [mark.score for mark in marks], [mark.is_base for mark in marks])
        for column, head in enumerate(heads):
            _at_right(ax, -0.6, column, head)
            for row, mark in enumerate(marks):
                _at_right(ax, row, column, mark.notes[column] if mark.notes else '')
        _finish(figure, ax, [mark.name for mark in marks], label)
    return figure


def draw_differences(scores: Sequence[Score | None], names: Sequence[str], *, label: str) -> matplotlib.figure.Figure:
    """Points with 95 % intervals beside a line at 0.

    Args:
        scores: The differences from top to bottom; None leaves a row empty.
        names: What they are called.
        label: What the axis measures, with its unit.

    Returns:
        The figure.
    """
    figure, ax = _figure(len(scores))
    with style.figure_style():
        ax.axvline(0.0, color='black', linewidth=0.9, linestyle='--', zorder=1)
        _points(ax, scores, [False] * len(scores))
        _finish(figure, ax, names, label)
    return figure


def _figure(n_rows: int) -> tuple[matplotlib.figure.Figure, Axes]:
    with style.figure_style():
        size = (WIDTH_INCHES, _AROUND_INCHES + _ROW_INCHES * n_rows)
        figure = matplotlib.figure.Figure(figsize=size, layout='constrained')
        return figure, figure.subplots()


def _points(ax: Axes, scores: Sequence[Score | None], is_base: Sequence[bool]) -> None:
    for row, (score, base) in enumerate(zip(scores, is_base)):
        if score is None:
            continue
        ends = np.nan_to_num([[max(score.value - score.low, 0.0)], [max(score.high - score.value, 0.0)]])
        drawn = ax.errorbar(
            [score.value], [row], xerr=ends, fmt='s' if base else 'o', markersize=4, capsize=2, elinewidth=1.0,
            color='black' if base else style.COLOURS[0], zorder=3,
        )  # fmt: skip
        style.hover(drawn.lines[0], numbers.score_text(score))


def _at_right(ax: Axes, row: float, column: int, words: str) -> None:
    if words:
        ax.annotate(
            style.plain(words), (1.0, row), (3 + 72 * _NOTE_INCHES * column, 0), xycoords=('axes fraction', 'data'),
            textcoords='offset points', ha='left', va='center' if row >= 0 else 'bottom', fontsize=style.TICK_POINTS,
            annotation_clip=False,
        )  # fmt: skip


def _finish(figure: matplotlib.figure.Figure, ax: Axes, names: Sequence[str], label: str) -> None:
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.tick_params(axis='y', length=0)
    style.name_y(ax, range(len(names)), names, span=len(names))
    ax.set_xlabel(style.wrapped(label, 0.6 * WIDTH_INCHES))
    style.legend_below(figure, ax)
