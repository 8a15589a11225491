"""Makes the page, figures and tables of a study from the files that its stages left."""

import datetime
import pathlib

from absl import logging
from ml_collections import ConfigDict

from humalign_jax import settings
from humalign_jax.report import claims, page
from humalign_jax.report.loading import load_study

_KEYS = ('experiment', 'seed', 'study', 'title', 'layers', 'human_measure', 'n_images', 'recipe_epochs', 'claims')


def run(config: ConfigDict, workdir: str) -> None:
    """Writes `report.html`, `figures/` and `tables/` into the workdir, from the study in `config.study`.

    Raises:
        ValueError: The study holds no scores, or a file of it is damaged.
    """
    settings.check_keys(config, _KEYS, 'config')
    if config.n_images < 0:
        raise ValueError(f'config.n_images={config.n_images} must not be negative.')
    claims.check(config.claims)
    study = load_study(config.study or workdir, layers=tuple(config.layers), human_measure=config.human_measure)
    sections = page.write_page(
        study,
        workdir,
        date=datetime.datetime.now(datetime.UTC).date().isoformat(),
        title=config.title,
        n_images=config.n_images,
        recipe_epochs=dict(config.recipe_epochs),
        claims=tuple(config.claims),
    )
    logging.info(
        '%d scores of %s in %d sections: %s',
        len(study.entries),
        ', '.join(study.models),
        len(sections),
        pathlib.Path(workdir) / 'report.html',
    )
