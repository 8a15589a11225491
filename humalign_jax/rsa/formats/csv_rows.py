"""Lines of a table cut into cells, and what kind of cell each is: a whole number, a fraction, missing or text."""

import csv
import io
import pathlib
import re
from collections import Counter
from typing import NoReturn

import numpy as np

from humalign_jax import text

SEPARATORS = (',', ';', '\t', '|', ' ')
SNIFFED_LINES = 200
WHOLE = re.compile(r'[+-]?\d+', re.ASCII)
_NUMBER = re.compile(
    r'([+-]?\d+)|([+-]?(?:(?:\d+(?:\.\d*|,\d+)?|[.,]\d+)(?:e[+-]?\d+)?|inf(?:inity)?))', re.ASCII | re.IGNORECASE
)
MISSING = frozenset(('', 'na', 'n/a', '#n/a', 'nan', '-nan', 'null', 'none'))
WHOLE_CELL, FRACTION_CELL, MISSING_CELL, TEXT_CELL = range(4)


class Rows:
    """Lines of a table, all of one length, with what kind of cell each is."""

    def __init__(self, path: pathlib.Path, numbers: list[int], cells: list[list[str]]) -> None:
        self.path, self.numbers, self.cells = path, numbers, cells
        self.kinds = np.array([[kind_of(cell) for cell in row] for row in cells], np.int8)
        self.names: list[str] | None = None

    def behead(self) -> None:
        """Makes the first line the names of columns."""
        self.names, self.cells = self.cells[0], self.cells[1:]
        self.numbers, self.kinds = self.numbers[1:], self.kinds[1:]

    def column(self, j: int) -> list[str]:
        """Cells of column j, from 0."""
        return [row[j] for row in self.cells]

    def called(self, j: int) -> str:
        """Number, from 1, and name of column j, for messages."""
        return f'column {j + 1}' + (f' ({self.names[j]!r})' if self.names and self.names[j] else '')

    def refuse(self, row: int, j: int, problem: str) -> NoReturn:
        """Raises ValueError with file, line and column."""
        raise ValueError(f'{self.path}, line {self.numbers[row]}, {self.called(j)}: {problem}')


def table(path: pathlib.Path, content: str, separator: str) -> Rows:
    """All lines, checked to be of one length, without comments."""
    numbers, rows = _split(path, content, separator)
    data = [i for i, row in enumerate(rows) if not row[0].startswith('#')]
    if not data:
        raise ValueError(f'{path} holds no line of numbers (lines that begin with # are comments).')
    columns = Counter(len(rows[i]) for i in data[1:] or data).most_common(1)[0][0]
    for i in sorted({*range(len(rows))} - {*data}):
        numeric = len(rows[i]) == columns > 1 and all(kind_of(cell) < TEXT_CELL for cell in rows[i][1:])
        if data[0] < i < data[-1] or numeric:
            raise ValueError(
                f'{path}, line {numbers[i]}, begins with #: a comment may stand before or behind the table only, and '
                'an id must not begin so.'
            )
    first = rows[data[0]]
    if len(data) > 1 and len(first) == columns - 1 > 1:
        rows[data[0]] = ['', *first]  # R leaves out the name of the first column
    for i in data:
        if len(rows[i]) != columns:
            raise ValueError(
                f'{path}, line {numbers[i]}, has {len(rows[i])} columns where others have {columns} (separator '
                f'{separator!r}; CsvFormat(separator=...) names another).'
            )
    return Rows(path, [numbers[i] for i in data], [rows[i] for i in data])


def separator_of(path: pathlib.Path, content: str) -> str:
    """The separator that cuts the first line into as many cells as others, and by which most cells are numbers."""
    sample = '\n'.join(text.lines_of(content)[:SNIFFED_LINES])
    best, most = ',', (False, 0.0)
    for separator in SEPARATORS:
        try:
            rows = [row for row in _split(path, sample, separator)[1] if not row[0].startswith('#')]
        except ValueError:  # such as a quoted cell that goes on beyond the sample
            continue
        if not rows:
            continue
        below = rows[1:] or rows
        columns, lines = Counter(map(len, below)).most_common(1)[0]
        cells = [cell for row in below if len(row) == columns for cell in row]
        fit = (len(rows[0]) == columns, sum(kind_of(cell) < MISSING_CELL for cell in cells) / len(cells))
        if columns > 1 and lines >= len(below) / 2 and fit > most:
            best, most = separator, fit
    return best


def _split(path: pathlib.Path, content: str, separator: str) -> tuple[list[int], list[list[str]]]:
    """Line numbers and cells of all lines that are not blank."""
    numbers, rows = [], []
    if separator == ' ' and '"' not in content:
        for number, line in enumerate(text.lines_of(content), start=1):
            if line.strip():
                numbers.append(number)
                rows.append([cell for cell in line.split(' ') if cell])
        return numbers, rows
    reader = csv.reader(io.StringIO(content, newline=''), delimiter=separator, strict=True, skipinitialspace=True)
    try:
        for row in reader:
            if row and (len(row) > 1 or row[0].strip()):
                numbers.append(reader.line_num)
                rows.append([cell.strip() for cell in row])
    except csv.Error as error:
        raise ValueError(f'{path}, line {reader.line_num}: {error}; see its quotation marks.') from error
    return numbers, rows


def kind_of(cell: str) -> int:
    """One of the four kinds of cells; both decimal marks make a fraction."""
    if match := _NUMBER.fullmatch(cell):
        return WHOLE_CELL if match.lastindex == 1 else FRACTION_CELL
    return MISSING_CELL if cell.lower() in MISSING else TEXT_CELL
