"""Items with the values of all functions at once, for training without episodes; drawn inside the compiled step."""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from humalign_jax.data.functions import Functions

Arrays = Mapping[str, jax.Array]


def function_scales(functions: Functions, medians: np.ndarray | None = None) -> np.ndarray:
    """Standard deviation of each function's positive magnitudes, [f]; of all magnitudes for dense functions; never 0.

    Args:
        functions: Functions of the training items.
        medians: Medians of dense functions, [f]; None for sparse functions.
    """
    if medians is not None:
        found = functions.dense().std(axis=1)
    else:
        parts = np.split(functions.values, functions.indptr[1:-1])
        found = np.array([np.std(values) if len(values) else 0.0 for values in parts])
    return np.where(found > 0, found, 1.0)


def row_arrays(
    features: np.ndarray, functions: Functions, scales: np.ndarray, medians: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """What stays on the devices, for `make_row_batch`.

    Args:
        features: Features of the items, in the order of `functions.item_ids`, [n, d].
        functions: Functions of these items.
        scales: By which magnitudes are divided, [f].
        medians: Medians of dense functions, [f]; None for sparse functions.

    Returns:
        `features` [n, d]; for dense functions `magnitudes` [n, f]; for sparse functions `columns` and `values` [n, k],
        the functions in which an item is positive, at most k, padded with column f.
    """
    features = np.asarray(features, np.float32)
    if medians is not None:
        magnitudes = (functions.dense() - medians[:, None]) / scales[:, None]
        return {'features': features, 'magnitudes': np.ascontiguousarray(magnitudes.T, np.float32)}
    function = np.repeat(np.arange(len(functions)), np.diff(functions.indptr))
    order = np.argsort(functions.indices, kind='stable')
    item, function, value = functions.indices[order], function[order], (functions.values / scales[function])[order]
    counts = np.bincount(item, minlength=functions.n_items)
    place = np.arange(len(item)) - np.repeat(np.cumsum(counts) - counts, counts)
    shape = (functions.n_items, max(1, int(counts.max())))
    columns, values = np.full(shape, len(functions), np.int32), np.zeros(shape, np.float32)
    columns[item, place], values[item, place] = function, value
    return {'features': features, 'columns': columns, 'values': values}


def make_row_batch(n_functions: int) -> Callable[[Arrays, jax.Array, jax.Array | None], dict[str, jax.Array]]:
    """`(arrays, rows [b], keys [b]) -> batch` of `x` [b, d], `binary` [b, f] and `magnitude` [b, f].

    In training an item is drawn with each key and rows are only counted; without keys rows are items.
    """

    def make_batch(arrays: Arrays, rows: jax.Array, keys: jax.Array | None) -> dict[str, jax.Array]:
        if keys is not None:
            n_items = len(arrays['features'])
            rows = jax.vmap(lambda key: jax.random.randint(key, (), 0, n_items))(keys)
        if 'magnitudes' in arrays:
            magnitude = arrays['magnitudes'][rows]
            is_positive = magnitude > 0
        else:
            empty = jnp.zeros((len(rows), n_functions + 1))
            filled = jax.vmap(lambda row, columns, values: row.at[columns].set(values))(
                empty, arrays['columns'][rows], arrays['values'][rows]
            )
            magnitude = filled[:, :n_functions]
            is_positive = magnitude != 0
        return {'x': arrays['features'][rows], 'binary': is_positive.astype(jnp.float32), 'magnitude': magnitude}

    return make_batch
