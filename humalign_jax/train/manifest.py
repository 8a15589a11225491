"""The manifest of a saved step: what must lie in its folder, so that any flipped bit, lost or foreign file is noticed.

Orbax stores no checksum of contents: of 300 single flipped bits in stored arrays 271 came back silently wrong. The
manifest therefore holds the SHA-256 of every file and of every array, and a digest of itself; its text has one
canonical form, so that not even a changed blank passes.
"""

import hashlib
import json
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from humalign_jax import storage
from humalign_jax.train import leaves

NAME = 'manifest.json'


class DamagedError(ValueError):
    """A step folder that is not what was saved; the message is the reason."""


def describe_arrays(arrays: leaves.Arrays) -> dict[str, dict[str, Any]]:
    """Dtype, shape and SHA-256 of every array, by its path joined with slashes."""
    return {
        '/'.join(path): {
            'dtype': str(values.dtype),
            'shape': list(values.shape),
            'sha256': storage.array_digest(values),
        }
        for path, values in arrays.items()
    }


def write(folder: pathlib.Path, step: int, arrays: leaves.Arrays, metrics: Mapping[str, float]) -> None:
    """Writes `folder/manifest.json`, atomically; call it when every other file of the step is in place.

    Args:
        folder: The step's folder.
        step: Number of the step.
        arrays: What was saved, by path.
        metrics: Validation metrics of the step, {} if there are none; one that is not finite becomes null.
    """
    content = {
        'step': step,
        'metrics': {name: value if np.isfinite(value) else None for name, value in metrics.items()},
        'arrays': describe_arrays(arrays),
        'files': {
            name: {'bytes': (folder / name).stat().st_size, 'sha256': storage.file_digest(folder / name)}
            for name in sorted(_files(folder))
        },
    }
    storage.write_text(folder / NAME, _signed(content))


def read(folder: pathlib.Path) -> dict[str, Any]:
    """The manifest of a step, once its own digest has been checked.

    Raises:
        DamagedError: There is none, or it is not byte for byte what `write` wrote.
    """
    try:
        raw = (folder / NAME).read_bytes()
    except FileNotFoundError as error:
        raise DamagedError(f'{NAME} is missing: the save was interrupted') from error
    except OSError as error:
        raise DamagedError(f'{NAME} cannot be read ({error})') from error
    try:
        content = json.loads(raw)
        content.pop('sha256')
        intact = _signed(content).encode() == raw
    except (ValueError, KeyError, AttributeError, TypeError) as error:  # whatever a damaged text can turn into
        raise DamagedError(f'{NAME} is damaged ({type(error).__name__}: {error})') from error
    if not intact:
        raise DamagedError(f'{NAME} does not match its own digest')
    return content


def verify(folder: pathlib.Path, step: int) -> dict[str, Any]:
    """Reads every file of a step and compares it with the manifest.

    Args:
        folder: The step's folder.
        step: The step that the folder's name claims.

    Returns:
        The manifest.

    Raises:
        DamagedError: A file is missing, foreign, cut short or changed, or the folder holds another step.
    """
    content = read(folder)
    if content['step'] != step:
        raise DamagedError(f'it holds step {content["step"]}: folders were swapped or renamed')
    found, expected = _files(folder), content['files']
    if found != expected.keys():
        missing, foreign = sorted(expected.keys() - found), sorted(found - expected.keys())
        raise DamagedError(f'missing files: {missing[:3] or "none"}; files never saved: {foreign[:3] or "none"}')
    for name, about in expected.items():
        path = folder / name
        try:
            n_bytes = path.stat().st_size
            if n_bytes != about['bytes']:
                raise DamagedError(f'{name} has {n_bytes} bytes instead of {about["bytes"]}')
            digest = storage.file_digest(path)
        except OSError as error:
            raise DamagedError(f'{name} cannot be read ({error})') from error
        if digest != about['sha256']:
            raise DamagedError(f'{name} was changed: its SHA-256 is not the one that was saved')
    return content


def _files(folder: pathlib.Path) -> set[str]:
    """Relative names of all files but the manifest itself."""
    found = {path.relative_to(folder).as_posix() for path in folder.rglob('*') if not path.is_dir()}
    return found - {NAME}


def _signed(content: Mapping[str, Any]) -> str:
    """The one canonical text of a manifest, with the SHA-256 of its canonical text without it."""
    digest = hashlib.sha256(_canonical(content).encode()).hexdigest()
    return _canonical({**content, 'sha256': digest})


def _canonical(content: Mapping[str, Any]) -> str:
    return json.dumps(content, sort_keys=True, indent=1, allow_nan=False) + '\n'
