"""How well each condition learned its functions: scores that its networks left, and which of them learn in context."""

import math
from collections.abc import Iterator, Sequence

from humalign_jax.report import conditions, numbers
from humalign_jax.report.study import Entry, Study
from humalign_jax.report.tables import Cell, Row, Table, number_cell

ACCURACY, R2 = 'functions/accuracy', 'functions/r2'


def tables(study: Study) -> Iterator[Table]:
    """How well the functions were learned: each condition on average over its networks, held-out items only."""
    found: dict[str, dict[tuple[str, str], list[Entry]]] = {}
    for name in (ACCURACY, R2):
        for entry in study.find(name):
            of = found.setdefault(conditions.condition_of(entry), {})
            of.setdefault((name, str(entry.get('of'))), []).append(entry)
    columns = [
        (f'{what}, {of} functions', (name, of))
        for name, what in zip((ACCURACY, R2), ('Accuracy', 'R2 of magnitudes'))
        for of in ('held out', 'trained')
        if any((name, of) in cells for cells in found.values())
    ]
    if not columns:
        return
    without, rows = without_episodes(study), []
    for condition in conditions.in_order(study, list(found)):
        cells = found[condition]
        n = max(map(len, cells.values()))
        detail = f'{n} network{"s" if n > 1 else ""}' + (', not in context' if condition in without else '')
        rows.append(Row((Cell(condition, detail), *(_mean_cell(cells.get(key, [])) for _, key in columns))))
    notes = [
        'Held-out items. Of several networks the mean, and below it each network’s score; of one network the score '
        'with its 95 % interval over functions.'
    ]
    if without:
        notes.append(
            'Not in context: trained on each function directly, so that it has no scores of held-out functions; its '
            'intervals are over items, and its accuracy is not comparable with that of learning in context.'
        )
    heads = ('Condition', *(head for head, _ in columns))
    yield Table('learned_functions', 'Functions learned by each condition.', heads, tuple(rows), tuple(notes))


def without_episodes(study: Study) -> set[str]:
    """Conditions whose networks left scores of functions but no curves: they learn no function in context."""
    with_curves: dict[str, bool] = {}
    for entry in study.find(ACCURACY):
        name = conditions.condition_of(entry)
        has = (study.folder / entry.run / 'curves' / 'correct.npy').is_file()
        with_curves[name] = has or with_curves.get(name, False)
    return {name for name, has in with_curves.items() if not has}


def _mean_cell(entries: Sequence[Entry]) -> Cell:
    if len(entries) < 2:
        return number_cell(entries[0] if entries else None)
    values = [entry.score.value for entry in entries]
    mean = sum(values) / len(values)
    return Cell(numbers.text(mean, 3), ', '.join(numbers.text(value, 3) for value in values),
                numbers=(mean, math.nan, math.nan))  # fmt: skip
