"""Trains a classifier with a deconvolution decoder, draws its reconstructions, and scores its best checkpoint on test.

`config.model.decoder=False` trains the classifier alone. Beside what every run of a classifier leaves, the workdir has:

- `metrics.jsonl`: rows of the splits train (means since the row before, of augmented images), validation (chooses the
  checkpoint) and test (for the curves only, if `config.objective.test_curves`), each with `loss`, `cross_entropy`,
  `accuracy` and, with a decoder, `mse`;
- `per_class.npy`, [k, 4]: precision, recall, F1 and number of images of each class;
- `pictures/reconstructions_epoch_000.png` and so on, before training (000) and every
  `config.objective.pictures_every_epochs`, each with a `.json` that names images and errors;
- `validation/scores.jsonl`: the scores of the validation images. Choose among runs by these.
"""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, cast

import jax
import numpy as np
from ml_collections import ConfigDict

from humalign_jax import losses, models, objectives, settings, storage
from humalign_jax.report.plots import curves, pictures, reconstructions
from humalign_jax.train import loop, plan
from humalign_jax.train.state import TrainState
from humalign_jax.wiring import classifiers, images

_N_PICTURES = 8

OVER_PROCESSES = True


def run(config: ConfigDict, workdir: str) -> None:
    """Trains by `config`, chooses the checkpoint on the validation images, and writes `scores.jsonl` on test."""
    folder = pathlib.Path(workdir)
    task = make_training_task(config, folder)
    best = images.train_and_score(task, folder)
    assert task.score is not None
    task.score(folder / 'validation', best, 'validation')
    labels = {'loss': 'loss', 'cross_entropy': 'cross-entropy (nats)', 'accuracy': 'accuracy'}
    if 'mse' in task.metrics:
        labels['mse'] = 'MSE (preprocessed pixels)'
    curves.draw_curves(folder, labels)


def make_training_task(config: ConfigDict, folder: pathlib.Path) -> loop.Task:
    """The task with pictures that are also written into the run's folder."""
    task = make_task(config)
    if not task.pictures_every:
        return task
    return dataclasses.replace(task, pictures=make_drawing(task.setup, config, folder / 'pictures'))


def make_task(config: ConfigDict) -> loop.Task:
    """Cross-entropy + weight * MSE as `config.objective` says, and the scores of classes and reconstructions."""
    setup = images.read(config)
    section, model = setup.objective, setup.model
    settings.check_keys(section, ('reconstruction_weight', 'pictures_every_epochs', 'test_curves'), 'config.objective')
    if not isinstance(model, models.Deconv):
        raise ValueError(f"train_deconv trains the model 'deconv', not config.model.name={setup.model_name!r}.")
    weight = section['reconstruction_weight']
    kept, unit, more = {'decoder': model.decoder}, 'cross-entropy in nats', {'cross_entropy': 'nats'}
    if model.decoder:
        kept |= {'unpool': model.unpool, 'reconstruction_weight': weight}
        unit = f'{unit} + {weight:g} * mse'
        more |= {'mse': 'mean over values of preprocessed pixels', 'psnr': 'dB, intensities in [0, 1]', 'ssim': ''}

    def write_scores(
        folder: pathlib.Path, split: str, values: Mapping[str, np.ndarray], provenance: Mapping[str, Any]
    ) -> None:
        provenance = {**provenance, 'trained_towards': setup.target, **kept}
        classifiers.write_scores(setup, folder, split, values, provenance, unit=unit, more=more)

    every = plan.epochs_to_steps(section['pictures_every_epochs'], setup.recipe.plan.steps_per_epoch)
    draws = model.decoder and every > 0
    return images.make_task(
        setup,
        make_objective=lambda model: objectives.make_deconv_objective(model, reconstruction_weight=weight),
        measure=objectives.make_deconv_measure(
            model, reconstruction_weight=weight, mean=config.preprocess.mean, std=config.preprocess.std
        ),
        metrics=('loss', 'cross_entropy', 'accuracy', *(('mse',) if model.decoder else ())),
        write_scores=write_scores,
        pictures=make_drawing(setup, config) if draws else None,
        pictures_every=every if draws else 0,
        test_curves=section['test_curves'],
    )


def make_drawing(
    setup: images.Setup, config: ConfigDict, folder: pathlib.Path | None = None
) -> Callable[[TrainState], dict[str, np.ndarray]]:
    """`state -> {'reconstructions': uint8 [h, w, 3]}` of the first 8 test images; written into `folder`, if given.

    The state has a device axis, of which the first is used.
    """
    shown, model, steps_per_epoch = setup.images['test'], setup.model, setup.recipe.plan.steps_per_epoch
    chosen = slice(0, _N_PICTURES)
    mean, std = (np.asarray(numbers, np.float32) for numbers in (config.preprocess.mean, config.preprocess.std))
    names = [shown.class_names[label] for label in shown.labels[chosen]]

    @jax.jit
    def reconstruct(params, model_state, originals):
        image = setup.prepare_plain(originals, None)
        out = model.apply({'params': params, **model_state}, image, train=False)
        recon = cast(tuple[jax.Array, jax.Array], out)[1]
        scale, shift = (numbers.reshape(1, 1, 1, -1) for numbers in (std, mean))
        seen, image = recon * scale + shift, image * scale + shift
        return image, seen, {'mse': losses.mse(recon, (image - shift) / scale), 'psnr': losses.psnr(seen, image)}

    def draw(state: TrainState) -> dict[str, np.ndarray]:
        params, model_state, step = jax.tree.map(
            lambda leaf: np.asarray(leaf[0]), (state.params, state.model_state, state.step)
        )
        originals, recon, errors = jax.device_get(reconstruct(params, model_state, shown.images[chosen]))
        epoch = f'{round(int(step) / steps_per_epoch, 2):03g}'
        notes = [f'{value:.1f} dB' for value in errors['psnr']]
        title = f'epoch {float(epoch):g}: PSNR above each reconstruction'
        picture = reconstructions.rendered(
            reconstructions.plot_reconstructions(originals, recon, names, notes, title=title)
        )
        if folder is not None:
            name = f'reconstructions_epoch_{epoch}'
            pictures.save_png(folder / f'{name}.png', picture)
            described = {
                'rows': ['originals', 'reconstructions clipped to [0, 1]', 'reconstructions, min-max of each image'],
                'data': shown.name,
                'simulated': shown.simulated,
                'ids': list(shown.ids[chosen]),
                'classes': names,
                'step': int(step),
                'epoch': float(epoch),
                **{name: [round(float(value), 6) for value in values] for name, values in errors.items()},
            }
            storage.write_json(folder / f'{name}.json', described)
        return {'reconstructions': picture}

    return draw
