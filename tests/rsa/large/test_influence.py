import numpy as np
import pytest
from scipy.spatial.distance import pdist

from humalign_jax.records import Rdm
from humalign_jax.rsa.inference.infer import infer
from humalign_jax.rsa.large import linearised as module
from humalign_jax.rsa.large.influence import InfluenceScore, Reference, infer_by_influence, summarise_influence
from humalign_jax.rsa.pairs import between_category, category_rdm, select, within_category
from humalign_jax.rsa.similarity.compare import compare

KINDS = {
    'spearman': ('all', 'within', 'between', 'partial'),
    'pearson': ('all', 'within', 'between', 'partial'),
    'cosine': ('all', 'within', 'between'),
    'rho_a': ('all', 'within', 'between'),
}


def make_study(np_rng, n, noises=(0.5, 0.8), decimals=None):
    """A reference and models that see shared points of four categories with noise; rounding makes ties."""
    labels = np.arange(n) % 4
    points = np_rng.normal(size=(n, 5)) + 1.5 * np.eye(4, 5)[labels]
    seen = [points + noise * np_rng.normal(size=points.shape) for noise in (0.5, *noises)]
    values = [pdist(x) if decimals is None else pdist(x).round(decimals) for x in seen]
    ids = np.array([f'toy/test/{i:05d}' for i in range(n)])
    reference, *models = (Rdm(x, ids, f'model {i}', 'euclidean') for i, x in enumerate(values))
    return reference, models, labels


def options_of(kind, labels):
    masks = {'within': within_category, 'between': between_category}
    if kind == 'partial':
        return {'control': category_rdm(labels)}
    return {'mask': masks[kind](labels)} if kind in masks else {}


def weighted_score(a, b, labels, weights, index, kind):
    """The score when pair (i, j) counts w_i w_j times, ranks included, by its definition."""
    rows, columns = np.triu_indices(len(weights), 1)
    kept = options_of(kind, labels).get('mask', np.ones(len(rows), bool))
    w = (weights[rows] * weights[columns])[kept] / (weights[rows] * weights[columns])[kept].sum()
    x, y, z = a[kept], b[kept], category_rdm(labels).astype(float)[kept]
    if index in ('spearman', 'rho_a'):
        x, y = (np.array([w @ ((v < t) + 0.5 * (v == t)) for t in v]) for v in (x, y))

    def product(u, v):
        return w @ (u * v) if index == 'cosine' else w @ ((u - w @ u) * (v - w @ v))

    def r(u, v):
        return product(u, v) / np.sqrt(product(u, u) * product(v, v))

    if index == 'rho_a':
        return 12 * product(x, y)
    if kind == 'partial':
        return (r(x, y) - r(x, z) * r(y, z)) / np.sqrt((1 - r(x, z) ** 2) * (1 - r(y, z) ** 2))
    return r(x, y)


@pytest.mark.parametrize('decimals', [None, 0], ids=['distinct', 'tied'])
@pytest.mark.parametrize('index', KINDS)
def test_influence_is_the_derivative_of_the_weighted_score(index, decimals):
    n, step = 14, 1e-4
    reference, (model, _), labels = make_study(np.random.default_rng(0), n, decimals=decimals)
    found = Reference(reference, index=index, labels=labels, pairs=KINDS[index]).influence(model)
    for kind in KINDS[index]:
        ends = [
            [weighted_score(model.values, reference.values, labels, 1 + s * step * e, index, kind) for e in np.eye(n)]
            for s in (1, -1)
        ]
        expected = n * (np.array(ends[0]) - ends[1]) / (2 * step)
        np.testing.assert_allclose(found[kind].influence, expected, atol=2e-6)


@pytest.mark.parametrize('decimals', [None, 0], ids=['distinct', 'tied'])
@pytest.mark.parametrize('index', KINDS)
def test_scores_equal_compare(index, decimals):
    reference, models, labels = make_study(np.random.default_rng(1), 60, decimals=decimals)
    prepared = Reference(reference, index=index, labels=labels, pairs=KINDS[index])
    for model in models:
        values, scores = prepared.values(model), prepared.influence(model)
        for kind in KINDS[index]:
            expected = float(compare(model, reference, index, **_as_records(options_of(kind, labels), model)))
            assert values[kind] == pytest.approx(expected, abs=1e-12)
            assert scores[kind].value == values[kind]


def _as_records(options, model):
    if 'control' not in options:
        return options
    return {'control': Rdm(options['control'], model.ids, 'category', 'hamming')}


def test_many_pairs_are_ranked_by_counting_to_the_same_scores(monkeypatch):
    reference, (model, _), labels = make_study(np.random.default_rng(2), 90, decimals=1)
    single = [Rdm(x.values.astype(np.float32), x.ids, x.name, x.measure) for x in (reference, model)]
    few = Reference(single[0], labels=labels, pairs=KINDS['spearman']).influence(single[1])
    monkeypatch.setattr(module, '_FEW', 0)
    monkeypatch.setattr(module, '_TILE', 1 << 10)
    monkeypatch.setattr(module, '_BLOCK', 500)
    many = Reference(single[0], labels=labels, pairs=KINDS['spearman']).influence(single[1])
    for kind, score in few.items():
        assert many[kind].value == pytest.approx(score.value, abs=1e-12)
        np.testing.assert_allclose(many[kind].influence, score.influence, atol=2e-6)


def test_coarse_tables_change_standard_errors_by_less_than_a_thousandth(monkeypatch):
    reference, (model, _), labels = make_study(np.random.default_rng(3), 150)
    exact = Reference(reference, labels=labels, pairs=KINDS['spearman']).influence(model)
    monkeypatch.setattr(module, 'N_BINS', 256)
    coarse = Reference(reference, labels=labels, pairs=KINDS['spearman']).influence(model)
    for kind, score in exact.items():
        assert coarse[kind].standard_error == pytest.approx(score.standard_error, rel=1e-3)


def test_order_of_stimuli_changes_nothing_but_the_order_of_influences():
    reference, (model, _), labels = make_study(np.random.default_rng(4), 50)
    order = np.random.default_rng(5).permutation(50)
    moved = select(reference, reference.ids[order])
    straight = Reference(reference, labels=labels, pairs=KINDS['spearman']).influence(model)
    shuffled = Reference(moved, labels=labels[order], pairs=KINDS['spearman']).influence(model)
    for kind, score in straight.items():
        assert shuffled[kind].value == pytest.approx(score.value, abs=1e-12)
        np.testing.assert_allclose(shuffled[kind].influence, score.influence[order], atol=2e-6)


@pytest.mark.parametrize('kind', KINDS['spearman'])
def test_standard_errors_are_those_of_the_closed_form(kind):
    reference, models, labels = make_study(np.random.default_rng(6), 200)
    dyadic = infer(models, reference, labels=labels, pairs=kind, n_permutations=0)
    linear = infer_by_influence(models, reference, labels=labels, pairs=(kind,))[kind]
    # The linear one counts the pair component twice, and leaves out terms of relative size 1 / n.
    np.testing.assert_allclose(linear.standard_errors, dyadic.standard_errors, rtol=0.08)
    np.testing.assert_allclose(linear.difference_errors, dyadic.difference_errors, rtol=0.08)
    np.testing.assert_allclose(linear.p_differences, dyadic.p_differences, atol=0.03)
    np.testing.assert_allclose(linear.p_differences_fwer, dyadic.p_differences_fwer, atol=0.03)


def test_a_model_equal_to_the_reference_has_no_error():
    reference, _, labels = make_study(np.random.default_rng(7), 40)
    for score in Reference(reference, labels=labels, pairs=KINDS['spearman']).influence(reference).values():
        assert score.value == pytest.approx(1.0, abs=1e-12)
        np.testing.assert_allclose(score.influence, np.zeros(40), atol=1e-5)


def test_what_the_category_explains_entirely_has_no_partial_score():
    reference, _, labels = make_study(np.random.default_rng(8), 40)
    same = Rdm(category_rdm(labels), reference.ids, 'same category', 'hamming')
    found = Reference(reference, labels=labels, pairs=KINDS['spearman']).values(same)
    assert found['all'] == pytest.approx(float(compare(same, reference)), abs=1e-12)
    assert np.isnan([found['within'], found['between'], found['partial']]).all()


def test_two_models_alike_do_not_differ_and_corrections_only_raise_p():
    reference, models, _ = make_study(np.random.default_rng(9), 80, noises=(0.5, 0.7, 1.5))
    twin = Rdm(models[0].values, models[0].ids, 'twin', 'euclidean')
    result = infer_by_influence([*models, twin], reference)['all']
    assert result.p_differences[0, 3] == result.p_differences_fwer[0, 3] == 1.0
    assert np.all(result.p_differences_fwer >= result.p_differences)
    assert np.all(result.p_differences_fdr >= result.p_differences - 1e-15)
    np.testing.assert_array_equal(result.differences, -result.differences.T)
    assert result.p_differences_fwer[0, 2] < 0.05


def test_family_wise_p_of_one_difference_is_its_own_p():
    np_rng = np.random.default_rng(10)
    influences = np.linalg.qr(np_rng.normal(size=(2000, 4)))[0].T * 10
    influences -= influences.mean(axis=1, keepdims=True)
    scores = [InfluenceScore(str(i), 'spearman', 'all', 9, 0.0, x) for i, x in enumerate(influences[:2])]
    error = (influences[0] - influences[1]).std(ddof=1) / np.sqrt(2000)
    scores[0] = InfluenceScore('0', 'spearman', 'all', 9, 2.0 * error, influences[0])
    result = summarise_influence(scores, n_draws=40_000)
    # t = 2 with 1999 degrees of freedom.
    assert result.p_differences_fwer[0, 1] == pytest.approx(0.0456, abs=0.004)
    assert result.p_differences[0, 1] == pytest.approx(0.0456, abs=0.001)


@pytest.mark.slow
def test_standard_errors_are_the_spread_over_new_stimuli():
    n, np_rng, n_studies = 100, np.random.default_rng(11), 250
    values, errors, found = [], [], []
    for _ in range(n_studies):
        reference, models, labels = make_study(np_rng, n, noises=(0.8, 0.8))
        result = infer_by_influence(models, reference, labels=labels, pairs=('all', 'partial'), n_draws=100)
        values.append([[*one.values, one.differences[0, 1]] for one in result.values()])
        errors.append([[*one.standard_errors, one.difference_errors[0, 1]] for one in result.values()])
        found.append([[one.low, one.high, one.p_differences[0, 1]] for one in result.values()])
    ratio = np.sqrt(np.mean(np.square(errors), axis=0)) / np.std(values, axis=0, ddof=1)
    # 250 studies know a spread to 4.5 %.
    assert np.all(np.abs(ratio - 1) < 0.14), ratio
    truth = np.mean(values, axis=0)[:, 0]
    covered = [[low[0] < t < high[0] for (low, high, _), t in zip(one, truth)] for one in found]
    false = [[p < 0.05 for _, _, p in one] for one in found]
    error = 3 * np.sqrt(0.05 * 0.95 / n_studies)
    np.testing.assert_allclose(np.mean(covered, axis=0), 0.95, atol=error)
    np.testing.assert_allclose(np.mean(false, axis=0), 0.05, atol=error)


@pytest.mark.data
@pytest.mark.parametrize(('measure', 'same', 'class_mean'), [('cosine', 0.633, 0.602), ('euclidean', 0.521, 0.453)])
def test_category_baselines_on_cifar10h_are_those_of_the_reference_sheet(real_data, measure, same, class_mean):
    with np.load(real_data / 'cifar10' / 'cifar10h.npz', allow_pickle=False) as file:
        probabilities = file['counts'][:3000] / file['counts'][:3000].sum(axis=1, keepdims=True)
        every = file['counts'] / file['counts'].sum(axis=1, keepdims=True)
    with np.load(real_data / 'cifar10' / 'test_jpeg.npz', allow_pickle=False) as file:
        labels = file['labels']
    means = np.stack([every[labels == k].mean(axis=0) for k in range(10)])
    labels = labels[:3000]
    ids = np.array([f'cifar10/test/{i:05d}' for i in range(3000)])
    reference = Reference(Rdm(pdist(probabilities, measure).astype(np.float32), ids, 'human', measure))
    for values, expected in ((category_rdm(labels), same), (pdist(means[labels], measure), class_mean)):
        found = reference.values(Rdm(values.astype(np.float32), ids, 'baseline', measure))
        # The sheet's 3,000 images are not named; other ones move these scores by about 0.005.
        assert found['all'] == pytest.approx(expected, abs=0.012)


def test_mistakes_are_named():
    reference, (model, _), labels = make_study(np.random.default_rng(12), 20)
    with pytest.raises(ValueError, match="there is no index 'bures': choose one of pearson, spearman, rho_a, cosine"):
        Reference(reference, index='bures')
    with pytest.raises(ValueError, match="pairs must be some of all, within, between, partial, not 'inside'"):
        Reference(reference, pairs=('inside',))
    with pytest.raises(ValueError, match="pairs='partial' is for pearson, spearman, not for 'cosine'"):
        Reference(reference, index='cosine', labels=labels, pairs=('partial',))
    with pytest.raises(ValueError, match=r'needs the category of each of the 20 stimuli: pass labels, \[20\]'):
        Reference(reference, pairs=('within',))
    with pytest.raises(ValueError, match='0 pairs are left'):
        Reference(reference, labels=np.arange(20), pairs=('within',))
    broken = Rdm(np.where(np.arange(190) == 3, np.nan, model.values), model.ids, 'broken', 'euclidean')
    with pytest.raises(ValueError, match="'broken' has 1 values that are NaN or infinite"):
        Reference(reference).influence(broken)
    other = Rdm(model.values, np.array([f'other/{i}' for i in range(20)]), 'other', 'euclidean')
    with pytest.raises(ValueError, match='are of different stimuli'):
        Reference(reference).influence(other)
    score = Reference(reference).influence(model)['all']
    with pytest.raises(ValueError, match='models with names that differ'):
        summarise_influence([score, score])
