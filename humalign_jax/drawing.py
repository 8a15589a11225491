"""Figures that results and RDMs draw of themselves. matplotlib is imported only when something is drawn."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes as Axes
else:
    Axes = Any

BLUE, GREY, BAND = '#0072B2', '0.6', '#D9D9D9'  # Okabe & Ito (2008), as in the report
MOST_STIMULI = 1000  # a side of a drawn RDM
MOST_POINTS = 50  # more subjects than this are not drawn one by one


def new_axes(width: float, height: float) -> Axes:
    """Axes of a new figure of so many inches, which a notebook shows.

    Raises:
        ImportError: matplotlib is not installed.
    """
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise ImportError('a figure needs matplotlib: pip install matplotlib.') from error
    return pyplot.subplots(figsize=(width, height), layout='constrained')[1]


def plot_intervals(
    names: Sequence[str],
    values: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    *,
    label: str,
    ceiling: tuple[float, float] = (np.nan, np.nan),
    by_subject: np.ndarray | None = None,
    ax: Axes | None = None,
) -> Axes:
    """A dot with an interval for each model, one below the other, before a band from the lower to the upper ceiling.

    Args:
        names: Names of the models, [m].
        values: Scores, [m].
        low: Lower ends of the intervals, [m].
        high: Upper ends of the intervals, [m].
        label: What the horizontal axis measures.
        ceiling: Lower and upper noise ceiling; NaN for none.
        by_subject: Scores with each subject, [m, k], drawn as small points for up to 50 subjects.
        ax: Where to draw; None for a new figure.

    Returns:
        The axes.
    """
    ax = new_axes(5.0, 1.2 + 0.3 * len(names)) if ax is None else ax
    places = np.arange(len(names))
    if np.isfinite(ceiling).all():
        ax.axvspan(*ceiling, color=BAND, linewidth=0.0, zorder=0, label='noise ceiling')
    if by_subject is not None and 1 < by_subject.shape[1] <= MOST_POINTS:
        shifts = np.linspace(-0.25, 0.25, by_subject.shape[1])
        for place, scores in zip(places, by_subject):
            ax.plot(scores, place + shifts, '.', color=GREY, markersize=3, zorder=1)
    ax.errorbar(values, places, xerr=_arms(values, low, high), fmt='o', color=BLUE, capsize=2.5, zorder=2)
    ax.axvline(0.0, color='black', linewidth=0.6, zorder=0)
    ax.set_yticks(places, [_plain(name) for name in names])
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.set_xlabel(label)
    ax.spines[['top', 'right']].set_visible(False)
    return ax


def plot_square(values: np.ndarray, n: int, *, title: str, unit: str, ax: Axes | None = None) -> Axes:
    """A condensed RDM as a square heat map with a colour bar.

    Args:
        values: Condensed RDM, [p].
        n: Number of stimuli. Of more than 1,000 stimuli as many are drawn, evenly spaced, and the axis says so.
        title: Its name.
        unit: What the colour bar says.
        ax: Where to draw; None for a new figure.

    Returns:
        The axes.
    """
    ax = new_axes(4.0, 3.4) if ax is None else ax
    rows = np.unique(np.linspace(0, n - 1, min(n, MOST_STIMULI)).astype(np.int64))
    first, second = np.triu_indices(len(rows), 1)
    i, j = rows[first], rows[second]
    square = np.zeros((len(rows), len(rows)))
    square[first, second] = square[second, first] = values[i * (2 * n - i - 1) // 2 + j - i - 1]
    image = ax.imshow(square, cmap='viridis', interpolation='nearest')
    ax.set_title(_plain(title))
    ax.set_xticks([])
    ax.set_yticks([])
    ax.set_xlabel(f'{n} stimuli' if len(rows) == n else f'{len(rows)} of {n} stimuli')
    ax.figure.colorbar(image, ax=ax, shrink=0.8, label=_plain(unit))
    return ax


def _arms(values: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Lengths of the two arms of each interval, [2, m]; 0 where there is none."""
    return np.maximum(np.nan_to_num(np.stack([values - low, high - values])), 0.0)


def _plain(text: str) -> Any:
    return text.replace('$', r'\$')  # two of them would make a formula
