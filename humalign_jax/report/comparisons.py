"""The tables of a study: models beside people, baselines and noise ceilings."""

import dataclasses
import math
from collections.abc import Iterable, Sequence

from humalign_jax.report import numbers
from humalign_jax.report.study import Entry, Study
from humalign_jax.report.tables import Cell, Row, Table, best_of, number_cell

PAIRS = {
    'all': 'all pairs',
    'within': 'pairs of one category',
    'between': 'pairs of two categories',
    'partial': 'all pairs, category partialled out',
}
_SHORT = ('kl', 'js', 'psnr', 'ssim', 'l1', 'rsa')
_NAMES = {
    **{name: name.capitalize() for name in ('spearman', 'pearson', 'kendall', 'bures', 'procrustes')},
    **{name: name.upper() for name in ('cka', 'rbf', 'rv')},
}


@dataclasses.dataclass(frozen=True)
class Column:
    """A column of scores: its head, which direction is better, and a score for each model where there is one."""

    head: str
    better: str
    of: dict[str, Entry]


def headline(study: Study) -> Table | None:
    """Each model's agreement with people in one row, baselines below, ceilings last; None without any score."""
    rows = study.models + study.anchors
    columns = [
        _column('Accuracy', 'larger', {**_plain(study, 'soft_labels/accuracy'), **_accuracies(study)}),
        _column('Cross-entropy to people, nats', 'smaller', _plain(study, 'soft_labels/cross_entropy')),
        _column('JS divergence, nats', 'smaller', _plain(study, 'soft_labels/js')),
        *(_column(_rsa_head(pairs), 'larger', _rsa(study, rows, pairs)) for pairs in ('all', 'within', 'partial')),
        _column('Second-best label', 'larger', _plain(study, 'soft_labels/second_best')),
        _column('Confusions, Spearman', 'larger', _plain(study, 'errors/confusion_spearman')),
        _column('Error consistency, kappa', 'larger', _plain(study, 'errors/kappa')),
    ]
    columns = [column for column in columns if column.of]
    if not columns:
        return None
    heads = {column.head for column in columns}
    entries = [entry for column in columns for entry in column.of.values()]
    notes = ['Bold: best model of the column (a baseline is never marked).']
    if any(math.isfinite(entry.score.low) for entry in entries):
        notes[0] = 'Brackets: 95 % intervals. ' + notes[0]
    said = ['Accuracy is against the published label'] if 'Accuracy' in heads else []
    if 'Second-best label' in heads:
        said.append('second-best label: how often the second choice is the second choice of people')
    notes += [_capital('; '.join(said)) + '.'] if said else []
    similarities = [entry for entry in entries if entry.score.name.startswith('rsa/')]
    if similarities:
        words = f'RSA: {measured(study)}'
        if any(study.main_layer(model) for model in study.models):
            words += ', of the layer named below the model'
        if any(math.isfinite(entry.score.ceiling_upper) for entry in similarities):
            words += '; “% of ceiling” is the score divided by the upper noise ceiling'
        notes.append(f'{words}.')
    return _table(
        study,
        'headline',
        f'How closely each model agrees with {study.reference}.',
        columns,
        notes,
        heads={model: study.main_layer(model) for model in study.models},
    )


def more_soft_labels(study: Study) -> Table | None:
    """Scores against people's distributions that the headline leaves out; None if there are none."""
    wanted = {
        'soft_labels/cross_entropy_scaled': ('Cross-entropy, temperature fitted', 'smaller'),
        'soft_labels/kl': ('KL, nats', 'smaller'),
        'soft_labels/kl_scaled': ('KL, temperature fitted', 'smaller'),
        'soft_labels/js_scaled': ('JS, temperature fitted', 'smaller'),
        'soft_labels/temperature': ('Temperature', 'none'),
        'soft_labels/entropy_spearman': ('Uncertainty, Spearman', 'larger'),
        'soft_labels/human_top1': ('Agrees with people’s majority', 'larger'),
    }
    columns = [_column(head, better, _plain(study, name)) for name, (head, better) in wanted.items()]
    columns = [column for column in columns if column.of]
    if not columns:
        return None
    notes = [
        'Temperature: the softness of the outputs, fitted on validation data; above 1 the network was too sure '
        'of itself. Uncertainty: Spearman correlation of the entropy of the model’s and of people’s distributions.'
    ]
    return _table(study, 'soft_labels', 'Models’ probabilities beside people’s answers.', columns, notes)


def rsa(study: Study) -> Table | None:
    """RSA scores by kind of pairs, of images and of class means; None if there are none."""
    rows = study.models + study.anchors
    columns = [_column(_capital(head), 'larger', _rsa(study, rows, pairs)) for pairs, head in PAIRS.items()]
    for pairs, head in PAIRS.items():
        of = _rsa(study, rows, pairs, 'class')
        columns.append(_column('Pairs of class means' + ('' if pairs == 'all' else f': {head}'), 'larger', of))
    columns = [column for column in columns if column.of]
    if not columns:
        return None
    caption = f'Representational similarity with {study.reference} ({measured(study)}).'
    return _table(study, 'rsa', caption, columns, [], heads={model: study.main_layer(model) for model in study.models})


def index_text(study: Study) -> str:
    """The RSA index in words, such as 'Spearman correlation' or 'linear CKA'."""
    words = [_NAMES.get(word, word) for word in study.index.split('_')]
    kinds = ((('Pearson', 'Spearman', 'rho', 'tau'), ' correlation'), (('CKA', 'RV'), ''))
    noun = next((noun for among, noun in kinds if set(among) & set(words)), ' similarity')
    return ' '.join(words) + noun


def measured(study: Study) -> str:
    """What an RSA score is: the index, and of what."""
    return f'{index_text(study)} of {"features" if study.compares_features else "dissimilarities"}'


def differences(study: Study) -> Table | None:
    """Differences of RSA scores between models, with corrected p values; None if none was tested."""
    rows = []
    for pairs, what in PAIRS.items():
        for entry in study.differences(pairs=pairs):
            p, p_fwer, p_fdr = (_number(entry.get(key)) for key in ('p', 'p_fwer', 'p_fdr'))
            heads = (Cell(f'{entry.model} − {entry.get("other")}'), Cell(what))
            rows.append(Row((*heads, number_cell(entry), *map(_p_cell, (p, p_fwer, p_fdr)))))
    if not rows:
        return None
    return Table(
        'rsa_differences',
        f'Differences between models: {measured(study)}.',
        ('Models', 'Pairs', 'Difference', 'p', 'p, family-wise', 'p, false discovery'),
        tuple(rows),
        ('Corrected p values: over all pairs of models of one kind of pairs.',),
    )


def uncertainty(study: Study) -> Table | None:
    """Accuracy of each model among images that people agree on, and on which they do not."""
    prefix = 'errors/accuracy_by_uncertainty/'
    bins = dict.fromkeys(e.score.name.removeprefix(prefix) for e in study.entries if e.score.name.startswith(prefix))
    if not bins:
        return None
    columns = [_column(name, 'larger', _plain(study, prefix + name)) for name in bins]
    return _table(study, 'uncertainty', 'Accuracy by how uncertain people are.', columns, [])


def arms(study: Study) -> list[Table]:
    """Means over folds of the ways of training on people's answers, and their differences."""
    everything = [e for e in study.entries if str(e.get('fold')) == 'all' and e.run != '']
    own = [e for e in everything if e.get('arm') is not None]
    tables = []
    scored = [e for e in own if not e.score.name.endswith('/difference')]
    if scored:
        names = list(dict.fromkeys(e.score.name for e in scored))
        baselines = [e for e in everything if e.is_anchor and e.score.name in names]
        columns = [
            Column(
                readable(name),
                str(next(e for e in scored if e.score.name == name).get('better', 'none')),
                {str(e.get('arm') or e.model): e for e in [*scored, *baselines] if e.score.name == name},
            )
            for name in names
        ]
        rows = list(dict.fromkeys(str(e.get('arm')) for e in scored))
        anchors = list(dict.fromkeys(e.model for e in baselines))
        caption = 'Training on people’s answers: held-out stimuli, all folds.'
        notes = ['Every stimulus is scored by a network that was not trained on it.']
        tables.append(_table(study, 'arms', caption, columns, notes, rows=(rows, anchors), head='Fine-tuned on'))
    differences = [e for e in own if e.score.name.endswith('/difference')]
    if differences:
        made = tuple(
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
        columns = ('Arms', 'Score', 'Difference', 'Resampled')
        tables.append(Table('arm_differences', 'Differences of the arms on the same held-out stimuli.', columns, made))
    return tables


def vae(study: Study) -> list[Table]:
    """What the VAE reconstructs and what its code keeps, beside what simpler codes do."""
    entries = [e for e in study.entries if e.score.name.startswith('vae/')]
    scored = [e for e in entries if not e.score.name.endswith('/difference')]
    tables = []
    for name, caption, is_wanted in (
        ('vae_reconstruction', 'The VAE’s reconstructions and code.', lambda e: not _reads_code(e)),
        ('vae_code', 'What can be read from the VAE’s code, and from simpler ones.', _reads_code),
    ):
        wanted = [e for e in scored if is_wanted(e)]
        if not wanted:
            continue
        columns: dict[str, Column] = {}
        for entry in wanted:
            head = readable(entry.score.name)
            head += f', {entry.get("measure")}' if entry.get('measure') else ''
            head += f' ({entry.get("unit")})' if entry.get('unit') else ''
            column = columns.setdefault(head, Column(head, str(entry.get('better', 'none')), {}))
            column.of.setdefault(_code_name(entry), entry)
        rows = list(dict.fromkeys(_code_name(e) for e in wanted if not e.is_anchor))
        anchors = list(dict.fromkeys(_code_name(e) for e in wanted if e.is_anchor))
        made = _table(study, name, caption, list(columns.values()), [], rows=(rows, anchors), head='Code')
        tables.append(made)
    leads = [e for e in entries if e.score.name.endswith('/difference')]
    if leads:
        made_rows = tuple(
            Row(
                (
                    Cell(readable(e.score.name.removesuffix('/difference')), str(e.get('unit') or '')),
                    Cell(f'{e.model} − {_other_name(e)}'),
                    number_cell(e),
                )
            )
            for e in leads
        )
        caption = 'The VAE’s lead over simpler codes, image by image.'
        tables.append(Table('vae_differences', caption, ('Measure', 'Codes', 'Difference'), made_rows))
    return tables


def _reads_code(entry: Entry) -> bool:
    return entry.score.name in ('vae/linear_probe_accuracy', 'vae/rsa_same_category')


def _code_name(entry: Entry) -> str:
    """The model, with its layer where that is not the whole code."""
    layer = str(entry.get('layer') or '')
    return f'{entry.model}, {layer}' if layer and not entry.is_anchor and layer != 'mu' else entry.model


def _other_name(entry: Entry) -> str:
    other, layer = str(entry.get('other')), str(entry.get('other_layer') or '')
    return f'{other}, {layer}' if layer and other == entry.model else other


def _table(
    study: Study,
    name: str,
    caption: str,
    columns: Sequence[Column],
    notes: Iterable[str],
    *,
    heads: dict[str, str] | None = None,
    rows: tuple[Sequence[str], Sequence[str]] | None = None,
    head: str = 'Model',
) -> Table:
    """Models and baselines down, columns across, noise ceilings at the foot, a note for each kind of gap."""
    models, anchors = rows if rows is not None else (study.models, study.anchors)
    best = [best_of([column.of.get(model) for model in models], column.better) for column in columns]
    made = []
    for kind, named in (('model', models), ('anchor', anchors)):
        for i, model in enumerate(named):
            if not any(model in column.of for column in columns):
                continue
            cells = [
                _with_share(number_cell(column.of.get(model), best=kind == 'model' and i in best[j]), column)
                for j, column in enumerate(columns)
            ]
            made.append(Row((Cell(model, (heads or {}).get(model, '')), *cells), kind))
    made += _ceilings(columns)
    arrows = {'larger': '\u00a0↑', 'smaller': '\u00a0↓'}  # no line break before an arrow
    return Table(
        name,
        caption,
        (head, *(column.head + arrows.get(column.better, '') for column in columns)),
        tuple(made),
        (*notes, *_ceiling_notes(study, made, columns), *_gaps(made, columns)),
    )


def _ceilings(columns: Sequence[Column]) -> list[Row]:
    """Lower and upper noise ceiling of each column; no rows if no column has one."""
    rows = []
    for end, words in (('ceiling_lower', 'Ceiling, lower'), ('ceiling_upper', 'Ceiling, upper')):
        cells = []
        for column in columns:
            entry = next((e for e in column.of.values() if math.isfinite(getattr(e.score, end))), None)
            if entry is None:
                cells.append(Cell(numbers.MISSING, why='no ceiling is defined'))
                continue
            value = getattr(entry.score, end)
            cells.append(Cell(numbers.text(value, 3), entry=entry, numbers=(value, math.nan, math.nan)))
        if any(cell.entry for cell in cells):
            rows.append(Row((Cell(words), *cells), 'ceiling'))
    return rows


def _ceiling_notes(study: Study, rows: Sequence[Row], columns: Sequence[Column]) -> list[str]:
    """Which of the two bounds is the better one."""
    if not any(row.kind == 'ceiling' for row in rows):
        return []
    words = f'The noise ceilings say what {study.whose_noise} allows'
    if any(column.better == 'smaller' for column in columns):
        words += '; where smaller is better (↓), the lower one is the bound that nothing passes'
    if any(e.get('ceiling') for column in columns for e in column.of.values()):
        words += '. What each one is stands in its score’s row under “Where each number comes from”'
    return [f'{words}.']


def _gaps(rows: Sequence[Row], columns: Sequence[Column]) -> list[str]:
    """What the en dashes stand for."""
    notes = []
    if any(cell.why == 'not measured' for row in rows for cell in row.cells):
        notes.append(f'{numbers.MISSING} not measured: there is no such score.')
    undefined = [
        f'{row.cells[0].text}, {column.head}: {cell.why}'
        for row in rows
        for column, cell in zip(columns, row.cells[1:])
        if cell.text == numbers.MISSING and cell.entry is not None
    ]
    if undefined:
        notes.append(f'{numbers.MISSING} not defined: ' + '; '.join(undefined) + '.')
    return notes


def _with_share(cell: Cell, column: Column) -> Cell:
    """The cell of an RSA score with its share of the upper ceiling."""
    if cell.entry is None or cell.numbers is None or not cell.entry.score.name.startswith('rsa/'):
        return cell
    upper = cell.entry.score.ceiling_upper
    if not (math.isfinite(upper) and upper > 0):
        return cell
    share = f'{numbers.text(100 * cell.entry.score.value / upper, 0)} % of ceiling'
    return dataclasses.replace(cell, detail=f'{cell.detail}\n{share}'.strip())


def _column(head: str, better: str, of: dict[str, Entry]) -> Column:
    """A column; the scores' own word on what is better wins."""
    said = next((str(e.get('better')) for e in of.values() if e.get('better')), better)
    return Column(head, said, of)


def _plain(study: Study, name: str) -> dict[str, Entry]:
    """The first score of each model with this name that belongs to no arm of a training."""
    found: dict[str, Entry] = {}
    for entry in study.find(name, arm=None, fold=None):
        found.setdefault(entry.model, entry)
    return found


def _accuracies(study: Study) -> dict[str, Entry]:
    return {e.model: e for e in study.find('accuracy') if e.run.startswith('networks/')}


def _rsa(study: Study, rows: Sequence[str], pairs: str, level: str = 'image') -> dict[str, Entry]:
    found = {model: study.rsa(model, pairs=pairs, level=level) for model in rows}
    return {model: entry for model, entry in found.items() if entry is not None}


def _rsa_head(pairs: str) -> str:
    return {'all': 'RSA, all pairs', 'within': 'RSA, within category', 'partial': 'RSA, category partialled out'}[pairs]


def readable(name: str) -> str:
    """The last part of a score's name, in words."""
    words = name.rsplit('/', 1)[-1].split('_')
    return ' '.join(word.upper() if word in _SHORT else word for word in words)


def _p_cell(p: float) -> Cell:
    return Cell(numbers.p_text(p).removeprefix('p ').removeprefix('= '), numbers=(p, math.nan, math.nan))


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else math.nan


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
