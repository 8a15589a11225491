"""Stopping on a signal: the handler only notes the name, the training loop saves and leaves.

Orbax's own preemption save does nothing in a process without `jax.distributed`: SIGTERM just kills it.
"""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from types import FrameType

from humalign_jax import interrupts

EXIT_SAVED = 75
"""Exit status 'saved, start me again to continue'.

75 is EX_TEMPFAIL of sysexits.h: not done, not failed, try again. A SLURM batch script turns it into
`scontrol requeue $SLURM_JOB_ID`.
"""

STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT, signal.SIGHUP)  # SIGHUP: the terminal is gone

_leaving: signal.Signals | None = None  # the signal that ends this process
_n_blocks = 0  # of `leave_on_signals`, one in the other


class StopRequest:
    """Whether somebody asked the run to stop.

    Attributes:
        requested: Name of the first signal that came, such as 'SIGTERM'; None as long as none has.
    """

    def __init__(self) -> None:
        self.requested: str | None = None
        self._interrupted = False

    def _note(self, number: int, _: FrameType | None) -> None:
        # Nothing that takes long: the handler runs between any two instructions of the main thread.
        if number == signal.SIGINT:
            if self._interrupted:
                raise KeyboardInterrupt
            self._interrupted = True
        self.requested = self.requested or signal.Signals(number).name


@contextlib.contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Turns SIGTERM, SIGUSR1, SIGHUP and Ctrl-C into a request that the loop reads between two steps.

    A second Ctrl-C raises KeyboardInterrupt at once. SIGHUP means nothing under `nohup`. Outside the main thread Python
    allows no handlers: the request is then never made. The earlier handlers are back when the block ends.

    Yields:
        The request.
    """
    request = StopRequest()
    with _handled_by(request._note):
        yield request


@contextlib.contextmanager
def call_on_signals(handler: Callable[[signal.Signals], None]) -> Iterator[None]:
    """Calls `handler` as soon as a stop signal comes: for work whose files are whole at every moment, and launchers.

    Inside it `stop_on_signals` has the signals to itself. Outside the main thread nothing changes.

    Args:
        handler: Runs in the main thread, between any two of its instructions, and may raise.
    """
    with _handled_by(lambda number, _: handler(signal.Signals(number))):
        yield


@contextlib.contextmanager
def leave_on_signals(say: Callable[[str], None]) -> Iterator[None]:
    """Ends the process on a stop signal: for work whose files are whole at every moment.

    SLURM's SIGTERM and the batch script's SIGUSR1 may both arrive. The first decides; the other is ignored.

    Args:
        say: Called with the name of the signal.

    Raises:
        SystemExit: A signal came. The code is `EXIT_SAVED` if this block has kept something for the next start
            (`interrupts.note_kept`), else 128 + the signal: work that is longer than a job's time must not be queued
            again for ever.
    """
    global _leaving, _n_blocks
    before = interrupts.n_kept()

    def leave(received: signal.Signals) -> None:
        global _leaving
        if _leaving not in (None, received):
            return
        _leaving = received
        say(received.name)
        raise SystemExit(EXIT_SAVED if interrupts.n_kept() > before else 128 + received)

    _n_blocks += 1
    try:
        with call_on_signals(leave):
            yield
    finally:
        _n_blocks -= 1
        if not _n_blocks:
            _leaving = None


@contextlib.contextmanager
def _handled_by(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Installs the handler for all stop signals; the earlier ones are back when the block ends."""
    terminals = [number for number in (1, 2) if os.isatty(number)]

    def call(number: int, frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            _write_nowhere(terminals)
        handler(number, frame)

    with interrupts.handled(STOP_SIGNALS, call):
        yield


def _write_nowhere(terminals: list[int]) -> None:
    """Turns output to a terminal that is gone into no output: it would be an error in the midst of saving."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for number in terminals:
        os.dup2(nowhere, number)
    os.close(nowhere)
