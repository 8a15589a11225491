"""What subjects do to the mean lower noise ceiling, against leaving them out and against repeated studies."""

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from humalign_jax.rsa import infer
from humalign_jax.rsa.inference.over_subjects import OverSubjects
from humalign_jax.rsa.inference.quantiles import dof_of_quantile, mean_quantiles
from humalign_jax.rsa.similarity.ceiling import subject_ceilings
from humalign_jax.rsa.similarity.compare import compare_condensed, row_ranks


def people(np_rng: np.random.Generator, stimuli: np.ndarray, k: int) -> np.ndarray:
    """RDMs of k new subjects, each with a way of seeing and noise of its own."""
    d = stimuli.shape[1]
    seen = stimuli @ (np.eye(d) + 0.4 * np_rng.normal(size=(k, d, d)))
    return np.stack([pdist(x + 0.8 * np_rng.normal(size=x.shape)) for x in seen])


def over_subjects(models: np.ndarray, subjects: np.ndarray, index: str) -> OverSubjects:
    agreements = compare_condensed(subjects, subjects, index)
    return OverSubjects.of(compare_condensed(models, subjects, index), *subject_ceilings(subjects, index), agreements)


@pytest.mark.parametrize('index', ['pearson', 'spearman', 'cosine', 'kendall_tau_a', 'whitened_pearson'])
@pytest.mark.parametrize('k', [5, 10])
def test_values_of_the_ceiling_are_those_of_leaving_out_a_subject(index, k):
    np_rng = np.random.default_rng(0)
    stimuli = np_rng.normal(size=(20, 5))
    subjects = people(np_rng, stimuli, k)
    got = over_subjects(subjects[:1], subjects, index)
    without = np.array([subject_ceilings(np.delete(subjects, s, axis=0), index)[0].mean() for s in range(k)])
    expected = (k - 1) * (without.mean() - without)
    deviations = got.values[-1] - got.values[-1].mean()
    assert np.corrcoef(deviations, expected)[0, 1] > 0.95
    assert deviations @ expected / (deviations @ deviations) == pytest.approx(1.0, abs=0.15)
    assert got.values[-1].mean() == pytest.approx(subject_ceilings(subjects, index)[0].mean())


def test_slope_is_what_mean_agreement_does_to_the_ceiling():
    np_rng = np.random.default_rng(1)
    subjects = people(np_rng, np_rng.normal(size=(25, 5)), 6)
    got = over_subjects(subjects[:1], subjects, 'pearson')
    # All agree a little better: each RDM closer to the mean of all.
    means, ceilings = [], []
    for share in (0.0, 0.01):
        moved = subjects + share * (subjects.mean(axis=0) - subjects)
        means.append(compare_condensed(moved, moved, 'pearson')[np.triu_indices(6, 1)].mean())
        ceilings.append(subject_ceilings(moved, 'pearson')[0].mean())
    assert got.slope == pytest.approx(np.diff(ceilings)[0] / np.diff(means)[0], rel=0.1)


def test_agreements_that_are_sums_of_two_subjects_effects_leave_nothing():
    np_rng = np.random.default_rng(2)
    effects, lower = np_rng.random(7), np_rng.random(7)
    agreements = effects[:, None] + effects
    got = OverSubjects.of(np_rng.random((2, 7)), lower, lower + 0.1, agreements)
    assert got.of_pairs < 1e-25
    # A pair's own, of variance 1: unbiased.
    found = []
    for _ in range(400):
        own = np.triu(np_rng.normal(size=(7, 7)), 1)
        found.append(OverSubjects.of(np_rng.random((2, 7)), lower, lower + 0.1, agreements + own + own.T).of_pairs)
    assert np.mean(found) == pytest.approx(1.0, abs=0.06)


def test_skewed_scores_have_fewer_degrees_of_freedom_from_five_subjects_on():
    np_rng = np.random.default_rng(8)
    even, skewed = np.arange(12.0) - 5.5, np_rng.permutation(np.append(np.arange(11.0) / 50.0, -9.0))
    dof = {}
    for k in (4, 5, 12):
        scores = np.stack([even[-k:], skewed[-k:]])
        got = OverSubjects.of(scores, np_rng.random(k), np.ones(k))
        dof[k] = got.variances(np.eye(2, 3))[1]
    np.testing.assert_array_equal(dof[4], 3.0)
    for k in (5, 12):
        resampled = np.minimum(dof_of_quantile(mean_quantiles(np.stack([even[-k:], skewed[-k:]]))), k - 1)
        share = 1 - 16 / k**2
        np.testing.assert_allclose(1 / dof[k], share / resampled + (1 - share) / (k - 1))
    assert dof[12][1] < 4 < 8 < dof[12][0] <= 11


def test_what_is_two_subjects_own_is_taken_out_of_what_is_no_interaction():
    np_rng = np.random.default_rng(9)
    subjects = people(np_rng, np_rng.normal(size=(20, 4)), 6)
    got, contrast = over_subjects(subjects[:1], subjects, 'pearson'), np.array([[0.0, 1.0]])
    less, whole = got.variances(contrast)[0], got.values[-1].var(ddof=1) / 6
    assert less < 0.97 * whole
    for share in (0.0, 0.25, 1.0, 1.5):  # of the variance that is an interaction with stimuli
        expected = whole - max(1.0 - share, 0.0) ** 2 * (whole - less)
        assert got.variances(contrast, share * whole)[0] == pytest.approx(expected)


def test_two_subjects_have_a_ceiling_but_no_test_against_it():
    np_rng = np.random.default_rng(5)
    subjects = people(np_rng, np_rng.normal(size=(16, 4)), 3)
    for bootstrap in ('subjects', 'both'):
        of_two = infer(subjects[:1], subjects[1:], bootstrap=bootstrap, n_bootstrap=20, n_permutations=0)
        assert np.isfinite([of_two.ceiling_lower, of_two.standard_errors[0]]).all()
        assert np.isnan(of_two.p_ceiling).all()
        of_three = infer(subjects[:1], subjects, bootstrap=bootstrap, n_bootstrap=20, n_permutations=0)
        assert np.isfinite(of_three.p_ceiling).all()


@pytest.mark.slow
def test_tests_against_the_ceiling_over_stimuli_and_subjects_are_calibrated():
    n_studies, np_rng, rejected = 300, np.random.default_rng(6), []
    for seed in range(n_studies):
        # Subjects differ by noise only, so that the mean ranks of three people more are as good as the other three.
        stimuli = np_rng.normal(size=(24, 4))
        seen = np.stack([pdist(stimuli + np_rng.normal(size=stimuli.shape)) for _ in range(7)])
        model = row_ranks(seen[:3]).mean(axis=0)
        result = infer(model[None], seen[3:], bootstrap='both', n_bootstrap=20, n_permutations=0, seed=seed)
        rejected.append(result.p_ceiling[0] <= 0.05)
    assert np.mean(rejected) == pytest.approx(0.05, abs=3 * np.sqrt(0.05 * 0.95 / n_studies))


@pytest.mark.slow
def test_standard_error_of_the_ceiling_over_subjects_is_near_the_spread_of_repeated_studies():
    np_rng = np.random.default_rng(7)
    stimuli = np_rng.normal(size=(20, 5))
    model, ceilings, variances = people(np_rng, stimuli, 1), [], []
    for _ in range(500):
        got = over_subjects(model, people(np_rng, stimuli, 6), 'pearson')
        ceilings.append(got.values[-1].mean())
        variances.append(got.variances(np.array([[0.0, 1.0]]))[0][0])
    assert np.sqrt(np.mean(variances)) / np.std(ceilings) == pytest.approx(1.05, abs=0.1)  # half of an excess is left
