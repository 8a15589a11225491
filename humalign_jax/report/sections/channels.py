"""Classifiers with a decoder: answers, reconstructions, and what each channel of their code carries."""

import dataclasses
import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import matplotlib.figure

from humalign_jax import storage
from humalign_jax.report import figures, numbers
from humalign_jax.report.columns import column_of, table_of
from humalign_jax.report.figures import Group
from humalign_jax.report.plots import channels as plots
from humalign_jax.report.plots import curves, style
from humalign_jax.report.section import Block, Main, Options, Section, Words
from humalign_jax.report.sentences import Passage, Sentence, listed, passages_of, say
from humalign_jax.report.study import Entry, Study
from humalign_jax.report.tables import Cell, Row, Table, number_cell

SCORES = 'channels/'
_NETWORKS = (  # head, score, better
    ('Accuracy', 'accuracy', 'larger'),
    ('Macro F1', 'macro_f1', 'larger'),
    ('Cross-entropy, nats', 'cross_entropy', 'smaller'),
    ('MSE', 'mse', 'smaller'),
    ('PSNR, dB', 'psnr', 'larger'),
    ('SSIM', 'ssim', 'larger'),
)
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
    """Networks that may have a decoder, and each network's channels; None without either."""
    blocks: list[Block] = [*_networks(study), *_classes(study), *_curves(study, options), *_reconstructions(study)]
    models = _models(study)
    blocks += [Words(said) for model, said in _about_positions(study).items() if blocks and model not in models]
    for model in models:
        blocks += [Words(f'Channels of {model}', is_heading=True), Words(_about_positions(study)[model])]
        blocks += [*_bars(study, options, model), *_table(study, model), *_pictures(study, model)]
    title = 'Reconstructions and single channels'
    main = Main('accuracy', _trained(study, 'accuracy'))
    return Section(92, 'channels', title, tuple(blocks), passages(study), main) if blocks else None


def passages(study: Study) -> tuple[Passage, ...]:
    """Accuracy with and without a decoder; the strongest and the weakest channel of each layer; switches."""
    accuracy, sentences = _trained(study, 'accuracy'), []
    kinds = [[entry for entry in accuracy.values() if bool(entry.get('decoder')) is kind] for kind in (True, False)]
    if all(kinds):
        words = 'Accuracy with a decoder, which is trained together with the classifier: '
        sentences.append(say(words, *listed(kinds[0]), '; without one: ', *listed(kinds[1]), '.'))
    psnr = _trained(study, 'psnr').values()
    kinds = [[e for e in psnr if (e.get('unpool') == 'switches') is kind] for kind in (True, False)]
    if all(kinds):
        words = 'PSNR of reconstructions with switches, in dB: '
        sentences.append(say(words, *listed(kinds[0]), '; without switches: ', *listed(kinds[1]), '.'))
    sentences += [_extremes(study, model, layer) for model in _models(study) for layer in _layers(study, model)]
    sentences += [say(said) for said in _about_positions(study).values()]
    return passages_of(('Reconstructions and single channels', sentences))


def _trained(study: Study, name: str) -> dict[str, Entry]:
    """A test score of each network whose training says whether it has a decoder."""
    found = {e.model: e for e in study.find(name) if e.get('decoder') is not None and not e.is_baseline}
    return {model: found[model] for model in study.models if model in found}


def _networks(study: Study) -> Iterator[Table]:
    """Answers and reconstructions of the test images, a row for each network."""
    columns = [column_of(head, better, _trained(study, name)) for head, name, better in _NETWORKS]
    details = {
        model: f'decoder, unpools by {entry.get("unpool")}' if entry.get('decoder') else 'no decoder'
        for model, entry in _trained(study, 'accuracy').items()
    }
    caption = 'Classification and reconstruction of the test images.'
    notes = ['The MSE is in squared units of the preprocessed images.'] if columns[3].of else []
    table = table_of(study, 'decoders', caption, columns, notes, details=details, rows=(list(details), []))
    if table is not None:
        yield table


def _classes(study: Study) -> Iterator[Table]:
    """Classification report: precision, recall and F1 of each class, three columns for each network."""
    heads, rows = ['Class'], {}
    for model, entry in _trained(study, 'accuracy').items():
        found = study.array(f'{entry.run}/per_class.npy')
        if found is None:
            continue
        values, sidecar = found
        heads += [f'{model}: {measure}' for measure in ('precision', 'recall', 'F1')]
        for name, (precision, _, f1, _) in zip(sidecar['class_names'], values):
            recall = next((e for e in study.find(f'accuracy/{name}') if e.run == entry.run), None)
            cells = Cell(numbers.text(float(precision), 3)), number_cell(recall), Cell(numbers.text(float(f1), 3))
            rows.setdefault(str(name), [Cell(str(name))]).extend(cells)
    whole = tuple(Row(tuple(cells)) for cells in rows.values() if len(cells) == len(heads))
    if whole:
        notes = ('Brackets: 95 % intervals of the recall, which is the accuracy of the class.',)
        yield Table('classes', 'Classification report on the test images.', tuple(heads), whole, notes)


def _curves(study: Study, options: Options) -> Iterator[Group]:
    """The loss by epoch, a panel for each network."""
    panels = []
    for model, entry in _trained(study, 'accuracy').items():
        run = study.runs[entry.run]
        if not any('loss' in row for row in run.metrics):
            continue
        label = f'loss ({_trained(study, "loss")[model].get("unit")})'
        with style.figure_style():
            figure = matplotlib.figure.Figure(figsize=(style.COLUMN_INCHES, 2.3), layout='constrained')
            curves.plot_metric(figure.subplots(), run.metrics, 'loss', label=label)
        alt = f'Loss of {model} by epoch, a line for each split.'
        panels.append(figures.picture_of(figure, alt, title=model))
        figures.save(figure, options.figures, storage.file_names([f'loss_{model}'])[0])
    if panels:
        yield Group('', 'Loss by epoch of the training images and of held-out ones.', tuple(panels))


def _reconstructions(study: Study) -> Iterator[Group]:
    """Test images and their reconstructions, before training and after some epochs."""
    for model, entry in _trained(study, 'accuracy').items():
        found = [
            (storage.read_json(path.with_suffix('.json')), path)
            for path in (study.folder / entry.run / 'pictures').glob('reconstructions_epoch_*.png')
            if path.with_suffix('.json').is_file()
        ]
        pictures = []
        for said, path in sorted(found, key=lambda item: item[0]['epoch']):
            mean = sum(said['psnr']) / len(said['psnr'])
            alt = (
                f'{len(said["ids"])} images and their reconstructions after epoch {said["epoch"]:g}, PSNR {mean:.1f} dB'
            )
            title = f'{model}, epoch {said["epoch"]:g}: mean PSNR {mean:.1f} dB'
            pictures.append(figures.picture_of_file(path, alt, pixelated=False))
            pictures[-1] = dataclasses.replace(pictures[-1], title=title)
        if pictures:
            rows = '; '.join(map(str, said['rows']))
            yield Group('', f'Test images and their reconstructions by {model}. Rows: {rows}.', tuple(pictures), 'wide')


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


def _about_positions(study: Study) -> dict[str, str]:
    """What each network's decoder is told outside the code."""
    unpool = {e.model: e.get('unpool') for e in study.entries if e.get('unpool')}
    return {model: (_SWITCHES if kind == 'switches' else _WITHOUT).format(model) for model, kind in unpool.items()}


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
            'maximum shows structure and hides brightness and contrast. Channels whose panels look alike when kept '
            'alone are silent for this image: the decoder draws its biases, and with switches the positions.'
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
        f'{model}, {layer}: the accuracy lost without a channel is largest for #{costly.get("channel")} (', costly,
        f') and smallest for #{cheap.get("channel")} (', cheap,
        f'); the rise in MSE without a channel is largest for #{needed.get("channel")} (', needed,
        f') and smallest for #{spare.get("channel")} (', spare,
        f'); alone, #{best.get("channel")} rebuilds the images best (MSE ', best, ').',
    )  # fmt: skip
