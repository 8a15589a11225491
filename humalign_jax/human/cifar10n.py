"""CIFAR-10N: three people each named every image of the CIFAR-10 training set.

The authors' files (`CIFAR-10_human.pt`, `CIFAR-10_human_ordered.npy`) are pickles, which run whatever stands in them
when they are opened, so they are not opened here: convert them once (see `CONVERSION`) to `cifar10n.npz`, which holds
plain arrays.

References:
    Wei et al. (2022), Learning with noisy labels revisited. ICLR. https://openreview.net/forum?id=TBWA6PLJZQm
    https://github.com/UCSC-REAL/cifar-10-100n
"""

import dataclasses
import os
import pathlib

import numpy as np

from humalign_jax import storage
from humalign_jax.human.cifar10h import CLASS_NAMES
from humalign_jax.human_data import Answers, check_order
from humalign_jax.records import stimulus_ids

N_IMAGES, N_CLASSES, N_PEOPLE = 50_000, 10, 3
FILE = 'cifar10n.npz'
PICKLES = ('CIFAR-10_human.pt', 'CIFAR-10_human_ordered.npy', 'CIFAR-10_human.npy')
LICENCE = 'CC BY-NC 4.0'
CITATION = (
    'Wei, Zhu, Cheng, Liu, Niu & Liu (2022). Learning with noisy labels revisited: a study using real-world human '
    'annotations. ICLR. https://openreview.net/forum?id=TBWA6PLJZQm'
)
# CIFAR-10_human_ordered.npy has the same dictionary in the shuffled order of TFDS and is of no use without the table
# of that order.
CONVERSION = (
    'import numpy, torch; f = torch.load("CIFAR-10_human.pt", weights_only=False); '
    'numpy.savez("cifar10n.npz", labels=numpy.stack([f[f"random_label{i}"] for i in (1, 2, 3)], axis=1), '
    'aggregate=f["aggre_label"], worst=f["worse_label"])'
)


@dataclasses.dataclass(frozen=True)
class NoisyLabels:
    """Labels by people of the CIFAR-10 training images, in the published order.

    Attributes:
        labels: Three people's labels, int64, [50000, 3].
        aggregate: Their majority, with a random one of three different labels, int64, [50000].
        worst: A wrong label where any of the three is wrong, int64, [50000].
    """

    labels: np.ndarray
    aggregate: np.ndarray
    worst: np.ndarray


def load_labels(folder: str | os.PathLike) -> NoisyLabels:
    """Reads `cifar10n.npz`.

    Args:
        folder: Where the file is.

    Returns:
        The labels, in the published order of the CIFAR-10 training set.

    Raises:
        ValueError: There is no such file, or only the authors' pickles, or it does not hold CIFAR-10N.
    """
    folder = pathlib.Path(folder)
    path = folder / FILE
    if not path.exists():
        pickles = [name for name in PICKLES if (folder / name).exists()]
        found = (
            f'{folder} has {", ".join(pickles)}, which as a pickle can run any program when opened and is not opened'
            if pickles
            else f'{folder} holds no {FILE}'
        )
        raise ValueError(
            f'{found}: get CIFAR-10_human.pt from the CIFAR-10N repository of Wei et al. (2022) and, if you trust it, '
            f"convert it once where PyTorch is installed: python -c '{CONVERSION}'"
        )
    try:
        arrays = {name: storage.read_array(path, key=name) for name in ('labels', 'aggregate', 'worst')}
    except ValueError as error:
        raise ValueError(f'{error} This is not CIFAR-10N as converted by us.') from error
    for name, shape in (('labels', (N_IMAGES, N_PEOPLE)), ('aggregate', (N_IMAGES,)), ('worst', (N_IMAGES,))):
        values = arrays[name]
        if values.shape != shape or not np.issubdtype(values.dtype, np.integer):
            raise ValueError(f'{path}: {name} must be integers {list(shape)}, not {values.dtype} {list(values.shape)}.')
        if values.min() < 0 or values.max() >= N_CLASSES:
            raise ValueError(f'{path}: {name} must be 0 to {N_CLASSES - 1}, not {values.min()} to {values.max()}.')
    return NoisyLabels(**{name: values.astype(np.int64) for name, values in arrays.items()})


def load_answers(folder: str | os.PathLike) -> Answers:
    """The three labels as answers to 'cifar10/train/00000' and on, with the file's hash, licence and citation."""
    labels = load_labels(folder).labels
    counts = (labels[:, :, None] == np.arange(N_CLASSES)).sum(axis=1)
    provenance = {
        'file': FILE,
        'sha256': storage.file_digest(pathlib.Path(folder) / FILE),
        'licence': LICENCE,
        'citation': CITATION,
    }
    ids = stimulus_ids('cifar10', 'train', np.arange(N_IMAGES))
    return Answers(counts, ids, CLASS_NAMES, 'cifar10n', provenance=provenance)


def disagreement(noisy: NoisyLabels, labels: np.ndarray) -> dict[str, float]:
    """Share of images whose label by people is not CIFAR-10's: of each person, of the aggregate and of the worst.

    In the authors' files: person1 17.23 %, person2 18.12 %, person3 17.64 %, aggregate 9.01 %, worst 40.21 %.
    """
    by_person = {f'person{i + 1}': float((noisy.labels[:, i] != labels).mean()) for i in range(N_PEOPLE)}
    others = {name: float((getattr(noisy, name) != labels).mean()) for name in ('aggregate', 'worst')}
    return {**by_person, **others}


def check_labels(counts: np.ndarray, labels: np.ndarray) -> float:
    """Raises ValueError unless answers [n, 10] and CIFAR-10 labels [n] are in one order; see `check_order`."""
    return check_order(counts, labels, name='cifar10n', minimum=0.85 if len(labels) == N_IMAGES else 0.5)
