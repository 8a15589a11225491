"""Times large RDMs and their comparison against the peers that are installed, on the same inputs in one run.

    python benchmarks/rsa.py                     # N = 10,000, D = 512, every task and peer
    python benchmarks/rsa.py --quick             # N = 2,000
    python benchmarks/rsa.py --only spearman-features --peers ours,ours-binned,rsatoolbox
    python benchmarks/rsa.py --large 30000       # the row that no peer can do
    python benchmarks/rsa.py --only '' --hundred-thousand   # N = 100,000 once, minutes, with progress

Every measurement is a fresh process that makes the inputs from a seed, runs once to compile and warm up, and then
reports the wall time of the next runs' best and how far resident memory rose above the inputs and imports, the warm-up
included. CPU seconds are of the best run, all threads together; on a shared machine they say more than wall time. Tasks
go round robin over peers, so that a change in the machine's load hits all of them. Peers that
need long (above 5 s) run once. N = 100,000 runs once without warm-up; Spearman of random pairs, from float64 distances
of NumPy, stands beside its value. Results go to benchmarks/results/rsa.json, and a Markdown table to standard output.
"""

import argparse
import importlib.metadata
import json
import os
import pathlib
import platform
import resource
import subprocess
import sys
import time

import numpy as np

RESULTS = pathlib.Path(__file__).parent / 'results'
HUNDRED_THOUSAND = 100_000
RANDOM_PAIRS = 2_000_000
TASKS = ('product', 'rdm', 'spearman-stored', 'spearman-features')


def features(n, d, seed):
    """ReLU features that share a latent with those of other seeds, float32 [n, d]."""
    latent = np.random.default_rng(0).normal(size=(n, 32)).astype(np.float32)
    rng = np.random.default_rng(seed)
    mixed = 0.3 * latent @ rng.normal(size=(32, d)).astype(np.float32)
    return np.maximum(mixed + rng.normal(size=(n, d)).astype(np.float32), 0)


def vectors(n):
    """Two correlated float32 vectors as long as the RDMs of n stimuli, with values like distances."""
    rng = np.random.default_rng(1)
    p = n * (n - 1) // 2
    a = rng.standard_normal(p, np.float32)
    b = (1 + 0.1 * (a + rng.standard_normal(p, np.float32))).astype(np.float32)
    return (1 + 0.1 * a).astype(np.float32), b


def ours_product(x, y):
    """The floor: the upper triangle's matrix products and nothing else."""
    import functools

    import jax
    import jax.numpy as jnp

    @functools.partial(jax.jit, static_argnames='block')
    def tile(x, i, j, *, block):
        rows, columns = (jax.lax.dynamic_slice_in_dim(x, start, block) for start in (i, j))
        return jnp.dot(rows, columns.T, precision=jax.lax.Precision.HIGHEST)

    block = -(-len(x) // -(-len(x) // 1000))
    x = jnp.asarray(np.pad(x, ((0, -len(x) % block), (0, 0))))

    def run():
        for i in range(0, len(x), block):
            for j in range(i, len(x), block):
                tile(x, i, j, block=block).block_until_ready()

    return run


def torch_product(x, y):
    import torch

    t = torch.from_numpy(x)

    def run():
        for i in range(0, len(x), 1000):
            for j in range(i, len(x), 1000):
                t[i : i + 1000] @ t[j : j + 1000].T

    return run


def ours_rdm(x, y):
    from humalign_jax import rsa

    return lambda: rsa.rdm(x, 'correlation')


def rsatoolbox_rdm(x, y):
    import rsatoolbox

    return lambda: rsatoolbox.rdm.calc_rdm(rsatoolbox.data.Dataset(x), method='correlation')


def scipy_rdm(x, y):
    from scipy.spatial.distance import pdist

    return lambda: pdist(x, 'correlation')


def sklearn_rdm(x, y):
    from sklearn.metrics import pairwise_distances

    return lambda: pairwise_distances(x, metric='correlation')


def torch_rdm(x, y):
    import torch

    return lambda: 1 - torch.corrcoef(torch.from_numpy(x))


def ours_spearman(a, b):
    from humalign_jax import rsa

    return lambda: rsa.spearman(a, b)


def scipy_spearman(a, b):
    from scipy.stats import spearmanr

    return lambda: float(spearmanr(a, b).statistic)


def rsatoolbox_spearman(a, b):
    import rsatoolbox

    x, y = (rsatoolbox.rdm.RDMs(v[None]) for v in (a, b))
    return lambda: float(rsatoolbox.rdm.compare(x, y, method='spearman')[0, 0])


def ours_features(x, y, mode='exact'):
    from humalign_jax import rsa

    return lambda: rsa.compare_features(x, y, mode=mode).value


def ours_features_binned(x, y):
    return ours_features(x, y, mode='binned')


def rsatoolbox_features(x, y):
    import rsatoolbox

    def run():
        rdms = [rsatoolbox.rdm.calc_rdm(rsatoolbox.data.Dataset(z), method='correlation') for z in (x, y)]
        return float(rsatoolbox.rdm.compare(*rdms, method='spearman')[0, 0])

    return run


def scipy_features(x, y):
    from scipy.spatial.distance import pdist
    from scipy.stats import spearmanr

    return lambda: float(spearmanr(pdist(x, 'correlation'), pdist(y, 'correlation')).statistic)


RUNS = {
    'product': {'ours': ours_product, 'torch': torch_product},
    'rdm': {
        'ours': ours_rdm,
        'rsatoolbox': rsatoolbox_rdm,
        'scipy': scipy_rdm,
        'sklearn': sklearn_rdm,
        'torch': torch_rdm,
    },
    'spearman-stored': {'ours': ours_spearman, 'scipy': scipy_spearman, 'rsatoolbox': rsatoolbox_spearman},
    'spearman-features': {
        'ours': ours_features,
        'ours-binned': ours_features_binned,
        'rsatoolbox': rsatoolbox_features,
        'scipy': scipy_features,
    },
}
WARM_UP = ('ours', 'ours-binned', 'torch')  # the others have nothing to compile


def memory(field):
    """Resident memory of this process in bytes: VmRSS now, VmHWM at most since the last reset."""
    for line in pathlib.Path('/proc/self/status').read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise ValueError(f'no {field} in /proc/self/status')


def measure(task, peer, n, d, repeats):
    """One measurement in this process, as a JSON line."""
    inputs = vectors(n) if task == 'spearman-stored' else (features(n, d, 1), features(n, d, 2))
    try:
        run = RUNS[task][peer](*inputs)
    except ImportError as error:
        print(json.dumps({'skipped': f'{error}'}))
        return
    base = memory('VmRSS')
    pathlib.Path('/proc/self/clear_refs').write_text('5')  # the high-water mark starts here
    value, *first = timed(run)
    runs = [] if peer in WARM_UP else [first]
    while len(runs) < repeats and sum(wall for wall, _ in runs) < 5:
        del value
        value, *more = timed(run)
        runs.append(more)
    row = {'seconds': min(runs)[0], 'cpu_seconds': min(cpu for _, cpu in runs)}
    row |= {'all_seconds': [wall for wall, _ in runs], 'first_seconds': first[0] if peer in WARM_UP else None}
    row |= {'all_cpu_seconds': [cpu for _, cpu in runs], 'load_average': os.getloadavg()[0]}
    row['extra_peak_mb'] = (memory('VmHWM') - base) / 1e6
    row['value'] = value if isinstance(value, float) else None
    print(json.dumps(row))


def timed(run):
    """What `run` returns, wall seconds, CPU seconds of all threads."""
    start, cpu = time.perf_counter(), cpu_seconds()
    value = run()
    return value, time.perf_counter() - start, cpu_seconds() - cpu


def cpu_seconds():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def measure_once(n, d):
    """N = 100,000 in this process, as a JSON line; progress on standard error."""
    from humalign_jax import progress

    x, y = features(n, d, 1), features(n, d, 2)
    run = ours_features(x, y)
    base = memory('VmRSS')
    pathlib.Path('/proc/self/clear_refs').write_text('5')
    with progress.shown():
        value, wall, cpu = timed(run)
    row = {'seconds': wall, 'cpu_seconds': cpu, 'load_average': os.getloadavg()[0], 'value': value}
    row['extra_peak_mb'] = (memory('VmHWM') - base) / 1e6
    row |= {'random_pairs': RANDOM_PAIRS, 'value_of_random_pairs': spearman_of_random_pairs(x, y)}
    print(json.dumps(row))


def spearman_of_random_pairs(x, y):
    """Spearman's rho over pairs of different stimuli drawn at random, distances in float64."""
    from scipy.stats import spearmanr

    i, j = np.random.default_rng(3).integers(0, len(x), (2, RANDOM_PAIRS))
    i, j = i[i != j], j[i != j]

    def correlations(z):
        centred = z - z.mean(axis=1, keepdims=True, dtype=np.float64)
        centred /= np.linalg.norm(centred, axis=1, keepdims=True)
        parts = [slice(start, start + 10_000) for start in range(0, len(i), 10_000)]
        return np.concatenate([np.einsum('pd,pd->p', centred[i[part]], centred[j[part]]) for part in parts])

    return float(spearmanr(correlations(x), correlations(y)).statistic)


def version(package):
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def describe():
    """Hardware and versions."""
    lines = pathlib.Path('/proc/cpuinfo').read_text().splitlines()
    packages = ('jax', 'numpy', 'scipy', 'rsatoolbox', 'scikit-learn', 'torch')
    return {
        'cpu': next(
            (line.split(':')[1].strip() for line in lines if line.startswith('model name')), platform.machine()
        ),
        'n_cpus': os.cpu_count(),
        'load_average': os.getloadavg(),
        'python': platform.python_version(),
        'versions': {package: version(package) for package in packages},
    }


def in_fresh_process(task, peer, n, d, repeats, timeout):
    sizes = ['--n', str(n), '--d', str(d), '--repeats', str(repeats)]
    command = [sys.executable, __file__, '--measure', task, peer, *sizes]
    shown = None if task == 'once' else subprocess.PIPE  # progress is for whoever waits
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=shown, text=True, timeout=timeout)
    except subprocess.TimeoutExpired:
        return {'failed': f'more than {timeout} s'}
    if done.returncode:
        return {'failed': ((done.stderr or '').strip().splitlines() or [f'exit {done.returncode}'])[-1]}
    return json.loads(done.stdout.splitlines()[-1])


def table(rows):
    """Markdown, with the ratio of each peer to our exact result for the same task."""
    ours = {(r['task'], r['n']): r['seconds'] for r in rows if r['peer'] == 'ours' and 'seconds' in r}
    titles = ['task', 'N', 'who', 'seconds', 'CPU seconds', 'extra peak MB', 'times ours', 'value']
    lines = ['| ' + ' | '.join(titles) + ' |', '|---' * len(titles) + '|']
    for r in rows:
        if 'seconds' not in r:
            lines.append(f'| {r["task"]} | {r["n"]} | {r["peer"]} | {r.get("skipped") or r["failed"]} | | | | |')
            continue
        ratio = r['seconds'] / ours[r['task'], r['n']] if (r['task'], r['n']) in ours else float('nan')
        value = '' if r['value'] is None else f'{r["value"]:.10f}'
        cells = [
            r['task'],
            r['n'],
            r['peer'],
            f'{r["seconds"]:.3f}',
            f'{r["cpu_seconds"]:.3f}',
            f'{r["extra_peak_mb"]:.0f}',
            f'{ratio:.1f}',
            value,
        ]
        lines.append('| ' + ' | '.join(map(str, cells)) + ' |')
    return '\n'.join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--measure', nargs=2, help=argparse.SUPPRESS)
    parser.add_argument('--n', type=int, default=10_000)
    parser.add_argument('--d', type=int, default=512)
    parser.add_argument('--quick', action='store_true', help='N = 2,000')
    parser.add_argument('--only', default=','.join(TASKS), help='tasks, with commas; empty for none')
    parser.add_argument('--peers', default='', help='peers, with commas; default all')
    parser.add_argument('--repeats', type=int, default=3, help='runs per process')
    parser.add_argument('--rounds', type=int, default=1, help='processes per measurement, interleaved; the best counts')
    parser.add_argument('--large', type=int, default=0, help='also compare features of so many stimuli, ours only')
    parser.add_argument(
        '--hundred-thousand', action='store_true', help='also N = 100,000, ours only, once: minutes, with progress'
    )
    parser.add_argument('--timeout', type=float, default=900, help='seconds for one measurement; not N = 100,000')
    parser.add_argument('--out', default=str(RESULTS / 'rsa.json'))
    arguments = parser.parse_args()
    if arguments.measure and arguments.measure[0] == 'once':
        measure_once(arguments.n, arguments.d)
        return
    if arguments.measure:
        measure(*arguments.measure, arguments.n, arguments.d, arguments.repeats)
        return
    n = 2000 if arguments.quick else arguments.n
    tasks = [task for task in arguments.only.split(',') if task]
    if not set(tasks) <= set(TASKS):
        parser.error(f'--only takes {", ".join(TASKS)}, not {arguments.only!r}.')
    wanted = [
        (task, peer, n)
        for task in tasks
        for peer in RUNS[task]
        if not arguments.peers or peer in arguments.peers.split(',')
    ]
    if arguments.large:
        wanted.append(('spearman-features', 'ours', arguments.large))
        wanted.append(('spearman-features', 'ours-binned', arguments.large))
    best = {}
    hardware = describe()
    for _ in range(arguments.rounds):
        for task, peer, size in wanted:
            row = in_fresh_process(task, peer, size, arguments.d, arguments.repeats, arguments.timeout)
            print(f'{task} {peer} {size}: {row}', file=sys.stderr, flush=True)
            old = best.get((task, peer, size))
            if old is None or row.get('seconds', float('inf')) < old.get('seconds', float('inf')):
                best[task, peer, size] = row
    if arguments.hundred_thousand:
        key = 'spearman-features', 'ours', HUNDRED_THOUSAND
        best[key] = in_fresh_process('once', 'ours', HUNDRED_THOUSAND, arguments.d, 1, None)
    rows = [{'task': t, 'peer': p, 'n': size, 'd': arguments.d, **row} for (t, p, size), row in best.items()]
    out = pathlib.Path(arguments.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps({'hardware': hardware, 'rows': rows}, indent=2) + '\n')
    print(table(rows))


if __name__ == '__main__':
    main()
