"""Scores a checkpoint of a finished or running training run on one split."""

import pathlib

from absl import logging
from ml_collections import ConfigDict

from humalign_jax import settings, storage
from humalign_jax.experiments import _wiring, train_classifier, train_vae

TRAINING = {'train_classifier': train_classifier, 'train_vae': train_vae}


def run(config: ConfigDict, workdir: str) -> None:
    """Scores `config.checkpoint` of the run in `config.run` on `config.split`, into this workdir's `scores.jsonl`."""
    settings.check_keys(config, ('experiment', 'seed', 'run', 'checkpoint', 'split'), 'config')
    if config.split not in ('train', 'validation', 'test'):
        raise ValueError(f'config.split={config.split!r} must be train, validation or test.')
    run_folder = pathlib.Path(config.run)
    if not (run_folder / 'config.json').exists():
        raise ValueError(
            f'config.run={config.run!r} is no run: {run_folder / "config.json"} does not exist. '
            'Give the --workdir of a training run.'
        )
    trained = ConfigDict(storage.read_json(run_folder / 'config.json'))
    if trained.get('experiment') not in TRAINING:
        raise ValueError(
            f'{run_folder} is a run of {trained.get("experiment")!r}, which leaves no checkpoint; '
            f'give a run of {" or ".join(TRAINING)}.'
        )
    setup = _wiring.set_up(trained)
    task = TRAINING[trained.experiment].make_task(trained, setup)
    template = _wiring.start(trained, setup, task).state
    chosen = _wiring.load_checkpoint(trained, run_folder, template, str(config.checkpoint))
    logging.info('Scoring the checkpoint of step %d of %s.', chosen.step, run_folder)
    _wiring.score(trained, pathlib.Path(workdir), setup, task, chosen, config.split)
