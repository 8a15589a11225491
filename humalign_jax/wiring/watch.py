"""Alignment watched during training: a fixed set of probe images, people's answers to them, and a few scores of both.

CIFAR-10H has answers to test images only. Watching changes nothing and leaves nothing out; but once the best checkpoint
is chosen by alignment, the probe images have had their say, and the run never scores them (`choose_probe`).
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import numpy as np
import scipy.special
from absl import logging
from ml_collections import ConfigDict
from scipy.spatial.distance import pdist

from humalign_jax import models, rsa, settings
from humalign_jax.data import pipeline, splits
from humalign_jax.human_data import Answers
from humalign_jax.records import ImageSet
from humalign_jax.train import batches, forward
from humalign_jax.train.state import TrainState
from humalign_jax.wiring import people

OFF = {'every_epochs': 0.0, 'n_images': 0, 'layer': '', 'human': ''}
# Where each source of answers has its images: of which data set, of which split.
_HUMANS = {'cifar10h': ('cifar10', 'test'), 'synthetic': ('synthetic', 'validation')}
_MODES = {'alignment/rsa': 'max', 'alignment/rsa_partial': 'max', 'alignment/cross_entropy': 'min'}


@dataclasses.dataclass(frozen=True)
class Probe:
    """The images on which alignment is watched.

    Attributes:
        images: In the order in which they are shown.
        layer: Whose RDM is compared, `config.watch.layer`.
        human: Source of people's answers, `config.watch.human`.
        n_left_out: How many of them are test images that are not scored, because alignment with them chooses the
            checkpoint.
    """

    images: ImageSet
    layer: str
    human: str
    n_left_out: int

    def answers(self, root: str) -> Answers:
        """People's answers, in the order of the images, joined by id; `root` is the folder with the data."""
        images = self.images
        if self.human == 'synthetic':
            counts = images.extras['counts']
            return Answers(counts, images.ids, images.class_names, 'simulated observers', simulated=True)
        answers = people.load_answers(self.human, root=root)
        return people.matched(answers, images.ids, images.labels, images.class_names)


def choose_probe(
    section: ConfigDict, images: Mapping[str, ImageSet], *, source: str, best_metric: str, seed: int
) -> tuple[Probe | None, dict[str, ImageSet]]:
    """The probe images, stratified by class, and the image sets that may still be scored.

    Args:
        section: `config.watch`.
        images: Image sets by split.
        source: `config.data.name`.
        best_metric: `config.train.best_metric`.
        seed: Decides which images.

    Returns:
        The probe, None if nothing is watched; and the image sets, test without the probe's images if alignment with
        them chooses the checkpoint.

    Raises:
        ValueError: The section is wrong, or there are not that many images.
    """
    settings.check_keys(section, OFF, 'config.watch')
    chooses = best_metric.startswith('alignment/')
    if section.every_epochs == 0:
        if chooses:
            raise ValueError(
                f'config.train.best_metric={best_metric!r} needs alignment to be watched: set '
                'config.watch.every_epochs.'
            )
        return None, dict(images)
    if section.human not in _HUMANS:
        raise ValueError(f'config.watch.human={section.human!r}:{settings.nearest(section.human, _HUMANS)}')
    name, split = _HUMANS[section.human]
    if source != name:
        raise ValueError(
            f'config.watch.human={section.human!r} has answers to images of {name!r}, but config.data.name is '
            f'{source!r}: change one of them, or set config.watch.every_epochs=0.'
        )
    everything, leaves_out = images[split], chooses and split == 'test'
    if not 2 < section.n_images <= len(everything) - leaves_out:
        raise ValueError(
            f'config.watch.n_images must be 3 to {len(everything) - leaves_out} of the {len(everything)} {split} '
            f'images, not {section.n_images}.'
        )
    rest, chosen = None, everything
    if section.n_images < len(everything):
        rest, chosen = splits.stratified_split(everything, section.n_images, seed)
        chosen = dataclasses.replace(chosen, split=split)  # it keeps its test ids
    probe = Probe(chosen, section.layer, section.human, len(chosen) if leaves_out else 0)
    if not leaves_out:
        return probe, dict(images)
    assert rest is not None
    logging.info(
        'Alignment with %d test images chooses the checkpoint: they are left out of all scores, %d remain.',
        len(chosen), len(rest),
    )  # fmt: skip
    return probe, {**images, split: rest}


class Watch:
    """`state -> {column: value}` on the probe images; the state has a leading device axis.

    Columns: `alignment/rsa`, Spearman of the layer's correlation-distance RDM with people's cosine RDM;
    `alignment/rsa_partial`, the same with the same/different RDM of the classes partialled out; for classifiers
    `alignment/cross_entropy` to people's answers, in nats; and the ceilings of the two first from split halves of the
    answers, `_ceiling_lower` (reliability) and `_ceiling_upper` (its root). A score that is not defined, such as that
    of a layer that answers to some image with zeros alone, is left out.

    Attributes:
        split: Name of its rows in `metrics.jsonl`.
        bands: Columns with a ceiling.
        modes: Columns that may choose the best checkpoint: 'min' or 'max', by name.
    """

    split = 'probe'
    bands = ('alignment/rsa', 'alignment/rsa_partial')

    def __init__(
        self,
        model: nn.Module,
        probe: Probe,
        answers: Answers,
        *,
        prepare: pipeline.Prepare,
        batch_size: int,
        devices: Sequence[jax.Device],
        seed: int,
    ):
        """Ranks people's RDM and computes the ceilings, once.

        Args:
            model: For one device.
            probe: Images, and the layer whose RDM is compared.
            answers: Answers to them, in the same order.
            prepare: Preprocessing without augmentation.
            batch_size: Images at a time, over all devices.
            devices: Where to run.
            seed: Of the split halves.

        Raises:
            ValueError: The model has no such layer.
        """
        images, layer = probe.images, probe.layer
        names = models.layer_names(model, images.images.shape[1:])
        if layer not in names:
            raise ValueError(f'config.watch.layer={layer!r} is no layer of the model.{settings.nearest(layer, names)}')
        wanted = (layer, 'logits') if 'logits' in names else (layer,)

        def function(params: Any, model_state: Any, batch: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
            values = models.capture(model, {'params': params, **model_state}, batch['image'], wanted)
            return {name: value.reshape(len(value), -1) for name, value in values.items()}

        self._layer, self._devices = layer, list(devices)
        self._probabilities = answers.probabilities
        examples = batches.Examples(len(images), pipeline.resident_arrays(images), pipeline.make_image_batch(prepare))
        self._forward = forward.Forward(function, examples, batch_size=batch_size, devices=devices)
        # As `rsa.split_half` makes its RDMs: most people agree, and distances of 1 must tie at 1.
        self._human = _unit_ranks(pdist(answers.probabilities, 'cosine').astype(np.float32))
        self._category = _unit_ranks(rsa.category_rdm(images.labels))
        self._ceilings = {}
        for name, pairs in zip(self.bands, ('all', 'partial')):
            half = rsa.split_half(answers.counts, labels=images.labels, pairs=pairs, seed=seed)
            self._ceilings[f'{name}_ceiling_lower'] = half.reliability
            self._ceilings[f'{name}_ceiling_upper'] = half.ceiling
        self.modes = {name: mode for name, mode in _MODES.items() if name in self.bands or 'logits' in wanted}

    def __call__(self, state: TrainState) -> dict[str, float]:
        """The scores of a state."""
        values = self._forward(state.params, state.model_state)
        scores: dict[str, float] = {}
        distances = rsa.rdm(values[self._layer], 'correlation', nan_policy='propagate', devices=self._devices)
        if np.isfinite(distances).all() and np.ptp(distances) > 0:
            ranks = _unit_ranks(distances)
            human, category = float(ranks @ self._human), float(ranks @ self._category)
            between = float(self._human @ self._category)
            spread = (1.0 - category**2) * (1.0 - between**2)
            scores['alignment/rsa'] = human
            if spread > 0:
                scores['alignment/rsa_partial'] = (human - category * between) / float(np.sqrt(spread))
        if 'alignment/cross_entropy' in self.modes:
            log_probabilities = scipy.special.log_softmax(np.asarray(values['logits'], np.float64), axis=1)
            scores['alignment/cross_entropy'] = float(-(self._probabilities * log_probabilities).sum(axis=1).mean())
        return {**scores, **self._ceilings}


def _unit_ranks(rdm: np.ndarray) -> np.ndarray:
    """Ranks, centred and of unit length, so that a product of two is Spearman's correlation: [p] -> [p] float64."""
    ranks = rsa.average_ranks(rdm).astype(np.float64)
    ranks -= ranks.mean()
    return ranks / np.linalg.norm(ranks)
