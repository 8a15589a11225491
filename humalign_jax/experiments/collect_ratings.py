"""Draws pairs of images and writes the page on which people rate how similar they are."""

import csv
import io
import pathlib

from absl import logging
from ml_collections import ConfigDict

from humalign_jax import data, settings, storage
from humalign_jax.data.pairs import sample_pairs
from humalign_jax.human import rating_page

KEYS = ('experiment', 'seed', 'data', 'split', 'categories', 'n_pairs', 'wording', 'invert')


def run(config: ConfigDict, workdir: str) -> None:
    """Writes `rate.html`, `pairs.csv` and `pairs.json`, which says how the pairs were drawn, into the workdir.

    Raises:
        ValueError: The images cannot be read, or a class has too few of them.
    """
    settings.check_keys(config, KEYS, 'config')
    options = settings.plain(config.data)
    name = options.pop('name', '')
    if name not in data.SOURCES:
        raise ValueError(f'config.data.name={name!r} is no data source.{settings.nearest(name, data.SOURCES)}')
    images = settings.call(data.SOURCES[name], options, 'config.data', split=config.split)
    pairs = sample_pairs(images, config.categories, config.n_pairs, seed=config.seed)
    wording = settings.call(rating_page.Wording, config.wording, 'config.wording')

    # Images of a folder have no published order, and other splits no column of their own: their ids name them.
    columns = 'test_idx' if images.stimuli is None and config.split == 'test' else 'stimulus'
    named = images.index if columns == 'test_idx' else images.ids
    rated = [
        rating_page.RatedPair(name, category, str(named[a]), str(named[b]), images.images[a], images.images[b])
        for name, category, (a, b) in zip(pairs.names.tolist(), pairs.categories.tolist(), pairs.rows.tolist())
    ]
    folder = pathlib.Path(workdir)
    table = io.StringIO()
    writer = csv.writer(table, lineterminator='\n')
    writer.writerow(['pair_id', 'digit', f'{columns}_a', f'{columns}_b'])
    writer.writerows([pair.name, pair.category, pair.a, pair.b] for pair in rated)
    storage.write_text(folder / 'pairs.csv', table.getvalue())
    shown = images.images[pairs.rows]
    about = {'seed': config.seed, 'data': f'{images.name}/{images.split}', 'simulated': images.simulated}
    about |= {'images_sha256': storage.array_digest(shown), 'ids': images.ids[pairs.rows]}
    storage.write_json(folder / 'pairs.json', about)
    page = rating_page.render(rated, wording, columns=columns, invert=config.invert)
    storage.write_text(folder / 'rate.html', page)
    logging.info(
        '%d pairs: send %s to people, who send back a table each. Its images are those of %s: mind their licence.',
        len(pairs),
        folder / 'rate.html',
        images.name,
    )
