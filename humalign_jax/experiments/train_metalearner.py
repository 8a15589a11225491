"""Meta-learns features: a model learns many functions of the items in context, and its first layer is kept.

    scores.jsonl                    accuracy and R2 on held-out items, of held-out and of trained functions
    features/<name>/base.npy        features of all items as they were read; a folder of layers as `extract` writes it
    features/<name>/embed.npy       meta-learned features, an affine map of them; of the static control also normalised
    held_out_items.txt              ids of the items that it was not trained on, one a line
    curves/correct.npy              [f, n_repeats, length] 0 or 1, each function, episode and position; held-out items
    curves/squared_error.npy        the same of the magnitudes; NaN at negative items of sparse functions

References:
    Demircan et al. (2026). Meta-learning as a principle for human-like visual representations. arXiv 2606.28399
"""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, cast

import flax.linen as nn
import jax
import numpy as np
from absl import logging
from ml_collections import ConfigDict

from humalign_jax import devices, objectives, settings, storage
from humalign_jax.alignment import scoring
from humalign_jax.data import episodes, function_rows
from humalign_jax.models.metalearner import MetaLearner, StaticLinear
from humalign_jax.records import Features, Score
from humalign_jax.report.plots import curves
from humalign_jax.train import batches, forward, loop, optimizers, stopping
from humalign_jax.train.state import TrainState
from humalign_jax.wiring import function_data, training

MODELS = {'metalearner': MetaLearner, 'static_linear': StaticLinear}
_KEYS = (
    'experiment', 'seed', 'data', 'functions', 'episodes', 'model', 'optimizer', 'train', 'stopping', 'export',
)  # fmt: skip
_EPISODE_KEYS = ('length', 'per_epoch', 'n_repeats')
_N_BOOTSTRAP = 1000


def run(config: ConfigDict, workdir: str) -> None:
    """Trains by `config`, chooses the checkpoint by held-out functions and items, writes scores, curves, features."""
    folder, task = pathlib.Path(workdir), make_task(config)
    best = training.train(task, folder)
    assert task.score is not None
    task.score(folder, best, 'held-out')
    write_features(config, task, folder, best)
    data: function_data.FunctionData = task.setup
    storage.write_text(folder / 'held_out_items.txt', '\n'.join(data.functions.item_ids[~data.train_items]) + '\n')
    labels = {'score': 'score', 'accuracy': 'accuracy', 'loss': 'loss'}
    curves.draw_curves(folder, labels)


def make_task(config: ConfigDict) -> loop.Task:
    """Episodes of the training functions and items for the meta-learner; items with all functions for its control."""
    settings.check_keys(config, _KEYS, 'config')
    settings.check_keys(config.episodes, _EPISODE_KEYS, 'config.episodes')
    data = function_data.read(config, n_items=config.episodes.length)
    recipe = training.read(config, n_examples=config.episodes.per_epoch)
    model = _make_model(config.model, n_functions=int(data.train_functions.sum()))
    dense = data.medians is not None
    measure = objectives.make_episode_measure(model)
    if isinstance(model, StaticLinear):  # the values of an item are as many as there are functions
        measure = _summed(measure, dense=dense)

    @functools.cache  # arrays go to the devices when they are first needed
    def on_held_out_items() -> Callable[[TrainState, np.ndarray | None], dict[str, np.ndarray]]:
        return _averaged(measure, _examples(config, data, model, training=False), recipe)

    def sums_of(state: TrainState, functions: np.ndarray) -> dict[str, np.ndarray]:
        if isinstance(model, StaticLinear):
            return on_held_out_items()(state, None)
        rows = np.flatnonzero(np.repeat(functions[data.evaluated], config.episodes.n_repeats))
        return objectives.episode_sums(on_held_out_items()(state, rows), dense=dense)

    def evaluate(state: TrainState) -> dict[str, float]:
        has_held_out = not data.train_functions.all()
        sums = sums_of(state, ~data.train_functions if has_held_out else data.train_functions)
        accuracy = forward.means(sums, ('accuracy',))['accuracy']
        if not data.has_magnitudes:
            return {'accuracy': accuracy, 'score': accuracy}
        r2 = objectives.goodness_of_fit(sums)
        return {'accuracy': accuracy, 'r2': r2, 'score': (accuracy + r2) / 2}

    def score(folder: pathlib.Path, state: TrainState, split: str) -> None:
        del split  # held-out items only
        on_devices, about = devices.replicate(state, recipe.devices), _provenance(config, data, state)
        if isinstance(model, StaticLinear):
            parts = {'trained': sums_of(on_devices, data.train_functions)}
        else:
            values = on_held_out_items()(on_devices, None)
            _write_curves(config, data, values, folder, about)
            sums = objectives.episode_sums(values, dense=dense)
            trained = np.repeat(data.train_functions[data.evaluated], config.episodes.n_repeats)
            masks = {'held out': ~trained, 'trained': trained}
            parts = {
                of: {name: value[mask] for name, value in sums.items()} for of, mask in masks.items() if mask.any()
            }
        scores = [one for of, sums in parts.items() for one in _scores(sums, config, data, {**about, 'of': of})]
        training.write_scores(folder, scores)

    return loop.Task(
        recipe=recipe,
        model=model,
        make_objective=lambda model: objectives.make_episode_objective(
            model, dense=dense, magnitudes=data.has_magnitudes
        ),
        examples=_examples(config, data, model, training=True),
        evaluate=evaluate,
        metrics=('accuracy', 'score', *(('r2',) if data.has_magnitudes else ())),
        digests=data.digests,
        score=score,
        stopping=settings.call(stopping.EarlyStopping, config.stopping, 'config.stopping', metric='score'),
        setup=data,
    )


def write_features(config: ConfigDict, task: loop.Task, folder: pathlib.Path, state: TrainState) -> None:
    """Writes base and meta-learned features of the training file and of each file of `config.export`.

    Args:
        config: The run's config.
        task: Its task.
        folder: Its workdir.
        state: The checkpoint, on the host.

    Raises:
        ValueError: Features are of another size than those trained on, or two files have one name.
    """
    data: function_data.FunctionData = task.setup
    params = optimizers.averaged_params(state.params, state.opt_state)
    apply = jax.jit(lambda x: task.model.apply({'params': params}, x, method='representation'))
    further: tuple[str, ...] = settings.plain(config.export)
    sources = [data.features, *(function_data.read_file(config.data, path) for path in further)]
    names = storage.file_names([source.name for source in sources])
    for source, name in zip(sources, names):
        if source.values.shape[1] != len(data.shift):
            raise ValueError(
                f'config.export: {source.name!r} has {source.values.shape[1]} features, but the map was trained on '
                f'{len(data.shift)}.'
            )
        x = data.scaled(source.values)
        parts = [cast(dict[str, jax.Array], apply(x[i : i + 4096])) for i in range(0, len(x), 4096)]
        made = {layer: np.concatenate([np.asarray(part[layer]) for part in parts]) for layer in parts[0]}
        about = _provenance(config, data, state)
        for order, (layer, values) in enumerate({'base': np.asarray(source.values), **made}.items()):
            sidecar = _sidecar(source, layer, order, about if order else {}, config)
            storage.write_array(folder / 'features' / name / f'{layer}.npy', values, sidecar)
    logging.info('Features of %s: %s', ', '.join(names), folder / 'features')


def _sidecar(source: Features, layer: str, order: int, about: Mapping[str, Any], config: ConfigDict) -> dict[str, Any]:
    ids = np.asarray(source.ids)
    return {
        'name': f'{config.model.name}/{layer}',
        'model': config.model.name,
        'layer': layer,
        'layer_order': order,
        **about,
        'data': source.name,
        'simulated': bool(source.provenance.get('simulated', False)),
        'features_sha256': storage.array_digest(source.values),
        'stimuli_sha256': storage.array_digest(ids),
        'ids': ids.tolist(),
    }


def _make_model(section: ConfigDict, *, n_functions: int) -> MetaLearner | StaticLinear:
    """The model of `config.model`; the control ignores the fields that only the meta-learner has."""
    fields = {name: {field.name for field in dataclasses.fields(kind)} for name, kind in MODELS.items()}
    settings.check_keys(section, {'name', *fields['metalearner']} - {'parent'}, 'config.model')
    name = section.name
    if name not in MODELS:
        raise ValueError(f'config.model.name={name!r} is unknown.{settings.nearest(name, MODELS)}')
    options = {key: value for key, value in section.items() if key != 'name' and key in fields[name]}
    return StaticLinear(n_functions, **options) if name == 'static_linear' else MetaLearner(**options)


def _examples(
    config: ConfigDict, data: function_data.FunctionData, model: nn.Module, *, training: bool
) -> batches.Examples:
    """Episodes, or items for the control: of training functions and items; in evaluation of held-out items.

    Evaluation episodes are of all functions that can be evaluated, in their order; items have all training functions.
    """
    section, static = config.episodes, isinstance(model, StaticLinear)
    chosen = data.train_functions if training or static else data.evaluated
    features, functions, medians = data.part(data.train_items ^ (not training), chosen)
    n_evaluated = len(features) if static else len(functions) * section.n_repeats
    n = section.per_epoch if training else n_evaluated
    if static:
        _, trained, of_trained = data.part(data.train_items, chosen)
        scales = function_rows.function_scales(trained, of_trained)
        arrays = function_rows.row_arrays(features, functions, scales, medians)
        return batches.Examples(n, arrays, function_rows.make_row_batch(len(functions)))
    rule = episodes.EpisodeRule(section.length, data.scale, section.n_repeats, config.data.split_seed)
    arrays = episodes.episode_arrays(features, functions, medians)
    return batches.Examples(n, arrays, episodes.make_episode_batch(rule))


def _summed(measure: Callable, *, dense: bool) -> Callable:
    """A measure whose values are summed over each row of the batch on the device."""

    def summed(params: Any, model_state: Any, batch: batches.Batch) -> Mapping[str, jax.Array]:
        return objectives.episode_sums(measure(params, model_state, batch), dense=dense)

    return summed


def _averaged(
    measure: Callable, examples: batches.Examples, recipe: loop.Recipe
) -> Callable[[TrainState, np.ndarray | None], dict[str, np.ndarray]]:
    """`(state, rows or None for all) -> {name: [n, ...]}` of a measure, with the optimiser's averaged parameters."""

    def measure_averaged(given: Any, model_state: Any, batch: batches.Batch) -> Mapping[str, jax.Array]:
        return measure(optimizers.averaged_params(*given), model_state, batch)

    values = forward.Forward(measure_averaged, examples, batch_size=recipe.batch_size, devices=recipe.devices)
    return lambda state, rows: values((state.params, state.opt_state), state.model_state, rows)


def _provenance(config: ConfigDict, data: function_data.FunctionData, state: TrainState) -> dict[str, Any]:
    return {
        'experiment': config.experiment,
        'model': config.model.name,
        **function_data.provenance_of(data),
        'checkpoint_step': int(state.step),
        'seed': config.seed,
        'items': 'held out',
    }


def _scores(
    sums: Mapping[str, np.ndarray], config: ConfigDict, data: function_data.FunctionData, about: Mapping[str, Any]
) -> list[Score]:
    """Accuracy and R2 with intervals over functions; over items for the control, which has no episodes."""
    static = config.model.name == 'static_linear'
    n_repeats, unit = (1, 'items') if static else (config.episodes.n_repeats, 'functions')
    per_unit = {name: np.asarray(values, np.float64).reshape(-1, n_repeats) for name, values in sums.items()}
    accuracy = scoring.mean('functions/accuracy', per_unit['accuracy'].mean(axis=1), about)
    scores = [dataclasses.replace(accuracy, interval=f"Student's t over {unit}")]
    if data.has_magnitudes:
        totals = {name: values.sum(axis=1) for name, values in per_unit.items()}
        n = len(totals['n'])
        np_rng = np.random.default_rng([config.seed, n])
        drawn = [
            objectives.goodness_of_fit({name: values[rows] for name, values in totals.items()})
            for rows in np_rng.integers(0, n, (_N_BOOTSTRAP, n))
        ]
        low, high = np.quantile(drawn, (0.025, 0.975))
        how = f'bootstrap over {unit}, {_N_BOOTSTRAP} draws'
        r2 = objectives.goodness_of_fit(totals)
        scores.append(Score('functions/r2', r2, float(low), float(high), n, how, provenance=about))
    logging.info('%s functions: %s', about['of'], ', '.join(f'{one.name} {one.value:.4f}' for one in scores))
    return scores


def _write_curves(
    config: ConfigDict,
    data: function_data.FunctionData,
    values: Mapping[str, np.ndarray],
    folder: pathlib.Path,
    about: Mapping[str, Any],
) -> None:
    """Writes what the model got right, and its squared errors, at each position of every function's episodes."""
    shape = (int(data.evaluated.sum()), config.episodes.n_repeats, config.episodes.length)
    counted = values['binary'] > 0 if data.medians is None else True
    squared_error = np.where(counted, values['squared_error'], np.float32(np.nan)).reshape(shape)
    sidecar = {
        **about,
        'axes': ['function', 'episode', 'position'],
        'function_ids': data.functions.function_ids[data.evaluated],
        'functions_held_out': ~data.train_functions[data.evaluated],
        'magnitude_sd': data.scale,
    }
    storage.write_array(folder / 'curves' / 'correct.npy', values['correct'].reshape(shape).astype(np.uint8), sidecar)
    storage.write_array(folder / 'curves' / 'squared_error.npy', squared_error, sidecar)
