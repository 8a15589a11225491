"""Bootstrap over stimuli, ours and rsatoolbox's: 5 models, 8 subjects, 300 stimuli, in one run on the same data.

    pip install -e .[bench]
    python benchmarks/rsa_inference.py

rsatoolbox.inference.eval_bootstrap_pattern is run in full (1,000 draws) for the cosine and Pearson indices; for
Spearman, and wherever `--their-draws` says less, its time is scaled from fewer, which the result says. Both include the
noise ceiling of every draw. Intervals are compared by the quantiles of the draws.

Writes benchmarks/results/rsa_inference.json.
"""

import argparse
import contextlib
import importlib.metadata
import io
import os
import platform
import time
from pathlib import Path

import jax
import numpy as np
from scipy.spatial.distance import pdist

from humalign_jax import rsa, storage

N_STIMULI, N_MODELS, N_SUBJECTS, N_DRAWS = 300, 5, 8, 1000
THEIR_NAMES = {'spearman': 'spearman', 'pearson': 'corr', 'cosine': 'cosine'}


def make_data(n_stimuli: int = N_STIMULI) -> tuple[np.ndarray, np.ndarray]:
    """RDMs of models, [m, p], and subjects, [k, p], that share ten latent features."""
    np_rng = np.random.default_rng(0)
    points = np_rng.normal(size=(n_stimuli, 10))
    noise = [0.5 + 0.2 * i for i in range(N_MODELS)] + [1.0] * N_SUBJECTS
    rdms = np.stack([pdist(points + sigma * np_rng.normal(size=points.shape)) for sigma in noise])
    return rdms[:N_MODELS], rdms[N_MODELS:]


def time_ours(
    models: np.ndarray, subjects: np.ndarray, index: str, n_draws: int = N_DRAWS
) -> tuple[float, float, float, rsa.Bootstrap]:
    """Seconds of the first bootstrap with compilation, of the quickest later one and inference, and the samples."""
    seconds, of_infer = [], []
    for _ in range(4):
        started = time.perf_counter()
        result = rsa.bootstrap(models, subjects, index=index, n_draws=n_draws)
        between = time.perf_counter()
        rsa.infer(models, subjects, index=index, n_permutations=0)
        seconds.append(between - started)
        of_infer.append(time.perf_counter() - between)
    return seconds[0], min(seconds[1:]), min(of_infer[1:]), result


def time_theirs(models: np.ndarray, subjects: np.ndarray, index: str, n_draws: int) -> tuple[float, np.ndarray]:
    """Seconds for `n_draws`, and the scores of every draw, [n_draws, m]."""
    import rsatoolbox

    np.random.seed(0)  # rsatoolbox draws from NumPy's global state
    fixed = [rsatoolbox.model.ModelFixed(str(i), rdm) for i, rdm in enumerate(models)]
    data = rsatoolbox.rdm.RDMs(subjects)
    started = time.perf_counter()
    with contextlib.redirect_stderr(io.StringIO()):  # its progress bar
        result = rsatoolbox.inference.eval_bootstrap_pattern(fixed, data, method=THEIR_NAMES[index], N=n_draws)
    return time.perf_counter() - started, result.evaluations


def compare(index: str, their_draws: int) -> dict:
    """One row of the result."""
    models, subjects = make_data()
    first, warm, of_infer, ours = time_ours(models, subjects, index)
    seconds, theirs = time_theirs(models, subjects, index, their_draws)
    scaled = seconds * N_DRAWS / their_draws
    spread = theirs.std(axis=0)
    quantiles = [np.quantile(draws, [0.025, 0.975], axis=0) for draws in (ours.scores, theirs)]
    return {
        'index': index,
        'ours_first_call_seconds': round(first, 3),
        'ours_seconds': round(warm, 3),
        'infer_seconds': round(of_infer, 3),
        'rsatoolbox_draws_measured': their_draws,
        'rsatoolbox_seconds_measured': round(seconds, 2),
        'rsatoolbox_seconds_for_1000_draws': round(scaled, 1),
        'times_faster': round(scaled / warm, 1),
        'times_faster_first_call': round(scaled / first, 1),
        'mean_of_draws': {'ours': ours.scores.mean(axis=0).round(5), 'rsatoolbox': theirs.mean(axis=0).round(5)},
        'deviation_of_draws': {'ours': ours.scores.std(axis=0).round(5), 'rsatoolbox': spread.round(5)},
        'ends_of_95_percent': {'ours': quantiles[0].round(5), 'rsatoolbox': quantiles[1].round(5)},
        'largest_gap_of_means_in_standard_errors': round(
            float(
                np.max(np.abs(ours.scores.mean(axis=0) - theirs.mean(axis=0)) / spread)
                / np.sqrt(1 / their_draws + 1 / N_DRAWS)
            ),
            2,
        ),
        'largest_gap_of_ends_in_deviations': round(float(np.max(np.abs(quantiles[0] - quantiles[1]) / spread)), 3),
        # A 2.5 % quantile of b draws has a standard error of about sqrt(0.025 * 0.975 / b) / 0.0584 deviations.
        'expected_standard_error_of_that_gap': round(
            float(np.sqrt(0.025 * 0.975 * (1 / their_draws + 1 / N_DRAWS)) / 0.0584), 3
        ),
    }


def machine() -> dict:
    """Hardware and versions."""
    cpu = Path('/proc/cpuinfo')
    names = [line.split(':')[1].strip() for line in cpu.read_text().splitlines() if line.startswith('model name')]
    packages = ('jax', 'numpy', 'scipy', 'rsatoolbox')
    return {
        'cpu': names[0] if names else platform.processor(),
        'cpu_count': os.cpu_count(),
        'load_average': os.getloadavg(),  # other work on the machine
        'devices': [str(device) for device in jax.devices()],
        'python': platform.python_version(),
        **{package: importlib.metadata.version(package) for package in packages},
    }


def main() -> None:
    """Runs all indices and writes the results."""
    parser = argparse.ArgumentParser()
    parser.add_argument('--their-draws', type=int, default=N_DRAWS, help='for the cosine and Pearson indices')
    parser.add_argument('--their-spearman-draws', type=int, default=100)
    arguments = parser.parse_args()
    rows = []
    for index in ('cosine', 'pearson', 'spearman'):
        rows.append(compare(index, arguments.their_spearman_draws if index == 'spearman' else arguments.their_draws))
        print(rows[-1], flush=True)
    sizes = {'n_stimuli': N_STIMULI, 'n_models': N_MODELS, 'n_subjects': N_SUBJECTS, 'n_draws': N_DRAWS}
    path = Path(__file__).parent / 'results' / 'rsa_inference.json'
    storage.write_json(path, {'machine': machine(), **sizes, 'rows': rows})


if __name__ == '__main__':
    main()
