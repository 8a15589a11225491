"""One self-contained HTML page of a study: no network, no scripts to fetch, readable on a phone."""

import collections
import dataclasses
import glob
import importlib
import importlib.resources
import itertools
import math
import pathlib
import pkgutil
from collections.abc import Mapping, Sequence
from typing import Any

import jinja2
import markupsafe

from humalign_jax import storage
from humalign_jax.report import answer, figures, numbers, reading, sections, sentences, tables
from humalign_jax.report.answer import Answer
from humalign_jax.report.figures import Group
from humalign_jax.report.section import Cards, Options, Section, Words
from humalign_jax.report.sentences import Passage
from humalign_jax.report.study import Entry, Run, Study
from humalign_jax.report.tables import Table

# Keys of provenance that have a column in the table of scores.
_SHOWN = (
    'model',
    'layer',
    'measure',
    'human_measure',
    'checkpoint_step',
    'stimuli_sha256',
    'seed',
    'simulated',
    'baseline',
)
_LONGEST = 120  # characters of a value in the provenance table


@dataclasses.dataclass(frozen=True)
class Heading:
    """What the page's head says.

    Attributes:
        title: What was compared.
        date: When the page was made, such as '2026-01-31'.
        facts: Short phrases: images, observers, networks.
        simulated: How much of it is made up, '' if nothing.
        has_observers: Whether models are compared with observers' answers.
    """

    title: str
    date: str
    facts: tuple[str, ...]
    simulated: str
    has_observers: bool


def write_page(
    study: Study,
    folder: str | pathlib.Path,
    *,
    date: str,
    title: str,
    n_images: int,
    recipe_epochs: Mapping[str, float],
    claims: Sequence[Sequence[str]],
) -> list[Section]:
    """Writes `report.html`, `figures/` and `tables/` into a folder.

    Args:
        study: What is reported.
        folder: Where to write.
        date: Said in the head of the page.
        title: Its title; '' for one that names the models.
        n_images: Most human-unlike images shown of each model.
        recipe_epochs: Epochs of the full recipe of each kind of model, by `config.model.name`.
        claims: Claims that the page judges, see `claims`.

    Returns:
        The sections of the page.
    """
    folder = pathlib.Path(folder)
    options = Options(n_images, recipe_epochs, claims, folder / 'figures')
    made = find_sections(study, options)
    drawn = [block for section in made for block in section.blocks if isinstance(block, Table)]
    tables.write_tables(folder / 'tables', drawn)
    answered = answer.answer(study, options, made)
    storage.write_text(folder / 'report.html', render(study, made, _heading(study, title, date), answered))
    return made


def find_sections(study: Study, options: Options) -> list[Section]:
    """The sections with content in the order of the page: one of each file of `sections/`, and the reading of all."""
    names = sorted(module.name for module in pkgutil.iter_modules(sections.__path__))
    modules = [importlib.import_module(f'{sections.__name__}.{name}') for name in names]
    found = [section for module in modules if (section := module.section(study, options)) is not None]
    found.sort(key=lambda section: section.place)
    summary = reading.section(study, options, found)
    made = [section for section in found if section.blocks] + ([] if summary is None else [summary])
    return sorted(made, key=lambda section: section.place)


def render(study: Study, made: list[Section], heading: Heading, answered: Answer | None = None) -> str:
    """The page's HTML."""
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_template),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    count = itertools.count(1)
    environment.filters.update(
        number=sentences.number,
        origin=origin,
        parts=tables.parts,
        embed=lambda picture: markupsafe.Markup(picture.svg.replace(figures.UNIQUE, f'f{next(count)}-')),
    )
    environment.tests.update(
        table=lambda b: isinstance(b, Table),
        group=lambda b: isinstance(b, Group),
        cards=lambda b: isinstance(b, Cards),
        words=lambda b: isinstance(b, Words),
        passage=lambda b: isinstance(b, Passage),
        score=lambda part: isinstance(part, Entry),
    )
    by_run: dict[str, list[Entry]] = collections.defaultdict(list)
    for entry in study.entries:
        by_run[entry.run].append(entry)
    return environment.get_template('page.html.j2').render(
        heading=heading,
        answer=answered,
        sections=made,
        runs=[(number, _run_facts(run), by_run.get(run.name, [])) for number, run in enumerate(study.runs.values(), 1)],
        run_numbers={name: number for number, name in enumerate(study.runs, 1)},
        cells=lambda entry: _provenance_cells(entry, study.folder),
        dash=numbers.MISSING,
        has_inference=any(any(study.folder.glob(f'{glob.escape(run)}/inference_*.npz')) for run in study.runs),
    )


def origin(entry: Entry) -> str:
    """Where a number comes from, in one line, shown when a pointer is over it."""
    score = entry.score
    parts = [score.name, entry.model]
    for key, what in (('layer', 'layer'), ('pairs', 'pairs'), ('level', 'level'), ('arm', 'arm'), ('fold', 'fold')):
        if entry.get(key) not in (None, ''):
            parts.append(f'{what} {entry.get(key)}')
    parts += [f'n = {score.n}', f'interval: {score.interval}', f'run {entry.run}']
    if entry.simulated:
        parts.append('simulated')
    return '; '.join(filter(None, parts))


def _heading(study: Study, title: str, date: str) -> Heading:
    """The head of the page, from what the scores say."""
    models = study.models
    data = collections.Counter(str(e.get('data')) for e in study.entries if e.get('data'))
    n = study.n_stimuli
    facts = [f'Observers: {", ".join(study.humans)}'] if study.humans else []
    facts += [f'Reference: {", ".join(study.references)}'] if study.references and not study.humans else []
    stimuli = [', '.join(data)] * bool(data) + [f'n = {n}'] * bool(n)
    facts += [f'Stimuli: {", ".join(stimuli)}'] if stimuli else []
    n_runs = len({e.run for e in study.entries})
    facts += [f'Scores: {len(study.entries)} from {n_runs} run{"s" if n_runs > 1 else ""}']
    marked = sum(entry.simulated for entry in study.entries)
    note = ''
    if marked:
        share = 'All scores' if marked == len(study.entries) else f'{marked} of {len(study.entries)} scores'
        what = 'rendered images or on observers that are a program' if study.humans else 'data that a program made'
        note = f'{share} on this page rest on {what}. They say nothing about people.'
    who = 'simulated observers' if marked and study.humans else study.reference
    named = f'{", ".join(models[:-1])} and {models[-1]}' if len(models) > 1 else ''.join(models)
    asked = f'How closely {"does" if len(models) == 1 else "do"} {named or "the models"} agree with {who}?'
    if not study.humans and not study.references:
        asked = f'Scores of {named or "the models"}'
    return Heading(title or asked, date, tuple(facts), note, bool(study.humans))


def _run_facts(run: Run) -> dict[str, Any]:
    """What a run's own files say about how it was made."""
    last = run.starts[-1] if run.starts else {}
    commit = str(last.get('git_commit') or '')
    versions = {name: v for name, v in (last.get('versions') or {}).items() if v}
    return {
        'name': run.name,
        'experiment': str(run.config.get('experiment', '')),
        'commit': commit[:12] + (' with changes' if commit and last.get('git_dirty') else ''),
        'started': str(last.get('started', ''))[:16].replace('T', ' '),
        'seed': run.config.get('seed', last.get('seed', '')),
        'devices': ', '.join(f'{n} × {d}' for d, n in collections.Counter(last.get('devices') or ()).items()),
        'versions': ', '.join(f'{name} {version}' for name, version in versions.items()),
        'epochs': f'{reading.epochs_run(run.config, run.metrics):g}' if 'epochs' in run.config.get('train', {}) else '',
    }


def _provenance_cells(entry: Entry, root: pathlib.Path) -> dict[str, Any]:
    """A row of the provenance table."""
    score = entry.score
    measures = [str(entry.get(key)) for key in ('measure', 'human_measure') if entry.get(key)]
    digest = str(entry.get('stimuli_sha256') or '')
    step = entry.get('checkpoint_step', entry.get('checkpoint'))
    rest = {k: v for k, v in score.provenance.items() if k not in _SHOWN and v not in (None, '')}
    return {
        'value': f'{numbers.value_text(score)} {numbers.interval_text(score)}'.strip(),
        'why': '' if math.isfinite(score.value) else numbers.why_missing(score),
        'ceiling': numbers.ceiling_text(score),
        'layer': str(entry.get('layer') or numbers.MISSING),
        'measure': ' / '.join(measures) or numbers.MISSING,
        'step': numbers.MISSING if step is None else _short(step),
        'stimuli': digest,
        'seed': str(entry.get('seed', numbers.MISSING)),
        'rest': '; '.join(f'{key}: {_short(_inside(value, root))}' for key, value in rest.items()),
    }


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
    text = ', '.join(f'{k} {v}' for k, v in value.items()) if isinstance(value, Mapping) else str(value)
    return text if len(text) <= _LONGEST else f'{text[:_LONGEST]}…'


def _template(name: str) -> str:
    return (importlib.resources.files('humalign_jax.report') / 'templates' / name).read_text(encoding='utf-8')
