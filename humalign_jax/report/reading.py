"""What the numbers say: the sentences of all sections, after what was measured and before what was not shown.

A sentence appears only if its numbers are there.
"""

import math
import pathlib
from collections.abc import Mapping, Sequence

from humalign_jax.report import relations
from humalign_jax.report.section import Options, Section
from humalign_jax.report.sentences import Sentence, passages_of, say
from humalign_jax.report.study import Study

_MOST_NAMED = 8  # references named in a sentence


def section(study: Study, options: Options, sections: Sequence[Section]) -> Section | None:
    """The passages of the other sections in one; None if there are no sentences."""
    passages = (
        *passages_of(('What was measured', [*_compared_with(study), *_lengths(study, options.recipe_epochs)])),
        *(passage for section in sections for passage in section.passages),
        *passages_of(('What these scores do not show', _limits(study))),
    )
    return Section(20, 'reading', 'What the numbers say', passages) if passages else None


def epochs_run(config: Mapping, metrics: Sequence[Mapping]) -> float:
    """Epochs that a run has trained: the last of its metrics, else those of its config."""
    seen = [row['epoch'] for row in metrics if isinstance(row.get('epoch'), int | float)]
    return float(max(seen)) if seen else float(config['train'].get('epochs', math.nan))


def _lengths(study: Study, recipe_epochs: Mapping[str, float]) -> list[Sentence]:
    """How long each network was trained, and whether its recipe is longer; of imported ones, from which file."""
    sentences = []
    for model in study.models:
        run = study.runs.get(f'networks/{model}')
        if run is not None and run.config.get('weights'):
            file = pathlib.PurePath(run.config['weights']['file']).name
            sentences.append(say(f'{model} was trained elsewhere: its weights are those of {file}.'))
            continue
        if run is None or not run.config.get('train'):
            continue
        epochs = epochs_run(run.config, run.metrics)
        full = recipe_epochs.get(str(run.config.get('model', {}).get('name', '')))
        length = f'{epochs:.3g} epoch' + ('s' if epochs != 1 else '')
        if any(entry.simulated for entry in study.entries if entry.run == run.name):
            words = f'for {length} on simulated data.'
        elif full is None:
            words = f'for {length}.'
        elif epochs < full:
            words = (
                f'for {length}, a reduced run: its recipe has {full:g}. Its scores describe this short training and '
                'not the architecture at its best.'
            )
        else:
            words = f'for its full recipe of {full:g} epochs.'
        sentences.append(say(f'{model} was trained {words}'))
    return sentences


def _compared_with(study: Study) -> list[Sentence]:
    """Whose answers or which RDMs models are compared with, about how many stimuli."""
    count = f'{study.n_stimuli:,} stimuli'.replace(',', ' ') if study.n_stimuli else ''
    sentences = []
    if study.humans:
        about = f' about {count}' if count else ''
        sentences.append(say(f'Models are compared with the answers of {" and ".join(study.humans)}{about}.'))
    elif study.references:
        names = study.references
        listed = ', '.join(names[:_MOST_NAMED]) + (', …' if len(names) > _MOST_NAMED else '')
        what = listed if len(names) == 1 else f'{len(names)} references ({listed}), and scores are means over them'
        about = f'Over {count}, models' if count else 'Models'
        sentences.append(say(f'{about} are compared with {what}.'))
    if study.simulated:
        whole = all(entry.simulated for entry in study.entries)
        words = f'{"The data are" if whole else "Some data are"} simulated: a program made stimuli or answers. These '
        sentences.append(say(f'{words}numbers test the method, and say nothing about people.'))
    return sentences


def _limits(study: Study) -> list[Sentence]:
    """What no score of this study can carry."""
    lines = []
    if study.simulated:
        lines.append('Simulated data say nothing about people.')
    if study.index:
        lines.append(
            'These similarities say that two representations arrange the stimuli alike. They do not say that two '
            'systems compute alike, nor why.'
        )
    k = len(study.class_names)
    if study.humans and k:
        lines.append(
            f'People answered with one of {k} classes. Similarity between their answers is similarity in naming, not '
            'in everything that people perceive.'
        )
    trained = {name: run for name, run in study.runs.items() if name.startswith('networks/')}
    if len({str(run.config.get('seed')) for run in trained.values()}) == 1:
        lines.append(
            'There is one training of each network: intervals say how the score would vary with other data of the '
            'same kind, not with another seed or recipe.'
        )
    if len(trained) > 1:
        lines.append(
            'Networks differ in accuracy, size and length of training; a difference between two of them is not '
            'evidence for any one of these.'
        )
    if any(math.isfinite(e.score.low) for e in study.entries):
        line = 'Intervals are for one score at a time'
        corrected = any(math.isfinite(relations.family_wise_p(e)) for e in study.entries)
        lines.append(line + ('; only p values called corrected allow for the number of tests.' if corrected else '.'))
    return [say(line) for line in lines]
