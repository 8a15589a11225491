"""Runs that get a signal in their midst, each as a process of its own.

    python tests/signal_in_phase.py PHASE NUMBER FLAG ...    # one run
    python tests/signal_in_phase.py                          # many, forked from a process that has imported everything

The second reads lines `[phase, number, log, flags]` of JSON and answers each with the exit code. A process sends itself
the signal when it first enters the phase, from the thread that works there; no phase, no signal.
"""

import importlib
import json
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any

# Where a phase is entered: module, class or '', function, and which of its calls are meant.
_PLACES: dict[str, tuple[str, str, str, Callable[..., bool]]] = {
    'train': (
        'humalign_jax.train.metrics',
        'MetricRows',
        'append',
        lambda *given: given[3] == 'train',
    ),
    'evaluate': ('humalign_jax.train.loop', 'Loop', '_measure', lambda *_: True),
    'save': ('orbax.checkpoint', 'Checkpointer', 'save', lambda *_, **__: True),
    'test': ('humalign_jax.wiring.classifiers', '', 'write_scores', lambda *_, **__: True),
    'extract': ('humalign_jax.wiring.layer_writer', 'LayerWriter', 'write', lambda *_: True),
    'RDM': ('humalign_jax.rsa', '', 'rdm', lambda *_, **__: True),
    'inference': ('humalign_jax.rsa', '', 'infer', lambda *_, **__: True),
}


def _send(number: int) -> None:
    global _sent
    if not _sent:
        _sent = True
        os.kill(os.getpid(), number)


_sent = False


class _AtImport:
    """Sends the signal when jax begins to be imported, in the first second of a run."""

    def __init__(self, number: int) -> None:
        self._number = number

    def find_spec(self, name: str, *_: Any) -> None:
        if name == 'jax':
            _send(self._number)


def _at_compilation(number: int) -> None:
    """Sends the signal when the train step is traced, which is the first part of its compilation."""
    from humalign_jax.train import loop

    make = loop.make_train_step

    def make_signalling(*arguments: Any, **options: Any) -> Callable[..., Any]:
        step = make(*arguments, **options)

        def traced(*values: Any) -> Any:
            _send(number)
            return step(*values)

        return traced

    loop.make_train_step = make_signalling


def _at_call(number: int, module: str, owner: str, name: str, is_meant: Callable[..., bool]) -> None:
    place = importlib.import_module(module)
    place = getattr(place, owner) if owner else place
    original = getattr(place, name)

    def first(*arguments: Any, **options: Any) -> Any:
        if is_meant(*arguments, **options):
            _send(number)
        return original(*arguments, **options)

    setattr(place, name, first)


def run(phase: str, number: int, flags: Sequence[str]) -> None:
    """Runs `python -m humalign_jax.main` with these flags."""
    if phase == 'start':
        sys.meta_path.insert(0, _AtImport(number))
    elif phase == 'compile':
        _at_compilation(number)
    elif phase:
        _at_call(number, *_PLACES[phase])
    from humalign_jax import main as program

    sys.argv[1:] = flags
    program.start()


def serve() -> None:
    """Answers the lines of standard input; the imports are shared, devices are set up in each run."""
    for name in ('train_classifier', 'extract', 'rsa'):
        importlib.import_module(f'humalign_jax.experiments.{name}')
    for line in sys.stdin:
        phase, number, log, flags = json.loads(line)
        child = os.fork()
        if not child:
            os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
            os.dup2(2, 1)
            _run_and_exit(phase, number, flags)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def _run_and_exit(phase: str, number: int, flags: Sequence[str]) -> None:
    try:
        run(phase, number, flags)
        code = 0
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else int(left.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    os._exit(code)


if __name__ == '__main__':
    if sys.argv[1:]:
        run(sys.argv[1], int(sys.argv[2]), sys.argv[3:])
    else:
        serve()
