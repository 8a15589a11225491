"""What the experiment `encoding` compares: responses of subjects and features of their stimuli, or all simulated."""

import dataclasses
import pathlib

import numpy as np
from absl import logging
from ml_collections import ConfigDict

from humalign_jax import data, settings
from humalign_jax.human import fmri, simulated_voxels, things_fmri
from humalign_jax.human_responses import Responses, concatenate
from humalign_jax.records import Features, stimulus_ids
from humalign_jax.rsa import files, pairs
from humalign_jax.wiring import named_features

SOURCES = ('nsd', 'things_fmri', 'npz', 'haxby')
IDENTITY = 'identity'  # features that say which stimulus it is, and nothing else
TEACHER, PIXELS, NOISE = 'teacher', 'pixels', 'noise'  # of simulated voxels; the teacher makes the signal


@dataclasses.dataclass(frozen=True)
class Subject:
    """Responses of one subject.

    Attributes:
        responses: All trials.
        test: Mask of the trials of the test split, [m]; None where there is no split.
    """

    responses: Responses
    test: np.ndarray | None


@dataclasses.dataclass(frozen=True)
class EncodingData:
    """What is compared.

    Attributes:
        subjects: The subjects.
        models: Features of the stimuli, one record for each model.
    """

    subjects: list[Subject]
    models: list[Features]


def load(config: ConfigDict) -> EncodingData:
    """The files named in the config.

    Raises:
        ValueError: A file is missing or wrong, nothing is named, or two models or subjects have one name.
    """
    if not config.features or not config.human.paths:
        raise ValueError(
            'config.features must name at least one folder or file (or identity), and config.human.paths one folder, '
            'file or prefix for each subject: --config.human.paths=\'("nsd/subj01",)\'; or use '
            'configs/encoding.py:tiny for simulated voxels.'
        )
    names = tuple(config.human.subjects) or ('',) * len(config.human.paths)
    if len(names) != len(config.human.paths):
        raise ValueError(f'config.human.subjects has {len(names)} entries for {len(config.human.paths)} paths.')
    subjects = [_subject(config, path, name) for path, name in zip(tuple(config.human.paths), names)]
    ids = np.unique(np.concatenate([subject.responses.ids for subject in subjects]))
    n = len(config.features)
    arrays, titles = tuple(config.arrays) or ('',) * n, tuple(config.names) or ('',) * n
    if len(arrays) != n or len(titles) != n:
        raise ValueError(f'config.features has {n} entries, config.arrays {len(arrays)}, config.names {len(titles)}.')
    models = [_features(config, ids, *one) for one in zip(tuple(config.features), arrays, titles)]
    for kind, found in (
        ('config.features', [model.name for model in models]),
        ('the subjects', [subject.responses.subject for subject in subjects]),
    ):
        twice = next((name for name in found if found.count(name) > 1), None)
        if twice is not None:
            key = 'config.names' if kind.startswith('config') else 'config.human.subjects'
            raise ValueError(f'two of {kind} are named {twice!r}: give each a name with {key}.')
    return EncodingData(subjects, models)


def _subject(config: ConfigDict, given: str, name: str) -> Subject:
    path, rois = pathlib.Path(given).expanduser(), tuple(config.human.rois)
    source = config.human.name
    if source == 'nsd':
        train, test = (fmri.load_nsd(path, split, rois=rois, subject=name) for split in fmri.SPLITS)
        mask = np.arange(len(train) + len(test)) >= len(train)
        found = Subject(concatenate(train, test), mask)
    elif source == 'things_fmri':
        found = Subject(things_fmri.load_things_fmri(path, rois=rois, ids=config.human.id_column, subject=name), None)
    elif source == 'npz':
        found = Subject(fmri.load_npz(path, rois=rois, subject=name), None)
    elif source == 'haxby':
        responses = fmri.load_haxby(path, subject=name)
        found = Subject(responses.of_rois(rois) if rois else responses, None)
    else:
        raise ValueError(f'config.human.name={source!r} is no source.{settings.nearest(source, SOURCES)}')
    one = found.responses
    logging.info(
        '%s, subject %s: %d trials of %d stimuli, %d voxels in %s.', one.name, one.subject, len(one), len(one.ids),
        one.n_voxels, ', '.join(one.rois),
    )  # fmt: skip
    return found


def _features(config: ConfigDict, stimuli: np.ndarray, path: str, array: str, name: str) -> Features:
    """Features of a file, or of the layer `array` of a folder, with stimulus ids."""
    if path == IDENTITY:
        return Features(np.eye(len(stimuli)), stimuli, name or IDENTITY)
    found, place = named_features.read_named(path, array, name)
    if not pairs.has_ids(found):
        found = dataclasses.replace(found, ids=_ids(config, place, len(found.ids)))
    return found


def _ids(config: ConfigDict, path: pathlib.Path, n: int) -> np.ndarray:
    """Ids of the n rows of a file without ids, as `config.stimuli` says."""
    stimuli = config.stimuli
    if stimuli.ids_file:
        ids = files.load_ids(stimuli.ids_file)
    elif stimuli.dataset and stimuli.split:
        ids = stimulus_ids(stimuli.dataset, stimuli.split, np.arange(n))
    else:
        raise ValueError(
            f'{path} has no stimulus ids, and everything joins by id. List the ids, one a line for each row: '
            '--config.stimuli.ids_file=FILE; or, if its rows are in the published order of an image set: '
            '--config.stimuli.dataset=cifar10 --config.stimuli.split=test.'
        )
    if len(ids) != n:
        raise ValueError(f'{path} has {n} rows, but there are {len(ids)} stimulus ids for them.')
    return ids


def simulate(config: ConfigDict, folder: pathlib.Path) -> EncodingData:
    """Subjects with voxels of known noise, written as NSD folders and read again, and three models.

    The signal is a random projection of the latents of rendered images (`teacher`). The other models are the pixels and
    numbers without meaning. A fifth of the stimuli is the test split, where each is shown `n_repeats` times.
    """
    sizes = config.simulated
    images = data.load('synthetic', 'test', n_test=sizes.n_stimuli, seed=config.seed)
    latents = images.extras['latent']
    about = {'simulated': True, 'seed': config.seed}
    noise = np.random.default_rng([config.seed, 23]).normal(size=latents.shape)
    models = [
        Features(values, images.ids, name, about)
        for name, values in (
            (TEACHER, latents), (PIXELS, images.images.reshape(len(images), -1) / 255.0), (NOISE, noise),
        )
    ]  # fmt: skip
    n_test = sizes.n_stimuli // 5
    subjects = []
    for number in range(sizes.n_subjects):
        made = simulated_voxels.simulate_responses(
            models[0],
            dict.fromkeys(simulated_voxels.NSD_NCSNR, sizes.n_voxels),
            n_repeats=np.where(np.arange(sizes.n_stimuli) < n_test, sizes.n_repeats, 1),
            n_sessions=sizes.n_sessions,
            subject=f'simulated {number}',
            seed=config.seed + number,
        )
        test = np.isin(made.stimuli, images.ids[:n_test])
        place = folder / f'subject{number}'
        fmri.write_nsd(place, {'train': made.take(~test), 'val': made.take(test)})
        train, val = (
            fmri.load_nsd(place, split, rois=tuple(made.rois), subject=made.subject, name=made.name)
            for split in fmri.SPLITS
        )
        subjects.append(Subject(concatenate(train, val), np.arange(len(made)) >= len(train)))
    return EncodingData(subjects, models)
