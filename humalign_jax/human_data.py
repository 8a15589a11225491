"""Records of human data, each with stimulus ids.

Answers count how many people chose each class; triplets say which of three stimuli is the odd one out; ratings say how
similar the two stimuli of a pair are; choices are those of people who learn from feedback.
"""

import dataclasses
from collections.abc import Mapping, Sequence
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


@dataclasses.dataclass(frozen=True)
class Triplets:
    """Odd-one-out choices: which of three stimuli a person found least similar to the other two.

    Attributes:
        ids: Stimulus ids, unique, [n].
        items: The three stimuli of each trial, as rows of `ids`, int32, [t, 3]; three different ones.
        odd: Place of the chosen odd one in its trial, 0 to 2, int8, [t].
        name: What a legend calls them, such as 'THINGS triplets'.
        participants: Who answered each trial, text or whole numbers, [t]; None where it is not known.
        kinds: Kind of each trial, such as 'within_class', [t]; None where there is one kind.
        in_order: True if the items of a trial stand in the order of presentation; only then is a position bias defined.
        simulated: True if a program made the choices; every score derived from them says so.
        provenance: Where they come from (file, hash, licence).
    """

    ids: np.ndarray
    items: np.ndarray
    odd: np.ndarray
    name: str
    participants: np.ndarray | None = None
    kinds: np.ndarray | None = None
    in_order: bool = False
    simulated: bool = False
    provenance: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        what = f'triplets {self.name!r}'
        object.__setattr__(self, 'ids', np.asarray(self.ids, dtype=np.str_))
        records.check_ids(self.ids, len(self.ids), what)
        items, odd, n = np.asarray(self.items), np.asarray(self.odd), len(self.ids)
        if items.ndim != 2 or items.shape[1] != 3 or not len(items) or not np.issubdtype(items.dtype, np.integer):
            raise ValueError(f'{what} must be whole numbers [t, 3] with t above 0, not {items.dtype} {items.shape}.')
        wrong = (items < 0) | (items >= n)
        if wrong.any():
            trial, place = np.argwhere(wrong)[0]
            raise ValueError(
                f'{what}: trial {trial} (from 0) has the item {items[trial, place]}, outside 0 to {n - 1} '
                f'({int(wrong.any(axis=1).sum())} such trials): do its numbers count from 1?'
            )
        same = (items[:, 0] == items[:, 1]) | (items[:, 0] == items[:, 2]) | (items[:, 1] == items[:, 2])
        if same.any():
            trial = int(np.argmax(same))
            raise ValueError(
                f'{what}: trial {trial} (from 0) shows a stimulus twice, {", ".join(self.ids[items[trial]].tolist())} '
                f'({int(same.sum())} such trials): a triplet has three different stimuli.'
            )
        if odd.shape != (len(items),) or not np.isin(odd, (0, 1, 2)).all():
            raise ValueError(
                f'{what}: odd must be the place 0, 1 or 2 of the odd one out in each of {len(items)} trials.'
            )
        object.__setattr__(self, 'items', np.ascontiguousarray(items, dtype=np.int32))
        object.__setattr__(self, 'odd', odd.astype(np.int8))
        for field in ('participants', 'kinds'):
            values = getattr(self, field)
            if values is not None and np.shape(values) != (len(items),):
                raise ValueError(f'{what}: {len(items)} trials but {field} has shape {np.shape(values)}.')

    def __len__(self) -> int:
        return len(self.items)

    @classmethod
    def from_ids(cls, stimuli: np.ndarray, odd: np.ndarray, name: str, **fields: Any) -> 'Triplets':
        """Triplets whose stimuli are given by id, [t, 3]; the ids are sorted.

        Raises:
            ValueError: As for the record itself.
        """
        ids, items = np.unique(np.asarray(stimuli, dtype=np.str_), return_inverse=True)
        return cls(ids, items.reshape(np.shape(stimuli)), odd, name, **fields)

    @property
    def sets(self) -> np.ndarray:
        """A number for the three stimuli of each trial, equal for repeats in any order, int64, [t]."""
        a, b, c = np.sort(self.items, axis=1).astype(np.int64).T
        return (a * len(self.ids) + b) * len(self.ids) + c

    @property
    def chosen(self) -> np.ndarray:
        """Rows of `ids` that were chosen as the odd ones, int32, [t]."""
        return self.items[np.arange(len(self)), self.odd]

    def take(self, trials: np.ndarray) -> 'Triplets':
        """Some trials, by number or by a mask [t]; the stimuli stay.

        Raises:
            ValueError: No trial is left.
        """
        fields = {field: getattr(self, field) for field in ('participants', 'kinds')}
        chosen = {field: None if values is None else np.asarray(values)[trials] for field, values in fields.items()}
        return dataclasses.replace(self, items=self.items[trials], odd=self.odd[trials], **chosen)

    def join(self, ids: np.ndarray, *, what: str) -> 'Triplets':
        """The trials with items as rows of other ids.

        Args:
            ids: Ids that features have, unique, [m].
            what: Name of the features, for messages.

        Raises:
            ValueError: The features lack stimuli that trials show; the message names the first few.
        """
        rows = {stimulus: row for row, stimulus in enumerate(np.asarray(ids, dtype=np.str_).tolist())}
        row_of = np.array([rows.get(stimulus, -1) for stimulus in self.ids.tolist()], dtype=np.int32)
        items = row_of[self.items]
        if items.min() < 0:
            used = np.unique(self.items)
            missing, n_trials = self.ids[used[row_of[used] < 0]], int((items < 0).any(axis=1).sum())
            raise ValueError(
                f'{what} lacks {len(missing)} of the {len(used)} stimuli of {self.name!r}, the first of them '
                f'{", ".join(map(repr, missing[:3].tolist()))}, which {n_trials} of {len(self)} trials show; its ids '
                f'are such as {str(np.asarray(ids)[0])!r}.'
            )
        return dataclasses.replace(self, ids=np.asarray(ids, dtype=np.str_), items=items)


@dataclasses.dataclass(frozen=True)
class Ratings:
    """How similar several people found the two stimuli of each of p pairs.

    Attributes:
        pairs: Pair ids, unique, [p].
        ids_a: Stimulus id of one member of each pair, [p].
        ids_b: Stimulus id of the other member, [p].
        categories: Class of both stimuli of each pair, such as '8', [p].
        raters: Rater ids, unique, [r].
        values: Ratings, float64, [r, p]; larger is more similar, NaN where a rater did not rate a pair. Every pair and
            every rater has at least one rating.
        scale: The lowest and the highest rating that could be given.
        name: What a legend calls them, such as 'digit ratings'.
        simulated: True if a program made the ratings; every score derived from them says so.
        provenance: Where they come from (files, hashes, licence).
    """

    pairs: np.ndarray
    ids_a: np.ndarray
    ids_b: np.ndarray
    categories: np.ndarray
    raters: np.ndarray
    values: np.ndarray
    scale: tuple[float, float]
    name: str
    simulated: bool = False
    provenance: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        what = f'ratings {self.name!r}'
        for field in ('pairs', 'ids_a', 'ids_b', 'categories', 'raters'):
            object.__setattr__(self, field, np.asarray(getattr(self, field), dtype=np.str_))
        object.__setattr__(self, 'values', np.asarray(self.values, dtype=np.float64))
        shape = (self.raters.size, self.pairs.size)
        if 0 in shape:
            raise ValueError(f'{what} have no {"pair" if self.raters.size else "rater"}.')
        if self.values.shape != shape:
            raise ValueError(f'{what} of {shape[0]} raters and {shape[1]} pairs must be {shape}: {self.values.shape}.')
        for field in ('ids_a', 'ids_b', 'categories'):
            if getattr(self, field).shape != self.pairs.shape:
                raise ValueError(f'{what}: {shape[1]} pairs but {field} has shape {getattr(self, field).shape}.')
        for field in ('pairs', 'raters'):
            unique, counts = np.unique(getattr(self, field), return_counts=True)
            if len(unique) < counts.sum():
                raise ValueError(f'{what}: {field} must be unique, but {str(unique[counts > 1][0])!r} occurs twice.')
        low, high = self.scale
        wrong = np.argwhere(~(np.isnan(self.values) | ((self.values >= low) & (self.values <= high))))
        if len(wrong):
            rater, pair = wrong[0]
            raise ValueError(
                f'{what}: {self.raters[rater]} rated pair {self.pairs[pair]} {self.values[rater, pair]:g}, outside '
                f'the scale from {low:g} to {high:g}.'
            )
        for field, given in zip(('pairs', 'raters'), (self._given.any(axis=0), self._given.any(axis=1))):
            if not given.all():
                raise ValueError(f'{what}: {field[:-1]} {getattr(self, field)[~given][0]} has no rating.')

    def __len__(self) -> int:
        return len(self.pairs)

    @property
    def _given(self) -> np.ndarray:
        return ~np.isnan(self.values)

    @property
    def mean(self) -> np.ndarray:
        """Mean of each pair's ratings, over the raters who rated it, float64, [p]."""
        return np.nanmean(self.values, axis=0)

    def of_category(self, category: str) -> 'Ratings':
        """The pairs of one category.

        Raises:
            ValueError: There are none; the message names the categories that there are.
        """
        return self._select(np.ones(len(self.raters), dtype=bool), self.categories == category, 'category', category)

    def of_rater(self, rater: str) -> 'Ratings':
        """The ratings of one person, without the pairs that this person did not rate.

        Raises:
            ValueError: There is no such rater; the message names those that there are.
        """
        return self._select(self.raters == rater, np.ones(len(self), dtype=bool), 'rater', rater)

    def _select(self, raters: np.ndarray, pairs: np.ndarray, kind: str, wanted: str) -> 'Ratings':
        """Some raters and pairs, without those that then have no rating."""
        if not raters.any() or not pairs.any():
            known = dict.fromkeys((self.categories if kind == 'category' else self.raters).tolist())
            raise ValueError(f'ratings {self.name!r} have no {kind} {wanted!r}, but {", ".join(known)}.')
        given = self._given & raters[:, None] & pairs
        raters, pairs = np.flatnonzero(given.any(axis=1)), np.flatnonzero(given.any(axis=0))
        columns = {field: getattr(self, field)[pairs] for field in ('pairs', 'ids_a', 'ids_b', 'categories')}
        return dataclasses.replace(
            self, raters=self.raters[raters], values=self.values[np.ix_(raters, pairs)], **columns
        )


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


@dataclasses.dataclass(frozen=True)
class Choices:
    """What several people chose in a learning task, trial by trial, and the feedback after each choice.

    In category learning people see one stimulus and choose its class; in reward learning they see as many stimuli as
    there are options and choose one of them. Every person's trials stand together, in the order in which they
    happened.

    Attributes:
        participants: Participant of each trial, [m].
        trials: Number of each trial, increasing within a participant, int64, [m].
        stimuli: Ids of the stimuli shown, [m, 1] in category learning, [m, k] in reward learning.
        choices: Number of the chosen option, int64, [m], each in [0, k).
        feedback: float64; the right option, [m, 1], in category learning, the reward of each option, [m, k], in reward
            learning.
        options: Names of the k options, two or more.
        name: What a legend calls them, such as 'category learning 2024'.
        simulated: True if a program made the choices; every score derived from them says so.
        provenance: Where they come from (file, hash, licence).
    """

    participants: np.ndarray
    trials: np.ndarray
    stimuli: np.ndarray
    choices: np.ndarray
    feedback: np.ndarray
    options: tuple[str, ...]
    name: str
    simulated: bool = False
    provenance: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        what = f'choices {self.name!r}'
        for field, kind in (('participants', np.str_), ('stimuli', np.str_), ('feedback', np.float64)):
            object.__setattr__(self, field, np.asarray(getattr(self, field), dtype=kind))
        for field in ('trials', 'choices'):
            values = np.asarray(getattr(self, field))
            if not np.issubdtype(values.dtype, np.integer):
                raise ValueError(f'{what}: {field} must be whole numbers, not {values.dtype}.')
            object.__setattr__(self, field, values.astype(np.int64))
        m, k = len(self.participants), len(self.options)
        if m == 0 or k < 2:
            raise ValueError(f'{what} have {m} trials and {k} options: at least one trial and two options are needed.')
        if self.stimuli.shape not in ((m, 1), (m, k)):
            raise ValueError(
                f'{what}: {m} trials with {k} options show one stimulus, [{m}, 1], or one for each option, [{m}, {k}], '
                f'not {list(self.stimuli.shape)}.'
            )
        for field, shape in (('trials', (m,)), ('choices', (m,)), ('feedback', self.stimuli.shape)):
            if getattr(self, field).shape != shape:
                raise ValueError(f'{what}: {field} must be {list(shape)}, not {list(getattr(self, field).shape)}.')
        self._refuse((self.choices < 0) | (self.choices >= k), f'the choice is none of the options 0 to {k - 1}')
        self._refuse(np.logical_not(np.isfinite(self.feedback).all(axis=1)), 'the feedback is missing or infinite')
        if self.task == 'category':
            unknown = np.isin(self.feedback[:, 0], np.arange(k), invert=True)
            self._refuse(unknown, f'the feedback is none of the options 0 to {k - 1}')
        same = self.participants[1:] == self.participants[:-1]
        later = np.concatenate([[True], ~same | (np.diff(self.trials) > 0)])
        self._refuse(~later, 'the trial does not come after the one before it')
        if np.count_nonzero(~same) + 1 > len(np.unique(self.participants)):
            raise ValueError(f'{what}: the trials of each participant must stand together.')

    def __len__(self) -> int:
        return len(self.participants)

    @property
    def task(self) -> str:
        """'category' or 'reward'."""
        return 'category' if self.stimuli.shape[1] == 1 else 'reward'

    @property
    def people(self) -> list[str]:
        """Participants in the order of their trials."""
        return list(dict.fromkeys(self.participants.tolist()))

    def of_people(self, people: Sequence[str]) -> 'Choices':
        """The trials of these participants."""
        kept = np.isin(self.participants, list(people))
        fields = ('participants', 'trials', 'stimuli', 'choices', 'feedback')
        return dataclasses.replace(self, **{field: getattr(self, field)[kept] for field in fields})

    def _refuse(self, wrong: np.ndarray, why: str) -> None:
        """Raises ValueError that names the first of the trials for which `wrong`, [m], is true."""
        if wrong.any():
            first = int(np.argmax(wrong))
            where = f'participant {self.participants[first]}, trial {self.trials[first]}'
            raise ValueError(f'choices {self.name!r}, {where}: {why}.')
