"""Noise ceilings of voxels: the share of the variance of one measurement that is signal, from repeats or as published.

References:
    Allen et al. (2022), Nature Neuroscience (ncsnr). doi:10.1038/s41593-021-00962-x
    Searle, Casella & McCulloch (1992), Variance components, section 3.6 (one-way random model, unequal counts).
"""

import dataclasses

import numpy as np
import scipy.stats

from humalign_jax.human_responses import Responses

_GROUPS = 20  # of stimuli, for the jackknife
_BATCH = 4096  # voxels at a time


@dataclasses.dataclass(frozen=True)
class ResponseCeilings:
    """Signal variance over total variance of a single measurement, the largest R2 that a model can reach.

    Attributes:
        share: Not truncated at 0, [v]; NaN where a voxel has NaN or is constant.
        low: Lower end of each voxel's 95 % interval, [v]; NaN where the shares are published.
        high: Upper end, [v].
        jackknife: `share` with each group of stimuli left out, [g, v]; None where the shares are published.
        source: 'repeats' or 'published'.
        n_stimuli: Number of stimuli.
    """

    share: np.ndarray
    low: np.ndarray
    high: np.ndarray
    jackknife: np.ndarray | None
    source: str
    n_stimuli: int

    def of_mean(self, n_averaged: float) -> np.ndarray:
        """Share of signal in the variance of the mean of several measurements, 0 for shares below 0: [v]."""
        share = np.maximum(self.share, 0.0)
        return share / (share + (1.0 - share) / n_averaged)

    def interval(self, voxels: np.ndarray) -> tuple[float, float, float]:
        """Mean share of some voxels and its 95 % interval: Student's t with the jackknife's error over stimuli."""
        value = float(np.nanmean(self.share[voxels]))
        if self.jackknife is None:
            return value, float('nan'), float('nan')
        left_out = np.nanmean(self.jackknife[:, voxels], axis=1)
        g = len(left_out)
        error = np.sqrt((g - 1) / g * ((left_out - left_out.mean()) ** 2).sum())
        half = float(scipy.stats.t.ppf(0.975, g - 1) * error)
        return value, value - half, value + half


def signal_share(ncsnr: np.ndarray, noise: float) -> np.ndarray:
    """Share of a voxel's variance that is signal, ncsnr^2 / (ncsnr^2 + noise).

    Args:
        ncsnr: Noise-ceiling ratio of signal to noise, [v].
        noise: Variance of the noise over that of a single measurement: 1 / n for the mean of n.

    References:
        Allen et al. (2022), Methods. doi:10.1038/s41593-021-00962-x
    """
    return ncsnr**2 / (ncsnr**2 + noise)


def published_ceilings(responses: Responses) -> ResponseCeilings | None:
    """The shares that follow from `responses.ncsnr`, ncsnr^2 / (ncsnr^2 + 1); None if there is no ncsnr."""
    if responses.ncsnr is None:
        return None
    share = signal_share(responses.ncsnr, 1.0)
    nan = np.full(len(share), np.nan)
    return ResponseCeilings(share, nan, nan, None, 'published', len(responses.ids))


def repeat_ceilings(responses: Responses, *, seed: int = 0) -> ResponseCeilings | None:
    """Shares from the trials of stimuli that were shown more than once, by one-way analysis of variance.

    The noise variance is the mean square within stimuli, the signal variance (mean square between stimuli - within) /
    n0, with n0 the number of trials of a stimulus, adjusted for unequal numbers. The interval of a voxel follows from
    the F distribution and is exact for equal numbers of trials and Gaussian signal and noise.

    Args:
        responses: Trials, all of them means of the same number of measurements.
        seed: Seed of the division of stimuli into groups.

    Returns:
        The shares of a single measurement; None if fewer than three stimuli were shown more than once.

    Raises:
        ValueError: Trials are means of different numbers of measurements.
    """
    assert responses.n_averaged is not None
    number, counts = np.unique(responses.stimuli, return_inverse=True, return_counts=True)[1:]
    kept = counts[number] > 1
    if len(np.unique(number[kept])) < 3:
        return None
    averaged = np.unique(responses.n_averaged[kept])
    if len(averaged) > 1:
        raise ValueError(
            f'{responses.name!r}: repeats are means of {averaged[0]} to {averaged[-1]} measurements, so they have no '
            'common noise: give single trials, or ncsnr.'
        )
    number = np.unique(number[kept], return_inverse=True)[1]
    a = int(number.max()) + 1
    groups = min(_GROUPS, a // 2) if a >= 4 else a
    group = np.random.default_rng(seed).permutation(a) % groups
    found = [
        _shares(np.asarray(responses.values[kept, start : start + _BATCH], np.float64), number, group, groups)
        for start in range(0, responses.n_voxels, _BATCH)
    ]
    share, low, high, jackknife = (
        _single(np.concatenate(parts, axis=-1), int(averaged[0])) for parts in zip(*found, strict=True)
    )
    return ResponseCeilings(share, low, high, jackknife, 'repeats', a)


def _shares(
    values: np.ndarray, number: np.ndarray, group: np.ndarray, groups: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Shares of rows [v], their limits [v], [v], and shares with each group of stimuli left out [g, v].

    Args:
        values: Trials, [m, v].
        number: Number of the stimulus of each trial, [m].
        group: Group of each stimulus, [a].
        groups: Number of groups.
    """
    values = values - values.mean(axis=0)
    n = np.bincount(number).astype(np.float64)
    order = np.argsort(number, kind='stable')
    starts = np.concatenate([[0], np.cumsum(n)[:-1]]).astype(np.int64)
    totals = np.add.reduceat(values[order], starts)  # [a, v]
    squares = np.add.reduceat(values[order] ** 2, starts)
    within = squares - totals**2 / n[:, None]
    of_stimulus = (np.ones_like(n), n, n**2, within, totals, totals**2 / n[:, None])
    of_group = [_summed(part, group, groups) for part in of_stimulus]
    whole = [part.sum(axis=0) for part in of_group]
    share, f, n0, (df_between, df_within) = _anova(*whole)
    limits = []
    for level in (0.975, 0.025):
        ratio = (f / scipy.stats.f.ppf(level, df_between, df_within) - 1.0) / n0
        limits.append(ratio / (ratio + 1.0))
    left_out = [_anova(*(total - part[g] for total, part in zip(whole, of_group)))[0] for g in range(groups)]
    return share, limits[0], limits[1], np.stack(left_out)


def _summed(values: np.ndarray, group: np.ndarray, groups: int) -> np.ndarray:
    """Sums over the stimuli of each group, [a, ...] -> [g, ...]."""
    sums = np.zeros((groups, *values.shape[1:]))
    np.add.at(sums, group, values)
    return sums


def _anova(
    a: np.ndarray, n: np.ndarray, n_squares: np.ndarray, within: np.ndarray, totals: np.ndarray, means: np.ndarray
) -> tuple[np.ndarray, np.ndarray, float, tuple[float, float]]:
    """Share of signal, F, adjusted number of trials and degrees of freedom, from sums over stimuli.

    Args:
        a: Number of stimuli.
        n: Number of trials.
        n_squares: Sum of squared numbers of trials.
        within: Sum of squares within stimuli, [v].
        totals: Sum of all trials, [v].
        means: Sum of squared totals of stimuli over their numbers of trials, [v].
    """
    df_between, df_within = float(a - 1), float(n - a)
    n0 = float((n - n_squares / n) / (a - 1))
    noise = within / df_within
    with np.errstate(invalid='ignore', divide='ignore'):
        f = (means - totals**2 / n) / df_between / noise
        signal = (f - 1.0) / n0
        return signal / (signal + 1.0), f, n0, (df_between, df_within)


def _single(share: np.ndarray, n_averaged: int) -> np.ndarray:
    """Share of a single measurement from that of the mean of several."""
    if n_averaged == 1:
        return share
    return share / (share + (1.0 - share) * n_averaged)
