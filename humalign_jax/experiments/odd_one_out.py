"""Which of three stimuli a representation makes the odd one out, compared with people's choices."""

import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from absl import logging
from ml_collections import ConfigDict

from humalign_jax import devices, progress, settings, storage
from humalign_jax.alignment import odd_one_out, triplet_choices, triplet_scores
from humalign_jax.human_data import Triplets
from humalign_jax.records import Features, Score
from humalign_jax.wiring import triplets as wiring

KEYS = (
    'experiment', 'seed', 'n_devices', 'features', 'arrays', 'names', 'groups', 'layers', 'baselines', 'stimuli',
    'join', 'measures', 'embeddings', 'reference', 'human', 'choices', 'repeats_within', 'n_bootstrap', 'simulated',
)  # fmt: skip
PER = ('participant', 'all')  # whose temperature and position bias are fitted


def run(config: ConfigDict, workdir: str) -> None:
    """Writes `scores.jsonl` into the workdir.

    Raises:
        ValueError: A file is missing or wrong, or representations and trials do not fit.
    """
    _check(config)
    if config.simulated.n_triplets > 0:
        triplets, sources = wiring.simulate(config)
    else:
        triplets = wiring.load_triplets(**settings.plain(config.human), seed=config.seed)
        sources = wiring.find_sources(config)
    read = [wiring.read_source(source, config, triplets.ids, triplets.name) for source in sources]
    n_given = len(triplets)
    if config.join == 'shared':  # all representations are scored on the same trials
        triplets = wiring.shared_trials(triplets, sources, read)
    about = {
        **triplet_scores.about_triplets(triplets),
        'stimuli_sha256': storage.array_digest(triplets.ids),
        'seed': config.seed,
        **({'n_trials_unknown_stimuli': n_given - len(triplets)} if len(triplets) < n_given else {}),
    }
    scores = _scores(config, triplets, sources, read, about)
    storage.write_jsonl(pathlib.Path(workdir) / 'scores.jsonl', [score.to_json() for score in scores])
    for score in scores:
        said = score.provenance
        if said['trials'] == triplet_scores.ALL:
            logging.info(
                '%s, %s: %s %.4f [%.4f, %.4f] over %d %s', said['model'], said.get('measure', 'no features'),
                score.name, score.value, score.low, score.high, score.n, said['over'],
            )  # fmt: skip


def _scores(
    config: ConfigDict,
    triplets: Triplets,
    sources: list[wiring.Source],
    read: list[tuple[Features, str]],
    about: Mapping[str, Any],
) -> list[Score]:
    """Accuracy and choice model of every representation and measure, differences, and the baseline of places."""
    run_devices = devices.local_devices(config.n_devices, where='config.n_devices')
    options: dict[str, Any] = {'n_bootstrap': config.n_bootstrap, 'seed': config.seed}
    pooled = config.choices.per == 'all'
    about_fit = {'folds': config.choices.folds, 'penalty': config.choices.penalty}
    fit: dict[str, Any] = {**about_fit, 'seed': config.seed, 'pooled': pooled, 'devices': run_devices}
    about_fit['temperature_per'] = config.choices.per
    ceilings = triplet_scores.ceilings_of(triplets, within=config.repeats_within)
    scores: list[Score] = []
    found: dict[tuple[str, str], triplet_scores.Predicted] = {}
    groups: dict[tuple[str, str], list[triplet_scores.Predicted]] = {}
    pairs = [(source, got, measure) for source, got in zip(sources, read) for measure in source.measures]
    for source, (features, joined), measure in progress.each(pairs, 'representations'):
        trials = triplets.join(features.ids, what=source.name)
        said = {**about, **wiring.provenance_of(source, features, joined), 'measure': measure}
        said['simulated'] = bool(about['simulated'] or source.provenance.get('simulated'))
        predictions = odd_one_out.predict(np.asarray(features.values), trials, measure, devices=run_devices)
        choices = None
        if np.ptp(predictions.support) > 0:
            choices = triplet_choices.cross_validate(predictions.support, trials, **fit)
        else:
            logging.warning(
                '%s, %s: all similarities are equal, so that no choice model is fitted.', source.name, measure
            )
        one = triplet_scores.Predicted(source.name, said, predictions.credit, choices)
        found[source.name, measure] = one
        scores += triplet_scores.scores_of(one, triplets, about_fit, ceilings, **options)
        if source.group:
            groups.setdefault((source.group_name, measure), []).append(one)
    for (name, measure), members in groups.items():
        if (name, measure) in found:
            raise ValueError(f'config.groups: {name!r} is the name of a representation too; name the group otherwise.')
        found[name, measure] = triplet_scores.pooled(members, name)
        scores += triplet_scores.scores_of(found[name, measure], triplets, about_fit, ceilings, **options)
    if config.reference:
        scores += _differences(config, triplets, found, config.reference, about)
    if groups:  # the first group is what the others are ablations of
        of_groups = {key: found[key] for key in groups}
        scores += _differences(config, triplets, of_groups, next(iter(groups))[0], about)
    if triplets.in_order:
        support = np.zeros((len(triplets), 3), np.float32)
        alone = triplet_choices.cross_validate(support, triplets, with_support=False, **fit)
        said = {**about, **about_fit, 'model': triplet_scores.POSITION_BIAS, 'baseline': True}
        scores += triplet_scores.choice_scores(alone, triplets, said, ceilings, **options)
    return scores


def _differences(
    config: ConfigDict,
    triplets: Triplets,
    found: Mapping[tuple[str, str], triplet_scores.Predicted],
    reference: str,
    about: Mapping[str, Any],
) -> list[Score]:
    """Accuracy of each representation or group less that of the reference, by the same measure."""
    if reference not in {name for name, _ in found}:
        names = dict.fromkeys(name for name, _ in found)
        raise ValueError(f'config.reference={reference!r} is no representation here, but {", ".join(names)}.')
    scores = []
    for (name, measure), one in found.items():
        other = found.get((reference, measure))
        if name != reference and other is not None:
            said = {**about, 'measure': measure, **triplet_scores.about_group(one)}
            scores += triplet_scores.difference_scores(
                (name, one.credit), (reference, other.credit), triplets, said, n_bootstrap=config.n_bootstrap,
                seed=config.seed,
            )  # fmt: skip
    return scores


def _check(config: ConfigDict) -> None:
    """Raises ValueError for a section or value that cannot be, before anything is read."""
    settings.check_keys(config, KEYS, 'config')
    for section, keys in (
        ('stimuli', ('dataset', 'split', 'ids_file')),
        ('human', ('name', 'root', 'file', 'numbering', 'n_triplets', 'stimuli_file')),
        ('choices', ('folds', 'per', 'penalty')),
        ('simulated', ('n_stimuli', 'n_triplets', 'n_subjects')),
    ):
        settings.check_keys(config[section], keys, f'config.{section}')
    if config.join not in wiring.JOINS:
        raise ValueError(f'config.join={config.join!r} must be one of {", ".join(wiring.JOINS)}.')
    if config.choices.per not in PER:
        raise ValueError(f'config.choices.per={config.choices.per!r} must be one of {", ".join(PER)}.')
    unknown = [measure for measure in tuple(config.measures) if measure not in odd_one_out.MEASURES]
    if unknown or not config.measures:
        raise ValueError(f'config.measures={tuple(config.measures)} must be some of {", ".join(odd_one_out.MEASURES)}.')
    if bool(config.stimuli.dataset) != bool(config.stimuli.split):
        raise ValueError('config.stimuli.dataset and config.stimuli.split say what rows are together: give both.')
