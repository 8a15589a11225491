"""People's answers by name of their source: CIFAR-10H, CIFAR-10N, or simulated observers of rendered images."""

import pathlib

import numpy as np
from absl import logging

from humalign_jax import data, settings
from humalign_jax.data import files, tfds
from humalign_jax.human import cifar10h, cifar10n
from humalign_jax.human_data import Answers, check_order

NAMES = ('cifar10h', 'cifar10n', 'synthetic')


def load_answers(name: str, *, root: str = '', **options: object) -> Answers:
    """Answers by the name of their source; logs licence and citation of answers by people.

    Args:
        name: 'cifar10h' (test images), 'cifar10n' (training images), or 'synthetic' for the simulated observers of the
            rendered test images.
        root: Folder with the data, as `config.data.root`.
        **options: Of the synthetic source: `n_test`, `seed`, `image`, `n_observers`.

    Raises:
        ValueError: An unknown name, or the files are not there.
    """
    if name not in NAMES:
        raise ValueError(f'there are no answers named {name!r}.{settings.nearest(name, NAMES)}')
    if name == 'synthetic':
        images = data.load('synthetic', 'test', **options)
        return Answers(images.extras['counts'], images.ids, images.class_names, 'simulated observers', simulated=True)
    if options:
        raise ValueError(f'{name} has no options, but got {", ".join(options)}.')
    folder = files.data_root(root)
    answers = _load_cifar10h(folder) if name == 'cifar10h' else cifar10n.load_answers(folder)
    logging.info('%s, licence %s. Cite: %s', name, answers.provenance['licence'], answers.provenance['citation'])
    return answers


def matched(
    answers: Answers, ids: np.ndarray, labels: np.ndarray, class_names: tuple[str, ...] | None = None
) -> Answers:
    """The answers to these stimuli, in this order, after a check of classes and order.

    Every experiment that compares answers with images selects them with this function.

    Args:
        answers: Of one of the sources above.
        ids: Stimulus ids, [n].
        labels: True classes of the stimuli, [n].
        class_names: Names of the classes, by class number; None where they are not known.

    Raises:
        ValueError: A stimulus has no answers; the class names differ; or the most frequent answers are not the labels,
            because rows are in another order.
    """
    if class_names and tuple(class_names) != tuple(answers.class_names):
        raise ValueError(
            f'the labels have the classes {", ".join(class_names)}, but {answers.name} has answers for '
            f'{", ".join(answers.class_names)}: equal numbers would mean different classes.'
        )
    chosen = answers.select(ids)
    check = {'cifar10h': cifar10h.check_labels, 'cifar10n': cifar10n.check_labels}.get(answers.name)
    if check is None:
        check_order(chosen.counts, labels, name=answers.name)
    else:
        check(chosen.counts, labels)
    return chosen


def _load_cifar10h(folder: pathlib.Path) -> Answers:
    """The authors' counts, else those of a TFDS copy, else the message that says what to get."""
    prepared = tfds.find_prepared('cifar10_h', folder)
    if prepared is None or any((folder / name).exists() for name in cifar10h.FILES):
        return cifar10h.load_answers(folder)
    # TFDS counts every answer of the annotator-level table, those of inattentive people included.
    counts = tfds.read_human_labels(prepared, 'test', cifar10h.N_CLASSES)
    if len(counts) != cifar10h.N_IMAGES:
        raise ValueError(f'{prepared} has answers to {len(counts)} test images, which is not CIFAR-10H.')
    return cifar10h.as_answers(counts, {'tfds': f'{prepared.parent.name}/{prepared.name}', 'people': 'all'})
