"""The images on which a model is least like people, with both distributions of answers."""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np

from humalign_jax.report import figures
from humalign_jax.report.section import Cards, Options, Section, Unlike, Words
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
    class_names = _class_names(study, model, sidecar)
    people = _distributions(values, columns, 'human', class_names)
    own = _distributions(values, columns, 'model', class_names)
    extracted = {name: _Rows.find(study, model, name) for name in ('pixels', 'probs', 'labels')}

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
                picture=_picture(extracted['pixels'].row(ids[i])),
            )
        )
    return [dataclasses.replace(u, picture=_described(u, model)) for u in unlike]


@dataclasses.dataclass(frozen=True)
class _Rows:
    """Rows of an extracted layer by stimulus id, over the files that have some."""

    files: tuple[tuple[np.ndarray, Mapping[str, int]], ...]

    @classmethod
    def find(cls, study: Study, model: str, name: str) -> '_Rows':
        """The model's own files; of pixels and labels, which are no model's, any others after them."""
        patterns = [f'features/{_literal(model)}/*/{name}.npy']
        patterns += [f'features/*/*/{name}.npy'] if name != 'probs' else []
        return cls(
            tuple(
                (values, {str(stimulus): row for row, stimulus in enumerate(sidecar.get('ids', ()))})
                for pattern in patterns
                for _, values, sidecar in study.arrays(pattern)
            )
        )

    def row(self, stimulus: str) -> np.ndarray | None:
        """One stimulus's values, None if no file has it."""
        return next((np.asarray(values[rows[stimulus]]) for values, rows in self.files if stimulus in rows), None)


def _class_names(study: Study, model: str, sidecar: Mapping) -> list[str]:
    if sidecar.get('class_names'):
        return [str(name) for name in sidecar['class_names']]
    for _, _, labels in study.arrays(f'features/{_literal(model)}/*/labels.npy'):
        return [str(name) for name in labels.get('class_names', ())]
    return []


def _distributions(
    values: np.ndarray, columns: Sequence[str], whose: str, class_names: Sequence[str]
) -> np.ndarray | None:
    """Columns `<whose>/<class>` of per_image.npy, [n, k]; None if they are not there."""
    names = [f'{whose}/{name}' for name in class_names]
    if not names or not set(names) <= set(columns):
        return None
    return np.asarray(values[:, [columns.index(name) for name in names]], np.float64)


def _top(shares: np.ndarray | None, class_names: Sequence[str]) -> tuple[tuple[str, float], ...]:
    if shares is None or len(shares) != len(class_names):
        return ()
    order = np.argsort(-np.asarray(shares), kind='stable')[:N_NAMED]
    return tuple((class_names[int(i)], float(shares[i])) for i in order if shares[i] >= 0.005)


def _alone(name: str) -> tuple[tuple[str, float], ...]:
    """A name whose share is not known."""
    return ((name, math.nan),) if name else ()


def _picture(flat: np.ndarray | None) -> figures.Picture | None:
    """An image of values in [0, 1], square with three channels or one; None if it has another shape."""
    for channels in (3, 1):
        side = 0 if flat is None else math.isqrt(flat.size // channels)
        if flat is not None and side * side * channels == flat.size:
            pixels = np.rint(255.0 * np.clip(flat.reshape(side, side, channels), 0.0, 1.0)).astype(np.uint8)
            return figures.picture_of_pixels(pixels, '')
    return None


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


def _literal(name: str) -> str:
    """A name inside a glob pattern that stands for itself."""
    return ''.join(f'[{c}]' if c in '*?[' else c for c in name)
