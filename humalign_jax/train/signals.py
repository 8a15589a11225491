"""Stopping on a signal: the handler only notes the name, the training loop saves and leaves.

Orbax's own preemption save does nothing in a process without `jax.distributed`: SIGTERM just kills it.
"""

import collections
import contextlib
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from types import FrameType

import jax
import numpy as np

from humalign_jax import devices, interrupts, processes

EXIT_SAVED = 75
"""Exit status 'saved, start me again to continue'.

75 is EX_TEMPFAIL of sysexits.h: not done, not failed, try again. A SLURM batch script turns it into
`scontrol requeue $SLURM_JOB_ID`.
"""

STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT, signal.SIGHUP)  # SIGHUP: the terminal is gone

_VOTES_AHEAD = 2  # steps between a vote and its count, so that the devices need not wait for the hosts


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


class Votes:
    """Whether any process of the run wants to stop, so that all learn it after the same step.

    Each votes after every step; the votes of a step are counted two steps later, when the devices have them.
    """

    def __init__(self, run_devices: Sequence[jax.Device]) -> None:
        self._here = devices.of_this_process(run_devices)
        self._sum = devices.map_over_devices(lambda vote: jax.lax.psum(vote, devices.AXIS), run_devices)
        self._cast: collections.deque[jax.Array] = collections.deque()

    def cast(self, wants_stop: bool) -> bool:
        """Votes, and says whether any process wanted to stop when the votes counted now were cast."""
        if processes.count() == 1:
            return wants_stop
        self._cast.append(self._sum(np.full(len(self._here), wants_stop, np.int32)))
        return len(self._cast) > _VOTES_AHEAD and int(np.asarray(self._cast.popleft())[0]) > 0


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
