"""What people called the training images, as a target of training: CIFAR-10N."""

import dataclasses

import numpy as np

from humalign_jax.data import files
from humalign_jax.human import cifar10n
from humalign_jax.records import ImageSet, stimulus_ids

# What `config.data.target` may be beside 'label' and the extras of the images.
CIFAR10N = {
    'cifar10n': 'shares of the three labels',
    'cifar10n_aggregate': 'their majority',
    'cifar10n_worst': 'a wrong label where any of the three is wrong',
    'cifar10n_person': 'one of the three, drawn for each image',
}


def with_people(images: ImageSet, target: str, *, root: str, seed: int) -> ImageSet:
    """The training images with the target as an extra [n, k], joined by id; unchanged for targets of another kind.

    Args:
        images: The whole training set.
        target: `config.data.target`.
        root: Folder with the data, as `config.data.root`.
        seed: Decides which person's label 'cifar10n_person' takes.

    Raises:
        ValueError: The images are not CIFAR-10's, the file is not there, or it is in another order.
    """
    if target not in CIFAR10N:
        return images
    if images.name != 'cifar10':
        raise ValueError(f'config.data.target={target!r} are labels of cifar10, not of {images.name}.')
    noisy = cifar10n.load_labels(files.data_root(root))
    ids = stimulus_ids('cifar10', 'train', np.arange(len(noisy.labels)))
    if not np.array_equal(images.ids, ids):
        raise ValueError(f'the images of {images.name}/{images.split} are not the {len(ids)} that CIFAR-10N names.')
    people = (noisy.labels[:, :, None] == np.arange(cifar10n.N_CLASSES)).sum(axis=1)
    cifar10n.check_labels(people, images.labels)
    one_hot = np.eye(cifar10n.N_CLASSES)
    if target == 'cifar10n':
        soft_label = people / cifar10n.N_PEOPLE
    elif target == 'cifar10n_person':
        person = np.random.default_rng(seed).integers(cifar10n.N_PEOPLE, size=len(ids))
        soft_label = one_hot[noisy.labels[np.arange(len(ids)), person]]
    else:
        soft_label = one_hot[getattr(noisy, target.removeprefix('cifar10n_'))]
    return dataclasses.replace(images, extras={**images.extras, target: soft_label.astype(np.float32)})


def target_of(images: ImageSet, target: str) -> str:
    """The target for these images: CIFAR-10N names no test image, so there it is the published label."""
    return 'label' if target in CIFAR10N and images.split == 'test' else target
