"""Analysis of a trained VAE: pictures, reconstruction scores, information and categories in its code."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any, cast

import jax
import numpy as np
from absl import logging
from ml_collections import ConfigDict

from humalign_jax import devices, losses, settings, storage
from humalign_jax.alignment import code_scores, linear_code
from humalign_jax.alignment.code_scores import CodeFeatures
from humalign_jax.memory import check_memory
from humalign_jax.records import ImageSet, Score
from humalign_jax.report.plots import latents as latent_figures
from humalign_jax.report.plots import style
from humalign_jax.train import forward
from humalign_jax.wiring import foreign_codes, latent_pictures, layer_folders, runs, training
from humalign_jax.wiring.images import examples
from humalign_jax.wiring.representations import BYTES_PER_PAIR

SECTIONS = ('experiment', 'seed', 'run', 'checkpoint', 'codes', 'name', 'activity', 'pictures', 'probe', 'rsa')
_BATCH = 250  # images decoded at a time


@dataclasses.dataclass(frozen=True)
class Codes:
    """Codes of the images of a VAE, and its reconstructions.

    Attributes:
        mean: Mean code of each image by split, float32 [n, z].
        kl: KL divergence of each latent from the prior, for each test image, in nats, float32 [n, z].
        fidelity: Reconstruction measures of the test images by name, each [n].
    """

    mean: Mapping[str, np.ndarray]
    kl: np.ndarray
    fidelity: Mapping[str, np.ndarray]


def run(config: ConfigDict, workdir: str) -> None:
    """Writes figures/, `reconstruction.npy`, `dimensions.npy` and `scores.jsonl` about the VAE in `config.run`.

    If `config.codes` names codes, which come without images and decoder, only the scores that need neither are written.
    """
    settings.check_keys(config, SECTIONS, 'config')
    for section, keys in (
        ('activity', ('kl_nats', 'mean_variance')),
        ('pictures', latent_pictures.KEYS),
        ('probe', ('strengths', 'pixels')),
        ('rsa', ('measures',)),
    ):
        settings.check_keys(config[section], keys, f'config.{section}')
    settings.check_keys(config.codes, layer_folders.NO_CODES, 'config.codes')
    folder = pathlib.Path(workdir)
    if config.codes.test:
        scores = _foreign_scores(config, folder)
    else:
        scores = _run_scores(config, folder)
    for score in scores:
        provenance, other = score.provenance, score.provenance.get('other', '')
        name = ' '.join(filter(None, [provenance['model'], provenance.get('layer', ''), other and f'minus {other}']))
        logging.info('%s, %s: %.4g [%.4g, %.4g]', score.name, name, score.value, score.low, score.high)


def _run_scores(config: ConfigDict, folder: pathlib.Path) -> list[Score]:
    """Scores, arrays and pictures of the VAE in `config.run`."""
    latent_pictures.check(config.pictures)
    opened = _open_vae(config)
    test = opened.setup.images['test']
    provenance = _provenance(config, opened)
    codes = _codes(opened)
    kl, variance = codes.kl.mean(axis=0, dtype=np.float64), codes.mean['test'].var(axis=0, dtype=np.float64)
    informative = code_scores.most_informative(kl)
    _write_arrays(folder, test, codes, kl, variance, provenance)

    train = opened.setup.images['train'].images
    linear = linear_code.fit_linear_code(train, min(len(kl), len(train), int(np.prod(train.shape[1:]))))
    n_components = sorted({min(n, linear.components.shape[1]) for n in (len(kl), len(informative))}, reverse=True)
    scores = code_scores.activity_scores(codes.kl, variance, provenance, n=len(test), **settings.plain(config.activity))
    linear_fidelity = {_pca_name(n): _linear_fidelity(linear, n, test.images) for n in n_components}
    baselines = {'mean training image': _linear_fidelity(linear, 0, test.images), **linear_fidelity}
    scores += code_scores.reconstruction_scores(codes.fidelity, baselines, list(linear_fidelity), provenance)
    logging.info('Reconstructions are scored.')
    layers = _features(config, opened, codes, informative, linear)
    labels = {split: images.labels for split, images in opened.setup.images.items()}
    run_devices = opened.task.recipe.devices
    scores += _readout_scores(config, layers, labels, test.ids, len(test.class_names), run_devices, provenance)
    training.write_scores(folder, scores)
    latent_pictures.draw(config.pictures, folder / 'figures', opened, codes.mean['test'], kl, provenance)
    _draw_dimensions(config, folder / 'figures', kl, provenance, n_images=len(test))
    logging.info('Drawn: %s', folder / 'figures')
    return scores


def _foreign_scores(config: ConfigDict, folder: pathlib.Path) -> list[Score]:
    """Scores of the codes in `config.codes`, of a VAE trained elsewhere, that need neither images nor decoder.

    Raises:
        ValueError: A folder lacks `mu` or labels, or an image is in two splits.
    """
    parts = foreign_codes.read_codes(config)
    ids = np.asarray(parts['test'][0].ids)
    mu, logvar, _ = parts['test']
    provenance = {
        'experiment': config.experiment,
        'model': config.name,
        'data': '/'.join(str(ids[0]).split('/')[:-1]) or 'unnamed data',
        'human': 'none',  # no people take part
        'simulated': bool(mu.provenance.get('simulated')),
        'stimuli_sha256': storage.array_digest(ids),
        'codes_sha256': storage.array_digest(np.asarray(mu.values)),
        'seed': config.seed,
    }
    mean = {split: np.asarray(part.values, np.float32) for split, (part, _, _) in parts.items()}
    layers, kl = [CodeFeatures(mean, {'layer': 'mu'})], None
    if logvar is not None:
        kl = np.asarray(losses.gaussian_kl(mean['test'][..., None], np.float32(logvar.values)[..., None]))
        informative = code_scores.most_informative(kl.mean(axis=0, dtype=np.float64))
        layers += code_scores.informative_features(mean, informative)
    else:
        logging.warning('%s has no logvar: no KL divergence is scored.', config.codes.test)
    variance = mean['test'].var(axis=0, dtype=np.float64)
    scores = code_scores.activity_scores(kl, variance, provenance, n=len(mu.ids), **settings.plain(config.activity))
    of_splits = {split: part.values for split, (_, _, part) in parts.items()}
    n_classes = 1 + max(int(one.max()) for one in of_splits.values())
    scores += _readout_scores(config, layers, of_splits, ids, n_classes, devices.local_devices(0), provenance)
    training.write_scores(folder, scores)
    if kl is not None:
        of_latents = kl.mean(axis=0, dtype=np.float64)
        _draw_dimensions(config, folder / 'figures', of_latents, provenance, n_images=len(kl))
    return scores


def _open_vae(config: ConfigDict) -> runs.OpenRun:
    """The run of a VAE.

    Raises:
        ValueError: It is a run of something else, or its images are not in [0, 1] as the decoder's are.
    """
    opened = runs.open_run(config.run, str(config.checkpoint))
    if opened.config.experiment != 'train_vae':
        raise ValueError(
            f'{opened.folder} is a run of {opened.config.experiment!r}, which has no latents: give a run of '
            'configs/vae.py as config.run.'
        )
    preprocess = opened.config.preprocess
    if any(preprocess.mean) or any(std != 1 for std in preprocess.std):
        raise ValueError(
            f'{opened.folder} was trained on images with mean {tuple(preprocess.mean)} and std '
            f'{tuple(preprocess.std)} taken off, but PSNR and SSIM need images in [0, 1]: train with zeros and ones.'
        )
    logging.info('The checkpoint of step %d of %s.', opened.state.step, opened.folder)
    return opened


def _provenance(config: ConfigDict, opened: runs.OpenRun) -> dict[str, Any]:
    """Provenance of every score."""
    test = opened.setup.images['test']
    return {
        'experiment': config.experiment,
        'model': config.name,
        'data': f'{test.name}/test',
        'human': 'none',  # no people take part
        'simulated': test.simulated,
        'stimuli_sha256': storage.array_digest(test.ids),
        'images_sha256': storage.array_digest(test.images),
        **test.provenance,
        'run': str(config.run),
        'checkpoint_step': int(opened.state.step),
        'seed': config.seed,
    }


def _codes(opened: runs.OpenRun) -> Codes:
    """Mean codes of all images; KL divergences and reconstructions of the test images."""
    setup, model = opened.setup, opened.setup.model

    def mean_of(params, model_state, batch):
        return {'mean': model.apply({'params': params, **model_state}, batch['image'], method='encode')[0]}

    def everything_of(params, model_state, batch):
        out = model.apply({'params': params, **model_state}, batch['image'], train=False)
        recon, mean, logvar = cast(tuple[jax.Array, jax.Array, jax.Array], out)
        by_latent = losses.gaussian_kl(mean[..., None], logvar[..., None])  # [b, z, 1] -> [b, z]
        return {'mean': mean, 'kl': by_latent, **_fidelity(recon, batch['image'])}

    recipe = opened.task.recipe
    mapped = devices.replicate((opened.state.params, opened.state.model_state), recipe.devices)
    found = {
        split: forward.Forward(
            everything_of if split == 'test' else mean_of,
            examples(images, setup.prepare_plain),
            batch_size=recipe.batch_size,
            devices=recipe.devices,
        )(*mapped)
        for split, images in setup.images.items()
    }
    mean = {split: values['mean'] for split, values in found.items()}
    return Codes(mean, found['test']['kl'], {name: found['test'][name] for name in code_scores.UNITS})


def _fidelity(recon: jax.Array, image: jax.Array) -> dict[str, jax.Array]:
    """Reconstruction measures of each image: [b, h, w, c], [b, h, w, c] -> {name: [b]}."""
    l1 = losses.l1(recon, image)
    per_value = l1 / np.prod(image.shape[1:])
    return {'l1': l1, 'mean_l1': per_value, 'psnr': losses.psnr(recon, image), 'ssim': losses.ssim(recon, image)}


def _draw_dimensions(
    config: ConfigDict, folder: pathlib.Path, kl: np.ndarray, provenance: Mapping[str, Any], *, n_images: int
) -> None:
    """KL of every latent as a figure, with what it shows in a JSON file beside it."""
    threshold, mark = config.activity.kl_nats, ' (simulated)' if provenance['simulated'] else ''
    title = f'{config.name}, {provenance["data"]}{mark}, n = {n_images}'
    style.save_figure(latent_figures.draw_dimension_kl(kl, threshold=threshold, title=title), folder / 'dimensions')
    caption = f'KL divergence of each latent of {config.name} from the prior, most informative first'
    alt = (
        f'{int((kl > threshold).sum())} of {len(kl)} latents lie above {threshold:g} nats; the largest {kl.max():.2f}.'
    )
    storage.write_json(
        folder / 'dimensions.json', {'picture': 'dimensions', 'caption': caption, 'alt': alt, **provenance}
    )


def _write_arrays(
    folder: pathlib.Path,
    test: ImageSet,
    codes: Codes,
    kl: np.ndarray,
    variance: np.ndarray,
    provenance: Mapping[str, Any],
) -> None:
    """`reconstruction.npy` [n, 5] of the test images and `dimensions.npy` [z, 2], each with a sidecar."""
    columns = {**codes.fidelity, 'kl': codes.kl.sum(axis=1)}
    values = np.stack([np.asarray(column, np.float32) for column in columns.values()], axis=1)
    storage.write_array(
        folder / 'reconstruction.npy', values, {'ids': test.ids, 'columns': list(columns), **provenance}
    )
    names = ['kl_nats', 'variance_of_mean']
    storage.write_array(folder / 'dimensions.npy', np.stack([kl, variance], axis=1), {'columns': names, **provenance})


def _linear_fidelity(linear: linear_code.LinearCode, n_components: int, images: np.ndarray) -> dict[str, np.ndarray]:
    """Fidelity of the reconstructions from the first components of a linear code: uint8 [n, h, w, c] -> {name: [n]}."""
    measure, parts = jax.jit(_fidelity), []
    for i in range(0, len(images), _BATCH):
        chunk = images[i : i + _BATCH]
        recon = linear.decode(linear.encode(chunk)[:, :n_components])
        parts.append(jax.device_get(measure(recon, chunk.astype(np.float32) / np.float32(255))))
    return {name: np.concatenate([part[name] for part in parts]) for name in code_scores.UNITS}


def _readout_scores(
    config: ConfigDict,
    layers: list[CodeFeatures],
    labels: Mapping[str, np.ndarray],
    ids: np.ndarray,
    n_classes: int,
    run_devices: list[jax.Device],
    provenance: Mapping[str, Any],
) -> list[Score]:
    """Linear read-out of each layer, and categories in the geometry of the test images."""
    strengths = settings.plain(config.probe.strengths)
    scores = code_scores.probe_scores(layers, labels, strengths, provenance, n_classes=n_classes)
    needed = len(ids) * (len(ids) - 1) // 2 * BYTES_PER_PAIR
    check_memory(needed, f'RDMs of {len(ids)} images', 'use a machine with more memory')
    return scores + code_scores.category_scores(
        layers, labels['test'], ids, settings.plain(config.rsa.measures), provenance,
        devices=run_devices, seed=config.seed,
    )  # fmt: skip


def _pca_name(n_components: int) -> str:
    return f'PCA, {n_components} components'


def _features(
    config: ConfigDict, opened: runs.OpenRun, codes: Codes, informative: np.ndarray, linear: linear_code.LinearCode
) -> list[CodeFeatures]:
    """The code, its informative latents, and as baselines the linear code and the pixels; the code comes first.

    The probe standardises features, which inflates latents that the decoder almost ignores. The informative latents are
    therefore read out separately as well.
    """
    images = opened.setup.images
    layers = [CodeFeatures(codes.mean, {'layer': 'mu'})]
    layers += code_scores.informative_features(codes.mean, informative)
    components = {split: linear.encode(of_split.images) for split, of_split in images.items()}
    pca = _pca_name(linear.components.shape[1])
    layers.append(CodeFeatures(components, {'model': pca, 'layer': 'pca', 'baseline': True}))
    if config.probe.pixels:
        pixels = {split: of_split.images.reshape(len(of_split), -1) for split, of_split in images.items()}
        layers.append(CodeFeatures(pixels, {'model': 'pixels', 'layer': 'pixels', 'baseline': True}))
    return layers
