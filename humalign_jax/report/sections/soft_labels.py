"""Models' probabilities beside people's answers, and accuracy where people are sure and where they are not."""

import math

import matplotlib.figure

from humalign_jax.report import figures, numbers
from humalign_jax.report.columns import column_of, of_models, table_of
from humalign_jax.report.figures import Group
from humalign_jax.report.plots import style, trends
from humalign_jax.report.section import Block, Main, Options, Section, Words
from humalign_jax.report.sentences import Part, Passage, Sentence, listed, passages_of, say
from humalign_jax.report.study import Study
from humalign_jax.report.tables import Table

CLASS_MEAN = 'class-mean human label'  # the baseline that knows the true class and people's average answer to it
_COLUMNS = {
    'soft_labels/cross_entropy_scaled': ('Cross-entropy, temperature fitted', 'smaller'),
    'soft_labels/kl': ('KL, nats', 'smaller'),
    'soft_labels/kl_scaled': ('KL, temperature fitted', 'smaller'),
    'soft_labels/js_scaled': ('JS, temperature fitted', 'smaller'),
    'soft_labels/temperature': ('Temperature', 'none'),
    'soft_labels/entropy_spearman': ('Uncertainty, Spearman', 'larger'),
    'soft_labels/human_top1': ('Agrees with people’s majority', 'larger'),
}
_BY_UNCERTAINTY = 'errors/accuracy_by_uncertainty/'


def section(study: Study, options: Options) -> Section | None:
    """Scores that the headline leaves out, and accuracy by people's uncertainty; None without scores."""
    table = _table(study)
    blocks: list[Block] = [] if table is None else [table]
    blocks += _uncertainty(study, options)
    said = passages(study)
    if not (blocks or said):
        return None
    main = Main('cross-entropy to people (nats)', of_models(study, 'soft_labels/cross_entropy'), 'smaller')
    return Section(60, 'soft-labels', 'Probabilities beside people’s answers', tuple(blocks), said, main)


def passages(study: Study) -> tuple[Passage, ...]:
    """Whether a network's probabilities are closer to people than their average answer to each class."""
    return passages_of(('Probabilities', _against_class_mean(study)))


def _table(study: Study) -> Table | None:
    columns = [column_of(head, better, of_models(study, name)) for name, (head, better) in _COLUMNS.items()]
    note = (
        'Temperature: the softness of the outputs, fitted on validation data; above 1 the network was too sure '
        'of itself. Uncertainty: Spearman correlation of the entropy of the model’s and of people’s distributions.'
    )
    return table_of(study, 'soft_labels', 'Models’ probabilities beside people’s answers.', columns, [note])


def _uncertainty(study: Study, options: Options) -> list[Block]:
    """Accuracy of each model among images that people agree on, and on which they do not."""
    named = (e.score.name for e in study.entries if e.score.name.startswith(_BY_UNCERTAINTY))
    bins = [name.removeprefix(_BY_UNCERTAINTY) for name in dict.fromkeys(named)]
    columns = [column_of(place, 'larger', of_models(study, _BY_UNCERTAINTY + place)) for place in bins]
    table = table_of(study, 'uncertainty', 'Accuracy by how uncertain people are.', columns)
    if table is None:
        return []
    models = [model for model in study.models + study.baselines if any(model in column.of for column in columns)]
    lines = {
        model: {
            column.head: column.of[model].score
            for column in columns
            if model in column.of and math.isfinite(column.of[model].score.value)
        }
        for model in models
    }
    lines = {model: scores for model, scores in lines.items() if scores}
    with style.figure_style():
        figure = matplotlib.figure.Figure(figsize=(4.4, 3.2), layout='constrained')
        trends.plot_lines(
            figure.subplots(),
            lines,
            label=f'accuracy{study.mark}',
            places=bins,
            xlabel='how uncertain people are',
            show_ceiling=False,
        )
        style.legend_below(figure, figure.axes[0])
        alt = 'Accuracy by how uncertain people are: ' + '; '.join(
            f'{model}: ' + ', '.join(f'{place} {numbers.text(score.value, 2)}' for place, score in scores.items())
            for model, scores in lines.items()
        )
        picture = figures.picture_of(figure, f'{alt}.')
        figures.save(figure, options.figures, 'uncertainty')
    caption = 'Accuracy where people agree and where they do not, with 95 % intervals.'
    return [Words('By people’s uncertainty', is_heading=True), Group('uncertainty', caption, (picture,)), table]


def _against_class_mean(study: Study) -> list[Sentence]:
    """Networks beside the baseline `CLASS_MEAN`, with and without a fitted temperature."""
    baseline = of_models(study, 'soft_labels/cross_entropy').get(CLASS_MEAN)
    if baseline is None:
        return []
    sentences: list[Sentence] = []
    for name, what in (
        ('soft_labels/cross_entropy', 'as the networks give them'),
        ('soft_labels/cross_entropy_scaled', 'after fitting a temperature'),
    ):
        found = study.find(name, arm=None, fold=None)
        scored = [e for e in found if not e.is_baseline and math.isfinite(e.score.value)]
        if not scored:
            continue
        below = [e for e in scored if e.score.high < baseline.score.value]
        above = [e for e in scored if e.score.low > baseline.score.value]
        tail: list[Part] = []
        if below:
            tail += ['closer to people are ', *listed(below)]
        if above:
            tail += ['; ' if tail else '', 'farther from people are ', *listed(above)]
        if not tail:
            tail = ['no network is shown to differ from it']
        words = 'Knowing the true class and people’s average answer to it gives a cross-entropy of '
        sentences.append(say(words, baseline, f' nats; probabilities {what}: ', *tail, '.'))
    return sentences
