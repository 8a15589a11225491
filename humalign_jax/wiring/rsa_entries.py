"""What an RSA with people compares: layers of networks and baselines, in one order of stimuli, and the answers."""

import dataclasses
import pathlib
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
HUMAN = 'human'  # what files call people
BYTES_PER_PAIR = 50  # of people's RDM, its ranks, a model's, and tables
# Networks from the input to the output; files in a folder have no order.
_DEPTH = ('stem', 'block', 'layer', 'encoder', 'penultimate', 'mu', 'logvar', 'decoder', 'recon', 'logits', 'probs')


@dataclasses.dataclass(frozen=True)
class Entry:
    """One layer of a network, or a baseline.

    Attributes:
        model: The network's name in the study, or the baseline in plain words.
        layer: The layer's name; '' for a baseline that is none.
        path: Its file; None for what is made here.
        values: What is made here, [n, d]; None for a file.
        about: Provenance of the values.
        baseline: Whether it is a baseline.
        measure: Distance between its rows.
    """

    model: str
    layer: str
    path: pathlib.Path | None
    values: np.ndarray | None
    about: Mapping[str, Any]
    baseline: bool
    measure: str

    @property
    def key(self) -> str:
        """A name of its own among all entries."""
        return self.model if self.baseline else f'{self.model}/{self.layer}'


@dataclasses.dataclass(frozen=True)
class Study:
    """What is compared, all in one order of stimuli.

    Attributes:
        entries: Layers of all networks, input first, then baselines.
        headline: Key of the layer that stands for each network, by its name.
        ids: Stimulus ids, [n].
        labels: Class of each, [n].
        class_names: Names of the k classes.
        answers: People's answers to them.
        data: Such as 'cifar10/test'.
        simulated: Whether images or answers were made by a program.
        stimuli: What rows of files without ids are, the section `config.stimuli`.
    """

    entries: list[Entry]
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
        """Keys of what is compared pairwise: every network's headline layer, and the baselines."""
        return [*self.headline.values(), *(entry.key for entry in self.entries if entry.baseline)]


def load_entries(config: ConfigDict) -> Study:
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
    entries: list[Entry] = []
    headline: dict[str, str] = {}
    pixels: Entry | None = None
    for i, folder in enumerate(folders):
        found = _entries_of(folder, config, config.names[i] if config.names else '')
        pixels = pixels or next((entry for entry in found if entry.baseline), None)
        layers = [entry for entry in found if not entry.baseline]
        if not layers:
            continue
        _check_name(layers[0].model, headline)
        first = next((entry for name in tuple(config.headline) for entry in layers if entry.layer == name), None)
        if first is None:
            raise ValueError(
                f'{folder} has none of config.headline={tuple(config.headline)}, only '
                f'{", ".join(entry.layer for entry in layers)}: name the layer that stands for the network there, '
                f'--config.headline=\'("{layers[-1].layer}",)\'.'
            )
        headline[first.model] = first.key
        wanted = (*tuple(config.layers), first.layer)
        entries += [entry for entry in layers if not config.layers or entry.layer in wanted]
    if not entries:
        raise ValueError(f'config.features={tuple(config.features)} hold no layer of a network.')
    answers = load_answers(**settings.plain(config.human))
    path = entries[0].path
    assert path is not None
    ids = layer_folders.read_ids(path, stimuli, 'stimuli')
    labels = _labels_of(folders, stimuli, answers, ids)
    answers = matched(answers, ids, labels.values, labels.class_names)
    simulated = answers.simulated or any(bool(entry.about.get('simulated')) for entry in entries)
    data_name = str(labels.about.get('data') or '/'.join(str(ids[0]).split('/')[:-1]) or 'unnamed data')
    made = Study(
        entries, headline, ids, labels.values, labels.class_names, answers, data_name, simulated, stimuli=stimuli
    )
    return _with_baselines(config, made, pixels)


def _check_name(name: str, taken: Mapping[str, str]) -> None:
    """Raises ValueError if a network's name is another's, or one that tables and files have for something else."""
    if name in taken:
        raise ValueError(f'two folders are named {name!r}: give config.names, one for each folder.')
    if name in (SAME, CLASS_MEAN, PIXELS, HUMAN):
        raise ValueError(f'a network cannot be named {name!r}, as a baseline or people are: give config.names.')


def _labels_of(
    folders: Sequence[pathlib.Path], stimuli: Mapping[str, str], answers: Answers, ids: np.ndarray
) -> layer_folders.Labels:
    """Classes of the stimuli, from the first folder that has them; those of the others must be the same."""
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


def _entries_of(folder: pathlib.Path, config: ConfigDict, name: str) -> list[Entry]:
    """Layers of a folder, input first; the pixels as a baseline."""
    entries = []
    for layer, path in layer_folders.layer_paths(folder).items():
        about = layer_folders.said_of(path)
        layer = str(about.get('layer', layer))
        model = PIXELS if layer == PIXELS else name or str(about.get('model') or layer_folders.model_name(folder))
        entries.append(Entry(model, layer, path, None, about, layer == PIXELS, config.measure))
    return sorted(entries, key=lambda entry: (_depth(entry.layer), entry.layer))


def _depth(layer: str) -> int:
    return next((i for i, prefix in enumerate(_DEPTH) if layer.startswith(prefix)), len(_DEPTH))


def _with_baselines(config: ConfigDict, study: Study, pixels: Entry | None) -> Study:
    """The study with the baselines that the config asks for."""
    one_hot = (study.labels[:, None] == np.unique(study.labels)).astype(np.float64)
    # Mean answers to a class' images, given to each of them: knows the class and how people confuse classes.
    means = one_hot @ ((one_hot.T @ study.answers.probabilities) / one_hot.sum(axis=0)[:, None])
    made = {'simulated': study.simulated}
    known = {
        SAME: Entry(SAME, '', None, one_hot, made, True, 'cosine'),
        CLASS_MEAN: Entry(CLASS_MEAN, '', None, means, made, True, config.human_measure),
        PIXELS: pixels,
    }
    chosen = [known[name] for name in tuple(config.baselines)]
    if PIXELS in config.baselines and pixels is None:
        logging.warning('No folder has a layer %r: there is no pixel baseline.', PIXELS)
    return dataclasses.replace(study, entries=[*study.entries, *(entry for entry in chosen if entry is not None)])


def simulate_entries(config: ConfigDict) -> Study:
    """Networks that see the synthetic images' latents with growing noise; observers' answers; the images as pixels."""
    options = settings.plain(config.human)
    if options.pop('name') != 'synthetic':
        raise ValueError("config.simulated needs config.human.name='synthetic'.")
    images = data.load('synthetic', 'test', **options)
    answers = load_answers('synthetic', **options)
    np_rng, latent = np.random.default_rng([config.seed, 9]), images.extras['latent']
    entries, headline = [], {}
    for i in range(config.simulated.n_models):
        name = f'latents with noise {i}'
        for layer, noise in (('block1', 1.0 + 0.4 * i), ('penultimate', 0.4 * i)):
            values = (latent + noise * np_rng.normal(size=latent.shape)).astype(np.float32)
            entries.append(Entry(name, layer, None, values, {'simulated': True}, False, config.measure))
        headline[name] = f'{name}/penultimate'
    flat = images.images.reshape(len(images), -1).astype(np.float32) / 255.0
    pixels = Entry(PIXELS, PIXELS, None, flat, {'simulated': True}, True, config.measure)
    study = Study(
        entries, headline, images.ids, images.labels, images.class_names, answers, 'synthetic/test', simulated=True
    )
    return _with_baselines(config, study, pixels)


def check_memory(study: Study) -> None:
    """Raises ValueError if memory will not do."""
    n = len(study.ids)
    sizes = [e.path.stat().st_size if e.path else np.asarray(e.values).nbytes for e in study.entries]
    needed = n * (n - 1) // 2 * BYTES_PER_PAIR + 2 * max(sizes)
    memory.check_memory(
        needed,
        f'{n} images and a layer of {max(sizes) / 1e9:.2f} GB',
        'use fewer images, or leave out the largest config.layers',
    )


def features_of(entry: Entry, study: Study) -> Features:
    """The values of an entry in the study's order of stimuli.

    Raises:
        ValueError: Its file is damaged, has NaN or infinite values, or is of other stimuli.
    """
    if entry.path is None:
        return Features(np.asarray(entry.values), study.ids, entry.key)
    found = layer_folders.read_layer(entry.path, study.stimuli, 'stimuli')
    layer_folders.check_finite(found, entry.path, 'Leave the layer out with config.layers, or its file.')
    values, ids = found.values, np.asarray(found.ids)
    if not np.array_equal(ids, study.ids):
        row = {stimulus: k for k, stimulus in enumerate(ids.tolist())}
        missing = [stimulus for stimulus in study.ids.tolist() if stimulus not in row]
        if missing or len(ids) != len(study.ids):
            raise ValueError(
                f'{entry.path} is of {len(ids)} images, {study.entries[0].path} of {len(study.ids)}, of which '
                f'{len(missing)} are not in it {missing[:3]}: all layers of all networks must be of the same images.'
            )
        values = values[[row[stimulus] for stimulus in study.ids.tolist()]]
    return Features(values, study.ids, entry.key)


def rdm_of(entry: Entry, study: Study, config: ConfigDict) -> Rdm | None:
    """The image-level RDM of an entry; None where it is not defined.

    Raises:
        ValueError: It is a network's headline layer, and not defined.
    """
    options = {'devices': local_devices(config.n_devices)}
    if entry.model == SAME:
        return Rdm(rsa.category_rdm(study.labels), study.ids, entry.key, 'hamming')
    if entry.model == CLASS_MEAN and entry.baseline:
        return human_rdm(np.asarray(entry.values), study, config, entry.key)
    features = features_of(entry, study)
    made = rsa.rdm(features, entry.measure, nan_policy='raise', **options)
    n_undefined = made.provenance['counts']['n_undefined']
    if not n_undefined:
        return made
    first = study.ids[int(np.argmin(np.ptp(features.values, axis=1)))]
    reason = (
        f'{entry.key}: {n_undefined} images have constant features, such as {str(first)!r}, for which '
        f'{entry.measure!r} is not defined'
    )
    if entry.key in study.headline.values():
        raise ValueError(f"{reason}: choose another config.measure, such as 'euclidean', or another config.headline.")
    logging.warning('%s; the layer is left out.', reason)
    return None


def human_rdm(probabilities: np.ndarray, study: Study, config: ConfigDict, name: str = 'human') -> Rdm:
    """The image-level RDM of soft labels, [n, k]."""
    return rsa.rdm(Features(probabilities, study.ids, name), config.human_measure)
