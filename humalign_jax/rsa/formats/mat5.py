"""Whether the parts of a MATLAB 5 file fit into each other. SciPy trusts them, and a damaged file can end the process.

References:
    MATLAB MAT-File Format (R2023b), chapter 1: an element is a tag (type, bytes) and its data, aligned to 8 bytes.
"""

import itertools
import math
import pathlib
from typing import IO

import numpy as np

_BYTES = {1: 1, 2: 1, 3: 2, 4: 2, 5: 4, 6: 4, 7: 4, 9: 8, 12: 8, 13: 8, 16: 1, 17: 2, 18: 4}  # of one value of a type
_INT8, _INT32, _UINT32, _MATRIX, _COMPRESSED, _UTF8 = 1, 5, 6, 14, 15, 16
_CELL, _STRUCT, _OBJECT, _CHARACTERS, _SPARSE, _NUMBERS = 1, 2, 3, 4, 5, range(6, 16)
_MAX_DEPTH = 32


def check_structure(path: pathlib.Path) -> None:
    """Reads the tags of all elements, and no numbers; compressed ones have a checksum of their own and are passed over.

    Raises:
        ValueError: An element does not end within the one around it, or holds other than its dimensions say.
    """
    with open(path, 'rb') as file:
        header = file.read(128)
        if header[126:128] not in (b'IM', b'MI'):
            raise ValueError('its header is not that of a MATLAB 5 file')
        order = '<' if header[126:128] == b'IM' else '>'
        _Reader(file, order, file.seek(0, 2)).top_level()


class _Reader:
    """Walks through the elements of a file of `end` bytes."""

    def __init__(self, file: IO[bytes], order: str, end: int) -> None:
        self.file, self.order, self.end = file, order, end

    def top_level(self) -> None:
        at = 128
        while at < self.end:
            kind, start, size, after = self.tag(at, self.end)
            if kind == _MATRIX:
                self.matrix(start, start + size, 0)
            elif kind != _COMPRESSED:
                raise ValueError(f'an element of type {kind} stands at byte {at}')
            at = start + size if kind == _COMPRESSED else after

    def integers(self, at: int, count: int, kind: str) -> list[int]:
        self.file.seek(at)
        return np.frombuffer(self.file.read(4 * count), f'{self.order}{kind}4', count).tolist()

    def tag(self, at: int, end: int) -> tuple[int, int, int, int]:
        """Type, start and size of an element's data, and where the next one starts."""
        if at + 8 > end:
            raise ValueError(f'it ends within an element, at byte {at}')
        kind, size = self.integers(at, 2, 'u')
        if kind >> 16:  # up to four bytes of data stand in the tag itself
            kind, start, size, after = kind & 0xFFFF, at + 4, kind >> 16, at + 8
            if size > 4:
                raise ValueError(f'the element at byte {at} is too long')
        else:
            start, after = at + 8, at + 8 + size + -size % 8
        if start + size > end:
            raise ValueError(f'the element at byte {at} ends outside of the one around it')
        return kind, start, size, after

    def expect(self, at: int, end: int, kinds: tuple[int, ...]) -> tuple[int, int, int]:
        """Start and size of an element of one of these types, and where the next one starts."""
        kind, start, size, after = self.tag(at, end)
        if kind not in kinds:
            raise ValueError(f'an element of type {kind} stands at byte {at}')
        return start, size, after

    def matrix(self, at: int, end: int, depth: int) -> None:
        """One array between two bytes, with those inside it."""
        if at == end:
            return  # an empty cell
        if depth > _MAX_DEPTH:
            raise ValueError('its cells and structs are nested too deeply')
        start, size, at = self.expect(at, end, (_UINT32,))
        if size != 8:
            raise ValueError(f'the flags at byte {start} have {size} bytes')
        flags = self.integers(start, 1, 'u')[0]
        kind, is_complex = flags & 0xFF, bool(flags & 0x800)
        if kind > 15:
            return  # functions and objects, which are not read
        start, size, at = self.expect(at, end, (_INT32, _UINT32))
        shape = self.integers(start, size // 4, 'i')
        if size % 4 or len(shape) < 2 or min(shape) < 0:
            raise ValueError(f'the dimensions at byte {start} are {shape}')
        count = math.prod(shape)
        at = self.expect(at, end, (_INT8, _UTF8))[2]
        if kind in _NUMBERS:
            for _ in range(1 + is_complex):
                at = self.values(at, end, count, exact=True)
        elif kind == _SPARSE:
            self.sparse(at, end, shape, 1 + is_complex)
        elif kind == _CHARACTERS:
            self.values(at, end, count, exact=False)
        elif kind in (_CELL, _STRUCT, _OBJECT):
            if kind == _OBJECT:
                at = self.expect(at, end, (_INT8,))[2]
            if kind != _CELL:
                start, size, at = self.expect(at, end, (_INT32,))
                length = self.integers(start, 1, 'i')[0] if size == 4 else 0
                start, size, at = self.expect(at, end, (_INT8,))
                if length < 1 or size % length:
                    raise ValueError(f'the names of fields at byte {start} do not fit their length')
                count *= size // length
            if count * 8 > end - at:
                raise ValueError(f'{count} cells do not fit between bytes {at} and {end}')
            for _ in range(count):
                start, size, after = self.expect(at, end, (_MATRIX,))
                self.matrix(start, start + size, depth + 1)
                at = after

    def sparse(self, at: int, end: int, shape: list[int], parts: int) -> None:
        """Checks the row numbers and where columns begin."""
        start, size, at = self.expect(at, end, (_INT32, _UINT32))
        rows = self.integers(start, size // 4, 'i')
        start, size, at = self.expect(at, end, (_INT32, _UINT32))
        begins = self.integers(start, size // 4, 'i')
        rising = all(a <= b for a, b in itertools.pairwise(begins))
        if len(begins) != shape[1] + 1 or begins[0] != 0 or not rising or begins[-1] > len(rows):
            raise ValueError(f'the columns of the sparse matrix at byte {start} do not fit its shape')
        if rows and (min(rows) < 0 or max(rows) >= max(shape[0], 1)):
            raise ValueError(f'the rows of the sparse matrix at byte {start} do not fit its shape')
        for _ in range(parts):
            at = self.values(at, end, begins[-1], exact=False)

    def values(self, at: int, end: int, count: int, *, exact: bool) -> int:
        """Checks the size of an array's data; text may need more than one byte a character, or be left out."""
        kind, start, size, after = self.tag(at, end)
        if kind not in _BYTES:
            raise ValueError(f'an element of type {kind} stands at byte {at}')
        needed = count * _BYTES[kind]
        if size != needed and (exact or 0 < size < needed):
            raise ValueError(f'{count} values of type {kind} need {needed} bytes, but {size} stand at byte {start}')
        return after
