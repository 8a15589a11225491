import numpy as np
import pytest
import scipy.stats

from humalign_jax.rsa.inference.jackknife import N_TWICE, jackknife_covariance


def mean_over_pairs(values):
    """Scores of q square matrices, symmetric, with k subjects: mean over pairs of the stimuli that are left, [q, k]."""

    def scores_without(left_out):
        rows = np.delete(np.arange(values.shape[-1]), left_out)
        first, second = np.triu_indices(len(rows), 1)
        return values[..., rows[first], rows[second]].mean(axis=-1)

    return scores_without


def symmetric(np_rng, n, effect, own, shape=(1, 1)):
    g = effect * np_rng.normal(size=(*shape, n))
    e = own * np_rng.normal(size=(*shape, n, n))
    upper = np.triu(e, 1)
    return g[..., :, None] + g[..., None, :] + upper + np.swapaxes(upper, -1, -2)


@pytest.mark.parametrize('n', [9, 24])
def test_pairs_are_counted_twice_by_leaving_out_one_and_shown_by_leaving_out_two(n):
    np_rng, p, got = np.random.default_rng(0), n * (n - 1) / 2, []
    for seed in range(1000 if n == 9 else 120):
        values = symmetric(np_rng, n, 1.0, 3.0)
        covariance = jackknife_covariance(mean_over_pairs(values), n, seed=seed)[0]
        got.append([covariance.shared[0, 0], covariance.excess[0, 0], covariance.own[0, 0]])
    assert (n * (n - 1) / 2 > N_TWICE) == (n == 24)  # all pairs are left out, and some
    shared, excess, least = np.mean(got, axis=0)
    assert shared == pytest.approx(4.0 / n + 2 * (n - 1) / (n - 2) * 9.0 / p, rel=0.1)
    assert excess == pytest.approx(0.5 * n / (n - 2) * 9.0 / p, rel=0.05)
    assert least == pytest.approx(0.5 * shared)


def test_of_a_mean_over_stimuli_it_is_the_standard_error():
    values = np.random.default_rng(0).normal(size=15)
    covariance, _ = jackknife_covariance(lambda left_out: np.delete(values, left_out).mean()[None, None], 15, seed=0)
    assert covariance.shared[0, 0] == pytest.approx(scipy.stats.sem(values) ** 2)
    assert covariance.excess[0, 0] == pytest.approx(0.0, abs=1e-15)
    variances, dof = covariance.variances(np.eye(1))
    assert variances[0] == pytest.approx(covariance.shared[0, 0], rel=0.03)
    assert dof[0] == pytest.approx(14.0)


def test_interaction_is_what_stimuli_do_to_single_subjects():
    np_rng, n, k = np.random.default_rng(0), 16, 3
    values = symmetric(np_rng, n, 1.0, 0.0, shape=(2, 1))
    same = np.repeat(values, k, axis=1)
    covariance, interaction = jackknife_covariance(mean_over_pairs(same), n, seed=0, by_subject=True)
    np.testing.assert_allclose(interaction, np.zeros((2, 2)), atol=1e-12)
    alone = jackknife_covariance(mean_over_pairs(values), n, seed=0)[0]
    np.testing.assert_allclose(covariance.shared, alone.shared, rtol=1e-9)
    different = symmetric(np_rng, n, 1.0, 0.0, shape=(2, k))
    covariance, interaction = jackknife_covariance(mean_over_pairs(different), n, seed=0, by_subject=True)
    singles = [jackknife_covariance(mean_over_pairs(different[:, s : s + 1]), n, seed=0)[0] for s in range(k)]
    expected = sum(x.shared - x.excess for x in singles) - k * (covariance.shared - covariance.excess)
    np.testing.assert_allclose(interaction, expected / (k * (k - 1)), rtol=1e-9)


def test_scores_that_are_not_defined_without_a_stimulus_have_no_covariance():
    scores = lambda left_out: np.full((1, 1), np.nan if 2 in left_out else 0.5)  # noqa: E731
    assert jackknife_covariance(scores, 8, seed=0) is None
