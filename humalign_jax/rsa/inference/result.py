"""What is said of scores: their intervals, and tests against zero, the noise ceiling and each other."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from humalign_jax import drawing, results
from humalign_jax.records import Score
from humalign_jax.rsa.inference.evaluation import Evaluation
from humalign_jax.rsa.inference.over_subjects import MIN_SUBJECTS
from humalign_jax.rsa.inference.pair_influences import has_influences
from humalign_jax.rsa.inference.significance import (
    difference_p,
    fisher_interval,
    pair_matrix,
    permutation_p,
    t_interval,
    t_values,
    two_sided_p,
)
from humalign_jax.rsa.similarity.indices import INDICES


@dataclasses.dataclass(frozen=True, repr=False)
class InferenceResult(results.Result):
    """Scores of m models with k subjects, and what can be said of other stimuli and subjects.

    Attributes:
        names: Names of the models, m of them.
        index: The index of similarity.
        over: What would be new in another study: 'stimuli', 'subjects' or 'both'.
        n_stimuli: Number of stimuli.
        n_subjects: Number of subjects, k.
        scores_by_subject: [m, k].
        values: Mean scores over subjects, [m].
        standard_errors: [m].
        covariance: Unbiased estimate of the scores' covariance, [m, m]; variances may be truncated above its diagonal.
        low: Lower ends of the 95 % intervals, [m].
        high: Upper ends of the 95 % intervals, [m].
        p_zero: One-sided p values of no relation, by exchanging stimuli, [m]; NaN without permutations.
        p_ceiling: Two-sided p values of no difference from the lower ceiling, [m]; NaN without a ceiling, and
            over subjects with fewer than three of them.
        differences: values[i] - values[j], [m, m].
        difference_errors: Their standard errors, [m, m].
        p_differences: Two-sided p values, [m, m], 1 on the diagonal.
        p_differences_fwer: The same corrected for all pairs by the smallest p, [m, m].
        p_differences_fdr: The same by Benjamini and Hochberg's false-discovery rate, [m, m].
        ceiling_lower: Lower noise ceiling; NaN for a single subject.
        ceiling_upper: Upper noise ceiling; NaN for a single subject.
        permuted: Mean scores with exchanged stimuli, [permutations, m].
        interval: How the standard errors and intervals came about.
        settings: Everything else that shaped the numbers.
    """

    names: tuple[str, ...]
    index: str
    over: str
    n_stimuli: int
    n_subjects: int
    scores_by_subject: np.ndarray
    values: np.ndarray
    standard_errors: np.ndarray
    covariance: np.ndarray
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
    permuted: np.ndarray
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
                n=n[self.over],
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

    def columns(self) -> dict[str, Sequence[Any]]:
        """One row for each model: score, interval, ceiling and p values."""
        each = {'index': self.index, 'pairs': self.settings['pairs'], 'over': self.over}
        each |= {'n_stimuli': self.n_stimuli, 'n_subjects': self.n_subjects}
        each |= {'ceiling_lower': self.ceiling_lower, 'ceiling_upper': self.ceiling_upper}
        arrays = {'score': self.values, 'low': self.low, 'high': self.high, 'standard_error': self.standard_errors}
        arrays |= {'p_zero': self.p_zero, 'p_ceiling': self.p_ceiling}
        return {
            'model': list(self.names),
            **{name: values.tolist() for name, values in arrays.items()},
            **{name: [value] * len(self.names) for name, value in each.items()},
        }

    def shown(self) -> tuple[str, dict[str, list[str]]]:
        """Title and columns of the printed table."""
        new = 'stimuli and subjects' if self.over == 'both' else self.over
        subjects = f'{self.n_subjects} subject{"s" if self.n_subjects > 1 else ""}'
        ceiling = results.span(self.ceiling_lower, self.ceiling_upper)
        return (
            f'{self.index}, {self.settings["pairs"]} pairs of {self.n_stimuli} stimuli, {subjects}; '
            f'intervals for new {new}',
            {
                'model': list(self.names),
                'score': [results.number(value) for value in self.values],
                '95 % interval': [results.interval(*ends) for ends in zip(self.low, self.high)],
                'noise ceiling': [ceiling] * len(self.names),
                'p (zero)': [results.p_value(p) for p in self.p_zero],
                'p (ceiling)': [results.p_value(p) for p in self.p_ceiling],
            },
        )

    def plot(self, ax: drawing.Axes | None = None) -> drawing.Axes:
        """Scores as dots with 95 % intervals, subjects as points, the noise ceiling as a band; returns the axes."""
        return drawing.plot_intervals(
            self.names,
            self.values,
            self.low,
            self.high,
            label=self._axis_text(),
            ceiling=(self.ceiling_lower, self.ceiling_upper),
            by_subject=self.scores_by_subject,
            ax=ax,
        )

    def _axis_text(self) -> str:
        band = '; band: noise ceiling' if np.isfinite(self.ceiling_lower) else ''
        points = '; points: subjects' if self.n_subjects > 1 else ''
        n = f'{self.n_stimuli} stimuli, {self.n_subjects} subject{"s" if self.n_subjects > 1 else ""}'
        return f'{self.index}, {self.settings["pairs"]} pairs\n{n}; 95 % intervals{band}{points}'


def summarise(evaluation: Evaluation, *, names: Sequence[str], n: int, settings: dict[str, Any]) -> InferenceResult:
    """Intervals and tests of what was evaluated.

    Args:
        evaluation: Scores of m models with k subjects, their uncertainty, and scores with exchanged stimuli.
        names: Names of the models.
        n: Number of stimuli.
        settings: What else shaped the numbers, with 'index', 'over' and 'seed', also of the family-wise correction.
    """
    m, k = evaluation.scores.shape
    over, uncertainty = settings['over'], evaluation.uncertainty
    values, lower, upper = evaluation.scores.mean(axis=1), evaluation.lower.mean(), evaluation.upper.mean()
    each = np.eye(m, m + 1)
    variances, dof = (evaluation.of_scores or uncertainty).variances(each)
    errors = np.sqrt(variances)
    if _is_plain(evaluation, settings['index']):
        low, high = t_interval(values, errors, dof)
    else:
        low, high = fisher_interval(values, errors, dof, draws=evaluation.draws)

    known_lower = lower if over == 'stimuli' or k >= MIN_SUBJECTS else np.nan
    ceiling_variances, ceiling_dof = uncertainty.variances(each - np.eye(m + 1)[m])
    first, second = np.triu_indices(m, 1)
    contrasts = each[first] - each[second]
    difference_variances, difference_dof = uncertainty.variances(contrasts)
    covariance = uncertainty.matrix[:m, :m]
    p, p_fwer, p_fdr = difference_p(
        values[first] - values[second],
        np.sqrt(difference_variances),
        difference_dof,
        covariance,
        np.random.default_rng([settings['seed'], 5]),
    )
    return InferenceResult(
        names=tuple(names),
        index=settings['index'],
        over=over,
        n_stimuli=n,
        n_subjects=k,
        scores_by_subject=evaluation.scores,
        values=values,
        standard_errors=errors,
        covariance=covariance,
        low=low,
        high=high,
        p_zero=permutation_p(evaluation.observed, evaluation.permuted),
        p_ceiling=two_sided_p(t_values(values - known_lower, np.sqrt(ceiling_variances)), ceiling_dof),
        differences=values[:, None] - values,
        difference_errors=pair_matrix(np.sqrt(difference_variances), m, diagonal=0.0),
        p_differences=pair_matrix(p, m, diagonal=1.0),
        p_differences_fwer=pair_matrix(p_fwer, m, diagonal=1.0),
        p_differences_fdr=pair_matrix(p_fdr, m, diagonal=1.0),
        ceiling_lower=float(lower),
        ceiling_upper=float(upper),
        permuted=evaluation.permuted,
        interval=_interval_text(evaluation, settings['index'], over),
        settings=settings,
    )


def _is_plain(evaluation: Evaluation, index: str) -> bool:
    """Whether intervals are around the score: standard errors over stimuli do not shrink as it approaches 1."""
    return INDICES[index].interval == 'plain' and evaluation.uncertainty.stimuli is not None


def _interval_text(evaluation: Evaluation, index: str, over: str) -> str:
    """How intervals came about, for a legend."""
    units = 'stimuli and subjects' if over == 'both' else over
    around = 't' if _is_plain(evaluation, index) else "t of Fisher's z"
    if evaluation.draws is not None:
        return f'bootstrap over {units}, {len(evaluation.draws)} draws, {around} less its bias'
    if not has_influences(index) and over != 'subjects':
        return f'jackknife over {units}, {around}'
    if over != 'subjects':
        return f'variance over {units} in closed form{" for these fits" if evaluation.is_fitted else ""}, {around}'
    if evaluation.is_fitted:
        return f'bootstrap over subjects for these folds, {around}'
    return f'variance over subjects, {around}'


def _or_none(value: float) -> float | None:
    """A number for JSON, which has no NaN."""
    return None if np.isnan(value) else float(value)
