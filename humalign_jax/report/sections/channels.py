"""What each channel of a code carries: reconstructions from single channels, and what is lost without one."""

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from humalign_jax import storage
from humalign_jax.report import figures
from humalign_jax.report.columns import column_of, table_of
from humalign_jax.report.figures import Group
from humalign_jax.report.plots import channels as plots
from humalign_jax.report.section import Block, Options, Section, Words
from humalign_jax.report.sentences import Passage, Sentence, passages_of, say
from humalign_jax.report.study import Entry, Study
from humalign_jax.report.tables import Table

SCORES = 'channels/'
_COLUMNS = (  # head, score, mode
    ('MSE alone', 'mse', 'keep_only'),
    ('PSNR alone, dB', 'psnr', 'keep_only'),
    ('MSE alone, to the full reconstruction', 'mse_to_full', 'keep_only'),
    ('Accuracy alone', 'accuracy', 'keep_only'),
    ('Rise in MSE when dropped', 'mse_rise', 'drop_one'),
    ('PSNR when dropped, dB', 'psnr', 'drop_one'),
    ('Accuracy lost when dropped', 'accuracy_lost', 'drop_one'),
)
_SWITCHES = (
    'The decoder of {} unpools with switches: it is told where each maximum of a pooled map stood. These positions '
    'reach it outside the code, so its reconstructions show more than the code holds, and what a single channel seems '
    'to contain is the channel together with the positions.'
)
_WITHOUT = 'The decoder of {} sees the pooled values only: what its reconstructions show is in the code.'


def section(study: Study, options: Options) -> Section | None:
    """Pictures, bars and tables of each network's channels; None without scores of channels."""
    blocks: list[Block] = []
    for model in _models(study):
        blocks += [Words(f'Channels of {model}', is_heading=True), Words(_about_positions(study, model))]
        blocks += [*_bars(study, options, model), *_table(study, model), *_pictures(study, model)]
    said = passages(study)
    return Section(92, 'channels', 'What single channels carry', tuple(blocks), said) if blocks else None


def passages(study: Study) -> tuple[Passage, ...]:
    """The strongest and the weakest channel of each layer, and what they are told outside the code."""
    sentences: list[Sentence] = []
    for model in _models(study):
        for layer in _layers(study, model):
            sentences.append(_extremes(study, model, layer))
        sentences.append(say(_about_positions(study, model)))
    return passages_of(('What single channels carry', sentences))


def _found(study: Study, model: str, **where: Any) -> list[Entry]:
    return [
        entry
        for entry in study.entries
        if entry.score.name.startswith(SCORES)
        and entry.model == model
        and all(entry.get(key) == value for key, value in where.items())
    ]


def _models(study: Study) -> list[str]:
    return [model for model in study.models if _found(study, model)]


def _layers(study: Study, model: str) -> list[str]:
    return list(dict.fromkeys(str(entry.get('layer')) for entry in _found(study, model) if entry.get('layer')))


def _of_channels(study: Study, model: str, layer: str, name: str, mode: str) -> list[Entry]:
    """One score of every channel of a layer, in the order of the channels."""
    found = [e for e in _found(study, model, layer=layer, mode=mode) if e.score.name == SCORES + name]
    return sorted(found, key=lambda entry: entry.get('channel'))


def _about_positions(study: Study, model: str) -> str:
    with_switches = any(entry.get('unpool') == 'switches' for entry in _found(study, model))
    return (_SWITCHES if with_switches else _WITHOUT).format(model)


def _pictures(study: Study, model: str) -> Iterator[Group]:
    """Reconstructions from channels: a group for each image and layer."""
    runs = dict.fromkeys(entry.run for entry in _found(study, model))
    found = []
    for run in runs:
        for path in sorted((study.folder / run / model / 'figures').glob('*.json')):
            said = storage.read_json(path)
            if said.get('picture') == 'channels' and path.with_suffix('.png').is_file():
                found.append((said, path))

    def key(item: tuple[Mapping[str, Any], Any]) -> tuple[str, str]:
        return item[0]['id'], item[0]['layer']

    for (stimulus, layer), group in itertools.groupby(sorted(found, key=key), key=key):
        members = sorted(group, key=lambda item: (item[0]['mode'] != 'keep_only', item[0]['range'] != 'fixed'))
        pictures = [
            figures.picture_of_file(path.with_suffix('.png'), _alt(said), pixelated=False) for said, path in members
        ]
        said = members[0][0]
        caption = (
            f'{stimulus} ({said["label"]}), reconstructed by {model} from channels of {layer}: each one kept alone, '
            'then each one dropped. Panels in a fixed range can be compared; a panel stretched from its minimum to its '
            'maximum shows structure and hides brightness and contrast.'
        )
        yield Group('', caption, tuple(pictures), layout='wide' if len(said['mse']) > 8 else 'panels')


def _alt(said: Mapping[str, Any]) -> str:
    best = min(range(len(said['mse'])), key=lambda k: said['mse'][k])
    return f'{said["caption"]}. The smallest MSE is that of Feature #{best}: {said["mse"][best]:.3f}.'


def _bars(study: Study, options: Options, model: str) -> Iterator[Group]:
    for layer in _layers(study, model):
        scores = [entry.score for entry in _found(study, model, layer=layer)]
        bars = plots.bars_of(scores)
        name = storage.file_names([f'channels_{model}_{layer}'])[0]
        figure = plots.draw_bars(bars, title=f'{model}, channels of {layer}{study.mark}')
        alt = f'Bars of the channels of {layer} of {model}; their numbers are in the table below.'
        picture = figures.picture_of(figure, alt)
        figures.save(figure, options.figures, name)
        caption = (
            f'Channels of {layer} of {model}, n = {scores[0].n} images, with 95 % intervals; the dashed line is the '
            'MSE with all channels.'
        )
        yield Group(name, caption, (picture,), layout='wide')


def _table(study: Study, model: str) -> Iterator[Table]:
    """A row for each channel."""
    columns = []
    for head, name, mode in _COLUMNS:
        of = {}
        for layer in _layers(study, model):
            for entry in _of_channels(study, model, layer, name, mode):
                of[f'{layer}, #{entry.get("channel")}'] = entry
        columns.append(column_of(head, 'none', of))
    rows = list(dict.fromkeys(row for column in columns for row in column.of))
    caption = f'Channels of {model}: each one kept alone, and each one dropped.'
    table = table_of(study, f'channels_{model}', caption, columns, rows=(rows, []), head='Channel')
    if table is not None:
        yield table


def _extremes(study: Study, model: str, layer: str) -> Sentence:
    """The channels of a layer that matter most and least."""
    lost = _of_channels(study, model, layer, 'accuracy_lost', 'drop_one')
    rise = _of_channels(study, model, layer, 'mse_rise', 'drop_one')
    alone = _of_channels(study, model, layer, 'mse', 'keep_only')
    costly, cheap = (choose(lost, key=lambda e: e.score.value) for choose in (max, min))
    needed, spare = (choose(rise, key=lambda e: e.score.value) for choose in (max, min))
    best = min(alone, key=lambda e: e.score.value)
    return say(
        f'{model}, {layer}: accuracy falls most without channel #{costly.get("channel")}, by ', costly,
        f', and least without #{cheap.get("channel")}, by ', cheap,
        f'; the MSE of the reconstruction rises most without #{needed.get("channel")}, by ', needed,
        f', and least without #{spare.get("channel")}, by ', spare,
        f'; of single channels #{best.get("channel")} rebuilds the images best (MSE ', best, ').',
    )  # fmt: skip
