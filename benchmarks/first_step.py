"""Seconds from the start of a sweep's point to its first train step: compiled anew, from the cache, with another seed.

    python benchmarks/first_step.py --rounds 3

Each start is a process of its own, `python -m humalign_jax.main` with a row of metrics for every step. It is stopped
when the first row of metrics.jsonl is there. Imports, data, initialisation and pictures before the first step are
included. In a round each point has a compile cache of its own and three starts; points take turns:

    empty         the cache is empty and is filled
    warm          the same point again, in another folder
    other seed    the same point with another seed

Processor time of the process, which other programs on the machine change less, stands beside the time by the clock, and
the number of programs that the start added to the cache. By default jax keeps those that took half a second to
compile; JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=0 keeps all. Writes benchmarks/results/<name>.json.
"""

import argparse
import datetime
import os
import pathlib
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time

import jax
import psutil

from humalign_jax import storage

ROOT = pathlib.Path(__file__).parents[1]
SYNTHETIC = ('--config.data.name=synthetic', '--config.data.n_validation=500')
POINTS = {
    'vae:tiny': ('--config=configs/vae.py:tiny',),
    'vae': ('--config=configs/vae.py', *SYNTHETIC),
    'philnet': ('--config=configs/philnet.py', *SYNTHETIC),
}
STARTS = {'empty': 0, 'warm': 0, 'other seed': 1}  # seed of each


def start(flags: tuple[str, ...], folder: pathlib.Path, cache: pathlib.Path) -> dict[str, float]:
    """Starts a run, waits for its first row of metrics, and kills it."""
    environment = {**os.environ, 'JAX_PLATFORMS': 'cpu', 'XLA_FLAGS': '', 'JAX_COMPILATION_CACHE_DIR': str(cache)}
    command = [sys.executable, '-m', 'humalign_jax.main', *flags, '--config.train.log_every_steps=1']
    rows = folder / 'metrics.jsonl'
    n_before, begin = n_programs(cache), time.perf_counter()
    with open(folder.with_suffix('.log'), 'wb') as log:
        run = subprocess.Popen([*command, f'--workdir={folder}'], cwd=ROOT, env=environment, stdout=log, stderr=log)
    try:
        while not (rows.exists() and rows.stat().st_size):
            if run.poll() is not None:
                raise SystemExit(f'{" ".join(command)} ended:\n{folder.with_suffix(".log").read_text()[-2000:]}')
            time.sleep(0.02)
        seconds, cpu = time.perf_counter() - begin, psutil.Process(run.pid).cpu_times()
    finally:
        run.kill()
        run.wait()
    n_added = n_programs(cache) - n_before
    return {'seconds': seconds, 'cpu_seconds': cpu.user + cpu.system, 'programs_added': n_added}


def n_programs(cache: pathlib.Path) -> int:
    """Number of compiled programs in a cache."""
    return len(list(cache.glob('*-cache')))


def main() -> None:
    """Measures all starts and writes them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--points', nargs='+', default=list(POINTS), choices=POINTS)
    parser.add_argument('--name', default='first_step', help='of the result')
    parser.add_argument('--output', type=pathlib.Path, default=ROOT / 'benchmarks' / 'results')
    args = parser.parse_args()
    load, found = [os.getloadavg()[0]], {point: {name: [] for name in STARTS} for point in args.points}
    for number in range(args.rounds):
        with tempfile.TemporaryDirectory() as folder:
            for name, seed in STARTS.items():
                for point in args.points:
                    flags, run = (*POINTS[point], f'--config.seed={seed}'), pathlib.Path(folder, f'{point}-{name}')
                    measured = start(flags, run, pathlib.Path(folder, f'cache-{point}'))
                    found[point][name].append(measured)
                    load.append(os.getloadavg()[0])
                    print(number, point, name, measured, f'load {load[-1]:.1f}', flush=True)
        write(args.output / f'{args.name}.json', found, load)  # of the rounds so far


def write(path: pathlib.Path, found: dict[str, dict[str, list[dict[str, float]]]], load: list[float]) -> None:
    """Writes all starts and their medians with the machine they were measured on."""
    keys = ('seconds', 'cpu_seconds', 'programs_added')
    medians = {
        point: {name: {key: statistics.median(one[key] for one in of) for key in keys} for name, of in starts.items()}
        for point, starts in found.items()
    }
    cpuinfo = pathlib.Path('/proc/cpuinfo')
    names = re.findall(r'model name\s*:\s*(.+)', cpuinfo.read_text()) if cpuinfo.exists() else []
    record = {
        'date': datetime.date.today().isoformat(),
        'points': {point: POINTS[point] for point in found},
        'cpu': names[0] if names else platform.processor(),
        'cpu_count': os.cpu_count(),
        'load_average': [min(load), max(load)],
        'nice': os.nice(0),
        'python': platform.python_version(),
        'jax': jax.__version__,
        'medians': medians,
        'starts': found,
    }
    storage.write_json(path, record)
    for point, of in medians.items():
        print(point, {name: f'{one["seconds"]:.1f} s, CPU {one["cpu_seconds"]:.1f} s' for name, one in of.items()})


if __name__ == '__main__':
    main()
