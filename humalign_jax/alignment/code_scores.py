"""Scores of a code of images: its information, its reconstructions, and the categories in it."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from absl import logging

from humalign_jax import progress, rsa
from humalign_jax.alignment import linear_probe, scoring
from humalign_jax.records import Features, Rdm, Score

UNITS = {  # of the reconstruction scores, and the better direction
    'l1': ('sum over pixel values in [0, 1]', 'smaller'),
    'mean_l1': ('mean over pixel values in [0, 1]', 'smaller'),
    'psnr': ('dB', 'larger'),
    'ssim': ('', 'larger'),
}
_KL_SHARE = 0.9  # of the KL divergence of all latents, which defines the informative ones


@dataclasses.dataclass(frozen=True)
class CodeFeatures:
    """Features of the images of every split.

    Attributes:
        values: Features by split ('train', 'validation', 'test'), each [n, d].
        provenance: What identifies the features in a score: `layer`, and `model` and `baseline` where needed.
    """

    values: Mapping[str, np.ndarray]
    provenance: Mapping[str, Any]


def most_informative(kl: np.ndarray) -> np.ndarray:
    """The fewest latents that hold 90 % of the KL divergence, the most informative first: [z] nats -> [m] int64.

    A threshold in nats would count every latent of a briefly trained VAE, although most hold almost no information.
    """
    order = np.argsort(-kl, kind='stable')
    held = np.cumsum(kl[order])
    return order[: int(np.searchsorted(held, _KL_SHARE * held[-1])) + 1]


def informative_features(mean: Mapping[str, np.ndarray], informative: np.ndarray) -> list[CodeFeatures]:
    """The informative latents of mean codes by split, [n, z]; an empty list if all latents are informative."""
    if len(informative) == mean['test'].shape[1]:
        return []
    layer = f'mu, {len(informative)} informative latents'
    return [CodeFeatures({split: values[:, informative] for split, values in mean.items()}, {'layer': layer})]


def activity_scores(
    kl: np.ndarray | None,
    variance: np.ndarray,
    provenance: Mapping[str, Any],
    *,
    n: int,
    kl_nats: float,
    mean_variance: float,
) -> list[Score]:
    """KL divergence of the code from its prior, and numbers of active and informative latents.

    Args:
        kl: KL divergence of each latent for each image, in nats, [n, z]; None where it is not known.
        variance: Variance of each latent's mean over images, [z].
        provenance: Provenance of every score.
        n: Number of images.
        kl_nats: An active dimension has a larger mean KL divergence.
        mean_variance: An active unit has a larger variance.

    References:
        Burda, Grosse & Salakhutdinov (2016), active units by the variance of their means. arXiv:1509.00519
    """

    def count(name: str, active: np.ndarray, criterion: str) -> Score:
        nan, unit = float('nan'), f'latents of {len(variance)}'
        more = {**provenance, 'layer': 'mu', 'better': 'none', 'unit': unit, 'criterion': criterion}
        return Score(name, float(active.sum()), nan, nan, n, 'none: a count', provenance=more)

    units = count('vae/active_units', variance > mean_variance, f'variance of the mean above {mean_variance}')
    if kl is None:
        return [units]
    of_latents = kl.mean(axis=0, dtype=np.float64)
    informative = np.isin(np.arange(len(of_latents)), most_informative(of_latents))
    of_kl = {**provenance, 'layer': 'mu', 'better': 'none', 'unit': 'nats'}
    return [
        scoring.mean('vae/kl', kl.sum(axis=1), of_kl),
        count('vae/active_dimensions', of_latents > kl_nats, f'KL above {kl_nats} nats'),
        units,
        count('vae/informative_latents', informative, 'fewest with 90 % of all KL'),
    ]


def reconstruction_scores(
    fidelity: Mapping[str, np.ndarray],
    baselines: Mapping[str, Mapping[str, np.ndarray]],
    compared: Sequence[str],
    provenance: Mapping[str, Any],
) -> list[Score]:
    """Mean fidelity of the reconstructions of a model and of baselines, and differences from the model.

    Args:
        fidelity: Fidelity of each image by name of its measure, as in `UNITS`, each [n].
        baselines: The same by name of the baseline.
        compared: Baselines that are subtracted from the model, image by image.
        provenance: Provenance of every score; `model` is the model's name.
    """
    scores = []
    for name, (unit, better) in UNITS.items():
        of_measure = {**provenance, 'unit': unit, 'better': better}
        scores.append(scoring.mean(f'vae/{name}', fidelity[name], of_measure))
        for baseline, values in baselines.items():
            more = {**of_measure, 'model': baseline, 'baseline': True}
            scores.append(scoring.mean(f'vae/{name}', values[name], more))
        for baseline in compared:
            difference = np.asarray(fidelity[name], np.float64) - baselines[baseline][name]
            scores.append(scoring.mean(f'vae/{name}/difference', difference, {**of_measure, 'other': baseline}))
    return scores


def probe_scores(
    layers: Sequence[CodeFeatures],
    labels: Mapping[str, np.ndarray],
    strengths: Sequence[float],
    provenance: Mapping[str, Any],
    *,
    n_classes: int,
) -> list[Score]:
    """Accuracy of a linear read-out of each layer on the test images, and the first layer's minus the others'.

    Args:
        layers: The layers.
        labels: Classes by split, each [n].
        strengths: Strengths of the L2 penalty, one of which is chosen on the validation images.
        provenance: Provenance of every score.
        n_classes: Number of classes.
    """
    n, name, right, scores = len(labels['test']), 'vae/linear_probe_accuracy', [], []
    of_accuracy = {**provenance, 'unit': 'share of images', 'better': 'larger'}
    for layer in layers:
        probes = linear_probe.fit_probes(layer.values['train'], labels['train'], strengths, n_classes=n_classes)
        chosen, accuracies = linear_probe.choose_probe(probes, layer.values['validation'], labels['validation'])
        right.append(chosen.predict(layer.values['test']) == labels['test'])
        more = {
            **of_accuracy,
            **layer.provenance,
            'n_features': layer.values['test'].shape[1],
            'l2': chosen.l2,
            'validation_accuracy': max(accuracies),
            'converged': chosen.converged,
        }
        scores.append(scoring.proportion(name, int(right[-1].sum()), n, more))
        logging.info('Probe of %s: accuracy %.4f with l2 = %g.', more['layer'], scores[-1].value, chosen.l2)
        if not chosen.converged:
            logging.warning('The probe of %s stopped after %d iterations.', more['layer'], chosen.n_iterations)
    for layer, other in zip(layers[1:], right[1:]):
        difference = right[0].astype(np.float64) - other
        more = {
            **of_accuracy,
            'layer': 'mu',
            'other': layer.provenance.get('model', provenance['model']),
            'other_layer': layer.provenance['layer'],
        }
        scores.append(scoring.mean(f'{name}/difference', difference, more))
    return scores


def category_scores(
    layers: Sequence[CodeFeatures],
    labels: np.ndarray,
    ids: np.ndarray,
    measures: Sequence[str],
    provenance: Mapping[str, Any],
    *,
    devices: list[jax.Device],
    seed: int,
) -> list[Score]:
    """Spearman correlation of each layer's RDM with the same/different RDM of the true classes.

    Args:
        layers: The layers; the test images count.
        labels: Classes of the test images, [n].
        ids: Their ids, [n].
        measures: Distances between images, each of which gives a score.
        provenance: Provenance of every score.
        devices: Devices that compute RDMs.
        seed: Seed of the draws of the largest t.
    """
    same = rsa.Reference(Rdm(rsa.category_rdm(labels), ids, 'same category', 'hamming'))
    scores = []
    for measure in measures:
        scored, influences = [], []
        for layer in progress.each(layers, f'{measure} RDMs'):
            features = Features(layer.values['test'], ids, layer.provenance['layer'])
            rdm = rsa.rdm(features, measure, devices=devices)
            if n_undefined := rdm.provenance['counts']['n_undefined']:
                logging.warning(
                    '%s: %d images have constant features, for which %r is not defined: no RDM is scored.',
                    features.name, n_undefined, measure,
                )  # fmt: skip
                continue
            scored.append(layer)
            influences.append(same.influence(rdm)['all'])
        if not scored:
            continue
        found = rsa.summarise_influence(influences, n_draws=100, seed=seed)
        for i, layer in enumerate(scored):
            more = {**provenance, 'better': 'larger', 'measure': measure, 'pairs': 'all', **layer.provenance}
            more['reference'] = 'same category'
            ends = float(found.values[i]), float(found.low[i]), float(found.high[i])
            interval = "infinitesimal jackknife over images, t of Fisher's z"
            scores.append(Score('vae/rsa_same_category', *ends, len(ids), interval, provenance=more))
    return scores
