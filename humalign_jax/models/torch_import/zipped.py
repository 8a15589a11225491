"""PyTorch's zip format: `<name>/data.pkl`, `<name>/byteorder` and one entry `<name>/data/<key>` for each block.

Entries are slices of the bytes of the file, so none takes memory of its own. Compressed entries are refused: PyTorch's
checkpoints have none, and the size of the file does not bound what they would unpack to.
"""

import dataclasses
import struct
import zlib
from typing import Any

from humalign_jax.models.torch_import import pickled
from humalign_jax.models.torch_import.storages import Storages

MAX_ENTRIES = 100_000
MARK = b'PK\x03\x04'

_END = struct.Struct('<4s4H2LH')
_END64_AT = struct.Struct('<4sLQL')
_END64 = struct.Struct('<4sQ2H2L4Q')
_CENTRAL = struct.Struct('<4s6H3L5H2L')
_LOCAL = struct.Struct('<4s5H3L2H')
_AGAIN = 'copy or download it again'


@dataclasses.dataclass(frozen=True)
class ZipEntry:
    """A file in the archive: its bytes are content[start : start + size], unless it is compressed."""

    name: str
    start: int
    size: int
    crc: int
    is_compressed: bool


def read(content: bytes) -> tuple[Any, Storages]:
    """The value, with `Tensor` records in place of tensors, and their blocks.

    Raises:
        ValueError: The file is damaged, no checkpoint, or holds something that is refused.
    """
    entries = read_entries(content)
    roots = [name.removesuffix('data.pkl') for name in entries if name == 'data.pkl' or name.endswith('/data.pkl')]
    if len(roots) != 1:
        raise ValueError(f'it is a zip archive with {len(roots)} files data.pkl instead of one')
    root = roots[0]
    if f'{root}constants.pkl' in entries or any(name.startswith(f'{root}code/') for name in entries):
        raise ValueError('it is a TorchScript program: load it in PyTorch and save its state_dict()')
    order = bytes(_bytes(content, entries[f'{root}byteorder'])) if f'{root}byteorder' in entries else b'little'
    if order not in (b'little', b'big'):
        raise ValueError(f'its byte order is {order[:40]!r}, neither little nor big')
    program = bytes(_bytes(content, entries[f'{root}data.pkl']))
    machine = pickled.TorchMachine(program)
    value = machine.run()
    if machine.end != len(program):
        raise ValueError(f'{len(program) - machine.end} bytes follow the end of its pickle')

    def block(storage: pickled.Storage) -> memoryview:
        entry = entries.get(f'{root}data/{storage.key}')
        if entry is None:
            raise ValueError(f'there is no storage {storage.key[:60]!r} in it')
        raw = _bytes(content, entry)
        if len(raw) != storage.n_bytes:
            raise ValueError(f'storage {storage.key[:60]!r} has {len(raw)} bytes instead of {storage.n_bytes}')
        return raw

    return value, Storages(block, is_big_endian=order == b'big')


def read_entries(content: bytes) -> dict[str, ZipEntry]:
    """Every file of an archive by its name.

    Raises:
        ValueError: The archive is damaged, cut, encrypted, or has unsafe or doubled names.
    """
    at, n_entries = _directory(content)
    if n_entries > MAX_ENTRIES:
        raise ValueError(f'it has {n_entries} files, more than {MAX_ENTRIES}')
    end_of_files, entries = at, {}
    for _ in range(n_entries):
        entry, at = _entry(content, at, end_of_files)
        if entry.name in entries:
            raise ValueError(f'its file {entry.name[:60]!r} occurs twice')
        entries[entry.name] = entry
    end = 0
    for entry in sorted(entries.values(), key=lambda entry: (entry.start, entry.size)):
        if entry.start < end:
            raise ValueError(f'its file {entry.name[:60]!r} overlaps another')
        end = entry.start + entry.size
    return entries


def _bytes(content: bytes, entry: ZipEntry) -> memoryview:
    if entry.is_compressed:
        raise ValueError(f'its file {entry.name[:60]!r} is compressed: unpack the archive and zip it with `zip -0`')
    raw = memoryview(content)[entry.start : entry.start + entry.size]
    if zlib.crc32(raw) != entry.crc:
        raise ValueError(f'the checksum of its file {entry.name[:60]!r} does not agree with its bytes: {_AGAIN}')
    return raw


def _unpack(form: struct.Struct, content: bytes, at: int, mark: bytes) -> tuple:
    """The numbers of a header after its mark."""
    if at < 0 or at + form.size > len(content) or content[at : at + 4] != mark:
        raise ValueError(f'its zip directory is damaged: {_AGAIN}')
    return form.unpack_from(content, at)[1:]


def _directory(content: bytes) -> tuple[int, int]:
    """Where the directory begins, and how many files it lists."""
    end = content.rfind(b'PK\x05\x06', max(0, len(content) - _END.size - 0xFFFF))
    if end < 0:
        raise ValueError(f'the end of the zip archive is missing: {_AGAIN}')
    disk, first_disk, here, n_entries, size, start, comment = _unpack(_END, content, end, b'PK\x05\x06')
    if end + _END.size + comment != len(content):
        raise ValueError(f'the end of its zip archive is damaged: {_AGAIN}')
    if content[max(0, end - _END64_AT.size) : end].startswith(b'PK\x06\x07'):
        _, end, _ = _unpack(_END64_AT, content, end - _END64_AT.size, b'PK\x06\x07')
        numbers = _unpack(_END64, content, end, b'PK\x06\x06')
        disk, first_disk, here, n_entries, size, start = numbers[3:]
    if disk or first_disk or here != n_entries:
        raise ValueError('it is one part of a zip archive of several')
    if start + size > end or n_entries * _CENTRAL.size > size:
        raise ValueError(f'its zip directory is damaged: {_AGAIN}')
    return start, n_entries


def _entry(content: bytes, at: int, end_of_files: int) -> tuple[ZipEntry, int]:
    """A line of the directory, compared with the file it speaks of, and where the next line begins."""
    numbers = _unpack(_CENTRAL, content, at, b'PK\x01\x02')
    _, _, flags, method, _, _, crc, packed, size, n_name, n_extra, n_comment, _, _, _, start = numbers
    at += _CENTRAL.size
    raw_name = content[at : at + n_name]
    name = raw_name.decode('utf-8', 'backslashreplace')
    extra = content[at + n_name : at + n_name + n_extra]
    at += n_name + n_extra + n_comment
    if {'..', ''} & set(name.removesuffix('/').split('/')) or '\\' in name or '\0' in name:
        raise ValueError(f'its file name {name[:60]!r} leads out of the archive')
    if flags & 1:
        raise ValueError(f'its file {name[:60]!r} is encrypted')
    size, packed, start = _wide(extra, [size, packed, start])
    n_name, n_extra = _unpack(_LOCAL, content, start, MARK)[-2:]
    start += _LOCAL.size
    if content[start : start + n_name] != raw_name or start + n_name + n_extra + packed > end_of_files:
        raise ValueError(f'its file {name[:60]!r} does not lie where the directory says: {_AGAIN}')
    return ZipEntry(name, start + n_name + n_extra, packed, crc, method != 0 or packed != size), at


def _wide(extra: bytes, numbers: list[int]) -> list[int]:
    """Those of size, packed size and start that need 64 bits stand in the extra field number 1."""
    wanted = [i for i, number in enumerate(numbers) if number == 0xFFFFFFFF]
    while wanted and len(extra) >= 4:
        number, length = struct.unpack_from('<2H', extra)
        if number == 1 and len(extra) - 4 >= length >= 8 * len(wanted):
            for i, value in zip(wanted, struct.unpack_from(f'<{len(wanted)}Q', extra, 4)):
                numbers[i] = value
            break
        extra = extra[4 + length :]
    return numbers
