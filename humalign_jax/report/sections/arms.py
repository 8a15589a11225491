"""Training on people's answers: the arms of a fine-tuning on held-out stimuli."""

import math

import matplotlib.figure

from humalign_jax.records import Score
from humalign_jax.report import figures, numbers, relations
from humalign_jax.report.columns import Column, readable, table_of
from humalign_jax.report.figures import Group
from humalign_jax.report.plots import style, trends
from humalign_jax.report.section import PANEL_INCHES, Block, Main, Options, Section
from humalign_jax.report.sections.soft_labels import CLASS_MEAN
from humalign_jax.report.sentences import Part, Passage, Sentence, capital, passages_of, say
from humalign_jax.report.study import Entry, Study
from humalign_jax.report.tables import Cell, Row, Table, number_cell

_TITLE = 'Training on people’s answers'
_CROSS_ENTROPY = 'soft_labels/cross_entropy'


def section(study: Study, options: Options) -> Section | None:
    """Folds, means over folds and differences of the arms; None without scores."""
    found: tuple[Block | None, ...] = (_folds(study, options), _table(study), _table_of_differences(study))
    blocks, said = tuple(block for block in found if block is not None), passages(study)
    of = {str(e.get('arm')): e for e in study.find(_CROSS_ENTROPY, fold='all') if e.get('arm') is not None}
    main = Main(
        'cross-entropy to people on held-out stimuli (nats)', of, 'smaller', _near_baselines(study, _CROSS_ENTROPY)
    )
    return Section(80, 'training-on-people', _TITLE, blocks, said, main) if blocks or said else None


def passages(study: Study) -> tuple[Passage, ...]:
    """Whether networks fine-tuned on people's answers are closer to people than others."""
    return passages_of((_TITLE, _human_arm(study)))


def _folds(study: Study, options: Options) -> Group | None:
    """Folds as points, means with intervals, baselines as lines."""
    names = [e.score.name for e in study.entries if e.get('arm') is not None and str(e.get('fold')) != 'all']
    names = [name for name in dict.fromkeys(names) if not name.endswith(('/difference', '_scaled'))]
    panels = []
    for name in names:
        entries = [e for e in study.find(name) if e.get('arm') is not None and math.isfinite(e.score.value)]
        folds: dict[str, list[Score]] = {}
        means: dict[str, Score] = {}
        for entry in entries:
            if str(entry.get('fold')) == 'all':
                means[str(entry.get('arm'))] = entry.score
            else:
                folds.setdefault(str(entry.get('arm')), []).append(entry.score)
        if not folds:
            continue
        unit = next((f', {e.get("unit")}' for e in entries if e.get('unit') == 'nats'), '')
        label = f'{readable(name)}{unit}'
        with style.figure_style():
            figure = matplotlib.figure.Figure(figsize=PANEL_INCHES, layout='constrained')
            baselines = _near_baselines(study, name)
            trends.plot_folds(figure.subplots(), folds, means, baselines, label=f'{label}{study.mark}')
            style.legend_below(figure, figure.axes[0])
            alt = f'{label}, held out, by arm: ' + '; '.join(
                f'{arm}: {len(scores)} folds from {numbers.text(min(s.value for s in scores), 3)} to '
                f'{numbers.text(max(s.value for s in scores), 3)}'
                + (f', all {numbers.value_text(means[arm])}' if arm in means else '')
                for arm, scores in folds.items()
            )
            panels.append(figures.picture_of(figure, f'{alt}.', title=capital(label)))
            figures.save(figure, options.figures, f'arms_{name.rsplit("/", 1)[-1]}')
    if not panels:
        return None
    caption = (
        'Held-out score of each fold (points) and of all folds with its 95 % interval (diamonds), by what the '
        'network was fine-tuned on; dashed lines are baselines.'
    )
    return Group('arms', caption, tuple(panels))


def _near_baselines(study: Study, name: str) -> dict[str, float]:
    """Baselines near enough to be drawn: the class-mean label and what people themselves reach."""
    near: dict[str, float] = {}
    for entry in study.find(name):
        is_near = entry.model.startswith(CLASS_MEAN) or entry.model == 'human soft label itself'
        if entry.is_baseline and is_near and math.isfinite(entry.score.value):
            near.setdefault(entry.model, entry.score.value)
    return near


def _of_all_folds(study: Study) -> tuple[list[Entry], list[Entry]]:
    """Scores of the arms over all folds, and their differences."""
    found = [e for e in study.entries if str(e.get('fold')) == 'all' and e.get('arm') is not None]
    differences = [e for e in found if e.score.name.endswith('/difference')]
    return [e for e in found if not e.score.name.endswith('/difference')], differences


def _table(study: Study) -> Table | None:
    """Means over folds of the arms, and baselines on the same stimuli."""
    scored, _ = _of_all_folds(study)
    names = list(dict.fromkeys(e.score.name for e in scored))
    baselines = [e for e in study.entries if str(e.get('fold')) == 'all' and e.is_baseline and e.score.name in names]
    columns = [
        Column(
            readable(name),
            str(next(e for e in scored if e.score.name == name).get('better', 'none')),
            {str(e.get('arm') or e.model): e for e in [*scored, *baselines] if e.score.name == name},
        )
        for name in names
    ]
    arms = list(dict.fromkeys(str(e.get('arm')) for e in scored))
    return table_of(
        study,
        'arms',
        'Training on people’s answers: held-out stimuli, all folds.',
        columns,
        ['Every stimulus is scored by a network that was not trained on it.'],
        rows=(arms, list(dict.fromkeys(e.model for e in baselines))),
        head='Fine-tuned on',
    )


def _table_of_differences(study: Study) -> Table | None:
    _, differences = _of_all_folds(study)
    if not differences:
        return None
    rows = tuple(
        Row(
            (
                Cell(f'{e.get("arm")} − {e.get("other")}'),
                Cell(readable(e.score.name.removesuffix('/difference')), str(e.get('unit') or '')),
                number_cell(e),
                Cell(str(e.get('resampled') or numbers.MISSING)),
            )
        )
        for e in differences
    )
    heads = ('Arms', 'Score', 'Difference', 'Resampled')
    return Table('arm_differences', 'Differences of the arms on the same held-out stimuli.', heads, rows)


def _human_arm(study: Study) -> list[Sentence]:
    """Networks fine-tuned on people's answers beside those of the other arms and the class-mean label."""
    scored = {
        str(e.get('arm')): e
        for e in study.find(_CROSS_ENTROPY, fold='all')
        if e.get('arm') is not None and math.isfinite(e.score.value)
    }
    human = scored.get('human')
    if human is None:
        return []
    sentences = []
    for other, words in (('hard', 'fine-tuned on hard labels'), ('pretrained', 'not fine-tuned')):
        if other not in scored:
            continue
        tested = _difference(study, other)
        if tested is None:
            relation = relations.relation_of_intervals(human, scored[other])
        else:
            relation = 'below' if tested.score.high < 0 else 'above' if tested.score.low > 0 else ''
        verdict = {'below': 'are closer to people than networks', 'above': 'are farther from people than networks'}.get(
            relation, 'are not shown to differ from networks'
        )
        parts: list[Part] = [
            f'On held-out stimuli, networks fine-tuned on people’s answers {verdict} {words}: cross-entropy ',
            *(human, ' against ', scored[other], ' nats'),
        ]
        parts += [' (difference ', tested, ')'] if tested is not None else []
        sentences.append(say(*parts, '.'))
    baseline = next((e for e in study.find(_CROSS_ENTROPY, arm=None) if e.model == CLASS_MEAN), None)
    if baseline is not None:
        verdict = 'below' if human.score.high < baseline.score.value else 'not shown to be below'
        words = f'The cross-entropy of networks fine-tuned on people’s answers is {verdict} that of the class-mean '
        sentences.append(say(f'{words}human label (', baseline, ' nats).'))
    return sentences


def _difference(study: Study, other: str) -> Entry | None:
    """The human arm less another one, resampled over folds where there is such a score."""
    found = study.find(f'{_CROSS_ENTROPY}/difference', arm='human', other=other, fold='all')
    return next((e for e in found if e.get('resampled') == 'folds'), next(iter(found), None))
