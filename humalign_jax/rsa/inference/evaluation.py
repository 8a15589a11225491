"""Scores of fixed models with every subject: on the data, under permutation, and their uncertainty."""

import dataclasses
from collections.abc import Sequence

import jax
import numpy as np

from humalign_jax.progress import steps
from humalign_jax.rsa.inference.covariance import SampleCovariance, Uncertainty
from humalign_jax.rsa.inference.dyads import Dyadic, score_covariance
from humalign_jax.rsa.inference.jackknife import jackknife_covariance
from humalign_jax.rsa.inference.over_subjects import leverage, subject_covariance
from humalign_jax.rsa.inference.pair_influences import has_influences
from humalign_jax.rsa.inference.resample import permuted_products
from humalign_jax.rsa.pairs import n_stimuli_of, take_stimuli
from humalign_jax.rsa.similarity.ceiling import subject_ceilings
from humalign_jax.rsa.similarity.compare import compare_condensed
from humalign_jax.rsa.similarity.indices import INDICES, row_ranks


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Scores of m models with k subjects, and each subject's agreement with the others.

    Attributes:
        scores: On the data, [m, k].
        lower: Agreement with the pooled others, [k]; NaN for a single subject.
        upper: Agreement with all pooled, [k]; NaN for a single subject.
        permuted: Mean scores over subjects with stimuli exchanged, [permutations, m].
        observed: The same without exchange, computed the same way, [m].
        uncertainty: Covariance of the scores and the lower ceiling, [m + 1, m + 1].
        of_scores: The same for intervals of single scores, where that is another one.
        draws: Bootstrap samples of the scores over stimuli, [b, m], whose bias is subtracted; None for none.
        is_fitted: Whether models were fitted.
    """

    scores: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    permuted: np.ndarray
    observed: np.ndarray
    uncertainty: Uncertainty
    of_scores: Uncertainty | None = None
    draws: np.ndarray | None = None
    is_fitted: bool = False


def evaluate_fixed(
    models: np.ndarray,
    subjects: np.ndarray,
    index: str,
    *,
    over: str,
    orders: np.ndarray,
    mask: np.ndarray | None,
    control: np.ndarray | None,
    devices: Sequence[jax.Device],
    names: Sequence[str],
) -> Evaluation:
    """Scores of fixed models.

    Args:
        models: Condensed RDMs, [m, p].
        subjects: Condensed RDMs of the same stimuli, [k, p].
        index: One of `indices.INDICES`.
        over: 'stimuli', 'subjects' or 'both'; 'none' for no uncertainty.
        orders: Permutations of the stimuli, [permutations, n], that leave mask and control as they are.
        mask: Which pairs count, [p]; None for all.
        control: RDMs to partial out, [c, p]; None for none.
        devices: Where to compute.
        names: What a message calls the models.

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
    of_stimuli, of_subjects = None, None
    if over in ('stimuli', 'both') and has_influences(index):
        of_stimuli = score_covariance(models, subjects, index, mask=mask, control=control, by_subject=over == 'both')
    elif over in ('stimuli', 'both'):
        of_stimuli = _whole_covariance(models, subjects, index, over == 'both')
    if over in ('subjects', 'both'):
        of_subjects = subject_covariance(scores, lower, upper)
    permuted, observed = np.empty((0, m)), scores.mean(axis=1)
    if len(orders) and INDICES[index].weighted:
        a, b = (unit_rdms(rdms, index, mask=mask, control=control) for rdms in (models, subjects))
        orders = np.concatenate([np.arange(orders.shape[1])[None], orders])
        permuted = permuted_products(a, b.mean(axis=0), orders, devices=devices)
        observed, permuted = permuted[0], permuted[1:]
    elif len(orders):
        exchanged = (take_stimuli(models, order) for order in steps(orders, 'permutations'))
        permuted = np.stack([compare_condensed(x, subjects, index).mean(axis=1) for x in exchanged])
    return Evaluation(scores, lower, upper, permuted, observed, joined(of_stimuli, of_subjects, leverage(lower, upper)))


def joined(stimuli: Dyadic | None, subjects: SampleCovariance | None, ceiling: float) -> Uncertainty:
    """Uncertainty over stimuli and subjects; `ceiling` is the leverage of a subject on the lower ceiling."""
    covariance, interaction = (None, None) if stimuli is None else stimuli
    if interaction is not None:
        scale = np.append(np.ones(len(interaction) - 1), ceiling)
        interaction = interaction * np.outer(scale, scale)
    return Uncertainty(covariance, subjects, interaction)


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
        values = row_ranks(values) if INDICES[index].ranked else values
        return values - values.mean(axis=1, keepdims=True) if INDICES[index].centred else values

    x = prepared(rdms)
    if control is not None:
        z = prepared(control)
        x = x - np.linalg.lstsq(z.T, x.T)[0].T @ z
    p = float(x.shape[1])
    scale = np.full(len(x), np.sqrt((p**3 - p) / 12.0)) if INDICES[index].untied_scale else np.linalg.norm(x, axis=1)
    unit = np.zeros(rdms.shape)
    unit[:, kept] = x / np.where(scale > 0, scale, np.nan)[:, None]
    return unit


def _whole_covariance(models: np.ndarray, subjects: np.ndarray, index: str, by_subject: bool) -> Dyadic:
    """Covariance over stimuli of the scores and the lower ceiling (0 for a single subject), by the jackknife."""
    n, k = n_stimuli_of(models.shape[1]), len(subjects)

    def scores_without(i: int) -> np.ndarray:
        rows = np.delete(np.arange(n), i)
        a, b = take_stimuli(models, rows), take_stimuli(subjects, rows)
        ceiling = subject_ceilings(b, index)[0] if k > 1 else np.zeros(1)
        return np.concatenate([compare_condensed(a, b, index), ceiling[None]])

    return jackknife_covariance(scores_without, n, by_subject=by_subject)
