"""Images with voxel responses, for tuning: joined by stimulus id, at the size of a classifier's images."""

import dataclasses
from collections.abc import Mapping

import numpy as np
from absl import logging
from ml_collections import ConfigDict

from humalign_jax import human_responses, settings, storage
from humalign_jax.data import image_files
from humalign_jax.human import fmri, simulated_voxels
from humalign_jax.human_responses import Responses
from humalign_jax.records import Features, ImageSet

KEYS = ('name', 'root', 'images', 'rois', 'n_validation')
SYNTHETIC = 'synthetic'
_N_SYNTHETIC = {'hV4': 12}  # voxels


@dataclasses.dataclass(frozen=True)
class VoxelImages:
    """Images and the responses to them.

    Attributes:
        images: uint8, [n, h, w, c].
        responses: Row k answers image k; each voxel with mean 0 and SD 1 over the training images, [n, v].
    """

    images: np.ndarray
    responses: Responses

    def __len__(self) -> int:
        return len(self.images)

    def take(self, rows: np.ndarray) -> 'VoxelImages':
        """Some images, by number or mask."""
        return VoxelImages(self.images[rows], self.responses.take(rows))


def read(section: ConfigDict, of_classifier: Mapping[str, ImageSet], *, seed: int) -> dict[str, VoxelImages]:
    """Voxel images of `config.human`: 'train', 'validation' (chooses the checkpoint) and 'test' (is scored).

    `name='nsd'` reads the folder `root` in the NSD layout: split `val` is 'test'; `n_validation` images of split
    `train` are 'validation', or `val` again if that is 0, as published. `images` is the folder below which relative
    image paths lie, '' for `root`. A stimulus may also be a training or validation image of the classifier, by its id.
    Repeats are averaged; voxels that are constant or not finite in training are left out. `name='synthetic'`
    makes responses from the pixels of the classifier's own images.

    Raises:
        ValueError: A setting cannot be, an image is missing, or an image that is to be scored is trained on.
    """
    settings.check_keys(section, KEYS, 'config.human')
    train, test = _read_splits(section, of_classifier, seed)
    repeated = np.intersect1d(train.ids, test.ids)
    if len(repeated):
        raise ValueError(
            f'{len(repeated)} of {len(test)} images to be scored are training images, too, the first of them '
            f'{str(repeated[0])!r}: remove them from one of the two splits.'
        )
    usable = np.all([human_responses.usable_voxels(one)[0] for one in (train, test)], axis=0)
    if not usable.any():
        raise ValueError(f'{train.name!r}: every voxel is constant or not finite, so there is nothing to tune towards.')
    if not usable.all():
        logging.warning('%d of %d voxels are constant or not finite, and are left out.', (~usable).sum(), len(usable))
    order = np.random.default_rng([seed, len(train)]).permutation(len(train))
    held_out, n = np.zeros(len(train), bool), section.n_validation
    if n >= len(train):
        raise ValueError(f'config.human.n_validation={n} leaves none of {len(train)} images to train on: lower it.')
    held_out[order[:n]] = True
    parts = {'train': train.take(~held_out), 'test': test, 'validation': train.take(held_out) if n else test}
    scaled = human_responses.zscore(*(one.take_voxels(usable) for one in parts.values()))
    size = of_classifier['train'].images.shape[1:]
    found = {split: VoxelImages(_pixels(section, one, of_classifier, size), one) for split, one in zip(parts, scaled)}
    counts = ', '.join(f'{len(part)} {split}' for split, part in found.items())
    logging.info('%s: %d voxels of %s; images: %s.', train.name, usable.sum(), ', '.join(scaled[0].rois), counts)
    return found


def digests(parts: Mapping[str, VoxelImages]) -> dict[str, str]:
    """Hashes of images and responses of each split."""
    found = {}
    for split, part in parts.items():
        found[f'{split} voxel images'] = storage.array_digest(part.images)
        found[f'{split} responses'] = storage.array_digest(part.responses.values)
    return found


def _read_splits(section: ConfigDict, of_classifier: Mapping[str, ImageSet], seed: int) -> tuple[Responses, Responses]:
    """Averaged responses to training and to test images."""
    if section.name == 'nsd':
        rois = settings.plain(section.rois)
        train, test = (fmri.load_nsd(section.root, split, rois=rois).averaged() for split in fmri.SPLITS)
        if train.n_voxels != test.n_voxels:
            raise ValueError(f'{section.root}: train has {train.n_voxels} voxels, but val {test.n_voxels}.')
        return train, test
    if section.name != SYNTHETIC:
        raise ValueError(f"config.human.name={section.name!r} must be 'nsd' or 'synthetic'.")
    images = of_classifier['train']
    n, h, w, c = images.images.shape
    rows = np.arange(h) * 4 // h, np.arange(w) * 4 // w
    cells = np.zeros((n, 4, 4, c))
    np.add.at(cells, (slice(None), rows[0][:, None], rows[1][None]), images.images / 255.0)
    features = Features(cells.reshape(n, -1), images.ids, 'mean intensities of 4 x 4 cells')
    made = simulated_voxels.simulate_responses(features, _N_SYNTHETIC, n_repeats=3, seed=seed).averaged()
    is_test = np.arange(n) >= n - n // 4
    return made.take(~is_test), made.take(is_test)


def _pixels(
    section: ConfigDict, responses: Responses, of_classifier: Mapping[str, ImageSet], size: tuple[int, ...]
) -> np.ndarray:
    """The image of each row, from the classifier's own set or from files."""
    wanted = responses.stimuli.tolist()
    own: dict[str, np.ndarray] = {}
    for split in ('test', 'validation', 'train'):
        images = of_classifier[split]
        ids = images.ids.tolist()
        known = set(wanted) & set(ids)
        if known and split == 'test':
            raise ValueError(
                f'{len(known)} images with voxels are test images of the classifier, the first of them '
                f'{min(known)!r}: accuracy on test images must not be measured on images of the tuning.'
            )
        own |= {stimulus: images.images[row] for row, stimulus in enumerate(ids) if stimulus in known}
    if own:
        missing = [stimulus for stimulus in wanted if stimulus not in own]
        if missing:
            raise ValueError(
                f'{len(missing)} of {len(wanted)} stimuli of {responses.name!r} are no images of the classifier, the '
                f'first of them {missing[0]!r}, while others are: give all as ids of its images, or all as files.'
            )
        return np.stack([own[stimulus] for stimulus in wanted])
    h, w, c = size
    if h != w or c not in (1, 3):
        raise ValueError(f'image files can be read for square images of 1 or 3 channels, not for {list(size)}.')
    paths = fmri.image_files(responses, section.images or section.root)
    return np.stack([image_files.read_image(path, size_px=h, grey=c == 1) for path in paths])
