"""THINGS: odd-one-out choices about 1,854 object concepts, and embeddings made from such choices.

A folder holds `concepts.tsv` and choices in one of these forms:

    triplets_large_final_correctednc_correctedorder.csv   4.7 million trials, tab-separated with a header: image1,
        image2, image3 (concepts, from 1), choice (place of the odd one out, from 1), subject_id
    triplets.npz        `triplets` [t, 3], concepts from 0, column 2 is the odd one out
    any .txt            three numbers a line, concepts from 0, the third is the odd one out

A `.json` beside the choices may say that a program made them (`simulated`), and their `name`.

Two numberings of the concepts exist. 'unique_id' is the published order of the concepts, which the first two files use.
'file_names' is the sorted order of the image file names (`camera1_01b.jpg` before `camera_lens_01b.jpg`), which the
first text files of the authors and embeddings trained on them use. They differ for 21 concepts; column
`triplet_source_index` of `concepts.tsv` translates.

References:
    Hebart et al. (2020). doi:10.1038/s41562-020-00951-3
    Hebart et al. (2023). doi:10.7554/eLife.82580
"""

import dataclasses
import gzip
import os
import pathlib
import warnings

import numpy as np

from humalign_jax import storage, text
from humalign_jax.human_data import Triplets
from humalign_jax.records import Features

CONCEPTS_FILE = 'concepts.tsv'
ORIGINAL_FILE = 'triplets_large_final_correctednc_correctedorder.csv'
FILES = (ORIGINAL_FILE, f'{ORIGINAL_FILE}.gz', 'triplets.npz')
NUMBERINGS = ('unique_id', 'file_names')
LICENCE = 'CC BY 4.0'
CITATION = (
    'Hebart, Zheng, Pereira & Baker (2020). Revealing the multidimensional mental representations of natural objects '
    'underlying human similarity judgements. Nature Human Behaviour. doi:10.1038/s41562-020-00951-3'
)
_COLUMNS = ('image1', 'image2', 'image3', 'choice')
_PARTICIPANT = 'subject_id'


@dataclasses.dataclass(frozen=True)
class Concepts:
    """The concepts in the published order.

    Attributes:
        ids: `unique_id` of each concept, its stimulus id, [n].
        source_index: Number of each concept in the sorted order of the image file names, from 0, int64, [n].
    """

    ids: np.ndarray
    source_index: np.ndarray

    def rows(self, numbers: np.ndarray, numbering: str) -> np.ndarray:
        """Concept numbers of a numbering, from 0, as rows of `ids`; numbers outside become themselves."""
        if numbering == 'unique_id':
            return numbers
        row_of = np.argsort(self.source_index)
        inside = (numbers >= 0) & (numbers < len(row_of))
        return np.where(inside, row_of[np.where(inside, numbers, 0)], numbers)


def load_concepts(folder: str | os.PathLike) -> Concepts:
    """Reads `concepts.tsv`.

    Raises:
        ValueError: The file is missing, lacks a column, or its numbers are no permutation.
    """
    path = pathlib.Path(folder) / CONCEPTS_FILE
    if not path.is_file():
        raise ValueError(
            f'{folder} holds no {CONCEPTS_FILE}: put the table of THINGS concepts there, tab-separated, with the '
            'columns unique_id and triplet_source_index in the order of unique_id (third_party/things/README.md).'
        )
    lines = [line.split('\t') for line in text.lines_of(text.read_text(path)[0]) if line]
    header, rows = lines[0], lines[1:]
    missing = [name for name in ('unique_id', 'triplet_source_index') if name not in header]
    if missing or not rows:
        raise ValueError(f'{path} lacks {", ".join(missing) or "rows"}; its columns are {", ".join(header)}.')
    short = next((k for k, row in enumerate(rows) if len(row) < len(header)), None)
    if short is not None:
        raise ValueError(f'{path}, line {short + 2}, has {len(rows[short])} columns instead of {len(header)}.')
    ids = np.array([row[header.index('unique_id')] for row in rows], dtype=np.str_)
    try:
        source_index = np.array([int(row[header.index('triplet_source_index')]) for row in rows])
    except ValueError as error:
        raise ValueError(f'{path}: triplet_source_index must be whole numbers ({error}).') from error
    if not np.array_equal(np.sort(source_index), np.arange(len(ids))):
        raise ValueError(f'{path}: triplet_source_index must hold each of 0 to {len(ids) - 1} once.')
    return Concepts(ids, source_index)


def load_triplets(folder: str | os.PathLike, *, file: str = '', numbering: str = '') -> Triplets:
    """The odd-one-out choices of a folder, with `unique_id` as stimulus ids.

    Args:
        folder: The folder with `concepts.tsv` and the choices.
        file: Name of the file with the choices; '' for the first of `FILES`.
        numbering: One of `NUMBERINGS`; '' for that of the file's format, which a .txt file does not tell.

    Returns:
        The choices. Participants and the order of presentation are known for the tab-separated original only.

    Raises:
        ValueError: A file is missing or damaged, a .txt file comes without `numbering`, or an item is out of range.
    """
    folder = pathlib.Path(folder)
    concepts = load_concepts(folder)
    names = (file,) if file else FILES
    path = next((folder / name for name in names if (folder / name).is_file()), None)
    if path is None:
        raise ValueError(f'{folder} holds no {" or ".join(names)}: see third_party/things/README.md for what to get.')
    if numbering not in ('', *NUMBERINGS):
        raise ValueError(f'numbering={numbering!r} must be one of {", ".join(NUMBERINGS)}, or empty.')
    participants = None
    if path.suffix == '.npz':
        items, odd, first = _checked(storage.read_array(path, key='triplets'), path), None, 0
    elif path.suffix == '.txt':
        if not numbering:
            raise ValueError(
                f'{path} does not tell how it numbers the concepts: give numbering=file_names (first files of the '
                'authors, such as data1854_batch5_test10.txt) or numbering=unique_id (files of Hebart et al. 2023).'
            )
        items, odd, first = _checked(_numbers(path), path), None, 0
    else:
        items, odd, participants = _original(path)
        first = 1
    wrong = (items < first) | (items >= len(concepts.ids) + first)
    if wrong.any():
        trial, place = np.argwhere(wrong)[0]
        raise ValueError(
            f'{path}: trial {trial} (from 0) has the concept {items[trial, place]}, but the {len(concepts.ids)} '
            f'concepts are {first} to {len(concepts.ids) + first - 1} there ({wrong.any(axis=1).sum()} such trials).'
        )
    items = concepts.rows(items - first, numbering or 'unique_id')
    about = storage.read_sidecar(path)
    simulated = bool(about.get('simulated'))
    provenance = {
        'file': path.name,
        'sha256': storage.file_digest(path),
        'numbering': numbering or 'unique_id',
        **({} if simulated else {'licence': LICENCE, 'citation': CITATION}),
    }
    return Triplets(
        concepts.ids,
        items,
        np.full(len(items), 2) if odd is None else odd,
        about.get('name', 'THINGS triplets'),
        participants=participants,
        in_order=odd is not None,
        simulated=simulated,
        provenance=provenance,
    )


def load_embedding(folder: str | os.PathLike, name: str) -> Features:
    """An embedding of the concepts, by the name of its array in a `.npz` file of the folder, such as 'vice_42d'.

    Rows must be in the order of `unique_id`. Files with other contents are passed over.

    Raises:
        ValueError: No file has such an array, or it does not have a row for each concept.
    """
    concepts, found = load_concepts(folder), []
    for path in sorted(pathlib.Path(folder).glob('*.npz')):
        with np.load(path, allow_pickle=False) as arrays:
            matrices = [key for key in arrays.files if len(arrays[key]) == len(concepts.ids) and arrays[key].ndim == 2]
            if name in matrices:
                provenance = {'file': path.name, 'key': name, 'sha256': storage.file_digest(path)}
                return Features(arrays[name], concepts.ids, name, provenance)
            found += matrices
    raise ValueError(
        f'{folder} has no embedding {name!r} with a row for each of the {len(concepts.ids)} concepts; there are '
        f'{", ".join(found) or "none"}.'
    )


def _checked(values: np.ndarray, path: pathlib.Path) -> np.ndarray:
    if values.ndim != 2 or values.shape[1] != 3 or values.dtype.kind not in 'iu' or not len(values):
        raise ValueError(f'{path}: triplets must be whole numbers [t, 3], not {values.dtype} {list(values.shape)}.')
    return values.astype(np.int64)


def _numbers(path: pathlib.Path) -> np.ndarray:
    try:
        return np.loadtxt(path, dtype=np.int64, ndmin=2)
    except (ValueError, UnicodeDecodeError) as error:
        raise ValueError(f'{path} must hold three whole numbers a line ({error}).') from error


def _original(path: pathlib.Path) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Items from 1 [t, 3], places of the odd ones from 0 [t], and participants [t] where there is such a column."""
    opened = gzip.open if path.suffix == '.gz' else open
    with opened(path, 'rt', encoding='utf-8-sig') as lines, warnings.catch_warnings():
        warnings.simplefilter('ignore')  # NumPy's remark about a file without rows, which is refused below
        header = lines.readline().rstrip('\r\n').split('\t')
        missing = [name for name in _COLUMNS if name not in header]
        if missing:
            raise ValueError(
                f'{path} lacks the columns {", ".join(missing)}: a tab-separated table with a header is expected, but '
                f'its first line has {", ".join(header)[:200]!r}.'
            )
        names = [*_COLUMNS, *([_PARTICIPANT] if _PARTICIPANT in header else [])]
        kinds = [(name, np.int64) for name in _COLUMNS] + [(name, 'U32') for name in names[len(_COLUMNS) :]]
        try:
            table = np.loadtxt(
                lines,
                dtype=kinds,
                delimiter='\t',
                comments=None,
                usecols=[header.index(name) for name in names],
                ndmin=1,
            )
        except (ValueError, UnicodeDecodeError) as error:
            raise ValueError(f'{path}: image1 to image3 and choice must be whole numbers ({error}).') from error
    if not len(table):
        raise ValueError(f'{path} has a header and no trials.')
    odd = table['choice'] - 1
    if odd.min() < 0 or odd.max() > 2:
        trial = int(np.argmax((odd < 0) | (odd > 2)))
        raise ValueError(f'{path}: trial {trial} (from 0) has choice {odd[trial] + 1}, which must be 1, 2 or 3.')
    items = np.stack([table[name] for name in _COLUMNS[:3]], axis=1)
    return items, odd, table[_PARTICIPANT] if _PARTICIPANT in header else None
