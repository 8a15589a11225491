"""What a latent code keeps: pictures, reconstructions, and categories that can be read from the code."""

import math
import pathlib
from collections.abc import Callable, Mapping

from humalign_jax import storage
from humalign_jax.report import figures
from humalign_jax.report.columns import column_of, readable, table_of
from humalign_jax.report.figures import Group
from humalign_jax.report.section import Block, Options, Section
from humalign_jax.report.sentences import Passage, Sentence, capital, listed, passages_of, say
from humalign_jax.report.study import Entry, Study
from humalign_jax.report.tables import Cell, Row, Table, number_cell

SCORES = 'vae/'  # the names of these scores begin so, whatever the model is called
PROBE = f'{SCORES}linear_probe_accuracy'
_OF_CATEGORIES = (PROBE, f'{SCORES}rsa_same_category')
_PICTURES = ('reconstructions', 'samples', 'interpolations', 'traversals', 'dimensions')  # in this order


def section(study: Study, options: Options) -> Section | None:
    """Pictures and tables of what the stage `latents` left; None without any."""
    found: tuple[Table | None, ...] = (
        _table(study, 'latents_reconstruction', 'Reconstructions and use of the code.', lambda e: not _reads_code(e)),
        _table(study, 'latents_code', 'What can be read from the code, and from simpler ones.', _reads_code),
        _table_of_differences(study),
    )
    blocks: list[Block] = [*_pictures(study), *(table for table in found if table is not None)]
    said = passages(study)
    return Section(90, 'latents', 'What the latent code keeps', tuple(blocks), said) if blocks or said else None


def passages(study: Study) -> tuple[Passage, ...]:
    """Whether a linear rule reads the category from the code."""
    return passages_of(('What the latent code keeps', _probe(study)))


def _pictures(study: Study) -> list[Block]:
    blocks: list[Block] = []
    found = sorted((study.folder / 'latents').rglob('*.png'))
    for path in sorted(found, key=lambda p: _PICTURES.index(p.stem) if p.stem in _PICTURES else len(_PICTURES)):
        caption, alt = _words(path)
        picture = figures.picture_of_file(path, alt, pixelated=path.with_suffix('.json').is_file())
        relative = path.relative_to(study.folder).as_posix()
        blocks.append(Group('', f'{caption} ({relative})', (picture,), layout='wide'))
    return blocks


def _words(path: pathlib.Path) -> tuple[str, str]:
    """Caption and alternative text of a picture, from the .json beside it, else from its name."""
    sidecar = path.with_suffix('.json')
    said = storage.read_json(sidecar) if sidecar.is_file() else {}
    rows, columns = said.get('rows') or [], [str(column) for column in said.get('columns') or []]
    kind = str(said.get('picture') or path.stem)
    if kind == 'reconstructions':
        words = 'Test images and, below each, its reconstruction'
        words += f'; a column for each class: {", ".join(columns)}' if columns else ''
    elif kind == 'samples':
        words = 'Images decoded from random codes (samples of the prior)'
    elif kind == 'traversals':
        words = 'One latent at a time moved away from the code of an image, the most informative latents first'
        words += f'; {len(rows)} latents in rows, columns from {columns[0]} to {columns[-1]}' if columns else ''
    elif kind == 'interpolations':
        pairs = [' to '.join(map(str, row['classes'])) for row in rows if isinstance(row, Mapping) and 'classes' in row]
        words = 'Codes between those of two images, decoded'
        words += f'; rows: {", ".join(pairs)}' if pairs else ''
    elif kind == 'dimensions':
        words = 'How much each latent tells about an image, the most informative first'
    else:
        words = capital(kind.replace('_', ' '))
    caption = str(said.get('caption') or words).rstrip('.')
    return caption, str(said.get('alt') or caption)


def _scored(study: Study) -> tuple[list[Entry], list[Entry]]:
    """Scores of codes, and differences of codes."""
    found = [e for e in study.entries if e.score.name.startswith(SCORES)]
    differences = [e for e in found if e.score.name.endswith('/difference')]
    return [e for e in found if not e.score.name.endswith('/difference')], differences


def _reads_code(entry: Entry) -> bool:
    return entry.score.name in _OF_CATEGORIES


def _table(study: Study, name: str, caption: str, is_wanted: Callable[[Entry], bool]) -> Table | None:
    """Codes as rows, a column for each kind of score with its measure and unit."""
    of: dict[str, dict[str, Entry]] = {}
    wanted = [entry for entry in _scored(study)[0] if is_wanted(entry)]
    for entry in wanted:
        head = readable(entry.score.name)
        head += f', {entry.get("measure")}' if entry.get('measure') else ''
        head += f' ({entry.get("unit")})' if entry.get('unit') else ''
        of.setdefault(head, {}).setdefault(_code(study, entry), entry)
    columns = [column_of(head, 'none', found) for head, found in of.items()]
    rows = [dict.fromkeys(_code(study, e) for e in wanted if e.is_baseline == kind) for kind in (False, True)]
    return table_of(study, name, caption, columns, rows=(list(rows[0]), list(rows[1])), head='Code')


def _code(study: Study, entry: Entry) -> str:
    """The model, and its layer where that is not the one that stands for it."""
    layer = str(entry.get('layer') or '')
    return f'{entry.model}, {layer}' if layer and not entry.is_baseline and layer not in study.layers else entry.model


def _table_of_differences(study: Study) -> Table | None:
    _, differences = _scored(study)
    if not differences:
        return None
    rows = tuple(
        Row(
            (
                Cell(readable(e.score.name.removesuffix('/difference')), str(e.get('unit') or '')),
                Cell(f'{e.model} − {_other(e)}'),
                number_cell(e),
            )
        )
        for e in differences
    )
    caption = 'Lead of the code over simpler ones, image by image.'
    return Table('latents_differences', caption, ('Measure', 'Codes', 'Difference'), rows)


def _other(entry: Entry) -> str:
    other, layer = str(entry.get('other')), str(entry.get('other_layer') or '')
    return f'{other}, {layer}' if layer and other == entry.model else other


def _probe(study: Study) -> list[Sentence]:
    """Accuracy of a linear probe on the code of each model, beside guessing and the probe on other codes."""
    found = [entry for entry in study.find(PROBE) if math.isfinite(entry.score.value)]
    first = {entry.model: entry for entry in reversed(found) if not entry.is_baseline}  # a model's whole code is first
    sentences = []
    for model in study.models:
        if model not in first:
            continue
        probe = first[model]
        chance = _chance(study, probe)
        tail = '.' if chance is None else f', where guessing gives {chance:g}.'
        if chance is not None and probe.score.low > chance:
            tail = f'{tail[:-1]}: the code carries category information that a linear rule can read.'
        sentences.append(say(f'A linear probe on the code of {model} names the category with accuracy ', probe, tail))
    others = [entry for entry in found if entry.is_baseline]
    if sentences and others:
        sentences.append(say('The same probe on codes without a network: ', *listed(others), '.'))
    return sentences


def _chance(study: Study, probe: Entry) -> float | None:
    """What guessing gives: what the score says, else one over the number of classes of the confusion matrices."""
    if isinstance(probe.get('chance'), int | float):
        return float(probe.get('chance'))
    for _, values, _ in study.arrays('alignment/*/confusion.npy'):
        return 1.0 / len(values)
    return None
