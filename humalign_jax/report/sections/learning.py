"""Human learning: how well learners on features predict the choices of people, and the most frequent model."""

import math
from collections.abc import Sequence

import matplotlib.figure
import numpy as np

from humalign_jax.report import conditions, figures, numbers
from humalign_jax.report.columns import Column, table_of
from humalign_jax.report.figures import Group
from humalign_jax.report.plots import bars, style
from humalign_jax.report.section import Block, Main, Options, Section
from humalign_jax.report.sentences import Passage, Sentence, capital, passages_of, say
from humalign_jax.report.study import Entry, Study
from humalign_jax.report.tables import Cell, Row, Table, number_cell

_TITLE = 'Human learning'
_R2, _PXP, _DIFFERENCE = 'learning/mcfadden_r2', 'learning/pxp', 'learning/mcfadden_r2/difference'
_PEOPLE = 'learning/people_accuracy'
_COLUMNS = (
    ('learning/nll', 'NLL, nats a trial', 'smaller'),
    ('learning/accuracy', 'Choices predicted', 'larger'),
    (_R2, 'McFadden’s R2', 'larger'),
    (_PXP, 'PXP', 'none'),
    ('learning/frequency', 'Frequency', 'none'),
    ('learning/pxp_chance', 'PXP against chance', 'none'),
    ('learning/task_accuracy', 'Learner’s own accuracy', 'none'),
)


def section(study: Study, options: Options) -> Section | None:
    """Bars and tables of each set of choices; None without scores."""
    blocks: list[Block] = []
    for number, data in enumerate(_sets(study)):
        for block in (_bars(study, options, data, number), _table(study, data, number)):
            if block is not None:
                blocks.append(block)
    differences = _differences(study)
    blocks += [] if differences is None else [differences]
    if not blocks:
        return None
    data = _sets(study)[0]
    of = {name: entry for name, entry in _of(study, _R2, data).items() if _varies(entry)}
    main = Main(f'McFadden’s R2 of choices ({data})', of, lines={'chance': 0.0})
    return Section(72, 'learning', _TITLE, tuple(blocks), passages(study), main)


def passages(study: Study) -> tuple[Passage, ...]:
    """Which model predicts people's choices best in each task."""
    return passages_of((_TITLE, [sentence for data in _sets(study) for sentence in _best(study, data)]))


def _sets(study: Study) -> list[str]:
    """Names of the sets of choices."""
    return list(dict.fromkeys(str(entry.get('data')) for entry in study.find(_R2)))


def _of(study: Study, name: str, data: str) -> dict[str, Entry]:
    """One score of each model in a set of choices; of networks that differ by their seed the average."""
    found: dict[str, Entry] = {}
    for entry in conditions.averages_and_single(study.find(name, data=data)):
        found.setdefault(entry.model, entry)
    return found


def _rows(found: Sequence[Entry]) -> tuple[list[str], list[str]]:
    """Names of models and of baselines."""
    models = dict.fromkeys(entry.model for entry in found if not entry.is_baseline)
    return list(models), list(dict.fromkeys(entry.model for entry in found if entry.is_baseline))


def _varies(entry: Entry) -> bool:
    """Whether a score has an interval, unlike chance, whose R2 is 0 for everyone."""
    return math.isfinite(entry.score.value) and entry.score.high > entry.score.low


def _bars(study: Study, options: Options, data: str, number: int) -> Group | None:
    """McFadden's R2 of each model with its interval, and its PXP below its name; chance is the line at 0."""
    found = {name: entry for name, entry in _of(study, _R2, data).items() if _varies(entry)}
    if not found:
        return None
    models, baselines = _rows(list(found.values()))
    names, pxp = [*models, *baselines], _of(study, _PXP, data)
    entries = [found[name] for name in names]
    labels = {name: f'{name} (PXP {numbers.text(pxp[name].score.value, 2)})' if name in pxp else name for name in names}
    mark = ' (simulated)' if any(entry.simulated for entry in entries) else ''
    with style.figure_style():
        width = float(np.clip(0.55 * len(names) + 1.4, 3.2, style.PAGE_INCHES))
        figure = matplotlib.figure.Figure(figsize=(width, 3.2), layout='constrained')
        ax = figure.subplots()
        scores, shown = [entry.score for entry in entries], [labels[name] for name in names]
        bars.plot_scores(
            ax, scores, shown, label=f'McFadden’s R2{mark}', baselines=[labels[name] for name in baselines]
        )
        below = style.name_x(ax, range(len(names)), shown, longest=style.LONGEST_NAME_INCHES)
        figure.set_size_inches(width, 2.2 + below)
        alt = f'McFadden’s R2 of choices, {data}: ' + '; '.join(
            f'{labels[entry.model]} {numbers.value_text(entry.score)} {numbers.interval_text(entry.score)}'
            for entry in entries
        )
        stem = f'learning_{number}'
        picture = figures.picture_of(figure, f'{alt}.', title=capital(data))
        figures.save(figure, options.figures, stem)
    caption = (
        f'{capital(data)}: how much better than chance (0) a learner on each model’s features predicts the choices of '
        f'{entries[0].score.n} participants, with 95 % intervals over participants; grey: baselines. PXP: protected '
        'exceedance probability, the probability that a model is more frequent among participants than all others.'
    )
    return Group(stem, caption, (picture,))


def _table(study: Study, data: str, number: int) -> Table | None:
    columns = [Column(head, better, _of(study, name, data)) for name, head, better in _COLUMNS]
    entries = [entry for column in columns for entry in column.of.values()]
    people = _of(study, _PEOPLE, data).get('people')
    notes = [_fitted(entries[0]), *_left_out(entries[0]), *conditions.pooled_note(entries)] if entries else []
    if people is not None:
        share = f'{numbers.value_text(people.score)} {numbers.interval_text(people.score)}'.strip()
        notes.append(f'People’s own choices are right in a share of {share} of trials.')
    caption = f'{capital(data)}: prediction of people’s choices by learners refitted after every trial.'
    return table_of(study, f'learning_{number}', caption, columns, notes, rows=_rows(entries), head='Features')


def _fitted(entry: Entry) -> str:
    """How the numbers were made."""
    learner = 'logistic regression' if entry.get('task') == 'category' else 'Bayesian ridge regression'
    return (
        f'{entry.get("n_participants")} participants, {entry.get("n_trials")} trials. Learner: {learner}. Temperature '
        f'of choices: {entry.get("folds")}-fold cross-validation over each participant’s trials. PXP and frequency: '
        'random-effects model selection among all rows by held-out log likelihood. “true dimension”: the learner sees '
        'the rule’s dimension alone; “true rule”: knows the right answers.'
    )


def _left_out(entry: Entry) -> list[str]:
    reasons = [str(reason) for reason in entry.get('left_out') or ()]
    if not reasons:
        return []
    more = f' and {len(reasons) - 3} more' if len(reasons) > 3 else ''
    return [f'Participants left out: {len(reasons)} ({"; ".join(reasons[:3])}{more}).']


def _differences(study: Study) -> Table | None:
    found = conditions.averages_and_single(study.find(_DIFFERENCE))
    if not found:
        return None
    rows = tuple(
        Row(
            (
                Cell(f'{entry.model} − {entry.get("other")}'),
                Cell(str(entry.get('data'))),
                number_cell(entry),
                Cell(numbers.p_text(entry.get('p'))),
                Cell(numbers.text(float(entry.get('pxp')), 3)),
            )
        )
        for entry in found
    )
    notes = (
        'p: Wilcoxon’s signed-rank test of held-out log likelihoods over participants. PXP: of the first model '
        'against the second alone.',
    )
    heads = ('Features', 'Choices', 'Difference of R2', 'p', 'PXP of two')
    return Table('learning_differences', 'Differences between models over the same participants.', heads, rows, notes)


def _best(study: Study, data: str) -> list[Sentence]:
    """The best model of a set with its interval and PXP."""
    r2, pxp = _of(study, _R2, data), _of(study, _PXP, data)
    models = [entry for entry in r2.values() if not entry.is_baseline and math.isfinite(entry.score.value)]
    if not models:
        return []
    best = max(models, key=lambda entry: entry.score.value)
    verdict = 'better than chance' if best.score.low > 0 else 'not shown to be better than chance'
    parts = [f'In {data}, a learner on the features of {best.model} predicts choices best (McFadden’s R2 ', best]
    parts += [', protected exceedance probability among all models ', pxp[best.model]] if best.model in pxp else []
    return [say(*parts, f'), {verdict}.')]
