"""Signals whose handlers raise: none is lost."""

import gc
import os
import signal
import subprocess
import sys
import time

import pytest

from humalign_jax import interrupts
from humalign_jax.train import signals


def _in_a_callback_of_the_garbage_collector(number):
    """Sends the signal to this process where Python drops exceptions."""
    sent = []

    def callback(phase, info):
        if not sent:
            sent.append(number)
            os.kill(os.getpid(), number)
            time.sleep(0.001)  # the handler runs here

    gc.callbacks.append(callback)
    try:
        gc.collect()
    finally:
        gc.callbacks.remove(callback)
    assert sent


def _wait():
    for _ in range(500):
        time.sleep(0.01)


def test_ctrl_c_in_a_callback_of_the_garbage_collector_is_heard():
    with pytest.raises(KeyboardInterrupt), interrupts.ctrl_c():
        _in_a_callback_of_the_garbage_collector(signal.SIGINT)
        _wait()


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP, signal.SIGINT])
def test_a_stop_signal_whose_handler_raises_is_heard_there_too(number):
    def leave(received):
        raise SystemExit(int(received))

    with pytest.raises(SystemExit) as left, signals.call_on_signals(leave):
        _in_a_callback_of_the_garbage_collector(number)
        _wait()
    assert left.value.code == number


def test_what_was_asked_is_known_when_another_error_arrives_in_its_place():
    with interrupts.ctrl_c():
        assert interrupts.asked() is None
        try:
            os.kill(os.getpid(), signal.SIGINT)
            _wait()
        except KeyboardInterrupt:
            pass  # as an extension does that is being imported
        assert isinstance(interrupts.asked(), KeyboardInterrupt)


def test_a_signal_that_is_ignored_stays_ignored():
    earlier = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with signals.stop_on_signals() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert stop.requested is None
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, earlier)


def test_before_there_is_anything_to_save_ctrl_c_ends_at_once_with_a_line():
    code = (
        'import os, signal, time\nfrom humalign_jax import interrupts\ninterrupts.end_at_once()\n'
        'try:\n    os.kill(os.getpid(), signal.SIGINT)\n    time.sleep(5)\nexcept BaseException:\n    time.sleep(5)\n'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (130, '\nInterrupted.\n')
