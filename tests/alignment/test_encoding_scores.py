"""Scores of encoding models: tests over blocks, subjects and regions, and masks."""

import itertools

import numpy as np
import pytest
import scipy.stats

from humalign_jax.alignment import encoding_scores
from humalign_jax.alignment.encoding import EncodingFit
from humalign_jax.alignment.response_ceilings import ResponseCeilings
from humalign_jax.records import Score


def test_the_sign_flip_test_equals_all_patterns_of_signs():
    values = np.random.default_rng(0).normal(0.4, 1, size=9)
    sums = [np.dot(signs, values) for signs in itertools.product((-1, 1), repeat=9)]
    assert encoding_scores.sign_flip_p(values) == np.mean(np.array(sums) >= values.sum() - 1e-12)
    assert encoding_scores.sign_flip_p(np.ones(12)) == 2.0**-12
    assert encoding_scores.sign_flip_p(np.zeros(4)) == 1.0
    assert np.isnan(encoding_scores.sign_flip_p(np.ones(1)))


def test_many_blocks_are_flipped_at_random():
    values = np.random.default_rng(1).normal(0.35, 1, size=25)
    expected = scipy.stats.permutation_test(
        (values,), np.sum, permutation_type='samples', alternative='greater', n_resamples=50_000, rng=2
    ).pvalue
    assert encoding_scores.sign_flip_p(values, seed=3) == pytest.approx(expected, rel=0.1)


def _fit(r2, blocks=4):
    """Two voxels of given R2 in every block."""
    total = np.full((blocks, 2), 10.0)
    noise = 1 + 0.01 * np.arange(blocks)[:, None]
    return EncodingFit(
        tuple('abcd')[:blocks], np.sqrt(np.array(r2)) * noise, total * (1 - np.array(r2) * noise), total,
        np.ones((blocks, 2)), np.ones((blocks, 2, 1)), {}, np.full(blocks, 0.1),
    )  # fmt: skip


def _ceilings(*share):
    share = np.array(share)
    return ResponseCeilings(share, share, share, None, 'published', 9)


def test_normalised_r2_is_the_mean_r2_over_the_mean_ceiling_and_the_interval_that_of_the_jackknife():
    fit = _fit([0.1, 0.3])
    kept = encoding_scores.keep_voxels([fit], _ceilings(0.2, 0.6), n_averaged=1.0, min_ceiling=0.0, counts={})
    made = encoding_scores.roi_scores(fit, kept, {'V1': np.ones(2, bool)}, {'model': 'net', 'subject': 's'}, seed=0)
    r2, normalised = made[1], made[2]
    of_block = np.array([0.2 * (1 + 0.01 * k) for k in range(4)])  # equal totals: pooling is averaging
    assert r2.value == pytest.approx(of_block.mean()) and r2.ceiling_upper == pytest.approx(0.4)
    half = scipy.stats.t.ppf(0.975, 3) * scipy.stats.sem(of_block)
    assert r2.high - r2.value == pytest.approx(half)
    assert normalised.value == pytest.approx(of_block.mean() / 0.4)
    assert normalised.high - normalised.value == pytest.approx(half / 0.4)


def test_voxels_of_zero_or_low_ceiling_are_masked_and_counted():
    fit, ceilings = _fit([0.1, 0.3]), _ceilings(0.0, 0.3)
    kept = encoding_scores.keep_voxels([fit], ceilings, n_averaged=1.0, min_ceiling=0.0, counts={'n_constant': 3})
    assert kept.voxels.tolist() == [False, True]
    assert kept.counts == {'n_constant': 3, 'n_constant_in_a_fold': 0, 'n_low_ceiling': 1}
    with pytest.raises(ValueError, match=r'no voxel has a noise ceiling .* of 0\.5 or more .the largest is 0\.300'):
        encoding_scores.keep_voxels([fit], ceilings, n_averaged=1.0, min_ceiling=0.5, counts={})


def _score(value, subject, roi, p):
    about = {'model': 'net', 'subject': subject, 'roi': roi, 'p': p, 'n_voxels': 5}
    return Score(encoding_scores.R, value, value - 0.1, value + 0.1, 12, 'some', ceiling_upper=0.5, provenance=about)


def test_p_is_combined_over_subjects_by_fisher_and_corrected_over_regions():
    p = {'V1': [0.01, 0.2], 'V4': [0.5, 0.04]}
    scores = [_score(0.1 * k, f's{k}', roi, one) for roi, both in p.items() for k, one in enumerate(both)]
    found = encoding_scores.over_subjects(scores)
    means = [score for score in found if score.provenance['subject'] == encoding_scores.ALL]
    combined = [scipy.stats.combine_pvalues(both).pvalue for both in p.values()]
    np.testing.assert_allclose([score.provenance['p'] for score in means], combined)
    np.testing.assert_allclose(
        [score.provenance['q'] for score in means], scipy.stats.false_discovery_control(combined)
    )
    assert means[0].value == pytest.approx(0.05) and means[0].n == 2 and means[0].provenance['n_voxels'] == 10
    assert all('q' not in score.provenance for score in found[:4])


def test_q_of_one_subject_is_over_its_regions():
    found = encoding_scores.over_subjects([_score(0.1, 's', roi, p) for roi, p in (('V1', 0.01), ('V4', 0.03))])
    assert len(found) == 2 and [score.provenance['q'] for score in found] == pytest.approx([0.02, 0.03])
