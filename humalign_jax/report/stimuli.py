"""Single stimuli of a study: their answers, their pixels, and the pictures behind a cell of a figure."""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from humalign_jax.report import figures
from humalign_jax.report.section import Behind
from humalign_jax.report.study import Study

_MOST = 5  # images behind a cell


@dataclasses.dataclass(frozen=True)
class ExtractedRows:
    """Rows of an extracted layer by stimulus id, over the files that have some."""

    files: tuple[tuple[np.ndarray, Mapping[str, int]], ...]

    @classmethod
    def find(cls, study: Study, model: str, name: str) -> 'ExtractedRows':
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


def class_names(study: Study, model: str, sidecar: Mapping) -> list[str]:
    """Names of the classes of a model's `per_image.npy`; [] if neither it nor extracted labels list them."""
    if sidecar.get('class_names'):
        return [str(name) for name in sidecar['class_names']]
    for _, _, labels in study.arrays(f'features/{_literal(model)}/*/labels.npy'):
        return [str(name) for name in labels.get('class_names', ())]
    return []


def distributions(
    values: np.ndarray, columns: Sequence[str], whose: str, class_names: Sequence[str]
) -> np.ndarray | None:
    """Columns `<whose>/<class>` of per_image.npy, [n, k]; None if they are not there."""
    names = [f'{whose}/{name}' for name in class_names]
    if not names or not set(names) <= set(columns):
        return None
    return np.asarray(values[:, [columns.index(name) for name in names]], np.float64)


@dataclasses.dataclass(frozen=True)
class ImageAnswers:
    """What people and one model answer to each stimulus.

    Attributes:
        ids: Stimulus ids, [n].
        labels: Class numbers, [n]; -1 where not known.
        class_names: Names of the k classes.
        by: Shares of the classes, [n, k], of 'human' and of 'model' where they are known.
        pixels: Rows of extracted pixels.
    """

    ids: list[str]
    labels: np.ndarray
    class_names: list[str]
    by: Mapping[str, np.ndarray]
    pixels: ExtractedRows

    def shares(self, whose: str) -> np.ndarray | None:
        """Shares of 'human' or 'model', [n, k]; None if they are not known."""
        return self.by.get(whose)


def answers(study: Study, model: str) -> ImageAnswers | None:
    """The answers that `alignment/<model>/per_image.npy` holds; None without the file or the names of classes."""
    found = study.array(f'alignment/{model}/per_image.npy')
    if found is None:
        return None
    values, sidecar = found
    columns, names = [str(column) for column in sidecar.get('columns', ())], class_names(study, model, sidecar)
    if not names:
        return None
    ids = [str(stimulus) for stimulus in sidecar['ids']]
    if 'label' in columns:
        labels = np.nan_to_num(np.asarray(values[:, columns.index('label')], np.float64), nan=-1.0).astype(int)
    else:
        rows = ExtractedRows.find(study, model, 'labels')
        labels = np.array([-1 if (row := rows.row(stimulus)) is None else int(row) for stimulus in ids])
    by = {whose: shares for whose in ('human', 'model')
          if (shares := distributions(values, columns, whose, names)) is not None}  # fmt: skip
    return ImageAnswers(ids, labels, names, by, ExtractedRows.find(study, model, 'pixels'))


def pixels(flat: np.ndarray | None) -> np.ndarray | None:
    """An image of values in [0, 1], square with three channels or one, as uint8; None if it has another shape."""
    for channels in (3, 1):
        side = 0 if flat is None else math.isqrt(flat.size // channels)
        if flat is not None and side * side * channels == flat.size:
            return np.rint(255.0 * np.clip(flat.reshape(side, side, channels), 0.0, 1.0)).astype(np.uint8)
    return None


def behind(study: Study, name: str, text: str, ids: Iterable[str], rows: ExtractedRows) -> Behind:
    """The first images behind a cell: pixels that a program made, else the ids alone, which name files of folders."""
    chosen = tuple(ids)[:_MOST]
    found = [pixels(rows.row(stimulus)) for stimulus in chosen] if study.simulated else []
    images = [image for image in found if image is not None]
    picture = None
    if images and len({image.shape for image in images}) == 1:
        gap = np.full((images[0].shape[0], 1, images[0].shape[2]), 255, np.uint8)
        strip = np.concatenate([part for image in images for part in (image, gap)][:-1], axis=1)
        picture = figures.picture_of_strip(strip, f'{text}: {", ".join(chosen)}')
    return Behind(name, text, picture, chosen)


def by_class(study: Study) -> dict[str, list[str]]:
    """Ids of the stimuli of each class, from the extracted labels of test images, else of any."""
    found: dict[str, list[str]] = {}
    for pattern in ('features/*/test/labels.npy', 'features/*/*/labels.npy'):
        for _, labels, sidecar in study.arrays(pattern):
            names = [str(name) for name in sidecar.get('class_names', ())]
            if names and not found:
                for stimulus, label in zip(sidecar.get('ids', ()), labels):
                    found.setdefault(names[int(label)], []).append(str(stimulus))
    return found


def _literal(name: str) -> str:
    """A name inside a glob pattern that stands for itself."""
    return ''.join(f'[{c}]' if c in '*?[' else c for c in name)
