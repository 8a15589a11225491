"""Scores of a sweep's points: a table to look at, and one file with all of them."""

import csv
import pathlib
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from humalign_jax import settings, storage, workdir
from humalign_jax.records import Score
from humalign_jax.report import numbers

_COLUMNS = ('name', 'value', 'low', 'high', 'n', 'ceiling_lower', 'ceiling_upper')


def compare(folder: pathlib.Path, flags: Mapping[str, Mapping[str, Any]], names: Sequence[str]) -> str:
    """The scores in `names` as a Markdown table; all scores go to `scores.csv`.

    Points that differ in nothing but the seed share a row, with mean and standard deviation over seeds.

    Args:
        folder: The sweep's.
        flags: What the sweep set, by point.
        names: Columns of the table; without any, what there is to choose from is said.

    Raises:
        ValueError: No point is complete, or no score has such a name.
    """
    rows = {
        point: [Score.from_json(row) for row in storage.read_jsonl(folder / point / 'scores.jsonl')]
        for point in flags
        if workdir.is_complete(folder / point)
    }
    if not rows:
        raise ValueError(f'no point of {folder} is complete yet.')
    scores = _scores_by_name(rows)
    path = folder / 'scores.csv'
    _write_csv(path, flags, scores)
    available = sorted({name for of_point in scores.values() for name in of_point})
    for name in names:
        if name not in available:
            raise ValueError(f'no score is called {name!r}.{settings.nearest(name, available)}')
    lines = [table(['point', *names], _rows(flags, scores, names))] if names else []
    lines.append(f'All scores ({", ".join(available[:20])}{", ..." if len(available) > 20 else ""}): {path}')
    if len(scores) < len(flags):
        lines.append(f'{len(flags) - len(scores)} of {len(flags)} points are not complete.')
    return '\n'.join(lines)


def _scores_by_name(rows: Mapping[str, Sequence[Score]]) -> dict[str, dict[str, Score]]:
    """Scores of each point by name, and by what tells them apart where a point has several of a name."""
    apart: dict[str, set[str]] = {}
    for of_point in rows.values():
        for name, same in _grouped(of_point).items():
            words = [{k: v for k, v in s.provenance.items() if isinstance(v, str | int | float)} for s in same]
            keys = {key for one in words for key in one}
            apart.setdefault(name, set()).update(k for k in keys if len({one.get(k) for one in words}) > 1)
    named: dict[str, dict[str, Score]] = {}
    for point, of_point in rows.items():
        named[point] = {}
        for score in of_point:
            words = [f'{key}={score.provenance.get(key)}' for key in sorted(apart[score.name])]
            full = name = ','.join([score.name, *words])
            number = 1
            while name in named[point]:
                number += 1
                name = f'{full},number={number}'
            named[point][name] = score
    return named


def _grouped(scores: Sequence[Score]) -> dict[str, list[Score]]:
    groups: dict[str, list[Score]] = {}
    for score in scores:
        groups.setdefault(score.name, []).append(score)
    return groups


def _rows(
    flags: Mapping[str, Mapping[str, Any]], scores: Mapping[str, Mapping[str, Score]], names: Sequence[str]
) -> list[list[str]]:
    """One row for all seeds of the same values."""
    groups: dict[tuple, list[str]] = {}
    for point in scores:
        values = tuple((key, str(value)) for key, value in flags[point].items() if key != 'config.seed')
        groups.setdefault(values, []).append(point)
    rows = []
    for points in groups.values():
        row = points[0].replace(f'-seed={flags[points[0]].get("config.seed")}', '')
        rows.append([row, *(_cell([scores[p][name] for p in points if name in scores[p]]) for name in names)])
    return rows


def _cell(scores: Sequence[Score]) -> str:
    if len(scores) < 2:
        return ' '.join(f'{numbers.value_text(score)} {numbers.interval_text(score)}' for score in scores).strip()
    values = [score.value for score in scores]
    mean, deviation = statistics.fmean(values), statistics.stdev(values)
    places = numbers.decimals(mean, mean - deviation, mean + deviation)
    return f'{numbers.text(mean, places)} (sd {numbers.text(deviation, places)}, {len(values)} seeds)'


def _write_csv(
    path: pathlib.Path, flags: Mapping[str, Mapping[str, Any]], scores: Mapping[str, Mapping[str, Score]]
) -> None:
    """One line for each score of each point, with the values that the sweep set."""
    keys = list(dict.fromkeys(key for of_point in flags.values() for key in of_point))
    with storage.atomic_file(path, 'w') as file:
        writer = csv.writer(file, lineterminator='\n')
        writer.writerow(['point', *keys, *_COLUMNS])
        for point, of_point in scores.items():
            given = [flags[point].get(key, '') for key in keys]
            for name, score in of_point.items():
                row = {**score.to_json(), 'name': name}  # what is not defined is None here, an empty field there
                writer.writerow([point, *given, *(row[column] for column in _COLUMNS)])


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table with columns that line up."""
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    lines = [[text.ljust(width) for text, width in zip(row, widths)] for row in [head, *rows]]
    lines.insert(1, ['-' * width for width in widths])
    return '\n'.join(f'| {" | ".join(line)} |' for line in lines)
