"""Conditions of an experiment on networks: those that differ by their seed alone, scored on average, beside the base.

Scores of a condition have `networks` in their provenance, those of one of its networks `group`. What has neither, and
is no baseline, is what the networks started from.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

from humalign_jax.report.sentences import capital
from humalign_jax.report.study import Entry, Study

ACCURACY, R2, PXP = 'odd_one_out/accuracy', 'learning/mcfadden_r2', 'learning/pxp'
ALL_TRIALS = 'all'


@dataclasses.dataclass(frozen=True)
class Condition:
    """A condition, or base features, in one task.

    Attributes:
        name: Its name.
        entry: Its score.
        networks: Score of each of its networks; () for base features.
        less: Its score less that of others, by their names.
        pxp: Its protected exceedance probability; None where models were not compared.
    """

    name: str
    entry: Entry
    networks: tuple[Entry, ...]
    less: Mapping[str, Entry]
    pxp: Entry | None = None


@dataclasses.dataclass(frozen=True)
class TaskScores:
    """What all conditions were scored in.

    Attributes:
        title: Whose choices and which of them.
        measure: What the scores are, such as 'odd-one-out accuracy'.
        percent: Whether the scores are shares.
        chance: Score of chance.
        base: Features that the conditions are compared with.
        conditions: The conditions in the order in which they were scored; the others are ablations of the first.
        n_compared: Number of models that the PXP compares; 0 where there is none.
    """

    title: str
    measure: str
    percent: bool
    chance: float
    base: tuple[Condition, ...]
    conditions: tuple[Condition, ...]
    n_compared: int = 0

    @property
    def references(self) -> tuple[Condition, ...]:
        """The base and the first condition, where differences to them are known."""
        known = {name for condition in self.conditions for name in condition.less}
        return tuple(one for one in (*self.base, self.conditions[0]) if one.name in known)

    @property
    def has_networks(self) -> bool:
        """Whether any condition has more than one network."""
        return any(len(condition.networks) > 1 for condition in self.conditions)


def tasks(study: Study) -> list[TaskScores]:
    """Every task in which conditions were scored: kinds of odd-one-out trials, then sets of choices while learning."""
    return [*_odd_one_out(study), *_learning(study)]


def averages_and_single(entries: Iterable[Entry]) -> list[Entry]:
    """Scores without those of networks whose condition is scored on average."""
    return [entry for entry in entries if not entry.get('group')]


def pooled_note(entries: Iterable[Entry]) -> list[str]:
    """Which scores are averages, and over how many networks, as a sentence below a table; [] without any."""
    counts = {entry.model: int(entry.get('n_networks')) for entry in entries if entry.get('networks')}
    if not counts:
        return []
    listed = ', '.join(f'{name} ({n})' for name, n in counts.items())
    return [f'Means over networks that differ by their seed: {listed}. Intervals do not cover the choice of the seed.']


def condition_of(entry: Entry) -> str:
    """Name of the condition of a network's own scores: that of its folder `<condition>-<seed>`."""
    folder = entry.run.rsplit('/', 1)[-1]
    if folder == '.':
        return entry.model
    name, _, seed = folder.rpartition('-')
    return name if name and seed.isdigit() else folder


def in_order(study: Study, names: Sequence[str]) -> list[str]:
    """Names of conditions in the order of the tasks, then the others by name."""
    first = dict.fromkeys(row.entry.model for task in tasks(study) for row in task.conditions)
    return [name for name in first if name in names] + sorted(set(names) - set(first))


def _odd_one_out(study: Study) -> list[TaskScores]:
    found = []
    scored = [entry for entry in study.find(ACCURACY) if entry.get('networks')]
    for human, measure in dict.fromkeys((str(e.get('human')), e.get('measure')) for e in scored):
        kinds = dict.fromkeys(e.get('trials') for e in scored if (e.get('human'), e.get('measure')) == (human, measure))
        for kind in kinds:
            where = {'human': human, 'measure': measure, 'trials': kind}
            entries = sorted(study.find(ACCURACY, **where), key=_over_triplets)
            differences = sorted(study.find(f'{ACCURACY}/difference', **where), key=_over_triplets)
            base, conditions = _rows(entries, differences, {})
            several = len({e.get('measure') for e in scored if e.get('human') == human}) > 1
            parts = [human] + [str(kind).replace('_', ' ')] * (kind != ALL_TRIALS) + [str(measure)] * several
            chance = float(conditions[0].entry.get('chance'))
            found.append(TaskScores(capital(', '.join(parts)), 'odd-one-out accuracy', True, chance, base, conditions))
    return found


def _learning(study: Study) -> list[TaskScores]:
    found = []
    for data in dict.fromkeys(e.get('data') for e in study.find(R2) if e.get('networks')):
        pxp = {entry.model: entry for entry in study.find(PXP, data=data)}
        differences = study.find(f'{R2}/difference', data=data)
        base, conditions = _rows(study.find(R2, data=data), differences, pxp)
        n = max((len(entry.get('compared') or ()) for entry in pxp.values()), default=0)
        found.append(TaskScores(capital(str(data)), 'McFadden’s R2', False, 0.0, base, conditions, n))
    return found


def _over_triplets(entry: Entry) -> tuple[bool, int]:
    """A key that puts scores with intervals over participants first."""
    return entry.get('over') != 'participants', entry.number


def _rows(
    entries: Sequence[Entry], differences: Sequence[Entry], pxp: Mapping[str, Entry]
) -> tuple[tuple[Condition, ...], tuple[Condition, ...]]:
    """Base features and conditions; of several scores of one, the first counts."""
    single, pooled, members = {}, {}, {}
    for entry in entries:
        key = _full_name(entry)
        if entry.get('group'):
            members.setdefault((entry.get('group'), entry.get('layer')), {}).setdefault(key, entry)
        elif not entry.is_baseline:
            (pooled if entry.get('networks') else single).setdefault(key, entry)
    in_order = dict(sorted(pooled.items(), key=lambda item: item[1].number))
    rows = {**single, **in_order}
    plain = [entry.model for entry in rows.values()]
    shown = {key: entry.model if plain.count(entry.model) == 1 else key for key, entry in rows.items()}
    called = {name: key for key in rows for name in (key, shown[key])}  # differences use either
    less: dict[str, dict[str, Entry]] = {}
    for entry in differences:
        key, other = called.get(entry.model), called.get(str(entry.get('other')))
        if key is not None and other is not None:
            less.setdefault(key, {}).setdefault(shown[other], entry)
    made = [
        Condition(
            shown[key],
            entry,
            tuple(members.get((entry.model, entry.get('layer')), {}).values()),
            less.get(key, {}),
            pxp.get(entry.model),
        )
        for key, entry in rows.items()
    ]
    compared_with = {name for condition in made for name in condition.less}
    base, conditions = made[: len(single)], made[len(single) :]
    known = [one for one in base if one.name in compared_with]
    return tuple(known or base), tuple(conditions)


def _full_name(entry: Entry) -> str:
    """Model and layer."""
    layer = entry.get('layer')
    return f'{entry.model}/{layer}' if layer else entry.model
