"""Sheets of most exciting images, and distributions of values of units."""

from collections.abc import Mapping, Sequence

import matplotlib.figure
import numpy as np
from matplotlib.axes import Axes

from humalign_jax.report.plots import style

_CELL_INCHES = 0.52


def draw_sheet(images: Sequence[np.ndarray], labels: Sequence[str], *, title: str) -> matplotlib.figure.Figure:
    """Most exciting images, a row for each unit, the most exciting at the left.

    Args:
        images: For each unit uint8 [m, h, w, c], c 1 or 3.
        labels: Words beside each row.
        title: Title of the sheet.
    """
    n_rows, n_columns = len(images), len(images[0])
    beside = max(style.text_inches(label, style.TICK_POINTS) for label in labels) + 0.2
    width, height = n_columns * _CELL_INCHES + beside, n_rows * _CELL_INCHES + 0.5
    width = max(width, style.text_inches(title, style.TEXT_POINTS) + 0.2)
    with style.figure_style():
        figure = matplotlib.figure.Figure(figsize=(width, height))
        figure.set_layout_engine('none')  # axes are placed by hand
        figure.text(0.1 / width, 1 - 0.1 / height, style.plain(title), va='top', fontsize=style.TEXT_POINTS)
        for i, (row, label) in enumerate(zip(images, labels)):
            bottom = (n_rows - 1 - i) * _CELL_INCHES + 0.1
            middle = (bottom + _CELL_INCHES / 2) / height
            figure.text(0.1 / width, middle, style.plain(label), va='center', fontsize=style.TICK_POINTS)
            for j, image in enumerate(row):
                left = beside + j * _CELL_INCHES
                size = 0.94 * _CELL_INCHES
                ax = figure.add_axes((left / width, bottom / height, size / width, size / height))
                ax.imshow(np.broadcast_to(image, (*image.shape[:2], 3)), interpolation='nearest')
                ax.set_axis_off()
    return figure


def plot_distributions(ax: Axes, values: Mapping[str, Sequence[np.ndarray]], *, label: str) -> Axes:
    """Cumulative distributions over units, a colour for each condition and a line for each of its runs.

    Args:
        ax: Axes.
        values: By condition, values of the units of each run, [u] each.
        label: Measure and unit, for the axis.
    """
    for (condition, runs), colour in zip(values.items(), style.COLOURS * (1 + len(values) // len(style.COLOURS))):
        for number, of_run in enumerate(runs):
            ordered = np.sort(of_run)
            share = np.arange(1, len(ordered) + 1) / len(ordered)
            n_runs = f', {len(runs)} networks' if len(runs) > 1 else ''
            name = style.plain(f'{condition} (n = {len(ordered)} units{n_runs})') if number == 0 else '_'
            ax.plot(ordered, share, color=colour, label=name, alpha=1.0 if len(runs) == 1 else 0.75)
        ax.axvline(float(np.mean([of_run.mean() for of_run in runs])), color=colour, linestyle=':', linewidth=0.9)
    ax.set_xlabel(style.plain(label))
    ax.set_ylabel('share of units')
    ax.set_ylim(0, 1)
    return ax
