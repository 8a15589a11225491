"""Training on images: a config's data, preprocessing and model, and the task that an experiment makes of them."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import numpy as np
from absl import logging
from ml_collections import ConfigDict

from humalign_jax import data, devices, models, settings
from humalign_jax.data import pipeline, splits
from humalign_jax.records import ImageSet
from humalign_jax.train import batches, forward, loop
from humalign_jax.train.state import TrainState
from humalign_jax.wiring import provenance, targets, trained_on, training
from humalign_jax.wiring import watch as watch_lib

_SECTIONS = ('experiment', 'seed', 'data', 'preprocess', 'model', 'objective', 'optimizer', 'train', 'watch')
_DATA_KEYS = ('name', 'root', 'batch_size', 'n_validation', 'target')


@dataclasses.dataclass(frozen=True)
class Setup:
    """What the config of a training run on images says, read once.

    Attributes:
        recipe: How it trains.
        experiment: Name of the experiment.
        source: Name of the images' source, `config.data.name`.
        root: Folder with the data.
        target: What is trained towards, `config.data.target`.
        model_name: Name of the network.
        objective: `config.objective`, for the experiment.
        images: Image sets by split: 'train', 'validation', 'test', without what must not be scored.
        prepare: Preprocessing with augmentation, for training.
        prepare_plain: The same without augmentation, for evaluation.
        model: For one device.
        probe: Images on which alignment is watched, None for none.
    """

    recipe: loop.Recipe
    experiment: str
    source: str
    root: str
    target: str
    model_name: str
    objective: Mapping[str, Any]
    images: Mapping[str, ImageSet]
    prepare: pipeline.Prepare
    prepare_plain: pipeline.Prepare
    model: nn.Module
    probe: watch_lib.Probe | None = None


def read(config: ConfigDict) -> Setup:
    """Reads and checks every section of a training config, and loads the images.

    Raises:
        ValueError: A key is unknown or missing, or a value cannot be.
    """
    settings.check_keys(config, _SECTIONS, 'config')
    images = load_images(config.data, seed=config.seed)
    probe, images = watch_lib.choose_probe(
        config.watch, images, source=config.data.name, best_metric=config.train.best_metric, seed=config.seed
    )
    recipe = training.read(config, n_examples=len(images['train']), watch_every_epochs=config.watch.every_epochs)
    plain_section = {key: value for key, value in config.preprocess.items() if key in ('mean', 'std')}
    logging.info(
        'Model %s on %d training, %d validation and %d test images of %s; %d steps of %d images on %d %s device(s).',
        config.model.name, *(len(images[split]) for split in ('train', 'validation', 'test')), config.data.name,
        recipe.plan.last_step, recipe.batch_size, len(recipe.devices), recipe.devices[0].platform,
    )  # fmt: skip
    return Setup(
        recipe=recipe,
        experiment=config.experiment,
        source=config.data.name,
        root=config.data.root,
        target=config.data.target,
        model_name=config.model.name,
        objective=settings.plain(config.objective),
        images=images,
        prepare=settings.call(pipeline.make_prepare, config.preprocess, 'config.preprocess'),
        prepare_plain=settings.call(pipeline.make_prepare, plain_section, 'config.preprocess'),
        model=make_model(config.model, images['train']),
        probe=probe,
    )


def load_images(section: ConfigDict, *, seed: int) -> dict[str, ImageSet]:
    """Train, validation and test images of `config.data`; validation is a stratified part of train."""
    name = section.get('name', '')
    if name not in data.SOURCES:
        raise ValueError(f'config.data.name={name!r} is no source of images.{settings.nearest(name, data.SOURCES)}')
    of_source = settings.options_of(data.SOURCES[name])[0] - {'split', 'root'}
    settings.check_keys(section, _DATA_KEYS, 'config.data', optional=of_source)
    options = {'root': section.root, **{key: settings.plain(section[key]) for key in of_source if key in section}}
    everything = targets.with_people(data.load(name, 'train', **options), section.target, root=section.root, seed=seed)
    test = trained_on.apart(data.load(name, 'test', **options), everything)
    train, validation = splits.stratified_split(everything, section.n_validation, seed)
    return {'train': train, 'validation': validation, 'test': test}


def make_model(section: ConfigDict, images: ImageSet) -> nn.Module:
    """The model of `config.model`; a classifier gets as many outputs as there are classes."""
    options = settings.plain(section)
    known = models.model_options(options.get('name', ''))
    settings.check_keys(options, ('name',), 'config.model', optional=known)
    if 'n_classes' in known:
        options.setdefault('n_classes', len(images.class_names))
    if 'image_shape' in known:
        options.setdefault('image_shape', images.images.shape[1:])
    return models.make_model(**options)


def examples(images: ImageSet, prepare: pipeline.Prepare, *, target: str = 'label') -> batches.Examples:
    """Images as the examples of a training or an evaluation."""
    arrays = pipeline.resident_arrays(images, target=targets.target_of(images, target))
    return batches.Examples(len(images), arrays, pipeline.make_image_batch(prepare))


def make_task(
    setup: Setup,
    *,
    make_objective: Callable[[nn.Module], Callable],
    measure: Callable,
    metrics: Sequence[str],
    write_scores: Callable[[pathlib.Path, str, Mapping[str, np.ndarray], Mapping[str, Any]], None],
    pictures: Callable[[TrainState], Mapping[str, np.ndarray]] | None = None,
    pictures_every: int = 0,
    test_curves: bool = False,
) -> loop.Task:
    """The task of an experiment on images.

    Args:
        setup: What its config says.
        make_objective: Objective of a model.
        measure: `(params, model_state, batch) -> {name: [b]}` in evaluation mode.
        metrics: Which of these are averaged over the validation images.
        write_scores: `(folder, split, values {name: [n]}, provenance)` turns per-image values into the run's scores.
        pictures: `state -> {name: uint8 [h, w, 3]}`, or None.
        pictures_every: Steps between pictures.
        test_curves: Measures the test images too at each evaluation, for the curves; they choose nothing.
    """
    recipe = setup.recipe

    @functools.cache  # images go to the devices when they are first needed
    def values_of(split: str) -> forward.Forward:
        of_split = examples(setup.images[split], setup.prepare_plain, target=setup.target)
        return forward.Forward(measure, of_split, batch_size=recipe.batch_size, devices=recipe.devices)

    def evaluate(state: TrainState, split: str = 'validation') -> dict[str, float]:
        return forward.means(values_of(split)(state.params, state.model_state), metrics)

    def score(folder: pathlib.Path, state: TrainState, split: str) -> None:
        on_devices = devices.replicate((state.params, state.model_state), recipe.devices)
        left_out = setup.probe.n_left_out if setup.probe and split == 'test' else 0
        said = provenance.of_scores(
            setup.images[split],
            state,
            recipe,
            experiment=setup.experiment,
            model=setup.model_name,
            left_out=left_out,
        )
        write_scores(folder, split, values_of(split)(*on_devices), said)

    def digests() -> dict[str, str]:
        answers = setup.probe.answers(setup.root) if setup.probe else None
        return provenance.digests(setup.images, target=setup.target, answers=answers)

    def make_watch() -> watch_lib.Watch:
        assert setup.probe is not None
        return watch_lib.Watch(
            setup.model,
            setup.probe,
            setup.probe.answers(setup.root),
            prepare=setup.prepare_plain,
            batch_size=recipe.batch_size,
            devices=recipe.devices,
            seed=recipe.seed,
        )

    return loop.Task(
        recipe=recipe,
        model=setup.model,
        make_objective=make_objective,
        examples=examples(setup.images['train'], setup.prepare, target=setup.target),
        evaluate=evaluate,
        metrics=metrics,
        also_evaluate={'test': functools.partial(evaluate, split='test')} if test_curves else {},
        digests=digests,
        score=score,
        make_watch=make_watch if setup.probe else None,
        pictures=pictures,
        pictures_every=pictures_every,
        setup=setup,
    )


def train_and_score(task: loop.Task, folder: pathlib.Path) -> TrainState:
    """Trains a task of `make_task`, or goes on with it, and scores the best state on the test images.

    Returns:
        The best state, on the host.
    """
    provenance.note_files(folder, source=task.setup.source, root=task.setup.root)
    best = training.train(task, folder)
    assert task.score is not None
    task.score(folder, best, 'test')
    return best
