"""Similarity indices of two RDMs, and the table that says what can be done with each.

Larger is more alike for every index. Every function takes RDMs of the same pairs, [m, p] and [k, p], and returns the
similarity of every pair of RDMs, [m, k]. A new index is one function and one record of `INDICES`.
"""

import dataclasses
import difflib
from collections.abc import Callable, Iterable

import numpy as np
import scipy.linalg
import scipy.spatial.distance
import scipy.stats

from humalign_jax.progress import steps
from humalign_jax.rsa.pairs import n_stimuli_of
from humalign_jax.rsa.ranks.average import average_ranks

CHUNK = 1 << 20  # pairs held in float64 at a time


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

    A tie counts as neither, so a model does not gain by predicting ties; 0 for a constant RDM.
    """
    untied = [np.array([_untied_fraction(x) for x in xs]) for xs in (a, b)]
    # tau b is the same numerator over the geometric mean of the two numbers of untied pairs.
    return np.nan_to_num(kendall_tau_b(a, b)) * np.sqrt(np.outer(*untied))


def whitened_cosine(a: np.ndarray, b: np.ndarray, sigma_k: np.ndarray | None = None) -> np.ndarray:
    """Cosine after whitening by the noise covariance of the distances: [m, p], [k, p] -> [m, k].

    Squared distances d_ij = c' G c of second moments G with noise covariance Sigma have Cov(d_ij, d_kl) in proportion
    to (c_ij' Sigma c_kl)^2. The inverse of that covariance gives the inner product tr(K G_a K G_b), K the inverse of
    Sigma on the contrasts, without a [p, p] matrix. With Sigma the identity it is the linear CKA's.
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

    tr((A^1/2 B A^1/2)^1/2) / sqrt(tr A tr B). The numerator is the nuclear norm of A^1/2 B^1/2, which keeps the digits
    of small eigenvalues. Negative eigenvalues, of RDMs that are not Euclidean, count as zero.
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


def root_mean_square(rdms: np.ndarray) -> np.ndarray:
    """Root mean square of each RDM's values: [m, p] -> [m]."""
    return np.sqrt((rdms**2).mean(axis=-1))


def mean_value(rdms: np.ndarray) -> np.ndarray:
    """Mean of each RDM's values: [m, p] -> [m]."""
    return rdms.mean(axis=-1)


@dataclasses.dataclass(frozen=True)
class Index:
    """How one similarity of two RDMs is computed, and what can be done with it.

    Attributes:
        name: The name that `rsa.compare` knows.
        similarity: The index itself, [m, p], [k, p] -> [m, k].
        transform: What the index does to each RDM first: 'ranks' (average ranks; centred, if the index is a
            correlation), 'centred' (the RDM's mean is subtracted) or 'none'.
        size: The size of a transformed RDM, [m, p] -> [m]. RDMs that differ only in size are equal to the index, so
            pooled RDMs are averages of RDMs divided by it. Ranks all have one size.
        weighted: Whether it is an inner product of transformed RDMs over a scale. Such an index has a form with weights
            of the stimuli; inference then allows restricted pairs and flexible models.
        streamable: Whether `rsa.compare_features` sums it over tiles, so that no RDM is held.
        partialable: Whether the effect of control RDMs can be removed first.
        whole: Whether it needs every pair: it takes the values as squared distances, and makes second moments of them.
        whitened: Whether it is whitened by the noise covariance of the stimuli (`sigma_k`).
        untied_scale: Whether it is divided by the scale of RDMs without ties, which data do not change; a constant RDM
            then has similarity 0.
        interval: The scale on which its closed-form intervals are symmetric: 'fisher' (Fisher's z) or 'plain' (the
            score itself).
    """

    name: str
    similarity: Callable[..., np.ndarray]
    transform: str = 'none'
    size: Callable[[np.ndarray], np.ndarray] = root_mean_square
    weighted: bool = False
    streamable: bool = False
    partialable: bool = False
    whole: bool = False
    whitened: bool = False
    untied_scale: bool = False
    interval: str = 'fisher'

    @property
    def ranked(self) -> bool:
        """Whether it depends on the order of the values alone."""
        return self.transform == 'ranks'

    @property
    def centred(self) -> bool:
        """Whether an offset common to all values of an RDM leaves it unchanged."""
        return self.transform != 'none'


INDICES: dict[str, Index] = {
    index.name: index
    for index in (
        Index('pearson', pearson, 'centred', weighted=True, streamable=True, partialable=True, interval='plain'),
        Index('spearman', spearman, 'ranks', weighted=True, streamable=True, partialable=True),
        Index('rho_a', rho_a, 'ranks', weighted=True, streamable=True, untied_scale=True),
        Index('kendall_tau_a', kendall_tau_a, 'ranks', untied_scale=True),
        Index('kendall_tau_b', kendall_tau_b, 'ranks'),
        Index('cosine', cosine, weighted=True, streamable=True),
        Index('whitened_pearson', whitened_pearson, 'centred', whole=True, whitened=True, interval='plain'),
        Index('whitened_cosine', whitened_cosine, whole=True, whitened=True, interval='plain'),
        Index('bures', bures, size=mean_value, whole=True),
    )
}


def index_named(name: str | Index, among: Iterable[str] = (), kind: str = 'index') -> Index:
    """The index called `name`.

    Args:
        name: Its name, or the record itself.
        among: Names of the indices to choose from; all of `INDICES` by default.
        kind: What they are called in the message, such as 'streamed index'.

    Raises:
        ValueError: There is no such index among them; the message names the nearest and lists them all.

    Example:
        >>> rsa.index_named('spearman').ranked
        True
        >>> rsa.index_named('spearmen')
        Traceback (most recent call last):
            ...
        ValueError: there is no index 'spearmen': did you mean 'spearman'? Choose one of pearson, spearman, ...
    """
    known = tuple(among) or tuple(INDICES)
    wanted = name.name if isinstance(name, Index) else name
    if wanted in known:
        return INDICES[wanted]
    close = difflib.get_close_matches(str(wanted), known, n=1)
    hint = f' did you mean {close[0]!r}? Choose' if close else ' choose'
    raise ValueError(f'there is no {kind} {wanted!r}:{hint} one of {", ".join(known)}.')


def indices_that(has: Callable[[Index], bool]) -> tuple[str, ...]:
    """Names of the indices of which `has` is true, in the order of the table."""
    return tuple(name for name, index in INDICES.items() if has(index))


WEIGHTED_INDICES = indices_that(lambda index: index.weighted)
STREAMABLE_INDICES = indices_that(lambda index: index.streamable)


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
