"""Tables of scores: models down, columns of scores across, noise ceilings at the foot."""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence

from humalign_jax.report import numbers
from humalign_jax.report.study import Entry, Study
from humalign_jax.report.tables import Cell, Row, Table, best_of, number_cell

_SHORT = ('kl', 'js', 'psnr', 'ssim', 'l1', 'rsa')


@dataclasses.dataclass(frozen=True)
class Column:
    """A column of scores.

    Attributes:
        head: Its head.
        better: 'larger', 'smaller' or 'none'.
        of: A score for each model that has one.
        shares: Whether each cell says its share of the upper noise ceiling.
    """

    head: str
    better: str
    of: Mapping[str, Entry]
    shares: bool = False


def column_of(head: str, better: str, of: Mapping[str, Entry], *, shares: bool = False) -> Column:
    """A column; if its scores say which direction is better, that counts."""
    said = next((str(e.get('better')) for e in of.values() if e.get('better')), better)
    return Column(head, said, of, shares)


def of_models(study: Study, name: str) -> dict[str, Entry]:
    """The first score with this name of each model, scores of fine-tuned networks left out."""
    found: dict[str, Entry] = {}
    for entry in study.find(name, arm=None, fold=None):
        found.setdefault(entry.model, entry)
    return found


def table_of(
    study: Study,
    name: str,
    caption: str,
    columns: Iterable[Column],
    notes: Iterable[str] = (),
    *,
    details: Mapping[str, str] | None = None,
    rows: tuple[Sequence[str], Sequence[str]] | None = None,
    head: str = 'Model',
) -> Table | None:
    """Models and then baselines as rows, and a note for each kind of gap.

    Args:
        study: The study.
        name: Stem of the table's files.
        caption: Its caption.
        columns: Its columns; those without a score are left out.
        notes: Sentences below it.
        details: A smaller line below the name of a model.
        rows: Names of models and of baselines, None for those of the study.
        head: Head of the first column.

    Returns:
        The table, None if no column has a score.
    """
    columns = [column for column in columns if column.of]
    if not columns:
        return None
    models, baselines = rows if rows is not None else (study.models, study.baselines)
    best = [best_of([column.of.get(model) for model in models], column.better) for column in columns]
    made = []
    for kind, named in (('model', models), ('baseline', baselines)):
        for i, model in enumerate(named):
            if not any(model in column.of for column in columns):
                continue
            cells = [_cell(column, model, best=kind == 'model' and i in best[j]) for j, column in enumerate(columns)]
            made.append(Row((Cell(model, (details or {}).get(model, '')), *cells), kind))
    made += _ceilings(columns)
    arrows = {'larger': '\u00a0↑', 'smaller': '\u00a0↓'}  # no line break before an arrow
    heads = (head, *(column.head + arrows.get(column.better, '') for column in columns))
    notes = (*notes, *_ceiling_notes(study, made, columns), *_gaps(made, columns))
    return Table(name, caption, heads, tuple(made), notes)


def readable(name: str) -> str:
    """The last part of a score's name, in words."""
    words = name.rsplit('/', 1)[-1].split('_')
    return ' '.join(word.upper() if word in _SHORT else word for word in words)


def _cell(column: Column, model: str, *, best: bool) -> Cell:
    cell = number_cell(column.of.get(model), best=best)
    if not column.shares or cell.entry is None or cell.numbers is None:
        return cell
    upper = cell.entry.score.ceiling_upper
    if not (math.isfinite(upper) and upper > 0):
        return cell
    share = f'{numbers.text(100 * cell.entry.score.value / upper, 0)} % of ceiling'
    return dataclasses.replace(cell, detail=f'{cell.detail}\n{share}'.strip())


def _ceilings(columns: Sequence[Column]) -> list[Row]:
    """Lower and upper noise ceiling of each column; no rows if no column has one."""
    rows = []
    for end, words in (('ceiling_lower', 'Ceiling, lower'), ('ceiling_upper', 'Ceiling, upper')):
        cells = []
        for column in columns:
            entry = next((e for e in column.of.values() if math.isfinite(getattr(e.score, end))), None)
            if entry is None:
                cells.append(Cell(numbers.MISSING, why='no ceiling is defined'))
                continue
            value = getattr(entry.score, end)
            cells.append(Cell(numbers.text(value, 3), entry=entry, numbers=(value, math.nan, math.nan)))
        if any(cell.entry for cell in cells):
            rows.append(Row((Cell(words), *cells), 'ceiling'))
    return rows


def _ceiling_notes(study: Study, rows: Sequence[Row], columns: Sequence[Column]) -> list[str]:
    """Which of the two bounds is the better one."""
    if not any(row.kind == 'ceiling' for row in rows):
        return []
    words = f'The noise ceilings say what {study.whose_noise} allows'
    if any(column.better == 'smaller' for column in columns):
        words += '; where smaller is better (↓), the lower one is the bound that nothing passes'
    if any(e.get('ceiling') for column in columns for e in column.of.values()):
        words += '. What each one is stands in its score’s row under “Where each number comes from”'
    return [f'{words}.']


def _gaps(rows: Sequence[Row], columns: Sequence[Column]) -> list[str]:
    """What the en dashes stand for."""
    notes = []
    if any(cell.why == 'not measured' for row in rows for cell in row.cells):
        notes.append(f'{numbers.MISSING} not measured: there is no such score.')
    undefined = [
        f'{row.cells[0].text}, {column.head}: {cell.why}'
        for row in rows
        for column, cell in zip(columns, row.cells[1:])
        if cell.text == numbers.MISSING and cell.entry is not None
    ]
    if undefined:
        notes.append(f'{numbers.MISSING} not defined: ' + '; '.join(undefined) + '.')
    return notes
