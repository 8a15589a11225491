"""How the processes of a run agree to stop after the same step."""

import collections
from collections.abc import Sequence

import jax
import numpy as np

from humalign_jax import devices, processes

_AHEAD = 2  # steps between a vote and its count, so that the devices need not wait for the hosts


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
        return len(self._cast) > _AHEAD and int(np.asarray(self._cast.popleft())[0]) > 0
