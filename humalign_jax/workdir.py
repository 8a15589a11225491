"""A run's folder: the config it belongs to, the provenance of its numbers, and whether the run is complete."""

import datetime
import os
import pathlib
import platform
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from importlib import metadata
from typing import Any

import ml_collections

from humalign_jax import lock, logs, processes, settings, storage

DATA = 'data.json'
_PACKAGES = ('humalign_jax', 'jax', 'jaxlib', 'flax', 'optax', 'orbax-checkpoint', 'clu', 'numpy', 'scipy')
_COMPLETE = 'complete.json'
# Files of a start that has computed nothing yet; a logger's files hold the config until there are metrics.
_NOTES = (
    *('config.json', 'provenance.json', 'inputs.json', DATA, 'error.txt', logs.FILE, logs.OUTPUT, lock.NAME),
    *('tensorboard', 'metrics.csv', 'wandb'),
)
# Settings that change no number. A study compares the runs in `runs` by content.
NO_PART = ('root', 'n_devices', 'runs', 'logger')
# Settings of a study of stages that may change from one start to the next: it does again what depends on them.
_OF_STAGES = {
    'metalign': ('conditions', 'include', 'seeds', 'layers', 'compare', 'odd_one_out', 'learning', 'geometry', 'report')
}
# Settings that name files or folders.
_PATHS = ('run', 'study', 'features', 'validation', 'file', 'files', 'noise_files', 'ids_file', 'labels_file')


class RefusedError(ValueError):
    """The folder belongs to another run; nothing was written there."""


def run_once(
    run: Callable[[ml_collections.ConfigDict, str], None],
    config: ml_collections.ConfigDict,
    workdir: storage.PathLike,
    *,
    inputs: Iterable[str] = (),
) -> bool:
    """Runs an experiment in its folder, unless it is complete there.

    Holds the folder's lock while it runs. A folder with the same config is continued, even if the data have moved or
    the number of devices has changed. A folder in which nothing was computed yet is free for any config.

    Args:
        run: `(config, workdir)`, the experiment.
        config: Its config.
        workdir: Its folder; created, or continued if it belongs to this config.
        inputs: Names of settings with paths of inputs that the caller compares by content.

    Returns:
        True if the experiment ran, False if it was complete.

    Raises:
        RefusedError: The folder belongs to another config, or another process works in it.
    """
    folder = pathlib.Path(workdir)
    if not processes.is_first():
        return _run_beside_the_first(run, config, folder)
    if os.path.lexists(folder) and not folder.is_dir():
        raise RefusedError(f'--workdir={workdir} is a file: choose a folder.')
    new = settings.json_like(settings.plain(config))
    of_stages = _OF_STAGES.get(new.get('experiment'), ())
    inputs = (*inputs, *of_stages)
    _check_same(folder, new, inputs)
    if is_complete(folder) and not _changed(folder, new, of_stages):
        _note_config(folder, new)
        processes.from_first(False)
        return False
    try:
        with lock.held(folder):
            _check_same(folder, new, inputs)
            if _changed(folder, new, of_stages):
                (folder / _COMPLETE).unlink(missing_ok=True)
                storage.write_json(folder / 'config.json', new)
            if is_complete(folder):  # by the process that worked here until now
                processes.from_first(False)
                return False
            _note_config(folder, new)
            write_provenance(folder, new.get('seed', 0))
            processes.from_first(True)
            run(config, str(folder))
            mark_complete(folder)
            processes.wait_for_all()
    except lock.InUseError as error:
        raise RefusedError(str(error)) from error
    return True


def begin(config: ml_collections.ConfigDict, folder: pathlib.Path) -> None:
    """Notes config and provenance of a start in a folder whose lock this process holds, as `run_once` does.

    Raises:
        RefusedError: The folder belongs to another config.
    """
    new = settings.json_like(settings.plain(config))
    _check_same(folder, new, ())
    _note_config(folder, new)
    write_provenance(folder, new.get('seed', 0))


def _run_beside_the_first(run: Callable, config: ml_collections.ConfigDict, folder: pathlib.Path) -> bool:
    """Runs the experiment in a further process, once the first has locked the folder; nothing is written there."""
    if not processes.from_first(False):
        return False
    run(config, str(folder))
    processes.wait_for_all()
    return True


def is_begun(folder: pathlib.Path) -> bool:
    """Whether anything was computed in this folder; a failed start leaves only notes and empty files."""
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name not in _NOTES and not name.startswith('.')]
        for name in names:
            path = pathlib.Path(place, name)
            if name not in _NOTES and not name.startswith('.') and not path.is_symlink() and path.stat().st_size:
                return True
    return False


def differences(
    config: ml_collections.ConfigDict | Mapping[str, Any], folder: pathlib.Path, *, inputs: Iterable[str] = ()
) -> list[str]:
    """Settings in which a config differs from that of the folder, as 'config.rate: 0.1 -> 0.2'; [] for a free folder.

    Args:
        config: The config.
        folder: The folder.
        inputs: Names of settings that are not compared.
    """
    path, starts = folder / 'config.json', folder / 'provenance.json'
    if not path.exists() or not is_begun(folder):
        return []
    inputs, new = tuple(inputs), settings.json_like(settings.plain(config))
    first = storage.read_json(starts)[0] if starts.exists() else {}
    old = _identity(storage.read_json(path), first.get('folder', os.getcwd()), inputs)
    return settings.differing_keys(old, _identity(new, os.getcwd(), inputs))


def _check_same(folder: pathlib.Path, new: dict[str, Any], inputs: tuple[str, ...]) -> None:
    """Raises RefusedError, with the keys that differ, if the folder belongs to another config."""
    differing = differences(new, folder, inputs=inputs)
    if differing:
        raise RefusedError(
            f'{folder} belongs to another config: {"; ".join(differing)} (there -> here). '
            'Choose another --workdir, or start with the values of that folder.'
        )


def _changed(folder: pathlib.Path, new: dict[str, Any], keys: tuple[str, ...]) -> bool:
    """Whether the folder's config has another value of one of these keys."""
    path = folder / 'config.json'
    if not keys or not path.exists():
        return False
    old = storage.read_json(path)
    return bool(settings.differing_keys({key: old.get(key) for key in keys}, {key: new.get(key) for key in keys}))


def _identity(value: Any, place: str, inputs: tuple[str, ...], name: str = '') -> Any:
    """The part of a config that changes numbers: without `NO_PART`, with absolute paths.

    Args:
        value: A config, or a part of it, as read from JSON.
        place: Folder that relative paths start from.
        inputs: Further settings to leave out.
        name: The part's key.
    """
    if isinstance(value, dict):
        kept = {key: item for key, item in value.items() if key not in (*NO_PART, *inputs)}
        if kept.get('n_seeds') == 1:  # as runs of versions without this setting
            del kept['n_seeds']
        return {key: _identity(item, place, inputs, key) for key, item in kept.items()}
    if isinstance(value, list):
        return [_identity(item, place, inputs, name) for item in value]
    if isinstance(value, str) and value and name in _PATHS:
        return os.path.realpath(os.path.join(place, value))
    return value


def _note_config(folder: pathlib.Path, new: dict[str, Any]) -> None:
    """Writes `config.json`; for a run that is begun, only the settings that change no number."""
    path = folder / 'config.json'
    if not is_begun(folder):
        (folder / 'provenance.json').unlink(missing_ok=True)  # of starts that failed, perhaps with another config
        storage.write_json(path, new)
    elif path.exists():
        old = storage.read_json(path)
        moved = _with_places_of(new, old)
        if moved != old:
            storage.write_json(path, moved)
    else:
        storage.write_json(path, new)


def _with_places_of(new: Any, old: Any) -> Any:
    """`old`, but with the settings that change no number taken from `new`."""
    if isinstance(old, dict) and isinstance(new, dict):
        kept = {key: _with_places_of(new.get(key), item) for key, item in old.items() if key not in NO_PART}
        return {**kept, **{key: item for key, item in new.items() if key in NO_PART}}
    return old


def is_complete(folder: pathlib.Path) -> bool:
    """Whether a run in this folder has ended."""
    return (folder / _COMPLETE).exists()


def mark_complete(folder: pathlib.Path) -> None:
    """Notes that the run in this folder has ended: starting it again does nothing."""
    finished = datetime.datetime.now(datetime.UTC).isoformat(timespec='seconds')
    storage.write_json(folder / _COMPLETE, {'finished': finished})


def check_same_data(folder: pathlib.Path, digests: Mapping[str, str]) -> None:
    """Writes the hashes of a run's data to `data.json`, or compares them with those of the run's first start.

    Args:
        folder: The run's folder.
        digests: Hash or size of every input, by its name in messages, such as 'training images'.

    Raises:
        ValueError: The run was begun with other data.
    """
    path = folder / DATA
    if path.exists() and is_begun(folder):
        before = storage.read_json(path)
        changed = [name for name in {**before, **digests} if before.get(name) != digests.get(name)]
        if changed:
            shown = [_change(name, before.get(name, 'none'), digests.get(name, 'none')) for name in changed]
            raise ValueError(
                f'{folder} was begun with other data. Changed since: {", ".join(shown)}. Continuing would mix two data '
                'sets. Put the old data back, or choose another --workdir.'
            )
        return
    storage.write_json(path, dict(digests))


def _change(name: str, before: str, now: str) -> str:
    is_hash = max(len(before), len(now)) > 40
    return name if is_hash else f'{name} ({before} -> {now})'


def write_provenance(folder: pathlib.Path, seed: int) -> None:
    """Writes `provenance.json`: one entry for each time the run was started or continued."""
    path = folder / 'provenance.json'
    starts = storage.read_json(path) if path.exists() else []
    storage.write_json(path, [*starts, provenance(seed)])


def provenance(seed: int) -> dict[str, Any]:
    """Git commit and dirty flag, versions, devices, seed, command and time."""
    from humalign_jax import devices as devices_lib  # here: a complete run needs no jax

    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    devices = devices_lib.all_devices()
    return {
        'started': datetime.datetime.now(datetime.UTC).isoformat(timespec='seconds'),
        'command': sys.argv,
        'folder': os.getcwd(),  # where paths of the config begin
        'git_commit': _git('rev-parse', 'HEAD'),
        'git_dirty': bool(_git('status', '--porcelain', '--untracked-files=no')),
        'python': platform.python_version(),
        'versions': versions,
        'platform': platform.platform(),
        'devices': [device.device_kind for device in devices],
        'backend': devices[0].platform,
        'processes': processes.count(),
        'seed': seed,
    }


def _git(*arguments: str) -> str | None:
    """Output of git in the package's own checkout, None where it is installed without one."""
    here = pathlib.Path(__file__).parent
    try:
        done = subprocess.run(['git', '-C', here, *arguments], capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
