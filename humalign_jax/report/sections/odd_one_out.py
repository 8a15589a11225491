"""Odd-one-out choices: how often representations make the choices that people make, and how well they predict them."""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import matplotlib.figure
import numpy as np

from humalign_jax.records import Score
from humalign_jax.report import conditions, figures, numbers
from humalign_jax.report.columns import Column, table_of
from humalign_jax.report.figures import Group
from humalign_jax.report.plots import bars, style
from humalign_jax.report.section import Block, Main, Options, Section
from humalign_jax.report.sentences import Passage, Sentence, capital, listed, passages_of, say
from humalign_jax.report.study import Entry, Study
from humalign_jax.report.tables import Cell, Row, Table, number_cell

_TITLE = 'Odd-one-out choices'
_ACCURACY, _NLL, _R2 = 'odd_one_out/accuracy', 'odd_one_out/nll', 'odd_one_out/mcfadden_r2'
_ALL = 'all'
_COLUMNS = ((_ACCURACY, 'Accuracy', 'larger'), (_NLL, 'NLL, nats', 'smaller'), (_R2, 'McFadden’s R2', 'larger'))


def section(study: Study, options: Options) -> Section | None:
    """Bars, a table of all trials, one of each kind of trial, and differences; None without scores."""
    blocks: list[Block] = []
    for human in _people(study):
        for block in (_bars(study, options, human), _table(study, human), _kinds(study, human)):
            if block is not None:
                blocks.append(block)
    differences = _differences(study)
    blocks += [] if differences is None else [differences]
    if not blocks:
        return None
    of = _scores(study, _ACCURACY, _people(study)[0])
    main = Main(f'odd-one-out accuracy ({_people(study)[0]})', of, lines={'chance': _chance(of)} if of else {})
    return Section(70, 'odd-one-out', _TITLE, tuple(blocks), passages(study), main)


def passages(study: Study) -> tuple[Passage, ...]:
    """Which representations are above chance, and which is best."""
    return passages_of((_TITLE, [sentence for human in _people(study) for sentence in _said(study, human)]))


def _people(study: Study) -> list[str]:
    """Whose choices there are scores of."""
    return list(dict.fromkeys(str(entry.get('human')) for entry in study.find(_ACCURACY)))


def _scores(study: Study, name: str, human: str, trials: str = _ALL) -> dict[str, Entry]:
    """One score of each representation and measure, over participants where they are known; networks on average."""
    found: dict[str, Entry] = {}
    entries = conditions.averages_and_single(study.find(name, human=human, trials=trials))
    for entry in sorted(entries, key=lambda e: e.get('over') != 'participants'):
        found.setdefault(_named(entry), entry)
    return dict(sorted(found.items(), key=lambda item: item[1].number))


def _named(entry: Entry) -> str:
    """Model, layer and measure of a score."""
    layer, measure = entry.get('layer'), entry.get('measure')
    return f'{entry.model}{f"/{layer}" if layer else ""}{f", {measure}" if measure else ""}'


def _rows(found: Sequence[Mapping[str, Entry]]) -> tuple[list[str], list[str]]:
    """Names of models and of baselines, in the order of their scores."""
    everyone = {name: entry for of in found for name, entry in of.items()}
    return [name for name, e in everyone.items() if not e.is_baseline], [
        name for name, e in everyone.items() if e.is_baseline
    ]


def _bars(study: Study, options: Options, human: str) -> Group | None:
    """Accuracy of each representation with its interval, chance as a line and the noise ceiling as a band."""
    found = {name: e for name, e in _scores(study, _ACCURACY, human).items() if math.isfinite(e.score.value)}
    if not found:
        return None
    models, baselines = _rows([found])
    names = [*models, *baselines]
    percent = [_in_percent(found[name]) for name in names]
    chance, mark = _chance(found), ' (simulated)' if any(e.simulated for e in found.values()) else ''
    label = f'odd-one-out accuracy, %{mark}'
    with style.figure_style():
        width = float(np.clip(0.45 * len(names) + 1.4, 3.0, style.PAGE_INCHES))
        figure = matplotlib.figure.Figure(figsize=(width, 3.2), layout='constrained')
        ax = bars.plot_scores(figure.subplots(), percent, names, label=label, baselines=baselines)
        ax.axhline(100 * chance, color='black', linewidth=0.8, linestyle='--', label=f'chance, {100 * chance:.1f} %')
        style.legend_below(figure, ax)
        below = style.name_x(ax, range(len(names)), names, longest=style.LONGEST_NAME_INCHES)
        figure.set_size_inches(width, 2.3 + below)
        alt = f'Odd-one-out accuracy against {human}, in percent, chance {100 * chance:.1f}: ' + '; '.join(
            f'{name} {numbers.text(score.value, 1)}' for name, score in zip(names, percent)
        )
        picture = figures.picture_of(figure, f'{alt}.')
        stem = f'odd_one_out_{_people(study).index(human)}'
        figures.save(figure, options.figures, stem)
    caption = (
        f'Share of trials ({human}) in which the item outside a representation’s most similar pair is the one that was '
        f'chosen; nothing is fitted. 95 % intervals over {next(iter(found.values())).get("over")}; dashed: chance.'
    )
    return Group(stem, caption, (picture,), layout='wide' if len(names) > 6 else 'panels')


def _in_percent(entry: Entry) -> Score:
    ends = ('value', 'low', 'high', 'ceiling_lower', 'ceiling_upper')
    return dataclasses.replace(entry.score, **{end: 100 * getattr(entry.score, end) for end in ends})


def _chance(found: Mapping[str, Entry]) -> float:
    return float(next(iter(found.values())).get('chance'))


def _table(study: Study, human: str) -> Table | None:
    columns = [Column(head, better, _scores(study, name, human)) for name, head, better in _COLUMNS]
    entries = [entry for column in columns for entry in column.of.values()]
    if not entries:
        return None
    chance = _chance(columns[0].of) if columns[0].of else 1 / 3
    notes = [
        f'Chance: accuracy {chance:.3f}, NLL {math.log(1 / chance):.3f} nats, McFadden’s R2 0. Accuracy is '
        'zero-shot; tied items share the credit.',
        *_fitted(columns[1].of),
        *conditions.pooled_note(entries),
        *_left_out(entries),
    ]
    rows = _rows([column.of for column in columns])
    stem = f'odd_one_out_{_people(study).index(human)}'
    return table_of(study, stem, f'Odd-one-out choices: {human}.', columns, notes, rows=rows, head='Representation')


def _fitted(found: Mapping[str, Entry]) -> list[str]:
    """How the choice model was fitted."""
    entry = next(iter(found.values()), None)
    if entry is None:
        return []
    whose = 'each participant' if entry.get('temperature_per') == 'participant' and entry.get('n_fitted', 1) > 1 else ''
    return [
        'NLL and R2: softmax over the three similarities with a temperature, and position biases where the order of '
        f'presentation is known, fitted to {whose or "all trials"} in {entry.get("folds")}-fold cross-validation and '
        'scored on held-out trials.'
    ]


def _left_out(entries: Sequence[Entry]) -> list[str]:
    """Trials and participants that the scores leave out."""
    lines = []
    for key, words in (
        ('n_left_out_few_trials', 'Participants with too few trials for the choice model'),
        ('n_left_out_one_place', 'Participants who always chose the same place, left out of the choice model'),
        ('n_trials_unknown_stimuli', 'Trials left out because a representation lacks their stimuli'),
        ('n_zero_vectors', 'Stimuli with a vector of zeros in a representation, whose similarities count as 0'),
    ):
        most = max((int(entry.get(key) or 0) for entry in entries), default=0)
        lines += [f'{words}: {most}.'] if most else []
    return lines


def _kinds(study: Study, human: str) -> Table | None:
    """Accuracy by kind of trial, where there are several."""
    kinds = dict.fromkeys(str(e.get('trials')) for e in study.find(_ACCURACY, human=human))
    columns = [
        Column(capital(kind.replace('_', ' ')), 'larger', _scores(study, _ACCURACY, human, kind))
        for kind in kinds
        if kind != _ALL
    ]
    rows = _rows([column.of for column in columns])
    stem = f'odd_one_out_kinds_{_people(study).index(human)}'
    return table_of(
        study, stem, f'Accuracy by kind of trial: {human}.', columns, rows=rows, head='Representation'
    )  # None without kinds


def _differences(study: Study) -> Table | None:
    found: dict[tuple[str, str], Entry] = {}
    entries = conditions.averages_and_single(study.find(f'{_ACCURACY}/difference', trials=_ALL))
    for entry in sorted(entries, key=lambda e: e.get('over') != 'participants'):
        found.setdefault((_named(entry), str(entry.get('other'))), entry)
    if not found:
        return None
    rows = tuple(
        Row((Cell(f'{name} − {other}'), number_cell(entry), Cell(str(entry.get('over')))))
        for (name, other), entry in found.items()
    )
    heads = ('Representations', 'Difference of accuracy', 'Interval over')
    return Table('odd_one_out_differences', 'Differences of odd-one-out accuracy on the same trials.', heads, rows)


def _said(study: Study, human: str) -> list[Sentence]:
    """Representations above chance, and the best of them."""
    found = _scores(study, _ACCURACY, human)
    models = [e for e in found.values() if not e.is_baseline and math.isfinite(e.score.low)]
    if not models:
        return []
    chance = _chance(found)
    above = [e for e in models if e.score.low > chance]
    best = max(models, key=lambda e: e.score.value)
    words = f'{len(above)} of {len(models)} representations agree with {human} more often than chance'
    sentences = [say(f'{words} ({chance:.3f}); the most accurate is {_named(best)}, ', best, '.')]
    ceiling = best.score.ceiling_lower
    if math.isfinite(ceiling):
        relation = 'below' if best.score.high < ceiling else 'not shown to be below'
        sentences.append(say(f'It is {relation} the lower noise ceiling of {ceiling:.3f}.'))
    references = [e for e in found.values() if e.is_baseline and e.get('trained_on')]
    if references:
        sentences.append(say('Embeddings trained on such choices reach ', *listed(references), '.'))
    return sentences
