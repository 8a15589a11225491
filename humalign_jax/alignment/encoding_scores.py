"""Encoding fits turned into scores of regions of interest, with ceilings, intervals and tests over held-out blocks.

References:
    Fisher (1935), The design of experiments, section 21 (sign-flip test).
    Fisher (1932), Statistical methods for research workers, section 21.1 (combination of p values).
    Benjamini & Hochberg (1995), Journal of the Royal Statistical Society B (false-discovery rate).
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import scipy.stats

from humalign_jax.alignment import scoring
from humalign_jax.alignment.encoding import EncodingFit
from humalign_jax.alignment.response_ceilings import ResponseCeilings
from humalign_jax.records import Score

R, R2, NORMALISED = 'encoding/r', 'encoding/r2', 'encoding/normalised_r2'
CEILING, IDENTIFICATION, DIFFERENCE = 'encoding/ceiling', 'encoding/identification', 'encoding/r/difference'
ALL = 'all subjects'
MAX_EXACT = 20  # blocks, 2^20 patterns of signs
_NAN = float('nan')


@dataclasses.dataclass(frozen=True)
class Kept:
    """The voxels of a subject that are scored.

    Attributes:
        voxels: Mask, [v]: finite, not constant in any fold, and with a ceiling of `min_ceiling` or more where one is
            known.
        ceiling: Largest R2 of each voxel for the held-out rows, [v]; None where no ceiling is known.
        ceilings: Of a single measurement; None where unknown.
        n_averaged: Harmonic mean of the number of measurements in a held-out row.
        counts: How many voxels are left out for which reason.
    """

    voxels: np.ndarray
    ceiling: np.ndarray | None
    ceilings: ResponseCeilings | None
    n_averaged: float
    counts: Mapping[str, int]


def keep_voxels(
    fits: Sequence[EncodingFit],
    ceilings: ResponseCeilings | None,
    *,
    n_averaged: float,
    min_ceiling: float,
    counts: Mapping[str, int],
) -> Kept:
    """Which voxels are scored, the same for all models of a subject.

    Args:
        fits: Of all models.
        ceilings: Of the voxels.
        n_averaged: Harmonic mean of the number of measurements in a held-out row.
        min_ceiling: Smallest ceiling of a single measurement; voxels at or below 0 are left out in any case.
        counts: Voxels that were left out before.

    Raises:
        ValueError: No voxel is left.
    """
    defined = np.all([np.isfinite(fit.r).all(axis=0) for fit in fits], axis=0)
    counts = {**counts, 'n_constant_in_a_fold': int((~defined).sum())}
    if ceilings is None:
        if not defined.any():
            raise ValueError('no voxel varies in all folds: take fewer, larger parts.')
        return Kept(defined, None, None, n_averaged, counts)
    reliable = (ceilings.share > 0) & (ceilings.share >= min_ceiling)
    counts['n_low_ceiling'] = int((defined & ~reliable).sum())
    if not (defined & reliable).any():
        raise ValueError(
            f'no voxel has a noise ceiling above 0 and of {min_ceiling:g} or more (the largest is '
            f'{np.nanmax(ceilings.share):.3f}): lower config.min_ceiling, or check that repeats have one stimulus id.'
        )
    return Kept(defined & reliable, ceilings.of_mean(n_averaged), ceilings, n_averaged, counts)


def sign_flip_p(values: np.ndarray, *, seed: int = 0) -> float:
    """One-sided p of the mean being above 0, if the signs of the values are exchangeable: [f] -> [].

    Exact, over all 2^f patterns of signs, for up to 20 values; else over 100,000 random patterns and the observed one.
    NaN for fewer than two values.
    """
    values = np.asarray(values, np.float64)
    f = len(values)
    if f < 2 or not np.isfinite(values).all():
        return _NAN
    observed = values.sum()
    slack = 1e-12 * np.abs(values).sum()  # sums of the same numbers in another order
    if f > MAX_EXACT:
        signs = np.random.default_rng(seed).integers(0, 2, size=(100_000, f)) * 2 - 1
        return float((1 + np.sum(signs @ values >= observed - slack)) / (1 + len(signs)))
    sums = np.zeros(1)
    for value in values.tolist():
        sums = np.concatenate([sums - value, sums + value])
    return float(np.mean(sums >= observed - slack))


def roi_scores(
    fit: EncodingFit, kept: Kept, rois: Mapping[str, np.ndarray], about: Mapping[str, Any], *, seed: int
) -> list[Score]:
    """`encoding/r`, `encoding/r2`, `encoding/normalised_r2` and `encoding/identification` of each region of a subject.

    r is the mean over voxels and blocks with Student's interval over blocks. R2 is pooled over blocks for each voxel,
    then averaged; normalised R2 is the mean R2 over the mean ceiling. Their intervals are Student's with the error of
    the jackknife over blocks, that of normalised R2 also with the error of the ceiling. `p` is of the sign-flip test
    over blocks: r above 0, identification above chance.

    Args:
        fit: Of one model.
        kept: Voxels that are scored.
        rois: Voxels of each region, [v].
        about: Provenance.
        seed: Of the test over more than 20 blocks.
    """
    scores: list[Score] = []
    for roi, mask in rois.items():
        voxels = mask & kept.voxels
        said = {**about, 'roi': roi, 'n_voxels': int(voxels.sum()), 'n_voxels_all': int(mask.sum()), 'better': 'larger'}
        if not voxels.any():
            continue
        of_block = fit.r[:, voxels].mean(axis=1)
        said |= {'penalty': float(np.median(fit.penalty[:, voxels]))}
        if fit.band.shape[2] > 1:
            said['band_weights'] = fit.band[:, voxels].mean(axis=(0, 1)).round(4).tolist()
        ceiling = None if kept.ceiling is None else kept.ceiling[voxels]
        known = {} if ceiling is None else {'ceiling_upper': float(np.sqrt(ceiling).mean())}
        scores.append(_over_blocks(R, of_block, {**said, **_test(of_block, seed)}, **known))
        residual, total = fit.residual[:, voxels], fit.total[:, voxels]
        known = {} if ceiling is None else {'ceiling_upper': float(ceiling.mean())}
        r2, error = _jackknife(residual, total)
        scores.append(_normal(R2, r2, error, len(fit.blocks), said, 'jackknife over held-out blocks', **known))
        if ceiling is not None:
            mean = float(ceiling.mean())
            relative = math.hypot(error / r2, _ceiling_error(kept, voxels) / mean) if r2 else _NAN
            value = r2 / mean
            how = 'jackknife over held-out blocks' + (', and over stimuli for the ceiling' if _estimated(kept) else '')
            known = {'ceiling_upper': 1.0}
            scores.append(_normal(NORMALISED, value, abs(value) * relative, len(fit.blocks), said, how, **known))
        for (measure, of), shares in fit.identified.items():
            if of == roi:
                more = {**said, 'measure': measure, 'chance': float(fit.chance.mean())}
                more |= _test(shares - fit.chance, seed)
                scores.append(_over_blocks(IDENTIFICATION, shares, more))
    return scores


def ceiling_scores(kept: Kept, rois: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> list[Score]:
    """`encoding/ceiling`: mean noise ceiling (R2 of a single measurement) of all defined voxels of each region.

    Voxels of low ceiling are not left out here, and a voxel's estimate may be below 0, so that the mean is unbiased.
    """
    if kept.ceilings is None:
        return []
    scores = []
    for roi, mask in rois.items():
        voxels = mask & np.isfinite(kept.ceilings.share)
        if voxels.any():
            value, low, high = kept.ceilings.interval(voxels)
            how = "Student's t, jackknife over stimuli" if _estimated(kept) else 'none: published'
            said = {**about, 'roi': roi, 'model': 'noise ceiling', 'baseline': True, 'better': 'none'}
            said |= {'source': kept.ceilings.source, 'n_voxels': int(voxels.sum())}
            scores.append(Score(CEILING, value, low, high, kept.ceilings.n_stimuli, how, provenance=said))
    return scores


def difference_scores(
    fit: EncodingFit,
    other: EncodingFit,
    kept: Kept,
    rois: Mapping[str, np.ndarray],
    about: Mapping[str, Any],
    *,
    seed: int,
) -> list[Score]:
    """`encoding/r/difference`: r of one model less that of another on the same voxels and blocks; p: above 0."""
    scores = []
    for roi, mask in rois.items():
        voxels = mask & kept.voxels
        if voxels.any():
            of_block = (fit.r - other.r)[:, voxels].mean(axis=1)
            said = {**about, 'roi': roi, 'better': 'larger', 'n_voxels': int(voxels.sum()), **_test(of_block, seed)}
            scores.append(_over_blocks(DIFFERENCE, of_block, said))
    return scores


def over_subjects(scores: Sequence[Score]) -> list[Score]:
    """Means over subjects of scores that differ in nothing else, and the p values of all regions.

    Scores of several subjects get a mean with Student's interval over subjects, and Fisher's combination of their p.
    Regions of one model and score are one family for Benjamini and Hochberg's q, over all subjects' p where there are
    several subjects, otherwise over those of the one subject.

    Returns:
        The given scores and the means; those with p at the highest level have `q`.
    """
    kinds: dict[tuple, list[Score]] = {}
    for score in scores:
        said = score.provenance
        key = (score.name, *(said.get(field) for field in ('model', 'other', 'measure', 'roi')))
        kinds.setdefault(key, []).append(score)
    several = len({score.provenance['subject'] for score in scores}) > 1
    means = [_mean_of_subjects(group) for group in kinds.values()] if several else []
    families: dict[tuple, list[Score]] = {}
    for score in means or scores:
        said = score.provenance
        if math.isfinite(said.get('p', _NAN)):
            key = (score.name, *(said.get(field) for field in ('model', 'other', 'measure')))
            families.setdefault(key, []).append(score)
    q = {}
    for family in families.values():
        adjusted = scipy.stats.false_discovery_control([score.provenance['p'] for score in family], method='bh')
        q |= {id(score): {'q': float(one), 'n_rois': len(family)} for score, one in zip(family, adjusted)}
    return [
        dataclasses.replace(score, provenance={**score.provenance, **q.get(id(score), {})})
        for score in [*scores, *means]
    ]


def _mean_of_subjects(group: Sequence[Score]) -> Score:
    first = group[0]
    found = scoring.mean(first.name, np.array([score.value for score in group]), {})
    ceilings = [score.ceiling_upper for score in group]
    said = {**first.provenance, 'subject': ALL, 'subjects': [score.provenance['subject'] for score in group]}
    for key in ('n_voxels', 'n_voxels_all'):
        if key in said:
            said[key] = sum(score.provenance[key] for score in group)
    for key in ('p', 'p_test'):
        said.pop(key, None)
    p = [score.provenance.get('p', _NAN) for score in group]
    if all(map(math.isfinite, p)):
        combined: Any = scipy.stats.combine_pvalues(p, method='fisher')
        said |= {'p': float(combined.pvalue), 'p_test': f"Fisher's combination of {len(p)} subjects' sign-flip tests"}
    upper = float(np.mean(ceilings))
    return Score(
        first.name, found.value, found.low, found.high, found.n, "Student's t over subjects",
        ceiling_upper=upper, provenance=said,
    )  # fmt: skip


def _test(of_block: np.ndarray, seed: int) -> dict[str, Any]:
    p = sign_flip_p(of_block, seed=seed)
    if not math.isfinite(p):
        return {}
    kind = 'exact' if len(of_block) <= MAX_EXACT else 'random'
    return {'p': p, 'p_test': f'{kind} sign-flip test over {len(of_block)} held-out blocks, one-sided'}


def _over_blocks(name: str, values: np.ndarray, about: Mapping[str, Any], **ceilings: float) -> Score:
    found = scoring.mean(name, values, about)
    how = "Student's t over held-out blocks" if found.n > 1 else 'none: one block'
    return Score(name, found.value, found.low, found.high, found.n, how, provenance=about, **ceilings)


def _normal(
    name: str, value: float, error: float, n: int, about: Mapping[str, Any], how: str, **ceilings: float
) -> Score:
    half = float(scipy.stats.t.ppf(0.975, n - 1)) * error if n > 1 else _NAN
    return Score(name, value, value - half, value + half, n, f"Student's t, {how}", provenance=about, **ceilings)


def _jackknife(residual: np.ndarray, total: np.ndarray) -> tuple[float, float]:
    """R2 pooled over blocks, averaged over voxels, and its jackknife error: [f, v], [f, v] -> [], []."""
    whole = [part.sum(axis=0) for part in (residual, total)]
    value, f = float((1 - whole[0] / whole[1]).mean()), len(residual)
    if f < 2:
        return value, _NAN
    left_out = np.array([(1 - (whole[0] - a) / (whole[1] - b)).mean() for a, b in zip(residual, total)])
    return value, float(np.sqrt((f - 1) / f * ((left_out - left_out.mean()) ** 2).sum()))


def _estimated(kept: Kept) -> bool:
    return kept.ceilings is not None and kept.ceilings.jackknife is not None


def _ceiling_error(kept: Kept, voxels: np.ndarray) -> float:
    """Jackknife error of the mean ceiling of held-out rows; 0 where the ceilings are published."""
    found = kept.ceilings
    if found is None or found.jackknife is None:
        return 0.0
    left_out = [
        dataclasses.replace(found, share=one).of_mean(kept.n_averaged)[voxels].mean() for one in found.jackknife
    ]
    g = len(left_out)
    return float(np.sqrt((g - 1) / g * ((np.array(left_out) - np.mean(left_out)) ** 2).sum()))
