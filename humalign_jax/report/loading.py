"""Reads a study's folder: scores, runs and what `rsa` left about differences of models."""

import os
import pathlib
import re
from collections.abc import Iterator, Sequence

from humalign_jax import storage
from humalign_jax.records import Score
from humalign_jax.report import inferred
from humalign_jax.report.study import Entry, Run, Study

_NOT_RUNS = ('superseded', 'checkpoints', 'tensorboard', 'wandb')
_OF_VALIDATION = 'validation'
_OF_SEED = re.compile(r'seed_\d+')  # whose mean over seeds stands in the folder above


def load_study(
    folder: str | os.PathLike, *, layers: Sequence[str] = ('penultimate', 'mu'), human_measure: str = 'cosine'
) -> Study:
    """Reads a study's scores and runs.

    Args:
        folder: The study's folder, or that of one run.
        layers: Layers that stand for a model, see `Study`.
        human_measure: Distance between people's labels, see `Study`.

    Raises:
        ValueError: The folder is missing, holds no score, or holds RSA scores that cannot stand beside each other; or a
            file of it is damaged.
    """
    root = pathlib.Path(folder)
    if not root.is_dir():
        raise ValueError(f'{root} is no folder: give the --workdir of a study, or a folder with runs in it.')
    places = list(_run_folders(root))
    rows = [(place, row) for place in places for row in storage.read_jsonl(place / 'scores.jsonl')]
    if not rows:
        raise ValueError(f'{root} holds no scores.jsonl with scores, at any depth: run the stages of the study first.')
    entries = []
    for number, (place, row) in enumerate(rows, start=1):
        try:
            score = Score.from_json(row)
        except (TypeError, KeyError) as error:
            raise ValueError(f'{place / "scores.jsonl"} has a row that is no score ({error}).') from error
        entries.append(Entry(score, place.relative_to(root).as_posix(), number))
    for place in places:
        name = place.relative_to(root).as_posix()
        own = [entry.score for entry in entries if entry.run == name]
        entries += [Entry(score, name, len(entries) + i) for i, score in enumerate(inferred.differences(place, own), 1)]
    _check_references(root, entries)
    runs = {}
    for place in places:
        name = place.relative_to(root).as_posix()
        config, starts = place / 'config.json', place / 'provenance.json'
        runs[name] = Run(
            name=name,
            config=storage.read_json(config) if config.exists() else {},
            starts=storage.read_json(starts) if starts.exists() else [],
            metrics=storage.read_jsonl(place / 'metrics.jsonl'),
        )
    return Study(root, tuple(entries), runs, tuple(layers), human_measure)


def _check_references(root: pathlib.Path, entries: Sequence[Entry]) -> None:
    """Raises ValueError if RSA scores of two runs have different references, or are of the same model and pairs."""
    runs: dict[tuple[str, ...], str] = {}
    scored: dict[tuple[str, ...], str] = {}
    for entry in entries:
        if not re.fullmatch('rsa/[^/]+', entry.score.name):
            continue
        keys = ('model', 'layer', 'pairs', 'level', 'human_measure', 'arm', 'fold')
        what = (entry.score.name, *(str(entry.get(key) or '') for key in keys))
        if scored.setdefault(what, entry.run) != entry.run:
            raise ValueError(
                f'{root} holds {entry.score.name} of {entry.model!r} twice, in {scored[what]} and {entry.run}, and a '
                'page shows one of each: give --config.study=<folder of one of these runs>, or move one elsewhere.'
            )
        reference = tuple(map(str, entry.get('reference') or [entry.get('human') or '']))
        runs.setdefault(reference, entry.run)
    if len(runs) > 1:
        listed = '; '.join(f'{run}: {", ".join(names) or "not named"}' for names, run in runs.items())
        raise ValueError(
            f'{root} holds RSA scores with {len(runs)} references ({listed}), which cannot stand on one page: give '
            '--config.study=<folder of one of these runs>, each with a --workdir of its own.'
        )


def _run_folders(root: pathlib.Path) -> Iterator[pathlib.Path]:
    """Folders with scores or a config, by path; linked runs count.

    Superseded runs, scores of validation images, and single seeds of a run of several seeds do not count.
    """
    seen = set()
    for place, folders, names in os.walk(root, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:  # a link to a folder that contains it
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if name not in _NOT_RUNS and not name.startswith('.'))
        if 'scores.jsonl' in names:  # beside scores of test images; they serve to choose among runs
            folders[:] = [name for name in folders if name != _OF_VALIDATION and not _OF_SEED.fullmatch(name)]
        if 'scores.jsonl' in names or 'config.json' in names:
            yield pathlib.Path(place)
