r"""A sweep: runs that differ in a few values, on this machine or as a SLURM array; complete runs are skipped.

    humalign-sweep configs/sweeps/vae_latents.py --workdir=runs/vae_latents [--jobs=4] [--config.data.root=DIR ...]
    humalign-sweep configs/sweeps/vae_latents.py --workdir=runs/vae_latents --submit --parallel=8 \
        --sbatch='--partition=gpu --time=12:00:00'
    humalign-sweep --workdir=runs/vae_latents --list
    humalign-sweep --workdir=runs/vae_latents --scores l1 kl

`python launch/sweep.py` is the same command.

A sweep is a file with a function `get_sweep()` that returns one dict of flags for each point, such as
`{'config': 'configs/vae.py', 'config.model.latent_dim': 16, 'config.seed': 0}`. Each point has a folder in the
workdir, named after its values, so points can be added to the sweep later.

With --jobs=N, N points run at a time, each with a GPU of its own where there are GPUs, and with an equal share of the
CPU cores. Their output, and that of the tasks of an array, is in `output.txt` of each point's folder.

Before anything starts or is queued, the config of every point is read, and its data is looked for.

Exit status: 0 all points are complete (or submitted), 2 a mistake or points that failed (the other points run first),
75 stopped by a signal with everything saved: start again to continue.
"""

import argparse
import os
import pathlib
import re
import shlex
import subprocess
import sys
from collections.abc import MutableMapping, Sequence
from typing import NoReturn

from humalign_jax import main as command_line
from humalign_jax import mistakes, settings, workdir
from humalign_jax.cli import sweep_jobs, sweep_scores
from humalign_jax.cli.sweep_points import (
    Point,
    jobs_of,
    load_sweep,
    numbered,
    points_of,
    read_points,
    state,
    write_points,
)

_SBATCH, _ENVIRONMENT = pathlib.Path('launch/slurm_array.sbatch'), pathlib.Path('launch/env.sh')
_OF_JOBS = ('HUMALIGN_DATA', 'TFDS_DATA_DIR', 'VENV')  # variables of `launch/env.sh` that matter before a job starts


def main() -> None:
    """Carries out the command line; a mistake is one message and status 2."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument('sweep', nargs='?', help='file with get_sweep(), with ":variant" for an argument to it')
    parser.add_argument('--workdir', required=True, type=pathlib.Path, help="the sweep's folder")
    what = parser.add_mutually_exclusive_group()
    what.add_argument('--submit', action='store_true', help='hand the points that are not complete to SLURM')
    what.add_argument('--list', action='store_true', help='points and their states')
    what.add_argument(
        '--scores', nargs='*', metavar='NAME', help='table of scores, NAME or NAME:layer=logits; all go to scores.csv'
    )
    what.add_argument('--run', type=int, metavar='INDEX', help="one point, numbered as in --list: an array task's work")
    parser.add_argument('--jobs', type=int, metavar='N', help='points that run at a time on this machine; default: 1')
    parser.add_argument(
        '--skip-data-check', action='store_true', help='do not look for the data: only the nodes see it'
    )
    parser.add_argument('--parallel', type=int, default=0, help='tasks of the array that may run at once; 0: any')
    parser.add_argument('--sbatch', default='', metavar='OPTIONS', help='further options of sbatch, in one string')
    arguments, shared = parser.parse_known_args()
    try:
        for flag in shared:
            if not re.match(r'--config\.[\w.]+=', flag):
                raise ValueError(f'what is {flag!r}? Settings of all points are written as --config.section.key=value.')
        if arguments.jobs is not None and arguments.jobs < 1:
            raise ValueError(f'--jobs={arguments.jobs}: at least 1 point runs at a time.')
        if arguments.jobs is not None and arguments.submit:
            raise ValueError('--jobs is for points that run here; --parallel limits the tasks of --submit.')
        if arguments.sweep is None and shared:
            raise ValueError(f'{shared[0]} is for points that are read from a sweep: name its file, too.')
        sys.exit(_do(arguments, tuple(shared)))
    except Exception as error:
        if (message := mistakes.message_of(error)) is None:
            raise
        _fail(message)


def _do(arguments: argparse.Namespace, shared: tuple[str, ...]) -> int:
    """Returns the exit status."""
    folder = pathlib.Path(settings.with_home(str(arguments.workdir)))
    if arguments.sweep is None:
        points = known = read_points(folder)
        if arguments.submit or not (arguments.list or arguments.scores is not None or arguments.run is not None):
            raise ValueError('which sweep? Name a file of configs/sweeps/.')
    else:
        points = points_of(load_sweep(settings.with_home(arguments.sweep)), shared)
        known = numbered(folder, points)
    if arguments.list:
        rows = [[str(number), point.name, state(folder / point.name)] for number, point in enumerate(known)]
        print(sweep_scores.table(['', 'point', 'state'], rows))
    elif arguments.scores is not None:
        print(sweep_scores.compare(folder, {p.name: p.flags for p in points}, arguments.scores))
    elif arguments.run is not None:
        if not 0 <= arguments.run < len(known):
            raise ValueError(f'--run={arguments.run}: the points of {folder} are numbered 0 to {len(known) - 1}.')
        _become(folder, known[arguments.run])
    elif arguments.submit:
        _as_the_jobs(os.environ)
        _check_data(folder, points, arguments)
        submit(folder, points, known, parallel=arguments.parallel, options=shlex.split(arguments.sbatch))
    else:
        of_machine = sweep_jobs.shares(arguments.jobs or 1, os.environ)
        _check_data(folder, points, arguments)
        write_points(folder, known)
        return sweep_jobs.run_points(folder, points, of_machine)
    return 0


def _check_data(folder: pathlib.Path, points: Sequence[Point], arguments: argparse.Namespace) -> None:
    """Raises ValueError if data of a point that is not complete is missing: before anything is queued or run."""
    if arguments.skip_data_check:
        return
    from humalign_jax.cli import sweep_data  # here: --list needs no loaders

    for point in points:
        if not workdir.is_complete(folder / point.name):
            try:
                sweep_data.check(command_line.read_config(point.arguments))
            except ValueError as error:
                raise ValueError(f'point {point.name}: {error}\nNothing was started.') from error


def _as_the_jobs(environment: MutableMapping[str, str]) -> None:
    """Sets what `launch/env.sh` says of the data and of Python, as the batch scripts read it."""
    if not _ENVIRONMENT.exists():
        return
    script = f'. {_ENVIRONMENT} >/dev/null 2>&1; for name in "$@"; do printf "%s\\n" "${{!name:-}}"; done'
    told = subprocess.run(['bash', '-c', script, 'bash', *_OF_JOBS], capture_output=True, text=True).stdout
    environment.update({name: value for name, value in zip(_OF_JOBS, told.splitlines()) if value})


def _become(folder: pathlib.Path, point: Point) -> NoReturn:
    """Replaces this process by the run of a point, with its output in the point's folder."""
    with sweep_jobs.open_output(folder / point.name) as output:
        print(f'Point {point.name}: the output is in {output.name}.', flush=True)
        for number in (1, 2):
            os.dup2(output.fileno(), number)
    command = sweep_jobs.command_of(folder, point)
    os.execv(command[0], command)


def submit(
    folder: pathlib.Path, points: Sequence[Point], known: Sequence[Point], *, parallel: int, options: Sequence[str]
) -> None:
    """Submits the points that are neither complete nor queued to SLURM, as one array.

    Raises:
        ValueError: SLURM is missing or refuses the array, or the current folder is not the root of the repository.
    """
    python = pathlib.Path(os.environ.get('VENV', '.venv'), 'bin', 'python')
    if not _SBATCH.exists() or not python.exists():
        raise ValueError(
            f"{_SBATCH} or {python} is not here: start from the repository's root, after `make venv`; "
            f'{_ENVIRONMENT} may set another VENV.'
        )
    queued = {index for job in jobs_of(folder) for index in _queued(job)}
    wanted = {point.name for point in points if not workdir.is_complete(folder / point.name)}
    indexes = [index for index, point in enumerate(known) if point.name in wanted and index not in queued]
    n_queued = sum(known[index].name in wanted for index in queued)
    if not indexes:
        print(f'Nothing to submit: {len(points) - len(wanted)} points are complete, {n_queued} are in the queue.')
        return
    write_points(folder, known)
    array = ','.join(map(str, indexes)) + (f'%{parallel}' if parallel else '')
    log = folder / 'slurm-%A_%a.log'  # of the scheduler; the points write to their own folders
    command = ['sbatch', '--parsable', f'--array={array}', f'--output={log}', *options, str(_SBATCH), str(folder)]
    job = _ask_slurm(command).strip().partition(';')[0]
    write_points(folder, known, [job])
    n_complete = len(points) - len(wanted)
    print(f'Job {job}: {len(indexes)} points; {n_complete} are complete, {n_queued} were in the queue already.')


def _queued(job: str) -> list[int]:
    """Numbers of the array's tasks that wait or run; none if SLURM no longer knows the job."""
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
