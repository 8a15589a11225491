"""Scores of fixed models with every subject: on the data, in bootstrap samples of stimuli, under permutation."""

import dataclasses
from collections.abc import Sequence

import jax
import numpy as np
from scipy.spatial.distance import squareform

from humalign_jax.progress import steps
from humalign_jax.rsa.inference.covariance import Dyadic
from humalign_jax.rsa.inference.dyads import score_covariance
from humalign_jax.rsa.inference.jackknife import jackknife_covariance
from humalign_jax.rsa.inference.over_subjects import OverSubjects
from humalign_jax.rsa.inference.resample import (
    SAMPLES,
    WEIGHTED_INDICES,
    permuted_products,
    weighted_products,
    weighted_rank_products,
)
from humalign_jax.rsa.pairs import n_stimuli_of, take_stimuli
from humalign_jax.rsa.similarity.ceiling import RANK_INDICES, subject_ceilings
from humalign_jax.rsa.similarity.compare import compare_condensed, row_ranks

MIN_DISTINCT = 3  # a bootstrap sample of fewer distinct stimuli has no correlation; as in rsatoolbox


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Scores of m models with k subjects, and each subject's agreement with the others.

    Attributes:
        scores: On the data, [m, k].
        lower: Agreement with the pooled others, [k]; NaN for a single subject.
        upper: Agreement with all pooled, [k]; NaN for a single subject.
        draws: Scores in b bootstrap samples of stimuli, [b, m, k]; b = 0 where stimuli are not resampled.
        lower_draws: Lower bounds in the samples, [b, k].
        upper_draws: Upper bounds in the samples, [b, k].
        permuted: Mean scores over subjects with stimuli exchanged, [permutations, m].
        observed: The same without exchange, computed the same way, [m].
        refitted: Mean scores over subjects and the two ceilings, [b, m + 2], by what was resampled ('stimuli',
            'subjects', 'both'), of models fitted anew in every sample; None where nothing is fitted.
        subjects: What subjects do to the scores and the lower ceiling; None where they are not resampled.
        dyadic: Covariance over stimuli of the scores and the lower ceiling: in closed form, given what was fitted, or
            by a jackknife for 'bures'; None where stimuli are not resampled, or the latter is not defined.
    """

    scores: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    draws: np.ndarray
    lower_draws: np.ndarray
    upper_draws: np.ndarray
    permuted: np.ndarray
    observed: np.ndarray
    refitted: dict[str, np.ndarray] | None = None
    subjects: OverSubjects | None = None
    dyadic: Dyadic | None = None


def evaluate_fixed(
    models: np.ndarray,
    subjects: np.ndarray,
    index: str,
    *,
    weights: np.ndarray,
    orders: np.ndarray,
    mask: np.ndarray | None,
    control: np.ndarray | None,
    devices: Sequence[jax.Device],
    names: Sequence[str],
    seed: int = 0,
    by_subject: bool = False,
) -> Evaluation:
    """Scores of fixed models.

    Args:
        models: Condensed RDMs, [m, p].
        subjects: Condensed RDMs of the same stimuli, [k, p].
        index: One of `compare.INDICES`.
        weights: Bootstrap weights of the stimuli, [b, n]; b = 0 for none.
        orders: Permutations of the stimuli, [permutations, n], that leave mask and control as they are.
        mask: Which pairs count, [p]; None for all.
        control: RDMs to partial out, [c, p]; None for none.
        devices: Where to compute.
        names: What a message calls the models.
        seed: Seed of the pairs of stimuli that a jackknife leaves out.
        by_subject: Whether subjects are resampled too.

    Returns:
        The evaluation; NaN in draws whose score is not defined.

    Raises:
        ValueError: A score is not defined on the data.
    """
    m, k = len(models), len(subjects)
    kept = slice(None) if mask is None else mask
    held = None if control is None else control[:, kept]
    scores = compare_condensed(models[:, kept], subjects[:, kept], index, control=held)
    check_defined(scores, names)
    lower, upper = np.full((2, k), np.nan)
    if k > 1:
        lower, upper = subject_ceilings(subjects, index, mask=mask, control=control)
    over_subjects = None
    if by_subject:
        agreements = compare_condensed(subjects[:, kept], subjects[:, kept], index, control=held)
        over_subjects = OverSubjects.of(scores, lower, upper, agreements)
    draws, (lower_draws, upper_draws), dyadic = np.empty((0, m, k)), np.empty((2, 0, k)), None
    if len(weights) and index in WEIGHTED_INDICES:
        draws, (lower_draws, upper_draws) = _weighted_draws(models, subjects, index, weights, mask, control, devices)
    elif len(weights):
        draws, (lower_draws, upper_draws) = _copied_draws(models, subjects, index, weights)
    if len(weights) and index == 'bures':
        dyadic = _bures_covariance(models, subjects, seed, by_subject)
    elif len(weights):
        dyadic = score_covariance(models, subjects, index, mask=mask, control=control, by_subject=by_subject)
    permuted, observed = np.empty((0, m)), scores.mean(axis=1)
    if len(orders) and index in WEIGHTED_INDICES:
        a, b = (unit_rdms(rdms, index, mask=mask, control=control) for rdms in (models, subjects))
        orders = np.concatenate([np.arange(orders.shape[1])[None], orders])
        permuted = permuted_products(a, b.mean(axis=0), orders, devices=devices)
        observed, permuted = permuted[0], permuted[1:]
    elif len(orders):
        exchanged = (take_stimuli(models, order) for order in steps(orders, 'permutations'))
        permuted = np.stack([compare_condensed(x, subjects, index).mean(axis=1) for x in exchanged])
    return Evaluation(
        scores,
        lower,
        upper,
        draws,
        lower_draws,
        upper_draws,
        permuted,
        observed,
        subjects=over_subjects,
        dyadic=dyadic,
    )


def check_defined(scores: np.ndarray, names: Sequence[str]) -> None:
    """Raises ValueError if one of the scores, [m, k], is NaN; it names the models, or else the subjects, at fault."""
    undefined = np.isnan(scores)
    if not undefined.any():
        return
    by_subject = undefined.all(axis=0)
    whom = ', '.join(repr(name) for name, x in zip(names, undefined[:, ~by_subject]) if x.any())
    if by_subject.all():
        whom = f'{", ".join(map(repr, names))} with any subject of the reference'
    raise ValueError(
        f'no score is defined for {whom or f"subjects {np.flatnonzero(by_subject).tolist()} of the reference"}: all '
        'distances that count are equal, or too few pairs are left. Leave it out, or give it features that tell the '
        'stimuli apart.'
    )


def unit_rdms(
    rdms: np.ndarray, index: str, *, mask: np.ndarray | None = None, control: np.ndarray | None = None
) -> np.ndarray:
    """RDMs whose plain inner products are the index: [r, p] -> [r, p] float64, zero where masked, NaN if undefined."""
    kept = np.ones(rdms.shape[1], dtype=bool) if mask is None else mask

    def prepared(values: np.ndarray) -> np.ndarray:
        values = values[:, kept].astype(np.float64)
        values = row_ranks(values) if index in RANK_INDICES else values
        return values if index == 'cosine' else values - values.mean(axis=1, keepdims=True)

    x = prepared(rdms)
    if control is not None:
        z = prepared(control)
        x = x - np.linalg.lstsq(z.T, x.T)[0].T @ z
    p = float(x.shape[1])
    scale = np.full(len(x), np.sqrt((p**3 - p) / 12.0)) if index == 'rho_a' else np.linalg.norm(x, axis=1)
    unit = np.zeros(rdms.shape)
    unit[:, kept] = x / np.where(scale > 0, scale, np.nan)[:, None]
    return unit


def _weighted_draws(
    models: np.ndarray,
    subjects: np.ndarray,
    index: str,
    weights: np.ndarray,
    mask: np.ndarray | None,
    control: np.ndarray | None,
    devices: Sequence[jax.Device],
) -> tuple[np.ndarray, np.ndarray]:
    """Scores [b, m, k] and ceilings [2, b, k] in bootstrap samples, read off the weighted inner products."""
    m, r = len(models), len(models) + len(subjects)
    rdms = np.concatenate([models, subjects] + ([] if control is None else [control])).astype(np.float64)
    kept = slice(None) if mask is None else mask
    if index in RANK_INDICES:
        products = weighted_rank_products(rdms, weights, mask=mask, devices=devices)
    else:
        if index == 'pearson':  # float32 sums keep their digits for what is centred
            rdms = rdms - rdms[:, kept].mean(axis=1, keepdims=True)
        scale = np.sqrt((rdms[:, kept] ** 2).mean(axis=1, keepdims=True))
        rdms = np.concatenate([np.ones((1, rdms.shape[1])), rdms / np.where(scale > 0, scale, 1.0)])
        products = weighted_products(rdms, weights, mask=mask, devices=devices)
        totals, sums, products = products[:, :1, :1], products[:, 0, 1:], products[:, 1:, 1:]
        if index == 'pearson':
            products = products - sums[:, :, None] * sums[:, None, :] / np.maximum(totals, 1.0)
    whole_squares = np.einsum('bii->bi', products)[:, :r].copy()
    if control is not None:
        across = products[:, :, r:]
        products = products - across @ np.linalg.pinv(products[:, r:, r:]) @ across.transpose(0, 2, 1)
    few = (weights > 0).sum(axis=1) < MIN_DISTINCT
    products = np.where(few[:, None, None], np.nan, products[:, :r, :r])
    squares = np.einsum('bii->bi', products).copy()
    # Constant in this sample, or explained by the controls: only rounding errors are left.
    squares[squares <= 1e-6 * np.median(whole_squares, axis=0)] = np.nan
    lengths = np.sqrt(squares)
    if index == 'rho_a':  # as if no values were tied
        n_pairs = np.maximum(_n_pairs_drawn(weights, mask), 1.0)  # none: all of a sample is one stimulus
        lengths[:] = np.sqrt((1.0 - n_pairs**-2.0) / 12.0)[:, None]
    scores = products[:, :m, m:] / (lengths[:, :m, None] * lengths[:, None, m:])

    # The pooled RDM is a sum of the subjects' RDMs (of unit length, or of ranks), so its products are known too.
    own = products[:, m:, m:]
    if index not in RANK_INDICES:
        own = own / (lengths[:, m:, None] * lengths[:, None, m:])
        lengths = np.ones_like(lengths)
    to_all, whole = own.sum(axis=2), own.sum(axis=(1, 2))[:, None]
    self_products = np.einsum('bii->bi', own)
    upper = to_all / (np.sqrt(whole) * lengths[:, m:])
    rest = whole - 2.0 * to_all + self_products
    lower = (to_all - self_products) / (np.sqrt(np.where(rest > 0, rest, np.nan)) * lengths[:, m:])
    return scores, np.stack([lower, upper])


def _n_pairs_drawn(weights: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    """How many pairs of different stimuli each sample has, [b, n] -> [b]."""
    weights = weights.astype(np.float64)
    if mask is None:
        return (weights.sum(axis=1) ** 2 - (weights**2).sum(axis=1)) / 2.0
    return np.einsum('bi,bi->b', weights @ squareform(mask.astype(np.float64)), weights) / 2.0


def _copied_draws(
    models: np.ndarray, subjects: np.ndarray, index: str, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The same for indices without a weighted form: the pairs of every sample are copied out."""
    n, k = n_stimuli_of(models.shape[1]), len(subjects)
    position = np.zeros((n, n), dtype=np.int64)
    position[np.triu_indices(n, 1)] = np.arange(models.shape[1])
    position += position.T
    scores, ceilings = np.full((len(weights), len(models), k), np.nan), np.full((2, len(weights), k), np.nan)
    for draw, weight in enumerate(steps(weights.astype(np.int64), SAMPLES)):
        chosen = np.repeat(np.arange(n), weight)
        rows, columns = (chosen[indices] for indices in np.triu_indices(len(chosen), 1))
        if np.sum(weight > 0) < MIN_DISTINCT:
            continue
        pairs = position[rows, columns][rows != columns]
        scores[draw] = compare_condensed(models[:, pairs], subjects[:, pairs], index)
        if k > 1:
            ceilings[:, draw] = subject_ceilings(subjects[:, pairs], index)
    return scores, ceilings


def _bures_covariance(models: np.ndarray, subjects: np.ndarray, seed: int, by_subject: bool) -> Dyadic | None:
    """Covariance over stimuli of the scores and the lower ceiling (0 for a single subject), see `jackknife`."""
    n, k = n_stimuli_of(models.shape[1]), len(subjects)

    def scores_without(left_out: Sequence[int]) -> np.ndarray:
        rows = np.delete(np.arange(n), left_out)
        a, b = take_stimuli(models, rows), take_stimuli(subjects, rows)
        ceiling = subject_ceilings(b, 'bures')[0] if k > 1 else np.zeros(1)
        return np.concatenate([compare_condensed(a, b, 'bures'), ceiling[None]])

    return jackknife_covariance(scores_without, n, seed=seed, by_subject=by_subject)
