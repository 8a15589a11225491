import numpy as np
import pytest
from scipy.spatial.distance import pdist, squareform

from humalign_jax.rsa import dyads
from humalign_jax.rsa.compare import compare_condensed
from humalign_jax.rsa.crossval import weighted_similarity
from humalign_jax.rsa.pairs import between_category, category_rdm, within_category


def make_data(n=14, decimals=None, k=3):
    np_rng = np.random.default_rng(0)
    points = np_rng.normal(size=(n, 4))
    rdms = np.stack([pdist(points + np_rng.normal(size=(n, 4))) for _ in range(2 + k)])
    rdms = rdms if decimals is None else rdms.round(decimals)
    return rdms[:2], rdms[2:]


def partial(r, x, y, z):
    return (r[x, y] - r[x, z] * r[y, z]) / np.sqrt((1 - r[x, z] ** 2) * (1 - r[y, z] ** 2))


@pytest.mark.parametrize('decimals', [None, 0], ids=['distinct', 'tied'])
@pytest.mark.parametrize(
    ('index', 'pairs'), [('spearman', 'all'), ('rho_a', 'all'), ('spearman', 'within'), ('spearman', 'partial')]
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
        r = weighted_similarity(everything, everything, pair_weights, 'spearman')
        return np.array([np.mean([partial(r, j, 2 + s, 5) for s in range(3)]) for j in range(2)])

    step = 1e-4 * np.eye(n)
    derivatives = np.stack([(scores(1 + d) - scores(1 - d)) / 2e-4 for d in step])
    options = dict(mask=mask if pairs == 'within' else None, control=control if pairs == 'partial' else None)
    got = dyads.rank_score_covariance(models, subjects, index, **options)[0]
    scale = n / (n + n**2 / (2 * mask.sum()) - 4) * n / (n - 2)  # near 1 for many stimuli
    np.testing.assert_allclose(got.shared[:2, :2], scale * derivatives.T @ derivatives, rtol=1e-4)


def test_shared_part_of_the_lower_ceiling_is_the_infinitesimal_jackknife():
    models, subjects = make_data()
    rows, columns = np.triu_indices(14, 1)

    def ceiling(weights):
        pair_weights = weights[rows] * weights[columns]
        total = pair_weights.sum()

        def ranks(rdm):
            return np.array([pair_weights @ ((rdm < x) + 0.5 * (rdm == x)) for x in rdm]) / total

        ranked = np.stack([ranks(rdm) for rdm in subjects])
        pooled = [np.delete(ranked, s, axis=0).mean(axis=0) for s in range(3)]
        return np.mean([weighted_similarity(a[None], b[None], pair_weights, 'pearson') for a, b in zip(pooled, ranked)])

    step = 1e-4 * np.eye(14)
    derivatives = np.array([(ceiling(1 + d) - ceiling(1 - d)) / 2e-4 for d in step])
    got = dyads.rank_score_covariance(models, subjects, 'spearman')[0]
    assert got.shared[2, 2] == pytest.approx(14 / 12 * 14 * 13 / 12**2 * derivatives @ derivatives, rel=1e-4)


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
    covariance, interaction = dyads.rank_score_covariance(models, subjects, 'spearman', by_subject=True)
    single = [dyads.rank_score_covariance(models, s[None], 'spearman')[0].shared[:2, :2] for s in subjects]
    expected = (np.sum(single, axis=0) - 4 * covariance.shared[:2, :2]) / 12
    np.testing.assert_allclose(interaction.shared[:2, :2], expected, rtol=1e-9)
    same = dyads.rank_score_covariance(models, np.repeat(subjects[:1], 3, axis=0), 'spearman', by_subject=True)[1]
    np.testing.assert_allclose(same.shared[:2, :2], np.zeros((2, 2)), atol=1e-15)


def test_order_of_stimuli_changes_no_variance():
    models, subjects = make_data()
    order = np.random.default_rng(1).permutation(14)
    shuffled = [
        np.stack([squareform(squareform(x)[np.ix_(order, order)], checks=False) for x in rdms])
        for rdms in (models, subjects)
    ]
    contrasts = np.array([[1.0, 0.0, 0.0], [1.0, -1.0, 0.0], [1.0, 0.0, -1.0]])
    a, b = (dyads.rank_score_covariance(*x, 'spearman')[0].variances(contrasts) for x in ((models, subjects), shuffled))
    np.testing.assert_allclose(a, b, rtol=1e-9)
    assert np.all((0.5 * a[1] <= a[0]) & (a[0] < a[1]))
    assert compare_condensed(*shuffled, 'spearman') == pytest.approx(compare_condensed(models, subjects, 'spearman'))
