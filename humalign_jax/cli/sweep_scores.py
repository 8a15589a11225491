"""Scores of a sweep's points: a table of some scores, and one file with all scores."""

import csv
import dataclasses
import difflib
import pathlib
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from humalign_jax import settings, storage, workdir
from humalign_jax.records import Score
from humalign_jax.report import numbers

_COLUMNS = ('value', 'low', 'high', 'n', 'ceiling_lower', 'ceiling_upper')
_NOT_TELLING = re.compile(r'run|checkpoint_step|.*sha256|n_.*')  # the run, or counts
_SHOWN = 6  # of the values that a message lists
_FEW = 12  # names of a family that a message lists


@dataclasses.dataclass(frozen=True)
class _Entry:
    """A score with its provenance and the stage of the study that left it."""

    score: Score
    about: Mapping[str, str]


def compare(folder: pathlib.Path, flags: Mapping[str, Mapping[str, Any]], columns: Sequence[str]) -> str:
    """Some scores as a Markdown table; all scores go to `scores.csv`.

    Points that differ in nothing but the seed share a row, with mean and standard deviation over seeds.

    Args:
        folder: The sweep's folder.
        flags: Flags that the sweep sets, by point.
        columns: Columns of the table: names of scores, such as 'accuracy', or 'rsa/spearman:layer=logits,pairs=partial'
            if a point has several scores of one name. Without columns the known names are listed.

    Raises:
        ValueError: No point is complete, or a column matches no score or several scores of a point.
    """
    entries = {point: _entries(folder / point) for point in flags if workdir.is_complete(folder / point)}
    if not entries:
        raise ValueError(f'no point of {folder} is complete yet.')
    path = folder / 'scores.csv'
    _write_csv(path, flags, entries)
    scores = {column: _chosen(column, entries) for column in columns}
    lines = [table(['point', *columns], _rows(flags, scores, list(entries)))] if columns else []
    lines.append(f'All scores ({_families(entry.score.name for of in entries.values() for entry in of)}): {path}')
    if len(entries) < len(flags):
        lines.append(f'{len(flags) - len(entries)} of {len(flags)} points are not complete.')
    return '\n'.join(lines)


def _entries(folder: pathlib.Path) -> list[_Entry]:
    """All scores of a point, including the stages of a study; of a run of several seeds their means."""
    entries = []
    for path in sorted(folder.rglob('scores.jsonl')):
        if re.fullmatch(r'seed_\d+', path.parent.name) and (path.parents[1] / 'scores.jsonl').exists():
            continue
        stage = path.parent.relative_to(folder).as_posix()
        if not stage.startswith('superseded'):
            for score in map(Score.from_json, storage.read_jsonl(path)):
                words = {k: str(v) for k, v in score.provenance.items() if isinstance(v, str | int)}
                entries.append(_Entry(score, {**words, 'stage': stage}))
    return entries


def _telling(entries: Sequence[_Entry]) -> dict[str, list[str]]:
    """Provenance keys that distinguish scores of one name, with their values in order of appearance."""
    keys = dict.fromkeys(key for entry in entries for key in entry.about)
    values = {key: list(dict.fromkeys(entry.about.get(key, '') for entry in entries)) for key in keys}
    return {key: v for key, v in values.items() if len(v) > 1 and not _NOT_TELLING.fullmatch(key)}


def _chosen(column: str, entries: Mapping[str, Sequence[_Entry]]) -> dict[str, Score]:
    """The score that matches a column, by point."""
    name, _, text = column.partition(':')
    wanted: dict[str, str] = {part.partition('=')[0]: part.partition('=')[2] for part in text.split(',') if part}
    everything = [entry for of_point in entries.values() for entry in of_point]
    named = [entry for entry in everything if entry.score.name == name]
    if not named:
        names = [entry.score.name for entry in everything]
        close = ''.join(f' Did you mean {near!r}?' for near in difflib.get_close_matches(name, names, n=1))
        raise ValueError(f'no score is called {name!r}.{close} Known: {_families(names)}.')
    for key, value in wanted.items():
        known = [v for v in dict.fromkeys(entry.about.get(key, '') for entry in named) if v]
        if value not in known:
            where = settings.nearest(value, known) if known else settings.nearest(key, _telling(named))
            raise ValueError(f'no score {name!r} has {key}={value}.{where}')
    chosen = {}
    for point, of_point in entries.items():
        meant = [e for e in of_point if e.score.name == name and all(e.about.get(k) == v for k, v in wanted.items())]
        if len(meant) > 1:
            raise ValueError(f'{point} has {len(meant)} scores {column!r}{_how_they_differ(name, wanted, meant)}')
        if meant:
            chosen[point] = meant[0].score
    return chosen


def _families(names: Iterable[str]) -> str:
    """Names in one line; many names with the same first part, such as cells of a confusion matrix, are abbreviated."""
    families: dict[str, list[str]] = {}
    for name in dict.fromkeys(names):
        families.setdefault(name.partition('/')[0], []).append(name)
    return ', '.join(', '.join(of) if len(of) <= _FEW else f'{first}/... ({len(of)})' for first, of in families.items())


def _how_they_differ(name: str, wanted: Mapping[str, str], entries: Sequence[_Entry]) -> str:
    """The end of a message: the keys that distinguish the scores, and a column that matches one of them."""
    telling = _telling(entries)
    if not telling:
        return ', and nothing in their provenance distinguishes them.'
    shown = [f'{k} ({", ".join(v[:_SHOWN])}{", ..." if len(v) > _SHOWN else ""})' for k, v in telling.items()]
    example, left = dict(wanted), entries
    while len(left) > 1 and (still := _telling(left)):
        key = max(still, key=lambda k: len(still[k]))
        example[key] = left[0].about.get(key, '')
        left = [entry for entry in left if entry.about.get(key, '') == example[key]]
    such_as = ','.join(f'{key}={value}' for key, value in example.items())
    return f', which differ in {"; ".join(shown)}: say which, such as {name}:{such_as}.'


def _rows(
    flags: Mapping[str, Mapping[str, Any]], scores: Mapping[str, Mapping[str, Score]], points: Sequence[str]
) -> list[list[str]]:
    """Rows of the table; points that differ only in the seed share a row."""
    groups: dict[tuple, list[str]] = {}
    for point in points:
        values = tuple((key, str(value)) for key, value in flags[point].items() if key != 'config.seed')
        groups.setdefault(values, []).append(point)
    rows = []
    for group in groups.values():
        row = group[0].replace(f'-seed={flags[group[0]].get("config.seed")}', '')
        rows.append([row, *(_cell([of[p] for p in group if p in of]) for of in scores.values())])
    return rows


def _cell(scores: Sequence[Score]) -> str:
    if len(scores) < 2:
        return ' '.join(f'{numbers.value_text(score)} {numbers.interval_text(score)}' for score in scores).strip()
    values = [score.value for score in scores]
    mean, deviation = statistics.fmean(values), statistics.stdev(values)
    places = numbers.decimals(mean, mean - deviation, mean + deviation)
    return f'{numbers.text(mean, places)} (sd {numbers.text(deviation, places)}, {len(values)} seeds)'


def _write_csv(
    path: pathlib.Path, flags: Mapping[str, Mapping[str, Any]], entries: Mapping[str, Sequence[_Entry]]
) -> None:
    """One line for each score of each point, with the sweep's values and the keys that distinguish the scores."""
    keys = list(dict.fromkeys(key for of_point in flags.values() for key in of_point))
    telling: dict[str, None] = {}
    for of_point in entries.values():
        by_name: dict[str, list[_Entry]] = {}
        for entry in of_point:
            by_name.setdefault(entry.score.name, []).append(entry)
        for same in by_name.values():
            telling.update(dict.fromkeys(_telling(same)))
    with storage.atomic_file(path, 'w') as file:
        writer = csv.writer(file, lineterminator='\n')
        writer.writerow(['point', *keys, 'name', *telling, *_COLUMNS])
        for point, of_point in entries.items():
            given = [flags[point].get(key, '') for key in keys]
            for entry in of_point:
                about = [entry.about.get(key, '') for key in telling]
                row = entry.score.to_json()  # an undefined value is None here and an empty field in the file
                writer.writerow([point, *given, entry.score.name, *about, *(row[column] for column in _COLUMNS)])


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table with columns that line up."""
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    lines = [[text.ljust(width) for text, width in zip(row, widths)] for row in [head, *rows]]
    lines.insert(1, ['-' * width for width in widths])
    return '\n'.join(f'| {" | ".join(line)} |' for line in lines)
