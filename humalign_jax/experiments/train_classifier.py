"""Trains a classifier and scores its best checkpoint once on the test images."""

import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from absl import logging
from ml_collections import ConfigDict

from humalign_jax import objectives, settings
from humalign_jax.report.plots import curves
from humalign_jax.train import loop
from humalign_jax.wiring import images, trained_on, training


def run(config: ConfigDict, workdir: str) -> None:
    """Trains by `config`, chooses the checkpoint on the validation images, and writes `scores.jsonl` on test."""
    folder, task = pathlib.Path(workdir), make_task(config)
    _check_several_classes(task.setup)
    trained_on.check_classes(folder, task.setup.images['train'], write=True)
    images.train_and_score(task, folder)
    curves.draw_curves(folder, {'loss': 'loss (nats)', 'accuracy': 'accuracy', 'learning_rate': 'learning rate'})


def make_task(config: ConfigDict) -> loop.Task:
    """Cross-entropy as `config.objective` says, and the scores of a classifier."""
    setup = images.read(config)

    def write_scores(
        folder: pathlib.Path, split: str, values: Mapping[str, np.ndarray], provenance: Mapping[str, Any]
    ) -> None:
        provenance = {**provenance, 'trained_towards': setup.target}
        scores = images.write_classification(folder, setup.images[split], values, provenance)
        training.write_scores(folder, scores)
        accuracy, loss = scores[0], scores[1]
        logging.info(
            '%s on %s: accuracy %.4f [%.4f, %.4f], loss %.4f nats, n = %d, checkpoint of step %d.',
            setup.model_name, provenance['data'], accuracy.value, accuracy.low, accuracy.high, loss.value, accuracy.n,
            provenance['checkpoint_step'],
        )  # fmt: skip

    return images.make_task(
        setup,
        make_objective=lambda model: settings.call(
            objectives.make_classification_objective, setup.objective, 'config.objective', model=model
        ),
        measure=objectives.make_classification_measure(setup.model),
        metrics=('loss', 'accuracy'),
        write_scores=write_scores,
    )


def _check_several_classes(setup: images.Setup) -> None:
    """Raises ValueError if the images are of one class only."""
    class_names = setup.images['train'].class_names
    if len(class_names) < 2:
        raise ValueError(
            f'the training images are all of one class, {"".join(class_names)!r}, but a classifier needs two or more: '
            f'does --config.data.root={setup.root} hold the folders of the splits or classes?'
        )
