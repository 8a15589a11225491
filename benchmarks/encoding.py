"""Times ridge regression of 20,000 voxels on 2,000 features with 20 penalties, beside scikit-learn and himalaya.

    python benchmarks/encoding.py            # 1,000 trials, a penalty for each voxel
    python benchmarks/encoding.py --tiny     # 1,000 voxels, 300 features

Every measurement is a process of its own, with the same inputs from a seed, and the ways take turns. A process fits and
predicts 200 further trials twice; the better time counts, and the first, with compilation, is kept, too. scikit-learn
runs once in a process. Memory is the rise of the peak above inputs and imports. `leave-one-out` is RidgeCV's and our
default; himalaya has 5-fold cross-validation, which we then do as well. Ways whose package is absent are left out.
Results: benchmarks/results/encoding.json.
"""

import argparse
import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import time

import numpy as np
import rsa as bench

PENALTIES = np.logspace(0, 6, 20)
FOLDS = 5


def inputs(n, d, v):
    """Features, responses of which the first quarter of the variance is signal, features of further trials; float32."""
    np_rng = np.random.default_rng(0)
    x = np_rng.standard_normal((n + 200, d), np.float32)
    y = x[:n] @ np_rng.standard_normal((d, v), np.float32) / np.sqrt(d)
    y += np.sqrt(3.0).astype(np.float32) * np_rng.standard_normal((n, v), np.float32)
    return x[:n], y, x[n:]


def ours(x, y, x_test, *, groups=None):
    from humalign_jax.alignment import ridge

    fit = ridge.fit_ridge([x], y, [x_test], penalties=PENALTIES, groups=groups)
    return fit.predictions, fit.penalty


def ours_folds(x, y, x_test):
    return ours(x, y, x_test, groups=np.arange(len(x)) * FOLDS // len(x))  # KFold(5) of scikit-learn


def scikit_learn(x, y, x_test):
    from sklearn.linear_model import RidgeCV

    model = RidgeCV(alphas=PENALTIES, alpha_per_target=True).fit(x, y)
    return model.predict(x_test), model.alpha_


def himalaya(x, y, x_test, *, kernel=False, torch=True):
    import himalaya.kernel_ridge
    import himalaya.ridge
    from himalaya.backend import set_backend

    backend = set_backend('torch' if torch else 'numpy')
    if kernel:
        model = himalaya.kernel_ridge.KernelRidgeCV(alphas=PENALTIES, kernel='linear', cv=FOLDS)
        mean, mean_y = x.mean(axis=0), y.mean(axis=0)  # it has no intercept
        model.fit(x - mean, y - mean_y)
        return backend.to_numpy(model.predict(x_test - mean)) + mean_y, backend.to_numpy(model.best_alphas_)
    model = himalaya.ridge.RidgeCV(alphas=PENALTIES, cv=FOLDS, fit_intercept=True).fit(x, y)
    return backend.to_numpy(model.predict(x_test)), backend.to_numpy(model.best_alphas_)


def himalaya_kernel(x, y, x_test):
    return himalaya(x, y, x_test, kernel=True)


WAYS = {
    'humalign_jax, leave-one-out': (ours, 2, 'jax'),
    'scikit-learn RidgeCV, leave-one-out': (scikit_learn, 1, 'sklearn'),
    'humalign_jax, 5 folds': (ours_folds, 2, 'jax'),
    'himalaya RidgeCV (torch), 5 folds': (himalaya, 2, 'himalaya'),
    'himalaya KernelRidgeCV (torch), 5 folds': (himalaya_kernel, 2, 'himalaya'),
}


def measure(way, sizes):
    """One measurement, in this process; prints it as JSON."""
    from humalign_jax import memory

    function, runs, package = WAYS[way]
    __import__(package)
    x, y, x_test = inputs(*sizes)
    memory.forget_peak()
    before, rows = memory.held_bytes(), []
    for _ in range(runs):
        start, of_cpu = time.perf_counter(), time.process_time()
        predictions, penalty = function(x, y, x_test)
        rows.append((time.perf_counter() - start, time.process_time() - of_cpu))
    peak = (memory.held_bytes('VmHWM') - before) / 1e9
    best = min(rows)
    row = {'seconds': best[0], 'cpu_seconds': best[1], 'first_seconds': rows[0][0], 'peak_gb': peak}
    print(json.dumps({**row, 'mean_log10_penalty': float(np.log10(penalty).mean()), 'check': checksum(predictions)}))


def checksum(predictions):
    """Root mean square of the predictions, and one of them: equal to some digits if two ways agree."""
    return [float(np.sqrt((np.asarray(predictions, np.float64) ** 2).mean())), float(predictions[3, 7])]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--tiny', action='store_true')
    parser.add_argument('--trials', type=int, default=1000)
    parser.add_argument('--rounds', type=int, default=2)
    parser.add_argument('--out', default=str(bench.RESULTS / 'encoding.json'))
    parser.add_argument('--measure', default='', help=argparse.SUPPRESS)
    options = parser.parse_args()
    sizes = (300, 300, 1000) if options.tiny else (options.trials, 2000, 20_000)
    if options.measure:
        measure(options.measure, sizes)
        return
    ways = [way for way, (_, _, package) in WAYS.items() if importlib.util.find_spec(package)]
    rows, loads = {}, []
    about = dict(zip(('n_trials', 'n_features', 'n_voxels'), sizes)) | {'n_penalties': len(PENALTIES)}
    about |= {'rounds': options.rounds, **bench.describe()}
    about['versions']['himalaya'] = bench.version('himalaya')
    for _ in range(options.rounds):
        for way in ways:
            command = [sys.executable, __file__, '--measure', way, '--trials', str(options.trials)]
            done = subprocess.run(command + ['--tiny'] * options.tiny, capture_output=True, text=True, check=True)
            found = json.loads(done.stdout.splitlines()[-1])
            loads.append(os.getloadavg()[0])
            said = f'{found["seconds"]:8.1f} s, {found["cpu_seconds"]:7.1f} s of CPU, {found["peak_gb"]:.2f} GB'
            print(f'{way:42s} {said}, load {loads[-1]:.1f}', flush=True)
            row = rows.setdefault(way, found)
            row |= {key: min(row[key], found[key]) for key in ('seconds', 'cpu_seconds', 'first_seconds', 'peak_gb')}
            written = json.dumps({**about, 'load_during': loads, 'rows': rows}, indent=1)  # kept if a later one fails
            pathlib.Path(options.out).write_text(written + '\n')


if __name__ == '__main__':
    main()
