"""Tables of numbers in text files: separator, decimal mark, header and ids are found once for the whole file.

What cannot be told from the file and would change the numbers is refused, with the option that settles it.
"""

import dataclasses
import pathlib
import re
from typing import Any

import numpy as np

from humalign_jax import text
from humalign_jax.rsa.formats.csv_rows import (
    FRACTION_CELL,
    MISSING,
    MISSING_CELL,
    SEPARATORS,
    TEXT_CELL,
    WHOLE,
    WHOLE_CELL,
    Rows,
    kind_of,
    separator_of,
    table,
)

NO_IDS = 'none'  # as ids_key: no column holds ids
# Columns of these names hold stimulus ids, also as numbers: id, stimulus_id, image_name, imageID, file, ...
ID_NAME = re.compile(
    r'(?:(?:stim|stimul(?:us|i)|image|img|picture|pic|photo|item|object|concept|sample|file)s?[ _.-]?)?'
    r'(?:ids?|names?|stim|stimul(?:us|i)|files?|filenames?|conds?|conditions?|items?)',
    re.IGNORECASE,
)
_UNNAMED = re.compile(r'|unnamed: ?0|index|level_0|row\.?names|row|#', re.IGNORECASE)
_AUTOMATIC = re.compile(r'(?:v|x|f|c|col|column|var|feature|dim|unit)?[ _.]?(\d+)', re.IGNORECASE)
_THOUSANDS = re.compile(r'[+-]?[1-9]\d{0,2}(?:,\d{3})+', re.ASCII)
# With separators of thousands, with units, of Fortran, or complex.
_BROKEN_NUMBER = re.compile(r"[+-]?[.,]?\d[\d.,' ]*(?:%|[€$]|d[+-]?\d+|[+-].*[ij])?", re.ASCII | re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class CsvFormat:
    """How a table is written; None is found in the file.

    Attributes:
        separator: Between cells: one of `SEPARATORS`.
        decimal: '.' or ','.
        header: Whether the first line holds names of columns.
        encoding: Name of the text's encoding, such as 'latin-1'.
    """

    separator: str | None = None
    decimal: str | None = None
    header: bool | None = None
    encoding: str | None = None

    def __post_init__(self) -> None:
        if self.separator is not None and self.separator not in SEPARATORS:
            raise ValueError(f'separator must be one of {", ".join(map(repr, SEPARATORS))}, not {self.separator!r}.')
        if self.decimal not in (None, '.', ','):
            raise ValueError(f"decimal must be '.' or ',', not {self.decimal!r}.")


@dataclasses.dataclass(frozen=True)
class CsvTable:
    """Numbers of a table, with the ids of its rows.

    Attributes:
        values: [n, d]; missing cells are NaN.
        ids: [n] strings, or None where the table has none.
        found: How the table was written, for provenance.
    """

    values: np.ndarray
    ids: np.ndarray | None
    found: dict[str, Any]


def read_csv(
    path: pathlib.Path, told: CsvFormat | None = None, *, ids_key: str | None = None, square: bool = False
) -> CsvTable:
    """The numbers of a table and the ids of its rows.

    Ids are the column that `ids_key` names; else that of a name such as 'stimulus' or 'image_id', the only column of
    text, or a first column without a name, as pandas writes an index. An index that counts rows from 0 or 1 names no
    stimulus: it is left out. Lines that begin with # are comments.

    Args:
        path: The file.
        told: What is known of how the table is written.
        ids_key: Name or number (from 1) of the column with ids, or 'none'.
        square: Whether the table may be a square RDM, whose columns are stimuli, too.

    Raises:
        ValueError: Something does not fit, or could be read in two ways; the message names line and column.
    """
    told = told or CsvFormat()
    content, encoding = text.read_text(path, told.encoding)
    separator = told.separator
    if content.startswith('sep=') and len(text.lines_of(content)[0]) == 5:  # written by Excel
        separator, content = separator or content[4], '\n' + content[5:].lstrip('\r\n')
    separator = separator or separator_of(path, content)
    rows = table(path, content, separator)
    header = told.header if told.header is not None else _has_header(rows, square)
    if header:
        rows.behead()
    if not rows.cells:
        raise ValueError(f'{path} has a header, but no line of numbers below it.')
    ids_column, left_out = _columns(rows, ids_key, square)
    used = [j for j in range(rows.kinds.shape[1]) if j != ids_column and j not in left_out]
    if not used:
        raise ValueError(f'{path} has no column of numbers beside the ids.')
    decimal = _decimal(rows, used, told.decimal)
    values = _values(rows, used, decimal)
    ids = None if ids_column is None else _ids(rows, ids_column)
    named = ids_column
    if square and rows.names is not None and len(values) == len(used):
        ids, named = _named_columns(rows, used, ids, ids_column)
    found = {
        'separator': separator,
        'decimal': decimal,
        'header': header,
        'encoding': encoding,
        'ids': named if isinstance(named, str) or named is None else rows.called(named),
        'left_out': [rows.called(j) for j in left_out],
    }
    return CsvTable(values, ids, found)


def _has_header(rows: Rows, square: bool) -> bool:
    """Whether the first line names the columns."""
    first, kinds, below = rows.cells[0], rows.kinds[0], rows.kinds[1:]
    n_lines, n_columns = rows.kinds.shape
    if n_lines == 1:
        return bool((kinds[1:] == TEXT_CELL).any())
    if square and n_lines - n_columns in (-1, 0, 1):
        named = kinds[0] >= MISSING_CELL and (below[:, 0] != MISSING_CELL).all()
        return bool(n_lines > n_columns or (n_lines == n_columns and named))
    over_numbers = (below != TEXT_CELL).all(axis=0)
    words = [int(j) for j in np.flatnonzero(over_numbers & (kinds == TEXT_CELL))]
    if words:
        if (over_numbers & (kinds == FRACTION_CELL)).any():
            rows.refuse(
                0,
                words[0],
                f'{first[words[0]]!r} is no number, but other cells of the line are: correct it, or say whether the '
                'line names the columns, with CsvFormat(header=...).',
            )
        return True
    # The first line holds numbers where others do: names, such as pandas gives by default, or a stimulus.
    is_index = n_columns > 1 and kinds[0] == MISSING_CELL and bool((below[:, 0] != MISSING_CELL).all())
    columns = [int(j) for j in np.flatnonzero(over_numbers) if j or not is_index]
    names, tail = [first[j] for j in columns], below[:, columns]
    whole = all(map(WHOLE.fullmatch, names)) and len(set(names)) == len(names)
    counted = whole and [int(name) for name in names] in (list(range(len(names))), list(range(1, len(names) + 1)))
    fractions = bool((tail != WHOLE_CELL).all())
    corners = [first[j] for j in range(n_columns) if not over_numbers[j]]
    if not names:  # no column is of numbers only
        return any(map(ID_NAME.fullmatch, corners))
    if is_index:
        likely, certain = True, whole and (counted or fractions)
    elif any(ID_NAME.fullmatch(corner) or _UNNAMED.fullmatch(corner) for corner in corners):
        likely, certain = True, whole
    else:
        likely = (whole and fractions and len(names) > 1) or (counted and (len(names) > 2 or not corners))
        certain = counted and fractions and len(names) > 1 and bool(corners)
    if likely and not certain:
        rows.refuse(
            0,
            0,
            f'the line {", ".join(first[:4])}, ... may name the columns or be a stimulus: say which, with '
            'CsvFormat(header=True) or CsvFormat(header=False).',
        )
    return certain


def _columns(rows: Rows, ids_key: str | None, square: bool) -> tuple[int | None, list[int]]:
    """The column with ids, and those that are neither ids nor numbers."""
    n_rows, n_columns = rows.kinds.shape
    is_text = (rows.kinds == TEXT_CELL).any(axis=0)
    words = [j for j in range(n_columns) if is_text[j]]
    names = rows.names or [None] * n_columns
    index = _index(rows)
    named = [j for j in range(n_columns) if names[j] and ID_NAME.fullmatch(names[j])]
    if ids_key is not None:
        chosen = None if ids_key == NO_IDS and NO_IDS not in names else _column_named(rows, ids_key)
    elif len(named) == 1:
        chosen = named[0]
    elif len(words) > 1 or len(named) > 1:
        candidates = named if len(named) > 1 else _all_text(rows, words)
        raise ValueError(
            f'{rows.path}: {", ".join(rows.called(j) for j in candidates)} may hold stimulus ids: choose one with '
            f'ids_key=..., a name or a number from 1, or ids_key={NO_IDS!r}.'
        )
    elif words:
        chosen = _all_text(rows, words)[0]
        if len(set(rows.column(chosen))) < n_rows:
            raise ValueError(
                f'{rows.path}: {rows.called(chosen)} holds text that occurs more than once, so no stimulus ids: leave '
                f'it out with ids_key={NO_IDS!r}, or choose another column.'
            )
    else:
        chosen = None if not index or _counts_rows(rows.column(0)) else 0
    left_out = {*_all_text(rows, [j for j in words if j != chosen], left_out=True), *index} - {chosen}
    if chosen is not None or left_out or ids_key is not None:
        return chosen, sorted(left_out)
    if square and n_columns in (n_rows, n_rows + 1):
        first = [0] if n_columns > n_rows else []
        return (None, first) if not first or _counts_rows(rows.column(0)) else (0, [])
    if n_columns > 1 and n_rows > 2 and _may_be_ids(rows):
        raise ValueError(
            f'{rows.path}: {rows.called(0)} holds a different whole number in each line: say whether these are '
            f"stimulus ids (ids_key='{names[0] or 1}') or a feature (ids_key={NO_IDS!r})."
        )
    return None, []


def _index(rows: Rows) -> list[int]:
    """[0] if the first column is an index as pandas and R write it, without a name of its own, else []."""
    if not rows.names or len(rows.names) < 2 or not _UNNAMED.fullmatch(rows.names[0]):
        return []
    if (rows.kinds[:, 0] == TEXT_CELL).any() or (rows.kinds[:, 0] == WHOLE_CELL).all():
        return [0]
    if not rows.names[0]:
        rows.refuse(0, 0, 'a column without a name is an index, of text or whole numbers: give it a name.')
    return []


def _column_named(rows: Rows, key: str) -> int:
    names = rows.names or []
    if names.count(key) == 1:
        return names.index(key)
    if key.isdecimal() and 1 <= int(key) <= rows.kinds.shape[1]:
        return int(key) - 1
    listed = ', '.join(map(repr, names[:10])) or 'no names, only numbers from 1'
    raise ValueError(f'{rows.path} has no column {key!r} for ids; its columns have {listed}.')


def _all_text(rows: Rows, columns: list[int], *, left_out: bool = False) -> list[int]:
    """The columns, if their cells are words: a number among them, or what was meant as one, such as 12%, is refused.

    A word of a column that is left out begins with a letter.
    """
    for j in columns:
        kinds = rows.kinds[:, j]
        wrong = kinds == TEXT_CELL
        if not (kinds < MISSING_CELL).any():
            wrong &= [
                bool(_BROKEN_NUMBER.fullmatch(cell)) or (left_out and not cell[:1].isalpha()) for cell in rows.column(j)
            ]
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            hint = ' (ids_key=... says which column holds ids)' if j == 0 else ''
            rows.refuse(row, j, f'{rows.cells[row][j]!r} is no number{hint}.')
    return columns


def _counts_rows(column: list[str]) -> bool:
    """Whether a column is 0, 1, 2, ... or 1, 2, 3, ..."""
    return any(column == [str(i + start) for i in range(len(column))] for start in (0, 1))


def _may_be_ids(rows: Rows) -> bool:
    """Whether the first column looks unlike the others: whole and distinct, where others have fractions; or a count."""
    column = rows.column(0)
    if (rows.kinds[:, 0] >= MISSING_CELL).any() or len(set(column)) < len(column):
        return False
    if _counts_rows(column):
        return True
    first, others = _floats(column), [x for row in rows.cells for x in _floats(row[1:])]
    return all(x == int(x) for x in first if np.isfinite(x)) and any(x != np.rint(x) for x in others if np.isfinite(x))


def _floats(cells: list[str]) -> list[float]:
    return [float('nan') if kind_of(cell) >= MISSING_CELL else float(cell.replace(',', '.')) for cell in cells]


def _decimal(rows: Rows, used: list[int], told: str | None) -> str:
    """The decimal mark of all numbers."""
    if told in (None, '.') and not any(',' in cell for row in rows.cells for cell in row):
        return '.'
    marks: dict[str, tuple[int, int]] = {}
    only_thousands = True
    for i, row in enumerate(rows.cells):
        for j in used:
            mark = ',' if ',' in row[j] else '.' if '.' in row[j] else ''
            if mark and rows.kinds[i, j] == FRACTION_CELL:
                marks.setdefault(mark, (i, j))
                only_thousands &= mark == '.' or bool(_THOUSANDS.fullmatch(row[j]))
    wrong = [mark for mark in marks if mark != (told or next(iter(marks)))]
    if wrong:
        i, j = marks[wrong[0]]
        other = f'the decimal mark is {told!r}' if told else f'others have {next(iter(marks))!r} as decimal mark'
        rows.refuse(i, j, f'{rows.cells[i][j]!r} is no number where {other}.')
    if told is None and ',' in marks and only_thousands:
        i, j = marks[',']
        rows.refuse(
            i,
            j,
            f"{rows.cells[i][j]!r} may be a fraction or thousands: say CsvFormat(decimal=',') or remove the commas.",
        )
    return told or next(iter(marks), '.')


def _values(rows: Rows, used: list[int], decimal: str) -> np.ndarray:
    """[n, d] numbers, NaN where a cell is missing."""
    wrong = np.argwhere(rows.kinds[:, used] == TEXT_CELL)
    if len(wrong):
        row, j = int(wrong[0][0]), used[int(wrong[0][1])]
        rows.refuse(row, j, f'{rows.cells[row][j]!r} is no number.')
    cells = [[row[j] for j in used] for row in rows.cells]
    if decimal == ',':
        cells = [[cell.replace(',', '.') for cell in row] for row in cells]
    if not (rows.kinds[:, used] == MISSING_CELL).any():
        return np.array([list(map(float, row)) for row in cells])
    empty = np.flatnonzero([not any(row) for row in rows.cells])
    if len(empty):
        rows.refuse(int(empty[0]), 0, 'the line holds separators only: remove it.')
    empty = [j for j in used if not any(rows.column(j)) and not (rows.names and rows.names[j])]
    if empty:
        rows.refuse(0, empty[0], 'the column is empty: remove the separators at the ends of lines.')
    return np.array([[float('nan') if cell.lower() in MISSING else float(cell) for cell in row] for row in cells])


def _ids(rows: Rows, column: int) -> np.ndarray:
    """Ids as they are written; 7.0 is 7."""
    ids = rows.column(column)
    if '' in ids:
        rows.refuse(ids.index(''), column, 'the stimulus id is empty.')
    kinds = rows.kinds[:, column]
    if (kinds != TEXT_CELL).all() and (kinds == FRACTION_CELL).any():
        for row, cell in enumerate(ids):
            if not re.fullmatch(r'[+-]?\d+(\.0*)?', cell):
                rows.refuse(row, column, f'{cell!r} is no stimulus id: ids are text or whole numbers.')
        ids = [cell.split('.')[0] for cell in ids]
    return np.array(ids, dtype=np.str_)


def _named_columns(
    rows: Rows, used: list[int], ids: np.ndarray | None, column: int | None
) -> tuple[np.ndarray | None, str | int | None]:
    """Ids of a square RDM, whose columns may be named after its stimuli, and where they are from."""
    names = [rows.names[j] for j in used] if rows.names else []
    if ids is not None:
        if sorted(names) == sorted(ids) and names != list(ids):
            i = next(i for i, name in enumerate(names) if name != ids[i])
            rows.refuse(i, used[i], f'rows and columns are in different orders: {str(ids[i])!r} and {names[i]!r}.')
        return ids, column
    numbers = [match and match[1] for match in map(_AUTOMATIC.fullmatch, names)]
    automatic = all(numbers) and _counts_rows([str(int(number)) for number in numbers if number])
    if '' in names or len(set(names)) < len(names) or automatic:
        return None, None
    return np.array(names, dtype=np.str_), 'names of columns'
