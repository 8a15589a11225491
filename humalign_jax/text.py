"""Text files of users: decoding, and lists with one entry a line."""

import codecs
import gzip
import pathlib
import re
import zlib

from humalign_jax.storage import PathLike

# The longer marks first: that of UTF-16 begins that of UTF-32.
_MARKS = (
    (codecs.BOM_UTF32_LE, 'utf-32'),
    (codecs.BOM_UTF32_BE, 'utf-32'),
    (codecs.BOM_UTF8, 'utf-8-sig'),
    (codecs.BOM_UTF16_LE, 'utf-16'),
    (codecs.BOM_UTF16_BE, 'utf-16'),
)
_MAX_BYTES = 1 << 30  # inflated; a small file can inflate to any size
_LINE_ENDS = re.compile(r'\r\n|\r|\n')  # str.splitlines would also split at characters that names may hold


def read_text(path: PathLike, encoding: str | None = None) -> tuple[str, str]:
    """The text of a file and its encoding.

    Args:
        path: The file, plain or gzip-compressed (`.gz`).
        encoding: Name of the encoding, such as 'latin-1'; None for that of the byte order mark, else UTF-8.

    Raises:
        ValueError: The file does not exist or is of another encoding; the message names the line.
    """
    path = pathlib.Path(path)
    try:
        raw = _inflated(path) if path.suffix == '.gz' else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f'{path} cannot be read: {getattr(error, "strerror", None) or error}.') from error
    if encoding is None:
        encoding = next((name for mark, name in _MARKS if raw.startswith(mark)), 'utf-8')
    try:
        text = raw.decode(encoding)
    except LookupError as error:
        raise ValueError(f'{path}: {encoding!r} is no encoding that Python knows.') from error
    except UnicodeError as error:
        line = raw[: getattr(error, 'start', 0)].count(b'\n') + 1
        raise ValueError(
            f'{path}, line {line}, is not {encoding} text ({getattr(error, "reason", error)}): save the file as UTF-8, '
            "or name its encoding, such as encoding='latin-1'."
        ) from error
    if '\0' in text:
        line = text[: text.index('\0')].count('\n') + 1
        raise ValueError(
            f'{path}, line {line}, holds a zero byte: the file is no {encoding} text. Save it as UTF-8, or name its '
            "encoding, such as encoding='utf-16-le'."
        )
    return text.removeprefix('\ufeff'), encoding


def lines_of(text: str) -> list[str]:
    """Lines of a text with the line ends of Linux, Windows or old Macs."""
    return _LINE_ENDS.split(text)


def read_list(path: PathLike, what: str, encoding: str | None = None) -> list[str]:
    """Entries of a text file, one a line, without blanks around them.

    Lines that begin with # are comments. Blank lines are allowed at the end only: elsewhere an entry may be missing.

    Args:
        path: The file.
        what: Name of an entry in messages, such as 'stimulus id'.
        encoding: See `read_text`.

    Raises:
        ValueError: The file is missing, of another encoding, without entries, or has a blank line between entries.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise ValueError(f'{path} does not exist: it should hold one {what} a line.')
    lines = [line.strip() for line in lines_of(read_text(path, encoding)[0])]
    while lines and not lines[-1]:
        lines.pop()
    if '' in lines:
        raise ValueError(
            f'{path}, line {lines.index("") + 1}, is blank, but each line should hold one {what}: fill it in or '
            'remove it.'
        )
    entries = [line for line in lines if not line.startswith('#')]
    if not entries:
        raise ValueError(f'{path} holds no {what}: it should have one a line (lines that begin with # are comments).')
    return entries


def _inflated(path: pathlib.Path) -> bytes:
    with gzip.open(path) as file:
        raw = file.read(_MAX_BYTES + 1)
    if len(raw) > _MAX_BYTES:
        raise ValueError(f'{path} inflates to more than {_MAX_BYTES} bytes: it is no table.')
    return raw
