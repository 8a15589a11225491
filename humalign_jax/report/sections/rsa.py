"""Representational similarity: models beside the reference, layer by layer, and which models differ."""

import math
from collections.abc import Sequence

import numpy as np

from humalign_jax.records import Score
from humalign_jax.report import claims, figures, numbers, relations, similarities
from humalign_jax.report.columns import column_of, table_of
from humalign_jax.report.figures import Group
from humalign_jax.report.plots import bars, style, trends
from humalign_jax.report.section import PANEL_INCHES, Block, Main, Options, Section
from humalign_jax.report.sentences import Part, Passage, Sentence, capital, listed, passages_of, say
from humalign_jax.report.similarities import PAIRS
from humalign_jax.report.study import Entry, Study
from humalign_jax.report.tables import Cell, Row, Table, number_cell

SAME = 'same category'  # the baseline that knows the category and nothing else


def section(study: Study, options: Options) -> Section | None:
    """Bars, layer profiles and tables of the RSA scores; None if there are none."""
    if not study.index:
        return None
    found: tuple[Block | None, ...] = (
        _bars(study, options),
        _layer_profile(study, options),
        _table(study),
        _table_of_differences(study),
    )
    blocks = tuple(block for block in found if block is not None)
    of = similarities.by_model(study, study.models + study.baselines, 'all')
    main = Main(f'{similarities.index_text(study)} with {study.reference_title}', of)
    return Section(30, 'rsa', 'Representational similarity', blocks, passages(study, options), main)


def passages(study: Study, options: Options) -> tuple[Passage, ...]:
    """What the scores say: plainly, beyond the category, of pairs of models, and of the claims of the config."""
    beyond = [*_beyond_category(study, 'within'), *_beyond_category(study, 'partial')]
    return (
        *passages_of(
            ('Plain agreement, and what the category alone gives', [*_plain_scores(study), *_against_same(study)]),
            ('Once the category is accounted for', beyond),
            ('Which models differ', _which_differ(study)),
        ),
        *claims.judged(study, options.claims),
    )


def _bars(study: Study, options: Options) -> Group | None:
    """Models and baselines, one panel for each kind of pairs."""
    panels = []
    for pairs, what in PAIRS.items():
        entries = similarities.defined(study, study.models + study.baselines, pairs)
        if not entries:
            continue
        figure = bars.draw_scores(
            [e.score for e in entries],
            [e.model for e in entries],
            label=f'{similarities.index_text(study)}{study.mark}',
            by_subject=study.by_subject(entries),
            p_differences=_p_matrix(study, [e.model for e in entries], pairs),
            baselines=[e.model for e in entries if e.is_baseline],
            width=PANEL_INCHES[0],
        )
        spoken = ', '.join(f'{e.model} {numbers.value_text(e.score)}' for e in entries)
        alt = f'Bars of the {similarities.index_text(study)} with {study.reference} over {what}: {spoken}.'
        panels.append(figures.picture_of(figure, alt, title=capital(what)))
        figures.save(figure, options.figures, f'rsa_{pairs}')
    if not panels:
        return None
    shown = [e for pairs in PAIRS for e in study.find(f'rsa/{study.index}', pairs=pairs)]
    parts = [f'Each model beside {study.reference}: {similarities.measured(study)}; models blue']
    parts += ['baselines grey'] if any(e.is_baseline for e in shown) else []
    parts += ['the noise ceiling as a band'] if any(math.isfinite(e.score.ceiling_upper) for e in shown) else []
    caption = f'{", ".join(parts)}.'
    if any(math.isfinite(e.score.low) for e in shown):
        caption += (
            ' A strong mark in the row “above 0” says that the 95 % interval drawn lies above 0; it is no other test.'
        )
    if any(study.differences(pairs=pairs) for pairs in PAIRS):
        caption += (
            ' In each row below it, the ring is a model, and strong marks are the models that differ from it (p below '
            '0.05, corrected for all pairs of models); faint marks are models not shown to differ from it.'
        )
    return Group('rsa_all', caption, tuple(panels))


def _p_matrix(study: Study, models: Sequence[str], pairs: str) -> np.ndarray | None:
    """Family-wise p value of the difference of each pair of models, [m, m], NaN where none was tested."""
    tested = study.differences(pairs=pairs)
    if not tested:
        return None
    matrix = np.full((len(models), len(models)), np.nan)
    for entry in tested:
        names = (entry.model, str(entry.get('other')))
        if set(names) <= set(models):
            i, j = models.index(names[0]), models.index(names[1])
            matrix[i, j] = matrix[j, i] = relations.family_wise_p(entry)
    return matrix


def _layer_profile(study: Study, options: Options) -> Group | None:
    """A panel for each network over its own layers, one figure for each kind of pairs."""
    panels = []
    for pairs, what in PAIRS.items():
        lines: dict[str, dict[str, Score]] = {}
        for model in study.models:
            layers = dict.fromkeys(str(e.get('layer', '')) for e in study.find(f'rsa/{study.index}', model=model))
            found = {layer: study.rsa(model, pairs=pairs, layer=layer) for layer in layers}
            lines[model] = {k: e.score for k, e in found.items() if e is not None and math.isfinite(e.score.value)}
        lines = {model: scores for model, scores in lines.items() if scores}
        if max(map(len, lines.values()), default=0) < 2:
            continue
        baselines = {e.model: e.score.value for e in similarities.defined(study, study.baselines, pairs)}
        index = similarities.index_text(study)
        figure = trends.draw_layer_profile(lines, label=f'{index}, {what}{study.mark}', baselines=baselines)
        alt = f'{index} with {study.reference} over {what}, by layer: ' + '; '.join(
            f'{model}: ' + ', '.join(f'{place} {numbers.text(s[place].value, 2)}' for place in s)
            for model, s in lines.items()
        )
        with style.figure_style():
            panels.append(figures.picture_of(figure, f'{alt}.', title=capital(what)))
            figures.save(figure, options.figures, f'layers_{pairs}')
    if not panels:
        return None
    caption = (
        f'Layer profile: agreement with {study.reference} layer by layer, with 95 % intervals and the noise ceiling in '
        'grey; dashed lines are baselines. Each network has an axis of its own: layers at the same place in two panels '
        'do not correspond.'
    )
    return Group('layers_all', caption, tuple(panels), layout='wide')


def _table(study: Study) -> Table | None:
    """RSA scores by kind of pairs, of images and of class means."""
    rows, columns = study.models + study.baselines, []
    for level, start in (('image', ''), ('class', 'pairs of class means: ')):
        for pairs, what in PAIRS.items():
            head = 'pairs of class means' if level == 'class' and pairs == 'all' else f'{start}{what}'
            of = similarities.by_model(study, rows, pairs, level)
            columns.append(column_of(capital(head), 'larger', of, shares=True))
    caption = f'Representational similarity with {study.reference} ({similarities.measured(study)}).'
    return table_of(study, 'rsa', caption, columns, details={model: study.main_layer(model) for model in study.models})


def _table_of_differences(study: Study) -> Table | None:
    """Differences between models, with corrected p values; None if none was tested."""
    rows = []
    for pairs, what in PAIRS.items():
        for entry in study.differences(pairs=pairs):
            heads = (Cell(f'{entry.model} − {entry.get("other")}'), Cell(what))
            p_values = [_p_cell(entry.get(key)) for key in ('p', 'p_fwer', 'p_fdr')]
            rows.append(Row((*heads, number_cell(entry), *p_values)))
    if not rows:
        return None
    return Table(
        'rsa_differences',
        f'Differences between models: {similarities.measured(study)}.',
        ('Models', 'Pairs', 'Difference', 'p', 'p, family-wise', 'p, false discovery'),
        tuple(rows),
        ('Corrected p values: over all pairs of models of one kind of pairs.',),
    )


def _p_cell(p: object) -> Cell:
    p = float(p) if isinstance(p, int | float) else math.nan
    return Cell(numbers.p_text(p).removeprefix('p ').removeprefix('= '), numbers=(p, math.nan, math.nan))


def _plain_scores(study: Study) -> list[Sentence]:
    scored = similarities.defined(study, study.models, 'all')
    if not scored:
        return []
    top = max(scored, key=lambda e: e.score.value)
    layer = f' (layer {top.get("layer")})' if top.get('layer') else ''
    words = (
        f'Over all {"" if study.compares_features else "pairs of "}stimuli, {top.model}{layer} has the highest '
        f'{similarities.index_text(study)} with {study.reference}, '
    )
    has_ceiling = math.isfinite(top.score.ceiling_upper)
    return [say(words, top, f', {similarities.share_of_ceiling(top)}.' if has_ceiling else '.')]


def _against_same(study: Study) -> list[Sentence]:
    """Which models are above the baseline that knows the category alone."""
    baseline = study.rsa(SAME, pairs='all')
    if baseline is None:
        return []
    sentences = [
        say(
            'A baseline that only knows whether two stimuli have the same category scores ',
            baseline,
            ' by the same measure: a model that knows the category of every stimulus, and nothing else, reaches this.',
        )
    ]
    groups: dict[str, list[Entry]] = {'above': [], 'below': [], relations.UNDECIDED: []}
    for entry in similarities.defined(study, study.models, 'all'):
        groups[relations.relation(study, entry, baseline, pairs='all')].append(entry)
    for relation, entries in groups.items():
        if entries:
            sentences.append(say(f'{capital(relation)} this baseline: ', *listed(entries), '.'))
    return sentences


def _beyond_category(study: Study, pairs: str) -> list[Sentence]:
    scored = similarities.defined(study, study.models, pairs)
    what = {
        'within': 'Among pairs of stimuli of one category, where the category can play no part',
        'partial': 'With the category partialled out of both sides',
    }[pairs]
    left = [e for e in scored if e.score.low > 0]
    gone = [e for e in scored if e.score.low <= 0]
    sentences = []
    if left:
        sentences.append(say(f'{what}, agreement remains for ', *listed(left), '.'))
    ceilings = [e for e in left if math.isfinite(e.score.ceiling_upper)]
    if ceilings:
        top = max(ceilings, key=lambda e: e.score.value)
        sentences.append(say(f'The largest score, that of {top.model}, is {similarities.share_of_ceiling(top)}.'))
    if gone:
        sentences.append(say(f'{what}, no agreement above zero was shown for ', *listed(gone), '.'))
    for baseline in similarities.defined(study, study.baselines, pairs) if left or gone else ():
        sentences.append(say(f'The baseline {baseline.model} scores ', baseline, ' on the same pairs.'))
    return sentences


def _which_differ(study: Study) -> list[Sentence]:
    """Pairs of networks by the family-wise p value of their difference."""
    sentences = []
    for pairs, what in {
        'all': 'All pairs',
        'within': 'Pairs of one category',
        'partial': 'Category partialled out',
    }.items():
        tested = [
            e
            for e in study.differences(pairs=pairs)
            if {e.model, e.get('other')} <= set(study.models)
            and math.isfinite(relations.family_wise_p(e))
            and math.isfinite(e.score.value)
        ]
        for entry in (e for e in tested if relations.family_wise_p(e) < relations.ALPHA):
            first, second = entry.model, str(entry.get('other'))
            upper, lower = (first, second) if entry.score.value > 0 else (second, first)
            parts: tuple[Part, ...] = (
                f'{what}: {upper} is above {lower} (difference {first} − {second}: ',
                *(entry, f'; {relations.p_words(entry)}).'),
            )
            sentences.append(say(*parts))
        others = [f'{e.model} and {e.get("other")}' for e in tested if relations.family_wise_p(e) >= relations.ALPHA]
        if others:
            sentences.append(say(f'{what}: no difference was shown between {"; ".join(others)}.'))
    return sentences
