"""Simulated images and simulated observers with a known similarity structure.

Ten categories form a tree: two kinds (animate, inanimate), each with two groups, of three and two categories. A
category is a point in a four-dimensional latent space (`PROTOTYPES`). The levels of the tree use orthogonal axes, so
categories of one group are closer than categories of two groups, and the two kinds are farthest apart. The latents
determine outline, texture, head and colour of a picture (`humalign_jax.data.rendering`); nuisance parameters (tilt,
size, place, hue, contrast, lighting, noise) are independent of the category.

The latent of an image of category c is its prototype, moved towards a neighbouring category, plus noise. The latents
determine the true dissimilarity of two images (Euclidean distance), the probabilities of an observer's answers (a
softmax over the squared distances to the prototypes), and the odd one out of three images.
"""

import math

import numpy as np
from scipy.spatial import distance

from humalign_jax import records
from humalign_jax.data import rendering

CLASS_NAMES = (
    'animate_a1', 'animate_a2', 'animate_a3', 'animate_b1', 'animate_b2',
    'inanimate_c1', 'inanimate_c2', 'inanimate_c3', 'inanimate_d1', 'inanimate_d2',
)  # fmt: skip

_SPREAD = 0.5  # distance of a category from the centre of its group
_TRIO = [(_SPREAD * math.cos(a), _SPREAD * math.sin(a)) for a in (math.pi / 2, math.pi * 7 / 6, math.pi * 11 / 6)]
_PAIR = [(_SPREAD, 0.0), (-_SPREAD, 0.0)]

# Columns: kind, group, and two coordinates of the category within its group. [10, 4]
PROTOTYPES = np.array(
    [
        (kind, group, *place)
        for kind in (-1.0, 1.0)
        for group, places in ((-0.65, _TRIO), (0.65, _PAIR))
        for place in places
    ]
)

# Euclidean distances between the prototypes, in latent units, [10, 10]: 0.87 or 1.0 within a group, 1.3 to 1.7 between
# the groups of a kind, 2.0 to 2.6 between kinds.
CATEGORY_DISSIMILARITY = distance.squareform(distance.pdist(PROTOTYPES))

_LATENT_NOISE = 0.16  # standard deviation of the latent noise of an image, per latent
_OBSERVER_WIDTH = 0.30  # width of the observers' softmax, in latent units
_TRIPLET_WIDTH = 0.8  # width of the softmax for similarity judgements, in latent units
_PIXEL_NOISE = 0.04  # standard deviation, as a fraction of the full range
_TABLES = ('labels', 'latents', 'nuisance', 'pixels', 'votes')
_SPLITS = ('train', 'test')


def load_synthetic(
    split: str,
    *,
    root: str = '',
    n_train: int = 2000,
    n_test: int = 500,
    seed: int = 0,
    image: str = 'rgb',
    n_observers: int = 50,
) -> records.ImageSet:
    """Simulated images of ten categories with a known similarity structure.

    Image i of a split depends on seed, split and i only, so a smaller set is the beginning of a larger one. Every block
    of ten images contains each category once.

    Args:
        split: 'train' or 'test'.
        root: Not used; every source has this argument.
        n_train: Number of training images.
        n_test: Number of test images.
        seed: Seed of the images; the categories do not depend on it.
        image: 'rgb' for [n, 32, 32, 3], 'grey' for [n, 28, 28, 1].
        n_observers: Number of simulated observers who name each image.

    Returns:
        The images, with `simulated=True` and extras: `soft_label` float32 [n, 10], the true probabilities of observers'
        answers; `counts` int64 [n, 10], the answers of `n_observers`; `latent` float64 [n, 4], the latents that define
        the true similarity.

    Raises:
        ValueError: An unknown split or kind of image, or a number that is not positive.
    """
    del root
    if split not in _SPLITS:
        raise ValueError(f"synthetic has the splits 'train' and 'test', not {split!r}.")
    if image not in ('rgb', 'grey'):
        raise ValueError(f"image must be 'rgb' or 'grey', not {image!r}.")
    n = n_train if split == 'train' else n_test
    for name, value in (('n_train', n_train), ('n_test', n_test), ('n_observers', n_observers)):
        if value < 1:
            raise ValueError(f'{name} must be at least 1, not {value}.')

    def np_rng(table: str) -> np.random.Generator:
        return np.random.default_rng([seed, _SPLITS.index(split), _TABLES.index(table)])

    labels = _labels(np_rng('labels'), n)
    latent = _latents(np_rng('latents'), labels)
    size_px = 32 if image == 'rgb' else 28
    noise = np_rng('pixels').standard_normal((n, size_px, size_px), np.float32) * np.float32(_PIXEL_NOISE)
    pictures = rendering.render(latent, rendering.draw_nuisance(np_rng('nuisance'), n), noise, image=image)
    probabilities = observer_probabilities(latent)
    return records.ImageSet(
        images=pictures,
        labels=labels.astype(np.int32),
        index=np.arange(n, dtype=np.int64),
        class_names=CLASS_NAMES,
        name='synthetic',
        split=split,
        simulated=True,
        extras={
            'soft_label': probabilities.astype(np.float32),
            'counts': np_rng('votes').multinomial(n_observers, probabilities),
            'latent': latent,
        },
    )


def observer_probabilities(latent: np.ndarray) -> np.ndarray:
    """Probabilities of observers' answers: softmax of negative squared distances to prototypes, [n, 4] -> [n, 10]."""
    logits = -distance.cdist(latent, PROTOTYPES, 'sqeuclidean') / (2.0 * _OBSERVER_WIDTH**2)
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True)


def true_rdm(image_set: records.ImageSet) -> records.Rdm:
    """The true RDM: Euclidean distances between the latents of the images, in latent units."""
    return records.Rdm(
        values=distance.pdist(_latent_of(image_set)),
        ids=image_set.ids,
        name='simulated truth',
        measure='euclidean',
        provenance={'source': 'synthetic', 'simulated': True},
    )


def simulate_annotations(image_set: records.ImageSet, *, seed: int) -> dict[str, np.ndarray]:
    """A table of single answers: the votes in `counts`, assigned to annotators at random.

    Args:
        image_set: Synthetic images.
        seed: Seed of the assignment.

    Returns:
        Columns of one table with n x n_observers rows: `annotator_id` int64, `index` int64 (stimulus number) and
        `label` int64 (the answer). Every annotator sees every image once.
    """
    if 'counts' not in image_set.extras:
        raise ValueError(f'{image_set.name}/{image_set.split} has no simulated votes: use load_synthetic.')
    counts = image_set.extras['counts']
    n, n_classes = counts.shape
    n_observers = int(counts[0].sum())
    answers = np.repeat(np.tile(np.arange(n_classes), n), counts.reshape(-1)).reshape(n, n_observers)
    answers = np.random.default_rng(seed).permuted(answers, axis=1)
    return {
        'annotator_id': np.tile(np.arange(n_observers), n),
        'index': np.repeat(image_set.index, n_observers),
        'label': answers.reshape(-1),
    }


def triplet_probabilities(latent: np.ndarray, triplets: np.ndarray) -> np.ndarray:
    """Probability of each image of a triplet to be the odd one out: [n, z], [t, 3] -> [t, 3].

    The observer chooses the most similar pair by a softmax over negative squared distances in latent space; the third
    image is the odd one out.
    """
    a, b, c = (latent[triplets[:, i]] for i in range(3))
    pairs = np.stack([((p - q) ** 2).sum(axis=1) for p, q in ((b, c), (a, c), (a, b))], axis=1)
    logits = -pairs / (2.0 * _TRIPLET_WIDTH**2)
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True)


def simulate_triplets(image_set: records.ImageSet, n_triplets: int, *, seed: int) -> np.ndarray:
    """Odd-one-out judgements of random triplets of distinct images.

    Args:
        image_set: Synthetic images.
        n_triplets: Number of judgements, t.
        seed: Seed of the triplets and the judgements.

    Returns:
        Rows of `image_set`, int64, [t, 3]; column 2 is the odd one out, columns 0 and 1 are the pair in random order.
    """
    latent = _latent_of(image_set)
    n = len(latent)
    if n < 3:
        raise ValueError(f'triplets need at least 3 images, and there are {n}.')
    np_rng = np.random.default_rng(seed)
    # Three distinct numbers: draw from n, n - 1 and n - 2 and skip the numbers already taken.
    first = np_rng.integers(0, n, n_triplets)
    second = np_rng.integers(0, n - 1, n_triplets)
    second += second >= first
    third = np_rng.integers(0, n - 2, n_triplets)
    third += third >= np.minimum(first, second)
    third += third >= np.maximum(first, second)
    triplets = np.stack([first, second, third], axis=1)
    steps = triplet_probabilities(latent, triplets).cumsum(axis=1)
    odd = (np_rng.random((n_triplets, 1)) > steps[:, :2]).sum(axis=1)
    order = np.array([(1, 2, 0), (2, 0, 1), (0, 1, 2)])[odd]
    return np.take_along_axis(triplets, order, axis=1)


def _latent_of(image_set: records.ImageSet) -> np.ndarray:
    if 'latent' not in image_set.extras:
        raise ValueError(f'{image_set.name}/{image_set.split} has no known truth: use load_synthetic.')
    return image_set.extras['latent']


def _labels(np_rng: np.random.Generator, n: int) -> np.ndarray:
    """Each category once in every ten images, in random order: [n]."""
    n_classes = len(CLASS_NAMES)
    return np_rng.random((-(-n // n_classes), n_classes)).argsort(axis=1).reshape(-1)[:n]


def _latents(np_rng: np.random.Generator, labels: np.ndarray) -> np.ndarray:
    """Latents of the images: most near their prototype, some almost halfway to another category, [n] -> [n, 4]."""
    n, n_classes = len(labels), len(CLASS_NAMES)
    draws = np_rng.random((n, 2))
    # The other category: closer categories are more likely.
    weights = np.exp(-(CATEGORY_DISSIMILARITY**2) / (2.0 * 0.6**2))
    np.fill_diagonal(weights, 0.0)
    steps = (weights / weights.sum(axis=1, keepdims=True)).cumsum(axis=1)[labels]
    other = np.minimum((draws[:, :1] > steps).sum(axis=1), n_classes - 1)
    mixing = 0.5 * draws[:, 1:] ** 3  # mean 1/8, at most one half
    noise = np_rng.spawn(1)[0].standard_normal((n, PROTOTYPES.shape[1])) * _LATENT_NOISE
    return (1.0 - mixing) * PROTOTYPES[labels] + mixing * PROTOTYPES[other] + noise
