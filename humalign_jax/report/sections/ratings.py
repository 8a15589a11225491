"""Similarity of image pairs to models, beside people's ratings of the same pairs."""

import math
from collections.abc import Sequence

from humalign_jax import storage
from humalign_jax.report import figures, numbers
from humalign_jax.report.columns import column_of, readable, table_of
from humalign_jax.report.figures import Group
from humalign_jax.report.plots import ratings as plots
from humalign_jax.report.section import Block, Main, Options, Section
from humalign_jax.report.sentences import Part, Passage, Sentence, capital, passages_of, say
from humalign_jax.report.study import Entry, Study
from humalign_jax.report.tables import Cell, Row, Table, number_cell

_SCORES = 'ratings/'
_PEARSON, _WITHOUT = f'{_SCORES}pearson', f'{_SCORES}pearson_without'
_WITHIN_CLASS = f'{_SCORES}within_class_'
_OF_RATERS = ('alpha', 'inter_rater', 'one_against_others', 'spearman_brown')
_TITLE = 'Similarity of pairs and people’s ratings'


def section(study: Study, options: Options) -> Section | None:
    """Scatter plots, pairs, and a table for each measure, of what the experiment `ratings` left; None without any."""
    if not study.find(_PEARSON):
        return None
    tables: list[Table | None] = [
        *(_of_measure(study, measure) for measure in _said(study.find(_PEARSON), 'measure')),
        _reliability(study),
        _of_each_rater(study),
        *(_within_class(study, name) for name in _names(study, _WITHIN_CLASS)),
    ]
    blocks: list[Block] = [*_scatters(study, options), *(t for t in tables if t is not None), *_pairs(study)]
    return Section(80, 'ratings', _TITLE, tuple(blocks), passages(study), _main(study))


def passages(study: Study) -> tuple[Passage, ...]:
    """How well each model's headline layer predicts the ratings of each category, and which pairs decide it."""
    sentences: list[Sentence] = []
    for category in _said(study.find(_PEARSON), 'category'):
        sentences += _about(study, category)
    return passages_of((_TITLE, sentences))


def _main(study: Study) -> Main:
    """Correlation of each model's headline layer in the first category."""
    category = _said(study.find(_PEARSON), 'category')[0]
    of = {entry.model: entry for entry in study.find(_PEARSON, category=category) if entry.get('headline')}
    return Main(f'correlation with mean ratings of {category}', of)


def _about(study: Study, category: str) -> list[Sentence]:
    found = study.find(_PEARSON, category=category)
    heads = [e for e in found if e.get('headline') and not e.is_baseline]
    baselines = [e for e in found if e.get('headline') and e.is_baseline]
    sentences = []
    for entry in heads:
        whose = 'one person' if entry.get('n_raters') == 1 else f'{entry.get("n_raters")} people'
        start = f'Category {category}: {entry.get("measure")} in layer {entry.get("layer")} of {entry.model} has r = '
        parts: list[Part] = [start, entry, f' with the mean rating of {whose}']
        for baseline in baselines:
            parts += [f'; {baseline.model} have ', baseline]
        covers = entry.score.low < 0 < entry.score.high
        parts += ['. The interval covers both signs.' if covers else '.']
        sentences.append(say(*parts))
        left_out = [
            e for e in study.find(_WITHOUT, category=category, model=entry.model, layer=entry.get('layer'))
            if e.get('measure') == entry.get('measure')
        ]  # fmt: skip
        if left_out:
            parts = []
            for one in left_out:
                named = ' and '.join(one.get('without'))
                parts += [f'; without {named} it is ' if parts else f'Without pair {named} r is ', one]
            sentences.append(say(*parts, '.'))
    networks = [e for e in found if not e.is_baseline and math.isfinite(e.score.value)]
    best = max(networks, key=lambda e: e.score.value, default=None)
    if best is not None and len(networks) > 1 and not best.get('headline'):
        where = f'{best.model}, {best.get("layer")}, {best.get("measure")}'
        words = f'The largest of {len(networks)} correlations in category {category} ({where}) is '
        sentences.append(say(words, best, '; chosen afterwards, it is biased upwards.'))
    alpha = next((e for e in study.find(f'{_SCORES}alpha', category=category) if math.isfinite(e.score.value)), None)
    if alpha is not None:
        sentences.append(say(f'Raters of category {category}: reliability of their mean (alpha) ', alpha, '.'))
    return sentences


def _scatters(study: Study, options: Options) -> list[Block]:
    """Headline layers and pixels: a panel for each category, drawn from the arrays of each run."""
    blocks: list[Block] = []
    for run in _runs(study):
        found, rated = study.array(f'{run}/similarities.npy'), study.array(f'{run}/ratings.npy')
        if found is None or rated is None:
            continue
        values, sidecar = found
        scores = [entry.score for entry in study.entries if entry.run == run]
        headlines = [(about, row) for about, row in zip(sidecar['rows'], values) if about['headline']]
        names = storage.file_names([f'{run.lstrip("./")}_{about["model"]}'.lstrip('_') for about, _ in headlines])
        for name, (about, row) in zip(names, headlines):
            net_is = plots.similarity_label(about)
            labels = {'xlabel': net_is, 'ylabel': plots.rating_label(len(rated[0]))}
            panels = plots.panels_of(about, row, rated[0], sidecar, scores)
            pictures = [
                figures.picture_of(plots.draw_scatters([panel], **labels), f'{capital(panel.title)}.')
                for panel in panels
            ]
            figures.save(plots.draw_scatters(panels, **labels), options.figures, f'ratings_{name}')
            caption = (
                f'{net_is}, and the mean rating: a point for each pair, with 95 % intervals over pairs. Orange: the '
                'pairs without which r changes most.'
            )
            blocks.append(Group(f'ratings_{name}', caption, tuple(pictures)))
    return blocks


def _pairs(study: Study) -> list[Block]:
    """Pictures of the rated pairs as they lie in the folders of the runs."""
    blocks: list[Block] = []
    for path in (path for run in _runs(study) for path in sorted((study.folder / run / 'figures').glob('pairs_*.png'))):
        said = storage.read_sidecar(path)
        picture = figures.picture_of_file(path, str(said.get('alt', '')), pixelated=False)
        blocks.append(Group('', f'{said.get("caption", path.stem)}.', (picture,), layout='wide'))
    return blocks


def _runs(study: Study) -> list[str]:
    return list(dict.fromkeys(entry.run for entry in study.find(_PEARSON)))


def _of_measure(study: Study, measure: str) -> Table | None:
    """Layers as rows; Pearson and Spearman with the mean rating as columns, for each category."""
    found = [e for name in ('pearson', 'spearman') for e in study.find(f'{_SCORES}{name}', measure=measure)]
    columns = []
    for category in _said(found, 'category'):
        for name, head in (('pearson', 'r'), ('spearman', 'ρ')):
            of = {_row(e): e for e in study.find(f'{_SCORES}{name}', measure=measure, category=category)}
            columns.append(column_of(f'{category}: {head}', 'larger', of))
    rows = tuple(list(dict.fromkeys(_row(e) for e in found if e.is_baseline == kind)) for kind in (False, True))
    caption = f'Similarity by {measure} and the mean rating, by category: Pearson’s r and Spearman’s ρ.'
    return table_of(study, f'ratings_{measure.lstrip("-")}', caption, columns, rows=(rows[0], rows[1]), head='Layer')


def _reliability(study: Study) -> Table | None:
    """Agreement of the raters, by category."""
    of = {name: study.find(f'{_SCORES}{name}') for name in _OF_RATERS}
    found = [entry for entries in of.values() for entry in entries]
    columns = [
        column_of(category, 'larger', {readable(e.score.name): e for e in found if e.get('category') == category})
        for category in _said(found, 'category')
    ]
    words = {readable(e.score.name): str(e.get('measure')) for e in found}
    caption = 'Agreement of the raters, by category.'
    return table_of(
        study, 'ratings_reliability', caption, columns, rows=([], list(words)), head='Measure', details=words
    )


def _of_each_rater(study: Study) -> Table | None:
    """Pearson's r of headline layers, and of the other raters, with each rater, by category."""
    found = [e for e in study.find(f'{_PEARSON}_rater') if e.get('headline')]
    heads = list(dict.fromkeys((str(e.get('category')), _row(e)) for e in found))
    of = {(str(e.get('category')), _row(e), str(e.get('rater'))): e for e in found}
    categories, rows = _said(found, 'category'), []
    for rater in _said(found, 'rater'):
        cells = [number_cell(of.get((*head, rater))) for head in heads]
        for category in categories:
            one = next((e for e in found if e.get('category') == category and e.get('rater') == rater), None)
            value = math.nan if one is None else one.score.ceiling_lower
            cells.append(Cell(numbers.text(value, 2), entry=one, numbers=(value, math.nan, math.nan)))
        rows.append(Row((Cell(rater), *cells)))
    columns = ('Rater', *(f'{category}: {row}' for category, row in heads), *(f'{c}: other raters' for c in categories))
    caption = 'Pearson’s r with each rater alone, of each model and of the mean of the other raters, by category.'
    return Table('ratings_raters', caption, columns, tuple(rows)) if rows else None


def _within_class(study: Study, name: str) -> Table | None:
    """RDMs of all images of a category against a matrix of ratings."""
    found = study.find(name)
    columns = []
    for category in _said(found, 'category'):
        of = {_row(e): e for e in found if e.get('category') == category}
        n_images = next(iter(of.values())).get('n_images')
        columns.append(column_of(f'{category} ({n_images} images)', 'larger', of))
    rows = tuple(list(dict.fromkeys(_row(e) for e in found if e.is_baseline == kind)) for kind in (False, True))
    index, measure = name.removeprefix(_WITHIN_CLASS).replace('_', ' '), found[0].get('measure')
    caption = f'RDMs ({measure}) of the images of one category and the rating matrix: {index}.'
    return table_of(study, name.replace('/', '_'), caption, columns, rows=(rows[0], rows[1]), head='Layer')


def _row(entry: Entry) -> str:
    """Name of a row: the model with its layer, or the baseline."""
    return entry.model if entry.is_baseline else f'{entry.model}, {entry.get("layer")}'


def _said(entries: Sequence[Entry], key: str) -> list[str]:
    """What the scores say under a key, each once, in their order."""
    return list(dict.fromkeys(str(entry.get(key)) for entry in entries))


def _names(study: Study, beginning: str) -> list[str]:
    return list(dict.fromkeys(e.score.name for e in study.entries if e.score.name.startswith(beginning)))
