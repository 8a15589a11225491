"""A strip of images with the classes that a network predicts."""

from collections.abc import Sequence

import matplotlib.figure
import numpy as np

from humalign_jax.report.plots import pictures, style

WRONG = style.COLOURS[3]
_GAP = 0.12  # between images, as a share of their width


def draw_predictions(
    images: np.ndarray, predicted: Sequence[str], true: Sequence[str], *, title: str
) -> matplotlib.figure.Figure:
    """Images side by side, the predicted class above each; a wrong one is crossed, and the true class is named.

    Args:
        images: uint8 [m, h, w, c]; c is 1 (grey) or 3. Pixels are enlarged without smoothing.
        predicted: Names of the predicted classes, [m].
        true: Names of the true classes, [m].
        title: Words above all.
    """
    width = images.shape[2]
    gap = max(1, round(_GAP * width))
    strip = pictures.grid([images], gap_px=gap)
    inches = style.PAGE_INCHES * (width + gap) / strip.shape[1]  # of one column
    below, shown = 0.15, style.PAGE_INCHES * strip.shape[0] / strip.shape[1]
    whole = below + shown + 0.4
    with style.figure_style():
        figure = matplotlib.figure.Figure(figsize=(style.PAGE_INCHES, whole))
        figure.set_layout_engine('none')
        ax = figure.add_axes((0.0, below / whole, 1.0, shown / whole))
        ax.imshow(strip, interpolation='nearest')
        ax.set_axis_off()
        ax.set_title(style.shortened(title, style.PAGE_INCHES, style.TEXT_POINTS), pad=1.6 * style.TICK_POINTS)
        for column, (name, truth) in enumerate(zip(predicted, true)):
            x, wrong = gap + column * (width + gap) + width / 2 - 0.5, name != truth
            text = style.shortened(f'× {name}' if wrong else name, inches)
            ax.text(
                x,
                gap / 2,
                text,
                ha='center',
                va='bottom',
                fontsize=style.TICK_POINTS,
                color=WRONG if wrong else 'black',
            )
            if wrong:
                truth = style.shortened(f'({truth})', inches)
                ax.text(
                    x, strip.shape[0] - gap / 2, truth, ha='center', va='top', fontsize=style.TICK_POINTS, color=WRONG
                )
    return figure
