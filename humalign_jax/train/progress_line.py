"""How far a loop is: `Progress`, a bar on a terminal and lines in a log file."""

import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, TextIO

import tqdm

COMPILING = 'compiling (once, then cached)'


class Progress:
    """How far a loop is: a bar on a terminal, a line every few seconds in a log file.

    Args:
        total_steps: Step at which the loop ends.
        first_step: How many steps were done before this process.
        examples_per_step: Batch size over all devices.
        label: What runs, such as 'train'.
        every_seconds: Seconds between two lines.
        stream: Where to write, standard error if None.
        clock: A clock in seconds.
    """

    def __init__(
        self,
        total_steps: int,
        first_step: int,
        examples_per_step: int,
        label: str,
        *,
        every_seconds: float = 10.0,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._total, self._examples_per_step, self._label = total_steps, examples_per_step, label
        self._every_seconds, self._clock = every_seconds, clock
        self._stream = sys.stderr if stream is None else stream
        self._step = self._shown_step = first_step
        self._shown_at = clock()
        self._first: tuple[int, float] | None = None  # step and time of the first update: after compilation
        self._loss: Any = None
        self._bar: tqdm.tqdm | None = None
        if self._stream.isatty():
            self._every_seconds = min(every_seconds, 0.5)
            self._bar = tqdm.tqdm(total=total_steps, initial=first_step, desc=label, unit='step', file=self._stream)
            self._bar.set_postfix_str(COMPILING, refresh=first_step < total_steps)

    def update(self, step: int, metrics: Mapping[str, Any] | None = None) -> None:
        """Notes that `step` steps are done; `metrics['loss']`, if given, is shown with the next line.

        The loss is turned into a number only when it is shown, so that a value still being computed holds up nothing.
        """
        now = self._clock()
        self._step = step
        if self._first is None:
            self._first = (step, now)
            if self._bar is not None:  # its rate, too, begins after compilation
                self._bar.n = self._bar.initial = self._bar.last_print_n = step
                self._bar.start_t = self._bar.last_print_t = time.time()
        self._loss = (metrics or {}).get('loss', self._loss)
        if now - self._shown_at >= self._every_seconds:
            self._show(now)

    def close(self) -> None:
        """Shows the last step, if it was not shown yet, and ends the bar."""
        if self._step != self._shown_step:
            self._show(self._clock())
        if self._bar is not None:
            self._bar.close()

    def _show(self, now: float) -> None:
        rate = (self._step - self._shown_step) / max(now - self._shown_at, 1e-9)
        rate_shown = f'{rate * self._examples_per_step:.0f} examples/s'
        loss = [] if self._loss is None else [f'loss {float(self._loss):.4g}']
        if self._bar is not None:
            self._bar.set_postfix_str(', '.join([rate_shown, *loss]), refresh=False)
            self._bar.update(self._step - self._bar.n)
        else:
            done = f'step {self._step}/{self._total} ({self._step / max(self._total, 1):.1%})'
            compiled = self._first is not None and self._first[0] == self._step
            speed = [COMPILING] if compiled else [rate_shown, f'ETA {self._eta(now, rate)}']
            line = ', '.join([done, *speed, *loss])
            print(f'{self._label}: {line}', file=self._stream, flush=True)
        self._shown_step, self._shown_at = self._step, now

    def _eta(self, now: float, recent_rate: float) -> str:
        """Remaining time at the mean rate since the first update, h:mm:ss."""
        step, at = self._first or (self._step, now)
        rate = (self._step - step) / (now - at) if self._step > step and now > at else recent_rate
        if rate <= 0:
            return '?'
        minutes, seconds = divmod(round((self._total - self._step) / rate), 60)
        return f'{minutes // 60}:{minutes % 60:02d}:{seconds:02d}'
