"""Inference on models in one call: intervals, tests and differences, for new stimuli, new subjects or both."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from humalign_jax.devices import local_devices
from humalign_jax.rsa.inference.bootstrap import weighted_draws
from humalign_jax.rsa.inference.covariance import SampleCovariance
from humalign_jax.rsa.inference.crossval import deal_folds, default_folds, evaluate_crossvalidated
from humalign_jax.rsa.inference.evaluation import Evaluation, evaluate_fixed
from humalign_jax.rsa.inference.inputs import Inputs
from humalign_jax.rsa.inference.models import Model
from humalign_jax.rsa.inference.resample import bootstrap_weights, stimulus_permutations
from humalign_jax.rsa.inference.result import InferenceResult, summarise
from humalign_jax.rsa.similarity.compare import Rdms
from humalign_jax.rsa.similarity.indices import INDICES, WEIGHTED_INDICES

N_DRAWS = 1000  # bootstrap samples for an interval: Efron & Tibshirani (1993), section 14.3


def infer(
    models: Rdms | Sequence[Model],
    reference: Rdms,
    *,
    index: str = 'spearman',
    over: str = 'stimuli',
    n_permutations: int = 1000,
    labels: np.ndarray | None = None,
    pairs: str = 'all',
    n_stimulus_folds: int | None = None,
    n_subject_folds: int | None = None,
    seed: int = 0,
    devices: Sequence[jax.Device] | None = None,
    **removed: Any,
) -> InferenceResult:
    """Scores of models with a reference, their intervals, tests against zero, the ceiling and each other.

    A score is the mean over subjects of the index between a model's RDM and a subject's RDM. docs/inference.md has the
    equations, and how often intervals cover and tests reject.

    *Intervals* are Student's t around Fisher's z of the score; for 'pearson' and the whitened indices around the score.
    Variances over stimuli are those of a mean over pairs, in closed form (`dyads`), or the jackknife's for 'bures';
    over subjects those of a mean over subjects; over both their sum less that of the interaction. Degrees of freedom
    are those of the units, Satterthwaite's for sums. 'cosine' over stimuli takes its scores' variance and bias from
    bootstrap samples.

    *Against zero*: stimuli of the reference are exchanged at random; with `pairs` other than 'all' within their
    category only, so that the test is of what the categories do not explain.

    *Against the lower ceiling and each other*: t tests with the standard error of the difference. The family-wise
    correction takes the correlations of all differences into account.

    *Flexible models* (Selected, Weighted, Interpolated) are fitted and scored on different stimuli and subjects, and so
    are all models beside them. Scores are means over folds. Intervals over stimuli hold for the fits that were made;
    over subjects alone models are fitted anew in bootstrap samples of the subjects. See `crossval`.

    Args:
        models: RDMs, a condensed array [m, p], or `rsa.Fixed`, `rsa.Selected`, `rsa.Weighted`, `rsa.Interpolated`.
        reference: RDM of each subject, k of them, or one; records join by stimulus id.
        index: One of `rsa.INDICES`.
        over: What would be new in another study: 'stimuli', 'subjects' or 'both'.
        n_permutations: Number of permutations; 0 for no test against zero.
        labels: Category of each stimulus, [n], in the order of the first model's RDM.
        pairs: 'all'; 'within' or 'between' for pairs of one or of two categories; 'partial' for all pairs with the
            same/different RDM of the categories partialled out of both sides.
        n_stimulus_folds: Folds of stimuli for flexible models; default 2 to 5.
        n_subject_folds: Folds of subjects for flexible models; default 1 to 5.
        seed: Seed of samples, permutations and folds. The same on any number of devices.
        devices: Where to compute; default all local devices.
        removed: Nothing: arguments of earlier versions are named in an error.

    Returns:
        The result; `.scores()` makes records of it.

    Raises:
        ValueError: Too few stimuli or subjects for what is asked, stimuli that do not match, or options that clash.

    References:
        Nili et al. (2014). doi:10.1371/journal.pcbi.1003553
        Schutt et al. (2023), inference over stimuli and subjects. doi:10.7554/eLife.82566

    Example:
        >>> seen = np.random.default_rng(0).normal(size=(20, 6))
        >>> people = [rsa.rdm(seen + np.random.default_rng(s).normal(size=seen.shape)) for s in range(1, 5)]
        >>> print(rsa.infer(rsa.rdm(seen), np.stack(people), over='both'))
        spearman, all pairs of 20 stimuli, 4 subjects; intervals for new stimuli and subjects
        model    score  95 % interval   noise ceiling   p (zero)  p (ceiling)
        model 0  0.388  [0.210, 0.542]  0.234 to 0.600   < 0.001        0.163
    """
    if removed:
        raise ValueError(
            f'infer has no {", ".join(removed)}: pass over={removed.get("bootstrap", "stimuli")!r}. Standard errors '
            'are in closed form; rsa.bootstrap(n_draws=...) draws samples.'
        )
    if n_permutations < 0:
        raise ValueError(f'n_permutations must be 0 or more, not {n_permutations}.')
    inputs = Inputs.of(models, reference, index, over, labels, pairs)
    n, k = inputs.n_stimuli, len(inputs.subjects)
    devices = list(devices) if devices is not None else local_devices()
    settings = {'index': index, 'over': over, 'pairs': pairs, 'seed': seed, 'n_permutations': n_permutations}
    restriction = {'mask': inputs.mask, 'control': inputs.control, 'devices': devices}
    if inputs.is_flexible:
        stimulus_folds, subject_folds = _folds(n, k, n_stimulus_folds, n_subject_folds, index, seed)
        settings |= {'n_stimulus_folds': int(stimulus_folds.max()) + 1, 'n_subject_folds': int(subject_folds.max()) + 1}
        groups = inputs.groups + (inputs.groups.max() + 1) * stimulus_folds
        evaluation = evaluate_crossvalidated(
            inputs,
            index,
            over=over,
            stimulus_folds=stimulus_folds,
            subject_folds=subject_folds,
            subject_weights=bootstrap_weights(seed, k, N_DRAWS if over == 'subjects' else 0, stream=1),
            orders=stimulus_permutations(seed, groups, n_permutations),
            devices=devices,
        )
    else:
        rdms = np.concatenate(inputs.components)
        orders = stimulus_permutations(seed, inputs.groups, n_permutations)
        evaluation = evaluate_fixed(
            rdms, inputs.subjects, index, over=over, orders=orders, names=inputs.names, **restriction
        )
        if INDICES[index].weighted and not INDICES[index].centred and over != 'subjects':  # biased and skewed
            weights = bootstrap_weights(seed, n, N_DRAWS, stream=0)
            draws = weighted_draws(rdms, inputs.subjects, index, weights, **restriction)[0].mean(axis=2)
            evaluation = _of_draws(evaluation, draws, n)
    return summarise(evaluation, names=inputs.names, n=n, settings=settings)


def _of_draws(evaluation: Evaluation, draws: np.ndarray, n: int) -> Evaluation:
    """The same with the scores' covariance over stimuli from bootstrap samples, [b, m]."""
    covariance = np.pad(np.atleast_2d(np.cov(draws.T)), (0, 1)) * n / (n - 1.0)  # the last one is the ceiling's
    of_scores = dataclasses.replace(evaluation.uncertainty, stimuli=SampleCovariance(covariance, n - 1.0))
    return dataclasses.replace(evaluation, of_scores=of_scores, draws=draws)


def _folds(
    n: int, k: int, n_stimulus_folds: int | None, n_subject_folds: int | None, index: str, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Fold of each stimulus, [n], and of each subject, [k]."""
    if index not in WEIGHTED_INDICES:
        raise ValueError(f'flexible models are for {", ".join(WEIGHTED_INDICES)}, not for {index!r}.')
    defaults = default_folds(n, k)
    n_stimulus_folds = defaults[0] if n_stimulus_folds is None else n_stimulus_folds
    n_subject_folds = defaults[1] if n_subject_folds is None else n_subject_folds
    if not 2 <= n_stimulus_folds <= n // 3 or not 1 <= n_subject_folds <= k:
        raise ValueError(
            f'{n_stimulus_folds} folds of stimuli and {n_subject_folds} of subjects do not fit {n} stimuli and {k} '
            'subjects: at least two folds of three stimuli or more, and folds of one subject or more.'
        )
    return deal_folds(seed, n, n_stimulus_folds, stream=3), deal_folds(seed, k, n_subject_folds, stream=4)
