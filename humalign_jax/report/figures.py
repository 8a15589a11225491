"""Figures of the page: SVG inside it, PDF and PNG beside it."""

import base64
import dataclasses
import io
import os
import pathlib

import matplotlib
import matplotlib.figure
import numpy as np
from PIL import Image

from humalign_jax.report.plots import style

_SVG = {'svg.hashsalt': 'humalign_jax', 'svg.fonttype': 'path'}  # the same figure gives the same bytes, without fonts


@dataclasses.dataclass(frozen=True)
class Picture:
    """An image of the page.

    Attributes:
        uri: The image itself, as a data URI.
        alt: What it shows, for those who cannot see it.
        title: Words above it, '' for none.
        pixelated: Whether its pixels should stay sharp when it is enlarged.
    """

    uri: str
    alt: str
    title: str = ''
    pixelated: bool = False


@dataclasses.dataclass(frozen=True)
class Group:
    """Pictures that belong together, under one caption.

    Attributes:
        name: Stem of the files with all of them, in figures/; '' if there are none.
        caption: What they show, how to read them, and from what.
        pictures: The pictures.
        layout: 'panels' side by side where there is room, or 'wide' over the whole width.
    """

    name: str
    caption: str
    pictures: tuple[Picture, ...]
    layout: str = 'panels'


def picture_of(figure: matplotlib.figure.Figure, alt: str, *, title: str = '') -> Picture:
    """A figure as SVG inside a data URI."""
    text = io.BytesIO()
    with matplotlib.rc_context(_SVG):  # type: ignore[arg-type]
        figure.savefig(text, format='svg', metadata={'Date': None})
    figure.set_layout_engine('none')  # it is laid out: PDF and PNG need not do it again
    return Picture(data_uri(text.getvalue(), 'image/svg+xml'), alt, title)


def save(figure: matplotlib.figure.Figure, folder: str | os.PathLike, name: str) -> None:
    """Writes `<name>.pdf` and `<name>.png` into the folder and closes the figure."""
    style.save_figure(figure, pathlib.Path(folder) / name)


def picture_of_pixels(pixels: np.ndarray, alt: str) -> Picture:
    """A small image, uint8 [h, w, c] with c 1 or 3, as PNG inside a data URI."""
    file = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(file, format='PNG')
    return Picture(data_uri(file.getvalue(), 'image/png'), alt, pixelated=True)


def picture_of_file(path: str | os.PathLike, alt: str, *, pixelated: bool) -> Picture:
    """A PNG file as it is."""
    return Picture(data_uri(pathlib.Path(path).read_bytes(), 'image/png'), alt, pixelated=pixelated)


def data_uri(content: bytes, kind: str) -> str:
    """`data:<kind>;base64,...`"""
    return f'data:{kind};base64,{base64.b64encode(content).decode()}'
