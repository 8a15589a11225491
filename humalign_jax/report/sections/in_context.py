"""Learning in context: accuracy and squared error along an episode, of every function that was evaluated."""

import math
from collections.abc import Iterator, Mapping, Sequence

import matplotlib.figure
import numpy as np

from humalign_jax.report import figures, numbers
from humalign_jax.report.figures import Group, Picture
from humalign_jax.report.learning_curves import Learned, learned, mean_and_interval
from humalign_jax.report.plots import in_context as plots
from humalign_jax.report.plots.in_context import Curve
from humalign_jax.report.section import Options, Section
from humalign_jax.report.sentences import Sentence, capital, passages_of, say
from humalign_jax.report.study import Study
from humalign_jax.report.tables import Cell, Row, Table

_TITLE = 'Learning functions in context'
_CHANCE = 0.5  # half the items of an episode are positive
_PARTS = {'held-out': True, 'trained': False}
_MOST_ROWS = 400


def section(study: Study, options: Options) -> Section | None:
    """Curves of all conditions, of every function, and functions by their accuracy; None without curves."""
    found = learned(study)
    if not found:
        return None
    shown = _side_by_side(found)
    blocks = (
        *_means(study, options, found),
        *_every_function(study, options, shown),
        *_sorted(study, options, shown),
        *_table(shown),
    )
    return Section(74, 'in-context', _TITLE, blocks, passages_of((_TITLE, _said(shown))))


def _side_by_side(found: Sequence[Learned]) -> list[Learned]:
    """The first condition, and those of the same functions that leave the features as they are."""
    first = found[0]
    return [first, *(one for one in found[1:] if not one.has_map and one.function_ids == first.function_ids)]


def _curves(found: Sequence[Learned], measure: str, held_out: bool) -> dict[str, Curve]:
    """Curves of the held-out or the trained functions of each condition that has some."""
    curves = {}
    for one in found:
        values = getattr(one, measure)
        if values is not None and (chosen := one.held_out == held_out).any():
            other = '' if one.function_ids == found[0].function_ids else ', other functions'
            curves[f'{one.name}{other}'] = Curve(values[chosen], *mean_and_interval(values[chosen]))
    return curves


def _label(study: Study, measure: str) -> str:
    words = 'accuracy' if measure == 'correct' else 'squared error / variance of magnitudes'
    return f'{words}{study.mark}'


def _means(study: Study, options: Options, found: Sequence[Learned]) -> Iterator[Group]:
    """The mean over functions of each condition."""
    pictures = []
    for measure in ('correct', 'error'):
        for part, held_out in _PARTS.items():
            curves = _curves(found, measure, held_out)
            if curves:
                figure = plots.draw_means(
                    curves, label=_label(study, measure), chance=_CHANCE if measure == 'correct' else None
                )
                title = f'{part.capitalize()} functions: {"accuracy" if measure == "correct" else "squared error"}'
                alt = f'{title}, mean at the first and at the last item: {_ends(curves)}.'
                pictures.append(_saved(figure, options, f'in_context_{measure}_{part}', alt, title))
    yield Group(
        '',
        'Learning in context, on held-out items: mean over functions with its 95 % interval over functions. An '
        'episode shows items of one function; each is predicted from the items before it, and half of them are '
        'positive. Squared errors are those of positive items; of all items where functions are dense. '
        + '; '.join(f'{one.name}: {len(one.function_ids)} functions, {one.n_networks} networks' for one in found)
        + '.',
        tuple(pictures),
    )


def _every_function(study: Study, options: Options, shown: Sequence[Learned]) -> Iterator[Group]:
    """A thin line for each function, a panel for each condition; held-out functions apart from trained ones."""
    pictures = []
    for measure in ('correct', 'error'):
        rows = {f'{part} functions': _curves(shown, measure, held_out) for part, held_out in _PARTS.items()}
        rows = {kind: curves for kind, curves in rows.items() if curves}
        if not rows:
            continue
        top, chance = 1.02, _CHANCE
        if measure == 'error':
            values = [curve.functions.ravel() for curves in rows.values() for curve in curves.values()]
            top, chance = 1.05 * float(np.nanpercentile(np.concatenate(values), 99)), None
        figure = plots.draw_functions(rows, label=_label(study, measure), limits=(0.0, top), chance=chance)
        title = f'{"Accuracy" if measure == "correct" else "Squared error"} of every function'
        ends = '; '.join(f'{kind}: {_ends(curves)}' for kind, curves in rows.items())
        alt = f'{title} along an episode; mean at the first and at the last item, {ends}.'
        pictures.append(_saved(figure, options, f'functions_{measure}', alt, title))
    names = ' beside '.join(one.name for one in shown)
    without = [one.name for one in shown if not one.has_map]
    note = f' Without a map of the features: {", ".join(without)}.' if without else ''
    caption = (
        f'Every evaluation function, {names}: a thin line for each function, thick the mean with its 95 % interval '
        f'over functions; dashed: chance.{note}'
    )
    if len(pictures) > 1:
        caption += ' The axis of squared errors ends near their 99th percentile.'
    yield Group('', caption, tuple(pictures), layout='wide')


def _sorted(study: Study, options: Options, shown: Sequence[Learned]) -> Iterator[Group]:
    """Accuracy of every function over the last third of an episode."""
    pictures = []
    for part, held_out in _PARTS.items():
        chosen = np.flatnonzero(shown[0].held_out == held_out)
        if not len(chosen):
            continue
        order = chosen[np.argsort(-shown[0].last_third()[chosen], kind='stable')]
        values = {one.name: one.last_third()[order].tolist() for one in shown}
        label = f'accuracy, last third{study.mark}'
        figure = plots.draw_sorted(values, label=label, chance=_CHANCE)
        title = f'{part.capitalize()} functions, last third of an episode'
        ends = '; '.join(f'{name} {min(of):.2f} to {max(of):.2f}' for name, of in values.items())
        alt = f'{title}: accuracy of each of {len(order)} functions, sorted; {ends}.'
        pictures.append(_saved(figure, options, f'functions_sorted_{part}', alt, title))
    caption = (
        f'Accuracy of every function over the last third of an episode, sorted by that of {shown[0].name}. Dashed: '
        'chance. The table below names the functions.'
    )
    yield Group('', caption, tuple(pictures))


def _table(shown: Sequence[Learned]) -> Iterator[Table]:
    first = shown[0]
    order = np.argsort(-first.last_third(), kind='stable')
    n = len(order)
    if n > _MOST_ROWS:
        order = np.concatenate([order[: _MOST_ROWS // 2], order[n - _MOST_ROWS // 2 :]])
    heads = ['Function', 'In training', *(f'{one.name}: accuracy' for one in shown)]
    heads += [f'{one.name}: squared error' for one in shown if one.error is not None]
    errors = [_last_third_of_errors(one) for one in shown if one.error is not None]
    accuracies = [one.last_third() for one in shown]
    rows = tuple(
        Row(
            (
                Cell(first.function_ids[i]),
                Cell('held out' if first.held_out[i] else 'trained'),
                *(_number(float(values[i])) for values in (*accuracies, *errors)),
            )
        )
        for i in order
    )
    notes = ['Means over the last third of an episode, its episodes and networks; squared errors in units of the '
             'variance of magnitudes.']  # fmt: skip
    notes += [f'The {_MOST_ROWS // 2} best and the {_MOST_ROWS // 2} worst of {n} functions.'] if n > _MOST_ROWS else []
    caption = 'Every evaluation function, by its accuracy.'
    yield Table('evaluation_functions', caption, tuple(heads), rows, tuple(notes))


def _last_third_of_errors(one: Learned) -> np.ndarray:
    assert one.error is not None
    t = one.error.shape[1]
    return mean_and_interval(one.error[:, t - max(t // 3, 1) :].T)[0]


def _number(value: float) -> Cell:
    return Cell(numbers.text(value, 3), numbers=(value, math.nan, math.nan)) if math.isfinite(value) else Cell(
        numbers.MISSING, why='no positive item in these episodes'
    )  # fmt: skip


def _ends(curves: Mapping[str, Curve]) -> str:
    return '; '.join(f'{name} {curve.mean[0]:.2f} and {curve.mean[-1]:.2f}' for name, curve in curves.items())


def _saved(figure: matplotlib.figure.Figure, options: Options, name: str, alt: str, title: str) -> Picture:
    picture = figures.picture_of(figure, alt, title=title)
    figures.save(figure, options.figures, name)
    return picture


def _said(shown: Sequence[Learned]) -> list[Sentence]:
    """Accuracy of the conditions side by side over the last third, and their difference over the same functions."""
    sentences = []
    for part, held_out in _PARTS.items():
        chosen = shown[0].held_out == held_out
        if not chosen.any():
            continue
        words = '; '.join(f'{one.name} {_mean_text(one.last_third()[chosen])}' for one in shown)
        whole = f'{int(chosen.sum())} {part} function{"s" if chosen.sum() > 1 else ""}'
        sentences.append(
            say(f'{capital("accuracy")} over the last third of an episode, mean over {whole} (chance 0.5): {words}.')
        )
        for other in shown[1:]:
            difference = (shown[0].last_third() - other.last_third())[chosen]
            mean, low, high = (float(end[0]) for end in mean_and_interval(difference[:, None]))
            relation = 'above' if low > 0 else 'below' if high < 0 else 'not shown to differ from'
            sentences.append(
                say(
                    f'On {part} functions, {shown[0].name} is {relation} {other.name} (difference '
                    f'{_interval_text(mean, low, high)}).'
                )
            )
    return sentences


def _mean_text(values: np.ndarray) -> str:
    return _interval_text(*(float(end[0]) for end in mean_and_interval(values[:, None])))


def _interval_text(mean: float, low: float, high: float) -> str:
    places = numbers.decimals(mean, low, high)
    text = numbers.text(mean, places)
    return f'{text} [{numbers.text(low, places)}, {numbers.text(high, places)}]' if math.isfinite(low) else text
