"""What each channel of a classifier with a decoder carries: every channel kept alone, and every channel dropped.

Leaves `scores.jsonl`, and in a folder for each run `<layer>.npy` and `all_channels.npy` (values of each test image, see
`interpret.channels.VALUES`) and `figures/`, whose pictures show images of the data set, under its licence.
"""

import inspect
import itertools
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from ml_collections import ConfigDict

from humalign_jax import devices, models, settings, storage
from humalign_jax.alignment import scoring
from humalign_jax.interpret import channels
from humalign_jax.records import ImageSet, Score
from humalign_jax.report.plots import channels as channel_figures
from humalign_jax.report.plots import style
from humalign_jax.train import forward
from humalign_jax.wiring import runs, training
from humalign_jax.wiring.images import examples

SECTIONS = ('experiment', 'seed', 'run', 'checkpoint', 'names', 'batch_size', 'n_devices', 'pictures')
LAYERS = ('z1', 'z2')  # whose channels the model's argument `keep` multiplies
_DONE = {'keep_only': 'one channel of {} kept, the others dropped', 'drop_one': 'one channel of {} dropped'}
_CORRECT = channels.VALUES.index('correct')
_UNITS = {  # of the means of columns of `channels.VALUES`, and the better direction
    'mse': ('squared units of the preprocessed images', 'smaller'),
    'mse_to_full': ('squared units of the preprocessed images', 'smaller'),
    'psnr': ('dB', 'larger'),
}


def run(config: ConfigDict, workdir: str) -> None:
    """Scores and draws the channels of the run in `config.run`, or of several whose folders stand between commas."""
    settings.check_keys(config, SECTIONS, 'config')
    settings.check_keys(config.pictures, ('ids',), 'config.pictures')
    folder, scores = pathlib.Path(workdir), []
    for name, run_folder in _named(config):
        scores += _of_run(config, folder / name, run_folder, name)
    training.write_scores(folder, scores)


def _named(config: ConfigDict) -> list[tuple[str, str]]:
    """(name, folder) of every run; a run without a name in the config is called as its folder is.

    Raises:
        ValueError: There are other than one name for each run, or two runs have one name.
    """
    folders = [part.strip() for part in config.run.split(',') if part.strip()]
    names = tuple(config.names) or tuple(pathlib.Path(folder).resolve().name for folder in folders)
    if not folders or len(names) != len(folders):
        raise ValueError(f'config.names={names} must name each of the {len(folders)} runs in config.run.')
    if len(set(storage.file_names(names))) < len(names) or storage.file_names(names) != list(names):
        raise ValueError(f'config.names={names} must be different and fit for names of folders.')
    return list(zip(names, folders))


def _of_run(config: ConfigDict, folder: pathlib.Path, run_folder: str, name: str) -> list[Score]:
    """Scores of the channels of one run; its arrays and figures go into the folder."""
    opened = runs.open_run(run_folder, str(config.checkpoint))
    network, n_channels = _network(opened), _n_channels(opened)
    test, setup = opened.setup.images['test'], opened.setup
    data_range = _data_range(opened)
    provenance = {
        'experiment': config.experiment,
        'model': name,
        'data': f'{test.name}/test',
        'human': 'none',  # no people take part
        'simulated': test.simulated,
        'stimuli_sha256': storage.array_digest(test.ids),
        'images_sha256': storage.array_digest(test.images),
        **test.provenance,
        'run': str(run_folder),
        'unpool': str(getattr(setup.model, 'unpool', '')),
        'checkpoint_step': int(opened.state.step),
        'seed': config.seed,
    }

    def measured(params, model_state, batch):
        variables, labels = {'params': params, **model_state}, batch['label']
        full, by_layer = channels.measure(network, variables, batch['image'], labels, n_channels, data_range=data_range)
        return {'full': full, **dict(zip(LAYERS, by_layer))}

    used = devices.local_devices(config.n_devices, where='config.n_devices')
    values = forward.Forward(measured, examples(test, setup.prepare_plain), batch_size=config.batch_size, devices=used)(
        *devices.replicate((opened.state.params, opened.state.model_state), used)
    )
    full, by_layer = values['full'], {layer: values[layer] for layer in LAYERS}
    logging.info('Channels of %s are measured on %d images.', name, len(test))
    sidecar = {'ids': test.ids, 'values': channels.VALUES, **provenance}
    storage.write_array(folder / 'all_channels.npy', full, {'axes': ['image', 'value'], **sidecar})
    for layer, of_layer in by_layer.items():
        axes = ['image', 'mode', 'channel', 'value']
        more = {'axes': axes, 'modes': channels.MODES, 'layer': layer, **sidecar}
        storage.write_array(folder / f'{layer}.npy', of_layer, more)
    scores = channel_scores(full, by_layer, provenance)
    for layer in LAYERS:
        mark = ' (simulated)' if test.simulated else ''
        bars = channel_figures.bars_of([score for score in scores if score.provenance.get('layer') == layer])
        figure = channel_figures.draw_bars(bars, title=f'{name}, channels of {layer}, {len(test)} images{mark}')
        style.save_figure(figure, folder / 'figures' / f'bars_{layer}')
    for stimulus in settings.plain(config.pictures.ids):
        _draw(opened, network, n_channels, stimulus, folder / 'figures', name, data_range)
    return scores


def channel_scores(full: np.ndarray, by_layer: Mapping[str, np.ndarray], provenance: Mapping[str, Any]) -> list[Score]:
    """Scores of all channels together (`mode` is all), and of every channel kept alone or dropped.

    `channels/mse` (to the image), `channels/mse_to_full` (to the reconstruction from all channels), `channels/psnr` and
    `channels/accuracy` in each mode; of dropped channels also `channels/mse_rise` and `channels/accuracy_lost`, which
    are differences image by image from all channels. Provenance says `layer`, `channel` (from 0) and `mode`.

    Args:
        full: Values of each image with all channels, in the order of `channels.VALUES`, [n, 4].
        by_layer: The same for every mode and channel by name of the layer, [n, 2, m, 4].
        provenance: Provenance of every score.
    """
    scores = _averages(full, {**provenance, 'mode': 'all'})
    for layer, of_layer in by_layer.items():
        for (i, mode), channel in itertools.product(enumerate(channels.MODES), range(of_layer.shape[2])):
            values, said = of_layer[:, i, channel], {**provenance, 'layer': layer, 'channel': channel, 'mode': mode}
            scores += _averages(values, said, full)
            if mode == 'drop_one':
                scores += _losses(values, said, full)
    return scores


def _averages(values: np.ndarray, said: Mapping[str, Any], full: np.ndarray | None = None) -> list[Score]:
    """Averages over images, [n, 4]; `full`, the values with all channels, adds its average as `all_channels`."""
    scores = []
    for name, (unit, better) in _UNITS.items():
        if name == 'mse_to_full' and full is None:
            continue
        column, more = channels.VALUES.index(name), {**said, 'unit': unit, 'better': better}
        if full is not None and name != 'mse_to_full':
            more['all_channels'] = float(full[:, column].mean(dtype=np.float64))
        scores.append(scoring.mean(f'channels/{name}', values[:, column], more))
    right, more = values[:, _CORRECT], {**said, 'unit': 'share of images', 'better': 'larger'}
    if full is not None:
        more['all_channels'] = float(full[:, _CORRECT].mean(dtype=np.float64))
    return [*scores, scoring.proportion('channels/accuracy', int(right.sum()), len(right), more)]


def _losses(values: np.ndarray, said: Mapping[str, Any], full: np.ndarray) -> list[Score]:
    """What a dropped channel costs, image by image: rise in MSE and accuracy lost."""
    rise = values[:, 0].astype(np.float64) - full[:, 0]
    of_rise = {**said, 'unit': _UNITS['mse'][0], 'better': 'none'}
    of_lost = {**said, 'unit': 'share of images', 'better': 'none'}
    return [
        scoring.mean('channels/mse_rise', rise, of_rise),
        scoring.paired_difference('channels/accuracy_lost', full[:, _CORRECT], values[:, _CORRECT], of_lost),
    ]


def _network(opened: runs.OpenRun) -> channels.Forward:
    """The run's model as `interpret.channels` calls it.

    Raises:
        ValueError: The model has no channels that can be dropped, or no decoder.
    """
    model = opened.setup.model
    if 'keep' not in inspect.signature(type(model).__call__).parameters:
        raise ValueError(
            f'{opened.folder} is a run of {opened.config.model.name!r}, whose channels cannot be dropped: give a run '
            'of configs/deconv.py as config.run.'
        )

    def network(variables: Any, images: jax.Array, factors: Sequence[jax.Array]) -> tuple[jax.Array, jax.Array]:
        out = model.apply(variables, images, train=False, keep=tuple(factors))
        logits, recon = cast(tuple[jax.Array, jax.Array | None], out)
        if recon is None:
            raise ValueError(f'{opened.folder} was trained without a decoder: there are no reconstructions to compare.')
        return logits, recon

    return network


def _variables(opened: runs.OpenRun) -> dict[str, Any]:
    return {'params': opened.state.params, **opened.state.model_state}


def _n_channels(opened: runs.OpenRun) -> tuple[int, ...]:
    """Number of channels of each layer of `LAYERS`."""
    image = jax.ShapeDtypeStruct((1, *opened.setup.images['test'].images.shape[1:]), jnp.float32)
    model = opened.setup.model
    found = jax.eval_shape(lambda v, x: models.capture(model, v, x, LAYERS), _variables(opened), image)
    return tuple(found[layer].shape[-1] for layer in LAYERS)


def _data_range(opened: runs.OpenRun) -> float:
    """Largest minus smallest possible value of a preprocessed pixel.

    Raises:
        ValueError: It differs between colours.
    """
    std = tuple(opened.config.preprocess.std)
    if len(set(std)) > 1:
        raise ValueError(f'{opened.folder} was trained with std {std}: PSNR needs one std for all colours.')
    return 1.0 / std[0]


def _find(opened: runs.OpenRun, stimulus: str) -> tuple[ImageSet, int]:
    """The image set with this id, and its row there.

    Raises:
        ValueError: No split has it.
    """
    for images in opened.setup.images.values():
        rows = np.flatnonzero(images.ids == stimulus)
        if len(rows):
            return images, int(rows[0])
    known = ', '.join(str(images.ids[0]) for images in opened.setup.images.values())
    raise ValueError(f'config.pictures.ids has {stimulus!r}, which {opened.folder} does not: ids are such as {known}.')


def _draw(
    opened: runs.OpenRun,
    network: channels.Forward,
    n_channels: Sequence[int],
    stimulus: str,
    folder: pathlib.Path,
    name: str,
    data_range: float,
) -> None:
    """Figures of one image for every layer, mode and range, each with a JSON file that says what it shows."""
    images, row = _find(opened, stimulus)
    label = images.class_names[images.labels[row]]
    mean, std = (np.asarray(opened.config.preprocess[key], np.float32) for key in ('mean', 'std'))

    @jax.jit
    def outputs(variables, image, labels):
        recon = network(variables, image, tuple(jnp.ones(n) for n in n_channels))[1]
        isolated = [channels.isolate(network, variables, image, n_channels, i)[1] for i in range(len(LAYERS))]
        values = channels.measure(network, variables, image, labels, n_channels, data_range=data_range)
        return recon, isolated, values

    image = opened.setup.prepare_plain(jnp.asarray(images.images[row : row + 1]), None)
    recon, isolated, (full, by_layer) = jax.device_get(
        outputs(_variables(opened), image, jnp.asarray(images.labels[row : row + 1]))
    )
    originals = images.images[row] / np.float32(255), recon[0] * std + mean
    columns = [channels.VALUES.index(value) for value in ('mse', 'psnr')]
    stem, mark = storage.file_names([stimulus])[0], ' (simulated)' if images.simulated else ''
    for (i, layer), (j, mode), scaling in itertools.product(
        enumerate(LAYERS), enumerate(channels.MODES), channel_figures.RANGES
    ):
        done = _DONE[mode].format(layer)
        figure = channel_figures.draw_channels(
            originals,
            isolated[i][j, :, 0] * std + mean,
            np.concatenate([full[:, columns], by_layer[i][0, j][:, columns]]),
            title=f'{name}, {stimulus}, {label}{mark}: {done}',
            scaling=scaling,
        )
        path = folder / f'{stem}_{layer}_{mode}_{scaling}'
        style.save_figure(figure, path)
        described = {
            'picture': 'channels',
            'model': name,
            'id': stimulus,
            'label': label,
            'layer': layer,
            'mode': mode,
            'range': scaling,
            'simulated': images.simulated,
            'caption': f'{stimulus} ({label}), {done}; {channel_figures.RANGES[scaling]}',
            'mse': by_layer[i][0, j][:, 0],
        }
        storage.write_json(path.with_suffix('.json'), described)
