"""Single channels of a code: reconstructions from them, and what each one is worth."""

from collections.abc import Mapping, Sequence

import matplotlib.figure
import numpy as np
from matplotlib.axes import Axes

from humalign_jax.records import Score
from humalign_jax.report.plots import style

RANGES = {'fixed': 'fixed range: black 0, white 1', 'minmax': 'each panel stretched from its minimum to its maximum'}
_PANEL_INCHES, _STEP_INCHES, _GAP_INCHES = 0.7, 0.76, 0.14
_TITLE_INCHES, _ROW_INCHES = 0.13, 1.1  # above each panel; a panel with its title and numbers
_BARS = {  # label of each panel of bars, and the score and mode that it shows
    'MSE to the image, channel alone': ('channels/mse', 'keep_only'),
    'rise in MSE, channel dropped': ('channels/mse_rise', 'drop_one'),
    'accuracy lost, channel dropped': ('channels/accuracy_lost', 'drop_one'),
}


def draw_channels(
    originals: Sequence[np.ndarray],
    panels: np.ndarray,
    errors: np.ndarray,
    *,
    title: str,
    scaling: str,
) -> matplotlib.figure.Figure:
    """Reconstructions of one image in two rows, a panel "Feature #k" for each channel; the image stands at the left.

    Args:
        originals: The image and its reconstruction from all channels, each [h, w, c], 0 black and 1 white.
        panels: Reconstruction of each channel, [m, h, w, c], in the same units; m is even.
        errors: MSE and PSNR in dB of the reconstruction from all channels and of each channel's, [1 + m, 2].
        title: What is shown, and of which image.
        scaling: 'fixed' clips to [0, 1]; 'minmax' stretches each reconstruction, which hides wrong brightness and
            contrast.

    Returns:
        The figure.
    """
    n_columns, line = len(panels) // 2, style.LINE_HEIGHT * style.TICK_POINTS / 72.0
    width = (n_columns + 1) * _STEP_INCHES + _GAP_INCHES
    with style.figure_style():
        words = style.wrapped(f'{title}\n{RANGES[scaling]}', width - 0.2, style.TICK_POINTS)
        top = line * (1.5 + words.count('\n'))
        height = top + 2 * _ROW_INCHES
        # Placed by hand: a layout engine takes several times as long for so many axes.
        figure = matplotlib.figure.Figure(figsize=(width, height))
        figure.set_layout_engine('none')
        figure.text(0.5, 1.0 - 0.2 * line / height, words, ha='center', va='top', fontsize=style.TICK_POINTS)

        def place(row: int, column: int) -> Axes:
            left = 0.5 * (_STEP_INCHES - _PANEL_INCHES) + column * _STEP_INCHES + (_GAP_INCHES if column else 0.0)
            bottom = height - top - row * _ROW_INCHES - _TITLE_INCHES - _PANEL_INCHES
            return figure.add_axes((left / width, bottom / height, _PANEL_INCHES / width, _PANEL_INCHES / height))

        _plot_image(place(0, 0), originals[0], 'image', '', scaling='fixed')
        _plot_image(place(1, 0), originals[1], 'all channels', _error_text(errors[0]), scaling=scaling)
        for k, panel in enumerate(panels):
            ax = place(k // n_columns, 1 + k % n_columns)
            _plot_image(ax, panel, f'Feature #{k}', _error_text(errors[1 + k]), scaling=scaling)
    return figure


def bars_of(scores: Sequence[Score]) -> dict[str, list[Score]]:
    """Scores of one layer's channels by label of their panel, in the order of the channels, for `draw_bars`."""
    found = {}
    for label, (name, mode) in _BARS.items():
        wanted = [score for score in scores if score.name == name and score.provenance['mode'] == mode]
        found[label] = sorted(wanted, key=lambda score: score.provenance['channel'])
    return found


def draw_bars(bars: Mapping[str, Sequence[Score]], *, title: str) -> matplotlib.figure.Figure:
    """Panels side by side, each with a bar for every channel of one layer.

    Args:
        bars: Scores of the channels, in their order, by the label of the panel's axis; a score whose provenance has
            `all_channels` gets a dashed line there.
        title: Whose channels.

    Returns:
        The figure.
    """
    with style.figure_style():
        figure = matplotlib.figure.Figure(figsize=(style.PAGE_INCHES, 2.1), layout='constrained')
        figure.suptitle(style.wrapped(title, style.PAGE_INCHES - 0.2), fontsize=style.TEXT_POINTS)
        for ax, (label, scores) in zip(figure.subplots(1, len(bars), squeeze=False)[0], bars.items()):
            plot_bars(ax, scores, label=label)
    return figure


def plot_bars(ax: Axes, scores: Sequence[Score], *, label: str) -> Axes:
    """A bar with its 95 % interval for each channel, and a dashed line at the value with all channels.

    Args:
        ax: Where to draw.
        scores: One score for each channel, in their order.
        label: What the axis measures, with its unit.

    Returns:
        The axes.
    """
    values, low, high = (np.array([getattr(score, field) for score in scores]) for field in ('value', 'low', 'high'))
    places = np.arange(len(scores))
    ends = np.maximum(np.stack([values - low, high - values]), 0.0)
    ax.bar(places, values, width=0.7, color=style.COLOURS[0], alpha=0.85, zorder=1)
    ax.errorbar(places, values, yerr=ends, fmt='none', ecolor='black', elinewidth=0.8, capsize=1.5, zorder=3)
    reference = scores[0].provenance.get('all_channels')
    if reference is not None:
        ax.axhline(reference, color=style.GREY, linestyle='--', linewidth=0.8, zorder=2)
    ax.axhline(0.0, color='black', linewidth=0.6)
    step = 1 if len(places) <= 10 else 2
    ax.set_xticks(places, [str(k) if k % step == 0 else '' for k in places])
    ax.set_xlabel('channel')
    ax.set_ylabel(style.wrapped(label, 1.5))
    return ax


def _plot_image(ax: Axes, image: np.ndarray, title: str, below: str, *, scaling: str) -> None:
    """One image with a title above and numbers below."""
    shown = _stretched(image) if scaling == 'minmax' else np.clip(image, 0.0, 1.0)
    ax.imshow(shown if shown.shape[-1] == 3 else shown[..., 0], cmap='gray', vmin=0.0, vmax=1.0)
    ax.set_title(title, fontsize=style.CAPTION_POINTS, pad=2.0)
    ax.set_xlabel(below, fontsize=style.CAPTION_POINTS - 1.0, labelpad=1.0)
    ax.set_xticks([])
    ax.set_yticks([])
    for spine in ax.spines.values():
        spine.set_visible(False)


def _stretched(image: np.ndarray) -> np.ndarray:
    """The image between its minimum and maximum; mid-grey where these are equal."""
    span = float(image.max() - image.min())
    return (image - image.min()) / span if span > 0 else np.full_like(image, 0.5)


def _error_text(error: np.ndarray) -> str:
    return f'MSE {error[0]:.3f}\n{error[1]:.1f} dB'
