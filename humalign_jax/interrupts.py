"""Signal handlers that raise, so that the exception always arrives.

Python drops an exception that a signal handler raises inside a callback of the garbage collector or a finaliser
('Exception ignored in ...'), and C extensions turn it into an ImportError while they are imported. jax registers such a
callback. Here a dropped signal is sent again, and `asked()` returns the exception that was meant.
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

EXIT_INTERRUPTED = 130  # the status that shells use for Ctrl-C
_SECONDS_TO_NEXT = 0.02  # before a dropped signal is sent again: the callback has ended by then

Handler = Callable[[int, FrameType | None], None]

_raised: BaseException | None = None  # by the latest handler
_n_kept = 0


def end_at_once() -> None:
    """Makes Ctrl-C end the process with one line and status 130, for the time before anything can be saved."""

    def leave(_number: int, _frame: FrameType | None) -> None:
        os.write(2, b'\nInterrupted.\n')
        os._exit(EXIT_INTERRUPTED)

    if _is_heard(signal.SIGINT):
        signal.signal(signal.SIGINT, leave)


def note_kept() -> None:
    """Notes that this process has left something on the disk from which the same command goes on."""
    global _n_kept
    _n_kept += 1


def n_kept() -> int:
    """How often this process has noted that."""
    return _n_kept


def asked() -> BaseException | None:
    """The exception of the latest signal handler, even if it was dropped or replaced; None if no handler raised."""
    return _raised


@contextlib.contextmanager
def ctrl_c() -> Iterator[None]:
    """Inside the block Ctrl-C raises a KeyboardInterrupt that always arrives."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    global _raised
    _raised = None
    with handled((signal.SIGINT,), interrupt):
        yield


@contextlib.contextmanager
def handled(numbers: tuple[signal.Signals, ...], handler: Handler) -> Iterator[None]:
    """Installs a handler, which may raise, and restores the earlier handlers when the block ends.

    A signal that the process ignores (because of `nohup`, or a shell that started it in the background) stays ignored.
    Outside the main thread, where Python allows no handlers, nothing changes.

    Args:
        numbers: Signals.
        handler: As for `signal.signal`. If Python drops its exception, the signal is sent again.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    sent: list[tuple[int, BaseException]] = []

    def call(number: int, frame: FrameType | None) -> None:
        global _raised
        try:
            handler(number, frame)
        except BaseException as error:
            sent[:] = [(number, error)]
            _raised = error
            raise

    def on_dropped(dropped: Any) -> None:
        if sent and dropped.exc_value is sent[0][1]:
            timer = threading.Timer(_SECONDS_TO_NEXT, os.kill, (os.getpid(), sent[0][0]))
            timer.daemon = True
            timer.start()
        else:
            hook_before(dropped)

    earlier, hook_before = {}, sys.unraisablehook
    try:
        sys.unraisablehook = on_dropped
        for number in numbers:
            if _is_heard(number):
                earlier[number] = signal.signal(number, call)
        yield
    finally:
        for number, before in earlier.items():
            # None: the handler was not installed from Python, and Python cannot put it back.
            signal.signal(number, signal.SIG_DFL if before is None else before)
        sys.unraisablehook = hook_before


def _is_heard(number: signal.Signals) -> bool:
    return signal.getsignal(number) is not signal.SIG_IGN
