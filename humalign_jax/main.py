r"""Command line: reads a config, prepares the run's folder, and hands both to the experiment that the config names.

    python -m humalign_jax.main --config=configs/vae.py --workdir=runs/vae
    python -m humalign_jax.main --config=configs/vae.py:tiny --config.train.epochs=2

Exit status: 0 done (also if it was done before), 2 a mistake in config, data or files (one message, no traceback),
75 stopped by a signal with everything saved: start again to go on.
"""

import importlib
import logging as python_logging
import os
import pathlib
import re
import sys
import traceback
from typing import NoReturn

from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

from humalign_jax import progress, settings, storage, workdir

_CONFIG = config_flags.DEFINE_config_file(
    'config', None, 'The study: a file of configs/, with ":tiny" for a small one.'
)
_WORKDIR = flags.DEFINE_string('workdir', None, 'Folder of the run; default: runs/<config name>.')
_EXPERIMENTS = pathlib.Path(__file__).parent / 'experiments'


def experiment_names() -> list[str]:
    """Names that `config.experiment` may have: the files of experiments/."""
    return sorted(path.stem for path in _EXPERIMENTS.glob('*.py') if not path.stem.startswith('_'))


def main(argv: list[str]) -> None:
    """Runs the experiment of --config in --workdir."""
    if len(argv) > 1:
        _fail(f'what is {argv[1]!r}? Settings are written as --config.section.key=value.')
    if _CONFIG.value is None:
        _fail('--config is missing: give a file of configs/, such as --config=configs/vae.py:tiny.')
    config, folder = _CONFIG.value, None
    _set_up_logging()
    _cache_compilations()
    try:
        name = config.get('experiment', '')
        if name not in experiment_names():
            raise ValueError(
                f'config.experiment={name!r} is no experiment.{settings.nearest(name, experiment_names())}'
            )
        folder = workdir.open_workdir(config, _WORKDIR.value or _default_workdir())
        if workdir.run_once(_run_experiment, config, str(folder)):
            print(f'Done: {folder}')
        else:
            print(f'{folder} is complete: nothing to do. Choose another --workdir to run it again.')
    except (ValueError, OSError) as error:
        _fail(_message(error, folder))


def _run_experiment(config: ConfigDict, folder: str) -> None:
    """Imports the experiment only now: a complete run, or a mistake in the config, needs no jax."""
    with progress.shown(logging.info):
        importlib.import_module(f'humalign_jax.experiments.{config.experiment}').run(config, folder)


def _message(error: Exception, folder: pathlib.Path | None) -> str:
    """The error's own words, and where its traceback is kept."""
    if folder is None or not folder.is_dir():
        return str(error)
    path = folder / 'error.txt'
    try:
        storage.write_text(path, ''.join(traceback.format_exception(error)))
    except OSError:  # a full disk may be the very error
        return str(error)
    return f'{error}\n(traceback: {path})'


def _set_up_logging() -> None:
    """Shows our own progress and everybody's warnings: libraries report each file they touch."""
    ours = str(pathlib.Path(__file__).parent)

    def is_shown(record: python_logging.LogRecord) -> bool:
        return record.levelno >= python_logging.WARNING or record.pathname.startswith(ours)

    logging.set_verbosity(logging.INFO)
    logging.get_absl_handler().addFilter(is_shown)


def _cache_compilations() -> None:
    """Keeps compiled programs between runs, unless the environment says where or that jax should not."""
    os.environ.setdefault('JAX_COMPILATION_CACHE_DIR', os.path.expanduser('~/.cache/humalign_jax/compiled'))
    os.environ.setdefault('JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS', '0.5')


def _default_workdir() -> str:
    """runs/<config file>[-<variant>]"""
    given = next(a for a in sys.argv if re.match(r'--?config=', a)).split('=', 1)[1]
    path, _, variant = given.partition(':')
    return os.path.join('runs', '-'.join(filter(None, [pathlib.Path(path).stem, variant])))


def _fail(message: str) -> NoReturn:
    """Ends the program with one message and status 2."""
    print(f'error: {message}', file=sys.stderr)
    raise SystemExit(2)


def _parse_flags(argv: list[str]) -> list[str]:
    """Parses the command line; a mistake in it, or in a config file, is one message."""
    try:
        return flags.FLAGS(argv)
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError, OSError) as error:
        inner = error
        while isinstance(inner, Exception) and inner.args:  # errors of a config come wrapped in one another
            inner = inner.args[0]
        text = ' '.join(str(inner).split()) if 'Traceback' not in str(inner) else str(inner)
        if 'Traceback' in text:  # ml_collections puts the config file's own traceback into its message
            last_file = re.findall(r'File "([^"]+)", line (\d+)', text)[-1]
            text = f'{text.splitlines()[-1].strip()} ({last_file[0]}, line {last_file[1]})'
        _fail(text)


if __name__ == '__main__':
    app.run(main, flags_parser=_parse_flags)
