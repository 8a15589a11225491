"""Dissimilarity matrices and maps, as runs left them for display."""

import dataclasses
import glob
import math
from collections.abc import Mapping, Sequence

import matplotlib.figure
import numpy as np
import scipy.stats

from humalign_jax.records import Rdm
from humalign_jax.report import figures, numbers, stimuli
from humalign_jax.report.figures import Group
from humalign_jax.report.plots import rdms, style
from humalign_jax.report.section import Behind, Block, Gallery, Options, Section, Words
from humalign_jax.report.stimuli import ExtractedRows
from humalign_jax.report.study import Study


def section(study: Study, options: Options) -> Section | None:
    """Matrices of classes, matrices of stimuli, and the map of the reference; None without any."""
    gallery = _gallery(study)
    matrices = _matrices(study, options, {part.text: part.name for part in gallery})
    shown = (Gallery('Images of each category', gallery),) if gallery and matrices else ()
    blocks = (*matrices, *shown, *_maps(study, options))
    return Section(40, 'rdms', 'Dissimilarity matrices', blocks) if blocks else None


def _gallery(study: Study) -> tuple[Behind, ...]:
    """A few images of each category."""
    rows = ExtractedRows.find(study, '', 'pixels')
    return tuple(
        stimuli.behind(study, f'behind-category-{number}', name, ids, rows)
        for number, (name, ids) in enumerate(sorted(stimuli.by_class(study).items()))
    )


def _matrices(study: Study, options: Options, shows: Mapping[str, str]) -> list[Block]:
    """RDMs that runs left for display, by level, as ranks so that they share limits."""
    blocks: list[Block] = []
    for level in ('class', 'image'):
        files = list(study.arrays(f'human_rsa/rdm_{level}_*.npy'))
        if level == 'image':
            files += [found for run in study.runs for found in study.arrays(f'{glob.escape(run)}/display/rdm_*.npy')]
        if not files:
            continue
        found = [_rdm_of(values, sidecar, study.reference_title) for _, values, sidecar in files]
        found.sort(key=lambda item: item[0].name != study.reference_title)
        ranked = [
            (dataclasses.replace(rdm, values=_percentiles(rdm.values)), labels, names) for rdm, labels, names in found
        ]
        panels = []
        for rdm, labels, names in ranked:
            with style.figure_style():
                figure = matplotlib.figure.Figure(figsize=(3.5, 3.0), layout='constrained')
                ax = rdms.plot_rdm(
                    figure.subplots(), rdm, labels=labels, class_names=names, limits=(0.0, 1.0), shows=shows
                )
                bar = figure.colorbar(ax.images[0], ax=ax, shrink=0.8, aspect=25)
                bar.set_label('rank of dissimilarity, 0 to 1')
                bar.outline.set_visible(False)
                ax.set_title('')
                panels.append(figures.picture_of(figure, _rdm_alt(rdm, labels, names, level), title=rdm.name))
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
            f'Dissimilarities of {what}{study.mark}: each matrix as ranks from 0 (most alike) to 1 (least alike) of '
            'its own pairs, so that all share one colour scale; the diagonal is left blank.'
        )
        blocks.append(Words({'class': 'Classes', 'image': 'Stimuli'}[level], is_heading=True))
        blocks.append(Group(f'rdms_{level}', caption, tuple(panels)))
    return blocks


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
            f'Map of {len(points)} stimuli by {study.reference}{study.mark}, {sidecar.get("method", "a plane")}: '
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


def _rdm_alt(rdm: Rdm, labels: np.ndarray | None, names: Sequence[str], level: str) -> str:
    what = (
        f'Heat map of the dissimilarities of {len(rdm.ids)} {"classes" if level == "class" else "stimuli"}: {rdm.name}'
    )
    if level == 'image' and labels is not None:
        first, second = np.triu_indices(len(rdm.ids), 1)
        same = labels[first] == labels[second]
        within, between = (float(np.nanmean(rdm.values[one])) if one.any() else math.nan for one in (same, ~same))
        ranks = f'{numbers.text(within, 2)} within categories, {numbers.text(between, 2)} between them'
        return f'{what}. Mean rank: {ranks}.'
    if level != 'class' or len(names) != len(rdm.ids):
        return f'{what}; ranks from 0 to 1.'
    first, second = np.triu_indices(len(names), 1)
    low, high = int(np.nanargmin(rdm.values)), int(np.nanargmax(rdm.values))
    ends = (f'{names[first[k]]} and {names[second[k]]} (rank {rdm.values[k]:.2f})' for k in (low, high))
    return f'{what}. Most alike: {next(ends)}; least alike: {next(ends)}.'
