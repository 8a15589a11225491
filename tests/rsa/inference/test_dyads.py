import numpy as np
import pytest
from scipy.spatial.distance import pdist, squareform

from humalign_jax.rsa.inference import dyads, jackknife, pair_influences
from humalign_jax.rsa.inference.covariance import DyadicCovariance
from humalign_jax.rsa.pairs import between_category, category_rdm, take_stimuli, within_category
from humalign_jax.rsa.similarity.compare import compare_condensed


def make_data(n=14, decimals=None, k=3):
    np_rng = np.random.default_rng(0)
    points = np_rng.normal(size=(n, 4))
    rdms = np.stack([pdist(points + np_rng.normal(size=(n, 4))) for _ in range(2 + k)])
    rdms = rdms if decimals is None else rdms.round(decimals)
    return rdms[:2], rdms[2:]


def weighted_similarity(a, b, pair_weights, index):
    """An index over pairs that count `pair_weights` times: [m, p], [k, p], [p] -> [m, k]."""
    total = pair_weights.sum()

    def ranks(values):
        group = np.unique(values, return_inverse=True)[1]
        counts = np.bincount(group, pair_weights)
        return (np.cumsum(counts) - (counts - 1.0) / 2.0)[group]

    def prepared(x):
        x = np.stack([ranks(row) for row in x]) if index in ('spearman', 'rho_a') else x
        return x if index == 'cosine' else x - (x @ pair_weights / total)[:, None]

    a, b = prepared(a), prepared(b)
    products = (a * pair_weights) @ b.T
    if index == 'rho_a':
        return 12.0 * products / (total**3 - total)
    return products / np.sqrt(np.outer(*(np.einsum('rp,rp,p->r', x, x, pair_weights) for x in (a, b))))


@pytest.mark.parametrize('index', ['pearson', 'spearman', 'cosine', 'rho_a'])
def test_weighted_similarity_equals_repeating_the_pairs(index):
    np_rng = np.random.default_rng(0)
    a, b, counts = np_rng.integers(0, 6, (2, 30)).astype(float), np_rng.random((3, 30)), np_rng.integers(0, 4, 30)
    expected = compare_condensed(np.repeat(a, counts, axis=1), np.repeat(b, counts, axis=1), index)
    np.testing.assert_allclose(weighted_similarity(a, b, counts.astype(float), index), expected, rtol=1e-9)


def partial(r, x, y, z):
    return (r[x, y] - r[x, z] * r[y, z]) / np.sqrt((1 - r[x, z] ** 2) * (1 - r[y, z] ** 2))


def deleted_scores(models, subjects, index, mask=None, control=None):
    n = 14
    kept = np.arange(91) if mask is None else np.flatnonzero(mask)
    held = None if control is None else control[:, kept]
    rows, columns = (x[kept] for x in np.triu_indices(n, 1))
    return jackknife.deleted_scores(models[:, kept], subjects[:, kept], held, index, rows, columns, n)


def factor(models, subjects, index, shared, **options):
    if index in ('spearman', 'rho_a'):
        return 14 / 12
    jackknife = 13.0 * deleted_scores(models, subjects, index, **options).var(axis=0)
    return max(14 / 12, jackknife.sum() / np.trace(shared[:2, :2]))


@pytest.mark.parametrize('decimals', [None, 0], ids=['distinct', 'tied'])
@pytest.mark.parametrize(
    ('index', 'pairs'),
    [
        ('spearman', 'all'),
        ('spearman', 'within'),
        ('spearman', 'partial'),
        ('rho_a', 'all'),
        ('pearson', 'all'),
        ('pearson', 'within'),
        ('pearson', 'partial'),
        ('cosine', 'all'),
        ('cosine', 'within'),
    ],
)
def test_shared_part_is_the_infinitesimal_jackknife(index, pairs, decimals):
    models, subjects = make_data(decimals=decimals)
    n, labels = 14, np.arange(14) % 2
    mask = within_category(labels) if pairs == 'within' else np.ones(91, dtype=bool)
    control = category_rdm(labels)[None] if pairs == 'partial' else np.empty((0, 91))
    rows, columns = (x[mask] for x in np.triu_indices(n, 1))

    def scores(weights):
        pair_weights = 1e6 * weights[rows] * weights[columns]  # many, for rho_a's p^3 - p
        if pairs != 'partial':
            return weighted_similarity(models[:, mask], subjects[:, mask], pair_weights, index).mean(axis=1)
        everything = np.concatenate([models, subjects, control])
        r = weighted_similarity(everything, everything, pair_weights, index)
        return np.array([np.mean([partial(r, j, 2 + s, 5) for s in range(3)]) for j in range(2)])

    step = 1e-4 * np.eye(n)
    derivatives = np.stack([(scores(1 + d) - scores(1 - d)) / 2e-4 for d in step])
    options = dict(mask=mask if pairs == 'within' else None, control=control if pairs == 'partial' else None)
    got = dyads.score_covariance(models, subjects, index, **options)[0]
    expected = (
        n / (n + n**2 / (2 * mask.sum()) - 4) * derivatives.T @ derivatives
    )  # the scale is near 1 for many stimuli
    expected = factor(models, subjects, index, expected, **options) * expected
    np.testing.assert_allclose(got.shared[:2, :2], expected, rtol=1e-4)


@pytest.mark.parametrize('index', ['spearman', 'rho_a', 'cosine', 'pearson'])
def test_shared_part_of_the_lower_ceiling_is_the_infinitesimal_jackknife(index):
    models, subjects = make_data()
    rows, columns = np.triu_indices(14, 1)

    def ceiling(weights):
        pair_weights = weights[rows] * weights[columns]
        total = pair_weights.sum()

        def transformed(rdm):
            if index in ('spearman', 'rho_a'):
                return np.array([pair_weights @ ((rdm < x) + 0.5 * (rdm == x)) for x in rdm]) / total
            centred = rdm - (pair_weights @ rdm / total if index == 'pearson' else 0.0)
            return centred / np.sqrt(pair_weights @ centred**2 / total)

        values = np.stack([transformed(rdm) for rdm in subjects])
        pooled = [np.delete(values, s, axis=0).mean(axis=0) for s in range(3)]
        kind = 'cosine' if index == 'cosine' else 'pearson'
        return np.mean([weighted_similarity(a[None], b[None], pair_weights, kind) for a, b in zip(pooled, values)])

    def score(weights):
        return weighted_similarity(models[:1], subjects, 1e6 * weights[rows] * weights[columns], index).mean()

    step = 1e-4 * np.eye(14)
    of_ceiling, of_score = (np.array([(f(1 + d) - f(1 - d)) / 2e-4 for d in step]) for f in (ceiling, score))
    got = dyads.score_covariance(models, subjects, index)[0]
    # rho_a divides one of the two by its spread without ties, which nothing moves.
    if index != 'rho_a':
        expected = (of_ceiling @ of_ceiling) / (of_score @ of_score)
        assert got.shared[2, 2] / got.shared[0, 0] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize('restriction', ['all', 'between'])
def test_covariance_of_a_mean_over_pairs_is_unbiased(restriction):
    n, np_rng = 9, np.random.default_rng(0)
    mask = np.ones(36, dtype=bool) if restriction == 'all' else between_category(np.arange(9) % 3)
    rows, columns = (x[mask] for x in np.triu_indices(n, 1))
    means, got = [], []
    for _ in range(1500):
        effects, own = np_rng.normal(size=(2, n)), 3.0 * np_rng.normal(size=(2, len(rows)))
        influences = effects[:, rows] + effects[:, columns] + own
        means.append(influences.mean(axis=1))
        covariance = dyads._covariance(influences - means[-1][:, None], rows, columns, n)
        got.append(covariance.shared - covariance.excess)
    true = 4.0 / n + 9.0 / len(rows)
    np.testing.assert_allclose(np.var(means, axis=0), true, rtol=0.1)
    np.testing.assert_allclose(np.mean(got, axis=0), true * np.eye(2), rtol=0.08, atol=0.03)


def test_interaction_is_what_stimuli_do_to_single_subjects():
    models, subjects = make_data(k=4)

    def once(rdms):
        covariance = dyads.score_covariance(models, rdms, 'spearman')[0]
        return (covariance.shared - covariance.excess)[:2, :2]

    interaction = dyads.score_covariance(models, subjects, 'spearman', by_subject=True)[1]
    expected = (np.sum([once(s[None]) for s in subjects], axis=0) - 4 * once(subjects)) / 12
    np.testing.assert_allclose(interaction[:2, :2], expected, rtol=1e-9)
    same = dyads.score_covariance(models, np.repeat(subjects[:1], 3, axis=0), 'spearman', by_subject=True)[1]
    np.testing.assert_allclose(same[:2, :2], np.zeros((2, 2)), atol=1e-15)


@pytest.mark.parametrize('index', ['spearman', 'pearson', 'cosine'])
def test_covariance_of_one_fold_is_that_of_a_study_and_folds_add_up(index):
    models, subjects = make_data()
    everyone = dict(groups=np.zeros(3, dtype=int), by_subject=True)

    def of_folds(folds):
        pairs = [np.flatnonzero([f[i] and f[j] for i, j in zip(*np.triu_indices(14, 1))]) for f in folds]
        predictions = [
            np.concatenate([models, models[:1]])[:, None, test] for test in pairs
        ]  # the last is not looked at
        return dyads.crossvalidated_covariance(predictions, subjects, index, test_pairs=pairs, folds=folds, **everyone)

    whole, interaction = of_folds([np.ones(14, dtype=bool)])
    expected, expected_interaction = dyads.score_covariance(models, subjects, index, by_subject=True)
    for name in ('shared', 'excess', 'own'):
        np.testing.assert_allclose(getattr(whole, name)[:2, :2], getattr(expected, name)[:2, :2], rtol=1e-9)
    np.testing.assert_allclose(interaction[:2, :2], expected_interaction[:2, :2], rtol=1e-9, atol=1e-15)
    np.testing.assert_array_equal(whole.shared[2], np.zeros(3))  # one group has no others
    assert whole.units == expected.units

    halves = [np.arange(14) % 2 == 0, np.arange(14) % 2 == 1]
    both, _ = of_folds(halves)
    parts = [of_folds([half])[0] for half in halves]
    assert both.units == (12.0, 2 * (21.0 - 7.0))
    if index == 'spearman':  # others have one factor for all folds
        np.testing.assert_allclose(both.shared, (parts[0].shared + parts[1].shared) / 4.0, rtol=1e-9)


def test_folds_compare_each_subject_with_what_was_fitted_for_its_group():
    models, subjects = make_data(k=4)
    pairs, inside = np.arange(91), np.ones(14, dtype=bool)
    predictions = np.stack([np.stack([models[0], models[1]]), np.stack([models[0], models[1]])])  # [m + 1, g, p]
    options = dict(test_pairs=[pairs], folds=[inside])
    groups = np.array([0, 1, 0, 1])
    got = dyads.crossvalidated_covariance([predictions], subjects, 'spearman', groups=groups, **options)[0]
    # The model is RDM 0 for the first group and RDM 1 for the second; the pooled others are the same two.
    step, rows, columns = 1e-4 * np.eye(14), *np.triu_indices(14, 1)

    def score(weights):
        r = weighted_similarity(models, subjects, 1e6 * weights[rows] * weights[columns], 'spearman')
        return np.mean([r[0, 0], r[1, 1], r[0, 2], r[1, 3]])

    derivatives = np.array([(score(1 + d) - score(1 - d)) / 2e-4 for d in step])
    scale = 14 / 12 * 14 * 13 / 12**2
    np.testing.assert_allclose(got.shared, np.full((2, 2), scale * derivatives @ derivatives), rtol=1e-4)


def test_a_fit_that_predicts_nothing_has_no_variance():
    models, subjects = make_data()
    predictions = [np.stack([np.zeros((1, 91)), models[:1], models[:1]])]
    options = dict(test_pairs=[np.arange(91)], folds=[np.ones(14, dtype=bool)], groups=np.zeros(3, dtype=int))
    for index in ('spearman', 'pearson'):
        got = dyads.crossvalidated_covariance(predictions, subjects, index, **options)[0]
        np.testing.assert_array_equal(got.shared[0], np.zeros(3))
        assert got.shared[1, 1] > 0


@pytest.mark.parametrize(
    ('index', 'pairs'),
    [
        ('pearson', 'all'),
        ('pearson', 'within'),
        ('cosine', 'all'),
        ('pearson', 'partial'),
        ('whitened_pearson', 'all'),
        ('whitened_cosine', 'all'),
    ],
)
def test_jackknife_deletes_every_stimulus_in_turn(index, pairs):
    models, subjects = make_data()
    labels = np.arange(14) % 2
    mask = within_category(labels) if pairs == 'within' else None
    control = category_rdm(labels)[None] if pairs == 'partial' else None
    scores = []
    for i in range(14):
        rest = np.delete(np.arange(14), i)
        kept = slice(None) if mask is None else take_stimuli(mask, rest)
        options = {} if control is None else {'control': take_stimuli(control, rest)}
        scores.append(
            compare_condensed(*(take_stimuli(x, rest)[:, kept] for x in (models, subjects)), index, **options)
        )
    got = deleted_scores(models + 100.0 * (index == 'pearson'), subjects, index, mask=mask, control=control)
    np.testing.assert_allclose(got, np.mean(scores, axis=2), rtol=1e-5)


def test_jackknife_is_not_defined_where_a_stimulus_makes_the_difference():
    models, subjects = make_data()
    alone = category_rdm(np.arange(14) == 3)  # constant without stimulus 3
    got = deleted_scores(np.stack([models[0], alone]), subjects, 'pearson')
    np.testing.assert_array_equal(np.isnan(got), np.stack([np.zeros(14), np.arange(14) == 3], axis=1))
    covariance = dyads.score_covariance(np.stack([models[0], alone]), subjects, 'pearson')[0]
    assert np.isfinite(covariance.shared).all()
    only = dyads.score_covariance(alone[None], subjects, 'pearson')[0]
    assert np.isfinite(np.stack(only.variances(np.eye(2)))).all()


def test_variance_without_stimulus_effects_is_that_of_the_pairs_with_their_degrees_of_freedom():
    covariance = DyadicCovariance(*(np.diag(x) for x in ([1.0, 9.0], [0.8, 1.0], [0.75, 0.75])), (19.0, 170.0))
    variances, dof = covariance.variances(np.eye(2))
    np.testing.assert_allclose(variances, [0.75, 8.0])  # the first is truncated: 1 - 0.8 < 0.75
    np.testing.assert_allclose(dof, [170.0, 64.0 / (81.0 / 19.0 + 1.0 / 170.0)])
    none = DyadicCovariance(*np.zeros((3, 1, 1)), (19.0, 170.0))
    np.testing.assert_array_equal(none.variances(np.eye(1)), [[0.0], [19.0]])


@pytest.mark.parametrize('decimals', [None, 1], ids=['distinct', 'tied'])
@pytest.mark.parametrize('index', ['kendall_tau_a', 'kendall_tau_b', 'whitened_pearson', 'whitened_cosine'])
def test_influences_of_pairs_add_up_to_what_leaving_out_a_stimulus_does(index, decimals):
    n = 200
    models, subjects = (x**2 for x in make_data(n=n, decimals=decimals, k=1))
    sides = [pair_influences.sides_of(x[:1], None, index)[0] for x in (models, subjects)]
    own = [pair_influences.own_product(x, index) for x in sides]
    influences = pair_influences.score_influence(*sides, *own)
    assert influences.mean() == pytest.approx(0.0, abs=1e-12)
    root = np.sqrt(own[0][0] * own[1][0])
    whole = compare_condensed(models[:1], subjects, index)[0, 0]
    assert sides[0].product(sides[1])[0] / root == pytest.approx(whole, rel=1e-9)
    # Without stimulus i the mean over pairs moves by its pairs' influences; what is left is of second order.
    by_stimulus = squareform(influences, checks=False).sum(axis=1)
    left_out = np.arange(0, n, 5)
    got = [
        compare_condensed(*(take_stimuli(x, np.delete(np.arange(n), i)) for x in (models[:1], subjects)), index)[0, 0]
        for i in left_out
    ]
    expected = whole - by_stimulus[left_out] / ((n - 1) * (n - 2) / 2)
    np.testing.assert_allclose(got, expected, atol=0.15 * np.std(got))
    assert np.corrcoef(got, expected)[0, 1] > 0.998


def test_order_of_stimuli_changes_no_variance():
    models, subjects = make_data()
    order = np.random.default_rng(1).permutation(14)
    shuffled = [
        np.stack([squareform(squareform(x)[np.ix_(order, order)], checks=False) for x in rdms])
        for rdms in (models, subjects)
    ]
    contrasts = np.array([[1.0, 0.0, 0.0], [1.0, -1.0, 0.0], [1.0, 0.0, -1.0]])
    a, b = (dyads.score_covariance(*x, 'spearman')[0].variances(contrasts) for x in ((models, subjects), shuffled))
    np.testing.assert_allclose(a[0], b[0], rtol=1e-9)
    assert compare_condensed(*shuffled, 'spearman') == pytest.approx(compare_condensed(models, subjects, 'spearman'))
