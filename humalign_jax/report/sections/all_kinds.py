"""The sections of a study's page: tables, figures and words, each present only if its data are there."""

import dataclasses
import glob
import pathlib
from collections.abc import Callable, Mapping, Sequence

import matplotlib.figure
import numpy as np
import scipy.stats

from humalign_jax import storage
from humalign_jax.records import Rdm, Score
from humalign_jax.report import comparisons, figures, images, numbers, reading
from humalign_jax.report.comparisons import index_text
from humalign_jax.report.figures import Group, Picture
from humalign_jax.report.plots import bars, confusion, curves, rdms, style, trends
from humalign_jax.report.study import Entry, Study
from humalign_jax.report.tables import Table

_METRICS = {
    'loss': 'loss',
    'accuracy': 'accuracy',
    'l1': 'L1 (sum over pixel values)',
    'kl': 'KL (nats)',
}
_WATCHED = {
    'rsa': 'RSA with people',
    'rsa_partial': 'RSA, category partialled out',
    'cross_entropy': 'cross-entropy to people (nats)',
}
_PICTURES = ('reconstructions', 'samples', 'interpolations', 'traversals', 'dimensions')  # in this order
PANEL_INCHES = (3.5, 2.7)


@dataclasses.dataclass(frozen=True)
class Cards:
    """Images on which one model is least like people."""

    model: str
    unlike: tuple[images.Unlike, ...]
    measure: str


@dataclasses.dataclass(frozen=True)
class Words:
    """A paragraph, or a heading of the third level."""

    text: str
    is_heading: bool = False


Block = Table | Group | Cards | Words | reading.Passage


@dataclasses.dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        anchor: Its place in the page.
        title: Its heading.
        blocks: What it holds, in order.
    """

    anchor: str
    title: str
    blocks: tuple[Block, ...]


@dataclasses.dataclass(frozen=True)
class Options:
    """What a page shows.

    Attributes:
        n_images: Most human-unlike images of each model.
        recipe_epochs: Epochs of the full recipe of each kind of model, by `config.model.name`.
        claims: Beginnings of the names of two models, of which the first is said to agree more with people.
        figures: Folder for PDF and PNG files.
    """

    n_images: int
    recipe_epochs: Mapping[str, float]
    claims: Sequence[tuple[str, str]]
    figures: pathlib.Path


def make_sections(study: Study, options: Options) -> list[Section]:
    """All sections that the study has data for, drawing their figures on the way."""
    makers: tuple[tuple[str, str, Callable[[Study, Options], list[Block]]], ...] = (
        ('headline', 'Headline table', _headline),
        ('reading', 'What the numbers say', _reading),
        ('rsa', 'Representational similarity', _rsa),
        ('rdms', 'Dissimilarity matrices', _rdms),
        ('confusions', 'Confusions and errors', _confusions),
        ('soft-labels', 'Probabilities beside people’s answers', _soft_labels),
        ('images', 'Most human-unlike images', _images),
        ('training-on-people', 'Training on people’s answers', _arms),
        ('vae', 'What the VAE keeps', _vae),
        ('training', 'Training curves', _training),
    )
    sections = []
    for anchor, title, make in makers:
        blocks = make(study, options)
        if blocks:
            sections.append(Section(anchor, title, tuple(blocks)))
    return sections


def tables_of(sections: Sequence[Section]) -> list[Table]:
    """Every table of the page, in order."""
    return [block for section in sections for block in section.blocks if isinstance(block, Table)]


def _headline(study: Study, options: Options) -> list[Block]:
    table = comparisons.headline(study)
    return [] if table is None else [table]


def _reading(study: Study, options: Options) -> list[Block]:
    return [*reading.read(study, options.recipe_epochs, options.claims)]


def _rsa(study: Study, options: Options) -> list[Block]:
    if not study.index:
        return []
    blocks: list[Block] = [group for group in (_rsa_bars(study, options), _layer_profile(study, options)) if group]
    return blocks + [table for table in (comparisons.rsa(study), comparisons.differences(study)) if table is not None]


def _rsa_bars(study: Study, options: Options) -> Group | None:
    """Models and baselines, one panel for each kind of pairs."""
    panels = []
    for pairs, what in comparisons.PAIRS.items():
        found = [study.rsa(model, pairs=pairs) for model in study.models + study.anchors]
        entries = [e for e in found if e is not None and np.isfinite(e.score.value)]
        if not entries:
            continue
        figure = bars.draw_scores(
            [e.score for e in entries],
            [e.model for e in entries],
            label=f'{index_text(study)}{_mark(study)}',
            by_subject=study.by_subject(entries),
            p_differences=_p_matrix(study, [e.model for e in entries], pairs),
            baselines=[e.model for e in entries if e.is_anchor],
            width=PANEL_INCHES[0],
        )
        alt = f'Bars of the {index_text(study)} with {study.reference} over {what}: {_spoken(entries)}.'
        panels.append(figures.picture_of(figure, alt, title=_capital(what)))
        figures.save(figure, options.figures, f'rsa_{pairs}')
    if not panels:
        return None
    shown = [e for pairs in comparisons.PAIRS for e in study.find(f'rsa/{study.index}', pairs=pairs)]
    parts = [f'Each model beside {study.reference}: {comparisons.measured(study)}; models blue']
    parts += ['baselines grey'] if any(e.is_anchor for e in shown) else []
    parts += ['the noise ceiling as a band'] if any(np.isfinite(e.score.ceiling_upper) for e in shown) else []
    caption = f'{", ".join(parts)}.'
    if any(np.isfinite(e.score.low) for e in shown):
        caption += (
            ' A dark mark in the row “above 0” says that the 95 % interval drawn lies above 0; it is no other test.'
        )
    if any(study.differences(pairs=pairs) for pairs in comparisons.PAIRS):
        caption += (
            ' In each row below it, the ring is a model, and dark marks are the models that differ from it (p below '
            '0.05, corrected for all pairs of models); pale marks were not shown to.'
        )
    return Group('rsa_all', caption, tuple(panels))


def _p_matrix(study: Study, models: Sequence[str], pairs: str) -> np.ndarray | None:
    tested = study.differences(pairs=pairs)
    if not tested:
        return None
    matrix = np.full((len(models), len(models)), np.nan)  # NaN: not tested
    for entry in tested:
        names, p = (entry.model, str(entry.get('other'))), entry.get('p_fwer')
        if set(names) <= set(models) and isinstance(p, int | float):
            i, j = models.index(names[0]), models.index(names[1])
            matrix[i, j] = matrix[j, i] = p
    return matrix


def _layer_profile(study: Study, options: Options) -> Group | None:
    """A panel for each network over its own layers, one figure for each kind of pairs."""
    panels = []
    for pairs, what in comparisons.PAIRS.items():
        lines: dict[str, dict[str, Score]] = {}
        for model in study.models:
            layers = dict.fromkeys(str(e.get('layer', '')) for e in study.find(f'rsa/{study.index}', model=model))
            found = {layer: study.rsa(model, pairs=pairs, layer=layer) for layer in layers}
            lines[model] = {k: e.score for k, e in found.items() if e is not None and np.isfinite(e.score.value)}
        lines = {model: scores for model, scores in lines.items() if scores}
        if max(map(len, lines.values()), default=0) < 2:
            continue
        baselines = {}
        for name in study.anchors:
            entry = study.rsa(name, pairs=pairs)
            if entry is not None and np.isfinite(entry.score.value):
                baselines[name] = entry.score.value
        label = f'{index_text(study)}, {what}{_mark(study)}'
        figure = trends.draw_layer_profile(lines, label=label, baselines=baselines)
        alt = f'{index_text(study)} with {study.reference} over {what}, by layer: ' + '; '.join(
            f'{model}: ' + ', '.join(f'{place} {numbers.text(s[place].value, 2)}' for place in s)
            for model, s in lines.items()
        )
        with style.figure_style():
            panels.append(figures.picture_of(figure, f'{alt}.', title=_capital(what)))
            figures.save(figure, options.figures, f'layers_{pairs}')
    if not panels:
        return None
    caption = (
        f'Layer profile: agreement with {study.reference} layer by layer, with 95 % intervals and the noise ceiling in '
        'grey; dashed lines are baselines. Each network has an axis of its own: layers at the same place in two panels '
        'do not correspond.'
    )
    return Group('layers_all', caption, tuple(panels), layout='wide')


def _rdms(study: Study, options: Options) -> list[Block]:
    """RDMs that runs left for display, by level, as ranks so that they share limits; then the map of the reference."""
    blocks: list[Block] = []
    for level in ('class', 'image'):
        files = list(study.arrays(f'human_rsa/rdm_{level}_*.npy'))
        if level == 'image':
            files += [found for run in study.runs for found in study.arrays(f'{glob.escape(run)}/display/rdm_*.npy')]
        if not files:
            continue
        found = [_rdm_of(values, sidecar, _people(study)) for _, values, sidecar in files]
        found.sort(key=lambda item: item[0].name != _people(study))
        ranked = [
            (dataclasses.replace(rdm, values=_percentiles(rdm.values)), labels, names) for rdm, labels, names in found
        ]
        panels = []
        for rdm, labels, names in ranked:
            with style.figure_style():
                figure = matplotlib.figure.Figure(figsize=(3.5, 3.0), layout='constrained')
                ax = rdms.plot_rdm(figure.subplots(), rdm, labels=labels, class_names=names, limits=(0.0, 1.0))
                bar = figure.colorbar(ax.images[0], ax=ax, shrink=0.8, aspect=25)
                bar.set_label('rank of dissimilarity, 0 to 1')
                bar.outline.set_visible(False)
                ax.set_title('')
                panels.append(figures.picture_of(figure, _rdm_alt(rdm, names, level), title=rdm.name))
        combined = rdms.draw_rdms(
            [item[0] for item in ranked],
            labels=ranked[0][1],
            class_names=ranked[0][2],
            ranks=True,
            unit='dissimilarity, 0 to 1',
        )
        figures.save(combined, options.figures, f'rdms_{level}')
        what = 'class means'
        if level == 'image':
            n_cells, n = max((len(values), int(sidecar.get('n', len(values)))) for _, values, sidecar in files)
            what = f'{n} stimuli'
            what += ', sorted by category' if ranked[0][1] is not None else ''
            what += ' and averaged in blocks' if n > n_cells else ''
        caption = (
            f'Dissimilarities of {what}{_mark(study)}: each matrix as ranks from 0 (most alike) to 1 (least alike) of '
            'its own pairs, so that all share one colour scale; the diagonal is left white.'
        )
        blocks.append(Words({'class': 'Classes', 'image': 'Stimuli'}[level], is_heading=True))
        blocks.append(Group(f'rdms_{level}', caption, tuple(panels)))
    return blocks + _maps(study, options)


def _maps(study: Study, options: Options) -> list[Block]:
    """Stimuli as points, where a run left their places."""
    blocks: list[Block] = []
    for i, run in enumerate(study.runs):
        found = study.array(f'{run}/figures/map.npy')
        if found is None:
            continue
        points, sidecar = np.asarray(found[0]), found[1]
        names, labels = (), None
        if sidecar.get('categories'):
            names, labels = np.unique([str(name) for name in sidecar['categories']], return_inverse=True)
        figure = rdms.draw_map(points, labels=labels, class_names=list(map(str, names)))
        with style.figure_style():
            of = f', of {len(names)} categories' if len(names) else ''
            alt = f'{len(points)} stimuli as points of a plane{of}.'
            picture = figures.picture_of(figure, alt)
            figures.save(figure, options.figures, f'map_{i}' if i else 'map')
        caption = (
            f'Map of {len(points)} stimuli by {study.reference}{_mark(study)}, {sidecar.get("method", "a plane")}: '
            'stimuli that are near each other are alike. Only distances mean anything, and two dimensions show them in '
            'part.'
        )
        blocks += [Words('Map', is_heading=True), Group('map', caption, (picture,))]
    return blocks


def _rdm_of(values: np.ndarray, sidecar: Mapping, reference: str) -> tuple[Rdm, np.ndarray | None, tuple[str, ...]]:
    """An RDM of class means, condensed, or of stimuli in blocks, square; its categories, and their names."""
    names = tuple(str(name) for name in sidecar.get('class_names') or ())
    labels = None
    if values.ndim == 2:
        if names:
            labels = np.array([names.index(str(name)) for name in sidecar['classes']])
        ids = np.array([f'block {i}' for i in range(len(values))])
        values = np.asarray(values)[np.triu_indices(len(values), 1)]
    else:
        labels, ids = np.arange(len(names)), np.array(names)
    model = str(sidecar.get('model', ''))
    layer = f', {sidecar["layer"]}' if sidecar.get('layer') not in (None, '', model) else ''
    name = reference if model == 'human' or sidecar.get('is_reference') else f'{model}{layer}'
    return Rdm(np.asarray(values, np.float64), ids, name, str(sidecar.get('measure', ''))), labels, names


def _percentiles(values: np.ndarray) -> np.ndarray:
    """Average ranks scaled to [0, 1]; NaN stays."""
    ranks = scipy.stats.rankdata(values, nan_policy='omit')
    return (ranks - 1.0) / max(np.isfinite(values).sum() - 1.0, 1.0)


def _rdm_alt(rdm: Rdm, names: Sequence[str], level: str) -> str:
    what = (
        f'Heat map of the dissimilarities of {len(rdm.ids)} {"classes" if level == "class" else "stimuli"}: {rdm.name}'
    )
    if level != 'class' or len(names) != len(rdm.ids):
        return f'{what}.'
    first, second = np.triu_indices(len(names), 1)
    low, high = int(np.nanargmin(rdm.values)), int(np.nanargmax(rdm.values))
    return (
        f'{what}. Most alike: {names[first[low]]} and {names[second[low]]}; least alike: {names[first[high]]} and '
        f'{names[second[high]]}.'
    )


def _confusions(study: Study, options: Options) -> list[Block]:
    """People and each model side by side: all answers, then errors alone."""
    blocks: list[Block] = []
    for stem, human_stem, title, what in (
        ('confusion', 'human_confusion', 'Answers', 'share of the true class'),
        ('errors', 'human_errors', 'Errors alone', 'share of the true class, errors alone'),
    ):
        matrices: dict[str, np.ndarray] = {}
        class_names: list[str] = []
        for model in study.models:
            for name, file in ((_people(study), human_stem), (model, stem)):
                found = study.array(f'alignment/{model}/{file}.npy')
                if found is not None and name not in matrices:
                    matrices[name] = np.asarray(found[0], np.float64)
                    class_names = class_names or [str(c) for c in found[1].get('class_names', ())]
        if not matrices:
            continue
        k = len(next(iter(matrices.values())))
        class_names = class_names or [str(i) for i in range(k)]
        limits = (0.0, max(float(np.nanmax(matrix)) for matrix in matrices.values()) or 1.0)
        panels = []
        for name, matrix in matrices.items():
            with style.figure_style():
                figure = matplotlib.figure.Figure(figsize=(3.5, 3.4), layout='constrained')
                confusion.plot_confusion(figure.subplots(), matrix, class_names, limits=limits)
            panels.append(figures.picture_of(figure, _confusion_alt(name, matrix, class_names), title=name))
        combined = confusion.draw_confusions(list(matrices.values()), list(matrices), class_names, what=what)
        figures.save(combined, options.figures, stem)
        caption = {
            'confusion': 'How often each true class (rows) was called each class (columns), in per cent; all panels '
            'share one colour scale.',
            'errors': 'The same without the diagonal, so that errors can be seen; all panels share one colour scale.',
        }[stem]
        blocks += [Words(title, is_heading=True), Group(stem, caption, tuple(panels))]
    return blocks


def _confusion_alt(name: str, matrix: np.ndarray, class_names: Sequence[str]) -> str:
    off = np.where(np.eye(len(matrix), dtype=bool), -np.inf, np.nan_to_num(matrix))
    top = [np.unravel_index(i, off.shape) for i in np.argsort(-off, axis=None)[:3]]
    listed = ', '.join(f'{class_names[i]} as {class_names[j]} {100 * off[i, j]:.1f} %' for i, j in top)
    return f'Heat map of the answers of {name}; the largest confusions are {listed}.'


def _soft_labels(study: Study, options: Options) -> list[Block]:
    """Further scores of the probabilities, and accuracy where people are sure and where they are not."""
    blocks: list[Block] = []
    more = comparisons.more_soft_labels(study)
    if more is not None:
        blocks.append(more)
    table = comparisons.uncertainty(study)
    if table is None:
        return blocks
    bins = [column.removesuffix('\u00a0↑') for column in table.columns[1:]]
    lines = {
        row.cells[0].text: {
            place: cell.entry.score for place, cell in zip(bins, row.cells[1:]) if cell.entry and cell.numbers
        }
        for row in table.rows
        if row.kind != 'ceiling'
    }
    lines = {model: scores for model, scores in lines.items() if scores}
    with style.figure_style():
        figure = matplotlib.figure.Figure(figsize=(4.4, 3.2), layout='constrained')
        trends.plot_lines(
            figure.subplots(),
            lines,
            label=f'accuracy{_mark(study)}',
            places=bins,
            xlabel='how uncertain people are',
            show_ceiling=False,
        )
        style.legend_below(figure, figure.axes[0])
        alt = 'Accuracy by how uncertain people are: ' + '; '.join(
            f'{model}: ' + ', '.join(f'{place} {numbers.text(score.value, 2)}' for place, score in scores.items())
            for model, scores in lines.items()
        )
        picture = figures.picture_of(figure, f'{alt}.')
        figures.save(figure, options.figures, 'uncertainty')
    caption = 'Accuracy where people agree and where they do not, with 95 % intervals.'
    return [
        *blocks,
        Words('By people’s uncertainty', is_heading=True),
        Group('uncertainty', caption, (picture,)),
        table,
    ]


def _images(study: Study, options: Options) -> list[Block]:
    blocks: list[Block] = []
    for model in study.models:
        unlike = images.most_unlike(study, model, options.n_images)
        if unlike:
            blocks.append(Cards(model, tuple(unlike), unlike[0].measure))
    if blocks and not any(u.picture for block in blocks if isinstance(block, Cards) for u in block.unlike):
        blocks.insert(0, Words('Their pixels were not extracted (layer pixels), so that only their numbers are shown.'))
    return blocks


def _arms(study: Study, options: Options) -> list[Block]:
    """Folds as points, means with intervals, baselines as lines."""
    blocks: list[Block] = []
    names = [e.score.name for e in study.entries if e.get('arm') is not None and str(e.get('fold')) != 'all']
    names = [name for name in dict.fromkeys(names) if not name.endswith(('/difference', '_scaled'))]
    panels = []
    for name in names:
        entries = [e for e in study.find(name) if e.get('arm') is not None and np.isfinite(e.score.value)]
        folds: dict[str, list[Score]] = {}
        means: dict[str, Score] = {}
        for entry in entries:
            if str(entry.get('fold')) == 'all':
                means[str(entry.get('arm'))] = entry.score
            else:
                folds.setdefault(str(entry.get('arm')), []).append(entry.score)
        if not folds:
            continue
        anchors = _arm_anchors(study, name)
        unit = next((f', {e.get("unit")}' for e in entries if e.get('unit') == 'nats'), '')
        label = f'{comparisons.readable(name)}{unit}'
        with style.figure_style():
            figure = matplotlib.figure.Figure(figsize=PANEL_INCHES, layout='constrained')
            trends.plot_folds(figure.subplots(), folds, means, anchors, label=f'{label}{_mark(study)}')
            style.legend_below(figure, figure.axes[0])
            alt = f'{label}, held out, by arm: ' + '; '.join(
                f'{arm}: {len(scores)} folds from {numbers.text(min(s.value for s in scores), 3)} to '
                f'{numbers.text(max(s.value for s in scores), 3)}'
                + (f', all {numbers.value_text(means[arm])}' if arm in means else '')
                for arm, scores in folds.items()
            )
            panels.append(figures.picture_of(figure, f'{alt}.', title=_capital(label)))
            figures.save(figure, options.figures, f'arms_{name.rsplit("/", 1)[-1]}')
    if panels:
        caption = (
            'Held-out score of each fold (points) and of all folds with its 95 % interval (diamonds), by what the '
            'network was fine-tuned on; dashed lines are baselines.'
        )
        blocks.append(Group('arms', caption, tuple(panels)))
    return blocks + comparisons.arms(study)


def _arm_anchors(study: Study, name: str) -> dict[str, float]:
    """Baselines that are near enough to be drawn: the class-mean label and what people themselves reach."""
    anchors = {}
    for entry in study.find(name):
        near = entry.model.startswith(reading.CLASS_MEAN) or entry.model == 'human soft label itself'
        if entry.is_anchor and near and np.isfinite(entry.score.value):
            anchors.setdefault(entry.model, entry.score.value)
    return anchors


def _vae(study: Study, options: Options) -> list[Block]:
    blocks: list[Block] = []
    found = sorted((study.folder / 'latents').rglob('*.png'))
    for path in sorted(found, key=lambda p: _PICTURES.index(p.stem) if p.stem in _PICTURES else len(_PICTURES)):
        words = _sidecar_words(path)
        picture = figures.picture_of_file(path, words[1], pixelated=path.with_suffix('.json').is_file())
        relative = path.relative_to(study.folder).as_posix()
        blocks.append(Group('', f'{words[0]} ({relative})', (picture,), layout='wide'))
    return blocks + comparisons.vae(study)


def _sidecar_words(path: pathlib.Path) -> tuple[str, str]:
    """Caption and alternative text of a picture, from the .json beside it, else from its name."""
    sidecar = path.with_suffix('.json')
    said = storage.read_json(sidecar) if sidecar.is_file() else {}
    rows, columns = said.get('rows') or [], [str(column) for column in said.get('columns') or []]
    kind = str(said.get('picture') or path.stem)
    if kind == 'reconstructions':
        words = 'Test images and, below each, what the VAE makes of them'
        words += f'; a column for each class: {", ".join(columns)}' if columns else ''
    elif kind == 'samples':
        words = 'Images decoded from random codes (samples of the prior)'
    elif kind == 'traversals':
        words = 'One latent at a time moved away from the code of an image, the most informative latents first'
        words += f'; {len(rows)} latents in rows, columns from {columns[0]} to {columns[-1]}' if columns else ''
    elif kind == 'interpolations':
        pairs = [' to '.join(map(str, row['classes'])) for row in rows if isinstance(row, Mapping) and 'classes' in row]
        words = 'Codes between those of two images, decoded'
        words += f'; rows: {", ".join(pairs)}' if pairs else ''
    elif kind == 'dimensions':
        words = 'How much each latent tells about an image, the most informative first'
    else:
        words = _capital(kind.replace('_', ' '))
    caption = str(said.get('caption') or words).rstrip('.')
    return caption, str(said.get('alt') or caption)


def _training(study: Study, options: Options) -> list[Block]:
    """Curves of every network, and alignment where it was watched."""
    blocks: list[Block] = []
    for model in study.models:
        run = study.runs.get(f'networks/{model}')
        if run is None or not run.metrics:
            continue
        rows = run.metrics
        panels = []
        for metric, label in _METRICS.items():
            if any(metric in row for row in rows):
                panels.append(_curve(rows, metric, label, curves.plot_metric))
        for column in _watched_columns(rows):
            label = _WATCHED.get(column.removeprefix('alignment/'), column)
            panels.append(_curve(rows, column, label, trends.plot_watch))
        if panels:
            caption = f'{model}: training by epoch' + (
                ', and agreement with people on a fixed set of images.' if _watched_columns(rows) else '.'
            )
            blocks += [Words(model, is_heading=True), Group('', caption, tuple(panels))]
    return blocks


def _curve(rows: Sequence[Mapping], column: str, label: str, plot: Callable) -> Picture:
    with style.figure_style():
        figure = matplotlib.figure.Figure(figsize=(3.4, 2.3), layout='constrained')
        plot(figure.subplots(), rows, column, label=label)
    ends = []
    for split in dict.fromkeys(str(row.get('split', '')) for row in rows if column in row):
        last = [row[column] for row in rows if column in row and str(row.get('split', '')) == split][-1]
        if isinstance(last, int | float):
            ends.append(f'{split} {numbers.text(float(last), numbers.decimals(float(last)))}'.strip())
    return figures.picture_of(figure, f'{_capital(label)} over epochs; last values: {", ".join(ends)}.')


def _watched_columns(rows: Sequence[Mapping]) -> list[str]:
    columns = dict.fromkeys(key for row in rows for key in row if key.startswith('alignment/'))
    return [c for c in columns if not c.endswith(('_ceiling_lower', '_ceiling_upper'))]


def _spoken(entries: Sequence[Entry]) -> str:
    return ', '.join(f'{e.model} {numbers.value_text(e.score)}' for e in entries)


def _people(study: Study) -> str:
    """Whom or what models are compared with, as a title."""
    if not study.humans:
        return study.reference
    return 'simulated observers' if study.simulated else 'people'


def _mark(study: Study) -> str:
    return ' (simulated)' if study.simulated else ''


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
