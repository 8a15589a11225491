"""Numbers in print: to the second significant digit of half their interval, and a dash instead of `nan`."""

import math

from humalign_jax.records import Score

MISSING = '–'  # an en dash: not defined or not measured
_NO_INTERVAL_DIGITS = 3  # significant digits of a number without interval
_MAX_DECIMALS = 7
_NOTHING = 1e-6  # smaller than this is rounding


def decimals(value: float, low: float = math.nan, high: float = math.nan) -> int:
    """Decimals to print: up to the second significant digit of half the interval, else three significant digits.

    >>> decimals(0.51349, 0.501, 0.526), decimals(0.51349), decimals(2.3)
    (3, 3, 2)
    """
    half = (high - low) / 2.0
    if math.isfinite(half) and half >= _NOTHING:
        return _clip(1 - math.floor(math.log10(half)))
    if not math.isfinite(value) or abs(value) < _NOTHING:
        return 1
    return _clip(_NO_INTERVAL_DIGITS - 1 - math.floor(math.log10(abs(value))))


def text(value: float, places: int) -> str:
    """A number with so many decimals, with a true minus sign; an en dash for NaN."""
    if not math.isfinite(value):
        return MISSING
    rounded = f'{value:.{places}f}'
    if float(rounded) == 0:
        rounded = rounded.lstrip('-')
    return rounded.replace('-', '−')


def value_text(score: Score) -> str:
    """The value alone."""
    return text(score.value, decimals(score.value, score.low, score.high))


def interval_text(score: Score) -> str:
    """`[low, high]` with the decimals of the value, '' where there is no interval."""
    if not (math.isfinite(score.low) and math.isfinite(score.high)):
        return ''
    places = decimals(score.value, score.low, score.high)
    return f'[{text(score.low, places)}, {text(score.high, places)}]'


def score_text(score: Score) -> str:
    """Value and interval, such as `0.671 [0.647, 0.693]`."""
    return f'{value_text(score)} {interval_text(score)}'.strip()


def ceiling_text(score: Score) -> str:
    """`lower – upper`, or the only one that is defined, or an en dash."""
    ends = [score.ceiling_lower, score.ceiling_upper]
    there = [text(end, 3) for end in ends if math.isfinite(end)]
    return ' – '.join(there) if there else MISSING


def p_text(p: float | None) -> str:
    """`p = 0.013`, `p < 0.001`, or an en dash.

    >>> p_text(0.0004), p_text(0.01349)
    ('p < 0.001', 'p = 0.013')
    """
    if p is None or not math.isfinite(p):
        return f'p {MISSING}'
    return 'p < 0.001' if p < 0.001 else f'p = {p:.3f}'


def why_missing(score: Score) -> str:
    """The reason that a score gives for being undefined."""
    reason = score.provenance.get('reason') or score.interval.removeprefix('none').lstrip(': ')
    return str(reason or 'not defined for these data')


def _clip(places: int) -> int:
    return min(max(places, 0), _MAX_DECIMALS)
