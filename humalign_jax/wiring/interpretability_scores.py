"""Scores of values of units: of each network, of conditions, and of differences between conditions."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from humalign_jax.alignment import scoring
from humalign_jax.interpret import comparison, index
from humalign_jax.records import Score

PREFIX = 'interpretability/'
# Distances between the most exciting images of a unit, the preferred first, and the units of their means.
DISTANCES: Mapping[str, str] = {
    'lpips': 'LPIPS',
    'own_features': '1 − cosine of the network’s own features',
    'reference_features': '1 − cosine of another network’s features',
    'colour': 'Euclidean distance of mean colours, 0 to 255',
    'label': 'share of pairs with different labels',
}
Values = tuple[Mapping[str, np.ndarray], Mapping[str, Any]]  # columns [u], and provenance


def columns(values: Mapping[str, np.ndarray]) -> dict[str, tuple[np.ndarray, dict[str, Any]]]:
    """What is scored, larger is better: by score's name after the prefix the values [u] and more provenance.

    `ii_<distance>` is the negative mean distance over distinct pairs; `ii_label` is the share of distinct pairs with
    equal labels, one minus the distance. `psychophysics` is the probability of the right answer.
    """
    found = {}
    for name, unit in DISTANCES.items():
        distance = values.get(f'{name}_mean')
        if distance is None:
            continue
        said = {'measure': name, 'better': 'larger'}
        if name == 'label':
            found['ii_label'] = (1.0 - distance, {**said, 'unit': 'share of pairs with equal labels'})
        else:
            found[f'ii_{name}'] = (-distance, {**said, 'unit': f'−{unit}'})
    for column, right in values.items():
        if column.startswith('psychophysics_'):
            measure, quantile = column.removeprefix('psychophysics_').rsplit('_', 1)
            said = {'measure': measure, 'quantile': float(quantile), 'chance': 0.5, 'better': 'larger'}
            found[f'psychophysics/{measure}/{quantile}'] = (right, {**said, 'unit': 'probability of the right answer'})
    return found


def of_units(values: Mapping[str, np.ndarray], provenance: Mapping[str, Any]) -> list[Score]:
    """Means over a network's units with Student's interval; provenance says sd, n and how many are dead or tied.

    Dead units are left out, except from `lpips_seed_compat`, the number that the seed reports: the mean LPIPS over all
    ordered pairs of images, self pairs included.
    """
    alive = values['dead'] == 0
    counts = {'n_dead': int((~alive).sum()), 'n_tied': int(values['tied'].sum()), 'over': 'units'}
    if not alive.any():
        nan = float('nan')
        reason = {**provenance, **counts, 'reason': 'every unit is dead'}
        return [Score(PREFIX + name, nan, nan, nan, 0, 'none', provenance=reason) for name in columns(values)]
    scores = []
    for name, (of_unit, said) in columns(values).items():
        scores.append(_mean(name, of_unit[alive], {**provenance, **counts, **said}, 'units'))
    if 'lpips_mean' in values:
        mean, said = values['lpips_mean'], {**provenance, **counts, 'better': 'smaller', 'unit': DISTANCES['lpips']}
        compat = index.seed_compat(mean, provenance['n_meis'])
        scores.append(_mean('lpips_mean', mean[alive], said, 'units'))
        scores.append(
            _mean('lpips_seed_compat', compat, {**said, 'pairs': 'all ordered, self pairs included'}, 'units')
        )
    return scores


def of_conditions(networks: Sequence[Values], baseline: str) -> list[Score]:
    """Means over the networks of each condition, and differences of each condition from the baseline.

    `<name>/difference` is over matched units of two networks, the k-th of each condition. Where a condition has
    several networks, `<name>/condition` is the mean over networks of one condition, and `<name>/condition_difference`
    the mean over networks of these differences. Provenance holds the tests of `comparison.paired_tests`.

    Args:
        networks: Columns and provenance of each network, mode and kind of direction.
        baseline: The condition that others are compared with.
    """
    scores = []
    for _, group in itertools.groupby(sorted(networks, key=_key), key=_key):
        by_condition: dict[str, list[Values]] = {}
        for values, said in group:
            by_condition.setdefault(said['condition'], []).append((values, said))
        are_pooled = any(len(members) > 1 for members in by_condition.values())
        for condition, members in by_condition.items():
            scores += _of_condition(condition, members) if are_pooled else []
            if condition != baseline:
                scores += _differences(condition, members, baseline, by_condition[baseline], are_pooled=are_pooled)
    return scores


def _key(network: Values) -> tuple[str, str]:
    return network[1]['directions'], network[1]['mode']


def _of_condition(condition: str, members: Sequence[Values]) -> Iterator[Score]:
    """Mean over networks of the means over units."""
    for name, (_, said) in columns(members[0][0]).items():
        means = [_alive_mean(values, name) for values, _ in members]
        yield _mean(f'{name}/condition', np.array(means), {**_pooled(condition, members), **said}, 'networks')


def _differences(
    condition: str, members: Sequence[Values], baseline: str, others: Sequence[Values], *, are_pooled: bool
) -> Iterator[Score]:
    """Condition minus baseline over matched units of each pair of networks, and over the pairs."""
    others = [others[0]] * len(members) if len(others) == 1 else others
    for name, (_, said) in columns(members[0][0]).items():
        means = []
        for (values, told), (of_other, other) in zip(members, others, strict=True):
            mine, theirs = columns(values)[name][0], columns(of_other)[name][0]
            if len(mine) != len(theirs):
                raise ValueError(
                    f'{told["model"]} has {len(mine)} units, {other["model"]} has {len(theirs)}: no match.'
                )
            both = (values['dead'] == 0) & (of_other['dead'] == 0)
            more = {'other': other['model'], 'other_condition': baseline, 'n_left_out': int((~both).sum())}
            tests = comparison.paired_tests(mine[both], theirs[both]) if both.any() else None
            if tests is not None:
                means.append(tests['difference'])
                yield _difference(
                    f'{name}/difference', tests, int(both.sum()), {**told, **said, **more}, 'matched units'
                )
        if means and are_pooled:
            tests, more = comparison.paired_tests(np.array(means), np.zeros(len(means))), _pooled(condition, members)
            drop = {'cohen_d', 'anova_f', 'anova_p'}  # of values that are not paired, which there are none of here
            tests = {key: value for key, value in tests.items() if key not in drop}
            more = {**more, **said, 'other': baseline, 'other_condition': baseline}
            yield _difference(f'{name}/condition_difference', tests, len(means), more, 'pairs of networks')


def _alive_mean(values: Mapping[str, np.ndarray], name: str) -> float:
    alive = values['dead'] == 0
    return float(columns(values)[name][0][alive].mean()) if alive.any() else float('nan')


def _pooled(condition: str, members: Sequence[Values]) -> dict[str, Any]:
    """Provenance of scores over the networks of a condition."""
    found = scoring.about_networks(condition, {said['model']: said for _, said in members})
    return {**found, 'condition': condition}


def _mean(name: str, values: np.ndarray, provenance: Mapping[str, Any], over: str) -> Score:
    sd = float(values.std(ddof=1)) if len(values) > 1 else float('nan')
    score = scoring.mean(PREFIX + name, values, {**provenance, 'sd': None if np.isnan(sd) else sd, 'over': over})
    return Score(**{**score.__dict__, 'interval': f"Student's t over {over}"})


def _difference(name: str, tests: Mapping[str, float], n: int, provenance: Mapping[str, Any], over: str) -> Score:
    more = {
        key: None if np.isnan(value) else value
        for key, value in tests.items()
        if key not in ('difference', 'low', 'high')
    }
    said = {**provenance, **more, 'better': 'none', 'over': over}
    value, low, high = (float(tests[key]) for key in ('difference', 'low', 'high'))
    return Score(PREFIX + name, value, low, high, n, f"Student's t over {over}", provenance=said)
