"""The progress line of a loop."""

import io

import numpy as np

from humalign_jax.train import progress_line


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_writes_a_line_every_few_seconds_to_a_log_file():
    clock, stream = Clock(), io.StringIO()
    progress = progress_line.Progress(200, 100, 32, 'train', every_seconds=10, stream=stream, clock=clock)
    for step in range(101, 125):  # one second a step
        clock.now += 1.0
        progress.update(step, {'loss': np.float32(step)} if step % 2 else None)
    progress.close()
    assert stream.getvalue().splitlines() == [
        'train: step 110/200 (55.0%), 32 examples/s, ETA 0:01:30, loss 109',
        'train: step 120/200 (60.0%), 32 examples/s, ETA 0:01:20, loss 119',
        'train: step 124/200 (62.0%), 32 examples/s, ETA 0:01:16, loss 123',
    ]


def test_progress_leaves_the_compilation_of_the_first_step_out_of_the_eta():
    clock, stream = Clock(), io.StringIO()
    progress = progress_line.Progress(3600, 0, 1, 'train', every_seconds=60, stream=stream, clock=clock)
    clock.now += 50.0  # compilation
    for step in range(1, 12):
        progress.update(step)
        clock.now += 1.0
    assert 'step 11/3600 (0.3%)' in stream.getvalue()
    assert 'ETA 0:59:49' in stream.getvalue()


def test_a_first_step_that_compiles_has_no_eta():
    clock, stream = Clock(), io.StringIO()
    progress = progress_line.Progress(3600, 0, 1, 'train', every_seconds=10, stream=stream, clock=clock)
    clock.now += 50.0  # compilation
    progress.update(1, {'loss': 2.0})
    assert stream.getvalue() == 'train: step 1/3600 (0.0%), compiling (once, then cached), loss 2\n'


def test_a_bar_counts_from_the_end_of_compilation():
    clock, stream = Clock(), Terminal()
    progress = progress_line.Progress(10, 0, 8, 'train', stream=stream, clock=clock)
    assert 'compiling (once, then cached)' in stream.getvalue()
    progress._bar.start_t -= 5000.0  # compilation
    progress.update(1)
    clock.now += 1.0
    progress.update(2)
    progress.close()
    assert '2/10 [00:0' in stream.getvalue()  # the time since the first step, not 1:23:20


def test_progress_is_a_bar_on_a_terminal():
    clock, stream = Clock(), Terminal()
    progress = progress_line.Progress(10, 4, 8, 'train', stream=stream, clock=clock)
    for step in range(5, 11):
        clock.now += 1.0
        progress.update(step, {'loss': 0.5})
    progress.close()
    assert '\r' in stream.getvalue()
    assert '10/10' in stream.getvalue()
    assert '8 examples/s, loss 0.5' in stream.getvalue()


def test_a_finished_loop_shows_nothing_more():
    stream = io.StringIO()
    progress_line.Progress(10, 10, 8, 'train', stream=stream).close()
    assert stream.getvalue() == ''
