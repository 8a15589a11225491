"""What networks got right at each item of an episode, from the arrays `curves/` that they left."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import scipy.stats

from humalign_jax.report import conditions
from humalign_jax.report.learned_functions import ACCURACY, R2
from humalign_jax.report.study import Study


@dataclasses.dataclass(frozen=True)
class Learned:
    """Learning in context of one condition, on average over episodes and networks.

    Attributes:
        name: Of the condition.
        function_ids: Of the functions, [f].
        held_out: Which of them are held out from training, bool, [f].
        correct: Share of right labels of each function at each item, [f, t].
        error: Squared error in units of the variance of magnitudes, [f, t]; NaN where there is none. None if no
            magnitudes were learned.
        n_networks: Number of networks.
        has_map: Whether they learned a map of the features.
    """

    name: str
    function_ids: list[str]
    held_out: np.ndarray
    correct: np.ndarray
    error: np.ndarray | None
    n_networks: int
    has_map: bool

    def last_third(self) -> np.ndarray:
        """Accuracy of each function over the last third of an episode, [f]."""
        t = self.correct.shape[1]
        return self.correct[:, t - max(t // 3, 1) :].mean(axis=1)


def learned(study: Study) -> list[Learned]:
    """Every condition that left curves: in the order of the tasks, then by name."""
    runs: dict[str, list[str]] = {}
    for entry in study.find(ACCURACY):
        of = runs.setdefault(conditions.condition_of(entry), [])
        of += [entry.run] if entry.run not in of else []
    found = {name: one for name, of in runs.items() if (one := _average(study, name, of)) is not None}
    return [found[name] for name in conditions.in_order(study, list(found))]


def mean_and_interval(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean over functions with Student's 95 % interval, NaN left out: [f, t] -> [t], [t], [t]; NaN ends for one."""
    known = np.isfinite(values)
    n = known.sum(axis=0)
    mean = np.where(known, values, 0.0).sum(axis=0) / np.where(n > 0, n, np.nan)
    squares = np.where(known, (values - mean) ** 2, 0.0).sum(axis=0)
    freedom = np.where(n > 1, n - 1.0, np.nan)
    half = scipy.stats.t.ppf(0.975, freedom) * np.sqrt(squares / freedom / np.maximum(n, 1))
    return mean, mean - half, mean + half


def _average(study: Study, name: str, runs: Sequence[str]) -> Learned | None:
    """Mean over the networks of a condition that were evaluated with the functions of the first of them."""
    ids: list[str] = []
    held_out, correct, totals, counts, has_map = np.zeros(0, bool), [], [], [], True
    for run in runs:
        found, errors = (study.array(f'{run}/curves/{what}.npy') for what in ('correct', 'squared_error'))
        own = [str(one) for one in found[1]['function_ids']] if found is not None else []
        if found is None or (ids and own != ids):
            continue
        ids, held_out = own, np.asarray(found[1]['functions_held_out'], bool)
        correct.append(np.mean(found[0], axis=1, dtype=np.float64))
        has_map &= bool(study.runs[run].config.get('model', {}).get('embed', True))
        if errors is not None and any(entry.run == run for entry in study.find(R2)):
            squared = np.asarray(errors[0], np.float64) / float(errors[1]['magnitude_sd']) ** 2
            totals.append(np.nansum(squared, axis=1))
            counts.append(np.isfinite(squared).sum(axis=1))
    if not ids:
        return None
    error = None
    if totals:
        total, count = np.sum(totals, axis=0), np.sum(counts, axis=0)
        error = np.where(count > 0, total, np.nan) / np.maximum(count, 1)
    return Learned(name, ids, held_out, np.mean(correct, axis=0), error, len(correct), has_map)
