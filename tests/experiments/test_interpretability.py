"""The Interpretability Index of runs: numbers by brute force, conditions, directions, files, the page, messages."""

import pathlib
import types

import jax
import numpy as np
import pytest
from scipy import stats
from scipy.spatial.distance import pdist

from humalign_jax import models, storage
from humalign_jax.experiments import interpretability, report
from humalign_jax.models import lpips
from humalign_jax.records import Score
from humalign_jax.wiring import images, runs

from ..conftest import load_config

SIZE = 64


def _opened(seed):
    """A run of random weights, which is as good as a trained one here."""
    config = load_config('philnet', 'tiny')
    config.data.update(n_train=96, n_test=60, n_validation=16)
    config.model.widths = ((4, 4), (6, 6))
    config.seed = seed
    setup = images.read(config)
    image = np.zeros((1, *setup.images['test'].images.shape[1:]), np.float32)
    variables = dict(jax.jit(setup.model.init)(jax.random.key(seed), image))
    state = types.SimpleNamespace(step=7, params=variables.pop('params'), model_state=variables)
    return runs.OpenRun(pathlib.Path(f'runs/{seed}'), config, types.SimpleNamespace(setup=setup), state)


def _config(**changes):
    config = load_config('interpretability', 'tiny')
    config.update(layer='block2', modes=('center', 'mean'), n_devices=1, batch_size=32, **changes)
    config.psychophysics.update(n_trials=3, n_references=2)
    return config


@pytest.fixture(scope='module')
def opened():
    return {str(seed): _opened(seed) for seed in range(4)}


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
    """A folder with random weights of LPIPS."""
    folder, np_rng = tmp_path_factory.mktemp('lpips'), np.random.default_rng(0)
    arrays = {
        name: (np.abs(np_rng.normal(size=shape)) / max(1.0, np.sqrt(np.prod(shape[1:])))).astype(np.float32)
        * (1 if name.startswith('lin') else np_rng.choice([-1, 1], size=shape))
        for name, shape in lpips.shapes('alex').items()
    }
    np.savez(folder / 'alexnet_features.npz', **arrays)
    np.savez(folder / lpips.HEADS, **{f'alex.{name}': arrays[name] for name in arrays if name.startswith('lin')})
    return folder


@pytest.fixture(scope='module')
def open_by_name(opened):
    """Runs are opened by number while this fixture lives."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, 'open_run', lambda run, *arguments, **options: opened[run])
        yield


@pytest.fixture(scope='module')
def done(open_by_name, weights, tmp_path_factory):
    """Two baselines and two tuned networks, with LPIPS."""
    folder = tmp_path_factory.mktemp('index')
    config = _config(run='0,1,2,3', names=('b0', 'b1', 't0', 't1'), conditions=('base', 'base', 'tuned', 'tuned'))
    config.lpips.update(net='alex', root=str(weights), size_px=SIZE)
    interpretability.run(config, str(folder))
    return folder


@pytest.fixture(scope='module')
def responses(opened):
    """`(seed, layer) -> its response to the images of a split`."""

    def of(seed, layer, split='test'):
        run = opened[seed]
        x = run.setup.prepare_plain(run.setup.images[split].images, None)
        variables = {'params': run.state.params, **run.state.model_state}
        return np.asarray(jax.jit(lambda x: models.capture(run.setup.model, variables, x, (layer,))[layer])(x))

    return of


def _scores(folder, name, **said):
    rows = [Score.from_json(row) for row in storage.read_jsonl(folder / 'scores.jsonl')]
    return [s for s in rows if s.name == name and all(s.provenance.get(k) == v for k, v in said.items())]


def _columns(folder, name, mode='center'):
    values, sidecar = storage.read_described(folder / name / f'units_{mode}.npy')
    return dict(zip(sidecar['values'], values.T))


def test_each_index_is_the_mean_over_distinct_pairs_of_the_five_most_exciting_images(done, opened, responses, weights):
    test, maps = opened['0'].setup.images['test'], responses('0', 'block2')
    centre = maps[:, maps.shape[1] // 2, maps.shape[2] // 2]
    rows = np.argsort(-centre, axis=0, kind='stable')[:5].T
    np.testing.assert_array_equal(np.load(done / 'b0' / 'units_center_meis.npy'), rows)
    embed = lpips.make_embed(lpips.load_lpips('alex', weights), size_px=SIZE)
    vectors, own = np.asarray(embed(test.images)), responses('0', 'penultimate')
    colours, found = test.images.mean(axis=(1, 2)), _columns(done, 'b0')
    for name, values, measure in (
        ('lpips', vectors, 'sqeuclidean'),
        ('own_features', own, 'cosine'),
        ('colour', colours, 'euclidean'),
        ('label', test.labels[:, None], 'hamming'),
    ):
        expected = [pdist(values[chosen], measure).mean() for chosen in rows]
        np.testing.assert_allclose(found[f'{name}_mean'], expected, rtol=1e-4, atol=1e-6)


def test_scores_have_the_sign_of_a_similarity_and_leave_dead_units_out(done):
    columns = _columns(done, 't0')
    alive = columns['dead'] == 0
    for name, values in (
        ('ii_lpips', -columns['lpips_mean'][alive]),
        ('lpips_mean', columns['lpips_mean'][alive]),
        ('lpips_seed_compat', 0.8 * columns['lpips_mean']),
        ('ii_colour', -columns['colour_mean'][alive]),
        ('ii_label', 1 - columns['label_mean'][alive]),
    ):
        (score,) = _scores(done, f'interpretability/{name}', model='t0', mode='center')
        assert score.value == pytest.approx(values.mean()) and score.n == len(values)
        assert score.provenance['sd'] == pytest.approx(values.std(ddof=1))
        assert score.provenance['n_dead'] == (~alive).sum() and score.provenance['simulated']


def test_psychophysics_is_scored_in_its_modes_for_each_distance_and_quantile(done):
    columns = _columns(done, 'b0', 'mean')
    for quantile in (0.0, 0.25):
        for measure in ('lpips', 'own_features', 'colour', 'label'):
            name = f'psychophysics_{measure}_{quantile:g}'
            (score,) = _scores(done, f'interpretability/psychophysics/{measure}/{quantile:g}', model='b0')
            assert score.value == pytest.approx(columns[name][columns['dead'] == 0].mean()) and 0 < score.value < 1
    assert 'psychophysics_lpips_0' not in _columns(done, 'b0', 'center')


def test_conditions_are_compared_over_matched_units_and_over_networks(done):
    means = []
    for tuned, base in (('t0', 'b0'), ('t1', 'b1')):
        mine, theirs = _columns(done, tuned), _columns(done, base)
        both = (mine['dead'] == 0) & (theirs['dead'] == 0)
        gain = theirs['lpips_mean'][both] - mine['lpips_mean'][both]
        (score,) = _scores(done, 'interpretability/ii_lpips/difference', model=tuned, mode='center')
        assert score.provenance['other'] == base and score.n == both.sum()
        assert score.value == pytest.approx(gain.mean())
        assert score.provenance['p_wilcoxon'] == pytest.approx(stats.wilcoxon(gain).pvalue)
        f, _ = stats.f_oneway(theirs['lpips_mean'][both], mine['lpips_mean'][both])
        assert score.provenance['anova_f'] == pytest.approx(f)
        means.append(gain.mean())
    (score,) = _scores(done, 'interpretability/ii_lpips/condition_difference', model='tuned', mode='center')
    assert score.n == 2 and score.value == pytest.approx(np.mean(means)) and 'anova_f' not in score.provenance
    assert score.provenance['p_t'] == pytest.approx(stats.ttest_1samp(means, 0).pvalue)
    (score,) = _scores(done, 'interpretability/ii_lpips/condition', model='tuned', mode='center')
    assert score.provenance['networks'] == ['t0', 't1'] and score.provenance['over'] == 'networks'


def test_other_directions_are_scored_by_the_same_call_without_lpips(open_by_name, responses, tmp_path):
    config = _config(run='0', names=('b0',))
    config.directions.update(kinds=('pca', 'kmeans'), n_directions=3)
    config.modes, config.psychophysics.modes = ('mean',), ()
    interpretability.run(config, str(tmp_path))
    for kind in ('pca', 'kmeans'):
        (score,) = _scores(tmp_path, 'interpretability/ii_own_features', directions=kind)
        assert score.n == 3 and score.provenance['n_meis'] == 5
    assert not _scores(tmp_path, 'interpretability/ii_lpips')
    train, test = (responses('0', 'block2', split).mean(axis=(1, 2)) for split in ('train', 'test'))
    direction = np.linalg.svd(train - train.mean(axis=0))[2][0]
    direction *= np.sign(np.sum(((train - train.mean(axis=0)) @ direction) ** 3))
    rows = np.load(tmp_path / 'b0' / 'pca_mean_meis.npy')[0]
    np.testing.assert_array_equal(rows, np.argsort(-(test @ direction))[:5])


def test_features_of_one_network_can_be_the_distance_for_all(open_by_name, responses, tmp_path):
    config = _config(run='0', names=('b0',))
    config.features.run, config.modes, config.psychophysics.modes = '1', ('center',), ()
    interpretability.run(config, str(tmp_path))
    rows, features = np.load(tmp_path / 'b0' / 'units_center_meis.npy'), responses('1', 'penultimate')
    expected = [pdist(features[chosen], 'cosine').mean() for chosen in rows]
    np.testing.assert_allclose(_columns(tmp_path, 'b0')['reference_features_mean'], expected, rtol=1e-4, atol=1e-6)
    (score,) = _scores(tmp_path, 'interpretability/ii_reference_features')
    assert score.provenance['features'] == '1'


def test_a_sheet_says_which_units_and_images_it_shows(done, opened):
    said = storage.read_json(done / 'b0' / 'figures' / 'meis_units_center.json')
    rows, distance = np.load(done / 'b0' / 'units_center_meis.npy'), _columns(done, 'b0')
    assert said['ranked_by'] == 'lpips_mean' and len(said['units']) == 4
    np.testing.assert_array_equal(said['ids'], opened['0'].setup.images['test'].ids[rows[said['units']]])
    alive = np.flatnonzero(distance['dead'] == 0)
    order = alive[np.argsort(distance['lpips_mean'][alive])]
    assert said['units'] == [*order[:2], *order[-2:]]
    assert {path.suffix for path in (done / 'b0' / 'figures').glob('meis_units_mean.*')} == {'.pdf', '.png', '.json'}


def test_the_page_shows_distributions_tests_and_sheets(done, tmp_path):
    config = load_config('report', 'tiny')
    config.study = str(done)
    report.run(config, str(tmp_path))
    page = (tmp_path / 'report.html').read_text(encoding='utf-8')
    assert '<section id="interpretability"' in page
    for words in (
        'cumulative distribution over units',
        'table-interpretability_conditions_0',
        'table-interpretability_differences_0',
        't0 − b0',
        'tuned against base (units of block2, maps by center): II by LPIPS differs by',
        'Psychophysics by LPIPS, quantile 0.25',
    ):
        assert words in page, words
    assert page.count('Most exciting images of units') == 8  # four networks, two modes


def test_mistakes_are_named(open_by_name, opened, tmp_path, monkeypatch):
    def refused(message, **changes):
        config = _config(run='0,1', names=('a', 'b'))
        for key, value in changes.items():
            section, _, name = key.rpartition('__')
            (config[section] if section else config)[name] = value
        with pytest.raises(ValueError, match=message):
            interpretability.run(config, str(tmp_path))

    refused(r"config\.modes: there is no 'middle'", modes=('middle',))
    refused(r"config\.directions\.kinds: there is no 'nmf'", directions__kinds=('nmf',))
    refused(r"config\.psychophysics\.modes: there is no 'max'", psychophysics__modes=('max',))
    refused(r'config\.conditions=.* must have one for each of the 2 runs', conditions=('x',))
    refused(r"config\.baseline='y' is none of the conditions a, b", baseline='y')
    refused(r"'b' has 1 runs, the baseline 'a' 2", run='0,1,2', names=('p', 'q', 'r'), conditions=('a', 'a', 'b'))
    refused(r"has no layer 'layer4'.* Known: block1", layer='layer4')
    refused(r'holds none of .*lpips\.net= leaves LPIPS out', lpips__net='alex', lpips__root=str(tmp_path))
    refused(r'lower the number of trials', psychophysics__n_trials=20, run='0', names=('a',))
    refused(r'name a run of configs/sae\.py', directions__kinds=('sae',), run='0', names=('a',))
    test = opened['1'].setup.images['test']
    monkeypatch.setitem(opened['1'].setup.images, 'test', test.take(slice(0, 50)))
    refused('1 has other images than the runs before it')
