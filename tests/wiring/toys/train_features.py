"""A toy experiment without images: a linear auto-encoder of a feature matrix, one file as a user would write it."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from humalign_jax import settings, storage
from humalign_jax.train import batches, forward, loop
from humalign_jax.wiring import training


class AutoEncoder(nn.Module):
    n_latents: int

    @nn.compact
    def __call__(self, x):
        return nn.Dense(x.shape[-1])(nn.Dense(self.n_latents)(x))


def make_objective(model):
    def objective(params, model_state, batch, keys, step):
        noisy = batch['x'] + 0.1 * jax.vmap(lambda key: jax.random.normal(key, batch['x'].shape[1:]))(keys)
        loss = jnp.square(model.apply({'params': params}, noisy) - batch['x']).mean()
        return loss, (model_state, {})

    return objective


def make_task(config):
    features = np.load(config.data.features)
    train, rest = features[: -config.data.n_validation], features[-config.data.n_validation :]
    recipe = training.read(config, n_examples=len(train))
    model = AutoEncoder(**settings.plain(config.model))

    def measure(params, model_state, batch):
        return {'loss': jnp.square(model.apply({'params': params}, batch['x']) - batch['x']).mean(axis=1)}

    def take(arrays, rows, keys):
        return {'x': arrays['features'][rows]}

    held_out = batches.Examples(len(rest), {'features': rest}, take)
    validate = forward.Forward(measure, held_out, batch_size=recipe.batch_size, devices=recipe.devices)
    return loop.Task(
        recipe=recipe, model=model, make_objective=make_objective, metrics=('loss',),
        examples=batches.Examples(len(train), {'features': train}, take),
        evaluate=lambda state: forward.means(validate(state.params, state.model_state), ('loss',)),
        digests=lambda: {'features': storage.array_digest(features)},
    )  # fmt: skip


def run(config, workdir):
    training.train(make_task(config), pathlib.Path(workdir))
