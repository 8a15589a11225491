"""Signals whose handlers raise, such that the exception always arrives.

Python drops an exception that a signal handler raises inside a callback of the garbage collector or a finaliser
('Exception ignored in ...'), and C extensions that are being imported turn it into an ImportError. jax registers such a
callback, so that about one Ctrl-C in five of a run's first second was lost. Here a dropped signal is sent again, and
`asked()` says afterwards what was meant.
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

EXIT_INTERRUPTED = 130  # what a shell says of a program that Ctrl-C ended
_SECONDS_TO_NEXT = 0.02  # before a dropped signal is sent again: the callback has ended by then

Handler = Callable[[int, FrameType | None], None]

_raised: BaseException | None = None  # by the latest handler


def end_at_once() -> None:
    """Makes Ctrl-C end the process with one line and status 130: for the time before there is anything to save."""

    def leave(_number: int, _frame: FrameType | None) -> None:
        os.write(2, b'\nInterrupted.\n')
        os._exit(EXIT_INTERRUPTED)

    if _is_heard(signal.SIGINT):
        signal.signal(signal.SIGINT, leave)


def asked() -> BaseException | None:
    """What a signal's handler raised, whatever became of it; None if none did."""
    return _raised


@contextlib.contextmanager
def ctrl_c() -> Iterator[None]:
    """Inside the block Ctrl-C raises KeyboardInterrupt, and never in vain."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    global _raised
    _raised = None
    with handled((signal.SIGINT,), interrupt):
        yield


@contextlib.contextmanager
def handled(numbers: tuple[signal.Signals, ...], handler: Handler) -> Iterator[None]:
    """Installs a handler, which may raise; the earlier handlers are back when the block ends.

    A signal that the process was told to ignore (by `nohup`, or by a shell that starts it in the background) stays
    ignored. Outside the main thread Python allows no handlers: nothing changes there.

    Args:
        numbers: Signals.
        handler: As for `signal.signal`. If what it raises is dropped, the signal is sent again.
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
