"""What the experiment `rsa` leaves in `inference_<pairs>.npz`: scores of each subject, and differences of models."""

import pathlib
import re
from collections.abc import Mapping, Sequence

import numpy as np

from humalign_jax.records import Score

_ABOUT = ('reference', 'reference_measure', 'stimuli_sha256', 'simulated', 'seed', 'n_stimuli', 'n_subjects')


def load(folder: pathlib.Path, pairs: str) -> Mapping[str, np.ndarray] | None:
    """The arrays of one kind of pairs by name; None if the run left none.

    Raises:
        ValueError: The file is damaged.
    """
    path = folder / f'inference_{pairs}.npz'
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (ValueError, OSError, EOFError) as error:
        raise ValueError(f'{path} holds no arrays ({error}): run its stage again.') from error


def differences(folder: pathlib.Path, scores: Sequence[Score]) -> list[Score]:
    """Scores `rsa/<index>/difference` of all pairs of models, earlier minus later.

    Args:
        folder: Folder of the run.
        scores: Scores of the run, which say what its pairs, models and stimuli are.

    Returns:
        One score for each pair of models and kind of pairs; their standard error and p values are in the provenance.
    """
    made = []
    plain = [score for score in scores if re.fullmatch('rsa/[^/]+', score.name)]
    for pairs in dict.fromkeys(str(score.provenance.get('pairs')) for score in plain):
        found = load(folder, pairs)
        if found is None:
            continue
        first = next(score for score in plain if score.provenance.get('pairs') == pairs)
        names = [str(name) for name in found['names']]
        for i, j in zip(*np.triu_indices(len(names), 1)):
            about = {
                **{key: first.provenance[key] for key in _ABOUT if key in first.provenance},
                'model': names[i],
                'other': names[j],
                'pairs': pairs,
                'standard_error': float(found['difference_errors'][i, j]),
                'p': float(found['p_differences'][i, j]),
                'p_fwer': float(found['p_differences_fwer'][i, j]),
                'p_fdr': float(found['p_differences_fdr'][i, j]),
            }
            value, nan = float(found['differences'][i, j]), float('nan')
            interval = 'none: only its standard error is kept'
            made.append(Score(f'{first.name}/difference', value, nan, nan, first.n, interval, provenance=about))
    return made
