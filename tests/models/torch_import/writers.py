"""Checkpoint files byte by byte, without PyTorch: pickles from opcodes, archives, older files, safetensors."""

import io
import json
import math
import pickle
import struct
import zipfile

import numpy as np

MAGIC = 0x1950A86A20F9469CFC6C


class Code(bytes):
    """Opcodes that leave one value on the stack."""


def code(value) -> Code:
    """Opcodes of a value of plain containers and `Code`."""
    if isinstance(value, Code):
        return value
    if value is None or isinstance(value, bool):
        return Code({None: b'N', True: b'\x88', False: b'\x89'}[value])
    if isinstance(value, int):
        raw = value.to_bytes(value.bit_length() // 8 + 1, 'little', signed=True)
        return Code(b'\x8a' + bytes([len(raw)]) + raw)
    if isinstance(value, float):
        return Code(b'G' + struct.pack('>d', value))
    if isinstance(value, str):
        return Code(b'X' + struct.pack('<I', len(value.encode())) + value.encode())
    if isinstance(value, bytes):  # a string of Python 2
        return Code(b'T' + struct.pack('<I', len(value)) + value)
    if isinstance(value, tuple):
        return Code(b'(' + b''.join(map(code, value)) + b't')
    if isinstance(value, list):
        return Code(b'](' + b''.join(map(code, value)) + b'e')
    assert isinstance(value, dict)
    return Code(b'}(' + b''.join(code(part) for item in value.items() for part in item) + b'u')


def named(module: str, attribute: str) -> Code:
    """A global."""
    return Code(f'c{module}\n{attribute}\n'.encode())


def call(function: Code, *arguments) -> Code:
    return Code(function + code(arguments) + b'R')


def ordered(*pairs) -> Code:
    """An OrderedDict of (key, value), as Python 3 writes it."""
    items = b''.join(code(part) for pair in pairs for part in pair)
    return Code(call(named('collections', 'OrderedDict')) + b'(' + items + b'u')


def storage(key='0', n=6, kind='Float', module='torch', *view) -> Code:
    return Code(code(('storage', named(module, f'{kind}Storage'), key, 'cpu', n, *view)) + b'Q')


def tensor(key='0', n=6, shape=(2, 3), stride=None, offset=0, kind='Float', block=None) -> Code:
    """A call of _rebuild_tensor_v2; contiguous unless `stride` is given."""
    if stride is None:
        stride = tuple(math.prod(shape[i + 1 :]) for i in range(len(shape)))
    block = storage(key, n, kind) if block is None else block
    return call(named('torch._utils', '_rebuild_tensor_v2'), block, offset, shape, stride, False, ordered())


def program(value) -> bytes:
    return b'\x80\x02' + code(value) + b'.'


def floats(n=6) -> bytes:
    return np.arange(n, dtype='<f4').tobytes()


def zip_file(value, blocks=None, *, root='archive/', extra=None, **kwargs) -> bytes:
    """A checkpoint in PyTorch's zip format; `value` may be a whole pickle."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, 'w', **kwargs) as archive:
        archive.writestr(f'{root}data.pkl', value if type(value) is bytes else program(value), zipfile.ZIP_STORED)
        for key, raw in ({'0': floats()} if blocks is None else blocks).items():
            archive.writestr(f'{root}data/{key}', raw)
        for name, raw in (extra or {}).items():
            archive.writestr(name, raw)
    return buffer.getvalue()


def legacy_file(value, blocks=None, *, keys=None, little_endian=True, version=1001, magic=MAGIC) -> bytes:
    """A checkpoint in the older format; `blocks` are (key, number of values, bytes)."""
    blocks = [('0', 6, floats())] if blocks is None else blocks
    system = {'protocol_version': 1001, 'little_endian': little_endian, 'type_sizes': {'int': 4}}
    keys = [key for key, _, _ in blocks] if keys is None else keys
    head = b''.join(pickle.dumps(part, 2) for part in (magic, version, system))
    body = value if type(value) is bytes else program(value)
    return head + body + program(keys) + b''.join(struct.pack('<q', n) + raw for _, n, raw in blocks)


def safetensors_file(header, values=b'') -> bytes:
    """A safetensors file; `header` may be its bytes."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack('<Q', len(raw)) + raw + values


def about(dtype, shape, begin, end) -> dict:
    return {'dtype': dtype, 'shape': shape, 'data_offsets': [begin, end]}


def as_zip64(content: bytes) -> bytes:
    """The archive with its directory's place in 64 bits, as large files have it."""
    end = content.rfind(b'PK\x05\x06')
    _, _, _, here, n, size, start, _ = struct.unpack('<4s4H2LH', content[end:])
    wide = struct.pack('<4sQ2H2L4Q', b'PK\x06\x06', 44, 45, 45, 0, 0, here, n, size, start)
    place = struct.pack('<4sLQL', b'PK\x06\x07', 0, end, 1)
    narrow = struct.pack('<4s4H2LH', b'PK\x05\x06', 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    return content[:end] + wide + place + narrow


def patched(content: bytes, mark: bytes, at: int, new: bytes, *, last=False) -> bytes:
    """The content with bytes replaced at a distance from the first (or last) occurrence of a mark."""
    place = (content.rfind(mark) if last else content.find(mark)) + at
    assert place >= at
    return content[:place] + new + content[place + len(new) :]
