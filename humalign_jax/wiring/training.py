"""What the training experiments share: config sections turned into data, devices, model, optimiser and a run."""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import numpy as np
import optax
from absl import logging
from ml_collections import ConfigDict

from humalign_jax import data, devices, models, settings, storage, workdir
from humalign_jax.data import cifar10, pipeline, splits
from humalign_jax.records import ImageSet, Score
from humalign_jax.train import checkpoints, forward, loop, optimizers, plan, state, step
from humalign_jax.wiring import targets, trained_on
from humalign_jax.wiring import watch as watch_lib

SECTIONS = ('experiment', 'seed', 'data', 'preprocess', 'model', 'objective', 'optimizer', 'train', 'watch')
_DATA_KEYS = ('name', 'root', 'batch_size', 'n_validation', 'target')
_TRAIN_KEYS = (
    'epochs',
    'max_steps',
    'log_every_steps',
    'eval_every_epochs',
    'checkpoint_every_epochs',
    'keep_checkpoints',
    'best_metric',
    'best_mode',
    'steps_per_dispatch',
    'n_devices',
)
_SCHEDULE_KEYS = ('learning_rate', 'schedule', 'warmup_epochs', 'start_learning_rate', 'end_learning_rate')


@dataclasses.dataclass(frozen=True)
class Setup:
    """A run before its first step.

    Attributes:
        images: Image sets by split: 'train', 'validation', 'test', without what must not be scored.
        prepare: Preprocessing with augmentation, for training.
        prepare_plain: The same without augmentation, for evaluation.
        devices: Where to run.
        model: For one device, without a device axis.
        mapped_model: The same, with BatchNorm's statistics shared over devices.
        plan: Durations in steps.
        probe: Images on which alignment is watched, None for none.
    """

    images: Mapping[str, ImageSet]
    prepare: Callable
    prepare_plain: Callable
    devices: list[jax.Device]
    model: nn.Module
    mapped_model: nn.Module
    plan: plan.Plan
    probe: ImageSet | None = None


def _source_options(section: ConfigDict) -> set[str]:
    """Further keys of `config.data`: the keyword arguments of its source."""
    name = section.get('name', '')
    if name not in data.SOURCES:
        raise ValueError(f'config.data.name={name!r} is no source of images.{settings.nearest(name, data.SOURCES)}')
    return settings.options_of(data.SOURCES[name])[0] - {'split', 'root'}


def load_images(config: ConfigDict) -> dict[str, ImageSet]:
    """Train, validation and test images of `config.data`; validation is a stratified part of train."""
    options = {key: value for key, value in config.data.items() if key not in _DATA_KEYS}
    settings.check_keys(config.data, _DATA_KEYS, 'config.data', optional=_source_options(config.data))
    given = {'root': config.data.root, **settings.plain(options)}
    everything = targets.with_people(
        data.load(config.data.name, 'train', **given), config.data.target, root=config.data.root, seed=config.seed
    )
    test = trained_on.apart(data.load(config.data.name, 'test', **given), everything)
    train, validation = splits.stratified_split(everything, config.data.n_validation, config.seed)
    return {'train': train, 'validation': validation, 'test': test}


def make_model(config: ConfigDict, images: ImageSet) -> nn.Module:
    """The model of `config.model`; a classifier gets as many outputs as there are classes."""
    options = settings.plain(config.model)
    known = models.model_options(options.get('name', ''))
    settings.check_keys(options, ('name',), 'config.model', optional=known)
    if 'n_classes' in known:
        options.setdefault('n_classes', len(images.class_names))
    if 'image_shape' in known:
        options.setdefault('image_shape', images.images.shape[1:])
    return models.make_model(**options)


def set_up(config: ConfigDict) -> Setup:
    """Reads and checks every section of a training config, and loads the images.

    Raises:
        ValueError: A key is unknown or missing, or a value cannot be.
    """
    settings.check_keys(config, SECTIONS, 'config')
    settings.check_keys(config.train, _TRAIN_KEYS, 'config.train')
    probe, images = watch_lib.choose_probe(config, load_images(config))
    run_devices = devices.local_devices(config.train.n_devices)
    if config.data.batch_size % len(run_devices):
        raise ValueError(
            f'config.data.batch_size={config.data.batch_size} does not divide among {len(run_devices)} devices: '
            'choose a multiple, or set config.train.n_devices.'
        )
    model = make_model(config, images['train'])
    prepare = settings.call(pipeline.make_prepare, config.preprocess, 'config.preprocess')
    plain_section = {key: value for key, value in config.preprocess.items() if key in ('mean', 'std')}
    durations = plan.make_plan(
        n_images=len(images['train']),
        batch_size=config.data.batch_size,
        watch_every_epochs=config.watch.every_epochs,
        **{name: config.train[name] for name in settings.options_of(plan.make_plan)[0] if name in config.train},
    )
    logging.info(
        'Model %s on %d training, %d validation and %d test images of %s; %d steps of %d images on %d %s device(s).',
        config.model.name, *(len(images[split]) for split in ('train', 'validation', 'test')), config.data.name,
        durations.last_step, config.data.batch_size, len(run_devices), run_devices[0].platform,
    )  # fmt: skip
    return Setup(
        images=images,
        prepare=prepare,
        prepare_plain=settings.call(pipeline.make_prepare, plain_section, 'config.preprocess'),
        devices=run_devices,
        model=model,
        mapped_model=model.clone(axis_name=devices.AXIS),
        plan=durations,
        probe=probe,
    )


@dataclasses.dataclass(frozen=True)
class Task:
    """What an experiment trains and how it is measured.

    Attributes:
        make_objective: Objective of a model.
        measure: `(params, model_state, batch) -> {name: [b]}` in evaluation mode.
        measured: Which of these are averaged over the validation images.
        write_scores: `(folder, split, values {name: [n]}, provenance)` turns per-image values into the run's scores.
        make_pictures: `(params, model_state) -> {name: uint8 [h, w, 3]}`, or None.
        pictures_every: Steps between pictures.
    """

    make_objective: Callable[[nn.Module], Callable]
    measure: Callable
    measured: tuple[str, ...]
    write_scores: Callable[[pathlib.Path, str, Mapping[str, np.ndarray], Mapping[str, Any]], None]
    make_pictures: Callable[[Any, Any], Mapping[str, np.ndarray]] | None = None
    pictures_every: int = 0


@dataclasses.dataclass(frozen=True)
class Start:
    """The optimiser and the state before the first step, on the host."""

    tx: optax.GradientTransformation
    schedule: optax.Schedule
    state: state.TrainState


def start(config: ConfigDict, setup: Setup, task: Task) -> Start:
    """Optimiser and first state of a run, by `config.optimizer` and `config.seed`."""
    section = {key: value for key, value in config.optimizer.items() if key in _SCHEDULE_KEYS}
    section['warmup_steps'] = plan.epochs_to_steps(section.pop('warmup_epochs', 0.0), setup.plan.steps_per_epoch)
    schedule = settings.call(optimizers.make_schedule, section, 'config.optimizer', total_steps=setup.plan.total_steps)
    rest = {key: value for key, value in config.optimizer.items() if key not in _SCHEDULE_KEYS}
    tx = settings.call(optimizers.make_optimizer, rest, 'config.optimizer', schedule=schedule)
    images = setup.images['train']
    first = state.make_state(
        setup.model,
        images.images.shape[1:],
        tx,
        task.make_objective(setup.model),
        seed=config.seed,
        n_classes=len(images.class_names),
    )
    return Start(tx, schedule, first)


def train(config: ConfigDict, folder: pathlib.Path, setup: Setup, task: Task) -> state.TrainState:
    """Trains, or goes on training, and returns the best state, on the host.

    Raises:
        ValueError: The run was begun with other images, labels or answers of people.
    """
    workdir.check_same_data(folder, _digests(config, setup))
    _note_files(config, folder)
    return loop.fit(make_run(config, setup, task), folder)


def _digests(config: ConfigDict, setup: Setup) -> dict[str, str]:
    """What the run is made of, by name; reads every image once (0.2 s for 100 MB)."""
    digests = {}
    for split, images in setup.images.items():
        digests[f'number of {split} images'] = str(len(images))
        digests[f'{split} images'] = storage.array_digest(images.images)
        digests[f'{split} labels'] = storage.array_digest(images.labels)
        digests[f'{split} ids'] = storage.array_digest(images.ids)
        target = images.extras.get(targets.target_of(images, config.data.target))
        if target is not None:
            digests[f'{split} targets'] = storage.array_digest(target)
    if setup.probe is not None:
        digests['answers to the probe images'] = storage.array_digest(
            watch_lib.probe_answers(config, setup.probe).counts
        )
    return digests


def make_run(config: ConfigDict, setup: Setup, task: Task) -> loop.Run:
    """Everything that the training loop needs.

    Raises:
        ValueError: `config.train.best_metric` is not measured by this task.
    """
    watch = make_watch(config, setup)
    metrics = (*task.measured, *(watch.columns if watch else ()))
    best_metric, best_mode = config.train.best_metric, config.train.best_mode
    if best_metric not in metrics or best_mode not in ('min', 'max'):
        raise ValueError(
            f'config.train.best_metric={best_metric!r} with best_mode={best_mode!r}: the metric must be one of '
            f'{", ".join(metrics)}, the mode min or max.'
        )
    if watch_lib.MODES.get(best_metric, best_mode) != best_mode:
        raise ValueError(
            f'config.train.best_mode={best_mode!r}, but the best {best_metric} is its {watch_lib.MODES[best_metric]}.'
        )
    begin = start(config, setup, task)
    n_parameters = sum(leaf.size for leaf in jax.tree.leaves(begin.state.params))
    logging.info('%s has %d parameters.', config.model.name, n_parameters)
    validate = evaluator(config, setup, task, 'validation')
    return loop.Run(
        state=begin.state,
        train_step=step.make_train_step(
            task.make_objective(setup.mapped_model),
            begin.tx,
            setup.prepare,
            seed=config.seed,
            axis_name=devices.AXIS,
        ),
        images=pipeline.resident_arrays(setup.images['train'], target=config.data.target),
        plan=setup.plan,
        batch_size=config.data.batch_size,
        seed=config.seed,
        devices=setup.devices,
        schedule=begin.schedule,
        evaluate=lambda params, model_state: forward.means(validate(params, model_state), task.measured),
        best_metric=best_metric,
        best_mode=best_mode,
        keep_checkpoints=config.train.keep_checkpoints,
        steps_per_dispatch=config.train.steps_per_dispatch,
        hyperparameters=settings.plain(config),
        pictures=task.make_pictures,
        pictures_every=task.pictures_every,
        watch=watch,
    )


def make_watch(config: ConfigDict, setup: Setup) -> watch_lib.Watch | None:
    """The scores of `config.watch`, None if nothing is watched."""
    if setup.probe is None:
        return None
    return watch_lib.Watch(
        setup.model,
        setup.probe,
        watch_lib.probe_answers(config, setup.probe),
        layer=config.watch.layer,
        prepare=setup.prepare_plain,
        batch_size=config.data.batch_size,
        devices=setup.devices,
        seed=config.seed,
    )


def _note_files(config: ConfigDict, folder: pathlib.Path) -> None:
    """Notes with this start of the run whether CIFAR-10 is the published one, file by file."""
    if config.data.name != 'cifar10':
        return
    verdicts = cifar10.identify(config.data.root)
    differing = sorted(name for name, verdict in verdicts.items() if verdict == 'differs')
    if differing:
        logging.warning('Not the published CIFAR-10, but perhaps a copy encoded anew: %s.', ', '.join(differing))
    path = folder / 'provenance.json'
    *earlier, now = storage.read_json(path) if path.exists() else [{}]
    storage.write_json(path, [*earlier, {**now, 'cifar10_files': verdicts}])


def evaluator(config: ConfigDict, setup: Setup, task: Task, split: str) -> forward.Forward:
    """The task's measure over all images of a split."""
    images = setup.images[split]
    return forward.Forward(
        task.measure,
        pipeline.resident_arrays(images, target=targets.target_of(images, config.data.target)),
        setup.prepare_plain,
        batch_size=config.data.batch_size,
        devices=setup.devices,
    )


def score(
    config: ConfigDict, folder: pathlib.Path, setup: Setup, task: Task, chosen: state.TrainState, split: str
) -> None:
    """Scores a state, on the host, on one split; the experiment's `write_scores` leaves `scores.jsonl`."""
    params, model_state = devices.replicate((chosen.params, chosen.model_state), setup.devices)
    values = evaluator(config, setup, task, split)(params, model_state)
    task.write_scores(folder, split, values, _provenance(config, setup, split, chosen))


def _provenance(config: ConfigDict, setup: Setup, split: str, chosen: state.TrainState) -> dict[str, Any]:
    """What every score of a trained model says about itself."""
    left_out = len(setup.probe) if setup.probe and split == 'test' and watch_lib.left_out(config) else 0
    return {
        'experiment': config.experiment,
        'model': config.model.name,
        'data': f'{setup.images[split].name}/{split}',
        'simulated': setup.images[split].simulated,
        'stimuli_sha256': storage.array_digest(setup.images[split].ids),
        'images_sha256': storage.array_digest(setup.images[split].images),
        'checkpoint_step': int(chosen.step),
        'steps_per_epoch': setup.plan.steps_per_epoch,
        'seed': config.seed,
        **setup.images[split].provenance,
        **({'left_out': f'{left_out} probe images whose alignment chose the checkpoint'} if left_out else {}),
    }


def write_scores(folder: pathlib.Path, scores: list[Score]) -> None:
    """Writes `scores.jsonl`, atomically."""
    storage.write_jsonl(folder / 'scores.jsonl', [score.to_json() for score in scores])


def load_checkpoint(
    config: ConfigDict, folder: pathlib.Path, template: state.TrainState, which: str
) -> state.TrainState:
    """A state from the folder of a run with this config: `which` is 'best', 'newest' or a step.

    Raises:
        ValueError: There is no such checkpoint, or it is damaged.
    """
    where = folder / 'checkpoints'
    if not where.is_dir():
        raise ValueError(f'{folder} holds no checkpoints: give the --workdir of a training run.')
    best = {'best_metric': config.train.best_metric, 'best_mode': config.train.best_mode}
    with checkpoints.Checkpoints(where, read_only=True, **best) as saved:
        if which == 'best':
            _, tree = saved.restore_best(template.to_tree())
        elif which == 'newest':
            newest = saved.restore(template.to_tree())
            if newest is None:
                raise ValueError(f'{where} holds no checkpoint yet.')
            _, tree = newest
        elif which.isdigit():
            _, tree = saved.restore_step(int(which), template.to_tree())
        else:
            raise ValueError(f"config.checkpoint must be 'best', 'newest' or a step, not {which!r}.")
    return template.from_tree(tree)
