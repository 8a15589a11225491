"""Bootstrap samples against samples written out pair by pair, and against rsatoolbox."""

import jax
import numpy as np
import pytest
import scipy.stats
from scipy.spatial.distance import pdist, squareform

from humalign_jax.rsa.inference import bootstrap as module
from humalign_jax.rsa.inference import resample
from humalign_jax.rsa.inference.bootstrap import bootstrap, weighted_draws
from humalign_jax.rsa.inference.infer import infer
from humalign_jax.rsa.inference.inputs import Inputs
from humalign_jax.rsa.inference.models import Weighted
from humalign_jax.rsa.similarity.ceiling import subject_ceilings
from humalign_jax.rsa.similarity.compare import compare, compare_condensed
from humalign_jax.rsa.similarity.indices import WEIGHTED_INDICES


def make_data(n=16, n_models=3, n_subjects=4, seed=0, decimals=None):
    """RDMs of models and subjects that share latent points; rounding makes ties."""
    np_rng = np.random.default_rng(seed)
    points = np_rng.normal(size=(n, 5))
    noisy = [points + (0.5 + 0.3 * i) * np_rng.normal(size=(n, 5)) for i in range(n_models)]
    noisy += [points + np_rng.normal(size=(n, 5)) for _ in range(n_subjects)]
    rdms = np.stack([pdist(x) for x in noisy])
    rdms = rdms if decimals is None else rdms.round(decimals)
    return rdms[:n_models], rdms[n_models:]


def copied(rdms, weights):
    """RDMs of a bootstrap sample with every pair of different stimuli written out as often as it was drawn."""
    chosen = np.repeat(np.arange(len(weights)), weights.astype(int))
    rows, columns = (chosen[x] for x in np.triu_indices(len(chosen), 1))
    different = rows != columns
    return np.stack([squareform(rdm)[rows[different], columns[different]] for rdm in rdms])


@pytest.mark.parametrize('decimals', [None, 0], ids=['distinct', 'tied'])
@pytest.mark.parametrize('index', WEIGHTED_INDICES)
def test_weighted_scores_equal_those_of_the_copied_sample(index, decimals):
    models, subjects = make_data(decimals=decimals)
    weights = resample.bootstrap_weights(0, 16, 40, stream=0)
    options = dict(mask=None, control=None, devices=jax.devices()[:1])
    scores, (lowers, uppers) = weighted_draws(models, subjects, index, weights, **options)
    for draw, weight in enumerate(weights):
        sample = copied(models, weight), copied(subjects, weight)
        np.testing.assert_allclose(scores[draw], compare_condensed(*sample, index), atol=3e-6)
        if index in ('pearson', 'cosine'):
            lower, upper = subject_ceilings(sample[1], index)
            np.testing.assert_allclose(lowers[draw], lower, atol=3e-6)
            np.testing.assert_allclose(uppers[draw], upper, atol=3e-6)


def test_partial_and_restricted_draws_equal_those_of_the_copied_sample():
    models, subjects = make_data()
    labels = np.arange(16) % 3
    for pairs, index in (
        ('partial', 'spearman'),
        ('partial', 'pearson'),
        ('within', 'spearman'),
        ('between', 'pearson'),
    ):
        inputs = Inputs.of(models, subjects, index, 'stimuli', labels, pairs)
        mask, control = inputs.mask, inputs.control
        weights = resample.bootstrap_weights(1, 16, 20, stream=0)
        options = dict(mask=mask, control=control, devices=jax.devices()[:1])
        scores, _ = weighted_draws(models, subjects, index, weights, **options)
        for draw, weight in enumerate(weights):
            sample = [copied(x, weight) for x in (models, subjects)]
            kept = slice(None) if mask is None else copied(mask[None].astype(float), weight)[0] == 1
            held = None if control is None else copied(control, weight)
            expected = compare_condensed(*(x[:, kept] for x in sample), index, control=held)
            np.testing.assert_allclose(scores[draw], expected, atol=3e-5)


def test_bootstrap_weights_have_the_moments_of_drawing_with_replacement():
    weights = resample.bootstrap_weights(0, 10, 20_000, stream=0)
    np.testing.assert_array_equal(weights.sum(axis=1), np.full(20_000, 10.0))
    np.testing.assert_allclose(weights.mean(axis=0), np.ones(10), atol=0.03)
    np.testing.assert_allclose(weights.var(axis=0), np.full(10, 0.9), atol=0.04)
    np.testing.assert_array_equal(resample.bootstrap_weights(0, 10, 30, stream=0), weights[:30])
    assert not np.array_equal(resample.bootstrap_weights(0, 10, 30, stream=1), weights[:30])


def test_samples_with_too_few_distinct_stimuli_are_left_out_and_counted():
    models, subjects = make_data(n=4)
    weights = resample.bootstrap_weights(0, 4, 400, stream=0)
    result = bootstrap(models, subjects, index='pearson', n_draws=400)
    assert result.n_undefined >= np.sum((weights > 0).sum(axis=1) < 3) > 0
    assert len(result.scores) + result.n_undefined == 400


@pytest.mark.parametrize(('index', 'theirs'), [('spearman', 'spearman'), ('cosine', 'cosine')])
def test_bootstrap_distribution_equals_rsatoolbox(index, theirs):
    toolbox = pytest.importorskip('rsatoolbox')
    models, subjects = make_data(n=20)
    np.random.seed(0)  # rsatoolbox draws from NumPy's global state
    fixed = [toolbox.model.ModelFixed(str(i), x) for i, x in enumerate(models)]
    data = toolbox.rdm.RDMs(subjects)
    expected = toolbox.inference.eval_bootstrap_pattern(fixed, data, method=theirs, N=600)
    result = bootstrap(models, subjects, index=index, n_draws=4000)
    drawn, own = expected.evaluations, result.scores
    error = drawn.std(axis=0) / np.sqrt(600)
    assert np.all(np.abs(own.mean(axis=0) - drawn.mean(axis=0)) < 4 * error)
    # A standard deviation of 600 draws has a relative error of 0.03, a quantile at 2.5 % about 0.11 deviations.
    np.testing.assert_allclose(own.std(axis=0), drawn.std(axis=0), rtol=0.12)
    for q in (0.025, 0.975):
        gap = np.abs(np.quantile(own, q, axis=0) - np.quantile(drawn, q, axis=0))
        assert np.all(gap < 0.45 * drawn.std(axis=0))
    np.testing.assert_allclose(result.standard_errors, np.sqrt(expected.model_var), rtol=0.12)
    if index == 'spearman':  # in closed form, which is narrower
        assert np.all(infer(models, subjects, n_permutations=0).standard_errors < 1.05 * np.sqrt(expected.model_var))


def test_samples_of_subjects_give_the_standard_error_of_the_mean():
    models, subjects = make_data(n_subjects=12)
    result = bootstrap(models, subjects, over='subjects', n_draws=20_000)
    np.testing.assert_allclose(result.standard_errors, scipy.stats.sem(compare(models, subjects), axis=1), rtol=0.03)


def test_errors_over_both_take_the_interaction_out():
    np_rng = np.random.default_rng(0)
    stimulus, subject, interaction = 1.0, 2.0, 3.0  # variances of the three components of a score
    samples = {
        'stimuli': np_rng.normal(size=(200_000, 1)) * np.sqrt(stimulus + interaction),
        'subjects': np_rng.normal(size=(200_000, 1)) * np.sqrt(subject + interaction),
        'both': np_rng.normal(size=(200_000, 1)) * np.sqrt(stimulus + subject + 3 * interaction),
    }
    got = module._standard_errors(samples, 'both', 10**6, 10**6)
    assert got**2 == pytest.approx(stimulus + subject + interaction, rel=0.02)


def test_one_and_four_devices_draw_the_same_samples():
    models, subjects = make_data(n=30)
    one, four = (
        bootstrap(models, subjects, over='both', n_draws=70, devices=devices)
        for devices in (jax.devices()[:1], jax.devices()[:4])
    )
    np.testing.assert_array_equal(one.scores, four.scores)
    np.testing.assert_array_equal(one.ceilings, four.ceilings)


def test_mistakes_are_named():
    models, subjects = make_data()
    with pytest.raises(ValueError, match=r"fixed models for pearson, .* not 1000 for 'bures'"):
        bootstrap(models, subjects, index='bures')
    with pytest.raises(ValueError, match=r'and models to fit: use rsa\.infer'):
        bootstrap([Weighted(models, 'w')], subjects)
    with pytest.raises(ValueError, match="over='both' needs the RDMs of at least two subjects"):
        bootstrap(models, subjects[:1], over='both')
