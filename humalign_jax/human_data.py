"""Records of human data, each with stimulus ids: answers, which count how many people chose each class."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from humalign_jax import records


@dataclasses.dataclass(frozen=True)
class Answers:
    """Answers of several people to each of n stimuli.

    Attributes:
        counts: How many people chose each class, int64, [n, k]; every row has at least one answer.
        ids: Stimulus ids, unique, [n].
        class_names: Names of the k classes.
        name: What a legend calls them, such as 'cifar10h'.
        simulated: True if a program made the answers; every score derived from them says so.
        provenance: Where they come from (file, hash, licence).
    """

    counts: np.ndarray
    ids: np.ndarray
    class_names: tuple[str, ...]
    name: str
    simulated: bool = False
    provenance: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.counts.ndim != 2 or self.counts.shape[1] != len(self.class_names):
            raise ValueError(f'answers {self.name!r} must be [n, {len(self.class_names)}], not {self.counts.shape}.')
        records.check_ids(self.ids, len(self.counts), f'answers {self.name!r}')
        if not np.issubdtype(self.counts.dtype, np.integer) or self.counts.min() < 0:
            raise ValueError(f'answers {self.name!r} must be whole numbers that are not negative.')
        if self.counts.sum(axis=1).min() < 1:
            raise ValueError(f'answers {self.name!r}: {self.ids[self.counts.sum(axis=1).argmin()]} has no answer.')

    def __len__(self) -> int:
        return len(self.counts)

    @property
    def probabilities(self) -> np.ndarray:
        """Share of people who chose each class, float64, [n, k]; rows sum to 1."""
        return self.counts / self.counts.sum(axis=1, keepdims=True)

    def select(self, ids: np.ndarray) -> 'Answers':
        """The answers to these stimuli, in this order.

        Raises:
            ValueError: A stimulus has no answers here; the message names the first few.
        """
        rows = {stimulus: row for row, stimulus in enumerate(np.asarray(self.ids).tolist())}
        missing = [stimulus for stimulus in np.asarray(ids).tolist() if stimulus not in rows]
        if missing:
            raise ValueError(
                f'{len(missing)} of {len(ids)} stimuli have no answers in {self.name!r}, the first of them '
                f'{", ".join(map(repr, missing[:3]))}; there the ids are such as {str(self.ids[0])!r}.'
            )
        chosen = np.array([rows[stimulus] for stimulus in np.asarray(ids).tolist()], dtype=np.int64)
        return dataclasses.replace(self, counts=self.counts[chosen], ids=np.asarray(self.ids)[chosen])


def check_order(counts: np.ndarray, labels: np.ndarray, *, name: str, minimum: float = 0.5) -> float:
    """Compares people's most frequent answers with true labels, which shows rows in a wrong order.

    Args:
        counts: How many people chose each class, [n, k].
        labels: True classes of the same images, [n].
        name: What the message calls the answers.
        minimum: Smallest share of agreement; shuffled rows agree on 1 / k.

    Returns:
        Share of images whose most frequent answer (the lowest of several) is the label.

    Raises:
        ValueError: The two differ in length, or agree on too few images.
    """
    if len(counts) != len(labels):
        raise ValueError(f'answers {name!r} are about {len(counts)} images, but there are {len(labels)} labels.')
    agreement = float((counts.argmax(axis=1) == labels).mean())
    if agreement < minimum:
        raise ValueError(
            f'the most frequent answer in {name!r} is the label for {100 * agreement:.1f} % of {len(labels)} images, '
            f'less than the {100 * minimum:.0f} % expected: labels and answers are in different orders (TFDS, for one, '
            'shuffles) or of different images.'
        )
    return agreement
