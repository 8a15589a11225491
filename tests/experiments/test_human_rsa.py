"""Networks against simulated observers, for which the right order is known."""

import importlib.util
import pathlib

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from humalign_jax import data, memory, rsa, storage
from humalign_jax.experiments import human_rsa
from humalign_jax.records import Score

CONFIG = pathlib.Path(__file__).parents[2] / 'configs' / 'human_rsa.py'
N = 150


def get_config():
    spec = importlib.util.spec_from_file_location('config_human_rsa', CONFIG)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = module.get_config('tiny')
    config.human.n_test = N
    return config


def write_layer(folder, layer, values, ids, model):
    about = {'name': f'{model}/{layer}', 'model': model, 'layer': layer, 'ids': ids, 'simulated': True}
    storage.write_array(folder / f'{layer}.npy', values.astype(np.float32), about)


@pytest.fixture(scope='module')
def images():
    return data.load('synthetic', 'test', n_test=N, seed=0, n_observers=50)


@pytest.fixture(scope='module')
def study(tmp_path_factory, images):
    """The truth, the same with noise, what knows only the category, and the observers' true distribution."""
    root, np_rng = tmp_path_factory.mktemp('study'), np.random.default_rng(0)
    noise = np_rng.normal(size=images.extras['latent'].shape)
    made = {
        'truth': images.extras['latent'],
        'some noise': images.extras['latent'] + 0.4 * noise,
        'much noise': images.extras['latent'] + 1.0 * noise,
        'category': np.eye(10)[images.labels] + 1e-3 * np_rng.normal(size=(N, 10)),
    }
    names = []
    for k, (name, values) in enumerate(made.items()):
        folder, order = root / name.replace(' ', '_'), np_rng.permutation(N) if k else np.arange(N)
        write_layer(folder, 'penultimate', values[order], images.ids[order], name)
        write_layer(folder, 'block1', (values + 2 * np_rng.normal(size=values.shape))[order], images.ids[order], name)
        if not k:
            write_layer(folder, 'pixels', images.images.reshape(N, -1) / 255.0, images.ids, name)
        about = {'ids': images.ids[order], 'class_names': images.class_names, 'data': 'synthetic/test'}
        storage.write_array(folder / 'labels.npy', images.labels[order], about)
        names.append(str(folder))
    config = get_config()
    config.features, config.simulated.n_models = tuple(names), 0
    human_rsa.run(config, str(root / 'out'))
    return root / 'out', [Score.from_json(row) for row in storage.read_jsonl(root / 'out' / 'scores.jsonl')], config


def score_of(scores, model, pairs='all', level='image', layer='penultimate'):
    wanted = (model, pairs, level, layer)
    keys = ('model', 'pairs', 'level', 'layer')
    (found,) = [s for s in scores if s.name == 'rsa/spearman' and tuple(s.provenance[k] for k in keys) == wanted]
    return found


def value(*which, **more):
    return score_of(*which, **more).value


def test_the_truth_ranks_first_and_noise_ranks_in_order(study):
    for pairs in ('all', 'within', 'between', 'partial'):
        ranked = [value(study[1], model, pairs) for model in ('truth', 'some noise', 'much noise')]
        assert ranked == sorted(ranked, reverse=True)


def test_knowing_the_category_is_worth_nothing_once_it_is_partialled_out(study):
    assert value(study[1], 'category') > 0.3
    for pairs in ('within', 'partial'):
        found = score_of(study[1], 'category', pairs)
        assert abs(found.value) < 3 * found.provenance['standard_error'] < 0.3


def test_scores_are_those_of_compare_whatever_the_order_of_the_files(study, images):
    counts = images.extras['counts']
    human = pdist(counts / counts.sum(axis=1, keepdims=True), 'cosine').astype(np.float32)
    same = rsa.category_rdm(images.labels)
    assert value(study[1], 'same category', layer='') == pytest.approx(float(rsa.compare(same, human)), abs=1e-6)
    truth = pdist(images.extras['latent'].astype(np.float32)).astype(np.float32)
    expected = float(rsa.compare(truth, human, control=same))
    assert value(study[1], 'truth', 'partial') == pytest.approx(expected, abs=1e-4)


def test_ceilings_are_those_of_split_halves(study, images):
    counts, n_splits = images.extras['counts'], study[2].n_splits
    for pairs in ('all', 'within', 'between', 'partial'):
        split = rsa.split_half(counts, 'cosine', labels=images.labels, pairs=pairs, n_splits=n_splits)
        score = score_of(study[1], 'truth', pairs)
        assert (score.ceiling_lower, score.ceiling_upper) == pytest.approx((split.reliability, split.ceiling), abs=2e-3)


def test_another_group_of_observers_scores_the_lower_ceiling_and_the_latents_stay_below(study, images):
    counts = images.extras['counts']
    probabilities = images.extras['soft_label'].astype(np.float64)
    others = np.random.default_rng(1).multinomial(50, probabilities / probabilities.sum(axis=1, keepdims=True))
    one, other = (pdist(c / c.sum(axis=1, keepdims=True), 'cosine').astype(np.float32) for c in (counts, others))
    score = score_of(study[1], 'truth')
    assert float(rsa.compare(one, other)) == pytest.approx(score.ceiling_lower, abs=0.03)
    assert score.high < score.ceiling_upper


def test_class_level_scores_are_those_of_class_means(study, images):
    def means(values):
        return np.stack([values[images.labels == k].mean(axis=0) for k in range(10)])

    counts = images.extras['counts']
    human = pdist(means(counts / counts.sum(axis=1, keepdims=True)), 'cosine')
    expected = float(rsa.compare(pdist(means(images.extras['latent'].astype(np.float32))), human))
    assert value(study[1], 'truth', level='class') == pytest.approx(expected, abs=1e-6)
    np.testing.assert_allclose(np.load(study[0] / 'rdm_class_human.npy'), human, atol=1e-6)


def test_every_score_says_what_the_contract_asks_for(study):
    keys = {'model', 'layer', 'level', 'pairs', 'human_measure', 'data', 'human', 'simulated', 'seed', 'better'}
    for score in study[1]:
        assert keys <= set(score.provenance)
        assert score.provenance['simulated'] is True and score.provenance['human'] == 'simulated observers'
        if score.name == 'rsa/spearman/difference':
            assert {'other', 'other_layer', 'p', 'p_fwer', 'p_fdr'} <= set(score.provenance)
    baselines = {score.provenance['model'] for score in study[1] if score.provenance.get('baseline')}
    assert baselines == {'same category', 'class-mean human label', 'pixels'}
    assert np.load(study[0] / 'rdm_image_human.npy').shape == (100, 100)
    assert (study[0] / 'figures' / 'layers_image_partial.png').exists()


def test_mistakes_are_named(study, tmp_path, monkeypatch):
    def fails(message, **changes):
        config = study[2].copy_and_resolve_references()
        config.update(changes)
        with pytest.raises(ValueError, match=message):
            human_rsa.run(config, str(tmp_path))

    fails('config.features must name at least one folder', features=())
    fails('has no file of a layer', features=(str(tmp_path),))
    fails("config.pairs has 'inside'", pairs=('inside',))
    fails('has none of config.headline', headline=('mu',))
    fails('two folders are named', features=study[2].features[:1] * 2)
    monkeypatch.setattr(memory, '_left_in_cgroups', lambda system: [1])
    fails('need about 0.0 GB of memory, but only 0.0 GB are free')
