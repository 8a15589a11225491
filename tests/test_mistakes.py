"""Which errors are told as a mistake, and in which words."""

import errno
import os

import jax
import pytest

from humalign_jax import mistakes


@pytest.mark.parametrize(
    ('error', 'words'),
    [
        (ValueError('as it is'), 'as it is'),
        (MemoryError('Unable to allocate 9 TiB'), 'not enough memory (Unable to allocate 9 TiB)'),
        (jax.errors.JaxRuntimeError('RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes'), 'not enough memory'),
        (OSError(errno.EACCES, os.strerror(errno.EACCES), '/x'), '/x: Permission denied. You may not'),
        (FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), 'a.npy'), 'a.npy: No such file or directory'),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), 'No space left on device. Make space'),
        (OSError(errno.ENOSPC, 'words of ours.', '/x'), '/x: words of ours.'),
        (OSError('Unable to open file (truncated)'), 'Unable to open file (truncated)'),
        (ModuleNotFoundError("No module named 'h5py'", name='h5py'), "the Python package 'h5py' is not installed"),
        (UnicodeDecodeError('utf-8', b'\xff', 0, 1, 'invalid start byte'), "'utf-8' codec can't decode"),
    ],
)
def test_a_mistake_or_the_state_of_the_machine_is_told(error, words):
    assert words in (mistakes.message_of(error) or '')


@pytest.mark.parametrize(
    'error',
    [
        KeyError('a'), TypeError('b'), AttributeError('c'), OverflowError('d'), ZeroDivisionError(), AssertionError(),
        RuntimeError('e'), FloatingPointError('f'), IndexError('g'), jax.errors.JaxRuntimeError('INTERNAL: h'),
        ModuleNotFoundError("No module named 'humalign_jax.x'", name='humalign_jax.x'), ImportError('i'),
    ],
    ids=lambda error: type(error).__name__,
)  # fmt: skip
def test_a_fault_of_the_program_stays_one(error, monkeypatch):
    monkeypatch.delenv('JAX_DEBUG_NANS', raising=False)
    assert mistakes.message_of(error) is None


def test_what_jax_debug_nans_stops_names_that_setting(monkeypatch):
    monkeypatch.setenv('JAX_DEBUG_NANS', '1')
    message = mistakes.message_of(FloatingPointError('invalid value (nan) encountered in jit(f)'))
    assert message is not None and 'JAX_DEBUG_NANS=1' in message and 'Unset it' in message
