"""Levels: odd-one-out choices about photographs at three levels of the class hierarchy.

The authors' file is a pickle: a dict from participant to a list of trials, each a dict with `image1Path`, `image2Path`,
`image3Path`, `selected_image` (the odd one out), `triplet_type` and `exp_trial_type`. It is read without running
anything in it (`humalign_jax.pickles`). Trials whose `exp_trial_type` is not 'exp_trial' are practice and are left out.

Kinds of trials: 'between_class' (three classes), 'class_border' (two images of one class), 'within_class' (one class).
A stimulus id is the image's name without its folder and ending, such as 'n01440764_10026'.

References:
    Muttenthaler et al. (2025), Aligning machine and human visual representations across abstraction levels.
    doi:10.1038/s41586-025-09631-6
"""

import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from humalign_jax import pickles, storage
from humalign_jax.human_data import Triplets

FILE = 'levels.pkl'
KINDS = ('between_class', 'class_border', 'within_class')
EXPERIMENTAL = 'exp_trial'
CITATION = (
    'Muttenthaler et al. (2025). Aligning machine and human visual representations across abstraction levels. Nature. '
    'doi:10.1038/s41586-025-09631-6'
)
MAX_BYTES = 1 << 29
MAX_OPCODES = 30_000_000  # 123,043 experimental trials and practice, with up to 40 entries of about 5 opcodes each
_IMAGES = ('image1Path', 'image2Path', 'image3Path')
_ENTRIES = (*_IMAGES, 'selected_image', 'triplet_type')


def load_triplets(path: storage.PathLike) -> Triplets:
    """The experimental trials of the authors' pickle, with participants, kinds and the order of presentation.

    Raises:
        ValueError: The file is missing, is no plain pickle, or a trial is not what the authors describe; the message
            names participant and trial.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise ValueError(f'{path} does not exist: it should be the pickle of Levels, such as {FILE}.')
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f'{path} has {path.stat().st_size} bytes, more than the {MAX_BYTES} expected of Levels.')
    people = pickles.read_pickle(path.read_bytes(), path, max_opcodes=MAX_OPCODES)
    if not isinstance(people, dict) or not people:
        raise ValueError(f'{path} must hold a dict from participant to trials, not {_shown(people)}.')
    images, odd, participants, kinds, n_left_out = [], [], [], [], 0
    for where, person, trial in _trials(people, path):
        if trial.get('exp_trial_type') != EXPERIMENTAL:
            n_left_out += 1
            continue
        missing = [name for name in _ENTRIES if not isinstance(trial.get(name), str)]
        if missing:
            raise ValueError(f'{where} lacks {", ".join(missing)} as text; it has {", ".join(map(str, trial))}.')
        shown = [_name(trial[name]) for name in _IMAGES]
        chosen = _name(trial['selected_image'])
        if shown.count(chosen) != 1:
            raise ValueError(f'{where}: selected_image {chosen!r} must be one of the three images {", ".join(shown)}.')
        if trial['triplet_type'] not in KINDS:
            raise ValueError(f'{where}: triplet_type {trial["triplet_type"]!r} must be one of {", ".join(KINDS)}.')
        images.append(shown)
        odd.append(shown.index(chosen))
        participants.append(person)
        kinds.append(trial['triplet_type'])
    if not images:
        raise ValueError(f'{path} has no trial whose exp_trial_type is {EXPERIMENTAL!r}, of {n_left_out} trials.')
    return Triplets.from_ids(
        np.array(images, dtype=np.str_),
        np.array(odd),
        'Levels',
        participants=np.array(participants, dtype=np.str_),
        kinds=np.array(kinds, dtype=np.str_),
        in_order=True,
        provenance={
            'file': path.name,
            'sha256': storage.file_digest(path),
            'n_practice_trials': n_left_out,
            'citation': CITATION,
        },
    )


def _trials(people: dict[Any, Any], path: pathlib.Path) -> Iterator[tuple[str, str, dict[Any, Any]]]:
    """Where each trial stands (for messages), who answered it, and the trial."""
    for person, trials in people.items():
        if not isinstance(trials, list):
            raise ValueError(f'{path}, participant {person!r}: a list of trials is expected, not {_shown(trials)}.')
        for number, trial in enumerate(trials):
            where = f'{path}, participant {person!r}, trial {number} (from 0)'
            if not isinstance(trial, dict):
                raise ValueError(f'{where}: a dict is expected, not {_shown(trial)}.')
            yield where, str(person), trial


def _name(path: str) -> str:
    """The image's name without folder and ending."""
    return path.replace('\\', '/').rsplit('/', 1)[-1].split('.')[0]


def _shown(value: Any) -> str:
    return f'a {type(value).__name__}'
