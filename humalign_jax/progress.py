"""Progress of long work: functions report it with `steps` or `stage`, and `shown` displays it.

Inside `shown`, a terminal or notebook shows bars, and a log shows lines. Outside `shown` nothing is displayed, and
reporting costs almost nothing. `main` uses `shown`; a script or notebook may use it too.
"""

import contextlib
import contextvars
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from absl import logging
from tqdm import tqdm

SILENT_SECONDS = 2.0  # shorter work shows nothing
SECONDS_BETWEEN_LINES = 10.0

Item = TypeVar('Item')
Advance = Callable[..., None]

_say: contextvars.ContextVar[Callable[[str], None] | None] = contextvars.ContextVar('progress', default=None)


def to_stderr(line: str) -> None:
    """A line on standard error, which notebooks show."""
    print(line, file=sys.stderr, flush=True)


@contextlib.contextmanager
def shown(say: Callable[[str], None] = to_stderr) -> Iterator[None]:
    """Displays the progress and the remaining time of all work in this block that takes longer than 2 s.

    Args:
        say: Called with each line where there are no bars; `logging.info`, say.
    """
    token = _say.set(say)
    try:
        yield
    finally:
        _say.reset(token)


@contextlib.contextmanager
def stage(what: str, total: int) -> Iterator[Advance]:
    """Work of `total` steps.

    Args:
        what: Name of the steps, a plural.
        total: Number of steps.

    Yields:
        `advance(n=1)`: reports n more steps as done. Any thread may call it.
    """
    say = _say.get()
    if say is None:
        yield silent
        return
    with contextlib.ExitStack() as stack:
        if _has_bars():  # that appear after a while and go when the work is done
            update = stack.enter_context(_bar(total=total, desc=what, delay=SILENT_SECONDS, leave=False)).update
        else:
            update = _Lines(what, total, say).update
        lock = threading.Lock()

        def advance(n: int = 1) -> None:
            with lock:
                update(n)

        yield advance


def steps(items: Iterable[Item], what: str, total: int | None = None) -> Iterator[Item]:
    """The items; each counts as done when the next one is taken.

    Args:
        items: The items.
        what: Name of the items, a plural.
        total: Number of items, if it is not the length of `items`.
    """
    with stage(what, len(items) if total is None else total) as advance:  # type: ignore[arg-type]
        for item in items:
            yield item
            advance()


def each(items: Iterable[Item], what: str, name: Callable[[Item], str] | None = None) -> Iterator[Item]:
    """The few items of an experiment, with a bar where there are bars, otherwise one line in the log as each begins.

    Args:
        items: The items.
        what: Name of the work in the line.
        name: Gives the name of an item in the line.
    """
    items, started = list(items), time.monotonic()
    if _has_bars():
        yield from _bar(items, desc=what)
        return
    for i, item in enumerate(items, start=1):
        passed = time.monotonic() - started
        called = f' ({name(item)})' if name else ''
        left = f', {passed:.0f} s so far, about {passed / (i - 1) * (len(items) - i + 1):.0f} s left' if i > 1 else ''
        logging.info('%s: %d of %d%s%s', what, i, len(items), called, left)
        yield item


def silent(n: int = 1) -> None:
    """The `advance` of work that nobody watches."""


def _has_bars() -> bool:
    return sys.stderr.isatty() or _in_notebook()


def _in_notebook() -> bool:
    return 'ipykernel' in sys.modules


def _bar(*args: Any, **options: Any) -> Any:
    """A bar of tqdm's kind for this place; in a notebook a widget, where it can show one."""
    if _in_notebook():
        from tqdm import auto  # imported where it is needed: it looks for widgets

        return auto.tqdm(*args, **options)
    return tqdm(*args, **options)


class _Lines:
    """A line after a while, and then every few seconds. The first steps may compile, and are left out of the rate."""

    def __init__(self, what: str, total: int, say: Callable[[str], None]) -> None:
        self._what, self._total, self._say, self._done = what, total, say, 0
        self._started = time.monotonic()
        self._next = self._started + SILENT_SECONDS
        self._first: tuple[int, float] | None = None  # steps done at the first update, and when

    def update(self, n: int) -> None:
        self._done += n
        now = time.monotonic()
        done, at = self._first = self._first or (self._done, now)
        if now < self._next or self._done >= self._total:
            return
        self._next = now + SECONDS_BETWEEN_LINES
        left = ''
        if self._done > done:
            left = f', about {(now - at) / (self._done - done) * (self._total - self._done):.0f} s left'
        self._say(f'{self._what}: {self._done} of {self._total}, {now - self._started:.0f} s so far{left}')
