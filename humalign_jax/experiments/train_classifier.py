"""Trains a classifier and scores its best checkpoint once on the test images."""

import pathlib

from ml_collections import ConfigDict

from humalign_jax.report.plots import curves
from humalign_jax.train import loop
from humalign_jax.wiring import classifiers, images, trained_on

OVER_PROCESSES = True


def run(config: ConfigDict, workdir: str) -> None:
    """Trains by `config`, chooses the checkpoint on the validation images, and writes `scores.jsonl` on test."""
    folder, task = pathlib.Path(workdir), make_task(config)
    classifiers.check_several_classes(task.setup)
    trained_on.check_classes(folder, task.setup.images['train'], write=True)
    images.train_and_score(task, folder)
    curves.draw_curves(folder, {'loss': 'loss (nats)', 'accuracy': 'accuracy', 'learning_rate': 'learning rate'})


def make_task(config: ConfigDict) -> loop.Task:
    """Cross-entropy as `config.objective` says, and the scores of a classifier."""
    setup = images.read(config)
    return classifiers.make_task(setup, {'trained_towards': setup.target})
