"""Geometry of representations turned into scores: class separation, dimensionality, CKA with human embeddings.

Intervals are normal with the standard error of bootstrap samples of items. Items that repeat in a sample shift the
measures, so percentiles would be shifted too; the standard error hardly changes. TwoNN counts repeated items once, and
its standard error is somewhat too large (docs/geometry.md). Samples are the same for all representations, so
differences are paired.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from humalign_jax import rsa
from humalign_jax.alignment.intervals import normal_interval
from humalign_jax.records import Score

SEPARATION, PARTICIPATION, TWO_NN, CKA = (
    'geometry/class_separation', 'geometry/participation_ratio', 'geometry/two_nn', 'geometry/cka'
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A measure of one representation.

    Attributes:
        value: Of all items.
        draws: Of each bootstrap sample, [b].
        n: Number of items.
        about: What provenance says of the measure.
    """

    value: float
    draws: np.ndarray
    n: int
    about: Mapping[str, Any]


Geometry = dict[tuple[str, str], Estimate]  # by name of the score and of the human embedding, '' for none


def draw_items(n: int, n_draws: int, seed: int) -> np.ndarray:
    """Bootstrap samples of n items, rows [n_draws, n]."""
    return np.random.default_rng([seed, n]).integers(n, size=(n_draws, n))


def geometry_of(
    values: np.ndarray, classes: Mapping[str, np.ndarray], embeddings: Mapping[str, np.ndarray], samples: np.ndarray
) -> Geometry:
    """All measures of one representation.

    Args:
        values: Features, [n, d]; items whose features are all 0 have no direction and do not enter class separation.
        classes: Membership of items in classes, bool [n, c], for each set of classes ('coarse', 'fine').
        embeddings: Human embeddings of the same items, [n, e], by name.
        samples: Bootstrap samples of `draw_items`, [b, n].
    """
    values, n = np.asarray(values, np.float64), len(values)
    whole, found = np.arange(n), {}

    def add(name: str, of: Callable[[np.ndarray], float], about: Mapping[str, Any], n_items: int = n) -> None:
        draws = np.array([of(rows) for rows in samples], np.float64)
        found[name, about.get('human_embedding', '')] = Estimate(of(whole), draws, n_items, about)

    for kind, members in classes.items():
        about = {'better': 'none', 'n_classes': members.shape[1]}
        in_class = int((members.any(axis=1) & values.any(axis=1)).sum())
        add(f'{SEPARATION}_{kind}', lambda rows, members=members: _separation(values, members, rows), about, in_class)
    add(PARTICIPATION, lambda rows: rsa.participation_ratio(values[rows]), {'better': 'none'})
    add(TWO_NN, lambda rows: rsa.two_nn(values[rows], min_max=True), {'better': 'none'})
    for name, human in embeddings.items():
        about = {'better': 'larger', 'human_embedding': name}
        add(CKA, lambda rows, human=human: rsa.linear_cka(values[rows], human[rows]), about)
    return found


def mean_geometry(members: Sequence[Geometry]) -> Geometry:
    """What one of several networks of one kind has on average, such as those of several seeds, draw by draw."""
    return {
        key: dataclasses.replace(
            first,
            value=float(np.mean([one[key].value for one in members])),
            draws=np.mean([one[key].draws for one in members], axis=0),
        )
        for key, first in members[0].items()
    }


def scores_of(found: Geometry, about: Mapping[str, Any]) -> list[Score]:
    """`geometry/<measure>` of one representation, with its provenance."""
    return [_score(name, one, {**about, **one.about}) for (name, _), one in found.items()]


def difference_scores(one: Geometry, other: Geometry, about: Mapping[str, Any]) -> list[Score]:
    """`geometry/<measure>/difference`, of the measures that both representations have; `about` names both."""
    return [
        _score(
            f'{key[0]}/difference',
            dataclasses.replace(a, value=a.value - other[key].value, draws=a.draws - other[key].draws),
            {**about, **a.about},
        )
        for key, a in one.items()
        if key in other
    ]


def _score(name: str, one: Estimate, about: Mapping[str, Any]) -> Score:
    low, high = normal_interval(one.value, one.draws)
    how = f'normal, {len(one.draws)} bootstrap samples of items'
    return Score(name, one.value, low, high, one.n, how, provenance=about)


def _separation(values: np.ndarray, members: np.ndarray, rows: np.ndarray) -> float:
    """Class separation of some rows, classes with fewer than two of them left out."""
    values = values[rows]
    members = members[rows] & np.any(values, axis=1, keepdims=True)
    members = members[:, members.sum(axis=0) >= 2]
    return rsa.class_separation(values, members) if members.shape[1] else float('nan')
