"""Training that aligns: fine-tunes a classifier on people's soft labels, and scores it on folds it has never seen.

The images that people named are the test images of the pretrained run. While one fold of them is held out, each arm
starts from the pretrained network and trains on the other folds: arm 'human' towards people's soft labels, arm 'hard'
towards the published labels; order, crops, dropout masks and the number of steps are the same. Arm 'pretrained' is not
trained further.
"""

import dataclasses
import json
import pathlib
from typing import Any

import jax
import numpy as np
from absl import logging
from ml_collections import ConfigDict

from humalign_jax import objectives, settings, storage
from humalign_jax import workdir as workdir_lib
from humalign_jax.alignment import fold_scores, soft_labels
from humalign_jax.data import splits
from humalign_jax.human_data import Answers
from humalign_jax.records import ImageSet, Score
from humalign_jax.train import forward, leaves, manifest, plan, progress_line, signals
from humalign_jax.wiring import folds as folds_lib
from humalign_jax.wiring import people, runs, training
from humalign_jax.wiring.images import examples

ARMS = ('pretrained', 'human', 'hard')
_SECTIONS = (
    'experiment', 'seed', 'run', 'checkpoint', 'model_name', 'human', 'arms', 'folds', 'which_folds',
    'n_validation_folds', 'max_images', 'n_bootstrap', 'objective', 'optimizer', 'train',
)  # fmt: skip
_OBSERVER_KEYS = ('n_test', 'seed', 'image', 'n_observers')  # of simulated observers
_TRAIN_KEYS = ('epochs', 'batch_size', 'steps_per_dispatch', 'n_devices')


@dataclasses.dataclass(frozen=True)
class FineTuning:
    """What every arm and fold shares.

    Attributes:
        images: The images that people named.
        answers: Their answers, in the order of the images.
        folds: Fold of every image, [n].
        scored_folds: The folds to hold out in this run.
        tuner: Fine-tunes and predicts.
        n_steps: Steps of one fine-tuning.
        provenance: Said by every score.
        digests: Hashes of what the predictions are made from: images, answers and the network.
    """

    images: ImageSet
    answers: Answers
    folds: np.ndarray
    scored_folds: tuple[int, ...]
    tuner: folds_lib.FineTuner
    n_steps: int
    provenance: dict[str, Any]
    digests: dict[str, str]


def run(config: ConfigDict, workdir: str) -> None:
    """Fine-tunes every arm on every fold, or goes on with those that are missing, and writes `scores.jsonl`.

    Leaves `folds/<arm>-<fold>.npy` as they are done, then `predictions/<arm>.npy`: held-out log-probabilities float32
    [n, k], with ids and fold numbers in the sidecar.
    """
    folder = pathlib.Path(workdir)
    study = set_up(config)
    workdir_lib.check_same_data(folder, study.digests)
    _train_all(config, folder, study)
    predictions, temperatures = _gather(config, folder, study)
    rows = np.isin(study.folds, study.scored_folds)
    scores = make_scores(config, study, rows, predictions, temperatures)
    training.write_scores(folder, scores)
    _report(config, scores)


def set_up(config: ConfigDict) -> FineTuning:
    """Reads and checks the config, opens the pretrained run, and joins its test images with people's answers by id.

    Raises:
        ValueError: A setting is unknown or cannot be, or an image to be scored has shaped the pretrained network.
    """
    _check(config)
    opened = runs.open_run(config.run, str(config.checkpoint), root=config.human.root)
    if opened.config.experiment not in ('train_classifier', 'import_checkpoint'):
        raise ValueError(f'config.run={config.run!r} is a run of {opened.config.experiment}: give a classifier.')
    images, answers = _join(config, opened)
    folds = splits.stratified_folds(images.labels, config.folds, config.seed)
    scored_folds = settings.plain(config.which_folds) or tuple(range(config.folds))
    parts = [splits.fold_parts(folds, fold, config.n_validation_folds) for fold in range(config.folds)]
    durations = plan.make_plan(
        n_examples=min(len(part.training) for part in parts),  # the same steps for every fold
        batch_size=config.train.batch_size,
        epochs=config.train.epochs,
        max_steps=0,
        log_every_steps=1,
        eval_every_epochs=1,
        checkpoint_every_epochs=config.train.epochs,
    )
    durations = dataclasses.replace(durations, log_every=durations.steps_per_epoch)
    used = training.read_devices(config.train.n_devices, config.train.batch_size, where='config.train.batch_size')
    tx, schedule = training.read_optimizer(config.optimizer, durations)
    setup, batch_size = opened.setup, config.train.batch_size
    task = dataclasses.replace(
        opened.task,
        recipe=dataclasses.replace(
            opened.task.recipe,
            seed=config.seed,
            batch_size=batch_size,
            devices=used,
            plan=durations,
            tx=tx,
            schedule=schedule,
            steps_per_dispatch=config.train.steps_per_dispatch,
        ),
        make_objective=lambda model: objectives.make_classification_objective(
            model, label_smoothing=config.objective.label_smoothing
        ),
        examples=examples(images, setup.prepare),
    )
    tuner = folds_lib.FineTuner(
        task,
        first=task.first_state().replace(
            params=opened.state.params,
            model_state=opened.state.model_state,
            opt_state=jax.tree.map(np.asarray, tx.init(opened.state.params)),  # averages begin at these parameters
        ),
        log_probs=forward.Forward(
            folds_lib.make_log_probs(setup.model),
            examples(images, setup.prepare_plain),
            batch_size=batch_size,
            devices=used,
        ),
        ids=images.ids,
        pretrained_ids=np.concatenate([setup.images[split].ids for split in ('train', 'validation')]),
    )
    provenance = {
        'experiment': config.experiment,
        'model': config.model_name or opened.config.model.name,
        'data': f'{images.name}/{images.split}',
        'human': answers.name,
        'simulated': images.simulated or answers.simulated,
        'stimuli_sha256': storage.array_digest(images.ids),
        'checkpoint_step': int(opened.state.step),
        'n_folds': config.folds,
        'human_weight': config.objective.human_weight,
        'fine_tuning_steps': durations.last_step,
        'seed': config.seed,
    }
    logging.info(
        'Fine-tuning %s (checkpoint of step %d) on %d images named by %s: %d of %d folds, %d steps of %d images.',
        provenance['model'], provenance['checkpoint_step'], len(images), answers.name, len(scored_folds), config.folds,
        durations.last_step, config.train.batch_size,
    )  # fmt: skip
    network = leaves.arrays({'params': opened.state.params, 'model_state': opened.state.model_state})
    digests = {
        'number of images': str(len(images)),
        'images': storage.array_digest(images.images),
        'labels': storage.array_digest(images.labels),
        'answers': storage.array_digest(answers.counts),
        'network': storage.text_digest(json.dumps(manifest.describe_arrays(network), sort_keys=True)),
    }
    return FineTuning(images, answers, folds, scored_folds, tuner, durations.last_step, provenance, digests)


def targets_of(arm: str, people: np.ndarray, labels: np.ndarray, human_weight: float) -> np.ndarray:
    """What an arm trains towards, [n, k]: people's soft labels mixed with the published ones, or these alone."""
    one_hot = np.eye(people.shape[1])[labels]
    weight = {'human': human_weight, 'hard': 0.0}[arm]
    return weight * people + (1.0 - weight) * one_hot


def make_scores(
    config: ConfigDict,
    study: FineTuning,
    rows: np.ndarray,
    predictions: dict[str, np.ndarray],
    temperatures: dict[str, np.ndarray],
) -> list[Score]:
    """Scores of the arms, their paired differences, and the baselines.

    Args:
        config: The run's config.
        study: What the arms share.
        rows: Which images were held out, boolean [n].
        predictions: Log-probabilities of these images by arm, each [m, k].
        temperatures: Of each image's fold, for the arms that have an honest one, each [m, 1].
    """
    people, labels, folds = study.answers.probabilities[rows], study.images.labels[rows], study.folds[rows]
    said = study.provenance
    values = {arm: fold_scores.image_values(predictions[arm], people, labels) for arm in predictions}
    scores = []
    for arm in predictions:
        scores += fold_scores.arm_scores(values[arm], folds, {**said, 'arm': arm})
    for arm, temperature in temperatures.items():
        at_temperature = soft_labels.log_probabilities(predictions[arm], temperature)
        scaled = fold_scores.image_values(at_temperature, people, labels)
        chosen = {name: scaled[name] for name in fold_scores.DIVERGENCES}
        by = {'temperature_from': 'training folds' if arm == 'pretrained' else 'validation folds'}
        scores += fold_scores.arm_scores(chosen, folds, {**said, 'arm': arm, **by}, suffix='_scaled')
        scores.append(fold_scores.temperature_score(temperature, folds, {**said, 'arm': arm, **by}))
    for arm, other in (('human', 'hard'), ('human', 'pretrained'), ('hard', 'pretrained')):
        if arm in values and other in values:
            scores += fold_scores.difference_scores(
                values[arm],
                values[other],
                folds,
                {**said, 'arm': arm, 'other': other},
                n_bootstrap=config.n_bootstrap,
                seed=config.seed,
            )
    n_answers = float(study.answers.counts.sum(axis=1).mean())
    everything = study.answers.probabilities, study.images.labels, study.folds
    other_folds = fold_scores.class_mean_of_other_folds(*everything, n_answers)[rows]
    return scores + fold_scores.baseline_scores(people, labels, other_folds, said)


def _check(config: ConfigDict) -> None:
    settings.check_keys(config, _SECTIONS, 'config')
    settings.check_keys(config.train, _TRAIN_KEYS, 'config.train')
    settings.check_keys(config.objective, ('human_weight', 'label_smoothing'), 'config.objective')
    settings.check_keys(config.human, ('name', 'root'), 'config.human', optional=_OBSERVER_KEYS)
    arms, which_folds = settings.plain(config.arms), settings.plain(config.which_folds)
    for arm in arms:
        if arm not in ARMS:
            raise ValueError(f'config.arms has {arm!r}, which is no arm.{settings.nearest(arm, ARMS)}')
    if not arms or len(set(arms)) < len(arms):
        raise ValueError(f'config.arms must hold one or more of {", ".join(ARMS)}, each once.')
    if not 0.0 <= config.objective.human_weight <= 1.0:
        raise ValueError(f'config.objective.human_weight must be in [0, 1], not {config.objective.human_weight}.')
    for fold in which_folds:
        if not 0 <= fold < config.folds:
            raise ValueError(f'config.which_folds has {fold}, but the folds are 0 to {config.folds - 1}.')


def _join(config: ConfigDict, opened: runs.OpenRun) -> tuple[ImageSet, Answers]:
    """The run's test images that people named, and the answers, both in the published order."""
    images, section = opened.setup.images['test'], opened.config.data
    options = {key: value for key, value in config.human.items() if key not in ('name', 'root')}
    if config.human.name == 'synthetic':  # unless told otherwise, the observers of the images that the run has
        options = {**{key: section[key] for key in _OBSERVER_KEYS if key in section}, **options}
    answers = people.load_answers(config.human.name, root=config.human.root or section.root, **options)
    named = np.flatnonzero(np.isin(images.ids, answers.ids))
    if len(named) == 0:
        raise ValueError(
            f'none of the {len(images)} test images of {opened.folder}, such as {str(images.ids[0])!r}, is among those '
            f'that {answers.name} names, such as {str(answers.ids[0])!r}: give the run and the answers of one data set.'
        )
    images = images.take(named[: config.max_images or None])
    return images, people.matched(answers, images.ids, images.labels, images.class_names)


def _train_all(config: ConfigDict, folder: pathlib.Path, study: FineTuning) -> None:
    """Leaves the predictions of every arm for every fold, as far as they are not there."""
    ids, people = study.images.ids, study.answers.probabilities
    todo = [
        (fold, arm)
        for fold in study.scored_folds
        for arm in settings.plain(config.arms)
        if folds_lib.load_fold(folder, arm, fold, ids[study.folds == fold]) is None
    ]
    n_all = len(config.arms) * len(study.scored_folds)
    if len(todo) < n_all:
        logging.info('%d of %d arms and folds are done already.', n_all - len(todo), n_all)
    n_steps = study.n_steps * sum(arm != 'pretrained' for _, arm in todo)
    progress, done = progress_line.Progress(n_steps, 0, config.train.batch_size, label='fine-tune'), 0

    def count(n: int) -> None:
        nonlocal done
        done += n
        progress.update(done)

    everything: np.ndarray | None = None  # the pretrained network's predictions, made once
    try:
        with signals.stop_on_signals() as stop:
            for fold, arm in todo:
                parts = splits.fold_parts(study.folds, fold, config.n_validation_folds)
                temperature, tuned = None, study.tuner.untouched()
                if arm == 'pretrained':
                    if everything is None:
                        everything = study.tuner.predict_held_out(tuned, np.arange(len(ids)))
                    log_probs, others = everything[parts.held_out], np.flatnonzero(study.folds != fold)
                    temperature = fold_scores.fit_temperature(everything[others], people[others])
                else:
                    targets = targets_of(arm, people, study.images.labels, config.objective.human_weight)
                    tuned = study.tuner.tune(targets, parts, people=people, stop=stop, on_step=count)
                    log_probs = study.tuner.predict_held_out(tuned, parts.held_out)
                    if len(parts.validation):
                        chosen_by = study.tuner.predict(tuned.params, tuned.model_state, parts.validation)
                        temperature = fold_scores.fit_temperature(chosen_by, people[parts.validation])
                more = {'temperature': temperature, 'epochs': list(tuned.epochs), **study.provenance}
                folds_lib.save_fold(folder, arm, fold, log_probs, ids[parts.held_out], more)
                _log_fold(arm, fold, study, parts.held_out, log_probs, tuned)
                if stop.requested:
                    raise SystemExit(signals.EXIT_SAVED)
    except SystemExit:
        logging.info('Stopped; finished folds are saved. Start again with the same workdir to go on.')
        raise
    finally:
        progress.close()


def _log_fold(
    arm: str, fold: int, study: FineTuning, rows: np.ndarray, log_probs: np.ndarray, tuned: folds_lib.Tuned
) -> None:
    people, labels = study.answers.probabilities[rows], study.images.labels[rows]
    values = fold_scores.image_values(log_probs, people, labels)
    trained = ', '.join(f'{row["loss"]:.4f}' for row in tuned.epochs)
    logging.info(
        'Fold %d, %s: held-out cross-entropy to people %.4f nats, accuracy %.4f, n = %d%s.',
        fold, arm, values['cross_entropy'].mean(), values['accuracy'].mean(), len(rows),
        f'; training loss by epoch {trained}' if trained else '',
    )  # fmt: skip


def _gather(
    config: ConfigDict, folder: pathlib.Path, study: FineTuning
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """All held-out predictions by arm, in the order of the images, and the temperatures of their folds where known."""
    held_out = np.isin(study.folds, study.scored_folds)
    ids, folds = study.images.ids[held_out], study.folds[held_out]
    predictions, temperatures = {}, {}
    for arm in settings.plain(config.arms):
        log_probs = np.full((len(ids), len(study.images.class_names)), np.nan, np.float32)
        of_fold: dict[int, float | None] = {}
        for fold in study.scored_folds:
            saved = folds_lib.load_fold(folder, arm, fold, ids[folds == fold])
            assert saved is not None
            log_probs[folds == fold], of_fold[fold] = saved[0], saved[1]['temperature']
        sidecar = {'arm': arm, 'ids': ids, 'folds': folds, 'temperatures': list(of_fold.values()), **study.provenance}
        sidecar['class_names'] = study.images.class_names
        storage.write_array(folder / 'predictions' / f'{arm}.npy', log_probs, sidecar)
        predictions[arm] = log_probs
        if None not in of_fold.values():
            temperatures[arm] = np.array([[of_fold[fold]] for fold in folds.tolist()], np.float64)
    return predictions, temperatures


def _report(config: ConfigDict, scores: list[Score]) -> None:
    """Logs the cross-entropies that the study is about."""
    for score in scores:
        if score.provenance['fold'] != 'all' or not score.name.startswith('soft_labels/cross_entropy'):
            continue
        said = score.provenance
        who = said['model'] if said.get('baseline') else ' - '.join(filter(None, [said['arm'], said.get('other')]))
        logging.info('%s, %s: %.4f [%.4f, %.4f] nats, n = %d (%s).', score.name, who, score.value, score.low,
                     score.high, score.n, score.interval)  # fmt: skip
