"""Which of two scores is larger, as far as a page may say so.

A score is called above or below another only if the family-wise p value of their difference is below 5 %. Where no
difference was tested, their intervals must not overlap.
"""

import math

from humalign_jax.report import numbers
from humalign_jax.report.study import Entry, Study

ALPHA = 0.05
UNDECIDED = 'not shown to differ from'


def relation(study: Study, one: Entry, two: Entry, *, pairs: str) -> str:
    """'above', 'below' or `UNDECIDED`: by the tested difference of the two models, else by intervals."""
    tested = tested_difference(study, one, two, pairs=pairs)
    if tested is None:
        return relation_of_intervals(one, two)
    value = tested.score.value if tested.model == one.model else -tested.score.value
    if family_wise_p(tested) >= ALPHA or value == 0:
        return UNDECIDED
    return 'above' if value > 0 else 'below'


def between(study: Study, one: Entry, two: Entry) -> str:
    """The relation of two scores of one kind: of RSA scores as `relation` has it, of others by intervals."""
    pairs = one.get('pairs')
    return relation_of_intervals(one, two) if pairs is None else relation(study, one, two, pairs=str(pairs))


def tested_difference(study: Study, one: Entry, two: Entry, *, pairs: str) -> Entry | None:
    """The difference of two models that has a p value, in either direction; None if none was tested."""
    for entry in study.differences(pairs=pairs, level=one.get('level', 'image')):
        if math.isfinite(family_wise_p(entry)) and {entry.model, entry.get('other')} == {one.model, two.model}:
            return entry
    return None


def relation_of_intervals(one: Entry, two: Entry) -> str:
    """The relation by intervals alone; a number without an interval counts as exact beside one that has an interval."""
    (low, high), (other_low, other_high) = _ends(one), _ends(two)
    if not any(map(math.isfinite, (one.score.low, one.score.high, two.score.low, two.score.high))):
        return UNDECIDED
    if low > other_high:
        return 'above'
    return 'below' if high < other_low else UNDECIDED


def family_wise_p(entry: Entry) -> float:
    """The p value of a difference, corrected for all pairs of models; NaN if it has none."""
    p = entry.get('p_fwer')
    return float(p) if isinstance(p, int | float) else math.nan


def p_words(entry: Entry) -> str:
    """The p value of a difference with its correction."""
    return f'{numbers.p_text(family_wise_p(entry))}, corrected for all pairs of models'


def _ends(entry: Entry) -> tuple[float, float]:
    score = entry.score
    low, high = (end if math.isfinite(end) else score.value for end in (score.low, score.high))
    return low, high
