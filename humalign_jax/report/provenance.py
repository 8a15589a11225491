"""Where each number comes from: what the scores of a run have in common is said once, a row has what differs."""

import collections
import dataclasses
import math
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from humalign_jax.report import numbers, reading
from humalign_jax.report.study import Entry, Run, Study

_LONGEST = 120  # characters of a value
_FEWEST = 3  # scores of a model in a run whose common fields are said once
_IN_ROW = ('model', 'simulated', 'baseline')  # a row or its run says these otherwise
_WORDS = {
    'human_measure': 'measure of the reference',
    'stimuli_sha256': 'stimuli (SHA-256)',
    'n_stimuli': 'stimuli',
    'n_subjects': 'subjects',
    'p_fwer': 'p, family-wise',
    'p_fdr': 'p, false discovery',
}


@dataclasses.dataclass(frozen=True)
class ScoreRow:
    """One score: the number, its value with interval, why it has none, and the fields that differ within its kind."""

    entry: Entry
    value: str
    why: str
    fields: Mapping[str, str]


@dataclasses.dataclass(frozen=True)
class ScoreKind:
    """Scores of one name of a run, with the fields that they share beyond those of the run."""

    name: str
    shared: Mapping[str, str]
    rows: tuple[ScoreRow, ...]


@dataclasses.dataclass(frozen=True)
class RunScores:
    """A run with its scores.

    Attributes:
        number: Its number on the page; links lead to `#run<number>`.
        name: Its folder relative to the study.
        facts: What its own files say about how it was made, without what all runs share.
        shared: Fields that all its scores share.
        of_model: Further fields that all its scores of a model share, by model; differences of models do not count.
        kinds: Its scores by name.
    """

    number: int
    name: str
    facts: Mapping[str, str]
    shared: Mapping[str, str]
    of_model: Mapping[str, Mapping[str, str]]
    kinds: tuple[ScoreKind, ...]

    @property
    def n_scores(self) -> int:
        """Number of its scores."""
        return sum(len(kind.rows) for kind in self.kinds)


def sources(study: Study) -> tuple[Mapping[str, str], tuple[RunScores, ...]]:
    """What all runs share, and every run with the rest."""
    by_run: dict[str, list[Entry]] = collections.defaultdict(list)
    for entry in study.entries:
        by_run[entry.run].append(entry)
    facts = {name: _facts(run) for name, run in study.runs.items()}
    common = _shared(list(facts.values()))
    found = [
        _source(number, name, _without(facts[name], common), by_run.get(name, []), study.folder)
        for number, name in enumerate(study.runs, 1)
    ]
    return common, tuple(found)


def data(study: Study, title: str, date: str) -> dict[str, Any]:
    """All scores in full as JSON, what is shared within a run written once."""
    runs = []
    for name in study.runs:
        entries = [entry for entry in study.entries if entry.run == name]
        rows = [{k: _plain(v, study.folder) for k, v in entry.score.to_json().items()} for entry in entries]
        said = [row.pop('provenance', {}) for row in rows]
        common = _shared(said)
        scores = [
            {'number': e.number, **row, 'provenance': _without(about, common)}
            for e, row, about in zip(entries, rows, said)
        ]
        if scores:
            runs.append({'run': name, 'provenance': common, 'scores': scores})
    return {'title': title, 'date': date, 'runs': runs}


def _source(
    number: int, name: str, facts: Mapping[str, str], entries: Sequence[Entry], root: pathlib.Path
) -> RunScores:
    fields = {entry.number: _fields(entry, root) for entry in entries}
    shared = _shared(list(fields.values()))
    fields = {i: _without(of, shared) for i, of in fields.items()}
    by_name: dict[str, list[Entry]] = collections.defaultdict(list)
    by_model: dict[str, list[Mapping[str, str]]] = collections.defaultdict(list)
    for entry in entries:
        by_name[entry.score.name].append(entry)
        if not _is_difference(entry.score.name):
            by_model[entry.model].append(fields[entry.number])
    several = {model: of for model, of in by_model.items() if model and len(of) >= _FEWEST}
    of_model = {model: common for model, of in several.items() if (common := _shared(of))}
    kinds = []
    for kind, of_kind in by_name.items():
        of_all = _shared([fields[entry.number] for entry in of_kind])
        once = {} if _is_difference(kind) else of_model
        rows = tuple(
            ScoreRow(
                entry,
                numbers.score_text(entry.score),
                '' if math.isfinite(entry.score.value) else numbers.why_missing(entry.score),
                _without(fields[entry.number], of_all | once.get(entry.model, {})),
            )
            for entry in of_kind
        )
        kinds.append(ScoreKind(kind, of_all, rows))
    return RunScores(number, name, facts, shared, of_model, tuple(kinds))


def _fields(entry: Entry, root: pathlib.Path) -> dict[str, str]:
    """What a score says about itself, in words."""
    score = entry.score
    found = {'n': str(score.n), '95 % interval': score.interval, 'noise ceiling': numbers.ceiling_text(score)}
    for key, value in score.provenance.items():
        if key not in _IN_ROW and value not in (None, ''):
            words = _WORDS.get(key, key.replace('_', ' '))
            found[words] = _short(_inside(value, root))
    if entry.simulated:
        found['data'] = f'{found.get("data", "")} (simulated)'.strip()
    return {key: value for key, value in found.items() if value not in ('', numbers.MISSING)}


def _facts(run: Run) -> dict[str, str]:
    """What a run's own files say about how it was made."""
    last = run.starts[-1] if run.starts else {}
    commit = str(last.get('git_commit') or '')
    versions = {name: v for name, v in (last.get('versions') or {}).items() if v}
    facts = {
        'Experiment': str(run.config.get('experiment', '')),
        'Git commit': commit[:12] + (' with changes' if commit and last.get('git_dirty') else ''),
        'Started (UTC)': str(last.get('started', ''))[:16].replace('T', ' '),
        'Seed': str(run.config.get('seed', last.get('seed', ''))),
        'Epochs': f'{reading.epochs_run(run.config, run.metrics):g}' if 'epochs' in run.config.get('train', {}) else '',
        'Devices': ', '.join(f'{n} × {d}' for d, n in collections.Counter(last.get('devices') or ()).items()),
        'Versions': ', '.join(f'{name} {version}' for name, version in versions.items()),
    }
    return {key: value for key, value in facts.items() if value}


def _is_difference(name: str) -> bool:
    return name.endswith('/difference')


def _shared(fields: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Fields that all have with the same value; of less than two nothing is shared."""
    if len(fields) < 2:
        return {}
    first, *others = fields
    return {key: value for key, value in first.items() if all(key in one and one[key] == value for one in others)}


def _without(fields: Mapping[str, Any], shared: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if key not in shared}


def _plain(value: Any, root: pathlib.Path) -> Any:
    """A value for JSON without folders of the machine, at any depth."""
    if isinstance(value, Mapping):
        return {str(key): _plain(one, root) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one, root) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return _inside(value, root)


def _inside(value: Any, root: pathlib.Path) -> Any:
    """A path relative to the study, or its last part alone: the page shows no folders of the machine."""
    if not isinstance(value, str) or not value.startswith('/'):
        return value
    path = pathlib.Path(value)
    for base in (root, root.resolve()):
        if path.is_relative_to(base):
            return path.relative_to(base).as_posix()
    return f'…/{path.name}'


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f'{value:.6g}'
    if isinstance(value, str) and re.fullmatch('[0-9a-f]{40,64}', value):
        return value[:12]  # the embedded data have it in full
    if isinstance(value, Mapping):
        text = ', '.join(f'{k} {v}' for k, v in value.items())
    else:
        text = ', '.join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return text if len(text) <= _LONGEST else f'{text[:_LONGEST]}…'
