"""Where the numbers of a trained network come from: hashes of its data, and what each of its scores says of itself."""

import pathlib
from collections.abc import Mapping
from typing import Any

from absl import logging

from humalign_jax import storage
from humalign_jax.data import cifar10
from humalign_jax.human_data import Answers
from humalign_jax.records import ImageSet
from humalign_jax.train import loop
from humalign_jax.train.state import TrainState
from humalign_jax.wiring import targets


def digests(images: Mapping[str, ImageSet], *, target: str, answers: Answers | None) -> dict[str, str]:
    """Hashes of what a run on images is made of, by name; reads every image once (0.2 s for 100 MB).

    Args:
        images: Image sets by split.
        target: `config.data.target`.
        answers: People's answers to the probe images, None if nothing is watched.
    """
    found = {}
    for split, of_split in images.items():
        found[f'number of {split} images'] = str(len(of_split))
        found[f'{split} images'] = storage.array_digest(of_split.images)
        found[f'{split} labels'] = storage.array_digest(of_split.labels)
        found[f'{split} ids'] = storage.array_digest(of_split.ids)
        soft_label = of_split.extras.get(targets.target_of(of_split, target))
        if soft_label is not None:
            found[f'{split} targets'] = storage.array_digest(soft_label)
    if answers is not None:
        found['answers to the probe images'] = storage.array_digest(answers.counts)
    return found


def of_scores(
    images: ImageSet, state: TrainState, recipe: loop.Recipe, *, experiment: str, model: str, left_out: int
) -> dict[str, Any]:
    """Provenance of every score of a trained network.

    Args:
        images: The images that are scored.
        state: The checkpoint, on the host.
        recipe: How it was trained.
        experiment: Name of the experiment.
        model: Name of the network.
        left_out: How many images are not scored because alignment with them chose the checkpoint.
    """
    return {
        'experiment': experiment,
        'model': model,
        'data': f'{images.name}/{images.split}',
        'simulated': images.simulated,
        'stimuli_sha256': storage.array_digest(images.ids),
        'images_sha256': storage.array_digest(images.images),
        'checkpoint_step': int(state.step),
        'steps_per_epoch': recipe.plan.steps_per_epoch,
        'seed': recipe.seed,
        **images.provenance,
        **({'left_out': f'{left_out} probe images whose alignment chose the checkpoint'} if left_out else {}),
    }


def note_files(folder: pathlib.Path, *, source: str, root: str) -> None:
    """Notes with this start of the run whether CIFAR-10 is the published one, file by file.

    Args:
        folder: The run's workdir.
        source: `config.data.name`; nothing is noted for other sources.
        root: Folder with the data.
    """
    if source != 'cifar10':
        return
    verdicts = cifar10.identify(root)
    differing = sorted(name for name, verdict in verdicts.items() if verdict == 'differs')
    if differing:
        logging.warning('Not the published CIFAR-10, but perhaps a copy encoded anew: %s.', ', '.join(differing))
    note(folder, {'cifar10_files': verdicts})


def note(folder: pathlib.Path, facts: Mapping[str, Any]) -> None:
    """Adds facts to what `provenance.json` says of this start of the run."""
    path = folder / 'provenance.json'
    *earlier, now = storage.read_json(path) if path.exists() else [{}]
    storage.write_json(path, [*earlier, {**now, **facts}])
