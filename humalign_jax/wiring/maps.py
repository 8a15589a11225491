"""Maps of items in two dimensions, aligned to each other and written for the page."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from absl import logging

from humalign_jax import progress, rsa, storage
from humalign_jax.wiring.geometry import GeometryData, ItemFeatures

METHODS = ('tsne', 'mds')


def write_maps(
    folder: pathlib.Path,
    loaded: GeometryData,
    *,
    methods: Sequence[str],
    categories: Sequence[str],
    n_per_class: int,
    measure: str,
    perplexity: float,
    reference: str,
    seed: int,
) -> None:
    """Writes `<name>_<method>.npy`, [items, 2], with ids, classes and the misfit in the sidecar.

    One network of each group is shown. Maps are moved, turned or mirrored so that they lie closest to the first one
    (Procrustes), and have its size. The scale of Procrustes itself would shrink maps that are unlike the first one.

    Args:
        folder: Where to write.
        loaded: Items and representations.
        methods: Some of `METHODS`.
        categories: Names of coarse classes; items in just one of them are shown.
        n_per_class: At most that many items of a class, drawn by the seed.
        measure: Distance between items.
        perplexity: Of t-SNE.
        reference: Name of the first representation; '' for the first that there is.
        seed: Seed.
    """
    rows, shown = _chosen(loaded, categories, n_per_class, seed)
    sources = _one_of_each(loaded.features, reference)
    names = storage.file_names([_name(one) for one in sources])
    for method in methods:
        first: np.ndarray | None = None
        for number, one in enumerate(progress.each(sources, method, _name)):
            points, misfit = _map(one.values[rows], method, measure, perplexity, seed)
            reached = 1.0 if first is None else rsa.procrustes_similarity(points, first)
            points = points if first is None else _aligned(points, first)
            first = points if first is None else first
            sidecar = {
                'model': _name(one),
                'network': one.source.name,
                'number': number,
                'kind': 'human' if one.human else 'baseline' if one.source.baseline else 'model',
                'method': method,
                **misfit,
                'measure': measure,
                'seed': seed,
                'aligned_to': _name(sources[0]),
                'procrustes_similarity': reached,
                'items': loaded.name,
                'simulated': loaded.simulated,
                'ids': loaded.ids[rows].tolist(),
                'categories': shown,
                'category_names': list(categories),
            }
            storage.write_array(folder / f'{names[number]}_{method}.npy', points.astype(np.float32), sidecar)


def _chosen(
    loaded: GeometryData, categories: Sequence[str], n_per_class: int, seed: int
) -> tuple[np.ndarray, list[str]]:
    """Rows of the items that are shown, class by class, and the class of each."""
    known = loaded.classes['coarse'].names if 'coarse' in loaded.classes else ()
    unknown = [name for name in categories if name not in known]
    if unknown or not categories:
        raise ValueError(
            f'config.maps.categories={tuple(categories)} must name coarse classes with two items or more: '
            f'{", ".join(known) or "there are none; leave out maps with --config.maps.methods=()"}.'
        )
    members = loaded.classes['coarse'].members[:, [known.index(name) for name in categories]]
    single, np_rng = members.sum(axis=1) == 1, np.random.default_rng(seed)
    rows, shown = [], []
    for name, of_class in zip(categories, members.T):
        found = np.flatnonzero(of_class & single)
        rows.append(np.sort(np_rng.permutation(found)[:n_per_class]))
        shown += [name] * len(rows[-1])
    chosen = np.concatenate(rows)
    if len(chosen) < 4:
        raise ValueError(f'{len(chosen)} items are in just one of config.maps.categories, but a map needs four.')
    logging.info('Maps of %d items in %d classes.', len(chosen), len(categories))
    return chosen, shown


def _one_of_each(features: Sequence[ItemFeatures], reference: str) -> list[ItemFeatures]:
    """The reference first, then one network of each group and all that is in no group, human embeddings last."""
    shown: dict[str, ItemFeatures] = {}
    for one in sorted(features, key=lambda one: (one.source.name != reference, one.human)):
        shown.setdefault(_name(one), one)
    return list(shown.values())


def _name(one: ItemFeatures) -> str:
    return one.source.group_name if one.source.group else one.source.name


def _aligned(points: np.ndarray, first: np.ndarray) -> np.ndarray:
    """A map turned onto another, of the same root mean square distance from the centre: [n, 2], [n, 2] -> [n, 2]."""
    centre = first.mean(axis=0)
    turned = rsa.procrustes_align(points, first) - centre
    return centre + turned * (np.linalg.norm(first - centre) / max(float(np.linalg.norm(turned)), 1e-300))


def _map(
    values: np.ndarray, method: str, measure: str, perplexity: float, seed: int
) -> tuple[np.ndarray, Mapping[str, Any]]:
    """Coordinates and what they miss."""
    if method == 'tsne':
        points, divergence = rsa.tsne(values, perplexity=perplexity, measure=measure, seed=seed)
        return points, {'kl_nats': divergence, 'perplexity': min(perplexity, (len(values) - 1) / 3)}
    rdm = rsa.rdm(np.asarray(values), measure)
    points = rsa.classical_mds(rdm)
    return points, {'stress': rsa.stress(rdm, points)}
