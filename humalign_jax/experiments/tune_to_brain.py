"""Tunes a trained classifier to predict voxels while it keeps its own class probabilities.

    L = neural loss(voxels of the head on a layer, measured responses) + alpha * KL(classifier before || after tuning)

The run is opened like the run of a classifier: `evaluate`, `extract` and `interpretability` read it. It leaves, beside
what every run of a classifier leaves:

- `metrics.jsonl`: rows of the splits train, validation (chooses the checkpoint) and, if
  `config.objective.test_curves`, test: `loss`, `neural`, `distillation`, `voxel_r`, and `accuracy` of the classifier's
  own images;
- `scores.jsonl`: accuracy after and before tuning and its fall, `tuning/voxel_r` and `tuning/noise_normalised_r2` of
  each region on the test voxels, `tuning/voxel_mse`, `tuning/distillation`;
- `voxel_r.npy`, [v]: Pearson's r of each voxel on the test images; the sidecar names regions and ceilings.

References:
    Li & Hoiem (2016), Learning without Forgetting. arXiv:1606.09282
"""

import functools
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from absl import logging
from ml_collections import ConfigDict

from humalign_jax import devices, models, objectives, storage
from humalign_jax.alignment import scoring, voxel_fit
from humalign_jax.objectives.neural_tuning import TEACHER
from humalign_jax.records import Score
from humalign_jax.report.plots import curves
from humalign_jax.train import forward, loop
from humalign_jax.train.state import TrainState
from humalign_jax.wiring import brain_tuning, classifiers, images, provenance, trained_on, training

network_config = brain_tuning.network_config


def run(config: ConfigDict, workdir: str) -> None:
    """Tunes by `config`, chooses the checkpoint on validation, and writes `scores.jsonl` on test."""
    folder, task = pathlib.Path(workdir), make_task(config)
    trained_on.check_classes(folder, task.setup.images['train'], write=True)
    images.train_and_score(task, folder)
    labels = {
        'loss': 'loss', 'neural': 'neural loss', 'distillation': 'KL (nats)', 'voxel_r': 'voxel r',
        'accuracy': 'accuracy',
    }  # fmt: skip
    curves.draw_curves(folder, labels)


def make_task(config: ConfigDict) -> loop.Task:
    """Neural loss + alpha * KL to the classifier before tuning, as `config.objective` says."""
    tuning = brain_tuning.read(config)
    setup, section = tuning.setup, tuning.objective
    recipe, weight = setup.recipe, section['distillation_weight']
    on_voxels = objectives.make_neural_tuning_measure(
        models.make_tuned_forward(setup.model, tuning.head, section['layer']),
        brain_tuning.make_teacher(setup.model),
        neural_loss=section['neural_loss'],
        temperature=section['temperature'],
    )
    on_images = objectives.make_classification_measure(setup.model)

    @functools.cache  # images go to the devices when they are first needed
    def voxels_of(split: str) -> forward.Forward:
        of_split = brain_tuning.plain_examples(tuning, split)
        return forward.Forward(on_voxels, of_split, batch_size=recipe.batch_size, devices=recipe.devices)

    @functools.cache
    def classes_of(split: str) -> forward.Forward:
        of_split = images.examples(setup.images[split], setup.prepare_plain)
        return forward.Forward(on_images, of_split, batch_size=recipe.batch_size, devices=recipe.devices)

    def evaluate(state: TrainState, split: str = 'validation') -> dict[str, float]:
        found = voxels_of(split)(state.params, state.model_state)
        means = forward.means(found, ('neural', 'distillation'))
        r = voxel_fit.voxel_correlations(found['voxels'], tuning.voxels[split].responses.values)
        accuracy = forward.means(classes_of(split)(state.params, state.model_state), ('accuracy',))
        loss = means['neural'] + weight * means['distillation']
        return {'loss': loss, **means, 'voxel_r': float(np.nanmean(r)), **accuracy}

    def score(folder: pathlib.Path, state: TrainState, split: str) -> None:
        about = _provenance(config, tuning, state, split)
        params, model_state = devices.replicate((state.params, state.model_state), recipe.devices)
        classes = classes_of(split)(params, model_state)
        classifiers.write_scores(setup, folder, split, classes, about)
        teacher = dict(model_state[TEACHER])
        before = classes_of(split)(teacher.pop('params'), teacher)
        voxels = voxels_of(split)(params, model_state)
        scores = [
            *_accuracy_scores(classes, before, about),
            *_voxel_scores(config, tuning, folder, split, voxels, about),
        ]
        written = [Score.from_json(row) for row in storage.read_jsonl(folder / 'scores.jsonl')]
        training.write_scores(folder, [*written, *scores])
        for one in scores:
            logging.info('%s %s: %.4f [%.4f, %.4f]', config.condition, one.name, one.value, one.low, one.high)

    return loop.Task(
        recipe=recipe,
        model=setup.model,
        make_objective=functools.partial(brain_tuning.make_objective, tuning),
        examples=brain_tuning.examples(tuning),
        evaluate=evaluate,
        metrics=('loss', 'neural', 'distillation', 'voxel_r', 'accuracy'),
        also_evaluate={'test': functools.partial(evaluate, split='test')} if section['test_curves'] else {},
        digests=functools.partial(brain_tuning.digests, tuning),
        score=score,
        setup=setup,
        make_first_state=functools.partial(brain_tuning.first_state, tuning),
    )


def _accuracy_scores(
    after: Mapping[str, np.ndarray], before: Mapping[str, np.ndarray], about: Mapping[str, Any]
) -> list[Score]:
    """Accuracy before tuning, and by how much it fell, over the same images."""
    right, was_right = after['accuracy'] > 0, before['accuracy'] > 0
    return [
        scoring.proportion('tuning/accuracy_before', int(was_right.sum()), len(was_right), about),
        scoring.paired_difference('tuning/accuracy_fall', was_right, right, about),
    ]


def _voxel_scores(
    config: ConfigDict,
    tuning: brain_tuning.Tuning,
    folder: pathlib.Path,
    split: str,
    values: Mapping[str, np.ndarray],
    about: Mapping[str, Any],
) -> list[Score]:
    """Fit to the voxels and KL divergence on the voxel images; writes `voxel_r.npy`."""
    responses = tuning.voxels[split].responses
    about = {
        **about,
        'data': f'{responses.name}/{split}',
        'human': responses.name,
        'subject': responses.subject,
        'simulated': responses.simulated,
        'stimuli_sha256': storage.array_digest(responses.stimuli),
    }
    share = voxel_fit.explainable_variance(responses)
    storage.write_array(
        folder / 'voxel_r.npy',
        voxel_fit.voxel_correlations(values['voxels'], responses.values),
        {
            **about,
            'axes': ['voxel'],
            'roi': {roi: np.flatnonzero(mask).tolist() for roi, mask in responses.rois.items()},
            'ceiling': None if share is None else np.sqrt(share).tolist(),
        },
    )
    fit = voxel_fit.fit_scores(values['voxels'], responses, about, n_bootstrap=config.n_bootstrap, seed=config.seed)
    return [
        *fit,
        scoring.mean('tuning/voxel_mse', values['mse'], {**about, 'unit': 'z-scored responses'}),
        scoring.mean('tuning/distillation', values['distillation'], {**about, 'unit': 'nats'}),
    ]


def _provenance(config: ConfigDict, tuning: brain_tuning.Tuning, state: TrainState, split: str) -> dict[str, Any]:
    """What every score says."""
    setup = tuning.setup
    said = provenance.of_scores(
        setup.images[split], state, setup.recipe, experiment=config.experiment, model=setup.model_name, left_out=0
    )
    return {
        **said,
        'condition': tuning.condition,
        'recipe': config.recipe,
        'distillation_weight': config.objective.distillation_weight,
        'neural_loss': config.objective.neural_loss,
        'train_statistics': config.objective.train_statistics,
        'replay_per_image': tuning.replay_per_image,
        'layer': config.objective.layer,
        'n_voxel_images': len(tuning.voxels['train']),
        'epochs': config.train.epochs,
    }
