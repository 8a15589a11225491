"""Confusions and errors: people and each model side by side."""

import math
from collections.abc import Mapping, Sequence

import matplotlib.figure
import numpy as np

from humalign_jax.report import figures, numbers, stimuli
from humalign_jax.report.figures import Group
from humalign_jax.report.plots import confusion, style
from humalign_jax.report.section import Behind, Block, Gallery, Options, Section, Words
from humalign_jax.report.sentences import Part, Passage, Sentence, listed, passages_of, say
from humalign_jax.report.study import Study

_MOST_CELLS = 8  # confusions of each matrix whose images can be seen
_LEAST_SHARE = 0.1  # of the answers, or of the probability, that go to the chosen class


def section(study: Study, options: Options) -> Section | None:
    """Confusion matrices of all answers and of errors alone; None without matrices and scores."""
    galleries = _images(study)
    blocks = (
        *_matrices(
            study,
            options,
            galleries,
            ('confusion', 'human_confusion'),
            title='Answers',
            what='share of the true class',
            caption='How often each true class (rows) was called each class (columns), in per cent; all panels share '
            'one colour scale.',
        ),
        *_matrices(
            study,
            options,
            galleries,
            ('errors', 'human_errors'),
            title='Errors alone',
            what='share of the true class, errors alone',
            caption='The same without the diagonal, so that errors can be seen; all panels share one colour scale.',
        ),
    )
    parts = tuple(part for cells in galleries.values() for part in cells.values())
    blocks += (Gallery('Images behind the largest confusions', parts),) if blocks and parts else ()
    said = passages(study)
    return Section(50, 'confusions', 'Confusions and errors', blocks, said) if blocks or said else None


def passages(study: Study) -> tuple[Passage, ...]:
    """Whether models err on the same stimuli as people."""
    return passages_of(('Errors', _error_consistency(study)))


def _matrices(
    study: Study,
    options: Options,
    galleries: Mapping[str, Mapping[tuple[int, int], Behind]],
    stems: tuple[str, str],
    *,
    title: str,
    what: str,
    caption: str,
) -> list[Block]:
    """People's matrix and that of each model, from files with these stems (model, people), in one group."""
    matrices: dict[str, np.ndarray] = {}
    class_names: list[str] = []
    for model in study.models:
        for name, stem in ((study.reference_title, stems[1]), (model, stems[0])):
            found = study.array(f'alignment/{model}/{stem}.npy')
            if found is not None and name not in matrices:
                matrices[name] = np.asarray(found[0], np.float64)
                class_names = class_names or [str(c) for c in found[1].get('class_names', ())]
    if not matrices:
        return []
    class_names = class_names or [str(i) for i in range(len(next(iter(matrices.values()))))]
    limits = (0.0, max(float(np.nanmax(matrix)) for matrix in matrices.values()) or 1.0)
    panels = []
    for name, matrix in matrices.items():
        with style.figure_style():
            figure = matplotlib.figure.Figure(figsize=(3.5, 3.4), layout='constrained')
            shows = {cell: part.name for cell, part in galleries.get(name, {}).items()}
            confusion.plot_confusion(figure.subplots(), matrix, class_names, limits=limits, shows=shows)
        panels.append(figures.picture_of(figure, _alt(name, matrix, class_names), title=name))
    combined = confusion.draw_confusions(list(matrices.values()), list(matrices), class_names, what=what)
    figures.save(combined, options.figures, stems[0])
    return [Words(title, is_heading=True), Group(stems[0], caption, tuple(panels))]


def _images(study: Study) -> dict[str, dict[tuple[int, int], Behind]]:
    """Images behind the largest confusions of people and of each model, by true and chosen class."""
    found: dict[str, dict[tuple[int, int], Behind]] = {}
    for model in study.models:
        about = stimuli.answers(study, model)
        for whose, name in (('human', study.reference_title), ('model', model)):
            shares = None if about is None else about.shares(whose)
            if about is None or shares is None or name in found:
                continue
            k = len(about.class_names)
            means = np.array([shares[about.labels == i].mean(axis=0) if (about.labels == i).any() else np.zeros(k)
                              for i in range(k)])  # fmt: skip
            np.fill_diagonal(means, 0.0)
            cells = [divmod(int(cell), k) for cell in np.argsort(-means, axis=None)[:_MOST_CELLS]]
            found[name] = {}
            for i, j in cells:
                rows = np.flatnonzero((about.labels == i) & (shares[:, j] >= _LEAST_SHARE))
                rows = rows[np.argsort(-shares[rows, j], kind='stable')]
                if len(rows):
                    text = f'{about.class_names[i]} that {name} call{"s" * (name == model)} {about.class_names[j]} most'
                    anchor = f'behind-{len(found)}-{i}-{j}'
                    ids = [about.ids[row] for row in rows]
                    found[name][i, j] = stimuli.behind(study, anchor, text, ids, about.pixels)
    return found


def _alt(name: str, matrix: np.ndarray, class_names: Sequence[str]) -> str:
    off = np.where(np.eye(len(matrix), dtype=bool), -np.inf, np.nan_to_num(matrix))
    top = [np.unravel_index(i, off.shape) for i in np.argsort(-off, axis=None)[:3]]
    spoken = ', '.join(f'{class_names[i]} as {class_names[j]} {100 * off[i, j]:.1f} %' for i, j in top)
    return f'Heat map of the answers of {name}; the largest confusions are {spoken}.'


def _error_consistency(study: Study) -> list[Sentence]:
    found = study.find('errors/kappa', arm=None, fold=None)
    scored = [e for e in found if not e.is_baseline and math.isfinite(e.score.value)]
    if not scored:
        return []
    top = max(scored, key=lambda e: e.score.value)
    if not top.score.low > 0:
        words = 'No network’s errors were shown to fall on the same stimuli as people’s more than by chance: kappa '
        return [say(words, *listed(scored), '.')]
    parts: list[Part] = [
        f'Errors fall on the same stimuli as people’s errors most for {top.model}: kappa ',
        top,
        ' (0 is what the two accuracies alone would give, 1 is the same stimuli)',
    ]
    if math.isfinite(top.score.ceiling_lower) or math.isfinite(top.score.ceiling_upper):
        parts.append(f'; among people {numbers.ceiling_text(top.score)}')
    return [say(*parts, '.')]
