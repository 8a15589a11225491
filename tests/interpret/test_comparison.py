"""Paired comparison of units: SciPy's tests, the sheet's numbers, and degenerate cases."""

import numpy as np
import pytest
from scipy import stats

from humalign_jax.interpret import comparison


def test_the_tests_are_those_of_scipy():
    np_rng = np.random.default_rng(0)
    first, second = np_rng.normal(0.2, 1.0, 40), np_rng.normal(0.0, 1.0, 40)
    found = comparison.paired_tests(first, second)
    paired = stats.ttest_rel(first, second)
    assert found['p_t'] == pytest.approx(paired.pvalue)
    assert (found['low'], found['high']) == pytest.approx(tuple(paired.confidence_interval()))
    assert found['p_wilcoxon'] == pytest.approx(stats.wilcoxon(first, second).pvalue)
    assert (found['anova_f'], found['anova_p']) == pytest.approx(tuple(stats.f_oneway(first, second)))
    assert found['cohen_dz'] == pytest.approx(paired.statistic / np.sqrt(40))


def test_the_seeds_anova_follows_from_its_means_and_deviations():
    def values(mean, sd):
        z = stats.norm.ppf((np.arange(512) + 0.5) / 512)
        return mean + sd * (z - z.mean()) / z.std(ddof=1)

    found = comparison.paired_tests(values(0.322, 0.040), values(0.354, 0.050))
    assert found['anova_f'] == pytest.approx(127.9, abs=0.1) and found['anova_p'] == pytest.approx(5e-28, rel=0.1)
    assert found['cohen_d'] == pytest.approx(-0.71, abs=0.005)


def test_equal_values_differ_by_nothing_and_one_pair_has_no_test():
    same = comparison.paired_tests(np.arange(5.0), np.arange(5.0))
    assert same['difference'] == 0 and same['p_t'] == same['p_wilcoxon'] == 1.0
    alone = comparison.paired_tests(np.array([2.0]), np.array([0.5]))
    assert alone['difference'] == 1.5 and np.isnan(alone['p_t']) and np.isnan(alone['low'])
    shifted = comparison.paired_tests(np.arange(5.0) + 1, np.arange(5.0))
    assert shifted['low'] == shifted['high'] == 1.0 and np.isnan(shifted['p_t'])
