"""RSA of feature files with a reference: RDMs, scores with intervals and ceilings, figures."""

import dataclasses
import pathlib
import shutil
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from absl import logging
from ml_collections import ConfigDict

from humalign_jax import processes, progress, rsa, settings, storage
from humalign_jax.devices import local_devices
from humalign_jax.memory import check_memory
from humalign_jax.records import Features, Rdm, RepeatedFeatures, Score
from humalign_jax.report.plots import bars, rdms, style
from humalign_jax.rsa import files
from humalign_jax.wiring.rsa_display import keep_rdms
from humalign_jax.wiring.rsa_join import join_study
from humalign_jax.wiring.rsa_study import REPEATED, SAME, RsaData, load, simulate
from humalign_jax.wiring.words import RSA, in_flags

SECTIONS = ('experiment', 'seed', 'n_devices', 'features', 'reference', 'comparison', 'inference', 'simulated')
MAX_MAP_STIMULI = 2000  # more points than this make no readable map
# Rise of the peak with pairs, of each RDM, Spearman over stimuli, four models and one reference:
BYTES_PER_PAIR = 75  # with inference: 0.17 GB at 500 stimuli, 0.31 GB at 1,000
BYTES_PER_PAIR_ONCE = 26  # one comparison: 0.13 GB at 1,000 stimuli, 0.64 GB at 3,000
NO_INFERENCE = 'none'  # config.inference.over: scores alone
NO_MEASURE = 'none'  # of indices of features themselves
OVER_PROCESSES = True
STREAM_BYTES = 1.2e9  # beyond the features, at any number of stimuli


@in_flags(RSA)
def run(config: ConfigDict, workdir: str) -> None:
    """Writes `rdms/*.npy`, `inference_<pairs>.npz`, `scores.jsonl` and `figures/` into the workdir."""
    settings.check_keys(config, SECTIONS, 'config')
    with processes.sharing_tiles():
        _run(config, pathlib.Path(workdir))


def _run(config: ConfigDict, folder: pathlib.Path) -> None:
    study = simulate(config) if config.simulated.n_stimuli > 0 else load(config)
    pairs = tuple(config.comparison.pairs)
    study, joined = join_study(config, study)
    _check_comparison(config, study)
    stored = _why_stored(config, study)
    _check_room(config, study, folder, stored)
    if not stored:
        _write_scores(folder, _streamed_scores(config, study, joined))
        return

    models = []
    names = storage.file_names([features.name for features in study.models])
    for features, name in zip(progress.each(study.models, 'RDMs'), names):
        path = folder / 'rdms' / f'{name}.npy' if config.features.write_rdms else None
        models.append(_rdm_of(features, config, path))
    devices = local_devices(config.n_devices)
    reference = [
        item if isinstance(item, Rdm) else rsa.rdm(item, study.reference_measure, devices=devices)
        for item in study.reference
    ]
    labels, ceiling = study.labels, None
    if study.counts is not None:
        ceiling = _answer_ceiling(config, study.counts.values, stored=True)
    if labels is not None:
        same = rsa.category_rdm(labels)
        models.append(Rdm(same, models[0].ids, SAME, 'hamming', {'simulated': study.simulated, 'baseline': True}))

    origin = _origin(config, study, reference, joined)
    rows, results = [], {}
    for kind in progress.each(pairs, 'inference'):
        scores, result = _score(config, models, reference, labels, ceiling, origin, kind)
        rows += scores
        if result is not None:
            results[kind] = (scores, result)
            arrays = {name: value for name, value in vars(result).items() if isinstance(value, np.ndarray)}
            with storage.atomic_file(folder / f'inference_{kind}.npz') as file:
                np.savez(file, names=np.array(result.names), **arrays)
    _write_scores(folder, rows)
    _draw(folder / 'figures', models, reference, labels, results, config.comparison.index, study.simulated)


def _write_scores(folder: pathlib.Path, rows: list[Score]) -> None:
    """`scores.jsonl`, and a line in the log for each."""
    storage.write_jsonl(folder / 'scores.jsonl', [score.to_json() for score in rows])
    for score in rows:
        logging.info(
            '%s, %s pairs, %s: %.3f [%.3f, %.3f]',
            score.name,
            score.provenance['pairs'],
            score.provenance['model'],
            score.value,
            score.low,
            score.high,
        )


def _answer_ceiling(config: ConfigDict, answers: np.ndarray, *, stored: bool) -> tuple[float, float]:
    """What another group of as many people would score, and what the noise-free RDM would: counts [n, k] -> two.

    With `stored` the RDMs of the halves are held, otherwise they are streamed.
    """
    measure, index, n_splits = config.reference.measure, config.comparison.index, config.reference.n_splits
    if stored:
        split = rsa.split_half(answers, measure, index=index, n_splits=n_splits, seed=config.seed)
        return split.reliability, split.ceiling

    def agreement(x: np.ndarray, y: np.ndarray) -> float:
        return _streamed(x, y, config, measure, measure)[0]

    split = rsa.SplitHalf(*rsa.agreements(answers, agreement, n_splits=n_splits, seed=config.seed))
    return split.reliability, split.ceiling


def _check_comparison(config: ConfigDict, study: RsaData) -> None:
    """Raises ValueError, before any RDM is made, for an index, pairs or inference that do not fit."""
    index, pairs, over = config.comparison.index, tuple(config.comparison.pairs), config.inference.over
    settings.check_keys(config.inference, ('over', 'n_permutations'), 'config.inference')
    if over not in (NO_INFERENCE, *rsa.OVER):
        raise ValueError(f'config.inference.over={over!r} must be one of {NO_INFERENCE}, {", ".join(rsa.OVER)}.')
    known = (*rsa.INDICES, *rsa.FEATURE_INDICES)
    if index not in known:
        raise ValueError(f'config.comparison.index={index!r} is no index.{settings.nearest(index, known)}')
    if not pairs or set(pairs) - set(rsa.PAIRS):
        raise ValueError(f'config.comparison.pairs={pairs} must be some of {", ".join(rsa.PAIRS)}.')
    if study.labels is None and pairs != ('all',):
        raise ValueError(f'config.comparison.pairs={pairs} needs categories: give config.comparison.labels_file.')
    if index in rsa.FEATURE_INDICES:
        if any(isinstance(item, RepeatedFeatures) for item in (*study.models, *study.reference)):
            raise ValueError(f'{index!r} compares one vector for each stimulus, not the repeated ones of {REPEATED!r}.')
        if any(isinstance(item, Rdm) for item in study.reference):
            raise ValueError(
                f'{index!r} compares features, but the reference is given as RDMs: give features, soft labels or '
                f'counts, or choose one of {", ".join(rsa.INDICES)}.'
            )
        if over != NO_INFERENCE or config.features.write_rdms or pairs != ('all',):
            raise ValueError(
                f'{index!r} compares feature matrices directly: it has no RDM files, no pair restriction and no '
                'intervals: set --config.inference.over=none, --config.features.write_rdms=False and '
                '--config.comparison.pairs=\'("all",)\'. With --config.features.measure and --config.reference.measure '
                "sqeuclidean, 'whitened_cosine' is the linear CKA and 'bures' the Procrustes "
                'similarity, both with intervals.'
            )
    elif over != NO_INFERENCE:
        n, k = len(study.models[0].ids), len(study.reference)
        for kind in pairs:
            rsa.check_inference(index, over, kind, n, k)
    elif 'partial' in pairs and not rsa.INDICES[index].partialable:
        fitting = ', '.join(name for name, x in rsa.INDICES.items() if x.partialable)
        raise ValueError(f"config.comparison.pairs with 'partial' is for {fitting}, not for {index!r}.")
    elif rsa.INDICES[index].whole and pairs != ('all',):
        raise ValueError(f"{index!r} needs every pair: set config.comparison.pairs=('all',), not {pairs}.")


def _why_stored(config: ConfigDict, study: RsaData) -> str:
    """Why RDMs have to be held in memory; '' where scores can come straight from the features."""
    index = config.comparison.index
    reasons = {
        f'config.inference.over={config.inference.over} needs them': config.inference.over != NO_INFERENCE,
        'config.features.write_rdms=True asks for their files': config.features.write_rdms,
        'the reference is given as RDMs': any(isinstance(item, Rdm) for item in study.reference),
        'config.comparison.pairs asks for some pairs only': tuple(config.comparison.pairs) != ('all',),
        f'{index!r} cannot be streamed': index in rsa.INDICES and not rsa.INDICES[index].streamable,
    }
    return next((reason for reason, holds in reasons.items() if holds), '')


def _check_room(config: ConfigDict, study: RsaData, folder: pathlib.Path, stored: str) -> None:
    """Raises ValueError if memory or disk will not do; logs what is needed, and which way is taken."""
    n = len(study.models[0].ids)
    n_pairs, n_rdms = n * (n - 1) // 2, len(study.models) + len(study.reference) + 1
    if stored:
        way = f'RDMs are held in memory, since {stored}'
        memory = n_pairs * n_rdms * (BYTES_PER_PAIR_ONCE if config.inference.over == NO_INFERENCE else BYTES_PER_PAIR)
    else:
        way = 'straight from the features, no RDM is held'
        memory = STREAM_BYTES
    disk = 4 * n_pairs * len(study.models) if config.features.write_rdms else 0
    advice = 'use a machine with more memory'
    if stored:
        advice = (
            'use fewer stimuli or models at a time, or scores without intervals and RDM files: '
            '--config.inference.over=none, --config.features.write_rdms=False and '
            '--config.comparison.pairs=\'("all",)\''
        )
    check_memory(memory, f'{n_rdms} RDMs of {n} stimuli ({way})', advice)
    free_disk = shutil.disk_usage(folder).free
    logging.info('Their files need %.2f GB of disk (%.1f free).', disk / 1e9, free_disk / 1e9)
    if disk > 0.95 * free_disk:
        raise ValueError(
            f'the RDMs need {disk / 1e9:.1f} GB of disk, but {folder} has only {free_disk / 1e9:.1f} GB free: choose '
            'another --workdir, or config.features.write_rdms=False.'
        )


def _streamed_scores(config: ConfigDict, study: RsaData, joined: dict[str, Any]) -> list[Score]:
    """Scores of all models over all pairs, with no RDM held."""
    models, labels = study.models, study.labels
    reference = [item for item in study.reference if isinstance(item, Features)]
    ceiling = (float('nan'), float('nan'))
    of_features = config.comparison.index in rsa.FEATURE_INDICES  # which have no halves' correlation to correct
    if study.counts is not None and not of_features:
        ceiling = _answer_ceiling(config, study.counts.values, stored=False)
    entries = [(model.name, model, NO_MEASURE if of_features else config.features.measure) for model in models]
    if labels is not None:
        numbers = np.unique(labels, return_inverse=True)[1].astype(np.float32)[:, None]
        values = (numbers == np.unique(numbers)).astype(np.float32) if of_features else numbers
        same = Features(values, models[0].ids, SAME, {'baseline': True})
        entries.append((same.name, same, NO_MEASURE if of_features else _differ))
    origin = _origin(config, study, reference, joined)
    scores = []
    for name, model, measure in progress.each(entries, 'comparisons'):
        found = [_streamed(model, item, config, measure, study.reference_measure) for item in reference]
        values = [value for value, _ in found]
        about = _about(model, 'hamming' if measure is _differ else measure)
        if not of_features and 'baseline' not in about:
            about['discrete'] = found[0][1]
        provenance = {'model': name, 'pairs': 'all', **about, **origin}
        scores.append(_plain_score(config, float(np.mean(values)), len(models[0].ids), ceiling, provenance))
    return scores


def _origin(
    config: ConfigDict, study: RsaData, reference: Sequence[Rdm] | Sequence[Features], joined: dict[str, Any]
) -> dict[str, Any]:
    """What all scores say of the stimuli, how they were joined, and of the reference."""
    measures = {item.measure if isinstance(item, Rdm) else study.reference_measure for item in reference}
    if config.comparison.index in rsa.FEATURE_INDICES:
        measures = {NO_MEASURE}
    return {
        'reference': [item.name for item in reference],
        'reference_sha256': [item.provenance.get('sha256') for item in reference],
        'reference_measure': ', '.join(sorted(measures)),
        'stimuli_sha256': storage.array_digest(np.asarray(study.models[0].ids, dtype=np.str_)),
        **joined,
        'simulated': study.simulated,
        'seed': config.seed,
        'better': 'larger',
    }


def _about(model: Rdm | Features, measure: str) -> dict[str, Any]:
    """What a score says of the model: the distance, and the file and its digest where it was read from one."""
    known = ('file', 'key', 'sha256', 'baseline', 'discrete')
    return {'measure': measure, **{key: model.provenance[key] for key in known if key in model.provenance}}


def _streamed(
    x: Features | np.ndarray,
    y: Features | np.ndarray,
    config: ConfigDict,
    measure_x: str | Callable,
    measure_y: str,
) -> tuple[float, bool | None]:
    """Similarity of two feature sets, or of their RDMs, neither of which is held; whether the first is discrete."""
    index, run_devices = config.comparison.index, local_devices(config.n_devices)
    if index in rsa.FEATURE_INDICES:
        options = {'devices': run_devices} if index.endswith('rbf_cka') else {}
        return rsa.FEATURE_INDICES[index](x, y, **options), None
    found = rsa.compare_features(
        x,
        y,
        measure_x=measure_x,
        measure_y=measure_y,
        index=index,
        block_size=1000 if measure_x is _differ else None,  # small tiles are for distances that need memory
        devices=run_devices,
    )
    return found.value, found.discrete[0]


def _differ(x: jax.Array, y: jax.Array) -> jax.Array:
    """1 for two categories, 0 for one: category numbers [1], [1] -> []."""
    return (x[0] != y[0]).astype(x.dtype)


def _plain_score(
    config: ConfigDict, value: float, n: int, ceiling: tuple[float, float], provenance: dict[str, Any]
) -> Score:
    """A score without an interval."""
    nan = float('nan')
    return Score(f'rsa/{config.comparison.index}', value, nan, nan, n, 'none', *ceiling, provenance)


def _rdm_of(features: Features, config: ConfigDict, path: pathlib.Path | None) -> Rdm:
    """The RDM of a layer, taken from `path` if an earlier start of this run wrote it there."""
    digests = {
        'features_sha256': storage.array_digest(np.asarray(features.values)),
        'stimuli_sha256': storage.array_digest(np.asarray(features.ids, dtype=np.str_)),
    }
    if isinstance(features, RepeatedFeatures) and features.noise is not None:
        digests['noise_sha256'] = storage.array_digest(features.noise)
    made_of = {**features.provenance, **digests, 'measure': config.features.measure}
    if path is not None and path.exists():
        stored = files.load_rdm(path)
        if digests.items() <= stored.provenance.get('provenance', {}).items():
            return dataclasses.replace(stored, provenance={**stored.provenance['provenance'], **made_of})
    made = rsa.rdm(features, config.features.measure, devices=local_devices(config.n_devices))
    made = dataclasses.replace(made, provenance={**made.provenance, **made_of})
    if path is not None:
        files.save_rdm(path, made)
    return made


def _score(
    config: ConfigDict,
    models: list[Rdm],
    reference: list[Rdm],
    labels: np.ndarray | None,
    ceiling: tuple[float, float] | None,
    origin: dict[str, Any],
    kind: str,
) -> tuple[list[Score], rsa.InferenceResult | None]:
    """Scores of all models over one kind of pairs."""
    if kind in ('within', 'between', 'partial'):  # of which the same/different RDM says nothing
        models = [rdm for rdm in models if rdm.name != SAME]
    index = config.comparison.index
    about = {rdm.name: {**_about(rdm, rdm.measure), **origin} for rdm in models}
    if config.inference.over == NO_INFERENCE:
        mask, control = None, None
        if kind in ('within', 'between'):
            mask = rsa.within_category(labels) if kind == 'within' else rsa.between_category(labels)
        elif kind == 'partial':
            control = [Rdm(rsa.category_rdm(labels), models[0].ids, 'categories', 'hamming')]
        values = rsa.compare(models, reference, index, mask=mask, control=control).mean(axis=1)
        bounds = ceiling if ceiling and kind == 'all' else (float('nan'), float('nan'))
        return [
            _plain_score(
                config, float(value), len(rdm.ids), bounds, {'model': rdm.name, 'pairs': kind, **about[rdm.name]}
            )
            for rdm, value in zip(models, values)
        ], None
    result = rsa.infer(
        models,
        reference,
        index=index,
        labels=labels if kind != 'all' else None,
        pairs=kind,
        seed=config.seed,
        devices=local_devices(config.n_devices),
        **config.inference,
    )
    scores = [
        dataclasses.replace(s, provenance={**s.provenance, **about[s.provenance['model']]}) for s in result.scores()
    ]
    if ceiling and kind == 'all':
        lower, upper = ceiling
        scores = [dataclasses.replace(s, ceiling_lower=lower, ceiling_upper=upper) for s in scores]
    return scores, result


def _draw(
    folder: pathlib.Path,
    models: list[Rdm],
    reference: list[Rdm],
    labels: np.ndarray | None,
    results: dict[str, tuple[list[Score], rsa.InferenceResult]],
    index: str,
    simulated: bool,
) -> None:
    """RDMs by rank, a map of the reference, and one bar chart for each kind of pairs."""
    mark = ' (simulated)' if simulated else ''
    mean = np.mean([rsa.average_ranks(rdm.values) for rdm in reference], axis=0)
    panels = [Rdm(mean, reference[0].ids, 'reference' + mark, 'rank')]
    panels += [rdm for rdm in models if rdm.name != SAME]
    n_pairs = len(mean)
    ranked = [dataclasses.replace(rdm, values=rsa.average_ranks(rdm.values) / n_pairs) for rdm in panels]
    keep_rdms(folder.parent / 'display', ranked[0], ranked[1:], labels, simulated)
    categories = None if labels is None else [str(name) for name in labels]
    names, numbers = ((), None) if labels is None else np.unique(categories, return_inverse=True)
    figure = rdms.draw_rdms(ranked, labels=numbers, class_names=names, ranks=True, unit='dissimilarity, 0 to 1')
    style.save_figure(figure, folder / 'rdms')
    if len(reference[0].ids) <= MAX_MAP_STIMULI:
        points = rsa.classical_mds(np.mean([rdm.values for rdm in reference], axis=0))
        about = {'ids': reference[0].ids, 'method': 'classical MDS', 'categories': categories}
        storage.write_array(folder / 'map.npy', points, about)
        figure = rdms.draw_map(points, labels=numbers, class_names=names, title='reference' + mark)
        style.save_figure(figure, folder / 'map')
    for kind, (scores, result) in results.items():
        figure = bars.draw_scores(
            scores,
            result.names,
            label=f'{index}, {kind} pairs{mark}',
            by_subject=result.scores_by_subject,
            p_differences=result.p_differences_fwer,
            baselines=('same category',),
        )
        style.save_figure(figure, folder / f'scores_{kind}')
