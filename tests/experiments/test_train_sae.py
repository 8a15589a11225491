"""Sparse autoencoders of features, some of whose codes are known."""

import numpy as np
import pytest

from humalign_jax import storage, workdir
from humalign_jax.data.functions import load_functions
from humalign_jax.experiments import train_sae
from humalign_jax.wiring import feature_matrix, runs, sparse_codes

from ..conftest import load_config


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """The config and folder of the tiny run, on 64 known functions in 32 features."""
    config, folder = load_config('sae', 'tiny'), tmp_path_factory.mktemp('sae')
    config.train.update(n_devices=1)
    workdir.run_once(train_sae.run, config, folder)
    return config, folder


def _score(folder, name):
    (found,) = [row for row in storage.read_jsonl(folder / 'scores.jsonl') if row['name'] == name]
    return found


def test_directions_and_codes_of_simulated_features_are_recovered(trained):
    config, folder = trained
    _, functions, directions = feature_matrix.simulate(config.data, seed=config.seed)
    opened = runs.open_run(folder)
    learned = np.asarray(opened.task.model.apply({'params': opened.state.params, **opened.state.model_state},
                                                 method='dictionary'))  # fmt: skip
    cosines = directions @ learned.T  # [64, 96]
    assert cosines.max(axis=1).mean() > 0.97
    codes = load_functions(folder / 'codes.npz')
    assert codes.item_ids.tolist() == functions.item_ids.tolist()
    truth, found = functions.dense(), codes.dense()[cosines.argmax(axis=1)]
    correlations = [np.corrcoef(one, other)[0, 1] for one, other in zip(truth, found)]
    assert np.median(correlations) > 0.95


def test_scores_say_how_much_is_explained_by_how_many_latents(trained):
    _, folder = trained
    opened, codes = runs.open_run(folder), load_functions(folder / 'codes.npz')
    setup: sparse_codes.SaeSetup = opened.task.setup
    x = (np.asarray(setup.features.values) - setup.mean) / setup.factor
    x = x[setup.rows['test']]
    recon = codes.dense().T[setup.rows['test']] @ np.asarray(
        opened.task.model.apply({'params': opened.state.params, **opened.state.model_state}, method='dictionary')
    ) + np.asarray(opened.state.params['bias'])
    fve = _score(folder, 'fve')
    assert fve['value'] == pytest.approx(1 - np.square(x - recon).sum() / np.square(x - x.mean(0)).sum(), abs=1e-4)
    assert fve['value'] > 0.85 and fve['n'] == 200 and fve['provenance']['simulated']
    assert _score(folder, 'l0')['value'] == pytest.approx(codes.n_positive(setup.rows['test']).sum() / 200)
    never = codes.n_positive(setup.rows['train']) == 0
    assert _score(folder, 'dead_fraction')['value'] == pytest.approx(never.mean())
    positives = codes.n_positive()
    n_usable = np.sum((positives >= 20) & (positives <= 2380))
    assert _score(folder, 'functions/usable')['value'] == n_usable
    assert _score(folder, 'functions/dead')['value'] == np.sum(positives == 0)


def test_splits_are_disjoint_and_hold_every_item(trained):
    setup = runs.open_run(trained[1]).task.setup
    rows = np.concatenate([setup.rows[split] for split in sparse_codes.SPLITS])
    np.testing.assert_array_equal(np.sort(rows), np.arange(2400))


def test_items_are_brought_to_one_norm_if_asked(trained):
    config = load_config('sae', 'tiny')
    config.data.unit_norm = True
    setup = sparse_codes.read(config)
    examples = setup.examples(setup.features, setup.rows['test'])
    x = sparse_codes.make_batch({k: np.asarray(v) for k, v in examples.arrays.items()}, np.arange(5), None)['x']
    np.testing.assert_allclose(np.square(x).sum(axis=1), 32.0, rtol=1e-5)
    centred = setup.features.values - setup.features.values[setup.rows['train']].mean(axis=0)
    expected = centred[setup.rows['test'][:5]]
    expected *= np.sqrt(32) / np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(x, expected, atol=1e-4)


def test_what_cannot_be_trained_is_refused():
    config = load_config('sae', 'tiny')
    config.data.update(n_validation=1300, n_test=1200)
    with pytest.raises(ValueError, match='leave some of the 2400 items for training'):
        train_sae.make_task(config)
    config = load_config('sae', 'tiny')
    config.data.n_item = 3
    with pytest.raises(ValueError, match=r"n_item.*Did you mean 'n_items'"):
        train_sae.make_task(config)
    with pytest.raises(ValueError, match=r'config\.data\.features is empty'):
        train_sae.make_task(load_config('sae', 'full'))


@pytest.mark.data
def test_word_embeddings_of_the_things_concepts_are_features(real_data):
    config = load_config('sae', 'full')
    things = real_data / 'things'
    config.data.update(features=str(things / 'word_embeddings.npz'), key='minilm_word')
    config.data.update(ids_file=str(things / 'concepts.tsv'), ids_column='unique_id')
    config.train.n_devices = 1
    features = train_sae.make_task(config).setup.features
    assert features.values.shape == (1854, 384) and features.ids[0] == 'aardvark'
