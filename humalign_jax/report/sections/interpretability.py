"""Interpretability Index: distributions over units by condition, tests between conditions, and most exciting images."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import matplotlib.figure
import numpy as np

from humalign_jax import storage
from humalign_jax.report import figures, numbers
from humalign_jax.report.columns import column_of, table_of
from humalign_jax.report.figures import Group
from humalign_jax.report.plots import meis as plots
from humalign_jax.report.plots import style
from humalign_jax.report.section import Block, Main, Options, Section
from humalign_jax.report.sentences import Passage, Sentence, passages_of, say
from humalign_jax.report.study import Entry, Study
from humalign_jax.report.tables import Cell, Row, Table, number_cell

_PREFIX = 'interpretability/'
_TITLE = 'Interpretability of units'
_INDICES = {  # score after the prefix: head; the preferred first
    'ii_lpips': 'II by LPIPS',
    'ii_own_features': 'II by own features',
    'ii_reference_features': 'II by reference features',
    'ii_colour': 'II by colour',
    'ii_label': 'II by label',
}
_WORDS = (
    'The Interpretability Index (II) of a unit is the mean similarity of its most exciting images over distinct pairs: '
    'larger is more interpretable. Dead units, whose largest activation is not positive, are left out.'
)
_ABOUT_UNITS = (
    'A difference over matched units is that of two networks; it says nothing about others of their conditions, as '
    'networks that differ by their seed alone may differ as clearly.'
)


def section(study: Study, options: Options) -> Section | None:
    """Distributions, tables and sheets of each layer; None without scores."""
    blocks: list[Block] = []
    for number, key in enumerate(_sets(study)):
        blocks += [*_distributions(study, options, key, number), *_networks(study, key, number)]
        blocks += [*_conditions(study, key, number), *_differences(study, key, number)]
    blocks += _sheets(study)
    main = None
    for key in _sets(study)[:1]:
        index = _index(study, key)
        label = f'{_INDICES[index]}, {_about(key)}'
        main = Main(label, {entry.model: entry for entry in _find(study, index, key)})
    return Section(94, 'interpretability', _TITLE, tuple(blocks), passages(study), main) if blocks else None


def passages(study: Study) -> tuple[Passage, ...]:
    """How the preferred index differs between conditions, and what it is."""
    sentences = [sentence for key in _sets(study)[:1] for sentence in _compared(study, key)]
    if _sets(study):
        sentences.append(say(_WORDS))
    return passages_of((_TITLE, sentences))


def _sets(study: Study) -> list[tuple[str, str, str]]:
    """(layer, directions, mode) of the scores, in the order in which they were written."""
    found = [entry for entry in study.entries if entry.score.name in {_PREFIX + name for name in _INDICES}]
    return list(dict.fromkeys(tuple(str(e.get(k)) for k in ('layer', 'directions', 'mode')) for e in found))  # type: ignore[misc]


def _find(study: Study, name: str, key: tuple[str, str, str], **where: Any) -> list[Entry]:
    layer, directions, mode = key
    return study.find(_PREFIX + name, layer=layer, directions=directions, mode=mode, **where)


def _about(key: tuple[str, str, str]) -> str:
    layer, directions, mode = key
    return f'{directions} of {layer}, maps by {mode}'


def _index(study: Study, key: tuple[str, str, str]) -> str:
    """The preferred index that there are scores of."""
    return next(name for name in _INDICES if _find(study, name, key))


def _values(study: Study, entry: Entry, key: tuple[str, str, str]) -> np.ndarray | None:
    """II of a network's units that are not dead, by the preferred index; None if its array is missing."""
    measure = str(entry.get('measure'))
    found = study.array(f'{entry.run}/{entry.model}/{key[1]}_{key[2]}.npy')
    if found is None:
        return None
    values, sidecar = found
    columns = dict(zip(sidecar['values'], np.asarray(values).T))
    distance = columns[f'{measure}_mean'][columns['dead'] == 0]
    return 1.0 - distance if measure == 'label' else -distance


def _distributions(study: Study, options: Options, key: tuple[str, str, str], number: int) -> Iterator[Group]:
    """The distribution over units by condition."""
    index, by_condition = _index(study, key), {}
    entries = _find(study, index, key)
    for entry in entries:
        values = _values(study, entry, key)
        if values is not None and len(values):
            by_condition.setdefault(str(entry.get('condition')), []).append(values)
    if not by_condition:
        return
    mark = ' (simulated)' if any(entry.simulated for entry in entries) else ''
    with style.figure_style():
        figure = matplotlib.figure.Figure(figsize=(style.COLUMN_INCHES, 2.6), layout='constrained')
        ax = figure.subplots()
        label = f'{_INDICES[index]} ({entries[0].get("unit")}){mark}'
        plots.plot_distributions(ax, by_condition, label=style.wrapped(label, style.COLUMN_INCHES - 0.6))
        style.legend_below(figure, ax)
    means = '; '.join(f'{entry.model} {numbers.value_text(entry.score)}' for entry in entries)
    stem = f'interpretability_{number}'
    picture = figures.picture_of(figure, f'{_INDICES[index]} of {_about(key)}: means {means}.', title=_about(key))
    figures.save(figure, options.figures, stem)
    caption = (
        f'{_INDICES[index]} of {_about(key)}: cumulative distribution over units, a line for each network; dotted: '
        'mean of a condition. Farther to the right is more interpretable.'
    )
    yield Group(stem, caption, (picture,))


def _networks(study: Study, key: tuple[str, str, str], number: int) -> Iterator[Table]:
    """A row for each network."""
    heads = {**_INDICES, **_psychophysics(study, key), 'lpips_seed_compat': 'LPIPS, self pairs included'}
    columns = [column_of(head, 'none', {e.model: e for e in _find(study, name, key)}) for name, head in heads.items()]
    entries = _find(study, _index(study, key), key)
    details = {
        e.model: f'{e.get("condition")}; sd {numbers.text(float(e.get("sd") or math.nan), 3)}, n = {e.score.n} units, '
        f'{e.get("n_dead")} dead, {e.get("n_tied")} tied'
        for e in entries
    }
    notes = [
        f'Brackets: 95 % intervals over units. sd and n: {_INDICES[_index(study, key)]}. Tied: another image excites '
        'the unit as much as the last of the most exciting ones.'
    ]
    if any(head.startswith('Psychophysics') for head in heads.values()):
        notes.append('Psychophysics: probability of the right one of two images; chance is 0.5.')
    caption = f'Interpretability of {_about(key)}.'
    rows = ([entry.model for entry in entries], [])
    table = table_of(
        study, f'interpretability_{number}', caption, columns, notes, details=details, rows=rows, head='Network'
    )
    if table is not None:
        yield table


def _psychophysics(study: Study, key: tuple[str, str, str]) -> dict[str, str]:
    """Heads of the scores of machine psychophysics."""
    found = {}
    for entry in study.entries:
        name = entry.score.name.removeprefix(_PREFIX)
        measure = str(entry.get('measure')).replace('_', ' ').replace('lpips', 'LPIPS')
        is_one = name.startswith('psychophysics/') and name.count('/') == 2
        if is_one and _find(study, name, key) and f'ii_{entry.get("measure")}' == _index(study, key):
            found[name] = f'Psychophysics by {measure}, quantile {entry.get("quantile"):g}'
    return found


def _conditions(study: Study, key: tuple[str, str, str], number: int) -> Iterator[Table]:
    """Means over the networks of each condition, where a condition has several."""
    columns = []
    for name, head in {**_INDICES, **_psychophysics(study, key)}.items():
        columns.append(column_of(head, 'none', {e.model: e for e in _find(study, f'{name}/condition', key)}))
    entries = _find(study, f'{_index(study, key)}/condition', key)
    if not any(entry.score.n > 1 for entry in entries):
        return
    details = {
        e.model: f'sd {numbers.text(float(e.get("sd") or math.nan), 3)}, n = {e.score.n} networks' for e in entries
    }
    notes = [f'Brackets: 95 % intervals over networks. sd and n: {_INDICES[_index(study, key)]}.']
    caption = f'Conditions: means over networks, {_about(key)}.'
    rows = ([entry.model for entry in entries], [])
    stem = f'interpretability_conditions_{number}'
    table = table_of(study, stem, caption, columns, notes, details=details, rows=rows, head='Condition')
    if table is not None:
        yield table


def _differences(study: Study, key: tuple[str, str, str], number: int) -> Iterator[Table]:
    """Differences between conditions with their tests."""
    rows = []
    for name, head in {**_INDICES, **_psychophysics(study, key)}.items():
        for kind in ('condition_difference', 'difference'):
            for entry in _find(study, f'{name}/{kind}', key):
                rows.append(_difference_row(entry, head))
    if rows:
        heads = ('Difference', 'Measure', 'Mean', 'n', 'Wilcoxon', 'Paired t', 'Cohen’s dz', 'Cohen’s d', 'ANOVA')
        notes = (
            'Over networks: each pair of networks counts once. Over units: units of the same number in two networks '
            'are matched; a test over units says nothing about other networks. dz: mean over standard deviation of the '
            'differences; d: over that of the values. ANOVA: one-way, which takes all units as independent. p values '
            'are not corrected for the number of tests.',
        )
        caption = f'Differences between conditions, {_about(key)}.'
        yield Table(f'interpretability_differences_{number}', caption, heads, tuple(rows), notes)


def _difference_row(entry: Entry, head: str) -> Row:
    def number(name: str) -> Cell:
        value = entry.get(name)
        return Cell(numbers.MISSING if value is None else numbers.text(float(value), 2))

    f, p = entry.get('anova_f'), entry.get('anova_p')
    anova = Cell(numbers.MISSING) if f is None else Cell(f'F = {numbers.text(float(f), 1)}', numbers.p_text(p))
    return Row(
        (
            Cell(f'{entry.model} − {entry.get("other")}'),
            Cell(head),
            number_cell(entry),
            Cell(f'{entry.score.n} {entry.get("over")}'),
            Cell(numbers.p_text(entry.get('p_wilcoxon'))),
            Cell(numbers.p_text(entry.get('p_t'))),
            number('cohen_dz'),
            number('cohen_d'),
            anova,
        )
    )


def _compared(study: Study, key: tuple[str, str, str]) -> Iterator[Sentence]:
    """Whether a condition is more interpretable than the other, by the preferred index."""
    index = _index(study, key)
    found = _find(study, f'{index}/condition_difference', key)
    over_networks = [e for e in found if e.score.n > 1]
    over_units = [] if over_networks else _find(study, f'{index}/difference', key)
    for entry in over_networks or over_units:
        if entry.score.low > 0 or entry.score.high < 0:
            verdict = f'{"more" if entry.score.low > 0 else "less"} interpretable'
        else:
            verdict = 'not shown to differ in interpretability'
        words = f'{entry.model} against {entry.get("other")} ({_about(key)}): {_INDICES[index]} differs by '
        yield say(words, entry, f' over {entry.score.n} {entry.get("over")}: {verdict}.')
    if over_units:
        yield say(_ABOUT_UNITS)


def _sheets(study: Study) -> Iterator[Group]:
    """Sheets of most exciting images, a group for each kind of direction and mode."""
    groups: dict[tuple[str, str, str], list[figures.Picture]] = {}
    runs: Sequence[str] = list(dict.fromkeys(e.run for e in study.entries if e.score.name.startswith(_PREFIX)))
    for run in runs:
        for path in sorted((study.folder / run).glob('*/figures/meis_*.json')):
            said, image = storage.read_json(path), path.with_suffix('.png')
            if said.get('picture') != 'meis' or not image.is_file():
                continue
            alt = f'Most exciting images of units {", ".join(map(str, said["units"]))} of {said["model"]}.'
            key = (str(said['layer']), str(said['directions']), str(said['mode']))
            groups.setdefault(key, []).append(figures.picture_of_file(image, alt, pixelated=False))
    for key, pictures in groups.items():
        caption = (
            f'Most exciting images, {_about(key)}: the units whose images are most alike, then those whose images are '
            'least alike, with the mean distance of their images. The most exciting image is at the left.'
        )
        yield Group('', caption, tuple(pictures))
