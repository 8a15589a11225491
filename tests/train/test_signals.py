"""Stopping on signals."""

import os
import signal
import threading

import pytest

from humalign_jax import interrupts
from humalign_jax.train import signals


@pytest.mark.parametrize('name', ['SIGTERM', 'SIGUSR1', 'SIGINT', 'SIGHUP'])
def test_a_signal_becomes_a_request_with_its_name(name):
    with signals.stop_on_signals() as stop:
        assert stop.requested is None
        os.kill(os.getpid(), getattr(signal, name))
        assert stop.requested == name


def test_the_first_signal_names_the_request():
    with signals.stop_on_signals() as stop:
        for name in (signal.SIGUSR1, signal.SIGTERM, signal.SIGINT):
            os.kill(os.getpid(), name)
        assert stop.requested == 'SIGUSR1'


@pytest.mark.parametrize('before', [None, signal.SIGTERM])
def test_a_second_ctrl_c_interrupts_at_once(before):
    with pytest.raises(KeyboardInterrupt), signals.stop_on_signals() as stop:
        if before is not None:
            os.kill(os.getpid(), before)
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.requested is not None
        os.kill(os.getpid(), signal.SIGINT)


def test_the_earlier_handlers_are_back_afterwards():
    def own(number, frame):
        pass

    earlier = signal.signal(signal.SIGTERM, own)
    try:
        before = [signal.getsignal(number) for number in signals.STOP_SIGNALS]
        with pytest.raises(RuntimeError), signals.stop_on_signals():
            assert signal.getsignal(signal.SIGTERM) is not own
            raise RuntimeError
        assert [signal.getsignal(number) for number in signals.STOP_SIGNALS] == before
        assert signal.getsignal(signal.SIGTERM) is own
    finally:
        signal.signal(signal.SIGTERM, earlier)


def test_outside_the_main_thread_no_request_is_ever_made():
    before = [signal.getsignal(number) for number in signals.STOP_SIGNALS]
    found = []

    def work():
        with signals.stop_on_signals() as stop:
            found.append((stop.requested, [signal.getsignal(number) for number in signals.STOP_SIGNALS]))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [(None, before)]


def test_the_exit_status_is_the_one_that_says_try_again():
    assert signals.EXIT_SAVED == os.EX_TEMPFAIL == 75


def test_after_a_hangup_output_to_the_terminal_goes_nowhere(monkeypatch):
    """A terminal that is gone answers every write with an error, in the midst of saving."""
    master, terminal = os.openpty()
    monkeypatch.setattr(signals.os, 'isatty', lambda number: number == 1)
    kept = os.dup(1)
    os.dup2(terminal, 1)
    try:
        with signals.stop_on_signals() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert stop.requested == 'SIGHUP'
        os.close(master)
        os.write(1, b'saved')
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(terminal)


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGUSR1])
def test_a_process_that_kept_something_for_the_next_start_says_so_when_it_leaves(number):
    said = []
    for keep, code in ((lambda: None, 128 + number), (interrupts.note_kept, 75), (lambda: None, 128 + number)):
        with pytest.raises(SystemExit) as left, signals.leave_on_signals(said.append):
            keep()
            os.kill(os.getpid(), number)
        assert left.value.code == code
    assert said == [number.name] * 3


def test_once_a_process_leaves_another_signal_does_not_disturb_its_last_steps():
    """A batch script passes SLURM's SIGTERM on as SIGUSR1, and the process gets both."""
    said, done = [], []
    with pytest.raises(SystemExit) as left, signals.leave_on_signals(said.append):
        try:
            with signals.leave_on_signals(said.append):
                os.kill(os.getpid(), signal.SIGTERM)
        finally:
            os.kill(os.getpid(), signal.SIGUSR1)
            done.append('released')
    assert (left.value.code, said, done) == (128 + signal.SIGTERM, ['SIGTERM'], ['released'])
