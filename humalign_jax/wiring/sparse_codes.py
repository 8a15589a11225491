"""Training of a sparse autoencoder on a feature matrix: its splits, its batches, and the codes of a trained one."""

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse
from ml_collections import ConfigDict

from humalign_jax import devices, models, settings, storage
from humalign_jax.data.functions import Functions
from humalign_jax.records import Features
from humalign_jax.train import batches, forward, loop
from humalign_jax.train.state import TrainState
from humalign_jax.wiring import feature_matrix, training

SPLITS = ('train', 'validation', 'test')


@dataclasses.dataclass(frozen=True)
class SaeSetup:
    """What the config of `train_sae` says, read once.

    Attributes:
        recipe: How it trains.
        model: For one device.
        features: All items, [n, d].
        rows: Rows of the items of each split, sorted.
        mean: Mean of the training items, float32, [d].
        factor: What all features are divided by, so that their mean variance is 1; 0 if every item is brought to the
            norm sqrt(d) instead.
    """

    recipe: loop.Recipe
    model: models.SparseAutoencoder
    features: Features
    rows: Mapping[str, np.ndarray]
    mean: np.ndarray
    factor: float

    def examples(self, features: Features, rows: np.ndarray | None = None) -> batches.Examples:
        """Prepared features as examples `x`: those in `rows`, default all."""
        values = np.asarray(features.values if rows is None else features.values[rows], np.float32)
        arrays = {'features': values, 'mean': self.mean, 'factor': np.float32(self.factor)}
        return batches.Examples(len(values), arrays, make_batch)

    def total_variance(self, split: str) -> float:
        """Mean squared distance of the prepared items of a split from their mean."""
        chosen = self.examples(self.features, self.rows[split])
        arrays = {name: jnp.asarray(values) for name, values in chosen.arrays.items()}
        x = np.asarray(make_batch(arrays, jnp.arange(chosen.n), None)['x'], np.float64)
        return float(np.square(x - x.mean(axis=0)).sum(axis=1).mean())


def make_batch(arrays: Mapping[str, jax.Array], rows: jax.Array, keys: jax.Array | None) -> batches.Batch:
    """Features less their mean, divided by one factor, or brought to one norm where that is 0: `x` [b, d]."""
    x = arrays['features'][rows] - arrays['mean'][None, :]
    norm = jnp.linalg.norm(x, axis=1, keepdims=True) / np.sqrt(x.shape[1])
    factor = arrays['factor']
    return {'x': x / jnp.where(factor > 0, factor, jnp.maximum(norm, 1e-12))}


def read(config: ConfigDict) -> SaeSetup:
    """Reads the sections of a config that say what is trained on what, and loads the features.

    Raises:
        ValueError: A key is unknown or missing, or a value cannot be.
    """
    section = config.data
    feature_matrix.check_keys(section, ('unit_norm', 'batch_size', 'n_validation', 'n_test'))
    settings.check_keys(config.model, ('name', 'n_latents', 'k'), 'config.model')
    features = feature_matrix.read_features(section, seed=config.seed)
    rows = _split(len(features.ids), section.n_validation, section.n_test, seed=config.seed)
    train = np.asarray(features.values[rows['train']], np.float64)
    factor = float(np.sqrt(train.var(axis=0).mean()))
    if not factor > 0:
        raise ValueError(f'all training items of {features.name!r} have the same features.')
    model = models.make_model(**settings.plain(config.model), n_features=train.shape[1])
    if not isinstance(model, models.SparseAutoencoder):
        raise ValueError(f"config.model.name must be 'sae' here, not {config.model.name!r}.")
    return SaeSetup(
        recipe=training.read(config, n_examples=len(train)),
        model=model,
        features=features,
        rows=rows,
        mean=train.mean(axis=0).astype(np.float32),
        factor=0.0 if section.unit_norm else factor,
    )


def _split(n: int, n_validation: int, n_test: int, *, seed: int) -> dict[str, np.ndarray]:
    """Random rows of each split; a function of the seed alone."""
    if n_validation < 2 or n_test < 2 or n_validation + n_test >= n:
        raise ValueError(
            f'config.data.n_validation={n_validation} and n_test={n_test} must be 2 or more, and leave some of the {n} '
            'items for training.'
        )
    order = np.random.default_rng([seed, n]).permutation(n)
    parts = np.split(order, [n - n_validation - n_test, n - n_test])
    return {split: np.sort(part) for split, part in zip(SPLITS, parts)}


def encode(setup: SaeSetup, state: TrainState, features: Features, name: str) -> Functions:
    """Codes of all items of a feature matrix, one function for each latent, named `<name>/<latent, five digits>`.

    Args:
        setup: Of the trained autoencoder.
        state: Its checkpoint, on the host.
        features: [n, d], of the kind that it was trained on.
        name: Name of the functions.
    """
    model, recipe = setup.model, setup.recipe

    def active(params, model_state, batch):
        values, latents = model.apply({'params': params, **model_state}, batch['x'], method='active')  # type: ignore[misc]
        return {'values': values, 'latents': latents}

    run = forward.Forward(active, setup.examples(features), batch_size=recipe.batch_size, devices=recipe.devices)
    found = run(*devices.replicate((state.params, state.model_state), recipe.devices))
    rows = np.repeat(np.arange(len(features.ids)), model.k)
    entries = (found['values'].ravel(), (found['latents'].ravel(), rows))
    matrix = scipy.sparse.csr_array(entries, shape=(model.n_latents, len(features.ids)))
    names = [f'{name}/{latent:05d}' for latent in range(model.n_latents)]
    provenance = {
        'features': features.name,
        'features_sha256': storage.array_digest(np.asarray(features.values)),
        'checkpoint_step': int(state.step),
        'seed': recipe.seed,
        'k': model.k,
    }
    simulated = bool(features.provenance.get('simulated'))
    return Functions.from_dense(matrix, features.ids, names, name, simulated=simulated, provenance=provenance)
