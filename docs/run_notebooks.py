"""Notebooks as Python files in percent format: read, run, and written as pages and as `.ipynb` files.

A file is divided by lines `# %%` (code) and `# %% [markdown]` (text in comments). Variables of the cell
`# %% tags=["parameters"]` can be set from outside, as papermill sets them.
"""

import contextlib
import dataclasses
import io
import json
import re
from typing import Any

MARKER = re.compile(r'^# %%(.*)$', re.MULTILINE)


@dataclasses.dataclass
class Cell:
    """One cell: its source, and what it printed and drew when it ran."""

    kind: str  # 'markdown' or 'code'
    source: str
    is_parameters: bool = False
    printed: str = ''
    figures: list[bytes] = dataclasses.field(default_factory=list)  # SVG


def read(text: str) -> list[Cell]:
    """The cells of a percent script; what stands before the first marker is left out."""
    pieces = MARKER.split(text)[1:]
    cells = []
    for mark, source in zip(pieces[::2], pieces[1::2]):
        if '[markdown]' in mark:
            cells.append(Cell('markdown', re.sub(r'^# ?', '', source.strip(), flags=re.MULTILINE)))
        else:
            cells.append(Cell('code', source.strip(), 'parameters' in mark))
    return cells


def run(cells: list[Cell], **parameters: Any) -> dict[str, Any]:
    """Runs the code in the current folder, one cell after the other; fills in what each printed and drew.

    Returns:
        The variables at the end.

    Raises:
        ValueError: A parameter is not a variable of the cell with the parameters.
    """
    import matplotlib

    matplotlib.use('agg')
    from matplotlib import pyplot

    names: dict[str, Any] = {'__name__': '__main__'}
    pyplot.close('all')
    for cell in cells:
        if cell.kind == 'code':
            with contextlib.redirect_stdout(io.StringIO()) as printed:
                exec(compile(cell.source, '<cell>', 'exec'), names)
            cell.printed = printed.getvalue()
            cell.figures = [_svg(pyplot.figure(number)) for number in pyplot.get_fignums()]
            pyplot.close('all')
        if cell.is_parameters:
            if unknown := parameters.keys() - names.keys():
                raise ValueError(f'the notebook has no parameter {", ".join(sorted(unknown))}.')
            names |= parameters
    return names


def page(cells: list[Cell], name: str) -> tuple[str, dict[str, bytes]]:
    """A page in Markdown with the code, what it printed, and its figures.

    Args:
        cells: Cells that ran.
        name: Name of the page, from which those of the figures are made.

    Returns:
        The text, and the figures' files by name.
    """
    parts, files = [], {}
    for cell in cells:
        if cell.kind == 'markdown':
            parts.append(cell.source)
            continue
        parts.append(f'```python\n{cell.source}\n```')
        if cell.printed:
            parts.append(f'```text\n{cell.printed.rstrip()}\n```')
        for figure in cell.figures:
            file = f'{name}_{len(files) + 1}.svg'
            files[file] = figure
            parts.append(f'![Figure {len(files)}]({file})')
    return '\n\n'.join(parts) + '\n', files


def ipynb(cells: list[Cell]) -> str:
    """A Jupyter notebook (nbformat 4.5) with the outputs of cells that ran."""
    rows = []
    for number, cell in enumerate(cells):
        row: dict[str, Any] = {'cell_type': cell.kind, 'id': f'cell-{number}', 'metadata': {}, 'source': cell.source}
        if cell.is_parameters:
            row['metadata'] = {'tags': ['parameters']}
        if cell.kind == 'code':
            text = [{'output_type': 'stream', 'name': 'stdout', 'text': cell.printed}] if cell.printed else []
            drawn = [
                {'output_type': 'display_data', 'metadata': {}, 'data': {'image/svg+xml': figure.decode()}}
                for figure in cell.figures
            ]
            row |= {'execution_count': None, 'outputs': text + drawn}
        rows.append(row)
    kernel = {'kernelspec': {'name': 'python3', 'display_name': 'Python 3', 'language': 'python'}}
    return json.dumps({'nbformat': 4, 'nbformat_minor': 5, 'metadata': kernel, 'cells': rows}, indent=1)


def _svg(figure: Any) -> bytes:
    """A figure as SVG, the same bytes for the same figure."""
    import matplotlib

    file = io.BytesIO()
    with matplotlib.rc_context({'svg.hashsalt': 'notebook'}):
        figure.savefig(file, format='svg', bbox_inches='tight', metadata={'Date': None})
    return file.getvalue()
