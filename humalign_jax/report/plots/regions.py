"""Scores of several models in regions of interest, with the noise ceiling of each region."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

from humalign_jax.records import Score
from humalign_jax.report import numbers
from humalign_jax.report.plots import style

_WIDTH = 0.8  # of all bars of a region


def plot_regions(
    ax: Axes,
    rois: Sequence[str],
    scores: Mapping[str, Mapping[str, Score]],
    *,
    label: str,
    baselines: Sequence[str] = (),
) -> Axes:
    """Bars of models side by side in each region, with 95 % intervals, below a line at the region's noise ceiling.

    Args:
        ax: Where to draw.
        rois: Regions from left to right.
        scores: A score of each region, by model; a region without one has a gap.
        label: What the axis measures.
        baselines: Names of baselines, drawn in grey.

    Returns:
        The axes.
    """
    width = _WIDTH / max(1, len(scores))
    colour = iter(style.COLOURS * (1 + len(scores) // len(style.COLOURS)))
    for number, (model, of_roi) in enumerate(scores.items()):
        places = [k for k, roi in enumerate(rois) if roi in of_roi]
        at = np.array(places) + (number - (len(scores) - 1) / 2) * width
        found = [of_roi[rois[k]] for k in places]
        values, low, high = (np.array([getattr(score, end) for score in found]) for end in ('value', 'low', 'high'))
        shade = style.GREY if model in baselines else next(colour)
        drawn = ax.bar(at, values, width=0.92 * width, color=shade, alpha=0.85, zorder=1, label=style.plain(model))
        for bar, k, score in zip(drawn, places, found):
            style.hover(bar, f'{model}, {rois[k]}: {numbers.score_text(score)}')
        known = np.isfinite(low) & np.isfinite(high)
        ends = np.maximum(np.stack([values - low, high - values]), 0.0)[:, known]
        ax.errorbar(
            at[known], values[known], yerr=ends, fmt='none', ecolor='black', elinewidth=0.8, capsize=1.5, zorder=3
        )
    named = False
    for k, roi in enumerate(rois):
        ceilings = [of_roi[roi].ceiling_upper for of_roi in scores.values() if roi in of_roi]
        ceiling = next((value for value in ceilings if np.isfinite(value)), None)
        if ceiling is not None:
            ends = (k - _WIDTH / 2, k + _WIDTH / 2)
            ax.plot(ends, (ceiling, ceiling), color='0.35', linewidth=1.2, label=None if named else 'noise ceiling')
            named = True
    ax.axhline(0.0, color='black', linewidth=0.6)
    ax.tick_params(axis='x', length=0)
    ax.set_xlim(-0.6, len(rois) - 0.4)
    ax.set_ylabel(style.wrapped(label, 1.8))
    return ax
