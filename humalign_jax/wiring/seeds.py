"""Several seeds of one training config: `config.train.n_seeds`.

    <workdir>/seed_0/       what the run with config.seed=0 leaves, opened like any run
    <workdir>/seed_1/       the same of config.seed=1, and so on
    <workdir>/scores.jsonl  mean of each score over the seeds, with its interval, standard deviation and the seeds

All seeds are trained in one program (`train.many_seeds`). Then each is scored by its experiment, one after the other.
"""

import contextlib
import dataclasses
import pathlib
from collections import Counter
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

import numpy as np
from absl import logging
from ml_collections import ConfigDict
from scipy import stats

from humalign_jax import lock, storage, workdir
from humalign_jax.records import Score
from humalign_jax.train import many_seeds
from humalign_jax.wiring import training

_MOST_SEED = 2**32 - 1


def run(experiment: ModuleType, config: ConfigDict, folder: pathlib.Path) -> None:
    """Trains and scores `config.train.n_seeds` seeds, or goes on with them, and writes their mean scores.

    Args:
        experiment: The module of `config.experiment`.
        config: Its config.
        folder: Folder of all seeds, whose lock this process holds.

    Raises:
        ValueError: The experiment does not train, or cannot train several seeds.
    """
    configs = {folder / f'seed_{one.seed}': one for one in _configs(experiment, config)}
    with contextlib.ExitStack() as stack:
        for place in configs:
            stack.enter_context(lock.held(place))
        left = {place: one for place, one in configs.items() if not workdir.is_complete(place)}
        for place, one in left.items():
            workdir.begin(one, place)
        if left:
            _train(experiment, configs)
        for place, one in left.items():
            experiment.run(one, str(place))
            workdir.mark_complete(place)
    of_seeds = [[Score.from_json(row) for row in storage.read_jsonl(place / 'scores.jsonl')] for place in configs]
    training.write_scores(folder, over_seeds(of_seeds, [one.seed for one in configs.values()]))


def over_seeds(scores: Sequence[Sequence[Score]], seeds: Sequence[int]) -> list[Score]:
    """Means of scores over seeds, with Student's 95 % intervals; their provenance has `seeds`, `values` and `sd`.

    Scores of different seeds are the same score if name and provenance agree, numbers and hashes aside. A score that
    some seed lacks is left out and named in the log.

    Args:
        scores: Of each seed, in the order of `seeds`.
        seeds: Two or more seeds.
    """
    tables = [_by_identity(of_seed) for of_seed in scores]
    shared = [key for key in tables[0] if all(key in table for table in tables)]
    missing = {key[0] for table in tables for key in table} - {key[0] for key in shared}
    if missing:
        logging.warning('Without a mean over seeds, because a seed lacks the score: %s.', ', '.join(sorted(missing)))
    return [_mean([table[key] for table in tables], seeds) for key in shared]


def _mean(scores: Sequence[Score], seeds: Sequence[int]) -> Score:
    first, values = scores[0], np.array([score.value for score in scores])
    mean, sd = float(values.mean()), float(values.std(ddof=1))
    half = float(stats.t.ppf(0.975, len(values) - 1)) * sd / np.sqrt(len(values))
    common = {
        key: value
        for key, value in first.provenance.items()
        if all(score.provenance.get(key) == value for score in scores)
    }
    described = {
        'seeds': list(seeds),
        'values': [None if np.isnan(value) else float(value) for value in values],
        'sd': None if np.isnan(sd) else sd,
        'interval_of_each_seed': first.interval,
    }
    return dataclasses.replace(
        first,
        value=mean,
        low=mean - half,
        high=mean + half,
        n=len(values),
        interval=f'Student t over {len(values)} seeds',
        provenance={**common, **described},
    )


def _by_identity(scores: Sequence[Score]) -> dict[tuple, Score]:
    """Scores by name, words of their provenance, and a count where these repeat."""
    seen: Counter[tuple] = Counter()
    table = {}
    for score in scores:
        words: Mapping[str, Any] = score.provenance
        key = (
            score.name,
            tuple(sorted((k, v) for k, v in words.items() if isinstance(v, str) and not k.endswith('sha256'))),
        )
        table[*key, seen[key]] = score
        seen[key] += 1
    return table


def _configs(experiment: ModuleType, config: ConfigDict) -> list[ConfigDict]:
    """The config of each seed's own run.

    Raises:
        ValueError: The experiment does not train, or a seed is too large.
    """
    if not hasattr(experiment, 'make_task'):
        raise ValueError(f'config.train.n_seeds is of experiments that train, which {config.experiment!r} does not.')
    last = config.seed + config.train.n_seeds - 1
    if last > _MOST_SEED:
        raise ValueError(f'config.seed + config.train.n_seeds - 1 = {last}, but the largest seed is {_MOST_SEED}.')
    configs = []
    for seed in range(config.seed, last + 1):
        one = config.copy_and_resolve_references()
        one.seed, one.train.n_seeds = seed, 1
        configs.append(one)
    return configs


def _train(experiment: ModuleType, configs: Mapping[pathlib.Path, ConfigDict]) -> None:
    """Trains all seeds to the end of the plan, and leaves the choice of the best checkpoint to the runs."""
    tasks = []
    for place, one in configs.items():
        if hasattr(experiment, 'make_training_task'):
            tasks.append(experiment.make_training_task(one, place))
        else:
            tasks.append(experiment.make_task(one))
        workdir.check_same_data(place, tasks[-1].digests())
    many_seeds.fit_seeds(tasks, list(configs), [training.make_watch(task) for task in tasks])
