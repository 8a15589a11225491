"""How every figure looks: fonts, sizes in inches, colours for colour-blind readers, text, files."""

import contextlib
import itertools
import math
import os
import pathlib
import re
import urllib.parse
from collections.abc import Iterator, Sequence

import matplotlib
import matplotlib.figure
import matplotlib.font_manager
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

from humalign_jax import storage

COLUMN_INCHES = 3.4  # one column of a two-column page
PAGE_INCHES = 7.0

# Okabe & Ito (2008), Color universal design: distinct under all common kinds of colour blindness.
COLOURS = ('#0072B2', '#E69F00', '#009E73', '#D55E00', '#CC79A7', '#56B4E9', '#F0E442', '#000000')
GREY = '#8C8C8C'
CEILING_GREY = '#D9D9D9'
RDM_COLOURS = 'viridis'
ON_COLOUR = '#08080A'  # text on a pale cell: no grey, as the page turns greys round in the dark
HOVER = 'hover:'  # begins the gid of an artist with a text for the pointer
SHOWS = '\t'  # stands before the ids of the parts of the page that a click on the artist shows

TEXT_POINTS, TICK_POINTS, CAPTION_POINTS = 8.0, 7.0, 6.0
LINE_HEIGHT = 1.2  # in units of the font size
LONGEST_NAME_INCHES = 2.4  # longest name at an axis; a longer one loses its middle
_SHARE_BELOW, _SHARE_LEFT = 0.5, 0.57  # share of the axes that names may take
_LEFT_BY_LABELS = 0.8  # share of the width that labels leave to the axes
_SMALLEST_POINTS = 3.5  # smaller text is left out

_SETTINGS = {
    'font.family': 'sans-serif',
    'font.sans-serif': ['Arial', 'Helvetica', 'DejaVu Sans'],
    'font.size': TEXT_POINTS,
    'axes.titlesize': TEXT_POINTS,
    'axes.labelsize': TEXT_POINTS,
    'xtick.labelsize': TICK_POINTS,
    'ytick.labelsize': TICK_POINTS,
    'legend.fontsize': TICK_POINTS,
    'legend.frameon': False,
    'axes.spines.top': False,
    'axes.spines.right': False,
    'axes.linewidth': 0.6,
    'xtick.major.width': 0.6,
    'ytick.major.width': 0.6,
    'lines.linewidth': 1.2,
    'figure.constrained_layout.use': True,
    'pdf.fonttype': 42,  # text stays text
}


@contextlib.contextmanager
def figure_style() -> Iterator[None]:
    """Context manager that sets the look of all figures."""
    families = [name for name in _SETTINGS['font.sans-serif'] if _is_installed(name)]
    with matplotlib.rc_context({**_SETTINGS, 'font.sans-serif': families}):  # type: ignore[arg-type]
        yield


def save_figure(figure: matplotlib.figure.Figure, stem: str | os.PathLike) -> tuple[pathlib.Path, pathlib.Path]:
    """Writes `<stem>.pdf` and `<stem>.png`, each whole or not at all.

    Args:
        figure: What to write.
        stem: Path without suffix.

    Returns:
        The two paths.
    """
    stem = pathlib.Path(stem)
    paths = stem.with_name(stem.name + '.pdf'), stem.with_name(stem.name + '.png')
    for path in paths:
        # Without dates the same figure gives the same bytes.
        metadata = {'CreationDate': None} if path.suffix == '.pdf' else {}
        with storage.atomic_file(path) as file:
            figure.savefig(file, format=path.suffix[1:], metadata=metadata, dpi=200)
    return paths


def hover(artist: Artist, text: str, shows: Sequence[str] = ()) -> None:
    """Gives an artist a text that the page shows when a pointer is over it, and parts that a click on it shows."""
    artist.set_gid(HOVER + urllib.parse.quote(text + (SHOWS + ' '.join(shows) if shows else '')))


def plain(text: str) -> str:
    """Text that matplotlib shows as it is: every label, title, tick and legend goes through here.

    Two `$` would make a formula of what is between them, which fails where it is none; a legend leaves out names that
    begin with `_`; control characters have no glyph.
    """
    shown = ''.join(c if c.isprintable() or c == '\n' else ' ' for c in text)
    return (' ' if shown.startswith('_') else '') + shown.replace('$', r'\$')


def wrapped(text: str, inches: float, points: float = TEXT_POINTS) -> str:
    """Plain text in lines of at most so many inches, broken between words, else after `_ - / . ,`, else anywhere."""
    lines = []
    for paragraph in text.split('\n'):
        line = ''
        for word in re.split(r'(?<=[ _\-/.,])', paragraph):
            if text_inches((line + word).rstrip(), points) > inches and line:
                lines.append(line)
                line = ''
            while text_inches(word.rstrip(), points) > inches and len(word) > 1:
                fits = [n for n in range(1, len(word)) if text_inches(word[:n], points) <= inches]
                cut = max(fits, default=1)
                lines.append(word[:cut])
                word = word[cut:]
            line += word
        lines.append(line)
    return plain('\n'.join(line.strip() for line in lines))


def shortened(text: str, inches: float, points: float = TICK_POINTS) -> str:
    """Plain text on one line of at most so many inches; longer text loses its middle."""
    line = ' '.join(text.split())
    kept = len(line)
    while kept > 2 and text_inches(line, points) > inches:
        kept -= 1
        line = f'{text[: kept - kept // 2].rstrip()}…{text[len(text) - kept // 2 :].lstrip()}'
    return plain(line)


def text_inches(text: str, points: float) -> float:
    """Width of a line of text."""
    if not text:
        return 0.0
    width, _, _ = text_to_path.get_text_width_height_descent(text, FontProperties(size=points), ismath=False)
    return width / 72.0


def axes_inches(ax: Axes) -> tuple[float, float]:
    """Approximate width and height of axes without their labels."""
    box, (width, height) = ax.get_position(), ax.figure.get_size_inches()  # type: ignore[union-attr]
    return _LEFT_BY_LABELS * box.width * width, _LEFT_BY_LABELS * box.height * height


def name_x(ax: Axes, positions: Sequence[float], names: Sequence[str], *, longest: float = 0.0) -> float:
    """Names under an axis of which no two overlap: level, slanted or upright, in smaller type where they are many.

    Args:
        ax: Axes; its limits may still change.
        positions: Where the names stand, ascending.
        names: The names.
        longest: Inches that a name may take, if the figure grows by them; 0 for a share of the axes.

    Returns:
        Height of the names, in inches, by which a figure may grow.
    """
    room = axes_inches(ax)[0] / max(len(names), 1)
    points = min(TICK_POINTS, 72.0 * room / LINE_HEIGHT)
    if points < _SMALLEST_POINTS:
        ax.set_xticks([])
        return 0.0
    most = longest or _SHARE_BELOW * axes_inches(ax)[1]
    texts = [shortened(name, most, points) for name in names]
    longest = max(text_inches(text, points) for text in texts)
    turned = 0.0
    if longest > 0.92 * room:
        slanted = math.radians(40.0)
        fits = room * math.sin(slanted) > LINE_HEIGHT * points / 72.0 and longest * math.cos(slanted) < 1.2
        turned = 40.0 if fits else 90.0
    ax.set_xticks(
        positions, texts, rotation=turned, ha='right' if turned else 'center', va='center' if turned == 90.0 else 'top',
        rotation_mode='anchor', fontsize=points,
    )  # fmt: skip
    return longest * math.sin(math.radians(turned))


def name_y(ax: Axes, positions: Sequence[float], names: Sequence[str], *, span: float) -> None:
    """Names at the left of an axis as high as `span` units, in smaller type where they are near each other.

    Names that would be too small to read are left out.
    """
    gap = min((b - a for a, b in itertools.pairwise(sorted(positions))), default=span)
    points = min(TICK_POINTS, 72.0 * axes_inches(ax)[1] * gap / span / LINE_HEIGHT)
    if points < _SMALLEST_POINTS:
        ax.set_yticks([])
        return
    most = _SHARE_LEFT * axes_inches(ax)[0]
    ax.set_yticks(positions, [shortened(name, most, points) for name in names], fontsize=points)


def legend_below(figure: matplotlib.figure.Figure, ax: Axes) -> None:
    """The legend of `ax` below all axes, in as many columns as fit; the figure grows by its height."""
    handles, labels = ax.get_legend_handles_labels()
    if not handles:
        return
    width, height = figure.get_size_inches()
    sample = 0.45  # inches that the piece of line before a name takes
    names = [wrapped(label.replace(r'\$', '$').strip(), width - 2 * sample, TICK_POINTS) for label in labels]
    longest = max(text_inches(line, TICK_POINTS) for name in names for line in name.split('\n'))
    columns = max(1, min(len(names), int((width - 0.2) / (longest + sample))))
    rows = -(-sum(1 + name.count('\n') for name in names) // columns)
    figure.set_size_inches(width, height + rows * 1.6 * TICK_POINTS / 72.0)
    figure.legend(handles, names, loc='outside lower center', ncols=columns)


def _is_installed(family: str) -> bool:
    return family in {font.name for font in matplotlib.font_manager.fontManager.ttflist}
