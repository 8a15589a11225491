"""How much information each latent of a code carries."""

import matplotlib.figure
import numpy as np
from matplotlib.axes import Axes

from humalign_jax.report.plots import style


def draw_dimension_kl(kl: np.ndarray, *, threshold: float, title: str = '') -> matplotlib.figure.Figure:
    """`plot_dimension_kl` in a new figure."""
    with style.figure_style():
        figure = matplotlib.figure.Figure(figsize=(style.COLUMN_INCHES, 2.2), layout='constrained')
        plot_dimension_kl(figure.subplots(), kl, threshold=threshold).set_title(
            style.wrapped(title, style.COLUMN_INCHES - 0.6)
        )
    return figure


def plot_dimension_kl(ax: Axes, kl: np.ndarray, *, threshold: float) -> Axes:
    """KL divergence of each latent in decreasing order, on a logarithmic axis.

    Args:
        ax: Where to draw.
        kl: KL divergence of each latent from the prior, averaged over images, in nats, [z].
        threshold: A latent with more than this counts as active, in nats.

    Returns:
        The axes.
    """
    ordered = np.sort(kl)[::-1]
    n_active, rank = int((kl > threshold).sum()), np.arange(1, len(kl) + 1)
    floor = min(threshold, max(float(ordered[-1]), 1e-6)) / 2.0
    ax.step(rank, np.maximum(ordered, floor), where='mid', color=style.COLOURS[0])
    ax.axhline(threshold, color=style.GREY, linestyle='--', linewidth=0.8)
    ax.annotate(
        f'{n_active} of {len(kl)} latents above {threshold:g} nats\n{float(kl.sum()):.1f} nats in all',
        (1.0, 1.0),
        xycoords='axes fraction',
        ha='right',
        va='top',
        fontsize=6,
        color='0.35',
    )
    ax.set_yscale('log')
    ax.set_xlim(0.5, len(kl) + 0.5)
    ax.set_ylim(bottom=floor)
    ax.set_xlabel('latents, by KL')
    ax.set_ylabel('KL from the prior (nats)')
    return ax
