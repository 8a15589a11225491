"""Configs checked against the functions that they configure: a function's keyword arguments are the schema.

A config section such as `config.optimizer` is passed to the function that uses it. A key that the function lacks is an
error that names the nearest key, so a typing error never becomes a silent default.
"""

import difflib
import inspect
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import ml_collections

Result = TypeVar('Result')


def nearest(name: str, known: Iterable[str]) -> str:
    """' Did you mean ...?' if a known name is close, and the list of all of them."""
    known = sorted(known) if isinstance(known, set | frozenset) else list(known)  # the order of a list is meaningful
    close = difflib.get_close_matches(name, known, n=1)
    hint = f' Did you mean {close[0]!r}?' if close else ''
    return f'{hint} Known: {", ".join(known) or "none"}.'


def plain(value: Any) -> Any:
    """A config value as hashable Python: sections become dicts, lists become tuples."""
    if isinstance(value, ml_collections.ConfigDict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return tuple(plain(item) for item in value)
    return value


def with_home(value: Any) -> Any:
    """The value with a leading `~` or `~user` expanded in every text, also in sections and lists.

    Shells do not expand them after '='. Only paths begin with `~`.
    """
    if isinstance(value, ml_collections.ConfigDict):
        expanded = ml_collections.ConfigDict({key: with_home(item) for key, item in value.items()})
        return expanded.lock() if value.is_locked else expanded
    if isinstance(value, Mapping):
        return {key: with_home(item) for key, item in value.items()}
    if isinstance(value, list):
        return [with_home(item) for item in value]
    if isinstance(value, tuple):
        return tuple(with_home(item) for item in value)
    return os.path.expanduser(value) if isinstance(value, str) and value.startswith('~') else value


def json_like(value: Any) -> Any:
    """A plain value as read back from a JSON file: tuples become lists."""
    if isinstance(value, Mapping):
        return {key: json_like(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_like(item) for item in value]
    return value


def check_keys(section: Mapping[str, Any], known: Iterable[str], where: str, *, optional: Iterable[str] = ()) -> None:
    """Raises ValueError unless the section has exactly the known keys (the optional ones may be absent)."""
    known, optional = set(known), set(optional)
    for key in section:
        if key not in known | optional:
            raise ValueError(f'{where}.{key} is not a setting.{nearest(key, known | optional)}')
    missing = sorted(known - set(section))
    if missing:
        raise ValueError(f'{where} lacks {", ".join(missing)}: add it to the config file.')


def options_of(function: Callable[..., Any]) -> tuple[set[str], set[str]]:
    """The keyword arguments that a function takes: (all names, those without a default)."""
    names, required = set(), set()
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind not in (parameter.KEYWORD_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            continue
        names.add(name)
        if parameter.default is parameter.empty:
            required.add(name)
    return names, required


def call(function: Callable[..., Result], section: Mapping[str, Any], where: str, **given: Any) -> Result:
    """`function(**section, **given)`, with every key of the section checked against the function's arguments.

    Args:
        function: The function that the section configures.
        section: A config section.
        where: The section's place in the config, for messages, such as 'config.optimizer'.
        **given: Arguments that the program supplies; a config must not set them.

    Raises:
        ValueError: A key is unknown or missing, or the program supplies it.
    """
    names, required = options_of(function)
    check_keys(section, required - set(given), where, optional=names - set(given))
    return function(**plain(section), **given)


def differing_keys(old: Any, new: Any, where: str = 'config') -> list[str]:
    """Places where two JSON-like values differ, as 'config.train.epochs: 20 -> 30'."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        places = []
        for key in sorted({*old, *new}):
            if key not in old:
                places.append(f'{where}.{key}: absent -> {new[key]!r}')
            elif key not in new:
                places.append(f'{where}.{key}: {old[key]!r} -> absent')
            else:
                places.extend(differing_keys(old[key], new[key], f'{where}.{key}'))
        return places
    return [] if _same(old, new) else [f'{where}: {old!r} -> {new!r}']


def _same(old: Any, new: Any) -> bool:
    """Equality for which NaN equals NaN, and True differs from 1."""
    if isinstance(old, list | tuple) and isinstance(new, list | tuple):
        return len(old) == len(new) and all(map(_same, old, new))
    if isinstance(old, bool) != isinstance(new, bool):
        return False
    return old == new or (old != old and new != new)
