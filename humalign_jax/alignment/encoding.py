"""Encoding models: voxel responses predicted from features by ridge regression, scored on held-out trials.

References:
    Naselaris, Kay, Nishimoto & Gallant (2011), NeuroImage (encoding). doi:10.1016/j.neuroimage.2010.07.073
    Kay, Naselaris, Prenger & Gallant (2008), Nature (identification). doi:10.1038/nature06713
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from humalign_jax import progress
from humalign_jax.alignment import ridge
from humalign_jax.human_responses import Responses
from humalign_jax.rsa import ledoit_wolf

BY = ('session', 'stimulus', 'split')
IDENTIFICATION = ('correlation', 'whitened')


@dataclasses.dataclass(frozen=True)
class Fold:
    """Trials to fit on, and one block of held-out trials or several.

    Attributes:
        train: Trial numbers, [m].
        blocks: Trial numbers of each block; a block is scored by itself.
        names: Name of each block, such as that of its session.
    """

    train: np.ndarray
    blocks: tuple[np.ndarray, ...]
    names: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class EncodingFit:
    """Scores of one model on every held-out block, [f], and voxel, [v].

    Attributes:
        blocks: Names of the blocks.
        r: Pearson's r over the trials of a block, [f, v]; 0 for a constant prediction.
        residual: Sum of squared errors, in units of the voxel's variance in train, [f, v].
        total: Sum of squared deviations from the mean in train, in the same unit, [f, v].
        penalty: Of the fit that predicts a block, [f, v].
        band: Chosen weight of each band, [f, v, bands].
        identified: Share of a block's trials whose stimulus is identified, by measure and region, [f] each.
        chance: Share by chance in each block, [f].
    """

    blocks: tuple[str, ...]
    r: np.ndarray
    residual: np.ndarray
    total: np.ndarray
    penalty: np.ndarray
    band: np.ndarray
    identified: dict[tuple[str, str], np.ndarray]
    chance: np.ndarray


def make_folds(
    responses: Responses,
    by: str,
    *,
    n: int,
    seed: int,
    new_stimuli: bool,
    test: np.ndarray | None = None,
) -> list[Fold]:
    """Folds that leave out sessions or stimuli, or one fold with a given test set.

    Args:
        responses: The trials.
        by: 'session': each session is held out once; 'stimulus': each of n random parts of the stimuli; 'split': the
            trials `test`, scored in n random parts of their stimuli.
        n: Number of parts.
        seed: Seed of the parts.
        new_stimuli: Of 'session': whether stimuli of the held-out session are left out of train.
        test: Mask of the test trials, [m], of 'split'.

    Raises:
        ValueError: There is one session only, there are fewer stimuli than parts, or nothing is left to train on.
    """
    everything = np.arange(len(responses))
    if by == 'session':
        sessions = list(dict.fromkeys(responses.sessions.tolist()))
        if len(sessions) < 2:
            raise ValueError(
                f'{responses.name!r}, subject {responses.subject!r}, has one session (or run) only, {sessions[0]!r}, '
                'so none can be held out: divide the stimuli instead (by=stimulus).'
            )
        folds = []
        for session in sessions:
            held_out = responses.sessions == session
            train = ~held_out
            if new_stimuli:
                train &= ~np.isin(responses.stimuli, responses.stimuli[held_out])
            folds.append(Fold(np.flatnonzero(train), (np.flatnonzero(held_out),), (session,)))
    elif by == 'stimulus':
        parts = _parts(responses, everything, n, seed)
        folds = [
            Fold(np.setdiff1d(everything, part), (part,), (f'part {number}',)) for number, part in enumerate(parts)
        ]
    else:
        if test is None or not test.any() or test.all():
            raise ValueError(f'{responses.name!r} has no split into train and test: divide by session or stimulus.')
        blocks = _parts(responses, np.flatnonzero(test), n, seed)
        names = tuple(f'part {number}' for number in range(len(blocks)))
        folds = [Fold(np.flatnonzero(~test), tuple(blocks), names)]
    short = next((fold for fold in folds if len(fold.train) < 3 or min(len(block) for block in fold.blocks) < 2), None)
    if short is not None:
        raise ValueError(
            f'{responses.name!r}, subject {responses.subject!r}, fold {short.names[0]!r}: {len(short.train)} trials to '
            f'fit and {min(len(block) for block in short.blocks)} held out, where 3 and 2 are needed'
            + (': stimuli of the held-out session are left out of train (new_stimuli).' if new_stimuli else '.')
        )
    return folds


def _parts(responses: Responses, trials: np.ndarray, n: int, seed: int) -> list[np.ndarray]:
    """Trials divided into n parts of about equally many stimuli."""
    ids, number = np.unique(responses.stimuli[trials], return_inverse=True)
    if len(ids) < 2 * n:
        raise ValueError(
            f'{responses.name!r}, subject {responses.subject!r}: {len(ids)} stimuli do not make {n} parts of two.'
        )
    part = np.random.default_rng(seed).permutation(len(ids)) % n
    return [trials[part[number] == k] for k in range(n)]


def cross_validate(
    bands: Sequence[np.ndarray],
    responses: Responses,
    folds: Sequence[Fold],
    *,
    penalties: Sequence[float],
    weights: np.ndarray | None = None,
    inner: str = 'rows',
    scale: bool = True,
    identification: Sequence[str] = (),
    dtype: str = 'float32',
    batch: int = 0,
    what: str = '',
) -> EncodingFit:
    """Fits voxels in every fold and scores the held-out trials.

    Every voxel is divided by its standard deviation in train, after its mean there is subtracted; features likewise if
    `scale`. Features that are constant in train are left at 0.

    Args:
        bands: Features of each trial, one array for each band (feature space), [m, d] each.
        responses: The trials; voxels must be finite.
        folds: Of `make_folds`.
        penalties: See `ridge.fit_ridge`.
        weights: Sets of band weights, see there.
        inner: How penalties are chosen: 'rows', leave-one-out over trials; 'sessions' or 'stimuli', leave one group
            out. Trials of one stimulus have correlated signal, so 'rows' favours small penalties where they repeat.
        scale: Whether features are divided by their standard deviation.
        identification: Measures of `IDENTIFICATION` by which a stimulus is identified among those of its block:
            'correlation' of measured and predicted pattern, or 'whitened', the distance between them after whitening
            with the covariance of the residuals in train (Ledoit-Wolf), the Gaussian log likelihood.
        dtype: See `ridge.fit_ridge`.
        batch: See there.
        what: Name for the progress bar.

    Raises:
        ValueError: As `ridge.fit_ridge`.
    """
    scored: list[tuple[str, dict[str, Any]]] = []
    sets = np.ones((1, len(bands))) if weights is None else weights
    for fold in progress.each(list(folds), what or 'folds', lambda one: one.names[0]):
        held_out = np.concatenate(fold.blocks)
        train, test = (responses.values[rows] for rows in (fold.train, held_out))
        mean, sd = train.mean(axis=0, dtype=np.float64), train.std(axis=0, dtype=np.float64)
        sd = np.where(sd > 0, sd, np.nan).astype(train.dtype)
        y, y_test = (
            np.nan_to_num((values - mean.astype(train.dtype)) / sd, nan=0.0, copy=False) for values in (train, test)
        )
        x, x_test = zip(*(_scaled(band, fold.train, held_out, scale) for band in bands))
        groups = {'sessions': responses.sessions, 'stimuli': responses.stimuli}.get(inner)
        with_train = 'whitened' in identification
        fit = ridge.fit_ridge(
            x, y, [np.concatenate(pair) for pair in zip(x_test, x)] if with_train else x_test,
            penalties=penalties, weights=weights, groups=None if groups is None else groups[fold.train],
            dtype=dtype, batch=batch,
        )  # fmt: skip
        predicted = fit.predictions[: len(held_out)]
        residuals = y - fit.predictions[len(held_out) :] if with_train else None
        start = 0
        for name, block in zip(fold.names, fold.blocks):
            rows = slice(start, start + len(block))
            start += len(block)
            made = _scores(predicted[rows], y_test[rows], np.isnan(sd))
            made |= {'penalty': fit.penalty, 'band': sets[fit.weights].astype(np.float32)}
            made |= _identify(predicted[rows], y_test[rows], residuals, responses, block, identification)
            scored.append((name, made))
    names, rows = zip(*scored)
    stacked = {key: np.stack([row[key] for row in rows]) for key in rows[0]}
    fields = ('r', 'residual', 'total', 'penalty', 'band', 'chance')
    identified = {key: values for key, values in stacked.items() if isinstance(key, tuple)}
    return EncodingFit(blocks=names, identified=identified, **{field: stacked[field] for field in fields})


def _scaled(band: np.ndarray, train: np.ndarray, test: np.ndarray, scale: bool) -> tuple[np.ndarray, np.ndarray]:
    """Features of the trials to fit and to predict, less their mean in train and over their SD there."""
    x, x_test = band[train].astype(np.float64), band[test].astype(np.float64)
    mean, sd = x.mean(axis=0), x.std(axis=0)
    factor = np.divide(1.0, sd, out=np.zeros_like(sd), where=sd > 0) if scale else 1.0
    return (x - mean) * factor, (x_test - mean) * factor


def _scores(predicted: np.ndarray, measured: np.ndarray, undefined: np.ndarray) -> dict[str, np.ndarray]:
    """Pearson's r and sums of squares of each voxel; NaN where a voxel is constant in train or in the block."""
    a = predicted - predicted.mean(axis=0)
    b = measured - measured.mean(axis=0)
    product, squares = (a * b).sum(axis=0), (a**2).sum(axis=0) * (b**2).sum(axis=0)
    r = np.divide(product, np.sqrt(squares), out=np.zeros_like(product), where=squares > 0)
    undefined = undefined | ~((b**2).sum(axis=0) > 0)
    residual, total = ((measured - predicted) ** 2).sum(axis=0), (measured**2).sum(axis=0)
    scores = {'r': r, 'residual': residual, 'total': total}
    return {key: np.where(undefined, np.nan, values.astype(np.float64)) for key, values in scores.items()}


def _identify(
    predicted: np.ndarray,
    measured: np.ndarray,
    residuals: np.ndarray | None,
    responses: Responses,
    block: np.ndarray,
    measures: Sequence[str],
) -> dict[Any, float]:
    """Share of trials whose own prediction is nearest among those of the block's stimuli; ties share the credit."""
    ids, first, number = np.unique(responses.stimuli[block], return_index=True, return_inverse=True)
    shares: dict[Any, float] = {'chance': 1.0 / len(ids)}
    for measure in measures:
        for roi, mask in responses.rois.items():
            a, b = (values[:, mask].astype(np.float64) for values in (measured, predicted[first]))
            if measure == 'correlation':
                likeness = _unit(a) @ _unit(b).T
            else:
                assert residuals is not None
                whitener = np.linalg.cholesky(np.linalg.inv(ledoit_wolf(residuals[:, mask])))
                a, b = a @ whitener, b @ whitener
                likeness = 2 * a @ b.T - (b**2).sum(axis=1)
            best = likeness == likeness.max(axis=1, keepdims=True)
            shares[measure, roi] = float((best[np.arange(len(a)), number] / best.sum(axis=1)).mean())
    return shares


def _unit(x: np.ndarray) -> np.ndarray:
    """Rows less their mean and with length 1; a constant row becomes 0."""
    x = x - x.mean(axis=1, keepdims=True)
    length = np.sqrt((x**2).sum(axis=1, keepdims=True))
    return np.divide(x, length, out=np.zeros_like(x), where=length > 0)
