"""Images above their reconstructions, on a fixed range and stretched per image."""

from collections.abc import Sequence

import matplotlib.figure
import numpy as np
from matplotlib.backends import backend_agg

from humalign_jax.report.plots import pictures, style

_DPI = 150


def min_max(images: np.ndarray) -> np.ndarray:
    """Each image stretched to [0, 1], [m, h, w, c]; a constant image becomes 0. Hides wrong brightness and contrast."""
    low, high = (function(images, axis=(1, 2, 3), keepdims=True) for function in (np.min, np.max))
    return (images - low) / np.where(high > low, high - low, 1.0)


def plot_reconstructions(
    originals: np.ndarray, recon: np.ndarray, titles: Sequence[str], notes: Sequence[str], *, title: str
) -> matplotlib.figure.Figure:
    """Three rows: originals, reconstructions clipped to [0, 1], and the same reconstructions by `min_max`.

    Args:
        originals: Intensities in [0, 1], [m, h, w, c].
        recon: Reconstructions on the same scale, of the same shape; may leave [0, 1].
        titles: Above each original, such as its class.
        notes: Above each clipped reconstruction, such as its error.
        title: Of the figure.
    """
    rows = {'original': originals, 'reconstruction,\nclipped': recon, 'reconstruction,\nmin-max': min_max(recon)}
    with style.figure_style():
        figure = matplotlib.figure.Figure(figsize=(0.85 * len(originals) + 0.8, 3.4), layout='constrained')
        figure.suptitle(title)
        panels = figure.subplots(len(rows), len(originals), squeeze=False)
        for axes_row, (name, images), texts in zip(panels, rows.items(), (titles, notes, [''] * len(titles))):
            axes_row[0].set_ylabel(name)
            for axes, image, text in zip(axes_row, pictures.to_bytes(images), texts):
                axes.imshow(image.squeeze(), cmap='gray', vmin=0, vmax=255)
                axes.set(xticks=[], yticks=[])
                axes.set_title(text, fontsize='small')
    return figure


def rendered(figure: matplotlib.figure.Figure) -> np.ndarray:
    """A figure as a picture: uint8 [height, width, 3]."""
    figure.set_dpi(_DPI)
    canvas = backend_agg.FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
