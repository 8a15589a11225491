"""Tables as records, and the same table as Markdown, LaTeX and CSV; the page draws them as HTML."""

import csv
import dataclasses
import io
import math
import os
import pathlib
import re
from collections.abc import Sequence

from humalign_jax import storage
from humalign_jax.report import numbers
from humalign_jax.report.study import Entry

_LATEX = {
    '\\': r'\textbackslash{}',
    '&': r'\&',
    '%': r'\%',
    '$': r'\$',
    '#': r'\#',
    '_': r'\_',
    '{': r'\{',
    '}': r'\}',
    '~': r'\textasciitilde{}',
    '^': r'\textasciicircum{}',
    '<': r'\textless{}',
    '>': r'\textgreater{}',
    '|': r'\textbar{}',
    '–': '--',
    '−': '$-$',
    '×': r'$\times$',
}
_MARKDOWN = re.compile(r'([\\`*_|<>#\[\]])')


@dataclasses.dataclass(frozen=True)
class Cell:
    """One cell.

    Attributes:
        text: What is read first.
        detail: Smaller lines below it, such as an interval.
        entry: The score that it comes from, None for words.
        numbers: Value, low and high in full for the CSV file, None for words.
        best: Whether it is the best of its column.
        why: Why there is no number.
    """

    text: str
    detail: str = ''
    entry: Entry | None = None
    numbers: tuple[float, float, float] | None = None
    best: bool = False
    why: str = ''


@dataclasses.dataclass(frozen=True)
class Row:
    """A row: its cells, with its head first, and its kind ('model', 'baseline' or 'ceiling')."""

    cells: tuple[Cell, ...]
    kind: str = 'model'


@dataclasses.dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        name: Stem of its files; links on the page lead to `#table-<name>`.
        caption: What it shows, in one or two sentences.
        columns: Heads of the columns.
        rows: Rows of as many cells.
        notes: Sentences below it.
        n_first: Columns that the page shows at first, the head included; the others stand behind "more". 0 for all.
    """

    name: str
    caption: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    n_first: int = 0

    def __post_init__(self) -> None:
        wrong = [row.cells[0].text for row in self.rows if len(row.cells) != len(self.columns)]
        if wrong:
            raise ValueError(f'table {self.name!r} has {len(self.columns)} columns, but not its rows {wrong[:3]}.')


def parts(table: Table) -> tuple[Table, Table | None]:
    """The table with the columns that the page shows at first, and one with the others, if there are any."""
    if not 0 < table.n_first < len(table.columns):
        return table, None
    first = _some_columns(table, range(table.n_first))
    rest = _some_columns(table, [0, *range(table.n_first, len(table.columns))])
    return first, dataclasses.replace(rest, name=f'{table.name}-more', notes=())


def _some_columns(table: Table, places: Sequence[int]) -> Table:
    """Columns by their place, without the rows that have nothing in them."""
    rows = [dataclasses.replace(row, cells=tuple(row.cells[j] for j in places)) for row in table.rows]
    kept = tuple(row for row in rows if any(cell.text != numbers.MISSING for cell in row.cells[1:]))
    return dataclasses.replace(table, columns=tuple(table.columns[j] for j in places), rows=kept)


def number_cell(entry: Entry | None, *, best: bool = False) -> Cell:
    """A score as a cell; an en dash and the reason where it has no value, or there is no score."""
    if entry is None:
        return Cell(numbers.MISSING, why='not measured')
    score = entry.score
    if not math.isfinite(score.value):
        return Cell(numbers.MISSING, entry=entry, why=numbers.why_missing(score))
    full = (score.value, score.low, score.high)
    return Cell(numbers.value_text(score), numbers.interval_text(score), entry, full, best)


def best_of(entries: Sequence[Entry | None], better: str) -> set[int]:
    """Positions of the best values; empty for fewer than two values."""
    values = {i: e.score.value for i, e in enumerate(entries) if e is not None and math.isfinite(e.score.value)}
    if better not in ('larger', 'smaller') or len(values) < 2:
        return set()
    winner = max(values.values()) if better == 'larger' else min(values.values())
    return {i for i, value in values.items() if value == winner}


def to_markdown(table: Table) -> str:
    """A pipe table with its caption above and notes below."""
    lines = [f'**{escape_markdown(table.caption)}**', '']
    lines += ['| ' + ' | '.join(map(escape_markdown, table.columns)) + ' |']
    lines += ['|' + '|'.join([' --- '] + [' ---: '] * (len(table.columns) - 1)) + '|']
    for row in table.rows:
        texts = [escape_markdown(_flat(cell)) for cell in row.cells]
        marked = [f'**{text}**' if cell.best else text for text, cell in zip(texts, row.cells)]
        lines.append('| ' + ' | '.join(marked) + ' |')
    lines += [''] + [f'{escape_markdown(note)}  ' for note in table.notes]
    return '\n'.join(lines).rstrip() + '\n'


def to_latex(table: Table) -> str:
    """A `table` with a booktabs `tabular` as wide as the text, to be read with booktabs and graphicx."""
    lines = [
        r'% \usepackage{booktabs,graphicx}',
        r'\begin{table}',
        r'\centering',
        rf'\caption{{{escape_latex(table.caption)}}}',
        rf'\label{{tab:{re.sub("[^a-z0-9]+", "-", table.name.lower())}}}',
        r'\resizebox{\textwidth}{!}{%',
        rf'\begin{{tabular}}{{l{"r" * (len(table.columns) - 1)}}}',
        r'\toprule',
        ' & '.join(map(escape_latex, table.columns)) + r' \\',
        r'\midrule',
    ]
    for i, row in enumerate(table.rows):
        if i and row.kind != table.rows[i - 1].kind:
            lines.append(r'\midrule')
        lines.append(' & '.join(map(_latex_cell, row.cells)) + r' \\')
    lines += [r'\bottomrule', r'\end{tabular}}']
    if table.notes:
        lines.append(r'\par\smallskip\footnotesize ' + ' '.join(map(escape_latex, table.notes)))
    return '\n'.join([*lines, r'\end{table}', ''])


def to_csv(table: Table) -> str:
    """Every number in full, as four columns (value, low, high, n); words as they are."""
    numeric = [any(row.cells[j].numbers is not None for row in table.rows) for j in range(len(table.columns))]
    head = ['kind']
    for column, is_numeric in zip(table.columns, numeric):
        head += [column, f'{column}, low', f'{column}, high', f'{column}, n'] if is_numeric else [column]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    writer.writerow(head)
    for row in table.rows:
        line = [row.kind]
        for cell, is_numeric in zip(row.cells, numeric):
            if not is_numeric:
                line.append(_flat(cell))
            elif cell.numbers is None:
                line += ['' if cell.text == numbers.MISSING else _flat(cell), '', '', '']
            else:
                line += [repr(float(x)) if math.isfinite(x) else '' for x in cell.numbers]
                line.append(str(cell.entry.score.n) if cell.entry else '')
        writer.writerow(line)
    return text.getvalue()


def write_tables(folder: str | os.PathLike, tables: Sequence[Table]) -> list[pathlib.Path]:
    """Writes each table as `<name>.md`, `.tex` and `.csv`; returns the paths."""
    written = []
    for table in tables:
        for suffix, render in (('.md', to_markdown), ('.tex', to_latex), ('.csv', to_csv)):
            path = pathlib.Path(folder) / f'{table.name}{suffix}'
            storage.write_text(path, render(table))
            written.append(path)
    return written


def escape_latex(text: str) -> str:
    """Text that LaTeX prints as it is."""
    return ''.join(_LATEX.get(character, character) for character in ' '.join(text.split()))


def escape_markdown(text: str) -> str:
    """Text that Markdown prints as it is, on one line."""
    return _MARKDOWN.sub(r'\\\1', ' '.join(text.split()))


def _flat(cell: Cell) -> str:
    return f'{cell.text} {cell.detail}'.replace('\n', ', ') if cell.detail else cell.text


def _latex_cell(cell: Cell) -> str:
    text = escape_latex(cell.text)
    text = rf'\textbf{{{text}}}' if cell.best else text
    return rf'{text} {{\footnotesize {escape_latex(cell.detail.replace(chr(10), ", "))}}}' if cell.detail else text
