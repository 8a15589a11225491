"""How every figure looks: fonts, sizes in inches, colours that colour-blind readers can tell apart, files."""

import contextlib
import os
import pathlib
from collections.abc import Iterator

import matplotlib
import matplotlib.figure
import matplotlib.font_manager

from humalign_jax import storage

COLUMN_INCHES = 3.4  # one column of a two-column page
PAGE_INCHES = 7.0

# Okabe & Ito (2008), Color universal design: told apart under all common kinds of colour blindness.
COLOURS = ('#0072B2', '#E69F00', '#009E73', '#D55E00', '#CC79A7', '#56B4E9', '#F0E442', '#000000')
GREY = '#8C8C8C'
CEILING_GREY = '#D9D9D9'
RDM_COLOURS = 'viridis'

_SETTINGS = {
    'font.family': 'sans-serif',
    'font.sans-serif': ['Arial', 'Helvetica', 'DejaVu Sans'],
    'font.size': 8.0,
    'axes.titlesize': 8.0,
    'axes.labelsize': 8.0,
    'xtick.labelsize': 7.0,
    'ytick.labelsize': 7.0,
    'legend.fontsize': 7.0,
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
    """The look of all figures, inside the block only."""
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


def _is_installed(family: str) -> bool:
    return family in {font.name for font in matplotlib.font_manager.fontManager.ttflist}
