r"""A sweep: runs that differ in a few values, one after the other or as a SLURM array; complete runs are skipped.

    humalign-sweep configs/sweeps/vae_latents.py --workdir=runs/vae_latents [--config.data.root=DIR ...]
    humalign-sweep configs/sweeps/vae_latents.py --workdir=runs/vae_latents --submit --parallel=8 \
        --sbatch='--partition=gpu --time=12:00:00'
    humalign-sweep --workdir=runs/vae_latents --list
    humalign-sweep --workdir=runs/vae_latents --scores l1 kl

`python launch/sweep.py` is the same command.

A sweep is a file with a function `get_sweep()` that returns one dict of flags for each point, such as
`{'config': 'configs/vae.py', 'config.model.latent_dim': 16, 'config.seed': 0}`. Each point has a folder in the
workdir, named after its values, so points can be added to the sweep later.

Exit status: 0 all points are complete (or submitted), 2 a mistake or points that failed (the other points run first),
75 stopped by a signal with everything saved: start again to continue.
"""

import argparse
import os
import pathlib
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Sequence
from typing import NoReturn

from humalign_jax import mistakes, settings, workdir
from humalign_jax.cli import sweep_scores
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
from humalign_jax.train import signals

_SBATCH = pathlib.Path('launch/slurm_array.sbatch')


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
        os.execv(sys.executable, _command(folder, known[arguments.run]))
    elif arguments.submit:
        submit(folder, points, known, parallel=arguments.parallel, options=shlex.split(arguments.sbatch))
    else:
        write_points(folder, known)
        return run_here(folder, points)
    return 0


def _command(folder: pathlib.Path, point: Point) -> list[str]:
    return [sys.executable, '-m', 'humalign_jax.main', *point.arguments, f'--workdir={folder / point.name}']


def run_here(folder: pathlib.Path, points: Sequence[Point]) -> int:
    """Runs the points one after the other; after a failure the next points still run.

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
        if stopped or statuses[point.name] == signals.EXIT_SAVED:
            n_complete = sum(status == 0 for status in statuses.values())
            print(f'Stopped: {n_complete} of {len(points)} points are complete. Start again to go on.')
            return signals.EXIT_SAVED
    failed = [name for name, status in statuses.items() if status]
    print(f'{len(points) - len(failed)} of {len(points)} points are complete: {folder}')
    if failed:
        print(f'error: failed: {", ".join(failed)}; --list says why. Start again to run them again.', file=sys.stderr)
    return 2 if failed else 0


def _run_and_pass_signals(command: Sequence[str], what: str) -> tuple[int, bool]:
    """Runs a command in a separate process group, so that Ctrl-C reaches it once, passed on by this process.

    Args:
        command: The command.
        what: Printed before it starts.

    Returns:
        Its status, and whether a signal asked for a stop: a run that is signalled in its first seconds dies unsaved.
    """
    received: list[signal.Signals] = []
    run = None

    def pass_on(number: signal.Signals) -> None:
        received.append(number)
        if run is not None:
            run.send_signal(number)

    with signals.call_on_signals(pass_on):
        print(what, flush=True)
        run = subprocess.Popen(command, process_group=0)
        for number in received:  # signals that arrived before the process started
            run.send_signal(number)
        return run.wait(), bool(received)


def submit(
    folder: pathlib.Path, points: Sequence[Point], known: Sequence[Point], *, parallel: int, options: Sequence[str]
) -> None:
    """Submits the points that are neither complete nor queued to SLURM, as one array.

    Raises:
        ValueError: SLURM is missing or refuses the array, or the current folder is not the root of the repository.
    """
    if not _SBATCH.exists() or not pathlib.Path('.venv/bin/python').exists():
        raise ValueError(f"{_SBATCH} or .venv is not here: start from the repository's root, after `make venv`.")
    queued = {index for job in jobs_of(folder) for index in _queued(job)}
    wanted = {point.name for point in points if not workdir.is_complete(folder / point.name)}
    indexes = [index for index, point in enumerate(known) if point.name in wanted and index not in queued]
    n_queued = sum(known[index].name in wanted for index in queued)
    if not indexes:
        print(f'Nothing to submit: {len(points) - len(wanted)} points are complete, {n_queued} are in the queue.')
        return
    write_points(folder, known)
    array = ','.join(map(str, indexes)) + (f'%{parallel}' if parallel else '')
    command = ['sbatch', '--parsable', f'--array={array}', *options, str(_SBATCH), str(folder)]
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
