"""Pictures of a VAE: reconstructions, samples of the prior, traversals of latents, interpolations between images."""

import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from humalign_jax import settings, storage
from humalign_jax.records import ImageSet
from humalign_jax.report.plots import pictures
from humalign_jax.wiring import runs

KEYS = (
    'n_per_class', 'n_samples', 'n_traversed', 'n_dimensions', 'steps', 'n_pairs', 'n_between', 'width_px'
)  # fmt: skip
_BATCH = 250  # images decoded at a time


def check(section: ConfigDict) -> None:
    """Raises ValueError if a number of `config.pictures` is below 1."""
    for key in ('n_per_class', 'n_samples', 'n_traversed', 'n_dimensions', 'n_pairs', 'n_between'):
        if section[key] < 1:
            raise ValueError(f'config.pictures.{key}={section[key]} must be at least 1.')


def draw(
    section: ConfigDict,
    folder: pathlib.Path,
    opened: runs.OpenRun,
    mean: np.ndarray,
    kl: np.ndarray,
    provenance: Mapping[str, Any],
) -> None:
    """Writes each picture as `<picture>.png`, with a JSON file that describes its rows and columns.

    Args:
        section: `config.pictures`.
        folder: Where to.
        opened: The run of the VAE.
        mean: Mean codes of the test images, [n, z].
        kl: KL divergence of each latent, averaged over these images, in nats, [z].
        provenance: Provenance of the scores, which the pictures repeat; its `seed` decides what is drawn.

    Raises:
        ValueError: A number is below 1, no class has so many test images, or there is one class only.
    """
    check(section)
    test, seed = opened.setup.images['test'], provenance['seed']
    decode = make_decode(opened)
    kept = {key: provenance[key] for key in ('model', 'data', 'simulated', 'checkpoint_step', 'seed')}
    np_rng = np.random.default_rng((seed, 0))

    def save(name: str, picture: np.ndarray, **described: Any) -> None:
        pictures.save_png(folder / f'{name}.png', pictures.enlarged(picture, section.width_px))
        storage.write_json(folder / f'{name}.json', {'picture': name, **described, **kept})

    chosen, classes = _rows_by_class(test, section.n_per_class, np_rng)
    rows, described = [], []
    for of_one_row in chosen:
        rows += [test.images[of_one_row], decode(mean[of_one_row])]
        ids = list(test.ids[of_one_row])
        described += [{'kind': 'originals', 'ids': ids}, {'kind': 'reconstructions', 'ids': ids}]
    save('reconstructions', pictures.grid(rows), rows=described, columns=[test.class_names[k] for k in classes])

    prior = np.asarray(jax.random.normal(jax.random.key(seed), (section.n_samples, len(kl))))
    sampled, width = decode(prior), min(10, section.n_samples)
    whole_rows = sampled[: len(sampled) // width * width]
    rows = list(whole_rows.reshape(-1, width, *sampled.shape[1:]))
    numbers = np.arange(len(whole_rows)).reshape(-1, width)
    save('samples', pictures.grid(rows), rows=[{'kind': 'samples of the prior', 'numbers': n} for n in numbers])

    dimensions = np.argsort(-kl, kind='stable')[: section.n_dimensions]
    seeds = np_rng.permutation(len(test))[: section.n_traversed]
    moved = decode(traversal_codes(mean[seeds], dimensions, np.array(section.steps)))  # [q, m, t, h, w, c]
    save(
        'traversals',
        pictures.beside([pictures.grid(list(moved[:, i])) for i in range(len(seeds))]),
        rows=[{'latent': int(j), 'kl_nats': float(kl[j])} for j in dimensions],
        blocks=[{'kind': 'traversal of one latent', 'id': i} for i in test.ids[seeds]],
        columns=[f'mu {step:+g} standard deviations of the prior' for step in settings.plain(section.steps)],
    )

    pairs = _pairs_of_different_classes(test.labels, section.n_pairs, np_rng)
    between = decode(interpolation_codes(mean[pairs[:, 0]], mean[pairs[:, 1]], section.n_between))
    save(
        'interpolations',
        pictures.grid(list(between)),
        rows=[
            {'from': test.ids[i], 'to': test.ids[j], 'classes': [test.class_names[test.labels[k]] for k in (i, j)]}
            for i, j in pairs
        ],
        columns=list(np.linspace(0.0, 1.0, section.n_between)),
    )


def _rows_by_class(
    images: ImageSet, n_per_class: int, np_rng: np.random.Generator
) -> tuple[list[np.ndarray], list[int]]:
    """Random images, one of each class in a row, n_per_class rows; and the classes that have so many images."""
    order = np_rng.permutation(len(images))
    by_class = [order[images.labels[order] == k][:n_per_class] for k in range(len(images.class_names))]
    classes = [k for k, rows in enumerate(by_class) if len(rows) == n_per_class]
    if not classes:
        raise ValueError(f'config.pictures.n_per_class={n_per_class}: no class of {images.name} has so many images.')
    return list(np.stack([by_class[k] for k in classes], axis=1)), classes


def _pairs_of_different_classes(labels: np.ndarray, n_pairs: int, np_rng: np.random.Generator) -> np.ndarray:
    """Rows of random pairs, no image in two of them, [m, 2] with m at most n_pairs."""
    order = list(np_rng.permutation(len(labels)))
    pairs = []
    while len(pairs) < n_pairs and order:
        first = order.pop()
        other = next((i for i in reversed(order) if labels[i] != labels[first]), None)
        if other is not None:
            order.remove(other)
            pairs.append((first, other))
    if not pairs:
        raise ValueError('interpolations need two test images of different classes.')
    return np.array(pairs)


def make_decode(opened: runs.OpenRun) -> Callable[[np.ndarray], np.ndarray]:
    """`codes [..., z] -> uint8 [..., h, w, c]`."""
    model, variables = opened.setup.model, {'params': opened.state.params, **opened.state.model_state}
    decode = jax.jit(lambda variables, z: model.apply(variables, z, method='decode'))

    def decode_all(codes: np.ndarray) -> np.ndarray:
        flat = codes.reshape(-1, codes.shape[-1])
        parts = [np.asarray(decode(variables, jnp.asarray(flat[i : i + _BATCH]))) for i in range(0, len(flat), _BATCH)]
        images = pictures.to_bytes(np.concatenate(parts))
        return images.reshape(*codes.shape[:-1], *images.shape[1:])

    return decode_all


def traversal_codes(mean: np.ndarray, dimensions: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Codes of which one latent is moved: `mean[m] + steps[t]` in latent `dimensions[q]`, [m, z] -> [q, m, t, z].

    The prior's standard deviation is 1, so a step is in units of it.
    """
    moved = np.zeros((len(dimensions), 1, len(steps), mean.shape[-1]), mean.dtype)
    moved[np.arange(len(dimensions)), 0, :, dimensions] = np.asarray(steps)[None]
    return mean[None, :, None, :] + moved


def interpolation_codes(start: np.ndarray, end: np.ndarray, n_between: int) -> np.ndarray:
    """Codes on the straight lines between two codes each, both included: [m, z], [m, z] -> [m, n_between, z]."""
    share = np.linspace(0.0, 1.0, n_between, dtype=start.dtype)[None, :, None]
    return (1 - share) * start[:, None] + share * end[:, None]
