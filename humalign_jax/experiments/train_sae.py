"""Trains a sparse autoencoder on a feature matrix, scores it on held-out items, and writes the codes of all items."""

import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from absl import logging
from ml_collections import ConfigDict

from humalign_jax import devices, objectives, settings, storage
from humalign_jax.alignment import scoring
from humalign_jax.data import functions as functions_lib
from humalign_jax.records import Score
from humalign_jax.report.plots import curves
from humalign_jax.train import forward, loop, plan
from humalign_jax.train.state import TrainState
from humalign_jax.wiring import sparse_codes, training

SECTIONS = ('experiment', 'seed', 'data', 'model', 'objective', 'functions', 'optimizer', 'train')
METRICS = ('fve', 'l0', 'dead')


def run(config: ConfigDict, workdir: str) -> None:
    """Trains by `config`, chooses the checkpoint on validation, and writes `scores.jsonl` and `codes.npz`."""
    folder, task = pathlib.Path(workdir), make_task(config)
    settings.check_keys(config.functions, ('min_positives', 'min_negatives'), 'config.functions')
    best = training.train(task, folder)
    assert task.score is not None
    task.score(folder, best, 'test')
    setup: sparse_codes.SaeSetup = task.setup
    codes = sparse_codes.encode(setup, best, setup.features, f'sae_{setup.features.name}')
    functions_lib.save_functions(folder / 'codes.npz', codes)
    scores = _code_scores(config, setup, codes, _provenance(config, setup, best, 'all'))
    scores = [*map(Score.from_json, storage.read_jsonl(folder / 'scores.jsonl')), *scores]
    training.write_scores(folder, scores)
    for score in scores:
        logging.info('%s: %.4g', score.name, score.value)
    curves.draw_curves(folder, {'fve': 'Fraction of variance explained', 'l0': 'Active latents per item'})


def make_task(config: ConfigDict) -> loop.Task:
    """Unexplained variance with revival of dead latents, as `config.objective` says."""
    settings.check_keys(config, SECTIONS, 'config')
    section = config.objective
    settings.check_keys(section, ('dead_weight', 'dead_k', 'dead_after_epochs'), 'config.objective')
    setup = sparse_codes.read(config)
    recipe, model = setup.recipe, setup.model
    dead_after_steps = plan.epochs_to_steps(section.dead_after_epochs, recipe.plan.steps_per_epoch)
    train_variance = setup.total_variance('train')
    measure = objectives.make_sae_measure(model)

    def values_of(split: str) -> forward.Forward:
        examples = setup.examples(setup.features, setup.rows[split])
        return forward.Forward(measure, examples, batch_size=recipe.batch_size, devices=recipe.devices)

    validation, validation_variance = values_of('validation'), setup.total_variance('validation')

    def evaluate(state: TrainState) -> dict[str, float]:
        found = forward.means(validation(state.params, state.model_state), ('squared_error', 'l0'))
        inactive = np.asarray(devices.unreplicate(state.model_state['latents']['steps_inactive']))
        dead = float(np.mean(inactive >= dead_after_steps))
        return {'fve': 1 - found['squared_error'] / validation_variance, 'l0': found['l0'], 'dead': dead}

    def score(folder: pathlib.Path, state: TrainState, split: str) -> None:
        found = values_of(split)(*devices.replicate((state.params, state.model_state), recipe.devices))
        provenance = _provenance(config, setup, state, split)
        unexplained = found['squared_error'] / setup.total_variance(split)
        of_items = [('fve', 1 - unexplained, '1: all variance'), ('l0', found['l0'], 'latents per item')]
        scores = [scoring.mean(name, values, {**provenance, 'unit': unit}) for name, values, unit in of_items]
        training.write_scores(folder, scores)

    return loop.Task(
        recipe=recipe,
        model=model,
        make_objective=lambda model: objectives.make_sae_objective(
            model,
            total_variance=train_variance,
            dead_weight=section.dead_weight,
            dead_k=section.dead_k,
            dead_after_steps=dead_after_steps,
        ),
        examples=setup.examples(setup.features, setup.rows['train']),
        evaluate=evaluate,
        metrics=METRICS,
        digests=lambda: {
            'features': storage.array_digest(np.asarray(setup.features.values)),
            'ids': storage.array_digest(setup.features.ids),
        },
        score=score,
        setup=setup,
    )


def _code_scores(
    config: ConfigDict, setup: sparse_codes.SaeSetup, codes: functions_lib.Functions, provenance: Mapping[str, Any]
) -> list[Score]:
    """Share of latents that no training item activates, and how many latents are usable functions, or why not."""
    rule = settings.plain(config.functions)
    nan, n = float('nan'), len(codes)

    def count(name: str, value: float, unit: str) -> Score:
        return Score(name, value, nan, nan, n, 'none: a count', provenance={**provenance, 'unit': unit, **rule})

    never = codes.n_positive(setup.rows['train']) == 0
    reasons = functions_lib.why_unusable(codes, **rule)
    counts = [count('dead_fraction', float(never.mean()), 'share of latents')]
    counts += [count('functions/usable', float(np.sum(reasons == '')), 'functions')]
    for reason in functions_lib.REASONS:
        counts.append(count(f'functions/{reason}', float(np.sum(reasons == reason)), 'functions'))
    return counts


def _provenance(config: ConfigDict, setup: sparse_codes.SaeSetup, state: TrainState, split: str) -> dict[str, Any]:
    """Provenance of every score."""
    features = setup.features
    rows = setup.rows[split] if split in setup.rows else slice(None)
    return {
        'experiment': config.experiment,
        'model': config.model.name,
        'data': f'{features.name}/{split}',
        'human': 'none',  # no people take part
        'simulated': bool(features.provenance.get('simulated')),
        'stimuli_sha256': storage.array_digest(np.asarray(features.ids)[rows]),
        'features_sha256': storage.array_digest(np.asarray(features.values)),
        'checkpoint_step': int(state.step),
        'seed': config.seed,
        'n_parameters': sum(leaf.size for leaf in jax.tree.leaves(state.params)),
    }
