"""RDMs as heat maps, and the stimuli as points on a map."""

import itertools
from collections.abc import Mapping, Sequence

import matplotlib.figure
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from humalign_jax.records import Rdm
from humalign_jax.report.plots import style

_MARKERS = 'osD^v'
MAX_CELLS = 400  # a side of a drawn matrix; larger RDMs come block-averaged


def draw_rdms(
    rdms: Sequence[Rdm],
    *,
    labels: np.ndarray | None = None,
    class_names: Sequence[str] = (),
    ranks: bool = False,
    unit: str = 'dissimilarity',
) -> matplotlib.figure.Figure:
    """Heat maps side by side with the same limits and one colour bar.

    Args:
        rdms: RDMs of the same stimuli in the same order, of values that share a unit.
        labels: Category of each stimulus, [n]; stimuli are drawn category by category.
        class_names: Names of the categories, [k].
        ranks: Whether the values are ranks; the colour bar says so.
        unit: What the colour bar says.

    Returns:
        The figure, 7 inches wide for three or more RDMs.
    """
    n_columns = min(len(rdms), 4)
    n_rows = -(-len(rdms) // n_columns)
    width = style.PAGE_INCHES if n_columns > 2 else style.COLUMN_INCHES * n_columns
    side = (width - 0.9) / n_columns
    with style.figure_style():
        titles = [style.wrapped(rdm.name, side - 0.1) for rdm in rdms]
        above = 0.2 + 0.14 * max(1 + title.count('\n') for title in titles)
        figure = matplotlib.figure.Figure(figsize=(width, n_rows * (side + above)), layout='constrained')
        axes = figure.subplots(n_rows, n_columns, squeeze=False)
        limits = (min(np.nanmin(rdm.values) for rdm in rdms), max(np.nanmax(rdm.values) for rdm in rdms))
        for i, ax in enumerate(axes.flat):
            if i >= len(rdms):
                ax.set_axis_off()
                continue
            names = class_names if i % n_columns == 0 else ()
            plot_rdm(ax, rdms[i], labels=labels, class_names=names, limits=limits).set_title(titles[i])
        bar = figure.colorbar(axes[0, 0].images[0], ax=axes, shrink=0.8, aspect=25)
        bar.set_label(style.wrapped(f'rank of {unit}' if ranks else unit, 0.8 * figure.get_size_inches()[1]))
        bar.outline.set_visible(False)
    return figure


def draw_map(
    points: np.ndarray, *, labels: np.ndarray | None = None, class_names: Sequence[str] = (), title: str = ''
) -> matplotlib.figure.Figure:
    """`plot_map` in a new figure, with a legend of the categories below it."""
    with style.figure_style():
        figure = matplotlib.figure.Figure(figsize=(style.COLUMN_INCHES, 2.6), layout='constrained')
        ax = plot_map(figure.subplots(), points, labels=labels, class_names=class_names)
        ax.set_title(style.wrapped(title, style.COLUMN_INCHES - 0.4))
        style.legend_below(figure, ax)
    return figure


def plot_rdm(
    ax: Axes,
    rdm: Rdm,
    *,
    labels: np.ndarray | None = None,
    class_names: Sequence[str] = (),
    limits: tuple[float, float] | None = None,
    shows: Mapping[str, str] | None = None,
) -> Axes:
    """One RDM as a square heat map; its diagonal stays white, as it is not measured.

    Args:
        ax: Where to draw.
        rdm: The RDM.
        labels: Category of each stimulus, [n]; white lines separate the categories.
        class_names: Names of the categories, [k], written at the left; () for none.
        limits: Values of the two ends of the colour map; default those of this RDM.
        shows: Part of the page that a click on a block of two categories shows, by the name of a category.

    Returns:
        The axes.
    """
    order = np.arange(len(rdm.ids)) if labels is None else np.argsort(labels, kind='stable')
    picture = block_average(rdm.values, order, MAX_CELLS)
    low, high = limits or (np.nanmin(rdm.values), np.nanmax(rdm.values))
    n = len(order)
    ax.imshow(
        picture,
        cmap=style.RDM_COLOURS,
        vmin=low,
        vmax=high,
        extent=(0, n, n, 0),
        interpolation='none',
        aspect='equal',
    )
    ax.set_title(style.wrapped(rdm.name, style.axes_inches(ax)[0]))
    ax.set_xticks([])
    ax.set_yticks([])
    for spine in ax.spines.values():
        spine.set_visible(False)
    if labels is not None:
        values, counts = np.unique(labels, return_counts=True)
        ends = np.cumsum(counts)
        for end in ends[:-1]:
            ax.axhline(end, color='white', linewidth=0.4)
            ax.axvline(end, color='white', linewidth=0.4)
        if len(class_names) and shows:
            _link_blocks(ax, picture, ends * (len(picture) / n), [str(class_names[int(v)]) for v in values], shows, n)
        if len(class_names):
            style.name_y(ax, list(ends - counts / 2.0), [str(class_names[int(value)]) for value in values], span=n)
            ax.tick_params(length=0)
    else:
        ax.set_xlabel(f'{n} stimuli')
    return ax


def _link_blocks(
    ax: Axes, picture: np.ndarray, ends: np.ndarray, names: Sequence[str], shows: Mapping[str, str], n: int
) -> None:
    """A transparent cell over each block of two categories below the diagonal, with its mean under the pointer."""
    starts, scale = np.r_[0.0, ends[:-1]], n / len(picture)
    cells = [slice(round(start), max(round(end), round(start) + 1)) for start, end in zip(starts, ends)]
    for i, j in itertools.combinations_with_replacement(range(len(names)), 2):
        block = picture[cells[i], cells[j]]
        if not np.isfinite(block).any() or names[i] not in shows or names[j] not in shows:
            continue
        width, height = (scale * (ends[k] - starts[k]) for k in (i, j))
        corner = scale * starts[i], scale * starts[j]
        cell = ax.add_patch(Rectangle(corner, width, height, facecolor='none', edgecolor='none'))
        parts = dict.fromkeys((shows[names[i]], shows[names[j]]))
        style.hover(cell, f'{names[i]} and {names[j]}: {np.nanmean(block):.2f}; click for images', tuple(parts))


def block_average(values: np.ndarray, order: np.ndarray, max_cells: int) -> np.ndarray:
    """A square picture of an RDM, at most `max_cells` wide; a cell is the mean of the pairs that fall into it.

    Args:
        values: Condensed RDM, [p].
        order: Order of the stimuli along the sides, [n].
        max_cells: Largest side.

    Returns:
        [c, c], c = min(n, max_cells); NaN where only the diagonal falls into a cell.
    """
    n = len(order)
    n_cells = min(n, max_cells)
    cell = np.empty(n, dtype=np.int64)
    cell[order] = np.arange(n) * n_cells // n  # cell of each stimulus
    sums, end = np.zeros((n_cells, n_cells)), 0
    for i in range(n - 1):  # row by row: a square copy of a large RDM would not fit
        start, end = end, end + n - 1 - i
        sums[cell[i]] += np.bincount(cell[i + 1 :], values[start:end], minlength=n_cells)
    sizes = np.bincount(cell, minlength=n_cells).astype(np.float64)
    counts = np.outer(sizes, sizes) - np.diag(sizes)
    return (sums + sums.T) / np.where(counts > 0, counts, np.nan)


def plot_map(
    ax: Axes, points: np.ndarray, *, labels: np.ndarray | None = None, class_names: Sequence[str] = ()
) -> Axes:
    """Stimuli as points of a plane, such as `rsa.classical_mds` gives; only their distances mean anything.

    Args:
        ax: Where to draw.
        points: Coordinates, [n, 2].
        labels: Category of each stimulus, [n]; gives colours and markers, of which there are 40. With more categories,
            or without names for them, all points look the same.
        class_names: Names of the categories, [k]; `labels` are places in this list.

    Returns:
        The axes; the points of each category have a label for a legend.
    """
    labels = np.zeros(len(points), dtype=int) if labels is None else np.asarray(labels)
    size = 18.0 if len(points) <= 200 else 6.0
    is_told = 0 < len(np.unique(labels)) <= len(style.COLOURS) * len(_MARKERS) and len(class_names) > 0
    labels = labels if is_told else np.zeros(len(points), dtype=int)
    for k, value in enumerate(np.unique(labels)):
        own = points[labels == value]
        ax.scatter(
            own[:, 0],
            own[:, 1],
            s=size,
            color=style.COLOURS[k % len(style.COLOURS)],
            marker=_MARKERS[k // len(style.COLOURS)],
            linewidths=0.0,
            label=style.plain(str(class_names[int(value)])) if is_told else None,
        )
    ax.set_aspect('equal', adjustable='datalim')
    ax.set_xticks([])
    ax.set_yticks([])
    for spine in ax.spines.values():
        spine.set_visible(False)
    return ax
