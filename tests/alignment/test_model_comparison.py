"""Random-effects model selection against closed forms, numerical integration and sampling."""

import numpy as np
import pytest
from scipy import integrate, special, stats

from humalign_jax.alignment.model_comparison import dirichlet_exceedance, random_effects


@pytest.mark.parametrize('alpha', [(2.0, 5.0), (1.0, 1.0), (40.3, 22.7), (1.0, 83.0)])
def test_exceedance_of_two_models_is_a_tail_of_the_beta_distribution(alpha):
    first = stats.beta.sf(0.5, *alpha)
    np.testing.assert_allclose(dirichlet_exceedance(np.array(alpha)), [first, 1 - first], atol=1e-6)


@pytest.mark.parametrize('alpha', [(3.0, 4.5, 6.0), (1.0, 1.0, 2.0, 20.0), (30.0, 31.0, 2.5, 1.0, 1.0)])
def test_exceedance_equals_the_share_of_dirichlet_samples(alpha):
    samples = np.random.default_rng(0).dirichlet(alpha, 400_000)
    share = np.bincount(samples.argmax(axis=1), minlength=len(alpha)) / len(samples)
    np.testing.assert_allclose(dirichlet_exceedance(np.array(alpha)), share, atol=0.003)


def test_decisive_evidence_gives_the_exact_posterior_and_omnibus_risk():
    """Where each participant has one possible model, frequencies have a beta posterior and evidences a closed form."""
    evidence = np.zeros((10, 2))
    evidence[:7, 1] = evidence[7:, 0] = -200.0
    found = random_effects(evidence)
    np.testing.assert_allclose(found.alpha, [8, 4], rtol=1e-9)
    np.testing.assert_allclose(found.frequency, [8 / 12, 4 / 12], rtol=1e-9)
    np.testing.assert_allclose(found.exceedance[0], stats.beta.sf(0.5, 8, 4), atol=1e-6)
    unequal, equal = special.beta(8, 4), 0.5**10
    risk = equal / (equal + unequal)
    np.testing.assert_allclose(found.omnibus_risk, risk, rtol=1e-9)
    np.testing.assert_allclose(found.protected, (1 - risk) * found.exceedance + risk / 2, rtol=1e-12)


def test_posterior_of_graded_evidence_is_close_to_numerical_integration():
    """The variational posterior underestimates the spread a little; its mean and omnibus risk are close."""
    difference = np.random.default_rng(1).normal(1.5, 3.0, 20)
    found = random_effects(np.stack([difference, np.zeros(20)], axis=1))

    def likelihood(r):
        return np.exp(np.log(r * np.exp(difference) + 1 - r).sum())

    total = integrate.quad(likelihood, 0, 1)[0]
    mean = integrate.quad(lambda r: r * likelihood(r), 0, 1)[0] / total
    above = integrate.quad(likelihood, 0.5, 1)[0] / total
    risk = likelihood(0.5) / (likelihood(0.5) + total)
    np.testing.assert_allclose(found.frequency[0], mean, atol=0.02)
    np.testing.assert_allclose(found.exceedance[0], above, atol=0.02)
    np.testing.assert_allclose(found.omnibus_risk, risk, atol=0.05)


def test_equal_evidence_protects_all_models_equally():
    found = random_effects(np.full((30, 3), -12.0))
    np.testing.assert_allclose(found.protected, 1 / 3, atol=1e-9)
    assert found.omnibus_risk > 0.5


def test_one_participant_with_huge_evidence_does_not_decide_for_all():
    """A sum of log evidences would choose the first model."""
    evidence = np.zeros((12, 2))
    evidence[:, 1] = 5.0
    evidence[0] = (1000.0, 0.0)
    assert evidence[:, 0].sum() > evidence[:, 1].sum()
    assert random_effects(evidence).protected[1] > 0.95


@pytest.mark.parametrize(
    ('evidence', 'message'),
    [(np.zeros((4, 1)), 'two models or more'), (np.array([[0.0, np.nan]]), 'model 1 for participant 0 is not finite')],
)
def test_evidence_that_cannot_be_compared_is_refused(evidence, message):
    with pytest.raises(ValueError, match=message):
        random_effects(evidence)
