"""Where data lie, and reading them without trusting them: regular files only, never more bytes than expected."""

import gzip
import os
import pathlib
import zlib
from typing import IO

PathLike = str | os.PathLike

_CHUNK_BYTES = 1 << 20


def data_root(root: PathLike = '') -> pathlib.Path:
    """The folder with datasets: `root`, else `$HUMALIGN_DATA`, else `~/.cache/humalign_jax`."""
    chosen = os.fspath(root) or os.environ.get('HUMALIGN_DATA', '') or '~/.cache/humalign_jax'
    return pathlib.Path(chosen).expanduser()


def first_existing(candidates: list[pathlib.Path]) -> pathlib.Path | None:
    """The first candidate that exists, None if none does."""
    return next((path for path in candidates if path.exists()), None)


def read_file(path: PathLike, *, max_bytes: int) -> bytes:
    """All bytes of a plain or gzip-compressed (`.gz`) file.

    A gzip file is inflated to its end, so that its CRC is checked, but never beyond `max_bytes`.

    Args:
        path: The file.
        max_bytes: The most it may hold, inflated.

    Returns:
        Its bytes, inflated.

    Raises:
        ValueError: Not a regular file, unreadable, longer than `max_bytes`, or a damaged gzip stream.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise ValueError(f'{path} is not a regular file.')
    try:
        with gzip.open(path) if path.suffix == '.gz' else open(path, 'rb') as file:
            content = file.read(max_bytes + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f'{path} cannot be read ({error}): copy or download it again.') from error
    if len(content) > max_bytes:
        raise ValueError(f'{path} holds more than the expected {max_bytes} bytes: it is another file or damaged.')
    return content


class BoundedReader:
    """A stream that refuses to give more than `max_bytes` in all: the guard against decompression bombs."""

    def __init__(self, stream: IO[bytes], max_bytes: int, name: PathLike):
        self._stream, self._left, self._max_bytes, self._name = stream, max_bytes, max_bytes, name

    def read(self, size: int = _CHUNK_BYTES) -> bytes:
        """Up to `size` further bytes."""
        block = self._stream.read(min(size, self._left + 1))
        self._left -= len(block)
        if self._left < 0:
            raise ValueError(f'{self._name} unpacks to more than {self._max_bytes} bytes: it is not the archive.')
        return block

    def drain(self) -> None:
        """Reads to the end, which makes gzip check its CRC."""
        while self.read(_CHUNK_BYTES):
            pass
