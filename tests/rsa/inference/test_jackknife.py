import numpy as np
import pytest
import scipy.stats

from humalign_jax.rsa.inference.jackknife import jackknife_covariance


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


def test_pairs_are_counted_twice_by_leaving_out_one():
    np_rng, n, got = np.random.default_rng(0), 9, []
    for _ in range(1000):
        got.append(jackknife_covariance(mean_over_pairs(symmetric(np_rng, n, 1.0, 3.0)), n)[0].matrix[0, 0])
    assert np.mean(got) == pytest.approx(4.0 / n + 2 * (n - 1) / (n - 2) * 9.0 / 36, rel=0.1)


def test_of_a_mean_over_stimuli_it_is_the_standard_error():
    values = np.random.default_rng(0).normal(size=15)
    covariance, _ = jackknife_covariance(lambda i: np.delete(values, i).mean()[None, None], 15)
    variances, dof = covariance.variances(np.eye(1))
    assert variances[0] == pytest.approx(scipy.stats.sem(values) ** 2)
    assert dof[0] == 14.0


def test_interaction_is_what_stimuli_do_to_single_subjects():
    np_rng, n, k = np.random.default_rng(0), 16, 3
    values = symmetric(np_rng, n, 1.0, 0.0, shape=(2, 1))
    same = np.repeat(values, k, axis=1)
    covariance, interaction = jackknife_covariance(mean_over_pairs(same), n, by_subject=True)
    np.testing.assert_allclose(interaction, np.zeros((2, 2)), atol=1e-12)
    alone = jackknife_covariance(mean_over_pairs(values), n)[0]
    np.testing.assert_allclose(covariance.matrix, alone.matrix, rtol=1e-9)
    different = symmetric(np_rng, n, 1.0, 0.0, shape=(2, k))
    covariance, interaction = jackknife_covariance(mean_over_pairs(different), n, by_subject=True)
    singles = [jackknife_covariance(mean_over_pairs(different[:, s : s + 1]), n)[0].matrix for s in range(k)]
    np.testing.assert_allclose(interaction, (sum(singles) - k * covariance.matrix) / (k * (k - 1)), rtol=1e-9)
