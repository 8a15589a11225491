r"""A sweep: runs that differ in a few values, one after the other or as a SLURM array; complete ones are passed over.

    python launch/sweep.py configs/sweeps/vae_latents.py --workdir=runs/vae_latents [--config.data.root=DIR ...]
    python launch/sweep.py configs/sweeps/vae_latents.py --workdir=runs/vae_latents --submit --parallel=8 \
        --sbatch='--partition=gpu --time=12:00:00'
    python launch/sweep.py --workdir=runs/vae_latents --list
    python launch/sweep.py --workdir=runs/vae_latents --scores l1 kl

A sweep is a file with a function `get_sweep()` that returns one dict of flags for each point, such as
`{'config': 'configs/vae.py', 'config.model.latent_dim': 16, 'config.seed': 0}`. Each point has a folder of its own in
the workdir, named after its values, so that points may be added to the sweep later.

Exit status: 0 all points are complete (or submitted), 2 a mistake or points that failed (the others are run first),
75 stopped by a signal with everything saved: start again to go on.
"""

import argparse
import dataclasses
import importlib.util
import os
import pathlib
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Sequence
from types import FrameType
from typing import Any, NoReturn

import sweep_scores

from humalign_jax import main as command_line
from humalign_jax import settings, storage, workdir

_LIST = 'sweep.json'
_EXIT_SAVED = 75
_SBATCH = pathlib.Path('launch/slurm_array.sbatch')


@dataclasses.dataclass(frozen=True)
class Point:
    """One run of a sweep.

    Attributes:
        name: Its folder below the sweep's.
        flags: What the sweep sets, in its order.
        arguments: All flags of `humalign_jax.main` as they are written, but --workdir.
    """

    name: str
    flags: dict[str, Any]
    arguments: tuple[str, ...]


def main() -> None:
    """Does what the command line asks for; a mistake is one message and status 2."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument('sweep', nargs='?', help='file with get_sweep(), with ":variant" for an argument to it')
    parser.add_argument('--workdir', required=True, type=pathlib.Path, help="the sweep's folder")
    what = parser.add_mutually_exclusive_group()
    what.add_argument('--submit', action='store_true', help='hand the points that are not complete to SLURM')
    what.add_argument('--list', action='store_true', help='points and how far they are')
    what.add_argument(
        '--scores', nargs='*', metavar='NAME', help='table of scores, NAME or NAME:layer=logits; all go to scores.csv'
    )
    what.add_argument('--run', type=int, metavar='INDEX', help="one point, numbered as in --list: an array task's work")
    parser.add_argument('--parallel', type=int, default=0, help='tasks of the array that may run at once; 0: any')
    parser.add_argument('--sbatch', default='', metavar='OPTIONS', help='further options of sbatch, in one string')
    arguments, shared = parser.parse_known_args()
    try:
        for flag in shared:
            if not re.match(r'--config\.[\w.]+=', flag):
                raise ValueError(f'what is {flag!r}? Settings of all points are written as --config.section.key=value.')
        if arguments.sweep is None and shared:
            raise ValueError(f'{shared[0]} is for points that are read from a sweep: name its file, too.')
        sys.exit(_do(arguments, tuple(shared)))
    except (ValueError, OSError) as error:
        _fail(str(error))


def _do(arguments: argparse.Namespace, shared: tuple[str, ...]) -> int:
    """Returns the exit status."""
    folder: pathlib.Path = arguments.workdir
    if arguments.sweep is None:
        points = known = read_points(folder)
        if arguments.submit or not (arguments.list or arguments.scores is not None or arguments.run is not None):
            raise ValueError('which sweep? Name a file of configs/sweeps/.')
    else:
        points = points_of(load_sweep(arguments.sweep), shared)
        known = numbered(folder, points)
    if arguments.list:
        rows = [[str(number), point.name, state(folder / point.name)] for number, point in enumerate(known)]
        print(sweep_scores.table(['', 'point', 'state'], rows))
    elif arguments.scores is not None:
        print(sweep_scores.compare(folder, {p.name: p.flags for p in points}, arguments.scores))
    elif arguments.run is not None:
        if not 0 <= arguments.run < len(known):
            raise ValueError(f'--run={arguments.run}: the points of {folder} are numbered 0 to {len(known) - 1}.')
        os.execv(sys.executable, _command(folder, known[arguments.run]))
    elif arguments.submit:
        submit(folder, points, known, parallel=arguments.parallel, options=shlex.split(arguments.sbatch))
    else:
        _write(folder, known)
        return run_here(folder, points)
    return 0


def load_sweep(given: str) -> list[dict[str, Any]]:
    """The points that `get_sweep` of a file returns.

    Args:
        given: Path of the file, with ':variant' where its function takes an argument.

    Raises:
        ValueError: There is no such file, or it does not return a list of dicts of flags.
    """
    path, _, variant = given.partition(':')
    if not pathlib.Path(path).is_file():
        names = [str(p) for p in sorted(pathlib.Path('configs/sweeps').glob('*.py'))]
        raise ValueError(f'there is no sweep {path!r}.{settings.nearest(path, names)}')
    spec = importlib.util.spec_from_file_location('sweep_file', path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        sweep = module.get_sweep(*([variant] if variant else []))
    except ValueError:
        raise
    except Exception as error:
        raise ValueError(f'{given} cannot be read: {type(error).__name__}: {error}') from error
    if not (
        isinstance(sweep, list) and sweep and all(isinstance(flags, dict) and 'config' in flags for flags in sweep)
    ):
        raise ValueError(
            f"get_sweep() of {path} must return a list of dicts, each with 'config', the file that is run."
        )
    return sweep


def points_of(sweep: Sequence[dict[str, Any]], shared: Sequence[str] = ()) -> list[Point]:
    """Named points, each with a config that can be read.

    Args:
        sweep: Flags of each point.
        shared: Flags of all points.

    Raises:
        ValueError: Two points have the same values, a flag is set twice, or a config refuses its settings.
    """
    keys = sorted({key for flags in sweep for key in flags if key != 'config'})
    last = [key.rpartition('.')[2] for key in keys]
    short = {key: part if last.count(part) == 1 else key.removeprefix('config.') for key, part in zip(keys, last)}
    points: dict[str, Point] = {}
    for flags in sweep:
        file, _, variant = str(flags['config']).partition(':')
        parts = [pathlib.Path(file).stem, variant]
        parts += [f'{short[key]}={_plain(value)}' for key, value in flags.items() if key != 'config']
        name = '-'.join(filter(None, parts))
        point = Point(name, flags, (*(f'--{key}={value}' for key, value in flags.items()), *shared))
        if name in points:
            raise ValueError(f'two points of the sweep are called {name}: {points[name].flags} and {flags}.')
        for flag in shared:
            if (key := flag[2:].partition('=')[0]) in flags:
                raise ValueError(f'{key} is set by the sweep, point by point: leave {flag} out.')
        try:
            command_line.read_config(point.arguments)
        except ValueError as error:
            raise ValueError(f'point {name}: {error}') from error
        points[name] = point
    return list(points.values())


def _plain(value: Any) -> str:
    """A value as a folder's name may have it: `(8, 16)` as `8_16`."""
    return re.sub(r'[^\w.+-]+', '_', str(value)).strip('_')


def read_points(folder: pathlib.Path) -> list[Point]:
    """The points that the folder of a sweep knows, by number.

    Raises:
        ValueError: It is no such folder.
    """
    if not (folder / _LIST).exists():
        raise ValueError(f'{folder} is not the folder of a sweep: it has no {_LIST}.')
    rows = storage.read_json(folder / _LIST)['points']
    return [Point(row['name'], row['flags'], tuple(row['arguments'])) for row in rows]


def numbered(folder: pathlib.Path, points: Sequence[Point]) -> list[Point]:
    """The points that the folder knows, then the new ones; a number, once given, stays, because queued tasks go by it.

    Raises:
        ValueError: A point was begun with other settings.
    """
    known = {p.name: p for p in read_points(folder)} if (folder / _LIST).exists() else {}
    for point in points:
        old = known.get(point.name)
        begun = (folder / point.name / 'config.json').exists()
        if begun and old is not None and sorted(old.arguments) != sorted(point.arguments):
            raise ValueError(
                f'{folder / point.name} was begun with {" ".join(old.arguments)}, not with '
                f'{" ".join(point.arguments)}: choose another --workdir, or give the same settings.'
            )
        known[point.name] = point
    return list(known.values())


def _write(folder: pathlib.Path, points: Sequence[Point], new_jobs: Sequence[str] = ()) -> None:
    rows = [{**dataclasses.asdict(p), 'flags': settings.json_like(p.flags)} for p in points]
    storage.write_json(folder / _LIST, {'points': rows, 'jobs': [*_jobs(folder), *new_jobs]})


def _jobs(folder: pathlib.Path) -> list[str]:
    """Arrays that were submitted."""
    return storage.read_json(folder / _LIST)['jobs'] if (folder / _LIST).exists() else []


def state(folder: pathlib.Path) -> str:
    """'complete', 'failed: <why>', 'begun' or 'waiting'."""
    if workdir.is_complete(folder):
        return 'complete'
    error, start = folder / 'error.txt', folder / 'provenance.json'
    if error.exists() and not (start.exists() and start.stat().st_mtime > error.stat().st_mtime):
        return f'failed: {error.read_text().strip().splitlines()[-1]}'
    return 'begun' if (folder / 'config.json').exists() else 'waiting'


def _command(folder: pathlib.Path, point: Point) -> list[str]:
    return [sys.executable, '-m', 'humalign_jax.main', *point.arguments, f'--workdir={folder / point.name}']


def run_here(folder: pathlib.Path, points: Sequence[Point]) -> int:
    """Runs the points one after the other; one that fails does not keep the others from running.

    Returns:
        The exit status.
    """
    statuses = {}
    for number, point in enumerate(points, start=1):
        if workdir.is_complete(folder / point.name):
            statuses[point.name] = 0
            continue
        what = f'Point {number} of {len(points)}: {point.name}'
        statuses[point.name], stopped = _run_and_pass_signals(_command(folder, point), what)
        if stopped or statuses[point.name] == _EXIT_SAVED:
            n_complete = sum(status == 0 for status in statuses.values())
            print(f'Stopped: {n_complete} of {len(points)} points are complete. Start again to go on.')
            return _EXIT_SAVED
    failed = [name for name, status in statuses.items() if status]
    print(f'{len(points) - len(failed)} of {len(points)} points are complete: {folder}')
    if failed:
        print(f'error: failed: {", ".join(failed)}; --list says why. Start again to run them again.', file=sys.stderr)
    return 2 if failed else 0


def _run_and_pass_signals(command: Sequence[str], what: str) -> tuple[int, bool]:
    """Runs a command in a process group of its own, so that Ctrl-C reaches it once, from here.

    Args:
        command: The command.
        what: Printed before it starts.

    Returns:
        Its status, and whether a signal asked for a stop: in its first seconds a run does not hear one, and just dies.
    """
    received, run = [], None

    def pass_on(number: int, _: FrameType | None) -> None:
        received.append(number)
        if run is not None:
            run.send_signal(number)

    earlier = {number: signal.signal(number, pass_on) for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)}
    try:
        print(what, flush=True)
        run = subprocess.Popen(command, process_group=0)
        for number in received:  # those that came before there was anything to pass them on to
            run.send_signal(number)
        return run.wait(), bool(received)
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)


def submit(
    folder: pathlib.Path, points: Sequence[Point], known: Sequence[Point], *, parallel: int, options: Sequence[str]
) -> None:
    """Hands the points that are neither complete nor in the queue to SLURM, as one array.

    Raises:
        ValueError: There is no SLURM here, it refuses the array, or this is not the root of the repository.
    """
    if not _SBATCH.exists() or not pathlib.Path('.venv/bin/python').exists():
        raise ValueError(f"{_SBATCH} or .venv is not here: start from the repository's root, after `make venv`.")
    queued = {index for job in _jobs(folder) for index in _queued(job)}
    wanted = {point.name for point in points if not workdir.is_complete(folder / point.name)}
    indexes = [index for index, point in enumerate(known) if point.name in wanted and index not in queued]
    n_queued = sum(known[index].name in wanted for index in queued)
    if not indexes:
        print(f'Nothing to submit: {len(points) - len(wanted)} points are complete, {n_queued} are in the queue.')
        return
    _write(folder, known)
    array = ','.join(map(str, indexes)) + (f'%{parallel}' if parallel else '')
    command = ['sbatch', '--parsable', f'--array={array}', *options, str(_SBATCH), str(folder)]
    job = _ask_slurm(command).strip().partition(';')[0]
    _write(folder, known, [job])
    n_complete = len(points) - len(wanted)
    print(f'Job {job}: {len(indexes)} points; {n_complete} are complete, {n_queued} were in the queue already.')


def _queued(job: str) -> list[int]:
    """Tasks of an array that wait or run; none of a job that SLURM has forgotten."""
    try:
        text = _ask_slurm(['squeue', '--noheader', '--array', f'--jobs={job}', '--format=%K'])
    except ValueError as error:
        if 'Invalid job id' in str(error):
            return []
        raise
    return [int(line) for line in text.split()]


def _ask_slurm(command: Sequence[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        raise ValueError(f'{command[0]} was not found: no SLURM here. Leave --submit out to run here.') from None
    if done.returncode:
        raise ValueError(f'{shlex.join(command)}: {done.stderr.strip()}')
    return done.stdout


def _fail(message: str) -> NoReturn:
    print(f'error: {message}', file=sys.stderr)
    raise SystemExit(2)


if __name__ == '__main__':
    main()
