"""Everything that only a GPU can say, in one command of at most nine minutes: is it right, and how fast is it.

    python benchmarks/gpu.py                            # on a machine with one GPU
    python benchmarks/gpu.py --budget 180               # the parts are in order of importance: what fits
    python benchmarks/gpu.py --parts environment rsa    # some of them
    python benchmarks/gpu.py --size                     # does the tree, data included, fit into 64 MiB?
    python benchmarks/gpu.py --tiny                     # every part at tiny sizes on two fake CPU devices, two minutes

Needs no network. `--data` is a folder (default: gpu_data/ in the root of the repository) where all of these may lie:

    train_jpeg_0.npz, train_jpeg_1.npz, test_jpeg.npz    CIFAR-10 as JPEG packs, here or in cifar10/
    cifar-10-batches-bin/ or another published form      instead of the packs
    wheels/*.whl                                         packages that the machine lacks: installed for this run alone
    jax_cache/                                           compiled programs of an earlier run

A part is a process of its own with a limit; when it is over the limit it is stopped and the next one starts. A part
writes each row as soon as it is measured, so that a stopped part keeps its rows. Results: <out>/gpu.json, rewritten
after every change, and a table, <out>/gpu.md. Exit status: 0 if all parts are done and all checks hold, else 1; 2 if
something is missing on the machine.
"""

import argparse
import dataclasses
import importlib
import importlib.util
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent
TREE_MIB = 64
TINY_SECONDS = 300  # limit of a tiny part, for a machine that has other work
TINY_FLAGS = '--xla_force_host_platform_device_count=2 --xla_backend_optimization_level=0'  # quick to compile
# Import names of what the parts use beyond the standard library.
NEEDED = ('absl', 'clu', 'flax', 'jax', 'ml_collections', 'numpy', 'optax', 'orbax', 'PIL', 'scipy', 'sklearn')
NEEDED += ('h5py', 'jinja2', 'matplotlib', 'psutil', 'tensorboard', 'tqdm')


@dataclasses.dataclass(frozen=True)
class Part:
    """A part of the run: `run(setting)` of the function `name` in gpu_parts/<module>.py."""

    name: str
    module: str
    limit_seconds: float


PARTS = (  # the cheapest and most important first
    Part('environment', 'checks', 40),
    Part('correctness', 'checks', 100),
    Part('rsa', 'analysis', 110),
    Part('data', 'images', 40),
    Part('fast', 'training', 60),
    Part('throughput', 'training', 130),
    Part('infer', 'analysis', 40),
    Part('philnet', 'training', 110),
    Part('resnet18', 'training', 90),
)


def main() -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--parts', nargs='+', choices=[part.name for part in PARTS], default=None)
    parser.add_argument('--budget', type=float, default=530, help='seconds for all parts together')
    parser.add_argument('--data', type=pathlib.Path, default=ROOT / 'gpu_data')
    parser.add_argument('--out', type=pathlib.Path, default=HERE / 'results', help='where gpu.json and gpu.md go')
    parser.add_argument('--work', type=pathlib.Path, default=None, help='folder for runs and logs; default: temporary')
    parser.add_argument('--tiny', action='store_true')
    parser.add_argument('--size', action='store_true', help='print the size of the tree and stop')
    parser.add_argument('--inside', default='', help=argparse.SUPPRESS)  # the part that this process is
    arguments = parser.parse_args()
    if arguments.inside:
        return run_part(arguments)
    if arguments.size:
        return print_size(arguments.data)
    work = arguments.work or pathlib.Path(tempfile.mkdtemp(prefix='gpu-'))
    try:
        return run_parts(arguments, work)
    finally:
        if arguments.work is None:
            shutil.rmtree(work, ignore_errors=True)


def run_parts(arguments: argparse.Namespace, work: pathlib.Path) -> int:
    """All parts in turn; returns the exit status."""
    start = time.monotonic()
    work.mkdir(parents=True, exist_ok=True)
    arguments.out.mkdir(parents=True, exist_ok=True)
    environment = make_environment(arguments, work)
    missing = still_missing(environment)
    if missing:
        print(
            f'error: {sys.executable} cannot import {", ".join(missing)}. Install them, or put wheels of them and of '
            f'what they need into {arguments.data / "wheels"}.'
        )
        return 2
    wanted = [part for part in PARTS if arguments.parts is None or part.name in arguments.parts]
    results: dict[str, dict] = {}
    for part in wanted:
        left = arguments.budget - (time.monotonic() - start)
        limit = TINY_SECONDS if arguments.tiny else min(part.limit_seconds, left)
        if limit < 3:
            results[part.name] = {'status': 'no time left', 'seconds': 0.0, 'rows': []}
        else:
            follow_part(part, limit, arguments, work, environment, results)
        write_results(arguments, results, time.monotonic() - start)
        if any(row.get('fatal') for row in results[part.name]['rows']):
            print(f'error: {results[part.name]["rows"][-1]["what"]}')
            return 2
    print('\n' + table(results))
    complete = all(result['status'] in ('done', 'skipped') for result in results.values())
    correct = all(row.get('passed', True) for result in results.values() for row in result['rows'])
    return 0 if complete and correct else 1


def follow_part(part, limit, arguments, work, environment, results) -> None:
    """Runs one part in a process of its own until it ends or its limit is over; keeps what it has written."""
    result_file, log_file = work / f'{part.name}.json', work / f'{part.name}.log'
    result_file.unlink(missing_ok=True)
    command = [sys.executable, __file__, '--inside', part.name, '--work', work, '--data', arguments.data]
    command += ['--budget', str(limit)] + ['--tiny'] * arguments.tiny
    print(f'{part.name}: at most {limit:.0f} s', flush=True)
    start, cpu = time.monotonic(), _cpu_seconds()
    result = results[part.name] = {'status': 'running', 'seconds': 0.0, 'limit_seconds': round(limit), 'rows': []}
    with log_file.open('wb') as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, cwd=ROOT, start_new_session=True)
        try:
            while process.poll() is None and time.monotonic() - start < limit:
                time.sleep(0.2)
                if read_rows(result_file, result):
                    write_results(arguments, results, 0.0)
        finally:
            stopped = process.poll() is None
            if stopped:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    read_rows(result_file, result)
    result['seconds'] = round(time.monotonic() - start, 1)
    result['cpu_seconds'] = round(_cpu_seconds() - cpu, 1)
    if stopped:
        result['status'] = f'stopped after {limit:.0f} s'
    elif process.returncode:
        lines = log_file.read_text(errors='replace').strip().splitlines()
        result['status'], result['log'] = f'failed: {(lines or ["no output"])[-1][:300]}', lines[-30:]
    else:
        result['status'] = 'skipped' if result['rows'] and all('skipped' in row for row in result['rows']) else 'done'
    print(f'{part.name}: {result["status"]}, {result["seconds"]} s', flush=True)


def _cpu_seconds() -> float:
    """Of all parts that have ended."""
    times = os.times()
    return times.children_user + times.children_system


def read_rows(result_file: pathlib.Path, result: dict) -> bool:
    """Takes the rows that a part has written so far; prints new ones; True if there are any."""
    if not result_file.exists():
        return False
    rows = json.loads(result_file.read_text())
    new = rows[len(result['rows']) :]
    changed = rows != result['rows']
    for row in new:
        print('  ' + ' | '.join(cell for cell in cells(row) if cell), flush=True)
    result['rows'] = rows
    return changed


def run_part(arguments: argparse.Namespace) -> int:
    """This process is a part."""
    part = next(part for part in PARTS if part.name == arguments.inside)
    from gpu_parts import setting

    module = importlib.import_module(f'gpu_parts.{part.module}')
    here = setting.Setting(part.name, arguments.work, arguments.data, arguments.tiny, arguments.budget)
    getattr(module, part.name)(here)
    return 0


def make_environment(arguments: argparse.Namespace, work: pathlib.Path) -> dict[str, str]:
    """Environment variables of the parts; wheels of missing packages are installed into `work`."""
    paths = [str(ROOT)]
    wheels = sorted((arguments.data / 'wheels').glob('*.whl'))
    if wheels and any(importlib.util.find_spec(name) is None for name in NEEDED):
        site = work / 'site'
        install = [sys.executable, '-m', 'pip', 'install', '--quiet', '--no-index', '--no-deps', '--no-compile']
        subprocess.run([*install, '--upgrade', '--target', site, *wheels], check=True)
        paths.append(str(site))
    if 'PYTHONPATH' in os.environ:
        paths.append(os.environ['PYTHONPATH'])
    environment = {**os.environ, 'PYTHONPATH': os.pathsep.join(paths), 'PYTHONUNBUFFERED': '1'}
    environment.setdefault('JAX_COMPILATION_CACHE_DIR', str(arguments.data / 'jax_cache'))
    environment.setdefault('JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS', '0.3')
    environment['JAX_PLATFORMS'] = 'cpu' if arguments.tiny else 'cuda,cpu'
    environment['XLA_FLAGS'] = TINY_FLAGS if arguments.tiny else os.environ.get('XLA_FLAGS', '')
    return environment


def still_missing(environment: dict[str, str]) -> list[str]:
    """Packages that a part could not import."""
    code = f'import importlib.util as i; print(*[n for n in {NEEDED!r} if i.find_spec(n) is None])'
    done = subprocess.run([sys.executable, '-c', code], env=environment, capture_output=True, text=True, check=True)
    return done.stdout.split()


def write_results(arguments: argparse.Namespace, results: dict[str, dict], seconds: float) -> None:
    """Writes gpu.json and gpu.md, each in one move."""
    record = {
        'tiny': arguments.tiny,
        'budget_seconds': arguments.budget,
        'seconds': round(seconds, 1),
        'parts': results,
    }
    name = 'gpu_tiny' if arguments.tiny else 'gpu'
    for ending, text in (('json', json.dumps(record, indent=1) + '\n'), ('md', table(results))):
        new = arguments.out / f'.{name}.{ending}'
        new.write_text(text)
        new.replace(arguments.out / f'{name}.{ending}')


def cells(row: dict) -> tuple[str, str, str, str]:
    """What a row measured, the result, what stands beside it, and whether it passed."""
    result = row.get('error') or row.get('skipped') or row.get('result', '')
    state = 'error' if 'error' in row else 'skipped' if 'skipped' in row else ''
    if 'passed' in row:
        state = 'ok' if row['passed'] else 'FAILED'
    return row['what'], result, row.get('beside', ''), state


def table(results: dict[str, dict]) -> str:
    """All rows in Markdown."""
    lines = ['| part | what | result | beside it | |', '|---|---|---|---|---|']
    for name, result in results.items():
        lines.append(f'| **{name}** | | {result["status"]}, {result["seconds"]} s | | |')
        lines += [f'| | {" | ".join(cell.replace("|", "/") for cell in cells(row))} |' for row in result['rows']]
    return '\n'.join(lines) + '\n'


def print_size(data: pathlib.Path) -> int:
    """Prints what would travel: the files of the repository that git does not ignore, and the data folder."""
    listed = subprocess.run(
        ['git', 'ls-files', '-z', '--cached', '--others', '--exclude-standard'], cwd=ROOT, capture_output=True
    )
    if listed.returncode:
        print(f'error: {ROOT} is not a checkout of the repository, so that its own files cannot be listed.')
        return 2
    files = {ROOT / name for name in listed.stdout.decode().split('\0') if name}
    sizes = {'repository': files, str(data): set(data.rglob('*')) - files}
    total = 0.0
    for name, paths in sizes.items():
        mib = sum(path.stat().st_size for path in paths if path.is_file() and not path.is_symlink()) / 2**20
        total += mib
        print(f'{mib:8.2f} MiB  {name}')
    print(f'{total:8.2f} MiB  together, of {TREE_MIB} MiB')
    return 0 if total <= TREE_MIB else 1


if __name__ == '__main__':
    sys.exit(main())
