"""Representations that an RSA compares with people: layers of networks and baselines of the same stimuli.

Layers of a network are in the order of its forward pass, which `extract` writes into the sidecars (`layer_order`). If a
sidecar of a folder lacks it (files from elsewhere, folders of earlier versions), the layers of this folder are in the
order of `config.layers`; if that is empty, they are sorted by name, with numbers in names compared as numbers, and a
warning says so.
"""

import dataclasses
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from absl import logging
from ml_collections import ConfigDict

from humalign_jax import data, memory, rsa, settings
from humalign_jax.devices import local_devices
from humalign_jax.human_data import Answers
from humalign_jax.records import Features, Rdm
from humalign_jax.wiring import layer_folders
from humalign_jax.wiring.people import load_answers, matched

SAME, CLASS_MEAN, PIXELS = 'same category', 'class-mean human label', 'pixels'
HUMAN = 'human'  # stands for people in names of files
BYTES_PER_PAIR = 50  # the RDM of people, its ranks, the RDM of a model, and tables


@dataclasses.dataclass(frozen=True)
class Representation:
    """A layer of a network, or a baseline.

    Attributes:
        model: Name of the network in the study, or of the baseline in plain words.
        layer: Name of the layer; '' for a baseline that is no layer.
        path: File of the layer; None if the values are in memory.
        values: Values in memory, [n, d]; None for a file.
        provenance: Where the values come from.
        baseline: Whether this is a baseline.
        measure: Distance between stimuli.
    """

    model: str
    layer: str
    path: pathlib.Path | None
    values: np.ndarray | None
    provenance: Mapping[str, Any]
    baseline: bool
    measure: str

    @property
    def key(self) -> str:
        """A name that no other representation has."""
        return self.model if self.baseline else f'{self.model}/{self.layer}'


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Representations and people's answers, all in one order of stimuli.

    Attributes:
        representations: Layers of all networks, each from input to output, then baselines.
        headline: Key of the layer that stands for each network, by name of the network.
        ids: Stimulus ids, [n].
        labels: Class of each stimulus, [n].
        class_names: Names of the k classes.
        answers: People's answers to the stimuli.
        data: Data set and split, such as 'cifar10/test'.
        simulated: Whether images or answers were made by a program.
        stimuli: Config section `stimuli`, which says what the rows of files without ids are.
    """

    representations: list[Representation]
    headline: dict[str, str]
    ids: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]
    answers: Answers
    data: str
    simulated: bool
    stimuli: Mapping[str, str] = dataclasses.field(default_factory=lambda: dict(layer_folders.NO_STIMULI))

    @property
    def compared(self) -> list[str]:
        """Keys of the representations that are compared pairwise: headline layers and baselines."""
        return [*self.headline.values(), *(one.key for one in self.representations if one.baseline)]


def load_comparison(config: ConfigDict) -> Comparison:
    """The folders named in `config.features`, joined by stimulus id, with people's answers and the baselines.

    Raises:
        ValueError: A folder has no layers or no classes, or folders do not fit together.
    """
    if not config.features:
        raise ValueError(
            'config.features must name at least one folder with the layers of a network: '
            '--config.features=\'("features/philnet/test",)\'; or use configs/human_rsa.py:tiny for simulated data.'
        )
    folders = [pathlib.Path(path).expanduser() for path in tuple(config.features)]
    if config.names and len(config.names) != len(folders):
        raise ValueError(f'config.names has {len(config.names)} names for {len(folders)} folders in config.features.')
    stimuli = layer_folders.check_section(config.stimuli, 'config.stimuli')
    chosen: list[Representation] = []
    headline: dict[str, str] = {}
    pixels: Representation | None = None
    for i, folder in enumerate(folders):
        layers, found = _layers_of(folder, config, config.names[i] if config.names else '')
        pixels = pixels or found
        if not layers:
            continue
        _check_name(layers[0].model, headline)
        first = next((one for name in tuple(config.headline) for one in layers if one.layer == name), None)
        if first is None:
            raise ValueError(
                f'{folder} has none of config.headline={tuple(config.headline)}, only '
                f'{", ".join(one.layer for one in layers)}: name the layer that stands for the network there, '
                f'--config.headline=\'("{layers[-1].layer}",)\'.'
            )
        headline[first.model] = first.key
        wanted = (*tuple(config.layers), first.layer)
        chosen += [one for one in layers if not config.layers or one.layer in wanted]
    if not chosen:
        raise ValueError(f'config.features={tuple(config.features)} hold no layer of a network.')
    answers = load_answers(**settings.plain(config.human))
    path = chosen[0].path
    assert path is not None
    ids = layer_folders.read_ids(path, stimuli, 'stimuli')
    labels = _labels_of(folders, stimuli, answers, ids)
    answers = matched(answers, ids, labels.values, labels.class_names)
    simulated = answers.simulated or any(bool(one.provenance.get('simulated')) for one in chosen)
    data_name = str(labels.provenance.get('data') or '/'.join(str(ids[0]).split('/')[:-1]) or 'unnamed data')
    made = Comparison(
        chosen, headline, ids, labels.values, labels.class_names, answers, data_name, simulated, stimuli=stimuli
    )
    return _with_baselines(config, made, pixels)


def _check_name(name: str, taken: Mapping[str, str]) -> None:
    """Raises ValueError if a name is taken by another network, by a baseline or by people."""
    if name in taken:
        raise ValueError(f'two folders are named {name!r}: give config.names, one for each folder.')
    if name in (SAME, CLASS_MEAN, PIXELS, HUMAN):
        raise ValueError(f'a network cannot be named {name!r}, as a baseline or people are: give config.names.')


def _labels_of(
    folders: Sequence[pathlib.Path], stimuli: Mapping[str, str], answers: Answers, ids: np.ndarray
) -> layer_folders.Labels:
    """Classes of the stimuli, from the first folder that has them; all folders must agree."""
    found: layer_folders.Labels | None = None
    for folder in folders:
        path = layer_folders.find_labels(folder, stimuli)
        if path is None or (found is not None and path == found.path):
            continue
        labels = layer_folders.read_labels(path, stimuli, 'stimuli', answers.class_names).select(ids)
        if found is not None and not np.array_equal(found.values, labels.values):
            row = int(np.argmax(found.values != labels.values))
            raise ValueError(
                f'{found.path} and {labels.path} disagree on the class of {np.sum(found.values != labels.values)} '
                f'images, the first of them {str(ids[row])!r}: one of the two is in another order, or damaged.'
            )
        found = found or labels
    if found is None:
        raise ValueError(layer_folders.no_labels(folders, 'stimuli'))
    return found


def _layers_of(
    folder: pathlib.Path, config: ConfigDict, name: str
) -> tuple[list[Representation], Representation | None]:
    """Layers of a folder from input to output, and the pixels where they are there."""
    layers, orders, pixels = [], [], None
    for layer, path in layer_folders.layer_paths(folder).items():
        provenance = layer_folders.provenance_of(path)
        layer = str(provenance.get('layer', layer))
        if layer == PIXELS:
            pixels = Representation(PIXELS, layer, path, None, provenance, True, config.measure)
            continue
        model = name or str(provenance.get('model') or layer_folders.model_name(folder))
        layers.append(Representation(model, layer, path, None, provenance, False, config.measure))
        orders.append(layer_folders.order_of(path))
    places = layer_places([one.layer for one in layers], orders, tuple(config.layers), folder)
    return sorted(layers, key=lambda one: places[one.layer]), pixels


def layer_places(
    layers: Sequence[str], orders: Sequence[int | None], listed: Sequence[str], folder: pathlib.Path
) -> dict[str, int]:
    """Place of each layer of a folder from input to output, by the rule at the top of this file.

    Args:
        layers: Names of the layers.
        orders: Place of each layer in the forward pass, None where the sidecar has none.
        listed: `config.layers`.
        folder: The folder, for the warning.
    """
    if None not in orders:
        return dict(zip(layers, orders))  # type: ignore[arg-type]
    by_name = sorted(layers, key=lambda layer: [(not part.isdigit(), int(part) if part.isdigit() else 0, part)
                                                for part in re.split(r'(\d+)', layer)])  # fmt: skip
    if not listed and len(layers) > 1:
        logging.warning(
            '%s does not say in which order the network has its layers (files from elsewhere, or an extraction by an '
            'earlier version): they stand by name, %s. config.layers gives another order; scores do not depend on it.',
            folder, ', '.join(by_name),
        )  # fmt: skip
    named = [layer for layer in listed if layer in layers]
    return {layer: place for place, layer in enumerate(dict.fromkeys([*named, *by_name]))}


def _with_baselines(config: ConfigDict, comparison: Comparison, pixels: Representation | None) -> Comparison:
    """The comparison with the baselines that the config asks for."""
    one_hot = (comparison.labels[:, None] == np.unique(comparison.labels)).astype(np.float64)
    # The mean answer to the images of a class, given to each image of it.
    means = one_hot @ ((one_hot.T @ comparison.answers.probabilities) / one_hot.sum(axis=0)[:, None])
    made = {'simulated': comparison.simulated}
    known = {
        SAME: Representation(SAME, '', None, one_hot, made, True, 'cosine'),
        CLASS_MEAN: Representation(CLASS_MEAN, '', None, means, made, True, config.human_measure),
        PIXELS: pixels,
    }
    chosen = [known[name] for name in tuple(config.baselines)]
    if PIXELS in config.baselines and pixels is None:
        logging.warning('No folder has a layer %r: there is no pixel baseline.', PIXELS)
    return dataclasses.replace(
        comparison, representations=[*comparison.representations, *(one for one in chosen if one is not None)]
    )


def simulate_comparison(config: ConfigDict) -> Comparison:
    """Simulated networks, which are the latents of the synthetic images with growing noise, and simulated observers."""
    options = settings.plain(config.human)
    if options.pop('name') != 'synthetic':
        raise ValueError("config.simulated needs config.human.name='synthetic'.")
    images = data.load('synthetic', 'test', **options)
    answers = load_answers('synthetic', **options)
    np_rng, latent = np.random.default_rng([config.seed, 9]), images.extras['latent']
    chosen, headline = [], {}
    for i in range(config.simulated.n_models):
        name = f'latents with noise {i}'
        for layer, noise in (('block1', 1.0 + 0.4 * i), ('penultimate', 0.4 * i)):
            values = (latent + noise * np_rng.normal(size=latent.shape)).astype(np.float32)
            chosen.append(Representation(name, layer, None, values, {'simulated': True}, False, config.measure))
        headline[name] = f'{name}/penultimate'
    flat = images.images.reshape(len(images), -1).astype(np.float32) / 255.0
    pixels = Representation(PIXELS, PIXELS, None, flat, {'simulated': True}, True, config.measure)
    comparison = Comparison(
        chosen, headline, images.ids, images.labels, images.class_names, answers, 'synthetic/test', simulated=True
    )
    return _with_baselines(config, comparison, pixels)


def check_memory(comparison: Comparison) -> None:
    """Raises ValueError if the image-level RDMs need more memory than is free."""
    n = len(comparison.ids)
    sizes = [
        one.path.stat().st_size if one.path else np.asarray(one.values).nbytes for one in comparison.representations
    ]
    needed = n * (n - 1) // 2 * BYTES_PER_PAIR + 2 * max(sizes)
    memory.check_memory(
        needed,
        f'{n} images and a layer of {max(sizes) / 1e9:.2f} GB',
        'use fewer images, or leave out the largest config.layers',
    )


def features_of(item: Representation, comparison: Comparison) -> Features:
    """Values of a representation in the comparison's order of stimuli.

    Raises:
        ValueError: The file is damaged, has NaN or infinite values, or has other stimuli.
    """
    if item.path is None:
        return Features(np.asarray(item.values), comparison.ids, item.key)
    found = layer_folders.read_layer(item.path, comparison.stimuli, 'stimuli')
    layer_folders.check_finite(found, item.path, 'Leave the layer out with config.layers, or its file.')
    values, ids = found.values, np.asarray(found.ids)
    if not np.array_equal(ids, comparison.ids):
        row = {stimulus: k for k, stimulus in enumerate(ids.tolist())}
        missing = [stimulus for stimulus in comparison.ids.tolist() if stimulus not in row]
        if missing or len(ids) != len(comparison.ids):
            first = comparison.representations[0].path
            raise ValueError(
                f'{item.path} has {len(ids)} images, {first} has {len(comparison.ids)}, of which {len(missing)} are '
                f'missing in the former {missing[:3]}: all layers of all networks must be of the same images.'
            )
        values = values[[row[stimulus] for stimulus in comparison.ids.tolist()]]
    return Features(values, comparison.ids, item.key)


def rdm_of(item: Representation, comparison: Comparison, config: ConfigDict) -> Rdm | None:
    """The image-level RDM of a representation; None where the distance is not defined for an image.

    Raises:
        ValueError: The distance is not defined for an image, and the layer is the headline layer of a network.
    """
    options = {'devices': local_devices(config.n_devices)}
    if item.model == SAME:
        return Rdm(rsa.category_rdm(comparison.labels), comparison.ids, item.key, 'hamming')
    if item.model == CLASS_MEAN and item.baseline:
        return human_rdm(np.asarray(item.values), comparison, config, item.key)
    features = features_of(item, comparison)
    made = rsa.rdm(features, item.measure, nan_policy='raise', **options)
    n_undefined = made.provenance['counts']['n_undefined']
    if not n_undefined:
        return made
    first = comparison.ids[int(np.argmin(np.ptp(features.values, axis=1)))]
    reason = (
        f'{item.key}: {n_undefined} images have constant features, such as {str(first)!r}, for which '
        f'{item.measure!r} is not defined'
    )
    if item.key in comparison.headline.values():
        raise ValueError(f"{reason}: choose another config.measure, such as 'euclidean', or another config.headline.")
    logging.warning('%s; the layer is left out.', reason)
    return None


def human_rdm(probabilities: np.ndarray, comparison: Comparison, config: ConfigDict, name: str = 'human') -> Rdm:
    """The image-level RDM of soft labels, [n, k]."""
    return rsa.rdm(Features(probabilities, comparison.ids, name), config.human_measure)
