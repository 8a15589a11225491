"""Geometry of representations: class separation, dimensionality, CKA with human embeddings, and maps."""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np

from humalign_jax.report import figures, numbers
from humalign_jax.report.columns import Column, table_of
from humalign_jax.report.figures import Group
from humalign_jax.report.plots import dots, maps
from humalign_jax.report.section import Block, Main, Options, Section
from humalign_jax.report.sentences import Passage, Sentence, passages_of, say
from humalign_jax.report.study import Entry, Study
from humalign_jax.report.tables import Cell, Row, Table, number_cell

_TITLE = 'Geometry of representations'
_CKA = 'geometry/cka'
_SEPARATION = 'geometry/class_separation_coarse'
_PARTICIPATION = 'geometry/participation_ratio'
_HEADS = {
    _SEPARATION: 'Class separation, coarse',
    'geometry/class_separation_fine': 'Class separation, fine',
    _PARTICIPATION: 'Participation ratio',
    'geometry/two_nn': 'Intrinsic dimension (TwoNN)',
}
_METHODS = {
    'tsne': ('t-SNE', 'KL', 'kl_nats', 'nats'),
    'mds': ('Classical MDS', 'stress', 'stress', ''),
}  # name, misfit, its key and unit
_FOLDERS = ('', '*/')  # where a run with maps may be


@dataclasses.dataclass(frozen=True)
class _Measure:
    """A measure of geometry: its name on the page, the scores by representation, and the differences."""

    head: str
    of: Mapping[str, Entry]
    differences: Mapping[tuple[str, str], Entry]


def section(study: Study, options: Options) -> Section | None:
    """Dots and a table of all measures, differences, and maps; None without scores and maps."""
    measures = _measures(study)
    found = (_dots(measures, options), _table(study, measures), _differences(measures))
    blocks: list[Block] = [block for block in found if block is not None]
    blocks += _maps(study, options)
    main = next((Main(one.head[:1].lower() + one.head[1:], one.of) for one in measures), None)
    return Section(76, 'geometry', _TITLE, tuple(blocks), passages(study), main) if blocks else None


def passages(study: Study) -> tuple[Passage, ...]:
    """How many representations separate classes more than the reference, and which is closest to people's embedding."""
    return passages_of((_TITLE, [sentence for one in _measures(study) for sentence in _said(one)]))


def _measures(study: Study) -> list[_Measure]:
    """Measures with scores; networks of a group are left out, since the group's mean stands for them."""
    found = []
    for name, head in _HEADS.items():
        found.append(_measure(study, name, head, {}))
    embeddings = dict.fromkeys(str(entry.get('human_embedding')) for entry in study.find(_CKA))
    for embedding in embeddings:
        found.append(_measure(study, _CKA, f'CKA with {embedding}', {'human_embedding': embedding}))
    return [one for one in found if one.of]


def _measure(study: Study, name: str, head: str, where: Mapping[str, str]) -> _Measure:
    of: dict[str, Entry] = {}
    for entry in study.find(name, group=None, **where):
        of.setdefault(_named(entry), entry)
    differences: dict[tuple[str, str], Entry] = {}
    for entry in study.find(f'{name}/difference', group=None, **where):
        differences.setdefault((_named(entry), str(entry.get('other'))), entry)
    return _Measure(head, of, differences)


def _named(entry: Entry) -> str:
    layer = entry.get('layer')
    return f'{entry.model}{f"/{layer}" if layer else ""}'


def _kinds(measures: Sequence[_Measure]) -> dict[str, str]:
    """Representations and what they are: models in the order of their scores, baselines, human embeddings."""
    everyone = {name: entry for one in measures for name, entry in one.of.items()}
    embeddings = {str(entry.get('human_embedding')) for one in measures for entry in one.of.values()}

    def kind(name: str, entry: Entry) -> str:
        return 'human embedding' if name in embeddings else 'baseline' if entry.is_baseline else 'model'

    found = {name: kind(name, entry) for name, entry in everyone.items()}
    order = list(dots.LOOKS)
    return dict(sorted(found.items(), key=lambda item: order.index(item[1])))


def _reference(measures: Sequence[_Measure]) -> str:
    """What most representations are compared with; '' if there are no differences."""
    others = [other for one in measures for _, other in one.differences]
    return max(dict.fromkeys(others), key=others.count, default='')


def _dots(measures: Sequence[_Measure], options: Options) -> Group | None:
    if not measures:
        return None
    kinds, reference = _kinds(measures), _reference(measures)
    entries = [entry for one in measures for entry in one.of.values()]
    mark = ' (simulated)' if any(entry.simulated for entry in entries) else ''
    panels = {f'{one.head}{mark}': {name: e.score for name, e in one.of.items()} for one in measures}
    figure = dots.draw_dots(panels, kinds, reference=reference)
    alt = '. '.join(
        f'{one.head}: '
        + ', '.join(f'{name} {numbers.value_text(one.of[name].score)}' for name in kinds if name in one.of)
        for one in measures
    )
    picture = figures.picture_of(figure, f'{alt}.')
    figures.save(figure, options.figures, 'geometry')
    caption = (
        f'Geometry of {max(entry.score.n for entry in entries)} items in each representation, with 95 % intervals over '
        'items.' + (f' Dashed: {reference}.' if reference else '')
    )
    return Group('geometry', caption, (picture,), layout='wide')


def _table(study: Study, measures: Sequence[_Measure]) -> Table | None:
    columns = [Column(one.head, 'larger' if one.head.startswith('CKA') else 'none', one.of) for one in measures]
    entries = [entry for one in measures for entry in one.of.values()]
    kinds = _kinds(measures)
    rows = (
        [name for name, kind in kinds.items() if kind == 'model'],
        [name for name, kind in kinds.items() if kind != 'model'],
    )
    return table_of(study, 'geometry', 'Geometry of representations.', columns, _notes(entries), rows=rows,
                    head='Representation')  # fmt: skip


def _notes(entries: Sequence[Entry]) -> list[str]:
    notes = [
        'Class separation: 1 − variance within classes over total variance, of features of norm 1. Participation ratio '
        'and TwoNN: effective number of dimensions and intrinsic dimension. CKA: linear.'
    ]
    pooled = max((int(entry.get('n_networks') or 0) for entry in entries), default=0)
    if pooled:
        notes.append(f'Means over networks that differ by their seed (up to {pooled}); intervals are over items.')
    zero = max((int(entry.get('n_zero_vectors') or 0) for entry in entries), default=0)
    if zero:
        notes.append(f'Items whose features are all 0, left out of class separation: {zero}.')
    return notes


def _differences(measures: Sequence[_Measure]) -> Table | None:
    pairs = dict.fromkeys(pair for one in measures for pair in one.differences)
    shown = [one for one in measures if one.differences]
    if not pairs:
        return None
    rows = tuple(
        Row((Cell(f'{name} − {other}'), *(number_cell(one.differences.get((name, other))) for one in shown)))
        for name, other in pairs
    )
    heads = ('Representations', *(one.head for one in shown))
    return Table('geometry_differences', 'Differences of geometry over the same items.', heads, rows)


def _said(one: _Measure) -> list[Sentence]:
    """How many representations lie above and below the reference; for CKA also the closest."""
    reference = _reference([one])
    found = [entry for (_, other), entry in one.differences.items() if other == reference]
    sentences = []
    if one.head.startswith('CKA'):
        models = [entry for entry in one.of.values() if not entry.is_baseline and math.isfinite(entry.score.value)]
        if models:
            best = max(models, key=lambda entry: entry.score.value)
            sentences.append(say(f'{one.head} is largest for {_named(best)}: ', best, '.'))
    if found and reference in one.of:
        more = sum(entry.score.low > 0 for entry in found)
        less = sum(entry.score.high < 0 for entry in found)
        words = f'{one.head} is larger than that of {reference} ('
        counts = f') in {more} of {len(found)} representations and smaller in {less}.'
        sentences.append(say(words, one.of[reference], counts))
    return sentences


def _maps(study: Study, options: Options) -> list[Group]:
    """A figure for each method: the reference first, then models, then human embeddings."""
    found: dict[tuple[str, str], list[tuple[np.ndarray, Mapping]]] = {}
    for folder in _FOLDERS:
        for path, points, sidecar in study.arrays(f'{folder}maps/*.npy'):
            run = path.rsplit('maps/', 1)[0]
            if sidecar.get('method') in _METHODS:
                found.setdefault((run, sidecar['method']), []).append((np.asarray(points), sidecar))
    return [_map(panels, options, number) for number, panels in enumerate(found.values())]


def _map(panels: list[tuple[np.ndarray, Mapping]], options: Options, number: int) -> Group:
    panels = sorted(panels, key=lambda panel: panel[1]['number'])
    said = panels[0][1]
    method, misfit, key, unit = _METHODS[said['method']]
    names = [str(name) for name in said['category_names']]
    labels = np.array([names.index(str(name)) for name in said['categories']])
    mark = ' (simulated)' if said.get('simulated') else ''
    titles = [f'{one["model"]}{mark}\n{misfit} {numbers.text(float(one[key]), 2)}' for _, one in panels]
    figure = maps.draw_maps(
        {title: points for title, (points, _) in zip(titles, panels)}, labels=labels, class_names=names
    )
    models = ', '.join(str(one['model']) for _, one in panels)
    alt = f'{method} maps of {len(labels)} items in {len(names)} categories: {models}.'
    stem = f'geometry_map_{number}'
    picture = figures.picture_of(figure, alt)
    figures.save(figure, options.figures, stem)
    caption = (
        f'{method} of {len(labels)} items by {said["measure"]} distance. Each map is turned or mirrored to lie '
        f'closest to that of {said["aligned_to"]} (Procrustes), and has its size; axes have no meaning. '
        f'{misfit[:1].upper()}{misfit[1:]}: misfit of the map{f", in {unit}" if unit else ""}.'
    )
    return Group(stem, caption, (picture,), layout='wide')
