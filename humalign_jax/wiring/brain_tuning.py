"""Tuning of a trained classifier towards voxels: what a config says, the first state, batches and optimiser."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import logging
from flax import linen as nn
from ml_collections import ConfigDict

from humalign_jax import models, objectives, settings, storage
from humalign_jax.data import pipeline
from humalign_jax.models import neural_head
from humalign_jax.objectives import neural_tuning
from humalign_jax.train import batches, loop, optimizers, plan, state
from humalign_jax.wiring import images, runs, training, voxel_images

CONDITIONS = ('tuned', 'shuffled', 'distillation', 'untuned')
SYNTHETIC = 'synthetic'  # in place of a run: a small untrained classifier of rendered images
_KEYS = (
    'experiment', 'seed', 'run', 'checkpoint', 'recipe', 'condition', 'data', 'human', 'augment', 'objective', 'head',
    'optimizer', 'train', 'n_bootstrap',
)  # fmt: skip
_OBJECTIVE_KEYS = (
    'layer', 'neural_loss', 'distillation_weight', 'temperature', 'train_statistics', 'test_curves',
)  # fmt: skip
_HEAD_KEYS = ('pool', 'positive', 'zero_start', 'warmup_epochs', 'rate_factor')


@dataclasses.dataclass(frozen=True)
class Tuning:
    """What the config of a tuning run says, read once.

    Attributes:
        setup: The classifier: its images, preprocessing and model; how the tuning trains.
        voxels: Images with responses: 'train', 'validation', 'test'.
        head: Read-out to the voxels.
        condition: One of `CONDITIONS`.
        objective: `config.objective`.
        base: Reads the state of the classifier before tuning.
        augment: Preprocessing of voxel images in training.
        replay_per_image: Images of the classifier's training set beside each voxel image.
    """

    setup: images.Setup
    voxels: Mapping[str, voxel_images.VoxelImages]
    head: models.NeuralHead
    condition: str
    objective: Mapping[str, Any]
    base: Callable[[], state.TrainState]
    augment: pipeline.Prepare
    replay_per_image: int


def network_config(config: ConfigDict) -> ConfigDict:
    """The config of the classifier that `config.run` names."""
    return _synthetic_config(config) if config.run == SYNTHETIC else runs.read_config(config.run)


def read(config: ConfigDict) -> Tuning:
    """Reads and checks the config, opens the classifier, and loads its images and the voxels.

    Raises:
        ValueError: A key is unknown or missing, a value cannot be, or the run is not one of a classifier.
    """
    settings.check_keys(config, _KEYS, 'config', optional=('model', 'preprocess'))  # as an opened run has them
    settings.check_keys(config.data, ('root', 'batch_size', 'replay_per_image'), 'config.data')
    settings.check_keys(config.objective, _OBJECTIVE_KEYS, 'config.objective')
    settings.check_keys(config.head, _HEAD_KEYS, 'config.head')
    if config.condition not in CONDITIONS:
        raise ValueError(f'config.condition={config.condition!r} must be one of {", ".join(CONDITIONS)}.')
    of_classifier, base = _classifier(config)
    if not hasattr(of_classifier.model, 'n_classes'):
        raise ValueError(f'config.run={config.run!r} is no run of a classifier: give one, such as of train_classifier.')
    voxels = voxel_images.read(config.human, of_classifier.images, seed=config.seed)
    if config.condition == 'shuffled':
        voxels['train'] = _shuffled(voxels['train'], config.seed)
    recipe = training.read(config, n_examples=len(voxels['train']))
    numbers = network_config(config).preprocess
    augment = settings.call(
        pipeline.make_prepare, config.augment, 'config.augment', mean=tuple(numbers.mean), std=tuple(numbers.std)
    )
    return Tuning(
        setup=dataclasses.replace(
            of_classifier,
            recipe=dataclasses.replace(recipe, tx=_optimizer(config, recipe.plan)),
            experiment=config.experiment,
            objective=settings.plain(config.objective),
            probe=None,
        ),
        voxels=voxels,
        head=models.NeuralHead(
            voxels['train'].responses.n_voxels,
            pool=config.head.pool,
            positive=config.head.positive,
            zero_start=config.head.zero_start,
        ),
        condition=config.condition,
        objective=settings.plain(config.objective),
        base=base,
        augment=augment,
        replay_per_image=config.data.replay_per_image,
    )


def make_objective(tuning: Tuning, model: nn.Module) -> Callable:
    """The objective of a model, as `config.objective` and `config.condition` say."""
    section = tuning.objective
    learns = tuning.condition in ('tuned', 'shuffled')
    forward = models.make_tuned_forward(model, tuning.head, section['layer'], head_only=not learns)
    return objectives.make_neural_tuning_objective(
        forward,
        make_teacher(model),
        neural_loss=section['neural_loss'],
        distillation_weight=section['distillation_weight'],
        temperature=section['temperature'],
        train_statistics=section['train_statistics'] and tuning.condition != 'untuned',
    )


def make_teacher(model: nn.Module) -> Callable:
    """`(variables, image) -> logits [b, k]` in evaluation mode."""

    def teacher(variables: Any, image: jax.Array) -> jax.Array:
        out = model.apply(variables, image, train=False)
        return out[0] if isinstance(out, tuple) else out

    return teacher


def first_state(tuning: Tuning) -> state.TrainState:
    """The classifier with a new head, and its own variables once more as the teacher."""
    before, setup = tuning.base(), tuning.setup
    image = jnp.zeros((1, *setup.images['train'].images.shape[1:]), jnp.float32)
    variables = {'params': before.params, **before.model_state}

    def init(variables: Any) -> Any:
        layer = tuning.objective['layer']
        features = models.capture(setup.model, variables, image, [layer])[layer]
        return tuning.head.init(jax.random.key(setup.recipe.seed), features)['params']

    params = {**before.params, neural_head.HEAD: jax.jit(init)(variables)}
    model_state = {**before.model_state, neural_tuning.TEACHER: jax.tree.map(np.array, variables)}
    batch = batches.example_batch(examples(tuning))
    return state.state_of(params, model_state, setup.recipe.tx, make_objective(tuning, setup.model), batch)


def examples(tuning: Tuning) -> batches.Examples:
    """Training batches: voxel images, and beside them, with replay, random images of the classifier's training set."""
    part, replayed, n_replayed = tuning.voxels['train'], tuning.setup.images['train'].images, tuning.replay_per_image
    arrays = {'image': part.images, 'responses': part.responses.values.astype(np.float32)}
    if n_replayed:
        arrays['replay'] = replayed

    def make_batch(arrays: Mapping[str, jax.Array], rows: jax.Array, keys: jax.Array | None) -> batches.Batch:
        turns = pipeline.mirrored_now(arrays, rows)
        own = None if keys is None else jax.vmap(jax.random.fold_in, (0, None))(keys, 0)
        batch = {'image': tuning.augment(arrays['image'][rows], own, turns), 'responses': arrays['responses'][rows]}
        if n_replayed and keys is not None:
            batch['replay'] = replay(arrays['replay'], keys)
        return batch

    def replay(pixels: jax.Array, keys: jax.Array) -> jax.Array:
        """[n, h, w, c], keys [b] -> prepared images that each key draws, [b, r, h, w, c]."""
        of_draw, of_image = (jax.vmap(jax.random.fold_in, (0, None))(keys, use) for use in (1, 2))
        chosen = jax.vmap(lambda key: jax.random.randint(key, (n_replayed,), 0, len(pixels)))(of_draw)
        of_image = jax.vmap(lambda key: jax.random.split(key, n_replayed))(of_image)
        prepared = tuning.setup.prepare(pixels[chosen.reshape(-1)], of_image.reshape(-1))
        return prepared.reshape(len(keys), n_replayed, *prepared.shape[1:])

    return batches.Examples(len(part), arrays, make_batch)


def plain_examples(tuning: Tuning, split: str) -> batches.Examples:
    """Voxel images of a split for evaluation."""
    part = tuning.voxels[split]

    def make_batch(arrays: Mapping[str, jax.Array], rows: jax.Array, keys: jax.Array | None) -> batches.Batch:
        return {
            'image': tuning.setup.prepare_plain(arrays['image'][rows], keys),
            'responses': arrays['responses'][rows],
        }

    arrays = {'image': part.images, 'responses': part.responses.values.astype(np.float32)}
    return batches.Examples(len(part), arrays, make_batch)


def digests(tuning: Tuning) -> dict[str, str]:
    """Hashes of what a tuning run is made of: voxel images, responses, replayed images and the classifier."""
    before = tuning.base()
    leaves = jax.tree.leaves((before.params, before.model_state))
    network = storage.text_digest(''.join(storage.array_digest(np.asarray(leaf)) for leaf in leaves))
    of_images = {
        f'{split} images': storage.array_digest(of_split.images) for split, of_split in tuning.setup.images.items()
    }
    return {**voxel_images.digests(tuning.voxels), **of_images, 'classifier': network}


def _classifier(config: ConfigDict) -> tuple[images.Setup, Callable[[], state.TrainState]]:
    """The classifier's setup, and what reads its checkpoint."""
    if config.run == SYNTHETIC:
        first = _synthetic_config(config)
        of_split = images.load_images(first.data, seed=config.seed)
        model = images.make_model(first.model, of_split['train'])
        prepare = settings.call(pipeline.make_prepare, first.preprocess, 'config.preprocess')
        one = plan.make_plan(
            n_examples=len(of_split['train']), batch_size=1, epochs=1, max_steps=0, log_every_steps=1,
            eval_every_epochs=1, checkpoint_every_epochs=1,
        )  # fmt: skip
        recipe = loop.Recipe(config.seed, 1, (), one, optax.identity(), lambda step: 0.0, 'loss', 'min', 1, 1, '', {})
        setup = images.Setup(
            recipe, config.experiment, first.data.name, '', 'label', first.model.name, {}, of_split, prepare, prepare,
            model,
        )  # fmt: skip

        def untrained() -> state.TrainState:
            image = jnp.zeros((1, *of_split['train'].images.shape[1:]), jnp.float32)
            variables = dict(jax.jit(model.init)(jax.random.key(config.seed + 1), image))
            params = variables.pop('params')
            made = state.TrainState(0, params, variables, (), {}, 0, False)  # type: ignore[arg-type]
            return jax.tree.map(np.asarray, made)

        return setup, untrained
    folder, _, task = runs.open_task(config.run, root=config.data.root)
    if not isinstance(task.setup, images.Setup):
        raise ValueError(f'config.run={config.run!r} was not trained on images: give a run of a classifier.')
    if runs.read_config(folder).experiment == config.experiment:
        raise ValueError(f'config.run={config.run!r} is tuned already: give the run of its classifier.')

    @functools.cache
    def trained() -> state.TrainState:
        return runs.load_checkpoint(task, folder, str(config.checkpoint))

    return task.setup, trained


def _synthetic_config(config: ConfigDict) -> ConfigDict:
    """In place of a run's config: an untrained ResNet-20 of one block per stage for rendered images."""
    return ConfigDict(
        dict(
            seed=config.seed,
            data=dict(name='synthetic', root='', batch_size=1, n_validation=32, target='label', n_train=160, n_test=32),
            preprocess=dict(mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25)),
            model=dict(name='resnet20', n_blocks=1),
        )
    )


def _shuffled(part: voxel_images.VoxelImages, seed: int) -> voxel_images.VoxelImages:
    """The same images with the responses of other images."""
    order = np.random.default_rng([seed, len(part), 1]).permutation(len(part))
    mixed = dataclasses.replace(part.responses, values=part.responses.values[order])
    return voxel_images.VoxelImages(part.images, mixed)


def _optimizer(config: ConfigDict, durations: plan.Plan) -> optax.GradientTransformation:
    """One optimiser for the head, and one for the network, which waits until the head is warm, or for ever."""
    if config.optimizer.name == 'schedule_free_adamw':
        raise ValueError("config.optimizer.name='schedule_free_adamw' cannot tune: choose adam, adamw or sgd.")
    if config.optimizer.get('lookahead_steps') or config.optimizer.get('ema_decay'):
        raise ValueError('config.optimizer: parameters of a tuning are not averaged: lookahead_steps and ema_decay 0.')
    wait = plan.epochs_to_steps(config.head.warmup_epochs, durations.steps_per_epoch)
    factor = config.head.rate_factor
    of_head, _ = training.read_optimizer(
        config.optimizer, durations, adapt=lambda schedule: lambda step: factor * schedule(step)
    )
    if config.condition == 'untuned':
        of_network = optax.set_to_zero()
    else:
        of_network, _ = training.read_optimizer(
            config.optimizer, durations, adapt=lambda schedule: lambda step: schedule(step + wait)
        )
        of_network = optimizers.held(of_network, wait) if wait else of_network

    def parts(params: Any) -> dict[str, str]:
        return {name: 'head' if name == neural_head.HEAD else 'network' for name in params}

    logging.info('Condition %r: the network is held for the first %d steps.', config.condition, wait)
    return optax.partition({'head': of_head, 'network': of_network}, parts)
