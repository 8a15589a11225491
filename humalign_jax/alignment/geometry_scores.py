"""Geometry of representations turned into scores: class separation, dimensionality, CKA with human embeddings.

Intervals are normal with the standard error of resampled items. Most measures take bootstrap samples. Items that repeat
in a sample shift the measures, but not their standard error; percentiles would be shifted. TwoNN counts repeated items
once and would see 0.63 of the items, with too small an error: it takes random halves of the items without replacement,
whose variance is that of the whole set for a mean. Draws are the same for all representations, so differences are
paired.

References:
    Efron (1982). The jackknife, the bootstrap and other resampling plans, chapter 8 (half-sampling). SIAM.
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
class ItemDraws:
    """Resampled items, the same for all representations.

    Attributes:
        samples: Rows of each bootstrap sample, [b, n].
        halves: Rows of each half of the items, [b, n // 2].
    """

    samples: np.ndarray
    halves: np.ndarray


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A measure of one representation.

    Attributes:
        value: Of all items.
        draws: Of each resample, [b].
        n: Number of items.
        interval: What the resamples are.
        about: What provenance says of the measure.
    """

    value: float
    draws: np.ndarray
    n: int
    interval: str
    about: Mapping[str, Any]


Geometry = dict[tuple[str, str], Estimate]  # by name of the score and of the human embedding, '' for none


def draw_items(n: int, n_draws: int, seed: int) -> ItemDraws:
    """Resamples of n items."""
    np_rng = np.random.default_rng([seed, n])
    samples = np_rng.integers(n, size=(n_draws, n))
    halves = [np_rng.permutation(n)[: n // 2] for _ in range(n_draws)]
    return ItemDraws(samples, np.array(halves, np.int64).reshape(n_draws, n // 2))


def geometry_of(
    values: np.ndarray, classes: Mapping[str, np.ndarray], embeddings: Mapping[str, np.ndarray], draws: ItemDraws
) -> Geometry:
    """All measures of one representation.

    Args:
        values: Features, [n, d]; items whose features are all 0 have no direction and do not enter class separation.
        classes: Membership of items in classes, bool [n, c], for each set of classes ('coarse', 'fine').
        embeddings: Human embeddings of the same items, [n, e], by name.
        draws: Resamples of `draw_items`.
    """
    values, n = np.asarray(values, np.float64), len(values)
    whole, found = np.arange(n), {}

    def add(
        name: str, of: Callable[[np.ndarray], float], rows: np.ndarray, what: str, about: dict, n_items: int = n
    ) -> None:
        resampled = np.array([of(one) for one in rows], np.float64)
        how = f'normal, {len(rows)} {what} of items'
        found[name, about.get('human_embedding', '')] = Estimate(of(whole), resampled, n_items, how, about)

    bootstrap = draws.samples, 'bootstrap samples'
    for kind, members in classes.items():
        about = {'better': 'none', 'n_classes': members.shape[1]}
        in_class = int(members.any(axis=1).sum())
        add(f'{SEPARATION}_{kind}', lambda rows, t=members: _separation(values, t, rows), *bootstrap, about, in_class)
    add(PARTICIPATION, lambda rows: rsa.participation_ratio(values[rows]), *bootstrap, {'better': 'none'})
    add(TWO_NN, lambda rows: rsa.two_nn(values[rows], min_max=True), draws.halves, 'random halves', {'better': 'none'})
    for name, human in embeddings.items():
        about = {'better': 'larger', 'human_embedding': name}
        add(CKA, lambda rows, human=human: rsa.linear_cka(values[rows], human[rows]), *bootstrap, about)
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
    return Score(name, one.value, low, high, one.n, one.interval, provenance=about)


def _separation(values: np.ndarray, members: np.ndarray, rows: np.ndarray) -> float:
    """Class separation of some rows, classes with fewer than two of them left out."""
    values, members = values[rows], members[rows]
    members = members & values.any(axis=1)[:, None]
    members = members[:, members.sum(axis=0) >= 2]
    return rsa.class_separation(values, members) if members.shape[1] else float('nan')
