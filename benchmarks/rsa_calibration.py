"""Are the intervals and tests of rsa.infer what they say? Simulated studies with a known truth.

    python benchmarks/rsa_calibration.py --studies=1000
    python benchmarks/rsa_calibration.py --studies=500 --only spearman rho_a    # keeps the other rows of the results
    python benchmarks/rsa_calibration.py --populations clusters                 # likewise
    python benchmarks/rsa_calibration.py --studies=1000 --models flexible       # likewise

Every stimulus has latent features, Gaussian ones but for the last rows of the results (of five known categories where
only pairs within or between them count, or their RDM is partialled out); a model or a subject sees a fixed linear map
of them plus features of its own. New stimuli are new draws of all of them; new subjects have new maps. A study samples
n stimuli and k subjects of that population; the truth is the score over all stimuli (and subjects): the mean over
60,000 stimuli, 400 at a time (and 3,000 subjects), known to 2 to 3 % of the spread of the scores of 40 stimuli. (With
6,000 stimuli it was off by 17 % of that spread, which cost 1 % of coverage.) For flexible models, whose cross-validated
scores depend on how many stimuli they are fitted to, and for similarities of whole geometries it is the mean of the
scores over all studies. The four models 'at the ceiling' are equally good, and as good as the lower noise ceiling: the
noise that makes them so is sought over the same 60,000 stimuli. No hypothesis that is tested of them is false, so that
they show what the corrections for several tests, and the test against the ceiling, do.

Writes benchmarks/results/rsa_calibration.json: how often 95 % intervals hold the truth, and how often tests at 5 %
reject a true hypothesis, each with its binomial standard error; and how far scores of so few stimuli are from the truth
on average, which no interval but cosine's takes into account. Choices between ways to infer were made with other seeds
than that of the committed rows, but for one: how much the correction of `quantiles.bounded_variance` counts, and
Fisher's z for Spearman, were settled with its studies of Spearman with 20 stimuli in view.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
from scipy.interpolate import CubicSpline
from scipy.optimize import brentq
from scipy.spatial.distance import pdist

from humalign_jax import rsa, storage
from humalign_jax.rsa.inference import infer
from humalign_jax.rsa.similarity.ceiling import subject_ceilings

DIM = 8
SUBJECT_NOISE = 1.0
PAIRS_OF = {'within categories': 'within', 'between categories': 'between', 'categories partialled out': 'partial'}
POPULATIONS = ('gaussian', 'clusters', 'heavy tails', 'squared distances', *PAIRS_OF)
WHOLE = ('whitened_pearson', 'whitened_cosine', 'bures')  # of squared distances
SLOW = ('kendall_tau_a', *WHOLE)  # few draws and permutations, on which no interval depends
NAMES = {
    'fixed': ('unrelated', 'fair', 'equally fair', 'good'),
    'flexible': ('fair', 'equally fair', 'weighted', 'selected'),
    'at the ceiling': ('fair', 'equally fair', 'third', 'fourth'),
}
N_REPEATS, N_MANY = 150, 400  # of stimuli for a truth


class Population:
    """Stimuli of one of `POPULATIONS`, seen by m models and any number of subjects."""

    n_many_subjects = 20  # new ones with each of the `N_REPEATS`

    def __init__(self, kind: str, model_noise: list[float], subject_noise: float, seed: int) -> None:
        np_rng = np.random.default_rng(seed)
        self.kind = kind
        self.model_noise, self.subject_noise = model_noise, subject_noise
        self.maps = [np.linalg.qr(np_rng.normal(size=(DIM, DIM)))[0] for _ in model_noise]

    def stimuli(self, np_rng: np.random.Generator, n: int) -> np.ndarray:
        """Features of n new stimuli, [n, d]."""
        if self.kind == 'clusters':
            return 2.5 * np.eye(5, DIM)[np_rng.integers(5, size=n)] + 0.6 * np_rng.normal(size=(n, DIM))
        scales = np.linspace(2.0, 0.5, DIM)
        if self.kind == 'heavy tails':  # of t with 4 degrees of freedom: distances have no fourth moment
            return np_rng.standard_t(4, size=(n, DIM)) * scales
        return np_rng.normal(size=(n, DIM)) * scales

    def subjects(self, np_rng: np.random.Generator, k: int) -> np.ndarray:
        """Each subject's way of seeing, [k, d, d]: a shared identity and an own part."""
        return np.eye(DIM) + 0.4 * np_rng.normal(size=(k, DIM, DIM))

    def study(self, np_rng: np.random.Generator, n: int, maps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """RDMs of the models, [m, p], and of the subjects, [k, p], for n new stimuli."""
        shared = self.stimuli(np_rng, n)
        own_features = np_rng.normal(size=(len(self.maps), n, DIM))
        models = [
            shared @ own + noise * features if np.isfinite(noise) else features  # infinite: nothing shared is seen
            for own, noise, features in zip(self.maps, self.model_noise, own_features)
        ]
        subjects = [shared @ own + self.subject_noise * np_rng.normal(size=(n, DIM)) for own in maps]
        metric = 'sqeuclidean' if self.kind == 'squared distances' else 'euclidean'
        return np.stack([pdist(x, metric) for x in models]), np.stack([pdist(x, metric) for x in subjects])

    def scores(self, models: np.ndarray, subjects: np.ndarray, index: str) -> np.ndarray:
        """Mean score of each model over the subjects of a study, [m, p], [k, p] -> [m]."""
        return rsa.compare(models, subjects, index).mean(axis=1)

    def restriction(self) -> dict:
        """What `rsa.infer` has to know of the pairs that count in the study made last."""
        return {}

    def truth(self, index: str, maps: np.ndarray | None) -> np.ndarray:
        """Mean score of each model over many stimuli, and over many subjects where no `maps` are given, [m]."""
        scores = []
        for repeat in range(N_REPEATS):
            np_rng = np.random.default_rng([2, repeat])
            of_subjects = self.subjects(np_rng, self.n_many_subjects) if maps is None else maps
            scores.append(self.scores(*self.study(np_rng, N_MANY, of_subjects), index))
        truth = np.mean(scores, axis=0)
        # As good as each other are those of the same noise: distances do not change with maps, which are rotations.
        return np.array([truth[np.equal(self.model_noise, noise)].mean() for noise in self.model_noise])


class Categories(Population):
    """Stimuli of five known categories, each drawn as often as the others on average; some of the pairs count."""

    def stimuli(self, np_rng: np.random.Generator, n: int) -> np.ndarray:
        """Features of n new stimuli, [n, d], with as much of their own as of their categories."""
        self.labels = np_rng.integers(5, size=n)
        return 2.5 * np.eye(5, DIM)[self.labels] + np_rng.normal(size=(n, DIM)) * np.linspace(2.0, 0.5, DIM)

    def scores(self, models: np.ndarray, subjects: np.ndarray, index: str) -> np.ndarray:
        """Mean score of each model over the subjects of the study made last, of the pairs that count."""
        if PAIRS_OF[self.kind] == 'partial':
            options = {'control': rsa.category_rdm(self.labels)}
        else:
            mask = {'within': rsa.within_category, 'between': rsa.between_category}[PAIRS_OF[self.kind]]
            options = {'mask': mask(self.labels)}
        return rsa.compare(models, subjects, index, **options).mean(axis=1)

    def restriction(self) -> dict:
        """Categories of the study made last, and which pairs count."""
        return {'labels': self.labels, 'pairs': PAIRS_OF[self.kind]}


class SameStimuli(Population):
    """The same n stimuli in every study, and models that see them as ever: only subjects are new."""

    n_many_subjects = 200

    def __init__(self, kind: str, model_noise: list[float], subject_noise: float, seed: int, n: int) -> None:
        super().__init__(kind, model_noise, subject_noise, seed)
        np_rng, signs = np.random.default_rng([seed, 3]), np.ones((4, DIM))
        signs[1::2, : DIM // 2] = signs[2:, DIM // 2 :] = -1.0
        self.shared = (self.stimuli(np_rng, n // 4) * signs[:, None]).reshape(n, DIM)
        own, features = self.maps[0], np_rng.normal(size=(n, DIM))
        self.models = []
        for j, noise in enumerate(model_noise):
            seen = self.shared @ own + noise * features if np.isfinite(noise) else np_rng.normal(size=(n, DIM))
            reflected = model_noise[:j].count(noise)  # as often as there is one as noisy before it
            order = np.arange(n).reshape(4, -1)[np.arange(4) ^ reflected].ravel()
            self.models.append(pdist(seen[order]))

    def study(self, np_rng: np.random.Generator, n: int, maps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """RDMs of the models, the same as ever, [m, p], and of the subjects, [k, p]."""
        noise = self.subject_noise * np_rng.normal(size=(len(maps), *self.shared.shape))
        return np.stack(self.models), np.stack([pdist(x) for x in self.shared @ maps + noise])


def noise_at_ceiling(make: Callable[[list[float]], Population], index: str, maps: np.ndarray | None, k: int) -> float:
    """Noise of a model that is as good as the other subjects, of k that are `maps` or new each time."""
    noises = np.linspace(0.0, 2.0, 9)
    population, gaps = make(noises.tolist()), []
    for repeat in range(N_REPEATS * population.n_many_subjects // Population.n_many_subjects):
        np_rng = np.random.default_rng([2, repeat])
        of_subjects = population.subjects(np_rng, k) if maps is None else maps
        models, subjects = population.study(np_rng, N_MANY, of_subjects)
        ceiling = subject_ceilings(subjects, index)[0].mean()
        gaps.append(rsa.compare(models, subjects, index).mean(axis=1) - ceiling)
    # The gap falls smoothly with the noise.
    return float(brentq(CubicSpline(noises, np.mean(gaps, axis=0)), noises[0], noises[-1]))


def rate(hits: list[bool] | np.ndarray) -> dict[str, float]:
    """Mean and binomial standard error."""
    mean = float(np.mean(hits))
    return {'rate': round(mean, 4), 'standard_error': round(float(np.sqrt(mean * (1 - mean) / np.size(hits))), 4)}


def simulate(
    kind: str, index: str, bootstrap: str, n: int, k: int, models: str, n_studies: int, seed: int
) -> tuple[np.ndarray, list[rsa.InferenceResult], float]:
    """True scores of four models, [4], what is inferred from each study, and the seconds that took."""

    def make(noise: list[float]) -> Population:
        if bootstrap == 'subjects':
            return SameStimuli(kind, noise, SUBJECT_NOISE, 0, n)
        return (Categories if kind in PAIRS_OF else Population)(kind, noise, SUBJECT_NOISE, 0)

    # Model 0 sees nothing shared; 1 and 2 are equally good; 3 is better.
    population = make([np.inf, 1.5, 1.5, 0.5])
    fixed_maps = population.subjects(np.random.default_rng(1), k)
    of_truth = fixed_maps if bootstrap == 'stimuli' else None
    if models == 'at the ceiling':
        population = make([noise_at_ceiling(make, index, of_truth, k)] * 4)
    options = dict(index=index, bootstrap=bootstrap, n_bootstrap=200, n_permutations=199)
    if index in SLOW:
        options |= dict(n_bootstrap=20, n_permutations=19)
    if models == 'at the ceiling':
        options |= dict(n_permutations=0)
    if models == 'flexible':  # draws take long and no interval depends on them; the unrelated one is no model here
        options |= dict(n_bootstrap=40, n_permutations=0)
    results, started = [], time.perf_counter()
    for study in range(n_studies):
        np_rng = np.random.default_rng([seed, study])
        maps = fixed_maps if bootstrap == 'stimuli' else population.subjects(np_rng, k)
        listed, subjects = population.study(np_rng, n, maps)
        if models == 'flexible':
            fixed = [rsa.Fixed(listed[i : i + 1], NAMES[models][i - 1]) for i in (1, 2)]
            listed = [*fixed, rsa.Weighted(listed, 'weighted'), rsa.Selected(listed, 'selected')]
        results.append(rsa.infer(listed, subjects, **options, **population.restriction(), seed=study))
    seconds = time.perf_counter() - started
    if models == 'flexible' or index in WHOLE:
        return np.mean([r.values for r in results], axis=0), results, seconds
    return population.truth(index, of_truth), results, seconds


def rejections(results: list[rsa.InferenceResult], models: str) -> dict[str, dict[str, float]]:
    """How often tests at 5 % reject true hypotheses."""
    equal = NAMES[models].index('fair'), NAMES[models].index('equally fair')
    of_equal = rate([r.p_differences[equal] <= 0.05 for r in results])
    if models == 'fixed' and results[0].bootstrap != 'subjects':  # the permutation test is of other stimuli
        unrelated = rate([r.p_zero[0] <= 0.05 for r in results])
        return {'unrelated model against zero': unrelated, 'equal models': of_equal}
    if models != 'at the ceiling':
        return {'equal models': of_equal}
    corrections = {
        'uncorrected': 'p_differences',
        'family-wise': 'p_differences_fwer',
        'false-discovery rate': 'p_differences_fdr',
    }
    of_any = {
        f'any of six pairs, {corrected}': rate([bool((getattr(r, name) <= 0.05).any()) for r in results])
        for corrected, name in corrections.items()
    }
    of_ceiling = rate([r.p_ceiling[0] <= 0.05 for r in results])
    return {'equal models': of_equal, **of_any, 'first model against the ceiling': of_ceiling}


def calibrate(kind: str, index: str, bootstrap: str, n: int, k: int, models: str, n_studies: int, seed: int) -> dict:
    """Coverage and false-positive rates of one setting."""
    truth, results, seconds = simulate(kind, index, bootstrap, n, k, models, n_studies, seed)
    names = NAMES[models]
    values = np.stack([r.values for r in results])
    spread, errors = values.std(axis=0), np.mean([r.standard_errors for r in results], axis=0)

    def coverage(intervals: list[tuple[np.ndarray, np.ndarray]]) -> dict[str, dict[str, float]]:
        hits = np.array([(low <= truth) & (truth <= high) for low, high in intervals])
        return {name: rate(x) for name, x in zip(names, hits.T)}

    def of_spread(x: np.ndarray) -> dict[str, float]:
        return dict(zip(names, (x / spread).round(3).tolist()))

    return {
        'population': kind,
        'index': index,
        'bootstrap': bootstrap,
        'n_stimuli': n,
        'n_subjects': k,
        'models': models,
        'n_studies': n_studies,
        'seed': seed,
        'seconds': round(seconds, 1),
        'truth': dict(zip(names, truth.round(4).tolist())),
        'coverage': coverage([(r.low, r.high) for r in results]),
        'coverage_of_bootstrap_percentiles': coverage(
            [tuple(np.quantile(r.draws, [0.025, 0.975], axis=0)) for r in results]
        ),
        'standard_error_over_spread_of_scores': of_spread(errors),
        'bias_over_spread_of_scores': of_spread(values.mean(axis=0) - truth),
        'false_positives': rejections(results, models),
    }


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
    parser.add_argument('--seed', type=int, default=11)
    indices = ['spearman', 'rho_a', 'pearson', 'cosine', 'kendall_tau_a', *WHOLE]
    parser.add_argument('--only', nargs='*', default=indices, choices=indices, help='indices')
    parser.add_argument('--populations', nargs='*', default=POPULATIONS, choices=POPULATIONS)
    parser.add_argument('--models', nargs='*', default=NAMES, choices=NAMES)
    parser.add_argument('--bootstraps', nargs='*', default=infer.BOOTSTRAPS, choices=infer.BOOTSTRAPS)
    options = parser.parse_args()
    settings = [('spearman', 'stimuli', n, 4) for n in (40, 20)] + [('spearman', 'both', 40, k) for k in (12, 5)]
    settings += [('rho_a', 'stimuli', 40, 4), ('spearman', 'stimuli', 80, 4)]
    settings += [('pearson', 'both', 300, 8), ('cosine', 'both', 300, 8)]
    settings += [('pearson', 'stimuli', n, 4) for n in (40, 20, 300)] + [('pearson', 'both', 40, 12)]
    settings += [('cosine', 'stimuli', 20, 4), ('cosine', 'stimuli', 40, 4), ('cosine', 'both', 40, 12)]
    settings += [('kendall_tau_a', 'stimuli', 40, 4)]
    settings += [('spearman', 'subjects', 40, 12), ('spearman', 'subjects', 40, 5), ('pearson', 'subjects', 40, 12)]
    settings = [('gaussian', *setting, 'fixed') for setting in settings]
    for kind in POPULATIONS[1:4]:
        indices = ('pearson',) if kind == 'squared distances' else ('spearman', 'pearson')  # squares keep the ranks
        settings += [(kind, index, 'stimuli', n, 4, 'fixed') for index in indices for n in (20, 40)]
    settings += [('squared distances', index, 'stimuli', n, 4, 'fixed') for index in WHOLE for n in (20, 40)]
    for kind in PAIRS_OF:
        settings += [(kind, index, 'stimuli', 40, 4, 'fixed') for index in ('spearman', 'pearson')]
        settings.append((kind, 'spearman', 'both', 40, 12, 'fixed'))
    flexible = [('spearman', 'stimuli', 40, 4), ('pearson', 'stimuli', 40, 4), ('spearman', 'both', 40, 12)]
    settings += [('gaussian', *setting, 'flexible') for setting in flexible]
    equal = [('spearman', 'stimuli', 20, 4), *((x, 'stimuli', 40, 4) for x in ('spearman', 'pearson', 'cosine'))]
    equal += [('spearman', 'both', 40, 12), ('spearman', 'both', 40, 5)]
    equal += [('pearson', 'both', 40, 12), ('pearson', 'both', 300, 8)]
    equal += [('spearman', 'subjects', 40, 12), ('spearman', 'subjects', 40, 5), ('pearson', 'subjects', 40, 12)]
    settings += [('gaussian', *setting, 'at the ceiling') for setting in equal]
    path = Path(__file__).parent / 'results' / 'rsa_calibration.json'
    names = ('population', 'index', 'bootstrap', 'n_stimuli', 'n_subjects', 'models')
    known = json.loads(path.read_text())['settings']
    rows = {tuple(row[name] for name in names): row for row in known if 'models' in row}
    for setting in settings:
        chosen = zip(setting, (options.populations, options.only, options.bootstraps))
        if all(x in wanted for x, wanted in chosen) and setting[-1] in options.models:
            rows[setting] = calibrate(*setting, options.studies, options.seed)
            print(rows[setting], flush=True)
            storage.write_json(path, {'machine': machine(), 'settings': [rows[s] for s in settings if s in rows]})


if __name__ == '__main__':
    main()
