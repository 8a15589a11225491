"""RSA of networks against people: every layer, by image and by class, with ceilings, baselines and tests over stimuli.

Reads folders of layers (those of `extract`, or anyone's, see `wiring.layer_folders`), all networks at once, and writes

    scores.jsonl                 rsa/<index> of every layer and baseline, rsa/<index>/difference of headline layers
    influence_<pairs>.npz        n times the derivative of each score by each image's weight
    rdm_class_<model>.npy        RDM of class means of the headline layer, condensed; `human` beside the models
    rdm_image_<model>.npy        RDM of the images ordered by class, averaged in at most 100 x 100 blocks
    figures/                     scores with ceilings, layer profiles, RDMs of classes

One image-level RDM is in memory beside people's.

Ceilings are those of split halves: the lower is what another group of as many people would score. The upper, its square
root, takes the error of two groups to be independent. For soft labels it is not: both groups give no answer at all to
what is unlikely, so that the same pairs tie. With simulated observers the distribution that they draw from scores 0.81
where the ceiling is 0.95 to 0.97. A network without such ties may be as good as can be and stay below the band.
"""

import operator
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import scipy.stats
from absl import logging
from ml_collections import ConfigDict

from humalign_jax import progress, rsa, settings, storage
from humalign_jax.records import Rdm, Score
from humalign_jax.report.plots import bars, rdms, style, trends
from humalign_jax.rsa.inference import significance
from humalign_jax.rsa.large import class_level
from humalign_jax.rsa.large.influence import InfluenceScore, Reference, summarise_influence
from humalign_jax.rsa.similarity.ceiling import PAIRS
from humalign_jax.wiring.rsa_entries import (
    CLASS_MEAN,
    HUMAN,
    PIXELS,
    SAME,
    Entry,
    Study,
    check_memory,
    features_of,
    human_rdm,
    load_entries,
    rdm_of,
    simulate_entries,
)

_KEYS = (
    'experiment', 'seed', 'n_devices', 'features', 'stimuli', 'names', 'layers', 'headline', 'human', 'measure',
    'human_measure', 'index', 'levels', 'pairs', 'baselines', 'n_splits', 'n_bootstrap', 'n_draws', 'simulated',
)  # fmt: skip
LEVELS = ('image', 'class')
CEILING = 'lower: two full sets of answers, foretold from halves and quarters; upper: its root'
MAX_CELLS = 100  # a side of the RDMs kept for display


def run(config: ConfigDict, workdir: str) -> None:
    """Writes scores, influences, RDMs for display and figures into the workdir.

    Raises:
        ValueError: A setting cannot be, files do not fit together, or memory does not suffice.
    """
    _check(config)
    folder = pathlib.Path(workdir)
    study = simulate_entries(config) if config.simulated.n_models > 0 else load_entries(config)
    check_memory(study)
    scores: list[Score] = []
    if 'image' in config.levels:
        scores += _image_level(config, study, folder)
    if 'class' in config.levels:
        scores += _class_level(config, study, folder)
    storage.write_jsonl(folder / 'scores.jsonl', [score.to_json() for score in scores])
    _draw(config, study, scores, folder)
    for score in scores:
        about = score.provenance
        if about.get('headline') or about.get('baseline'):
            logging.info('%s, %s level, %s pairs, %s %s: %.3f [%.3f, %.3f]', score.name, about['level'], about['pairs'],
                         about['model'], about['layer'], score.value, score.low, score.high)  # fmt: skip


def _check(config: ConfigDict) -> None:
    settings.check_keys(config, _KEYS, 'config')
    for key, known in (
        ('levels', LEVELS),
        ('pairs', PAIRS),
        ('baselines', (SAME, CLASS_MEAN, PIXELS)),
    ):
        for value in tuple(config[key]):
            if value not in known:
                raise ValueError(f'config.{key} has {value!r}.{settings.nearest(value, known)}')
    if config.index not in ('spearman', 'pearson'):
        raise ValueError(f"config.index={config.index!r} must be 'spearman' or 'pearson'.")
    if config.n_splits < 1 or config.n_bootstrap < 20 or config.n_draws < 100:
        raise ValueError(
            f'config.n_splits={config.n_splits} must be 1 or more, n_bootstrap={config.n_bootstrap} 20 or more, and '
            f'n_draws={config.n_draws} 100 or more.'
        )


def _image_level(config: ConfigDict, study: Study, folder: pathlib.Path) -> list[Score]:
    """Scores over pairs of images."""
    pairs = tuple(config.pairs)
    options = dict(index=config.index, labels=study.labels, pairs=pairs)
    ceilings = _image_ceilings(config, study, options)
    human = human_rdm(study.answers.probabilities, study, config)
    _keep_picture(folder, human, study, HUMAN, {'measure': config.human_measure})
    reference = Reference(human, **options)
    found: dict[str, list[InfluenceScore]] = {kind: [] for kind in pairs}
    read: list[Entry] = []
    for entry in progress.each(study.entries, 'image-level RSA', operator.attrgetter('key')):
        rdm = rdm_of(entry, study, config)
        if rdm is None:
            continue
        read.append(entry)
        for kind, score in reference.influence(rdm).items():
            found[kind].append(score)
        if entry.key in study.headline.values() or entry.model == PIXELS:
            _keep_picture(folder, rdm, study, entry.model, {'layer': entry.layer, 'measure': entry.measure})
        del rdm
    scores: list[Score] = []
    for kind in pairs:
        with storage.atomic_file(folder / f'influence_{kind}.npz') as file:
            arrays = {'names': np.array([one.name for one in found[kind]]), 'ids': study.ids}
            np.savez(file, **arrays, influence=np.stack([one.influence for one in found[kind]]).astype(np.float32))
        scores += _image_scores(config, study, kind, read, found[kind], ceilings[kind])
    return scores


def _image_ceilings(config: ConfigDict, study: Study, options: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    """Reliability and its square root for each kind of pairs; those of `rsa.split_half`, of all kinds at once."""
    if study.answers.counts.sum(axis=1).min() < 2:
        logging.warning('Some images have one answer only: there is no noise ceiling.')
        return dict.fromkeys(options['pairs'], (float('nan'), float('nan')))

    def agreement(*parts: np.ndarray) -> Mapping[str, float]:
        one, other = (human_rdm(probabilities, study, config) for probabilities in parts)
        return Reference(one, **options).values(other)

    found = rsa.agreements(study.answers.counts, agreement, n_splits=config.n_splits, seed=config.seed)
    splits = {kind: rsa.SplitHalf(*([x[kind] for x in part] for part in found)) for kind in options['pairs']}
    return {kind: (split.reliability, split.ceiling) for kind, split in splits.items()}


def _image_scores(
    config: ConfigDict,
    study: Study,
    kind: str,
    entries: Sequence[Entry],
    found: Sequence[InfluenceScore],
    ceiling: tuple[float, float],
) -> list[Score]:
    """Scores of all entries that have one, and differences of the headline layers and baselines."""
    defined = [(entry, score) for entry, score in zip(entries, found) if np.isfinite(score.value)]
    if not defined:
        return []
    result = summarise_influence([score for _, score in defined], n_draws=100, seed=config.seed)
    n, interval = len(study.ids), "infinitesimal jackknife over images, t of Fisher's z"
    scores = [
        Score(
            f'rsa/{config.index}', float(result.values[i]), float(result.low[i]), float(result.high[i]), n, interval,
            *ceiling,
            {
                **_about(config, study, entry, 'image', kind),
                'n_pairs': result.n_pairs,
                'standard_error': float(result.standard_errors[i]),
                'p_zero': float(result.p_zero[i]),
            },
        )
        for i, (entry, _) in enumerate(defined)
    ]  # fmt: skip
    compared = [(entry, score) for entry, score in defined if entry.key in study.compared]
    result = summarise_influence([score for _, score in compared], n_draws=config.n_draws, seed=config.seed)
    tests = {'p': result.p_differences, 'p_fwer': result.p_differences_fwer, 'p_fdr': result.p_differences_fdr}
    return scores + _differences(
        config, study, [entry for entry, _ in compared], 'image', kind,
        (result.differences, result.difference_low, result.difference_high), tests,
        'infinitesimal jackknife over images, t',
    )  # fmt: skip


def _class_level(config: ConfigDict, study: Study, folder: pathlib.Path) -> list[Score]:
    """Scores over pairs of classes, with a bootstrap of images within classes."""
    weights = class_level.class_weights(study.labels, config.n_bootstrap, seed=config.seed)
    human = class_level.class_rdms(study.answers.probabilities, study.labels, config.human_measure, weights)
    _keep_class_rdm(folder, human.values, study, HUMAN, {'measure': config.human_measure})
    split = rsa.split_half(
        study.answers.counts, config.human_measure, labels=study.labels, level='class', index=config.index,
        n_splits=10 * config.n_splits, seed=config.seed,
    )  # fmt: skip
    entries, values, draws, p_zero = [], [], {}, []
    # The class-mean label is people's own answer here, and same category has one value for all pairs.
    varied = [entry for entry in study.entries if entry.model not in (SAME, CLASS_MEAN)]
    for entry in progress.each(varied, 'class-level RSA', operator.attrgetter('key')):
        model = class_level.class_rdms(features_of(entry, study).values, study.labels, entry.measure, weights)
        value, drawn = class_level.class_scores(model, human, config.index)
        if entry.key in study.headline.values() or entry.model == PIXELS:
            _keep_class_rdm(folder, model.values, study, entry.model, {'layer': entry.layer, 'measure': entry.measure})
        if not np.isfinite(value) or np.isfinite(drawn).mean() < 0.9:
            logging.warning('%s: the RDM of class means does not vary; it has no class-level score.', entry.key)
            continue
        entries.append(entry)
        values.append(value)
        draws[entry.key] = drawn
        p_zero.append(
            class_level.permutation_p(
                model.values, human.values, config.index, n_permutations=config.n_draws, seed=config.seed
            )
        )
    if not entries:
        return []
    n, values, drawn = len(study.ids), np.array(values), class_level.join_draws(draws)
    factor = np.sqrt(n / (n - 1.0))
    errors = factor * drawn.std(axis=0, ddof=1)
    low, high = significance.fisher_interval(values, errors, n - 1)
    interval = f"bootstrap over images within classes, {len(drawn)} draws, t of Fisher's z"
    scores = [
        Score(
            f'rsa/{config.index}', float(values[i]), float(low[i]), float(high[i]), n, interval,
            split.reliability, split.ceiling,
            {
                **_about(config, study, entry, 'class', 'all'),
                'n_pairs': human.values.size,
                'standard_error': float(errors[i]),
                'p_zero': p_zero[i],
                'p_zero_test': 'exchanging classes, one-sided',
            },
        )
        for i, entry in enumerate(entries)
    ]  # fmt: skip
    chosen = [i for i, entry in enumerate(entries) if entry.key in study.compared]
    first, second = np.triu_indices(len(chosen), 1)
    of_pairs = drawn[:, chosen][:, first] - drawn[:, chosen][:, second]
    gaps = values[chosen][first] - values[chosen][second]
    gap_errors = factor * of_pairs.std(axis=0, ddof=1)
    tests = significance.difference_p(gaps, gap_errors, n - 1, of_pairs, np.random.default_rng([config.seed, 6]))
    half = scipy.stats.t.ppf(0.975, n - 1) * gap_errors

    def square(by_pair: np.ndarray) -> np.ndarray:
        return significance.pair_matrix(by_pair, len(chosen), diagonal=0.0)

    return scores + _differences(
        config, study, [entries[i] for i in chosen], 'class', 'all',
        tuple(map(square, (gaps, gaps - half, gaps + half))), dict(zip(('p', 'p_fwer', 'p_fdr'), map(square, tests))),
        f'bootstrap over images within classes, {len(drawn)} draws, t',
    )  # fmt: skip


def _about(config: ConfigDict, study: Study, entry: Entry, level: str, kind: str) -> dict[str, Any]:
    """Provenance of a score."""
    return {
        **entry.about,
        'model': entry.model,
        'layer': entry.layer,
        'level': level,
        'pairs': kind,
        'measure': 'hamming' if entry.model == SAME else entry.measure,
        'human_measure': config.human_measure,
        'data': study.data,
        'human': 'simulated observers' if study.answers.simulated else study.answers.name,
        'simulated': study.simulated,
        'seed': config.seed,
        'better': 'larger',
        'ceiling': CEILING,
        'baseline': entry.baseline,
        'headline': entry.key in study.headline.values(),
    }


def _differences(
    config: ConfigDict,
    study: Study,
    entries: Sequence[Entry],
    level: str,
    kind: str,
    ends: tuple[np.ndarray, ...],
    tests: Mapping[str, np.ndarray],
    interval: str,
) -> list[Score]:
    """One record for each pair of entries, the earlier less the later."""
    kept = ('human_measure', 'data', 'human', 'simulated', 'seed', 'better')
    scores = []
    for i, entry in enumerate(entries):
        for j in range(i + 1, len(entries)):
            value, low, high = (float(matrix[i, j]) for matrix in ends)
            about = _about(config, study, entry, level, kind)
            provenance = {
                'model': entry.model,
                'other': entries[j].model,
                'layer': entry.layer,
                'other_layer': entries[j].layer,
                'level': level,
                'pairs': kind,
                'measure': about['measure'],
                **{key: about[key] for key in kept},
                **{name: float(matrix[i, j]) for name, matrix in tests.items()},
            }
            name = f'rsa/{config.index}/difference'
            scores.append(Score(name, value, low, high, len(study.ids), interval, provenance=provenance))
    return scores


def _keep_picture(folder: pathlib.Path, rdm: Rdm, study: Study, model: str, about: Mapping[str, Any]) -> None:
    """Writes the RDM ordered by class in at most 100 x 100 cells."""
    order = np.argsort(study.labels, kind='stable')
    picture = rdms.block_average(np.asarray(rdm.values), order, MAX_CELLS)
    first = np.searchsorted(np.arange(len(order)) * len(picture) // len(order), np.arange(len(picture)))
    sidecar = {
        'model': model,
        **about,
        'classes': [study.class_names[int(k)] for k in study.labels[order][first]],
        'class_names': study.class_names,
        'cells': 'mean dissimilarity of pairs of images, ordered by class; NaN where a cell has none',
        'n': len(order),
        'simulated': study.simulated,
    }
    storage.write_array(folder / f'rdm_image_{_file_name(study, model)}.npy', picture, sidecar)


def _keep_class_rdm(
    folder: pathlib.Path, values: np.ndarray, study: Study, model: str, about: Mapping[str, Any]
) -> None:
    """Writes the condensed RDM of class means."""
    sidecar = {'model': model, **about, 'class_names': study.class_names, 'simulated': study.simulated}
    storage.write_array(folder / f'rdm_class_{_file_name(study, model)}.npy', values, sidecar)


def _file_name(study: Study, model: str) -> str:
    """What of a file's name stands for a network, the pixels or people."""
    names = [HUMAN, PIXELS, *study.headline]
    return storage.file_names(names)[names.index(model)]


def _draw(config: ConfigDict, study: Study, scores: Sequence[Score], folder: pathlib.Path) -> None:
    """Bars for each level and kind of pairs, the layer profile, and the RDMs of classes by rank."""
    figures, mark = folder / 'figures', ' (simulated observers)' if study.simulated else ''
    main = [score for score in scores if score.name == f'rsa/{config.index}']
    for level, kind in dict.fromkeys((score.provenance['level'], score.provenance['pairs']) for score in main):
        here = [s for s in main if (s.provenance['level'], s.provenance['pairs']) == (level, kind)]
        label = f'{config.index}, {level} level, {kind} pairs\n{mark.strip()}'.strip()  # whole on a low figure
        shown = [s for s in here if s.provenance['headline'] or s.provenance['baseline']]
        names = [s.provenance['model'] for s in shown]
        figure = bars.draw_scores(shown, names, label=label, p_differences=_p_matrix(scores, names, level, kind))
        style.save_figure(figure, figures / f'scores_{level}_{kind}')
        lines = {
            model: {s.provenance['layer']: s for s in here if s.provenance['model'] == model}
            for model in study.headline
        }
        lines = {model: line for model, line in lines.items() if line}
        if any(len(line) > 1 for line in lines.values()):
            baselines = {s.provenance['model']: s.value for s in here if s.provenance['baseline']}
            figure = trends.draw_layer_profile(lines, label=label, baselines=baselines)
            style.save_figure(figure, figures / f'layers_{level}_{kind}')
    panels = []
    for model in (HUMAN, *study.headline, PIXELS):
        path = folder / f'rdm_class_{_file_name(study, model)}.npy'
        if path.exists():
            values = rsa.average_ranks(np.load(path))
            panels.append(
                Rdm(values / len(values), np.array(study.class_names), model + mark * (model == HUMAN), 'rank')
            )
    if panels:
        figure = rdms.draw_rdms(
            panels, labels=np.arange(len(study.class_names)), class_names=study.class_names, ranks=True,
            unit='dissimilarity of class means, 0 to 1',
        )  # fmt: skip
        style.save_figure(figure, figures / 'rdms_class')


def _p_matrix(scores: Sequence[Score], names: Sequence[str], level: str, kind: str) -> np.ndarray:
    """Family-wise p values of the models named, [m, m]; 1 where there is none."""
    p = np.ones((len(names), len(names)))
    for score in scores:
        about = score.provenance
        if score.name.endswith('/difference') and (about['level'], about['pairs']) == (level, kind):
            i, j = names.index(about['model']), names.index(about['other'])
            p[i, j] = p[j, i] = about['p_fwer']
    return p
