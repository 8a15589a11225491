"""Ratings of pairs against layers: a published example, known answers, the same numbers by two ways, messages."""

import csv
import json

import jax
import numpy as np
import pytest
import scipy.stats
from scipy.spatial.distance import pdist, squareform

from humalign_jax import data, models, storage
from humalign_jax.experiments import collect_ratings, extract, import_checkpoint, ratings
from humalign_jax.human.ratings import read_images, read_ratings, write_ratings
from humalign_jax.human_data import Ratings
from humalign_jax.records import Features, Score
from humalign_jax.rsa import files

from ..conftest import load_config


def _config(paths, **changes):
    config = load_config('ratings', 'full')
    config.ratings.update(files=tuple(map(str, paths)), dataset='synthetic')
    config.data = {'name': 'synthetic', 'root': '', 'n_test': 128, 'image': 'grey'}
    config.update(n_bootstrap=50, n_devices=1, measures=('cosine', '-euclidean'))
    with config.unlocked():
        config.update_from_flattened_dict(changes)
    return config


def _scores(folder):
    return [Score.from_json(row) for row in storage.read_jsonl(folder / 'scores.jsonl')]


def _find(scores, name, **said):
    return [s for s in scores if s.name == name and all(s.provenance.get(key) == value for key, value in said.items())]


@pytest.fixture(scope='module')
def images():
    return data.load('synthetic', 'test', n_test=128, image='grey')


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    """A run of a network with random weights on rendered images."""
    folder = tmp_path_factory.mktemp('run')
    config = load_config('import_checkpoint', 'tiny')
    import_checkpoint.run(config, str(folder))
    storage.write_json(folder / 'config.json', json.loads(config.to_json_best_effort()))
    return folder


@pytest.fixture(scope='module')
def tables(tmp_path_factory, images):
    """What the page would download for two people: both rate by a rising function of the pixels' cosine."""
    folder = tmp_path_factory.mktemp('tables')
    config = load_config('collect_ratings', 'tiny')
    config.n_pairs, config.data.n_test = 5, 128
    collect_ratings.run(config, str(folder))
    with open(folder / 'pairs.csv', newline='', encoding='utf-8') as file:
        rows = list(csv.DictReader(file))
    pixels = (images.images.reshape(len(images), -1) / 255.0 - 0.1307) / 0.3081
    pairs = np.array([[int(row[f'test_idx_{side}']) for side in 'ab'] for row in rows])
    a, b = pixels[pairs[:, 0]], pixels[pairs[:, 1]]
    cosine = (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    paths = []
    for rater, lowest in (('ann', 1), ('ben', 4)):
        lines = ['pair_id,digit,test_idx_a,test_idx_b,rater_id,rating']
        for number, row in enumerate(rows):
            category = [row['digit'] == other['digit'] for other in rows]
            rank = int(scipy.stats.rankdata(cosine[category])[number % 5]) + lowest - 1
            lines.append(f'{row["pair_id"]},{row["digit"]},{row["test_idx_a"]},{row["test_idx_b"]},{rater},{rank}')
        paths.append(folder / f'ratings-{rater}.csv')
        paths[-1].write_text('\n'.join(lines) + '\n')
    return paths


@pytest.fixture(scope='module')
def scored(run, tables, tmp_path_factory):
    folder = tmp_path_factory.mktemp('scored')
    ratings.run(_config(tables, runs=(str(run),), names=('net',)), str(folder))
    return folder


def test_the_published_example_gives_its_figures(tmp_path):
    ratings.run(load_config('ratings', 'tiny'), str(tmp_path))
    scores = _scores(tmp_path)
    [r] = _find(scores, 'ratings/pearson')
    assert r.value == pytest.approx(-0.171, abs=5e-4) and (r.low, r.high) == pytest.approx((-0.66, 0.41), abs=0.015)
    [raters] = _find(scores, 'ratings/inter_rater')
    assert raters.value == pytest.approx(0.829, abs=5e-4)
    without = _find(scores, 'ratings/pearson_without')[1]
    assert without.value == pytest.approx(0.179, abs=5e-4) and without.provenance['without'] == ['15', '13']
    assert {path.suffix for path in (tmp_path / 'figures').iterdir()} == {'.pdf', '.png'}


def test_tables_of_the_page_are_scored_against_every_layer_measure_rater_and_category(scored):
    scores = _scores(scored)
    found = _find(scores, 'ratings/spearman', baseline=True, measure='cosine')
    assert [score.value for score in found] == pytest.approx([1.0, 1.0])  # people rate by this very similarity
    assert [score.provenance['category'] for score in found] == ['animate_a1', 'inanimate_c1']
    layers = ['conv1', 'conv1_pooled', 'conv2', 'conv2_pooled', 'fc1', 'logits', 'probs']
    net = _find(scores, 'ratings/pearson', model='net', category='animate_a1', measure='-euclidean')
    assert [score.provenance['layer'] for score in net] == layers
    assert len(_find(scores, 'ratings/pearson_rater', rater='ben')) == 2 * 2 * (len(layers) + 1)
    assert all(score.provenance['simulated'] for score in scores if score.provenance.get('model'))
    assert _find(scores, 'ratings/alpha', category='inanimate_c1')[0].value == pytest.approx(1.0)


def test_arrays_hold_the_similarity_and_the_ratings_of_each_pair(scored, tables):
    similarity, about = storage.read_described(scored / 'similarities.npy')
    people, described = storage.read_described(scored / 'ratings.npy')
    read = read_ratings(tables, dataset='synthetic')
    np.testing.assert_array_equal(people, read.values)
    assert about['pairs'] == described['pairs'] == read.pairs.tolist() and described['raters'] == ['ann', 'ben']
    row = next(k for k, one in enumerate(about['rows']) if one['layer'] == 'fc1' and one['measure'] == 'cosine')
    within = np.array(about['categories']) == 'inanimate_c1'
    expected = scipy.stats.pearsonr(similarity[row, within], people[:, within].mean(axis=0)).statistic
    [score] = _find(_scores(scored), 'ratings/pearson', layer='fc1', measure='cosine', category='inanimate_c1')
    assert score.value == pytest.approx(expected)


def test_pictures_of_pairs_lie_in_the_workdir_with_words(scored):
    names = {path.name for path in (scored / 'figures').iterdir()}
    assert {'scatter_net.pdf', 'scatter_pixels.png', 'pairs_net_animate_a1.png', 'pairs_net_inanimate_c1.pdf'} <= names
    said = storage.read_json(scored / 'figures' / 'pairs_net_animate_a1.json')
    assert 'for display only' in said['caption'] and said['layer'] == 'fc1'


def test_extracted_layers_and_files_without_ids_give_the_scores_of_the_run(scored, run, tables, images, tmp_path):
    config = load_config('extract', 'full')
    config.update(run=str(run), layers=('fc1',), name='net', n_devices=1)
    extract.run(config, str(tmp_path / 'extracted'))
    foreign = tmp_path / 'foreign' / 'fc1.npy'
    foreign.parent.mkdir()
    np.save(foreign, np.load(tmp_path / 'extracted' / 'fc1.npy')[::-1])
    (tmp_path / 'ids.txt').write_text('\n'.join(images.ids[::-1].tolist()) + '\n')
    expected = [s.value for s in _find(_scores(scored), 'ratings/pearson', layer='fc1')]
    for name, place, ids_file in (
        ('folder', tmp_path / 'extracted', ''),
        ('file', foreign, str(tmp_path / 'ids.txt')),
    ):
        changes = {'features': (str(place),), 'stimuli.ids_file': ids_file}
        ratings.run(_config(tables, **changes), str(tmp_path / name))
        found = _find(_scores(tmp_path / name), 'ratings/pearson', baseline=False)
        assert [score.value for score in found] == pytest.approx(expected, abs=1e-6), name


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'ratings.files': ()}, 'config.ratings.files must name at least one table'),
        ({'ratings.dataset': 'mnist'}, "images of ratings 'ratings-ann' are not in synthetic/test"),
        ({'measures': ('euclidean',)}, "config.measures has 'euclidean'. Did you mean '-euclidean'"),
        ({'ratings.source': 'people'}, "config.ratings.source='people' must be"),
        ({'preprocess.mean': (0.1, 0.2)}, '2 and 1 numbers for images with 1 channel'),
        ({'names': ('a', 'b')}, 'config.names has 2 names for 0 models'),
        ({'data.name': 'minst'}, "config.data.name='minst' is no data source. Did you mean 'mnist'"),
        ({'features': ('none.npy',)}, 'none.npy is no folder'),
        ({'data.name': '', 'runs': ('run',)}, 'run needs the rated images'),
    ],
)
def test_settings_that_cannot_be_are_named(tables, tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        ratings.run(_config(tables, **changes), str(tmp_path))


def test_a_run_needs_a_headline_layer_and_one_of_the_layers(run, tables, tmp_path):
    for changes, message in (
        ({'headline': ('penultimate',)}, r'none of config.headline=.* only conv1, .*probs'),
        ({'layers': ('conv9',)}, r"none of config.layers=\('conv9',\)"),
    ):
        with pytest.raises(ValueError, match=message):
            ratings.run(_config(tables, runs=(str(run),), **changes), str(tmp_path))


def _complete(values, ids, raters):
    """Ratings of all pairs of some stimuli by several people."""
    a, b = np.triu_indices(len(ids), 1)
    names, categories = np.array([f'{i}-{j}' for i, j in zip(a, b)]), np.full(len(a), 'animate_a1')
    return Ratings(names, ids[a], ids[b], categories, np.array(raters), np.array(values), (1.0, 10.0), 'all pairs')


def _within_class(folder, people, values, ids, **changes):
    """Scores of features [n, d] against a rating matrix."""
    folder.mkdir(parents=True, exist_ok=True)
    write_ratings(folder / 'people.csv', people)
    files.save_features(folder / 'layer.npy', Features(values, ids, 'layer'))
    options = {'within_class.measure': 'euclidean', 'within_class.n_permutations': 100, 'measures': ('cosine',)}
    options |= {'features': (str(folder / 'layer.npy'),), 'data.name': '', 'names': ('net',)}
    ratings.run(_config([folder / 'people.csv'], **options, **changes), str(folder / 'scored'))
    return next(s for s in _scores(folder / 'scored') if s.name.startswith('ratings/within_class_'))


@pytest.fixture
def stimuli(images):
    """Seven images, a feature of each, and people's ratings of all pairs: 10 minus the distance on the line."""
    ids = images.ids[images.labels == images.class_names.index('animate_a1')][:7]
    line = np.array([[0.0], [1], [3], [4], [6], [8], [9]])
    return ids, line, _complete([10 - pdist(line), np.maximum(9 - pdist(line), 1)], ids, ['ann', 'ben'])


def test_an_rdm_that_is_peoples_rating_matrix_agrees_with_it_perfectly(stimuli, tmp_path):
    ids, line, people = stimuli
    score = _within_class(tmp_path, people, line, ids)
    agreement = [scipy.stats.spearmanr(pdist(line), -values).statistic for values in people.values]
    assert score.name == 'ratings/within_class_spearman' and score.value == pytest.approx(np.mean(agreement))
    assert agreement[0] == pytest.approx(1.0) and score.provenance['n_images'] == 7
    assert score.ceiling_lower <= score.ceiling_upper and score.provenance['n_subjects'] == 2
    rdm = files.load_rdm(tmp_path / 'scored' / 'within_class' / 'net_layer_animate_a1.npy')
    order = np.argsort(ids)
    np.testing.assert_allclose(squareform(rdm.values), squareform(pdist(line[order])), atol=1e-6)


def test_a_matrix_in_a_file_is_joined_by_id_whatever_its_order(stimuli, tmp_path):
    ids, line, people = stimuli
    wanted, shuffled = np.random.default_rng(0).normal(size=(7, 2)), np.random.default_rng(1).permutation(7)
    path = tmp_path / 'matrix.npz'
    np.savez(path, rdm=squareform(pdist(wanted))[np.ix_(shuffled, shuffled)], ids=ids[shuffled])
    score = _within_class(tmp_path, people, line, ids, **{'within_class.rdm': str(path)})
    assert score.value == pytest.approx(scipy.stats.spearmanr(pdist(line), pdist(wanted)).statistic)
    assert score.provenance['human'] == 'matrix' and np.isfinite([score.low, score.high]).all()
    np.savez(path, rdm=squareform(pdist(wanted)), ids=np.char.add('other/', ids))
    with pytest.raises(ValueError, match="has 0 of the 7 images of category 'animate_a1', fewer than 4"):
        _within_class(tmp_path, people, line, ids, **{'within_class.rdm': str(path)})


def test_a_matrix_that_is_known_in_part_is_compared_over_the_rated_pairs(stimuli, tmp_path):
    ids, line, people = stimuli
    np_rng, kept = np.random.default_rng(2), np.arange(0, 21, 2)
    values = np_rng.integers(1, 11, (2, 21)).astype(float)
    some = Ratings(
        people.pairs[kept], people.ids_b[kept], people.ids_a[kept], people.categories[kept], people.raters,
        values[:, kept], people.scale, 'some pairs',
    )  # fmt: skip
    score = _within_class(tmp_path, some, line, ids)
    expected = scipy.stats.spearmanr(pdist(line)[kept], -values[:, kept].mean(axis=0)).statistic
    assert score.value == pytest.approx(expected) and score.n == 11
    assert score.interval == 'none: 11 of 21 pairs are rated' and np.isnan(score.low)


@pytest.mark.data
def test_the_course_network_predicts_the_real_ratings_as_published(real_data, tmp_path):
    table, own = (real_data / 'digits' / f'similarity_ratings.{end}' for end in ('csv.gz', 'npz'))
    images = read_images(own, read_ratings(table))
    state = models.read_state_dict(real_data / 'mnist' / 'convnet_mnist_pretrained.pt')
    model = models.DigitNet()
    template = jax.eval_shape(model.init, jax.random.key(0), np.zeros((1, 28, 28, 1), np.float32))
    variables = models.to_flax(state, template, **models.DigitNet.from_torch)
    layers = ('conv1', 'conv2', 'fc1', 'logits')
    found = models.capture(model, variables, (images.images / 255.0 - 0.1307) / 0.3081, layers)
    for layer in layers:
        values = np.asarray(found[layer]).reshape(len(images), -1)
        files.save_features(tmp_path / 'net' / f'{layer}.npy', Features(values, images.ids, layer))
    changes = {'features': (str(tmp_path / 'net'),), 'ratings.images': str(own), 'n_bootstrap': 1000}
    ratings.run(_config([table], **changes, layers=layers, measures=('cosine',)), str(tmp_path / 'scored'))
    scores = _scores(tmp_path / 'scored')
    of = {(s.provenance['category'], s.provenance['layer']): s for s in _find(scores, 'ratings/pearson')}
    published = {
        '7': {'conv1': 0.440, 'conv2': 0.350, 'fc1': 0.501, 'logits': 0.485, 'pixels': 0.425},
        '8': {'conv1': 0.493, 'conv2': 0.627, 'fc1': 0.494, 'logits': 0.342, 'pixels': 0.498},
    }
    for digit, values in published.items():
        for layer, value in values.items():
            assert of[digit, layer].value == pytest.approx(value, abs=0.001), (digit, layer)
    assert (of['8', 'conv2'].low, of['8', 'conv2'].high) == pytest.approx((0.37, 0.78), abs=0.03)
    assert [s.value for s in _find(scores, 'ratings/alpha')] == pytest.approx([0.844, 0.802], abs=0.001)
