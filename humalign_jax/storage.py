"""Files that are either whole or absent: atomic writes, digests, JSON Lines.

Every artefact is written under a temporary name in the same folder, flushed to the disk and then renamed. A kill or a
full disk leaves the previous version. Of several processes of one run, only the first one's files appear.
"""

import collections
import contextlib
import hashlib
import json
import os
import pathlib
import re
import tempfile
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Any

import numpy as np

from humalign_jax import processes

PathLike = str | os.PathLike

_NAME_LENGTH = 100  # file systems take 255 bytes, and names get prefixes and suffixes
_RESERVED = re.compile(r'(con|prn|aux|nul|com\d|lpt\d)(\..*)?', re.IGNORECASE)  # no file names on Windows


@contextlib.contextmanager
def atomic_file(path: PathLike, mode: str = 'wb') -> Iterator[IO]:
    """An open temporary file that becomes `path` when the block ends without an error, and vanishes otherwise."""
    if not processes.is_first():
        with tempfile.TemporaryFile(mode) as file:
            yield file
        return
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f'.{path.name}.', suffix='.tmp', dir=path.parent)
    try:
        # mkstemp makes private files; results are meant to be read by the rest of the lab.
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        with os.fdopen(handle, mode) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def write_text(path: PathLike, text: str) -> None:
    """Writes UTF-8 text atomically."""
    with atomic_file(path) as file:
        file.write(text.encode())


def write_json(path: PathLike, value: Any) -> None:
    """Writes indented JSON atomically; NumPy scalars and arrays become numbers and lists."""
    write_text(path, json.dumps(value, indent=2, default=_plain, ensure_ascii=False) + '\n')


def read_json(path: PathLike) -> Any:
    """Reads a JSON file.

    Raises:
        ValueError: The file is not valid JSON; the message names it.
    """
    try:
        return json.loads(pathlib.Path(path).read_bytes())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f'{path} is not valid JSON ({error}): it was cut short or edited by hand.') from error


def write_array(path: PathLike, values: np.ndarray, sidecar: Mapping[str, Any]) -> None:
    """Writes `path` (.npy) and, beside it, `<stem>.json` with `sidecar`, shape, dtype and the SHA-256 of the values."""
    path = pathlib.Path(path)
    values = np.ascontiguousarray(values)
    with atomic_file(path) as file:
        np.save(file, values, allow_pickle=False)
    described = {'shape': list(values.shape), 'dtype': str(values.dtype), 'sha256': array_digest(values)}
    write_json(path.with_suffix('.json'), {**sidecar, **described})


def read_described(path: PathLike, *, memory_mapped: bool = False) -> tuple[np.ndarray, dict[str, Any]]:
    """A `.npy` file and the `.json` beside it, as `write_array` wrote them; {} if there is no `.json`.

    Args:
        path: The `.npy` file.
        memory_mapped: Leave the values on the disk until they are used.

    Raises:
        ValueError: A file cannot be read, or the SHA-256 of values or ids differs from the one in the `.json`: a file
            was changed or replaced.
    """
    path = pathlib.Path(path)
    values, sidecar = read_array(path, memory_mapped=memory_mapped), read_sidecar(path)
    if 'sha256' in sidecar and sidecar['sha256'] != array_digest(values):
        raise ValueError(
            f'{path} and {path.with_suffix(".json").name} do not belong together: the array was changed, or one of the '
            'two files was replaced. Write both again.'
        )
    return values, sidecar


def read_sidecar(path: PathLike) -> dict[str, Any]:
    """The content of the `.json` beside an array; {} if there is none.

    Raises:
        ValueError: It is no JSON object, or its list of ids was changed, so that their SHA-256 differs.
    """
    beside = pathlib.Path(path).with_suffix('.json')
    if not beside.is_file():
        return {}
    sidecar = read_json(beside)
    if not isinstance(sidecar, dict):
        raise ValueError(f'{beside} should describe {pathlib.Path(path).name}, but is no JSON object.')
    told = sidecar.get('stimuli_sha256')
    if told and 'ids' in sidecar and array_digest(np.array(sidecar['ids'], dtype=np.str_)) != told:
        raise ValueError(f'{beside}: the list of ids was changed since it was written. Write the array again.')
    return sidecar


def read_array(path: PathLike, *, key: str | None = None, memory_mapped: bool = False) -> np.ndarray:
    """The array of a `.npy` file, or the array `key` of a `.npz` file. Nothing is unpickled.

    Args:
        path: The file.
        key: Which array of a `.npz` file.
        memory_mapped: Leave the values of a `.npy` file on the disk until they are used.

    Raises:
        ValueError: The file cannot be read, or has no such array; the message names the file and its likely kind.
    """
    path = pathlib.Path(path)
    try:
        if memory_mapped:
            return np.load(path, mmap_mode='r', allow_pickle=False)
        with open(path, 'rb') as file:
            loaded = np.load(file, allow_pickle=False)
            if isinstance(loaded, np.ndarray) and key is None:
                return loaded
            names = () if isinstance(loaded, np.ndarray) else tuple(loaded.files)
            if key in names:
                return loaded[key]
    except Exception as error:  # zipfile, zlib, struct and NumPy raise a dozen kinds at damaged bytes
        raise ValueError(f'{path} cannot be read as {path.suffix}: {_what_it_is(path, error)}.') from error
    raise ValueError(f'{path} has no array named {key!r}; it has {", ".join(names) or "one array without a name"}.')


def _what_it_is(path: pathlib.Path, error: Exception) -> str:
    """The likely kind of a file that could not be read as an array, for a message."""
    if isinstance(error, FileNotFoundError):
        return 'it does not exist'
    if not path.is_file():
        return 'it is no regular file'
    with contextlib.suppress(OSError), open(path, 'rb') as file:
        head = file.read(200)
        if not head:
            return 'it is empty; copy or download it again'
        if head.startswith(b'version https://git-lfs'):
            return "it is a Git LFS pointer in place of the file; fetch the file itself with 'git lfs pull'"
        if head.lstrip().startswith(b'<'):
            return 'it is a web page, saved in place of the file; download the file itself'
        if 'pickle' in str(error):
            return 'it holds Python objects, which are never opened, or it is damaged or of another kind'
    return f'{error or type(error).__name__}; it is damaged, cut short or of another kind'


def append_jsonl(path: PathLike, rows: Sequence[Mapping[str, Any]]) -> None:
    """Appends one JSON object per line and waits until the lines are on the disk."""
    if not processes.is_first():
        return
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, 'ab') as file:
        file.write(b''.join(json.dumps(row, default=_plain, ensure_ascii=False).encode() + b'\n' for row in rows))
        file.flush()
        os.fsync(file.fileno())


def read_jsonl(path: PathLike) -> list[dict[str, Any]]:
    """Rows of a JSON Lines file, [] if it does not exist. A last line cut short by a kill is left out."""
    path = pathlib.Path(path)
    if not path.exists():
        return []
    rows = []
    lines = path.read_bytes().split(b'\n')
    for number, line in enumerate(lines, start=1):
        try:
            rows.append(json.loads(line)) if line.strip() else None
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            if number == len(lines):  # no newline after it: the write was interrupted
                break
            raise ValueError(f'{path}, line {number}, is not valid JSON ({error}).') from error
    return rows


def write_jsonl(path: PathLike, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes one JSON object per line, atomically."""
    write_text(path, ''.join(json.dumps(row, default=_plain, ensure_ascii=False) + '\n' for row in rows))


def file_names(names: Sequence[str]) -> list[str]:
    """A file name without suffix for each of several names, safe on any file system.

    ASCII letters, digits and `-_.` stay; other characters become `_`. Names that Windows reserves begin with `_`. Names
    that are too long, or equal to another name except for capitals, end in eight digits of their SHA-256.

    Args:
        names: Different names, such as those of models.

    Raises:
        ValueError: Two names are equal.
    """
    repeated = [name for name, count in collections.Counter(names).items() if count > 1]
    if repeated:
        raise ValueError(f'names must differ, but {", ".join(map(repr, repeated[:3]))} occur more than once.')
    plain = [_ascii_name(name) for name in names]
    taken = collections.Counter(name.lower() for name in plain)
    return [
        f'{name[:_NAME_LENGTH]}-{hashlib.sha256(given.encode()).hexdigest()[:8]}'
        if taken[name.lower()] > 1 or len(name) > _NAME_LENGTH
        else name
        for given, name in zip(names, plain)
    ]


def _ascii_name(name: str) -> str:
    without_accents = ''.join(c for c in unicodedata.normalize('NFKD', name) if not unicodedata.combining(c))
    safe = re.sub(r'[^A-Za-z0-9._-]', '_', without_accents).strip('.') or '_'
    return f'_{safe}' if _RESERVED.fullmatch(safe) else safe


def file_digest(path: PathLike) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with open(path, 'rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()


def text_digest(text: str) -> str:
    """SHA-256 of a text in UTF-8, in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def array_digest(values: np.ndarray) -> str:
    """SHA-256 of an array's dtype, shape and values, in hexadecimal."""
    values = np.ascontiguousarray(values)
    digest = hashlib.sha256(f'{values.dtype.str}{values.shape}'.encode())
    digest.update(values.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _plain(value: Any) -> Any:
    """NumPy numbers, arrays and paths as values that `json` can write."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray) or hasattr(value, '__array__'):
        return np.asarray(value).tolist()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(f'cannot write a {type(value).__name__} as JSON')
