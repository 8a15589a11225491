"""Files that are either whole or absent: atomic writes, digests, JSON Lines.

Every artefact goes to a temporary name in the same folder, is flushed to the disk and then renamed, so that a kill or a
full disk leaves the previous version. Nothing here knows what the files mean.
"""

import contextlib
import hashlib
import json
import os
import pathlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Any

import numpy as np

PathLike = str | os.PathLike


@contextlib.contextmanager
def atomic_file(path: PathLike, mode: str = 'wb') -> Iterator[IO]:
    """An open temporary file that becomes `path` when the block ends without an error, and vanishes otherwise."""
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


def append_jsonl(path: PathLike, rows: Sequence[Mapping[str, Any]]) -> None:
    """Appends one JSON object per line and waits until they are on the disk."""
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
    """What json cannot write by itself: NumPy numbers and arrays, paths, tuples of them."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray) or hasattr(value, '__array__'):
        return np.asarray(value).tolist()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(f'cannot write a {type(value).__name__} as JSON')
