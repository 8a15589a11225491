"""Base of all results: printed tables, data frames, files."""

import csv
import dataclasses
import html
import io
import json
import math
import pathlib
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np

from humalign_jax import storage

MOST_ROWS = 20  # of a printed table
_ABOUT = 'about'  # entry of the file with everything that is no array


class Result:
    """Base of frozen dataclasses with results; a subclass says what its table holds with `columns` and `shown`."""

    def columns(self) -> dict[str, Sequence[Any]]:
        """The table as plain numbers and text: columns of one length by name."""
        raise NotImplementedError

    def shown(self) -> tuple[str, dict[str, list[str]]]:
        """The printed table: its title, and columns of text by heading."""
        raise NotImplementedError

    def __repr__(self) -> str:
        title, columns = self.shown()
        return f'{title}\n{text_table(columns)}'

    def _repr_html_(self) -> str:
        title, columns = self.shown()
        return html_table(columns, title)

    def to_frame(self) -> Any:
        """The columns as a `pandas.DataFrame`.

        Raises:
            ImportError: pandas is not installed.
        """
        try:
            import pandas  # pyright: ignore[reportMissingImports] (optional)
        except ImportError as error:
            raise ImportError('a data frame needs pandas: pip install pandas, or use .columns().') from error
        return pandas.DataFrame(self.columns())

    def save(self, path: storage.PathLike) -> None:
        """Writes one `.npz` file that `load` reads.

        Raises:
            ValueError: The path has another suffix.
        """
        if pathlib.Path(path).suffix != '.npz':
            raise ValueError(f'{path}: results are written as .npz.')
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}  # type: ignore[arg-type]
        arrays = {name: value for name, value in fields.items() if isinstance(value, np.ndarray)}
        rest = {
            name: dataclasses.asdict(value) if dataclasses.is_dataclass(value) else value  # type: ignore[arg-type]
            for name, value in fields.items()
            if name not in arrays
        }
        about = json.dumps({'kind': type(self).__name__, **rest}, default=_plain, ensure_ascii=False)
        with storage.atomic_file(path) as file:
            np.savez_compressed(file, **{_ABOUT: np.array(about)}, **arrays)  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: storage.PathLike) -> Self:
        """The result that `save` wrote.

        Raises:
            ValueError: The file cannot be read, or holds another kind of result.
        """
        about = json.loads(str(storage.read_array(path, key=_ABOUT)))
        kind = about.pop('kind', None)
        if kind != cls.__name__:
            raise ValueError(f'{path} holds {kind}, not {cls.__name__}: call {kind}.load.')
        types, made = typing.get_type_hints(cls), {}
        for field in dataclasses.fields(cls):  # type: ignore[arg-type]
            value = about[field.name] if field.name in about else storage.read_array(path, key=field.name)
            if isinstance(value, dict) and dataclasses.is_dataclass(types[field.name]):
                value = types[field.name](**{str(key): item for key, item in value.items()})
            made[field.name] = tuple(value) if isinstance(value, list) else value
        return cls(**made)


def text_table(columns: Mapping[str, Sequence[str]], most_rows: int = MOST_ROWS) -> str:
    """Columns of text side by side; a column whose cells are all numbers stands to the right.

    Args:
        columns: Cells of each column, of one length, by heading.
        most_rows: Rows beyond this number are left out and counted in a last line.
    """
    n_rows = len(next(iter(columns.values()), ()))
    shown = {heading: [str(cell) for cell in cells[:most_rows]] for heading, cells in columns.items()}
    wide = {heading: max(map(len, (heading, *cells))) for heading, cells in shown.items()}
    right = {heading: bool(cells) and all(map(_is_number, cells)) for heading, cells in shown.items()}

    def line(cells: Sequence[str]) -> str:
        placed = (
            cell.rjust(wide[heading]) if right[heading] else cell.ljust(wide[heading])
            for heading, cell in zip(shown, cells)
        )
        return '  '.join(placed).rstrip()

    lines = [
        line(list(shown)),
        *(line([cells[row] for cells in shown.values()]) for row in range(min(n_rows, most_rows))),
    ]
    return '\n'.join([*lines, *([f'and {n_rows - most_rows} more'] if n_rows > most_rows else [])])


def html_table(columns: Mapping[str, Sequence[str]], title: str) -> str:
    """The same as HTML, with every cell escaped."""
    rows = zip(*columns.values())
    head = ''.join(f'<th>{html.escape(heading)}</th>' for heading in columns)
    body = ''.join('<tr>' + ''.join(f'<td>{html.escape(str(cell))}</td>' for cell in row) + '</tr>' for row in rows)
    return f'<table><caption>{html.escape(title)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def csv_text(columns: Mapping[str, Sequence[Any]]) -> str:
    """The same as the text of a .csv file."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator='\n')
    writer.writerow(columns)
    writer.writerows(zip(*columns.values()))
    return file.getvalue()


def number(value: float, digits: int = 3) -> str:
    """A number for a table; '-' for NaN."""
    return '-' if math.isnan(value) else f'{value:.{digits}f}'


def interval(low: float, high: float) -> str:
    """An interval for a table; '-' where an end is NaN."""
    return '-' if math.isnan(low) or math.isnan(high) else f'[{low:.3f}, {high:.3f}]'


def span(lower: float, upper: float) -> str:
    """A range for a table; '-' where an end is NaN."""
    return '-' if math.isnan(lower) or math.isnan(upper) else f'{lower:.3f} to {upper:.3f}'


def p_value(p: float) -> str:
    """A p value for a table; '-' for NaN."""
    return '< 0.001' if p < 0.001 else number(p)


def _is_number(cell: str) -> bool:
    return cell == '-' or cell.lstrip('<+- ').replace('.', '', 1).replace(',', '').isdigit()


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f'cannot save a {type(value).__name__}')
