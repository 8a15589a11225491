"""Safe reading of pickles: numeric NumPy arrays in plain containers, and nothing else.

A pickle is a program. `pickle.load` runs it; this reader interprets it, one opcode at a time, and never imports, looks
up or calls anything that the file names. The few names that NumPy's pickles need (`_reconstruct`, `dtype`, ...) are
symbols with a fixed meaning; every other name is refused. A file can therefore make only: None, bool, int (64 bits),
float, str, bytes, list, tuple, dict with plain keys, and arrays or scalars of bool, integer, float and complex dtype
whose shape agrees with the number of bytes in the file.

Python 2 strings become bytes, as with `pickle.load(encoding='bytes')`. A format with more names extends `Machine`.
"""

import io
import math
import pickletools
import re
import warnings
from typing import Any, ClassVar

import numpy as np

from humalign_jax.storage import PathLike

# One opcode makes at most a hundred-odd bytes beyond its own argument, so that this bounds time (about 2 s) and memory.
# A CIFAR-10 batch has about 50,000 opcodes, CIFAR-100's train file about 300,000.
MAX_OPCODES = 1_000_000
MAX_DEPTH = 32  # of nested containers
MAX_KEY = 1000  # length of a dict key: long equal keys are slow to compare

_NUMPY = r'numpy\.(?:_?core)\.'
MEANINGS = (  # see `Machine.meanings`
    ('reconstruct', re.compile(_NUMPY + r'multiarray\._reconstruct')),
    ('scalar', re.compile(_NUMPY + r'multiarray\.scalar')),
    ('frombuffer', re.compile(_NUMPY + r'numeric\._frombuffer')),
    ('ndarray', re.compile(r'numpy\.ndarray')),
    ('dtype', re.compile(r'numpy\.dtype')),
    ('encode', re.compile(r'_codecs\.encode')),
    ('bytes', re.compile(r'__builtin__\.bytes')),
)
_DTYPE_NAME = re.compile(r'[<>=|]?(?:b1|[iu][1248]|f[248]|c8|c16|\?)')
_CONSTANTS = {'NONE': None, 'NEWTRUE': True, 'NEWFALSE': False, 'EMPTY_TUPLE': ()}
_NUMBERS = {'INT', 'BININT', 'BININT1', 'BININT2', 'LONG', 'LONG1', 'LONG4', 'FLOAT', 'BINFLOAT'}
_PYTHON2_STRINGS = {'STRING', 'BINSTRING', 'SHORT_BINSTRING'}
_STRINGS = {'UNICODE', 'SHORT_BINUNICODE', 'BINUNICODE', 'BINUNICODE8'}
_BYTES = {'SHORT_BINBYTES', 'BINBYTES', 'BINBYTES8', 'BYTEARRAY8'}
_LEAVES = (type(None), bool, int, float, str, bytes, np.ndarray, np.generic)
_KEYS = (type(None), bool, int, float, str, bytes)


class Symbol:
    """A global that this reader gives a meaning to; never the thing itself."""

    def __init__(self, meaning: str):
        self.meaning = meaning


class _Unbuilt:
    """An array or dtype between its REDUCE and its BUILD."""

    def __init__(self, dtype: np.dtype | None):
        self.dtype = dtype  # None for an array
        self.memo_keys: list[int] = []


def read_pickle(content: bytes, name: PathLike, *, max_opcodes: int | None = None) -> Any:
    """The value of a pickle made of arrays and plain containers.

    Args:
        content: The pickle.
        name: Name in messages, such as its path.
        max_opcodes: Most opcodes that it may have, None for `MAX_OPCODES`; a million cost about 2 s.

    Returns:
        The value; arrays are read-only views of the pickle's bytes.

    Raises:
        ValueError: The pickle is damaged or contains anything else; the message gives `name` and the refused part.
    """
    try:
        machine = Machine(content, max_opcodes=max_opcodes)
        value = machine.run()
        if machine.end != len(content):
            raise ValueError(f'{len(content) - machine.end} bytes follow its end')
        _check_plain(value)
        return value
    except (ValueError, OverflowError) as error:  # OverflowError: NumPy, for dimensions beyond 64 bits
        raise ValueError(
            f'{name} is not a pickle of plain arrays that can be read safely: {str(error)[:300]}'
        ) from error


class Machine:
    """The pickle virtual machine, without everything that makes it dangerous.

    A subclass may know more names (`meanings`) and say what they do (`call`, `new`, `build`, `persistent`).

    Attributes:
        end: After `run`, the position of the first byte after the pickle.
    """

    # What a global means, by its dotted name (a meaning may refer to groups); anything else is refused.
    meanings: ClassVar[tuple[tuple[str, re.Pattern[str]], ...]] = MEANINGS

    def __init__(self, content: bytes, start: int = 0, *, max_opcodes: int | None = None) -> None:
        self.content = content
        self.max_opcodes = MAX_OPCODES if max_opcodes is None else max_opcodes
        self.end = start
        # What calls may work on in all: each byte twice (once as text, once as an array), and small change. Without it
        # one long string could be converted a hundred thousand times.
        self.budget = 2 * len(content) + (1 << 20)
        self.stack: list[Any] = []
        self.marked: list[list[Any]] = []  # the stacks below each open MARK
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        """The value of the pickle that begins at `start`; raises ValueError or OverflowError for a refused one."""
        file = io.BytesIO(self.content)
        file.seek(self.end)
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # Python's remarks about odd escapes in old strings help nobody
            for count, (opcode, argument, position) in enumerate(pickletools.genops(file)):
                if count >= self.max_opcodes:
                    raise ValueError(f'it has more than {self.max_opcodes} opcodes')
                if opcode.name == 'STOP':
                    break
                try:
                    self._step(opcode.name, argument)
                except ValueError as error:
                    raise ValueError(f'{error} (opcode {opcode.name} at byte {position})') from error
        self.end = file.tell()
        value = self._pop()
        if self.stack or self.marked:
            raise ValueError('it ends in the middle of a value')
        return value

    def _step(self, name: str, argument: Any) -> None:
        if name in _NUMBERS:
            self.stack.append(_number(argument))
        elif name in _PYTHON2_STRINGS:
            self.stack.append(argument.encode('latin-1'))
        elif name in _STRINGS:
            self.stack.append(argument)
        elif name in _BYTES:
            self.stack.append(bytes(argument))
        elif name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name])
        elif name in ('PUT', 'BINPUT', 'LONG_BINPUT', 'MEMOIZE'):
            self._put(len(self.memo) if name == 'MEMOIZE' else argument)
        elif name in ('GET', 'BINGET', 'LONG_BINGET'):
            self.stack.append(self.get(argument))
        elif name == 'MARK':
            self.marked.append(self.stack)
            self.stack = []
        elif name in ('GLOBAL', 'STACK_GLOBAL'):
            self.stack.append(self._symbol(argument))
        elif name == 'REDUCE':
            arguments = self.spend(self._pop())
            self.stack.append(self.call(self._pop(), arguments))
        elif name == 'NEWOBJ':
            arguments = self.spend(self._pop())
            self.stack.append(self.new(self._pop(), arguments))
        elif name == 'BUILD':
            state = self.spend(self._pop())
            self.stack.append(self.build(self._pop(), state))
        elif name == 'BINPERSID':
            self.stack.append(self.persistent(self._pop()))
        elif name not in ('PROTO', 'FRAME'):
            self._container(name)

    def _container(self, name: str) -> None:
        """Opcodes that make or fill lists, tuples and dicts."""
        if name == 'EMPTY_LIST':
            self.stack.append([])
        elif name == 'EMPTY_DICT':
            self.stack.append({})
        elif name in ('LIST', 'TUPLE'):
            items = self._pop_mark()
            self.stack.append(items if name == 'LIST' else tuple(items))
        elif name in ('TUPLE1', 'TUPLE2', 'TUPLE3'):
            self.stack.append(tuple([self._pop() for _ in range(int(name[-1]))][::-1]))
        elif name == 'DICT':
            items = self._pop_mark()
            self.stack.append(set_items({}, items))
        elif name in ('APPEND', 'APPENDS'):
            items = [self._pop()] if name == 'APPEND' else self._pop_mark()
            self._top(list).extend(items)
        elif name in ('SETITEM', 'SETITEMS'):
            items = [self._pop(), self._pop()][::-1] if name == 'SETITEM' else self._pop_mark()
            set_items(self._top(dict), items)
        elif name == 'POP':
            self._pop()
        else:
            raise ValueError('this opcode is refused')

    def _pop(self) -> Any:
        if not self.stack:
            raise ValueError('nothing is on the stack')
        return self.stack.pop()

    def spend(self, arguments: Any) -> Any:
        """Returns the arguments of a call; raises ValueError when calls have worked on more than the file holds."""
        if isinstance(arguments, tuple):
            lengths = (len(part) for part in arguments if isinstance(part, (str, bytes)))
            self.budget -= 8 * len(arguments) + sum(lengths)
        if self.budget < 0:
            raise ValueError('it works on the same bytes again and again')
        return arguments

    def _pop_mark(self) -> list[Any]:
        if not self.marked:
            raise ValueError('there is no mark on the stack')
        items, self.stack = self.stack, self.marked.pop()
        return items

    def _top(self, kind: type) -> Any:
        if not self.stack or not isinstance(self.stack[-1], kind):
            raise ValueError(f'a {kind.__name__} was expected on the stack')
        return self.stack[-1]

    def _put(self, key: int) -> None:
        if not self.stack:
            raise ValueError('nothing is on the stack')
        self.memo[key] = self.stack[-1]
        if isinstance(self.stack[-1], _Unbuilt):
            self.stack[-1].memo_keys.append(key)

    def get(self, key: int) -> Any:
        """The value stored under a memo number; containers are refused."""
        if key not in self.memo:
            raise ValueError(f'nothing was stored under memo number {key}')
        value = self.memo[key]
        # Containers that are used once form a tree: no cycles, and no lists that double at every level.
        if isinstance(value, (list, dict, _Unbuilt)) or (isinstance(value, tuple) and value):
            raise ValueError('a container is used twice, which is refused')
        return value

    def _symbol(self, argument: str | None) -> Symbol:
        if argument is None:  # STACK_GLOBAL
            name, module = self._pop(), self._pop()
            if not isinstance(name, str) or not isinstance(module, str):
                raise ValueError('the name of a global is not a string')
            dotted = f'{module}.{name}'
        else:  # pickletools joins module and name with a space
            dotted = argument.replace(' ', '.', 1)
        for meaning, pattern in self.meanings:
            match = pattern.fullmatch(dotted)
            if match:
                return Symbol(match.expand(meaning))
        raise ValueError(f'it asks for {dotted[:100]!r}, which is refused')

    def call(self, function: Any, arguments: Any) -> Any:
        """What REDUCE makes: the six calls of NumPy's pickles."""
        return _reduce(function, arguments)

    def new(self, kind: Any, arguments: Any) -> Any:
        """What NEWOBJ makes."""
        raise ValueError('this opcode is refused')

    def persistent(self, identity: Any) -> Any:
        """What BINPERSID stands for."""
        raise ValueError('this opcode is refused')

    def build(self, target: Any, state: Any) -> Any:
        """What BUILD makes of a target: an array or dtype that its state completes."""
        if not isinstance(target, _Unbuilt) or not isinstance(state, tuple):
            raise ValueError(f'setting the state of a {type(target).__name__} is refused')
        built = _array(state) if target.dtype is None else _dtype(target.dtype, state)
        for key in target.memo_keys:
            if self.memo[key] is target:
                self.memo[key] = built
        return built


def _number(value: Any) -> int | float:
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        raise ValueError('an integer does not fit in 64 bits')
    return value


def set_items(target: dict, items: list[Any]) -> dict:
    """Puts keys and values, which alternate, into a dict; raises ValueError for keys that are refused or doubled."""
    if len(items) % 2:
        raise ValueError('a dict has a key without a value')
    for key, value in zip(items[::2], items[1::2]):
        if isinstance(key, (str, bytes)) and len(key) > MAX_KEY:
            raise ValueError(f'a dict key of length {len(key)} is refused')
        if type(key) not in _KEYS:  # a tuple's hash is computed recursively
            raise ValueError(f'a dict key of type {type(key).__name__} is refused')
        if key in target:
            raise ValueError(f'the dict key {str(key)[:100]!r} occurs twice')
        target[key] = value
    return target


def _reduce(function: Any, arguments: Any) -> Any:
    """The six calls that NumPy's pickles make."""
    meaning = function.meaning if isinstance(function, Symbol) else type(function).__name__
    if not isinstance(arguments, tuple):
        raise ValueError(f'the arguments of {meaning} are not a tuple')
    if meaning == 'reconstruct' and len(arguments) == 3:
        if isinstance(arguments[0], Symbol) and arguments[0].meaning == 'ndarray' and isinstance(arguments[1], tuple):
            return _Unbuilt(None)
    elif meaning == 'dtype' and 1 <= len(arguments) <= 3 and isinstance(arguments[0], (str, bytes)):
        name = arguments[0].decode('latin-1') if isinstance(arguments[0], bytes) else arguments[0]
        if not _DTYPE_NAME.fullmatch(name):
            raise ValueError(f'the dtype {name[:50]!r} is refused: only numbers are read')
        return _Unbuilt(np.dtype(name))
    elif meaning == 'scalar' and len(arguments) == 2:
        return _values(arguments[0], (), arguments[1], 'C')[()]
    elif meaning == 'frombuffer' and len(arguments) == 4:
        return _values(arguments[1], arguments[2], arguments[0], arguments[3])
    elif meaning == 'encode' and len(arguments) == 2:  # how Python 3 writes bytes for protocol 2
        text, codec = arguments
        if (
            isinstance(text, str)
            and isinstance(codec, (str, bytes))
            and codec in ('latin1', 'latin-1', b'latin1', b'latin-1')
        ):
            return text.encode('latin-1')
    elif meaning == 'bytes' and not arguments:  # and empty bytes
        return b''
    raise ValueError(f'calling {meaning} with these arguments is refused')


def _dtype(dtype: np.dtype, state: tuple) -> np.dtype:
    """A dtype with the byte order in its state; any other state is refused."""
    order = state[1] if len(state) in (8, 9) else None
    order = order.decode('latin-1') if isinstance(order, bytes) else order
    if not isinstance(order, str) or order not in ('<', '>', '|', '=') or any(part is not None for part in state[2:5]):
        raise ValueError('the state of a dtype is more than a byte order, which is refused')
    return dtype.newbyteorder(order)


def _array(state: tuple) -> np.ndarray:
    if len(state) != 5:
        raise ValueError(f'the state of an array has {len(state)} parts instead of 5')
    _, shape, dtype, is_fortran, raw = state
    if not isinstance(is_fortran, (bool, int)):
        raise ValueError('the memory order of an array is not a bool')
    return _values(dtype, shape, raw, 'F' if is_fortran else 'C')


def _values(dtype: Any, shape: Any, raw: Any, order: Any) -> np.ndarray:
    """The array, after checking that dtype, shape and number of bytes agree."""
    if not isinstance(dtype, np.dtype):
        raise ValueError('an array has no proper dtype')
    if not isinstance(raw, bytes) or not isinstance(order, str) or order not in ('C', 'F'):
        raise ValueError('the values of an array are not plain bytes')
    if not isinstance(shape, tuple) or len(shape) > 32 or any(type(size) is not int or size < 0 for size in shape):
        raise ValueError('the shape of an array is not a short tuple of sizes')
    if max(shape, default=0) >= 2**31 or math.prod(shape) * dtype.itemsize != len(raw):
        raise ValueError(f'an array of shape {shape} and dtype {dtype} does not fit its {len(raw)} bytes')
    if dtype.kind == 'b' and raw.translate(None, b'\0\1'):
        raise ValueError('an array of bool holds bytes other than 0 and 1')
    return np.frombuffer(raw, dtype).reshape(shape, order=order)


def _check_plain(value: Any) -> None:
    """Raises ValueError unless the value is a shallow tree of containers with plain leaves."""
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        inner = []
        for item in level:
            if isinstance(item, (list, tuple)):
                inner.extend(item)
            elif isinstance(item, dict):
                inner.extend(item.values())
            elif not isinstance(item, _LEAVES):
                raise ValueError(f'it holds a bare {type(item).__name__.strip("_").lower()}, which is no value')
        if not inner:
            return
        level = inner
    raise ValueError(f'containers are nested more than {MAX_DEPTH} deep')
