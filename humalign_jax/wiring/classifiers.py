"""Classifiers of images, whatever trained them: their task, their scores, and a picture of images with predictions."""

import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from absl import logging

from humalign_jax import objectives, settings, storage
from humalign_jax.alignment import scoring
from humalign_jax.records import ImageSet
from humalign_jax.report.plots import predictions, style
from humalign_jax.train import loop
from humalign_jax.wiring import images, training

N_SHOWN = 10


def make_task(setup: images.Setup, provenance: Mapping[str, Any]) -> loop.Task:
    """Cross-entropy as `config.objective` says, and the scores of a classifier.

    With `config.objective.mirrored_views` there is a second accuracy, `accuracy_mirrored_views`, of two views of each
    image, see `objectives.make_classification_measure`.

    Args:
        setup: What the run's config says.
        provenance: What every score says beside what `wiring.provenance` gives.
    """
    of_loss = dict(setup.objective)
    mirrored_views = of_loss.pop('mirrored_views', False)
    return images.make_task(
        setup,
        make_objective=lambda model: settings.call(
            objectives.make_classification_objective, of_loss, 'config.objective', model=model
        ),
        measure=objectives.make_classification_measure(setup.model, mirrored_views=mirrored_views),
        metrics=('loss', 'accuracy', *(('accuracy_mirrored_views',) if mirrored_views else ())),
        write_scores=lambda folder, split, values, said: write_scores(
            setup, folder, split, values, {**said, **provenance}
        ),
    )


def write_scores(
    setup: images.Setup,
    folder: pathlib.Path,
    split: str,
    values: Mapping[str, np.ndarray],
    provenance: Mapping[str, Any],
    *,
    unit: str = 'nats',
    more: Mapping[str, str] | None = None,
) -> None:
    """Writes `scores.jsonl`, `confusion.npy`, `per_class.npy` and `figures/predictions` into the folder.

    Args:
        setup: What the run's config says.
        folder: Where to.
        split: Which images were scored.
        values: Of each of them, `loss` and `prediction`, [n], and perhaps `accuracy_mirrored_views`, [n] 0 or 1.
        provenance: Provenance of the scores.
        unit: Of the loss.
        more: Units of further values that are averaged into scores, by name.
    """
    scored = setup.images[split]
    scores, counts = scoring.classification_scores(values, scored.labels, scored.class_names, provenance, unit=unit)
    others = [scoring.mean(name, values[name], {**provenance, 'unit': of}) for name, of in (more or {}).items()]
    if 'accuracy_mirrored_views' in values:
        right = values['accuracy_mirrored_views'] > 0
        about = {**provenance, 'measure': 'class of the mean logits of the image and its mirror image, left to right'}
        others.append(scoring.proportion('accuracy_mirrored_views', int(right.sum()), len(right), about))
    training.write_scores(folder, [*scores[:3], *others, *scores[3:]])
    said = {'class_names': scored.class_names, **provenance}
    storage.write_array(folder / 'confusion.npy', counts, {'axes': ['true class', 'predicted class'], **said})
    of_classes = {'axes': ['true class', 'measure'], 'measures': scoring.CLASS_MEASURES, **said}
    storage.write_array(folder / 'per_class.npy', scoring.class_measures(counts), of_classes)
    show_predictions(folder, scored, np.asarray(values['prediction'], np.int64), provenance)
    accuracy, named = scores[0], [scores[1], *others]
    logging.info(
        '%s on %s: accuracy %.4f [%.4f, %.4f], %s, n = %d, checkpoint of step %d.',
        setup.model_name, provenance['data'], accuracy.value, accuracy.low, accuracy.high,
        ', '.join(f'{score.name} {score.value:.4f}' for score in named), accuracy.n, provenance['checkpoint_step'],
    )  # fmt: skip


def show_predictions(
    folder: pathlib.Path, scored: ImageSet, predicted: np.ndarray, provenance: Mapping[str, Any]
) -> None:
    """Draws ten random images with their predicted classes: `figures/predictions.png` and `.pdf`, described in `.json`.

    Args:
        folder: Where to.
        scored: The images.
        predicted: Their predicted classes, [n].
        provenance: Of the scores: `seed` draws the images; `data` stands in the title.
    """
    n = min(N_SHOWN, len(scored))
    rows = np.random.default_rng((provenance['seed'], 0)).choice(len(scored), n, replace=False)
    names = {
        kind: [scored.class_names[k] for k in classes[rows]]
        for kind, classes in (('predicted', predicted), ('true', scored.labels))
    }
    mark = ' (simulated)' if scored.simulated else ''
    title = f'Predictions for {n} random images of {provenance["data"]}{mark}'
    figure = predictions.draw_predictions(scored.images[rows], **names, title=title)
    style.save_figure(figure, folder / 'figures' / 'predictions')
    kept = {key: provenance[key] for key in ('model', 'data', 'simulated', 'checkpoint_step', 'seed')}
    storage.write_json(
        folder / 'figures' / 'predictions.json', {'shown_ids': scored.ids[rows], **names, 'title': title, **kept}
    )


def check_several_classes(setup: images.Setup) -> None:
    """Raises ValueError if the images are of one class only."""
    class_names = setup.images['train'].class_names
    if len(class_names) < 2:
        raise ValueError(
            f'the training images are all of one class, {"".join(class_names)!r}, but a classifier needs two or more: '
            f'does --config.data.root={setup.root} hold the folders of the splits or classes?'
        )
