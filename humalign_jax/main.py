r"""Command line: reads a config, prepares the run's folder, and hands both to the experiment that the config names.

    python -m humalign_jax.main --config=configs/vae.py --workdir=runs/vae
    python -m humalign_jax.main --config=configs/vae.py:tiny --config.train.epochs=2

Exit status:

    0    the run is complete
    1    a fault of the program, with its traceback
    2    a mistake in config, data or files: one message, no traceback
    75   stopped by a signal with everything saved: start again to continue
    130  Ctrl-C, 143 SIGTERM, 138 SIGUSR1, 129 SIGHUP before this start had saved anything: the same command continues

A terminal shows log lines without time and place; `-v` shows both, and the run's `log.txt` keeps both.
"""

from humalign_jax import interrupts

if __name__ == '__main__':  # before the other imports, in whose first second Ctrl-C may come
    interrupts.end_at_once()

import datetime
import importlib
import os
import pathlib
import re
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

from humalign_jax import allocator, logs, mistakes, processes, progress, ranges, settings, storage, summary, workdir
from humalign_jax.train import signals

_CONFIG = config_flags.DEFINE_config_file(
    'config', None, 'The study: a file of configs/, with ":tiny" for a small one.'
)
_WORKDIR = flags.DEFINE_string('workdir', None, 'Folder of the run; default: runs/<config name>.')
_KEEP_FREED_MEMORY = flags.DEFINE_bool(
    'keep_freed_memory',
    True,
    'Keep freed buffers for the next step: faster training on CPUs, more memory (glibc only).',
)
_COORDINATOR = flags.DEFINE_string(
    'coordinator', '', 'Several processes in one run: address of the first, host:port. Under srun it is found.'
)
_N_PROCESSES = flags.DEFINE_integer(
    'n_processes', 0, 'Several processes in one run: how many; 1: what srun starts are separate runs.'
)
_PROCESS = flags.DEFINE_integer('process', -1, 'Several processes in one run: number of this one, from 0.')
_PAGE = flags.DEFINE_bool('page', False, 'Also write the page of the run: <workdir>/report/report.html.')
_EXPERIMENTS = pathlib.Path(__file__).parent / 'experiments'


def start() -> None:
    """Runs the command line of this process, `sys.argv`, and ends it with one of the statuses above."""
    app.run(main, flags_parser=_parse_flags)


def experiment_names() -> list[str]:
    """Names that `config.experiment` may have: the files of experiments/."""
    return sorted(path.stem for path in _EXPERIMENTS.glob('*.py') if not path.stem.startswith('_'))


def main(argv: list[str]) -> None:
    """Runs the experiment of --config in --workdir."""
    if len(argv) > 1:
        _fail(f'what is {argv[1]!r}? Settings are written as --config.section.key=value.')
    if _CONFIG.value is None:
        _fail('--config is missing: give a file of configs/, such as --config=configs/vae.py:tiny.')
    folder = pathlib.Path(settings.with_home(_WORKDIR.value) or _default_workdir())
    try:
        _run(folder)
    except BaseException as error:
        if processes.count() == 1:
            raise
        if not isinstance(error, SystemExit):
            traceback.print_exc()
        processes.leave(error.code if isinstance(error, SystemExit) and isinstance(error.code, int) else 1)


def _run(folder: pathlib.Path) -> None:
    """Runs the experiment of --config in a folder."""
    ours = False
    with signals.leave_on_signals(lambda name: _say_stopped(name, folder)), interrupts.ctrl_c():
        try:
            logs.set_up(verbose=logging.get_verbosity() > 0)
            set_up_environment()
            if _KEEP_FREED_MEMORY.value:
                allocator.keep_freed_memory()
            config = _checked(_CONFIG.value, sys.argv)
            _join_processes(config)
            _make_tiny_runs(config)
            ours = True
            if workdir.run_once(_run_experiment, config, folder):
                print(f'Done: {folder}')
            else:
                print(f'{folder} is complete: nothing to do. Choose another --workdir to run it again.')
            if processes.is_first():
                if _PAGE.value:
                    _write_page(folder)
                if text := summary.of_run(folder, str(config.experiment)):
                    print(text)
            processes.wait_for_all()
        except KeyboardInterrupt:
            _end_interrupted(folder)
        except Exception as error:
            _end_with(error, folder, ours=ours and not isinstance(error, workdir.RefusedError))


def _join_processes(config: ConfigDict) -> None:
    """Joins the other processes of the run, if flags or `srun` say that there are any; only the first is heard.

    Raises:
        ValueError: The experiment runs in one process. All learn it before they depend on one another.
    """
    place = processes.place_from_flags(_COORDINATOR.value, _N_PROCESSES.value, _PROCESS.value)
    if place is None and _N_PROCESSES.value != 1:
        place = processes.place_in_slurm(os.environ)
    if place is None:
        return
    module = importlib.import_module(f'humalign_jax.experiments.{config.experiment}')
    if not getattr(module, 'OVER_PROCESSES', False) or _n_seeds(config) > 1:
        what = f'{config.experiment} with config.train.n_seeds' if _n_seeds(config) > 1 else config.experiment
        raise ValueError(
            f'{what} runs in one process, not in {place.n_processes}: start it once (one task), and spread seeds or '
            'conditions over nodes with a sweep.'
        )
    processes.start(place)
    if not processes.is_first():
        logging.set_verbosity(logging.WARNING)
        sys.stdout = open(os.devnull, 'w')  # noqa: SIM115  for as long as the process lives


def read_config(arguments: Sequence[str]) -> ConfigDict:
    """The config that a command line describes, for programs that start several runs.

    Args:
        arguments: Flags of this module, such as ['--config=configs/vae.py:tiny', '--config.seed=1'].

    Raises:
        ValueError: The config file does not exist, cannot be read, or refuses a setting.
    """
    values, argv = flags.FlagValues(), ['', *_with_home(arguments)]
    flag = config_flags.DEFINE_config_file('config', flag_values=values, sys_argv=argv)
    try:
        _check_file(argv)
        sys.modules.pop('config_config', None)  # ml_collections reads a second file into the names of the first
        values(argv)
    except Exception as error:  # a config is the user's program: whatever it raises is its mistake
        raise ValueError(_own_words(error, argv)) from error
    return _checked(flag.value, argv)


def _checked(config: ConfigDict, argv: Sequence[str]) -> ConfigDict:
    """The config with paths written out.

    Raises:
        ValueError: The config names no experiment, or a value is not allowed.
    """
    _check_file(argv)  # the flag library goes on without a file until it is asked for the config
    if not isinstance(config, ConfigDict):
        raise ValueError(f'get_config() of {_given_config(argv)[0]} must return a ConfigDict, not {config!r:.80}.')
    name = str(config.get('experiment', ''))
    if name not in experiment_names():
        raise ValueError(f'config.experiment={name!r} is no experiment.{settings.nearest(name, experiment_names())}')
    ranges.check(config)
    return settings.with_home(config)


def _check_file(argv: Sequence[str]) -> None:
    """Raises ValueError if there is no such config file."""
    path, _ = _given_config(argv)
    if path and not pathlib.Path(path).is_file():
        names = [str(p) for p in sorted(pathlib.Path('configs').glob('*.py'))]
        raise ValueError(f'there is no config file {path!r}.{settings.nearest(path, names)}')


def _make_tiny_runs(config: ConfigDict) -> None:
    """Makes the run that a variant `tiny` reads, such as runs/vae-tiny, where it is not begun."""
    path, variant = _given_config(sys.argv)
    for folder in (str(config.get(key, '')) for key in ('run', 'study')):
        found = re.fullmatch(r'runs/(\w+)-tiny', folder)
        if variant != 'tiny' or not found or processes.from_first(workdir.is_begun(pathlib.Path(folder))):
            continue
        first = f'{pathlib.Path(path).parent / found[1]}.py:tiny'
        logging.info('There is no %s yet: running %s.', folder, first)
        workdir.run_once(_run_experiment, read_config([f'--config={first}']), pathlib.Path(folder))


def _run_experiment(config: ConfigDict, folder: str) -> None:
    """Imports and runs the experiment. Imported this late, because a complete run or a wrong config needs no jax."""
    from humalign_jax import devices

    devices.check_gpu_is_used(os.environ)
    for where, value in ranges.leaves(settings.plain(config)):
        if where.endswith('.n_devices'):
            devices.all_devices(value, where=where)
    module = importlib.import_module(f'humalign_jax.experiments.{config.experiment}')
    if not processes.is_first():
        module.run(config, folder)
        return
    with progress.shown(logging.info), logs.kept_in(pathlib.Path(folder)):
        if _n_seeds(config) > 1:
            from humalign_jax.wiring import seeds

            seeds.run(module, config, pathlib.Path(folder))
        else:
            module.run(config, folder)


def _n_seeds(config: ConfigDict) -> int:
    """`config.train.n_seeds`; 1 in configs without it."""
    section = settings.plain(config).get('train')
    return section.get('n_seeds', 1) if isinstance(section, dict) else 1


def _write_page(folder: pathlib.Path) -> pathlib.Path:
    """The page of the run. Imported this late, because most runs draw none."""
    from humalign_jax.report import page

    return page.write_run_page(folder, date=datetime.datetime.now(datetime.UTC).date().isoformat())


def _end_with(error: Exception, folder: pathlib.Path, *, ours: bool) -> NoReturn:
    """Ends the program: a user's mistake with one message, a fault of the program with its traceback.

    The traceback is written into the folder if this run owns the folder (`ours`).
    """
    if lost := processes.message_of(error):
        print(f'error: {lost}', file=sys.stderr)
        raise SystemExit(1) from None
    meant = interrupts.asked()  # a signal, which the code that it fell into turned into another error
    if isinstance(meant, SystemExit):
        raise meant from None
    if meant is not None:
        _end_interrupted(folder)
    kept = _keep_traceback(error, folder) if ours else ''
    message = mistakes.message_of(error)
    if message is None:
        raise error
    _fail(message + kept)


def _say_stopped(name: str, folder: pathlib.Path) -> None:
    logging.info('Stopped by %s. The files in %s are complete: start again to continue.', name, folder)


def _end_interrupted(folder: pathlib.Path) -> NoReturn:
    print(f'\nInterrupted. The files in {folder} are complete: start again to continue.', file=sys.stderr)
    raise SystemExit(interrupts.EXIT_INTERRUPTED) from None


def _keep_traceback(error: Exception, folder: pathlib.Path) -> str:
    """Writes the traceback into the run's folder, if the folder exists; returns a line that says where."""
    if not folder.is_dir():
        return ''
    path = folder / 'error.txt'
    try:
        storage.write_text(path, ''.join(traceback.format_exception(error)))
    except OSError:  # a full disk may be the very error
        return ''
    return f'\n(traceback: {path})'


def set_up_environment() -> None:
    """Keeps compiled programs between runs, and resets variables of a shell or notebook that break a run."""
    cache = os.environ.get('JAX_COMPILATION_CACHE_DIR', '~/.cache/humalign_jax/compiled')
    os.environ['JAX_COMPILATION_CACHE_DIR'] = settings.with_home(cache)
    os.environ.setdefault('JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS', '0.5')
    os.environ['MPLBACKEND'] = 'agg'  # '!python' in a notebook passes its own backend on
    os.environ.pop('JAX_NUMPY_DTYPE_PROMOTION', None)  # optax fails under 'strict'


def _default_workdir() -> str:
    """runs/<config file>[-<variant>]"""
    path, variant = _given_config(sys.argv)
    return os.path.join('runs', '-'.join(filter(None, [pathlib.Path(path).stem, variant])))


def _given_config(argv: Sequence[str]) -> tuple[str, str]:
    """The config file and the variant on a command line, each '' if missing."""
    given = ''
    for flag, following in zip(argv, [*argv[1:], '']):
        if re.fullmatch(r'--?config', flag):
            given = following
        elif re.match(r'--?config=', flag):
            given = flag.split('=', 1)[1]
    path, _, variant = given.partition(':')
    return path, variant


def _with_home(argv: Sequence[str]) -> list[str]:
    """Flags with `~` expanded, which shells do not do after '='."""
    return ['='.join([name, *map(settings.with_home, value)]) for name, *value in (a.split('=', 1) for a in argv)]


def _fail(message: str) -> NoReturn:
    """Ends the program with one message and status 2."""
    print(f'error: {message}', file=sys.stderr)
    raise SystemExit(2)


def _parse_flags(argv: list[str]) -> list[str]:
    """Parses the command line; a mistake in it, or in a config file, is one message."""
    # The flag library reads both lists; its own -v needs a number.
    sys.argv[:] = argv = _with_home([*('--verbosity=1' if flag in ('-v', '--verbose') else flag for flag in argv)])
    try:
        return flags.FLAGS(argv)
    except Exception as error:  # a config is the user's program: whatever it raises is its mistake
        _fail(_own_words(error, argv))


def _own_words(error: BaseException, argv: Sequence[str]) -> str:
    """The message of an error on the command line, without the errors wrapped around it."""
    unknown = _unknown_setting(argv)
    if unknown:
        return unknown
    while error.args and isinstance(error.args[0], Exception):  # errors of a config come wrapped in one another
        error = error.args[0]
    text = str(error)
    if 'Traceback' in text:  # ml_collections puts the config file's own traceback into its message
        last_file = re.findall(r'File "([^"]+)", line (\d+)', text)[-1]
        return f'{text.splitlines()[-1].strip()} ({last_file[0]}, line {last_file[1]})'
    text, (path, _) = ' '.join(text.split()), _given_config(argv)
    if isinstance(error, ValueError | OSError | flags.Error):
        return text
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path]
    return f'{type(error).__name__}: {text} ({path}{f", line {lines[-1]}" if lines else ""})'


def _unknown_setting(argv: Sequence[str]) -> str:
    """The message about the first flag whose key the config lacks; '' if all keys exist."""
    given = [match[1] for match in (re.match(r'--?(?:no)?config\.([^=]+)', flag) for flag in argv) if match]
    alone, values = [flag for flag in argv if not re.match(r'--?(no)?config\.', flag)], flags.FlagValues()
    try:
        flag = config_flags.DEFINE_config_file('config', flag_values=values, sys_argv=alone)
        values(alone, known_only=True)
        config = flag.value
    except Exception:  # the config itself is wrong
        return ''
    for path in given:
        section, where = config, 'config'
        for key in path.split('.'):
            if not isinstance(section, ConfigDict):
                return f'{where} is a single setting: {where}.{key} does not exist.'
            if key not in section:
                return f'{where}.{key} is not a setting of this config.{settings.nearest(key, section.keys())}'
            section, where = section[key], f'{where}.{key}'
        if isinstance(section, ConfigDict):
            return f'{where} is a section: set {", ".join(f"{where}.{key}" for key in section)} one by one.'
    return ''


if __name__ == '__main__':
    start()
