"""Similarity ratings of pairs of images: tables with one rating a line, and the images that they may bring along.

The columns are `pair_id, digit, test_idx_a, test_idx_b, rater_id, rating`, in any order; further columns are ignored.
`digit` is the class of both images, by its name; an empty rating is missing. Stimuli are named in one of three ways:

| columns | stimulus ids |
| --- | --- |
| `test_idx_a`, `test_idx_b` | `<dataset>/<split>/<number in the published order>` |
| `source_index_a`, `source_index_b` | `<name of the file>/source/<number>`: images of their own (`read_images`) |
| `stimulus_a`, `stimulus_b` | as they stand there |
"""

import csv
import dataclasses
import gzip
import io
import os
import pathlib
import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from humalign_jax import storage, text
from humalign_jax.human_data import Ratings
from humalign_jax.records import ImageSet, stimulus_ids

SCALE = (1, 10)
_COLUMNS = ('pair_id', 'digit', 'rater_id', 'rating')
_STIMULI = ('test_idx', 'source_index', 'stimulus')  # beginnings of the two columns that name the images
_WHOLE = re.compile(r'([+-]?\d{1,15})(?:\.0*)?', re.ASCII)  # also 7.0, as pandas writes columns with missing numbers
_PUBLISHED = re.compile(r'(.+)/test/(\d{5,})', re.ASCII)


@dataclasses.dataclass(frozen=True)
class _Row:
    """One line of a table; `value` is NaN where the rating is missing."""

    place: str
    pair: str
    stimuli: tuple[str, str, str]  # category and the two stimulus ids
    rater: str
    value: float


def read_ratings(
    paths: storage.PathLike | Sequence[storage.PathLike],
    *,
    dataset: str = 'mnist',
    split: str = 'test',
    name: str = '',
    scale: tuple[int, int] = SCALE,
    encoding: str | None = None,
) -> Ratings:
    """Ratings from one table or from several, such as one for each rater.

    Pairs and raters are sorted by their ids, so that the order of files and lines changes nothing.

    Args:
        paths: Tables separated by commas, semicolons or tabs, plain or gzip-compressed (`.csv.gz`).
        dataset: The data set whose images `test_idx_a` and `test_idx_b` number.
        split: Its split.
        name: What a legend calls the ratings; '' for the name of the first file.
        scale: The lowest and the highest rating.
        encoding: Of the text, such as 'latin-1', where it is neither UTF-8 nor marked.

    Raises:
        ValueError: A column is missing; a cell is empty, no whole number or outside the scale; a pair has two different
            pairs of images; a rater rates a pair twice. The message names file and line.
    """
    files = [pathlib.Path(path) for path in ([paths] if isinstance(paths, str | os.PathLike) else paths)]
    if not files:
        raise ValueError('there is no file with ratings: give at least one.')
    own = name or _stem(files[0])
    rows = [row for path in files for row in _rows(path, f'{dataset}/{split}', own, scale, encoding)]
    pairs: dict[str, _Row] = {}
    rated: dict[tuple[str, str], _Row] = {}
    for row in rows:
        first = pairs.setdefault(row.pair, row)
        if first.stimuli != row.stimuli:
            raise ValueError(
                f'{row.place}: pair {row.pair!r} is {_shown(row)} here, but {_shown(first)} in {first.place}: each '
                'pair needs an id of its own.'
            )
        before = rated.setdefault((row.rater, row.pair), row)
        if before is not row:
            raise ValueError(
                f'{row.place}: rater {row.rater!r} rates pair {row.pair!r} twice, first in {before.place}: remove one '
                'of the two, or give each person an id of their own.'
            )
    given = {key: row.value for key, row in rated.items() if row.value == row.value}
    order = sorted({pair for _, pair in given}, key=_natural)
    raters = sorted({rater for rater, _ in given}, key=_natural)
    if not given:
        raise ValueError(f'{files[0]} holds no rating.')
    categories, ids_a, ids_b = zip(*(pairs[pair].stimuli for pair in order))
    return Ratings(
        pairs=np.array(order),
        ids_a=np.array(ids_a),
        ids_b=np.array(ids_b),
        categories=np.array(categories),
        raters=np.array(raters),
        values=np.array([[given.get((rater, pair), np.nan) for pair in order] for rater in raters]),
        scale=(float(scale[0]), float(scale[1])),
        name=own,
        provenance={'files': [path.name for path in files], 'sha256': [storage.file_digest(path) for path in files]},
    )


def write_ratings(path: storage.PathLike, ratings: Ratings) -> None:
    """Writes ratings as `read_ratings` reads them, missing ones left out; gzip-compressed if the name ends in `.gz`.

    Test images of one data set are written by number, all others by stimulus id.

    Raises:
        ValueError: A rating is no whole number.
    """
    if not np.array_equal(ratings.values, np.rint(ratings.values), equal_nan=True):
        raise ValueError(f'ratings {ratings.name!r} are not whole numbers, which the table holds.')
    published = [[_PUBLISHED.fullmatch(stimulus) for stimulus in ids] for ids in (ratings.ids_a, ratings.ids_b)]
    datasets = {found[1] if found else '' for ids in published for found in ids}
    numbered = len(datasets) == 1 and '' not in datasets
    stimuli = [[str(int(found[2])) for found in ids if found] for ids in published] if numbered else None
    ids_a, ids_b = stimuli or (ratings.ids_a.tolist(), ratings.ids_b.tolist())
    kind = 'test_idx' if numbered else 'stimulus'
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator='\n')
    writer.writerow(['pair_id', 'digit', f'{kind}_a', f'{kind}_b', 'rater_id', 'rating'])
    for column, (pair, category) in enumerate(zip(ratings.pairs, ratings.categories)):
        for rater, value in zip(ratings.raters, ratings.values[:, column]):
            if not np.isnan(value):
                writer.writerow([pair, category, ids_a[column], ids_b[column], rater, int(value)])
    content = buffer.getvalue().encode()
    with storage.atomic_file(path) as file:
        file.write(gzip.compress(content, mtime=0) if pathlib.Path(path).suffix == '.gz' else content)


def read_images(path: storage.PathLike, ratings: Ratings) -> ImageSet:
    """The images that ratings with `source_index_a` and `source_index_b` bring along.

    Args:
        path: A `.npz` file with `image_a` and `image_b`, uint8 [..., h, w], and `source_index`, whole numbers [..., 2],
            the numbers of both.
        ratings: The ratings.

    Returns:
        Each rated image once, labelled with its category.

    Raises:
        ValueError: An array is missing or has another shape, a rated image is not there, or an image is there twice
            with different pixels or is rated in two categories.
    """
    path = pathlib.Path(path)
    index = storage.read_array(path, key='source_index')
    if index.dtype.kind not in 'iu' or index.shape[-1:] != (2,):
        raise ValueError(f'{path}: source_index must be whole numbers [..., 2], not {index.dtype} {index.shape}.')
    found: dict[int, np.ndarray] = {}
    for side, key in enumerate(('image_a', 'image_b')):
        images = storage.read_array(path, key=key)
        if images.dtype != np.uint8 or images.shape[:-2] != index.shape[:-1]:
            raise ValueError(
                f'{path}: {key} must be uint8 {[*index.shape[:-1], "h", "w"]}, not {images.dtype} {images.shape}.'
            )
        for number, image in zip(index[..., side].ravel().tolist(), images.reshape(-1, *images.shape[-2:])):
            if not np.array_equal(found.setdefault(number, image), image):
                raise ValueError(f'{path}: image {number} is there twice, with different pixels.')
    category: dict[str, str] = {}
    for ids in (ratings.ids_a, ratings.ids_b):
        for stimulus, own in zip(ids.tolist(), ratings.categories.tolist()):
            if category.setdefault(stimulus, own) != own:
                raise ValueError(f'{stimulus} is rated as {category[stimulus]!r} and as {own!r}: it has one class.')
    by_id = dict(zip(stimulus_ids(ratings.name, 'source', np.array(list(found))).tolist(), found.items()))
    missing = [stimulus for stimulus in category if stimulus not in by_id]
    if missing:
        raise ValueError(
            f'{path} lacks {len(missing)} of {len(category)} rated images, the first of them {missing[0]!r}; there the '
            f'ids are such as {next(iter(by_id))!r}.'
        )
    names = tuple(sorted(set(category.values()), key=_natural))
    return ImageSet(
        images=np.stack([by_id[stimulus][1] for stimulus in category])[..., None],
        labels=np.array([names.index(own) for own in category.values()], dtype=np.int32),
        index=np.array([by_id[stimulus][0] for stimulus in category], dtype=np.int64),
        class_names=names,
        name=ratings.name,
        split='test',
        stimuli=np.array(list(category)),
        provenance={'file': path.name, 'sha256': storage.file_digest(path)},
    )


def _rows(path: pathlib.Path, published: str, own: str, scale: tuple[int, int], encoding: str | None) -> Iterator[_Row]:
    """The lines of one table."""
    content, _ = text.read_text(path, encoding)
    head = next(iter(text.lines_of(content)), '')
    reader = csv.reader(io.StringIO(content, newline=''), delimiter=max(',;\t', key=head.count), strict=True)
    try:
        header = [cell.strip() for cell in next(reader, [])]
        kind = _kind(path, header)
        for cells in reader:
            place = f'{path}, line {reader.line_num}'
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(header):
                raise ValueError(f'{place} has {len(cells)} cells where the header has {len(header)}.')
            cell = dict(zip(header, (cell.strip() for cell in cells)))
            needed = ('pair_id', 'digit', 'rater_id', f'{kind}_a', f'{kind}_b')
            empty = next((column for column in needed if not cell[column]), None)
            if empty:
                raise ValueError(f'{place}: {empty} is empty.')
            ids = [cell[f'{kind}_{side}'] for side in 'ab']
            if kind != 'stimulus':
                prefix = published if kind == 'test_idx' else f'{own}/source'
                ids = [f'{prefix}/{_number(cell, f"{kind}_{side}", place, 0):05d}' for side in 'ab']
            value = float(_number(cell, 'rating', place, *scale)) if cell['rating'] else float('nan')
            yield _Row(place, cell['pair_id'], (cell['digit'], ids[0], ids[1]), cell['rater_id'], value)
    except csv.Error as error:
        raise ValueError(f'{path}, line {reader.line_num}, is no line of a table ({error}).') from error


def _kind(path: pathlib.Path, header: list[str]) -> str:
    """Beginning of the columns that name the images; ValueError if a column is missing or there are two of them."""
    twice = next((column for column in header if column and header.count(column) > 1), None)
    if twice:
        raise ValueError(f'{path} has two columns {twice!r}.')
    kinds = [kind for kind in _STIMULI if f'{kind}_a' in header and f'{kind}_b' in header]
    missing = [column for column in _COLUMNS if column not in header]
    missing += [] if kinds else [f'{_STIMULI[0]}_a', f'{_STIMULI[0]}_b']
    if missing:
        raise ValueError(
            f'{path} lacks the columns {", ".join(missing)}; it has {", ".join(filter(None, header)) or "none"}.'
        )
    if len(kinds) > 1:
        raise ValueError(f'{path} names the images in two ways, {kinds[0]}_a and {kinds[1]}_a: remove one.')
    return kinds[0]


def _number(cell: dict[str, str], column: str, place: str, low: int, high: int | None = None) -> int:
    """A whole number from `low` to `high`."""
    found = _WHOLE.fullmatch(cell[column])
    number = int(found[1]) if found else low - 1
    if number < low or (high is not None and number > high):
        wanted = f'a whole number, {low} or more' if high is None else f'a whole number from {low} to {high}'
        raise ValueError(f'{place}: {column} is {cell[column]!r}, where {wanted} is expected.')
    return number


def _shown(row: _Row) -> str:
    category, a, b = row.stimuli
    return f'{category} ({a}, {b})'


def _stem(path: pathlib.Path) -> str:
    return path.name.removesuffix('.gz').removesuffix('.csv')


def _natural(name: str) -> list[Any]:
    """Sort key by which r2 comes before r10."""
    return [(int(part), '') if part.isdecimal() else (-1, part) for part in re.split(r'(\d+)', name)]
