"""Interpretability Index of trained networks: how alike the images are that excite each unit most.

Leaves `scores.jsonl`, and in a folder for each run `<directions>_<mode>.npy` (a row of values for each unit, named in
the sidecar), `<directions>_<mode>_meis.npy` (rows of its most exciting images) and `figures/`, whose pictures show
images of the data set, under its licence.
"""

import collections
import dataclasses
import itertools
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from absl import logging
from ml_collections import ConfigDict

from humalign_jax import devices, settings, storage
from humalign_jax.data import files
from humalign_jax.interpret import index, mei, psychophysics
from humalign_jax.models import lpips
from humalign_jax.records import ImageSet
from humalign_jax.report.plots import meis as plots
from humalign_jax.report.plots import style
from humalign_jax.wiring import interpretability_scores, runs, training, unit_activations

SECTIONS = (
    'experiment', 'seed', 'run', 'checkpoint', 'names', 'conditions', 'baseline', 'data', 'split', 'layer', 'modes',
    'n_meis', 'features', 'lpips', 'directions', 'psychophysics', 'sheets', 'batch_size', 'max_memory_gb', 'n_devices',
)  # fmt: skip
_KEYS = {
    'data': ('root',),
    'features': ('layer', 'run'),
    'lpips': ('net', 'root', 'size_px'),
    'directions': ('kinds', 'n_directions', 'n_images', 'sae'),
    'psychophysics': ('modes', 'quantiles', 'n_trials', 'n_references'),
    'sheets': ('n_units',),
}


@dataclasses.dataclass(frozen=True)
class _Units:
    """Units or other directions of one network, in one mode."""

    kind: str
    mode: str
    meis: mei.Meis
    trials: dict[float, psychophysics.ForcedChoices]  # by quantile
    values: dict[str, np.ndarray]  # columns of the array, each [u]; distances are added one by one
    said: dict[str, Any]  # provenance


def run(config: ConfigDict, workdir: str) -> None:
    """Scores the runs in `config.run`, and compares their conditions.

    Raises:
        ValueError: A setting cannot be; a run has other images than the first; or the weights of LPIPS are not there.
    """
    _check(config)
    folder, named, perceptual = pathlib.Path(workdir), _named(config), _load_lpips(config)
    reference = _reference_features(config)
    found: list[_Units] = []
    images: ImageSet | None = None
    for name, condition, run_folder in named:
        opened = runs.open_run(run_folder, str(config.checkpoint), root=config.data.root)
        images = _same_images(images, opened.setup.images[config.split], run_folder)
        said = _provenance(config, opened, images, name, condition, run_folder)
        found += _units_of(config, opened, images, said, reference)
        logging.info('%s: units of %s on %d images are measured.', name, said['layer'], len(images))
    assert images is not None
    for distance in (index.colour_distance(images.images), index.label_distance(images.labels)):
        _add_distance(found, distance)
    if perceptual is not None:
        sha256 = {'lpips_net': perceptual.net, 'lpips_sha256': perceptual.sha256, 'lpips_px': config.lpips.size_px}
        for units in found:
            units.said.update(sha256)
        _add_distance(found, _lpips_distance(config, perceptual, images, found, folder))
    scores = []
    for units in found:
        _write(config, folder, units, images)
        scores += interpretability_scores.of_units(units.values, units.said)
    baseline = config.baseline or named[0][1]
    compared = [(units.values, units.said) for units in found]
    training.write_scores(folder, [*scores, *interpretability_scores.of_conditions(compared, baseline)])


def _check(config: ConfigDict) -> None:
    settings.check_keys(config, SECTIONS, 'config')
    for section, keys in _KEYS.items():
        settings.check_keys(config[section], keys, f'config.{section}')
    known = {'modes': mei.MODES, 'directions.kinds': unit_activations.KINDS, 'psychophysics.modes': tuple(config.modes)}
    given = {
        'modes': config.modes,
        'directions.kinds': config.directions.kinds,
        'psychophysics.modes': config.psychophysics.modes,
    }
    for key, values in given.items():
        for value in values:
            if value not in known[key]:
                raise ValueError(f'config.{key}: there is no {value!r}.{settings.nearest(value, known[key])}')
    if not config.modes or not config.directions.kinds:
        raise ValueError('config.modes and config.directions.kinds must each name one or more.')
    if config.split not in ('train', 'validation', 'test'):
        raise ValueError(f'config.split={config.split!r} must be train, validation or test.')


def _named(config: ConfigDict) -> list[tuple[str, str, str]]:
    """(name, condition, folder) of every run.

    Raises:
        ValueError: There are other than one name and one condition for each run, or two runs have one name; or the runs
            of a condition cannot be matched with those of the baseline.
    """
    folders = [part.strip() for part in config.run.split(',') if part.strip()]
    names = tuple(config.names) or tuple(pathlib.Path(folder).resolve().name for folder in folders)
    conditions = tuple(config.conditions) or names
    for key, values in (('names', names), ('conditions', conditions)):
        if not folders or len(values) != len(folders):
            raise ValueError(f'config.{key}={values} must have one for each of the {len(folders)} runs in config.run.')
    if len(set(names)) < len(names) or storage.file_names(names) != list(names):
        raise ValueError(f'config.names={names} must be different and fit for names of folders.')
    baseline = config.baseline or conditions[0]
    if baseline not in conditions:
        raise ValueError(f'config.baseline={config.baseline!r} is none of the conditions {", ".join(conditions)}.')
    n_runs = collections.Counter(conditions)
    for condition, n in n_runs.items():
        if n_runs[baseline] not in (1, n):
            raise ValueError(
                f'config.conditions: {condition!r} has {n} runs, the baseline {baseline!r} {n_runs[baseline]}; give as '
                'many of each, in the same order, or one baseline.'
            )
    return list(zip(names, conditions, folders))


def _load_lpips(config: ConfigDict) -> lpips.Lpips | None:
    if not config.lpips.net:
        logging.info('config.lpips.net is empty: no LPIPS.')
        return None
    folder = pathlib.Path(config.lpips.root) if config.lpips.root else files.data_root(config.data.root) / 'lpips'
    try:
        return lpips.load_lpips(config.lpips.net, folder)
    except ValueError as error:
        raise ValueError(f'{error} The folder is config.lpips.root; --config.lpips.net= leaves LPIPS out.') from error


def _reference_features(config: ConfigDict) -> Callable[[ImageSet], index.ImageDistance] | None:
    """Distance in the features of `config.features.run`; None for each network's own."""
    if not (config.features.layer and config.features.run):
        return None
    opened = runs.open_run(config.features.run, str(config.checkpoint), root=config.data.root)
    images = opened.setup.images[config.split]
    layer = config.features.layer
    unit_activations.check_layer(opened, layer)
    used = devices.local_devices(config.n_devices, where='config.n_devices')
    _, features = unit_activations.activations(
        opened, images, layer, (), (layer,), batch_size=config.batch_size, used=used
    )
    distance = index.cosine_distance('reference_features', features[layer])

    def of(wanted: ImageSet) -> index.ImageDistance:
        _same_images(images, wanted, config.features.run)
        return distance

    return of


def _same_images(first: ImageSet | None, here: ImageSet, folder: str) -> ImageSet:
    """The images, which must be those of the runs before.

    Raises:
        ValueError: They are others.
    """
    if first is not None and not (np.array_equal(first.ids, here.ids) and np.array_equal(first.images, here.images)):
        raise ValueError(f'{folder} has other images than the runs before it: start this experiment for each data set.')
    return here


def _provenance(
    config: ConfigDict, opened: runs.OpenRun, images: ImageSet, name: str, condition: str, run_folder: str
) -> dict[str, Any]:
    return {
        'experiment': config.experiment,
        'model': name,
        'condition': condition,
        'data': f'{images.name}/{images.split}',
        'human': 'none',  # no people take part
        'simulated': images.simulated,
        'stimuli_sha256': storage.array_digest(images.ids),
        'images_sha256': storage.array_digest(images.images),
        **images.provenance,
        'run': str(run_folder),
        'checkpoint_step': int(opened.state.step),
        'seed': opened.config.seed,
        'layer': config.layer,
        'n_meis': config.n_meis,
    }


def _units_of(
    config: ConfigDict,
    opened: runs.OpenRun,
    images: ImageSet,
    said: dict[str, Any],
    reference: Callable[[ImageSet], index.ImageDistance] | None,
) -> Iterator[_Units]:
    """The units and directions of a run in every mode, with their distances in features."""
    used = devices.local_devices(config.n_devices, where='config.n_devices')
    modes, section, layer = tuple(config.modes), config.directions, config.layer
    own = config.features.layer and reference is None
    more = [config.features.layer] if own else []
    for name in (layer, *more):
        unit_activations.check_layer(opened, name)
    options = {'batch_size': config.batch_size, 'used': used}
    by_mode, whole = unit_activations.activations(opened, images, layer, modes, more, **options)
    fit_on = {}
    if set(section.kinds) - {unit_activations.UNITS, unit_activations.SAE}:
        train = opened.setup.images['train']
        chosen = np.random.default_rng(config.seed).permutation(len(train))[: section.n_images or None]
        fit_on, _ = unit_activations.activations(opened, train.take(np.sort(chosen)), layer, modes, **options)
    if own:
        distance = index.cosine_distance('own_features', whole[more[0]])
    else:
        distance = reference(images) if reference is not None else None
    for kind, mode in itertools.product(section.kinds, modes):
        values = by_mode[mode]
        if kind != unit_activations.UNITS:
            values = unit_activations.of_directions(
                kind, fit_on.get(mode, values), values,
                n_directions=section.n_directions, sae_run=section.sae, seed=config.seed,
            )  # fmt: skip
        units = _Units(
            kind, mode, mei.most_exciting(values, config.n_meis), _trials(config, mode, values), {},
            {**said, 'directions': kind, 'mode': mode, 'features': config.features.run or said['model']},
        )  # fmt: skip
        flags = {'dead': units.meis.is_dead, 'tied': units.meis.is_tied, 'largest_activation': units.meis.values[:, 0]}
        units.values.update({name: np.asarray(flag, np.float64) for name, flag in flags.items()})
        if distance is not None:
            _add_distance([units], distance)
        yield units


def _trials(config: ConfigDict, mode: str, values: np.ndarray) -> dict[float, psychophysics.ForcedChoices]:
    section = config.psychophysics
    if mode not in section.modes:
        return {}
    sizes = {'n_trials': section.n_trials, 'n_references': section.n_references}
    return {
        float(quantile): psychophysics.make_trials(
            values, quantile=float(quantile), np_rng=np.random.default_rng(config.seed), **sizes
        )
        for quantile in section.quantiles
    }


def _add_distance(found: Sequence[_Units], distance: index.ImageDistance) -> None:
    """Adds the mean distance of each unit's images, and how often psychophysics by this distance is right."""
    for units in found:
        units.values[f'{distance.name}_mean'] = index.mean_distance(distance, units.meis.rows)
        for quantile, trials in units.trials.items():
            right = psychophysics.right_answers(distance, trials)
            units.values[f'psychophysics_{distance.name}_{quantile:g}'] = right


def _lpips_distance(
    config: ConfigDict, perceptual: lpips.Lpips, images: ImageSet, found: Sequence[_Units], folder: pathlib.Path
) -> index.ImageDistance:
    """LPIPS between the images that any unit needs, each of which is read once."""
    rows = [units.meis.rows.ravel() for units in found]
    for trials in itertools.chain.from_iterable(units.trials.values() for units in found):
        rows += [trials.queries.ravel(), trials.references.ravel()]
    needed = np.unique(np.concatenate(rows))
    logging.info('LPIPS reads %d of %d images.', len(needed), len(images))
    distance = index.embedded_distance(
        'lpips',
        lpips.make_embed(perceptual, size_px=config.lpips.size_px),
        images.images,
        needed,
        batch_size=config.batch_size,
        max_bytes=config.max_memory_gb * 1e9,
        folder=str(folder),
    )
    # Two queries and all references of every trial. All pairs take as long as 1 in 150 alone (benchmarks/README.md).
    n_pairs = sum(2 * trials.references.size for units in found for trials in units.trials.values())
    is_worth_it = n_pairs > len(needed) ** 2 / 150 and 4 * len(needed) ** 2 < config.max_memory_gb * 1e9
    return distance.with_matrix() if is_worth_it else distance


def _write(config: ConfigDict, folder: pathlib.Path, units: _Units, images: ImageSet) -> None:
    """Arrays of the units, and a sheet of their images."""
    place, stem = folder / units.said['model'], f'{units.kind}_{units.mode}'
    columns = np.stack(list(units.values.values()), axis=1)
    storage.write_array(
        place / f'{stem}.npy', columns, {'axes': ['unit', 'value'], 'values': list(units.values), **units.said}
    )
    told = {'axes': ['unit', 'rank'], **units.said, 'ids': images.ids}
    storage.write_array(place / f'{stem}_meis.npy', units.meis.rows, told)
    n_shown = min(config.sheets.n_units, int((units.values['dead'] == 0).sum()))
    if not n_shown:
        return
    ranked_by = next(f'{name}_mean' for name in interpretability_scores.DISTANCES if f'{name}_mean' in units.values)
    distance = np.where(units.values['dead'] > 0, np.inf, units.values[ranked_by])
    order = np.argsort(distance, kind='stable')[: int(np.isfinite(distance).sum())]
    shown = np.concatenate([order[: n_shown - n_shown // 2], order[len(order) - n_shown // 2 :]])
    words = [
        f'{unit}: {units.values[ranked_by][unit]:.3f}{" (tied)" * bool(units.values["tied"][unit])}' for unit in shown
    ]
    mark = ' (simulated)' if images.simulated else ''
    title = f'{units.said["model"]}, {units.kind} of {units.said["layer"]}, {units.mode}{mark}'
    figure = plots.draw_sheet([images.images[units.meis.rows[unit]] for unit in shown], words, title=title)
    path = place / 'figures' / f'meis_{stem}'
    style.save_figure(figure, path)
    described = {
        'picture': 'meis',
        **{key: units.said[key] for key in ('model', 'condition', 'layer', 'directions', 'mode', 'simulated')},
        'ranked_by': ranked_by,
        'units': shown,
        'values': units.values[ranked_by][shown],
        'ids': images.ids[units.meis.rows[shown]],
    }
    storage.write_json(path.with_suffix('.json'), described)
