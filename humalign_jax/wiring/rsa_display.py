"""Files of an RSA for its page, beside the scores: RDMs small enough to show, and the figures of an RSA with people."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from humalign_jax import rsa, storage
from humalign_jax.records import Rdm, Score
from humalign_jax.report.plots import bars, rdms, style, trends
from humalign_jax.wiring.representations import HUMAN, PIXELS, Comparison

MAX_CELLS = 100  # along a side of an RDM for display


def keep_rdms(
    folder: pathlib.Path, reference: Rdm, models: Sequence[Rdm], labels: np.ndarray | None, simulated: bool
) -> None:
    """Writes `rdm_<number>.npy`, square and in at most 100 x 100 cells, with its name in the sidecar.

    Args:
        folder: Where to write.
        reference: What models are compared with.
        models: RDMs of the same stimuli in the same order.
        labels: Category of each stimulus, [n]; stimuli are sorted by it. None if there are none.
        simulated: Whether the data are made up.
    """
    order = np.arange(len(reference.ids)) if labels is None else np.argsort(labels, kind='stable')
    for i, rdm in enumerate([reference, *models]):
        picture = rdms.block_average(np.asarray(rdm.values), order, MAX_CELLS)
        sidecar = {'model': rdm.name, 'is_reference': i == 0, 'measure': rdm.measure, 'n': len(order)}
        if labels is not None:
            sidecar['classes'] = [str(name) for name in _classes_of_cells(np.asarray(labels)[order], len(picture))]
            sidecar['class_names'] = [str(name) for name in np.unique(labels)]
        cells = 'mean dissimilarity of pairs of stimuli; NaN where a cell has none'
        storage.write_array(folder / f'rdm_{i:03d}.npy', picture, {**sidecar, 'cells': cells, 'simulated': simulated})


def keep_image_rdm(
    folder: pathlib.Path, rdm: Rdm, comparison: Comparison, model: str, described: Mapping[str, Any]
) -> None:
    """Writes `rdm_image_<model>.npy`: an RDM of the images ordered by class, in at most 100 x 100 cells."""
    order = np.argsort(comparison.labels, kind='stable')
    picture = rdms.block_average(np.asarray(rdm.values), order, MAX_CELLS)
    sidecar = {
        'model': model,
        **described,
        'classes': [comparison.class_names[int(k)] for k in _classes_of_cells(comparison.labels[order], len(picture))],
        'class_names': comparison.class_names,
        'cells': 'mean dissimilarity of pairs of images, ordered by class; NaN where a cell has none',
        'n': len(order),
        'simulated': comparison.simulated,
    }
    storage.write_array(folder / f'rdm_image_{_file_name(comparison, model)}.npy', picture, sidecar)


def keep_class_rdm(
    folder: pathlib.Path, values: np.ndarray, comparison: Comparison, model: str, described: Mapping[str, Any]
) -> None:
    """Writes `rdm_class_<model>.npy`: a condensed RDM of class means."""
    sidecar = {
        'model': model,
        **described,
        'class_names': comparison.class_names,
        'simulated': comparison.simulated,
    }
    storage.write_array(folder / f'rdm_class_{_file_name(comparison, model)}.npy', values, sidecar)


def draw(index: str, comparison: Comparison, scores: Sequence[Score], folder: pathlib.Path) -> None:
    """Draws bars for each level and kind of pairs, layer profiles, and the RDMs of classes kept in `folder`."""
    figures, mark = folder / 'figures', ' (simulated observers)' if comparison.simulated else ''
    main = [score for score in scores if score.name == f'rsa/{index}']
    for level, kind in dict.fromkeys((score.provenance['level'], score.provenance['pairs']) for score in main):
        here = [s for s in main if (s.provenance['level'], s.provenance['pairs']) == (level, kind)]
        label = f'{index}, {level} level, {kind} pairs\n{mark.strip()}'.strip()  # two lines fit a low figure
        shown = [s for s in here if s.provenance['headline'] or s.provenance['baseline']]
        names = [s.provenance['model'] for s in shown]
        figure = bars.draw_scores(shown, names, label=label, p_differences=_p_matrix(scores, names, level, kind))
        style.save_figure(figure, figures / f'scores_{level}_{kind}')
        lines = {
            model: {s.provenance['layer']: s for s in here if s.provenance['model'] == model}
            for model in comparison.headline
        }
        lines = {model: line for model, line in lines.items() if line}
        if any(len(line) > 1 for line in lines.values()):
            baselines = {s.provenance['model']: s.value for s in here if s.provenance['baseline']}
            figure = trends.draw_layer_profile(lines, label=label, baselines=baselines)
            style.save_figure(figure, figures / f'layers_{level}_{kind}')
    panels = []
    class_names = np.array(comparison.class_names)
    for model in (HUMAN, *comparison.headline, PIXELS):
        path = folder / f'rdm_class_{_file_name(comparison, model)}.npy'
        if path.exists():
            values = rsa.average_ranks(np.load(path))
            panels.append(Rdm(values / len(values), class_names, model + mark * (model == HUMAN), 'rank'))
    if panels:
        figure = rdms.draw_rdms(
            panels, labels=np.arange(len(class_names)), class_names=comparison.class_names, ranks=True,
            unit='dissimilarity of class means, 0 to 1',
        )  # fmt: skip
        style.save_figure(figure, figures / 'rdms_class')


def _classes_of_cells(ordered: np.ndarray, n_cells: int) -> np.ndarray:
    """Class of the first stimulus of each cell, from the classes of stimuli in order: [n] -> [n_cells]."""
    return ordered[np.searchsorted(np.arange(len(ordered)) * n_cells // len(ordered), np.arange(n_cells))]


def _file_name(comparison: Comparison, model: str) -> str:
    """Part of a file's name for a network, the pixels or people."""
    names = [HUMAN, PIXELS, *comparison.headline]
    return storage.file_names(names)[names.index(model)]


def _p_matrix(scores: Sequence[Score], names: Sequence[str], level: str, kind: str) -> np.ndarray:
    """Family-wise p values of pairs of models, [m, m]; 1 for pairs without a test."""
    p = np.ones((len(names), len(names)))
    for score in scores:
        provenance = score.provenance
        if score.name.endswith('/difference') and (provenance['level'], provenance['pairs']) == (level, kind):
            i, j = names.index(provenance['model']), names.index(provenance['other'])
            p[i, j] = p[j, i] = provenance['p_fwer']
    return p
