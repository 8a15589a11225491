"""Gets published files into the folder with datasets and verifies them: the only file that reaches for the network.

`downloads.json` lists address, size, SHA-256 and licence of each file. A file is written as `<name>.part`, which a
later call continues, and renamed when its SHA-256 is the expected one. Other content is set aside as `<name>.refused`.
Where no SHA-256 is published, that of the first download is kept in `fetched.json` of the folder, and a later download
must have the same (trust on first use).
"""

import contextlib
import dataclasses
import datetime
import filecmp
import http.client
import os
import pathlib
import re
import shutil
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

from humalign_jax import progress, storage

RECORDS = 'fetched.json'
State = Literal['absent', 'verified', 'unverified', 'differs']

_TABLE = pathlib.Path(__file__).with_name('downloads.json')
_CHUNK_BYTES = 1 << 20
_TIMEOUT_SECONDS = 60.0
_ATTEMPTS = 4  # of which each continues where the one before was cut off
_HEADERS = {'User-Agent': 'humalign_jax', 'Accept-Encoding': 'identity'}


class _CutOffError(Exception):
    """The connection ended before the file did."""


@dataclasses.dataclass(frozen=True)
class Download:
    """A published file.

    Attributes:
        url: Its address.
        path: Where loaders look for it, below the folder with datasets.
        bytes: Its size, None if unknown.
        sha256: Its SHA-256, or the first digits if no more are published; None if none are.
        sum_from: Where the SHA-256 is published.
        unpack: Folder inside the tar archive that is unpacked beside it; None for a file that is read as it is.
    """

    url: str
    path: str
    bytes: int | None
    sha256: str | None
    sum_from: str
    unpack: str | None


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Files that belong together, under one licence.

    Attributes:
        name: Name on the command line.
        what: What it is.
        folder: Folder of third_party/ that describes it.
        licence: Its licence.
        cite: What to cite.
        files: Its files.
    """

    name: str
    what: str
    folder: str
    licence: str
    cite: str
    files: tuple[Download, ...]

    @property
    def n_bytes(self) -> int | None:
        """Size of all files of known size, None if no size is known."""
        return sum(file.bytes or 0 for file in self.files) or None


def read_table(path: storage.PathLike = _TABLE) -> tuple[dict[str, Dataset], dict[str, str]]:
    """What can be fetched, by name; and of what cannot, the reason.

    Args:
        path: A table like `downloads.json`.
    """
    table = storage.read_json(path)
    datasets = {
        name: Dataset(name, **{**entry, 'files': tuple(Download(**file) for file in entry['files'])})
        for name, entry in table['datasets'].items()
    }
    return datasets, table['by_hand']


def state_of(file: Download, root: pathlib.Path) -> State:
    """Whether a file lies in the folder with datasets, and is the published one.

    Returns:
        'verified', 'differs' (another SHA-256), 'unverified' (nothing to compare with) or 'absent'.
    """
    path = root / file.path
    if not path.exists():
        return 'absent'
    expected = _expected(file, root)
    if expected is None:
        return 'unverified'
    return 'verified' if storage.file_digest(path).startswith(expected) else 'differs'


def fetch(dataset: Dataset, file: Download, root: pathlib.Path, *, wait_seconds: float = 1.0) -> str:
    """Gets one file, unless it is there; goes on with a download that was cut off.

    Args:
        dataset: What the file belongs to; its licence is noted in `fetched.json`.
        file: The file.
        root: The folder with datasets; made if it does not exist.
        wait_seconds: Pause before a connection is tried again.

    Returns:
        What was done, for a message.

    Raises:
        ValueError: The address cannot be reached, the content is not the published one, or another file lies there.
        OSError: The folder cannot be written.
    """
    target, state = root / file.path, state_of(file, root)
    if state == 'differs':
        raise ValueError(
            f'{target} is there, but is not the published file (its SHA-256 differs): move it away, then fetch again.'
        )
    if state == 'absent':
        target.parent.mkdir(parents=True, exist_ok=True)
        _check_space(file, target)
        digest = _download(file, target, wait_seconds, _expected(file, root))
        if file.sha256 is None:
            done = f'fetched, no SHA-256 is published; it is {digest}'
        else:
            part = '' if file.sha256 == digest else f'first {len(file.sha256)} digits of '
            done = f'fetched, {part}SHA-256 as published'
    else:
        digest = storage.file_digest(target)
        done = 'already there, SHA-256 as expected' if state == 'verified' else f'already there, SHA-256 {digest} noted'
    _record(dataset, file, root, digest)
    if file.unpack is not None:
        done = f'{done}; {_unpack(target, file.unpack, root)}'
    return done


def _download(file: Download, target: pathlib.Path, wait_seconds: float, expected: str | None) -> str:
    """Downloads to `<name>.part`, verifies, and renames; returns the SHA-256."""
    part = target.with_name(f'{target.name}.part')
    for attempt in range(_ATTEMPTS):
        try:
            _continue(file, part)
            break
        except _CutOffError as error:
            if attempt + 1 == _ATTEMPTS:
                n_bytes = part.stat().st_size if part.exists() else 0
                raise ValueError(
                    f'{file.url}: {error}. {n_bytes} bytes are in {part}. Fetching needs internet, which compute nodes '
                    'rarely have; the same command goes on where it stopped.'
                ) from error
            time.sleep(wait_seconds)
    digest, n_bytes = storage.file_digest(part), part.stat().st_size
    if not digest.startswith(expected or '') or (file.bytes is not None and n_bytes != file.bytes):
        refused = target.with_name(f'{target.name}.refused')
        os.replace(part, refused)
        _forget(part)
        raise ValueError(
            f'{file.url} is not the expected file: {n_bytes} bytes with SHA-256 {digest}, expected '
            f'{file.bytes or "any number of"} bytes with {expected or "any SHA-256"}. It was set aside as {refused}. '
            'Try again; if it stays so, the file was changed at its source'
            + ('.' if expected == file.sha256 else f', and {RECORDS} remembers the first download.')
        )
    os.replace(part, target)
    _forget(part)
    return digest


def _continue(file: Download, part: pathlib.Path) -> None:
    """Appends to the part what it lacks, or writes it from the beginning where it cannot be continued.

    Raises:
        _CutOffError: The connection ended too early.
    """
    about = _about(part) if part.exists() else {}
    start = part.stat().st_size if about.get('url') == file.url and about.get('validator') else 0
    if start and start == about.get('bytes'):
        return
    headers = {**_HEADERS, **({'Range': f'bytes={start}-', 'If-Range': about['validator']} if start else {})}
    with _open(file.url, headers, part) as answer:
        if file.url.startswith('https:') and not answer.url.startswith('https:'):
            raise ValueError(f'{file.url} leads to {answer.url}, which is not encrypted: refused.')
        if file.sha256 is None and 'text/html' in answer.headers.get('Content-Type', ''):
            raise ValueError(f'{answer.url} is a web page in place of {file.path}: log in to the network first.')
        told = re.fullmatch(r'bytes (\d+)-\d+/(\d+)', answer.headers.get('Content-Range', ''))
        if answer.status != 206 or told is None or int(told[1]) != start:
            start, told = 0, None
            if answer.status != 200:
                _forget(part)
                raise _CutOffError(f'it answered {answer.status} to a request for the rest of the file')
        length = answer.headers.get('Content-Length')
        total = int(told[2]) if told else int(length) if length else None
        etag = answer.headers.get('ETag', '')
        validator = etag if etag and not etag.startswith('W/') else answer.headers.get('Last-Modified')
        storage.write_json(_notes(part), {'url': file.url, 'validator': validator, 'bytes': total})
        with open(part, 'ab' if start else 'wb') as out, _shown(part, total) as advance:
            advance(start)
            while chunk := _read(answer):
                out.write(chunk)
                advance(len(chunk))
            out.flush()
            os.fsync(out.fileno())
    n_bytes = part.stat().st_size
    if total is not None and n_bytes < total:
        raise _CutOffError(f'the connection was cut after {n_bytes} of {total} bytes')


def _open(url: str, headers: Mapping[str, str], part: pathlib.Path) -> Any:
    """The server's answer; redirections are followed."""
    try:
        return urllib.request.urlopen(urllib.request.Request(url, headers=dict(headers)), timeout=_TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        error.close()
        said = f'{url} answered {error.code} ({error.reason})'
        if error.code == 416:  # the part is longer than the file is now
            _forget(part)
        elif error.code not in (429, 500, 502, 503, 504):
            raise ValueError(f'{said}; nothing was changed.') from error
        raise _CutOffError(said) from error
    except (OSError, http.client.HTTPException) as error:
        raise _CutOffError(str(getattr(error, 'reason', error))) from error


def _read(answer: Any) -> bytes:
    try:
        return answer.read(_CHUNK_BYTES)
    except (OSError, http.client.HTTPException) as error:
        raise _CutOffError(str(error)) from error


@contextlib.contextmanager
def _shown(part: pathlib.Path, total: int | None) -> Iterator[Callable[[int], None]]:
    """Shows progress in MB; yields a function of the number of further bytes."""
    n_bytes, n_shown = 0, 0
    if total is None:
        yield lambda _: None
        return
    with progress.stage(f'MB of {part.stem}', max(1, total // 1_000_000)) as advance:

        def more(n: int) -> None:
            nonlocal n_bytes, n_shown
            n_bytes += n
            if (now := n_bytes // 1_000_000) > n_shown:
                advance(now - n_shown)
                n_shown = now

        yield more


def _check_space(file: Download, target: pathlib.Path) -> None:
    free = shutil.disk_usage(target.parent).free
    needed = (file.bytes or 0) * (3 if file.unpack else 1)  # the archive, and about twice that unpacked
    if free < needed:
        raise ValueError(
            f'{target.parent} has {free / 1e6:.0f} MB free, but {target.name} needs {needed / 1e6:.0f} MB: make space, '
            'or choose another --root.'
        )


def _unpack(archive: pathlib.Path, name: str, root: pathlib.Path) -> str:
    """Unpacks folder `name` of a tar archive below `root`, whole or not at all; returns what was done.

    Raises:
        ValueError: A member leaves the folder or is no plain file, or another folder of that name is there.
    """
    if not hasattr(tarfile, 'data_filter'):
        raise ValueError('unpacking safely needs Python 3.11.4 or newer; the loader also reads the archive itself.')
    target = root / name
    with tempfile.TemporaryDirectory(prefix='.unpacking-', dir=root) as made:
        try:
            with tarfile.open(archive) as tar:
                tar.extractall(made, filter='data')
        except (tarfile.TarError, EOFError) as error:
            raise ValueError(f'{archive} cannot be unpacked safely ({error}); nothing was changed.') from error
        fresh = pathlib.Path(made, name)
        if not fresh.is_dir():
            raise ValueError(f'{archive} holds no folder {name}: it is another archive.')
        if not target.exists():
            os.rename(fresh, target)
            return f'unpacked to {target}'
        names = [str(path.relative_to(fresh)) for path in fresh.rglob('*') if path.is_file()]
        _, differing, missing = filecmp.cmpfiles(fresh, target, names, shallow=False)
    if wrong := sorted(differing + missing):
        raise ValueError(
            f'{target} is there, but differs from {archive.name} in {", ".join(wrong[:3])}: loaders prefer the folder. '
            'Move it away, then fetch again.'
        )
    return f'{target} is as in the archive'


def _expected(file: Download, root: pathlib.Path) -> str | None:
    """The SHA-256 of a file: that noted at the first download if it begins as the published one, else the latter."""
    noted = _records(root).get(file.path, {}).get('sha256')
    return noted if noted and noted.startswith(file.sha256 or '') else file.sha256


def _records(root: pathlib.Path) -> dict[str, Any]:
    path = root / RECORDS
    return storage.read_json(path) if path.exists() else {}


def _record(dataset: Dataset, file: Download, root: pathlib.Path, digest: str) -> None:
    """Notes a file that lies in the folder: where it came from, its SHA-256 and licence."""
    known: Mapping[str, Any] = _records(root)
    if known.get(file.path, {}).get('sha256') == digest:
        return
    noted = datetime.datetime.now(datetime.UTC).isoformat(timespec='seconds')
    about = {'url': file.url, 'sha256': digest, 'published_sum': file.sha256}
    entry = {**about, 'licence': dataset.licence, 'cite': dataset.cite, 'noted': noted}
    storage.write_json(root / RECORDS, {**known, file.path: entry})


def _notes(part: pathlib.Path) -> pathlib.Path:
    return part.with_name(f'{part.name}.json')


def _about(part: pathlib.Path) -> dict[str, Any]:
    """What is noted of a part, {} if nothing."""
    try:
        return storage.read_json(_notes(part))
    except (OSError, ValueError):
        return {}


def _forget(part: pathlib.Path) -> None:
    for path in (part, _notes(part)):
        path.unlink(missing_ok=True)
