"""Reads named layers of a trained network over a set of images into .npy files that are whole or absent.

    <layer>.npy     float32 [n, d], maps flattened; to be opened with np.load(..., mmap_mode='r')
    <layer>.json    ids and everything that shaped the values
    labels.npy, labels.json
    unfinished/     layers being written, and how far they are

All wanted layers come from one pass over the images. A kill loses a few seconds of work: rows are written to
`unfinished/`, a note says how many are safely on the disk, and a layer is renamed into place when it is whole.
"""

import dataclasses
import hashlib
import json
import pathlib
import shutil
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from absl import logging
from ml_collections import ConfigDict

from humalign_jax import devices, memory, models, settings, storage
from humalign_jax.records import ImageSet
from humalign_jax.train import forward, leaves, manifest, progress_line
from humalign_jax.wiring import layer_folders, runs
from humalign_jax.wiring.images import load_images
from humalign_jax.wiring.layer_writer import NOT_COMPARED, LayerWriter

PIXELS = 'pixels'
_KEYS = (
    'experiment', 'seed', 'run', 'checkpoint', 'split', 'layers', 'name', 'data', 'batch_size', 'max_memory_gb',
    'n_devices',
)  # fmt: skip
_SLACK_BYTES = 64 << 20  # what allocators keep beside what is asked of them


@dataclasses.dataclass(frozen=True)
class _Source:
    """The images, and the network if there is one."""

    images: ImageSet
    name: str
    provenance: Mapping[str, Any]  # what shaped the values, beside layer and stimuli
    opened: runs.OpenRun | None
    layers: tuple[str, ...]
    known: tuple[str, ...]  # all layers of the network, in the order of its forward pass


def run(config: ConfigDict, workdir: str) -> None:
    """Writes `config.layers` of the run in `config.run`, over the images of `config.split`, into this workdir.

    Raises:
        ValueError: A setting cannot be; memory or disk do not suffice; or the folder holds layers of another
            checkpoint, other images or another preprocessing.
    """
    settings.check_keys(config, _KEYS, 'config')
    if config.split not in ('train', 'validation', 'test'):
        raise ValueError(f'config.split={config.split!r} must be train, validation or test.')
    folder = pathlib.Path(workdir)
    if memory.held_bytes() > config.max_memory_gb * 1e9 / 2:
        memory.give_back_memory()  # the limit is the whole process', of which earlier stages of a study may hold much
    memory.forget_peak()
    source = _open(config)
    sidecars = {layer: _sidecar(source, layer) for layer in source.layers}
    missing = [layer for layer in source.layers if not _is_there(folder / f'{layer}.npy', sidecars[layer])]
    _write_labels(folder, source.images)
    if missing:
        _extract(config, folder, source, {layer: sidecars[layer] for layer in missing})
    shutil.rmtree(folder / 'unfinished', ignore_errors=True)
    logging.info('At most %.2f GB of memory were held.', memory.held_bytes('VmHWM') / 1e9)
    logging.info('%d layers of %s over %d images of %s: %s', len(source.layers), source.name, len(source.images),
                 sidecars[source.layers[0]]['data'], ', '.join(source.layers))  # fmt: skip


def _open(config: ConfigDict) -> _Source:
    """The images and the network that the config names."""
    layers = tuple(config.layers)
    if not config.run:
        if layers != (PIXELS,):
            raise ValueError(
                f"config.layers={layers!r} without config.run: only ('pixels',) needs no trained run; give the "
                '--workdir of one.'
            )
        images = _images_of(config)
        return _Source(images, config.name or PIXELS, {'seed': config.seed}, None, layers, ())
    if config.data.name:
        raise ValueError(
            f'config.data.name={config.data.name!r} beside config.run={config.run!r}: the images are those of the run; '
            'leave one of the two empty.'
        )
    opened = runs.open_run(config.run, str(config.checkpoint), root=config.data.root)
    images = opened.setup.images[config.split]
    known = tuple(models.layer_names(opened.setup.model, images.images.shape[1:]))
    for layer in layers:
        if layer not in (*known, PIXELS):
            nearest = settings.nearest(layer, (*known, PIXELS))
            raise ValueError(f'config.layers: there is no layer {layer!r}.{nearest}')
    provenance = {
        'run': config.run,
        'checkpoint': str(config.checkpoint),
        'checkpoint_step': int(opened.state.step),
        'checkpoint_sha256': _state_digest(opened),
        'architecture': opened.config.model.name,
        'seed': opened.config.seed,
    }
    return _Source(images, config.name or opened.config.model.name, provenance, opened, layers or known, known)


def _images_of(config: ConfigDict) -> ImageSet:
    """The images of `config.data`, as a training run with that section and seed would cut them."""
    if not config.data.name:
        raise ValueError('config.run and config.data.name are both empty: give a training run, or name the images.')
    section = ConfigDict({**settings.plain(config.data), 'batch_size': 1, 'target': 'label'})
    return load_images(section, seed=config.seed)[config.split]


def _state_digest(opened: runs.OpenRun) -> str:
    """SHA-256 of the parameters and statistics, whatever else the checkpoint holds."""
    arrays = leaves.arrays({'params': opened.state.params, 'model_state': opened.state.model_state})
    return hashlib.sha256(json.dumps(manifest.describe_arrays(arrays), sort_keys=True).encode()).hexdigest()


def _sidecar(source: _Source, layer: str) -> dict[str, Any]:
    """What a layer's file says provenance itself, and by which it is known again."""
    images = source.images
    if layer == PIXELS:  # of the images alone: the same for every network
        provenance: dict[str, Any] = {'preprocessing': 'intensities divided by 255'}
    else:
        assert source.opened is not None
        preprocess = settings.json_like(settings.plain(source.opened.config.preprocess))
        provenance = {**source.provenance, 'preprocessing': {key: preprocess[key] for key in ('mean', 'std')}}
        provenance[layer_folders.ORDER] = source.known.index(layer)
    return {
        'name': f'{source.name}/{layer}',
        'model': source.name,
        'layer': layer,
        **provenance,
        'data': f'{images.name}/{images.split}',
        'simulated': images.simulated,
        'stimuli_sha256': storage.array_digest(images.ids),
        'images_sha256': storage.array_digest(images.images),
        **{key: value for key, value in images.provenance.items() if key == 'test_split'},
        'ids': images.ids.tolist(),
    }


def _is_there(path: pathlib.Path, expected: Mapping[str, Any]) -> bool:
    """Whether a layer is finished.

    Raises:
        ValueError: There is one, made of something else.
    """
    if not path.exists():
        return False
    found = storage.read_json(path.with_suffix('.json'))
    expected = {key: value for key, value in expected.items() if key not in NOT_COMPARED}
    differences = settings.differing_keys({key: found.get(key) for key in expected}, expected, path.stem)
    if differences:
        shown = [place if len(place) < 200 else f'{place.split(":")[0]} differs' for place in differences]  # ids
        raise ValueError(
            f'{path} was extracted from something else: {"; ".join(shown)} (there -> here). Choose another --workdir, '
            'or remove the folder to extract again.'
        )
    return True


def _write_labels(folder: pathlib.Path, images: ImageSet) -> None:
    provenance = {
        'data': f'{images.name}/{images.split}',
        'simulated': images.simulated,
        'class_names': images.class_names,
        **images.provenance,
        'stimuli_sha256': storage.array_digest(images.ids),
        'ids': images.ids,
    }
    storage.write_array(folder / 'labels.npy', images.labels.astype(np.int32), provenance)


def _extract(config: ConfigDict, folder: pathlib.Path, source: _Source, sidecars: Mapping[str, dict[str, Any]]) -> None:
    """Computes layers and writes them."""
    run_devices = devices.local_devices(config.n_devices)
    function, params, model_state = _network(source, tuple(sidecars), run_devices)
    images = source.images.images
    sizes = _sizes(function, source, images.shape[1:])
    files = LayerWriter(folder, sidecars, {layer: (len(images), sizes[layer]) for layer in sidecars})
    files.check_disk()
    stream = forward.Stream(function, run_devices)
    batch_size = _batch_that_fits(config, stream, params, model_state, images, max(sizes, key=sizes.__getitem__))
    label = f'extract {source.name}'
    n_batches, first = -(-(len(images) - files.n_rows) // batch_size), files.n_rows
    progress = progress_line.Progress(n_batches, 0, batch_size, label=label)
    if first:
        logging.info('Going on after %d of %d images.', first, len(images))
    try:
        for number, (row, values) in enumerate(stream.batches(params, model_state, images, batch_size, first=first)):
            files.write(row, values)
            progress.update(number + 1)
    finally:
        progress.close()
        files.close()
    files.finish()


def _network(source: _Source, layers: tuple[str, ...], run_devices: list[jax.Device]) -> tuple[Any, Any, Any]:
    """`(params, model_state, uint8 images) -> {layer: [b, d]}`, and its first two arguments on the devices."""
    captured = [layer for layer in layers if layer != PIXELS]
    opened = source.opened

    def function(params: Any, model_state: Any, image: jax.Array) -> dict[str, jax.Array]:
        values: dict[str, jax.Array] = {}
        if captured and opened is not None:
            variables = {'params': params, **model_state}
            prepared = opened.setup.prepare_plain(image, None)
            values |= models.capture(opened.setup.model, variables, prepared, captured)
        if PIXELS in layers:
            values[PIXELS] = image.astype(np.float32) / 255.0
        return {layer: value.reshape(len(value), -1) for layer, value in values.items()}

    if not captured or opened is None:
        return function, {}, {}
    params, model_state = devices.replicate((opened.state.params, opened.state.model_state), run_devices)
    return function, params, model_state


def _sizes(function: Any, source: _Source, image_shape: tuple[int, ...]) -> dict[str, int]:
    """Values per image of each layer; nothing is computed."""
    state = source.opened.state if source.opened else None
    one = jax.ShapeDtypeStruct((1, *image_shape), np.uint8)
    shapes = jax.eval_shape(function, state.params if state else {}, state.model_state if state else {}, one)
    return {layer: int(shape.shape[1]) for layer, shape in shapes.items()}


def _batch_that_fits(
    config: ConfigDict, stream: forward.Stream, params: Any, model_state: Any, images: np.ndarray, biggest: str
) -> int:
    """The largest batch, `config.batch_size` halved as often as needed, with which the limit is kept.

    Raises:
        ValueError: Not even one image per device fits.
    """
    limit = int(config.max_memory_gb * 1e9)
    n_devices = len(devices.local_devices(config.n_devices))
    if config.batch_size < 1:
        raise ValueError(f'config.batch_size must be at least 1, not {config.batch_size}.')
    size = -(-min(config.batch_size, len(images)) // n_devices) * n_devices
    if (peak := memory.held_bytes('VmHWM')) > limit:
        raise ValueError(
            f'config.max_memory_gb={config.max_memory_gb:g} is not enough: with images and checkpoint read, but no '
            f'layer yet, the process held {peak / 1e9:.2f} GB. Raise the limit above that.'
        )
    while True:
        needed = int(1.1 * stream.bytes_needed(params, model_state, images, size)) + _SLACK_BYTES
        used = memory.held_bytes()
        if used + needed <= limit:
            if size < config.batch_size and size < len(images):
                logging.info('Batches of %d images: %d do not fit into %.3g GB.', size, config.batch_size, limit / 1e9)
            return size
        if size == n_devices:
            raise ValueError(
                f'config.max_memory_gb={config.max_memory_gb:g} is not enough: network and images take '
                f'{used / 1e9:.2f} GB, and a batch of {size} image(s), one per device, {needed / 1e9:.2f} GB more (the '
                f'biggest layer is {biggest!r}). Raise the limit to {(used + needed) / 1e9:.2f} or more.'
            )
        size = max(size // 2 // n_devices, 1) * n_devices
