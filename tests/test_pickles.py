"""The restricted pickle reader: what it reads, and that it refuses everything else without side effects."""

import builtins
import collections
import datetime
import fractions
import functools
import io
import os
import pathlib
import pickle
import struct
import subprocess
import sys

import numpy as np
import pytest

from humalign_jax import pickles

PLAIN = {
    'matrix': np.arange(6, dtype=np.uint8).reshape(2, 3),
    'column by column': np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    'big endian': np.arange(3, dtype='>i4'),
    'complex': np.array([1 + 2j]),
    'bool': np.array([True, False]),
    'zero-dimensional': np.array(7.5),
    'empty': np.zeros((0, 3), np.float32),
    'scalar': np.float32(2.5),
}


@pytest.mark.parametrize('protocol', range(6))
@pytest.mark.parametrize('name', PLAIN)
def test_arrays_written_by_numpy_are_read(name, protocol):
    value = PLAIN[name]
    read = pickles.read_pickle(pickle.dumps(value, protocol), 'x')
    assert read.dtype == value.dtype and read.shape == value.shape
    np.testing.assert_array_equal(read, value)


@pytest.mark.parametrize('protocol', range(6))
def test_plain_containers_are_read(protocol):
    value = {'a': [1, -2.5, None, True, b'\xff', 'é'], 3: ('x', (), ((1,),)), 'n': 2**63, b'k': {}, 'e': b''}
    assert pickles.read_pickle(pickle.dumps(value, protocol), 'x') == value


def test_arrays_of_old_and_new_numpy_names_are_read():
    pickled = pickle.dumps(np.arange(3), protocol=2)
    old = pickled.replace(b'numpy._core.multiarray', b'numpy.core.multiarray')
    assert old != pickled
    for content in (old, pickled):
        np.testing.assert_array_equal(pickles.read_pickle(content, 'x'), np.arange(3))


def test_python_2_strings_become_bytes():
    assert pickles.read_pickle(b'\x80\x02}U\x04dataU\x03\xff\x00as.', 'x') == {b'data': b'\xff\x00a'}


def test_two_arrays_may_share_a_dtype_and_one_array_may_occur_twice():
    a, b = np.arange(3), np.arange(4)
    read = pickles.read_pickle(pickle.dumps([a, b, a], 2), 'x')
    for got, expected in zip(read, [a, b, a]):
        np.testing.assert_array_equal(got, expected)


class Calls:
    """Pickles into a call of `function(*arguments)`."""

    def __init__(self, function, *arguments, state=None):
        self.reduced = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self):
        return self.reduced


class Persistent(pickle.Pickler):
    def persistent_id(self, obj):
        return 'key' if obj == 'outside' else None


def persistent(protocol):
    buffer = io.BytesIO()
    Persistent(buffer, protocol).dump(['outside'])
    return buffer.getvalue()


def name(module, attribute):
    return f'c{module}\n{attribute}\n'.encode()


def doubling(levels):
    """A list of two references to a list of two references ... : 2 ** levels leaves in a few bytes."""
    return b'\x80\x02]q\x00' + b''.join(b'](h%ch%ceq%c' % (k, k, k + 1) for k in range(levels)) + b'.'


RECONSTRUCT = name('numpy.core.multiarray', '_reconstruct') + name('numpy', 'ndarray') + b'K\x00\x85U\x01b\x87R'
U1 = name('numpy', 'dtype') + b'U\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb'


def array(shape, raw=b'U\x01x', dtype=U1, fortran=b'\x89'):
    return b'\x80\x02' + RECONSTRUCT + b'(K\x01' + shape + dtype + fortran + raw + b'tb.'


def huge(dtype):
    return name('numpy', 'dtype') + b'U' + bytes([len(dtype)]) + dtype + b'K\x00K\x01\x87R'


HOSTILE = {
    'os.system': pickle.dumps(Calls(os.system, 'touch canary')),
    'os.system protocol 0': b'cos\nsystem\n(S"touch canary"\ntR.',
    'posix.system': b'cposix\nsystem\n(S"touch canary"\ntR.',
    'nt.system': b'cnt\nsystem\n(S"touch canary"\ntR.',
    'subprocess': pickle.dumps(Calls(subprocess.call, ['touch', 'canary'])),
    'eval': pickle.dumps(Calls(eval, 'open("canary", "w")')),
    'exec': pickle.dumps(Calls(exec, 'open("canary", "w")')),
    'python 2 eval': b'c__builtin__\neval\n(S\'open("canary", "w")\'\ntR.',
    'open': pickle.dumps(Calls(open, 'canary', 'w')),
    'import': pickle.dumps(Calls(__import__, 'antigravity')),
    'getattr': pickle.dumps(Calls(getattr, 'x', 'upper')),
    'getattr chain': b'\x80\x04' + name('builtins', 'getattr') + name('os', 'environ') + b'\x8c\x05clear\x86R)R.',
    'dotted name': b'\x80\x04\x8c\x05numpy\x8c\x14ndarray.__reduce_ex__\x93.',
    'dotted name to os': b'\x80\x04\x8c\x05numpy\x8c\x0eos.system.call\x93.',
    'module of numpy': b'\x80\x04\x8c\x05numpy\x8c\x04load\x93\x8c\x06canary\x85R.',
    'numpy exec helper': b'cnumpy.testing._private.utils\nrunstring\n(S"1"\ntR.',
    'numpy newer exec helper': b'cnumpy.testing\nrundocs\n(S"canary"\ntR.',
    'numpy fromfile': b'cnumpy\nfromfile\n(S"/etc/passwd"\ntR.',
    'numpy memmap': b'cnumpy\nmemmap\n(S"canary"\ntR.',
    'numpy with spaces': b'cnumpy.core.multiarray \n_reconstruct\n)R.',
    'numpy prefix': b'cnumpy.core.multiarray\n_reconstruct_evil\n)R.',
    'numpy suffix': b'cevil.numpy.core.multiarray\n_reconstruct\n)R.',
    'codecs.decode': b'c_codecs\ndecode\n(S"x"\nS"hex"\ntR.',
    'codecs.encode with another codec': b'\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00xX\x03\x00\x00\x00hex\x86R.',
    'codecs.encode beyond latin-1': b'\x80\x02c_codecs\nencode\nX\x03\0\0\0\xe2\x82\xacX\x06\0\0\0latin1\x86R.',
    'functools.partial': pickle.dumps(functools.partial(print, 'canary')),
    'operator.attrgetter': b'coperator\nattrgetter\n(S"system"\ntR.',
    'copyreg': b'ccopyreg\n_reconstructor\n(cbuiltins\nobject\ncbuiltins\nobject\nNtR.',
    'copy_reg': b'ccopy_reg\n_reconstructor\n(c__builtin__\nobject\nc__builtin__\nobject\nNtR.',
    'copyreg.add_extension': b'ccopyreg\nadd_extension\n(S"os"\nS"system"\nK\x01tR.',
    'newobj': b'\x80\x02cbuiltins\nobject\n)\x81.',
    'newobj_ex': b'\x80\x04\x8c\x08builtins\x8c\x06object\x93)}\x92.',
    'newobj of an allowed name': b'\x80\x02cnumpy\nndarray\n(K\x05t\x81.',
    'old instance': b'(S"touch canary"\nios\nsystem\n.',
    'old object': b'(cos\nsystem\nS"touch canary"\no.',
    'class instance': pickle.dumps(fractions.Fraction(1, 2)),
    'ordered dict': pickle.dumps(collections.OrderedDict(a=1)),
    'default dict': pickle.dumps(collections.defaultdict(list)),
    'set': pickle.dumps({1, 2}, 4),
    'frozen set': pickle.dumps(frozenset({1}), 4),
    'date': pickle.dumps(datetime.date(2020, 1, 1)),
    'slice': pickle.dumps(slice(1)),
    'path': pickle.dumps(pathlib.PurePosixPath('canary')),
    'text persistent id': persistent(0),
    'binary persistent id': persistent(2),
    'extension 1': b'\x80\x02\x82\x01.',
    'extension 2': b'\x80\x02\x83\x01\x00.',
    'extension 4': b'\x80\x02\x84\x01\x00\x00\x00.',
    'out-of-band buffer': b'\x80\x05\x97.',
    'read-only buffer': b'\x80\x05\x97\x98.',
    'object array': pickle.dumps(np.array([{}, Calls(os.system, 'touch canary')], dtype=object)),
    'structured dtype': pickle.dumps(np.zeros(2, dtype=[('a', 'O'), ('b', 'u1')])),
    'plain structured dtype': pickle.dumps(np.zeros(2, dtype=[('a', 'i4')])),
    'string array': pickle.dumps(np.array(['a'])),
    'date array': pickle.dumps(np.array(['2020-01-01'], dtype='M8[D]')),
    'object dtype by name': array(b'K\x01\x85', dtype=huge(b'O8')),
    'comma dtype': array(b'K\x01\x85', dtype=huge(b'u1,O')),
    'huge void dtype': array(b'K\x01\x85', dtype=huge(b'V999999999')),
    'repeated dtype': array(b'K\x01\x85', dtype=huge(b'(9999,9999)u1')),
    'dtype from a dict': b'\x80\x02' + name('numpy', 'dtype') + b'}\x85R.',
    'dtype from a list': b'\x80\x02' + name('numpy', 'dtype') + b'(]K\x00K\x01tR.',
    'dtype state with fields': array(
        b'K\x01\x85', dtype=name('numpy', 'dtype') + b'U\x02u1K\0K\x01\x87R(K\x03U\x01|N(U\x01at}U\x01aNsNNNtb'
    ),
    'dtype state that is a dict': array(b'K\x01\x85', dtype=name('numpy', 'dtype') + b'U\x02u1K\x00K\x01\x87R}b'),
    'bare dtype': b'\x80\x02' + U1 + b'.',
    'bare ndarray type': b'\x80\x02cnumpy\nndarray\n.',
    'unbuilt array': b'\x80\x02' + RECONSTRUCT + b'.',
    'unbuilt array in a list': b'\x80\x02](' + RECONSTRUCT + b'q\x01h\x01e.',
    'reconstruct of another type': b'\x80\x02' + RECONSTRUCT.replace(b'ndarray', b'dtype') + b'.',
    'array state that is a dict': b'\x80\x02' + RECONSTRUCT + b'}U\x05shapeK\x05sb.',
    'array state twice': array(b'K\x01\x85')[:-1] + b'(K\x01K\x01\x85' + U1 + b'\x89U\x01xtb.',
    'state of a list': b'\x80\x02]}U\x01aK\x01sb.',
    'state of a name': b'\x80\x02cnumpy\nndarray\n}U\x01aK\x01sb.',
    'array of objects by state': array(b'K\x01\x85', raw=b'](Ntb.'),
    'huge shape': array(b'J\xff\xff\xff\x7f\x85'),
    'huge product': array(b'J\xff\xff\xff\x7fJ\xff\xff\xff\x7fJ\xff\xff\xff\x7f\x87'),
    'overflowing product': array(b'\x8a\x08\0\0\0\0\0\0\0\x40\x8a\x01\x04\x86'),  # 2 ** 62 x 4 wraps to 0 in 64 bits
    'empty with a huge side': array(b'K\x00\x8a\x08\0\0\0\0\0\0\0\x40\x86', raw=b'U\x00'),
    'negative shape': array(b'J\xff\xff\xff\xff\x85'),
    'two negatives': array(b'J\xff\xff\xff\xffJ\xff\xff\xff\xff\x86'),
    'shape of floats': array(b'G\x3f\xf0\0\0\0\0\0\0\x85'),
    'shape of bools': array(b'\x88\x85'),
    'shape a list': array(b'](K\x01e'),
    'forty dimensions': array(b'(' + 40 * b'K\x01' + b't'),
    'bool with other bytes': array(b'K\x01\x85', dtype=U1.replace(b'u1', b'b1')),
    'huge string': b'\x80\x02T\xff\xff\xff\x7fx.',
    'negative string': b'\x80\x02T\xff\xff\xff\xffx.',
    'huge unicode': b'\x80\x02X\xff\xff\xff\xffx.',
    'huge bytes': b'\x80\x04\x8e' + struct.pack('<Q', 2**62) + b'x.',
    'bytes beyond 64 bits': b'\x80\x04\x8e' + struct.pack('<Q', 2**64 - 1) + b'x.',
    'huge bytearray': b'\x80\x05\x96' + struct.pack('<Q', 2**62) + b'x.',
    'huge frame': b'\x80\x04\x95' + struct.pack('<Q', 2**63) + b'N',
    'huge integer': b'\x80\x02\x8b\xff\xff\xff\x7fx.',
    'long integer': b'\x80\x02\x8a\xff' + 255 * b'\x7f' + b'.',
    'long decimal': b'I' + 100_000 * b'9' + b'\n.',
    'longer decimal': b'L' + 100_000 * b'9' + b'L\n.',
    'not a decimal': b'Iabc\n.',
    'surrogate name': b'\x80\x04\x8c\x03\xed\xb2\x80\x8c\x01x\x93.',
    'name of numbers': b'\x80\x04K\x01K\x02\x93.',
    'nested lists': b'\x80\x02' + 100_000 * b']' + 99_999 * b'a' + b'.',
    'nested tuples': b'\x80\x02N' + 100_000 * b'\x85' + b'.',
    'nested dicts': b'\x80\x02' + 50_000 * b'}K\x01' + b'N' + 50_000 * b's' + b'.',
    'nested marks': b'\x80\x02' + 100_000 * b'(' + b'.',
    'list in itself': b'\x80\x02]q\x00h\x00a.',
    'tuple in itself': b'\x80\x02(]q\x00h\x00atq\x01.',
    'dict in itself': b'\x80\x02}q\x00K\x01h\x00s.',
    'doubling lists': doubling(200),
    'doubling tuples': b'\x80\x02K\x01\x85q\x00' + 200 * b'h\x00h\x00\x86q\x00' + b'.',
    'doubling duplicates': b'\x80\x02]' + 200 * b'2\x86' + b'.',
    'hash of nested tuples': b'\x80\x02}K\x01\x85\x85K\x02s.',
    'list as key': b'\x80\x02}]K\x02s.',
    'array as key': b'\x80\x02}' + array(b'K\x01\x85')[2:-1] + b'K\x02s.',
    'doubled key': b'\x80\x02}(K\x01NK\x01Nu.',
    'dict of odd length': b'\x80\x02}(K\x01u.',
    'same text encoded again and again': b'\x80\x02]'
    + b'X\x00\x00\x10\x00' + (1 << 20) * b'x' + b'q\x000c_codecs\nencode\nq\x010X\x06\0\0\0latin1q\x020'
    + 100_000 * b'h\x01h\x00h\x02\x86Ra' + b'.',
    'same bytes as bools again and again': b'\x80\x02]'
    + b'T\x00\x00\x10\x00' + (1 << 20) * b'\x01' + b'q\x000' + U1.replace(b'u1', b'b1') + b'q\x010'
    + 10_000 * (RECONSTRUCT + b'(K\x01J\x00\x00\x10\x00\x85h\x01\x89h\x00tba') + b'.',
    'long key': b'\x80\x02}T\xe9\x03\0\0' + 1001 * b'k' + b'K\x02s.',
    'too many opcodes': b'\x80\x02' + 1_000_001 * b'N0' + b'N.',
    'empty': b'',
    'no stop': b'\x80\x02]',
    'only stop': b'.',
    'two values': b'\x80\x02NN.',
    'open mark': b'\x80\x02(N.',
    'no mark': b'\x80\x02Nt.',
    'append to nothing': b'\x80\x02Na.',
    'append to a tuple': b'\x80\x02N\x85Na.',
    'item of a list': b'\x80\x02]NNs.',
    'pop of nothing': b'\x80\x020.',
    'memo never set': b'\x80\x02h\x07.',
    'memo of text': b'gabc\n.',
    'put of nothing': b'\x80\x02q\x00.',
    'reduce of a list': b'\x80\x02](NtR.',
    'reduce without tuple': b'\x80\x02cnumpy\ndtype\n]R.',
    'unknown opcode': b'\x80\x02\xff.',
    'protocol of the future': b'\x80\xffN\xfe.',
    'text': b'hello, I am not a pickle',
    'zeros': bytes(1000),
    'trailing bytes': b'\x80\x02N.N.',
}  # fmt: skip


def test_there_are_many_hostile_pickles():
    assert len(HOSTILE) >= 120 and len(set(HOSTILE.values())) == len(HOSTILE)


@pytest.mark.parametrize('case', HOSTILE)
def test_hostile_pickles_are_refused_by_file_name_without_side_effects(case, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / 'strange.pkl'
    path.write_bytes(HOSTILE[case])
    called = []
    for module, attribute in ((os, 'system'), (builtins, 'eval'), (builtins, 'exec'), (subprocess, 'call')):
        monkeypatch.setattr(module, attribute, lambda *args, what=attribute: called.append(what))
    modules, environment = set(sys.modules), dict(os.environ)
    with pytest.raises(ValueError, match=r'strange\.pkl is not a pickle of plain arrays') as caught:
        pickles.read_pickle(path.read_bytes(), path)
    monkeypatch.undo()
    assert not called and set(sys.modules) == modules and dict(os.environ) == environment
    assert os.listdir(tmp_path) == ['strange.pkl']
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize('case, refused', [('os.system', 'system'), ('getattr', 'getattr'), ('date', 'datetime.date')])
def test_the_message_names_what_was_refused(case, refused):
    with pytest.raises(ValueError, match=rf"asks for '[\w.]*{refused}', which is refused"):
        pickles.read_pickle(HOSTILE[case], 'x')


def test_random_bytes_and_mutations_never_raise_anything_else():
    np_rng = np.random.default_rng(0)
    seeds = [pickle.dumps(value, p) for value in (*PLAIN.values(), {'a': [1, 'b', (2.5,)]}) for p in (0, 2, 5)]
    for trial in range(5000):
        content = bytearray(seeds[trial % len(seeds)] if trial % 4 else np_rng.bytes(40))
        for _ in range(np_rng.integers(1, 6)):
            content[np_rng.integers(0, len(content))] = np_rng.integers(0, 256)
        try:
            pickles.read_pickle(bytes(content), 'mutant')
        except ValueError as error:
            assert str(error).startswith('mutant is not a pickle of plain arrays')
