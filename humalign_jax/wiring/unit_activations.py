"""Activations of a layer's units, or of other directions of the layer, over a set of images."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from humalign_jax import devices, memory, models, settings
from humalign_jax.interpret import directions, mei
from humalign_jax.records import Features, ImageSet
from humalign_jax.train import forward
from humalign_jax.wiring import runs, sparse_codes
from humalign_jax.wiring.images import examples

UNITS, SAE = 'units', 'sae'
KINDS = (UNITS, *directions.KINDS, SAE)  # whose most exciting images can be asked for


def check_layer(opened: runs.OpenRun, name: str) -> None:
    """Raises ValueError unless the run's network has a layer of this name."""
    known = models.layer_names(opened.setup.model, opened.setup.images['test'].images.shape[1:])
    if name not in known:
        raise ValueError(f'{opened.folder} has no layer {name!r}.{settings.nearest(name, known)}')


def activations(
    opened: runs.OpenRun,
    images: ImageSet,
    layer: str,
    modes: Sequence[str],
    more: Sequence[str] = (),
    *,
    batch_size: int,
    used: Sequence[jax.Device],
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """One pass over the images: activations of a layer by mode, and whole layers.

    Args:
        opened: The trained run.
        images: What it is shown.
        layer: Name of the layer whose units are asked for.
        modes: How maps become one number for each unit, see `mei.MODES`.
        more: Layers that are kept whole.
        batch_size: Images at a time.
        used: Devices.

    Returns:
        Activations by mode, float32 [n, u], and the layers in `more` by name, float32 [n, d].

    Raises:
        ValueError: The memory does not suffice.
    """

    def measured(params: Any, model_state: Any, batch: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
        variables = {'params': params, **model_state}
        found = models.capture(opened.setup.model, variables, batch['image'], (layer, *more))
        by_mode = {f'mode/{mode}': mei.aggregate(found[layer], mode) for mode in modes}
        return {**by_mode, **{f'layer/{name}': found[name].reshape(len(found[name]), -1) for name in more}}

    image = jax.ShapeDtypeStruct((1, *images.images.shape[1:]), np.float32)
    state = opened.state
    shapes = jax.eval_shape(lambda p, s, x: measured(p, s, {'image': x}), state.params, state.model_state, image)
    needed = 4.0 * len(images) * sum(shape.shape[1] for shape in shapes.values())
    memory.check_memory(2 * needed, 'activations', 'ask for fewer config.modes')
    run = forward.Forward(measured, examples(images, opened.setup.prepare_plain), batch_size=batch_size, devices=used)
    found = run(*devices.replicate((state.params, state.model_state), used))
    return {mode: found[f'mode/{mode}'] for mode in modes}, {name: found[f'layer/{name}'] for name in more}


def of_directions(
    kind: str, fit_on: np.ndarray, features: np.ndarray, *, n_directions: int, sae_run: str, seed: int
) -> np.ndarray:
    """Activations of other directions than units.

    Args:
        kind: One of `KINDS` but units.
        fit_on: Activations of the units that directions are fitted on, [n', u].
        features: Those of the images that are asked about, [n, u].
        n_directions: Number of directions, 0 for as many as units; a sparse autoencoder has its own number.
        sae_run: Folder of a run of `train_sae` on features of this layer.
        seed: Of fits that begin at random.

    Raises:
        ValueError: The run is no sparse autoencoder of so many features.
    """
    if kind != SAE:
        return directions.fit_directions(kind, fit_on, n_directions=n_directions, seed=seed)(features)
    if not sae_run:
        raise ValueError("config.directions.kinds has 'sae': name a run of configs/sae.py as config.directions.sae.")
    opened = runs.open_run(sae_run)
    setup = opened.task.setup
    if not isinstance(setup, sparse_codes.SaeSetup):
        raise ValueError(
            f'config.directions.sae={sae_run!r} is a run of {opened.config.experiment!r}, not of train_sae.'
        )
    if setup.model.n_features != features.shape[1]:
        raise ValueError(
            f'config.directions.sae={sae_run!r} encodes {setup.model.n_features} features, but the layer has '
            f'{features.shape[1]} units in this mode: train one on this layer.'
        )
    asked = Features(features, np.array([str(i) for i in range(len(features))]), 'layer')
    return np.ascontiguousarray(sparse_codes.encode(setup, opened.state, asked, 'sae').dense().T)
