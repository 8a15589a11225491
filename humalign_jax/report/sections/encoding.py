"""Encoding of brain responses: how well each model predicts the voxels of each region, beside the noise ceiling."""

import dataclasses
import math
from collections.abc import Mapping

import matplotlib.figure
import numpy as np

from humalign_jax.report import figures, numbers
from humalign_jax.report.figures import Group
from humalign_jax.report.plots import regions, style
from humalign_jax.report.section import Block, Main, Options, Section
from humalign_jax.report.sentences import Passage, Sentence, passages_of, say
from humalign_jax.report.study import Entry, Study
from humalign_jax.report.tables import Cell, Row, Table, best_of, number_cell

_TITLE = 'Brain responses'
_R, _NORMALISED, _CEILING = 'encoding/r', 'encoding/normalised_r2', 'encoding/ceiling'
_DIFFERENCE, _IDENTIFICATION = 'encoding/r/difference', 'encoding/identification'
_ALL = 'all subjects'
_KINDS = (
    (_R, 'r', 'Pearson’s r of predicted and measured responses, held-out trials'),
    (_NORMALISED, 'normalised_r2', 'R2 over its noise ceiling, held-out trials'),
)
_Q = 0.05


def section(study: Study, options: Options) -> Section | None:
    """Bars and tables by region for each set of responses; None without scores."""
    blocks: list[Block] = []
    for number, human in enumerate(_humans(study)):
        for name, stem, label in _KINDS:
            for block in (_bars(study, options, human, name, f'encoding_{stem}_{number}', label),
                          _table(study, human, name, f'encoding_{stem}_{number}', label)):  # fmt: skip
                blocks += [] if block is None else [block]
        identified = _identification(study, human, number)
        blocks += [] if identified is None else [identified]
    differences = _differences(study)
    blocks += [] if differences is None else [differences]
    return Section(74, 'encoding', _TITLE, tuple(blocks), passages(study), _main(study)) if blocks else None


def passages(study: Study) -> tuple[Passage, ...]:
    """The best model of each region, and how near it comes to the ceiling."""
    return passages_of((_TITLE, [sentence for human in _humans(study) for sentence in _said(study, human)]))


def _main(study: Study) -> Main | None:
    """Prediction of the region that a model predicts best; None without scores."""
    of = _scores(study, _R, _humans(study)[0]) if _humans(study) else {}
    found = [entry for of_roi in of.values() for entry in of_roi.values() if not entry.is_baseline]
    if not found:
        return None
    roi = str(max(found, key=lambda entry: entry.score.value).get('roi'))
    label = f'correlation of predicted and measured responses in {roi}'
    return Main(label, {model: of_roi[roi] for model, of_roi in of.items() if roi in of_roi})


def _humans(study: Study) -> list[str]:
    """Names of the sets of responses."""
    return list(dict.fromkeys(str(entry.get('human')) for entry in study.find(_R)))


def _scores(study: Study, name: str, human: str) -> dict[str, dict[str, Entry]]:
    """Scores by model and region: over all subjects where there are several, else those of the one subject."""
    entries = study.find(name, human=human)
    several = any(entry.get('subject') == _ALL for entry in entries)
    found: dict[str, dict[str, Entry]] = {}
    for entry in entries:
        if (entry.get('subject') == _ALL) == several and math.isfinite(entry.score.value):
            found.setdefault(entry.model, {}).setdefault(str(entry.get('roi')), entry)
    return found


def _regions(found: Mapping[str, Mapping[str, Entry]]) -> list[str]:
    return list(dict.fromkeys(roi for of_roi in found.values() for roi in of_roi))


def _bars(study: Study, options: Options, human: str, name: str, stem: str, label: str) -> Group | None:
    found = _scores(study, name, human)
    if not found:
        return None
    rois, entries = _regions(found), [entry for of_roi in found.values() for entry in of_roi.values()]
    mark = ' (simulated)' if any(entry.simulated for entry in entries) else ''
    scores = {model: {roi: entry.score for roi, entry in of_roi.items()} for model, of_roi in found.items()}
    baselines = [model for model, of_roi in found.items() if all(entry.is_baseline for entry in of_roi.values())]
    with style.figure_style():
        width = float(np.clip(0.3 * len(rois) * (len(found) + 1) + 1.2, 3.0, style.PAGE_INCHES))
        figure = matplotlib.figure.Figure(figsize=(width, 3.0), layout='constrained')
        ax = regions.plot_regions(figure.subplots(), rois, scores, label=f'{label}{mark}', baselines=baselines)
        style.legend_below(figure, ax)
        below = style.name_x(ax, range(len(rois)), rois, longest=style.LONGEST_NAME_INCHES)
        figure.set_size_inches(width, 2.5 + below)
        alt = f'{label}, {human}: ' + '; '.join(
            f'{roi}: ' + ', '.join(f'{m} {numbers.value_text(of[roi])}' for m, of in scores.items() if roi in of)
            for roi in rois
        )
        picture = figures.picture_of(figure, f'{alt}.')
        figures.save(figure, options.figures, stem)
    over = sorted({entry.score.interval.split(',')[0] for entry in entries})
    caption = f'{label}, by region of interest ({human}). 95 % intervals: {" or ".join(over)}. Lines: noise ceiling.'
    return Group(stem, caption, (picture,), layout='wide' if width > 4.5 else 'panels')


def _table(study: Study, human: str, name: str, stem: str, label: str) -> Table | None:
    """Regions down, models across; each cell has interval, noise ceiling and q."""
    found = _scores(study, name, human)
    if not found:
        return None
    ceilings = next(iter(_scores(study, _CEILING, human).values()), {})
    rows = []
    for roi in _regions(found):
        entries = [of_roi.get(roi) for of_roi in found.values()]
        best = best_of(entries, 'larger')
        cells = [_cell(entry, name, best=k in best) for k, entry in enumerate(entries)]
        first = next(entry for entry in entries if entry is not None)
        of_all, kept = first.get('n_voxels_all'), first.get('n_voxels')
        known = [number_cell(ceilings.get(roi))] if ceilings else []
        rows.append(Row((Cell(roi, f'{kept} voxels' + (f' of {of_all}' if of_all else '')), *known, *cells)))
    heads = ('Region', *(['Noise ceiling, R2 of one trial'] if ceilings else []), *(f'{model} ↑' for model in found))
    first = next(iter(next(iter(found.values())).values()))
    return Table(stem, f'{label}: {human}.', heads, tuple(rows), tuple(_notes(first)))


def _cell(entry: Entry | None, name: str, *, best: bool) -> Cell:
    cell = number_cell(entry, best=best)
    if entry is None:
        return cell
    ceiling, q = entry.score.ceiling_upper, entry.get('q')
    more = [f'ceiling {numbers.text(ceiling, 3)}'] if name == _R and math.isfinite(ceiling) else []
    more += [numbers.p_text(q).replace('p ', 'q ', 1)] if q is not None else []
    return dataclasses.replace(cell, detail='\n'.join(filter(None, [cell.detail, ', '.join(more)])))


def _notes(entry: Entry) -> list[str]:
    """How the numbers were made, and which voxels are left out."""
    held_out = {
        'session': 'each session is held out once',
        'stimulus': 'parts of the stimuli are held out in turn',
        'split': 'the test split is held out and scored in parts',
    }.get(str(entry.get('held_out')), '')
    lines = [
        f'Ridge regression with a penalty for each voxel; {held_out}. q: sign-flip test over held-out blocks, Fisher’s '
        'combination over subjects where there are several, Benjamini–Hochberg over regions.'
    ]
    left_out = {key: n for key, n in dict(entry.get('left_out') or {}).items() if n}
    words = {
        'n_not_finite': 'not finite',
        'n_constant': 'constant',
        'n_constant_in_a_fold': 'constant in a fold',
        'n_low_ceiling': f'noise ceiling below {entry.get("min_ceiling")}',
    }
    if left_out:
        lines.append(
            'Voxels left out (first subject): '
            + ', '.join(f'{words.get(key, key)} {n}' for key, n in left_out.items())
            + '.'
        )
    return lines


def _identification(study: Study, human: str, number: int) -> Table | None:
    found: dict[tuple[str, str], dict[str, Entry]] = {}
    entries = study.find(_IDENTIFICATION, human=human)
    several = any(entry.get('subject') == _ALL for entry in entries)
    for entry in entries:
        if (entry.get('subject') == _ALL) == several:
            found.setdefault((entry.model, str(entry.get('measure'))), {}).setdefault(str(entry.get('roi')), entry)
    if not found:
        return None
    rows = tuple(
        Row((Cell(roi), *(_cell(of_roi.get(roi), _IDENTIFICATION, best=False) for of_roi in found.values())))
        for roi in dict.fromkeys(roi for of_roi in found.values() for roi in of_roi)
    )
    heads = ('Region', *(f'{model}, {measure}' for model, measure in found))
    chance = float(next(iter(next(iter(found.values())).values())).get('chance'))
    notes = (
        f'Chance: {numbers.text(chance, 3)}. correlation: of measured and predicted pattern; whitened: distance after '
        'whitening with the covariance of residuals.',
    )
    caption = f'Share of held-out patterns whose stimulus is identified by the predicted pattern: {human}.'
    return Table(f'encoding_identification_{number}', caption, heads, rows, notes)


def _differences(study: Study) -> Table | None:
    rows = [
        Row(
            (
                Cell(f'{model} − {entry.get("other")}'),
                Cell(human),
                Cell(roi),
                number_cell(entry),
                Cell(numbers.p_text(entry.get('p'))),
                Cell(numbers.p_text(entry.get('q')).replace('p ', 'q ', 1)),
            )
        )
        for human in _humans(study)
        for model, of_roi in _scores(study, _DIFFERENCE, human).items()
        for roi, entry in of_roi.items()
    ]
    heads = ('Models', 'Responses', 'Region', 'Difference of r', 'p', 'q')
    notes = ('One-sided: the first model predicts better than the second.',)
    caption = 'Differences of r between models on the same voxels and held-out trials.'
    return Table('encoding_differences', caption, heads, tuple(rows), notes) if rows else None


def _said(study: Study, human: str) -> list[Sentence]:
    """Regions in which a model predicts above 0, and the best model with its normalised R2."""
    found = _scores(study, _R, human)
    models = {model: of_roi for model, of_roi in found.items() if not all(e.is_baseline for e in of_roi.values())}
    if not models:
        return []
    rois = _regions(models)
    above = [roi for roi in rois if any((of.get(roi) and of[roi].get('q', 1.0) < _Q) for of in models.values())]
    best = max((entry for of_roi in models.values() for entry in of_roi.values()), key=lambda entry: entry.score.value)
    parts = [
        f'In {len(above)} of {len(rois)} regions of {human} a model predicts held-out responses (q < {_Q:g}); the best '
        f'prediction is that of {best.model} in {best.get("roi")} (r ', best,
    ]  # fmt: skip
    normalised = _scores(study, _NORMALISED, human).get(best.model, {}).get(str(best.get('roi')))
    parts += [', R2 over its noise ceiling ', normalised] if normalised is not None else []
    return [say(*parts, ').')]
