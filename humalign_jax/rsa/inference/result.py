"""What is said of scores: their intervals, and tests against zero, the noise ceiling and each other."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from humalign_jax.records import Score
from humalign_jax.rsa.inference.covariance import Dyadic
from humalign_jax.rsa.inference.evaluation import Evaluation
from humalign_jax.rsa.inference.over_subjects import MIN_SUBJECTS
from humalign_jax.rsa.inference.significance import (
    contrast_variance,
    difference_p,
    fisher_interval,
    pair_matrix,
    permutation_p,
    t_interval,
    t_values,
    two_sided_p,
    variance_over_both,
)
from humalign_jax.rsa.similarity.compare import WHOLE

PLAIN = ('pearson', 'whitened_pearson', 'whitened_cosine')  # intervals over stimuli are around the score itself


@dataclasses.dataclass(frozen=True)
class InferenceResult:
    """Scores of m models with k subjects, and what can be said of other stimuli and subjects.

    Attributes:
        names: Names of the models, m of them.
        index: The index of similarity.
        bootstrap: What was resampled: 'stimuli', 'subjects' or 'both'.
        n_stimuli: Number of stimuli.
        n_subjects: Number of subjects, k.
        scores_by_subject: [m, k].
        values: Mean scores over subjects, [m].
        standard_errors: [m].
        low: Lower ends of the 95 % intervals, [m].
        high: Upper ends of the 95 % intervals, [m].
        p_zero: One-sided p values of no relation, by exchanging stimuli, [m]; NaN without permutations.
        p_ceiling: Two-sided p values of no difference from the lower ceiling, [m]; NaN without a ceiling, and
            over subjects with fewer than three of them.
        differences: values[i] - values[j], [m, m].
        difference_errors: Their standard errors, [m, m].
        p_differences: Two-sided p values, [m, m], 1 on the diagonal.
        p_differences_fwer: The same corrected for all pairs by the smallest p (largest t), [m, m].
        p_differences_fdr: The same by Benjamini and Hochberg's false-discovery rate, [m, m].
        ceiling_lower: Lower noise ceiling; NaN for a single subject.
        ceiling_upper: Upper noise ceiling; NaN for a single subject.
        draws: Mean scores in every bootstrap sample, [b, m].
        ceiling_draws: Lower and upper ceiling in every sample, [b, 2].
        permuted: Mean scores with exchanged stimuli, [permutations, m].
        n_undefined: Bootstrap samples left out because a score was not defined in them.
        interval: How the standard errors and intervals came about.
        settings: Everything else that shaped the numbers.
    """

    names: tuple[str, ...]
    index: str
    bootstrap: str
    n_stimuli: int
    n_subjects: int
    scores_by_subject: np.ndarray
    values: np.ndarray
    standard_errors: np.ndarray
    low: np.ndarray
    high: np.ndarray
    p_zero: np.ndarray
    p_ceiling: np.ndarray
    differences: np.ndarray
    difference_errors: np.ndarray
    p_differences: np.ndarray
    p_differences_fwer: np.ndarray
    p_differences_fdr: np.ndarray
    ceiling_lower: float
    ceiling_upper: float
    draws: np.ndarray
    ceiling_draws: np.ndarray
    permuted: np.ndarray
    n_undefined: int
    interval: str
    settings: dict[str, Any]

    def scores(self) -> list[Score]:
        """One record for each model, `rsa/<index>`; its provenance holds the model's name and p values."""
        n = {'stimuli': self.n_stimuli, 'subjects': self.n_subjects}
        n['both'] = min(n.values())
        return [
            Score(
                name=f'rsa/{self.index}',
                value=float(self.values[i]),
                low=float(self.low[i]),
                high=float(self.high[i]),
                n=n[self.bootstrap],
                interval=self.interval,
                ceiling_lower=self.ceiling_lower,
                ceiling_upper=self.ceiling_upper,
                provenance={
                    'model': name,
                    'n_stimuli': self.n_stimuli,
                    'n_subjects': self.n_subjects,
                    'p_zero': _or_none(self.p_zero[i]),
                    'p_ceiling': _or_none(self.p_ceiling[i]),
                    **self.settings,
                },
            )
            for i, name in enumerate(self.names)
        ]


def summarise(
    evaluation: Evaluation,
    *,
    names: Sequence[str],
    bootstrap: str,
    n: int,
    subject_weights: np.ndarray,
    settings: dict[str, Any],
) -> InferenceResult:
    """Intervals and tests of what was evaluated.

    Args:
        evaluation: Scores of m models with k subjects, also in samples and with exchanged stimuli.
        names: Names of the models.
        bootstrap: What was resampled: 'stimuli', 'subjects' or 'both'.
        n: Number of stimuli.
        subject_weights: How often each subject is drawn in each sample, [b, k]; [0, k] where they are not resampled.
        settings: What else shaped the numbers, with 'index', and 'seed', which is also of the family-wise correction.

    Raises:
        ValueError: A score is not defined in nearly all samples.
    """
    m, k = evaluation.scores.shape
    samples, n_undefined = _samples(evaluation, bootstrap, subject_weights)
    errors = _Errors(evaluation, samples, bootstrap, settings['index'], n)
    values, lower, upper = evaluation.scores.mean(axis=1), evaluation.lower.mean(), evaluation.upper.mean()
    standard_errors, low, high = _intervals(values, errors)

    known_lower = lower if bootstrap == 'stimuli' or k >= MIN_SUBJECTS else np.nan
    ceiling_errors, ceiling_dof = errors.of(np.eye(m, m + 1) - np.eye(m + 1)[m])

    first, second = np.triu_indices(m, 1)
    contrasts = np.eye(m)[first] - np.eye(m)[second]
    difference_errors, difference_dof = errors.of(contrasts) if m > 1 else np.empty((2, 0))
    draws = samples[bootstrap]
    p, p_fwer, p_fdr = difference_p(
        contrasts @ values,
        difference_errors,
        difference_dof,
        draws[:, :m] @ contrasts.T,
        np.random.default_rng([settings['seed'], 5]),
        together=bootstrap != 'subjects',
    )
    return InferenceResult(
        names=tuple(names),
        index=settings['index'],
        bootstrap=bootstrap,
        n_stimuli=n,
        n_subjects=k,
        scores_by_subject=evaluation.scores,
        values=values,
        standard_errors=standard_errors,
        low=low,
        high=high,
        p_zero=permutation_p(evaluation.observed, evaluation.permuted),
        p_ceiling=two_sided_p(t_values(values - known_lower, ceiling_errors), ceiling_dof),
        differences=values[:, None] - values,
        difference_errors=pair_matrix(difference_errors, m, diagonal=0.0),
        p_differences=pair_matrix(p, m, diagonal=1.0),
        p_differences_fwer=pair_matrix(p_fwer, m, diagonal=1.0),
        p_differences_fdr=pair_matrix(p_fdr, m, diagonal=1.0),
        ceiling_lower=float(lower),
        ceiling_upper=float(upper),
        draws=draws[:, :m],
        ceiling_draws=draws[:, m:],
        permuted=evaluation.permuted,
        n_undefined=n_undefined,
        interval=_interval_text(errors),
        settings=settings,
    )


@dataclasses.dataclass(frozen=True)
class _Errors:
    """Where standard errors come from: a covariance in closed form where there is one, else samples."""

    evaluation: Evaluation
    samples: dict[str, np.ndarray]
    bootstrap: str
    index: str
    n: int

    @property
    def dyadic(self) -> Dyadic | None:
        return self.evaluation.dyadic

    @property
    def is_fitted(self) -> bool:
        return self.evaluation.refitted is not None

    @property
    def is_biased(self) -> bool:
        """Cosines are biased and skewed, which only samples show; in differences both cancel."""
        return self.index == 'cosine' and self.dyadic is not None and not self.is_fitted

    def of(self, contrasts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Standard errors of sums of the scores and, with m + 1 columns, the lower ceiling; degrees of freedom."""
        if self.dyadic is not None or (self.bootstrap == 'subjects' and not self.is_fitted):
            return self._in_closed_form(contrasts)
        return self.of_samples(contrasts)

    def of_samples(self, contrasts: np.ndarray, of_subjects: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """The same from the samples alone; with degrees of freedom over subjects, [c], unless k - 1."""
        columns = {kind: x[:, : contrasts.shape[1]] for kind, x in self.samples.items()}
        units = {'stimuli': self.n, 'subjects': self.evaluation.scores.shape[1]}
        factors = {kind: unit / (unit - 1.0) for kind, unit in units.items() if unit > 1}
        if self.index in WHOLE:
            factors['stimuli'] = (self.n - self.n // 2) / (self.n // 2)
        degrees = {kind: unit - 1.0 for kind, unit in units.items()}
        if of_subjects is not None:
            degrees['subjects'] = of_subjects
        variances, dof = contrast_variance(columns, contrasts, factors, degrees)
        return np.sqrt(variances), dof

    def _in_closed_form(self, contrasts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        subjects = self.evaluation.subjects
        padded = np.pad(contrasts, ((0, 0), (0, len(self.evaluation.scores) + 1 - contrasts.shape[1])))
        over_stimuli, interaction = None, None
        if self.dyadic is not None:
            over_stimuli, interaction = self.dyadic[0].variances(padded), self.dyadic[1]
        if subjects is None:
            assert over_stimuli is not None  # one of the two is resampled
            variances, dof = over_stimuli
        elif over_stimuli is None or interaction is None:
            variances, dof = subjects.variances(padded)
        else:
            common = np.einsum('cq,qr,cr->c', padded, subjects.interaction(interaction), padded)
            variances, dof = variance_over_both(over_stimuli, subjects.variances(padded, common), common)
        return np.sqrt(variances), dof


def _intervals(values: np.ndarray, errors: _Errors) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Standard errors of the scores, and lower and upper ends of their intervals, [m] each."""
    each = np.eye(len(values))
    if errors.is_biased:
        subjects = errors.evaluation.subjects
        of_subjects = None if subjects is None else subjects.score_dof[: len(values)]
        standard_errors, dof = errors.of_samples(each, of_subjects)
        draws = errors.samples['stimuli'][:, : len(values)]
        low, high = fisher_interval(values, standard_errors, dof, draws=draws)
        return standard_errors, low, high
    standard_errors, dof = errors.of(each)
    # Standard errors of these do not fall with the score, so that Fisher's z would make them.
    is_plain = errors.index in PLAIN and errors.dyadic is not None
    low, high = (t_interval if is_plain else fisher_interval)(values, standard_errors, dof)
    return standard_errors, low, high


def _samples(evaluation: Evaluation, bootstrap: str, subject_weights: np.ndarray) -> tuple[dict[str, np.ndarray], int]:
    """Mean scores and the two ceilings in every defined sample, [b, m + 2], by what was resampled."""
    share = subject_weights.astype(np.float64) / subject_weights.shape[1]
    lower, lower_draws = evaluation.lower, evaluation.lower_draws
    if evaluation.subjects is not None:
        lower, lower_draws = (evaluation.subjects.of_ceiling(x) for x in (lower, lower_draws))
    data = np.concatenate([evaluation.scores, lower[None], evaluation.upper[None]])
    ceilings = np.stack([lower_draws, evaluation.upper_draws], axis=1)
    draws = np.concatenate([evaluation.draws, ceilings], axis=1)  # [b, m + 2, k]
    samples = {} if evaluation.refitted is None else evaluation.refitted
    if evaluation.refitted is None:
        if bootstrap != 'subjects':
            samples['stimuli'] = draws.mean(axis=2)
        if bootstrap != 'stimuli':
            samples['subjects'] = share @ data.T
        if bootstrap == 'both':
            samples['both'] = np.einsum('bik,bk->bi', draws, share)
    ok = np.logical_and.reduce([np.isfinite(x[:, : len(evaluation.scores)]).all(axis=1) for x in samples.values()])
    if ok.sum() < 2:
        raise ValueError(
            f'scores are not defined in {np.sum(~ok)} of {len(ok)} samples: in them, a model or subject has equal '
            'distances only. Use more stimuli, or leave out the RDM of few distinct values.'
        )
    return {kind: x[ok] for kind, x in samples.items()}, int(np.sum(~ok))


def _interval_text(errors: _Errors) -> str:
    """How intervals came about, for a legend."""
    index, bootstrap, has_covariance = errors.index, errors.bootstrap, errors.dyadic is not None
    n_draws = len(errors.samples[bootstrap])
    over = 'stimuli and subjects' if bootstrap == 'both' else bootstrap
    if has_covariance and index == 'bures':
        return f"jackknife over {over}, t of Fisher's z"
    if has_covariance and not errors.is_biased:
        fits = ' for these fits' if errors.is_fitted else ''
        return f'variance over {over} in closed form{fits}, ' + ('t' if index in PLAIN else "t of Fisher's z")
    if index in WHOLE and bootstrap != 'subjects':
        over = 'halves of the stimuli' + (' and bootstrap over subjects' if bootstrap == 'both' else '')
        return f"random {over}, {n_draws} draws, t of Fisher's z"
    if bootstrap == 'subjects' and not errors.is_fitted:
        return "variance over subjects, t of Fisher's z"
    of_what = ' for these folds' if errors.is_fitted and bootstrap == 'subjects' else ''
    less = ' less its bias' if errors.is_biased else ''
    return f"bootstrap over {over}{of_what}, {n_draws} draws, t of Fisher's z{less}"


def _or_none(value: float) -> float | None:
    """A number for JSON, which has no NaN."""
    return None if np.isnan(value) else float(value)
