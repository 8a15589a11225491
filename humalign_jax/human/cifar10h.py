"""CIFAR-10H: how about 51 people each named every image of the CIFAR-10 test set.

Three files of the authors, in the order of the CIFAR-10 test set. `cifar10h-counts.npy` (needed) and
`cifar10h-probs.npy` hold what remains after people who failed the attention checks were left out: 511,000 answers.
`cifar10h-raw.csv` (in `cifar10h-raw.zip`) holds every trial of all 2,571 people, 200 answers and 10 checks each.

References:
    Peterson et al. (2019). doi:10.1109/ICCV.2019.00971
    https://github.com/jcpeterson/cifar-10h
"""

import csv
import dataclasses
import io
import itertools
import os
import pathlib
import zipfile
import zlib
from collections.abc import Iterable, Iterator

import numpy as np

from humalign_jax import storage
from humalign_jax.human_data import Answers, check_order
from humalign_jax.records import stimulus_ids

N_IMAGES, N_CLASSES = 10_000, 10
CLASS_NAMES = ('airplane', 'automobile', 'bird', 'cat', 'deer', 'dog', 'frog', 'horse', 'ship', 'truck')
FILES = ('cifar10h-counts.npy', 'cifar10h.npz')
PROBABILITIES_FILE = 'cifar10h-probs.npy'
TABLE_FILES = ('cifar10h-raw.csv', 'cifar10h-raw.zip')
LICENCE = 'CC BY-NC-SA 4.0'
CITATION = (
    'Peterson, Battleday, Griffiths & Russakovsky (2019). Human uncertainty makes classification more robust. ICCV. '
    'doi:10.1109/ICCV.2019.00971'
)
MAJORITY_ACCURACY = 0.98  # of all images the majority names 99.21 % as CIFAR-10 does; rows in another order 10 %

# The authors' description calls the last column cifar10_test_set_idx, their file cifar10_test_test_idx.
_INDEX_COLUMNS = ('cifar10_test_test_idx', 'cifar10_test_set_idx')
_COLUMNS = ('annotator_id', 'trial_index', 'is_attn_check', 'true_label', 'chosen_label', 'reaction_time')
_MAX_TABLE_BYTES = 1 << 28  # inflated; 540,000 lines of about 100 characters are 54 MB


def load_answers(folder: str | os.PathLike) -> Answers:
    """CIFAR-10H's counts with the ids 'cifar10/test/00000' and on, their file's hash, licence and citation.

    Raises:
        ValueError: As `load_counts` and `load_probabilities`.
    """
    path = find(folder)
    counts = load_counts(folder)
    if (path.parent / PROBABILITIES_FILE).exists():
        load_probabilities(folder)
    return as_answers(counts, {'file': path.name, 'sha256': storage.file_digest(path)})


def as_answers(counts: np.ndarray, source: dict[str, object]) -> Answers:
    """Counts in the published order as answers that say where they come from, and under which terms."""
    provenance = {**source, 'licence': LICENCE, 'citation': CITATION}
    ids = stimulus_ids('cifar10', 'test', np.arange(len(counts)))
    return Answers(counts, ids, CLASS_NAMES, 'cifar10h', provenance=provenance)


def find(folder: str | os.PathLike) -> pathlib.Path:
    """The file of counts in a folder; ValueError if there is none."""
    folder = pathlib.Path(folder)
    path = next((folder / name for name in FILES if (folder / name).exists()), None)
    if path is None:
        raise ValueError(
            f'{folder} holds neither {FILES[0]} nor {FILES[1]}: get {FILES[0]} from the CIFAR-10H repository of '
            'Peterson et al. (2019) and put it there (on a machine with internet: '
            f'`humalign fetch cifar10h --root {folder}`).'
        )
    return path


def load_counts(folder: str | os.PathLike) -> np.ndarray:
    """How many people chose each class, in the published order of the CIFAR-10 test set.

    Looks for `cifar10h-counts.npy` (the authors' file), then for `cifar10h.npz` with `counts`.

    Args:
        folder: Where the file is.

    Returns:
        int64, [10000, 10]; each row sums to between 47 and 63. Row i belongs to stimulus `cifar10/test/<i>`.

    Raises:
        ValueError: There is no such file, or it does not hold CIFAR-10H.

    References:
        Peterson et al. (2019). doi:10.1109/ICCV.2019.00971
    """
    path = find(folder)
    counts = _numbers_of(path, 'counts' if path.suffix == '.npz' else None)
    if counts.shape != (N_IMAGES, N_CLASSES):
        raise ValueError(f'{path}: counts must be [{N_IMAGES}, {N_CLASSES}], not {list(counts.shape)}.')
    with np.errstate(invalid='ignore'):  # of NaN, which is refused here
        rounded = counts.astype(np.int64)
    if not np.array_equal(rounded, counts) or rounded.min() < 0:
        raise ValueError(f'{path}: counts must be non-negative whole numbers: this may be the file of probabilities.')
    totals = rounded.sum(axis=1)
    if totals.min() < 47 or totals.max() > 63:
        raise ValueError(
            f'{path}: an image of CIFAR-10H has 47 to 63 answers, but here they range from {totals.min()} to '
            f'{totals.max()}: the file is damaged or is another data set.'
        )
    return rounded


def _numbers_of(path: pathlib.Path, key: str | None = None) -> np.ndarray:
    """An array of real numbers, or a ValueError that names the file."""
    values = storage.read_array(path, key=key)
    if values.dtype.kind not in 'fiub':
        raise ValueError(f'{path} must hold numbers, not {values.dtype}.')
    return values


def load_probabilities(folder: str | os.PathLike) -> np.ndarray:
    """Soft labels, float64 [10000, 10], rows sum to 1: counts / their sum.

    Where `cifar10h-probs.npy` lies beside the counts the two are compared; where there is no file of counts it is taken
    alone (soft labels without a noise ceiling).

    Raises:
        ValueError: Neither file is there, the soft labels are no distributions, or they are not those of the counts.
    """
    path = pathlib.Path(folder) / PROBABILITIES_FILE
    if not path.exists():
        counts = load_counts(folder)
        return counts / counts.sum(axis=1, keepdims=True)
    probabilities = _numbers_of(path).astype(np.float64)
    if probabilities.shape != (N_IMAGES, N_CLASSES):
        raise ValueError(f'{path}: soft labels must be [{N_IMAGES}, {N_CLASSES}], not {list(probabilities.shape)}.')
    if not (probabilities.min() >= 0 and np.abs(probabilities.sum(axis=1) - 1.0).max() <= 1e-6):  # NaN is neither
        raise ValueError(f'{path}: soft labels must not be negative or NaN and must sum to 1 for each image.')
    if any((path.parent / name).exists() for name in FILES):
        counts = load_counts(folder)
        differing = np.abs(counts / counts.sum(axis=1, keepdims=True) - probabilities).max(axis=1) > 1e-6
        if differing.any():
            raise ValueError(
                f'{path} and {find(folder).name} disagree on {differing.sum()} images, the first of them '
                f'{int(np.argmax(differing))}: one of the two is damaged or in another order; get both again.'
            )
    return probabilities


def check_labels(counts: np.ndarray, labels: np.ndarray) -> float:
    """Raises ValueError unless answers [n, 10] and CIFAR-10 labels [n] are in one order; see `check_order`."""
    return check_order(counts, labels, name='cifar10h', minimum=MAJORITY_ACCURACY if len(labels) == N_IMAGES else 0.5)


@dataclasses.dataclass(frozen=True)
class Trials:
    """Answers with the people who gave them: one row for each answer to a test image, without attention checks.

    Attributes:
        annotator: Number of the person, int64, [t].
        trial: Place of the answer in the person's session, int64, [t].
        index: Test image in the published order, int64, [t].
        chosen: Chosen class, int64, [t].
        label: CIFAR-10's label, int64, [t].
        reaction_time_ms: As recorded, float64, [t]; a few are negative, which is an error of the log.
        attention: Share of attention checks that each person passed, by the person's number; NaN without checks.
    """

    annotator: np.ndarray
    trial: np.ndarray
    index: np.ndarray
    chosen: np.ndarray
    label: np.ndarray
    reaction_time_ms: np.ndarray
    attention: dict[int, float]

    def __len__(self) -> int:
        return len(self.index)

    def attentive(self, minimum: float = 0.75) -> 'Trials':
        """Answers of the people who passed at least this share of their attention checks."""
        kept = np.array([self.attention[person] >= minimum for person in self.annotator.tolist()], dtype=bool)
        columns = ('annotator', 'trial', 'index', 'chosen', 'label', 'reaction_time_ms')
        return dataclasses.replace(self, **{name: getattr(self, name)[kept] for name in columns})

    def counts(self) -> np.ndarray:
        """How many people chose each class, int64 [10000, 10]."""
        cells = np.bincount(self.index * N_CLASSES + self.chosen, minlength=N_IMAGES * N_CLASSES)
        return cells.reshape(N_IMAGES, N_CLASSES)


def load_trials(folder: str | os.PathLike) -> Trials:
    """The annotator-level table, from `cifar10h-raw.csv` or the archive that it comes in.

    Args:
        folder: Where the file is.

    Returns:
        Answers to test images, in the order of the file.

    Raises:
        ValueError: There is no such file, a column is missing, or a line is not what the authors describe.
    """
    folder = pathlib.Path(folder)
    path = next((folder / name for name in TABLE_FILES if (folder / name).exists()), None)
    if path is None:
        raise ValueError(
            f'{folder} holds neither {TABLE_FILES[0]} nor {TABLE_FILES[1]}: get {TABLE_FILES[1]} from the CIFAR-10H '
            'repository of Peterson et al. (2019) and put it there.'
        )
    if path.suffix == '.csv':
        with open(path, newline='', encoding='utf-8-sig') as file:
            return _trials(file, path)
    try:
        with zipfile.ZipFile(path) as archive:
            members = [one for one in archive.infolist() if pathlib.PurePath(one.filename).name == TABLE_FILES[0]]
            members = [one for one in members if '__MACOSX' not in one.filename]
            if len(members) != 1 or members[0].file_size > _MAX_TABLE_BYTES:
                raise ValueError(f'{path} must hold one {TABLE_FILES[0]} of at most {_MAX_TABLE_BYTES} bytes.')
            with archive.open(members[0]) as file:
                return _trials(io.TextIOWrapper(file, encoding='utf-8-sig', newline=''), path)
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, NotImplementedError, RuntimeError) as error:
        raise ValueError(f'{path} cannot be read ({error}): download it again.') from error


def check_trials(trials: Trials, counts: np.ndarray) -> dict[str, int]:
    """Compares the annotator-level table with the published counts.

    The table has all people, the counts only those who were kept, so every count must be found in the table, and the
    table may have a few answers more.

    Returns:
        Numbers of answers: `table`, `counts`, `only_in_table`.

    Raises:
        ValueError: The counts have answers that the table lacks, or the table has more than 2 % more.
    """
    difference = trials.counts() - counts
    found = {'table': len(trials), 'counts': int(counts.sum()), 'only_in_table': int(difference[difference > 0].sum())}
    if difference.min() < 0:
        image, label = np.argwhere(difference < 0)[0]
        raise ValueError(
            f'the counts have {-int(difference[difference < 0].sum())} answers that the annotator-level table lacks, '
            f'the first of them {CLASS_NAMES[label]!r} for test image {image}: the two files are not in one order, or '
            'one of them is not complete.'
        )
    if found['only_in_table'] > 0.02 * found['counts']:
        raise ValueError(
            f'the annotator-level table has {found["table"]} answers and the counts {found["counts"]}: more than the '
            'few people who failed the attention checks are missing from the counts.'
        )
    return found


def _trials(lines: Iterable[str], path: pathlib.Path) -> Trials:
    try:
        numbers = itertools.chain.from_iterable(_numbers(csv.reader(lines), path))
        rows = np.fromiter(numbers, dtype=np.float64).reshape(-1, len(_COLUMNS) + 1)
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f'{path} is not the comma-separated table that was expected ({error}).') from error
    if not len(rows):
        raise ValueError(f'{path} has a header and no trials.')
    annotator, trial, is_check, label, chosen, reaction_time, index = rows.T
    integers = np.delete(rows, _COLUMNS.index('reaction_time'), axis=1)
    in_range = np.isin(is_check, (0, 1)) & (chosen >= 0) & (chosen < N_CLASSES) & (label >= 0) & (label < N_CLASSES)
    in_range &= (is_check == 1) | ((index >= 0) & (index < N_IMAGES))
    bad = ~in_range | ~(np.rint(integers) == integers).all(axis=1)
    if bad.any():
        raise ValueError(
            f'{path}, line {int(np.argmax(bad)) + 2}: is_attn_check must be 0 or 1, labels 0 to {N_CLASSES - 1}, '
            f'and the test image 0 to {N_IMAGES - 1}.'
        )
    check = is_check == 1
    passed = label[check] == chosen[check]
    people = np.unique(annotator).astype(np.int64)
    n_people = len(people)
    place, place_of_check = (np.searchsorted(people, who) for who in (annotator, annotator[check]))
    n_checks = np.bincount(place_of_check, minlength=n_people)
    with np.errstate(invalid='ignore'):
        share = np.bincount(place_of_check, weights=passed, minlength=n_people) / n_checks
    seen = place[~check] * N_IMAGES + index[~check].astype(np.int64)
    if len(np.unique(seen)) != len(seen):
        raise ValueError(f'{path}: a person answered the same test image twice; the file is joined from several.')
    columns = (annotator, trial, index, chosen, label)
    return Trials(
        *(column[~check].astype(np.int64) for column in columns),
        reaction_time_ms=reaction_time[~check],
        attention=dict(zip(people.tolist(), share.tolist())),
    )


def _numbers(reader: Iterator[list[str]], path: pathlib.Path) -> Iterator[list[float]]:
    """The numeric columns of each line, in the order of `_COLUMNS` and the index."""
    header = next(reader, [])
    index = next((name for name in _INDEX_COLUMNS if name in header), None)
    missing = [name for name in _COLUMNS if name not in header] + ([] if index else [_INDEX_COLUMNS[0]])
    if index is None or missing:
        raise ValueError(f'{path} lacks the columns {", ".join(missing)}; it has {", ".join(header) or "none"}.')
    places = [header.index(name) for name in (*_COLUMNS, index)]
    for number, row in enumerate(reader, start=2):
        if not row:
            continue
        try:
            yield [float(row[place]) for place in places]
        except (ValueError, IndexError) as error:
            raise ValueError(f'{path}, line {number}: a number is missing or is no number ({error}).') from error
