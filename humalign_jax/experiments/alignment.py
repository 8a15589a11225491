"""Scores a classifier's probabilities and errors against people's answers, with intervals, ceilings and baselines."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from absl import logging
from ml_collections import ConfigDict

from humalign_jax import data, settings, storage
from humalign_jax.alignment import classifier_scores, errors, soft_labels
from humalign_jax.human_data import Answers
from humalign_jax.wiring import layer_folders, people

KEYS = (
    'experiment', 'seed', 'model', 'features', 'stimuli', 'validation', 'validation_stimuli', 'human', 'n_bootstrap',
    'n_splits', 'simulated',
)  # fmt: skip
COLUMNS = ('cross_entropy', 'kl', 'js', 'model_entropy', 'human_entropy', 'prediction', 'label', 'human_top1')
LAYERS = ('logits', 'probs')
# Keys of the files' provenance that every score repeats.
_REPEATED = (
    'run',
    'checkpoint',
    'checkpoint_step',
    'checkpoint_sha256',
    'architecture',
    'preprocessing',
    'outputs',
    'stimuli_sha256',
    'images_sha256',
    'test_split',
)


@dataclasses.dataclass(frozen=True)
class Outputs:
    """Outputs of a classifier for a set of images.

    Attributes:
        logits: Logits, or log-probabilities where there are no logits, float64, [n, k].
        labels: True classes, int64, [n].
        ids: Stimulus ids, [n].
        class_names: Names of the k classes, () where not known.
        provenance: From the files: model, split, hashes.
    """

    logits: np.ndarray
    labels: np.ndarray
    ids: np.ndarray
    class_names: tuple[str, ...]
    provenance: Mapping[str, Any]


def run(config: ConfigDict, workdir: str) -> None:
    """Writes `scores.jsonl`, four matrices of confusions and `per_image.npy` into the workdir.

    Raises:
        ValueError: A file is missing or wrong, the images were trained on, or answers and labels do not fit.
    """
    settings.check_keys(config, KEYS, 'config')
    if config.n_bootstrap < 2 or config.n_splits < 1:
        raise ValueError(
            'config.n_bootstrap must be at least 2 and config.n_splits at least 1, not '
            f'{config.n_bootstrap} and {config.n_splits}.'
        )
    folder = pathlib.Path(workdir)
    if config.simulated.n_test > 0:
        outputs, validation, answers = _simulate(config)
    else:
        stimuli, others = (
            layer_folders.check_section(config[section], f'config.{section}')
            for section in ('stimuli', 'validation_stimuli')
        )
        answers = people.load_answers(**settings.plain(config.human))
        names = answers.class_names
        outputs = load_outputs(config.features, 'config.features', stimuli, 'stimuli', names)
        refuse_trained_on(outputs, config.features)
        validation = None
        if config.validation:
            validation = load_outputs(config.validation, 'config.validation', others, 'validation_stimuli', names)
    answers = _check_fit(outputs, validation, answers)

    provenance = _provenance(config, outputs, answers)
    options = dict(n_bootstrap=config.n_bootstrap, n_splits=config.n_splits, seed=config.seed)
    case = classifier_scores.make_case(outputs.logits, outputs.labels, answers, provenance, **options)
    scores = classifier_scores.loss_scores(case, soft_labels.log_probabilities(case.logits), provenance)
    if validation is None:
        logging.info('No config.validation: no temperature is fitted, and there are no `_scaled` scores.')
    else:
        scores += classifier_scores.scaled_scores(case, validation.logits, validation.labels)
    scores += classifier_scores.answer_scores(case)
    scores += classifier_scores.error_scores(case)
    scores += classifier_scores.uncertainty_scores(case)
    scores += classifier_scores.baseline_scores(case)
    _write_matrices(folder, outputs, answers, provenance)
    _write_per_image(folder, outputs, answers, provenance)
    storage.write_jsonl(folder / 'scores.jsonl', [score.to_json() for score in scores])
    for score in scores:
        who, ends = score.provenance['model'], (score.low, score.high, score.ceiling_lower, score.ceiling_upper)
        logging.info('%s, %s: %.4f [%.4f, %.4f], ceiling %.4f to %.4f', who, score.name, score.value, *ends)


def load_outputs(
    folder: str, where: str, stimuli: Mapping[str, str], stimuli_where: str, class_names: tuple[str, ...]
) -> Outputs:
    """The layer `logits`, else `probs`, of a folder with layers, and the classes, joined by id.

    Args:
        folder: The folder.
        where: Its place in the config, for messages.
        stimuli: What rows of files without ids are, see `wiring.layer_folders`.
        stimuli_where: That section's name.
        class_names: Names of the classes that people chose among, which count where the labels' file names none.

    Raises:
        ValueError: A file is missing, damaged, or does not fit the others.
    """
    path = pathlib.Path(folder).expanduser()
    if not folder:
        raise ValueError(f'{where} is empty: give a folder with logits or probs, as configs/extract.py writes it.')
    paths = layer_folders.layer_paths(path)
    layer = next((layer for layer in LAYERS if layer in paths), None)
    if layer is None:
        raise ValueError(
            f'{where}={folder!r} holds neither logits.npy nor probs.npy, but {", ".join(paths)}: one of these two '
            'layers is needed, [n, k] (also as .npz, .h5, .mat or .csv).'
        )
    features = layer_folders.read_layer(paths[layer], stimuli, stimuli_where)
    labels_path = layer_folders.find_labels(path, stimuli)
    if labels_path is None:
        raise ValueError(layer_folders.no_labels([path], stimuli_where))
    values, n_classes = np.asarray(features.values, dtype=np.float64), features.values.shape[1]
    names = class_names if len(class_names) == n_classes else tuple(map(str, range(n_classes)))
    labels = layer_folders.read_labels(labels_path, stimuli, stimuli_where, names).select(features.ids)
    if labels.values.max() >= n_classes:
        raise ValueError(
            f'{labels.path}: labels are {labels.values.min()} to {labels.values.max()}, but {paths[layer].name} has '
            f'{n_classes} classes.'
        )
    layer_folders.check_finite(features, paths[layer], 'Its images cannot be scored.')
    if layer == 'probs':
        if values.min() < 0 or np.abs(values.sum(axis=1) - 1.0).max() > 1e-3:
            raise ValueError(f'{paths[layer]} must hold probabilities that sum to 1 for each image.')
        values = soft_labels.floored_log(values)
    provenance = dict(features.provenance)
    provenance['outputs'] = layer if layer == 'logits' else 'probs, of which 0 counts as 1.2e-38'
    ids = np.asarray(features.ids)
    data_name = labels.provenance.get('data') or '/'.join(str(ids[0]).split('/')[:-1]) or 'unnamed data'
    provenance.setdefault('data', str(data_name))
    return Outputs(values, labels.values, ids, tuple(labels.provenance.get('class_names') or ()), provenance)


def refuse_trained_on(outputs: Outputs, folder: str) -> None:
    """Raises ValueError if the images are training images, by the split that the files name, else by their ids.

    Validation images that were cut from the training images have ids of the training split.
    """
    named = outputs.provenance.get('split') or str(outputs.provenance.get('data', '')).partition('/')[2]
    split = named or str(outputs.ids[0]).split('/')[-2:][0]
    if split == 'train':
        raise ValueError(
            f"config.features={folder!r} holds images of the split 'train', which the model was trained on: only "
            "held-out images are scored, such as those of the split 'test'."
        )


def _simulate(config: ConfigDict) -> tuple[Outputs, Outputs, Answers]:
    """A simulated model: logits of the simulated soft labels with noise, overconfident by a factor of two."""
    outputs, answers = [], []
    for number, (split, n) in enumerate((('test', config.simulated.n_test), ('train', config.simulated.n_validation))):
        images = data.load('synthetic', split, n_test=n, n_train=n, seed=config.seed)
        noise = np.random.default_rng([config.seed, number]).normal(size=images.extras['soft_label'].shape)
        logits = 2.0 * soft_labels.floored_log(images.extras['soft_label'] + 0.02) + 2.0 * noise
        provenance = {
            'model': 'simulated model',
            'split': 'test' if split == 'test' else 'validation',
            'simulated': True,
        }
        provenance |= {'data': f'synthetic/{split}', 'outputs': 'logits'}
        labels = images.labels.astype(np.int64)
        outputs.append(Outputs(logits, labels, images.ids, images.class_names, provenance))
        answers.append(
            Answers(images.extras['counts'], images.ids, images.class_names, 'simulated observers', simulated=True)
        )
    return outputs[0], outputs[1], answers[0]


def _check_fit(outputs: Outputs, validation: Outputs | None, answers: Answers) -> Answers:
    """The answers to the scored images; classes, order of rows, and images of the temperature are checked."""
    n_classes = len(answers.class_names)
    if outputs.logits.shape[1] != n_classes:
        raise ValueError(f'the model has {outputs.logits.shape[1]} classes, but people chose among {n_classes}.')
    answers = people.matched(answers, outputs.ids, outputs.labels, outputs.class_names)
    if validation is not None:
        shared = np.intersect1d(validation.ids, outputs.ids)
        if len(shared):
            raise ValueError(
                f'{len(shared)} images are in both config.features and config.validation, the first of them '
                f"{str(shared[0])!r}: fit the temperature on images that are not scored, split 'validation'."
            )
        for key in ('model', 'checkpoint_sha256'):
            both = [one.provenance.get(key) for one in (outputs, validation)]
            if None not in both and both[0] != both[1]:
                raise ValueError(
                    f'config.features is of {key} {both[0]!r}, config.validation of {both[1]!r}: take both from one '
                    'network and checkpoint.'
                )
    return answers


def _provenance(config: ConfigDict, outputs: Outputs, answers: Answers) -> dict[str, Any]:
    """Provenance of every score."""
    return {
        'model': config.model
        or str(outputs.provenance.get('model') or layer_folders.model_name(pathlib.Path(config.features))),
        'layer': 'probs',
        'data': str(outputs.provenance['data']),
        'human': answers.name,
        'simulated': bool(answers.simulated or outputs.provenance.get('simulated')),
        'seed': config.seed,
        **{key: outputs.provenance[key] for key in _REPEATED if key in outputs.provenance},
        **{f'human_{key}': value for key, value in answers.provenance.items()},
    }


def _write_matrices(folder: pathlib.Path, outputs: Outputs, answers: Answers, provenance: Mapping[str, Any]) -> None:
    """Confusions of model and people, with and without the diagonal."""
    given = np.eye(len(answers.class_names))[outputs.logits.argmax(axis=1)]
    matrices = {
        '': (errors.confusion(outputs.labels, given), provenance['model'], 'images'),
        'human_': (errors.confusion(outputs.labels, answers.probabilities), answers.name, 'answers, mean over images'),
    }
    for prefix, (matrix, name, unit) in matrices.items():
        sidecar = {
            'rows': 'true class',
            'columns': 'answer',
            'unit': f"share of the true class's {unit}",
            'class_names': answers.class_names,
            'name': name,
            'provenance': dict(provenance),
        }
        storage.write_array(folder / f'{prefix}confusion.npy', matrix, sidecar)
        storage.write_array(folder / f'{prefix}errors.npy', errors.error_matrix(matrix), sidecar)


def _write_per_image(folder: pathlib.Path, outputs: Outputs, answers: Answers, provenance: Mapping[str, Any]) -> None:
    """One row for each image: `COLUMNS`, then `model/<class>` and `human/<class>`, the shares of both."""
    log_model, losses = soft_labels.log_probabilities(outputs.logits), classifier_scores.LOSSES
    columns = {name: function(answers.probabilities, log_model) for name, (function, _) in losses.items()}
    columns['model_entropy'] = soft_labels.entropy(np.exp(log_model))
    columns['human_entropy'] = soft_labels.entropy(answers.probabilities)
    columns['prediction'] = outputs.logits.argmax(axis=1)
    columns['label'] = outputs.labels
    columns['human_top1'] = answers.counts.argmax(axis=1)
    for whose, shares in (('model', np.exp(log_model)), ('human', answers.probabilities)):
        columns |= {f'{whose}/{name}': shares[:, label] for label, name in enumerate(answers.class_names)}
    names = (*COLUMNS, *(name for name in columns if '/' in name))
    table = np.stack([columns[name] for name in names], axis=1).astype(np.float64)
    sidecar = {
        'ids': outputs.ids,
        'columns': names,
        'units': ('nats',) * 5 + ('class number',) * 3 + ('probability',) * (len(names) - len(COLUMNS)),
        'human_top1': 'most frequent answer, the lowest class number of several',
        'class_names': answers.class_names,
        'provenance': dict(provenance),
    }
    storage.write_array(folder / 'per_image.npy', table, sidecar)
