"""Images in folders named after their classes."""

import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from absl import logging

from humalign_jax import records
from humalign_jax.data import files, folder_listing, image_files


def load_image_folder(
    split: str,
    *,
    root: str = '',
    dataset: str = 'image_folder',
    size_px: int = 224,
    fit: str = 'crop',
    grey: bool = False,
    test_share: float = 0.2,
    split_seed: int = 0,
) -> records.ImageSet:
    """Images from `root/<split>/<class>/.../*`, or from `root/<class>/.../*` where there are no split folders.

    Both splits have the same class numbers: the sorted names of the training classes. A folder without split folders is
    split by a hash of `split_seed` and each path; a warning and the provenance record it. Images are sorted by the code
    points of their paths.

    The id of an image is `<dataset>/<split>/<class>/.../<file>`, such as `zoo/test/bee/1.png`, with `all` for the split
    where there are no split folders. It does not change when files are added.

    Args:
        split: 'train' or 'test'. Split folders may also be called 'training' and 'testing'.
        root: The folder; '' means `$HUMALIGN_DATA`, else `~/.cache/humalign_jax`.
        dataset: Name of the dataset, the first part of every stimulus id.
        size_px: Side of the square images.
        fit: 'crop' resizes the shorter side to `size_px` and cuts out the centre, 'stretch' resizes both sides.
        grey: One channel instead of three.
        test_share: In a folder without split folders, the share of each class that is held out for test, [0, 1). Each
            class of two images or more has at least one test image, unless the share is 0.
        split_seed: In a folder without split folders, the seed of the choice of test images.

    Returns:
        The images, [n, size_px, size_px, 3 or 1], with the extra `path`: each image's path relative to `root`, [n]
        strings. The provenance and the log record how test images were held out and which files were left out.

    Raises:
        ValueError: No folder, no images, an option out of range, classes or splits that cannot be distinguished, a test
            class that train lacks, or images that cannot be read; the message names them.
    """
    if split not in ('train', 'test'):
        raise ValueError(f"split must be 'train' or 'test', not {split!r}.")
    if fit not in ('crop', 'stretch'):
        raise ValueError(f"fit must be 'crop' or 'stretch', not {fit!r}.")
    if size_px < 1:
        raise ValueError(f'size_px must be at least 1, not {size_px}.')
    if not 0 <= test_share < 1:
        raise ValueError(f'test_share must be at least 0 and below 1, not {test_share}.')
    if not dataset or '/' in dataset:
        raise ValueError(f"dataset must be a name without '/', not {dataset!r}: it begins every stimulus id.")
    folder = files.data_root(root)
    listing = folder_listing.list_folder(folder)
    chosen, provenance = _of_split(listing, split, str(folder), test_share, split_seed)
    left_out = _left_out(listing, split)
    if left_out:
        provenance['files_left_out'] = folder_listing.summary(left_out)
        logging.warning('Left out below %s: %s.', folder, provenance['files_left_out'])
    number = {class_name: k for k, class_name in enumerate(listing.class_names)}
    labels = np.array([number[image.class_name] for image in chosen], np.int32)
    missing = [name for name, k in number.items() if k not in labels]
    if missing:
        logging.warning('%s: no %s image is of class %s.', folder, split, folder_listing.named(missing))
    logging.info('%s: %d %s images of %s.', folder, len(chosen), split, folder_listing.named(listing.class_names))
    images, notes = _read(folder, chosen, size_px=size_px, fit=fit, grey=grey)
    return records.ImageSet(
        images=images,
        labels=labels,
        index=np.arange(len(chosen), dtype=np.int64),
        class_names=listing.class_names,
        name=dataset,
        split=split,
        extras={'path': np.array([image.path.as_posix() for image in chosen], dtype=np.str_)},
        stimuli=np.array([f'{dataset}/{image.split}/{image.name}' for image in chosen], dtype=np.str_),
        provenance=provenance | notes,
    )


def _of_split(
    listing: folder_listing.Listing, split: str, folder: str, test_share: float, seed: int
) -> tuple[list[folder_listing.Image], dict[str, Any]]:
    """The images of a split, and the provenance of their choice."""
    if listing.splits != ('all',):
        chosen = [image for image in listing.images if image.split == split]
        if not chosen:
            raise ValueError(
                f'{folder} has no images of the {split} split (<split>/<class>/<image>), only of '
                f'{", ".join(listing.splits)}.{_way_out(listing, folder)}'
            )
        return chosen, {}
    if test_share == 0:
        if split == 'test':
            raise ValueError(f'{folder} has no split folders, and test_share=0 holds out no test images: raise it.')
        return list(listing.images), {}
    is_test = folder_listing.held_out(listing.images, test_share, seed)
    chosen = [image for image, out in zip(listing.images, is_test, strict=True) if out == (split == 'test')]
    if not chosen:
        raise ValueError(
            f'{folder} has no split folders, and no class has two images, of which one could be held out for test.'
        )
    how = (
        f'{sum(is_test)} of {len(is_test)} images held out by split_seed={seed}, about {test_share:.3g} of each class: '
        'the folder has no split folders'
    )
    logging.warning('%s: test is %s.', folder, how)
    return chosen, {'test_split': how}


def _way_out(listing: folder_listing.Listing, folder: str) -> str:
    """Advice for a message about a missing split."""
    words = f' Left out: {folder_listing.summary(listing.left_out)}.' if listing.left_out else ''
    tops = {path.split('/')[0] for paths in listing.left_out.values() for path in paths}
    validation = sorted(top for top in tops if folder_listing.SPLITS.get(top.casefold()) == 'validation')
    if validation:
        words += f" If {folder_listing.named(validation)} is to be scored, rename it to 'test'."
    if listing.splits == ('train',):
        train = listing.images[0].path.parts[0]
        words += f' With {folder}/{train} as the root, test images are held out of it by split_seed.'
    return words


def _left_out(listing: folder_listing.Listing, split: str) -> dict[str, Sequence[str]]:
    """Files that are left out, by reason, without files in the folder of the other split."""
    other = 'test' if split == 'train' else 'train'
    elsewhere = {image.path.parts[0] for image in listing.images if image.split == other}
    kept = {why: [p for p in paths if p.split('/')[0] not in elsewhere] for why, paths in listing.left_out.items()}
    return {why: paths for why, paths in kept.items() if paths}


def _read(
    folder: pathlib.Path, chosen: Sequence[folder_listing.Image], **options: Any
) -> tuple[np.ndarray, dict[str, str]]:
    """The images, [n, size_px, size_px, 3 or 1], and provenance of changes to some of them.

    Raises:
        ValueError: Some cannot be read; the message names the first few, and the reason for the first.
    """
    images, first_error, damaged = [], None, []
    done: dict[str, list[str]] = {}
    for image in chosen:
        try:
            values, notes = image_files.read_with_notes(folder / image.path, **options)
        except ValueError as error:
            first_error = first_error or error
            damaged.append(image.path.as_posix())
            continue
        images.append(values)
        for note in notes:
            done.setdefault(note, []).append(image.path.as_posix())
    if first_error:
        more = f' So must {len(damaged) - 1} more: {folder_listing.named(damaged[1:], 10)}.' if damaged[1:] else ''
        raise ValueError(f'{first_error}{more}') from first_error
    said = {'images_changed': folder_listing.summary(done)} if done else {}
    if done:
        logging.warning('Images below %s: %s.', folder, said['images_changed'])
    return np.stack(images), said
