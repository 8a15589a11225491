"""Figures of the page: SVG inside it, PDF and PNG beside it."""

import base64
import dataclasses
import html
import io
import os
import pathlib
import re
import urllib.parse

import matplotlib
import matplotlib.figure
import numpy as np
from PIL import Image

from humalign_jax.report.plots import style

UNIQUE = '@@'  # stands before every id of a drawing; the page puts the drawing's number there
_SVG = {'svg.hashsalt': 'humalign_jax', 'svg.fonttype': 'none'}  # the same figure gives the same bytes; text stays text
_LOSSLESS_BYTES = 60_000  # a larger picture is compressed with a little loss


@dataclasses.dataclass(frozen=True)
class Picture:
    """An image of the page.

    Attributes:
        uri: The image itself, as a data URI; '' for a drawing.
        alt: What it shows, for those who cannot see it.
        title: Words above it, '' for none.
        pixelated: Whether its pixels should stay sharp when it is enlarged.
        svg: A drawing, as an SVG element whose ids begin with `UNIQUE`; '' for an image.
    """

    uri: str
    alt: str
    title: str = ''
    pixelated: bool = False
    svg: str = ''


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
    """A figure as an SVG element with its text as text and with `style.hover` texts as titles."""
    text = io.StringIO()
    with matplotlib.rc_context(_SVG):  # type: ignore[arg-type]
        figure.savefig(text, format='svg', metadata={'Date': None}, transparent=True)
    figure.set_layout_engine('none')  # it is laid out: PDF and PNG need not do it again
    return Picture('', alt, title, svg=_inline(text.getvalue(), alt))


def save(figure: matplotlib.figure.Figure, folder: str | os.PathLike, name: str) -> None:
    """Writes `<name>.pdf` and `<name>.png` into the folder and closes the figure."""
    style.save_figure(figure, pathlib.Path(folder) / name)


def picture_of_pixels(pixels: np.ndarray, alt: str) -> Picture:
    """A small image, uint8 [h, w, c] with c 1 or 3, as WebP inside a data URI, without loss."""
    image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    return Picture(data_uri(_webp(image, lossless=True), 'image/webp'), alt, pixelated=True)


def picture_of_strip(pixels: np.ndarray, alt: str) -> Picture:
    """Small images side by side, uint8 [h, w, c] with c 1 or 3, as WebP with a little loss."""
    image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).convert('RGB')
    return Picture(data_uri(_webp(image, lossless=False), 'image/webp'), alt, pixelated=True)


def picture_of_file(path: str | os.PathLike, alt: str, *, pixelated: bool) -> Picture:
    """A PNG file as WebP, without loss where that is small; the file itself stays beside its run."""
    with Image.open(path) as image:
        shown = image.convert('RGB')
    content = _webp(shown, lossless=True)
    if len(content) > _LOSSLESS_BYTES:
        content = min(content, _webp(shown, lossless=False), key=len)
    return Picture(data_uri(content, 'image/webp'), alt, pixelated=pixelated)


def data_uri(content: bytes, kind: str) -> str:
    """`data:<kind>;base64,...`"""
    return f'data:{kind};base64,{base64.b64encode(content).decode()}'


def _webp(image: Image.Image, *, lossless: bool) -> bytes:
    file = io.BytesIO()
    image.save(file, format='WEBP', lossless=lossless, quality=85, method=4)
    return file.getvalue()


def _inline(text: str, alt: str) -> str:
    """The SVG file as an element of a page: no prolog, no styles for other elements, few ids, colours of the page."""
    text = text[text.index('<svg') :].replace('xlink:href', 'href')
    text = re.sub(r'<metadata>.*?</metadata>|<style.*?</style>|<defs>\s*</defs>| target="_blank"', '', text, flags=re.S)
    used = set(re.findall(r'(?:url\(|href=")#([^")]+)', text))
    text = re.sub(r' id="([^"]*)"', lambda found: f' id="{UNIQUE}{found[1]}"' if found[1] in used else
                  f' data-title="{found[1]}"' if found[1].startswith(style.HOVER) else '', text)  # fmt: skip
    text = re.sub(rf'<g data-title="{style.HOVER}([^"]*)">', _title, text)
    text = re.sub(r'(url\(|<use href=")#', rf'\1#{UNIQUE}', text)
    text = re.sub(r' d="[^"]*"', lambda found: re.sub(r'(\.\d\d)\d+', r'\1', found[0]), text)
    text = re.sub(r'data:image/png;base64,\s*([^"]+)', _smaller, text)
    text = re.sub(r'font-family: [^;"]*;? ?', '', text)
    text = re.sub(r': #([0-9a-f]{2})\1\1(?=[;"])', _page_colour, text)
    text = re.sub(r'\s*\n\s*', '\n', text)
    start, _, rest = text.partition('>')
    width, height = (float(number) for number in re.findall(r'(?:width|height)="([\d.]+)pt"', start))
    return (
        f'<svg viewBox="0 0 {width:g} {height:g}" width="{4 * width / 3:.0f}" height="{4 * height / 3:.0f}" '
        f'role="img"><title>{html.escape(alt)}</title>{rest.strip()}'
    )


def _title(found: re.Match) -> str:
    text, _, shows = urllib.parse.unquote(found[1]).partition(style.SHOWS)
    more = f' data-show="{html.escape(shows)}"' if shows else ''
    return f'<g{more}><title>{html.escape(text)}</title>'


def _smaller(found: re.Match) -> str:
    """A PNG image inside a drawing as WebP without loss, where that is smaller."""
    content = base64.b64decode(found[1])
    with Image.open(io.BytesIO(content)) as image:
        webp = _webp(image, lossless=True)
    return data_uri(webp, 'image/webp') if len(webp) < len(content) else data_uri(content, 'image/png')


def _page_colour(found: re.Match) -> str:
    """Black, dark and pale greys become those of the page, which has others in the dark; white stays white."""
    level = int(found[1], 16)
    if level == 0:
        return ': currentColor'
    return ': var(--soft)' if level < 0x80 else ': var(--band)' if 0xB0 < level < 0xFF else found[0]
