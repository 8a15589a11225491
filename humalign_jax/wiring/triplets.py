"""Odd-one-out trials by the name of their source, and the representations that predict them, joined by stimulus id."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from absl import logging
from ml_collections import ConfigDict

from humalign_jax import data, settings, storage
from humalign_jax.data import files as data_files
from humalign_jax.data import synthetic
from humalign_jax.human import levels, soft_label_triplets, things
from humalign_jax.human_data import Triplets
from humalign_jax.records import Features, stimulus_ids
from humalign_jax.rsa import files, pairs
from humalign_jax.wiring import layer_folders
from humalign_jax.wiring.people import load_answers
from humalign_jax.wiring.words import FOLDER, in_flags

SOURCES = ('things', 'levels', 'cifar10h')
JOINS = ('exact', 'shared', 'position')
TRUTH, NOISY, UNRELATED = 'true latents', 'latents with noise', 'noise'  # simulated representations
TEMPERATURE = 0.64  # of simulated observers, in units of cosine similarity: that of `synthetic.triplet_probabilities`
PLACE_BIAS = (0.6, 0.0, -0.4)  # of simulated observers, logits
_ANSWERS_PER_SET = 5  # simulated answers to each triplet


@dataclasses.dataclass(frozen=True)
class Source:
    """A representation in a file, or in memory.

    Attributes:
        model: What scores call it.
        layer: Name of the layer; '' where there is none.
        path: Its file; None for values in memory.
        key: Which array of the file; None for the only one.
        features: The values with ids; None for a file.
        measures: Similarities by which it predicts.
        baseline: Whether it is a baseline or a reference, and no model.
        provenance: Where the values come from.
        group: What its network and others, such as those of other seeds, have in common; '' for none.
    """

    model: str
    layer: str
    path: pathlib.Path | None
    key: str | None
    features: Features | None
    measures: tuple[str, ...]
    baseline: bool
    provenance: Mapping[str, Any]
    group: str = ''

    @property
    def name(self) -> str:
        """Model and layer."""
        return f'{self.model}/{self.layer}' if self.layer else self.model

    @property
    def group_name(self) -> str:
        """Group and layer."""
        return f'{self.group}/{self.layer}' if self.layer else self.group


def load_triplets(
    name: str, *, root: str, file: str, numbering: str, n_triplets: int, seed: int, stimuli_file: str = ''
) -> Triplets:
    """Odd-one-out trials by the name of their source; logs how many there are and whom to cite.

    Args:
        name: 'things', 'levels', or 'cifar10h' for choices derived from people's soft labels.
        root: Folder with the data, as `config.data.root`; THINGS may be in a folder `things` of it, Levels in `levels`.
        file: Name of the file there, '' for the usual one; not for cifar10h.
        numbering: Of THINGS alone, see `human.things`.
        n_triplets: Of cifar10h the number of triplets; of the others 0 for all, else that many drawn at random.
        stimuli_file: A file of ids, one a line: only trials whose three stimuli are among them; '' for all trials.
        seed: Seed of the draw.

    Raises:
        ValueError: An unknown name, an option that the source does not have, or files that are missing or damaged.
    """
    if name not in SOURCES:
        raise ValueError(f'there are no triplets named {name!r}.{settings.nearest(name, SOURCES)}')
    if (numbering and name != 'things') or (file and name == 'cifar10h'):
        raise ValueError(f'config.human: {name} has no {"numbering" if numbering else "file"}; leave it empty.')
    folder = data_files.data_root(root)
    folder = folder / name if (folder / name).is_dir() else folder
    if name == 'cifar10h':
        if n_triplets < 1:
            raise ValueError('config.human.n_triplets must be 1 or more for cifar10h, whose triplets are derived.')
        made = soft_label_triplets.derive_triplets(load_answers(name, root=root), n_triplets, seed=seed)
    else:
        if name == 'things':
            made = things.load_triplets(folder, file=file, numbering=numbering)
        else:
            made = levels.load_triplets(folder / (file or levels.FILE))
        if 0 < n_triplets < len(made):
            made = made.take(np.sort(np.random.default_rng(seed).choice(len(made), n_triplets, replace=False)))
            made = dataclasses.replace(made, provenance={**made.provenance, 'n_drawn': n_triplets})
    if stimuli_file:
        among = np.isin(made.ids, files.load_ids(stimuli_file))[made.items].all(axis=1)
        if not among.any():
            raise ValueError(f'{stimuli_file}: none of {len(made)} trials of {made.name} has these stimuli alone.')
        about = {**made.provenance, 'n_trials_with_other_stimuli': int(np.sum(~among))}
        made = dataclasses.replace(made.take(among), provenance=about)
    logging.info('%s: %d trials. Cite: %s', made.name, len(made), made.provenance.get('citation', ''))
    return made


def find_sources(config: ConfigDict) -> list[Source]:
    """The representations that a config names: files and layers of folders, then embeddings of THINGS.

    Raises:
        ValueError: None is named, lists do not fit together, or two have one name.
    """
    paths, arrays, names, groups = (tuple(config[key]) for key in ('features', 'arrays', 'names', 'groups'))
    paths = paths * len(arrays) if len(paths) == 1 and len(arrays) > 1 else paths
    for key, values in (('arrays', arrays), ('names', names), ('groups', groups)):
        if values and len(values) != len(paths):
            raise ValueError(f'config.{key} has {len(values)} entries for {len(paths)} of config.features.')
    measures, found = tuple(config.measures), []
    for number, given in enumerate(paths):
        path, key = pathlib.Path(given).expanduser(), arrays[number] if arrays else ''
        name, group = names[number] if names else '', groups[number] if groups else ''
        if not path.is_dir():
            model = name or key or path.stem
            found.append(Source(model, '', path, key or None, None, measures, model in config.baselines, {}, group))
            continue
        layers = layer_folders.layer_paths(path)
        wanted = {layer: file for layer, file in layers.items() if not config.layers or layer in tuple(config.layers)}
        if not wanted:
            raise ValueError(f'{path} has none of config.layers={tuple(config.layers)}, only {", ".join(layers)}.')
        for layer, file in wanted.items():
            provenance = layer_folders.provenance_of(file)
            model = name or str(provenance.get('model') or layer_folders.model_name(path))
            found.append(Source(model, layer, file, None, None, measures, model in config.baselines, provenance, group))
    folder = data_files.data_root(config.human.root)
    folder = folder / 'things' if (folder / 'things').is_dir() else folder
    for name in tuple(config.embeddings):
        features = things.load_embedding(folder, name)
        about = {**features.provenance, 'trained_on': 'odd-one-out choices'}
        found.append(Source(name, '', None, None, features, ('dot',), True, about))
    if not found:
        raise ValueError(
            'config.features names no representation: give folders of configs/extract.py or files, '
            '--config.features=\'("features/net/test", "words.npz")\', or config.embeddings.'
        )
    keys = [source.name for source in found]
    twice = next((key for key in keys if keys.count(key) > 1), None)
    if twice is not None:
        raise ValueError(
            f'two representations are named {twice!r}: give config.names, one for each of config.features.'
        )
    return found


def read_source(source: Source, config: ConfigDict, published: np.ndarray, whose: str) -> tuple[Features, str]:
    """The features of a source with stimulus ids, and how they were joined, 'id' or 'position'.

    Files without ids take those of `config.stimuli`; with `config.join='position'` their rows are the stimuli
    `published` of the data `whose`, which for THINGS are in the order of `unique_id`.

    Raises:
        ValueError: The file is damaged, or has no ids and nothing says what its rows are.
    """
    if source.features is not None:
        return source.features, 'id'
    assert source.path is not None
    with in_flags(FOLDER):
        found = files.load_features(source.path, key=source.key)
    if pairs.has_ids(found):
        return found, 'id'
    stimuli, n = config.stimuli, len(found.ids)
    if stimuli.ids_file:
        ids = files.load_ids(stimuli.ids_file)
    elif stimuli.dataset:
        ids = stimulus_ids(stimuli.dataset, stimuli.split, np.arange(n))
    elif config.join == 'position':
        ids = published
    else:
        raise ValueError(
            f'{source.path} has no stimulus ids, and everything joins by id. List the ids, one a line for each row: '
            '--config.stimuli.ids_file=FILE; or, if its rows are in the published order of an image set: '
            '--config.stimuli.dataset=cifar10 --config.stimuli.split=test; or, if row k is the k-th stimulus of '
            f'{whose}: --config.join=position, which every score then says.'
        )
    if len(ids) != n:
        raise ValueError(f'{source.path} has {n} rows, but there are {len(ids)} stimulus ids for them.')
    how = 'position' if not (stimuli.ids_file or stimuli.dataset) else 'id'
    return dataclasses.replace(found, ids=ids), how


def shared_trials(triplets: Triplets, sources: Sequence[Source], read: Sequence[tuple[Features, str]]) -> Triplets:
    """The trials whose three stimuli all representations have.

    Raises:
        ValueError: No trial is left; the message names the representation that lacks the last ones.
    """
    for source, (features, _) in zip(sources, read):
        known = np.isin(triplets.ids, np.asarray(features.ids, dtype=np.str_))[triplets.items].all(axis=1)
        if not known.all():
            logging.warning(
                '%s lacks stimuli of %d of %d trials, which are left out.', source.name, np.sum(~known), len(known)
            )
            if not known.any():
                triplets.join(features.ids, what=source.name)  # raises with the missing ids
            triplets = triplets.take(known)
    return triplets


def provenance_of(source: Source, features: Features, joined: str) -> dict[str, Any]:
    """What scores say of a representation."""
    about = {'model': source.model, **({'layer': source.layer} if source.layer else {}), 'join': joined}
    known = {**features.provenance, **source.provenance}
    kept = (
        'file',
        'key',
        'sha256',
        'checkpoint',
        'checkpoint_step',
        'checkpoint_sha256',
        'preprocessing',
        'trained_on',
    )
    about |= {key: known[key] for key in kept if key in known}
    values = np.asarray(features.values)
    n_zero = int((~values.any(axis=1)).sum())
    return {
        **about,
        'features_sha256': storage.array_digest(values),
        **({'n_zero_vectors': n_zero} if n_zero else {}),
        **({'baseline': True} if source.baseline else {}),
        **({'group': source.group} if source.group else {}),
    }


def simulate(config: ConfigDict) -> tuple[Triplets, list[Source]]:
    """Simulated observers of rendered images, and three representations of which the first is theirs.

    Observers choose by a softmax over cosine similarities of the images' latents, with temperature `TEMPERATURE` and
    the position bias `PLACE_BIAS`. Each triplet is answered by several of them.
    """
    made = config.simulated
    images = data.load('synthetic', 'test', n_test=made.n_stimuli, seed=config.seed)
    latent = images.extras['latent'] / np.linalg.norm(images.extras['latent'], axis=1, keepdims=True)
    np_rng = np.random.default_rng([config.seed, 17])
    n_sets = -(-made.n_triplets // _ANSWERS_PER_SET)
    sets = np.stack([np_rng.choice(made.n_stimuli, 3, replace=False) for _ in range(n_sets)])
    items = np_rng.permuted(np.repeat(sets, _ANSWERS_PER_SET, axis=0)[: made.n_triplets], axis=1)
    weights = synthetic.triplet_probabilities(latent, items) * np.exp(PLACE_BIAS)
    steps = (weights / weights.sum(axis=1, keepdims=True)).cumsum(axis=1)
    odd = (np_rng.random((len(items), 1)) > steps[:, :2]).sum(axis=1)
    people = np.array([f'observer {k}' for k in range(max(made.n_subjects, 1))])
    participants = people[np.arange(len(items)) % len(people)]
    triplets = Triplets(
        images.ids, items, odd, 'simulated observers', participants=participants, in_order=True, simulated=True
    )
    noise = np_rng.normal(size=(2, *latent.shape))
    values = {TRUTH: latent, NOISY: latent + 0.5 * noise[0], UNRELATED: noise[1]}
    return triplets, [
        Source(name, '', None, None, Features(array, images.ids, name), tuple(config.measures), False, {})
        for name, array in values.items()
    ]
