"""How well learners on fixed features predict people's choices in category and reward learning.

Writes

    scores.jsonl        learning/<score> of every model and task
    evidence_<set>.npy  held-out log likelihood in nats, summed over trials, [participants, models]
"""

import dataclasses
import pathlib
import time
from typing import Any

import numpy as np
from absl import logging
from ml_collections import ConfigDict

from humalign_jax import progress, settings, storage
from humalign_jax.alignment import learning, learning_scores, scoring
from humalign_jax.alignment.learning_scores import CHANCE
from humalign_jax.human_data import Choices
from humalign_jax.records import Score
from humalign_jax.wiring import learning as wiring
from humalign_jax.wiring.learning import LearningData

KEYS = (
    'experiment', 'seed', 'features', 'arrays', 'names', 'groups', 'stimuli', 'reference', 'human', 'rule', 'strengths',
    'choices', 'simulated',
)  # fmt: skip
TRUE_RULE = 'true rule'  # knows the right answers
TRUE_DIMENSION = 'true dimension'  # a learner that sees only the dimension of the rule


@dataclasses.dataclass(frozen=True)
class _Model:
    """One model of people's choices in one task.

    Attributes:
        name: Its name.
        values: Values of the options that it learned, [m, k]; None for chance.
        predictions: Its predictions.
        about: Provenance of its scores.
    """

    name: str
    values: np.ndarray | None
    predictions: learning.Predictions
    about: dict[str, Any]


def run(config: ConfigDict, workdir: str) -> None:
    """Writes scores and evidences into the workdir.

    Raises:
        ValueError: A setting is invalid, a file is missing or wrong, or stimuli have no features.
    """
    _check(config)
    loaded = wiring.simulate(config) if config.simulated.n_participants > 0 else wiring.load(config)
    if config.reference and config.reference not in [model.name for model in loaded.models]:
        known = [model.name for model in loaded.models]
        raise ValueError(
            f'config.reference={config.reference!r} is no model.{settings.nearest(config.reference, known)}'
        )
    for choices in loaded.sets:
        for features in (*loaded.models, *([loaded.rule] if loaded.rule is not None else [])):
            learning.stimulus_rows(choices, features)  # what does not fit is found before any learner is fitted
    folder, scores = pathlib.Path(workdir), []
    for choices in loaded.sets:
        scores += _scores_of_set(config, choices, loaded, folder)
    storage.write_jsonl(folder / 'scores.jsonl', [score.to_json() for score in scores])
    for score in scores:
        said = score.provenance
        if not score.name.endswith(('mcfadden_r2', 'pxp')):
            continue
        logging.info('%s, %s, %s: %.4f [%.4f, %.4f]', said['human'], said['model'], score.name, score.value, score.low,
                     score.high)  # fmt: skip


def _check(config: ConfigDict) -> None:
    settings.check_keys(config, KEYS, 'config')
    for section, keys in (
        ('stimuli', ('dataset', 'ids_file')),
        ('human', ('root', 'sets')),
        ('rule', ('file', 'array', 'dimensions')),
        ('choices', ('folds', 'penalty')),
        ('simulated', ('n_participants', 'n_trials', 'n_stimuli')),
    ):
        settings.check_keys(config[section], keys, f'config.{section}')
    if not config.strengths:
        raise ValueError('config.strengths must have at least one penalty.')


def _scores_of_set(config: ConfigDict, choices: Choices, loaded: LearningData, folder: pathlib.Path) -> list[Score]:
    """Scores of all models on the choices of one task."""
    people, left_out = learning.usable_people(choices, config.choices.folds)
    for person, why in left_out.items():
        logging.warning('%s: participant %s is left out: %s.', choices.name, person, why)
    if not people:
        raise ValueError(f'{choices.name!r} has no participant left: {"; ".join(sorted(set(left_out.values())))}.')
    choices = choices.of_people(people)
    about = {
        'task': choices.task,
        'data': choices.name,
        'human': 'simulated learners' if choices.simulated else choices.name,
        'n_participants': len(people),
        'n_trials': len(choices),
        'n_left_out': len(left_out),
        'left_out': [f'{person}: {why}' for person, why in left_out.items()],
        **settings.plain(config.choices),
        'seed': config.seed,
        'choices_sha256': choices.provenance.get('sha256', ''),
        'chance': 1.0 / len(choices.options),
    }
    models = _models(config, choices, loaded, about)
    people_about = {**about, 'model': 'people', 'baseline': True, 'simulated': choices.simulated}
    evidence, r2, scores = {}, {}, [learning_scores.people_score(choices, people_about)]
    selected = [model for model in models if 'group' not in model.about]  # members of a group are in its average
    for model in models:
        evidence[model.name] = -learning.of_each_person(choices, model.predictions.nll, np.sum)
        nll = learning.of_each_person(choices, model.predictions.nll)
        r2[model.name] = 1.0 - nll / np.log(len(choices.options))
        scores += learning_scores.model_scores(choices, model.predictions, model.values, model.about)
    scores += learning_scores.selection_scores(
        {model.name: evidence[model.name] for model in selected}, {model.name: model.about for model in selected}
    )
    for model in models:
        if config.reference and model.name != config.reference and not model.about['baseline']:
            scores.append(learning_scores.difference_score(model.name, config.reference, evidence, r2, model.about))
    if groups := [model for model in models if 'networks' in model.about]:
        for model in groups[1:]:  # the first group is what the others are ablations of
            scores.append(learning_scores.difference_score(model.name, groups[0].name, evidence, r2, model.about))
    name = storage.file_names([f'evidence_{choices.name}'])[0]
    sidecar = {'participants': people, 'models': list(evidence), 'unit': 'nats', **about}
    storage.write_array(folder / f'{name}.npy', np.stack(list(evidence.values()), axis=1), sidecar)
    return scores


def _averages(models: list[_Model]) -> list[_Model]:
    """What one of the models of each group predicts on average: mean log likelihood and mean credit of each choice."""
    groups: dict[str, list[_Model]] = {}
    for model in models:
        if 'group' in model.about:
            groups.setdefault(model.about['group'], []).append(model)
    averages = []
    for name, members in groups.items():
        said = scoring.about_networks(name, {one.name: one.about for one in members})
        predictions = learning.Predictions(
            *(np.mean([getattr(one.predictions, field) for one in members], axis=0) for field in ('nll', 'hit')),
            np.exp(np.mean([np.log(one.predictions.temperature) for one in members], axis=0)),
        )
        averages.append(_Model(name, None, predictions, said))
    return averages


def _models(config: ConfigDict, choices: Choices, loaded: LearningData, about: dict[str, Any]) -> list[_Model]:
    """Learners on all features, averages over groups of them, then the baselines."""

    def predicted(name: str, values: np.ndarray, more: dict[str, Any], *, baseline: bool) -> _Model:
        options = settings.plain(config.choices)
        predictions = learning.predict_choices(choices, values, **options, seed=config.seed)
        said = {**about, **more, 'model': name, 'baseline': baseline}
        said |= {'simulated': bool(choices.simulated or more.get('simulated'))}
        finite = predictions.temperature[np.isfinite(predictions.temperature)]
        said |= {'temperature': float(np.median(finite)) if len(finite) else None}
        return _Model(name, values, predictions, said)

    strengths, models = tuple(config.strengths), []
    for features in progress.each(loaded.models, choices.name, lambda one: one.name):
        rows = learning.stimulus_rows(choices, features)
        start = time.monotonic()
        values = learning.learned_values(choices, np.asarray(features.values)[rows], strengths)
        logging.info('%s, %s: learned in %.1f s.', choices.name, features.name, time.monotonic() - start)
        said = {**features.provenance, 'features_sha256': storage.array_digest(np.asarray(features.values))}
        said |= {'group': loaded.groups[features.name]} if features.name in loaded.groups else {}
        models.append(predicted(features.name, values, said, baseline=False))
    models += _averages(models)
    if loaded.rule is not None:
        shown = np.asarray(loaded.rule.values)[learning.stimulus_rows(choices, loaded.rule)]
        dimension = learning.true_dimensions(choices, shown)
        number = {person: k for k, person in enumerate(choices.people)}
        of_trial = dimension[[number[person] for person in choices.participants.tolist()]]
        own = np.take_along_axis(shown, of_trial[:, None, None], axis=2)
        values = learning.learned_values(choices, own, strengths)
        models.append(predicted(TRUE_DIMENSION, values, dict(loaded.rule.provenance), baseline=True))
    answers = choices.feedback
    if choices.task == 'category':
        answers = np.eye(len(choices.options))[choices.feedback[:, 0].astype(np.int64)]
    models.append(predicted(TRUE_RULE, answers, {}, baseline=True))
    said = {**about, 'model': CHANCE, 'baseline': True, 'simulated': choices.simulated}
    return [*models, _Model(CHANCE, None, learning_scores.chance(choices), said)]
