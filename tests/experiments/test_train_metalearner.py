"""Meta-learning from end to end on simulated concepts, where the functions are known to be the people's."""

import numpy as np
import pytest

from humalign_jax import storage
from humalign_jax.data import functions as functions_lib
from humalign_jax.data import simulated_concepts
from humalign_jax.experiments import train_metalearner
from humalign_jax.train import loop
from humalign_jax.wiring import function_data, layer_folders, runs

from ..conftest import load_config

NO_STIMULI = layer_folders.NO_STIMULI


def _tiny(**changes):
    config = load_config('metalearner', 'tiny')
    config.train.update(n_devices=1)
    config.update_from_flattened_dict(changes)
    return config


@pytest.fixture(scope='module')
def done(tmp_path_factory):
    """A finished run of the tiny config."""
    folder = tmp_path_factory.mktemp('metalearner')
    config = _tiny()
    storage.write_json(folder / 'config.json', config.to_dict())
    train_metalearner.run(config, str(folder))
    return folder


def _layer(folder, layer):
    return layer_folders.read_layer(folder / 'features/simulated-concepts' / f'{layer}.npy', NO_STIMULI, 'stimuli')


def _odd_ones(values, triplets, *, cosine):
    """Place of the item outside the most similar pair of each triplet."""
    values = np.asarray(values, np.float64)
    values = values / np.linalg.norm(values, axis=1, keepdims=True) if cosine else values
    i, j, k = (values[items] for items in triplets.T)
    return np.argmax([np.sum(j * k, axis=1), np.sum(i * k, axis=1), np.sum(i * j, axis=1)], axis=0)


def test_held_out_functions_are_learnt_in_context_better_than_by_chance(done):
    scores = {(row['name'], row['provenance']['of']): row for row in storage.read_jsonl(done / 'scores.jsonl')}
    assert set(scores) == {
        (name, of) for name in ('functions/accuracy', 'functions/r2') for of in ('held out', 'trained')
    }
    accuracy = scores['functions/accuracy', 'held out']
    assert accuracy['low'] > 0.55 and accuracy['n'] == 12 and accuracy['provenance']['simulated']
    assert scores['functions/r2', 'held out']['low'] > 0


def test_meta_learned_features_agree_more_with_simulated_people_than_the_features_they_are_made_of(done):
    """`main` above `base` where the functions are the people's, and in what people never trained it on."""
    concepts = simulated_concepts.simulate_concepts(1500)
    held_out = np.random.default_rng([0, 1500]).permutation(1500)[:300]  # of split_seed 0
    np_rng = np.random.default_rng(0)
    triplets = held_out[np.stack([np_rng.choice(300, 3, replace=False) for _ in range(4000)])]
    people = _odd_ones(concepts.human, triplets, cosine=False)
    found = {
        layer: np.mean(_odd_ones(_layer(done, layer).values, triplets, cosine=True) == people)
        for layer in ('base', 'embed')
    }
    assert found['embed'] > found['base'] + 0.1, found


def test_features_are_a_folder_of_layers_with_ids_and_provenance(done):
    folder = done / 'features/simulated-concepts'
    assert list(layer_folders.layer_paths(folder)) == ['base', 'embed']
    concepts = simulated_concepts.simulate_concepts(1500)
    base, embed = _layer(done, 'base'), _layer(done, 'embed')
    np.testing.assert_array_equal(base.values, concepts.features.values)
    for features in (base, embed):
        np.testing.assert_array_equal(features.ids, concepts.features.ids)
    assert embed.provenance['model'] == 'metalearner' and embed.provenance['simulated']
    assert [layer_folders.order_of(folder / f'{layer}.npy') for layer in ('base', 'embed')] == [0, 1]
    # Affine in the features, as metalign's representation.
    inputs = np.hstack([base.values, np.ones((1500, 1))])
    fitted = inputs @ np.linalg.lstsq(inputs, embed.values, rcond=None)[0]
    np.testing.assert_allclose(fitted, embed.values, atol=1e-4)


def test_curves_hold_every_function_episode_and_position_and_agree_with_the_scores(done):
    correct, sidecar = storage.read_described(done / 'curves/correct.npy')
    errors, _ = storage.read_described(done / 'curves/squared_error.npy')
    assert correct.shape == errors.shape == (60, 4, 24)  # 4 of 64 functions are rare in held-out items
    held_out = np.array(sidecar['functions_held_out'])
    rows = storage.read_jsonl(done / 'scores.jsonl')
    for row in rows:
        if row['name'] == 'functions/accuracy':
            of = held_out if row['provenance']['of'] == 'held out' else ~held_out
            assert correct[of].mean() == pytest.approx(row['value'], abs=1e-6)
    share_of_positives = np.isfinite(errors).mean()
    assert 0.45 < share_of_positives < 0.55
    assert correct[:, :, 12:].mean() > correct[:, :, 0].mean() + 0.1  # there is nothing to learn from at first


def test_a_finished_run_opens_by_its_name_and_gives_the_same_features(done):
    opened = runs.open_run(done)
    train_metalearner.write_features(opened.config, opened.task, done / 'again', opened.state)
    np.testing.assert_array_equal(_layer(done / 'again', 'embed').values, _layer(done, 'embed').values)


def test_no_training_example_is_a_held_out_item_or_function(done):
    data = runs.open_run(done).task.setup
    training, functions, _ = data.part(data.train_items, data.train_functions)
    held_out, others, _ = data.part(~data.train_items, ~data.train_functions)
    assert (len(training), len(held_out)) == (1200, 300)
    assert not set(functions.item_ids) & set(others.item_ids)
    assert not set(functions.function_ids) & set(others.function_ids)
    assert not {tuple(row) for row in training.tolist()} & {tuple(row) for row in held_out.tolist()}


@pytest.mark.parametrize(
    'changes',
    [
        {'functions.use': 'raw', 'model.core': 'lstm', 'data.n_simulated': 300},
        {'model.name': 'static_linear', 'functions.use': 'mid'},
    ],
    ids=['raw-lstm', 'static-mid'],
)
def test_variants_train_and_leave_their_features(changes, tmp_path):
    config = _tiny(**changes, **{'train.max_steps': 2, 'episodes.n_repeats': 1})
    train_metalearner.run(config, str(tmp_path))
    layers = set(layer_folders.layer_paths(tmp_path / 'features/simulated-concepts'))
    static = config.model.name == 'static_linear'
    assert layers == {'base', 'embed', *(('normalised',) if static else ())}
    assert (tmp_path / 'curves').exists() is not static
    assert len(storage.read_jsonl(tmp_path / 'scores.jsonl')) == (2 if static else 4)


def test_a_run_stops_early_and_does_not_go_on_when_it_is_started_again(tmp_path):
    """Of the variant without an embedding, which leaves the features as they are."""
    config = _tiny(**{'episodes.per_epoch': 64, 'episodes.n_repeats': 1, 'train.epochs': 12.0, 'model.embed': False})
    config.stopping.update(patience=3, after_steps=2, min_accuracy=0.0, min_improvement=5.0)
    for _ in range(2):
        task = train_metalearner.make_task(config)
        state = loop.fit(task, tmp_path)
        steps = [row['step'] for row in storage.read_jsonl(tmp_path / 'metrics.jsonl') if row['split'] == 'validation']
        assert steps == [1, 2, 3, 4, 5]  # steps 3, 4 and 5 count
    train_metalearner.write_features(config, task, tmp_path, state)
    assert list(layer_folders.layer_paths(tmp_path / 'features/simulated-concepts')) == ['base']


def _files(tmp_path, values, n_items=200):
    """Features and functions of the same items, in files."""
    ids = np.array([f'item/{i:03d}' for i in range(n_items)])
    features = np.random.default_rng(0).normal(size=(n_items, 8)).astype(np.float32)
    np.savez(tmp_path / 'features.npz', features=features, ids=ids)
    names = [f'f{i}' for i in range(len(values))]
    functions_lib.save_functions(tmp_path / 'f.npz', functions_lib.Functions.from_dense(values, ids, names, 'mine'))
    config = _tiny(**{'data.features': str(tmp_path / 'features.npz'), 'functions.main': str(tmp_path / 'f.npz')})
    config.functions.update(min_positives=2, held_out=0.25)
    config.episodes.length = 10
    return config, ids


def test_files_join_by_id_and_lists_say_what_is_held_out(tmp_path):
    values = (np.random.default_rng(1).random((9, 200)) < 0.2).astype(np.float32)
    values[8, 1:] = 0  # one positive item only
    config, ids = _files(tmp_path, values)
    (tmp_path / 'items.txt').write_text('\n'.join(ids[::4]))
    (tmp_path / 'functions.txt').write_text('f2\nf5\n')
    config.data.held_out_items_file = str(tmp_path / 'items.txt')
    config.functions.held_out_file = str(tmp_path / 'functions.txt')
    functions = functions_lib.load_functions(tmp_path / 'f.npz')
    order = np.random.default_rng(2).permutation(200)[:160]  # fewer items, in another order
    functions_lib.save_functions(tmp_path / 'f.npz', functions.select_items(ids[order]))
    data = function_data.read(config, n_items=10)
    assert data.left_out['rare'] == 1 and len(data.functions) == 8
    assert data.functions.function_ids[~data.train_functions].tolist() == ['f2', 'f5']
    assert set(data.functions.item_ids[~data.train_items]) == set(ids[::4]) & set(ids[order])
    assert not data.has_magnitudes and data.scale == 1.0
    features, part, _ = data.part(~data.train_items, ~data.train_functions)
    place = {name: row for row, name in enumerate(ids.tolist())}
    rows = [place[name] for name in part.item_ids.tolist()]
    np.testing.assert_array_equal(part.dense(), values[[2, 5]][:, rows])
    raw = np.load(tmp_path / 'features.npz')['features']
    of_training = raw[[place[name] for name in data.functions.item_ids[data.train_items].tolist()]]
    mean = of_training.mean(axis=0)
    np.testing.assert_allclose(features, (raw[rows] - mean) / np.sqrt(np.mean((of_training - mean) ** 2)), atol=1e-5)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'data.features': ''}, 'config.data.features names no file'),
        ({'functions.main': ''}, 'config.functions.main names no file'),
        ({'functions.use': 'middle'}, "config.functions.use='middle' is unknown. Did you mean 'mid'"),
        ({'data.scaling': 'zscore'}, "config.data.scaling='zscore' is unknown"),
        ({'data.held_out_items': 0.0}, 'config.data.held_out_items=0 holds out 0 of 200'),
        ({'episodes.length': 60}, '40 held-out items do not fill an episode of 60'),
        ({'functions.min_positives': 30}, 'none of the 4 functions'),
        ({'model.name': 'linear'}, "config.model.name='linear' is unknown"),
        ({'export': ('FOLDER/wide.npz',)}, "'wide' has 9 features, but the map was trained on 8"),
        ({'data.ids_file': 'FOLDER/short.txt'}, '200 stimuli but 2 ids'),
    ],
)
def test_settings_and_files_that_cannot_be_are_named(changes, message, tmp_path):
    config, ids = _files(tmp_path, np.random.default_rng(1).random((4, 200)) * (np.arange(200) % 5 == 0))
    np.savez(tmp_path / 'wide.npz', features=np.ones((200, 9)), ids=ids)
    (tmp_path / 'short.txt').write_text('a\nb\n')
    config.update_from_flattened_dict({key: _placed(value, tmp_path) for key, value in changes.items()})
    with pytest.raises(ValueError, match=message):
        task = train_metalearner.make_task(config)
        train_metalearner.write_features(config, task, tmp_path, task.first_state())


def _placed(value, folder):
    if isinstance(value, tuple):
        return tuple(_placed(one, folder) for one in value)
    return value.replace('FOLDER', str(folder)) if isinstance(value, str) else value


def test_whole_branches_are_held_out_with_the_functions_that_only_they_have(tmp_path):
    """Ten branches of twenty items: branch functions are trained on one side and evaluated on the other."""
    branch = np.arange(200) // 20
    values = np.vstack([branch == np.arange(10)[:, None], branch % 2 == 0, branch < 5]).astype(np.float32)
    config, _ = _files(tmp_path, values)
    config.data.update(held_out_by='subtrees', held_out_items=0.4)
    config.functions.min_positives = 10
    config.episodes.length = 20
    data = function_data.read(config, n_items=20)
    held_out = np.unique(branch[[int(item.split('/')[1]) for item in data.functions.item_ids[~data.train_items]]])
    assert len(held_out) == 4 and (~data.train_items).sum() == 80
    assert data.functions.function_ids[~data.train_functions].tolist() == [f'f{k}' for k in held_out]
    evaluated = set(data.functions.function_ids[data.evaluated].tolist())
    assert evaluated >= {f'f{k}' for k in held_out} and not evaluated & {
        f'f{k}' for k in range(10) if k not in held_out
    }
    assert len(data.functions) == 12
    config.train.update(epochs=1.0)
    config.episodes.per_epoch = 64
    train_metalearner.run(config, str(tmp_path / 'run'))
    listed = (tmp_path / 'run/held_out_items.txt').read_text().split()
    assert listed == data.functions.item_ids[~data.train_items].tolist()
    correct, sidecar = storage.read_described(tmp_path / 'run/curves/correct.npy')
    assert len(correct) == len(sidecar['function_ids']) == data.evaluated.sum()
    assert np.sum(sidecar['functions_held_out']) == 4
    config.functions.use = 'raw'  # neurons have no branches: the same items, functions at random
    raw = function_data.read(config, n_items=20)
    assert np.array_equal(raw.train_items, data.train_items) and raw.evaluated.all()
    config.data.held_out_items_file = 'items.txt'
    with pytest.raises(ValueError, match=r'leave config\.data\.held_out_items_file and'):
        function_data.read(config, n_items=20)
