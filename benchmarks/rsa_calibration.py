"""Coverage of the intervals of rsa.infer and false-positive rates of its tests, in simulated studies.

    python benchmarks/rsa_calibration.py                              # 1,000 studies a row
    python benchmarks/rsa_calibration.py --studies=20 --only spearman # in seconds; other rows of the results stay

Every stimulus has latent features; a model or a subject sees a fixed linear map of them plus noise of its own. New
stimuli are new draws of all of them; new subjects have new maps. Where only some pairs count, stimuli are of five known
categories. The whitened indices see squared distances.

A study samples n stimuli and k subjects. The truth of a score is its mean over 24,000 stimuli, 400 at a time, and,
over both, over 1,200 subjects. The whitened indices depend on the number of stimuli: their truth is the mean of the
studies' scores.

Writes benchmarks/results/rsa_calibration.json and prints the table of docs/inference.md. Rows outside of `COVERS` and
`REJECTS` are marked.
"""

import argparse
import importlib.metadata
import itertools
import os
import platform
import time
from pathlib import Path

import jax
import numpy as np
from scipy.spatial.distance import pdist

from humalign_jax import rsa, storage
from humalign_jax.rsa.inference.significance import family_wise_p

DIM = 8
SUBJECT_NOISE = 1.0
LEVELS = {'unrelated': np.inf, 'fair': 1.5, 'good': 0.5}  # noise of the models whose intervals are looked at
EQUAL = (1.5, 1.5, 1.5, 1.5)  # of models that are equally good, for the tests; the first is the fair one
N_SUBJECTS = {'stimuli': 4, 'both': 8}
N_REPEATS, N_MANY, N_MANY_SUBJECTS = 60, 400, 20  # of a truth
COVERS, REJECTS = (0.925, 0.98), (0.02, 0.065)  # what is good enough


class Population:
    """Stimuli of which 'all', 'within' or 'partial' pairs count, seen by models and any number of subjects."""

    def __init__(self, pairs: str, metric: str) -> None:
        np_rng = np.random.default_rng(0)
        self.pairs, self.metric = pairs, metric
        self.noise = [*LEVELS.values(), *EQUAL[1:]]
        self.maps = [np.linalg.qr(np_rng.normal(size=(DIM, DIM)))[0] for _ in self.noise]

    def subjects(self, np_rng: np.random.Generator, k: int) -> np.ndarray:
        """Each subject's map, [k, d, d]: a shared identity and an own part."""
        return np.eye(DIM) + 0.4 * np_rng.normal(size=(k, DIM, DIM))

    def study(self, np_rng: np.random.Generator, n: int, maps: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """RDMs of the models, [m, p], and of the subjects, [k, p], for n new stimuli, and their categories, [n]."""
        labels = np_rng.integers(5, size=n)
        shared = np_rng.normal(size=(n, DIM)) * np.linspace(2.0, 0.5, DIM)
        if self.pairs != 'all':
            shared = shared + 2.5 * np.eye(5, DIM)[labels]
        own_features = np_rng.normal(size=(len(self.maps), n, DIM))
        models = [
            shared @ own + noise * features if np.isfinite(noise) else features  # infinite: nothing shared is seen
            for own, noise, features in zip(self.maps, self.noise, own_features)
        ]
        subjects = [shared @ own + SUBJECT_NOISE * np_rng.normal(size=(n, DIM)) for own in maps]
        return *(np.stack([pdist(x, self.metric) for x in group]) for group in (models, subjects)), labels

    def truth(self, indices: list[str], maps: np.ndarray | None) -> dict[str, np.ndarray]:
        """Mean score of each level over many stimuli, and over many subjects where no `maps` are given, [m]."""
        scores = {index: [] for index in indices}
        for repeat in range(N_REPEATS):
            np_rng = np.random.default_rng([2, repeat])
            of_subjects = self.subjects(np_rng, N_MANY_SUBJECTS) if maps is None else maps
            models, subjects, labels = self.study(np_rng, N_MANY, of_subjects)
            options = {}
            if self.pairs == 'within':
                options['mask'] = rsa.within_category(labels)
            elif self.pairs == 'partial':
                options['control'] = rsa.category_rdm(labels)
            for index in indices:
                scores[index].append(rsa.compare(models, subjects, index, **options).mean(axis=1))
        means = {index: np.mean(x, axis=0) for index, x in scores.items()}
        # Models of the same noise are equally good: distances do not change with maps, which are rotations.
        return {
            index: np.array([mean[np.equal(self.noise, noise)].mean() for noise in LEVELS.values()])
            for index, mean in means.items()
        }


def rate(hits: list[bool] | np.ndarray) -> dict[str, float]:
    """Mean and binomial standard error."""
    mean = float(np.mean(hits))
    return {'rate': round(mean, 4), 'standard_error': round(float(np.sqrt(mean * (1 - mean) / np.size(hits))), 4)}


def calibrate(
    index: str, pairs: str, over: str, n: int, truth: np.ndarray | None, *, n_studies: int, seed: int
) -> dict:
    """Coverage and false-positive rates of one setting; without a `truth`, [m], it is the mean of the scores."""
    population = Population(pairs, 'sqeuclidean' if index.startswith('whitened') else 'euclidean')
    fixed_maps = population.subjects(np.random.default_rng(1), N_SUBJECTS[over])
    of_equal = np.flatnonzero(np.equal(population.noise, EQUAL[0]))
    first, second = (of_equal[i] for i in np.triu_indices(len(EQUAL), 1))
    results, family_wise, started = [], [], time.perf_counter()
    for study in range(n_studies):
        np_rng = np.random.default_rng([seed, study])
        maps = fixed_maps if over == 'stimuli' else population.subjects(np_rng, N_SUBJECTS[over])
        models, subjects, labels = population.study(np_rng, n, maps)
        options = dict(index=index, over=over, pairs=pairs, labels=labels, n_permutations=0, seed=study)
        result = rsa.infer(models, subjects, **options)
        results.append(result)
        # As for these models alone.
        covariance, p = result.covariance[np.ix_(of_equal, of_equal)], result.p_differences[first, second]
        family_wise.append(family_wise_p(p, covariance, np.random.default_rng(study), 2000).min() <= 0.05)
    m = len(LEVELS)
    values = np.stack([r.values[:m] for r in results])
    truth = values.mean(axis=0) if truth is None else truth
    hits = np.array([(r.low[:m] <= truth) & (truth <= r.high[:m]) for r in results])
    spread, errors = values.std(axis=0), np.mean([r.standard_errors[:m] for r in results], axis=0)
    row = {
        'index': index,
        'pairs': pairs,
        'over': over,
        'n_stimuli': n,
        'n_subjects': N_SUBJECTS[over],
        'n_studies': n_studies,
        'seed': seed,
        'seconds': round(time.perf_counter() - started, 1),
        'truth': dict(zip(LEVELS, truth.round(4).tolist())),
        'coverage': {name: rate(x) for name, x in zip(LEVELS, hits.T)},
        'standard_error_over_spread_of_scores': dict(zip(LEVELS, (errors / spread).round(3).tolist())),
        'bias_over_spread_of_scores': dict(zip(LEVELS, ((values.mean(axis=0) - truth) / spread).round(3).tolist())),
        'false_positives': {
            'equal models': rate([r.p_differences[first[0], second[0]] <= 0.05 for r in results]),
            'family-wise': rate(family_wise),
        },
    }
    return {**row, 'outside': outside(row)}


def outside(row: dict) -> list[str]:
    """Names of the rates of a row that are not good enough."""
    checked = [(name, x, COVERS) for name, x in row['coverage'].items()]
    checked += [(name, x, REJECTS) for name, x in row['false_positives'].items()]
    return [name for name, x, (low, high) in checked if not low <= x['rate'] <= high]


def line(row: dict) -> str:
    """A row of the Markdown table, in per cent; rates outside of what is good enough are bold."""
    rates = {**row['coverage'], **row['false_positives']}
    shown = [
        f'**{100 * x["rate"]:.1f}**' if k in row['outside'] else f'{100 * x["rate"]:.1f}' for k, x in rates.items()
    ]
    return '| ' + ' | '.join([row['index'], row['pairs'], row['over'], str(row['n_stimuli']), *shown]) + ' |'


def settings() -> list[tuple[str, str, str, int]]:
    """Index, pairs, over and number of stimuli of every row."""
    rows = list(itertools.product(('spearman', 'pearson'), ('all',), N_SUBJECTS, (20, 40, 80)))
    rows += itertools.product(('spearman', 'pearson'), ('within', 'partial'), N_SUBJECTS, (40,))
    rows += itertools.product(('cosine',), ('all',), N_SUBJECTS, (20, 40))  # its bootstrap samples take long
    rows.append(('cosine', 'within', 'stimuli', 40))
    rows += itertools.product(('whitened_pearson',), ('all',), N_SUBJECTS, (20, 40, 80))
    rows += itertools.product(('whitened_cosine',), ('all',), N_SUBJECTS, (40,))
    return rows


def machine() -> dict:
    """Hardware and versions."""
    cpu = Path('/proc/cpuinfo')
    names = [line.split(':')[1].strip() for line in cpu.read_text().splitlines() if line.startswith('model name')]
    packages = ('humalign_jax', 'jax', 'numpy', 'scipy')
    return {
        'cpu': names[0] if names else platform.processor(),
        'cpu_count': os.cpu_count(),
        'devices': [str(device) for device in jax.devices()],
        'python': platform.python_version(),
        **{package: importlib.metadata.version(package) for package in packages},
    }


def main() -> None:
    """Runs all settings and writes the results."""
    parser = argparse.ArgumentParser()
    parser.add_argument('--studies', type=int, default=1000)
    parser.add_argument('--seed', type=int, default=701)
    parser.add_argument('--only', nargs='*', help='indices', default=[*dict.fromkeys(row[0] for row in settings())])
    parser.add_argument('--missing', action='store_true', help='only rows that the file of results lacks')
    parser.add_argument('--path', type=Path, default=Path(__file__).parent / 'results' / 'rsa_calibration.json')
    options = parser.parse_args()
    names = ('index', 'pairs', 'over', 'n_stimuli')
    rows, truths = {}, {}
    if options.path.exists():
        known = storage.read_json(options.path)['settings']
        rows = {tuple(row[name] for name in names): row for row in known if 'pairs' in row}
    for setting in settings():
        index, pairs, over, _ = setting
        if index not in options.only or (options.missing and setting in rows):
            continue
        if not index.startswith('whitened') and (pairs, over) not in truths:
            indices = [x for x, *rest in settings() if rest[:2] == [pairs, over] and not x.startswith('whitened')]
            population = Population(pairs, 'euclidean')
            maps = population.subjects(np.random.default_rng(1), N_SUBJECTS[over]) if over == 'stimuli' else None
            truths[pairs, over] = population.truth([x for x in dict.fromkeys(indices) if x in options.only], maps)
        truth = truths.get((pairs, over), {}).get(index)
        rows[setting] = calibrate(*setting, truth, n_studies=options.studies, seed=options.seed)
        print(line(rows[setting]), rows[setting]['seconds'], flush=True)
        storage.write_json(options.path, {'machine': machine(), 'settings': [rows[s] for s in settings() if s in rows]})


if __name__ == '__main__':
    main()
