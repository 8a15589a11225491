"""Scores of models side by side: bars, intervals, subjects, noise ceiling, significance."""

from collections.abc import Sequence

import matplotlib.figure
import numpy as np
from matplotlib.axes import Axes

from humalign_jax.records import Score
from humalign_jax.report import style

STARS = ((0.001, '***'), (0.01, '**'), (0.05, '*'))
MANY_POINTS = 50  # more subjects than this are not drawn one by one


def draw_scores(
    scores: Sequence[Score],
    names: Sequence[str],
    *,
    label: str,
    by_subject: np.ndarray | None = None,
    p_zero: np.ndarray | None = None,
    p_differences: np.ndarray | None = None,
) -> matplotlib.figure.Figure:
    """A figure of its own with `plot_scores` in it; see there."""
    width = float(np.clip(0.45 * len(scores) + 1.2, 2.2, style.PAGE_INCHES))
    with style.figure_style():
        figure = matplotlib.figure.Figure(figsize=(width, 2.8), layout='constrained')
        plot_scores(
            figure.subplots(),
            scores,
            names,
            label=label,
            by_subject=by_subject,
            p_zero=p_zero,
            p_differences=p_differences,
        )
    return figure


def plot_scores(
    ax: Axes,
    scores: Sequence[Score],
    names: Sequence[str],
    *,
    label: str,
    by_subject: np.ndarray | None = None,
    p_zero: np.ndarray | None = None,
    p_differences: np.ndarray | None = None,
) -> Axes:
    """Bars with 95 % intervals under a band from the lower to the upper noise ceiling.

    Args:
        ax: Where to draw.
        scores: One score for each model, m of them, with the same ceiling.
        names: What to call the models, [m].
        label: What the axis measures, with its unit if it has one.
        by_subject: Score of each model with each subject, [m, k], drawn as points where k is at most 50.
        p_zero: p values against zero, [m], drawn as stars at the foot of the bars.
        p_differences: p values of differences, [m, m], corrected for their number; a line joins the models that
            differ at 5 %, up to twelve lines.

    Returns:
        The axes.
    """
    m = len(scores)
    values, low, high = (np.array([getattr(score, field) for score in scores]) for field in ('value', 'low', 'high'))
    lower, upper = scores[0].ceiling_lower, scores[0].ceiling_upper
    if np.isfinite(lower) and np.isfinite(upper):
        ax.axhspan(lower, upper, color=style.CEILING_GREY, linewidth=0.0, zorder=0)
        ax.text(m - 0.45, upper, 'noise ceiling', fontsize=6, color='0.35', ha='right', va='bottom')
    ax.bar(np.arange(m), values, width=0.66, color=style.COLOURS[0], alpha=0.85, zorder=1)
    if by_subject is not None and 1 < by_subject.shape[1] <= MANY_POINTS:
        offsets = np.linspace(-0.2, 0.2, by_subject.shape[1])
        for i in range(m):
            ax.plot(i + offsets, by_subject[i], '.', color='0.25', markersize=2.5, alpha=0.7, zorder=2, clip_on=False)
    drawn = np.isfinite(low) & np.isfinite(high)
    ends = np.maximum(np.stack([values - low, high - values]), 0.0)[:, drawn]
    ax.errorbar(
        np.flatnonzero(drawn),
        values[drawn],
        yerr=ends,
        fmt='none',
        ecolor='black',
        elinewidth=1.0,
        capsize=2.5,
        zorder=3,
    )
    ax.axhline(0.0, color='black', linewidth=0.6)
    ax.set_xticks(
        np.arange(m),
        list(names),
        rotation=40 if max(map(len, names)) > 4 else 0,
        ha='right' if max(map(len, names)) > 4 else 'center',
        rotation_mode='anchor',
    )
    ax.tick_params(axis='x', length=0)
    ax.set_xlim(-0.6, m - 0.4)
    ax.set_ylabel(label)
    n_shown = {score.n for score in scores}
    if len(n_shown) == 1:
        ax.set_title(
            f'n = {n_shown.pop()}, 95 % intervals: {scores[0].interval.split(",")[0]}', fontsize=6, color='0.35'
        )
    if p_zero is not None:
        _plot_stars(ax, values, p_zero)
    if p_differences is not None:
        _plot_differences(ax, p_differences)
    return ax


def _plot_stars(ax: Axes, values: np.ndarray, p_zero: np.ndarray) -> None:
    """Stars just above zero, inside the bars."""
    for i, p in enumerate(p_zero):
        stars = next((text for bound, text in STARS if p < bound), '')
        ax.annotate(
            stars,
            (i, 0.0),
            (0, 2),
            textcoords='offset points',
            ha='center',
            va='bottom',
            fontsize=7,
            color='white' if values[i] > 0 else 'black',
            zorder=4,
        )


def _plot_differences(ax: Axes, p_differences: np.ndarray) -> None:
    """Lines above the bars that join models which differ, shortest first."""
    first, second = np.triu_indices(len(p_differences), 1)
    order = np.argsort(second - first, kind='stable')
    significant = [(i, j) for i, j in zip(first[order], second[order]) if p_differences[i, j] < 0.05][:12]
    bottom, top = ax.get_ylim()
    step = 0.035 * (top - bottom)
    for level, (i, j) in enumerate(significant, start=1):
        ax.plot([i + 0.08, j - 0.08], [top + level * step] * 2, color='black', linewidth=0.7, zorder=3)
    ax.set_ylim(bottom, top + (len(significant) + 1) * step)
