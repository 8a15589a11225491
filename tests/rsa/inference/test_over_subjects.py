"""What subjects do to the mean lower noise ceiling, against leaving them out and against repeated studies."""

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from humalign_jax.rsa import infer
from humalign_jax.rsa.inference.over_subjects import leverage, subject_covariance
from humalign_jax.rsa.similarity.ceiling import subject_ceilings
from humalign_jax.rsa.similarity.compare import compare_condensed, row_ranks


def people(np_rng: np.random.Generator, stimuli: np.ndarray, k: int) -> np.ndarray:
    """RDMs of k new subjects, each with a way of seeing and noise of its own."""
    d = stimuli.shape[1]
    seen = stimuli @ (np.eye(d) + 0.4 * np_rng.normal(size=(k, d, d)))
    return np.stack([pdist(x + 0.8 * np_rng.normal(size=x.shape)) for x in seen])


@pytest.mark.parametrize('index', ['pearson', 'spearman', 'cosine', 'kendall_tau_a', 'whitened_pearson'])
@pytest.mark.parametrize('k', [5, 10])
def test_values_of_the_ceiling_are_those_of_leaving_out_a_subject(index, k):
    np_rng = np.random.default_rng(0)
    stimuli = np_rng.normal(size=(20, 5))
    subjects = people(np_rng, stimuli, k)
    lower, upper = subject_ceilings(subjects, index)
    without = np.array([subject_ceilings(np.delete(subjects, s, axis=0), index)[0].mean() for s in range(k)])
    expected = (k - 1) * (without.mean() - without)
    deviations = leverage(lower, upper) * (lower - lower.mean())
    assert np.corrcoef(deviations, expected)[0, 1] > 0.95
    assert deviations @ expected / (deviations @ deviations) == pytest.approx(1.0, abs=0.15)
    scores = compare_condensed(subjects[:1], subjects, index)
    covariance = subject_covariance(scores, lower, upper)
    together = np.cov(scores[0], leverage(lower, upper) * lower) / k
    np.testing.assert_allclose(covariance.matrix, together, rtol=1e-9)
    assert covariance.dof == k - 1


def test_two_subjects_have_a_ceiling_but_no_test_against_it():
    np_rng = np.random.default_rng(5)
    subjects = people(np_rng, np_rng.normal(size=(16, 4)), 3)
    for over in ('subjects', 'both'):
        of_two = infer(subjects[:1], subjects[1:], over=over, n_permutations=0)
        assert np.isfinite([of_two.ceiling_lower, of_two.standard_errors[0]]).all()
        assert np.isnan(of_two.p_ceiling).all()
        of_three = infer(subjects[:1], subjects, over=over, n_permutations=0)
        assert np.isfinite(of_three.p_ceiling).all()


@pytest.mark.slow
def test_tests_against_the_ceiling_over_stimuli_and_subjects_are_calibrated():
    n_studies, np_rng, rejected = 300, np.random.default_rng(6), []
    for _ in range(n_studies):
        # Subjects differ by noise only, so that the mean ranks of three people more are as good as the other three.
        stimuli = np_rng.normal(size=(24, 4))
        seen = np.stack([pdist(stimuli + np_rng.normal(size=stimuli.shape)) for _ in range(7)])
        model = row_ranks(seen[:3]).mean(axis=0)
        result = infer(model[None], seen[3:], over='both', n_permutations=0)
        rejected.append(result.p_ceiling[0] <= 0.05)
    assert np.mean(rejected) == pytest.approx(0.05, abs=3 * np.sqrt(0.05 * 0.95 / n_studies))


@pytest.mark.slow
def test_standard_error_of_the_ceiling_over_subjects_is_near_the_spread_of_repeated_studies():
    np_rng = np.random.default_rng(7)
    stimuli = np_rng.normal(size=(20, 5))
    model, ceilings, variances = people(np_rng, stimuli, 1), [], []
    for _ in range(500):
        subjects = people(np_rng, stimuli, 6)
        lower, upper = subject_ceilings(subjects, 'pearson')
        ceilings.append(lower.mean())
        variances.append(subject_covariance(compare_condensed(model, subjects, 'pearson'), lower, upper).matrix[1, 1])
    # The agreement of two subjects has a component of its own, which is counted twice.
    assert np.sqrt(np.mean(variances)) / np.std(ceilings) == pytest.approx(1.1, abs=0.12)
