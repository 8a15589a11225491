"""Times exact Spearman of continuous and of discrete features, beside another version of the code.

    python benchmarks/rsa_ties.py                           # N = 10,000, D = 512
    python benchmarks/rsa_ties.py --against ../earlier      # another checkout, process by process in turns
    python benchmarks/rsa_ties.py --quick                   # N = 2,000

Each measurement is a process of its own that makes the features from a seed, runs once to compile, and reports the best
of the next runs, the rank correlation that it found, and how far resident memory rose. Continuous features are those of
benchmarks/rsa.py; binary ones say which of these are above 1. Results: benchmarks/results/rsa_ties.json.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import time

import rsa as bench

CASES = {
    'continuous': ('correlation', lambda x: x),
    'binary, correlation': ('correlation', lambda x: (x > 1).astype('float32')),
    'binary, cosine': ('cosine', lambda x: (x > 1).astype('float32')),
    'binary, euclidean': ('euclidean', lambda x: (x > 1).astype('float32')),
}


def measure(case, n, d, repeats):
    from humalign_jax import rsa

    measure_x, change = CASES[case]
    x, y = change(bench.features(n, d, 1)), bench.features(n, d, 2)
    before = bench.memory('VmRSS')
    seconds = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        value = rsa.compare_features(x, y, measure_x=measure_x).value
        seconds.append(time.perf_counter() - start)
    return {'seconds': min(seconds[1:]), 'value': value, 'rise_gb': (bench.memory('VmHWM') - before) / 1e9}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--measure', help=argparse.SUPPRESS)
    parser.add_argument('--n', type=int, default=10_000)
    parser.add_argument('--d', type=int, default=512)
    parser.add_argument('--quick', action='store_true', help='N = 2,000')
    parser.add_argument('--against', default='', help='root of another checkout')
    parser.add_argument('--repeats', type=int, default=3, help='runs per process')
    parser.add_argument('--rounds', type=int, default=2, help='processes per measurement; the best counts')
    parser.add_argument('--out', default=str(bench.RESULTS / 'rsa_ties.json'))
    options = parser.parse_args()
    n = 2000 if options.quick else options.n
    if options.measure:
        print(json.dumps(measure(options.measure, n, options.d, options.repeats)))
        return
    roots = {'this': pathlib.Path(__file__).parents[1]}
    if options.against:
        roots['other'] = pathlib.Path(options.against).resolve()
    rows = {}
    for _ in range(options.rounds):
        for case in CASES:
            for name, root in roots.items():
                command = [sys.executable, __file__, '--measure', case, '--n', str(n), '--d', str(options.d)]
                environment = {**os.environ, 'PYTHONPATH': str(root)}
                done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
                found = json.loads(done.stdout.splitlines()[-1])
                row = rows.setdefault(f'{case}, {name}', found)
                row['seconds'] = min(row['seconds'], found['seconds'])
                print(f'{case:20s} {name:6s} {found["seconds"]:.2f} s, Spearman {found["value"]:.6f}', flush=True)
    found = {'n': n, 'd': options.d, **bench.describe(), 'rows': rows}
    pathlib.Path(options.out).write_text(json.dumps(found, indent=1))


if __name__ == '__main__':
    main()
