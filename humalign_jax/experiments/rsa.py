"""RSA of feature files with a reference: RDMs, scores with intervals and ceilings, figures."""

import dataclasses
import os
import pathlib
import shutil
import sys
from collections.abc import Iterable

import numpy as np
from absl import logging
from ml_collections import ConfigDict
from tqdm import tqdm

from humalign_jax import rsa, settings, storage
from humalign_jax.devices import local_devices
from humalign_jax.records import Features, Rdm, Score, stimulus_ids
from humalign_jax.report import bars, rdms, style
from humalign_jax.rsa import files

SECTIONS = ('experiment', 'seed', 'n_devices', 'features', 'reference', 'comparison', 'inference', 'simulated')
KINDS = ('rdm', 'features', 'soft_labels', 'counts')
MAX_MAP_STIMULI = 2000  # more points than this make no readable map
BYTES_PER_PAIR = 40  # of one RDM under resampling: float64 copies, ranks, orders


@dataclasses.dataclass(frozen=True)
class Study:
    """What is compared.

    Attributes:
        models: Features of each model.
        reference: RDM of each subject, or the one RDM of all.
        labels: Category of each stimulus in the order of the first model, [n]; None if not known.
        ceiling: Lower and upper ceiling from split answers; None where subjects give it, or nothing does.
        simulated: Whether all of it was made up.
    """

    models: list[Features]
    reference: list[Rdm]
    labels: np.ndarray | None
    ceiling: tuple[float, float] | None
    simulated: bool


def run(config: ConfigDict, workdir: str) -> None:
    """Writes `rdms/*.npy`, `inference_<pairs>.npz`, `scores.jsonl` and `figures/` into the workdir."""
    settings.check_keys(config, SECTIONS, 'config')
    folder = pathlib.Path(workdir)
    study = _simulate(config) if config.simulated.n_stimuli > 0 else _load(config)
    pairs = tuple(config.comparison.pairs)
    if study.labels is None and pairs != ('all',):
        raise ValueError(f'config.comparison.pairs={pairs} needs categories: give config.comparison.labels_file.')
    _check_room(config, study, folder)

    models = []
    for features in _progress(study.models, 'RDMs'):
        path = folder / 'rdms' / f'{features.name.replace("/", "_")}.npy'
        models.append(_rdm_of(features, config, path))
    models, reference, labels = _join(models, study, config.comparison.join)
    if labels is not None:
        same = rsa.category_rdm(labels)
        models.append(Rdm(same, models[0].ids, 'same category', 'hamming', {'simulated': study.simulated}))

    rows, results = [], {}
    for kind in _progress(pairs, 'inference'):
        scores, result = _score(config, models, reference, labels, study, kind)
        rows += scores
        if result is not None:
            results[kind] = (scores, result)
            arrays = {name: value for name, value in vars(result).items() if isinstance(value, np.ndarray)}
            with storage.atomic_file(folder / f'inference_{kind}.npz') as file:
                np.savez(file, names=np.array(result.names), **arrays)
    _draw(folder / 'figures', models, reference, labels, results, config.comparison.index, study.simulated)
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


def _load(config: ConfigDict) -> Study:
    """The files named in the config."""
    section, reference = config.features, config.reference
    if not section.files or not reference.files:
        raise ValueError(
            'config.features.files and config.reference.files must each name at least one file: '
            '--config.features.files=\'("a.npy",)\'; or use configs/rsa.py:tiny for simulated data.'
        )
    if reference.kind not in KINDS:
        raise ValueError(f'config.reference.kind={reference.kind!r} must be one of {", ".join(KINDS)}.')
    names = section.names or (None,) * len(section.files)
    keys = section.arrays or (None,) * len(section.files)
    if not len(names) == len(keys) == len(section.files):
        raise ValueError(f'config.features has {len(section.files)} files, {len(keys)} arrays and {len(names)} names.')
    models = [
        files.load_features(path, key=key or None, name=name, **_ids_of(section))
        for path, key, name in zip(section.files, keys, names)
    ]
    labels = None
    if config.comparison.labels_file:
        labels = np.unique(files.load_ids(config.comparison.labels_file), return_inverse=True)[1]
        if len(labels) != len(models[0].ids):
            raise ValueError(
                f'{config.comparison.labels_file} has {len(labels)} categories, but {models[0].name!r} has '
                f'{len(models[0].ids)} stimuli.'
            )
    keys = reference.arrays or (None,) * len(reference.files)
    loaded, ceiling = [], None
    for path, key in zip(reference.files, keys, strict=True):
        if reference.kind == 'rdm':
            loaded.append(files.load_rdm(path, key=key or None, **_ids_of(reference)))
            continue
        values = files.load_features(path, key=key or None, **_ids_of(reference))
        if reference.kind == 'counts':
            ceiling = _answer_ceiling(config, values, models[0], labels)
        if reference.kind != 'features':
            totals = values.values.sum(axis=1, keepdims=True)
            if values.values.min() < 0 or totals.min() <= 0:
                raise ValueError(
                    f'{path}: {reference.kind} must be non-negative with a positive sum for each stimulus.'
                )
            values = dataclasses.replace(values, values=values.values / totals)
        loaded.append(rsa.rdm(values, reference.measure, dtype='float64'))
    return Study(models, loaded, labels, ceiling if len(loaded) == 1 else None, simulated=False)


def _ids_of(section: ConfigDict) -> dict[str, object]:
    """Arguments of `files.load_*` that say what the rows are."""
    return dict(
        ids=files.load_ids(section.ids_file) if section.ids_file else None,
        dataset=section.dataset or None,
        split=section.split or None,
    )


def _answer_ceiling(
    config: ConfigDict, counts: Features, first: Features, labels: np.ndarray | None
) -> tuple[float, float]:
    """What another group of as many people would score, and what the noise-free RDM would."""
    whole = np.rint(counts.values).astype(np.int64)
    if not np.array_equal(whole, counts.values):
        raise ValueError(f"{counts.name!r} has fractions: counts are whole numbers; use kind='soft_labels'.")
    options = dict(index=config.comparison.index, n_splits=config.reference.n_splits, seed=config.seed)
    split = rsa.split_half(whole, config.reference.measure, **options)
    return split.reliability, split.ceiling


def _simulate(config: ConfigDict) -> Study:
    """Models of falling quality and subjects that share five latent features, in five categories."""
    sizes, np_rng = config.simulated, np.random.default_rng(config.seed)
    labels = np.arange(sizes.n_stimuli) % 5
    shared = np_rng.normal(size=(sizes.n_stimuli, 5)) + 1.5 * np.eye(5)[labels]
    ids = stimulus_ids('simulated', 'test', np.arange(sizes.n_stimuli))

    def seen(noise: float) -> np.ndarray:
        return (shared @ np_rng.normal(size=(5, 40)) + noise * np_rng.normal(size=(len(ids), 40))).astype(np.float32)

    made_up = {'simulated': True}
    models = [Features(seen(1.0 + 2.0 * i), ids, f'model {i}', made_up) for i in range(sizes.n_models)]
    subjects = [Features(seen(2.0), ids, f'subject {i}', made_up) for i in range(sizes.n_subjects)]
    reference = [rsa.rdm(subject, 'correlation') for subject in subjects]
    return Study(models, reference, labels, None, simulated=True)


def _check_room(config: ConfigDict, study: Study, folder: pathlib.Path) -> None:
    """Raises ValueError if memory or disk will not do; logs what is needed."""
    n = len(study.models[0].ids)
    n_pairs, n_rdms = n * (n - 1) // 2, len(study.models) + len(study.reference) + 1
    memory = n_pairs * n_rdms * (BYTES_PER_PAIR if config.inference.n_bootstrap else 16)
    disk = 4 * n_pairs * len(study.models)
    free_memory = os.sysconf('SC_AVPHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')
    free_disk = shutil.disk_usage(folder).free
    logging.info(
        '%d stimuli, %d RDMs: about %.2f GB of memory (%.1f free) and %.2f GB of disk (%.1f free).',
        n,
        n_rdms,
        memory / 1e9,
        free_memory / 1e9,
        disk / 1e9,
        free_disk / 1e9,
    )
    if memory > 0.9 * free_memory:
        raise ValueError(
            f'{n_rdms} RDMs of {n} stimuli need about {memory / 1e9:.1f} GB of memory, but only '
            f'{free_memory / 1e9:.1f} GB are free: use fewer stimuli or models at a time, or '
            'config.inference.n_bootstrap=0 (scores without intervals).'
        )
    if disk > 0.95 * free_disk:
        raise ValueError(
            f'the RDMs need {disk / 1e9:.1f} GB of disk, but {folder} has only {free_disk / 1e9:.1f} GB free: choose '
            'another --workdir.'
        )


def _rdm_of(features: Features, config: ConfigDict, path: pathlib.Path) -> Rdm:
    """The RDM of a layer, taken from `path` if an earlier start of this run wrote it there."""
    digest = storage.array_digest(np.asarray(features.values))
    made_of = {**features.provenance, 'features_sha256': digest, 'measure': config.features.measure}
    if path.exists():
        stored = files.load_rdm(path)
        if stored.provenance.get('provenance', {}).get('features_sha256') == digest:
            return dataclasses.replace(stored, provenance=made_of)
    made = rsa.rdm(features, config.features.measure, devices=local_devices(config.n_devices))
    made = dataclasses.replace(made, provenance={**made.provenance, **made_of})
    files.save_rdm(path, made)
    return made


def _join(models: list[Rdm], study: Study, join: str) -> tuple[list[Rdm], list[Rdm], np.ndarray | None]:
    """All RDMs in the order of the first model, of the stimuli that all have."""
    first = models[0]
    for rdm in [*models[1:], *study.reference]:
        first = rsa.align(first, rdm, join=join)[0]
    kept = np.isin(np.asarray(models[0].ids), first.ids)
    everyone = [rsa.select(rdm, first.ids) for rdm in [*models, *study.reference]]
    labels = None if study.labels is None else study.labels[kept]
    return everyone[: len(models)], everyone[len(models) :], labels


def _score(
    config: ConfigDict, models: list[Rdm], reference: list[Rdm], labels: np.ndarray | None, study: Study, kind: str
) -> tuple[list[Score], rsa.InferenceResult | None]:
    """Scores of all models over one kind of pairs."""
    if kind in ('within', 'between', 'partial'):  # of which the same/different RDM says nothing
        models = [rdm for rdm in models if rdm.name != 'same category']
    index = config.comparison.index
    origin = {'simulated': study.simulated, 'reference': [rdm.name for rdm in reference]}
    if config.inference.n_bootstrap == 0:
        mask, control = None, None
        if kind in ('within', 'between'):
            mask = rsa.within_category(labels) if kind == 'within' else rsa.between_category(labels)
        elif kind == 'partial':
            control = [Rdm(rsa.category_rdm(labels), models[0].ids, 'categories', 'hamming')]
        values = rsa.compare(models, reference, index, mask=mask, control=control).mean(axis=1)
        nan, n = float('nan'), len(models[0].ids)
        lower, upper = study.ceiling if study.ceiling and kind == 'all' else (nan, nan)
        provenance = {'pairs': kind, 'seed': config.seed, **origin}
        return [
            Score(f'rsa/{index}', float(value), nan, nan, n, 'none', lower, upper, {'model': rdm.name, **provenance})
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
    scores = [dataclasses.replace(s, provenance={**s.provenance, **origin}) for s in result.scores()]
    if study.ceiling and kind == 'all':
        lower, upper = study.ceiling
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
    panels += [rdm for rdm in models if rdm.name != 'same category'][:7]
    n_pairs = len(mean)
    ranked = [dataclasses.replace(rdm, values=rsa.average_ranks(rdm.values) / n_pairs) for rdm in panels]
    style.save_figure(rdms.draw_rdms(ranked, labels=labels, ranks=True, unit='dissimilarity, 0 to 1'), folder / 'rdms')
    if len(reference[0].ids) <= MAX_MAP_STIMULI:
        points = rsa.classical_mds(np.mean([rdm.values for rdm in reference], axis=0))
        storage.write_array(folder / 'map.npy', points, {'ids': reference[0].ids, 'method': 'classical MDS'})
        style.save_figure(rdms.draw_map(points, labels=labels, title='reference' + mark), folder / 'map')
    for kind, (scores, result) in results.items():
        figure = bars.draw_scores(
            scores,
            result.names,
            label=f'{index}, {kind} pairs{mark}',
            by_subject=result.scores_by_subject,
            p_zero=result.p_zero,
            p_differences=result.p_differences_fwer,
        )
        style.save_figure(figure, folder / f'scores_{kind}')


def _progress(items: Iterable, what: str) -> Iterable:
    """The items, with a bar on a terminal and a line in the log for each otherwise."""
    items = list(items)
    if sys.stderr.isatty():
        yield from tqdm(items, desc=what)
        return
    for i, item in enumerate(items, start=1):
        logging.info('%s: %d of %d', what, i, len(items))
        yield item
