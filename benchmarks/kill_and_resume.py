"""Kills a real training process at random moments until it is through, and compares its end with an unbroken run's.

    python benchmarks/kill_and_resume.py --kills 20

Every kill is SIGKILL, at a random moment after the process has begun to train. Parameters, optimiser state, BatchNorm
statistics, metrics.jsonl and scores.jsonl must be the same to the last bit. Writes
benchmarks/results/kill_and_resume.json.
"""

import argparse
import datetime
import os
import pathlib
import platform
import random
import signal
import subprocess
import sys
import tempfile
import time

import jax

from humalign_jax import storage

HERE = pathlib.Path(__file__).parent
RUN = [
    sys.executable,
    '-m',
    'humalign_jax.main',
    '--config=configs/philnet.py:tiny',
    '--config.data.n_train=1344',
    '--config.train.epochs=10',
    '--config.train.log_every_steps=3',
    '--config.train.checkpoint_every_epochs=0.1',
    '--config.train.n_devices=1',
]


def start(workdir: pathlib.Path) -> subprocess.Popen:
    """Starts or continues the run."""
    log = open(workdir.with_suffix('.log'), 'ab')  # noqa: SIM115  belongs to the process
    environment = {**os.environ, 'JAX_PLATFORMS': 'cpu', 'XLA_FLAGS': ''}
    return subprocess.Popen([*RUN, f'--workdir={workdir}'], stdout=log, stderr=log, cwd=HERE.parent, env=environment)


def arrays(workdir: pathlib.Path) -> dict[str, str]:
    """SHA-256 of every array of the newest checkpoint: parameters, optimiser state, statistics, sums."""
    newest = max((p for p in (workdir / 'checkpoints').iterdir() if p.name.isdigit()), key=lambda p: int(p.name))
    manifest = storage.read_json(newest / 'manifest.json')
    return {name: entry['sha256'] for name, entry in manifest['arrays'].items()}


def wait_for_a_new_row(process: subprocess.Popen, rows: pathlib.Path) -> None:
    """Returns once this process has written a row of its own, so that kills fall into training and not into imports.

    A process that goes on first cuts the rows back to its checkpoint, then adds to them.
    """
    fewest = None
    while process.poll() is None:
        n_rows = len(storage.read_jsonl(rows))
        fewest = n_rows if fewest is None else min(fewest, n_rows)
        if n_rows > fewest:
            return
        time.sleep(0.02)


def main() -> None:
    """Runs once unbroken, once with kills, and compares."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--kills', type=int, default=20)
    parser.add_argument('--seed', type=int, default=0)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    with tempfile.TemporaryDirectory() as folder:
        unbroken, broken = pathlib.Path(folder) / 'unbroken', pathlib.Path(folder) / 'broken'
        assert start(unbroken).wait() == 0, unbroken.with_suffix('.log').read_text()[-2000:]
        training_seconds = storage.read_jsonl(unbroken / 'timing.jsonl')[0]['seconds']
        killed_at = []
        while len(killed_at) < args.kills:
            rows = broken / 'metrics.jsonl'
            process = start(broken)
            wait_for_a_new_row(process, rows)
            time.sleep(rng.uniform(0.0, 1.2 * training_seconds / args.kills))
            if process.poll() is not None:
                break
            process.send_signal(signal.SIGKILL)
            process.wait()
            written = storage.read_jsonl(rows)
            killed_at.append(written[-1]['step'] if written else 0)
            print(f'kill {len(killed_at)}: last row of step {killed_at[-1]}', flush=True)
        code = start(broken).wait()
        same = {
            'arrays': arrays(unbroken) == arrays(broken),
            'metrics.jsonl': (unbroken / 'metrics.jsonl').read_bytes() == (broken / 'metrics.jsonl').read_bytes(),
            'scores.jsonl': (unbroken / 'scores.jsonl').read_bytes() == (broken / 'scores.jsonl').read_bytes(),
        }
        record = {
            'date': datetime.date.today().isoformat(),
            'command': ' '.join(['python', *RUN[1:]]),
            'kills': len(killed_at),
            'last_row_before_each_kill': killed_at,
            'exit_status_of_the_last_start': code,
            'bit_identical': same,
            'n_arrays': len(arrays(unbroken)),
            'python': platform.python_version(),
            'jax': jax.__version__,
        }
        storage.write_json(HERE / 'results' / 'kill_and_resume.json', record)
        print(record)
        if not all(same.values()) or len(killed_at) < args.kills:
            raise SystemExit('the ends differ, or the run was over before the last kill')


if __name__ == '__main__':
    main()
