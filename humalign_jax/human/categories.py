"""Classes of stimuli that people named, from a table with a line for each stimulus."""

import dataclasses
import os

import numpy as np

from humalign_jax import records, text


@dataclasses.dataclass(frozen=True)
class Categories:
    """Classes of n stimuli; a stimulus may be in several or in none.

    Attributes:
        names: Names of the classes, [c].
        members: Which stimuli are in which class, bool, [n, c].
    """

    names: tuple[str, ...]
    members: np.ndarray

    def take(self, rows: np.ndarray) -> 'Categories':
        """The classes of some stimuli, those with fewer than two of them left out."""
        members = self.members[rows]
        kept = members.sum(axis=0) >= 2
        return Categories(tuple(name for name, keep in zip(self.names, kept) if keep), members[:, kept])


def load_categories(
    path: str | os.PathLike, ids_column: str, columns: dict[str, str]
) -> tuple[np.ndarray, dict[str, Categories]]:
    """Reads a tab-separated table with a header.

    Args:
        path: The table, such as `concepts.tsv` of THINGS.
        ids_column: Name of the column with stimulus ids.
        columns: Name of the column with the classes of a stimulus, separated by commas, for each set of classes.

    Returns:
        Stimulus ids in the order of the table, [n], and each set of classes; names are sorted.

    Raises:
        ValueError: The table lacks a column, lines are too short, ids repeat, or a column names no class.
    """
    lines = [line.split('\t') for line in text.lines_of(text.read_text(path)[0]) if line]
    header, rows = lines[0] if lines else [], lines[1:]
    missing = [name for name in (ids_column, *columns.values()) if name not in header]
    if missing or not rows:
        raise ValueError(
            f'{path} lacks {", ".join(missing) or "rows"}: a tab-separated table with a header is expected, whose '
            f'columns are here {", ".join(header)[:200]}.'
        )
    short = next((k for k, row in enumerate(rows) if len(row) < len(header)), None)
    if short is not None:
        raise ValueError(f'{path}, line {short + 2}, has {len(rows[short])} columns instead of {len(header)}.')
    ids = np.array([row[header.index(ids_column)] for row in rows], dtype=np.str_)
    records.check_ids(ids, len(rows), f'{path}')
    found = {}
    for kind, column in columns.items():
        cells = [_classes(row[header.index(column)]) for row in rows]
        names = tuple(sorted({name for cell in cells for name in cell}))
        if not names:
            raise ValueError(f'{path}: column {column!r} names no class.')
        number, members = {name: k for k, name in enumerate(names)}, np.zeros((len(rows), len(names)), bool)
        for k, cell in enumerate(cells):
            members[k, [number[name] for name in cell]] = True
        found[kind] = Categories(names, members)
    return ids, found


def _classes(cell: str) -> list[str]:
    return [name for part in cell.split(',') if (name := part.strip())]
