"""Training curves from a run's metrics.jsonl."""

import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.figure
from matplotlib.axes import Axes

from humalign_jax import storage
from humalign_jax.report.plots import style

_STYLES = {
    'train': (style.COLOURS[0], '-'),
    'validation': (style.COLOURS[3], 'o-'),
    'test': (style.COLOURS[1], 's--'),
}


def plot_metric(axes: Axes, rows: Sequence[Mapping[str, Any]], metric: str, *, label: str) -> Axes:
    """One metric over epochs, a line for each split that has it.

    Args:
        axes: Where to draw.
        rows: Rows of metrics.jsonl.
        metric: Name of the metric in the rows.
        label: The vertical axis's label, with its unit.

    Returns:
        The same axes.
    """
    for split, (colour, line) in _STYLES.items():
        points = [(row['epoch'], row[metric]) for row in rows if row['split'] == split and metric in row]
        if points:
            axes.plot(*zip(*points), line, color=colour, markersize=3, label=split)
    axes.set_xlabel('epoch')
    axes.set_ylabel(style.wrapped(label, 1.5))
    axes.legend()
    return axes


def draw_curves(workdir: str | os.PathLike, labels: Mapping[str, str]) -> tuple[pathlib.Path, pathlib.Path]:
    """Writes figures/curves.pdf and .png in a run's folder, one panel per metric.

    Args:
        workdir: Folder with metrics.jsonl.
        labels: Metrics to draw and the labels of their axes.

    Returns:
        The two paths.
    """
    folder = pathlib.Path(workdir)
    rows = storage.read_jsonl(folder / 'metrics.jsonl')
    with style.figure_style():
        size = (style.COLUMN_INCHES * 0.8 * len(labels), 2.2)
        figure = matplotlib.figure.Figure(figsize=size, layout='constrained')
        for axes, (metric, label) in zip(figure.subplots(1, len(labels), squeeze=False)[0], labels.items()):
            plot_metric(axes, rows, metric, label=label)
        return style.save_figure(figure, folder / 'figures' / 'curves')
