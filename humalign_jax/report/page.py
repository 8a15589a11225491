"""One self-contained HTML page of a study: no network, no scripts to fetch, readable on a phone."""

import collections
import dataclasses
import glob
import importlib
import importlib.resources
import itertools
import json
import pathlib
import pkgutil
from collections.abc import Mapping, Sequence
from typing import Any

import jinja2
import markupsafe

import humalign_jax
from humalign_jax import storage
from humalign_jax.report import answer, figures, numbers, provenance, reading, sections, sentences, tables
from humalign_jax.report.answer import Answer
from humalign_jax.report.figures import Group
from humalign_jax.report.loading import load_study
from humalign_jax.report.section import Cards, Gallery, Options, Section, Words
from humalign_jax.report.sentences import Passage
from humalign_jax.report.study import Entry, Study
from humalign_jax.report.tables import Table

_LAYERS, _N_IMAGES = ('penultimate', 'mu', 'probs'), 12  # as in configs/report.py


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
    """Writes `report.html`, `scores.json`, `figures/` and `tables/` into a folder.

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
    heading, answered = _heading(study, title, date), answer.answer(study, options, made)
    scores = provenance.data(study, heading.title, date)
    storage.write_json(folder / 'scores.json', scores)
    storage.write_text(folder / 'report.html', render(study, made, heading, answered, scores))
    return made


def write_run_page(folder: str | pathlib.Path, *, date: str) -> pathlib.Path:
    """Writes the page of one run, or of a study, into its folder `report/`; returns the page's path.

    Settings are those of configs/report.py, without lengths of recipes and without claims.

    Raises:
        ValueError: The folder holds no scores, or a file of it is damaged.
    """
    folder = pathlib.Path(folder)
    study = load_study(folder, layers=_LAYERS)
    write_page(study, folder / 'report', date=date, title='', n_images=_N_IMAGES, recipe_epochs={}, claims=())
    return folder / 'report' / 'report.html'


def find_sections(study: Study, options: Options) -> list[Section]:
    """The sections with content in the order of the page: one of each file of `sections/`, and the reading of all."""
    names = sorted(module.name for module in pkgutil.iter_modules(sections.__path__))
    modules = [importlib.import_module(f'{sections.__name__}.{name}') for name in names]
    found = [section for module in modules if (section := module.section(study, options)) is not None]
    found.sort(key=lambda section: section.place)
    summary = reading.section(study, options, found)
    made = [section for section in found if section.blocks] + ([] if summary is None else [summary])
    return sorted(made, key=lambda section: section.place)


def render(
    study: Study,
    made: list[Section],
    heading: Heading,
    answered: Answer | None = None,
    scores: Mapping[str, Any] | None = None,
) -> str:
    """The page's HTML, with the scores of `provenance.data` inside it."""
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
        gallery=lambda b: isinstance(b, Gallery),
        words=lambda b: isinstance(b, Words),
        passage=lambda b: isinstance(b, Passage),
        score=lambda part: isinstance(part, Entry),
    )
    common, found = provenance.sources(study)
    return environment.get_template('page.html.j2').render(
        heading=heading,
        answer=answered,
        sections=made,
        common=common,
        sources=found,
        data=markupsafe.Markup(json.dumps(scores or {}, ensure_ascii=False).replace('<', '\\u003c')),
        version=humalign_jax.__version__,
        commit=common.get('Git commit', ''),
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


def _template(name: str) -> str:
    return (importlib.resources.files('humalign_jax.report') / 'templates' / name).read_text(encoding='utf-8')
