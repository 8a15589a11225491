"""Two conditions compared over matched units, or over runs."""

import numpy as np
from scipy import stats


def paired_tests(first: np.ndarray, second: np.ndarray) -> dict[str, float]:
    """Difference of matched values, first - second, with tests and effect sizes.

    Args:
        first: Values of n matched units (or runs), [n].
        second: The same of the other condition, [n].

    Returns:
        `difference` (mean) with Student's 95 % interval `low`, `high`; `sd` of the differences; `p_t` (paired t test)
        and `p_wilcoxon` (signed-rank test), two-sided, 1 if no value differs; `cohen_dz` (mean over standard deviation
        of the differences) and `cohen_d` (over the pooled standard deviation of the values); `anova_f` and `anova_p` of
        the one-way analysis of variance, which takes the values as independent. NaN where n is too small or nothing
        varies.
    """
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    nan, n, differences = float('nan'), len(first), first - second
    mean = float(differences.mean())
    found = dict.fromkeys(('low', 'high', 'sd', 'p_t', 'p_wilcoxon', 'cohen_dz', 'cohen_d', 'anova_f', 'anova_p'), nan)
    found = {'difference': mean, **found}
    if n < 2:
        return found
    sd = float(differences.std(ddof=1))
    error = sd / np.sqrt(n)
    half = float(stats.t.ppf(0.975, n - 1)) * error
    found |= {'low': mean - half, 'high': mean + half, 'sd': sd}
    if not differences.any():
        return found | {'p_t': 1.0, 'p_wilcoxon': 1.0}
    found['p_wilcoxon'] = float(np.asarray(stats.wilcoxon(differences))[1])
    if sd > 0:
        found |= {'p_t': float(2 * stats.t.sf(abs(mean) / error, n - 1)), 'cohen_dz': mean / sd}
    pooled = float(np.sqrt((first.var(ddof=1) + second.var(ddof=1)) / 2))
    if pooled > 0:
        f, p = stats.f_oneway(first, second)
        found |= {'cohen_d': mean / pooled, 'anova_f': float(f), 'anova_p': float(p)}
    return found
