"""Stratified splits and folds of image sets: every part has the classes in the same proportion."""

import dataclasses
import hashlib

import numpy as np

from humalign_jax import records


@dataclasses.dataclass(frozen=True)
class FoldParts:
    """Rows of the three parts of a cross-validation step; together they contain every image once.

    Attributes:
        training: Rows to train on, ascending, int64.
        validation: Rows that choose the epoch, ascending, int64; empty unless folds were set aside.
        held_out: Rows to score, ascending, int64.
    """

    training: np.ndarray
    validation: np.ndarray
    held_out: np.ndarray


def stratified_split(
    images: records.ImageSet, n_validation: int, seed: int
) -> tuple[records.ImageSet, records.ImageSet]:
    """Cuts a validation set from a training set.

    Each class gives its proportional share, rounded by the largest remainder, so that the shares add up to
    `n_validation` exactly. Both parts stay in the published order and keep their stimulus ids.

    Args:
        images: The whole set.
        n_validation: Number of validation images, 1 to n - 1.
        seed: Seed of the choice within each class.

    Returns:
        The training set, with the split's name unchanged, and the validation set, with split 'validation'.

    Raises:
        ValueError: `n_validation` is out of range, or a class would have no image in one of the parts.
    """
    n = len(images)
    if not 0 < n_validation < n:
        raise ValueError(f'n_validation must be 1 to {n - 1} for the {n} images of {images.name}, not {n_validation}.')
    counts = np.bincount(images.labels, minlength=len(images.class_names))
    shares = _largest_remainder(counts, n_validation)
    for part, sizes in (('validation', shares), ('training', counts - shares)):
        empty = np.flatnonzero((sizes == 0) & (counts > 0))
        if len(empty):
            raise ValueError(
                f'a validation set of {n_validation} from {n} images of {images.name} leaves no {part} image of class '
                f'{images.class_names[empty[0]]!r}, which has {counts[empty[0]]} (a class needs two): choose another '
                'n_validation.'
            )
    ranks = _ranks_within_class(images.labels, seed)
    is_validation = ranks < shares[images.labels]
    return (
        images.take(np.flatnonzero(~is_validation)),
        images.take(np.flatnonzero(is_validation), split='validation'),
    )


def stratified_folds(labels: np.ndarray, n_folds: int, seed: int) -> np.ndarray:
    """A fold for every image, with each class spread evenly and fold sizes that differ by at most one image.

    Args:
        labels: Class numbers, [n].
        n_folds: Number of folds, 2 to n.
        seed: Seed of the assignment within each class.

    Returns:
        Fold numbers 0 to n_folds - 1, int64, [n].

    Raises:
        ValueError: `n_folds` is out of range or `labels` is not a vector of class numbers.
    """
    labels = np.asarray(labels)
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer) or (labels < 0).any():
        raise ValueError(f'labels must be class numbers [n], not {labels.dtype} {labels.shape}.')
    if not 2 <= n_folds <= len(labels):
        raise ValueError(f'n_folds must be 2 to {len(labels)}, the number of images, not {n_folds}.')
    # The classes are dealt one after the other without restarting at fold 0, so fold sizes are even too.
    order = np.lexsort((_ranks_within_class(labels, seed), labels))
    folds = np.empty(len(labels), np.int64)
    folds[order] = np.arange(len(labels)) % n_folds
    return folds


def fold_parts(folds: np.ndarray, held_out: int, n_validation_folds: int = 0) -> FoldParts:
    """Rows for training, validation and scoring while one fold is held out.

    Args:
        folds: Fold of every image, as from `stratified_folds`, [n].
        held_out: The fold to score.
        n_validation_folds: Number of following folds, in a circle, that are set aside for validation.

    Raises:
        ValueError: The fold does not exist, or no fold remains for training.
    """
    n_folds = int(folds.max()) + 1
    if not 0 <= held_out < n_folds:
        raise ValueError(f'there are the folds 0 to {n_folds - 1}, but no fold {held_out}.')
    if not 0 <= n_validation_folds <= n_folds - 2:
        raise ValueError(f'of {n_folds} folds 0 to {n_folds - 2} can be set aside, not {n_validation_folds}.')
    distance = (folds - held_out) % n_folds  # 0 for the held-out fold, then in a circle
    return FoldParts(
        training=np.flatnonzero(distance > n_validation_folds),
        validation=np.flatnonzero((distance > 0) & (distance <= n_validation_folds)),
        held_out=np.flatnonzero(distance == 0),
    )


def repeated_images(images: records.ImageSet, others: records.ImageSet) -> np.ndarray:
    """Rows of `images` whose pixels equal those of an image in `others`, ascending, int64."""
    if images.images.shape[1:] != others.images.shape[1:]:
        return np.zeros(0, np.int64)
    known = {hashlib.sha256(image).digest() for image in np.ascontiguousarray(others.images)}
    is_known = [hashlib.sha256(image).digest() in known for image in np.ascontiguousarray(images.images)]
    return np.flatnonzero(is_known)


def _largest_remainder(counts: np.ndarray, total: int) -> np.ndarray:
    """Whole shares of `total`, proportional to `counts` (Hamilton's method; ties go to the lower class number)."""
    quotas, remainders = np.divmod(counts.astype(np.int64) * total, counts.sum())
    most = np.argsort(-remainders, kind='stable')[: total - quotas.sum()]
    quotas[most] += 1
    return quotas


def _ranks_within_class(labels: np.ndarray, seed: int) -> np.ndarray:
    """A random order of each class's images: 0 to count - 1 within every class, [n]."""
    order = np.lexsort((np.random.default_rng(seed).random(len(labels)), labels))
    starts = np.searchsorted(labels[order], labels[order])
    ranks = np.empty(len(labels), np.int64)
    ranks[order] = np.arange(len(labels)) - starts
    return ranks
