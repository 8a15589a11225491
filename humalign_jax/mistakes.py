"""Errors that are a user's mistake or a state of the machine, and their messages.

A mistake ends the program with one message and exit status 2. Every other error is a fault of the program and shows its
traceback.
"""

import errno
import os

_NAMES_OF_JAX_ERRORS = ('JaxRuntimeError', 'XlaRuntimeError')  # compared by name, without importing jax


def message_of(error: BaseException) -> str | None:
    """The message for the user; None if the error is a fault of the program.

    Args:
        error: The exception.
    """
    words = str(error).strip()
    if isinstance(error, MemoryError) or _is_out_of_memory(error):
        first = words.splitlines()[0] if words else 'memory ran out'
        return (
            f'not enough memory ({first[:300]}). Use fewer stimuli, images or models at a time, lower '
            'config.data.batch_size where there is one, or give the job more memory.'
        )
    if isinstance(error, FloatingPointError):  # jax_debug_nans, jax_debug_infs: off unless the user asks for them
        setting = next((name for name in ('JAX_DEBUG_NANS', 'JAX_DEBUG_INFS') if os.environ.get(name)), None)
        if setting is None:
            return None
        return (
            f'{setting}={os.environ[setting]} stops at every number that is not finite, also where they are expected, '
            f'such as in undefined distances ({words}). Unset it to go on.'
        )
    if isinstance(error, ModuleNotFoundError) and not (error.name or 'humalign_jax').startswith('humalign_jax'):
        return (
            f"the Python package {error.name!r} is not installed here: pip install 'humalign_jax[all]' installs what "
            'training and reports need; in a checkout, run `make venv` again.'
        )
    if isinstance(error, OSError):
        return _of_the_system(error, words)
    if isinstance(error, ValueError):
        return words or type(error).__name__
    return None


def _is_out_of_memory(error: BaseException) -> bool:
    return type(error).__name__ in _NAMES_OF_JAX_ERRORS and 'RESOURCE_EXHAUSTED' in str(error)


def _of_the_system(error: OSError, words: str) -> str:
    """The system's message without its number, followed by advice where there is any."""
    if error.errno is None or error.strerror is None:
        return words or type(error).__name__
    files = ' -> '.join(str(name) for name in (error.filename, error.filename2) if name is not None)
    what = f'{files}: {error.strerror}' if files else error.strerror
    if error.strerror != os.strerror(error.errno):  # our own message, which already gives advice
        return what
    advice = {
        errno.EACCES: 'You may not read or write there: choose another place, or ask for the rights.',
        errno.EPERM: 'You may not read or write there: choose another place, or ask for the rights.',
        errno.EROFS: 'Nothing can be written there: choose another --workdir.',
        errno.ENOSPC: 'Make space, then start again to go on.',
        errno.EDQUOT: 'Your quota is used up: make space, then start again to go on.',
        errno.ENAMETOOLONG: 'Choose shorter names.',
        errno.EMFILE: 'Raise the number of open files (ulimit -n).',
    }.get(error.errno, '')
    return f'{what}{"." if advice and not what.endswith(".") else ""}{" " if advice else ""}{advice}'
