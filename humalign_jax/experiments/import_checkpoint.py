"""Turns a PyTorch checkpoint or safetensors file and the name of a model into a run, and scores it on the test images.

The run holds one checkpoint, of step 0, and is opened like a run of `train_classifier`.
"""

import pathlib
import re
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import logging
from ml_collections import ConfigDict

from humalign_jax import devices, models, settings, storage
from humalign_jax.data import pipeline
from humalign_jax.train import loop, plan
from humalign_jax.train.checkpoints import Checkpoints
from humalign_jax.wiring import classifiers, images, provenance, trained_on, training

SECTIONS = ('experiment', 'seed', 'weights', 'data', 'preprocess', 'model', 'train')
SYNTHETIC = 'synthetic'  # in place of a file: random weights


def run(config: ConfigDict, workdir: str) -> None:
    """Puts the weights of `config.weights` into `config.model`, saves the checkpoint, and writes `scores.jsonl`.

    Raises:
        ValueError: The file cannot be read or does not fit the model, or the model does not fit the images.
    """
    folder, setup, mapping = pathlib.Path(workdir), _read(config), _mapping(config)
    path = _file(config.weights.file, setup, folder, mapping)
    variables = _variables(path, config.weights.key, setup, mapping)
    of_file = {'weights_file': path.name, 'weights_sha256': storage.file_digest(path)}
    trained_on.check_classes(folder, setup.images['train'], write=True)
    provenance.note_files(folder, source=setup.source, root=setup.root)
    provenance.note(folder, of_file)
    task = classifiers.make_task(setup, of_file)
    params = variables.pop('params')
    state = task.first_state().replace(params=params, model_state=variables)
    with Checkpoints(folder / 'checkpoints', keep=1, best_metric=setup.recipe.best_metric) as checkpoints:
        checkpoints.save(0, state.to_tree(), task.evaluate(devices.replicate(state, setup.recipe.devices)))
    assert task.score is not None
    task.score(folder, state, 'test')


def make_task(config: ConfigDict) -> loop.Task:
    """The task of a classifier whose weights come from a file."""
    return classifiers.make_task(_read(config), {'weights_file': pathlib.Path(config.weights.file).name})


def _read(config: ConfigDict) -> images.Setup:
    """Reads and checks the config, and loads the images; nothing is trained, so that the optimiser does nothing.

    Raises:
        ValueError: A key is unknown or missing, or the model does not classify into the classes of the images.
    """
    settings.check_keys(config, SECTIONS, 'config')
    settings.check_keys(config.weights, ('file', 'key', 'renames', 'flatten'), 'config.weights')
    settings.check_keys(config.preprocess, ('mean', 'std'), 'config.preprocess')
    settings.check_keys(config.train, ('n_devices',), 'config.train')
    of_split = images.load_images(config.data, seed=config.seed)
    model, n_classes = images.make_model(config.model, of_split['train']), len(of_split['train'].class_names)
    outputs = getattr(model, 'n_classes', None)
    if outputs != n_classes:
        is_it = f'has {outputs} classes' if outputs else 'is no classifier'
        raise ValueError(f'config.model.name={config.model.name!r} {is_it}, but {config.data.name} has {n_classes}.')
    batch_size = config.data.batch_size
    recipe = loop.Recipe(
        seed=config.seed,
        batch_size=batch_size,
        devices=training.read_devices(config.train.n_devices, batch_size, where='config.data.batch_size'),
        plan=plan.make_plan(
            n_examples=len(of_split['train']),
            batch_size=batch_size,
            epochs=1,
            max_steps=0,
            log_every_steps=1,
            eval_every_epochs=1,
            checkpoint_every_epochs=1,
        ),
        tx=optax.identity(),
        schedule=optax.constant_schedule(0.0),
        best_metric='loss',
        best_mode='min',
        keep_checkpoints=1,
        steps_per_dispatch=1,
        logger='',
        hyperparameters=settings.plain(config),
    )
    prepare = settings.call(pipeline.make_prepare, config.preprocess, 'config.preprocess')
    setup = images.Setup(
        recipe=recipe,
        experiment=config.experiment,
        source=config.data.name,
        root=config.data.root,
        target=config.data.target,
        model_name=config.model.name,
        objective={'label_smoothing': 0.0},
        images=of_split,
        prepare=prepare,
        prepare_plain=prepare,
        model=model,
    )
    classifiers.check_several_classes(setup)
    return setup


def _mapping(config: ConfigDict) -> dict[str, Any]:
    """Arguments of `models.to_flax`: those of the model, unless `config.weights` says otherwise.

    Raises:
        ValueError: `renames` or `flatten` is not a list of such pairs.
    """
    mapping = dict(getattr(models.MODELS[config.model.name], 'from_torch', {}))
    for key, (first, second) in {'renames': (str, str), 'flatten': (str, int)}.items():
        pairs = settings.plain(config.weights[key])
        if not all(
            isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[0], first) and isinstance(pair[1], second)
            for pair in pairs
        ):
            example = "(('^fc$', 'classifier'),)" if key == 'renames' else "(('classifier', 64),)"
            raise ValueError(f'config.weights.{key}={pairs!r} must be a list of pairs, such as {example}.')
        if pairs:
            mapping[key] = pairs if key == 'renames' else dict(pairs)
    for pattern, replacement in mapping.get('renames', ()):
        try:
            re.sub(pattern, replacement, '')
        except re.error as error:
            raise ValueError(f'config.weights.renames: {pattern!r} is no regular expression ({error}).') from error
    return mapping


def _file(name: str, setup: images.Setup, folder: pathlib.Path, mapping: Mapping[str, Any]) -> pathlib.Path:
    """The file of the weights; with 'synthetic' one with random weights, written into the run's folder.

    Raises:
        ValueError: No file is named.
    """
    if not name:
        raise ValueError("config.weights.file is empty: name a .pt, .pth, .th or .safetensors file, or 'synthetic'.")
    if name != SYNTHETIC:
        return pathlib.Path(name)
    path = folder / f'{SYNTHETIC}.safetensors'
    variables = jax.device_get(jax.jit(lambda: _init(setup.model, setup, setup.recipe.seed + 1))())
    axes = {key: mapping[key] for key in ('flatten', 'transposed') if key in mapping}
    models.write_safetensors(path, models.from_flax(variables, **axes))
    return path


def _variables(path: pathlib.Path, key: str, setup: images.Setup, mapping: Mapping[str, Any]) -> dict[str, Any]:
    """The variables of the model, with the weights of the file.

    Raises:
        ValueError: The file cannot be read or does not fit the model.
    """
    state_dict = models.read_state_dict(path, key=key)
    try:
        variables = models.to_flax(state_dict, jax.eval_shape(lambda: _init(setup.model, setup)), **mapping)
    except ValueError as error:
        n_classes = _n_classes(state_dict, setup, mapping)
        if n_classes:
            raise ValueError(
                f'{path} classifies into {n_classes} classes, but {setup.source} has '
                f'{len(setup.images["train"].class_names)}: set config.data to images of the classes that the network '
                'was trained on.'
            ) from error
        raise ValueError(
            f'{path} as config.model.name={setup.model_name!r}: {error} The settings are config.weights.renames and '
            'config.weights.flatten.'
        ) from error
    logging.info('%d arrays of %s are the weights of %s.', len(state_dict), path, setup.model_name)
    return variables


def _n_classes(state_dict: Mapping[str, np.ndarray], setup: images.Setup, mapping: Mapping[str, Any]) -> int:
    """Number of classes with which the weights would fit the model, 0 if there is none."""
    for n in sorted({len(array) for array in state_dict.values() if array.ndim == 2}):
        model = setup.model.clone(n_classes=n)
        try:
            models.to_flax(state_dict, jax.eval_shape(lambda model=model: _init(model, setup)), **mapping)
        except ValueError:
            continue
        return n
    return 0


def _init(model: nn.Module, setup: images.Setup, seed: int = 0) -> dict[str, Any]:
    """First variables of a model for the images, to be traced."""
    image = jnp.zeros((1, *setup.images['train'].images.shape[1:]), jnp.float32)
    variables = model.init(jax.random.key(seed), image)
    return {name: values for name, values in variables.items() if name != 'layers'}
