"""The pickle inside a PyTorch checkpoint: tensors become records of where their values lie, and nothing is called.

Read are tensors, parameters, NumPy arrays, plain containers, and a few types of no use here (argparse.Namespace,
torch.device, ...), which become an `Ignored`. Any other name, such as the class of a whole saved model, is refused.
"""

import dataclasses
import re
from typing import Any

import ml_dtypes
import numpy as np

from humalign_jax import pickles

MAX_DIMENSIONS = 32

STORAGE_DTYPES = {
    'Double': np.dtype('f8'),
    'Float': np.dtype('f4'),
    'Half': np.dtype('f2'),
    'BFloat16': np.dtype(ml_dtypes.bfloat16),
    'Long': np.dtype('i8'),
    'Int': np.dtype('i4'),
    'Short': np.dtype('i2'),
    'Char': np.dtype('i1'),
    'Byte': np.dtype('u1'),
    'Bool': np.dtype('?'),
    'ComplexFloat': np.dtype('c8'),
    'ComplexDouble': np.dtype('c16'),
}
_NUMPY_NAMES = ('float64', 'float32', 'float16', 'int64', 'int32', 'int16', 'int8', 'uint8', 'uint16', 'uint32')
TENSOR_DTYPES = {  # by PyTorch's name
    **{name: np.dtype(name) for name in (*_NUMPY_NAMES, 'uint64', 'bool', 'complex64', 'complex128')},
    'bfloat16': np.dtype(ml_dtypes.bfloat16),
    'float8_e4m3fn': np.dtype(ml_dtypes.float8_e4m3fn),
    'float8_e5m2': np.dtype(ml_dtypes.float8_e5m2),
    'float8_e4m3fnuz': np.dtype(ml_dtypes.float8_e4m3fnuz),
    'float8_e5m2fnuz': np.dtype(ml_dtypes.float8_e5m2fnuz),
    'float8_e8m0fnu': np.dtype(ml_dtypes.float8_e8m0fnu),
}
_BUILTINS = r'(?:__builtin__|builtins)\.'
_IGNORED = (
    r'argparse\.Namespace|torch\.device|pathlib\.(?:Pure)?(?:Posix|Windows)?Path|' + _BUILTINS + r'(?:set|frozenset)'
)


@dataclasses.dataclass(frozen=True)
class Storage:
    """A block of values in a checkpoint.

    Attributes:
        key: Its name in the file.
        dtype: Of its values; None for bytes, whose meaning is each tensor's own.
        size: Number of values.
    """

    key: str
    dtype: np.dtype | None
    size: int

    @property
    def n_bytes(self) -> int:
        """Its length in the file."""
        return self.size * (self.dtype.itemsize if self.dtype else 1)


@dataclasses.dataclass(frozen=True)
class Tensor:
    """Where the values of a tensor lie: element [i, j] is value offset + i stride[0] + j stride[1] of the storage.

    Attributes:
        storage: The block.
        first: First value of the part of the block that the tensor may see (older checkpoints cut blocks in parts).
        size: Number of values of that part.
        dtype: Of the values.
        offset: Of the first element within the part.
        shape: Sizes of the axes.
        stride: Steps along the axes, in values.
    """

    storage: Storage
    first: int
    size: int
    dtype: np.dtype
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


class Ignored:
    """A value that no weights depend on."""


class TorchMachine(pickles.Machine):
    """The pickle machine that also knows PyTorch's names.

    Attributes:
        storages: The blocks that the pickle mentions, by key.
    """

    meanings = (
        *pickles.MEANINGS,
        (r'storage \1', re.compile(r'torch\.(?:cuda\.)?(\w{1,40})Storage')),
        ('storage Untyped', re.compile(r'torch\.storage\._?UntypedStorage')),
        (r'tensor\1', re.compile(r'torch\._utils\._rebuild_tensor(|_v2|_v3)')),
        ('parameter', re.compile(r'torch\._utils\._rebuild_parameter(?:_with_state)?')),
        ('typed', re.compile(r'torch\._tensor\._rebuild_from_type_v2')),
        ('class', re.compile(r'torch\.(?:Tensor|_tensor\.Tensor|nn\.parameter\.(?:Parameter|Buffer))')),
        ('size', re.compile(r'torch\.Size')),
        (r'torch dtype \1', re.compile(rf'torch\.({"|".join(TENSOR_DTYPES)})')),
        ('mapping', re.compile(r'collections\.(?:OrderedDict|Counter)')),
        ('ignored', re.compile(_IGNORED)),
    )

    def __init__(self, content: bytes, start: int = 0) -> None:
        super().__init__(content, start)
        self.storages: dict[str, Storage] = {}

    def get(self, key: int) -> Any:
        """Containers may be used again: nobody walks through them all, so that doubling them costs nothing."""
        value = self.memo.get(key)
        return value if isinstance(value, list | dict | tuple) else super().get(key)

    def call(self, function: Any, arguments: Any) -> Any:
        """Tensors, and what stands beside them."""
        meaning = function.meaning if isinstance(function, pickles.Symbol) else ''
        if not isinstance(arguments, tuple):
            return super().call(function, arguments)
        if meaning.startswith('tensor'):
            return _tensor(meaning, arguments)
        if meaning == 'parameter' and arguments and isinstance(arguments[0], Tensor | Ignored):
            return arguments[0]
        if meaning == 'typed' and len(arguments) == 4 and isinstance(arguments[0], pickles.Symbol):
            inner, kind, its_arguments, _ = arguments
            is_plain = isinstance(kind, pickles.Symbol) and kind.meaning == 'class'
            if is_plain and (inner.meaning.startswith('tensor') or inner.meaning == 'parameter'):
                return self.call(inner, self.spend(its_arguments))
        if meaning == 'size' and len(arguments) == 1 and isinstance(arguments[0], tuple):
            return arguments[0]
        if meaning == 'mapping' and len(arguments) <= 1:
            return self.mapping(*arguments)
        if meaning == 'ignored':
            return Ignored()
        return super().call(function, arguments)

    def new(self, kind: Any, arguments: Any) -> Any:
        """An object of a class whose content is not looked at."""
        if isinstance(kind, pickles.Symbol) and kind.meaning == 'ignored':
            return Ignored()
        if isinstance(kind, pickles.Symbol) and kind.meaning == 'mapping':
            return _Mapping()
        return super().new(kind, arguments)

    def build(self, target: Any, state: Any) -> Any:
        """Attributes of dicts (a state_dict's versions of its modules) and of ignored objects change nothing."""
        return target if isinstance(target, _Mapping | Ignored) else super().build(target, state)

    def mapping(self, items: Any = ()) -> '_Mapping':
        """An OrderedDict, from a dict or, as Python 2 wrote it, from pairs."""
        pairs = tuple(items.items()) if isinstance(items, dict) else items
        pairs = self.spend(tuple(pairs)) if isinstance(pairs, list | tuple) else (None,)
        parts = []
        for pair in pairs:
            if not isinstance(pair, list | tuple) or len(pair) != 2:
                raise ValueError('an OrderedDict is not made of pairs')
            parts.extend(pair)
        made = _Mapping()
        pickles.set_items(made, parts)
        return made

    def persistent(self, identity: Any) -> '_Part':
        """A block of values, which the file keeps outside the pickle."""
        self.spend(identity)
        if not isinstance(identity, tuple) or len(identity) not in (5, 6) or text(identity[0]) != 'storage':
            what = text(identity[0]) if isinstance(identity, tuple) and identity else None
            raise ValueError(
                f'it refers to something outside the pickle that is no storage ({what or "unknown"!r:.60})'
            )
        kind, key, _, size = identity[1:5]
        key = text(key)
        name = kind.meaning.removeprefix('storage ') if isinstance(kind, pickles.Symbol) else ''
        if name not in STORAGE_DTYPES and name != 'Untyped':
            raise ValueError(f'a storage of type {name[:60]!r} is refused: only plain numbers are read')
        if key is None or not _is_size(size):
            raise ValueError('a storage has no proper key or size')
        storage = Storage(key, STORAGE_DTYPES.get(name), size)
        if self.storages.setdefault(key, storage) != storage:
            raise ValueError(f'storage {key[:60]!r} is described in two ways')
        view = identity[5] if len(identity) == 6 else None
        if view is None:
            return _Part(storage, 0, size)
        if not isinstance(view, tuple) or len(view) != 3 or not (_is_size(view[1]) and _is_size(view[2])):
            raise ValueError(f'the part of storage {key[:60]!r} has no proper bounds')
        if view[1] + view[2] > size:
            raise ValueError(f'a part of storage {key[:60]!r} ends behind its {size} values')
        return _Part(storage, view[1], view[2])


def text(value: Any) -> str | None:
    """Text of Python 3, or of Python 2, which comes as bytes; None for anything else."""
    if isinstance(value, bytes):
        return value.decode('utf-8', 'backslashreplace')
    return value if isinstance(value, str) else None


class _Mapping(dict):
    """An OrderedDict or Counter."""


@dataclasses.dataclass(frozen=True)
class _Part:
    """A storage, or a part of one."""

    storage: Storage
    first: int
    size: int


def _tensor(meaning: str, arguments: tuple) -> Tensor:
    """_rebuild_tensor(part, offset, shape, stride), _v2(..., requires_grad, hooks, metadata), _v3(..., dtype, ...)."""
    lengths = {'tensor': (4,), 'tensor_v2': (6, 7), 'tensor_v3': (7, 8)}[meaning]
    if len(arguments) not in lengths or not isinstance(arguments[0], _Part):
        raise ValueError('a tensor is not made of a storage, an offset, a shape and a stride')
    part, offset, shape, stride = arguments[:4]
    metadata = arguments[lengths[-1] - 1 :] if meaning != 'tensor' else ()
    if metadata and metadata[0]:
        raise ValueError(
            'a tensor is a conjugate or negative view: save what its .resolve_conj().resolve_neg() returns'
        )
    dtype = part.storage.dtype
    if meaning == 'tensor_v3':
        named = arguments[6].meaning if isinstance(arguments[6], pickles.Symbol) else ''
        named = TENSOR_DTYPES.get(named.removeprefix('torch dtype '))
        if named is None or dtype not in (None, named):
            raise ValueError('a tensor has no proper dtype')
        dtype = named
    dtype = dtype or np.dtype('u1')  # bytes, as PyTorch reads them
    if not all(
        isinstance(sizes, tuple) and len(sizes) <= MAX_DIMENSIONS and all(map(_is_size, sizes))
        for sizes in (shape, stride, (offset,))
    ):
        raise ValueError('a tensor has an offset, size or stride that is negative or no whole number')
    if len(shape) != len(stride):
        raise ValueError(f'a tensor has {len(shape)} sizes and {len(stride)} strides')
    return Tensor(part.storage, part.first, part.size, dtype, offset, shape, stride)


def _is_size(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**63
