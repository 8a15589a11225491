"""Discrete features as whole numbers, so that tied distances come out equal.

Binary attributes, counts, percentages, shares of a few answers, one-hot codes, 8-bit pixels and coarse float16 values
are whole numbers times a scale. Inner products of whole numbers have no rounding error, in whatever order they are
summed. A distance that is computed from such exact sums alone has the same bits for all pairs with the same sums.
"""

import dataclasses
import functools
from collections.abc import Callable

import numpy as np

from humalign_jax.rsa.distances.chunks import by_chunks

EXACT_SINGLE = 2.0**24  # sums of whole numbers that stay below are exact in float32
EXACT_DOUBLE = 2.0**52  # the same for float64
_BITS = 24  # of a whole number
_SAMPLE_ROWS = 16  # rows that are checked before all, since most features are continuous
_MOST_PARTS = 64  # the smallest value is at most so many steps
_MOST_STEPS = 2**13  # largest whole number that is recovered from fractions
_ROUNDINGS = 4.0  # unit roundoffs by which a value may miss its multiple of the step


@dataclasses.dataclass(frozen=True)
class WholeNumbers:
    """Features as whole numbers.

    Attributes:
        rows: Whole numbers, float32, [n, d]; 0 in rows that are not finite.
        step: Distances of the features are `step` times those of `rows`; 1.0 where the distance ignores the scale.
    """

    rows: np.ndarray
    step: float


def whole_numbers(features: np.ndarray, ignores: str, finite: np.ndarray) -> WholeNumbers | None:
    """Features as whole numbers whose inner products are exact, or None where they are not discrete.

    Args:
        features: Real numbers, [n, d].
        ignores: Invariance of the distance: 'row scale' (cosine), 'row scale and offset' (correlation), or
            'offset' of each feature (euclidean).
        finite: Rows without NaN or Inf, bool, [n].
    """
    # A float16 number is taken as exact: its roundoff is too coarse to identify a fraction.
    roundoff = _ROUNDINGS * float(np.finfo(features.dtype if features.dtype == np.float32 else np.float64).eps)
    if ignores == 'offset':
        search = functools.partial(_of_one_step, roundoff=roundoff)
    else:
        search = functools.partial(_of_rows, roundoff=roundoff, has_offset=ignores == 'row scale and offset')
    usable = np.flatnonzero(finite)
    sample = usable[:: max(1, len(usable) // _SAMPLE_ROWS)][:_SAMPLE_ROWS]
    if not len(sample) or search(features[sample], np.ones(len(sample), bool)) is None:
        return None
    return search(features, finite)


def is_discrete(features: np.ndarray, finite: np.ndarray) -> bool:
    """Whether features [n, d] are whole numbers times a scale, of each row or of all, and an offset."""
    return any(whole_numbers(features, ignores, finite) is not None for ignores in ('row scale', 'offset'))


def restore_ties(distances: np.ndarray) -> np.ndarray:
    """Float64 distances rounded to 40 significant bits, a relative change of at most 1e-12.

    Sums of the same numbers in another order differ in the last few of 53 bits only.
    """
    bits = np.ascontiguousarray(distances, np.float64).view(np.int64)
    return ((bits + (1 << 12)) & ~np.int64((1 << 13) - 1)).view(np.float64)


def _of_rows(features: np.ndarray, finite: np.ndarray, *, roundoff: float, has_offset: bool) -> WholeNumbers | None:
    """Whole numbers without a common divisor; every row has a scale of its own, and may have an offset."""

    def whole(rows: np.ndarray) -> np.ndarray | None:
        tolerance = roundoff * np.max(np.abs(rows), axis=1, keepdims=True)
        if has_offset:
            rows = rows - rows.min(axis=1, keepdims=True)
        rows = np.where(np.abs(rows) <= tolerance, 0.0, rows)
        found, missing = _binary_multiples(rows)
        if missing.any():
            found[missing], missing[missing] = _multiples_of_a_part(rows[missing], tolerance[missing])
        return None if missing.any() else found

    return _all_rows(features, finite, whole, 1.0)


def _binary_multiples(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows over their largest common divisor, where they are multiples of a power of two; which are not, [m]."""
    largest = np.max(np.abs(rows), axis=1, keepdims=True)
    steps = np.ldexp(rows, _BITS - np.frexp(largest)[1])
    missing = (steps != np.rint(steps)).any(axis=1)
    whole = steps.astype(np.int64)
    divisors = np.gcd.reduce(whole, axis=1)[:, None]
    return (whole // np.maximum(divisors, 1)).astype(np.float64), missing


def _multiples_of_a_part(rows: np.ndarray, tolerance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows over the largest part (a half, a third, ..) of their smallest value that divides all; which have none."""
    found, missing = np.zeros_like(rows), np.ones(len(rows), bool)
    size = np.abs(rows)
    smallest = np.min(size, axis=1, keepdims=True, initial=np.inf, where=size > 0)
    for parts in range(1, _MOST_PARTS + 1):
        steps = rows[missing] * (parts / smallest[missing])
        whole = np.rint(steps)
        fits = (np.abs(steps - whole) <= tolerance[missing] * (parts / smallest[missing])).all(axis=1)
        fits &= (np.abs(whole) <= _MOST_STEPS).all(axis=1)
        if fits.any():
            now = np.flatnonzero(missing)[fits]
            found[now], missing[now] = whole[fits], False
        if not missing.any():
            break
    return found, missing


def _of_one_step(features: np.ndarray, finite: np.ndarray, *, roundoff: float) -> WholeNumbers | None:
    """Whole numbers of one scale, counted from the least value of each feature."""

    def over(function: Callable[[np.ndarray], np.ndarray | float]) -> list:
        def of_chunk(part: slice) -> np.ndarray | float | None:
            use = finite[part]
            return function(np.asarray(features[part], np.float64)[use]) if use.any() else None

        return [found for found in by_chunks(of_chunk, len(features)) if found is not None]

    lowest = np.minimum.reduce(over(lambda rows: rows.min(axis=0)))
    tolerance = roundoff * max(over(lambda rows: float(np.max(np.abs(rows)))))

    def above(rows: np.ndarray) -> np.ndarray:
        rows = rows - lowest
        return np.where(rows <= tolerance, 0.0, rows)

    largest = max(over(lambda rows: float(above(rows).max())))
    if not 0 < largest < np.inf:
        return None
    exponent = _BITS - int(np.frexp(largest)[1])

    def used_bits(rows: np.ndarray) -> int:
        steps = np.ldexp(above(rows), exponent)
        return int(np.bitwise_or.reduce(steps.astype(np.int64), axis=None)) if (steps == np.rint(steps)).all() else -1

    bits = over(used_bits)
    if min(bits) >= 0:  # multiples of a power of two
        all_bits = functools.reduce(int.__or__, bits)
        step = float(np.ldexp(all_bits & -all_bits, -exponent))
        return _all_rows(features, finite, lambda rows: above(rows) / step, step)

    def least(rows: np.ndarray) -> float:
        rows = above(rows)
        return float(np.min(rows, initial=np.inf, where=rows > 0))

    smallest = min(over(least))
    row = above(np.asarray(features[int(np.flatnonzero(finite)[0])], np.float64))  # one row excludes most steps
    parts = np.arange(1, _MOST_PARTS + 1)[:, None]
    misses = np.abs(row * (parts / smallest) - np.rint(row * (parts / smallest)))
    for step in smallest / parts[(misses <= tolerance * (parts / smallest)).all(axis=1), 0]:

        def whole(rows: np.ndarray, step: float = step) -> np.ndarray | None:
            steps = above(rows) / step
            whole = np.rint(steps)
            fits = np.max(np.abs(steps - whole)) <= tolerance / step and np.max(whole) <= _MOST_STEPS
            return whole if fits else None

        found = _all_rows(features, finite, whole, float(step))
        if found is not None:
            return found
    return None


def _all_rows(
    features: np.ndarray, finite: np.ndarray, whole: Callable[[np.ndarray], np.ndarray | None], step: float
) -> WholeNumbers | None:
    """`whole(rows)` of all rows; None where it is None, or where sums of products would be too large to be exact."""
    n, d = features.shape
    result = np.zeros((n, d), np.float32)

    def fill(part: slice) -> bool:
        use = finite[part]
        if not use.any():
            return True
        found = whole(np.asarray(features[part], np.float64)[use])
        # d times: the centred sums of the correlation distance.
        if found is None or np.max(np.einsum('nd,nd->n', found, found)) * d > EXACT_DOUBLE:
            return False
        result[part][use] = found
        return True

    if not all(by_chunks(fill, n)):
        return None
    return WholeNumbers(result, step)
