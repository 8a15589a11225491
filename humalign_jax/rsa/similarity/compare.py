"""How alike two RDMs are: correlations, rank correlations, cosine, whitened and Bures similarities.

Larger is more alike for every index. RDMs join by stimulus id; bare arrays, which have none, join by position.
"""

from collections.abc import Callable, Sequence
from typing import TypeGuard

import numpy as np
import scipy.linalg
import scipy.spatial.distance
import scipy.stats

from humalign_jax.progress import steps
from humalign_jax.records import Rdm
from humalign_jax.rsa.pairs import align, condensed_rows, n_stimuli_of
from humalign_jax.rsa.ranks.average import average_ranks

Rdms = Rdm | Sequence[Rdm] | np.ndarray

CHUNK = 1 << 20  # pairs held in float64 at a time


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

    A similarity that is not defined (an RDM whose values are all equal, or all zero for the cosine) is NaN.

    Args:
        a: One RDM or m of them: records, or condensed arrays, [p] or [m, p].
        b: One RDM or k of them, likewise.
        index: One of `INDICES`: 'pearson', 'spearman', 'rho_a', 'kendall_tau_a', 'kendall_tau_b', 'cosine',
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
    """
    if index not in INDICES:
        raise ValueError(f'there is no index {index!r}: choose one of {", ".join(INDICES)}.')
    if sigma_k is not None and index not in ('whitened_pearson', 'whitened_cosine'):
        raise ValueError(f"sigma_k is for 'whitened_pearson' and 'whitened_cosine', not for {index!r}.")
    parts = [a, b] if control is None else [a, b, control]
    x, y, *z = _pairs_that_count(join_rdms(*parts), mask, nan_policy, whole=index in WHOLE)
    values = compare_condensed(x, y, index, control=z[0] if z else None, control_from=control_from, sigma_k=sigma_k)
    return values.reshape([n for n, one in ((len(x), is_single(a)), (len(y), is_single(b))) if not one])


def compare_condensed(
    a: np.ndarray,
    b: np.ndarray,
    index: str,
    *,
    control: np.ndarray | None = None,
    control_from: str = 'both',
    sigma_k: np.ndarray | None = None,
) -> np.ndarray:
    """`compare` of finite values that are known to be of the same pairs: [m, p], [k, p] -> [m, k]."""
    if control is not None:
        a, b = _without(control, a, b, index, control_from)
        return pearson(a, b)  # of ranks where the index is Spearman
    return INDICES[index](a, b) if sigma_k is None else INDICES[index](a, b, sigma_k)


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
    """RDMs whose squares fit float64: over a power of two, which no index sees, where distances reach 1e60 or 1e-60."""
    if rdms.dtype != np.float64:
        return rdms
    exponent = int(np.frexp(np.max(np.abs(rdms), initial=0.0, where=np.isfinite(rdms)))[1])
    return rdms if abs(exponent) < 200 else np.ldexp(rdms, -exponent)


def row_ranks(rdms: np.ndarray) -> np.ndarray:
    """Ranks 1..p within each RDM, ties sharing their average: [m, p] -> [m, p] float64."""
    return np.stack([average_ranks(rdm) for rdm in steps(rdms, 'RDMs ranked')])


def cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Cosine of the angle between RDMs: [m, p], [k, p] -> [m, k]. NaN where one of the two is all zero."""
    return _cosine(a, b, np.zeros(len(a)), np.zeros(len(b)))


def pearson(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Pearson correlation: [m, p], [k, p] -> [m, k]. NaN where one of the two is constant."""
    return _cosine(a, b, a.mean(axis=-1, dtype=np.float64), b.mean(axis=-1, dtype=np.float64))


def spearman(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Spearman correlation, Pearson's of average ranks: [m, p], [k, p] -> [m, k]. NaN where one of them is constant."""
    return pearson(row_ranks(a), row_ranks(b))


def rho_a(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Spearman correlation expected when ties are broken at random: [m, p], [k, p] -> [m, k]. 0 for a constant RDM."""
    p = a.shape[-1]
    centred = [row_ranks(x) - (p + 1) / 2 for x in (a, b)]
    return 12.0 * centred[0] @ centred[1].T / (float(p) ** 3 - p)


def kendall_tau_b(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Kendall's tau b, corrected for ties: [m, p], [k, p] -> [m, k]. NaN where one of the two is constant."""
    pairs = steps([(x, y) for x in a for y in b], 'pairs of RDMs compared')
    tau = [scipy.stats.kendalltau(x, y, method='asymptotic')[0] for x, y in pairs]
    return np.array(tau, dtype=np.float64).reshape(len(a), len(b))


def kendall_tau_a(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Kendall's tau a, concordant less discordant over all pairs of values: [m, p], [k, p] -> [m, k].

    Ties count as neither, so that a model which predicts ties cannot gain by them; 0 for a constant RDM.
    """
    untied = [np.array([_untied_fraction(x) for x in xs]) for xs in (a, b)]
    # tau b is the same numerator over the geometric mean of the two numbers of untied pairs.
    return np.nan_to_num(kendall_tau_b(a, b)) * np.sqrt(np.outer(*untied))


def whitened_cosine(a: np.ndarray, b: np.ndarray, sigma_k: np.ndarray | None = None) -> np.ndarray:
    """Cosine after whitening by the covariance that noise gives to an RDM's entries: [m, p], [k, p] -> [m, k].

    Squared distances d_ij = c' G c of second moments G with noise covariance Sigma have Cov(d_ij, d_kl) in proportion
    to (c_ij' Sigma c_kl)^2. The inverse of that covariance gives the inner product tr(K G_a K G_b), K the inverse of
    Sigma on the contrasts; without noise correlations it is the linear CKA's. So no [p, p] matrix is needed.
    """
    n = n_stimuli_of(a.shape[-1])
    root = _contrast_root(np.ones(n) if sigma_k is None else np.asarray(sigma_k, dtype=np.float64), n)
    white = [np.stack([(root.T @ g @ root).ravel() for g in second_moments(x)]) for x in (a, b)]
    return cosine(white[0], white[1])


def whitened_pearson(a: np.ndarray, b: np.ndarray, sigma_k: np.ndarray | None = None) -> np.ndarray:
    """Whitened cosine of RDMs whose mean was subtracted: [m, p], [k, p] -> [m, k]. NaN where one is constant."""
    a, b = (x - x.mean(axis=-1, keepdims=True, dtype=np.float64) for x in (a, b))
    return whitened_cosine(a, b, sigma_k)


def bures(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Bures similarity of the two centred second moments, in [0, 1]: [m, p], [k, p] -> [m, k].

    tr((A^1/2 B A^1/2)^1/2) / sqrt(tr A tr B), the numerator as the nuclear norm of A^1/2 B^1/2, which keeps the digits
    of small eigenvalues. Negative eigenvalues, which RDMs have that no points could have made, count as zero.
    """
    roots = []
    for moments in (second_moments(a), second_moments(b)):
        eigenvalues, vectors = np.linalg.eigh(moments)
        # The square root of a rounding error, 1e-16, would be 1e-8.
        tiny = eigenvalues.shape[-1] * np.finfo(np.float64).eps * eigenvalues[:, -1:]
        positive = np.where(eigenvalues > tiny, eigenvalues, 0.0)
        roots.append(np.sqrt(positive)[:, None, :] * vectors)  # [m, n, n], A = root root'
    traces = [np.einsum('mij,mij->m', root, root) for root in roots]
    pairs = steps([(x, y) for x in roots[0] for y in roots[1]], 'pairs of RDMs compared')
    norms = np.array([np.linalg.norm(x.T @ y, 'nuc') for x, y in pairs]).reshape(len(a), len(b))
    scale = np.sqrt(np.outer(*traces))
    return norms / np.where(scale > 0, scale, np.nan)


def second_moments(rdms: np.ndarray) -> np.ndarray:
    """Centred second-moment matrices -H D H / 2 of squared distances: [m, p] -> [m, n, n]."""
    squares = np.stack([scipy.spatial.distance.squareform(rdm.astype(np.float64), checks=False) for rdm in rdms])
    rows = squares.mean(axis=1, keepdims=True)
    return -0.5 * (squares - rows - rows.transpose(0, 2, 1) + rows.mean(axis=2, keepdims=True))


INDICES: dict[str, Callable[..., np.ndarray]] = {
    'pearson': pearson,
    'spearman': spearman,
    'rho_a': rho_a,
    'kendall_tau_a': kendall_tau_a,
    'kendall_tau_b': kendall_tau_b,
    'cosine': cosine,
    'whitened_pearson': whitened_pearson,
    'whitened_cosine': whitened_cosine,
    'bures': bures,
}
WHOLE = ('whitened_pearson', 'whitened_cosine', 'bures')  # need every pair


def _are_records(rdms: Rdms) -> TypeGuard[Sequence[Rdm]]:
    return not isinstance(rdms, Rdm | np.ndarray) and len(rdms) > 0 and all(isinstance(rdm, Rdm) for rdm in rdms)


def _cosine(a: np.ndarray, b: np.ndarray, a_mean: np.ndarray, b_mean: np.ndarray) -> np.ndarray:
    """Cosines of `a - a_mean` and `b - b_mean`, summed in float64, a chunk of pairs at a time: [m, p], [k, p]."""
    dots, a_squares, b_squares = np.zeros((len(a), len(b))), np.zeros(len(a)), np.zeros(len(b))
    for start in range(0, a.shape[-1], CHUNK):
        x = a[:, start : start + CHUNK] - a_mean[:, None]
        y = b[:, start : start + CHUNK] - b_mean[:, None]
        dots += x @ y.T
        a_squares += np.einsum('mp,mp->m', x, x)
        b_squares += np.einsum('kp,kp->k', y, y)
    # A constant RDM leaves squares of rounding errors behind.
    a_squares, b_squares = (
        np.where(squares > n * (1e-15 * mean) ** 2, squares, np.nan)
        for squares, mean, n in ((a_squares, a_mean, a.shape[-1]), (b_squares, b_mean, a.shape[-1]))
    )
    return dots / np.sqrt(np.outer(a_squares, b_squares))


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
        raise ValueError(f'{", ".join(WHOLE)} need every pair, but {n_pairs - n_left} of {n_pairs} are left out.')
    return stacked


def _without(
    control: np.ndarray, a: np.ndarray, b: np.ndarray, index: str, control_from: str
) -> tuple[np.ndarray, np.ndarray]:
    """Residuals after least-squares regression on the controls and a constant; of ranks where the index is Spearman."""
    if index not in ('pearson', 'spearman'):
        raise ValueError(f"control is for 'pearson' and 'spearman', not for {index!r}.")
    if control_from not in ('both', 'a', 'b'):
        raise ValueError(f"control_from must be 'both', 'a' or 'b', not {control_from!r}.")
    a, b, control = (row_ranks(x) if index == 'spearman' else x.astype(np.float64) for x in (a, b, control))
    basis = scipy.linalg.orth((control - control.mean(axis=-1, keepdims=True)).T)

    def residual(x: np.ndarray) -> np.ndarray:
        centred = x - x.mean(axis=-1, keepdims=True)
        rest = centred - (centred @ basis) @ basis.T
        # What the controls explain entirely has no residual, only rounding errors.
        return np.where(np.linalg.norm(rest, axis=-1) > 1e-10 * np.linalg.norm(centred, axis=-1), rest.T, 0.0).T

    return (a if control_from == 'b' else residual(a)), (b if control_from == 'a' else residual(b))


def _untied_fraction(values: np.ndarray) -> float:
    """Share of the pairs of values that differ, [p] -> []."""
    counts, p = np.unique(values, return_counts=True)[1].astype(np.float64), float(len(values))
    return 1.0 - float((counts * (counts - 1.0)).sum() / (p * (p - 1.0)))


def _contrast_root(sigma: np.ndarray, n: int) -> np.ndarray:
    """R with R R' the inverse of the noise covariance on contrasts (vectors that sum to zero), [n, n - 1]."""
    if sigma.shape not in ((n,), (n, n)):
        raise ValueError(f'sigma_k must be [{n}] or [{n}, {n}], one row per stimulus, not {sigma.shape}.')
    contrasts = scipy.linalg.null_space(np.ones((1, n)))  # orthonormal, [n, n - 1]
    covariance = contrasts.T @ (np.diag(sigma) if sigma.ndim == 1 else sigma) @ contrasts
    try:
        lower = np.linalg.cholesky(covariance)
    except np.linalg.LinAlgError as error:
        raise ValueError('sigma_k must be positive definite: shrink the noise covariance first.') from error
    return contrasts @ np.linalg.inv(lower).T
