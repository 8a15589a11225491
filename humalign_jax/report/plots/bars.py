"""Scores of models side by side: bars, intervals, subjects, noise ceiling, and marks of significant results."""

from collections.abc import Sequence

import matplotlib.figure
import numpy as np
from matplotlib.axes import Axes

from humalign_jax.records import Score
from humalign_jax.report import numbers
from humalign_jax.report.plots import levels, style

MANY_POINTS = 50  # more subjects than this are not drawn one by one
ALPHA = 0.05
ABOVE_ZERO = 'above 0'
DIFFERS = 'differs\nfrom ○'
_ROW_INCHES = 0.1  # height of a row of marks
_MOST_INCHES = 4.0  # height of all rows of marks


def draw_scores(
    scores: Sequence[Score],
    names: Sequence[str],
    *,
    label: str,
    by_subject: np.ndarray | None = None,
    p_differences: np.ndarray | None = None,
    baselines: Sequence[str] = (),
    width: float | None = None,
) -> matplotlib.figure.Figure:
    """`plot_scores` in a new figure, below `plot_marks` if there are intervals or p values.

    Args:
        scores: One score for each model, m of them, with the same ceiling.
        names: What to call the models, [m].
        label: What the axis measures, with its unit if it has one.
        by_subject: Score of each model with each subject, [m, k].
        p_differences: p values of differences, [m, m], corrected for their number; NaN where none was tested.
        baselines: Names of baselines, drawn in grey.
        width: Width of the figure in inches; None for one that suits the number of models.

    Returns:
        The figure; a caption below the names gives the numbers of stimuli and subjects, and explains the marks.
    """
    above = None
    if all(np.isfinite([score.low, score.high]).all() for score in scores):
        above = np.array([score.low > 0.0 for score in scores])
    n_rows = (above is not None) + (0 if p_differences is None else len(scores))
    if width is None:
        width = float(np.clip(0.45 * len(scores) + 1.2, 2.6, style.PAGE_INCHES))
    marks, height = min(_ROW_INCHES * n_rows, _MOST_INCHES), 2.5
    with style.figure_style():
        figure = matplotlib.figure.Figure(figsize=(width, height + marks), layout='constrained')
        if n_rows:
            top, ax = figure.subplots(2, 1, sharex=True, height_ratios=(max(marks, 0.01), 1.8))
            plot_marks(top, above, p_differences)
        else:
            ax = figure.subplots()
        plot_scores(ax, scores, names, label=label, by_subject=by_subject, baselines=baselines)
        caption = _caption(scores, by_subject, above, p_differences)
        ax.set_xlabel(style.wrapped(caption, width - 0.9, style.CAPTION_POINTS), fontsize=style.CAPTION_POINTS)
        ax.xaxis.label.set_color('0.35')
        below = style.name_x(ax, range(len(names)), names, longest=style.LONGEST_NAME_INCHES)
        lines = 1 + ax.get_xlabel().count('\n')
        below += lines * style.LINE_HEIGHT * style.CAPTION_POINTS / 72.0
        figure.set_size_inches(width, 2.0 + marks + below)
    return figure


def plot_scores(
    ax: Axes,
    scores: Sequence[Score],
    names: Sequence[str],
    *,
    label: str,
    by_subject: np.ndarray | None = None,
    baselines: Sequence[str] = (),
) -> Axes:
    """Bars with 95 % intervals under a band from the lower to the upper noise ceiling.

    Args:
        ax: Where to draw.
        scores: One score for each model, m of them, with the same ceiling.
        names: What to call the models, [m].
        label: What the axis measures, with its unit if it has one.
        by_subject: Score of each model with each subject, [m, k], drawn as points where k is at most 50.
        baselines: Names of baselines, drawn in grey.

    Returns:
        The axes.
    """
    m = len(scores)
    values, low, high = (np.array([getattr(score, field) for score in scores]) for field in ('value', 'low', 'high'))
    levels.plot_ceiling(ax, scores[0].ceiling_lower, scores[0].ceiling_upper)
    colours = [style.GREY if name in baselines else style.COLOURS[0] for name in names]
    for bar, name, score in zip(ax.bar(np.arange(m), values, 0.66, color=colours, alpha=0.85, zorder=1), names, scores):
        style.hover(bar, f'{name}: {numbers.score_text(score)}')
    if by_subject is not None and _has_points(by_subject):
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
    style.name_x(ax, range(m), names)
    ax.tick_params(axis='x', length=0)
    ax.set_xlim(-0.6, m - 0.4)
    ax.set_ylabel(style.wrapped(label, 1.5))
    return ax


def plot_marks(ax: Axes, above_zero: np.ndarray | None, p_differences: np.ndarray | None) -> Axes:
    """Results of tests in rows above the bars: a dark mark is a significant result, a pale mark is none.

    The first row marks the models whose interval lies above 0; it repeats the interval and is no further test. Each
    further row belongs to the model with a ring in its column: a dark mark stands in the column of every model that
    differs from it. Every comparison has a mark.

    Args:
        ax: Where to draw; its horizontal axis is that of the bars.
        above_zero: Which intervals lie above 0, [m] booleans; None to leave this row out.
        p_differences: p values of differences, [m, m]; NaN where none was tested; None to leave these rows out.

    Returns:
        The axes.
    """
    dark, pale, ticks, n_rows = [], [], {}, 0
    if above_zero is not None:
        for i, is_above in enumerate(above_zero):
            (dark if is_above else pale).append((i, 0))
        ticks[0.0], n_rows = ABOVE_ZERO, 1
    if p_differences is not None:
        m = len(p_differences)
        for i, j in np.argwhere(np.isfinite(p_differences) & ~np.eye(m, dtype=bool)):
            (dark if p_differences[i, j] < ALPHA else pale).append((j, n_rows + i))
        ax.plot(range(m), n_rows + np.arange(m), 'o', color='black', fillstyle='none', markersize=3.2, label='own')
        ticks[n_rows + (m - 1) / 2.0] = DIFFERS
        n_rows += m
    for points, colour, size, what in ((dark, 'black', 3.2, 'shown'), (pale, '0.8', 1.6, 'not shown')):
        at = np.array(points, dtype=float).reshape(-1, 2)
        ax.plot(at[:, 0], at[:, 1], 'o', color=colour, markeredgewidth=0.0, markersize=size, label=what)
    ax.set_yticks(list(ticks), list(ticks.values()), fontsize=style.CAPTION_POINTS)
    ax.set_ylim(n_rows - 0.4, -0.6)
    ax.tick_params(length=0, labelbottom=False)
    for spine in ax.spines.values():
        spine.set_visible(False)
    return ax


def _has_points(by_subject: np.ndarray | None) -> bool:
    return by_subject is not None and 1 < by_subject.shape[1] <= MANY_POINTS


def _caption(
    scores: Sequence[Score], by_subject: np.ndarray | None, above: np.ndarray | None, p_differences: np.ndarray | None
) -> str:
    """Numbers of stimuli and subjects, and what intervals, points and marks are."""
    said = [score.provenance for score in scores]
    counts = {what: {int(about.get(f'n_{what}') or 0) for about in said} for what in ('stimuli', 'subjects')}
    known = [f'{min(found)} {what}' for what, found in counts.items() if len(found) == 1 and min(found) > 1]
    n = sorted({score.n for score in scores})
    parts = [f'n = {" and ".join(known) or " to ".join(map(str, dict.fromkeys((n[0], n[-1]))))}']
    intervals = list(dict.fromkeys(s.interval.split(',')[0] for s in scores if np.isfinite([s.low, s.high]).all()))
    parts += [f'95 % intervals: {" or ".join(intervals)}'] if intervals else []
    parts += ['points: subjects'] if _has_points(by_subject) else []
    parts += [f'{ABOVE_ZERO}: the interval drawn lies above 0'] if above is not None else []
    parts += ['differs: p < 0.05, corrected for all pairs of models'] if p_differences is not None else []
    return '; '.join(parts)
