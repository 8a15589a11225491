"""Trains a VAE, draws what it reconstructs and imagines, and scores its best checkpoint once on the test images."""

import pathlib
from collections.abc import Callable, Mapping
from typing import Any, cast

import jax
import numpy as np
from absl import logging
from ml_collections import ConfigDict

from humalign_jax import objectives, settings
from humalign_jax.alignment import scoring
from humalign_jax.report.plots import curves, pictures
from humalign_jax.train import loop, plan
from humalign_jax.train.state import TrainState
from humalign_jax.wiring import images, training

_N_PICTURES = 8

OVER_PROCESSES = True


def run(config: ConfigDict, workdir: str) -> None:
    """Trains by `config`, chooses the checkpoint on the validation images, and writes `scores.jsonl` on test."""
    folder, task = pathlib.Path(workdir), make_task(config)
    best = images.train_and_score(task, folder)
    curves.draw_curves(folder, {'l1': 'L1 (sum over pixel values)', 'kl': 'KL (nats)'})
    path = folder / 'figures' / 'samples.png'
    draw = make_drawing(task.setup)
    pictures.save_png(path, draw(jax.tree.map(lambda leaf: leaf[None], best))['samples'])
    logging.info('Originals, reconstructions and samples of the prior: %s', path)


def make_task(config: ConfigDict) -> loop.Task:
    """L1 + KL as `config.objective` says, and the scores of a VAE."""
    setup = images.read(config)
    section, steps_per_epoch = setup.objective, setup.recipe.plan.steps_per_epoch
    settings.check_keys(section, ('kl_weight', 'kl_warmup_epochs', 'pictures_every_epochs'), 'config.objective')
    pictures_every = plan.epochs_to_steps(section['pictures_every_epochs'], steps_per_epoch)

    def write_scores(
        folder: pathlib.Path, split: str, values: Mapping[str, np.ndarray], provenance: Mapping[str, Any]
    ) -> None:
        units = {'l1': 'sum over pixel values in [0, 1]', 'kl': 'nats', 'loss': 'l1 + kl_weight * kl'}
        scores = [scoring.mean(name, values[name], {**provenance, 'unit': unit}) for name, unit in units.items()]
        n_values = int(np.prod(setup.images[split].images.shape[1:]))
        unit = 'mean over pixel values in [0, 1]'
        scores.append(scoring.mean('mean_l1', values['l1'] / n_values, {**provenance, 'unit': unit}))
        training.write_scores(folder, scores)
        l1, kl, mean_l1 = scores[0], scores[1], scores[3]
        logging.info(
            '%s on %s: L1 %.2f (%.4f per pixel value), KL %.2f nats, n = %d, checkpoint of step %d.',
            setup.model_name, provenance['data'], l1.value, mean_l1.value, kl.value, l1.n,
            provenance['checkpoint_step'],
        )  # fmt: skip

    return images.make_task(
        setup,
        make_objective=lambda model: objectives.make_vae_objective(
            model,
            kl_weight=section['kl_weight'],
            kl_warmup_steps=plan.epochs_to_steps(section['kl_warmup_epochs'], steps_per_epoch),
        ),
        measure=objectives.make_vae_measure(setup.model, kl_weight=section['kl_weight']),
        metrics=('loss', 'l1', 'kl'),
        write_scores=write_scores,
        pictures=make_drawing(setup) if pictures_every else None,
        pictures_every=pictures_every,
    )


def make_drawing(setup: images.Setup) -> Callable[[TrainState], dict[str, np.ndarray]]:
    """`state -> {'samples': uint8 [h, w, 3]}`.

    The picture has 8 validation images, their reconstructions, and 8 samples of the prior, the same ones each time.
    The state has a device axis, of which the first is used.
    """
    originals = setup.images['validation'].images[:_N_PICTURES]
    model, key = setup.model, jax.random.key(setup.recipe.seed)

    @jax.jit
    def images_of(params, model_state, originals, key):
        variables = {'params': params, **model_state}
        out = model.apply(variables, setup.prepare_plain(originals, None), train=False)
        recon, mean, _ = cast(tuple[jax.Array, jax.Array, jax.Array], out)
        prior = jax.random.normal(key, (len(originals), mean.shape[-1]))
        return recon, model.apply(variables, prior, method='decode')

    def draw(state: TrainState) -> dict[str, np.ndarray]:
        first = jax.tree.map(lambda leaf: np.asarray(leaf[0]), (state.params, state.model_state))
        recon, sampled = jax.device_get(images_of(*first, originals, key))
        rows = [originals, *(np.rint(255 * np.clip(x, 0, 1)).astype(np.uint8) for x in (recon, sampled))]
        return {'samples': pictures.grid(rows)}

    return draw
