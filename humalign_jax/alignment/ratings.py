"""How well the similarity of two images to a model predicts how similar people find them."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from humalign_jax.alignment import reliability
from humalign_jax.alignment.intervals import weighted_pearson, weighted_spearman
from humalign_jax.human_data import Ratings
from humalign_jax.records import Rdm, Score
from humalign_jax.rsa import bootstrap_weights

MEASURES = ('cosine', 'pearson', '-euclidean', 'dot')
_CORRELATIONS = {'pearson': weighted_pearson, 'spearman': weighted_spearman}
_NAN = float('nan')


def pair_similarity(a: np.ndarray, b: np.ndarray, measure: str) -> np.ndarray:
    """Similarity of the two stimuli of each pair; larger is more similar.

    Args:
        a: Features of one stimulus of each pair, [p, ...]; flattened.
        b: Features of the other, likewise.
        measure: 'cosine', 'pearson' (cosine of centred features), '-euclidean' (minus the distance), or 'dot'.

    Returns:
        float64, [p]. NaN where a vector is zero ('cosine') or constant ('pearson').

    Raises:
        ValueError: An unknown measure, other shapes, or features that are not finite.
    """
    if measure not in MEASURES:
        raise ValueError(f'there is no similarity {measure!r}: choose one of {", ".join(MEASURES)}.')
    if a.shape != b.shape or a.ndim < 2:
        raise ValueError(f'features of the two stimuli must both be [p, d], not {a.shape} and {b.shape}.')
    a, b = (np.asarray(x, np.float64).reshape(len(x), -1) for x in (a, b))
    finite = (np.isfinite(a) & np.isfinite(b)).all(axis=1)
    if not finite.all():
        raise ValueError(f'features of pair {int(np.argmin(finite))} (from 0) are not finite.')
    if measure == '-euclidean':
        return -np.linalg.norm(a - b, axis=1)
    if measure == 'pearson':
        a, b = (np.where(x.max(axis=1) > x.min(axis=1), x.T - x.mean(axis=1), 0.0).T for x in (a, b))
    products = (a * b).sum(axis=1)
    if measure == 'dot':
        return products
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return np.divide(products, norms, out=np.full(len(a), np.nan), where=norms > 0)


def agreement_scores(
    similarity: np.ndarray, ratings: Ratings, about: Mapping[str, Any], *, n_bootstrap: int, seed: int
) -> list[Score]:
    """Correlations of a model's similarities with the mean rating, and with every rater.

    Args:
        similarity: The model's similarity of each pair, [p].
        ratings: People's ratings of the same pairs, in the same order.
        about: Provenance of the model: its name, layer, measure.
        n_bootstrap: Bootstrap samples of pairs.
        seed: Seed of the samples.

    Returns:
        `ratings/pearson` and `ratings/spearman` with the mean rating, then `ratings/pearson_rater` and
        `ratings/spearman_rater` for each rater, over the pairs that this person rated. Where a similarity is undefined
        or either side is constant the value is NaN and `interval` gives the reason. Ceilings: lower, one rater (of
        single raters: this one) against the mean of the others; upper, for Pearson and the mean rating only, the square
        root of Cronbach's alpha. NaN with one rater or with fewer than three pairs that all have rated.
    """
    _check(similarity, ratings)
    said = {**_about(ratings, about, seed), 'better': 'larger'}
    complete, scores = _complete(ratings), []
    for kind in _CORRELATIONS:
        lower = _against_others(complete, kind)
        alpha = _alpha(complete) if kind == 'pearson' else _NAN
        ceilings = (float(lower.mean()), float(np.sqrt(max(alpha, 0.0))))
        provenance = {**said, 'rater': 'mean', 'ceiling': 'lower: one rater with the mean of the others; upper: '
                      "square root of Cronbach's alpha"}  # fmt: skip
        options = {'n_bootstrap': n_bootstrap, 'seed': seed}
        name = f'ratings/{kind}'
        scores.append(
            _correlation(name, kind, similarity, ratings.mean, ratings.pairs, ceilings, provenance, **options)
        )
        for number, rater in enumerate(ratings.raters.tolist()):
            rated = ~np.isnan(ratings.values[number])
            provenance = {**said, 'rater': rater, 'n_raters': 1, 'ceiling': 'lower: with the mean of the others'}
            values = (similarity[rated], ratings.values[number, rated], ratings.pairs[rated])
            ceilings = (float(lower[number]), _NAN)
            scores.append(_correlation(f'{name}_rater', kind, *values, ceilings, provenance, **options))
    return scores


def reliability_scores(ratings: Ratings, *, n_bootstrap: int, seed: int) -> list[Score]:
    """How well raters agree, over the pairs that all of them rated.

    Returns:
        `ratings/inter_rater`, the mean Pearson correlation of two raters; `ratings/alpha`, Cronbach's alpha of their
        mean; `ratings/one_against_others`, the mean correlation of one with the mean of the others;
        `ratings/spearman_brown`, the reliability of the mean by the inter-rater correlation, NaN where the hypothesis
        of parallel raters is rejected (p < 0.05) or cannot be tested.
    """
    said = {**_about(ratings, {}, seed), 'better': 'larger'}
    complete = _complete(ratings)
    n_raters, n = complete.shape
    reason = ''
    if n_raters < 2:
        reason = 'none: one rater'
    elif n < 3:
        reason = f'none: only {n} pairs have the ratings of all {n_raters} raters'
    elif (complete.max(axis=1) == complete.min(axis=1)).any():
        constant = int(np.argmax(complete.max(axis=1) == complete.min(axis=1)))
        reason = f'none: rater {ratings.raters[constant]} gave the same rating to all pairs'
    p = _NAN if reason else reliability.parallel_p(complete)
    functions = {
        'inter_rater': (reliability.inter_rater, 'mean Pearson correlation of two raters'),
        'alpha': (reliability.cronbach_alpha, "Cronbach's alpha of the mean of the raters"),
        'one_against_others': (
            lambda covariances: reliability.against_others(covariances).mean(axis=-1),
            'mean Pearson correlation of one rater with the mean of the others',
        ),
        'spearman_brown': (
            lambda covariances: reliability.spearman_brown(reliability.inter_rater(covariances), n_raters),
            'reliability of the mean of parallel raters, from the inter-rater correlation',
        ),
    }
    if not reason:
        weights = bootstrap_weights(seed, n, n_bootstrap, stream=0).astype(np.float64)
        drawn = reliability.rater_covariances(complete, weights)
        once = reliability.rater_covariances(complete, np.ones((1, n)))
    scores = []
    for name, (function, measure) in functions.items():
        provenance = {**said, 'measure': measure}
        why = reason
        if name == 'spearman_brown' and not reason:
            provenance['parallel_p'] = p
            tested = f'rejected (p = {p:.2g})' if p == p else 'not testable with so few pairs'
            why = '' if p >= 0.05 else f'none: equal variances and covariances of the raters are {tested}'
        if why:
            scores.append(Score(f'ratings/{name}', _NAN, _NAN, _NAN, n, why, provenance=provenance))
            continue
        low, high = _percentiles(function(drawn))
        value = float(function(once)[0])
        scores.append(Score(f'ratings/{name}', value, low, high, n, _how(n_bootstrap), provenance=provenance))
    return scores


def influence_scores(
    similarity: np.ndarray, ratings: Ratings, about: Mapping[str, Any], *, n_pairs: int
) -> list[Score]:
    """Pearson's r with the mean rating without the most influential pairs: one, then two, up to `n_pairs`.

    Returns:
        `ratings/pearson_without`, each naming the pairs left out in `provenance['without']`; [] where r is undefined.
        They describe single pairs and have no interval.
    """
    _check(similarity, ratings)
    if _why_undefined(similarity, ratings.mean, ratings.pairs):
        return []
    said = {**_about(ratings, about, None), 'rater': 'mean', 'better': 'none'}
    n_pairs, scores = min(n_pairs, len(ratings) - 3), []
    for rows, value in most_influential(similarity, ratings.mean, n_pairs):
        provenance = {**said, 'without': ratings.pairs[rows].tolist()}
        how = 'none: the pairs were left out because they matter most'
        scores.append(
            Score('ratings/pearson_without', value, _NAN, _NAN, len(ratings) - len(rows), how, provenance=provenance)
        )
    return scores


def without_each(similarity: np.ndarray, rating: np.ndarray) -> np.ndarray:
    """Pearson's r without each pair: [p], [p] -> [p]."""
    return weighted_pearson(similarity, rating, 1.0 - np.eye(len(similarity)))


def most_influential(similarity: np.ndarray, rating: np.ndarray, n_pairs: int) -> list[tuple[list[int], float]]:
    """The pairs without which Pearson's r is farthest from that of all pairs, found greedily.

    Args:
        similarity: A model's similarity of each pair, [p].
        rating: People's rating of each pair, [p].
        n_pairs: How many pairs to leave out at most.

    Returns:
        For 1, 2, ... pairs: their rows in the order in which they were found, and r without them.
    """
    n = len(similarity)
    whole = weighted_pearson(similarity, rating, np.ones((1, n)))[0]
    left_out: list[int] = []
    found = []
    for _ in range(n_pairs):
        weights = 1.0 - np.eye(n)
        weights[:, left_out] = 0.0
        without = weighted_pearson(similarity, rating, weights)
        moved = np.abs(without - whole)
        moved[left_out] = np.nan
        if np.isnan(moved).all():
            break
        left_out = [*left_out, int(np.nanargmax(moved))]
        found.append((left_out, float(without[left_out[-1]])))
    return found


def rating_rdms(ratings: Ratings) -> list[Rdm]:
    """What each rater says of all pairs of the rated stimuli, as dissimilarities.

    Returns:
        An RDM for each rater over the sorted ids of the rated stimuli: the highest rating of the scale minus the
        rating, averaged where a rater rated two stimuli more than once; NaN for pairs that the rater did not rate.
    """
    ids, places = np.unique(np.stack([ratings.ids_a, ratings.ids_b]), return_inverse=True)
    first, second = np.sort(places.reshape(2, -1), axis=0)
    n = len(ids)
    row = first * (2 * n - first - 1) // 2 + second - first - 1  # in condensed order
    made = []
    for rater, values in zip(ratings.raters.tolist(), ratings.scale[1] - ratings.values):
        counted = ~np.isnan(values) & (first < second)
        total, count = (
            np.bincount(row[counted], weights=weights, minlength=n * (n - 1) // 2)
            for weights in (values[counted], np.ones(counted.sum()))
        )
        mean = np.divide(total, count, out=np.full(len(total), np.nan), where=count > 0)
        said = {f'human_{key}': value for key, value in ratings.provenance.items()}
        made.append(Rdm(mean, ids, f'{ratings.name}/{rater}', 'highest rating minus rating', said))
    return made


def min_max(values: np.ndarray) -> np.ndarray:
    """Values scaled to 0..1, for display only: NaN everywhere if they are all equal."""
    low, high = np.nanmin(values), np.nanmax(values)
    return (values - low) / (high - low) if high > low else np.full(np.shape(values), np.nan)


def _correlation(
    name: str,
    kind: str,
    similarity: np.ndarray,
    rating: np.ndarray,
    pairs: np.ndarray,
    ceilings: tuple[float, float],
    provenance: Mapping[str, Any],
    *,
    n_bootstrap: int,
    seed: int,
) -> Score:
    """One correlation over pairs, with its percentile interval."""
    n = len(pairs)
    reason = _why_undefined(similarity, rating, pairs)
    if reason:
        return Score(name, _NAN, _NAN, _NAN, n, reason, *ceilings, provenance=provenance)
    function = _CORRELATIONS[kind]
    weights = bootstrap_weights(seed, n, n_bootstrap, stream=0).astype(np.float64)
    value = float(function(similarity, rating, np.ones((1, n)))[0])
    low, high = _percentiles(function(similarity, rating, weights))
    return Score(name, value, low, high, n, _how(n_bootstrap), *ceilings, provenance=provenance)


def _why_undefined(similarity: np.ndarray, rating: np.ndarray, pairs: np.ndarray) -> str:
    """Why a correlation has no value, '' if it has one."""
    undefined = pairs[np.isnan(similarity)]
    if len(undefined):
        named = ', '.join(undefined[:3].tolist())
        return f'none: {len(undefined)} similarities are undefined (zero or constant features), first of pairs {named}'
    if len(pairs) < 3:
        return f'none: {len(pairs)} pairs are too few'
    for values, what in ((similarity, 'similarities'), (rating, 'ratings')):
        if values.max() == values.min():
            return f'none: all {what} are equal'
    return ''


def _percentiles(draws: np.ndarray) -> tuple[float, float]:
    """Ends of the 95 % interval; draws in which everything is equal are left out."""
    kept = draws[np.isfinite(draws)]
    if len(kept) < 2:
        return _NAN, _NAN
    low, high = np.quantile(kept, (0.025, 0.975))
    return float(low), float(high)


def _how(n_bootstrap: int) -> str:
    return f'percentiles of {n_bootstrap} bootstrap samples of pairs'


def _complete(ratings: Ratings) -> np.ndarray:
    """Ratings of the pairs that all raters rated, [r, n]."""
    return ratings.values[:, ~np.isnan(ratings.values).any(axis=0)]


def _alpha(complete: np.ndarray) -> float:
    n_raters, n = complete.shape
    if n_raters < 2 or n < 3:
        return _NAN
    return float(reliability.cronbach_alpha(reliability.rater_covariances(complete, np.ones((1, n))))[0])


def _against_others(complete: np.ndarray, kind: str) -> np.ndarray:
    """Correlation of each rater with the mean of the others, [r]; NaN where there is none."""
    n_raters, n = complete.shape
    if n_raters < 2 or n < 3:
        return np.full(n_raters, np.nan)
    others = [np.delete(complete, number, axis=0).sum(axis=0) for number in range(n_raters)]
    varies = [min(np.ptp(one), np.ptp(total)) > 0 for one, total in zip(complete, others)]
    once = np.ones((1, n))
    found = [_CORRELATIONS[kind](one, total, once)[0] for one, total in zip(complete, others)]
    return np.where(varies, found, np.nan)


def _about(ratings: Ratings, about: Mapping[str, Any], seed: int | None) -> dict[str, Any]:
    """What every score says of the ratings."""
    categories = list(dict.fromkeys(ratings.categories.tolist()))
    return {
        **about,
        'human': ratings.name,
        'simulated': bool(ratings.simulated or about.get('simulated')),
        'category': categories[0] if len(categories) == 1 else 'all',
        'n_raters': len(ratings.raters),
        **({} if seed is None else {'seed': seed}),
        **{f'human_{key}': value for key, value in ratings.provenance.items()},
    }


def _check(similarity: np.ndarray, ratings: Ratings) -> None:
    if similarity.shape != (len(ratings),):
        raise ValueError(f'{len(ratings)} pairs of {ratings.name!r} need similarities [p], not {similarity.shape}.')
