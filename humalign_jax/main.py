r"""Command line: reads a config, prepares the run's folder, and hands both to the experiment that the config names.

    python -m humalign_jax.main --config=configs/vae.py --workdir=runs/vae
    python -m humalign_jax.main --config=configs/vae.py:tiny --config.train.epochs=2

Exit status: 0 done (also if it was done before), 2 a mistake in config, data or files (one message, no traceback),
75 stopped by a signal with everything saved: start again to go on. 130 Ctrl-C in work that cannot be cut in two.
"""

import importlib
import logging as python_logging
import os
import pathlib
import re
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

from humalign_jax import progress, settings, storage, workdir

_CONFIG = config_flags.DEFINE_config_file(
    'config', None, 'The study: a file of configs/, with ":tiny" for a small one.'
)
_WORKDIR = flags.DEFINE_string('workdir', None, 'Folder of the run; default: runs/<config name>.')
_MISTAKES = (flags.Error, AttributeError, KeyError, TypeError, ValueError, OSError)
_INTERRUPTED = 130  # what a shell says of a program that Ctrl-C ended
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
    folder = None
    _set_up_logging()
    _cache_compilations()
    try:
        _check_file(sys.argv)
        config = _CONFIG.value
        _check_experiment(config)
        folder = workdir.open_workdir(config, _WORKDIR.value or _default_workdir())
        if workdir.run_once(_run_experiment, config, str(folder)):
            print(f'Done: {folder}')
        else:
            print(f'{folder} is complete: nothing to do. Choose another --workdir to run it again.')
    except (ValueError, OSError) as error:
        _fail(_message(error, folder))
    except KeyboardInterrupt:
        print(f'\nInterrupted. What {folder} holds is whole: start again to go on from it.', file=sys.stderr)
        raise SystemExit(_INTERRUPTED) from None


def read_config(arguments: Sequence[str]) -> ConfigDict:
    """The config that a command line makes, for programs that start several runs.

    Args:
        arguments: Flags of this module, such as ['--config=configs/vae.py:tiny', '--config.seed=1'].

    Raises:
        ValueError: There is no such file, it cannot be read, or it refuses a setting.
    """
    values, argv = flags.FlagValues(), ['', *arguments]
    flag = config_flags.DEFINE_config_file('config', flag_values=values, sys_argv=argv)
    _check_file(argv)
    try:
        values(argv)
    except _MISTAKES as error:
        raise ValueError(_own_words(error)) from error
    _check_experiment(flag.value)
    return flag.value


def _check_file(argv: Sequence[str]) -> None:
    """Raises ValueError if there is no such config file: the flag library goes on until it is asked for the config."""
    path, _ = _given_config(argv)
    if path and not pathlib.Path(path).is_file():
        names = [str(p) for p in sorted(pathlib.Path('configs').glob('*.py'))]
        raise ValueError(f'there is no config file {path!r}.{settings.nearest(path, names)}')


def _check_experiment(config: ConfigDict) -> None:
    name = str(config.get('experiment', ''))
    if name not in experiment_names():
        raise ValueError(f'config.experiment={name!r} is no experiment.{settings.nearest(name, experiment_names())}')


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
    path, variant = _given_config(sys.argv)
    return os.path.join('runs', '-'.join(filter(None, [pathlib.Path(path).stem, variant])))


def _given_config(argv: Sequence[str]) -> tuple[str, str]:
    """File and variant that a command line names, each '' where there is none."""
    given = ''
    for flag, following in zip(argv, [*argv[1:], '']):
        if re.fullmatch(r'--?config', flag):
            given = following
        elif re.match(r'--?config=', flag):
            given = flag.split('=', 1)[1]
    path, _, variant = given.partition(':')
    return path, variant


def _fail(message: str) -> NoReturn:
    """Ends the program with one message and status 2."""
    print(f'error: {message}', file=sys.stderr)
    raise SystemExit(2)


def _parse_flags(argv: list[str]) -> list[str]:
    """Parses the command line; a mistake in it, or in a config file, is one message."""
    try:
        return flags.FLAGS(argv)
    except _MISTAKES as error:
        _fail(_own_words(error))


def _own_words(error: BaseException) -> str:
    """What an error of a command line says, without what was wrapped around it."""
    while isinstance(error, Exception) and error.args:  # errors of a config come wrapped in one another
        error = error.args[0]
    if 'Traceback' not in str(error):
        return ' '.join(str(error).split())
    text = str(error)  # ml_collections puts the config file's own traceback into its message
    last_file = re.findall(r'File "([^"]+)", line (\d+)', text)[-1]
    return f'{text.splitlines()[-1].strip()} ({last_file[0]}, line {last_file[1]})'


if __name__ == '__main__':
    app.run(main, flags_parser=_parse_flags)
