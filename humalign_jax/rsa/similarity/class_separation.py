"""How far classes lie apart in a feature space."""

import numpy as np

from humalign_jax.records import Features
from humalign_jax.rsa.similarity.cka import checked_pair


def class_separation(x: Features | np.ndarray, labels: np.ndarray) -> float:
    """Class separation R2: one minus the mean variance within classes over the variance of all stimuli.

    Features are brought to norm 1 first, variances are population variances summed over features, and every class
    counts the same. With classes of one size this is the share of the variance that class means explain.

    Args:
        x: Features, [n, d].
        labels: Class of each stimulus, [n], numbers or names; or a table of booleans [n, c] where a stimulus may be in
            several classes. Stimuli in no class of the table are left out.

    Returns:
        At most 1, which means that all stimuli of a class are equal; near 0 for classes at random. NaN if all stimuli
        are equal.

    Raises:
        ValueError: The labels do not fit, a class has fewer than two stimuli, or features are NaN, Inf or all 0.

    References:
        Kornblith et al. (2021). Why do better loss functions lead to less transferable features? arXiv:2010.16402

    Example:
        >>> rsa.class_separation(np.array([[0.0, 1.0], [0.0, 1.0], [1.0, 0.0], [1.0, 0.0]]), np.array([0, 0, 1, 1]))
        1.0
    """
    values, _ = checked_pair(x, x, 2)
    table = _table(np.asarray(labels), len(values))
    sizes = table.sum(axis=0)
    if np.any(sizes < 2):
        small = int(np.argmax(sizes < 2))
        raise ValueError(
            f'class {small} of {len(sizes)} has {sizes[small]} stimuli, but a variance needs 2: leave it out.'
        )
    chosen = table.any(axis=1)
    values, table = values[chosen], table[chosen].astype(np.float64)
    norms = np.linalg.norm(values, axis=1, keepdims=True)
    if not np.all(norms > 0):
        raise ValueError(
            f'the features of {np.sum(norms == 0)} stimuli are all 0 and have no direction: leave them out.'
        )
    values = values / norms
    means = (table.T @ values) / sizes[:, None]  # [c, d]; with rows of norm 1 a variance is 1 - |mean|^2
    within = 1 - np.square(means).sum(axis=1)
    total = 1 - float(np.square(values.mean(axis=0)).sum())
    return 1 - float(within.mean()) / total if total > 1e-12 else float('nan')


def _table(labels: np.ndarray, n: int) -> np.ndarray:
    """Membership in classes, bool [n, c]."""
    if labels.ndim == 1 and len(labels) == n:
        _, number = np.unique(labels, return_inverse=True)
        return number[:, None] == np.arange(number.max() + 1)
    if labels.ndim == 2 and len(labels) == n and labels.dtype == bool and labels.shape[1]:
        return labels
    raise ValueError(
        f'labels of {n} stimuli must be [{n}], or booleans [{n}, classes], not {labels.dtype} {list(labels.shape)}.'
    )
