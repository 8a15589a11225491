"""Test images with the classes that each network predicts."""

from humalign_jax import storage
from humalign_jax.report import figures
from humalign_jax.report.figures import Group
from humalign_jax.report.section import Options, Section
from humalign_jax.report.study import Study

_FILE = 'figures/predictions.png'  # in the run's folder, with a .json beside it


def section(study: Study, options: Options) -> Section | None:
    """The strip of predictions that each classifier's run left; None without any."""
    groups = []
    for model in study.models:
        path = study.folder / 'networks' / model / _FILE
        said = storage.read_sidecar(path)
        if not path.is_file() or not said:
            continue
        pairs = list(zip(said['predicted'], said['true']))
        n_wrong = sum(predicted != true for predicted, true in pairs)
        marked = 'A wrong prediction is crossed, with the true class below.' if n_wrong else 'All are right.'
        caption = f'{model}: {len(pairs)} random images of {said["data"]} with the predicted class. {marked}'
        named = ', '.join(p if p == t else f'{p} (wrong, it is {t})' for p, t in pairs)
        picture = figures.picture_of_file(path, f'Images that {model} calls {named}.', pixelated=False)
        groups.append(Group('', caption, (picture,), layout='wide'))
    return Section(55, 'predictions', 'Test images with predictions', tuple(groups)) if groups else None
