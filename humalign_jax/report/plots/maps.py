"""Maps of the same items in several representations, side by side."""

from collections.abc import Mapping, Sequence

import matplotlib.figure
import numpy as np

from humalign_jax.report.plots import rdms, style

_MOST_COLUMNS = 4
_TITLE_INCHES = 0.6  # two lines


def draw_maps(
    panels: Mapping[str, np.ndarray], *, labels: np.ndarray, class_names: Sequence[str]
) -> matplotlib.figure.Figure:
    """A panel for each map, all on one scale, so that aligned maps can be compared item by item.

    Args:
        panels: Coordinates by title, [n, 2]; the same n items in one order.
        labels: Category of each item, [n], places in `class_names`; gives colour and marker.
        class_names: Names of the categories.

    Returns:
        The figure, with the legend below all panels.
    """
    n_rows = -(-len(panels) // _MOST_COLUMNS)
    n_columns = -(-len(panels) // n_rows)
    side = style.PAGE_INCHES / max(n_columns, 3)
    everything = np.concatenate(list(panels.values()))
    middle, reach = (everything.max(axis=0) + everything.min(axis=0)) / 2, 0.53 * np.ptp(everything, axis=0).max()
    with style.figure_style():
        size = (side * n_columns, (side + _TITLE_INCHES) * n_rows)
        figure = matplotlib.figure.Figure(figsize=size, layout='constrained')
        axes = figure.subplots(n_rows, n_columns, squeeze=False)
        for ax in list(axes.flat)[len(panels) :]:
            ax.set_axis_off()
        for ax, (title, points) in zip(axes.flat, panels.items()):
            rdms.plot_map(ax, points, labels=labels, class_names=class_names)
            ax.set_aspect('equal', adjustable='box')
            ax.set_xlim(middle[0] - reach, middle[0] + reach)
            ax.set_ylim(middle[1] - reach, middle[1] + reach)
            ax.set_title(style.wrapped(title, side - 0.2))
        style.legend_below(figure, axes[0, 0])
    return figure
