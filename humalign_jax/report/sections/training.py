"""Training curves."""

from collections.abc import Callable, Mapping, Sequence

import matplotlib.figure

from humalign_jax.report import figures, numbers
from humalign_jax.report.figures import Group, Picture
from humalign_jax.report.plots import curves, style, trends
from humalign_jax.report.section import Block, Options, Section, Words
from humalign_jax.report.sentences import capital
from humalign_jax.report.study import Study

_METRICS = {
    'loss': 'loss',
    'accuracy': 'accuracy',
    'l1': 'L1 (sum over pixel values)',
    'kl': 'KL (nats)',
}
_WATCHED = {
    'rsa': 'RSA with people',
    'rsa_partial': 'RSA, category partialled out',
    'cross_entropy': 'cross-entropy to people (nats)',
}


def section(study: Study, options: Options) -> Section | None:
    """Curves of every network, and alignment where it was watched; None without metrics."""
    blocks: list[Block] = []
    for model in study.models:
        run = study.runs.get(f'networks/{model}')
        if run is None or not run.metrics:
            continue
        rows = run.metrics
        panels = []
        for metric, label in _METRICS.items():
            if any(metric in row for row in rows):
                panels.append(_curve(rows, metric, label, curves.plot_metric))
        for column in _watched_columns(rows):
            label = _WATCHED.get(column.removeprefix('alignment/'), column)
            panels.append(_curve(rows, column, label, trends.plot_watch))
        if panels:
            caption = f'{model}: training by epoch' + (
                ', and agreement with people on a fixed set of images.' if _watched_columns(rows) else '.'
            )
            blocks += [Words(model, is_heading=True), Group('', caption, tuple(panels))]
    return Section(100, 'training', 'Training curves', tuple(blocks)) if blocks else None


def _curve(rows: Sequence[Mapping], column: str, label: str, plot: Callable) -> Picture:
    with style.figure_style():
        figure = matplotlib.figure.Figure(figsize=(3.4, 2.3), layout='constrained')
        plot(figure.subplots(), rows, column, label=label)
    ends = []
    for split in dict.fromkeys(str(row.get('split', '')) for row in rows if column in row):
        last = [row[column] for row in rows if column in row and str(row.get('split', '')) == split][-1]
        if isinstance(last, int | float):
            ends.append(f'{split} {numbers.text(float(last), numbers.decimals(float(last)))}'.strip())
    return figures.picture_of(figure, f'{capital(label)} over epochs; last values: {", ".join(ends)}.')


def _watched_columns(rows: Sequence[Mapping]) -> list[str]:
    columns = dict.fromkeys(key for row in rows for key in row if key.startswith('alignment/'))
    return [c for c in columns if not c.endswith(('_ceiling_lower', '_ceiling_upper'))]
