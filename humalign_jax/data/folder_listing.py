"""The images in a folder: class and split of each, one table of classes, and the files that are left out.

Two layouts are read, to any depth: `<split>/<class>/.../<image>` and `<class>/.../<image>`. Links to folders are
followed, except a link to a folder above it.
"""

import dataclasses
import hashlib
import os
import pathlib
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from humalign_jax.data import files, image_files

# Names of split folders, in any mixture of capitals.
SPLITS = {
    'train': 'train', 'training': 'train',
    'test': 'test', 'testing': 'test',
    'val': 'validation', 'valid': 'validation', 'validation': 'validation', 'dev': 'validation',
}  # fmt: skip

_EXPECTED = '<split>/<class>/<image> or <class>/<image>'
_N_NAMED = 10  # names in a message


@dataclasses.dataclass(frozen=True)
class Image:
    """An image file of a folder.

    Attributes:
        path: Path relative to the folder, with the characters of the file system.
        split: 'train', 'test' or 'validation' by its split folder, 'all' in a folder without split folders.
        class_name: Name of its class.
        name: Path below the class's parent, in Unicode's composed form, which is the same on every machine.
    """

    path: pathlib.PurePath
    split: str
    class_name: str
    name: str


@dataclasses.dataclass(frozen=True)
class Listing:
    """The content of a folder.

    Attributes:
        images: The images, in the order of their names' code points.
        class_names: The table of classes for every split: the classes of the training images, sorted.
        left_out: Paths below the folder that are not read, by reason.
    """

    images: tuple[Image, ...]
    class_names: tuple[str, ...]
    left_out: Mapping[str, tuple[str, ...]]

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that have images; ('all',) in a folder without split folders."""
        return tuple(sorted({image.split for image in self.images}))


def list_folder(folder: files.PathLike) -> Listing:
    """The images below a folder.

    Raises:
        ValueError: There are no images; splits and classes cannot be distinguished; two class folders differ only in
            capitals, width or blanks; test has a class that train lacks; or a file is in two splits.
    """
    root = pathlib.Path(folder)
    if not root.is_dir():
        raise ValueError(f'{root} is not a folder; {_EXPECTED} was expected there.')
    paths, left_out = _walk(root)
    by_top: dict[str, list[pathlib.PurePath]] = {}
    for path in paths:
        by_top.setdefault(path.parts[0], []).append(path)
    split_of = _split_folders(root, {top: found for top, found in by_top.items() if len(found[0].parts) > 1})
    images = []
    for path in paths:
        split = split_of.get(path.parts[0], 'all')
        below = path.parts[split != 'all' :]
        if len(below) < 2:
            left_out.setdefault('in no class folder', []).append(path.as_posix())
        elif split == 'validation':
            why = 'in a validation folder, of which nothing is read: validation images are cut from train'
            left_out.setdefault(why, []).append(path.as_posix())
        else:
            name = unicodedata.normalize('NFC', '/'.join(below))
            images.append(Image(path, split, name.split('/')[0], name))
    if not images:
        raise ValueError(
            f'{root} has no images: {_EXPECTED} was expected, with <image> ending in '
            f'{", ".join(image_files.ENDINGS)}.{_sentence(left_out)}'
        )
    images = tuple(sorted(images, key=lambda image: (image.split, image.name.split('/'))))
    _refuse_similar_classes(root, images)
    _refuse_repeated(root, images)
    class_names = _class_table(root, images, left_out)
    return Listing(images, class_names, {why: tuple(names) for why, names in left_out.items()})


def held_out(images: Sequence[Image], share: float, seed: int) -> list[bool]:
    """Which images of a folder without split folders are test images, [n].

    An image is a test image if its hash of seed and name is below `share`, so about `share` of each class is held out.
    The split is the same on every machine, and a file added later turns no training image into a test image. The ending
    is no part of the name: `1.png` and `1.tif` are in the same split. In a class of two images or more, the image with
    the lowest hash is always a test image, and the image with the highest hash a training image. A single image is a
    training image.
    """

    def place(image: Image) -> float:
        stem = image.name.removesuffix(pathlib.PurePosixPath(image.name).suffix)
        return int.from_bytes(hashlib.sha256(f'{seed}/{stem}'.encode()).digest()[:8]) / 2**64

    places = [place(image) for image in images]
    of_class: dict[str, list[float]] = {}
    for image, value in zip(images, places, strict=True):
        of_class.setdefault(image.class_name, []).append(value)
    lowest = {name: min(values) for name, values in of_class.items()}
    highest = {name: max(values) for name, values in of_class.items()}
    return [
        (value < share or value == lowest[image.class_name]) and value != highest[image.class_name]
        for image, value in zip(images, places, strict=True)
    ]


def named(names: Iterable[str], n: int = _N_NAMED) -> str:
    """The first few names, and the number of further names."""
    names = list(names)
    return ', '.join(repr(name) for name in names[:n]) + (f' and {len(names) - n} more' if len(names) > n else '')


def summary(left_out: Mapping[str, Sequence[str]]) -> str:
    """Files that are left out, by reason, with the first few names."""
    return '; '.join(f'{len(names)} {why} ({named(names)})' for why, names in left_out.items())


def _sentence(left_out: Mapping[str, Sequence[str]]) -> str:
    return f' Left out: {summary(left_out)}.' if left_out else ''


def _walk(root: pathlib.Path) -> tuple[list[pathlib.PurePath], dict[str, list[str]]]:
    """Image files below a folder, relative to it, and all other files by the reason for leaving them out."""
    found: list[pathlib.PurePath] = []
    left_out: dict[str, list[str]] = {}

    def visit(folder: pathlib.Path, above: frozenset[tuple[int, int]]) -> int:
        status = folder.stat()
        above |= {(status.st_dev, status.st_ino)}
        n_before = len(found)
        for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
            path = pathlib.PurePath(entry.path).relative_to(root)
            why = ''
            if entry.name.startswith('.'):
                why = 'hidden'
            elif entry.is_symlink() and not os.path.exists(entry.path):
                why = 'broken link'
            elif entry.is_dir():
                status = entry.stat()
                if (status.st_dev, status.st_ino) in above:
                    why = 'linked to a folder above'
                elif not visit(pathlib.Path(entry.path), above):
                    why = 'folder without images'
            elif not entry.is_file():
                why = 'no regular file'
            elif path.suffix.lower() not in image_files.ENDINGS:
                why = 'of another ending'
            else:
                _check_name(root, path)
                found.append(path)
            if why:
                left_out.setdefault(why, []).append(path.as_posix())
        return len(found) - n_before

    try:
        visit(root, frozenset())
    except OSError as error:
        raise ValueError(f'{error.filename or root} cannot be read ({error.strerror}).') from error
    return found, left_out


def _check_name(root: pathlib.Path, path: pathlib.PurePath) -> None:
    """Raises ValueError if a path cannot be a line of a text file."""
    name = path.as_posix()
    if not name.isprintable() and any(unicodedata.category(letter) in ('Cc', 'Cs') for letter in name):
        raise ValueError(
            f'{root}: the file {os.fsencode(name)!r} must have a name in UTF-8 without line breaks, because it '
            'becomes a stimulus id: rename it.'
        )


def _split_folders(root: pathlib.Path, by_top: Mapping[str, Sequence[pathlib.PurePath]]) -> dict[str, str]:
    """The split of each split folder, {} where the folders are classes.

    Args:
        root: The folder.
        by_top: Images by the folder directly in `root` that they are in.
    """
    splits = {top: SPLITS[top.casefold()] for top in by_top if top.casefold() in SPLITS}
    classes = [top for top in by_top if top not in splits]
    if not splits:
        for top, paths in by_top.items():
            inner = {SPLITS.get(path.parts[1].casefold(), '') for path in paths if len(path.parts) > 2}
            if 'train' in inner and inner & {'test', 'validation'}:
                raise ValueError(
                    f'{root / top} has the split folders, not {root}: give {root / top} as the root, or, if '
                    f'{top!r} is a class, sort as <split>/<class>/<image>.'
                )
        return {}
    is_flat = {top: all(len(path.parts) == 2 for path in by_top[top]) for top in splits}
    if classes and all(is_flat.values()):
        return {}  # images lie directly in each: there is a class called 'train', as in COCO
    if classes:
        raise ValueError(
            f'{root} has folders with names of splits ({named(splits)}) beside others ({named(classes)}), so that '
            f'splits and classes cannot be distinguished: {_EXPECTED} was expected. Move the others away; or, if '
            f"{next(iter(splits))!r} is a class, put all classes into folders 'train' and 'test'."
        )
    if all(is_flat.values()):
        raise ValueError(
            f'{root} has images directly in its split folders {named(splits)}: <split>/<class>/<image> was expected. '
            'Sort the images of each split into folders of their classes; or, if these are the classes, put them into '
            "folders 'train' and 'test'."
        )
    for split, n in Counter(splits.values()).items():
        if n > 1:
            tops = [top for top in splits if splits[top] == split]
            raise ValueError(f'{root} has {n} folders for the {split} split, {named(tops)}: keep one.')
    return splits


def _refuse_similar_classes(root: pathlib.Path, images: Sequence[Image]) -> None:
    """Raises ValueError if two classes differ only in capitals, width, or blanks around the name."""
    first: dict[str, Image] = {}
    for image in images:
        key = unicodedata.normalize('NFKC', image.class_name).casefold().strip()
        other = first.setdefault(key, image)
        if other.class_name != image.class_name:
            raise ValueError(
                f'{root}: the classes {other.class_name!r} (of {other.path.as_posix()}) and {image.class_name!r} (of '
                f'{image.path.as_posix()}) differ only in capitals, width or blanks: give one class one name, and two '
                'classes names that differ otherwise.'
            )


def _refuse_repeated(root: pathlib.Path, images: Sequence[Image]) -> None:
    """Raises ValueError if two files have the same name in composed form, or a file is in two splits."""
    by_name: dict[tuple[str, str], Image] = {}
    by_file: dict[tuple[int, int], Image] = {}
    for image in images:
        other = by_name.setdefault((image.split, image.name), image)
        if other is not image:
            raise ValueError(
                f'{root}: {other.path.as_posix()!r} and {image.path.as_posix()!r} are written with the same letters '
                f'({other.path.as_posix()!a} and {image.path.as_posix()!a}): rename one of them.'
            )
        status = os.stat(root / image.path)
        other = by_file.setdefault((status.st_dev, status.st_ino), image)
        if other.split != image.split:
            raise ValueError(
                f'{root}: {other.path.as_posix()} and {image.path.as_posix()} are the same file, so that the network '
                'would be scored on what it was trained on: take it out of one split.'
            )


def _class_table(root: pathlib.Path, images: Sequence[Image], left_out: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """The classes of the training images, sorted; of the test images where there is no other split."""
    splits = {image.split for image in images}
    known = {image.class_name for image in images if image.split == ('test' if splits == {'test'} else 'train')}
    if splits == {'all'}:
        known = {image.class_name for image in images}
    for image in images:
        if image.class_name not in known:
            unknown = sorted({i.class_name for i in images} - known)
            raise ValueError(
                f'{root}: test has the classes {named(unknown)}, of which train has no images (train has '
                f'{named(sorted(known), 10)}): rename or remove them, or add training images.{_sentence(left_out)}'
            )
    return tuple(sorted(known))
