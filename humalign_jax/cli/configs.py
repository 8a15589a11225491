"""Configs by name: where they are, what they do, and their settings."""

import ast
import pathlib
from collections.abc import Sequence

from humalign_jax import settings

_PACKAGE = pathlib.Path(__file__).parents[1]
# The user's own, those of a checkout, those of an installed package.
_FOLDERS = (pathlib.Path('configs'), _PACKAGE.parent / 'configs', _PACKAGE / 'configs')


def file_of(given: str) -> str:
    """The config file, with its variant, that a name or path means: 'vae:tiny' is 'configs/vae.py:tiny'.

    Raises:
        ValueError: There is no such config; the message names the nearest.
    """
    path, colon, variant = given.partition(':')
    if pathlib.Path(path).expanduser().is_file():
        return given
    found = _files()
    if path not in found:
        raise ValueError(f'there is no config {path!r}.{settings.nearest(path, found)}')
    return f'{found[path]}{colon}{variant}'


def listed() -> str:
    """A line for each config: its name and the first line of its docstring.

    Raises:
        ValueError: No folder with configs is here.
    """
    if not _files():
        raise ValueError('there are no configs here: go to a checkout of the repository, which has them in configs/.')
    about = {name: _docstring(path).split('\n')[0] for name, path in _files().items()}
    width = max(map(len, about), default=0)
    lines = [f'{name:{width}}  {line}' for name, line in about.items()]
    return '\n'.join([*lines, '', 'humalign run NAME; NAME:tiny takes seconds to minutes and needs no data.'])


def shown(given: str, flags: Sequence[str]) -> str:
    """All settings of a config as flags, and its docstring.

    Raises:
        ValueError: As `main.read_config`.
    """
    from humalign_jax import main

    file = file_of(given)
    config = main.read_config([f'--config={file}', *flags])
    about = _docstring(pathlib.Path(file.partition(':')[0]).expanduser())
    return '\n'.join([about, '', *_flags(settings.plain(config), '--config')])


def _docstring(path: pathlib.Path) -> str:
    return ast.get_docstring(ast.parse(path.read_text())) or ''


def _files() -> dict[str, pathlib.Path]:
    """Files of configs by name, of the first folder that has it."""
    found: dict[str, pathlib.Path] = {}
    for folder in _FOLDERS:
        for path in sorted(folder.glob('*.py')):
            if path.stem != '__init__':
                found.setdefault(path.stem, path)
    return dict(sorted(found.items()))


def _flags(section: dict, where: str) -> list[str]:
    lines = []
    for key, value in section.items():
        if isinstance(value, dict):
            lines += _flags(value, f'{where}.{key}')
        else:
            lines.append(f'{where}.{key}={value!r}' if isinstance(value, tuple | list) else f'{where}.{key}={value}')
    return lines
