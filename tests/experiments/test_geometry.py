"""The geometry experiment: known order on simulated items, joins by id or concept, maps aligned, bad input named."""

import numpy as np
import pytest

from humalign_jax import rsa, storage
from humalign_jax.experiments import geometry
from humalign_jax.records import Score

from ..conftest import load_config

IDS = ['bee', 'ant', 'cat', 'dog', 'mug', 'pan', 'oak', 'fir']
KINDS = ['animal', 'animal', 'animal', 'animal, pet', 'tool', 'tool', 'plant', 'plant']


def _run(config, folder):
    geometry.run(config, str(folder))
    return [Score.from_json(row) for row in storage.read_jsonl(folder / 'scores.jsonl')]


def _one(scores, name, model, **where):
    found = [
        score
        for score in scores
        if score.name == f'geometry/{name}' and {'model': model, **where}.items() <= score.provenance.items()
    ]
    return found[0]


@pytest.fixture(scope='module')
def simulated(tmp_path_factory):
    config, folder = load_config('geometry', 'tiny'), tmp_path_factory.mktemp('simulated')
    config.update(n_bootstrap=15)
    config.maps.update(n_per_class=6)
    return _run(config, folder), folder


def test_networks_without_the_dimensions_that_people_ignore_are_closer_to_people(simulated):
    scores, _ = simulated
    for name in ('class_separation_coarse/difference', 'cka/difference'):
        assert _one(scores, name, 'main', other='base').low > 0
    assert _one(scores, 'participation_ratio/difference', 'main', other='base').high < 0
    assert _one(scores, 'class_separation_fine', 'human dimensions').value == pytest.approx(1)  # equal within a concept
    human = [score.name for score in scores if score.provenance['model'] == 'human dimensions']
    assert 'geometry/cka' not in human and not [name for name in human if name.endswith('/difference')]
    assert all(score.provenance['simulated'] for score in scores)


def test_networks_of_a_group_are_scored_one_by_one_and_on_average(simulated):
    scores, _ = simulated
    members = [_one(scores, 'two_nn', name, group='main') for name in ('main-0', 'main-1')]
    pooled = _one(scores, 'two_nn', 'main', n_networks=2, networks=['main-0', 'main-1'])
    assert pooled.value == pytest.approx(np.mean([one.value for one in members])) and 'group' not in pooled.provenance
    assert 'features_sha256' not in pooled.provenance and 'features_sha256' in members[0].provenance


@pytest.mark.parametrize('method', ['tsne', 'mds'])
def test_maps_show_the_same_items_aligned_to_the_reference(simulated, method):
    _, folder = simulated
    maps = {
        name: storage.read_described(folder / 'maps' / f'{name}_{method}.npy')
        for name in ('base', 'main', 'human_dimensions')
    }
    first, said = maps['base']
    assert first.shape == (18, 2) and said['categories'].count('category 1') == 6 and said['number'] == 0
    for points, sidecar in maps.values():
        assert (sidecar['ids'], sidecar['aligned_to']) == (said['ids'], 'base')
        one, other = points - first.mean(axis=0), first - first.mean(axis=0)
        assert np.linalg.norm(one) == pytest.approx(np.linalg.norm(other), rel=1e-4)
        found = np.sum(one * other) / np.sum(other**2)  # no rotation brings them closer
        assert found == pytest.approx(rsa.procrustes_similarity(points, first), rel=1e-4)
        assert found == pytest.approx(sidecar['procrustes_similarity'], rel=1e-4)
    assert 0 < maps['main'][1]['stress' if method == 'mds' else 'kl_nats'] < 1
    assert sorted(sidecar['kind'] for _, sidecar in maps.values()) == ['human', 'model', 'model']


@pytest.fixture
def things(tmp_path):
    """A table of eight concepts, an embedding of them and the features of a network."""
    rng = np.random.default_rng(0)
    lines = ['unique_id\ttriplet_source_index\tcategory_top_down']
    lines += [f'{name}\t{k}\t{kind}' for k, (name, kind) in enumerate(zip(IDS, KINDS))]
    (tmp_path / 'concepts.tsv').write_text('\n'.join(lines))
    np.savez(tmp_path / 'embeddings.npz', people_3d=rng.normal(size=(8, 3)).astype(np.float32))
    np.savez(tmp_path / 'net.npz', features=rng.normal(size=(8, 4)), ids=np.array(IDS[::-1]))
    config = load_config('geometry', 'full')
    config.update(features=(str(tmp_path / 'net.npz'),), embeddings=('people_3d',), n_bootstrap=4)
    config.human.root = str(tmp_path)
    config.maps.update(methods=('mds',), categories=('animal', 'plant'))
    return config, tmp_path


def test_features_join_by_id_and_classes_of_one_item_are_left_out(things):
    config, folder = things
    scores = _run(config, folder / 'out')
    values, human = np.load(folder / 'net.npz')['features'][::-1], np.load(folder / 'embeddings.npz')['people_3d']
    table = np.array([[kind in cell for kind in ('animal', 'tool', 'plant')] for cell in KINDS])
    found = _one(scores, 'class_separation_coarse', 'net')
    assert found.value == pytest.approx(rsa.class_separation(values, table)) and found.provenance['n_classes'] == 3
    assert _one(scores, 'cka', 'net', human_embedding='people_3d').value == pytest.approx(rsa.linear_cka(values, human))
    assert not [score for score in scores if 'fine' in score.name]
    points, said = storage.read_described(folder / 'out' / 'maps' / 'net_mds.npy')
    assert (
        said['ids'] == ['bee', 'ant', 'cat', 'dog', 'oak', 'fir']
        and said['categories'] == ['animal'] * 4 + ['plant'] * 2
    )
    np.testing.assert_allclose(points, rsa.classical_mds(rsa.rdm(values[[0, 1, 2, 3, 6, 7]], 'euclidean')), atol=1e-4)


def test_several_items_of_a_concept_share_its_embedding_and_are_its_fine_class(things):
    config, folder = things
    lines = ['file\tkinds\tconcept']
    lines += [f'{name}_{k}.jpg\t{kind}\t{name}' for name, kind in zip(IDS, KINDS) for k in range(2)]
    (folder / 'images.tsv').write_text('\n'.join(lines))
    values = np.random.default_rng(1).normal(size=(16, 4))
    np.savez(folder / 'net.npz', features=values)
    config.categories.update(file=str(folder / 'images.tsv'), ids_column='file', coarse='kinds', fine='concept')
    config.join, config.maps.methods = 'position', ()
    scores = _run(config, folder / 'out')
    human = np.repeat(np.load(folder / 'embeddings.npz')['people_3d'], 2, axis=0)
    assert _one(scores, 'cka', 'net').value == pytest.approx(rsa.linear_cka(values, human))
    expected = rsa.class_separation(values, np.repeat(np.arange(8), 2))
    assert _one(scores, 'class_separation_fine', 'net').value == pytest.approx(expected)
    assert _one(scores, 'class_separation_fine', 'net').provenance['n_classes'] == 8
    assert _one(scores, 'two_nn', 'net').provenance['join'] == 'position' and not (folder / 'out' / 'maps').exists()


def test_items_that_features_lack_are_an_error_or_left_out(things):
    config, folder = things
    np.savez(folder / 'net.npz', features=np.random.default_rng(0).normal(size=(7, 4)), ids=np.array(IDS[1:]))
    config.maps.methods = ()
    with pytest.raises(ValueError, match=r"net lacks 1 of 8 items of .*concepts\.tsv, the first of them 'bee'"):
        geometry.run(config, str(folder / 'out'))
    config.join = 'shared'
    assert _one(_run(config, folder / 'out'), 'participation_ratio', 'net').n == 7
    (folder / 'ids.txt').write_text('\n'.join(IDS[1:6]))
    config.join, config.human.stimuli_file = 'exact', str(folder / 'ids.txt')
    assert _one(_run(config, folder / 'out'), 'participation_ratio', 'people_3d').n == 5
    (folder / 'ids.txt').write_text('zebra')
    with pytest.raises(ValueError, match=r'ids\.txt: .*concepts\.tsv has none of these items'):
        geometry.run(config, str(folder / 'out'))


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'join': 'place'}, r"config\.join='place' must be one of exact, shared, position"),
        ({'reference': 'nit'}, r"config\.reference='nit' is no representation\. Did you mean 'net'"),
        ({'groups': ('people_3d',)}, r"config\.groups: 'people_3d' is the name of a representation too"),
        ({'maps.methods': ('umap',)}, r"config\.maps\.methods has 'umap'\. Known: tsne, mds"),
        ({'maps.measure': 'jaccard'}, r"config\.maps\.measure='jaccard' must be one of euclidean, cosine"),
        ({'maps.categories': ('fungus',)}, r"categories=\('fungus',\) must name coarse classes .*animal, plant, tool"),
        ({'maps.categories': ('tool',)}, r'2 items are in just one of config\.maps\.categories'),
        ({'categories.coarse': 'kind'}, r'concepts\.tsv lacks kind'),
    ],
)
def test_a_config_that_cannot_be_is_named(things, changes, message):
    config, folder = things
    config.update_from_flattened_dict(changes)
    with pytest.raises(ValueError, match=message):
        geometry.run(config, str(folder / 'out'))


@pytest.mark.data
def test_embeddings_of_people_separate_the_categories_of_things_more_than_words_do(real_data, tmp_path):
    config = load_config('geometry', 'full')
    config.update(n_bootstrap=2, join='position', reference='words', names=('words',), embeddings=('vice_42d',))
    config.update(features=(str(real_data / 'things' / 'word_embeddings.npz'),), arrays=('glove6b_50d',))
    config.human.root, config.maps.methods = str(real_data), ()
    scores = _run(config, tmp_path)
    assert _one(scores, 'class_separation_coarse', 'words').value == pytest.approx(0.238, abs=1e-3)
    assert _one(scores, 'class_separation_coarse', 'vice_42d').value == pytest.approx(0.563, abs=1e-3)


def test_a_missing_table_of_items_names_the_settings_that_say_where_it_is(tmp_path):
    config = load_config('geometry', 'full')
    np.save(tmp_path / 'net.npy', np.ones((3, 2)))
    config.features, config.human.root = (str(tmp_path / 'net.npy'),), str(tmp_path)
    with pytest.raises(ValueError, match=r'no table of items .*config\.categories\.file.*config\.human\.root'):
        geometry.run(config, str(tmp_path / 'run'))
