"""Models that are scored against ratings of image pairs: trained runs, folders or files of layers, and the pixels."""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from absl import logging
from ml_collections import ConfigDict

from humalign_jax import devices, models, settings
from humalign_jax.records import Features, ImageSet
from humalign_jax.train import forward
from humalign_jax.wiring import layer_folders, runs
from humalign_jax.wiring.representations import PIXELS, layer_places

_BATCH = 250  # images in one forward pass
_STIMULI = ('dataset', 'split', 'ids_file')


@dataclasses.dataclass(frozen=True)
class RatedModel:
    """A model, or the pixels.

    Attributes:
        name: Its name in scores.
        layers: Provenance of each layer by its name, from input to output.
        headline: The layer that stands for the model.
        read: `stimulus ids [n] -> {layer: [n, d]}`, all layers in one pass.
        baseline: Whether this is the pixels.
        opened: Its training run; None for files and pixels.
    """

    name: str
    layers: Mapping[str, Mapping[str, Any]]
    headline: str
    read: Callable[[np.ndarray], Mapping[str, np.ndarray]]
    baseline: bool = False
    opened: runs.OpenRun | None = None


def load_models(config: ConfigDict, images: ImageSet | None) -> list[RatedModel]:
    """The models of `config.runs` and `config.features`, and last the pixels.

    Args:
        config: Config of the experiment `ratings`.
        images: The rated images; None where there are only their layers.

    Raises:
        ValueError: Runs without images, images of another size than a run's, a layer that no model has, no headline
            layer, two models of one name, or files that cannot be joined.
    """
    settings.check_keys(config.stimuli, _STIMULI, 'config.stimuli')
    stimuli = layer_folders.check_section({**settings.plain(config.stimuli), 'labels_file': ''}, 'config.stimuli')
    places = [*tuple(config.runs), *tuple(config.features)]
    names = tuple(config.names) or ('',) * len(places)
    if len(names) != len(places):
        raise ValueError(f'config.names has {len(names)} names for {len(places)} models in config.runs and .features.')
    found = [_of_run(config, path, name, images) for path, name in zip(config.runs, names)]
    pixels = None if images is None else _pixels(config, images)
    for path, name in zip(config.features, names[len(found) :]):
        model, own_pixels = _of_files(config, pathlib.Path(path).expanduser(), name, stimuli)
        found += [] if model is None else [model]
        pixels = pixels or own_pixels
    taken: set[str] = set()
    for model in found:
        if model.name in taken or model.name == PIXELS:
            raise ValueError(f'two models are named {model.name!r}: give config.names, one for each, runs first.')
        taken.add(model.name)
    if pixels is None:
        logging.warning('There is no pixel baseline: give config.ratings.images or config.data.name.')
    return [*found, *([] if pixels is None else [pixels])]


def _of_run(config: ConfigDict, path: str, name: str, images: ImageSet | None) -> RatedModel:
    """A training run, whose layers are computed when they are asked for."""
    if images is None:
        raise ValueError(f'{path} needs the rated images: give config.ratings.images or config.data.name.')
    opened = runs.open_run(path, str(config.checkpoint), root=config.data.root)
    model, prepare = opened.setup.model, opened.setup.prepare_plain
    own, rated = opened.setup.images['test'].images.shape[1:], images.images.shape[1:]
    if own != rated:
        raise ValueError(f'{path} was trained on images {list(own)}, but the rated images are {list(rated)}.')
    layers = _chosen(models.layer_names(model, rated), config, path)
    run_devices = devices.local_devices(config.n_devices)

    def function(params: Any, model_state: Any, image: jax.Array) -> dict[str, jax.Array]:
        values = models.capture(model, {'params': params, **model_state}, prepare(image, None), layers)
        return {layer: value.reshape(len(value), -1) for layer, value in values.items()}

    stream, row_of = forward.Stream(function, run_devices), _rows(images.ids)
    state = devices.replicate((opened.state.params, opened.state.model_state), run_devices)

    def read(ids: np.ndarray) -> dict[str, np.ndarray]:
        chosen = images.images[[row_of[stimulus] for stimulus in ids.tolist()]]
        batch = -(-min(_BATCH, len(chosen)) // len(run_devices)) * len(run_devices)
        parts = [values for _, values in stream.batches(*state, chosen, batch)]
        return {layer: np.concatenate([part[layer] for part in parts]) for layer in layers}

    preprocess = settings.json_like(settings.plain(opened.config.preprocess))
    about = {
        'run': str(path),
        'checkpoint': str(config.checkpoint),
        'checkpoint_step': int(opened.state.step),
        'architecture': opened.config.model.name,
        'preprocessing': {key: preprocess[key] for key in ('mean', 'std')},
    }
    of_layers = {layer: about for layer in layers}
    headline = _headline(layers, config, path)
    return RatedModel(name or opened.config.model.name, of_layers, headline, read, opened=opened)


def _of_files(
    config: ConfigDict, place: pathlib.Path, name: str, stimuli: Mapping[str, str]
) -> tuple[RatedModel | None, RatedModel | None]:
    """The layers of a folder, or of one file, as a model; and the pixels where they are among them."""
    paths = {place.stem: place} if place.is_file() else layer_folders.layer_paths(place)
    folder = place.parent if place.is_file() else place
    about = {stem: layer_folders.provenance_of(path) for stem, path in paths.items()}
    stem_of = {str(said.get('layer', stem)): stem for stem, said in about.items()}

    def made(model: str, layers: list[str], headline: str, *, baseline: bool = False) -> RatedModel:
        def read(ids: np.ndarray) -> dict[str, np.ndarray]:
            return {layer: _values(paths[stem_of[layer]], ids, stimuli) for layer in layers}

        return RatedModel(model, {layer: about[stem_of[layer]] for layer in layers}, headline, read, baseline)

    pixels = made(PIXELS, [PIXELS], PIXELS, baseline=True) if PIXELS in stem_of else None
    known = [layer for layer in stem_of if layer != PIXELS]
    if not known:
        return None, pixels
    orders = [layer_folders.order_of(paths[stem_of[layer]]) for layer in known]
    by_place = layer_places(known, orders, tuple(config.layers), folder)
    layers = _chosen(sorted(known, key=by_place.__getitem__), config, str(place))
    said = str(about[stem_of[layers[0]]].get('model') or layer_folders.model_name(folder))
    return made(name or said, layers, _headline(layers, config, str(place))), pixels


def _values(path: pathlib.Path, ids: np.ndarray, stimuli: Mapping[str, str]) -> np.ndarray:
    """Rows of a file, by stimulus id."""
    features = layer_folders.read_layer(path, stimuli, 'stimuli')
    row_of = _rows(features.ids)
    missing = [stimulus for stimulus in ids.tolist() if stimulus not in row_of]
    if missing:
        raise ValueError(
            f'{path} lacks {len(missing)} of {len(ids)} images, the first of them {missing[0]!r}; its ids are such as '
            f'{str(features.ids[0])!r}.'
        )
    values = np.asarray(features.values[[row_of[stimulus] for stimulus in ids.tolist()]])
    layer_folders.check_finite(Features(values, ids, path.stem), path, 'Leave the layer out with config.layers.')
    return values


def _pixels(config: ConfigDict, images: ImageSet) -> RatedModel:
    """The images themselves, preprocessed as a network's input."""
    settings.check_keys(config.preprocess, ('mean', 'std'), 'config.preprocess')
    mean, std = (np.array(config.preprocess[key], np.float64) for key in ('mean', 'std'))
    n_channels = images.images.shape[-1]
    if not len(mean) == len(std) == n_channels:
        raise ValueError(
            f'config.preprocess.mean and .std have {len(mean)} and {len(std)} numbers for images with {n_channels} '
            'channel(s): give one for each.'
        )
    row_of = _rows(images.ids)

    def read(ids: np.ndarray) -> dict[str, np.ndarray]:
        chosen = images.images[[row_of[stimulus] for stimulus in ids.tolist()]]
        return {PIXELS: ((chosen / 255.0 - mean.reshape(1, 1, 1, -1)) / std.reshape(1, 1, 1, -1)).reshape(len(ids), -1)}

    about = {'preprocessing': {'mean': mean.tolist(), 'std': std.tolist()}}
    return RatedModel(PIXELS, {PIXELS: about}, PIXELS, read, baseline=True)


def _chosen(known: list[str], config: ConfigDict, place: str) -> list[str]:
    """The layers that are compared; ValueError if the model has none of them."""
    layers = [layer for layer in known if not config.layers or layer in tuple(config.layers)]
    if not layers:
        raise ValueError(f'{place} has none of config.layers={tuple(config.layers)}, only {", ".join(known)}.')
    return layers


def _headline(layers: list[str], config: ConfigDict, place: str) -> str:
    found = [layer for layer in tuple(config.headline) if layer in layers] or (layers if len(layers) == 1 else [])
    if not found:
        raise ValueError(
            f'{place} has none of config.headline={tuple(config.headline)}, only {", ".join(layers)}: name the layer '
            f'that stands for the model in figures, --config.headline=\'("{layers[-1]}",)\'.'
        )
    return found[0]


def _rows(ids: np.ndarray) -> dict[str, int]:
    return {stimulus: row for row, stimulus in enumerate(np.asarray(ids).tolist())}
