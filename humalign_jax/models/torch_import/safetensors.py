"""The safetensors format: the length of a JSON header (uint64), the header, then the values of all tensors in a row."""

import json
import math
from typing import Any

import ml_dtypes
import numpy as np

MAX_HEADER_BYTES = 8 << 20  # 50,000 tensors; parsed JSON takes up to thirty times as much memory as its text
MAX_DIMENSIONS = 32

DTYPES = {
    'BOOL': np.dtype('?'),
    'U8': np.dtype('u1'),
    'I8': np.dtype('i1'),
    'U16': np.dtype('<u2'),
    'I16': np.dtype('<i2'),
    'U32': np.dtype('<u4'),
    'I32': np.dtype('<i4'),
    'U64': np.dtype('<u8'),
    'I64': np.dtype('<i8'),
    'F16': np.dtype('<f2'),
    'BF16': np.dtype(ml_dtypes.bfloat16),
    'F32': np.dtype('<f4'),
    'F64': np.dtype('<f8'),
    'C64': np.dtype('<c8'),
    'F8_E4M3': np.dtype(ml_dtypes.float8_e4m3fn),
    'F8_E5M2': np.dtype(ml_dtypes.float8_e5m2),
}


def is_safetensors(content: bytes) -> bool:
    """Whether the bytes begin as this format does."""
    return content[8:9] == b'{' and int.from_bytes(content[:8], 'little') < 1 << 40


def read(content: bytes) -> dict[str, np.ndarray]:
    """Arrays by name, read-only views of the file's bytes, in the order of the header.

    Raises:
        ValueError: The header is damaged or too long, or does not cover the values exactly once.
    """
    length = int.from_bytes(content[:8], 'little')
    if length > MAX_HEADER_BYTES:
        raise ValueError(f'its header has {length} bytes, more than {MAX_HEADER_BYTES}')
    if 8 + length > len(content):
        raise ValueError('it ends within its header: copy or download it again')
    values = memoryview(content)[8 + length :]
    places, arrays = [], {}
    for name, about in _header(content[8 : 8 + length]).items():
        if name == '__metadata__':
            continue
        try:
            begin, end, arrays[name] = _tensor(about, values)
        except ValueError as error:
            raise ValueError(f'tensor {name[:100]!r}: {error}') from error
        places.append((begin, end, name))
    reached = 0
    for begin, end, name in sorted(places):
        if begin != reached:
            raise ValueError(
                f'tensor {name[:100]!r} begins at byte {begin} of the values, but the tensor before ends at {reached}'
            )
        reached = end
    if reached != len(values):
        raise ValueError(f'its tensors take {reached} bytes, but it holds {len(values)}')
    return arrays


def _header(raw: bytes) -> dict[str, Any]:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, value in pairs:
            if name in found:
                raise ValueError(f'{name[:100]!r} occurs twice in its header')
            found[name] = value
        return found

    try:
        header = json.loads(raw.decode('utf-8'), object_pairs_hook=once)
    except UnicodeDecodeError as error:
        raise ValueError('its header is no UTF-8 text') from error
    except json.JSONDecodeError as error:
        raise ValueError(f'its header is no JSON ({str(error)[:100]})') from error
    except RecursionError as error:
        raise ValueError('its header is nested too deep') from error
    if not isinstance(header, dict):
        raise ValueError('its header is no JSON object')
    return header


def _tensor(about: Any, values: memoryview) -> tuple[int, int, np.ndarray]:
    """Where a tensor begins and ends, and the tensor."""
    if not isinstance(about, dict) or set(about) != {'dtype', 'shape', 'data_offsets'}:
        raise ValueError('it is not described by dtype, shape and data_offsets')
    name, shape, offsets = about['dtype'], about['shape'], about['data_offsets']
    if not isinstance(name, str) or name not in DTYPES:
        raise ValueError(f'its dtype {str(name)[:40]!r} is not read; known: {", ".join(DTYPES)}')
    if not all(isinstance(part, list) and all(_is_size(number) for number in part) for part in (shape, offsets)):
        raise ValueError('its shape or its data_offsets are no lists of sizes')
    if len(offsets) != 2 or len(shape) > MAX_DIMENSIONS or max(shape, default=0) >= 2**31:
        raise ValueError(f'its shape or its data_offsets are too long: {str(shape)[:100]}')
    begin, end = offsets
    if not begin <= end <= len(values):
        raise ValueError(f'it lies at bytes {begin} to {end} of {len(values)}')
    dtype = DTYPES[name]
    if math.prod(shape) * dtype.itemsize != end - begin:
        raise ValueError(f'shape {tuple(shape)} and dtype {name} do not fit its {end - begin} bytes')
    if dtype.kind == 'b' and bytes(values[begin:end]).translate(None, b'\0\1'):
        raise ValueError('it is bool and holds bytes other than 0 and 1')
    return begin, end, np.frombuffer(values[begin:end], dtype).reshape(shape)


def _is_size(number: Any) -> bool:
    return type(number) is int and 0 <= number < 2**63
