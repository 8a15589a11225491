r"""The command `humalign doctor`: whether a run can start here, one line for each check.

humalign doctor                                              # the machine and the current folder
humalign doctor philnet --workdir=runs/philnet --config.data.root=DIR    # and the data and space of that run
"""

import contextlib
import os
import pathlib
from collections.abc import Iterator, Sequence

from absl import logging

from humalign_jax import machine, main, mistakes, settings
from humalign_jax.cli import configs
from humalign_jax.machine import FAULT, OK, WARNING, Check

EXIT_CANNOT_START = 2


def examine(config: str, workdir: str, flags: Sequence[str]) -> int:
    """Prints all checks.

    Args:
        config: Name or file of a config; '' for the machine alone.
        workdir: Folder of the run; '' for that of the config, without a config the current folder.
        flags: Settings of the config, such as '--config.data.root=DIR'.

    Returns:
        The exit status: 0 if a run can start, else 2.
    """
    os.environ.setdefault('XLA_PYTHON_CLIENT_PREALLOCATE', 'false')  # the GPU may be at work for another run
    main.set_up_environment()
    checks = []
    with _quiet():
        for check in _checks(config, workdir, flags):
            print(_line(check), flush=True)
            checks.append(check)
    faults, warnings = (sum(check.status == status for check in checks) for status in (FAULT, WARNING))
    if faults:
        print(f'A run cannot start: {faults} fault(s).')
        return EXIT_CANNOT_START
    print('A run can start.' + (f' {warnings} warning(s).' if warnings else ''))
    return 0


def _checks(config: str, workdir: str, flags: Sequence[str]) -> Iterator[Check]:
    devices = machine.check_devices()
    yield devices
    if devices.status == OK:
        yield machine.check_gpu(os.environ)
    yield machine.check_versions()
    yield machine.check_processes(os.environ)
    yield machine.check_time(os.environ)
    folder = pathlib.Path(settings.with_home(workdir) or (_default_folder(config) if config else '.'))
    yield machine.check_writing(folder)
    if not config:
        yield machine.check_space(folder, None)
        yield from _data_root()
        return
    try:
        file = configs.file_of(config)
        read = main.read_config([f'--config={file}', *flags])
        from humalign_jax.wiring import readiness  # here: RSA alone is installed without Flax
    except (ValueError, ModuleNotFoundError) as error:
        yield Check('config', FAULT, mistakes.message_of(error) or str(error))
        return
    yield Check('config', OK, f'{config}: experiment {read.experiment}')
    if devices.status == OK:
        yield from readiness.check_run(read, folder, tiny=config.endswith(':tiny'))


def _data_root() -> Iterator[Check]:
    """The folder with datasets, and of what `humalign fetch` gets whether it is the published one."""
    try:
        from humalign_jax.data import fetch, files
    except ModuleNotFoundError as error:  # RSA alone is installed
        yield Check('data', WARNING, mistakes.message_of(error) or str(error))
        return
    root = files.data_root()
    if not root.is_dir():
        yield Check('data', WARNING, f'{root} does not exist: set HUMALIGN_DATA, or fill it (humalign fetch)')
        return
    yield Check('data', OK, f'{root}; name a config to have its data read')
    for name, dataset in fetch.read_table()[0].items():
        states = {file.path: fetch.state_of(file, root) for file in dataset.files}
        if set(states.values()) == {'absent'}:
            continue
        wrong = [f'{path} {state}' for path, state in states.items() if state != 'verified']
        advice = f' (differs: not the published file; absent: humalign fetch {name})' if wrong else ''
        text = f'{name}: {", ".join(wrong) or "SHA-256 as expected"}{advice}'
        yield Check('data', WARNING if 'differs' in states.values() else OK, text)


def _default_folder(config: str) -> str:
    """As `humalign run` chooses it: runs/<config file>[-<variant>]."""
    path, _, variant = config.partition(':')
    return os.path.join('runs', '-'.join(filter(None, [pathlib.Path(path).stem, variant])))


def _line(check: Check) -> str:
    start = f'{check.status:8} {check.name:10} '
    return start + check.text.replace('\n', '\n' + ' ' * len(start))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without log lines: what they would say is in the checks."""
    before = logging.get_verbosity()
    logging.set_verbosity(logging.FATAL)
    try:
        yield
    finally:
        logging.set_verbosity(before)
