"""Confusion and error matrices as heat maps."""

from collections.abc import Mapping, Sequence

import matplotlib.figure
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from humalign_jax.report.plots import style

SHARE_COLOURS = 'Blues'
MAX_WRITTEN = 12  # more classes than this leave no room for numbers


def draw_confusions(
    matrices: Sequence[np.ndarray], names: Sequence[str], class_names: Sequence[str], *, what: str
) -> matplotlib.figure.Figure:
    """Matrices side by side with the same limits and one colour bar; see `plot_confusion`.

    Args:
        matrices: Shares [k, k], m of them.
        names: Whose they are, [m].
        class_names: Names of the classes, [k].
        what: What a cell is, said by the colour bar.
    """
    n_columns = min(len(matrices), 3)
    n_rows = -(-len(matrices) // n_columns)
    width = style.PAGE_INCHES if n_columns > 1 else style.COLUMN_INCHES
    side = (width - 1.2) / n_columns
    limits = (0.0, max(float(np.nanmax(matrix)) for matrix in matrices) or 1.0)
    with style.figure_style():
        figure = matplotlib.figure.Figure(figsize=(width, n_rows * (side + 0.6)), layout='constrained')
        axes = figure.subplots(n_rows, n_columns, squeeze=False)
        for i, ax in enumerate(axes.flat):
            if i >= len(matrices):
                ax.set_axis_off()
                continue
            plot_confusion(ax, matrices[i], class_names, limits=limits, fontsize=4.0 if n_columns == 3 else 5.0)
            ax.set_title(style.wrapped(names[i], side - 0.1))
        bar = figure.colorbar(axes[0, 0].images[0], ax=axes, shrink=0.7, aspect=25)
        bar.set_label(style.wrapped(what, 0.6 * figure.get_size_inches()[1]))
        bar.outline.set_visible(False)
    return figure


def plot_confusion(
    ax: Axes,
    shares: np.ndarray,
    class_names: Sequence[str],
    *,
    limits: tuple[float, float],
    fontsize: float = 6.0,
    shows: Mapping[tuple[int, int], str] | None = None,
) -> Axes:
    """A matrix with true classes in rows, chosen classes in columns, and percentages in the cells of up to 12 classes.

    Args:
        ax: Where to draw.
        shares: Shares of the true class, [k, k].
        class_names: Names of the classes, [k].
        limits: Values of the two ends of the colour map.
        fontsize: Of the percentages, in points.
        shows: Part of the page that a click on a cell shows, by true and chosen class.

    Returns:
        The axes.
    """
    k = len(shares)
    ax.imshow(shares, cmap=SHARE_COLOURS, vmin=limits[0], vmax=limits[1], interpolation='none', aspect='equal')
    style.name_x(ax, range(k), class_names)
    style.name_y(ax, range(k), class_names, span=k)
    ax.set_xlabel('chosen class')
    ax.set_ylabel('true class')
    ax.tick_params(length=0)
    for spine in ax.spines.values():
        spine.set_visible(False)
    for (i, j), part in (shows or {}).items():
        cell = ax.add_patch(Rectangle((j - 0.5, i - 0.5), 1, 1, facecolor='none', edgecolor='none'))
        style.hover(
            cell, f'{class_names[i]} as {class_names[j]}: {100 * shares[i, j]:.1f} %; click for images', (part,)
        )
    if k > MAX_WRITTEN:
        return ax
    middle = (limits[0] + limits[1]) / 2.0
    for i, j in np.argwhere(np.isfinite(shares) & (shares >= 0.0005)):
        percent = 100.0 * float(shares[i, j])
        ax.text(
            j, i, f'{percent:.0f}' if percent >= 9.95 else f'{percent:.1f}', ha='center', va='center',
            fontsize=fontsize, color='white' if shares[i, j] > middle else style.ON_COLOUR,
        )  # fmt: skip
    return ax
