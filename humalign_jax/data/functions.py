"""Functions from stimuli to numbers, such as the codes of a sparse autoencoder, as a compressed sparse matrix.

One row is one function, one column one item (an image, a concept). The file is a `.npz` with `indptr`, `indices` and
`values`, and a `.json` beside it with the ids, so that nothing is read one item at a time.
"""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import scipy.sparse

from humalign_jax import arrays, records, storage

# Why a function is left out: no positive item; too few in a set; too few items of value 0 in a set; equal to another.
REASONS = ('dead', 'rare', 'common', 'duplicate')
_ARRAYS = ('indptr', 'indices', 'values')


@dataclasses.dataclass(frozen=True)
class Functions:
    """f functions of n items in CSR form: entries `indptr[i]:indptr[i + 1]` are the non-zero values of function i.

    Attributes:
        indptr: Where each function begins, int64, [f + 1].
        indices: Item rows, int32, [nnz], sorted within a function.
        values: Values of these items, float32, [nnz], none of them 0; items without an entry have the value 0.
        item_ids: Stimulus ids of the items, unique, [n].
        function_ids: Names of the functions, unique, [f].
        name: Name in legends, such as 'sae' or 'wordnet'.
        simulated: True if a program made the functions; every score derived from them says so.
        provenance: Where they come from (run, file, hash, rule of the filter and its counts).
    """

    indptr: np.ndarray
    indices: np.ndarray
    values: np.ndarray
    item_ids: np.ndarray
    function_ids: np.ndarray
    name: str
    simulated: bool = False
    provenance: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        what = f'functions {self.name!r}'
        for field, dtype in zip(_ARRAYS, (np.int64, np.int32, np.float32)):
            object.__setattr__(self, field, np.asarray(getattr(self, field)).astype(dtype, copy=False))
        for field in ('item_ids', 'function_ids'):
            ids = arrays.stimulus_names(getattr(self, field), what)
            records.check_ids(ids, len(ids), f'{field} of {what}')
            object.__setattr__(self, field, ids)
        f, n, nnz = len(self.function_ids), len(self.item_ids), len(self.indices)
        if self.indptr.shape != (f + 1,) or self.values.shape != self.indices.shape or self.indices.ndim != 1:
            raise ValueError(
                f'{what}: {f} functions need indptr [{f + 1}] and as many indices as values, not {self.indptr.shape}, '
                f'{self.indices.shape} and {self.values.shape}.'
            )
        if self.indptr[0] != 0 or self.indptr[-1] != nnz or np.any(np.diff(self.indptr) < 0):
            raise ValueError(f'{what}: indptr must rise from 0 to the number of values, {nnz}.')
        if nnz and (self.indices.min() < 0 or self.indices.max() >= n):
            raise ValueError(f'{what}: item rows must be in 0..{n - 1}, not up to {self.indices.max()}.')
        if np.any(np.diff(self._rows() * n + self.indices) <= 0):
            raise ValueError(f'{what}: item rows must rise within a function, each at most once.')
        if not np.all(np.isfinite(self.values)) or np.any(self.values == 0):
            raise ValueError(f'{what}: values must be finite and not 0; leave items of value 0 out.')

    def __len__(self) -> int:
        return len(self.function_ids)

    @property
    def n_items(self) -> int:
        """Number of items n."""
        return len(self.item_ids)

    @property
    def are_sparse(self) -> bool:
        """Whether more than half of all values are 0; a positive item of dense functions lies above the median."""
        return 2 * len(self.values) < len(self) * self.n_items

    def n_positive(self, items: np.ndarray | None = None) -> np.ndarray:
        """Number of items whose value is not 0, int64, [f]; `items`: rows of the items to count among, default all."""
        counted = np.ones(self.n_items, bool)
        if items is not None:
            counted = np.zeros(self.n_items, bool)
            counted[items] = True
        return np.bincount(self._rows()[counted[self.indices]], minlength=len(self)).astype(np.int64)

    def select(self, rows: np.ndarray) -> 'Functions':
        """The functions of these rows (numbers, or a mask [f]), in this order."""
        rows = np.arange(len(self))[rows]
        return self._with(self._matrix()[rows], function_ids=self.function_ids[rows])

    def select_items(self, ids: np.ndarray) -> 'Functions':
        """The values of these items, in this order.

        Raises:
            ValueError: An item is unknown; the message names the first few.
        """
        place = {item: row for row, item in enumerate(self.item_ids.tolist())}
        wanted = np.asarray(ids).tolist()
        missing = [item for item in wanted if item not in place]
        if missing:
            raise ValueError(
                f'functions {self.name!r} have no values of {len(missing)} of {len(wanted)} items, the first of them '
                f'{", ".join(map(repr, missing[:3]))}; their ids are such as {str(self.item_ids[0])!r}.'
            )
        columns = np.array([place[item] for item in wanted], dtype=np.int64)
        return self._with(self._matrix()[:, columns], item_ids=self.item_ids[columns])

    def dense(self) -> np.ndarray:
        """All values, float32, [f, n]."""
        return self._matrix().toarray()

    @classmethod
    def from_dense(
        cls,
        values: np.ndarray | scipy.sparse.csr_array,
        item_ids: np.ndarray | Sequence[str],
        function_ids: np.ndarray | Sequence[str],
        name: str,
        *,
        simulated: bool = False,
        provenance: Mapping[str, Any] | None = None,
    ) -> 'Functions':
        """The record of a matrix [f, n], one row a function; a SciPy sparse matrix is taken as it is.

        Raises:
            ValueError: The values are not [f, n] or not finite, or an id repeats.
        """
        shape = (len(function_ids), len(item_ids))
        if values.shape != shape:
            raise ValueError(f'functions {name!r}: values must be [f, n] = {shape}, not {values.shape}.')
        matrix = _canonical(scipy.sparse.csr_array(values, dtype=np.float32))
        given = (np.asarray(item_ids), np.asarray(function_ids))
        return cls(matrix.indptr, matrix.indices, matrix.data, *given, name, simulated, provenance or {})

    def _rows(self) -> np.ndarray:
        """Function of each entry, int64, [nnz]."""
        return np.repeat(np.arange(len(self)), np.diff(self.indptr))

    def _matrix(self) -> scipy.sparse.csr_array:
        return scipy.sparse.csr_array((self.values, self.indices, self.indptr), shape=(len(self), self.n_items))

    def _with(self, matrix: scipy.sparse.csr_array, **ids: np.ndarray) -> 'Functions':
        matrix = _canonical(matrix)
        return dataclasses.replace(self, indptr=matrix.indptr, indices=matrix.indices, values=matrix.data, **ids)


def why_unusable(
    functions: Functions,
    *,
    min_positives: int,
    min_negatives: int = 0,
    item_sets: Mapping[str, np.ndarray] | None = None,
) -> np.ndarray:
    """Why each function cannot be used, the first of `REASONS` that holds, [f] strings; '' if it can.

    Args:
        functions: Sparse functions: positive items are those whose value is not 0.
        min_positives: Least number of positive items in each set.
        min_negatives: Least number of items of value 0 in each set.
        item_sets: Rows of the items of each set, such as those of training and of evaluation; None: one set of all.
    """
    sets = {'all': np.arange(functions.n_items)} if item_sets is None else item_sets
    positives = np.stack([functions.n_positive(rows) for rows in sets.values()])  # [sets, f]
    negatives = np.array([len(rows) for rows in sets.values()])[:, None] - positives
    found = {
        'dead': functions.n_positive() == 0,
        'rare': np.any(positives < min_positives, axis=0),
        'common': np.any(negatives < min_negatives, axis=0),
    }
    reasons = np.select(list(found.values()), list(found), default='').astype('<U9')
    seen: set[bytes] = set()
    for row in np.flatnonzero(reasons == ''):
        entries = slice(functions.indptr[row], functions.indptr[row + 1])
        content = functions.indices[entries].tobytes() + functions.values[entries].tobytes()
        if content in seen:
            reasons[row] = 'duplicate'
        seen.add(content)
    return reasons


def usable(
    functions: Functions,
    *,
    min_positives: int,
    min_negatives: int = 0,
    item_sets: Mapping[str, np.ndarray] | None = None,
) -> tuple[Functions, dict[str, int]]:
    """The functions with enough positive and negative items in every set: one list for training and evaluation.

    Args:
        functions: See `why_unusable`, as the other arguments.
        min_positives: Least number of positive items in each set.
        min_negatives: Least number of items of value 0 in each set.
        item_sets: Rows of the items of each set.

    Returns:
        The functions that stay, and how many were left out for each of `REASONS`.

    Raises:
        ValueError: No function stays; the message says why each was left out.
    """
    reasons = why_unusable(functions, min_positives=min_positives, min_negatives=min_negatives, item_sets=item_sets)
    counts = {reason: int(np.sum(reasons == reason)) for reason in REASONS}
    sets = ['all'] if item_sets is None else list(item_sets)
    if np.all(reasons != ''):
        raise ValueError(
            f'none of the {len(functions)} functions {functions.name!r} has {min_positives} positive and '
            f'{min_negatives} negative items in each of {", ".join(sets)}: {counts}. Lower the minimum, or train with '
            'more items.'
        )
    rule = {'min_positives': min_positives, 'min_negatives': min_negatives, 'sets': sets, 'left_out': counts}
    chosen = functions.select(reasons == '')
    return dataclasses.replace(chosen, provenance={**chosen.provenance, 'usable': rule}), counts


def save_functions(path: storage.PathLike, functions: Functions) -> None:
    """Writes `path` (.npz: indptr, indices, values) and a .json beside it with ids, name, provenance and hashes."""
    path = pathlib.Path(path)
    if path.suffix != '.npz':
        raise ValueError(f'{path}: functions are written as .npz with a .json beside them.')
    held = {field: getattr(functions, field) for field in _ARRAYS}
    with storage.atomic_file(path) as file:
        np.savez_compressed(file, **held)
    storage.write_json(
        path.with_suffix('.json'),
        {
            'name': functions.name,
            'simulated': functions.simulated,
            'shape': [len(functions), functions.n_items],
            'sha256': {field: storage.array_digest(values) for field, values in held.items()},
            'provenance': dict(functions.provenance),
            'function_ids': functions.function_ids,
            'item_ids': functions.item_ids,
        },
    )


def load_functions(path: storage.PathLike) -> Functions:
    """The functions that `save_functions` wrote.

    Raises:
        ValueError: A file is missing or damaged, or the two files do not belong together.
    """
    path = pathlib.Path(path)
    held = {field: storage.read_array(path, key=field) for field in _ARRAYS}
    beside = path.with_suffix('.json')
    if not beside.is_file():
        raise ValueError(f'{beside} is missing: it holds the ids of the functions in {path.name}.')
    told = storage.read_json(beside)
    needed = {'name', 'simulated', 'sha256', 'provenance', 'function_ids', 'item_ids'}
    if not isinstance(told, dict) or not needed <= set(told):
        raise ValueError(f'{beside} should hold {", ".join(sorted(needed))}: write both files with save_functions.')
    if told['sha256'] != {field: storage.array_digest(values) for field, values in held.items()}:
        raise ValueError(
            f'{path} and {beside.name} do not belong together: one of the two files was replaced. Write both again.'
        )
    ids = (np.array(told['item_ids'], dtype=np.str_), np.array(told['function_ids'], dtype=np.str_))
    matrix = (held['indptr'], held['indices'], held['values'])
    return Functions(*matrix, *ids, told['name'], told['simulated'], told['provenance'])


def _canonical(matrix: scipy.sparse.csr_array) -> scipy.sparse.csr_array:
    """Without stored zeros, item rows in order."""
    matrix.sum_duplicates()
    matrix.eliminate_zeros()
    matrix.sort_indices()
    return matrix
