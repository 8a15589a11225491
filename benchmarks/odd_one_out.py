"""Times the scoring of 4.7 million odd-one-out trials beside NumPy and a plain Python loop.

    python benchmarks/odd_one_out.py --data=DIR    # THINGS: concepts.tsv, triplets.npz, embeddings.npz
    python benchmarks/odd_one_out.py --quick         # made-up choices and features, a tenth of the trials

The given trials are repeated until there are as many as in the whole of THINGS. All ways start from features [n, d] and
trials [t, 3], end with the accuracy, and run in turns in one process; the best round of each counts. The loop runs over
some trials only, and its time is extrapolated. Results: benchmarks/results/odd_one_out.json.
"""

import argparse
import dataclasses
import json
import pathlib
import time

import numpy as np
import rsa as bench

from humalign_jax.alignment import odd_one_out, triplet_choices
from humalign_jax.human import things
from humalign_jax.human_data import Triplets

N_TRIALS = 4_699_160  # of triplets_large_final_correctednc_correctedorder.csv


def load(folder, n_trials, name):
    """Trials, repeated, and features."""
    if folder:
        given, features = things.load_triplets(folder), things.load_embedding(folder, name).values
    else:
        np_rng = np.random.default_rng(0)
        features = np_rng.normal(size=(1854, 42)).astype(np.float32)
        items = np_rng.permuted(np.tile(np.arange(1854), (2000, 1)), axis=1)[:, :90].reshape(-1, 3)
        given = Triplets([f'c{k}' for k in range(1854)], items, np.full(len(items), 2), 'made up')
    copies = -(-n_trials // len(given))
    repeated = {field: np.concatenate([getattr(given, field)] * copies)[:n_trials] for field in ('items', 'odd')}
    return dataclasses.replace(given, **repeated), features


def by_loop(features, triplets):
    """One trial at a time, three dot products each."""
    total = 0.0
    for (i, j, k), odd in zip(triplets.items.tolist(), triplets.odd.tolist()):
        a, b, c = features[i], features[j], features[k]
        support = (b @ c, a @ c, a @ b)
        top = max(support)
        total += (support[odd] == top) / support.count(top)
    return total / len(triplets)


def by_numpy(features, triplets):
    """All trials at once, from the matrix of similarities."""
    similarity = features @ features.T
    i, j, k = triplets.items.T
    support = np.stack([similarity[j, k], similarity[i, k], similarity[i, j]], axis=1)
    top = support == support.max(axis=1, keepdims=True)
    return float((top[np.arange(len(top)), triplets.odd] / top.sum(axis=1)).mean())


def by_numpy_features(features, triplets):
    """All trials at once, from the trials' features."""
    a, b, c = (features[triplets.items[:, place]] for place in range(3))
    support = np.stack([np.einsum('td,td->t', *pair) for pair in ((b, c), (a, c), (a, b))], axis=1)
    top = support == support.max(axis=1, keepdims=True)
    return float((top[np.arange(len(top)), triplets.odd] / top.sum(axis=1)).mean())


def by_us(features, triplets):
    return float(odd_one_out.predict(features, triplets, 'dot').credit.mean(dtype=np.float64))


def timed(function):
    """Result, seconds, and seconds of CPU of all threads, which other programs on the machine hardly change."""
    start, of_cpu = time.perf_counter(), time.process_time()
    result = function()
    return result, time.perf_counter() - start, time.process_time() - of_cpu


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--data', default='', help='folder with THINGS; made-up data without it')
    parser.add_argument('--features', default='vice_42d', help='name of an embedding there')
    parser.add_argument('--quick', action='store_true', help='a tenth of the trials')
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--loop', type=int, default=100_000, help='trials of the plain loop')
    parser.add_argument('--out', default=str(bench.RESULTS / 'odd_one_out.json'))
    options = parser.parse_args()
    n_trials = N_TRIALS // 10 if options.quick else N_TRIALS
    triplets, features = load(options.data, n_trials, options.features)
    some = triplets.take(np.arange(options.loop))
    ways = {
        'humalign_jax': (by_us, triplets),
        'NumPy, similarity matrix': (by_numpy, triplets),
        'NumPy, features of trials': (by_numpy_features, triplets),
        'plain loop, extrapolated': (by_loop, some),
    }
    rows = {}
    by_us(features, triplets)  # compiles
    for _ in range(options.rounds):
        for name, (function, trials) in ways.items():
            accuracy, *found = timed(lambda function=function, trials=trials: function(features, trials))
            seconds, of_cpu = (value * n_trials / len(trials) for value in found)
            row = rows.setdefault(name, {'seconds': seconds, 'cpu_seconds': of_cpu, 'accuracy': accuracy})
            row |= {'seconds': min(row['seconds'], seconds), 'cpu_seconds': min(row['cpu_seconds'], of_cpu)}
            row['trials_run'] = len(trials)
            print(f'{name:28s} {seconds:8.2f} s, {of_cpu:.2f} s of CPU, accuracy {accuracy:.6f}', flush=True)
    support = odd_one_out.predict(features, triplets, 'dot').support
    people = dataclasses.replace(triplets, participants=np.arange(n_trials) // 400)
    for name, trials in (('one temperature', triplets), ('400 trials a participant', people)):
        found, seconds, of_cpu = timed(lambda trials=trials: triplet_choices.cross_validate(support, trials))
        row = {'seconds': seconds, 'cpu_seconds': of_cpu, 'n_fitted': found.n_participants}
        rows[f'choice model, 5 folds, {name}, with compilation'] = row
    print(json.dumps(rows, indent=1))
    data = f'THINGS, {options.features}, the given trials repeated' if options.data else 'made up'
    about = {'n_trials': n_trials, 'n_stimuli': len(features), 'd': features.shape[1], 'data': data}
    pathlib.Path(options.out).write_text(json.dumps({**about, **bench.describe(), 'rows': rows}, indent=1) + '\n')


if __name__ == '__main__':
    main()
