"""Log lines: plain on a terminal, with time and place elsewhere and in a run's `log.txt`."""

import contextlib
import logging as python_logging
import pathlib
import sys
from collections.abc import Iterator

from absl import logging

FILE = 'log.txt'
OUTPUT = 'output.txt'  # what a run without a terminal writes to one
_DETAILS = python_logging.Formatter('%(asctime)s %(levelname)s %(filename)s:%(lineno)d %(message)s')
_OURS = str(pathlib.Path(__file__).parent)


def set_up(*, verbose: bool = False) -> None:
    """Logs this package's progress and the warnings of all packages, but not the progress of libraries.

    Args:
        verbose: Show time and place of every line on a terminal, too.
    """
    logging.set_verbosity(logging.INFO)
    handler = logging.get_absl_handler()
    handler.addFilter(_is_shown)
    if sys.stderr.isatty() and not verbose:
        handler.setFormatter(_Plain())


@contextlib.contextmanager
def kept_in(folder: pathlib.Path) -> Iterator[None]:
    """Adds the lines of this block, with their time and place, to `log.txt` in the folder."""
    try:
        handler = python_logging.FileHandler(folder / FILE, encoding='utf-8')
    except OSError:  # a folder that cannot be written to fails where the reason is told
        yield
        return
    handler.setFormatter(_DETAILS)
    handler.addFilter(_is_shown)
    root = python_logging.getLogger()
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
        handler.close()


def _is_shown(record: python_logging.LogRecord) -> bool:
    return record.levelno >= python_logging.WARNING or record.pathname.startswith(_OURS)


class _Plain(python_logging.Formatter):
    """The message alone, with 'warning:' before warnings."""

    def format(self, record: python_logging.LogRecord) -> str:
        level = f'{record.levelname.lower()}: ' if record.levelno >= python_logging.WARNING else ''
        return level + super().format(record)
