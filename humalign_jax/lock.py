"""One process at a time in a folder: a lock that survives a crash and works on network file systems.

The lock is a file, `running.json`, created in one step by a hard link. It names host, process and command, and its
holder touches it every 30 seconds. A lock of a process of this machine that has ended is taken over at once. A lock of
another machine is taken over when it was not touched for 5 minutes; a lock that is touched meanwhile belongs to a
living process. A job that was killed and queued again on another node therefore waits 5 minutes at most.
"""

import contextlib
import dataclasses
import datetime
import errno
import json
import os
import pathlib
import socket
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

import psutil
from absl import logging

NAME = 'running.json'
HEARTBEAT_SECONDS = 30.0
STALE_SECONDS = 300.0  # ten heartbeats, and longer than network file systems cache old times
_LOOK_SECONDS = 2.0  # between two looks at another machine's lock
_SETTLE_SECONDS = 0.5  # after a take-over: of two processes that took over, one then sees that it lost
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)  # file systems without hard links

_held: dict[str, '_Heart'] = {}  # by real path: a study's process may lock a folder twice


class InUseError(ValueError):
    """Another process works in the folder."""


@dataclasses.dataclass(frozen=True)
class _Found:
    """A lock as read from the disk."""

    about: dict[str, Any]  # {} if it cannot be read
    touched: float  # by the clock of the file system


@contextlib.contextmanager
def held(folder: pathlib.Path) -> Iterator[None]:
    """Holds the folder's lock inside the block; waits while it is unknown whether a holder on another machine lives.

    A process that already holds the lock enters the block at once.

    Raises:
        InUseError: Another process works in the folder; the message names host and process.
        OSError: The folder cannot be written.
    """
    key = os.path.realpath(folder)
    if key in _held:
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / NAME
    about = _about_us()
    _acquire(path, about)
    heart = _held[key] = _Heart(path, about['token'])
    try:
        yield
    finally:
        del _held[key]
        heart.stop()


def holder(folder: pathlib.Path) -> tuple[str, bool] | None:
    """Who holds the folder's lock, None if nobody does or the lock counts as left by a dead process.

    Returns:
        The process for a message, and whether it certainly lives; that of another machine may have ended.
    """
    path = folder / NAME
    found = _look(path)
    if found is None or _is_dead_here(found.about):
        return None
    here = _is_here(found.about)
    return None if not here and _is_stale(path, found) else (_who(found.about), here)


def _acquire(path: pathlib.Path, about: dict[str, Any]) -> None:
    took_over, first = False, None
    while not _make(path, about):
        found = _look(path)
        if found is None:
            continue  # removed between creating and reading
        here = _is_here(found.about)
        if _is_dead_here(found.about) or (not here and _is_stale(path, found)):
            logging.warning('%s was left by %s, which no longer runs: taken over.', path, _who(found.about))
            _remove(path, found.about.get('token'))
            took_over = True
            continue
        if here or (first is not None and first.touched != found.touched):
            raise InUseError(_in_use(path, found.about))
        if first is None:
            first = found
            logging.info(
                '%s was left by %s, seen last %.0f s ago: waiting for a sign of life, at most until %.0f s.',
                path, _who(found.about), _file_time(path) - found.touched, STALE_SECONDS,
            )  # fmt: skip
        time.sleep(_LOOK_SECONDS)
    if took_over:
        time.sleep(_SETTLE_SECONDS)
        found = _look(path)
        if found is None or found.about.get('token') != about['token']:
            raise InUseError(_in_use(path, found.about if found else {}))


def _is_stale(path: pathlib.Path, found: _Found) -> bool:
    """Whether a lock was not touched for so long that its holder counts as dead."""
    return _file_time(path) - found.touched > STALE_SECONDS


class _Heart:
    """Touches the lock in a thread, and ends the process if another process has taken the lock over."""

    def __init__(self, path: pathlib.Path, token: str) -> None:
        self._path, self._token = path, token
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name='lock', daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Releases the lock."""
        self._stop.set()
        self._thread.join()
        _remove(self._path, self._token)

    def _beat(self) -> None:
        while not self._stop.wait(HEARTBEAT_SECONDS):
            try:
                found = _look(self._path)
                if found is not None and found.about.get('token') not in (None, self._token):
                    # This process slept for minutes and counted as dead. Files on the disk are whole at every moment.
                    os.write(2, f'error: {_in_use(self._path, found.about)}\n'.encode())
                    os._exit(2)
                os.utime(self._path)
            except OSError:  # a file server that does not answer for a while
                continue


def _about_us() -> dict[str, Any]:
    return {
        'host': socket.gethostname(),
        'pid': os.getpid(),
        'pid_started': _start_of(os.getpid()),
        'machine': _machine(),
        'command': ' '.join(sys.argv)[:500],
        'since': datetime.datetime.now().astimezone().isoformat(timespec='seconds'),
        'token': uuid.uuid4().hex,
    }


def _machine() -> str:
    """Identity of the running system, and of the container if there is one, in which process numbers are valid."""
    boot = ''
    with contextlib.suppress(OSError):
        boot = pathlib.Path('/proc/sys/kernel/random/boot_id').read_text().strip()
    with contextlib.suppress(OSError):
        return f'{boot} {os.readlink("/proc/self/ns/pid")}'
    return boot


def _is_here(about: dict[str, Any]) -> bool:
    """Whether the holder's process number is valid on this machine."""
    return about.get('host') == socket.gethostname() and about.get('machine') == _machine()


def _is_dead_here(about: dict[str, Any]) -> bool:
    """Whether the holder was a process of this machine that has ended, even if another process now has its number."""
    if not _is_here(about):
        return False
    pid, started = about['pid'], _start_of(about['pid'])
    if started is not None:
        return started != about['pid_started']
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:  # another user's process, which this system hides
        return False
    return False


def _start_of(pid: int) -> str | None:
    """Start time of a process, '' if it is a zombie, None if it cannot be seen."""
    with contextlib.suppress(OSError):
        fields = pathlib.Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()
        return '' if fields[0] in 'ZX' else fields[19]  # in ticks since boot: independent of the clock
    try:
        process = psutil.Process(pid)
        return '' if process.status() == psutil.STATUS_ZOMBIE else f'{process.create_time():.0f}'
    except psutil.Error:
        return None


def _make(path: pathlib.Path, about: dict[str, Any]) -> bool:
    """Creates the lock in one step, unless one exists; returns whether it did."""
    content = json.dumps(about, indent=2).encode() + b'\n'
    temporary = path.with_name(f'.{NAME}.{about["token"]}.tmp')
    temporary.write_bytes(content)
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        return _make_without_link(path, content)
    finally:
        temporary.unlink()
    return True


def _make_without_link(path: pathlib.Path, content: bytes) -> bool:
    try:
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    except FileExistsError:
        return False
    with os.fdopen(handle, 'wb') as file:
        file.write(content)
    return True


def _look(path: pathlib.Path) -> _Found | None:
    try:
        touched, content = path.stat().st_mtime, path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        about = json.loads(content)
    except ValueError:  # being written, or damaged
        about = {}
    return _Found(about if isinstance(about, dict) else {}, touched)


def _remove(path: pathlib.Path, token: str | None) -> None:
    """Removes the lock if it is still the one with this token."""
    with contextlib.suppress(OSError):
        found = _look(path)
        if found is not None and found.about.get('token') == token:
            path.unlink()


def _file_time(path: pathlib.Path) -> float:
    """The current time by the clock of the file system, because the clocks of two hosts may differ."""
    probe = path.with_name(f'.{NAME}.{uuid.uuid4().hex}.tmp')
    probe.write_bytes(b'')
    try:
        return probe.stat().st_mtime
    finally:
        probe.unlink()


def _who(about: dict[str, Any]) -> str:
    if not about:
        return 'an unknown process'
    return f'process {about.get("pid")} on {about.get("host")} (since {about.get("since")})'


def _in_use(path: pathlib.Path, about: dict[str, Any]) -> str:
    return (
        f'another process works in {path.parent}: {_who(about)}. Wait until it has ended, or stop it there '
        f'(kill {about.get("pid")}), or choose another --workdir. Only if you know that it is dead, remove {path}.'
    )
