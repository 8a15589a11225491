"""The images on which a model is least like people, with both distributions of answers."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from humalign_jax.report import figures, stimuli
from humalign_jax.report.section import Cards, Options, Section, Unlike, Words
from humalign_jax.report.stimuli import ExtractedRows
from humalign_jax.report.study import Study

RANKED_BY = ('kl', 'js', 'cross_entropy')  # columns of per_image.npy, the preferred first; larger is less alike
N_NAMED = 3  # classes named for each distribution
_CAPTION = (
    'Images on which people’s answers and the model’s probabilities differ most; bars are shares of answers and '
    'probabilities.'
)


def section(study: Study, options: Options) -> Section | None:
    """Cards of the most human-unlike images of each model; None without any."""
    cards = []
    for model in study.models:
        unlike = most_unlike(study, model, options.n_images)
        if unlike:
            cards.append(Cards(model, tuple(unlike), unlike[0].measure))
    if not cards:
        return None
    words = [Words(_CAPTION)]
    if not any(image.picture for card in cards for image in card.unlike):
        words.append(Words('Their pixels were not extracted (layer pixels), so that only their numbers are shown.'))
    return Section(70, 'images', 'Most human-unlike images', (*words, *cards))


def most_unlike(study: Study, model: str, n_images: int) -> list[Unlike]:
    """The images with the largest divergence between people's answers and a model's probabilities.

    Everything joins by stimulus id: `alignment/<model>/per_image.npy` ranks, `features/<model>/<split>/` gives pixels,
    probabilities and labels. What is missing is left out of the records.
    """
    found = study.array(f'alignment/{model}/per_image.npy')
    if found is None:
        return []
    values, sidecar = found
    columns = [str(column) for column in sidecar.get('columns', ())]
    measure = next((column for column in RANKED_BY if column in columns), None)
    if measure is None:
        return []
    ids = [str(i) for i in sidecar['ids']]
    differs = np.asarray(values[:, columns.index(measure)], np.float64)
    order = [int(i) for i in np.argsort(-differs, kind='stable') if math.isfinite(differs[i])][:n_images]
    class_names = stimuli.class_names(study, model, sidecar)
    people = stimuli.distributions(values, columns, 'human', class_names)
    own = stimuli.distributions(values, columns, 'model', class_names)
    extracted = {name: ExtractedRows.find(study, model, name) for name in ('pixels', 'probs', 'labels')}

    def named(column: str, i: int) -> str:
        """Class whose number stands in a column."""
        number = float(values[i, columns.index(column)]) if column in columns else math.nan
        return class_names[int(number)] if math.isfinite(number) and 0 <= number < len(class_names) else ''

    unlike = []
    for i in order:
        probs = own[i] if own is not None else extracted['probs'].row(ids[i])
        label = extracted['labels'].row(ids[i])
        unlike.append(
            Unlike(
                stimulus=ids[i],
                label=named('label', i) if label is None or not class_names else class_names[int(label)],
                people=_top(people[i] if people is not None else None, class_names) or _alone(named('human_top1', i)),
                model=_top(probs, class_names) or _alone(named('prediction', i)),
                value=float(differs[i]),
                measure=measure,
                picture=_shown(extracted['pixels'].row(ids[i])),
            )
        )
    return [dataclasses.replace(u, picture=_described(u, model)) for u in unlike]


def _shown(flat: np.ndarray | None) -> figures.Picture | None:
    pixels = stimuli.pixels(flat)
    return None if pixels is None else figures.picture_of_pixels(pixels, '')


def _top(shares: np.ndarray | None, class_names: Sequence[str]) -> tuple[tuple[str, float], ...]:
    if shares is None or len(shares) != len(class_names):
        return ()
    order = np.argsort(-np.asarray(shares), kind='stable')[:N_NAMED]
    return tuple((class_names[int(i)], float(shares[i])) for i in order if shares[i] >= 0.005)


def _alone(name: str) -> tuple[tuple[str, float], ...]:
    """A name whose share is not known."""
    return ((name, math.nan),) if name else ()


def _described(unlike: Unlike, model: str) -> figures.Picture | None:
    if unlike.picture is None:
        return None
    parts = [f'Stimulus {unlike.stimulus}']
    if unlike.label:
        parts.append(f'labelled {unlike.label}')
    for whose, top in (('people', unlike.people), (model, unlike.model)):
        if top:
            share = f' ({100 * top[0][1]:.0f} %)' if math.isfinite(top[0][1]) else ''
            parts.append(f'{whose} say {top[0][0]}{share}')
    return dataclasses.replace(unlike.picture, alt=', '.join(parts))
