"""Intervals and tests of rsatoolbox and ours, on the same simulated studies with a known truth.

    pip install -e .[bench]
    python benchmarks/rsa_calibration_peers.py --studies=500

Populations and truths are those of `rsa_calibration`. rsatoolbox resamples stimuli (`eval_bootstrap_pattern`) or
stimuli and subjects with the correction of Schutt et al. (2023) (`eval_dual_bootstrap`); its intervals and tests are
those its results give, 't-test'. It is slow, so that the draws are fewer than its 1,000, which the result says.

Writes benchmarks/results/rsa_calibration_peers.json.
"""

import argparse
import contextlib
import importlib.metadata
import io
import json
import time
from pathlib import Path

import numpy as np
import rsatoolbox
import tqdm
from rsa_calibration import LEVELS, Population, machine, rate

from humalign_jax import rsa, storage

THEIR_NAMES = {'spearman': 'spearman', 'pearson': 'corr', 'cosine': 'cosine'}
EQUAL = 1, 3  # numbers of two equally good models
SETTINGS = [  # index, over, stimuli, subjects, their draws
    ('pearson', 'stimuli', 20, 4, 200),
    ('pearson', 'stimuli', 40, 4, 200),
    ('spearman', 'stimuli', 20, 4, 100),
    ('pearson', 'both', 40, 12, 100),
    ('cosine', 'stimuli', 20, 4, 200),
]


def ours(models: np.ndarray, subjects: np.ndarray, index: str, over: str, seed: int) -> dict:
    """Ends of the intervals, [m], and p values."""
    result = rsa.infer(models, subjects, index=index, over=over, seed=seed)
    return {'ends': (result.low, result.high), 'equal': result.p_differences[EQUAL], 'zero': result.p_zero[0]}


def theirs(models: np.ndarray, subjects: np.ndarray, index: str, over: str, n_draws: int, seed: int) -> dict:
    """As `ours`."""
    np.random.seed(seed)  # rsatoolbox draws from NumPy's global state
    fixed = [rsatoolbox.model.ModelFixed(str(i), rdm) for i, rdm in enumerate(models)]
    name = 'eval_dual_bootstrap' if over == 'both' else 'eval_bootstrap_pattern'
    with contextlib.redirect_stderr(io.StringIO()):  # its progress bar
        result = getattr(rsatoolbox.inference, name)(
            fixed, rsatoolbox.rdm.RDMs(subjects), method=THEIR_NAMES[index], N=n_draws
        )
    pairs, zero, _ = result.test_all()
    return {'ends': result.get_ci(0.95), 'equal': pairs[EQUAL], 'zero': zero[0]}


def summary(results: list[dict], truth: np.ndarray) -> dict:
    """Coverage and false-positive rates."""
    tests = {'equal models': 'equal', 'unrelated model against zero': 'zero'}
    ends = np.array([r['ends'] for r in results])[:, :, : len(LEVELS)]
    hits, widths = (ends[:, 0] <= truth) & (truth <= ends[:, 1]), np.median(ends[:, 1] - ends[:, 0], axis=0)
    return {
        'coverage': {name: rate(x) for name, x in zip(LEVELS, hits.T)},
        'median_width': dict(zip(LEVELS, widths.round(4).tolist())),
        'false_positives': {name: rate([r[key] <= 0.05 for r in results]) for name, key in tests.items()},
    }


def compare(index: str, over: str, n: int, k: int, n_draws: int, n_studies: int, seed: int) -> dict:
    """One row of the result."""
    population = Population('all', 'euclidean')
    fixed_maps = population.subjects(np.random.default_rng(1), k)
    results, seconds = {'ours': [], 'rsatoolbox': []}, dict.fromkeys(('ours', 'rsatoolbox'), 0.0)
    for study in tqdm.trange(n_studies, desc=f'{index}, {over}, {n} stimuli'):
        np_rng = np.random.default_rng([seed, study])
        maps = fixed_maps if over == 'stimuli' else population.subjects(np_rng, k)
        *data, _ = population.study(np_rng, n, maps)
        started = time.perf_counter()
        results['ours'].append(ours(*data, index, over, study))
        between = time.perf_counter()
        results['rsatoolbox'].append(theirs(*data, index, over, n_draws, study))
        seconds['ours'] += between - started
        seconds['rsatoolbox'] += time.perf_counter() - between
    truth = population.truth([index], fixed_maps if over == 'stimuli' else None)[index]
    return {
        'index': index,
        'over': over,
        'n_stimuli': n,
        'n_subjects': k,
        'n_studies': n_studies,
        'seed': seed,
        'rsatoolbox_draws': n_draws,
        'seconds': {name: round(x, 1) for name, x in seconds.items()},
        **{name: summary(x, truth) for name, x in results.items()},
    }


def main() -> None:
    """Runs all settings and writes the results, keeping those of the file that are not run."""
    parser = argparse.ArgumentParser()
    parser.add_argument('--studies', type=int, default=500)
    parser.add_argument('--seed', type=int, default=11)
    parser.add_argument('--rows', type=int, nargs='*', default=range(len(SETTINGS)), help='which of SETTINGS')
    options = parser.parse_args()
    path = Path(__file__).parent / 'results' / 'rsa_calibration_peers.json'
    names = ('index', 'over', 'n_stimuli', 'n_subjects')
    known = json.loads(path.read_text())['rows'] if path.exists() else []
    rows = {tuple(row[name] for name in names): row for row in known if 'over' in row}
    versions = {**machine(), 'rsatoolbox': importlib.metadata.version('rsatoolbox')}
    for i in options.rows:
        setting = SETTINGS[i]
        rows[setting[:-1]] = compare(*setting, options.studies, options.seed)
        print(rows[setting[:-1]], flush=True)
        ordered = [rows[s[:-1]] for s in SETTINGS if s[:-1] in rows]
        storage.write_json(path, {'machine': versions, 'rows': ordered})


if __name__ == '__main__':
    main()
