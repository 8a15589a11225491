"""What a network was trained on: no test image may be among it, and its class numbers keep their names."""

import dataclasses
import pathlib

from absl import logging

from humalign_jax import storage
from humalign_jax.data import splits
from humalign_jax.records import ImageSet


def apart(test: ImageSet, train: ImageSet) -> ImageSet:
    """The test images; their provenance says how many of them are training images, too.

    Raises:
        ValueError: All of them are, or the classes have other names.
    """
    if test.class_names != train.class_names:
        raise ValueError(f'{test.name}: train has the classes {train.class_names}, but test {test.class_names}.')
    repeated = splits.repeated_images(test, train)
    if len(repeated) == len(test):
        raise ValueError(
            f'{test.name}: each of the {len(test)} test images is a training image, too (the same pixels), so that the '
            'network would be scored on what it was trained on: give other test images.'
        )
    if not len(repeated):
        return test
    said = f'{len(repeated)} of {len(test)} test images are training images, too (the same pixels)'
    logging.warning('%s: %s; the first is %s.', test.name, said, test.ids[repeated[0]])
    return dataclasses.replace(test, provenance={**test.provenance, 'test_images_in_train': said})


def check_classes(folder: pathlib.Path, images: ImageSet, *, write: bool = False) -> None:
    """Compares the classes of images with those that a classifier was trained on, by name and order.

    Args:
        folder: The run's workdir; `classes.json` in it names what the outputs of its network stand for. A run without
            one, such as that of a VAE, opens on any images.
        images: Images of the same source, perhaps from another folder.
        write: Whether to write the file where there is none yet.

    Raises:
        ValueError: The classes differ.
    """
    path = folder / 'classes.json'
    if not path.exists():
        if write:
            storage.write_json(path, {'data': images.name, 'class_names': images.class_names})
        return
    trained = tuple(storage.read_json(path)['class_names'])
    if trained == images.class_names:
        return
    missing = [name for name in trained if name not in images.class_names]
    added = [name for name in images.class_names if name not in trained]
    differences = [f'without {", ".join(missing)}'] * bool(missing) + [f'with {", ".join(added)}'] * bool(added)
    raise ValueError(
        f'{folder} was trained on {len(trained)} classes ({path}), but these images are of {len(images.class_names)}, '
        f'{" and ".join(differences) or "in another order"}: class numbers would not mean the same. Give images of the '
        'same classes (--config.data.root=...), or train anew in another --workdir.'
    )
