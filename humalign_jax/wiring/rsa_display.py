"""What an RSA leaves for its page beside scores: RDMs small enough to show, and the categories of the stimuli."""

import pathlib
from collections.abc import Sequence

import numpy as np

from humalign_jax import storage
from humalign_jax.records import Rdm
from humalign_jax.report.plots import rdms

MAX_CELLS = 100  # a side of the RDMs kept for display


def keep_rdms(
    folder: pathlib.Path, reference: Rdm, models: Sequence[Rdm], labels: np.ndarray | None, simulated: bool
) -> None:
    """Writes `rdm_<number>.npy`, square and in at most 100 x 100 cells, with a sidecar that says whose it is.

    Args:
        folder: Where to write.
        reference: What models are compared with.
        models: RDMs of the same stimuli in the same order.
        labels: Category of each stimulus, [n]; stimuli are sorted by it. None if there are none.
        simulated: Whether the data are made up.
    """
    order = np.arange(len(reference.ids)) if labels is None else np.argsort(labels, kind='stable')
    for i, rdm in enumerate([reference, *models]):
        picture = rdms.block_average(np.asarray(rdm.values), order, MAX_CELLS)
        sidecar = {'model': rdm.name, 'is_reference': i == 0, 'measure': rdm.measure, 'n': len(order)}
        if labels is not None:
            first = np.searchsorted(np.arange(len(order)) * len(picture) // len(order), np.arange(len(picture)))
            sidecar['classes'] = [str(name) for name in np.asarray(labels)[order][first]]
            sidecar['class_names'] = [str(name) for name in np.unique(labels)]
        cells = 'mean dissimilarity of pairs of stimuli; NaN where a cell has none'
        storage.write_array(folder / f'rdm_{i:03d}.npy', picture, {**sidecar, 'cells': cells, 'simulated': simulated})
