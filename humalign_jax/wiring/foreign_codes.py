"""Codes of a VAE trained elsewhere: a folder of each split with `mu`, `logvar` and the classes of its images."""

import itertools
import pathlib

import numpy as np
from ml_collections import ConfigDict

from humalign_jax.records import Features
from humalign_jax.rsa import pairs
from humalign_jax.wiring import layer_folders

SPLITS = ('train', 'validation', 'test')
Part = tuple[Features, Features | None, layer_folders.Labels]  # mean codes, log variances of test images, classes


def read_codes(config: ConfigDict) -> dict[str, Part]:
    """Codes of the splits in `config.codes`.

    Raises:
        ValueError: A folder lacks `mu` or labels, or an image is in two splits.
    """
    parts = {split: _read_split(config, split) for split in SPLITS}
    for one, other in itertools.combinations(SPLITS, 2):
        shared = np.intersect1d(parts[one][0].ids, parts[other][0].ids)
        if len(shared):
            raise ValueError(
                f'{len(shared)} images are in both config.codes.{one} and config.codes.{other}, the first of them '
                f'{str(shared[0])!r}: probes are fitted, chosen and scored on different images.'
            )
    return parts


def _read_split(config: ConfigDict, split: str) -> Part:
    """`mu`, `logvar` if it is there, and the classes of a split, in the order of `mu`."""
    place, where = config.codes[split], f'codes.{split}'
    if not place:
        raise ValueError(f'config.{where} is empty: codes of all three splits are needed, {", ".join(SPLITS)}.')
    folder = pathlib.Path(place).expanduser()
    stimuli = {'dataset': config.codes.dataset, 'split': split}
    paths = layer_folders.layer_paths(folder)
    if 'mu' not in paths:
        raise ValueError(f'config.{where}={place!r} has no mu.npy, the mean codes [n, z], only {", ".join(paths)}.')
    mu = layer_folders.read_layer(paths['mu'], stimuli, 'codes')
    layer_folders.check_finite(mu, paths['mu'], 'Encode these images again, or leave them out.')
    labels_path = layer_folders.find_labels(folder, stimuli)
    if labels_path is None:
        raise ValueError(f'{folder} has no labels.npy with the class of each image, numbers from 0.')
    labels = layer_folders.read_labels(labels_path, stimuli, 'codes', ()).select(mu.ids)
    logvar = None
    if split == 'test' and 'logvar' in paths:
        logvar = layer_folders.read_layer(paths['logvar'], stimuli, 'codes')
        logvar = pairs.join_features(mu, logvar)
    return mu, logvar, labels
