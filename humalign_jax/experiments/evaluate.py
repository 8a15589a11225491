"""Scores a checkpoint of a finished or running training run on one split."""

import pathlib

from absl import logging
from ml_collections import ConfigDict

from humalign_jax import settings
from humalign_jax.wiring import runs, training


def run(config: ConfigDict, workdir: str) -> None:
    """Scores `config.checkpoint` of the run in `config.run` on `config.split`, into this workdir's `scores.jsonl`."""
    settings.check_keys(config, ('experiment', 'seed', 'run', 'checkpoint', 'split'), 'config')
    if config.split not in ('train', 'validation', 'test'):
        raise ValueError(f'config.split={config.split!r} must be train, validation or test.')
    opened = runs.open_run(config.run, str(config.checkpoint))
    logging.info('Scoring the checkpoint of step %d of %s.', opened.state.step, opened.folder)
    training.score(opened.config, pathlib.Path(workdir), opened.setup, opened.task, opened.state, config.split)
