"""Comparison of RDMs: joins them by stimulus id, leaves out pairs, removes control RDMs, applies an index.

RDM records are joined by stimulus id, bare arrays by position. `rsa.similarity.indices` holds the indices.
"""

from collections.abc import Callable, Sequence
from typing import TypeGuard

import numpy as np
import scipy.linalg

from humalign_jax.records import Rdm
from humalign_jax.rsa.pairs import align, condensed_rows, n_stimuli_of
from humalign_jax.rsa.similarity.indices import Index, index_named, indices_that, pearson, row_ranks

Rdms = Rdm | Sequence[Rdm] | np.ndarray


def compare(
    a: Rdms,
    b: Rdms,
    index: str = 'spearman',
    *,
    control: Rdms | None = None,
    control_from: str = 'both',
    mask: np.ndarray | None = None,
    nan_policy: str = 'raise',
    sigma_k: np.ndarray | None = None,
) -> np.ndarray:
    """Similarity of RDMs, every one of `a` with every one of `b`.

    Larger is more alike. An undefined similarity is NaN: of an RDM with equal values, or with zeros for the cosine.

    Args:
        a: One RDM or m of them: records, or condensed arrays, [p] or [m, p].
        b: One RDM or k of them, likewise.
        index: One of `rsa.INDICES`: 'pearson', 'spearman', 'rho_a', 'kendall_tau_a', 'kendall_tau_b', 'cosine',
            'whitened_pearson', 'whitened_cosine', 'bures'. The last three take values as squared distances.
        control: RDMs whose linear effect is removed first, such as a category RDM; for 'pearson' (of the values) and
            'spearman' (of the ranks).
        control_from: 'both' gives the partial correlation, 'a' or 'b' the semi-partial one.
        mask: Which pairs count, [p] booleans, in the order of the first RDM of `a`; not for the last three indices.
        nan_policy: 'raise', or 'omit' to leave out the pairs that are NaN or infinite in any of the RDMs.
        sigma_k: Noise covariance of the stimuli for the whitened indices, [n] (diagonal) or [n, n]; default identity.

    Returns:
        Similarities, float64, [m, k]; a single RDM drops its axis, so that two single ones give [].

    Raises:
        ValueError: Stimuli do not match; values are not finite; fewer than two pairs are left; or options clash.

    References:
        Nili et al. (2014). doi:10.1371/journal.pcbi.1003553
        Diedrichsen et al. (2021), whitened indices. arXiv:2007.02789
        Schutt et al. (2023), rho_a. doi:10.7554/eLife.82566
        Harvey, Larsen & Williams (2023), Bures similarity. arXiv:2311.11436

    Example:
        >>> rsa.compare(np.array([1.0, 2.0, 3.0]), np.array([[1.0, 3.0, 2.0], [3.0, 2.0, 1.0]]), 'spearman')
        array([ 0.5, -1. ])
    """
    chosen = index_named(index)
    if sigma_k is not None and not chosen.whitened:
        raise ValueError(f'sigma_k is for {_names(lambda index: index.whitened)}, not for {index!r}.')
    parts = [a, b] if control is None else [a, b, control]
    x, y, *z = _pairs_that_count(join_rdms(*parts), mask, nan_policy, whole=chosen.whole)
    values = compare_condensed(x, y, chosen, control=z[0] if z else None, control_from=control_from, sigma_k=sigma_k)
    return values.reshape([n for n, one in ((len(x), is_single(a)), (len(y), is_single(b))) if not one])


def compare_condensed(
    a: np.ndarray,
    b: np.ndarray,
    index: str | Index,
    *,
    control: np.ndarray | None = None,
    control_from: str = 'both',
    sigma_k: np.ndarray | None = None,
) -> np.ndarray:
    """`compare` of finite values of the same pairs, without checks: [m, p], [k, p] -> [m, k]."""
    index = index_named(index)
    if control is not None:
        a, b = _without(control, a, b, index, control_from)
        return pearson(a, b)  # of ranks where the index is Spearman
    return index.similarity(a, b) if sigma_k is None else index.similarity(a, b, sigma_k)


def is_single(rdms: Rdms) -> bool:
    """Whether this is one RDM rather than a set of them."""
    return isinstance(rdms, Rdm) or getattr(rdms, 'ndim', 2) == 1


def join_rdms(*groups: Rdms) -> list[np.ndarray]:
    """Condensed arrays of the same stimuli in the same order, one [m, p] for each group of RDMs.

    Records are put into the order of the first record; arrays, which carry no ids, are taken as they come.

    Raises:
        ValueError: Stimuli differ, arrays differ in length, or records are mixed with arrays.
    """
    records = [isinstance(group, Rdm) or _are_records(group) for group in groups]
    if all(records):
        sets = [[group] if isinstance(group, Rdm) else list(group) for group in groups]
        first = sets[0][0]
        return [_squarable(np.stack([np.asarray(align(first, rdm)[1].values) for rdm in rdms])) for rdms in sets]
    if any(records):
        raise ValueError(
            'RDM records carry stimulus ids and arrays do not, so that they cannot be joined: wrap the arrays in '
            'records.Rdm with ids, or pass only arrays that are known to be in the same order.'
        )
    found = [condensed_rows(group) for group in groups]
    for array in found:
        if array.shape[-1] != found[0].shape[-1]:
            raise ValueError(
                f'RDMs must be [p] or [m, p] with one p, not {" and ".join(str(x.shape) for x in found)}: arrays have '
                'no stimulus ids to join by. Leave out what only one of them has, or pass records.Rdm with ids.'
            )
    n_stimuli_of(found[0].shape[-1])
    return [_squarable(rdms) for rdms in found]


def _squarable(rdms: np.ndarray) -> np.ndarray:
    """RDMs over a power of two where their squares would not fit float64, at 1e60 or 1e-60; no index depends on it."""
    if rdms.dtype != np.float64:
        return rdms
    exponent = int(np.frexp(np.max(np.abs(rdms), initial=0.0, where=np.isfinite(rdms)))[1])
    return rdms if abs(exponent) < 200 else np.ldexp(rdms, -exponent)


def _are_records(rdms: Rdms) -> TypeGuard[Sequence[Rdm]]:
    return not isinstance(rdms, Rdm | np.ndarray) and len(rdms) > 0 and all(isinstance(rdm, Rdm) for rdm in rdms)


def _pairs_that_count(
    stacked: list[np.ndarray], mask: np.ndarray | None, nan_policy: str, *, whole: bool
) -> list[np.ndarray]:
    """The arrays with only the pairs of `mask` that are finite everywhere; see `compare`."""
    if nan_policy not in ('raise', 'omit'):
        raise ValueError(f"nan_policy must be 'raise' or 'omit', not {nan_policy!r}.")
    n_pairs = stacked[0].shape[-1]
    if mask is not None:
        mask = np.asarray(mask)
        if mask.shape != (n_pairs,) or mask.dtype != bool:
            raise ValueError(f'mask must be {n_pairs} booleans, one per pair, not {mask.dtype} {mask.shape}.')
        stacked = [array[:, mask] for array in stacked]
    finite = np.logical_and.reduce([np.isfinite(array).all(axis=0) for array in stacked])
    if not finite.all():
        if nan_policy == 'raise':
            raise ValueError(
                f'{np.sum(~finite)} of {len(finite)} pairs are NaN or infinite in at least one RDM: '
                "nan_policy='omit' leaves them out of all; constant or missing features are the usual cause."
            )
        stacked = [array[:, finite] for array in stacked]
    n_left = stacked[0].shape[-1]
    if n_left < 2:
        raise ValueError(f'{n_left} of {n_pairs} pairs are left, but a comparison needs at least two.')
    if whole and n_left != n_pairs:
        names = ', '.join(indices_that(lambda index: index.whole))
        raise ValueError(f'{names} need every pair, but {n_pairs - n_left} of {n_pairs} are left out.')
    return stacked


def _without(
    control: np.ndarray, a: np.ndarray, b: np.ndarray, index: Index, control_from: str
) -> tuple[np.ndarray, np.ndarray]:
    """Residuals after least-squares regression on the controls and a constant; of ranks where the index is Spearman."""
    if not index.partialable:
        raise ValueError(f'control is for {_names(lambda index: index.partialable)}, not for {index.name!r}.')
    if control_from not in ('both', 'a', 'b'):
        raise ValueError(f"control_from must be 'both', 'a' or 'b', not {control_from!r}.")
    a, b, control = (row_ranks(x) if index.ranked else x.astype(np.float64) for x in (a, b, control))
    basis = scipy.linalg.orth((control - control.mean(axis=-1, keepdims=True)).T)

    def residual(x: np.ndarray) -> np.ndarray:
        centred = x - x.mean(axis=-1, keepdims=True)
        rest = centred - (centred @ basis) @ basis.T
        # An RDM that the controls explain entirely has rounding errors for a residual.
        return np.where(np.linalg.norm(rest, axis=-1) > 1e-10 * np.linalg.norm(centred, axis=-1), rest.T, 0.0).T

    return (a if control_from == 'b' else residual(a)), (b if control_from == 'a' else residual(b))


def _names(has: Callable[[Index], bool]) -> str:
    """Quoted names of the indices of which `has` is true, for a message."""
    return ' and '.join(map(repr, indices_that(has)))
