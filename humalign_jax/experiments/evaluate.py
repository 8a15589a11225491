"""Scores a checkpoint of a finished or running training run on one split."""

import pathlib

from absl import logging
from ml_collections import ConfigDict

from humalign_jax import settings
from humalign_jax.wiring import runs


def run(config: ConfigDict, workdir: str) -> None:
    """Scores `config.checkpoint` of the run in `config.run` on `config.split`, into this workdir's `scores.jsonl`."""
    settings.check_keys(config, ('experiment', 'seed', 'run', 'checkpoint', 'split'), 'config')
    if config.split not in ('train', 'validation', 'test'):
        raise ValueError(f'config.split={config.split!r} must be train, validation or test.')
    opened = runs.open_run(config.run, str(config.checkpoint))
    logging.info('Scoring the checkpoint of step %d of %s.', opened.state.step, opened.folder)
    if opened.task.score is None:
        raise ValueError(f'{opened.folder} is a run of {opened.config.experiment!r}, which has no scores.')
    opened.task.score(pathlib.Path(workdir), opened.state, config.split)
