"""Over a hundred hostile or broken checkpoints: each is refused by name, runs nothing, takes little memory and time."""

import builtins
import io
import os
import pickle
import struct
import subprocess
import sys
import tarfile
import time
import tracemalloc
import zipfile

import numpy as np
import pytest

from humalign_jax import pickles
from humalign_jax.models import read_state_dict

from . import writers
from .writers import (
    Code,
    about,
    as_zip64,
    call,
    code,
    legacy_file,
    named,
    ordered,
    patched,
    safetensors_file,
    storage,
    tensor,
    zip_file,
)

GOOD = {'w': tensor()}
GOOD_ZIP = zip_file(GOOD)
GOOD_LEGACY = legacy_file(GOOD)
TOUCH = ('touch canary',)
REBUILD = named('torch._utils', '_rebuild_tensor_v2')


def beside(value, write=zip_file) -> bytes:
    """A checkpoint that has a strange value beside good weights."""
    return write({'state_dict': GOOD, 'strange': value})


def fifth(position, bad=b'cos\nsystem\n(S"touch canary"\ntR.') -> bytes:
    """An older file with another pickle in one of its five places."""
    parts = [pickle.dumps(part, 2) for part in (writers.MAGIC, 1001, {})]
    parts += [writers.program(GOOD), writers.program(['0'])]
    parts[position] = bad
    return b''.join(parts) + struct.pack('<q', 6) + writers.floats()


def bomb(declared=None) -> bytes:
    """A compressed block of zeros, 1000 times as long as in the file."""
    n = 64 << 20
    content = zip_file(
        {'w': tensor(n=n // 4, shape=(n // 4,))}, {'0': bytes(n)}, compression=zipfile.ZIP_DEFLATED, compresslevel=9
    )
    if declared is not None:
        for mark, at in ((b'PK\x01\x02', 20), (b'PK\x03\x04', 18)):
            content = patched(content, mark, at, struct.pack('<2L', declared, declared), last=True)
            content = patched(content, mark, at - 10, struct.pack('<H', 0), last=True)
    return content


def directory(at: int, new: bytes, content: bytes = GOOD_ZIP) -> bytes:
    """The archive with other bytes in the last line of its directory."""
    return patched(content, b'PK\x01\x02', at, new, last=True)


def end(at: int, new: bytes) -> bytes:
    return patched(GOOD_ZIP, b'PK\x05\x06', at, new, last=True)


def zip_twice() -> bytes:
    content = zip_file(GOOD, {'0': writers.floats(), '1': writers.floats()})
    return content.replace(b'archive/data/1', b'archive/data/0')


def overlapping() -> bytes:
    """A block that holds a whole other file of the archive, to which the directory leads."""
    other = zip_file(GOOD, {'y': b'1234'})
    at = other.find(b'archive/data/y') - 30
    inner = other[at : at + 30 + 14 + 4]
    content = zip_file(GOOD, {'0': writers.floats(), 'x': inner, 'y': b'1234'})
    return directory(42, struct.pack('<L', content.find(inner)), content)


def tar() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode='w') as archive:
        archive.addfile(tarfile.TarInfo('../../canary'))
    return buffer.getvalue()


def v3(dtype: str, kind='Untyped', module='torch.storage', n=24) -> Code:
    rebuild = named('torch._utils', '_rebuild_tensor_v3')
    return call(rebuild, storage('0', n, kind, module), 0, (2,), (1,), False, ordered(), named('torch', dtype))


def safe(dtype='F32', shape=(2, 3), begin=0, last=24, values=None, **more) -> bytes:
    header = {'w': {**about(dtype, list(shape) if isinstance(shape, tuple) else shape, begin, last), **more}}
    return safetensors_file(header, writers.floats() if values is None else values)


CODE = {
    'os.system': (beside(call(named('os', 'system'), *TOUCH)), r"asks for 'os\.system'"),
    'posix.system': (beside(call(named('posix', 'system'), *TOUCH)), r"asks for 'posix\.system'"),
    'nt.system': (beside(call(named('nt', 'system'), *TOUCH)), r"asks for 'nt\.system'"),
    'subprocess': (beside(call(named('subprocess', 'call'), ['touch', 'canary'])), 'subprocess.call'),
    'eval': (beside(call(named('builtins', 'eval'), 'open("canary", "w")')), 'builtins.eval'),
    'exec': (beside(call(named('builtins', 'exec'), 'open("canary", "w")')), 'builtins.exec'),
    'python 2 eval': (beside(call(named('__builtin__', 'eval'), b'open("canary", "w")')), '__builtin__.eval'),
    'open': (beside(call(named('io', 'open'), 'canary', 'w')), 'io.open'),
    'getattr': (beside(call(named('builtins', 'getattr'), 1)), 'builtins.getattr'),
    'partial': (beside(call(named('functools', 'partial'), 1)), 'functools.partial'),
    'torch.load': (beside(call(named('torch.serialization', 'load'), 'x.pt')), r'torch\.serialization\.load'),
    'torch.hub': (beside(call(named('torch.hub', 'load'), 'a/b', 'c')), r'torch\.hub\.load'),
    'load of bytes': (beside(call(named('torch.storage', '_load_from_bytes'), b'x')), '_load_from_bytes'),
    'torch.jit': (beside(call(named('torch.jit', 'load'), 'x')), r'torch\.jit\.load'),
    'numpy.load': (beside(call(named('numpy', 'load'), 'x')), r'numpy\.load'),
    'wrapper subclass': (beside(call(named('torch._utils', '_rebuild_wrapper_subclass'), 1)), '_rebuild_wrapper'),
    'quantised': (beside(call(named('torch._utils', '_rebuild_qtensor'), storage())), '_rebuild_qtensor'),
    'sparse': (beside(call(named('torch._utils', '_rebuild_sparse_tensor'), 1)), '_rebuild_sparse_tensor'),
    'suffix': (beside(call(named('torch._utils', '_rebuild_tensor_v2x'), 1)), '_rebuild_tensor_v2x'),
    'dotted name': (
        beside(Code(code('torch') + code('_utils._rebuild_tensor_v2.__globals__') + b'\x93')),
        '__globals__',
    ),
    'attribute of a dtype': (beside(named('torch', 'float32.__class__')), r'float32\.__class__'),
    'storage of a long name': (beside(named('torch', 'x' * 1000 + 'Storage')), 'asks for .torch.xxx'),
    'whole model': (beside(Code(named('torch.nn.modules.linear', 'Linear') + b')\x81' + code(GOOD) + b'b')), 'Linear'),
    'unknown class': (beside(call(named('my.package', 'Model'))), r'my\.package\.Model'),
    'state of a list': (beside(Code(code([]) + code({'x': 1}) + b'b')), 'setting the state of a list'),
    'state of a plain dict': (beside(Code(code({}) + code({'x': 1}) + b'b')), 'setting the state of a dict'),
    'state of a tensor': (beside(Code(tensor() + code({'x': 1}) + b'b')), 'setting the state of a Tensor'),
    'new tensor class': (beside(Code(named('torch', 'Tensor') + b')\x81')), 'opcode NEWOBJ'),
    'call of a class': (beside(call(named('torch', 'Tensor'), 3)), 'calling class'),
    'call of a storage': (beside(call(named('torch', 'FloatStorage'), 1 << 40)), 'calling storage Float'),
    'call of a list': (beside(Code(code([]) + code((1,)) + b'R')), 'calling list'),
    'arguments that are no tuple': (beside(Code(named('torch', 'Size') + code([]) + b'R')), 'not a tuple'),
    'old instance': (beside(Code(b'(S"touch canary"\nios\nsystem\n')), 'opcode INST'),
    'old object': (beside(Code(b'(S"canary"\no')), 'opcode OBJ'),
    'extension 1': (beside(Code(b'\x82\x01')), 'opcode EXT1'),
    'extension 2': (beside(Code(b'\x83\x01\x00')), 'opcode EXT2'),
    'extension 4': (beside(Code(b'\x84\x01\x00\x00\x00')), 'opcode EXT4'),
    'text persistent id': (beside(Code(b'Pos.system\n')), 'opcode PERSID'),
    'persistent module': (
        beside(Code(code(('module', named('torch', 'Tensor'), 'x.py', 'import os')) + b'Q'), legacy_file),
        'outside the pickle that is no storage',
    ),
    'persistent text': (beside(Code(code('storage') + b'Q')), 'outside the pickle that is no storage'),
    'persistent nothing': (beside(Code(code(()) + b'Q')), 'outside the pickle that is no storage'),
    'subclass by os.system': (
        beside(call(named('torch._tensor', '_rebuild_from_type_v2'), named('os', 'system'), None, TOUCH, None)),
        'os.system',
    ),
    'subclass of a subclass': (
        beside(
            call(
                named('torch._tensor', '_rebuild_from_type_v2'),
                named('torch._tensor', '_rebuild_from_type_v2'),
                named('torch', 'Tensor'),
                (),
                None,
            )
        ),
        'calling typed',
    ),
    'out-of-band buffer': (beside(Code(b'\x97')), 'opcode NEXT_BUFFER'),
    **{f'code in pickle {i + 1} of an older file': (fifth(i), 'begins neither|os.system') for i in range(5)},
}

VALUES = {
    'list': (zip_file([tensor()]), 'not a list'),
    'single tensor': (zip_file(tensor()), 'not a tensor'),
    'numbers only': (zip_file({'epoch': 3}), "no state_dict of a network, but 'epoch'"),
    'empty dict': (zip_file({}), 'no state_dict of a network, but nothing'),
    'two networks': (zip_file({'model': GOOD, 'net': GOOD}), r'several networks \(model, net\): name one with key'),
    'wrapped for ever': (zip_file(Code(b'}q\x09' + code('x') + tensor() + b's' + code('model') + b'h\x09s')), 'deep'),
    'doubled key': (zip_file(Code(b'}(' + 2 * (code('w') + tensor()) + b'u')), "dict key 'w' occurs twice"),
    'doubled key of an ordered dict': (zip_file(ordered(('w', tensor()), ('w', tensor()))), 'occurs twice'),
    'doubled key in bytes': (zip_file({'w': tensor(), b'w': tensor()}), "entry 'w' occurs twice"),
    'tuple as key': (zip_file(Code(b'}' + code((1,)) + tensor() + b's')), 'dict key of type tuple'),
    'long key': (zip_file({'w' * 1001: tensor()}), 'dict key of length 1001'),
    'ordered dict of numbers': (zip_file(call(named('collections', 'OrderedDict'), [1, 2])), 'not made of pairs'),
    'nested lists': (zip_file(Code(50_000 * b']' + 49_999 * b'a')), 'not a list'),
    'nested tuples': (zip_file(Code(b'N' + 50_000 * b'\x85')), 'not a tuple'),
    'doubling tuples as a shape': (
        zip_file(
            {'w': call(REBUILD, storage(), 0, Code(code((1,)) + 200 * b'q\x63h\x63\x86'), (1,), False, ordered())}
        ),
        'negative or no whole number',
    ),
    'doubling tuples as version': (
        fifth(1, b'\x80\x02' + code((1,)) + 200 * b'q\x63h\x63\x86' + b'.'),
        'version is not 1001',
    ),
    'same pairs again and again': (
        zip_file(
            Code(
                code([['a', 1]] * 20_000) + b'q\x010'
                + b'](' + 50_000 * (named('collections', 'OrderedDict') + b'h\x01\x85R0') + b'e'
            )
        ),
        'occurs twice|again and again',
    ),
    'same long tuple again and again': (
        zip_file(
            Code(
                b'(' + 100_000 * b'N' + b'tq\x010' + b'](' + 100_000 * (named('torch', 'device') + b'h\x01R0') + b'e'
            )
        ),
        'works on the same bytes again and again',
    ),
    'memo never set': (beside(Code(b'h\x07')), 'memo number 7'),
    'too many opcodes': (zip_file(Code(130_000 * b'N0' + b'N')), 'more than 250000 opcodes'),
    'huge integer': (beside(Code(b'\x8b\xff\xff\xff\x7f')), 'cannot be read'),
    'huge string': (beside(Code(b'X\xff\xff\xff\xff')), 'cannot be read'),
    'no stop': (zip_file(b'\x80\x02}'), 'cannot be read'),
    'bytes behind the pickle': (zip_file(writers.program(GOOD) + b'xyz'), '3 bytes follow the end of its pickle'),
    'object array': (beside(Code(pickle.dumps(np.array([{}], dtype=object), 2)[2:-1])), "dtype 'O8' is refused"),
}  # fmt: skip

TENSORS = {
    'missing storage': (zip_file(GOOD, {}), "tensor 'w': there is no storage '0'"),
    'short storage': (zip_file(GOOD, {'0': bytes(20)}), 'has 20 bytes instead of 24'),
    'long storage': (zip_file(GOOD, {'0': bytes(28)}), 'has 28 bytes instead of 24'),
    'two sizes of a storage': (zip_file({'w': tensor(), 'v': tensor(n=5, shape=(5,))}), 'described in two ways'),
    'two types of a storage': (zip_file({'w': tensor(), 'v': tensor(kind='Int')}), 'described in two ways'),
    'negative size of a storage': (zip_file({'w': tensor(n=-6)}), 'no proper key or size'),
    'huge size of a storage': (zip_file({'w': tensor(n=1 << 62)}), 'has 24 bytes instead of'),
    'size beyond 64 bits': (zip_file({'w': tensor(n=1 << 70)}), 'does not fit in 64 bits'),
    'storage without a name': (zip_file({'w': tensor(key=7)}), 'no proper key or size'),
    'quantised storage': (zip_file({'w': tensor(kind='QInt8')}), "storage of type 'QInt8' is refused"),
    'path as a storage': (zip_file({'w': tensor(key='../../../etc/passwd')}), "no storage '../../../etc/passwd'"),
    'offset behind the end': (zip_file({'w': tensor(offset=1)}), "'w': .* reach value 6 of a storage of 6"),
    'offset far behind the end': (zip_file({'w': tensor(offset=1 << 62)}), 'of a storage of 6'),
    'stride behind the end': (zip_file({'w': tensor(stride=(4, 1))}), 'reach value 6 of a storage of 6'),
    'stride that overflows': (zip_file({'w': tensor(stride=(1 << 62, 1 << 62))}), 'of a storage of 6'),
    'shape behind the end': (zip_file({'w': tensor(shape=(3, 3))}), 'reach value 8 of a storage of 6'),
    'older file, stride behind the end': (legacy_file({'w': tensor(stride=(4, 1))}), 'reach value 6'),
    'negative offset': (zip_file({'w': tensor(offset=-1)}), 'negative or no whole number'),
    'negative shape': (zip_file({'w': tensor(shape=(-2, -3))}), 'negative or no whole number'),
    'negative stride': (zip_file({'w': tensor(stride=(-3, 1))}), 'negative or no whole number'),
    'shape of floats': (zip_file({'w': tensor(shape=(2.0, 3.0), stride=(3, 1))}), 'negative or no whole number'),
    'shape of bools': (zip_file({'w': tensor(shape=(True,), stride=(1,))}), 'negative or no whole number'),
    'shape without stride': (zip_file({'w': tensor(stride=(1,))}), '2 sizes and 1 strides'),
    'forty dimensions': (zip_file({'w': tensor(shape=(1,) * 40)}), 'negative or no whole number'),
    'expanded a billion times': (zip_file({'w': tensor(shape=(1 << 30,), stride=(0,))}), 'as 1073741824 elements'),
    'expanded twice': (zip_file({'w': tensor(shape=(70_000, 3), stride=(0, 1))}), 'as 210000 elements'),
    'large and empty': (zip_file({'w': tensor(shape=(0, 1 << 40), stride=(1, 1))}), r'shape \(0, \d+\) is too large'),
    'too few arguments': (zip_file({'w': call(REBUILD, storage(), 0, (6,))}), 'not made of a storage'),
    'values in the pickle': (zip_file({'w': call(REBUILD, 'x', 0, (6,), (1,), False, ordered())}), 'not made of a sto'),
    'conjugate view': (
        zip_file({'w': call(REBUILD, storage(), 0, (6,), (1,), False, ordered(), {'conj': True})}),
        'resolve_conj',
    ),
    'bool with other bytes': (
        zip_file({'w': tensor(n=3, shape=(3,), kind='Bool')}, {'0': b'\0\1\2'}),
        'bytes other than 0 and 1',
    ),
    'unknown new type': (zip_file({'w': v3('bits8')}), r"asks for 'torch\.bits8'"),
    'new type of another storage': (zip_file({'w': v3('int32', 'Float', 'torch', 6)}), 'no proper dtype'),
    'bytes of no whole values': (zip_file({'w': v3('uint64', n=20)}, {'0': bytes(20)}), 'no multiple of 8'),
    'big-endian bytes': (zip_file({'w': v3('uint16')}, extra={'archive/byteorder': b'big'}), 'has no type'),
    'unknown byte order': (zip_file(GOOD, extra={'archive/byteorder': b'middle'}), "byte order is b'middle'"),
    'part behind its storage': (
        legacy_file({'w': tensor(block=storage('0', 6, 'Float', 'torch', ('v', 4, 3)))}),
        'ends behind its 6 values',
    ),
    'tensor behind its part': (
        legacy_file({'w': tensor(block=storage('0', 6, 'Float', 'torch', ('v', 1, 5)))}),
        'reach value 5 of a storage of 5',
    ),
}

ARCHIVES = {
    'half a file': (GOOD_ZIP[: len(GOOD_ZIP) // 2], 'end of the zip archive is missing'),
    'no last byte': (GOOD_ZIP[:-1], 'end of the zip archive is missing|damaged'),
    'only a mark': (b'PK\x03\x04', 'end of the zip archive is missing'),
    'bytes behind the end': (GOOD_ZIP + b'x', 'end of its zip archive is damaged'),
    'no directory': (end(16, struct.pack('<L', 0)), 'directory is damaged'),
    'directory behind the end': (end(16, struct.pack('<L', 1 << 30)), 'directory is damaged'),
    'more files than the directory has': (end(8, struct.pack('<2H', 3000, 3000)), 'directory is damaged'),
    'several disks': (end(4, struct.pack('<2H', 1, 1)), 'one part of a zip archive of several'),
    '64 bits that lead nowhere': (
        patched(as_zip64(GOOD_ZIP), b'PK\x06\x07', 8, struct.pack('<Q', 1 << 60)),
        'directory is damaged',
    ),
    'a million files': (
        patched(as_zip64(GOOD_ZIP), b'PK\x06\x06', 24, struct.pack('<2Q', 10**6, 10**6)),
        'directory is damaged',
    ),
    'compressed bomb': (bomb(), "'archive/data/0' is compressed"),
    'bomb that declares little': (bomb(declared=24), 'checksum'),
    'bomb that declares much': (directory(20, struct.pack('<2L', 1 << 31, 1 << 31)), 'does not lie where'),
    'bomb that declares more in 64 bits': (directory(20, struct.pack('<2L', 0xFFFFFFFF, 0xFFFFFFFF)), 'does not lie'),
    'packed and unpacked size differ': (directory(24, struct.pack('<L', 1 << 31)), 'is compressed'),
    'encrypted': (directory(8, struct.pack('<H', 1)), 'is encrypted'),
    'other bytes': (GOOD_ZIP.replace(writers.floats(), bytes(24)), 'checksum'),
    'file elsewhere': (directory(42, struct.pack('<L', 1)), 'directory is damaged'),
    'another name than in the directory': (directory(46, b'Archive/'), 'does not lie where the directory says'),
    'overlapping files': (overlapping(), 'overlaps another'),
    'path upwards': (zip_file(GOOD, extra={'../../canary': b'x'}), r"'../../canary' leads out of the archive"),
    'path upwards within': (zip_file(GOOD, extra={'archive/../../canary': b'x'}), 'leads out of the archive'),
    'absolute path': (zip_file(GOOD, extra={'/tmp/canary': b'x'}), 'leads out of the archive'),
    'path of Windows': (zip_file(GOOD, extra={'archive\\..\\canary': b'x'}), 'leads out of the archive'),
    'doubled file': (zip_twice(), "'archive/data/0' occurs twice"),
    'no data.pkl': (zip_file(GOOD).replace(b'data.pkl', b'data.pkx'), '0 files data.pkl instead of one'),
    'two data.pkl': (zip_file(GOOD, extra={'other/data.pkl': b'N.'}), '2 files data.pkl instead of one'),
    'script': (zip_file(GOOD, extra={'archive/code/__torch__.py': b'import os'}), 'TorchScript'),
}

OLDER = {
    'half an older file': (GOOD_LEGACY[:-30], "ends within storage '0'"),
    'older file without values': (GOOD_LEGACY[:-32], "ends within storage '0'"),
    'older file without its last pickle': (GOOD_LEGACY[:-60], 'cannot be read'),
    'bytes behind an older file': (GOOD_LEGACY + b'12345', '5 bytes follow its end'),
    'version of the future': (legacy_file(GOOD, version=1002), 'version is not 1001'),
    'storage of another length': (
        legacy_file(GOOD, [('0', 5, writers.floats())]),
        'has 5 values, its tensors expect 6',
    ),
    'storage of negative length': (legacy_file(GOOD, [('0', -6, writers.floats())]), 'has -6 values'),
    'storage that is not listed': (legacy_file(GOOD, keys=[]), 'list of its storages'),
    'storage that is listed twice': (legacy_file(GOOD, keys=['0', '0']), 'list of its storages'),
    'storage that no tensor has': (legacy_file(GOOD, keys=['0', '1']), 'list of its storages'),
    'storages by number': (legacy_file(GOOD, keys=[0]), 'list of its storages'),
    'storages as text': (legacy_file(GOOD, keys='0'), 'list of its storages'),
    'another magic number': (legacy_file(GOOD, magic=writers.MAGIC + 1), 'torch.save did not write'),
    'tar archive': (tar(), 'pickle or tar archive'),
    'plain pickle': (pickle.dumps({'w': np.zeros(3)}), 'pickle or tar archive'),
}

SAFETENSORS = {
    'header longer than the file': (struct.pack('<Q', 1000) + b'{}', 'ends within its header'),
    'header of a gigabyte': (struct.pack('<Q', 1 << 30) + b'{}', 'header has 1073741824 bytes, more than'),
    'no JSON': (safetensors_file(b'{"w": '), 'header is no JSON'),
    'no UTF-8': (safetensors_file(b'{"\xff": 1}'), 'no UTF-8 text'),
    'nested JSON': (safetensors_file(b'{"w": ' + 100_000 * b'[' + 100_000 * b']' + b'}'), 'nested too deep'),
    'long number': (safetensors_file(b'{"w": ' + 100_000 * b'9' + b'}'), 'cannot be read'),
    'doubled tensor': (
        safetensors_file(b'{"w": {"dtype": "F32"}, "w": {"dtype": "F32"}}'),
        "'w' occurs twice in its header",
    ),
    'doubled field': (safetensors_file(b'{"w": {"dtype": "F32", "dtype": "F16"}}'), "'dtype' occurs twice"),
    'missing field': (safetensors_file({'w': {'dtype': 'F32', 'shape': [1]}}), 'not described by'),
    'another field': (safe(pickle='os.system'), 'not described by'),
    'unknown type': (safe('F33'), "dtype 'F33' is not read"),
    'type that is a list': (safe(['F32']), 'is not read'),
    'shape of another size': (safe(shape=(2, 4)), r'shape \(2, 4\) and dtype F32 do not fit its 24 bytes'),
    'type of another size': (safe('F64'), 'do not fit its 24 bytes'),
    'two negative sizes': (safe(shape=(-2, -3)), 'no lists of sizes'),
    'sizes of floats': (safe(shape=(2.0, 3.0)), 'no lists of sizes'),
    'sizes of bools': (safe(shape=(True, 6)), 'no lists of sizes'),
    'huge sizes': (safe(shape=(1 << 62, 1 << 62)), 'too long'),
    'many sizes': (safe(shape=(1,) * 40), 'too long'),
    'offsets behind the end': (safe(last=28, shape=(7,)), 'lies at bytes 0 to 28 of 24'),
    'offsets backwards': (safe(begin=24, last=0), 'lies at bytes 24 to 0'),
    'hole between tensors': (
        safetensors_file({'a': about('F32', [2], 0, 8), 'b': about('F32', [2], 12, 20)}, bytes(20)),
        "'b' begins at byte 12 .* ends at 8",
    ),
    'overlapping tensors': (
        safetensors_file({'a': about('F32', [3], 0, 12), 'b': about('F32', [3], 8, 20)}, bytes(20)),
        "'b' begins at byte 8 .* ends at 12",
    ),
    'bytes behind the tensors': (safe(values=writers.floats(7)), 'take 24 bytes, but it holds 28'),
    'bool of other bytes': (safe('BOOL', (24,)), 'bool and holds bytes other'),
    'number as a tensor': (safetensors_file({'w': 3}), 'not described by'),
}

OTHER = {
    'empty': (b'', 'is empty'),
    'Git LFS': (b'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n', 'Git LFS pointer'),
    'web page': (b'\n<!DOCTYPE html><html>', 'is a web page'),
    'picture': (b'\x89PNG\r\n\x1a\n' + bytes(100), 'begins neither as'),
    'zeros': (bytes(1000), 'begins neither as'),
}

CASES = {**CODE, **VALUES, **TENSORS, **ARCHIVES, **OLDER, **SAFETENSORS, **OTHER}


def test_no_case_hides_another():
    groups = (CODE, VALUES, TENSORS, ARCHIVES, OLDER, SAFETENSORS, OTHER)
    assert len(CASES) == sum(map(len, groups)) >= 120
    assert len({content for content, _ in CASES.values()}) == len(CASES)


@pytest.mark.parametrize('case', CASES)
def test_bad_checkpoints_are_refused_by_name_without_side_effects(case, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content, message = CASES[case]
    path = tmp_path / 'strange.pt'
    path.write_bytes(content)
    monkeypatch.setattr(pickles, 'MAX_OPCODES', 250_000)  # a quarter, because tracing memory makes them slow
    called = []
    for module, attribute in ((os, 'system'), (builtins, 'eval'), (builtins, 'exec'), (subprocess, 'call')):
        monkeypatch.setattr(module, attribute, lambda *args, what=attribute: called.append(what))
    modules, begin = set(sys.modules), time.monotonic()
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=message) as caught:
            read_state_dict(path)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    monkeypatch.undo()
    assert not called and set(sys.modules) == modules
    assert os.listdir(tmp_path) == ['strange.pt']
    assert str(caught.value).startswith(f'{path} cannot be read as a checkpoint: ') and len(str(caught.value)) < 1000
    assert peak_bytes < 128 << 20 and time.monotonic() - begin < 60


def test_a_file_that_is_not_regular_or_too_long_is_refused(tmp_path):
    os.mkfifo(tmp_path / 'pipe')  # reading it would wait for ever
    for path in (tmp_path / 'pipe', tmp_path, tmp_path / 'absent'):
        with pytest.raises(ValueError, match='is not a regular file'):
            read_state_dict(path)
    (tmp_path / 'long').write_bytes(bytes(11))
    with pytest.raises(ValueError, match='long has more than 10 bytes'):
        read_state_dict(tmp_path / 'long', max_bytes=10)


@pytest.mark.parametrize('kind', ['zip', 'older', 'safetensors'])
def test_random_damage_gives_an_error_or_arrays_of_the_files_size(kind, tmp_path):
    content = {'zip': GOOD_ZIP, 'older': GOOD_LEGACY, 'safetensors': safe()}[kind]
    np_rng = np.random.default_rng(0)
    path, n_read = tmp_path / 'mutant', 0
    for _ in range(600):
        damaged = bytearray(content)
        for _ in range(np_rng.integers(1, 4)):
            damaged[np_rng.integers(0, len(damaged))] ^= 1 << np_rng.integers(0, 8)
        path.write_bytes(damaged[: np_rng.integers(0, len(damaged))] if np_rng.random() < 0.1 else damaged)
        try:
            arrays = read_state_dict(path)
        except ValueError as error:
            assert str(path) in str(error)
            continue
        n_read += 1
        assert sum(array.size for array in arrays.values()) <= 24
        if kind == 'zip':  # its checksums cover the values
            assert all(np.isin(array, np.arange(6)).all() for array in arrays.values())
    assert 0 < n_read < 600
