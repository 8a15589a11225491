"""The command `humalign rsa`: scores of the user's files, as a table, figures and files."""

import argparse
import dataclasses
import pathlib
import sys
from typing import Any

import numpy as np

from humalign_jax import main, memory, progress, results, rsa, settings, storage
from humalign_jax.records import Features, Rdm, Score
from humalign_jax.rsa import files

BYTES_PER_PAIR, BYTES_PER_PAIR_ONCE = 75, 26  # of each RDM, with inference and without; measured for experiment `rsa`
NO_INFERENCE = 'none'


def compare(arguments: argparse.Namespace) -> None:
    """Prints the scores that the command line asks for, and writes them if it names a folder.

    Raises:
        ValueError: A file cannot be read, stimuli do not match, or options clash.
    """
    main.set_up_environment()
    ids = files.load_ids(arguments.ids) if arguments.ids else None
    reference_ids = files.load_ids(arguments.reference_ids) if arguments.reference_ids else ids
    if arguments.reference_kind == 'rdm':
        reference: list[Features | Rdm] = [*rsa.load_subjects(arguments.reference, ids=reference_ids)]
    else:
        reference = rsa.load_models(arguments.reference, kind='features', ids=reference_ids)
    counts = {len(record.ids) for record in reference}
    n_stimuli = counts.pop() if len(counts) == 1 else None
    models = rsa.load_models(arguments.features, kind=arguments.kind, ids=ids, n_stimuli=n_stimuli)
    joined, how = rsa.same_stimuli([*models, *reference], arguments.join)
    if how == 'position':
        why = 'no file has stimulus ids' if arguments.join == 'auto' else '--join=position'
        print(f'note: row k of every file is taken for the same stimulus ({why}).', file=sys.stderr)
    n = len(joined[0].ids)
    memory.check_memory(
        (BYTES_PER_PAIR_ONCE if arguments.over == NO_INFERENCE else BYTES_PER_PAIR) * len(joined) * n * (n - 1) / 2,
        f'{len(joined)} RDMs of {n} stimuli',
        'use fewer stimuli, or humalign run rsa with --config.inference.over=none, which holds no RDM',
    )
    with progress.shown():
        distances = [arguments.measure] * len(models) + [arguments.reference_measure] * len(reference)
        rdms = [_rdm(record, measure) for record, measure in zip(joined, distances)]
        result = _scored(arguments, rdms[: len(models)], rdms[len(models) :])
    print(result)
    if arguments.out:
        folder = pathlib.Path(settings.with_home(arguments.out))
        _write(folder, result, rdms, len(models), how)
        print(f'Written: {folder.resolve().as_uri()}')


@dataclasses.dataclass(frozen=True, repr=False)
class PlainScores(results.Result):
    """Scores without intervals.

    Attributes:
        names: Names of the models, [m].
        index: The index of similarity.
        scores_by_subject: [m, k].
    """

    names: tuple[str, ...]
    index: str
    scores_by_subject: np.ndarray

    def columns(self) -> dict[str, Any]:
        """One row for each model."""
        return {'model': list(self.names), 'score': self.scores_by_subject.mean(axis=1).tolist()}

    def shown(self) -> tuple[str, dict[str, list[str]]]:
        """Title and columns of the printed table."""
        k = self.scores_by_subject.shape[1]
        scores = [results.number(value) for value in self.scores_by_subject.mean(axis=1)]
        return f'{self.index}, {k} subject{"s" if k > 1 else ""}', {'model': list(self.names), 'score': scores}


def _scored(arguments: argparse.Namespace, models: list[Rdm], reference: list[Rdm]) -> results.Result:
    names = [rdm.name for rdm in models]
    if len(set(names)) < len(names):
        raise ValueError(f'two models have one name: {", ".join(names)}.')
    over = arguments.over or ('both' if len(reference) > 1 else 'stimuli')
    if over == NO_INFERENCE:
        return PlainScores(tuple(names), arguments.index, rsa.compare(models, reference, arguments.index))
    return rsa.infer(
        models, reference, index=arguments.index, over=over, n_permutations=arguments.permutations, seed=arguments.seed
    )


def _rdm(record: Features | Rdm, measure: str) -> Rdm:
    if isinstance(record, Rdm):
        return record
    if measure in rsa.DISTANCES and not (defined := rsa.defined_stimuli(record, measure)).all():
        lost = [str(stimulus) for stimulus in record.ids[~defined]]
        raise ValueError(
            f'{record.name!r}: {len(lost)} of {len(record.ids)} stimuli have no {measure} distances, since their '
            f'features are constant or not finite: {", ".join(lost[:3])}. Leave their rows out of the files, or choose '
            '--measure=euclidean if they are finite.'
        )
    made = rsa.rdm(record, measure)
    return dataclasses.replace(made, provenance={**record.provenance, **made.provenance})


def _write(folder: pathlib.Path, result: results.Result, rdms: list[Rdm], n_models: int, join: str) -> None:
    """`scores.csv`, `result.npz`, figures of the RDMs, and with intervals `scores.jsonl` and their figure."""
    from humalign_jax.report.plots import bars, style
    from humalign_jax.report.plots import rdms as heat_maps

    storage.write_text(folder / 'scores.csv', results.csv_text(result.columns()))
    result.save(folder / 'result.npz')
    ranked = [
        dataclasses.replace(rdm, values=rsa.average_ranks(rdm.values) / len(rdm.values)) for rdm in rdms[:n_models]
    ]
    mean = np.mean([rsa.average_ranks(rdm.values) for rdm in rdms[n_models:]], axis=0) / len(rdms[0].values)
    panels = [Rdm(mean, rdms[0].ids, 'reference', 'rank'), *ranked]
    style.save_figure(heat_maps.draw_rdms(panels, ranks=True, unit='dissimilarity, 0 to 1'), folder / 'rdms')
    if not isinstance(result, rsa.InferenceResult):
        return
    known = ('file', 'key', 'sha256', 'ids')
    reference = {
        'reference': [rdm.name for rdm in rdms[n_models:]],
        'reference_sha256': [rdm.provenance.get('sha256') for rdm in rdms[n_models:]],
        'join': join,
        'stimuli_sha256': storage.array_digest(np.asarray(rdms[0].ids, dtype=np.str_)),
    }
    scores: list[Score] = []
    for score, rdm in zip(result.scores(), rdms):
        about = {key: rdm.provenance[key] for key in known if key in rdm.provenance}
        provenance = {**score.provenance, 'measure': rdm.measure, **about, **reference, 'better': 'larger'}
        scores.append(dataclasses.replace(score, provenance=provenance))
    storage.write_jsonl(folder / 'scores.jsonl', [score.to_json() for score in scores])
    figure = bars.draw_scores(
        scores,
        result.names,
        label=f'{result.index}, all pairs',
        by_subject=result.scores_by_subject,
        p_differences=result.p_differences_fwer,
    )
    style.save_figure(figure, folder / 'scores')
