"""Arrays from users and other libraries: converted to plain NumPy arrays, or refused with their name.

Lists, np.matrix, pandas frames, torch tensors, jax arrays and half precision are converted. Sparse, masked, complex,
ragged and object arrays and text are refused, because NumPy would change their numbers or fail later.
"""

from typing import Any

import numpy as np

SYMMETRY_TOLERANCE = 1e-5  # of the largest value: float32 matrices are symmetric to rounding only


def numeric(values: Any, what: str) -> np.ndarray:
    """Real numbers as a plain float array of the same shape, in the machine's byte order.

    float16, float32 and float64 keep their type and are not copied, np.memmap is not read. bfloat16 and the other types
    of ml_dtypes become float32, booleans, integers and longer floats float64.

    Args:
        values: An array, or anything that np.asarray takes: a list, a pandas frame or series, a torch tensor.
        what: Name of the values in messages, such as "features 'net'".

    Raises:
        ValueError: The values are sparse, masked, complex, ragged, text or Python objects.
    """
    array = _dense(values, what)
    kind = array.dtype.kind
    if kind == 'V' and np.can_cast(array.dtype, np.float32):  # ml_dtypes: bfloat16, float8, int4
        return array.astype(np.float32)
    if kind in 'biu' or (kind == 'f' and array.dtype.itemsize > 8):
        return array.astype(np.float64)
    if kind == 'f':
        return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder('='))
    advice = {
        'c': 'give the real part, the absolute value, or both as features of their own',
        'O': 'values may be missing, ragged or text: convert with np.array(values, dtype=float)',
        'V': 'give one field of it; bfloat16 must be float32 before NumPy saves it',
    }.get(kind, 'convert it first')
    named = {'c': 'complex numbers', 'O': 'Python objects', 'U': 'text', 'S': 'text', 'T': 'text', 'V': 'raw bytes'}
    came = f'{named.get(kind, "an array")} ({_named(values, array)})'
    raise ValueError(f'{what} must be real numbers, not {came}: {advice}.')


def real(values: Any, what: str) -> np.ndarray:
    """Like `numeric`, but booleans and integers keep their type, which saves memory for large arrays."""
    plain = type(values) in (np.ndarray, np.memmap) and values.dtype.kind in 'biu'
    return values if plain else numeric(values, what)


def condensed(values: Any, what: str) -> np.ndarray:
    """RDMs as condensed rows, [k, p], in SciPy's order.

    Args:
        values: One RDM, condensed [p] or square [n, n], or several, [k, p] or [k, n, n]. A square array is one RDM.
        what: Name of the values in messages.

    Raises:
        ValueError: The shape is none of these, or a square matrix is not symmetric with a zero diagonal.
    """
    array = numeric(values, what)
    if array.ndim == 2 and array.shape[0] == array.shape[1] > 1:
        array = array[None]
    if array.ndim == 3 and array.shape[1] == array.shape[2] > 1:
        for square in array:
            _check_square(square, what)
        first, second = np.triu_indices(array.shape[1], 1)
        return array[:, first, second]
    array = array[None] if array.ndim == 1 else array
    n_pairs = array.shape[-1] if array.ndim == 2 else 0
    n = (1 + int(np.sqrt(1 + 8 * n_pairs))) // 2
    if n_pairs < 1 or n * (n - 1) // 2 != n_pairs:
        raise ValueError(
            f'{what} must be condensed, [p] or [k, p] with p = n (n - 1) / 2, or square, [n, n] or [k, n, n], not '
            f'{list(np.shape(values))}.'
        )
    return array


def _check_square(square: np.ndarray, what: str) -> None:
    """Raises ValueError unless a matrix is symmetric with a zero diagonal."""
    scale, diagonal = np.nanmax(np.abs(square)), np.nanmax(np.abs(np.diag(square)))
    if diagonal > SYMMETRY_TOLERANCE * scale:
        raise ValueError(
            f'{what}: the diagonal of an RDM must be zero, but reaches {diagonal:.4g}: if this is a similarity matrix, '
            'turn it into distances first.'
        )
    gaps = np.abs(square - square.T)
    if np.nanmax(gaps) > SYMMETRY_TOLERANCE * scale:
        i, j = np.unravel_index(np.nanargmax(gaps), gaps.shape)
        raise ValueError(
            f'{what}: an RDM must be symmetric, but ({i}, {j}) and ({j}, {i}) differ by {np.nanmax(gaps):.4g}.'
        )


def stimulus_names(ids: Any, what: str) -> np.ndarray:
    """Stimulus ids as an array of strings, [n]. Whole numbers become text: 7 and 7.0 become '7'.

    Args:
        ids: Strings, bytes in UTF-8, or whole numbers, in anything that `numeric` takes.
        what: Name of the array with these ids, for messages.

    Raises:
        ValueError: An id is neither text nor a whole number; the message names its row.
    """
    array = _dense(ids, f'ids of {what}')
    if array.dtype.kind == 'U':
        return array.astype(np.str_, copy=False)
    names = [_name(one) for one in array.ravel().tolist()]
    if None in names:
        row = names.index(None)
        came = array.ravel().tolist()[row]
        raise ValueError(f'{what}: stimulus ids must be text or whole numbers, but that of row {row} is {came!r}.')
    return np.array(names, dtype=np.str_).reshape(array.shape)


def _name(one: Any) -> str | None:
    """An id as text, None if it is neither text nor a whole number."""
    if isinstance(one, bytes):
        try:
            return one.decode()
        except UnicodeDecodeError:
            return None
    if isinstance(one, bool):
        return None
    if isinstance(one, float | np.floating):
        return str(int(one)) if np.isfinite(one) and one == int(one) else None
    return str(one) if isinstance(one, str | int | np.integer) else None


def _dense(values: Any, what: str) -> np.ndarray:
    """The values as a plain array; raises ValueError where np.asarray would lose or invent values."""
    if isinstance(values, np.ndarray) and type(values) in (np.ndarray, np.memmap):
        return values
    if hasattr(values, 'todense') or hasattr(values, 'toarray'):
        raise ValueError(f'{what} must be a dense array, not {_named(values)}, which is sparse: give its .toarray().')
    hidden = [part for part in (values, *(values if isinstance(values, list | tuple) else ())) if np.ma.is_masked(part)]
    if hidden:
        raise ValueError(
            f'{what}: {np.ma.count_masked(hidden[0])} values of a masked array are masked, and there is no value for '
            'them: leave their stimuli or features out, or fill in values with .filled(...).'
        )
    try:
        return np.asarray(values)
    except (ValueError, TypeError, RuntimeError) as error:  # ragged lists; tensors on a GPU or with a gradient
        raise ValueError(
            f'{what} cannot be made an array from {_named(values)} ({error}): give rows of one length; of a tensor its '
            '.detach().cpu().float().numpy().'
        ) from error


def _named(values: Any, array: np.ndarray | None = None) -> str:
    """The type of the values, with shape and dtype where they have them."""
    shape = getattr(values if array is None else array, 'shape', None)
    kind = getattr(values if array is None else array, 'dtype', None)
    parts = [type(values).__name__, *([] if kind is None else [str(kind)]), *([] if shape is None else [str([*shape])])]
    return ' '.join(parts)
