"""What a trained VAE keeps of its images: pictures, reconstruction scores, and the categories in its code."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any, cast

import jax
import numpy as np
from absl import logging
from ml_collections import ConfigDict

from humalign_jax import devices, losses, progress, rsa, settings, storage
from humalign_jax.alignment import linear_code, linear_probe, scoring
from humalign_jax.memory import check_memory
from humalign_jax.records import Features, ImageSet, Rdm, Score
from humalign_jax.report.plots import latents as latent_figures
from humalign_jax.report.plots import style
from humalign_jax.train import forward
from humalign_jax.wiring import foreign_codes, latent_pictures, layer_folders, runs, training
from humalign_jax.wiring.images import examples
from humalign_jax.wiring.rsa_entries import BYTES_PER_PAIR

SECTIONS = ('experiment', 'seed', 'run', 'checkpoint', 'codes', 'name', 'activity', 'pictures', 'probe', 'rsa')
_UNITS = {  # of the reconstruction scores, and which way is better
    'l1': ('sum over pixel values in [0, 1]', 'smaller'),
    'mean_l1': ('mean over pixel values in [0, 1]', 'smaller'),
    'psnr': ('dB', 'larger'),
    'ssim': ('', 'larger'),
}
_BATCH = 250  # images decoded at a time
_KL_SHARE = 0.9  # of all KL: the fewest latents that hold so much are also looked at by themselves


@dataclasses.dataclass(frozen=True)
class Codes:
    """What the VAE makes of the images.

    Attributes:
        mean: Mean code of each image by split, float32 [n, z].
        kl: KL divergence of each latent from the prior for each test image, in nats, float32 [n, z].
        fidelity: Reconstruction measures of the test images by name, each [n].
    """

    mean: Mapping[str, np.ndarray]
    kl: np.ndarray
    fidelity: Mapping[str, np.ndarray]


def run(config: ConfigDict, workdir: str) -> None:
    """Writes figures/, `reconstruction.npy`, `dimensions.npy` and `scores.jsonl` about the VAE in `config.run`.

    Of codes in `config.codes`, which have no images and no decoder, the scores that need neither.
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
        said, other = score.provenance, score.provenance.get('other', '')
        name = ' '.join(filter(None, [said['model'], said.get('layer', ''), other and f'less {other}']))
        logging.info('%s, %s: %.4g [%.4g, %.4g]', score.name, name, score.value, score.low, score.high)


def _run_scores(config: ConfigDict, folder: pathlib.Path) -> list[Score]:
    """Scores, arrays and pictures of the VAE in `config.run`."""
    latent_pictures.check(config.pictures)
    opened = _open_vae(config)
    test = opened.setup.images['test']
    provenance = _provenance(config, opened)
    codes = _codes(opened)
    kl, variance = codes.kl.mean(axis=0, dtype=np.float64), codes.mean['test'].var(axis=0, dtype=np.float64)
    informative = most_informative(kl)
    _write_arrays(folder, test, codes, kl, variance, provenance)

    train = opened.setup.images['train'].images
    linear = linear_code.fit_linear_code(train, min(len(kl), len(train), int(np.prod(train.shape[1:]))))
    n_components = sorted({min(n, linear.components.shape[1]) for n in (len(kl), len(informative))}, reverse=True)
    scores = _activity_scores(config, len(test), codes.kl, variance, provenance)
    scores += _reconstruction_scores(codes, linear, n_components, test, provenance)
    logging.info('Reconstructions are scored.')
    layers = _features(config, opened, codes, informative, linear)
    labels = {split: images.labels for split, images in opened.setup.images.items()}
    scores += _probe_scores(config, labels, len(test.class_names), layers, provenance)
    scores += _category_scores(config, test.labels, test.ids, layers, opened.task.recipe.devices, provenance)
    training.write_scores(folder, scores)
    latent_pictures.draw(config.pictures, folder / 'figures', opened, codes.mean['test'], kl, provenance)
    _draw_dimensions(config, folder / 'figures', kl, provenance, n_images=len(test))
    logging.info('Drawn: %s', folder / 'figures')
    return scores


def _foreign_scores(config: ConfigDict, folder: pathlib.Path) -> list[Score]:
    """Scores of the codes in `config.codes`, of a VAE trained elsewhere: what needs neither images nor decoder.

    Raises:
        ValueError: A folder lacks `mu` or labels, or an image is in two splits.
    """
    parts = foreign_codes.read_codes(config)
    ids = np.asarray(parts['test'][0].ids)
    mu, logvar, labels = parts['test']
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
    layers, kl = [_Layer(mean, {'layer': 'mu'})], None
    if logvar is not None:
        kl = np.asarray(losses.gaussian_kl(mean['test'][..., None], np.float32(logvar.values)[..., None]))
        informative = most_informative(kl.mean(axis=0, dtype=np.float64))
        layers += _informative(mean, informative)
    else:
        logging.warning('%s has no logvar: no KL divergence is scored.', config.codes.test)
    variance = mean['test'].var(axis=0, dtype=np.float64)
    scores = _activity_scores(config, len(mu.ids), kl, variance, provenance)
    of_splits = {split: part.values for split, (_, _, part) in parts.items()}
    scores += _probe_scores(
        config, of_splits, 1 + max(int(one.max()) for one in of_splits.values()), layers, provenance
    )
    scores += _category_scores(config, labels.values, ids, layers, devices.local_devices(0), provenance)
    training.write_scores(folder, scores)
    if kl is not None:
        of_latents = kl.mean(axis=0, dtype=np.float64)
        _draw_dimensions(config, folder / 'figures', of_latents, provenance, n_images=len(kl))
    return scores


def most_informative(kl: np.ndarray) -> np.ndarray:
    """The fewest latents that hold 90 % of all KL, the most informative first: [z] nats -> [m] int64.

    A threshold in nats counts every latent of a briefly trained VAE, although most of them carry next to nothing.
    """
    order = np.argsort(-kl, kind='stable')
    held = np.cumsum(kl[order])
    return order[: int(np.searchsorted(held, _KL_SHARE * held[-1])) + 1]


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
    """What every score says about itself."""
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
    """Mean codes of all images, and what the test images become on the way through the code."""
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
    return Codes(mean, found['test']['kl'], {name: found['test'][name] for name in _UNITS})


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


def _activity_scores(
    config: ConfigDict, n: int, kl: np.ndarray | None, variance: np.ndarray, provenance: Mapping[str, Any]
) -> list[Score]:
    """Information in the code of n images, and how many latents carry any; KL [n, z] if it is known, variances [z].

    References:
        Burda, Grosse & Salakhutdinov (2016) count latents by the variance of their means. arXiv:1509.00519
    """

    def count(name: str, active: np.ndarray, criterion: str) -> Score:
        nan, unit = float('nan'), f'latents of {len(variance)}'
        said = {**provenance, 'layer': 'mu', 'better': 'none', 'unit': unit, 'criterion': criterion}
        return Score(name, float(active.sum()), nan, nan, n, 'none: a count', provenance=said)

    by_kl, by_variance = config.activity.kl_nats, config.activity.mean_variance
    units = count('vae/active_units', variance > by_variance, f'variance of the mean above {by_variance}')
    if kl is None:
        return [units]
    of_latents = kl.mean(axis=0, dtype=np.float64)
    informative = np.isin(np.arange(len(of_latents)), most_informative(of_latents))
    said = {**provenance, 'layer': 'mu', 'better': 'none', 'unit': 'nats'}
    return [
        scoring.mean('vae/kl', kl.sum(axis=1), said),
        count('vae/active_dimensions', of_latents > by_kl, f'KL above {by_kl} nats'),
        units,
        count('vae/informative_latents', informative, 'fewest with 90 % of all KL'),
    ]


def _reconstruction_scores(
    codes: Codes,
    linear: linear_code.LinearCode,
    n_components: list[int],
    test: ImageSet,
    provenance: Mapping[str, Any],
) -> list[Score]:
    """The VAE's, those of the mean training image and of principal components, and the VAE's lead over the latter."""
    measure = jax.jit(_fidelity)

    def of_linear(n_kept: int) -> dict[str, np.ndarray]:
        parts = []
        for i in range(0, len(test), _BATCH):
            images = test.images[i : i + _BATCH]
            recon = linear.decode(linear.encode(images)[:, :n_kept])
            parts.append(jax.device_get(measure(recon, images.astype(np.float32) / np.float32(255))))
        return {name: np.concatenate([part[name] for part in parts]) for name in _UNITS}

    rows = {provenance['model']: codes.fidelity, 'mean training image': of_linear(0)}
    rows.update({_pca_name(n): of_linear(n) for n in n_components})
    scores = []
    for name, (unit, better) in _UNITS.items():
        said = {**provenance, 'unit': unit, 'better': better}
        for model, values in rows.items():
            anchor = {} if model == provenance['model'] else {'anchor': True}
            scores.append(scoring.mean(f'vae/{name}', values[name], {**said, 'model': model, **anchor}))
        for n in n_components:
            lead = np.asarray(codes.fidelity[name], np.float64) - rows[_pca_name(n)][name]
            scores.append(scoring.mean(f'vae/{name}/difference', lead, {**said, 'other': _pca_name(n)}))
    return scores


def _pca_name(n_components: int) -> str:
    return f'PCA, {n_components} components'


@dataclasses.dataclass(frozen=True)
class _Layer:
    """Features of every split, [n, d], and how their scores are signed."""

    values: Mapping[str, np.ndarray]
    said: Mapping[str, Any]


def _features(
    config: ConfigDict, opened: runs.OpenRun, codes: Codes, informative: np.ndarray, linear: linear_code.LinearCode
) -> list[_Layer]:
    """The code, its informative latents, and as anchors the linear code and the pixels; the code comes first.

    Standardising the code blows up latents that the decoder all but ignores, whose means may still tell something about
    the image: the informative ones are therefore read out by themselves, too.
    """
    images = opened.setup.images
    layers = [_Layer(codes.mean, {'layer': 'mu'}), *_informative(codes.mean, informative)]
    components = {split: linear.encode(of_split.images) for split, of_split in images.items()}
    pca = _pca_name(linear.components.shape[1])
    layers.append(_Layer(components, {'model': pca, 'layer': 'pca', 'anchor': True}))
    if config.probe.pixels:
        pixels = {split: of_split.images.reshape(len(of_split), -1) for split, of_split in images.items()}
        layers.append(_Layer(pixels, {'model': 'pixels', 'layer': 'pixels', 'anchor': True}))
    return layers


def _informative(mean: Mapping[str, np.ndarray], informative: np.ndarray) -> list[_Layer]:
    """The informative latents as a layer of their own, none if all are."""
    if len(informative) == mean['test'].shape[1]:
        return []
    name = f'mu, {len(informative)} informative latents'
    return [_Layer({split: values[:, informative] for split, values in mean.items()}, {'layer': name})]


def _probe_scores(
    config: ConfigDict,
    labels: Mapping[str, np.ndarray],
    n_classes: int,
    layers: list[_Layer],
    provenance: Mapping[str, Any],
) -> list[Score]:
    """Accuracy of a linear read-out of each layer on the test images, and the code's lead over the others."""
    n, name, right, scores = len(labels['test']), 'vae/linear_probe_accuracy', [], []
    for layer in layers:
        probes = linear_probe.fit_probes(
            layer.values['train'], labels['train'], config.probe.strengths, n_classes=n_classes
        )
        chosen, accuracies = linear_probe.choose_probe(probes, layer.values['validation'], labels['validation'])
        right.append(chosen.predict(layer.values['test']) == labels['test'])
        said = {
            **provenance,
            'unit': 'share of images',
            'better': 'larger',
            **layer.said,
            'n_features': layer.values['test'].shape[1],
            'l2': chosen.l2,
            'validation_accuracy': max(accuracies),
            'converged': chosen.converged,
        }
        scores.append(scoring.proportion(name, int(right[-1].sum()), n, said))
        logging.info('Probe of %s: accuracy %.4f with l2 = %g.', said['layer'], scores[-1].value, chosen.l2)
        if not chosen.converged:
            logging.warning('The probe of %s stopped after %d iterations.', said['layer'], chosen.n_iterations)
    for layer, other in zip(layers[1:], right[1:]):
        lead = right[0].astype(np.float64) - other
        said = {
            'layer': 'mu',
            'other': layer.said.get('model', provenance['model']),
            'other_layer': layer.said['layer'],
        }
        said = {**provenance, 'unit': 'share of images', 'better': 'larger', **said}
        scores.append(scoring.mean(f'{name}/difference', lead, said))
    return scores


def _category_scores(
    config: ConfigDict,
    labels: np.ndarray,
    ids: np.ndarray,
    layers: list[_Layer],
    run_devices: list[jax.Device],
    provenance: Mapping[str, Any],
) -> list[Score]:
    """Spearman correlation of each layer's RDM with the same/different RDM of the true classes."""
    n_pairs = len(ids) * (len(ids) - 1) // 2
    check_memory(n_pairs * BYTES_PER_PAIR, f'RDMs of {len(ids)} images', 'use a machine with more memory')
    same = rsa.Reference(Rdm(rsa.category_rdm(labels), ids, 'same category', 'hamming'))
    scores = []
    for measure in config.rsa.measures:
        scored, influences = [], []
        for layer in progress.each(layers, f'{measure} RDMs'):
            rdm = rsa.rdm(Features(layer.values['test'], ids, layer.said['layer']), measure, devices=run_devices)
            if n_undefined := rdm.provenance['counts']['n_undefined']:
                logging.warning(
                    '%s: %d images have constant features, for which %r is not defined: no RDM is scored.',
                    layer.said['layer'], n_undefined, measure,
                )  # fmt: skip
                continue
            scored.append(layer)
            influences.append(same.influence(rdm)['all'])
        if not scored:
            continue
        found = rsa.summarise_influence(influences, n_draws=100, seed=config.seed)
        for i, layer in enumerate(scored):
            said = {**provenance, 'better': 'larger', 'measure': measure, 'pairs': 'all', **layer.said}
            said['reference'] = 'same category'
            ends = float(found.values[i]), float(found.low[i]), float(found.high[i])
            interval = "infinitesimal jackknife over images, t of Fisher's z"
            scores.append(Score('vae/rsa_same_category', *ends, len(ids), interval, provenance=said))
    return scores
