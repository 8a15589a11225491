"""Points of a sweep: read from its file, named after their values, numbered permanently in the sweep's folder."""

import dataclasses
import importlib.util
import os
import pathlib
import re
from collections.abc import Sequence
from typing import Any

from humalign_jax import lock, settings, storage, workdir
from humalign_jax import main as command_line

_LIST = 'sweep.json'


@dataclasses.dataclass(frozen=True)
class Point:
    """One run of a sweep.

    Attributes:
        name: Its folder below the sweep's folder.
        flags: Flags that the sweep sets, in its order.
        arguments: All flags of `humalign_jax.main` except --workdir, as text.
    """

    name: str
    flags: dict[str, Any]
    arguments: tuple[str, ...]


def load_sweep(given: str) -> list[dict[str, Any]]:
    """The points that `get_sweep` of a file returns.

    Args:
        given: Path of the file, followed by ':variant' if its function takes an argument.

    Raises:
        ValueError: The file does not exist, or does not return a list of dicts of flags.
    """
    path, _, variant = given.partition(':')
    if not pathlib.Path(path).is_file():
        names = [str(p) for p in sorted(pathlib.Path('configs/sweeps').glob('*.py'))]
        raise ValueError(f'there is no sweep {path!r}.{settings.nearest(path, names)}')
    spec = importlib.util.spec_from_file_location('sweep_file', path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        sweep = module.get_sweep(*([variant] if variant else []))
    except ValueError:
        raise
    except Exception as error:
        raise ValueError(f'{given} cannot be read: {type(error).__name__}: {error}') from error
    if not (
        isinstance(sweep, list) and sweep and all(isinstance(flags, dict) and 'config' in flags for flags in sweep)
    ):
        raise ValueError(
            f"get_sweep() of {path} must return a list of dicts, each with 'config', the file that is run."
        )
    return sweep


def points_of(sweep: Sequence[dict[str, Any]], shared: Sequence[str] = ()) -> list[Point]:
    """Named points; the config of each is read and checked.

    Args:
        sweep: Flags of each point.
        shared: Flags of all points.

    Raises:
        ValueError: Two points have the same values, a flag is set twice, or a config refuses its settings.
    """
    keys = sorted({key for flags in sweep for key in flags if key != 'config'})
    last = [key.rpartition('.')[2] for key in keys]
    short = {key: part if last.count(part) == 1 else key.removeprefix('config.') for key, part in zip(keys, last)}
    points: dict[str, Point] = {}
    for flags in sweep:
        file, _, variant = str(flags['config']).partition(':')
        parts = [pathlib.Path(file).stem, variant]
        parts += [f'{short[key]}={_plain(value)}' for key, value in flags.items() if key != 'config']
        name = '-'.join(filter(None, parts))
        point = Point(name, flags, (*(f'--{key}={value}' for key, value in flags.items()), *shared))
        if name in points:
            raise ValueError(f'two points of the sweep are called {name}: {points[name].flags} and {flags}.')
        for flag in shared:
            if (key := flag[2:].partition('=')[0]) in flags:
                raise ValueError(f'{key} is set by the sweep, point by point: leave {flag} out.')
        try:
            command_line.read_config(point.arguments)
        except ValueError as error:
            raise ValueError(f'point {name}: {error}') from error
        points[name] = point
    return list(points.values())


def _plain(value: Any) -> str:
    """A value as part of a folder's name: `(8, 16)` as `8_16`."""
    return re.sub(r'[^\w.+-]+', '_', str(value)).strip('_')


def read_points(folder: pathlib.Path) -> list[Point]:
    """The points recorded in a sweep's folder, by number.

    Raises:
        ValueError: It is not the folder of a sweep, or its list is damaged.
    """
    if not (folder / _LIST).exists():
        raise ValueError(f'{folder} is not the folder of a sweep: it has no {_LIST}.')
    try:
        rows = storage.read_json(folder / _LIST)['points']
        return [Point(row['name'], row['flags'], tuple(row['arguments'])) for row in rows]
    except (KeyError, TypeError) as error:
        raise ValueError(f'{folder / _LIST} is no list of points ({error!r}): it was edited by hand.') from error


def numbered(folder: pathlib.Path, points: Sequence[Point]) -> list[Point]:
    """The points recorded in the folder, followed by new points. Numbers never change, because queued tasks use them.

    Raises:
        ValueError: A point was begun with other settings.
    """
    known = {p.name: p for p in read_points(folder)} if (folder / _LIST).exists() else {}
    for point in points:
        old = known.get(point.name)
        begun = workdir.is_begun(folder / point.name)
        if begun and old is not None and _shaping(old.arguments) != _shaping(point.arguments):
            raise ValueError(
                f'{folder / point.name} was begun with {" ".join(old.arguments)}, not with '
                f'{" ".join(point.arguments)}: choose another --workdir, or give the same settings.'
            )
        known[point.name] = point
    return list(known.values())


def _shaping(arguments: Sequence[str]) -> list[tuple[str, str]]:
    """Flags that change numbers, sorted: without data folders, and with the config's absolute path."""
    flags = [(key, value) for key, _, value in (flag.partition('=') for flag in arguments)]
    kept = [(key, value) for key, value in flags if key.rpartition('.')[2] not in workdir.NO_PART]
    return sorted((key, os.path.realpath(value) if key == '--config' else value) for key, value in kept)


def write_points(folder: pathlib.Path, points: Sequence[Point], new_jobs: Sequence[str] = ()) -> None:
    """Records the points, in the order of their numbers, and the submitted arrays in the folder."""
    rows = [{**dataclasses.asdict(p), 'flags': settings.json_like(p.flags)} for p in points]
    storage.write_json(folder / _LIST, {'points': rows, 'jobs': [*jobs_of(folder), *new_jobs]})


def jobs_of(folder: pathlib.Path) -> list[str]:
    """Job numbers of the submitted arrays."""
    return storage.read_json(folder / _LIST)['jobs'] if (folder / _LIST).exists() else []


def state(folder: pathlib.Path) -> str:
    """'complete', 'failed: <why>', 'begun' or 'waiting'."""
    if workdir.is_complete(folder):
        return 'complete'
    error, start = folder / 'error.txt', folder / 'provenance.json'
    if error.exists() and not (start.exists() and start.stat().st_mtime > error.stat().st_mtime):
        return f'failed: {error.read_text().strip().splitlines()[-1]}'
    return 'begun' if workdir.is_begun(folder) or (folder / lock.NAME).exists() else 'waiting'
