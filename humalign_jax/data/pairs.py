"""Pairs of images of one class, for similarity ratings: drawn by seed, and found again by stimulus id."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from humalign_jax import settings
from humalign_jax.records import ImageSet


@dataclasses.dataclass(frozen=True)
class Pairs:
    """p pairs of images, both of one class.

    Attributes:
        names: Pair ids such as '8-01', unique, [p].
        categories: Name of the class of both images, [p].
        rows: Places of both images in their image set, int64, [p, 2].
    """

    names: np.ndarray
    categories: np.ndarray
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.names)


def sample_pairs(images: ImageSet, categories: Sequence[str], n_pairs: int, *, seed: int) -> Pairs:
    """Random pairs within each of some classes; no image is in two pairs.

    The pairs of a class depend on the images, its number and the seed alone: a smaller study is the head of a larger
    one, and further classes change nothing.

    Args:
        images: Where to draw from.
        categories: Names of classes; () for all.
        n_pairs: Pairs of each class.
        seed: Seed of the draw.

    Raises:
        ValueError: There is no such class, it is named twice, or it has fewer than `2 * n_pairs` images.
    """
    chosen = list(categories) or list(images.class_names)
    names, rows = [], []
    for position, category in enumerate(chosen):
        if category not in images.class_names:
            raise ValueError(
                f'{images.name} has no class {category!r}.{settings.nearest(category, images.class_names)}'
            )
        if category in chosen[:position]:
            raise ValueError(f'class {category!r} is named twice: name each class once.')
        label = images.class_names.index(category)
        members = np.flatnonzero(images.labels == label)
        if len(members) < 2 * n_pairs:
            raise ValueError(
                f'{n_pairs} pairs of class {category!r} need {2 * n_pairs} images, but {images.name}/{images.split} '
                f'has {len(members)}: ask for {len(members) // 2} pairs or fewer.'
            )
        members = np.random.default_rng([seed, label]).permutation(members)
        rows.append(members[: 2 * n_pairs].reshape(n_pairs, 2))
        names += [f'{category}-{number:0{max(2, len(str(n_pairs)))}d}' for number in range(1, n_pairs + 1)]
    return Pairs(np.array(names), np.repeat(chosen, n_pairs), np.concatenate(rows).astype(np.int64))


def find_pairs(
    images: ImageSet, ids_a: np.ndarray, ids_b: np.ndarray, categories: np.ndarray, *, name: str
) -> np.ndarray:
    """Places of rated pairs in an image set, joined by stimulus id.

    Args:
        images: Where to look.
        ids_a: Stimulus ids of one member of each pair, [p].
        ids_b: Stimulus ids of the other, [p].
        categories: Name of the class of both, [p].
        name: What the message calls the ratings.

    Returns:
        int64, [p, 2].

    Raises:
        ValueError: An image is not there, or is of another class than the ratings say.
    """
    places = {stimulus: row for row, stimulus in enumerate(images.ids.tolist())}
    wanted = np.stack([np.asarray(ids_a), np.asarray(ids_b)], axis=1)
    missing = [stimulus for stimulus in wanted.ravel().tolist() if stimulus not in places]
    if missing:
        raise ValueError(
            f'{len(missing)} of {wanted.size} images of ratings {name!r} are not in {images.name}/{images.split}, the '
            f'first of them {missing[0]!r}; there the ids are such as {str(images.ids[0])!r}.'
        )
    rows = np.array([[places[stimulus] for stimulus in pair] for pair in wanted.tolist()], dtype=np.int64)
    found = np.array(images.class_names)[images.labels[rows]]
    wrong = np.argwhere(found != np.asarray(categories)[:, None])
    if len(wrong):
        pair, side = wrong[0]
        raise ValueError(
            f'{wanted[pair, side]} is of class {str(found[pair, side])!r}, but ratings {name!r} call it '
            f'{str(categories[pair])!r}: the ratings are about other images, or are numbered in another order.'
        )
    return rows
