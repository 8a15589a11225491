"""The folder with datasets, and safe reading of files: regular files only, never more bytes than expected."""

import gzip
import os
import pathlib
import zlib

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
        max_bytes: Largest allowed size, inflated.

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


class BoundedGzip(gzip.GzipFile):
    """A gzip file that inflates to at most `max_bytes`, as a guard against decompression bombs.

    Repeated reading at the end is an error; tarfile does so when a sparse header announces more data than the file has.
    """

    def __init__(self, path: PathLike, max_bytes: int):
        super().__init__(path, 'rb')
        self._left, self._max_bytes = max_bytes, max_bytes
        self._reads_at_end = 0

    def read(self, size: int | None = _CHUNK_BYTES) -> bytes:
        """Up to `size` further bytes; None or -1 means all."""
        wanted = self._left + 1 if size is None or size < 0 else min(size, self._left + 1)
        block = super().read(wanted)
        self._left -= len(block)
        if self._left < 0:
            raise ValueError(f'it unpacks to more than {self._max_bytes} bytes')
        self._reads_at_end += not block
        if self._reads_at_end > 100:
            raise EOFError('it promises more than it holds')
        return block

    def drain(self) -> None:
        """Reads to the end, which makes gzip check the CRC."""
        while self.read(_CHUNK_BYTES):
            pass
