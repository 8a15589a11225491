"""How closely each model agrees with people, in one table."""

import dataclasses
import math

from humalign_jax.report import similarities
from humalign_jax.report.columns import Column, column_of, of_models, table_of
from humalign_jax.report.section import Options, Section
from humalign_jax.report.sentences import capital
from humalign_jax.report.study import Study
from humalign_jax.report.tables import Table

_N_FIRST = 5  # columns shown at first


def section(study: Study, options: Options) -> Section | None:
    """The main score of each kind; None without any."""
    table = _table(study)
    return None if table is None else Section(10, 'headline', 'Headline table', (table,))


def _table(study: Study) -> Table | None:
    """Each model's agreement with people in one row, baselines below, ceilings last."""
    accuracies = {e.model: e for e in study.find('accuracy') if e.run.startswith('networks/')}
    columns = [
        _similarity(study, 'RSA, all pairs', 'all'),
        _similarity(study, 'RSA, category partialled out', 'partial'),
        column_of('Cross-entropy to people, nats', 'smaller', of_models(study, 'soft_labels/cross_entropy')),
        column_of('Accuracy', 'larger', {**of_models(study, 'soft_labels/accuracy'), **accuracies}),
        _similarity(study, 'RSA, within category', 'within'),
        column_of('JS divergence, nats', 'smaller', of_models(study, 'soft_labels/js')),
        column_of('Second-best label', 'larger', of_models(study, 'soft_labels/second_best')),
        column_of('Confusions, Spearman', 'larger', of_models(study, 'errors/confusion_spearman')),
        column_of('Error consistency, kappa', 'larger', of_models(study, 'errors/kappa')),
    ]
    compared = study.humans or study.references
    table = table_of(
        study,
        'headline',
        f'How closely each model agrees with {study.reference}.' if compared else 'The main scores of each model.',
        columns,
        _notes(study, [column for column in columns if column.of]),
        details={model: study.main_layer(model) for model in study.models},
    )
    return None if table is None else dataclasses.replace(table, n_first=_N_FIRST)


def _similarity(study: Study, head: str, pairs: str) -> Column:
    of = similarities.by_model(study, study.models + study.baselines, pairs)
    return column_of(head, 'larger', of, shares=True)


def _notes(study: Study, columns: list[Column]) -> list[str]:
    """What marks and columns mean, of those that the table has."""
    heads = {column.head for column in columns}
    entries = [entry for column in columns for entry in column.of.values()]
    notes = ['Bold: best model of the column (a baseline is never marked).']
    if any(math.isfinite(entry.score.low) for entry in entries):
        notes[0] = 'Brackets: 95 % intervals. ' + notes[0]
    said = ['Accuracy is against the published label'] if 'Accuracy' in heads else []
    if 'Second-best label' in heads:
        said.append('second-best label: how often the second choice is the second choice of people')
    notes += [capital('; '.join(said)) + '.'] if said else []
    scored = [entry for column in columns if column.shares for entry in column.of.values()]
    if scored:
        words = f'RSA: {similarities.measured(study)}'
        if any(study.main_layer(model) for model in study.models):
            words += ', of the layer named below the model'
        if any(math.isfinite(entry.score.ceiling_upper) for entry in scored):
            words += '; “% of ceiling” is the score divided by the upper noise ceiling'
        notes.append(f'{words}.')
    return notes
