"""Meta-learned features: each condition beside its base in every task, and differences between conditions."""

import dataclasses
import math
from collections.abc import Iterator, Sequence

from humalign_jax.records import Score
from humalign_jax.report import conditions, figures, learned_functions, numbers, reading
from humalign_jax.report.conditions import Condition, TaskScores
from humalign_jax.report.figures import Group
from humalign_jax.report.plots import conditions as plots
from humalign_jax.report.section import Block, Main, Options, Section, Words
from humalign_jax.report.sentences import Part, Passage, Sentence, capital, passages_of, say
from humalign_jax.report.study import Entry, Study
from humalign_jax.report.tables import Cell, Row, Table, number_cell

_TITLE = 'Meta-learned features'
_RELATIONS = ('above', 'below', 'not shown to differ from')
_DIFFERS = (
    'A condition differs from the reference where the interval of the difference leaves out 0; intervals are not '
    'corrected for their number.'
)


def section(study: Study, options: Options) -> Section | None:
    """Scores of every task, differences, and what was learned of functions; None without conditions or functions."""
    tasks = conditions.tasks(study)
    blocks: list[Block] = [*_scores(study, options, tasks), *_differences(study, options, tasks), *_tables(tasks)]
    blocks += [*learned_functions.tables(study)]
    if not blocks:
        return None
    about = [Words(words) for words in _evidence(study, options)]
    return Section(68, 'meta-learned', _TITLE, (*about, *blocks), passages(study), _main(tasks))


def passages(study: Study) -> tuple[Passage, ...]:
    """Whether the first condition is above its base and above the other conditions, in each task."""
    tasks = conditions.tasks(study)
    sentences = [sentence for task in tasks for sentence in _said(study, task)]
    if any(task.has_networks for task in tasks) and sentences:
        sentences.append(say('These intervals do not cover the choice of the seed: compare the networks themselves.'))
    sentences += [say(words) for words in _levels(study)] if sentences else []
    return passages_of((_TITLE, sentences))


def _main(tasks: Sequence[TaskScores]) -> Main | None:
    """The first task; None without tasks."""
    if not tasks:
        return None
    task = tasks[0]
    of = {row.name: row.entry for row in (*task.base, *task.conditions)}
    return Main(f'{task.measure} ({task.title})', of, lines={'chance': task.chance})


def _scores(study: Study, options: Options, tasks: Sequence[TaskScores]) -> Iterator[Group]:
    """A panel for each task."""
    panels = []
    for number, task in enumerate(tasks):
        rows = (*task.base, *task.conditions)
        marks = [_mark(task, row, is_base=row in task.base) for row in rows]
        label = task.measure + ', %' * task.percent + study.mark
        chance = 100 * task.chance if task.percent else task.chance
        figure = plots.draw_conditions(marks, label=label, chance=chance, heads=_heads(task))
        places = 1 if task.percent else 3
        alt = f'{task.title}, {label}: ' + '; '.join(
            f'{mark.name} {numbers.text(mark.score.value, places)}'
            + f' (PXP {", ".join(filter(None, mark.notes))})' * bool(mark.notes)
            for mark in marks
        )
        panels.append(figures.picture_of(figure, f'{alt}.', title=task.title))
        figures.save(figure, options.figures, f'conditions_{number}')
    if panels:
        yield Group('', _caption(tasks), tuple(panels))


def _mark(task: TaskScores, row: Condition, *, is_base: bool) -> plots.Mark:
    notes: tuple[str, ...] = ()
    if _heads(task):
        notes = (numbers.text(row.pxp.score.value, 2) if row.pxp is not None else '',)
        notes += tuple(_pair_pxp(row, base) for base in task.base)
    networks = tuple(_scaled(task, entry.score).value for entry in row.networks) if len(row.networks) > 1 else ()
    return plots.Mark(row.name, _scaled(task, row.entry.score), networks, notes, is_base)


def _heads(task: TaskScores) -> tuple[str, ...]:
    """Heads of the probabilities: among all models, and against each base alone."""
    if not any(row.pxp is not None for row in task.conditions):
        return ()
    return ('PXP\nof all', *(f'PXP to\n{base.name}' for base in task.base))


def _pair_pxp(row: Condition, base: Condition) -> str:
    value = row.less[base.name].get('pxp') if base.name in row.less else None
    return '' if value is None else numbers.text(float(value), 2)


def _probability(entry: Entry | None) -> Cell:
    if entry is None:
        return number_cell(None)
    value = entry.score.value
    return Cell(numbers.text(value, 2), entry=entry, numbers=(value, math.nan, math.nan))


def _scaled(task: TaskScores, score: Score) -> Score:
    """Shares in percent."""
    if not task.percent:
        return score
    ends = ('value', 'low', 'high', 'ceiling_lower', 'ceiling_upper')
    return dataclasses.replace(score, **{end: 100 * getattr(score, end) for end in ends})


def _caption(tasks: Sequence[TaskScores]) -> str:
    over = dict.fromkeys(_over(task) for task in tasks)
    words = [
        'Each condition beside the features that it was made from (square; dashed line).',
        f'95 % intervals over {" or ".join(over)}' + (
            ', of the mean over networks; small points: networks that differ by their seed. Intervals do not cover the '
            'choice of the seed.' if any(task.has_networks for task in tasks) else '.'
        ),
    ]  # fmt: skip
    ceilings = [row.entry.score for task in tasks for row in task.conditions]
    if any(math.isfinite(score.ceiling_lower) for score in ceilings):
        words.append('Band: from the lower to the upper noise ceiling, where repeated trials give one.')
    n = max(task.n_compared for task in tasks)
    if n:
        words.append(
            f'PXP: protected exceedance probability, the probability that a model is more frequent among participants '
            f'than each of the others: of all {n} models, baselines and chance among them, and of a condition against '
            'its base alone.'
        )
    return ' '.join(words)


def _differences(study: Study, options: Options, tasks: Sequence[TaskScores]) -> Iterator[Group]:
    """What each condition adds to the base, and how it differs from the first; a panel for each task and reference."""
    pictures = []
    wanted = [(place, number) for number, task in enumerate(tasks) for place in range(len(task.references))]
    for place, number in sorted(wanted):  # all differences to the base, then all to the first condition
        task, reference = tasks[number], tasks[number].references[place]
        found = {
            row.name: _scaled(task, row.less[reference.name].score) if reference.name in row.less else None
            for row in task.conditions
        }
        unit = ', percentage points' if task.percent else ''
        label = f'difference of {task.measure} to {reference.name}{unit}{study.mark}'
        figure = plots.draw_differences(list(found.values()), list(found), label=label)
        title = f'{task.title}: less {reference.name}'
        alt = f'{title}, {label}: ' + '; '.join(
            f'{name} {numbers.value_text(score)} {numbers.interval_text(score)}'
            for name, score in found.items()
            if score is not None
        )
        pictures.append(figures.picture_of(figure, f'{alt}.', title=title))
        figures.save(figure, options.figures, f'ablations_{number}_{place}')
    if pictures:
        over = dict.fromkeys(_over(task) for task in tasks)
        caption = (
            f'Differences of each condition on the same trials or participants, with 95 % intervals over '
            f'{" or ".join(over)}. {_DIFFERS}'
        )
        yield Group('', caption, tuple(pictures))


def _over(task: TaskScores) -> str:
    return str(task.conditions[0].entry.get('over') or 'participants')


def _tables(tasks: Sequence[TaskScores]) -> Iterator[Table]:
    """Scores and differences of each task."""
    for number, task in enumerate(tasks):
        pxp_heads = [head.replace('\n', ' ') for head in _heads(task)]
        heads = ['Condition', capital(task.measure), *(f'Less {one.name}' for one in task.references)]
        heads += ['Networks', *pxp_heads]
        rows = []
        for row in (*task.base, *task.conditions):
            cells = [Cell(row.name), number_cell(row.entry)]
            cells += [
                number_cell(row.less[one.name]) if one.name in row.less else Cell(numbers.MISSING)
                for one in task.references
            ]
            values = [entry.score.value for entry in row.networks]
            spread = ', '.join(numbers.text(value, 3) for value in values)
            cells += [Cell(str(row.entry.get('n_networks', numbers.MISSING)), spread if len(values) > 1 else '')]
            if pxp_heads:
                pairs = [_pair_pxp(row, base) for base in task.base]
                cells += [_probability(row.pxp), *(Cell(pair or numbers.MISSING) for pair in pairs)]
            rows.append(Row(tuple(cells), 'baseline' if row in task.base else 'model'))
        notes = [f'Chance: {numbers.text(task.chance, 3)}. 95 % intervals over {_over(task)}. {_DIFFERS}']
        yield Table(f'conditions_{number}', f'{task.title}: conditions.', tuple(heads), tuple(rows), tuple(notes))


def _evidence(study: Study, options: Options) -> list[str]:
    """How much these numbers can show: simulated or reduced runs, and what the scores say themselves."""
    networks = {entry.run: entry for entry in study.find(learned_functions.ACCURACY)}
    order = conditions.in_order(study, list({conditions.condition_of(entry) for entry in networks.values()}))
    lines = []
    if study.simulated:
        lines.append('Some or all of these numbers rest on simulated data, and say nothing about people.')
    sizes: dict[str, list[str]] = {}
    for run, entry in sorted(networks.items(), key=lambda item: order.index(conditions.condition_of(item[1]))):
        config = study.runs[run].config
        if 'epochs' not in config.get('train', {}):
            continue
        most, n = float(config['train']['epochs']), config.get('episodes', {}).get('per_epoch')
        words = f'{reading.epochs_run(config, study.runs[run].metrics):g} of at most {most:g} epochs' + (
            f' of {n:,} examples'.replace(',', '\u00a0') if n else ''
        )
        full = options.recipe_epochs.get(str(config.get('model', {}).get('name', '')))
        if full is not None and most < full:
            words += f', a reduced run (its recipe has {full:g} epochs)'
        names = sizes.setdefault(words, [])
        names += [name for name in [conditions.condition_of(entry)] if name not in names]
    if sizes:
        lines.append('Training: ' + '; '.join(f'{", ".join(names)}: {words}' for words, names in sizes.items()) + '.')
    return [*lines, *_levels(study)]


def _levels(study: Study) -> list[str]:
    """What scores say about their own level of evidence."""
    said = dict.fromkeys(str(entry.get('evidence')) for entry in study.entries if entry.get('evidence'))
    return [f'Level of evidence: {words.rstrip(".")}.' for words in said]


def _said(study: Study, task: TaskScores) -> list[Sentence]:
    """The first condition against the base, then those without episodes and the others against the first."""
    first, sentences = task.conditions[0], []
    values = ', '.join(numbers.text(entry.score.value, 3) for entry in first.networks)
    networks = f'; networks: {values}' if len(first.networks) > 1 else ''
    without = {
        row.name for row in task.conditions for name in learned_functions.without_episodes(study) if _is_of(row, name)
    }
    for base in task.base:
        if base.name in first.less:
            difference, pxp = first.less[base.name], _pair_pxp(first, base)
            words = (
                f'{task.title}: {first.name} ({task.measure} ',
                f'{networks}) is {_relation(difference)} {base.name} (',
            )
            end = f', protected exceedance probability of the two {pxp}.' if pxp else '.'
            sentences.append(say(words[0], first.entry, words[1], base.entry, '); difference ', difference, end))
    others = [row for row in task.conditions[1:] if first.name in row.less]
    for row in others:
        if row.name in without:
            difference = row.less[first.name]
            words = f'{task.title}: {row.name}, which learns no function in context, is {_relation(difference)} '
            sentences.append(say(f'{words}{first.name} (difference ', difference, ').'))
    for kind in _RELATIONS:
        rows = [row for row in others if row.name not in without and _relation(row.less[first.name]) == kind]
        parts: list[Part] = []
        for row in rows:
            parts += [f'{row.name} (difference ', row.less[first.name], '), ']
        if parts:
            sentences.append(say(f'{task.title}: {kind} {first.name}: ', *parts[:-1], ').'))
    return sentences


def _is_of(row: Condition, name: str) -> bool:
    """Whether a row is a condition or one of its further layers, `<condition>-<layer>`."""
    return row.entry.model == name or row.entry.model.startswith(f'{name}-')


def _relation(difference: Entry) -> str:
    """What the interval of a difference shows."""
    score = difference.score
    if score.low > 0:
        return _RELATIONS[0]
    return _RELATIONS[1] if score.high < 0 else _RELATIONS[2]
